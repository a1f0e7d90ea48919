//! The `ipcq` command: inspects, follows, feeds and removes queues.
//!
//! `list`, `stat`, `schema` and `top` map no file. `dump` opens a queue as an observer. None of
//! these verbs holds a producer back, and all need only read permission. `push` opens a queue as
//! its producer.

mod dump;
mod look;
mod push;
mod stream;
mod text;
mod top;

use lexopt::prelude::*;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

const HELP: &str = "\
ipcq - inspect, follow, feed and remove queues in shared memory

usage: ipcq VERB [ARGUMENTS]

  list                     queues in the shared directory: messages pushed, pid of the
                           producer, capacity, state; names that cannot be read, and why
  stat NAME [--json]       everything about one queue
  schema NAME [--json]     the record schema: one field per line, or the JSON of a numpy
                           dtype
  top [NAME...] [--interval SECONDS] [--count N]
                           messages and bytes per second, consumers, the longest lag, messages
                           lost, state; without a name all queues, the busiest first
  dump NAME [--start oldest|newest|next|SEQUENCE] [--count N] [--follow]
            [--format hex|raw|text]
                           show messages; with --follow also later ones, until the
                           producer closes. raw writes only the payloads, text one
                           line per message, hex (the default) a hex dump
  push NAME [--size N] [--capacity N]
                           push each line of standard input as a message (variable
                           length), or with --size every N bytes of it; waits while a
                           lossless queue is full
  unlink NAME [--force]    remove the files of a queue; with --force also while a producer
                           has it open
  help                     this text
  --version                the version

The state is live (a producer has the queue open), idle (live, but without a push since the last
update of top), blocked (a lossless queue is full and waits for this consumer), orphaned (the
producer ended without closing it), detached (the producer left it for another one), closed, or
unlinked.
A NAME without '/' is the file ipcq.NAME in $IPCQ_DIR (default /dev/shm), one with '/' is a path.
Exit status: 0, also if the reader of the output closes it; 1 for an error; 2 for wrong usage.
A signal ends the command in the same way as any other program.
";

/// The reason that the command ends early.
pub enum Failure {
    /// Wrong usage: status 2.
    Usage(String),
    /// An error: status 1.
    Error(String),
    /// The reader of the output is gone, which is not an error.
    Done,
}

impl From<lexopt::Error> for Failure {
    fn from(e: lexopt::Error) -> Self {
        Failure::Usage(e.to_string())
    }
}

impl From<ipcq::Error> for Failure {
    fn from(e: ipcq::Error) -> Self {
        Failure::Error(e.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            // Rust programs ignore SIGPIPE, so `ipcq dump q | head` ends here.
            io::ErrorKind::BrokenPipe => Failure::Done,
            _ => Failure::Error(format!("cannot write standard output: {e}")),
        }
    }
}

/// Takes the single name that most verbs need.
fn name(names: &mut Vec<OsString>) -> Result<OsString, Failure> {
    match names.pop() {
        Some(name) if names.is_empty() => Ok(name),
        Some(_) => Err(Failure::Usage("more than one queue name".into())),
        None => Err(Failure::Usage("a queue name is missing".into())),
    }
}

fn run() -> Result<(), Failure> {
    let mut parser = lexopt::Parser::from_env();
    let mut words: Vec<OsString> = Vec::new();
    let (mut json, mut force) = (false, false);
    let mut top = top::Options::default();
    let mut dump = dump::Options::default();
    let mut push = push::Options::default();
    let mut given: Vec<&'static str> = Vec::new();
    while let Some(argument) = parser.next()? {
        given.push(match argument {
            Value(word) => {
                words.push(word);
                continue;
            }
            Long("help") | Short('h') => return Ok(say(HELP)?),
            Long("version") | Short('V') => {
                return Ok(say(&format!("ipcq {}\n", ipcq::VERSION))?);
            }
            Long("json") => {
                json = true;
                "--json"
            }
            Long("interval") => {
                top.interval = parser.value()?.parse_with(top::interval)?;
                "--interval"
            }
            Long("start") => {
                dump.start = parser.value()?.parse_with(dump::start)?;
                "--start"
            }
            Long("count") | Short('n') => {
                let count = parser.value()?.parse()?;
                (dump.count, top.count) = (Some(count), Some(count));
                "--count"
            }
            Long("follow") | Short('f') => {
                dump.follow = true;
                "--follow"
            }
            Long("format") => {
                dump.format = parser.value()?.parse_with(dump::format)?;
                "--format"
            }
            Long("size") => {
                push.size = parser.value()?.parse_with(push::size)?;
                "--size"
            }
            Long("capacity") => {
                push.capacity = parser.value()?.parse()?;
                "--capacity"
            }
            Long("force") => {
                force = true;
                "--force"
            }
            other => return Err(other.unexpected().into()),
        });
    }
    if words.is_empty() {
        return Err(Failure::Usage("a verb is missing".into()));
    }
    let verb = words.remove(0);
    let verb = verb.to_string_lossy();
    let takes: &[&str] = match &*verb {
        "stat" | "schema" => &["--json"],
        "top" => &["--interval", "--count"],
        "dump" => &["--start", "--count", "--follow", "--format"],
        "push" => &["--size", "--capacity"],
        "unlink" => &["--force"],
        _ => &[],
    };
    if let Some(option) = given.iter().find(|o| !takes.contains(o)) {
        return Err(Failure::Usage(format!("{verb} takes no {option}")));
    }
    match &*verb {
        "list" if words.is_empty() => look::list(),
        "list" => Err(Failure::Usage("list takes no name".into())),
        "stat" => look::stat(&name(&mut words)?, json),
        "schema" => look::schema(&name(&mut words)?, json),
        "top" => top::top(&words, &top),
        "dump" => dump::dump(&name(&mut words)?, &dump),
        "push" => push::push(&name(&mut words)?, &push),
        "unlink" if force => Ok(ipcq::unlink(name(&mut words)?)?),
        "unlink" => Ok(ipcq::unlink_unused(name(&mut words)?)?),
        "help" => Ok(say(HELP)?),
        _ => Err(Failure::Usage(format!("no such verb: {verb}"))),
    }
}

/// Whether standard output still has a reader, as far as that is known without writing to it.
pub fn has_reader() -> bool {
    let mut out = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // SAFETY: `out` is one valid entry, and the call does not wait.
    unsafe { libc::poll(&mut out, 1, 0) };
    out.revents & (libc::POLLERR | libc::POLLHUP) == 0
}

/// Writes to standard output. Unlike `print!`, it returns an error.
pub fn say(text: &str) -> io::Result<()> {
    use std::io::Write;
    stream::output()?.write_all(text.as_bytes())
}

fn main() -> ExitCode {
    use std::io::Write;
    ipcq::__binding::speak(ipcq::__binding::Language::Command);
    let (status, message) = match run() {
        Ok(()) | Err(Failure::Done) => return ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => (2, format!("{message}: see 'ipcq help'")),
        Err(Failure::Error(message)) => (1, message),
    };
    // If the message cannot be written, the exit status still reports the error.
    let _ = writeln!(io::stderr(), "ipcq: {}", text::clean(&message));
    ExitCode::from(status)
}
