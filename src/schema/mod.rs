//! The meaning of the bytes of a message: the fields of a record, as the header of the queue stores
//! them.
//!
//! A schema is stored as the JSON of a numpy dtype, `{"names":[…],"formats":[…],"offsets":[…],
//! "itemsize":n}`. That describes a C struct completely, including its padding, and numpy can use
//! it as it is. A format is one of these:
//!
//! - a scalar as numpy writes it: `<f8`, `|u1`, `|b1`, `|S16`;
//! - an array of scalars: `(2,3)<f8`;
//! - a nested record: another such object;
//! - an array of records: `[object, [2,3]]`. numpy accepts this one only as a tuple.

mod diff;
mod json;
mod record;

pub use record::{field_of, schema_of, Chars, Element, Record};

use crate::error::{Error, Result};
use crate::format::data_file::MAX_MESSAGE;
use std::fmt;

/// The maximum number of fields, including those of nested records.
const MAX_FIELDS: usize = 1024;
/// The maximum depth of nested records.
const MAX_DEPTH: usize = 16;
/// The maximum length of a field name in bytes.
const MAX_NAME: usize = 255;
/// The maximum number of dimensions of an array.
const MAX_DIMENSIONS: usize = 8;

/// The fields of a record and its size. They describe a C struct completely.
///
/// A schema is valid by construction: each field fits in the record, and no two fields have the
/// same name. Fields may overlap, as those of a union do, and may be in any order. numpy allows
/// both. Two schemas are equal if all their parts are equal, including the order of the fields.
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

/// The type of a field, or of each element if the field is an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A number, a boolean or a string.
    Scalar(Scalar),
    /// A nested record.
    Record(Schema),
}

/// The format of a scalar, as numpy writes it: `<f8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    text: String,
    size: u32,
}

impl Scalar {
    /// Parses a format: a kind and a size. A byte order in front of them is optional.
    ///
    /// The kinds are:
    /// - `u1` to `u8` and `i1` to `i8`: unsigned and signed integers;
    /// - `f2`, `f4`, `f8`, `f16`: floats, of which `f16` is `long double` in C;
    /// - `c8`, `c16`, `c32`: complex numbers;
    /// - `b1`: a boolean;
    /// - `S16`: a string of up to 16 bytes, padded with zeroes;
    /// - `U4`: a string of up to four 32-bit characters;
    /// - `V16`: opaque bytes;
    /// - `M8[ns]`, `m8[ns]`: dates and durations.
    ///
    /// All are little-endian.
    ///
    /// # Errors
    /// [`Error::Invalid`]
    pub fn parse(format: &str) -> Result<Scalar> {
        Scalar::read(format).ok_or_else(|| {
            invalid(format!(
                "\"{}\" is not a format such as \"<f8\" or \"|S16\", little-endian",
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

    /// The format as numpy writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The size in bytes.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The letter of the kind: `u`, `i`, `f`, `c`, `b`, `S`, `U`, `V`, `M` or `m`.
    pub fn kind(&self) -> char {
        self.text[1..].chars().next().unwrap_or('V')
    }
}

/// Whether the text is a time unit of numpy, such as `[ns]` or `[25us]`.
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
    /// The size in bytes.
    pub fn size(&self) -> u32 {
        match self {
            Format::Scalar(scalar) => scalar.size,
            Format::Record(schema) => schema.itemsize,
        }
    }
}

impl Format {
    /// The alignment that C gives the type: at most 16 bytes.
    fn alignment(&self) -> u32 {
        match self {
            Format::Record(schema) => schema.alignment(),
            Format::Scalar(scalar) => match scalar.kind() {
                'S' | 'V' | 'b' => 1,
                'U' => 4,
                // A complex number is two floats.
                'c' => scalar.size / 2,
                _ => scalar.size,
            },
        }
    }
}

impl Field {
    /// A field at `offset` bytes from the start of the record. [`Schema::new`] checks whether it
    /// fits.
    pub fn new(name: impl Into<String>, offset: u32, format: impl Into<Format>) -> Field {
        Field {
            name: name.into(),
            offset,
            format: format.into(),
            shape: Vec::new(),
        }
    }

    /// Makes the field an array with these dimensions, the outermost first, as in C.
    pub fn array(mut self, shape: &[u32]) -> Field {
        self.shape = shape.to_vec();
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The offset in bytes from the start of the record that contains the field.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// The type of the field, or of each element if it is an array.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// The dimensions. Empty if the field is not an array.
    pub fn shape(&self) -> &[u32] {
        &self.shape
    }

    /// The size of the whole field in bytes. `None` if it overflows.
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
    /// [`Error::Invalid`] if the record has no fields, more than 1024 fields, records nested deeper
    /// than 16, more than 1 GiB or a description of more than 64 KiB. The same if a field does not
    /// fit in the record, has an empty name, a name of more than 255 bytes or the name of another
    /// field, is an array with an empty dimension or has more than 8 dimensions.
    pub fn new(itemsize: u32, fields: Vec<Field>) -> Result<Schema> {
        if itemsize == 0 || u64::from(itemsize) > MAX_MESSAGE {
            return Err(invalid(format!(
                "the record has {itemsize} bytes, but must have 1 to {MAX_MESSAGE}"
            )));
        }
        if fields.is_empty() {
            return Err(invalid("the record has no fields".into()));
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
                "records are nested more than {MAX_DEPTH} levels deep"
            )));
        }
        let (fields, json) = (schema.count(), schema.to_json().len());
        if fields > MAX_FIELDS || json > crate::format::data_file::MAX_SCHEMA as usize {
            return Err(invalid(format!(
                "the schema has {fields} fields and {json} bytes, but the maximum is {MAX_FIELDS} \
                 fields and {} bytes",
                crate::format::data_file::MAX_SCHEMA
            )));
        }
        Ok(schema)
    }

    /// The fields, in the order of the schema.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The size of the record in bytes, including the padding at its end.
    pub fn itemsize(&self) -> u32 {
        self.itemsize
    }

    /// The alignment that C gives the record if it is not packed: at most 16 bytes.
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

    /// The records nested directly in this one.
    fn records(&self) -> impl Iterator<Item = &Schema> {
        self.fields.iter().filter_map(|field| match &field.format {
            Format::Record(schema) => Some(schema),
            Format::Scalar(_) => None,
        })
    }
}

impl Field {
    /// Checks whether the field fits in a record of `itemsize` bytes.
    fn check(&self, itemsize: u32) -> Result<()> {
        let name = shown(&self.name);
        if self.name.is_empty() || self.name.len() > MAX_NAME {
            return Err(invalid(format!(
                "field \"{name}\": a name must have 1 to {MAX_NAME} bytes"
            )));
        }
        if self.shape.len() > MAX_DIMENSIONS || self.shape.contains(&0) {
            return Err(invalid(format!(
                "field \"{name}\": an array must have 1 to {MAX_DIMENSIONS} dimensions, each at \
                 least 1"
            )));
        }
        let end = self.bytes().and_then(|n| n.checked_add(self.offset.into()));
        match end {
            Some(end) if end <= itemsize.into() => Ok(()),
            _ => Err(invalid(format!(
                "field \"{name}\", {self}, does not fit in a record of {itemsize} bytes"
            ))),
        }
    }
}

/// Shows the field as `(2,3)<f8 at 8`.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        diff::write(f, self, self.offset.into())
    }
}

/// Shows each field on a line, and then the size.
impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        diff::list(f, self)
    }
}

fn invalid(text: String) -> Error {
    Error::Invalid(text.into())
}

/// A user-supplied name for an error text: shortened, and without characters that a terminal
/// interprets.
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
