//! Schemas as JSON, which is the form in the header. `serde_json` parses the syntax and bounds the
//! recursion. This module checks the meaning.

use super::{invalid, shown, Field, Format, Scalar, Schema};
use crate::error::Result;
use serde_json::Value;
use std::fmt::Write;

impl Schema {
    /// Returns the JSON of a numpy dtype. After `json.loads`, numpy accepts it as it is, except for
    /// arrays of records, which are lists in JSON and tuples in numpy.
    pub fn to_json(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) {
        to.push_str("{\"names\":[");
        each(to, &self.fields, |to, field| quote(to, &field.name));
        to.push_str("],\"formats\":[");
        each(to, &self.fields, |to, field| match &field.format {
            Format::Scalar(scalar) => {
                to.push('"');
                push_shape(to, &field.shape);
                to.push_str(&scalar.text);
                to.push('"');
            }
            Format::Record(schema) if field.shape.is_empty() => schema.write(to),
            Format::Record(schema) => {
                to.push('[');
                schema.write(to);
                to.push_str(",[");
                each(to, &field.shape, |to, n| put(to, n));
                to.push_str("]]");
            }
        });
        to.push_str("],\"offsets\":[");
        each(to, &self.fields, |to, field| put(to, field.offset));
        to.push_str("],\"itemsize\":");
        put(to, self.itemsize);
        to.push('}');
    }

    /// Parses JSON that [`Schema::to_json`] or another tool has written for numpy.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the text is not JSON of this form, or for the
    /// reasons given at [`Schema::new`].
    pub fn from_json(text: &str) -> Result<Schema> {
        if text.len() > crate::format::data_file::MAX_SCHEMA as usize {
            return Err(invalid(format!(
                "the schema has {} bytes, but the maximum is {}",
                text.len(),
                crate::format::data_file::MAX_SCHEMA
            )));
        }
        let value = serde_json::from_str(text)
            .map_err(|e| invalid(format!("a schema must be JSON: {e}")))?;
        read(&value)
    }
}

/// Reads an object that describes a record.
fn read(value: &Value) -> Result<Schema> {
    const KEYS: [&str; 4] = ["names", "formats", "offsets", "itemsize"];
    let wrong = || {
        invalid(
            "a schema must be an object with the lists names, formats and offsets, of \
             equal length, and the number itemsize"
                .into(),
        )
    };
    let object = value.as_object().ok_or_else(wrong)?;
    if let Some(key) = object.keys().find(|key| !KEYS.contains(&&***key)) {
        return Err(invalid(format!("a schema has no key \"{}\"", shown(key))));
    }
    let list = |key| object.get(key).and_then(Value::as_array).ok_or_else(wrong);
    let (names, formats, offsets) = (list("names")?, list("formats")?, list("offsets")?);
    let itemsize = object.get("itemsize").and_then(number).ok_or_else(wrong)?;
    if names.len() != formats.len() || names.len() != offsets.len() {
        return Err(wrong());
    }
    let fields = names.iter().zip(formats).zip(offsets);
    let fields = fields.map(|((name, format), offset)| {
        let name = name.as_str().ok_or_else(wrong)?;
        let offset = number(offset).ok_or_else(wrong)?;
        let (format, shape) = read_format(format)?;
        Ok(Field::new(name, offset, format).array(&shape))
    });
    Schema::new(itemsize, fields.collect::<Result<_>>()?)
}

fn read_format(value: &Value) -> Result<(Format, Vec<u32>)> {
    match value {
        Value::String(text) => {
            let (shape, scalar) = split_shape(text).ok_or_else(|| {
                invalid(format!(
                    "\"{}\": a shape must have the form \"(2,3)\"",
                    shown(text)
                ))
            })?;
            Ok((Scalar::parse(scalar)?.into(), shape))
        }
        Value::Array(pair) => match &pair[..] {
            [record, Value::Array(shape)] => {
                let shape = shape.iter().map(number).collect::<Option<Vec<_>>>();
                match shape {
                    Some(shape) if !shape.is_empty() => Ok((read(record)?.into(), shape)),
                    _ => Err(invalid("a shape must be a list of numbers".into())),
                }
            }
            _ => Err(invalid(
                "an array of records must be [record, shape]".into(),
            )),
        },
        record => Ok((read(record)?.into(), Vec::new())),
    }
}

/// Splits `(2,3)<f8` into the shape and the scalar.
fn split_shape(text: &str) -> Option<(Vec<u32>, &str)> {
    let Some(rest) = text.strip_prefix('(') else {
        return Some((Vec::new(), text));
    };
    let (shape, scalar) = rest.split_once(')')?;
    let shape = shape.strip_suffix(',').unwrap_or(shape);
    let shape = shape.split(',').map(|n| match n.as_bytes() {
        [b'1'..=b'9', ..] => n.parse().ok(),
        _ => None,
    });
    Some((shape.collect::<Option<_>>()?, scalar))
}

/// Appends a shape as numpy writes it, `(3,)`. Appends nothing for a field that is not an array.
pub(super) fn push_shape(to: &mut String, shape: &[u32]) {
    if shape.is_empty() {
        return;
    }
    to.push('(');
    each(to, shape, |to, n| put(to, n));
    to.push_str(if shape.len() == 1 { ",)" } else { ")" });
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| n.try_into().ok())
}

fn each<T>(to: &mut String, list: &[T], write: impl Fn(&mut String, &T)) {
    for (i, item) in list.iter().enumerate() {
        if i > 0 {
            to.push(',');
        }
        write(to, item);
    }
}

fn put(to: &mut String, n: impl std::fmt::Display) {
    let _ = write!(to, "{n}");
}

fn quote(to: &mut String, text: &str) {
    // Serialising a string cannot fail. Serialising a `Value` would link in the code for every
    // other type.
    to.push_str(&serde_json::to_string(text).unwrap_or_default());
}
