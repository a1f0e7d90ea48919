//! Queues with record schemas. A consumer finds what the producer has declared, and a consumer that
//! expects another record gets an error when it opens the queue.

mod common;

use common::Dir;
use ipcq::{Chars, Consumer, Error, Field, Producer, Record, Scalar, Schema, Start};
use std::os::unix::fs::FileExt;
use std::path::Path;

ipcq::record! {
    #[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
    struct Tick {
        time_ns: u64,
        price: f64,
        symbol: Chars<8>,
    }
}

/// Another record of the same size.
mod other {
    ipcq::record! {
        pub struct Tick {
            pub time_ns: u64,
            pub price: f32,
            pub quantity: u32,
            pub symbol: ipcq::Chars<8>,
        }
    }
}

ipcq::record! {
    struct Long {
        time_ns: u64,
        price: f64,
        symbol: Chars<8>,
        more: [u16; 300],
    }
}

fn field(name: &str, offset: u32, format: &str) -> Field {
    Field::new(name, offset, Scalar::parse(format).unwrap())
}

fn tick(n: u64) -> Tick {
    Tick {
        time_ns: n,
        price: n as f64 / 8.0,
        symbol: Chars::new("ACME"),
    }
}

/// The schema that a consumer without expectations finds.
fn found(name: &Path) -> Option<Schema> {
    let q = Consumer::options().open(name).unwrap();
    q.schema().cloned()
}

#[test]
fn a_consumer_finds_the_records_of_the_producer() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = Producer::options().record::<Tick>().open(&name).unwrap();
    assert_eq!(out.schema(), Some(&Tick::schema()));
    assert_eq!(out.geometry().message_size, 24);
    (0..100).for_each(|n| out.push_value(&tick(n)).unwrap());
    let mut q = Consumer::options().record::<Tick>().open(&name).unwrap();
    assert_eq!(q.schema(), Some(&Tick::schema()));
    for n in 0..100 {
        let (value, message) = q.pop_value::<Tick>().unwrap().unwrap();
        assert_eq!((value, message.sequence, message.lost), (tick(n), n, 0));
    }
    // Also after the producer has closed.
    drop(out);
    assert_eq!(found(&name), Some(Tick::schema()));
    // A queue without a schema has none.
    let out = Producer::options().message_size(24).open(dir.name("none"));
    assert_eq!(out.unwrap().schema(), None);
    assert_eq!(found(&dir.name("none")), None);
}

#[test]
fn a_consumer_of_other_records_gets_an_error_with_both_schemas() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = Producer::options().record::<Tick>().open(&name).unwrap();
    out.push_value(&tick(0)).unwrap();
    let open = || Consumer::options().record::<other::Tick>().open(&name);
    let Err(Error::SchemaMismatch(text)) = open() else {
        panic!("the queue was opened");
    };
    let words: Vec<_> = text.split_whitespace().collect();
    let words = words.join(" ");
    for part in [
        "the queue has other records: the queue has requested was 24 bytes 24 bytes",
        "time_ns <u8 at 0 time_ns <u8 at 0",
        "! price <f8 at 8 price <f4 at 8",
        "! - quantity <u4 at 12",
        "symbol |S8 at 16 symbol |S8 at 16",
    ] {
        assert!(words.contains(part), "{part}: {text}");
    }
    assert!(text.contains(&*name.to_string_lossy()), "{text}");
    assert_eq!(Error::SchemaMismatch(text).code(), -libc::EPROTOTYPE);

    // Queues without a schema, with the same message size or another.
    for (name, size) in [("24", 24), ("8", 8), ("any", 0)] {
        let name = dir.name(name);
        let _out = Producer::options().message_size(size).open(&name).unwrap();
        let error = Consumer::options().record::<Tick>().open(&name);
        let Err(Error::SchemaMismatch(text)) = error else {
            panic!("{error:?}");
        };
        assert!(text.contains("has no record schema"), "{text}");
        assert!(text.contains("price"), "{text}");
    }
}

#[test]
fn the_smallest_difference_counts() {
    let dir = Dir::new();
    let name = dir.name("q");
    let fields = || vec![field("a", 0, "u4"), field("b", 8, "u4").array(&[2])];
    let schema = Schema::new(16, fields()).unwrap();
    let _out = Producer::options()
        .schema(schema.clone())
        .open(&name)
        .unwrap();
    let open = |schema| Consumer::options().schema(schema).open(&name);
    open(schema).unwrap();
    let changed = |change: &dyn Fn(&mut Vec<Field>)| {
        let mut fields = fields();
        change(&mut fields);
        Schema::new(16, fields).unwrap()
    };
    for (what, schema) in [
        ("name", changed(&|f| f[0] = field("A", 0, "u4"))),
        ("offset", changed(&|f| f[0] = field("a", 4, "u4"))),
        ("sign", changed(&|f| f[0] = field("a", 0, "i4"))),
        ("size", changed(&|f| f[0] = field("a", 0, "u2"))),
        (
            "array",
            changed(&|f| f[0] = field("a", 0, "u4").array(&[1])),
        ),
        ("length", changed(&|f| f[1] = field("b", 8, "u4"))),
        (
            "shape",
            changed(&|f| f[1] = field("b", 8, "u4").array(&[2, 1])),
        ),
        ("order", changed(&|f| f.reverse())),
        ("fewer", changed(&|f| f.truncate(1))),
        ("more", changed(&|f| f.push(field("c", 4, "u4")))),
        ("bytes", Schema::new(20, fields()).unwrap()),
    ] {
        let error = open(schema);
        assert!(matches!(error, Err(Error::SchemaMismatch(_))), "{what}");
    }
}

#[test]
fn a_producer_keeps_the_records_or_replaces_the_queue() {
    let dir = Dir::new();
    let name = dir.name("q");
    let same = || Producer::options().record::<Tick>();
    let push = |out: &mut Producer| {
        out.push(&[7; 24]).unwrap();
        out.next_sequence()
    };
    let mut out = same().open(&name).unwrap();
    assert_eq!(push(&mut out), 1);
    drop(out);
    // The same schema again, with or without REPLACE, and no schema at all.
    for (options, next) in [
        (same(), 2),
        (same().replace(true), 3),
        (same().message_size(24), 4),
        (Producer::options(), 5),
        (Producer::options().message_size(24).replace(true), 6),
    ] {
        let mut out = options.open(&name).unwrap();
        assert_eq!(out.schema(), Some(&Tick::schema()));
        assert_eq!(push(&mut out), next);
    }
    let mut q = Consumer::options().start(Start::Next).open(&name).unwrap();
    let others = || Producer::options().record::<other::Tick>();
    let Err(Error::SchemaMismatch(text)) = others().open(&name) else {
        panic!("the queue was opened");
    };
    assert!(
        text.contains("replace(true)") && text.contains("! price"),
        "{text}"
    );
    assert_eq!(found(&name), Some(Tick::schema()));
    let mut out = others().replace(true).open(&name).unwrap();
    assert_eq!(push(&mut out), 1);
    assert_eq!(found(&name), Some(other::Tick::schema()));
    assert!(matches!(q.pop(&mut [0; 24]), Err(Error::Stale(_))));
    assert_eq!(
        q.schema(),
        Some(&Tick::schema()),
        "its content is unchanged"
    );
    drop(out);
    // From no schema to one.
    let name = dir.name("none");
    drop(Producer::options().message_size(24).open(&name).unwrap());
    let Err(Error::SchemaMismatch(text)) = same().open(&name) else {
        panic!("the queue was opened");
    };
    assert!(text.contains("no record schema"), "{text}");
    drop(same().replace(true).open(&name).unwrap());
    assert_eq!(found(&name), Some(Tick::schema()));
}

#[test]
fn another_message_size_than_that_of_the_records_is_an_error() {
    let dir = Dir::new();
    let name = dir.name("q");
    let error = Producer::options()
        .record::<Tick>()
        .message_size(32)
        .open(&name);
    let Err(Error::Invalid(text)) = error else {
        panic!("{error:?}");
    };
    assert!(text.contains("32") && text.contains("24"), "{text}");
    assert!(!name.exists());
    // 0 is not a message size.
    let out = Producer::options()
        .record::<Tick>()
        .message_size(0)
        .open(&name);
    assert_eq!(out.unwrap().geometry().message_size, 24);
}

#[test]
fn a_long_description_has_room() {
    let dir = Dir::new();
    let name = dir.name("q");
    let fields = (0..1000).map(|i| field(&format!("{i:0>40}"), i * 8, "f8"));
    let schema = Schema::new(8000, fields.collect()).unwrap();
    assert!(schema.to_json().len() > 5 * 4096);
    let mut out = Producer::options()
        .schema(schema.clone())
        .capacity(16)
        .open(&name)
        .unwrap();
    for n in 0..40u8 {
        out.push(&[n; 8000]).unwrap();
    }
    assert_eq!(found(&name), Some(schema));
    let mut q = Consumer::options()
        .start(Start::Newest)
        .open(&name)
        .unwrap();
    let mut buffer = vec![0; 8000];
    assert_eq!(q.pop(&mut buffer).unwrap().unwrap().sequence, 39);
    assert_eq!(buffer, [39; 8000]);
    assert!(Long::schema().itemsize() as usize == size_of::<Long>());
}

#[test]
fn a_damaged_description_is_an_error() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = Producer::options().record::<Tick>().open(&name).unwrap();
    out.push_value(&tick(0)).unwrap();
    let attached = Consumer::options().open(&name).unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .read(true)
        .open(&name)
        .unwrap();
    let length = Tick::schema().to_json().len();
    let mut whole = vec![0; length];
    file.read_exact_at(&mut whole, 4096).unwrap();
    assert_eq!(whole, Tick::schema().to_json().as_bytes());
    let larger = String::from_utf8(whole.clone()).unwrap();
    let larger = larger.replace("\"itemsize\":24", "\"itemsize\":25");
    for (what, bytes) in [
        ("zeroes", vec![0; length]),
        ("not text", vec![0xff; length]),
        ("not JSON", vec![b'['; length]),
        (
            "without end",
            whole[..length - 1].iter().copied().chain([b' ']).collect(),
        ),
        ("not the message size", larger.into_bytes()),
    ] {
        file.write_all_at(&bytes, 4096).unwrap();
        for options in [Consumer::options(), Consumer::options().record::<Tick>()] {
            let Err(Error::Damaged(text)) = options.open(&name) else {
                panic!("{what}: the queue was opened");
            };
            assert!(text.contains("damaged record schema"), "{text}");
        }
    }
    assert_eq!(
        attached.schema(),
        Some(&Tick::schema()),
        "the consumer keeps its copy"
    );
    drop(out);
    let error = Producer::options().record::<Tick>().open(&name);
    assert!(matches!(error, Err(Error::Damaged(_))), "{error:?}");
    let out = Producer::options()
        .record::<Tick>()
        .replace(true)
        .open(&name);
    assert_eq!(out.unwrap().next_sequence(), 0);
    assert_eq!(found(&name), Some(Tick::schema()));
}
