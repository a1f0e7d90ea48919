//! `dump`: prints the messages of a queue.

use crate::{has_reader, stream, text, Failure};
use ipcq::{Consumer, Error, Message, Start};
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

/// The format of the output.
#[derive(Clone, Copy, Default)]
pub enum Format {
    #[default]
    Hex,
    Raw,
    Text,
}

/// The options of `dump`.
#[derive(Default)]
pub struct Options {
    pub start: Start,
    pub count: Option<u64>,
    pub follow: bool,
    pub format: Format,
}

/// Parses the start position.
pub fn start(text: &str) -> Result<Start, String> {
    Ok(match text {
        "oldest" => Start::Oldest,
        "newest" => Start::Newest,
        "next" => Start::Next,
        other => Start::At(
            other
                .parse()
                .map_err(|_| "neither oldest, newest, next nor a sequence")?,
        ),
    })
}

/// Parses a format.
pub fn format(text: &str) -> Result<Format, &'static str> {
    match text {
        "hex" => Ok(Format::Hex),
        "raw" => Ok(Format::Raw),
        "text" => Ok(Format::Text),
        _ => Err("neither hex, raw nor text"),
    }
}

fn show(out: &mut impl Write, format: Format, m: &Message, bytes: &[u8]) -> io::Result<()> {
    match format {
        Format::Raw => out.write_all(bytes),
        Format::Text => writeln!(out, "{}", text::payload(bytes)),
        Format::Hex => {
            write!(out, "#{} {} bytes", m.sequence, m.length)?;
            match m.lost {
                0 => writeln!(out)?,
                lost => writeln!(out, ", {lost} lost before")?,
            }
            for (line, part) in bytes.chunks(16).enumerate() {
                write!(out, "{:06x} ", line * 16)?;
                part.iter().try_for_each(|b| write!(out, " {b:02x}"))?;
                write!(out, "{:1$}  ", "", (16 - part.len()) * 3)?;
                let plain = |&b: &u8| match b {
                    b' '..=b'~' => b as char,
                    _ => '.',
                };
                writeln!(out, "{}", part.iter().map(plain).collect::<String>())?;
            }
            Ok(())
        }
    }
}

pub fn dump(name: &OsStr, o: &Options) -> Result<(), Failure> {
    let mut out = BufWriter::new(stream::output()?);
    let mut q = Consumer::options()
        .observer(true)
        .start(o.start)
        .open(name)?;
    // Without --follow, only the messages pushed until now, even if the producer pushes more.
    let end = q.stats()?.pushed;
    let mut buffer = vec![0; 4096];
    let mut left = o.count.unwrap_or(u64::MAX);
    let mut pause = Duration::from_millis(1);
    while left > 0 && (o.follow || (end.wrapping_sub(q.next_sequence()) as i64) > 0) {
        match q.pop(&mut buffer) {
            Ok(Some(m)) => {
                if !o.follow && (m.sequence.wrapping_sub(end) as i64) >= 0 {
                    break; // pushed later, and reached because of a loss
                }
                show(&mut out, o.format, &m, &buffer[..m.length as usize])?;
                (left, pause) = (left - 1, Duration::from_millis(1));
            }
            Ok(None) if o.follow => {
                out.flush()?;
                if !has_reader() {
                    return Err(Failure::Done);
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Ok(None) | Err(Error::Closed(_)) => break,
            Err(Error::MessageSize(_)) => {
                let more = (buffer.len() * 2).min(q.max_message());
                buffer.resize(more, 0);
            }
            Err(e) => {
                out.flush()?;
                return Err(e.into());
            }
        }
    }
    let lost = q.stats()?.lost;
    out.flush()?;
    if lost > 0 {
        let _ = writeln!(io::stderr(), "ipcq: {lost} messages were lost");
    }
    Ok(())
}
