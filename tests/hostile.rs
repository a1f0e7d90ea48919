//! Damaged files and malicious readers. Every call ends soon with data or an error, regardless of
//! the content of the files, and a reader cannot change anything.

mod common;

use common::*;
use ipcq::{Consumer, Error, Field, Pop, Producer, Scalar, Schema, Start};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The uid of the unprivileged user `nobody`.
const NOBODY: u32 = 65534;

#[test]
fn child_main() {
    let Some(role) = role() else { return };
    let name = PathBuf::from(argument("NAME"));
    match role.as_str() {
        "mutate" => mutate(&name),
        "produce" => {
            let mut out = readable().open(&name).unwrap();
            (0..10).for_each(|_| push_next(&mut out));
            say(out.next_sequence());
            listen();
        }
        "read" => read_as_nobody(&name),
        "write" => write_as_nobody(&name),
        "refused" => refused_as_nobody(&name),
        "few_files" => few_files(&name),
        role => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

// --- damaged files -------------------------------------------------------------------------------

/// The mutation that is being tried, in memory that outlives the process that tries it.
struct Trial(Words);

impl Trial {
    const WORDS: usize = 4;

    fn open(path: &Path) -> Trial {
        Trial(Words::open(path))
    }

    fn set(&self, words: [u64; Trial::WORDS]) {
        for (i, word) in words.into_iter().enumerate() {
            self.0.word(i).store(word, Ordering::SeqCst);
        }
    }

    fn get(&self) -> [u64; Trial::WORDS] {
        std::array::from_fn(|i| self.0.word(i).load(Ordering::SeqCst))
    }
}

/// A change of a file: the bytes and their offset.
#[derive(Debug)]
struct Mutation {
    control: bool,
    at: u64,
    bytes: Vec<u8>,
}

/// The values that replace a byte of a header.
const BYTES: [fn(u8) -> u8; 6] = [
    |_| 0,
    |_| 0xff,
    |b| b ^ 1,
    |b| b ^ 0x80,
    |b| b.wrapping_add(1),
    |b| b.rotate_left(1),
];

/// The used part of the header ends here.
const USED: u64 = 640;

/// The mutation with this number. `None` after the last one. `data` and `control` are the original
/// files.
fn mutation(number: u64, random: &mut Random, data: &[u8], control: &[u8]) -> Option<Mutation> {
    let values = BYTES.len() as u64;
    let mut n = number;
    // Every byte of both headers.
    for (is_control, file, end) in [(false, data, USED), (true, control, 256)] {
        if n < end * values {
            let (at, value) = (n / values, BYTES[(n % values) as usize]);
            let bytes = vec![value(file[at as usize])];
            return Some(Mutation {
                control: is_control,
                at,
                bytes,
            });
        }
        n -= end * values;
    }
    // Every byte of the record schema.
    let length = u32::from_le_bytes(data[84..88].try_into().unwrap());
    let end = u64::from(length) * values;
    if n < end {
        let (at, value) = (4096 + n / values, BYTES[(n % values) as usize]);
        return Some(Mutation {
            control: false,
            at,
            bytes: vec![value(data[at as usize])],
        });
    }
    n -= end;
    // The rest of the header, one cache line at a time.
    let lines = (4096 - USED) / 64;
    if n < lines {
        let at = USED + 64 * n;
        return Some(Mutation {
            control: false,
            at,
            bytes: vec![0xff; 64],
        });
    }
    n -= lines;
    if n >= 3000 {
        return None;
    }
    // Random words of the counters, the index, the ring and the control file.
    let is_control = random.below(16) == 0;
    let (file, first) = match (is_control, random.below(4)) {
        (true, _) => (control, 0),
        (false, 0) => (&data[..USED as usize], 128),
        (false, _) => (data, 4096),
    };
    let words = (file.len() as u64 - first) / 8;
    let at = first + 8 * random.below(words);
    let load = |at: u64| u64::from_le_bytes(file[at as usize..][..8].try_into().unwrap());
    let old = load(at);
    let new = match random.below(10) {
        0 => 0,
        1 => u64::MAX,
        2 => random.next(),
        3 => old ^ 1 << random.below(64),
        4 => old.wrapping_add(random.below(64)),
        5 => old.wrapping_sub(random.below(64)),
        6 => old.wrapping_add(4096 << random.below(3)),
        7 => old.wrapping_sub(64 << random.below(8)),
        8 => load(first + 8 * random.below(words)),
        _ => 1 << 63,
    };
    let bytes = new.to_le_bytes().to_vec();
    Some(Mutation {
        control: is_control,
        at,
        bytes,
    })
}

/// Checks that an error is about the queue and not about this library or the system.
fn assert_queue_error(e: Error) {
    assert!(
        !matches!(e, Error::Internal(_) | Error::Os(..) | Error::NoSpace(_)),
        "{e:?}"
    );
}

/// Every call on a consumer, some of them many times.
fn use_consumer(q: &mut Consumer, random: &mut Random) {
    let mut buffer = vec![0; 16 << 10];
    assert!(q.max_message() <= 1 << 20);
    for _ in 0..24 {
        match random.below(8) {
            0..=2 => drop(q.pop(&mut buffer).map_err(assert_queue_error)),
            3 => drop(
                q.pop_many(&mut buffer, 1 + random.below(600) as usize)
                    .map_err(assert_queue_error),
            ),
            4 => match q.peek() {
                Ok(Some(view)) => {
                    let length = (view.message().length as usize).min(buffer.len());
                    view.read(0, &mut buffer[..length]).unwrap();
                    view.release().map_err(assert_queue_error).unwrap_or(());
                }
                Ok(None) => {}
                Err(e) => assert_queue_error(e),
            },
            5 => match q.peek_raw() {
                Ok((Pop::Message(m), _)) => {
                    let sequence = m.sequence.wrapping_add(random.below(2));
                    q.release_raw(sequence)
                        .map_err(assert_queue_error)
                        .unwrap_or(());
                }
                Ok(_) => {}
                Err(e) => assert_queue_error(e),
            },
            6 => {
                let to = match random.below(3) {
                    0 => random.below(200),
                    1 => q
                        .next_sequence()
                        .wrapping_add(random.below(100))
                        .wrapping_sub(50),
                    _ => random.next(),
                };
                q.seek(to).map_err(assert_queue_error).unwrap_or(());
            }
            _ => drop(q.stats().map_err(assert_queue_error)),
        }
    }
    while random.below(16) != 0 {
        if !matches!(q.pop(&mut buffer), Ok(Some(_))) {
            break;
        }
    }
}

/// Every call on a producer.
fn use_producer(out: &mut Producer, random: &mut Random) {
    let length = match out.geometry().message_size {
        0 => out.max_message(),
        size => size as usize,
    };
    assert!(length <= 1 << 20);
    let bytes = vec![7; length];
    for _ in 0..random.below(200) {
        let length = match out.geometry().message_size {
            0 => random.below(length as u64 + 1) as usize,
            _ => length,
        };
        match random.below(8) {
            0 => {
                let mut claim = out.claim(length).unwrap();
                claim.write(0, &bytes[..length]).unwrap();
                if random.below(2) == 0 {
                    claim.commit(length).unwrap();
                }
            }
            1 if length > 0 => drop(out.push_many(&bytes[..length], length).unwrap()),
            2 => drop(out.stats().map_err(assert_queue_error)),
            _ => out.push(&bytes[..length]).unwrap(),
        }
    }
}

fn use_new_consumer(name: &Path, random: &mut Random) {
    let at = match random.below(2) {
        0 => random.below(200),
        _ => random.next(),
    };
    for start in [Start::Oldest, Start::Newest, Start::Next, Start::At(at)] {
        match Consumer::options().start(start).open(name) {
            Ok(mut q) => {
                if let Some(schema) = q.schema() {
                    assert_eq!(schema.itemsize(), q.geometry().message_size);
                    let again = Schema::from_json(&schema.to_json());
                    assert_eq!(again.as_ref(), Ok(schema));
                    assert!(!schema.to_string().contains('\x1b'));
                }
                use_consumer(&mut q, random)
            }
            Err(e) => assert_queue_error(e),
        }
    }
    match Consumer::options().schema(records()).open(name) {
        Ok(q) => assert_eq!(q.schema(), Some(&records())),
        Err(e) => assert_queue_error(e),
    }
}

/// A record of 24 bytes with a nested record.
fn records() -> Schema {
    let field =
        |name: &str, offset, format| Field::new(name, offset, Scalar::parse(format).unwrap());
    let inner = Schema::new(6, vec![field("x", 0, "f4"), field("y", 4, "S2")]).unwrap();
    let fields = vec![field("a", 0, "u8"), Field::new("b", 8, inner).array(&[2])];
    Schema::new(24, fields).unwrap()
}

fn fill_queue(kind: Kind, name: &Path) -> Producer {
    fill_queue_of(kind, None, name)
}

fn fill_queue_of(kind: Kind, records: Option<Schema>, name: &Path) -> Producer {
    let mut options = kind.options(match kind {
        Kind::Fixed(_) => 64,
        Kind::Variable => 4096,
    });
    if let Some(schema) = records {
        options = options.schema(schema);
    }
    let mut out = options.open(name).unwrap();
    (0..150).for_each(|_| push_next(&mut out));
    out
}

/// Runs in its own process. Tries the mutations one by one, on a live queue or a dead one.
fn mutate(name: &Path) {
    let kind = match number("SIZE") {
        0 => Kind::Variable,
        size => Kind::Fixed(size as u32),
    };
    let live = number("LIVE") == 1;
    let trial = Trial::open(argument("TRIAL").as_ref());
    let (seed, first, step) = (number("SEED"), number("FIRST"), number("STEP"));
    let control_name = PathBuf::from(format!("{}.ctl", name.display()));
    // A wild allocation or mapping fails.
    let limit = libc::rlimit {
        rlim_cur: 1 << 30,
        rlim_max: 1 << 30,
    };
    // SAFETY: `limit` is valid for reads.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let records = (number("RECORDS") == 1).then(records);
    // A dead queue, as a killed producer leaves it, consists of two files.
    drop(fill_queue_of(kind, records.clone(), name));
    let mut data = std::fs::read(name).unwrap();
    data[ipcq::__binding::layout::at::STATE] = ipcq::__binding::layout::state::LIVE as u8;
    let control = std::fs::read(&control_name).unwrap();
    let (mut opened, mut replaced, mut tried) = (0u64, 0u64, 0u64);
    for number in (first..).step_by(step as usize) {
        let mut random = Random(mix(seed ^ number));
        let Some(m) = mutation(number, &mut random, &data, &control) else {
            break;
        };
        let word = m.bytes.iter().rev().skip(m.bytes.len().saturating_sub(8));
        let word = word.fold(0, |w, &b| w << 8 | u64::from(b));
        trial.set([number, u64::from(m.control), m.at, word]);
        // SAFETY: the call takes a number and cannot fail. It limits the time of one trial.
        unsafe { libc::alarm(20) };
        let target = if m.control { &control_name } else { name };
        let mutate = || {
            let file = std::fs::OpenOptions::new()
                .write(true)
                .open(target)
                .unwrap();
            file.write_all_at(&m.bytes, m.at).unwrap();
        };
        if live {
            let _ = ipcq::unlink(name);
            let mut out = fill_queue_of(kind, records.clone(), name);
            let mut old: Vec<_> = [Start::Oldest, Start::Newest]
                .into_iter()
                .map(|start| Consumer::options().start(start).open(name).unwrap())
                .collect();
            old[0].seek(3).unwrap();
            mutate();
            for _ in 0..2 {
                old.iter_mut().for_each(|q| use_consumer(q, &mut random));
                use_new_consumer(name, &mut random);
                use_producer(&mut out, &mut random);
            }
        } else {
            std::fs::write(name, &data).unwrap();
            std::fs::write(&control_name, &control).unwrap();
            mutate();
            use_new_consumer(name, &mut random);
        }
        // The producer is dead or has closed the queue.
        match Producer::options().open(name) {
            Ok(mut out) => {
                opened += 1;
                use_producer(&mut out, &mut random);
            }
            Err(e) => assert_queue_error(e),
        }
        use_new_consumer(name, &mut random);
        let mut out = Producer::options()
            .replace(true)
            .open(name)
            .expect("a damaged queue can be replaced");
        replaced += u64::from(out.next_sequence() == 0);
        use_producer(&mut out, &mut random);
        drop(out);
        use_new_consumer(name, &mut random);
        tried += 1;
    }
    say(format_args!("done {tried} {opened} {replaced}"));
}

fn survives_mutations(kind: Kind, records: bool, live: bool) {
    let dir = Dir::new();
    let name = dir.name("q");
    let aside = Dir::new();
    let trial_path = aside.name("trial");
    let trial = Trial::open(&trial_path);
    // A failure can be tried again from where it occurred.
    let given = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().unwrap());
    let seed = given("IPCQ_TEST_SEED").unwrap_or_else(|| mix(u64::from(std::process::id())));
    // A run tries a third of them, selected by the seed, because all of them take more than a
    // minute. `make soak` tries all.
    let step = given("IPCQ_TEST_STEP").unwrap_or(3);
    let first = given("IPCQ_TEST_FIRST").unwrap_or(seed % step);
    let size = match kind {
        Kind::Fixed(size) => size,
        Kind::Variable => 0,
    };
    let mut child = Process::start(
        "mutate",
        &[
            ("NAME", name.to_str().unwrap()),
            ("TRIAL", trial_path.to_str().unwrap()),
            ("SIZE", &size.to_string()),
            ("RECORDS", &u8::from(records).to_string()),
            ("LIVE", &u8::from(live).to_string()),
            ("SEED", &seed.to_string()),
            ("FIRST", &first.to_string()),
            ("STEP", &step.to_string()),
        ],
    );
    let said = child.next_line();
    let status = child.wait();
    let [number, control, at, word] = trial.get();
    let Some(said) = said.filter(|_| status.success()) else {
        panic!(
            "{kind:?}, live {live}: {status} at mutation {number}: {word:#x} at {at} of the {} \
             file (IPCQ_TEST_SEED={seed} IPCQ_TEST_FIRST={number})",
            if control == 1 { "control" } else { "data" }
        );
    };
    println!("{kind:?}, live {live}, seed {seed}: {said} (tried, continued, replaced)");
    let counts: Vec<u64> = said
        .split(' ')
        .skip(1)
        .map(|n| n.parse().unwrap())
        .collect();
    // Most damage does not affect the geometry, so a producer continues. Some does, and it does not
    // continue.
    assert!(counts[1] > counts[0] / 10 && counts[2] > 100, "{said}");
}

#[test]
fn fixed_alive() {
    survives_mutations(Kind::Fixed(24), false, true);
}

#[test]
fn fixed_dead() {
    survives_mutations(Kind::Fixed(24), false, false);
}

#[test]
fn records_alive() {
    survives_mutations(Kind::Fixed(24), true, true);
}

#[test]
fn records_dead() {
    survives_mutations(Kind::Fixed(24), true, false);
}

#[test]
fn variable_alive() {
    survives_mutations(Kind::Variable, false, true);
}

#[test]
fn variable_dead() {
    survives_mutations(Kind::Variable, false, false);
}

/// Found by a fuzzer: an index with other sequences made the number of pushed messages smaller than
/// the number received, and the lag wrapped.
#[test]
fn an_index_that_moves_backwards_is_damage() {
    let dir = Dir::new();
    let name = dir.name("q");
    let out = fill_queue(Kind::Variable, &name);
    let mut q = Consumer::options().open(&name).unwrap();
    while q.stats().unwrap().lag > 20 {
        assert!(pop_next(&mut q).unwrap().is_some());
    }
    let before = q.stats().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&name).unwrap();
    for entry in 0..out.geometry().index_entries {
        let at = ipcq::__binding::layout::HEADER_BYTES + entry * 16 + 8;
        file.write_all_at(&1u64.to_le_bytes(), at).unwrap();
    }
    assert!(matches!(q.stats(), Err(Error::Damaged(_))), "{before:?}");
}

/// Found by a fuzzer: a position half the range ahead was taken for one behind.
#[test]
fn a_published_position_half_the_range_away_is_damage() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = Kind::Variable.options(4096).open(&name).unwrap();
    (0..5).for_each(|_| push_next(&mut out));
    drop(out);
    let file = std::fs::OpenOptions::new().write(true).open(&name).unwrap();
    let at = ipcq::__binding::layout::at::PUBLISHED as u64;
    file.write_all_at(&(3u64 << 62).to_le_bytes(), at).unwrap();
    let opened = Producer::options().open(&name);
    assert!(matches!(opened, Err(Error::Damaged(_))), "{opened:?}");
}

/// Found by a fuzzer: a damaged index led a consumer that starts at the next message to a place
/// where no message is ever written.
#[test]
fn the_front_is_found_with_a_damaged_index() {
    use ipcq::__binding::layout::{at, HEADER_BYTES};
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = fill_queue(Kind::Variable, &name);
    let g = *out.geometry();
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&name)
        .unwrap();
    let mut index = vec![0; g.index_entries as usize * 16];
    for _ in 0..50 {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, at::PUBLISHED as u64).unwrap();
        let published = u64::from_le_bytes(word);
        let lap = published & !(g.capacity - 1);
        file.read_exact_at(&mut index, HEADER_BYTES).unwrap();
        // All entries except the one that leads to the front.
        for entry in (0..g.index_entries).filter(|entry| *entry != (published - lap) / g.block) {
            let position = lap + entry * g.block;
            let words = [position.to_le_bytes(), out.next_sequence().to_le_bytes()];
            file.write_all_at(&words.concat(), HEADER_BYTES + entry * 16)
                .unwrap();
        }
        let mut q = Consumer::options().start(Start::Next).open(&name).unwrap();
        file.write_all_at(&index, HEADER_BYTES).unwrap();
        let next = out.next_sequence();
        push_next(&mut out);
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, next);
    }
}

// --- an unprivileged reader ----------------------------------------------------------------------

/// Whether this test can run children as another user. Prints a message if it cannot.
fn is_root() -> bool {
    // SAFETY: the call has no arguments and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: only root can start a process as another user");
    }
    root
}

/// Drops all privileges of this process.
fn become_nobody() {
    // SAFETY: an empty list of groups, and numbers.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setgid(NOBODY), 0);
        assert_eq!(libc::setuid(NOBODY), 0);
    }
}

/// A directory that others may read.
fn open_dir() -> Dir {
    let dir = Dir::new();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    dir
}

/// A queue that others may read but not write.
fn readable() -> ipcq::ProducerOptions {
    Kind::Fixed(24)
        .options(64)
        .permissions(0o644)
        .control_permissions(0o600)
}

fn read_as_nobody(name: &Path) {
    become_nobody();
    let mut q = Consumer::options().open(name).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps
        .lines()
        .filter(|line| line.contains(argument("NAME").as_str()))
    {
        say(format_args!("map {line}"));
    }
    say("mapped");
    // It cannot get write access later either.
    let view = {
        (0..5).for_each(|_| assert!(pop_next(&mut q).unwrap().is_some()));
        q.peek().unwrap().unwrap()
    };
    let page = (view.as_ptr() as usize & !4095) as *mut libc::c_void;
    // SAFETY: the page is part of the mapping, and only its protection is to change.
    let changed = unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!(changed, -1, "the mapping can be made writable");
    for extension in ["", ".ctl", ".lock"] {
        let file = format!("{}{extension}", name.display());
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(file);
        assert!(opened.is_err(), "{extension} can be written");
    }
    // Every lock that a reader can take. The last byte belongs to the producer.
    let file = std::fs::File::open(name).unwrap();
    let mut all = libc::flock {
        l_type: libc::F_RDLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: ipcq::__binding::layout::lock_byte::PRODUCER_ALIVE as i64,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open and `all` is valid for reads.
    unsafe {
        assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &all), -1);
        all.l_start += 1;
        assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &all), 0);
        assert_eq!(libc::flock(file.as_raw_fd(), libc::LOCK_EX), 0);
    }
    let next = |q: &mut Consumer| {
        let m = eventually("a message", || pop_next(q).unwrap());
        assert_eq!(m.lost, 0);
        m.sequence
    };
    (5..10).for_each(|sequence| assert_eq!(next(&mut q), sequence));
    say("locked");
    (10..20).for_each(|sequence| assert_eq!(next(&mut q), sequence));
    say("continued");
    listen();
}

#[test]
fn an_unprivileged_reader_reads_everything_and_blocks_no_process() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    let name = dir.name("q");
    let mut producer = Process::start("produce", &[("NAME", &name)]);
    producer.expect("10");
    let mut reader = Process::start("read", &[("NAME", &name)]);
    let mut maps = 0;
    loop {
        let line = reader.next_line().expect("the reader ended");
        let Some(map) = line.strip_prefix("map ") else {
            assert_eq!(line, "mapped");
            break;
        };
        assert_eq!(map.split_whitespace().nth(1), Some("r--s"), "{map}");
        maps += 1;
    }
    assert!(maps > 0, "the reader has no mapping");
    reader.expect("locked");
    assert!(matches!(
        readable().open(&name),
        Err(Error::ProducerExists(_))
    ));
    producer.kill();
    let mut producer = Process::start("produce", &[("NAME", &name)]);
    producer.expect("20");
    reader.expect("continued");
    reader.tell("end");
    reader.done();
    producer.tell("end");
    producer.done();
}

fn write_as_nobody(name: &Path) {
    become_nobody();
    let mut q = Consumer::options().open(name).unwrap();
    let view = q.peek().unwrap().unwrap();
    say("writing");
    // SAFETY: the write is not sound. It is the subject of this test and ends the process.
    unsafe { view.as_ptr().cast_mut().write_volatile(1) };
    say("written");
}

#[test]
fn writing_through_a_readers_mapping_is_fatal_to_the_writer_only() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    let name = dir.name("q");
    let mut out = readable().open(&name).unwrap();
    push_next(&mut out);
    let mut writer = Process::start("write", &[("NAME", &name)]);
    writer.expect("writing");
    assert_eq!(writer.next_line(), None);
    assert_eq!(writer.wait().signal(), Some(libc::SIGSEGV));
    push_next(&mut out);
    let mut q = Consumer::options().open(&name).unwrap();
    for sequence in 0..2 {
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, sequence);
    }
}

fn refused_as_nobody(name: &Path) {
    become_nobody();
    for (extension, consumer) in [("open", false), ("closed", true)] {
        let name = name.with_file_name(extension);
        if consumer {
            let error = Consumer::options().open(&name).unwrap_err();
            assert!(matches!(error, Error::PermissionDenied(_)), "{error:?}");
        }
        for replace in [false, true] {
            let error = Producer::options()
                .replace(replace)
                .open(&name)
                .unwrap_err();
            assert!(matches!(error, Error::PermissionDenied(_)), "{error:?}");
            assert!(
                error.to_string().contains(name.to_str().unwrap()),
                "{error}"
            );
        }
        let error = ipcq::unlink(&name).unwrap_err();
        assert!(matches!(error, Error::PermissionDenied(_)), "{error:?}");
    }
}

#[test]
fn without_permission_there_is_an_error() {
    if !is_root() {
        return;
    }
    let dir = open_dir();
    drop(readable().open(dir.name("open")).unwrap());
    drop(
        Kind::Fixed(24)
            .options(64)
            .open(dir.name("closed"))
            .unwrap(),
    );
    let before = dir.files();
    Process::start("refused", &[("NAME", &dir.name("q"))]).done();
    assert_eq!(dir.files(), before);
}

// --- faults --------------------------------------------------------------------------------------

fn few_files(name: &Path) {
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let limit_to = |most: u64| {
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: 4096,
        };
        // SAFETY: the limits are there to read.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    };
    limit_to(1024);
    // The first call installs the fork handlers and opens other descriptors that stay open.
    drop(fill_queue(Kind::Fixed(24), name));
    let before = open_files();
    // All open descriptors are below the lowest free number, which the directory listing used.
    let free = std::fs::File::open("/").unwrap().as_raw_fd() as u64;
    let (mut failed, mut opened) = (0, 0);
    for room in 0..8 {
        for fresh in [true, false] {
            let name = match fresh {
                true => name.with_file_name(format!("fresh{room}")),
                false => name.to_owned(),
            };
            limit_to(free + room);
            let producer = Kind::Fixed(24).options(64).open(&name);
            let consumer = Consumer::options().open(&name);
            limit_to(1024);
            let consumer = consumer.map(drop);
            for result in [producer.map(drop), consumer] {
                match result {
                    Ok(()) => opened += 1,
                    Err(Error::Os(libc::EMFILE, text)) => {
                        assert!(text.contains(name.to_str().unwrap()), "{text}");
                        failed += 1;
                    }
                    // The producer has failed before.
                    Err(Error::NotFound(_)) if fresh => {}
                    Err(e) => panic!("{e:?}"),
                }
            }
            assert_eq!(open_files(), before, "a descriptor was left open");
            // A failure leaves nothing behind that prevents the next open.
            drop(Kind::Fixed(24).options(64).open(&name).unwrap());
            if fresh {
                ipcq::unlink(&name).unwrap();
            }
        }
    }
    assert!(failed > 4 && opened > 4, "{failed} failed, {opened} opened");
}

#[test]
fn no_descriptors_left() {
    let dir = Dir::new();
    Process::start("few_files", &[("NAME", &dir.name("q"))]).done();
    assert_eq!(dir.files(), ["q", "q.ctl", "q.lock"]);
}

fn fifo(path: &Path) {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: the string ends with a NUL.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o666) }, 0);
}

/// Other objects in place of the data file, and whether REPLACE helps.
#[test]
fn an_object_that_is_not_a_queue_is_refused() {
    let dir = Dir::new();
    let queue = dir.name("model");
    drop(fill_queue(Kind::Fixed(24), &queue));
    let model = std::fs::read(&queue).unwrap();
    let changed = |at: usize| {
        let mut bytes = model.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    type Make<'a> = Box<dyn Fn(&Path) + 'a>;
    /// A description, how to make it, the expected error, and whether it can be replaced.
    type Case<'a> = (&'a str, Make<'a>, fn(&Error) -> bool, bool);
    let bytes =
        |bytes: Vec<u8>| -> Make { Box::new(move |at| std::fs::write(at, &bytes).unwrap()) };
    let damaged: fn(&Error) -> bool = |e| matches!(e, Error::Damaged(_));
    let version: fn(&Error) -> bool = |e| matches!(e, Error::Version(_));
    let cases: [Case; 10] = [
        (
            "a directory",
            Box::new(|at| std::fs::create_dir(at).unwrap()),
            |e| matches!(e, Error::Damaged(_) | Error::Os(libc::EISDIR, _)),
            false,
        ),
        ("a FIFO", Box::new(fifo), damaged, false),
        ("an empty file", bytes(vec![]), damaged, true),
        ("a short file", bytes(vec![7; 100]), damaged, true),
        (
            "a truncated header",
            bytes(model[..1000].to_vec()),
            damaged,
            true,
        ),
        (
            "a truncated ring",
            bytes(model[..4200].to_vec()),
            damaged,
            true,
        ),
        ("text", bytes(b"hello world\n".repeat(1000)), damaged, true),
        (
            "another magic",
            bytes(changed(ipcq::__binding::layout::at::MAGIC)),
            damaged,
            true,
        ),
        (
            "another version",
            bytes(changed(ipcq::__binding::layout::at::VERSION)),
            version,
            true,
        ),
        (
            "another framing",
            bytes(changed(ipcq::__binding::layout::at::FRAMING)),
            damaged,
            true,
        ),
    ];
    for (what, make, expected, replaceable) in cases {
        let dir = Dir::new();
        // The name is that of a queue, whatever the file contains.
        let name = dir.name("ipcq.q");
        make(&name);
        let consume = || {
            Consumer::options()
                .open_timeout(Duration::from_millis(5))
                .open(&name)
        };
        let error = consume().unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
        assert!(
            error.to_string().contains(name.to_str().unwrap()),
            "{what}: {error}"
        );
        let error = Producer::options().open(&name).unwrap_err();
        assert!(expected(&error), "{what}: {error:?}");
        let replaced = Producer::options()
            .message_size(24)
            .replace(true)
            .open(&name);
        match replaced {
            Ok(mut out) => {
                assert!(replaceable, "{what} was replaced");
                push_next(&mut out);
                assert_eq!(
                    pop_next(&mut consume().unwrap()).unwrap().unwrap().sequence,
                    0
                );
                let files = ["ipcq.q", "ipcq.q.ctl", "ipcq.q.lock"];
                assert_eq!(dir.files(), files, "{what}");
            }
            Err(e) => {
                assert!(!replaceable && expected(&e), "{what}: {e:?}");
                assert!(std::fs::symlink_metadata(&name).is_ok(), "{what} is gone");
            }
        }
    }
}

#[test]
fn a_dangling_link_is_never_written_through() {
    let dir = Dir::new();
    let name = dir.name("q");
    std::os::unix::fs::symlink(dir.name("nowhere"), &name).unwrap();
    let error = Consumer::options().open(&name).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    assert!(error.to_string().contains("symbolic link"), "{error}");
    // The producer never writes to the target of the link.
    match Producer::options().message_size(24).open(&name) {
        Ok(mut out) => {
            push_next(&mut out);
            let mut q = Consumer::options().open(&name).unwrap();
            assert!(pop_next(&mut q).unwrap().is_some());
        }
        Err(e) => assert_queue_error(e),
    }
    assert!(!dir.name("nowhere").exists());
}

/// Other objects in place of the lock file and the control file.
#[test]
fn an_object_that_is_not_a_lock_or_control_file_is_refused() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 4] = [
        ("a directory", |at| std::fs::create_dir(at).unwrap()),
        ("a FIFO", fifo),
        ("a link to nowhere", |at| {
            std::os::unix::fs::symlink(at.with_file_name("nowhere"), at).unwrap()
        }),
        ("an empty file", |at| std::fs::write(at, "").unwrap()),
    ];
    for extension in [".lock", ".ctl", ".new", ".ctl.new"] {
        for (what, make) in cases {
            let dir = Dir::new();
            let name = dir.name("q");
            let obstacle = dir.name(&format!("q{extension}"));
            make(&obstacle);
            let open = |replace| {
                let options = Producer::options().message_size(24).replace(replace);
                options.open(&name).map(|mut out| push_next(&mut out))
            };
            let results = [open(false), open(true)];
            for result in &results {
                match result {
                    // Temporary files are removed, and the control file is created again.
                    Ok(()) => {}
                    Err(Error::Os(_, text) | Error::Damaged(text)) => {
                        assert!(text.contains(obstacle.to_str().unwrap()), "{text}");
                        assert_ne!(what, "an empty file", "{text}");
                    }
                    Err(e) => panic!("{extension} is {what}: {e:?}"),
                }
            }
            assert!(!dir.name("nowhere").exists(), "{extension} is {what}");
            // After the obstacle is removed, it has no further effect.
            if results[1].is_err() {
                let _ = std::fs::remove_file(&obstacle);
                let _ = std::fs::remove_dir(&obstacle);
                open(false).unwrap();
            }
        }
    }
}

/// The length of a file is read before its type is known. That fetches none of its content.
#[test]
fn a_long_file_of_holes_takes_no_memory() {
    use std::os::unix::fs::MetadataExt;
    let dir = Dir::new();
    let name = dir.name("q");
    let lengthen = |path: &Path| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(1 << 28).unwrap();
        file
    };
    let taken = |file: &std::fs::File| file.metadata().unwrap().blocks() * 512;
    let mut out = Kind::Fixed(24).options(64).open(&name).unwrap();
    push_next(&mut out);
    // A consumer maps the control file in the same way as a producer maps the data file.
    let control = lengthen(&dir.name("q.ctl"));
    let mut q = Consumer::options().open(&name).unwrap();
    assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 0);
    assert!(taken(&control) < 1 << 20);
    drop((q, out));
    let data = lengthen(&name);
    data.write_all_at(&[0xff; 8], 32).unwrap(); // the capacity
    let e = Producer::options().open(&name).unwrap_err();
    assert!(matches!(e, Error::Damaged(_)), "{e}");
    assert!(taken(&data) < 1 << 20);
}
