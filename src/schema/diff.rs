//! Schemas as text for people: one schema, or the differences between two.

use super::json::push_shape;
use super::{shown, Field, Format, Schema};
use std::fmt::{self, Write};

/// The maximum number of fields in a text. A comparison with more fields shows only those that
/// differ.
const SHOWN: usize = 24;

/// Writes a field as `(2,3)<f8 at 8`.
pub(super) fn write(f: &mut impl Write, field: &Field, offset: u64) -> fmt::Result {
    let mut shape = String::new();
    push_shape(&mut shape, &field.shape);
    match &field.format {
        Format::Scalar(scalar) => write!(f, "{shape}{} at {offset}", scalar.text),
        Format::Record(schema) => {
            let space = if shape.is_empty() { "" } else { " " };
            write!(
                f,
                "{shape}{space}record of {} bytes at {offset}",
                schema.itemsize
            )
        }
    }
}

/// Returns the path and the description of each field, in order. The fields of a nested record come
/// after it. Offsets count from the start of the outermost record. For an array they are those of
/// its first element.
fn lines(schema: &Schema, path: &str, from: u64, to: &mut Vec<(String, String)>) {
    for field in &schema.fields {
        let name = format!("{path}{}", shown(&field.name));
        let offset = from + u64::from(field.offset);
        let mut what = String::new();
        let _ = write(&mut what, field, offset);
        let below = match field.shape.len() {
            0 => format!("{name}."),
            n => format!("{name}{}.", "[0]".repeat(n)),
        };
        to.push((name, what));
        if let Format::Record(record) = &field.format {
            lines(record, &below, offset, to);
        }
    }
}

fn all_lines(schema: &Schema) -> Vec<(String, String)> {
    let mut list = Vec::new();
    lines(schema, "", 0, &mut list);
    list
}

pub(super) fn list(f: &mut fmt::Formatter<'_>, schema: &Schema) -> fmt::Result {
    let lines = all_lines(schema);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0);
    for (name, what) in lines {
        writeln!(f, "{name:<width$}  {what}")?;
    }
    write!(f, "{} bytes", schema.itemsize)
}

impl Schema {
    /// As `Display`, but with the first fields only if there are many.
    pub(crate) fn brief(&self) -> String {
        let text = self.to_string();
        let mut lines: Vec<_> = text.lines().take(SHOWN).collect();
        if lines.len() < text.lines().count() {
            lines.push("and more");
        }
        lines.join("\n")
    }

    /// Compares two schemas. If they differ, returns both, field by field over several lines, with
    /// a `!` before each field that differs. `ours` and `theirs` are the headings of the two
    /// columns.
    pub fn difference(&self, other: &Schema, ours: &str, theirs: &str) -> Option<String> {
        if self == other {
            return None;
        }
        let (mine, its) = (all_lines(self), all_lines(other));
        let size = |schema: &Schema| format!("{} bytes", schema.itemsize);
        let sizes = (size(self), size(other));
        let mut rows = pairs(&mine, &its);
        if sizes.0 == sizes.1 && rows.iter().all(|(a, b)| a == b) {
            // Only the order differs, so compare by position and not by name.
            rows = mine
                .iter()
                .zip(&its)
                .map(|(a, b)| (line(a), line(b)))
                .collect();
        }
        rows.insert(0, sizes);
        Some(table((ours, theirs), &rows))
    }
}

fn line((name, what): &(String, String)) -> String {
    format!("{name} {what}")
}

/// Pairs the fields of two records by their paths. The side that lacks a field is empty.
fn pairs(mine: &[(String, String)], its: &[(String, String)]) -> Vec<(String, String)> {
    let find =
        |name: &str, list: &[(String, String)]| list.iter().find(|other| other.0 == name).map(line);
    let mut rows: Vec<_> = mine
        .iter()
        .map(|field| (line(field), find(&field.0, its).unwrap_or_default()))
        .collect();
    let new = its.iter().filter(|field| find(&field.0, mine).is_none());
    rows.extend(new.map(|field| (String::new(), line(field))));
    rows
}

/// Formats two columns. If there are too many rows, it shows only those that differ, up to the
/// limit.
fn table(head: (&str, &str), rows: &[(String, String)]) -> String {
    let differs = |(a, b): &(String, String)| a != b;
    let all = rows.len() <= SHOWN;
    let chosen: Vec<_> = rows.iter().filter(|row| all || differs(row)).collect();
    let shown = &chosen[..chosen.len().min(SHOWN)];
    let widths = shown.iter().map(|row| row.0.chars().count());
    let width = widths.chain([head.0.chars().count()]).max().unwrap_or(0);
    let mut text = format!("  {:<width$}  {}", head.0, head.1);
    for row in shown {
        let mark = if differs(row) { '!' } else { ' ' };
        let cell = |side: &str| {
            if side.is_empty() {
                "-".into()
            } else {
                side.to_owned()
            }
        };
        let _ = write!(text, "\n{mark} {:<width$}  {}", cell(&row.0), cell(&row.1));
    }
    let (more, equal) = (chosen.len() - shown.len(), rows.len() - chosen.len());
    if more > 0 {
        let _ = write!(text, "\n  and {more} more that differ");
    }
    if equal > 0 {
        let _ = write!(text, "\n  and {equal} that are equal");
    }
    text
}
