use super::*;

fn scalar(format: &str) -> Scalar {
    Scalar::parse(format).unwrap()
}

fn field(name: &str, offset: u32, format: &str) -> Field {
    Field::new(name, offset, scalar(format))
}

fn tick() -> Schema {
    Schema::new(
        32,
        vec![
            field("time", 0, "u8"),
            field("price", 8, "f8"),
            field("sides", 16, "i2").array(&[2]),
            field("symbol", 20, "S8"),
            field("open", 28, "b1"),
        ],
    )
    .unwrap()
}

fn text_of(result: Result<Schema>) -> String {
    match result {
        Err(Error::Invalid(text)) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_schema_is_the_json_of_a_numpy_dtype() {
    let json = r#"{"names":["time","price","sides","symbol","open"],"formats":["<u8","<f8","(2,)<i2","|S8","|b1"],"offsets":[0,8,16,20,28],"itemsize":32}"#;
    assert_eq!(tick().to_json(), json);
    assert_eq!(Schema::from_json(json).unwrap(), tick());
}

#[test]
fn records_can_be_nested() {
    let point = Schema::new(16, vec![field("x", 0, "f8"), field("y", 8, "f4")]).unwrap();
    let schema = Schema::new(
        128,
        vec![
            Field::new("at", 0, point.clone()),
            Field::new("corners", 16, point).array(&[2, 3]),
            field("matrix", 112, "f2").array(&[2, 2, 2]),
        ],
    )
    .unwrap();
    let point = r#"{"names":["x","y"],"formats":["<f8","<f4"],"offsets":[0,8],"itemsize":16}"#;
    let json = format!(
        r#"{{"names":["at","corners","matrix"],"formats":[{point},[{point},[2,3]],"(2,2,2)<f2"],"offsets":[0,16,112],"itemsize":128}}"#
    );
    assert_eq!(schema.to_json(), json);
    assert_eq!(Schema::from_json(&json).unwrap(), schema);
    let shown = "\
at                record of 16 bytes at 0
at.x              <f8 at 0
at.y              <f4 at 8
corners           (2,3) record of 16 bytes at 16
corners[0][0].x   <f8 at 16
corners[0][0].y   <f4 at 24
matrix            (2,2,2)<f2 at 112
128 bytes";
    let squeezed = |text: &str| -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(words).collect()
    };
    assert_eq!(squeezed(&schema.to_string()), squeezed(shown));
}

#[test]
fn formats_are_those_of_numpy() {
    for (given, kept, size) in [
        ("u1", "|u1", 1),
        ("<u1", "|u1", 1),
        ("=i8", "<i8", 8),
        ("f2", "<f2", 2),
        ("<f16", "<f16", 16),
        ("c16", "<c16", 16),
        ("|b1", "|b1", 1),
        ("S16", "|S16", 16),
        ("<U4", "<U4", 16),
        ("V3", "|V3", 3),
        ("M8[ns]", "<M8[ns]", 8),
        ("<m8[25us]", "<m8[25us]", 8),
        ("M8", "<M8", 8),
    ] {
        let scalar = scalar(given);
        assert_eq!((scalar.as_str(), scalar.size()), (kept, size));
        assert_eq!(scalar.kind(), kept.chars().nth(1).unwrap());
        assert_eq!(Scalar::parse(kept).unwrap(), scalar);
    }
    for wrong in [
        "",
        "<",
        "f",
        "8",
        "f3",
        "u16",
        "i0",
        "b2",
        ">f8",
        "<>f8",
        "O8",
        "S0",
        "S01",
        "S+1",
        "S 1",
        "S4294967296",
        "S2147483648",
        "U1073741824",
        "f8 ",
        " f8",
        "f8[ns]",
        "M4[ns]",
        "M8[xs]",
        "M8[0ns]",
        "M8[",
        "M8[]",
        "M8[ns",
        "ü8",
        "Sü",
        "?",
        "f99999999999999999999",
    ] {
        assert!(Scalar::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn invalid_records_are_refused() {
    let one = |name: &str, offset, format| vec![field(name, offset, format)];
    for (itemsize, fields, why) in [
        (8, vec![], "has no fields"),
        (0, one("a", 0, "u1"), "0 bytes"),
        (u32::MAX, one("a", 0, "u1"), "4294967295 bytes"),
        (8, one("a", 1, "u8"), "does not fit"),
        (8, one("a", u32::MAX, "u8"), "does not fit"),
        (8, one("", 0, "u8"), "a name must have"),
        (8, one(&"a".repeat(256), 0, "u8"), "a name must have"),
        (
            8,
            vec![field("a", 0, "u1"), field("a", 1, "u1")],
            "two fields",
        ),
        (8, vec![field("a", 0, "u1").array(&[0])], "dimensions"),
        (8, vec![field("a", 0, "u1").array(&[1; 9])], "dimensions"),
        (8, vec![field("a", 0, "u1").array(&[9])], "does not fit"),
        (
            8,
            vec![field("a", 0, "u8").array(&[u32::MAX; 8])],
            "does not fit",
        ),
        // 2^64 bytes, which is zero in 64 bits.
        (
            8,
            vec![field("a", 0, "u8").array(&[1 << 31, 1 << 30])],
            "does not fit",
        ),
    ] {
        let text = text_of(Schema::new(itemsize, fields));
        assert!(text.contains(why), "{why}: {text}");
        assert!(text.len() < 200, "{text}");
    }
    // The members of a union, in any order. numpy accepts that, too.
    Schema::new(8, vec![field("b", 4, "u4"), field("a", 0, "u8")]).unwrap();
}

#[test]
fn depth_and_number_are_limited() {
    let mut schema = tick();
    for depth in 2.. {
        let field = Field::new("inner", 0, schema.clone());
        match Schema::new(32, vec![field]) {
            Ok(deeper) => schema = deeper,
            Err(e) => {
                assert!(e.to_string().contains("deep"), "{e}");
                assert_eq!(depth, MAX_DEPTH + 1);
                break;
            }
        }
    }
    assert_eq!(Schema::from_json(&schema.to_json()).unwrap(), schema);
    let many = |n: u32| Schema::new(n, (0..n).map(|i| field(&i.to_string(), i, "u1")).collect());
    assert_eq!(many(1024).unwrap().fields().len(), 1024);
    assert!(text_of(many(1025)).contains("1025 fields"));
    let name = |i: u32| format!("{i:0>255}");
    let long = (0..300).map(|i| field(&name(i), i, "u1")).collect();
    assert!(text_of(Schema::new(300, long)).contains("the maximum is 1024"));
}

#[test]
fn hostile_json_is_refused() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let nested = |n: usize| {
        format!(
            "{}\"<u1\"{}",
            r#"{"names":["a"],"formats":["#.repeat(n),
            r#"],"offsets":[0],"itemsize":1}"#.repeat(n)
        )
    };
    assert!(Schema::from_json(&nested(MAX_DEPTH)).is_ok());
    let long = format!("\"{}\"", "a".repeat(70_000));
    for (json, why) in [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "must be an object"),
        ("null", "must be an object"),
        ("{}", "must be an object"),
        (&deep(100), "must be an object"),
        (&deep(30_000), "recursion"),
        (&nested(MAX_DEPTH + 1), "deep"),
        (&nested(1000), "recursion"),
        (&long, "the maximum is 65536"),
        (
            r#"{"names":["a"],"formats":["u1"],"offsets":[0],"itemsize":1} x"#,
            "JSON",
        ),
        (
            r#"{"names":["a"],"formats":["u1"],"offsets":[0]}"#,
            "must be an object",
        ),
        (
            r#"{"names":["a"],"formats":["u1"],"offsets":[0],"itemsize":-1}"#,
            "must be an object",
        ),
        (
            r#"{"names":["a"],"formats":["u1"],"offsets":[0],"itemsize":1.0}"#,
            "must be an object",
        ),
        (
            r#"{"names":["a"],"formats":["u1"],"offsets":[0],"itemsize":4294967297}"#,
            "must be an object",
        ),
        (
            r#"{"names":["a"],"formats":["u1"],"offsets":[-1],"itemsize":1}"#,
            "must be an object",
        ),
        (
            r#"{"names":["a"],"formats":["u1"],"offsets":[],"itemsize":1}"#,
            "must be an object",
        ),
        (
            r#"{"names":["a","b"],"formats":["u1"],"offsets":[0],"itemsize":1}"#,
            "must be an object",
        ),
        (
            r#"{"names":[1],"formats":["u1"],"offsets":[0],"itemsize":1}"#,
            "must be an object",
        ),
        (
            r#"{"names":["a"],"formats":[1],"offsets":[0],"itemsize":1}"#,
            "must be an object",
        ),
        (
            r#"{"names":["a"],"formats":["u1"],"offsets":[0],"itemsize":1,"titles":[]}"#,
            "titles",
        ),
        (
            r#"{"names":["a"],"formats":["u1"],"offsets":[1],"itemsize":1}"#,
            "does not fit",
        ),
        (
            r#"{"names":["a"],"formats":["(2"],"offsets":[0],"itemsize":1}"#,
            "a shape",
        ),
        (
            r#"{"names":["a"],"formats":["()u1"],"offsets":[0],"itemsize":1}"#,
            "a shape",
        ),
        (
            r#"{"names":["a"],"formats":["(0,)u1"],"offsets":[0],"itemsize":1}"#,
            "a shape",
        ),
        (
            r#"{"names":["a"],"formats":["(-1,)u1"],"offsets":[0],"itemsize":1}"#,
            "a shape",
        ),
        (
            r#"{"names":["a"],"formats":["(4294967296,)u1"],"offsets":[0],"itemsize":1}"#,
            "a shape",
        ),
        (
            r#"{"names":["a"],"formats":["(4294967295,4294967295,4294967295)u8"],"offsets":[0],"itemsize":1}"#,
            "does not fit",
        ),
        (
            r#"{"names":["a"],"formats":[["u1",[2]]],"offsets":[0],"itemsize":2}"#,
            "must be an object",
        ),
        (
            r#"{"names":["a"],"formats":[[]],"offsets":[0],"itemsize":2}"#,
            "array of records",
        ),
        (
            r#"{"names":["a\u001b[2J"],"formats":["x"],"offsets":[0],"itemsize":2}"#,
            "is not a format",
        ),
    ] {
        let text = text_of(Schema::from_json(json));
        assert!(text.contains(why), "{why}: {text} ({:.80})", json);
        assert!(text.len() < 300 && !text.contains('\x1b'), "{text}");
    }
    // If a key occurs twice, the last one counts, as in Python.
    let twice = r#"{"names":["a"],"formats":["u1"],"offsets":[0],"itemsize":9,"itemsize":1}"#;
    assert_eq!(Schema::from_json(twice).unwrap().itemsize(), 1);
}

/// A generator that repeats the same numbers in each run (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n_ = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n_ = (n_ ^ n_ >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (n_ ^ n_ >> 31) % n
    }
}

fn any(random: &mut Random, depth: u32) -> Schema {
    const FORMATS: [&str; 12] = [
        "u1", "i2", "u4", "i8", "f2", "f4", "f8", "f16", "b1", "S5", "U2", "M8[ns]",
    ];
    let mut at = random.below(4) as u32;
    let mut fields = Vec::new();
    for i in 0..1 + random.below(5) {
        let name = ["ä\"\\", "x\n", "𝄞", "a.b", "x"][random.below(5) as usize];
        let format: Format = match random.below(4) {
            0 if depth > 0 => any(random, depth - 1).into(),
            _ => scalar(FORMATS[random.below(12) as usize]).into(),
        };
        let dimensions = random.below(4).saturating_sub(1);
        let shape: Vec<_> = (0..dimensions)
            .map(|_| 1 + random.below(3) as u32)
            .collect();
        let field = Field::new(format!("{name}{i}"), at, format).array(&shape);
        at += field.bytes().unwrap() as u32 + random.below(8) as u32;
        fields.push(field);
    }
    Schema::new(at + random.below(8) as u32, fields).unwrap()
}

#[test]
fn every_valid_schema_survives_a_round_trip() {
    let mut random = Random(1);
    for _ in 0..2000 {
        let schema = any(&mut random, 3);
        let json = schema.to_json();
        assert_eq!(Schema::from_json(&json).unwrap(), schema, "{json}");
        // Bytes are changed, removed or duplicated. The result is an error or a schema that can be
        // written again.
        let mut bytes = json.into_bytes();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len() as u64) as usize;
            match random.below(3) {
                0 => bytes[at] = b"\"[]{},:0123456789-<|(x\\\x00\xff"[random.below(25) as usize],
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(read) = Schema::from_json(&text) {
            assert_eq!(Schema::from_json(&read.to_json()).unwrap(), read);
            for field in read.fields() {
                let end = u64::from(field.offset()) + field.bytes().unwrap();
                assert!(end <= read.itemsize().into());
            }
        }
    }
}

#[test]
fn a_difference_is_shown_field_by_field() {
    let other = Schema::new(
        32,
        vec![
            field("time", 0, "u8"),
            field("price", 8, "f4"),
            field("sides", 16, "i2").array(&[2]),
            field("name", 20, "S8"),
            field("open", 28, "b1"),
        ],
    )
    .unwrap();
    assert_eq!(tick().difference(&tick(), "a", "b"), None);
    let text = tick().difference(&other, "the queue", "asked for").unwrap();
    let shown = "  the queue             asked for
  32 bytes              32 bytes
  time <u8 at 0         time <u8 at 0
! price <f8 at 8        price <f4 at 8
  sides (2,)<i2 at 16   sides (2,)<i2 at 16
! symbol |S8 at 20      -
  open |b1 at 28        open |b1 at 28
! -                     name |S8 at 20";
    let words = |text: &str| -> Vec<Vec<String>> {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        text.lines().map(words).collect()
    };
    assert_eq!(words(&text), words(shown), "{text}");
    // Only the order differs.
    let turned = Schema::new(32, tick().fields.into_iter().rev().collect()).unwrap();
    let text = tick().difference(&turned, "a", "b").unwrap();
    assert_eq!(text.matches('!').count(), 4, "{text}");
    // Only the size differs.
    let longer = Schema::new(40, tick().fields).unwrap();
    let text = tick().difference(&longer, "a", "b").unwrap();
    assert_eq!(text.matches('!').count(), 1, "{text}");
    assert!(text.contains("! 32 bytes"), "{text}");
}

#[test]
fn a_difference_is_short_and_safe_for_a_terminal() {
    let many = |format: &str| {
        let name = |i: u32| format!("\x1b[2J{i}{}", "x".repeat(200));
        let fields = (0..200).map(|i| field(&name(i), i * 4, format)).collect();
        Schema::new(800, fields).unwrap()
    };
    let text = many("u4").difference(&many("i4"), "a", "b").unwrap();
    assert!(text.len() < 4000, "{}", text.len());
    assert!(
        !text.contains('\x1b') && text.contains("more that differ"),
        "{text}"
    );
    assert_eq!(many("u4").brief().lines().count(), 25);
    let mut fields = many("u4").fields;
    fields[77] = field("other", 77 * 4, "u4");
    let text = many("u4").difference(&Schema::new(800, fields).unwrap(), "a", "b");
    let text = text.unwrap();
    assert!(
        text.contains("other") && text.contains("200 that are equal"),
        "{text}"
    );
}

crate::record! {
    #[derive(Clone, Copy)]
    struct Point { x: f64, y: f32 }
}

crate::record! {
    #[allow(dead_code)]
    struct All {
        unsigned: u8,
        r#type: i64,
        flag: bool,
        symbol: Chars<6>,
        matrix: [[f32; 3]; 2],
        corners: [Point; 2],
    }
}

#[test]
fn rust_types_are_records() {
    let schema = All::schema();
    assert_eq!(schema.itemsize() as usize, size_of::<All>());
    let json = schema.to_json();
    let point = r#"{"names":["x","y"],"formats":["<f8","<f4"],"offsets":[0,8],"itemsize":16}"#;
    assert_eq!(
        json,
        format!(
            r#"{{"names":["unsigned","type","flag","symbol","matrix","corners"],"formats":["|u1","<i8","|b1","|S6","(2,3)<f4",[{point},[2]]],"offsets":[0,8,16,17,24,48],"itemsize":80}}"#
        )
    );
    assert_eq!(Chars::<4>::new("Hällo").bytes(), "Häl".as_bytes());
    assert_eq!(Chars::<3>::new("aä").to_str(), Ok("aä"));
    assert_eq!(Chars::<2>::new("aä").to_str(), Ok("a"));
    assert_eq!(Chars::<4>::default().bytes(), b"");
}
