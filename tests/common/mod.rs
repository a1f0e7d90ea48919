//! What the integration tests share: directories, child processes, and messages that can be
//! checked byte for byte.
//!
//! A child process is the test binary itself, run again with the role in the environment; each
//! binary has a test `child_main` that plays it. The two talk by lines on the pipes.

#![allow(dead_code)] // each test binary uses a part of it

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// The variable that makes the test binary a child.
const ROLE: &str = "IPCQ_TEST_ROLE";

/// After so many seconds a child dies by SIGALRM, so that a hang is a failure and not a hang.
const ALARM_SECONDS: u32 = 60;

/// A directory of the test's own, in shared memory where there is one.
pub struct Dir(tempfile::TempDir);

impl Dir {
    pub fn new() -> Dir {
        let mut builder = tempfile::Builder::new();
        builder.prefix("ipcq-test.");
        Dir(builder
            .tempdir_in("/dev/shm")
            .or_else(|_| builder.tempdir())
            .unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The name of a queue in it, as a path.
    pub fn name(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The files in it, sorted.
    pub fn files(&self) -> Vec<String> {
        let entry = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name();
        let mut names: Vec<_> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|e| entry(e).into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// The role this process is to play, if it is a child.
pub fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    // SAFETY: takes a number and cannot fail.
    unsafe { libc::alarm(ALARM_SECONDS) };
    Some(role)
}

/// An argument that the parent gave by [`Process::start`].
pub fn argument(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("no {name}"))
}

/// As [`argument`], a number.
pub fn number(name: &str) -> u64 {
    argument(name).parse().unwrap()
}

/// Says a line to the parent. The test harness writes to the same pipe, so lines are marked.
pub fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone: then there is nobody to tell.
    let _ = writeln!(out, "\n@{line}");
    let _ = out.flush();
}

/// Waits for a line from the parent; ends the process when the parent is gone.
pub fn listen() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
        std::process::exit(0);
    }
    line.trim_end().to_owned()
}

/// A command that starts this binary again: under the emulator in `IPCQ_TEST_RUNNER`, if the tests
/// were built for another processor.
pub fn this_program() -> Command {
    let this = std::env::current_exe().unwrap();
    let runner = std::env::var("IPCQ_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        None => Command::new(this),
        Some(emulator) => {
            let mut command = Command::new(emulator);
            command.args(words).arg(this);
            command
        }
    }
}

/// A child process. It is killed and waited for when dropped.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    role: String,
}

impl Process {
    /// Starts this binary again, in a role, with arguments by the environment.
    pub fn start<V: AsRef<OsStr>>(role: &str, arguments: &[(&str, V)]) -> Process {
        let mut command = this_program();
        command
            .args(["--exact", "child_main", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        for (name, value) in arguments {
            command.env(name, value);
        }
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Process {
            child,
            input,
            output,
            role: role.to_owned(),
        }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next line that the child says; `None` if it ended without one.
    pub fn next_line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.output.read_until(b'\n', &mut line).unwrap() == 0 {
                return None;
            }
            if let Some(said) = line.strip_prefix(b"@") {
                return Some(String::from_utf8_lossy(said).trim_end().to_owned());
            }
        }
    }

    /// The next line, which must begin so; what follows.
    pub fn expect(&mut self, word: &str) -> String {
        let Some(line) = self.next_line() else {
            panic!(
                "{} ended before it said {word}: {:?}",
                self.role,
                self.child.wait()
            );
        };
        match line.strip_prefix(word) {
            Some(rest) => rest.trim().to_owned(),
            None => panic!("{} said {line:?}, expected {word}", self.role),
        }
    }

    /// Says a line to the child.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: takes numbers; the process is our child, and was not waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// `kill -9`, and waits. It must not have ended by itself.
    pub fn kill(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{} has ended: {ended:?}", self.role);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.input = None;
        self.child.wait().unwrap()
    }

    /// Waits for the child to end well.
    pub fn done(mut self) {
        let status = self.wait();
        assert!(status.success(), "{}: {status}", self.role);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Forks a process that does this, and never comes back from it.
pub fn fork(life: impl FnOnce()) -> i32 {
    // SAFETY: this process has one thread beside the harness's, which holds no lock.
    match unsafe { libc::fork() } {
        0 => {
            // It must not outlive a test that fails, stopped perhaps, with the test's pipes.
            // SAFETY: takes numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
            // SAFETY: ends the process at once, without the handlers of the parent.
            unsafe { libc::_exit(1) }
        }
        child => {
            assert!(child > 0, "fork");
            child
        }
    }
}

/// As [`fork`], for one that ends when it has done this: well, unless it panicked.
pub fn fork_to_the_end(life: impl FnOnce()) -> i32 {
    fork(|| {
        life();
        // SAFETY: ends the process at once, without the handlers of the parent.
        unsafe { libc::_exit(0) }
    })
}

/// Waits for a child of this process; how it ended.
pub fn wait_for(child: i32) -> ExitStatus {
    let mut status = 0;
    // SAFETY: `status` is a place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    ExitStatus::from_raw(status)
}

/// Polls until the condition holds.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "it never came: {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One step of splitmix64: numbers that look random, from numbers.
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random numbers that are the same in each run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// One of `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Fills a message with what only the message of this sequence and length has.
pub fn fill(sequence: u64, message: &mut [u8]) {
    let seed = mix(sequence ^ ((message.len() as u64) << 48));
    for (i, bytes) in message.chunks_mut(8).enumerate() {
        let word = seed
            .wrapping_add((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .to_le_bytes();
        bytes.copy_from_slice(&word[..bytes.len()]);
    }
}

/// The message of this sequence.
pub fn message(sequence: u64, length: usize) -> Vec<u8> {
    let mut message = vec![0; length];
    fill(sequence, &mut message);
    message
}

/// A length for each sequence: of four messages one has any length, the others are short.
pub fn length_of(sequence: u64, longest: usize) -> usize {
    let random = mix(!sequence);
    let longest = if random % 4 == 0 {
        longest
    } else {
        longest.min(64)
    };
    ((random >> 2) % (longest as u64 + 1)) as usize
}

/// Whether these bytes are the message of this sequence, whole.
pub fn is_whole(sequence: u64, got: &[u8]) -> bool {
    let seed = mix(sequence ^ ((got.len() as u64) << 48));
    got.chunks(8).enumerate().all(|(i, bytes)| {
        let word = seed
            .wrapping_add((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .to_le_bytes();
        bytes == &word[..bytes.len()]
    })
}

/// A queue of either framing, small enough to be lapped soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Messages of so many bytes.
    Fixed(u32),
    Variable,
}

impl Kind {
    /// Options for a ring of this capacity: messages, or bytes.
    pub fn options(self, capacity: u64) -> ipcq::ProducerOptions {
        let size = match self {
            Kind::Fixed(size) => size,
            Kind::Variable => 0,
        };
        ipcq::Producer::options()
            .capacity(capacity)
            .message_size(size)
    }
}

/// The length that the message of this sequence has in this queue.
pub fn length_in(geometry: &ipcq::Geometry, sequence: u64) -> usize {
    match geometry.message_size {
        0 => length_of(sequence, geometry.max_message() as usize),
        size => size as usize,
    }
}

/// Pushes the message of the next sequence.
pub fn push_next(producer: &mut ipcq::Producer) {
    let sequence = producer.next_sequence();
    let length = length_in(producer.geometry(), sequence);
    producer.push(&message(sequence, length)).unwrap();
}

/// Pops, and checks every byte.
pub fn pop_next(consumer: &mut ipcq::Consumer) -> ipcq::Result<Option<ipcq::Meta>> {
    let mut buffer = vec![0; consumer.max_message()];
    let Some(got) = consumer.pop(&mut buffer)? else {
        return Ok(None);
    };
    let length = length_in(consumer.geometry(), got.sequence);
    assert_eq!(got.length as usize, length, "message {}", got.sequence);
    assert!(
        is_whole(got.sequence, &buffer[..length]),
        "message {} is torn",
        got.sequence
    );
    Ok(Some(got))
}

/// What a consumer found that popped in one of its ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Nothing,
    Messages,
    /// What it looked at in place was overwritten meanwhile.
    Overwritten,
}

/// Pops in this way: "pop", "many" at once, or looks at one in place ("peek") or at several
/// ("run"). Each message is given with its sequence, and what was lost before it. The buffer has
/// room for some of the longest messages.
pub fn pop_by(
    how: &str,
    q: &mut ipcq::Consumer,
    buffer: &mut [u8],
    mut take: impl FnMut(u64, u64, &[u8]),
) -> ipcq::Result<Found> {
    let size = q.max_message();
    let mut take_all = |first: ipcq::Meta, count: usize, buffer: &[u8]| {
        for (i, bytes) in buffer.chunks(size).take(count).enumerate() {
            let lost = if i == 0 { first.lost } else { 0 };
            take(
                first.sequence + i as u64,
                lost,
                &bytes[..first.length as usize],
            );
        }
        Found::Messages
    };
    let released = |released: ipcq::Result<()>| match released {
        Ok(()) => Ok(true),
        Err(ipcq::Error::Overrun(_)) => Ok(false),
        Err(e) => Err(e),
    };
    Ok(match how {
        "many" => match q.pop_many(buffer, size)? {
            Some((count, first)) => take_all(first, count, buffer),
            None => Found::Nothing,
        },
        "peek" => match q.peek()? {
            Some(view) => {
                let m = view.meta();
                view.read(0, &mut buffer[..m.length as usize])?;
                match released(view.release())? {
                    true => take_all(m, 1, buffer),
                    false => Found::Overwritten,
                }
            }
            None => Found::Nothing,
        },
        "run" => match q.peek_many(buffer.len() / size)? {
            Some(run) => {
                let (first, count) = (run.first(), run.count());
                for (i, bytes) in buffer.chunks_mut(size).take(count).enumerate() {
                    run.read(i, 0, &mut bytes[..first.length as usize])?;
                }
                match released(run.release())? {
                    true => take_all(first, count, buffer),
                    false => Found::Overwritten,
                }
            }
            None => Found::Nothing,
        },
        "pop" => match q.pop(buffer)? {
            Some(m) => take_all(m, 1, buffer),
            None => Found::Nothing,
        },
        how => panic!("no way to pop is {how}"),
    })
}

/// Checks the promise about the accounts of a consumer that began there.
pub fn check_accounts(consumer: &ipcq::Consumer, start: u64) -> ipcq::Stats {
    let s = consumer.stats().unwrap();
    let accounted = s.received.wrapping_add(s.lost).wrapping_add(s.lag);
    assert_eq!(
        accounted,
        s.pushed.wrapping_sub(start),
        "start {start}, {s:?}"
    );
    s
}

/// Words in a file, for processes of a test to share; what is written outlives who wrote it.
pub struct Words(memmap2::MmapMut);

impl Words {
    pub fn open(path: &Path) -> Words {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .unwrap();
        file.set_len(4096).unwrap();
        // SAFETY: nobody shortens the file, and all accesses to it are atomic.
        Words(unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap())
    }

    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < 512);
        // SAFETY: aligned and inside the mapping.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().cast_mut().cast::<u64>().add(index)) }
    }
}
