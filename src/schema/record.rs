//! Rust types that describe themselves as records.

use super::{Field, Format, Scalar, Schema};

/// A type whose values are records with a known schema. [`record!`](crate::record) declares such
/// types. Pass one to [`ProducerOptions::record`](crate::ProducerOptions::record) and
/// [`ConsumerOptions::record`](crate::ConsumerOptions::record).
pub trait Record {
    /// The schema of the values.
    ///
    /// # Panics
    /// If the type cannot have a valid schema: see [`Schema::new`].
    fn schema() -> Schema;
}

/// A type that a field of a record can have: numbers, `bool`, arrays, [`Chars`], and the types that
/// [`record!`](crate::record) declares.
pub trait Element {
    /// The type of a field, or of each element of an array.
    fn format() -> Format;

    /// The dimensions, if it is an array.
    fn shape() -> Vec<u32> {
        Vec::new()
    }
}

macro_rules! scalars {
    ($($type:ty = $format:literal),*) => {
        $(impl Element for $type {
            fn format() -> Format {
                scalar($format)
            }
        })*
    };
}

scalars!(u8 = "u1", u16 = "u2", u32 = "u4", u64 = "u8", usize = "u8");
scalars!(i8 = "i1", i16 = "i2", i32 = "i4", i64 = "i8", isize = "i8");
scalars!(f32 = "f4", f64 = "f8", bool = "b1");

fn scalar(format: &str) -> Format {
    match Scalar::parse(format) {
        Ok(scalar) => scalar.into(),
        Err(e) => panic!("{e}"),
    }
}

impl<T: Element, const N: usize> Element for [T; N] {
    fn format() -> Format {
        T::format()
    }

    fn shape() -> Vec<u32> {
        let mut shape = vec![N as u32];
        shape.extend(T::shape());
        shape
    }
}

/// A string of at most `N` bytes, padded with zeroes: `char[N]` in C and `S<N>` in numpy. In
/// contrast, `[u8; N]` is an array of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Chars<const N: usize>(pub [u8; N]);

impl<const N: usize> Chars<N> {
    /// The start of a text, up to `N` bytes, in whole characters.
    pub fn new(text: &str) -> Self {
        let mut end = text.len().min(N);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; N];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Chars(bytes)
    }

    /// The bytes without the zeroes at the end.
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().rposition(|&b| b != 0);
        &self.0[..end.map_or(0, |last| last + 1)]
    }

    /// The string as text.
    ///
    /// # Errors
    /// If the bytes are not UTF-8.
    pub fn to_str(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(self.bytes())
    }
}

impl<const N: usize> Default for Chars<N> {
    fn default() -> Self {
        Chars([0; N])
    }
}

impl<const N: usize> Element for Chars<N> {
    fn format() -> Format {
        scalar(&format!("S{N}"))
    }
}

// SAFETY: the type has the same representation as its bytes.
#[cfg(feature = "typed")]
unsafe impl<const N: usize> bytemuck::Zeroable for Chars<N> {}
// SAFETY: as above.
#[cfg(feature = "typed")]
unsafe impl<const N: usize> bytemuck::Pod for Chars<N> {}

/// Declares a `#[repr(C)]` struct whose values are records, and implements [`Record`] for it. C,
/// C++ and Python programs can then read its fields, and a program that expects another struct gets
/// an error when it opens the queue.
///
/// ```
/// use ipcq::{Chars, Consumer, Producer};
/// # let dir = std::env::temp_dir().join(format!("ipcq-doc-record-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// # std::env::set_var("IPCQ_DIR", &dir);
///
/// ipcq::record! {
///     /// A quote.
///     #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
///     pub struct Tick {
///         pub time_ns: u64,
///         pub bid_ask: [f64; 2],
///         pub symbol: Chars<8>,
///     }
/// }
///
/// let mut out = Producer::options().record::<Tick>().open("ticks")?;
/// out.push_value(&Tick { time_ns: 1, bid_ask: [9.5, 9.6], symbol: Chars::new("ACME") })?;
///
/// let mut q = Consumer::options().record::<Tick>().open("ticks")?;
/// let (tick, _) = q.pop_value::<Tick>()?.expect("one was pushed");
/// assert_eq!(tick.symbol.bytes(), b"ACME");
/// # ipcq::unlink("ticks")?;
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), ipcq::Error>(())
/// ```
#[macro_export]
macro_rules! record {
    (
        $(#[$attribute:meta])*
        $visible:vis struct $name:ident {
            $($(#[$of_field:meta])* $field_visible:vis $field:ident : $type:ty),+ $(,)?
        }
    ) => {
        #[repr(C)]
        $(#[$attribute])*
        $visible struct $name {
            $($(#[$of_field])* $field_visible $field: $type),+
        }

        impl $crate::Record for $name {
            fn schema() -> $crate::Schema {
                $crate::__binding::schema_of::<$name>(vec![
                    $($crate::__binding::field_of::<$type>(
                        stringify!($field),
                        ::core::mem::offset_of!($name, $field),
                    )),+
                ])
            }
        }

        impl $crate::Element for $name {
            fn format() -> $crate::Format {
                <$name as $crate::Record>::schema().into()
            }
        }
    };
}

/// The schema of a type with these fields. Used by the macro.
pub fn schema_of<T>(fields: Vec<Field>) -> Schema {
    let name = std::any::type_name::<T>();
    match Schema::new(number(size_of::<T>()), fields) {
        Ok(schema) => schema,
        Err(e) => panic!("{name}: {e}"),
    }
}

/// A field of type `T`. Used by the macro.
pub fn field_of<T: Element>(name: &str, offset: usize) -> Field {
    let name = name.strip_prefix("r#").unwrap_or(name);
    Field::new(name, number(offset), T::format()).array(&T::shape())
}

/// Saturates. [`Schema::new`] refuses a number that is too large.
fn number(n: usize) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}
