//! `top`: shows the activity of queues repeatedly. It keeps no queue open between two updates, so
//! it can show any number of queues.

use crate::{look, say, stream, text, Failure};
use ipcq::{inspect, Error, Framing, Inspection};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// The options of `top`.
pub struct Options {
    pub interval: Duration,
    pub count: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            interval: Duration::from_secs(1),
            count: None,
        }
    }
}

/// Parses a time in seconds.
pub fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time >= Duration::from_millis(10) => Ok(time),
        _ => Err("less than 0.01 seconds, or too much".into()),
    }
}

/// The columns and lines of a terminal.
#[derive(Clone, Copy)]
struct Screen {
    columns: usize,
    lines: usize,
}

impl Screen {
    /// The size of the terminal, if standard output is one.
    fn find() -> Option<Screen> {
        let out = std::io::stdout();
        if !out.is_terminal() {
            return None;
        }
        // SAFETY: zero is valid for every field.
        let mut size: libc::winsize = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open and `size` is valid for writes.
        unsafe { libc::ioctl(out.as_raw_fd(), libc::TIOCGWINSZ, &mut size) };
        let or = |n: u16, usual| if n == 0 { usual } else { n.into() };
        Some(Screen {
            columns: or(size.ws_col, 80),
            lines: or(size.ws_row, 24),
        })
    }

    /// The maximum length of a name. The other columns take 64 of 80 columns.
    fn name(self) -> usize {
        16 + self.columns.saturating_sub(80) / 2
    }

    /// The maximum length of a consumer name in the last column.
    fn consumer(self) -> usize {
        6 + self.columns.saturating_sub(80) / 2
    }
}

/// One observation of a queue.
struct Look {
    name: OsString,
    at: Instant,
    found: ipcq::Result<Inspection>,
}

impl Look {
    fn error(&self) -> Option<&Error> {
        self.found.as_ref().err()
    }
}

/// Observes the queues that are to be shown. Also returns the number of names that cannot be read.
fn look(names: &[OsString]) -> Result<(Vec<Look>, usize), Failure> {
    let (listed, unreadable) = match names {
        [] => {
            let listing = ipcq::listing()?;
            (listing.queues, listing.unreadable.len())
        }
        names => (names.to_vec(), 0),
    };
    let mut looks = Vec::new();
    for name in listed {
        let found = inspect(&name);
        match &found {
            // Removed after the listing.
            Err(Error::NotFound(_)) if names.is_empty() => continue,
            Err(e) if look::is_limit(e) => return Err(e.clone().into()),
            _ => {}
        }
        let at = Instant::now();
        looks.push(Look { name, at, found });
    }
    Ok((looks, unreadable))
}

/// A line and its sort keys.
struct Row {
    blocked: bool,
    rate: f64,
    cells: Vec<String>,
}

impl Row {
    fn new(look: &Look, before: Option<&Look>, screen: Option<Screen>) -> Row {
        let name = text::name(&look.name);
        let name = screen.map_or(name.clone(), |s| text::clip(&name, s.name()));
        let nothing = |state: String| {
            let mut cells = vec!["-".to_owned(); 8];
            (cells[0], cells[7]) = (name.clone(), state);
            Row {
                blocked: false,
                rate: 0.0,
                cells,
            }
        };
        let q = match &look.found {
            Ok(q) => q,
            Err(Error::NotFound(_)) => return nothing("unlinked".into()),
            Err(e) => return nothing(text::clean(&e.to_string())),
        };
        // A queue that was created again has unrelated numbers.
        let before = before.and_then(|b| Some((b.at, b.found.as_ref().ok()?)));
        let before = before.filter(|(_, b)| b.stats.id == q.stats.id);
        let seconds = before.map_or(1.0, |(at, _)| (look.at - at).as_secs_f64());
        let (messages, units) = before.map_or((0, 0), |(_, b)| {
            let since = |now: u64, before: u64| (now.wrapping_sub(before) as i64).max(0) as u64;
            (
                since(q.stats.pushed, b.stats.pushed),
                since(q.position, b.position),
            )
        });
        let bytes = match q.geometry.framing {
            Framing::Fixed => messages as f64 * f64::from(q.geometry.message_size),
            Framing::Variable => units.saturating_sub(16 * messages) as f64,
        };
        let rate = messages as f64 / seconds;
        let most = screen.map_or(usize::MAX, Screen::consumer);
        let state = match look::state(q, most) {
            live if live == "live" && before.is_some() && messages == 0 => "idle".into(),
            state => state,
        };
        let consumers = q.consumers.as_ref();
        let known = |figure: Option<u64>| figure.map_or("?".into(), |n| short(n as f64));
        let or_new = |figure: f64| before.map_or("-".into(), |_| short(figure));
        Row {
            blocked: q.blocked,
            rate,
            cells: vec![
                name,
                short(q.stats.pushed as f64),
                or_new(rate),
                or_new(bytes / seconds),
                known(consumers.map(|list| list.len() as u64)),
                known(consumers.map(|list| list.iter().map(|c| c.lag).max().unwrap_or(0))),
                known(consumers.map(|list| list.iter().fold(0, |n, c| c.lost.saturating_add(n)))),
                state,
            ],
        }
    }
}

/// Formats a number in at most five characters.
fn short(n: f64) -> String {
    let units = ["", "k", "M", "G", "T", "P", "E"];
    let (mut n, mut unit) = (n, 0);
    while n >= 999.5 && unit + 1 < units.len() {
        (n, unit) = (n / 1000.0, unit + 1);
    }
    let digits = match n {
        n if unit == 0 && (n.fract() == 0.0 || n >= 10.0) => 0,
        n if unit == 0 && n >= 0.1 => 1,
        n if n < 9.995 => 2,
        n if n < 99.95 => 1,
        _ => 0,
    };
    format!("{n:.digits$}{}", units[unit])
}

pub fn top(names: &[OsString], o: &Options) -> Result<(), Failure> {
    // Report an unusable output at once, not only after the first interval.
    stream::output()?;
    let (mut looks, _) = look(names)?;
    // If a name does not exist at the start, it is probably misspelt.
    if let (Some(e), false) = (looks.iter().find_map(Look::error), names.is_empty()) {
        return Err(e.clone().into());
    }
    let mut left = o.count.unwrap_or(u64::MAX);
    while left > 0 {
        let before: HashMap<_, _> = looks.into_iter().map(|l| (l.name.clone(), l)).collect();
        std::thread::sleep(o.interval);
        let unreadable;
        (looks, unreadable) = look(names)?;
        let screen = Screen::find();
        let row = |look: &Look| Row::new(look, before.get(&look.name), screen);
        let mut rows: Vec<_> = looks.iter().map(row).collect();
        if names.is_empty() {
            // Equal rows stay sorted by name.
            rows.sort_by(|a, b| b.blocked.cmp(&a.blocked).then(b.rate.total_cmp(&a.rate)));
        }
        show(rows, unreadable, screen)?;
        left -= 1;
    }
    Ok(())
}

/// Prints one table. A terminal is redrawn. Otherwise the tables follow each other.
fn show(rows: Vec<Row>, unreadable: usize, screen: Option<Screen>) -> std::io::Result<()> {
    // Leave room for the heading, the line about hidden rows, and the line of the cursor.
    let room = screen.map_or(usize::MAX, |s| s.lines.saturating_sub(3));
    let hidden = rows.len().saturating_sub(room);
    let head = [
        "NAME", "PUSHED", "MSG/S", "B/S", "CONS", "LAG", "LOST", "STATE",
    ];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    cells.extend(rows.into_iter().take(room).map(|row| row.cells));
    let mut out = text::table(&cells, 1);
    let more = [(hidden, "more"), (unreadable, "that cannot be read")];
    let more: Vec<_> = more
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{n} {what}"))
        .collect();
    if !more.is_empty() {
        out.push_str(&format!("and {}\n", more.join(", and ")));
    }
    let Some(screen) = screen else {
        return say(&out);
    };
    // Disable line wrapping, so that wide characters do not push lines off the screen.
    let mut frame = String::from("\x1b[?7l\x1b[H");
    for line in out.lines() {
        frame.push_str(&text::clip(line, screen.columns));
        frame.push_str("\x1b[K\n");
    }
    frame.push_str("\x1b[J\x1b[?7h");
    say(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (n, text) in [
            (0.0, "0"),
            (2.0, "2"),
            (0.01, "0.01"),
            (0.5, "0.5"),
            (12.3, "12"),
            (999.0, "999"),
            (999.6, "1.00k"),
            (9_999.0, "10.0k"),
            (99_960.0, "100k"),
            (999_600.0, "1.00M"),
            (u64::MAX as f64, "18.4E"),
        ] {
            assert_eq!(short(n), text);
            assert!(short(n).len() <= 5);
        }
    }
}
