//! Shared by the integration tests: directories, child processes, and messages that can be checked
//! byte for byte.
//!
//! A child process is the test binary, run again with a role in the environment. The test
//! `child_main` of each binary runs the role. Parent and child exchange lines over pipes.

#![allow(dead_code)] // each test binary uses a part of it

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// The environment variable that makes the test binary a child.
const ROLE: &str = "IPCQ_TEST_ROLE";

/// After this many seconds SIGALRM kills a child, so that a hang becomes a failure.
const ALARM_SECONDS: u32 = 60;

/// A directory for one test, in shared memory if possible.
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

    /// The path of a queue in the directory.
    pub fn name(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The names of the files in the directory, sorted.
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

/// The role of this process, if it is a child.
pub fn role() -> Option<String> {
    let role = std::env::var(ROLE).ok()?;
    // SAFETY: the call takes a number and cannot fail.
    unsafe { libc::alarm(ALARM_SECONDS) };
    Some(role)
}

/// An argument that the parent passed to [`Process::start`].
pub fn argument(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("no {name}"))
}

/// As [`argument`], parsed as a number.
pub fn number(name: &str) -> u64 {
    argument(name).parse().unwrap()
}

/// Sends a line to the parent. The line is marked, because the test harness writes to the same
/// pipe.
pub fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // The parent may have ended. Then the line is dropped.
    let _ = writeln!(out, "\n@{line}");
    let _ = out.flush();
}

/// Waits for a line from the parent. Ends the process if the parent has ended.
pub fn listen() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
        std::process::exit(0);
    }
    line.trim_end().to_owned()
}

/// A command that starts this binary again. If the tests were built for another processor, it uses
/// the emulator in `IPCQ_TEST_RUNNER`.
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

/// A child process. Dropping it kills the child and waits for it.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    role: String,
}

impl Process {
    /// Starts this binary again in a role. The arguments are passed in the environment.
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

    /// The next line from the child. `None` if it ended first.
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

    /// The next line, which must begin with `word`. Returns the rest of it.
    pub fn expect(&mut self, word: &str) -> String {
        let Some(line) = self.next_line() else {
            panic!(
                "{} ended before it sent {word}: {:?}",
                self.role,
                self.child.wait()
            );
        };
        match line.strip_prefix(word) {
            Some(rest) => rest.trim().to_owned(),
            None => panic!("{} sent {line:?}, expected {word}", self.role),
        }
    }

    /// Sends a line to the child.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the call takes numbers. The process is our child and was not waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Sends SIGKILL and waits. The child must not have ended by itself.
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

    /// Waits for the child, which must end successfully.
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

/// Forks a process that runs `body` and then ends.
pub fn fork(body: impl FnOnce()) -> i32 {
    // SAFETY: besides the thread of the harness, which holds no lock, this process has one thread.
    match unsafe { libc::fork() } {
        0 => {
            // The child must not outlive a failed test, possibly stopped, with the pipes of the
            // test.
            // SAFETY: the call takes numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: ends the process at once, without the exit handlers of the parent.
            unsafe { libc::_exit(1) }
        }
        child => {
            assert!(child > 0, "fork");
            child
        }
    }
}

/// As [`fork`], but the process ends with success unless `body` panics.
pub fn fork_to_the_end(body: impl FnOnce()) -> i32 {
    fork(|| {
        body();
        // SAFETY: ends the process at once, without the exit handlers of the parent.
        unsafe { libc::_exit(0) }
    })
}

/// Waits for a child of this process and returns its exit status.
pub fn wait_for(child: i32) -> ExitStatus {
    let mut status = 0;
    // SAFETY: `status` is valid for writes.
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
            "timed out: {what}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One step of splitmix64, which maps a number to one that looks random.
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random numbers that are the same in each run with the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    /// A number in `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Fills a message with bytes that identify its sequence and length.
pub fn fill(sequence: u64, message: &mut [u8]) {
    let seed = mix(sequence ^ ((message.len() as u64) << 48));
    for (i, bytes) in message.chunks_mut(8).enumerate() {
        let word = seed
            .wrapping_add((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .to_le_bytes();
        bytes.copy_from_slice(&word[..bytes.len()]);
    }
}

/// The message with this sequence.
pub fn message(sequence: u64, length: usize) -> Vec<u8> {
    let mut message = vec![0; length];
    fill(sequence, &mut message);
    message
}

/// A length for each sequence. One message of four has any length, and the others are short.
pub fn length_of(sequence: u64, longest: usize) -> usize {
    let random = mix(!sequence);
    let longest = if random % 4 == 0 {
        longest
    } else {
        longest.min(64)
    };
    ((random >> 2) % (longest as u64 + 1)) as usize
}

/// Whether these bytes are the complete message with this sequence.
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
    /// Messages of this many bytes.
    Fixed(u32),
    Variable,
}

impl Kind {
    /// Options for a ring with this capacity, in messages or in bytes.
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

/// The length of the message with this sequence in this queue.
pub fn length_in(geometry: &ipcq::Geometry, sequence: u64) -> usize {
    match geometry.message_size {
        0 => length_of(sequence, geometry.max_message() as usize),
        size => size as usize,
    }
}

/// Pushes the message with the next sequence.
pub fn push_next(producer: &mut ipcq::Producer) {
    let sequence = producer.next_sequence();
    let length = length_in(producer.geometry(), sequence);
    producer.push(&message(sequence, length)).unwrap();
}

/// Pops a message and checks every byte.
pub fn pop_next(consumer: &mut ipcq::Consumer) -> ipcq::Result<Option<ipcq::Message>> {
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

/// The result of one attempt to pop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Nothing,
    Messages,
    /// The message was overwritten while the consumer looked at it in place.
    Overwritten,
}

/// Receives messages in one of these ways: "pop", "many" (`pop_many`), "peek" (one message in
/// place) or "run" (several in place). It passes each message to `take` with its sequence and the
/// number of messages lost before it. The buffer has room for some messages of the maximum length.
pub fn pop_by(
    how: &str,
    q: &mut ipcq::Consumer,
    buffer: &mut [u8],
    mut take: impl FnMut(u64, u64, &[u8]),
) -> ipcq::Result<Found> {
    let size = q.max_message();
    let mut take_all = |first: ipcq::Message, count: usize, buffer: &[u8]| {
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
        Err(ipcq::Error::Stale(_)) => Ok(false),
        Err(e) => Err(e),
    };
    Ok(match how {
        "many" => match q.pop_many(buffer, size)? {
            Some((count, first)) => take_all(first, count, buffer),
            None => Found::Nothing,
        },
        "peek" => match q.peek()? {
            Some(view) => {
                let m = view.message();
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
        how => panic!("unknown way to pop: {how}"),
    })
}

/// Checks the promise about the statistics of a consumer that started at `start`.
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

/// Words in a file, shared by the processes of a test. Their values outlive the process that wrote
/// them.
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
        // SAFETY: the file is never shortened, and all accesses to it are atomic.
        Words(unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap())
    }

    pub fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < 512);
        // SAFETY: the word is aligned and inside the mapping.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().cast_mut().cast::<u64>().add(index)) }
    }
}
