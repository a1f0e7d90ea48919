//! The fields that a C program declares, as a schema.

use super::support::null;
use super::types::{ipcq_field, ipcq_options};
use crate::error::{Error, Result};
use crate::schema::{Field, Format, Scalar, Schema};
use std::ffi::{c_char, CStr};
use std::iter::Peekable;

/// One field, checked as far as it goes by itself.
struct Declared<'a> {
    name: &'a str,
    offset: u32,
    size: u32,
    kind: char,
    unit: &'a str,
    count: u32,
}

/// No array of fields is read further.
const MOST: u32 = 1 << 16;
/// Records in records, and arrays in arrays: more than a schema has room for.
const DEEPEST: usize = 64;

/// The schema that the options declare, if they do.
///
/// # Safety
/// `fields` is NULL or points to `field_count` fields, whose names are NULL or strings.
pub(super) unsafe fn schema(o: &ipcq_options) -> Result<Option<Schema>> {
    if o.field_count == 0 && !o.fields.is_null() {
        return Err(Error::Invalid(
            "field_count is 0, but there are fields".into(),
        ));
    }
    if o.field_count == 0 {
        return Ok(None);
    }
    if o.fields.is_null() {
        return Err(null("fields, of which there is a field_count,"));
    }
    if o.field_count > MOST {
        return Err(Error::Invalid(
            format!("field_count {}: at most {MOST}", o.field_count).into(),
        ));
    }
    // SAFETY: the caller's promise.
    let fields = unsafe { std::slice::from_raw_parts(o.fields, o.field_count as usize) };
    let declared = fields.iter().map(|field| {
        // SAFETY: as above.
        unsafe { declared(field) }
    });
    let declared = declared.collect::<Result<Vec<_>>>()?;
    let size = match o.message_size {
        0 => usual_size(&declared),
        size => size,
    };
    let mut rest = declared.iter().peekable();
    let fields = fields_below(&mut rest, "", 0)?;
    match rest.next() {
        None => Schema::new(size, fields).map(Some),
        Some(lost) => Err(astray(lost)),
    }
}

/// # Safety
/// As [`schema`].
unsafe fn declared(field: &ipcq_field) -> Result<Declared<'_>> {
    if field.name.is_null() {
        return Err(null("the name of a field"));
    }
    // SAFETY: a string, says the caller.
    let name = unsafe { CStr::from_ptr(field.name) }.to_str();
    let name = name.map_err(|_| Error::Invalid("the name of a field is no UTF-8".into()))?;
    // Each level adds one of these to the name: so no call goes deeper.
    if name.matches(['.', '[']).count() > DEEPEST {
        return Err(Error::Invalid("fields are nested too deep".into()));
    }
    Ok(Declared {
        name,
        offset: field.offset,
        size: field.size,
        kind: char::from_u32(field.kind).unwrap_or(char::REPLACEMENT_CHARACTER),
        unit: unit(&field.unit)?,
        count: field.count.max(1),
    })
}

/// The text of a unit, which need not have a zero behind it.
fn unit(chars: &[c_char; 8]) -> Result<&str> {
    // SAFETY: `c_char` and `u8` have the same size and alignment, and any value is valid of both.
    let bytes = unsafe { &*(&raw const *chars).cast::<[u8; 8]>() };
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let rest = &bytes[end..];
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if rest.iter().all(|&b| b == 0) => Ok(text),
        _ => Err(Error::Invalid(
            "the unit of a field is no text: initialise all members of ipcq_field".into(),
        )),
    }
}

/// What the compiler makes of these fields, unless it was told to lay them out otherwise: their end,
/// up to a multiple of the greatest alignment. Where one is not aligned, the struct must be packed.
fn usual_size(fields: &[Declared]) -> u32 {
    let scalar = |f: &&Declared| f.kind != 'V';
    let alignment = |f: &Declared| match f.kind {
        'S' => 1,
        'U' => 4,
        'c' => f.size / 2,
        _ => f.size,
    };
    let end = |f: &Declared| {
        let bytes = f.size.saturating_mul(f.count);
        f.offset.saturating_add(bytes)
    };
    let end = fields.iter().map(end).max().unwrap_or(0);
    let all = fields.iter().filter(scalar).map(alignment).max();
    let unaligned = |f: &Declared| f.offset % alignment(f).max(1) != 0;
    match all {
        Some(all) if !fields.iter().filter(scalar).any(unaligned) => {
            end.checked_next_multiple_of(all.max(1)).unwrap_or(u32::MAX)
        }
        _ => end,
    }
}

/// The fields whose names begin so, and then have neither `.` nor `[`; each followed by those that it
/// is made of. `from` is where the record begins that they are in.
fn fields_below<'a>(
    rest: &mut Peekable<impl Iterator<Item = &'a Declared<'a>>>,
    path: &str,
    from: u32,
) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    while let Some(field) = rest.next_if(|next| next.name.starts_with(path)) {
        let name = &field.name[path.len()..];
        if name.contains(['.', '[']) {
            return Err(astray(field));
        }
        let offset = field.offset.checked_sub(from);
        let offset = offset.ok_or_else(|| wrong(field, "begins before the record it is in"))?;
        let (format, shape) = format_of(field, rest)?;
        fields.push(Field::new(name, offset, format).array(&shape));
    }
    Ok(fields)
}

/// What a field holds, and its shape; takes the fields that it is made of.
fn format_of<'a>(
    field: &Declared,
    rest: &mut Peekable<impl Iterator<Item = &'a Declared<'a>>>,
) -> Result<(Format, Vec<u32>)> {
    let mut shape = Vec::new();
    if field.count > 1 {
        shape.push(field.count);
    }
    if field.kind != 'V' {
        return Ok((scalar(field)?.into(), shape));
    }
    let first = format!("{}[0]", field.name);
    if let Some(row) = rest.next_if(|next| next.name == first) {
        // An array of arrays.
        let (format, inner) = format_of(row, rest)?;
        if (row.offset, row.size.checked_mul(row.count)) != (field.offset, Some(field.size)) {
            return Err(wrong(row, "is not the whole of an element"));
        }
        shape.resize(1, 1);
        shape.extend(inner);
        return Ok((format, shape));
    }
    for (path, dimensions) in [(format!("{}.", field.name), 0), (format!("{first}."), 1)] {
        if rest.peek().is_some_and(|next| next.name.starts_with(&path)) {
            // An array of one is an array if its fields are those of [0].
            shape.resize(dimensions.max(shape.len()), 1);
            let fields = fields_below(rest, &path, field.offset)?;
            return Ok((Schema::new(field.size, fields)?.into(), shape));
        }
    }
    Ok((scalar(field)?.into(), shape))
}

/// The format of a field that is made of no others.
fn scalar(field: &Declared) -> Result<Scalar> {
    let Declared { kind, unit, .. } = field;
    let format = match (kind, *unit) {
        ('u' | 'i' | 'f' | 'b' | 'S' | 'V' | 'c', "") => format!("{kind}{}", field.size),
        ('U', "") => format!("U{}", field.size / 4),
        // A numpy time without a unit means nothing: so this is that of most.
        ('M' | 'm', "") => format!("{kind}{}[ns]", field.size),
        ('M' | 'm', _) => format!("{kind}{}[{unit}]", field.size),
        _ => String::new(),
    };
    Scalar::parse(&format)
        .ok()
        .filter(|scalar| scalar.size() == field.size)
        .ok_or_else(|| {
            wrong(
                field,
                "is nothing: a kind is one of u i f b S V M m, of a size that there is, and only \
                 M and m have a unit, one of Y M W D h m s ms us ns ps fs as",
            )
        })
}

fn wrong(field: &Declared, what: &str) -> Error {
    let Declared {
        name,
        offset,
        size,
        kind,
        unit,
        count,
    } = field;
    let short =
        |text: &str| -> String { text.chars().take(64).flat_map(char::escape_debug).collect() };
    let (name, unit) = (short(name), short(unit));
    let kind = kind.escape_debug();
    let unit = match unit.as_str() {
        "" => unit,
        _ => format!(", unit \"{unit}\""),
    };
    Error::Invalid(
        format!(
            "field \"{name}\", kind '{kind}'{unit}, {count} of {size} bytes at {offset}, {what}"
        )
        .into(),
    )
}

fn astray(field: &Declared) -> Error {
    wrong(
        field,
        "is in no record: that comes before it, by its own name and with kind 'V'",
    )
}
