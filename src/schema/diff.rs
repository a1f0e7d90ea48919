//! Schemas for people: one, and two beside each other.

use super::json::push_shape;
use super::{shown, Field, Format, Schema};
use std::fmt::{self, Write};

/// More fields than this are not shown beside each other, but those that differ.
const SHOWN: usize = 24;

/// `(2,3)<f8 at 8`
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

/// A line about each field, in order: its path, and what it is. Fields of a record in the record
/// come after it; offsets are those from the start of the whole, in the first element of an array.
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
    /// As it is shown, but of many fields only the first.
    pub(crate) fn brief(&self) -> String {
        let text = self.to_string();
        let mut lines: Vec<_> = text.lines().take(SHOWN).collect();
        if lines.len() < text.lines().count() {
            lines.push("and more");
        }
        lines.join("\n")
    }

    /// If another schema is not equal to this one: both, field by field, over several lines, with a
    /// `!` before each that differs. `ours` and `theirs` say whose they are.
    pub fn difference(&self, other: &Schema, ours: &str, theirs: &str) -> Option<String> {
        if self == other {
            return None;
        }
        let (mine, its) = (all_lines(self), all_lines(other));
        let size = |schema: &Schema| format!("{} bytes", schema.itemsize);
        let sizes = (size(self), size(other));
        let mut rows = pairs(&mine, &its);
        if sizes.0 == sizes.1 && rows.iter().all(|(a, b)| a == b) {
            // Only the order differs: by place, then, and not by name.
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

/// The fields of two records, by their paths; empty where one has none.
fn pairs(mine: &[(String, String)], its: &[(String, String)]) -> Vec<(String, String)> {
    let find =
        |name: &str, list: &[(String, String)]| list.iter().find(|other| other.0 == name).map(line);
    let mut rows: Vec<_> = mine
        .iter()
        .map(|one| (line(one), find(&one.0, its).unwrap_or_default()))
        .collect();
    let new = its.iter().filter(|one| find(&one.0, mine).is_none());
    rows.extend(new.map(|one| (String::new(), line(one))));
    rows
}

/// Two columns. Where there are too many rows, only those that differ, and not too many of them.
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
        let one = |side: &str| {
            if side.is_empty() {
                "-".into()
            } else {
                side.to_owned()
            }
        };
        let _ = write!(text, "\n{mark} {:<width$}  {}", one(&row.0), one(&row.1));
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
