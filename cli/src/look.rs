//! `list`, `stat` and `schema`: the statistics of queues. These verbs map no file, because the
//! owner of a file could end this process by truncating it.

use crate::{say, text, Failure};
use ipcq::{inspect, Delivery, Framing, Inspection};
use std::ffi::OsStr;
use std::fmt::Write;

/// The current state of a queue. `most`: the maximum length of the name of a consumer.
pub fn state(q: &Inspection, most: usize) -> String {
    match word(q) {
        "blocked" => match (&q.blocked_by, &q.consumers) {
            (Some(c), _) => {
                let name = text::clip(&text::clean(&c.name), most);
                format!("blocked by {name} ({})", c.pid)
            }
            (None, Some(_)) => "blocked until more consumers attach".into(),
            // This user may not read the control file, which has the names.
            (None, None) => "blocked by a consumer".into(),
        },
        word => word.into(),
    }
}

/// The state in one word.
fn word(q: &Inspection) -> &'static str {
    match (q.stats.closed, q.stats.producer_alive) {
        (true, _) => "closed",
        // The next producer continues the queue.
        (false, false) if q.producer_pid == 0 => "detached",
        // The producer is not alive and has not closed the queue, so it was killed.
        (false, false) => "orphaned",
        (false, true) if q.blocked => "blocked",
        (false, true) => "live",
    }
}

/// Whether an error does not concern the queue, because this process cannot open more files.
pub fn is_limit(e: &ipcq::Error) -> bool {
    let limits = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    matches!(e, ipcq::Error::Os(errno, _) if limits.contains(errno))
}

fn yes_no(yes: bool) -> &'static str {
    match yes {
        true => "yes",
        false => "no",
    }
}

pub fn list() -> Result<(), Failure> {
    let listing = ipcq::listing()?;
    let mut rows = Vec::new();
    let mut row = |name: &OsStr, pushed: &str, producer: &str, queue: &str, state: &str| {
        let cells = [&text::name(name), pushed, producer, queue, state];
        rows.push(cells.map(str::to_owned).to_vec());
    };
    row(OsStr::new("NAME"), "PUSHED", "PRODUCER", "QUEUE", "STATE");
    let names = listing.queues.iter().map(|name| (name, true));
    let unreadable = listing.unreadable.iter().map(|name| (name, false));
    for (name, is_queue) in names.chain(unreadable) {
        match inspect(name) {
            Ok(q) => {
                let producer = match q.stats.producer_alive {
                    true => q.producer_pid.to_string(),
                    false => "-".into(),
                };
                let (pushed, state) = (q.stats.pushed.to_string(), state(&q, usize::MAX));
                row(name, &pushed, &producer, &q.geometry.describe(), &state);
            }
            // Removed after the listing.
            Err(ipcq::Error::NotFound(_)) => {}
            Err(e) if is_limit(&e) => return Err(e.into()),
            // The file has become readable, and it is not a queue.
            Err(ipcq::Error::Damaged(_)) if !is_queue => {}
            Err(e @ ipcq::Error::PermissionDenied(_)) => {
                let why = format!("unreadable: {}", text::clean(&e.to_string()));
                row(name, "-", "-", "-", &why);
            }
            Err(e) => row(name, "-", "-", "-", &text::clean(&e.to_string())),
        }
    }
    if rows.len() == 1 {
        return Ok(());
    }
    Ok(say(&text::table(&rows, 2))?)
}

/// A statistic, as text for people and as a JSON value.
enum Figure {
    Number(u64),
    Word(&'static str),
    Truth(bool),
    /// A name.
    Name(String),
}

fn figures(q: &Inspection) -> Vec<(&'static str, Figure)> {
    use Figure::{Name, Number, Truth, Word};
    let (s, g) = (&q.stats, &q.geometry);
    let framing = match g.framing {
        Framing::Fixed => "fixed",
        Framing::Variable => "variable",
    };
    let delivery = match s.delivery {
        Delivery::Lossy => "lossy",
        Delivery::Lossless => "lossless",
    };
    let by = q.blocked_by.as_ref();
    vec![
        ("state", Word(word(q))),
        ("blocked_by", Name(by.map_or("", |c| &c.name).into())),
        ("blocked_by_pid", Number(by.map_or(0, |c| c.pid.into()))),
        ("producer_alive", Truth(s.producer_alive)),
        ("producer_pid", Number(q.producer_pid.into())),
        ("closed", Truth(s.closed)),
        ("unlinked", Truth(s.unlinked)),
        ("epoch", Number(s.epoch.into())),
        ("id", Number(s.id)),
        ("pushed", Number(s.pushed)),
        ("oldest", Number(s.oldest)),
        ("retained", Number(s.pushed.wrapping_sub(s.oldest))),
        ("consumers_known", Truth(q.consumers.is_some())),
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
        ("schema", Truth(q.schema.is_some())),
    ]
}

pub fn stat(name: &OsStr, as_json: bool) -> Result<(), Failure> {
    let q = inspect(name)?;
    let out = match as_json {
        true => stat_json(name, &q),
        false => stat_text(&q),
    };
    Ok(say(&out)?)
}

fn stat_json(name: &OsStr, q: &Inspection) -> String {
    let mut out = format!("{{\"name\":{}", text::quoted(name));
    for (key, figure) in figures(q) {
        let _ = match figure {
            Figure::Number(n) => write!(out, ",\"{key}\":{n}"),
            Figure::Word(w) => write!(out, ",\"{key}\":\"{w}\""),
            Figure::Truth(t) => write!(out, ",\"{key}\":{t}"),
            Figure::Name(n) => write!(out, ",\"{key}\":{}", text::quoted(OsStr::new(&n))),
        };
    }
    out.push_str(",\"consumer_list\":[");
    for (i, c) in q.consumers.iter().flatten().enumerate() {
        let _ = write!(
            out,
            "{}{{\"name\":{},\"pid\":{},\"sequence\":{},\"lag\":{},\"lost\":{},\"asleep\":{}}}",
            if i == 0 { "" } else { "," },
            text::quoted(OsStr::new(&c.name)),
            c.pid,
            c.sequence,
            c.lag,
            c.lost,
            c.asleep
        );
    }
    out.push_str("]}\n");
    out
}

fn stat_text(q: &Inspection) -> String {
    let mut out = String::new();
    for (key, figure) in figures(q) {
        let value = match figure {
            Figure::Number(n) => n.to_string(),
            Figure::Word(_) if key == "state" => state(q, usize::MAX),
            Figure::Word(w) => w.into(),
            Figure::Truth(t) => yes_no(t).into(),
            Figure::Name(n) => text::clean(if n.is_empty() { "-" } else { &n }),
        };
        let _ = writeln!(out, "{key:<16} {value}");
    }
    let Some(consumers) = &q.consumers else {
        out.push_str("\nThis user may not read the control file, which lists the consumers.\n");
        return out;
    };
    if !consumers.is_empty() {
        let head = ["CONSUMER", "PID", "SEQUENCE", "LAG", "LOST", "ASLEEP"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(consumers.iter().map(|c| {
            vec![
                text::clean(&c.name),
                c.pid.to_string(),
                c.sequence.to_string(),
                c.lag.to_string(),
                c.lost.to_string(),
                yes_no(c.asleep).into(),
            ]
        }));
        out.push('\n');
        out.push_str(&text::table(&rows, 1));
    }
    out
}

/// Prints the record schema: one field per line, or the JSON from the queue.
pub fn schema(name: &OsStr, as_json: bool) -> Result<(), Failure> {
    let Some(schema) = inspect(name)?.schema else {
        return Err(Failure::Error(format!(
            "{}: the queue has no record schema",
            text::name(name)
        )));
    };
    let out = match as_json {
        true => text::json(&schema.to_json()),
        // `Schema` escapes the names of the fields.
        false => schema.to_string(),
    };
    Ok(say(&format!("{out}\n"))?)
}
