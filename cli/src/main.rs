//! The `ipcq` command: look at queues, follow, feed and remove them.
//!
//! It looks as an observer: it never holds a producer back and needs read permission only. `push`
//! alone opens a queue as its producer.

mod dump;
mod look;
mod push;

use lexopt::prelude::*;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

const HELP: &str = "\
ipcq - look at queues in shared memory, follow, feed and remove them

usage: ipcq VERB [ARGUMENTS]

  list                     queues in the shared directory: pushed, capacity, state, producer
  stat NAME [--json]       everything about one queue
  schema NAME [--json]     what records its messages are: a field a line, or the JSON of a
                           numpy dtype
  top [NAME...] [--interval SECONDS] [--count N]
                           messages and bytes a second; all queues if none is named
  dump NAME [--start oldest|newest|next|SEQUENCE] [--count N] [--follow]
            [--format hex|raw|text]
                           show messages; with --follow also those to come, until the
                           producer closes. raw writes the payloads and nothing else,
                           text a line each, hex (the default) an offset listing
  push NAME [--size N] [--capacity N]
                           push each line of standard input as a message (variable
                           length), or with --size every N bytes of it
  unlink NAME              remove a queue's files
  help                     this text
  --version                the version

A NAME without '/' is the file ipcq.NAME in $IPCQ_DIR (default /dev/shm), one with '/' is a path.
Exit status: 0, 1 for an error, 2 for wrong usage.
";

/// Why the command ends early.
pub enum Failure {
    /// It was called wrongly: status 2.
    Usage(String),
    /// It could not do what was asked: status 1.
    Error(String),
    /// Whoever read the output has gone, which is no error.
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
            _ => Failure::Error(e.to_string()),
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
    let mut look = look::Options::default();
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
                look.json = true;
                "--json"
            }
            Long("interval") => {
                look.interval = parser.value()?.parse_with(look::interval)?;
                "--interval"
            }
            Long("start") => {
                dump.start = parser.value()?.parse_with(dump::start)?;
                "--start"
            }
            Long("count") | Short('n') => {
                let count = parser.value()?.parse()?;
                (dump.count, look.count) = (Some(count), Some(count));
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
        _ => &[],
    };
    if let Some(option) = given.iter().find(|o| !takes.contains(o)) {
        return Err(Failure::Usage(format!("{verb} takes no {option}")));
    }
    match &*verb {
        "list" if words.is_empty() => look::list(),
        "list" => Err(Failure::Usage("list takes no name".into())),
        "stat" => look::stat(&name(&mut words)?, &look),
        "schema" => look::schema(&name(&mut words)?, &look),
        "top" => look::top(&words, &look),
        "dump" => dump::dump(&name(&mut words)?, &dump),
        "push" => push::push(&name(&mut words)?, &push),
        "unlink" => Ok(ipcq::unlink(name(&mut words)?)?),
        "help" => Ok(say(HELP)?),
        _ => Err(Failure::Usage(format!("no such verb: {verb}"))),
    }
}

/// Writes to standard output; unlike `print!`, that may fail.
pub fn say(text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn main() -> ExitCode {
    use std::io::Write;
    let (status, text) = match run() {
        Ok(()) | Err(Failure::Done) => return ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => (2, format!("{text}: see 'ipcq help'")),
        Err(Failure::Error(text)) => (1, text),
    };
    // That nobody hears it changes nothing.
    let _ = writeln!(io::stderr(), "ipcq: {text}");
    ExitCode::from(status)
}
