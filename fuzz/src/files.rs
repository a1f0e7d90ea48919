//! Queues to damage. The files of every kind are made once and copied for each input.

use ipcq::{Consumer, Delivery, Error, Producer, ProducerOptions};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A kind of queue.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// 0 stands for variable length.
    pub message_size: u32,
    pub capacity: u64,
    pub first_sequence: u64,
    pub pushed: u64,
    pub closed: bool,
    pub lossless: bool,
    pub min_consumers: u32,
}

const fn kind(message_size: u32, capacity: u64, pushed: u64) -> Kind {
    Kind {
        message_size,
        capacity,
        first_sequence: 0,
        pushed,
        closed: false,
        lossless: false,
        min_consumers: 0,
    }
}

/// New, partly filled, filled several times, closed, near the end of the sequences, and lossless.
pub static FIXED: [Kind; 8] = [
    kind(24, 64, 150),
    kind(24, 64, 10),
    kind(8, 256, 1000),
    kind(300, 8, 20),
    kind(8, 16, 60).near_the_end(),
    kind(100, 16, 30).closed(),
    kind(24, 64, 150).lossless(0),
    kind(8, 16, 10).lossless(1),
];

/// The same with variable length.
pub static VARIABLE: [Kind; 8] = [
    kind(0, 1024, 60),
    kind(0, 4096, 150),
    kind(0, 4096, 10),
    kind(0, 16384, 400),
    kind(0, 1024, 60).near_the_end(),
    kind(0, 2048, 60).closed(),
    kind(0, 4096, 150).lossless(0),
    kind(0, 1024, 5).lossless(1),
];

impl Kind {
    const fn near_the_end(mut self) -> Kind {
        self.first_sequence = u64::MAX - 40;
        self
    }

    const fn closed(mut self) -> Kind {
        self.closed = true;
        self
    }

    const fn lossless(mut self, min_consumers: u32) -> Kind {
        self.lossless = true;
        self.min_consumers = min_consumers;
        self
    }

    pub fn options(&self) -> ProducerOptions {
        let options = Producer::options()
            .message_size(self.message_size)
            .capacity(self.capacity)
            .delivery(match self.lossless {
                true => Delivery::Lossless,
                false => Delivery::Lossy,
            })
            .max_consumers(4)
            .min_consumers(self.min_consumers);
        ipcq::__binding::first_sequence(options, self.first_sequence)
    }

    /// The maximum length of a message.
    pub fn longest(&self) -> usize {
        match self.message_size {
            0 => self.capacity as usize / 8,
            size => size as usize,
        }
    }

    /// The length of the message with this sequence.
    pub fn length(&self, sequence: u64) -> usize {
        match self.message_size {
            0 => (mix(sequence) as usize % (self.longest() + 1)) >> (mix(!sequence) % 4),
            size => size as usize,
        }
    }

    /// Pushes the next message. Returns `false` if a lossless queue is full. Every other error is a
    /// failure.
    pub fn push(&self, out: &mut Producer) -> bool {
        match out.push(&self.message(out.next_sequence())) {
            Err(Error::Full(_)) if self.lossless => false,
            pushed => {
                pushed.unwrap();
                true
            }
        }
    }

    /// The message with this sequence.
    pub fn message(&self, sequence: u64) -> Vec<u8> {
        let length = self.length(sequence);
        let mut bytes = mix(sequence).to_le_bytes().repeat(length.div_ceil(8));
        bytes.truncate(length);
        bytes
    }
}

/// A number that looks random (SplitMix64).
fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// The bytes of a queue's files.
#[derive(Clone)]
pub struct Image {
    pub data: Vec<u8>,
    pub control: Vec<u8>,
}

/// The files that the producer of a kind leaves behind after a kill or a close.
pub fn image(kind: &'static Kind) -> &'static Image {
    static IMAGES: OnceLock<Vec<(&'static Kind, Image)>> = OnceLock::new();
    let images = IMAGES.get_or_init(|| {
        let all = FIXED.iter().chain(&VARIABLE);
        all.map(|kind| (kind, make(kind))).collect()
    });
    let found = images.iter().find(|(k, _)| std::ptr::eq(*k, kind));
    &found.expect("an image of each kind").1
}

fn make(kind: &Kind) -> Image {
    let place = Place::new();
    let mut out = kind.options().open(place.name()).unwrap();
    for _ in 0..kind.pushed {
        assert!(kind.push(&mut out));
    }
    if kind.closed {
        drop(out);
        return place.image();
    }
    // The state after a kill.
    let image = place.image();
    drop(out);
    image
}

thread_local! {
    /// One directory per thread, in `TMPDIR`. It serves all inputs, because making one takes longer
    /// than most inputs.
    static DIRECTORY: TempDir = tempfile::tempdir().unwrap();
}

/// The location of the queue of an input. A thread has one at a time.
pub struct Place {
    name: PathBuf,
    control: PathBuf,
}

impl Place {
    pub fn new() -> Place {
        let path = |file: &str| DIRECTORY.with(|directory| directory.path().join(file));
        for left in ["q", "q.ctl", "q.lock"] {
            match std::fs::remove_file(path(left)) {
                Err(e) if e.kind() != ErrorKind::NotFound => panic!("{left}: {e}"),
                _ => {}
            }
        }
        Place {
            name: path("q"),
            control: path("q.ctl"),
        }
    }

    pub fn with(image: &Image) -> Place {
        let place = Place::new();
        std::fs::write(&place.name, &image.data).unwrap();
        std::fs::write(&place.control, &image.control).unwrap();
        place
    }

    pub fn name(&self) -> &Path {
        &self.name
    }

    pub fn image(&self) -> Image {
        Image {
            data: std::fs::read(&self.name).unwrap(),
            control: std::fs::read(&self.control).unwrap(),
        }
    }

    /// The data file, for writing without the library.
    pub fn data(&self) -> Words {
        Words::open(&self.name)
    }

    /// The control file, for writing without the library.
    pub fn control(&self) -> Words {
        Words::open(&self.control)
    }

    pub fn remove_control(&self) {
        std::fs::remove_file(&self.control).unwrap();
    }

    pub fn consumer(&self, start: ipcq::Start) -> ipcq::Result<Consumer> {
        Consumer::options().start(start).open(&self.name)
    }
}

/// A file as words.
pub struct Words {
    file: File,
    bytes: u64,
}

impl Words {
    fn open(path: &Path) -> Words {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let bytes = file.metadata().unwrap().len();
        Words { file, bytes }
    }

    /// The length of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of words.
    pub fn len(&self) -> u64 {
        self.bytes / 8
    }

    /// All words. Only for a file of the usual length.
    pub fn all(&self) -> impl Iterator<Item = u64> {
        let mut bytes = vec![0; (self.bytes.min(1 << 20)) as usize];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        let words: Vec<_> = bytes
            .chunks_exact(8)
            .map(|w| w.try_into().unwrap())
            .collect();
        words.into_iter().map(u64::from_le_bytes)
    }

    pub fn load(&self, word: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, word * 8).unwrap();
        u64::from_le_bytes(bytes)
    }

    pub fn store(&self, word: u64, value: u64) {
        let bytes = value.to_le_bytes();
        self.file.write_all_at(&bytes, word * 8).unwrap();
    }

    /// Changes the length of the file. No process may have it mapped.
    pub fn set_len(&mut self, bytes: u64) {
        self.file.set_len(bytes).unwrap();
        self.bytes = bytes;
    }
}
