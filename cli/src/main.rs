//! The `ipcq` command: look at queues, follow, feed and remove them.
//!
//! `list`, `stat`, `schema` and `top` map no file. `dump` opens a queue as an observer. All of these never
//! hold a producer back and need only read permission. `push` opens a queue as its producer.

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
ipcq - look at queues in shared memory, follow, feed and remove them

usage: ipcq VERB [ARGUMENTS]

  list                     queues in the shared directory: messages pushed, process that
                           produces, capacity, state; names that cannot be read, and why
  stat NAME [--json]       everything about one queue
  schema NAME [--json]     what records its messages are: a field a line, or the JSON of a
                           numpy dtype
  top [NAME...] [--interval SECONDS] [--count N]
                           messages and bytes a second, consumers, the longest lag, messages
                           lost, state; without a name all queues, the busiest first
  dump NAME [--start oldest|newest|next|SEQUENCE] [--count N] [--follow]
            [--format hex|raw|text]
                           show messages; with --follow also later ones, until the
                           producer closes. raw writes the payloads and nothing else,
                           text a line each, hex (the default) an offset listing
  push NAME [--size N] [--capacity N]
                           push each line of standard input as a message (variable
                           length), or with --size every N bytes of it; waits while a
                           lossless queue is full
  unlink NAME [--force]    remove a queue's files; --force also while a producer has it open
  help                     this text
  --version                the version

A state is live (a producer has the queue open), idle (the same, but it has pushed nothing since the
last look of top), blocked by a consumer that a lossless queue waits for, orphaned (its producer ended
and did not close it), detached (its producer gave it up for another one), closed, or unlinked.
A NAME without '/' is the file ipcq.NAME in $IPCQ_DIR (default /dev/shm), one with '/' is a path.
Exit status: 0, also if the reader of the output closes it; 1 for an error; 2 for wrong usage.
A signal ends the command as it ends any other program.
";

/// Why the command ends early.
pub enum Failure {
    /// It was called wrongly: status 2.
    Usage(String),
    /// It could not do what was asked: status 1.
    Error(String),
    /// Nobody reads the output any more, which is no error.
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
            // Rust programs ignore SIGPIPE, so that `ipcq dump q | head` ends here.
            io::ErrorKind::BrokenPipe => Failure::Done,
            _ => Failure::Error(format!("cannot write standard output: {e}")),
        }
    }
}

/// The one name that most verbs take.
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

/// Whether anybody reads standard output still, as far as that can be known without writing to it.
pub fn has_reader() -> bool {
    let mut out = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // SAFETY: one descriptor to look at, without waiting.
    unsafe { libc::poll(&mut out, 1, 0) };
    out.revents & (libc::POLLERR | libc::POLLHUP) == 0
}

/// Writes to standard output; unlike `print!`, that may fail.
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
    // If nobody can read it, the status still says so.
    let _ = writeln!(io::stderr(), "ipcq: {}", text::clean(&message));
    ExitCode::from(status)
}
