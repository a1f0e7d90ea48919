//! Makes a schema of the fields that a C program declares.

use super::schema::ipcq_field;
use super::support::{invalid, null};
use crate::error::{Error, Result};
use crate::schema::{Field, Format, Scalar, Schema};
use std::ffi::{c_char, CStr};
use std::iter::Peekable;

/// A field whose members are valid by themselves.
struct Declared<'a> {
    name: &'a str,
    offset: u32,
    size: u32,
    kind: char,
    unit: &'a str,
    count: u32,
}

/// A schema of more fields would not fit the header of a queue.
const MAX_COUNT: u32 = 1 << 16;
/// Nor would a schema of records or arrays that are nested deeper.
const MAX_DEPTH: usize = 64;

/// The schema of `count` fields for messages of `message_size` bytes (0: computed from the fields),
/// or `None` if the program declares no fields.
///
/// # Safety
/// `fields` is NULL or points to `count` fields, whose names are NULL or strings.
pub(super) unsafe fn schema(
    fields: *const ipcq_field,
    count: u32,
    message_size: u32,
) -> Result<Option<Schema>> {
    if count == 0 && !fields.is_null() {
        return Err(invalid("field_count is 0, but fields is not NULL"));
    }
    if count == 0 {
        return Ok(None);
    }
    if fields.is_null() {
        return Err(null("field_count is not 0, but fields"));
    }
    if count > MAX_COUNT {
        return Err(invalid(format!("field_count {count}: at most {MAX_COUNT}")));
    }
    // SAFETY: the caller's promise.
    let fields = unsafe { std::slice::from_raw_parts(fields, count as usize) };
    let declared = fields.iter().map(|field| {
        // SAFETY: as above.
        unsafe { declared(field) }
    });
    let declared = declared.collect::<Result<Vec<_>>>()?;
    let size = match message_size {
        0 => usual_size(&declared),
        size => size,
    };
    let mut rest = declared.iter().peekable();
    let fields = fields_below(&mut rest, "", 0)?;
    match rest.next() {
        None => Schema::new(size, fields).map(Some),
        Some(field) => Err(misplaced(field)),
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
    let name = name.map_err(|_| invalid("the name of a field is not UTF-8"))?;
    // Each level adds one of these characters to the name, so this limits the recursion.
    if name.matches(['.', '[']).count() > MAX_DEPTH {
        return Err(invalid("fields are nested too deep"));
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

/// The text of a unit, which need not end with a NUL.
fn unit(chars: &[c_char; 8]) -> Result<&str> {
    // SAFETY: `c_char` and `u8` have the same size and alignment, and every value is valid for
    // both.
    let bytes = unsafe { &*(&raw const *chars).cast::<[u8; 8]>() };
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let rest = &bytes[end..];
    match std::str::from_utf8(&bytes[..end]) {
        Ok(text) if rest.iter().all(|&b| b == 0) => Ok(text),
        _ => Err(invalid(
            "the unit of a field is not text: initialise all members of ipcq_field",
        )),
    }
}

/// The size of a struct with these fields in the compiler's usual layout: their end, rounded up to
/// the greatest alignment. If a field is not aligned, the struct must be packed.
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

/// Takes the fields whose names are `path` and a name without `.` and `[`, each with the fields
/// that it consists of. `from` is the offset of the record that they belong to.
fn fields_below<'a>(
    rest: &mut Peekable<impl Iterator<Item = &'a Declared<'a>>>,
    path: &str,
    from: u32,
) -> Result<Vec<Field>> {
    let mut fields = Vec::new();
    while let Some(field) = rest.next_if(|next| next.name.starts_with(path)) {
        let name = &field.name[path.len()..];
        if name.contains(['.', '[']) {
            return Err(misplaced(field));
        }
        let offset = field.offset.checked_sub(from);
        let offset =
            offset.ok_or_else(|| wrong(field, "begins before the record that it belongs to"))?;
        let (format, shape) = format_of(field, rest)?;
        fields.push(Field::new(name, offset, format).array(&shape));
    }
    Ok(fields)
}

/// The format and the shape of a field. Takes the fields that it consists of.
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
            return Err(wrong(row, "does not cover a whole element"));
        }
        shape.resize(1, 1);
        shape.extend(inner);
        return Ok((format, shape));
    }
    for (path, dimensions) in [(format!("{}.", field.name), 0), (format!("{first}."), 1)] {
        if rest.peek().is_some_and(|next| next.name.starts_with(&path)) {
            // An array with one element is still an array if its fields are those of [0].
            shape.resize(dimensions.max(shape.len()), 1);
            let fields = fields_below(rest, &path, field.offset)?;
            return Ok((Schema::new(field.size, fields)?.into(), shape));
        }
    }
    Ok((scalar(field)?.into(), shape))
}

/// The format of a field that consists of no others.
fn scalar(field: &Declared) -> Result<Scalar> {
    let Declared { kind, unit, .. } = field;
    let format = match (kind, *unit) {
        ('u' | 'i' | 'f' | 'b' | 'S' | 'V' | 'c', "") => format!("{kind}{}", field.size),
        ('U', "") => format!("U{}", field.size / 4),
        // numpy has no meaning for a time without a unit. Most programs use nanoseconds.
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
                "is not valid: the kind must be one of u i f b S V M m c U. The size must be one \
                 that the kind has. Only M and m have a unit, one of Y M W D h m s ms us ns ps fs as",
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
    invalid(format!(
        "field \"{name}\", kind '{kind}'{unit}, {count} of {size} bytes at {offset}, {what}"
    ))
}

fn misplaced(field: &Declared) -> Error {
    wrong(
        field,
        "belongs to no record: declare the record before it, under its own name and with kind 'V'",
    )
}
