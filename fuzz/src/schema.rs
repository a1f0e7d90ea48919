//! Record schemas of any content. The input is the JSON, passed by a caller or found in a queue.

use crate::checked::check_error;
use crate::files::Place;
use ipcq::__binding::layout::at;
use ipcq::{Consumer, Error, Field, Producer, Scalar, Schema};

/// The content of the schema area of a queue, and the same as text. A schema that is accepted can
/// be written, shown, compared and requested.
pub fn schema(input: &[u8]) {
    let text = std::str::from_utf8(input);
    let read = text.ok().and_then(|text| match Schema::from_json(text) {
        Ok(schema) => Some(schema),
        Err(Error::Invalid(why)) => {
            assert!(why.len() < 4096 && !why.contains('\x1b'), "{why}");
            None
        }
        Err(e) => panic!("{e:?}"),
    });
    if let Some(schema) = &read {
        check(schema, schema.itemsize(), 0);
        assert_eq!(Schema::from_json(&schema.to_json()).as_ref(), Ok(schema));
        // A terminal can show lines of any length, but no control characters are allowed.
        let shown = schema.to_string();
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
        assert_eq!(schema.difference(schema, "a", "b"), None);
        if schema != &bytes(8) {
            let text = schema.difference(&bytes(8), "a", "b").unwrap();
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
    // The header reserves a page for a schema of one field.
    if (1..4096).contains(&input.len()) {
        in_a_queue(input, read);
    }
}

/// Checks that each field fits in the record.
fn check(schema: &Schema, size: u32, depth: u32) {
    assert!(schema.itemsize() == size && depth < 16);
    for field in schema.fields() {
        let elements = field.shape().iter().map(|&n| u64::from(n));
        let bytes = elements.product::<u64>() * u64::from(field.format().size());
        assert!(bytes > 0 && u64::from(field.offset()) + bytes <= size.into());
        if let ipcq::Format::Record(inner) = field.format() {
            check(inner, field.format().size(), depth + 1);
        }
    }
}

fn bytes(size: u32) -> Schema {
    let format = Scalar::parse(&format!("V{size}")).unwrap();
    Schema::new(size, vec![Field::new("bytes", 0, format)]).unwrap()
}

fn in_a_queue(input: &[u8], read: Option<Schema>) {
    // The queue has messages of the size of the schema, if that is not too large here.
    let size = read.as_ref().map_or(8, Schema::itemsize);
    let size = if size <= 1 << 16 { size } else { 8 };
    let place = Place::new();
    let options = Producer::options().schema(bytes(size)).capacity(2);
    drop(options.open(place.name()).unwrap());
    let data = place.data();
    let word = at::SCHEMA_OFFSET as u64 / 8;
    data.store(
        word,
        data.load(word) as u32 as u64 | (input.len() as u64) << 32,
    );
    for (i, chunk) in input.chunks(8).enumerate() {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        data.store(512 + i as u64, u64::from_le_bytes(word));
    }
    let good = read.filter(|schema| schema.itemsize() == size);
    match Consumer::options().open(place.name()) {
        Ok(q) => assert_eq!(q.schema(), good.as_ref()),
        Err(e) => {
            assert!(good.is_none(), "{e}");
            check_error(e);
        }
    }
    let Some(schema) = good else { return };
    let options = Consumer::options().schema(schema.clone());
    options.open(place.name()).unwrap();
    let out = Producer::options().schema(schema).open(place.name());
    out.unwrap().push(&vec![7; size as usize]).unwrap();
}
