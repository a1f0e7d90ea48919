//! Shows text from other users: names, payloads and errors. The text must not control a terminal or
//! imitate other output.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// Whether a character controls a terminal, reorders text or is invisible: control characters, line
/// separators, direction marks, and characters without a width.
pub fn acts(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns the text on one line and escapes the characters that act on a terminal.
pub fn clean(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match acts(c) {
            true => out.extend(c.escape_debug()),
            false => out.push(c),
        }
    }
    out
}

/// Formats a name. Bytes that are not UTF-8 are escaped.
pub fn name(name: &OsStr) -> String {
    let mut out = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        out.push_str(&clean(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Formats a payload on one line. It keeps tabs and the joiners that some scripts need.
pub fn payload(bytes: &[u8]) -> String {
    let keep = |c| !acts(c) || matches!(c, '\t' | '\u{200c}' | '\u{200d}');
    let text = String::from_utf8_lossy(bytes);
    text.replace(|c| !keep(c), "\u{fffd}")
}

/// Returns at most `most` characters. A text that was cut ends in `…`.
pub fn clip(text: &str, most: usize) -> String {
    match text.chars().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.max(1) - 1).chain(['…']).collect(),
    }
}

/// Formats a JSON string. Bytes that are not UTF-8 become U+FFFD.
pub fn quoted(text: &OsStr) -> String {
    let mut out = String::from('"');
    for c in text.to_string_lossy().chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    json(&out)
}

/// Escapes the characters in JSON that act on a terminal. They occur only inside strings.
pub fn json(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match acts(c) {
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(out, "\\u{unit:04x}");
            }),
            false => out.push(c),
        }
    }
    out
}

/// Formats columns as wide as their longest cell, except for very long cells. The first column and
/// the last `left` ones are aligned to the left, and the others to the right.
pub fn table(rows: &[Vec<String>], left: usize) -> String {
    const WIDEST: usize = 40;
    let columns = rows.first().map_or(0, Vec::len);
    let width = |i: usize| {
        let lengths = rows.iter().map(|row| row[i].chars().count());
        lengths.filter(|n| *n <= WIDEST).max()
    };
    let widths: Vec<usize> = (0..columns).map(|i| width(i).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match i {
                _ if i + 1 == columns => writeln!(out, "{cell}"),
                _ if i == 0 || i + left >= columns => write!(out, "{cell:<width$} "),
                _ => write!(out, "{cell:>width$} "),
            };
        }
    }
    out
}
