//! A column: its type, and its values in the layout of Arrow.

use ipcq::__binding::Shown;
use ipcq::{Format, Scalar};
use std::path::Path;

/// Bytes at an address that is aligned for every number.
pub struct Bytes(Vec<u64>);

impl Bytes {
    fn of(bytes: &[u8]) -> Bytes {
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        // At least one word, so that there is an address.
        let mut words: Vec<_> = words.collect();
        words.push(0);
        Bytes(words)
    }

    pub fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }
}

/// A column of a table, or the table itself.
pub struct Column {
    pub name: String,
    /// The type, in the notation of the C data interface.
    pub format: String,
    pub length: usize,
    pub nulls: usize,
    /// The first is the validity bitmap, if there are nulls.
    pub buffers: Vec<Option<Bytes>>,
    pub children: Vec<Column>,
}

/// numpy's NaT.
const NO_TIME: i64 = i64::MIN;

impl Column {
    /// Values of a format, or arrays of them. At each of `starts` there are `run` values, one
    /// after the other.
    pub fn of(
        name: &str,
        format: &Format,
        shape: &[u32],
        data: &[u8],
        starts: &[usize],
        run: usize,
    ) -> Result<Column, String> {
        let length = starts.len() * run;
        if let Some((&elements, inner)) = shape.split_first() {
            let elements = elements as usize;
            let child = Column::of("item", format, inner, data, starts, run * elements)?;
            return Ok(Column {
                children: vec![child],
                ..Column::plain(name, format!("+w:{elements}"), length, vec![None])
            });
        }
        match format {
            Format::Scalar(scalar) => {
                let size = scalar.size() as usize;
                let runs = starts.iter().map(|&at| &data[at..at + run * size]);
                Column::of_scalars(name, scalar, runs, length)
            }
            Format::Record(schema) => {
                let size = schema.itemsize() as usize;
                let records = starts
                    .iter()
                    .flat_map(|&at| (0..run).map(move |i| at + i * size));
                let children = schema.fields().iter().map(|field| {
                    let offset = field.offset() as usize;
                    let starts: Vec<_> = records.clone().map(|at| at + offset).collect();
                    Column::of(
                        field.name(),
                        field.format(),
                        field.shape(),
                        data,
                        &starts,
                        1,
                    )
                });
                let children = children.collect::<Result<_, _>>()?;
                Ok(Column {
                    children,
                    ..Column::plain(name, "+s".into(), length, vec![None])
                })
            }
        }
    }

    /// Bytes of any length.
    pub fn of_bytes<'a>(
        name: &str,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Column, String> {
        Column::of_lengths(name, "z", values)
    }

    /// A table of columns.
    pub fn table(length: usize, columns: Vec<Column>) -> Column {
        Column {
            children: columns,
            ..Column::plain("", "+s".into(), length, vec![None])
        }
    }

    fn plain(name: &str, format: String, length: usize, buffers: Vec<Option<Bytes>>) -> Column {
        Column {
            name: name.to_owned(),
            format,
            length,
            nulls: 0,
            buffers,
            children: Vec::new(),
        }
    }

    fn of_scalars<'a>(
        name: &str,
        scalar: &Scalar,
        runs: impl Iterator<Item = &'a [u8]>,
        length: usize,
    ) -> Result<Column, String> {
        let size = scalar.size() as usize;
        let values = runs.flat_map(|run| run.chunks_exact(size));
        let format = match (scalar.kind(), size) {
            ('i', 1) => "c",
            ('u', 1) => "C",
            ('i', 2) => "s",
            ('u', 2) => "S",
            ('i', 4) => "i",
            ('u', 4) => "I",
            ('i', 8) => "l",
            ('u', 8) => "L",
            ('f', 2) => "e",
            ('f', 4) => "f",
            ('f', 8) => "g",
            ('V', _) => return Ok(Column::copied(name, format!("w:{size}"), values, length)),
            ('b', _) => {
                let bits = bits(values.map(|value| value[0] != 0));
                return Ok(Column::plain(
                    name,
                    "b".into(),
                    length,
                    vec![None, Some(bits)],
                ));
            }
            ('S', _) => return Column::of_bytes(name, values.map(trimmed)),
            ('U', _) => {
                let texts: Vec<_> = values.map(text).collect();
                return Column::of_lengths(name, "u", texts.iter().map(String::as_bytes));
            }
            ('M' | 'm', _) => return Column::of_times(name, scalar, values, length),
            _ => {
                return Err(format!(
                    "{}: Arrow has no type for {}",
                    shown(name),
                    scalar.as_str()
                ))
            }
        };
        Ok(Column::copied(name, format.into(), values, length))
    }

    fn copied<'a>(
        name: &str,
        format: String,
        values: impl Iterator<Item = &'a [u8]>,
        length: usize,
    ) -> Column {
        let mut bytes = Vec::new();
        values.for_each(|value| bytes.extend_from_slice(value));
        Column::plain(name, format, length, vec![None, Some(Bytes::of(&bytes))])
    }

    fn of_lengths<'a>(
        name: &str,
        format: &str,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Column, String> {
        let (mut bytes, mut ends) = (Vec::new(), 0i32.to_ne_bytes().to_vec());
        let mut length = 0;
        for value in values {
            bytes.extend_from_slice(value);
            let end = i32::try_from(bytes.len())
                .map_err(|_| format!("{}: more than 2 GiB in one batch", shown(name)))?;
            ends.extend(end.to_ne_bytes());
            length += 1;
        }
        let buffers = vec![None, Some(Bytes::of(&ends)), Some(Bytes::of(&bytes))];
        Ok(Column::plain(name, format.into(), length, buffers))
    }

    /// Points in time, and durations. If Arrow does not have the unit, the next smaller one
    /// is used.
    fn of_times<'a>(
        name: &str,
        scalar: &Scalar,
        values: impl Iterator<Item = &'a [u8]>,
        length: usize,
    ) -> Result<Column, String> {
        let no_type = || format!("{}: Arrow has no type for {}", shown(name), scalar.as_str());
        let is_point = scalar.kind() == 'M';
        let unit = scalar.as_str().split_once('[').map_or("", |(_, u)| u);
        let unit = unit.trim_end_matches(']');
        let name_at = unit
            .find(|c: char| !c.is_ascii_digit())
            .ok_or_else(no_type)?;
        let times: i64 = match &unit[..name_at] {
            "" => 1,
            number => number.parse().map_err(|_| no_type())?,
        };
        let (letter, factor) = match &unit[name_at..] {
            "D" if is_point => ("D", 1),
            "W" if is_point => ("D", 7),
            "W" => ("s", 7 * 86400),
            "D" => ("s", 86400),
            "h" => ("s", 3600),
            "m" => ("s", 60),
            "s" => ("s", 1),
            "ms" => ("m", 1),
            "us" => ("u", 1),
            "ns" => ("n", 1),
            _ => return Err(no_type()),
        };
        let values: Vec<_> = values
            .map(|value| i64::from_le_bytes(value.try_into().unwrap_or_default()))
            .collect();
        let beyond = || format!("{}: a time is out of the range of Arrow", shown(name));
        let mut bytes = Vec::with_capacity(8 * values.len());
        for &value in &values {
            let value = match value {
                NO_TIME => 0,
                value => value.checked_mul(factor * times).ok_or_else(beyond)?,
            };
            match letter {
                "D" => bytes.extend(i32::try_from(value).map_err(|_| beyond())?.to_ne_bytes()),
                _ => bytes.extend(value.to_ne_bytes()),
            }
        }
        let nulls = values.iter().filter(|&&value| value == NO_TIME).count();
        let valid = (nulls > 0).then(|| bits(values.iter().map(|&value| value != NO_TIME)));
        let format = match (is_point, letter) {
            (true, "D") => "tdD".to_owned(),
            (true, letter) => format!("ts{letter}:"),
            (false, letter) => format!("tD{letter}"),
        };
        Ok(Column {
            nulls,
            ..Column::plain(name, format, length, vec![valid, Some(Bytes::of(&bytes))])
        })
    }
}

/// The name of a column in an error. Control characters are escaped.
fn shown(name: &str) -> Shown {
    Shown::of(Path::new(name))
}

fn bits(values: impl Iterator<Item = bool>) -> Bytes {
    let mut bytes = Vec::new();
    for (i, value) in values.enumerate() {
        if i % 8 == 0 {
            bytes.push(0);
        }
        bytes[i / 8] |= u8::from(value) << (i % 8);
    }
    Bytes::of(&bytes)
}

/// A string of fixed length, without the zeros at its end.
fn trimmed(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|&byte| byte != 0);
    &value[..end.map_or(0, |last| last + 1)]
}

/// A string of characters of four bytes each.
fn text(value: &[u8]) -> String {
    let number = |c: &[u8]| u32::from_le_bytes(c.try_into().unwrap_or_default());
    let text: String = value
        .chunks_exact(4)
        .map(|c| char::from_u32(number(c)).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    text.trim_end_matches('\0').to_owned()
}
