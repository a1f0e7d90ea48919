//! What the bytes of a message mean: the fields of a record, as the queue's header holds them.
//!
//! A schema is kept as the JSON of a numpy dtype, `{"names":[…],"formats":[…],"offsets":[…],
//! "itemsize":n}`, because that says all there is to say about a C struct, its padding included,
//! and is of use as it is. A format is
//!
//! - that of a scalar, as numpy writes it: `<f8`, `|u1`, `|b1`, `|S16`;
//! - an array of them: `(2,3)<f8`;
//! - a record in the record: such an object again;
//! - an array of records: `[object, [2,3]]`. This one numpy takes only as a tuple.

mod diff;
mod json;
mod record;

pub use record::{field_of, schema_of, Chars, Element, Record};

use crate::error::{Error, Result};
use crate::format::data_file::MAX_MESSAGE;
use std::fmt;

/// Fields in all, those of records in records included.
const MAX_FIELDS: usize = 1024;
/// Records in records in records …
const MAX_DEPTH: usize = 16;
/// Bytes of a field's name.
const MAX_NAME: usize = 255;
/// Dimensions of an array.
const MAX_DIMENSIONS: usize = 8;

/// The fields of a record, and how long it is: all of a C struct that others need to know.
///
/// It is valid by construction: each field lies in the record, and no two have one name. Fields may
/// overlap, as those of a union do, and may come in any order; numpy allows both. Two schemas are
/// equal if everything is, the order of the fields included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    fields: Vec<Field>,
    itemsize: u32,
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    name: String,
    offset: u32,
    format: Format,
    shape: Vec<u32>,
}

/// What a field holds, or each element of one that is an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A number, a boolean, a string.
    Scalar(Scalar),
    /// A record in the record.
    Record(Schema),
}

/// The format of a scalar, as numpy writes it: `<f8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    text: String,
    size: u32,
}

impl Scalar {
    /// Reads a format: a kind and a size, with or without the byte order in front of it.
    ///
    /// Unsigned and signed integers `u1` to `u8` and `i1` to `i8`; floats `f2`, `f4`, `f8` and
    /// `f16`, the `long double` of C; complex numbers `c8`, `c16`, `c32`; `b1`, a boolean; `S16`, a
    /// string of up to 16 bytes, filled up with zeroes; `U4`, of up to four 32-bit characters;
    /// `V16`, bytes of no meaning; times and spans, `M8[ns]` and `m8[ns]`. All are little-endian.
    ///
    /// # Errors
    /// [`Error::Invalid`]
    pub fn parse(format: &str) -> Result<Scalar> {
        Scalar::read(format).ok_or_else(|| {
            invalid(format!(
                "\"{}\" is no format: one as \"<f8\" or \"|S16\", and little-endian",
                shown(format)
            ))
        })
    }

    fn read(format: &str) -> Option<Scalar> {
        let bare = format.strip_prefix(['<', '|', '=']).unwrap_or(format);
        let mut rest = bare.chars();
        let kind = rest.next()?;
        let rest = rest.as_str();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = rest.split_at(digits);
        if number.starts_with('0') {
            return None;
        }
        let number: u32 = number.parse().ok()?;
        let size = match (kind, number) {
            ('u' | 'i', 1 | 2 | 4 | 8) => number,
            ('f', 2 | 4 | 8 | 16) => number,
            ('c', 8 | 16 | 32) => number,
            ('b', 1) => 1,
            ('S' | 'V', n) if u64::from(n) <= MAX_MESSAGE => n,
            ('U', n) if u64::from(n) <= MAX_MESSAGE / 4 => n * 4,
            ('M' | 'm', 8) => 8,
            _ => return None,
        };
        match unit {
            "" => {}
            _ if matches!(kind, 'M' | 'm') && is_time_unit(unit) => {}
            _ => return None,
        }
        let order = match (kind, size) {
            ('S' | 'V' | 'b', _) | ('u' | 'i', 1) => '|',
            _ => '<',
        };
        Some(Scalar {
            text: format!("{order}{kind}{number}{unit}"),
            size,
        })
    }

    /// As numpy writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Bytes.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The letter of its kind: `u`, `i`, `f`, `c`, `b`, `S`, `U`, `V`, `M` or `m`.
    pub fn kind(&self) -> char {
        self.text[1..].chars().next().unwrap_or('V')
    }
}

/// Whether it is one of numpy's, such as `[ns]` or `[25us]`.
fn is_time_unit(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let Some(inner) = inner else { return false };
    let unit = inner.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = &inner[..inner.len() - unit.len()];
    const UNITS: [&str; 13] = [
        "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as",
    ];
    UNITS.contains(&unit) && number.len() <= 9 && !number.starts_with('0')
}

impl From<Scalar> for Format {
    fn from(scalar: Scalar) -> Format {
        Format::Scalar(scalar)
    }
}

impl From<Schema> for Format {
    fn from(schema: Schema) -> Format {
        Format::Record(schema)
    }
}

impl Format {
    /// Bytes.
    pub fn size(&self) -> u32 {
        match self {
            Format::Scalar(scalar) => scalar.size,
            Format::Record(schema) => schema.itemsize,
        }
    }
}

impl Format {
    /// What C aligns it to: 16 bytes at most.
    fn alignment(&self) -> u32 {
        match self {
            Format::Record(schema) => schema.alignment(),
            Format::Scalar(scalar) => match scalar.kind() {
                'S' | 'V' | 'b' => 1,
                'U' => 4,
                // Two numbers.
                'c' => scalar.size / 2,
                _ => scalar.size,
            },
        }
    }
}

impl Field {
    /// A field that begins so many bytes into the record. Whether it has room there is for
    /// [`Schema::new`] to say.
    pub fn new(name: impl Into<String>, offset: u32, format: impl Into<Format>) -> Field {
        Field {
            name: name.into(),
            offset,
            format: format.into(),
            shape: Vec::new(),
        }
    }

    /// The same, as an array: elements of each dimension, the outermost first, as in C.
    pub fn array(mut self, shape: &[u32]) -> Field {
        self.shape = shape.to_vec();
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes from the start of the record that it is a field of.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// What it, or each of its elements, holds.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Elements of each dimension; empty if it is no array.
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// Bytes of all of it; `None` if that is no number.
    fn bytes(&self) -> Option<u64> {
        let elements = self.shape.iter().map(|&n| u64::from(n));
        elements
            .chain([self.format.size().into()])
            .try_fold(1u64, u64::checked_mul)
    }
}

impl Schema {
    /// A record of `itemsize` bytes with these fields.
    ///
    /// # Errors
    /// [`Error::Invalid`]: no fields, or more than 1024; one that does not lie in the record, or
    /// has no name, one of more than 255 bytes, or another's; an array of nothing, or of more than
    /// 8 dimensions; records nested deeper than 16; a record of more than 1 GiB; a description of
    /// more than 64 KiB.
    pub fn new(itemsize: u32, fields: Vec<Field>) -> Result<Schema> {
        if itemsize == 0 || u64::from(itemsize) > MAX_MESSAGE {
            return Err(invalid(format!(
                "a record of {itemsize} bytes: 1 to {MAX_MESSAGE}"
            )));
        }
        if fields.is_empty() {
            return Err(invalid("a record without fields".into()));
        }
        fields.iter().try_for_each(|field| field.check(itemsize))?;
        let mut names: Vec<_> = fields.iter().map(Field::name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(invalid(format!(
                "two fields have the name \"{}\"",
                shown(twice[0])
            )));
        }
        let schema = Schema { fields, itemsize };
        if schema.depth() > MAX_DEPTH {
            return Err(invalid(format!(
                "records are nested more than {MAX_DEPTH} deep"
            )));
        }
        let (fields, json) = (schema.count(), schema.to_json().len());
        if fields > MAX_FIELDS || json > crate::format::data_file::MAX_SCHEMA as usize {
            return Err(invalid(format!(
                "{fields} fields, described in {json} bytes: at most {MAX_FIELDS}, in {}",
                crate::format::data_file::MAX_SCHEMA
            )));
        }
        Ok(schema)
    }

    /// The fields, in the order given.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Bytes of the record, with the padding at its end.
    pub fn itemsize(&self) -> u32 {
        self.itemsize
    }

    /// What C aligns the record to, if it is not packed: at most 16 bytes.
    pub(crate) fn alignment(&self) -> u32 {
        let fields = self.fields.iter();
        fields
            .map(|field| field.format.alignment())
            .max()
            .unwrap_or(1)
    }

    fn depth(&self) -> usize {
        let below = self.records().map(Schema::depth).max();
        1 + below.unwrap_or(0)
    }

    fn count(&self) -> usize {
        self.fields.len() + self.records().map(Schema::count).sum::<usize>()
    }

    /// Those in this one.
    fn records(&self) -> impl Iterator<Item = &Schema> {
        self.fields.iter().filter_map(|field| match &field.format {
            Format::Record(schema) => Some(schema),
            Format::Scalar(_) => None,
        })
    }
}

impl Field {
    /// Whether it can be a field of a record of so many bytes.
    fn check(&self, itemsize: u32) -> Result<()> {
        let name = shown(&self.name);
        if self.name.is_empty() || self.name.len() > MAX_NAME {
            return Err(invalid(format!(
                "field \"{name}\": a name has 1 to {MAX_NAME} bytes"
            )));
        }
        if self.shape.len() > MAX_DIMENSIONS || self.shape.contains(&0) {
            return Err(invalid(format!(
                "field \"{name}\": an array has 1 to {MAX_DIMENSIONS} dimensions, each of 1 or more"
            )));
        }
        let end = self.bytes().and_then(|n| n.checked_add(self.offset.into()));
        match end {
            Some(end) if end <= itemsize.into() => Ok(()),
            _ => Err(invalid(format!(
                "field \"{name}\", {self}, does not lie in a record of {itemsize} bytes"
            ))),
        }
    }
}

/// `(2,3)<f8 at 8`
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        diff::write(f, self, self.offset.into())
    }
}

/// Each field on a line, and the size: for people.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        diff::list(f, self)
    }
}

fn invalid(text: String) -> Error {
    Error::Invalid(text.into())
}

/// A name that somebody gave, for people: short, and without what does things to a terminal.
fn shown(name: &str) -> String {
    const LONGEST: usize = 40;
    let mut text: String = name
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if name.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
