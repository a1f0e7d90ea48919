//! `list`, `stat` and `top`: figures of queues.

use crate::{say, Failure};
use ipcq::{Consumer, Delivery, Framing, Start, Stats};
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The options of these verbs.
pub struct Options {
    pub json: bool,
    pub interval: Duration,
    pub count: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            json: false,
            interval: Duration::from_secs(1),
            count: None,
        }
    }
}

/// Reads a time in seconds.
pub fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time >= Duration::from_millis(10) => Ok(time),
        _ => Err("less than 0.01 seconds, or too much".into()),
    }
}

fn observe(name: &OsStr) -> ipcq::Result<Consumer> {
    Consumer::options()
        .observer(true)
        .start(Start::Next)
        .open(name)
}

fn state(s: &Stats) -> &'static str {
    match (s.closed, s.producer_alive) {
        (true, _) => "closed",
        (false, true) => "live",
        // It died: it neither lives nor has closed.
        (false, false) => "orphaned",
    }
}

fn yes_no(yes: bool) -> &'static str {
    match yes {
        true => "yes",
        false => "no",
    }
}

pub fn list() -> Result<(), Failure> {
    let mut text = String::new();
    for name in ipcq::list()? {
        let shown = name.to_string_lossy();
        let line = observe(&name).and_then(|q| Ok((q.stats()?, q.geometry().describe())));
        let _ = match line {
            Ok((s, what)) => writeln!(
                text,
                "{shown:<24} {:>16} {:<9} producer {:<4} {what}",
                s.pushed,
                state(&s),
                yes_no(s.producer_alive),
            ),
            // Removed since it was listed.
            Err(ipcq::Error::NotFound(_)) => continue,
            Err(e) => writeln!(text, "{shown:<24} {e}"),
        };
    }
    if !text.is_empty() {
        let head = format!("{:<24} {:>16} STATE\n", "NAME", "PUSHED");
        text.insert_str(0, &head);
    }
    Ok(say(&text)?)
}

/// A figure, as text for people and as a JSON value.
enum Figure {
    Number(u64),
    Word(&'static str),
    Truth(bool),
}

fn figures(q: &Consumer) -> ipcq::Result<Vec<(&'static str, Figure)>> {
    use Figure::{Number, Truth, Word};
    let (s, g) = (q.stats()?, q.geometry());
    let framing = match g.framing {
        Framing::Fixed => "fixed",
        Framing::Variable => "variable",
    };
    let delivery = match s.delivery {
        Delivery::Lossy => "lossy",
        Delivery::Lossless => "lossless",
    };
    Ok(vec![
        ("state", Word(state(&s))),
        ("producer_alive", Truth(s.producer_alive)),
        ("closed", Truth(s.closed)),
        ("epoch", Number(s.epoch.into())),
        ("pushed", Number(s.pushed)),
        ("oldest", Number(s.oldest)),
        ("retained", Number(s.pushed.wrapping_sub(s.oldest))),
        ("consumers", Number(s.consumers.into())),
        ("framing", Word(framing)),
        ("delivery", Word(delivery)),
        ("capacity", Number(s.capacity)),
        ("message_size", Number(s.message_size.into())),
        ("max_message", Number(s.max_message)),
        ("stride", Number(g.stride.into())),
        ("block", Number(g.block)),
        ("ring_offset", Number(g.ring_offset)),
        ("ring_bytes", Number(g.ring_bytes)),
        ("file_bytes", Number(g.file_bytes())),
        ("max_consumers", Number(g.max_consumers.into())),
        ("min_consumers", Number(g.min_consumers.into())),
        ("first_sequence", Number(g.first_sequence)),
        ("schema", Truth(q.schema().is_some())),
    ])
}

/// A JSON string. What is not UTF-8 becomes U+FFFD.
fn quoted(name: &OsStr) -> String {
    let mut out = String::from('"');
    for c in name.to_string_lossy().chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            c if c < ' ' => write!(out, "\\u{:04x}", c as u32),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}

pub fn stat(name: &OsStr, o: &Options) -> Result<(), Failure> {
    let queue = observe(name)?;
    let (figures, consumers) = (figures(&queue)?, queue.consumers()?);
    let mut text = String::new();
    if o.json {
        let _ = write!(text, "{{\"name\":{}", quoted(name));
        for (key, figure) in figures {
            let _ = match figure {
                Figure::Number(n) => write!(text, ",\"{key}\":{n}"),
                Figure::Word(w) => write!(text, ",\"{key}\":\"{w}\""),
                Figure::Truth(t) => write!(text, ",\"{key}\":{t}"),
            };
        }
        text.push_str(",\"consumer_list\":[");
        for (i, c) in consumers.iter().enumerate() {
            let _ = write!(
                text,
                "{}{{\"name\":{},\"pid\":{},\"sequence\":{},\"lag\":{},\"lost\":{},\"asleep\":{}}}",
                if i == 0 { "" } else { "," },
                quoted(OsStr::new(&c.name)),
                c.pid,
                c.sequence,
                c.lag,
                c.lost,
                c.asleep
            );
        }
        text.push_str("]}\n");
    } else {
        for (key, figure) in figures {
            let value = match figure {
                Figure::Number(n) => n.to_string(),
                Figure::Word(w) => w.into(),
                Figure::Truth(t) => yes_no(t).into(),
            };
            let _ = writeln!(text, "{key:<16} {value}");
        }
        if !consumers.is_empty() {
            let _ = writeln!(
                text,
                "\n{:<24} {:>10} {:>16} {:>16} {:>16} ASLEEP",
                "CONSUMER", "PID", "SEQUENCE", "LAG", "LOST"
            );
        }
        for c in consumers {
            // A name is whatever its process gave: no control characters reach the terminal.
            let name = c.name.replace(char::is_control, "?");
            let _ = writeln!(
                text,
                "{name:<24} {:>10} {:>16} {:>16} {:>16} {}",
                c.pid,
                c.sequence,
                c.lag,
                c.lost,
                yes_no(c.asleep)
            );
        }
    }
    Ok(say(&text)?)
}

/// What records the messages are: a field a line, or as the queue holds it.
pub fn schema(name: &OsStr, o: &Options) -> Result<(), Failure> {
    let queue = observe(name)?;
    let Some(schema) = queue.schema() else {
        let shown = name.to_string_lossy().replace(char::is_control, "?");
        return Err(Failure::Error(format!(
            "{shown}: the queue does not say what records its messages are"
        )));
    };
    let text = match o.json {
        true => schema.to_json(),
        false => schema.to_string(),
    };
    Ok(say(&format!("{text}\n"))?)
}

/// One queue that `top` watches.
struct Watched {
    name: OsString,
    queue: Consumer,
    pushed: u64,
}

impl Watched {
    fn new(name: OsString) -> ipcq::Result<Watched> {
        let queue = observe(&name)?;
        let pushed = queue.stats()?.pushed;
        Ok(Watched {
            name,
            queue,
            pushed,
        })
    }

    /// One line; counts from the last time.
    fn line(&mut self, seconds: f64) -> String {
        let shown = self.name.to_string_lossy();
        match self.queue.stats() {
            Ok(s) => {
                let rate = s.pushed.wrapping_sub(self.pushed) as f64 / seconds;
                self.pushed = s.pushed;
                // Of a variable queue only messages are counted.
                let bytes = match s.message_size {
                    0 => "-".into(),
                    size => format!("{:.0}", rate * f64::from(size)),
                };
                let state = state(&s);
                format!(
                    "{shown:<24} {:>16} {rate:>14.0} {bytes:>16} {state}\n",
                    s.pushed
                )
            }
            Err(e) => format!("{shown:<24} {e}\n"),
        }
    }
}

pub fn top(names: &[OsString], o: &Options) -> Result<(), Failure> {
    let mut watched = Vec::new();
    for name in names {
        watched.push(Watched::new(name.clone())?);
    }
    // A terminal is redrawn, a file gets one table after the other.
    let clear = match std::io::stdout().is_terminal() {
        true => "\x1b[H\x1b[2J",
        false => "",
    };
    let mut since = Instant::now();
    let mut left = o.count.unwrap_or(u64::MAX);
    while left > 0 {
        if names.is_empty() {
            let now = ipcq::list()?;
            watched.retain(|w| now.contains(&w.name));
            for name in now {
                if !watched.iter().any(|w| w.name == name) {
                    watched.extend(Watched::new(name));
                }
            }
        }
        std::thread::sleep(o.interval);
        let seconds = since.elapsed().as_secs_f64();
        since = Instant::now();
        let mut text = format!(
            "{clear}{:<24} {:>16} {:>14} {:>16} STATE\n",
            "NAME", "PUSHED", "MESSAGES/S", "BYTES/S"
        );
        for queue in &mut watched {
            text.push_str(&queue.line(seconds));
        }
        say(&text)?;
        left -= 1;
    }
    Ok(())
}
