//! The format of the data file: constants, the geometry of a ring, and the checks on both.
//!
//! ```text
//!      0  immutable: magic, version, geometry, identity      written once, magic last
//!    128  state, epoch, pid, weak_alive                      producer, at open and close
//!    160  blocked                                            producer, when it finds the ring full
//!    256  claimed, limit                                     producer, once a block
//!    384  published                                          producer, once a block
//!    512  wake                                               producer, when somebody sleeps
//!    640  reserved, zero
//!   4096  record schema (schema_length bytes, may be 0)
//!      …  index of block starts (variable framing only)
//!      …  the ring
//! ```
//!
//! All numbers are little-endian. Each group that changes has 128 bytes of its own: two cache
//! lines, because processors prefetch lines in pairs.
//!
//! A slot of a fixed ring, and a frame of a variable one:
//!
//! ```text
//!  fixed      | stamp: u64 | payload, message_size bytes | to a multiple of the stride
//!  variable   | stamp: u64 | length: u32 | flags: u32 | payload, length bytes | to 16 bytes
//! ```

use crate::error::{Error, Result};
use crate::os;
use std::fs::File;
use std::io;

/// `IPCQRING`, read as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"IPCQRING");
/// The version of this layout. Another one is refused, never guessed at.
pub const VERSION: u32 = 1;

/// Bytes of the header, and so the offset of what follows it.
pub const HEADER_BYTES: u64 = 4096;
/// The longest block, in slots or bytes. A reader looks through one from frame to frame, and is not to be
/// kept busy by a file.
const MAX_BLOCK_FIXED: u64 = 1024;
const MAX_BLOCK_VARIABLE: u64 = 64 << 10;
/// The alignment of what follows the header.
const PAGE: u64 = 4096;

/// Byte offsets of the header's words.
pub mod at {
    #![allow(missing_docs)] // the names say it
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8; // u32, then header bytes: u32
    pub const FRAMING: usize = 16; // u32, then delivery: u32
    pub const MESSAGE_SIZE: usize = 24; // u32, then stride: u32
    pub const CAPACITY: usize = 32;
    pub const BLOCK: usize = 40;
    pub const RING_OFFSET: usize = 48;
    pub const RING_BYTES: usize = 56;
    pub const INDEX_OFFSET: usize = 64;
    pub const INDEX_ENTRIES: usize = 72;
    pub const SCHEMA_OFFSET: usize = 80; // u32, then length: u32
    pub const MAX_CONSUMERS: usize = 88; // u32, then min_consumers: u32
    pub const FIRST_SEQUENCE: usize = 96;
    pub const ID: usize = 104;
    pub const HOME: usize = 112; // the directory and name that the file was made for, as a hash
    pub const STATE: usize = 128;
    pub const EPOCH: usize = 136;
    pub const PID: usize = 144; // of the producer, for information; 0 if it has closed or detached
    /// Not 0 if the producer shows itself by a lock that any reader could hold: then what tells its
    /// process.
    pub const WEAK_ALIVE: usize = 152;
    pub const BLOCKED: usize = 160; // lossless: what a push that found no room had to announce
    pub const CLAIMED: usize = 256;
    pub const LIMIT: usize = 264; // lossless: how far claimed may go, so far
    pub const PUBLISHED: usize = 384; // sequence (fixed) or position (variable)
    pub const PUBLISHED_SEQUENCE: usize = 392; // variable: the sequence at that position
    pub const WAKE: usize = 512; // u32, a futex word: how often sleepers were woken

    const _: () = {
        // Words are aligned, and the groups that change lie 128 bytes apart.
        assert!(CAPACITY % 8 == 0 && ID % 8 == 0 && HOME + 8 <= STATE);
        assert!(STATE % 128 == 0 && CLAIMED % 128 == 0 && PUBLISHED % 128 == 0 && WAKE % 128 == 0);
        assert!((WAKE as u64) < super::HEADER_BYTES);
    };
}

/// The bytes that file locks stand for. A lock needs no byte behind it.
pub mod lock_byte {
    /// On the data file: held exclusively by a live producer, for consumers to test.
    pub const PRODUCER_ALIVE: u64 = 0;
    /// On the data file: held by a live producer beside others, if a reader of the file has locked
    /// `PRODUCER_ALIVE`; the header says so. It proves less, because any reader can hold it, so the
    /// process is looked at, too.
    pub const PRODUCER_PERHAPS_ALIVE: u64 = 1;
    /// On the lock file: held exclusively by the one producer, as long as it lives.
    pub const PRODUCER: u64 = 0;
    /// On the lock file: held exclusively while the files of the name are made, replaced or removed.
    pub const NAMES: u64 = 1;
}

/// The values of the state word.
pub mod state {
    /// A producer is, or was, attached and did not close.
    pub const LIVE: u64 = 1;
    /// The producer closed the queue. It may be opened again.
    pub const CLOSED: u64 = 2;
    /// Another file has taken the name of this one, or is about to. As long as this one has its name,
    /// it is what it was before: live, after a producer that died.
    pub const SUPERSEDED: u64 = 3;
    /// The same, but closed before.
    pub const SUPERSEDED_CLOSED: u64 = 4;
}

/// Bytes before the payload of a fixed slot.
pub const SLOT_HEADER: usize = 8;
/// Payloads up to this long are short: they are copied without a call.
///
/// Measured, streaming: 64 bytes without a call 1.7 ns, by a call to `memcpy` 4.4; 1 KiB by words
/// 155, by `memcpy` 62 to 75.
pub const SHORT: usize = 128;
/// Bytes before the payload of a variable frame, and the unit that frames come in.
pub const FRAME_HEADER: usize = 16;
/// `flags` of a frame that fills the ring up to its end and is no message.
pub const FLAG_PADDING: u32 = 1;

/// The largest fixed message: 1 GiB.
pub const MAX_MESSAGE: u64 = 1 << 30;
/// The largest ring: 1 TiB.
pub const MAX_RING: u64 = 1 << 40;
/// The smallest variable ring, in bytes.
pub const MIN_VARIABLE: u64 = 1024;
/// The largest registry.
pub const MAX_CONSUMERS: u32 = 4096;
/// The longest description of a record, in bytes.
pub const MAX_SCHEMA: u32 = 64 << 10;
/// What a ring takes if no capacity is given: about this many bytes.
const DEFAULT_RING: u64 = 4 << 20;

/// How messages lie in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Framing {
    /// All messages have one size.
    Fixed = 0,
    /// Each message has its own length.
    Variable = 1,
}

/// What happens to messages that a consumer has not read when the ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Delivery {
    /// They are overwritten; the consumer learns how many.
    #[default]
    Lossy = 0,
    /// They are kept, and the producer has to wait.
    Lossless = 1,
}

/// Everything about a queue that never changes: the content of the header's first group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Fixed or variable.
    pub framing: Framing,
    /// Lossy or lossless.
    pub delivery: Delivery,
    /// Bytes of every message; 0 in a variable ring.
    pub message_size: u32,
    /// Bytes from one slot to the next; 0 in a variable ring.
    pub stride: u32,
    /// Messages (fixed) or bytes (variable): a power of two.
    pub capacity: u64,
    /// How far the producer announces at once, in the unit of the capacity: a power of two.
    pub block: u64,
    /// Where the ring begins in the file.
    pub ring_offset: u64,
    /// Bytes of the ring.
    pub ring_bytes: u64,
    /// Where the index of block starts begins; 0 if there is none.
    pub index_offset: u64,
    /// Entries of the index, 16 bytes each: one a block.
    pub index_entries: u64,
    /// Where the record schema begins.
    pub schema_offset: u32,
    /// Bytes of the record schema.
    pub schema_length: u32,
    /// Slots of the consumer registry in the control file.
    pub max_consumers: u32,
    /// How many consumers must be attached before anything may be overwritten.
    pub min_consumers: u32,
    /// The sequence of the first message ever.
    pub first_sequence: u64,
    /// Tells this file, and the control file that belongs to it, from all others.
    pub id: u64,
}

/// What a new queue is asked to be; zero means default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Request {
    pub capacity: u64,
    pub message_size: u32,
    pub delivery: Delivery,
    pub max_consumers: u32,
    pub min_consumers: u32,
    pub schema_length: u32,
    /// Of the payloads: what the record needs. Zero or one if that is not known.
    pub alignment: u32,
    pub first_sequence: u64,
    pub id: u64,
}

fn round_up(n: u64, unit: u64) -> u64 {
    n.div_ceil(unit) * unit
}

/// Bytes from one slot to the next.
///
/// Up to a line, a power of two, so that no slot lies across two lines: then a message of up to
/// 56 bytes moves one line between the cores. Above, packed to 8 bytes: a 64-byte message in 72
/// streams faster than in 128 (measured 7.4 against 12.6 ns). From 256 bytes on, whole lines, with
/// the payload at the start of one (see [`payload_skew`]): the copy is what counts there.
fn stride_of(message_size: u64) -> u64 {
    let bytes = SLOT_HEADER as u64 + message_size;
    match bytes {
        0..=64 => bytes.next_power_of_two().max(16),
        65..264 => round_up(bytes, 8),
        _ => round_up(bytes, 64),
    }
}

/// How far into its first line the ring begins, so that large payloads start on a line.
fn payload_skew(stride: u64) -> u64 {
    if stride >= 264 && stride % 64 == 0 {
        64 - SLOT_HEADER as u64
    } else {
        0
    }
}

impl Geometry {
    pub(crate) fn new(r: &Request) -> Result<Geometry> {
        let invalid = |what: String| Err(Error::Invalid(what.into()));
        let size = u64::from(r.message_size);
        if size > MAX_MESSAGE {
            return invalid(format!("message_size {size}: at most {MAX_MESSAGE} bytes"));
        }
        let framing = if size == 0 {
            Framing::Variable
        } else {
            Framing::Fixed
        };
        // Payloads are 8 bytes behind a multiple of 8. Where 16 are needed, the ring begins 8 bytes
        // before such an address.
        let aligned = size != 0 && r.alignment > 8;
        let stride = match (size, aligned) {
            (0, _) => 1,
            (size, false) => stride_of(size),
            (size, true) => round_up(stride_of(size), 16),
        };
        let skew = match payload_skew(stride) {
            0 if aligned => 8,
            skew => skew,
        };
        let floor = if size == 0 { MIN_VARIABLE } else { 2 };
        let capacity = match r.capacity {
            0 => (DEFAULT_RING / stride).next_power_of_two().max(16),
            n if n > MAX_RING => return invalid(format!("capacity {n}: more than {MAX_RING}")),
            n => n.next_power_of_two().max(floor),
        };
        let ring_bytes = match capacity.checked_mul(stride) {
            Some(n) if n <= MAX_RING => n,
            _ => {
                return invalid(format!(
                    "capacity {capacity} of {size} bytes each: the ring is larger than {MAX_RING} bytes"
                ))
            }
        };
        let max_consumers = if r.max_consumers == 0 {
            32
        } else {
            r.max_consumers
        };
        if max_consumers > MAX_CONSUMERS {
            return invalid(format!(
                "max_consumers {max_consumers}: at most {MAX_CONSUMERS}"
            ));
        }
        if r.min_consumers > max_consumers {
            return invalid(format!(
                "min_consumers {} is more than max_consumers {max_consumers}",
                r.min_consumers
            ));
        }
        if r.min_consumers != 0 && r.delivery == Delivery::Lossy {
            return invalid("min_consumers is for lossless queues".to_owned());
        }
        // 1/64 of the ring: what is announced is given up, so the block bounds what a full ring
        // retains. More than 64 KiB (1024 slots) gains nothing: by then the announcement, one
        // line moved to each consumer, costs 0.1 ns a message.
        let block = match framing {
            Framing::Fixed => (capacity / 64).clamp(1, MAX_BLOCK_FIXED),
            Framing::Variable => (capacity / 64).clamp(16, MAX_BLOCK_VARIABLE),
        };
        let schema_end = HEADER_BYTES + round_up(u64::from(r.schema_length), PAGE);
        let (index_offset, index_entries) = match framing {
            Framing::Fixed => (0, 0),
            Framing::Variable => (schema_end, capacity / block),
        };
        let index_end = schema_end + round_up(index_entries * 16, PAGE);
        Ok(Geometry {
            framing,
            delivery: r.delivery,
            message_size: r.message_size,
            stride: if size == 0 { 0 } else { stride as u32 },
            capacity,
            block,
            ring_offset: index_end + skew,
            ring_bytes,
            index_offset,
            index_entries,
            schema_offset: HEADER_BYTES as u32,
            schema_length: r.schema_length,
            max_consumers,
            min_consumers: r.min_consumers,
            first_sequence: r.first_sequence,
            id: r.id,
        })
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.ring_offset + self.ring_bytes
    }

    /// The longest message, in bytes.
    pub fn max_message(&self) -> u64 {
        match self.framing {
            Framing::Fixed => u64::from(self.message_size),
            Framing::Variable => (self.capacity / 8).min(MAX_MESSAGE),
        }
    }

    /// The message size, if it is fixed and short.
    pub(crate) fn short_message(&self) -> Option<usize> {
        let size = self.message_size as usize;
        (1..=SHORT).contains(&size).then_some(size)
    }

    /// In words, for messages: `fixed, 1024 messages of 24 bytes, lossy`.
    pub fn describe(&self) -> String {
        let delivery = match self.delivery {
            Delivery::Lossy => "lossy",
            Delivery::Lossless => "lossless",
        };
        match self.framing {
            Framing::Fixed => {
                format!(
                    "{} messages of {} bytes, {delivery}",
                    self.capacity, self.message_size
                )
            }
            Framing::Variable => {
                format!("variable length, {} bytes, {delivery}", self.capacity)
            }
        }
    }

    /// The header's first group as `(offset, word)`, without the magic, which goes in last.
    pub(crate) fn words(&self) -> [(usize, u64); 13] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [
            (at::VERSION, pair(VERSION, HEADER_BYTES as u32)),
            (at::FRAMING, pair(self.framing as u32, self.delivery as u32)),
            (at::MESSAGE_SIZE, pair(self.message_size, self.stride)),
            (at::CAPACITY, self.capacity),
            (at::BLOCK, self.block),
            (at::RING_OFFSET, self.ring_offset),
            (at::RING_BYTES, self.ring_bytes),
            (at::INDEX_OFFSET, self.index_offset),
            (at::INDEX_ENTRIES, self.index_entries),
            (
                at::SCHEMA_OFFSET,
                pair(self.schema_offset, self.schema_length),
            ),
            (
                at::MAX_CONSUMERS,
                pair(self.max_consumers, self.min_consumers),
            ),
            (at::FIRST_SEQUENCE, self.first_sequence),
            (at::ID, self.id),
        ]
    }

    /// Reads a header back and checks every field against every other and the file's size.
    ///
    /// `word` loads one word of the first 4096 bytes, and is called once for each. What this
    /// returns can be used to address the file without a further check.
    pub(crate) fn read(file_bytes: u64, word: impl Fn(usize) -> u64) -> Result<Geometry> {
        let low = |w: u64| w as u32;
        let high = |w: u64| (w >> 32) as u32;
        if file_bytes < HEADER_BYTES || word(at::MAGIC) != MAGIC {
            return Err(Error::Damaged("not a queue".into()));
        }
        let version = word(at::VERSION);
        if low(version) != VERSION {
            return Err(Error::Version(
                format!(
                    "the queue has layout version {}, this library ({}) reads version {VERSION}: \
                     use one version of ipcq on both sides",
                    low(version),
                    env!("CARGO_PKG_VERSION")
                )
                .into(),
            ));
        }
        let damaged = |what: &str| Error::Damaged(format!("damaged header: {what}").into());
        let (framing, sizes) = (word(at::FRAMING), word(at::MESSAGE_SIZE));
        let (schema, consumers) = (word(at::SCHEMA_OFFSET), word(at::MAX_CONSUMERS));
        let g = Geometry {
            framing: match low(framing) {
                0 => Framing::Fixed,
                1 => Framing::Variable,
                _ => return Err(damaged("framing")),
            },
            delivery: match high(framing) {
                0 => Delivery::Lossy,
                1 => Delivery::Lossless,
                _ => return Err(damaged("delivery")),
            },
            message_size: low(sizes),
            stride: high(sizes),
            capacity: word(at::CAPACITY),
            block: word(at::BLOCK),
            ring_offset: word(at::RING_OFFSET),
            ring_bytes: word(at::RING_BYTES),
            index_offset: word(at::INDEX_OFFSET),
            index_entries: word(at::INDEX_ENTRIES),
            schema_offset: low(schema),
            schema_length: high(schema),
            max_consumers: low(consumers),
            min_consumers: high(consumers),
            first_sequence: word(at::FIRST_SEQUENCE),
            id: word(at::ID),
        };
        let check = |ok: bool, what: &str| if ok { Ok(()) } else { Err(damaged(what)) };
        check(high(version) as u64 == HEADER_BYTES, "header size")?;
        check(
            g.capacity.is_power_of_two() && g.capacity <= MAX_RING,
            "capacity",
        )?;
        check(
            g.block.is_power_of_two() && g.block <= g.capacity / 2,
            "block",
        )?;
        let longest = match g.framing {
            Framing::Fixed => MAX_BLOCK_FIXED,
            Framing::Variable => MAX_BLOCK_VARIABLE,
        };
        check(g.block <= longest, "block")?;
        let unit = match g.framing {
            Framing::Fixed => {
                let least = SLOT_HEADER as u64 + u64::from(g.message_size);
                check(
                    (1..=MAX_MESSAGE).contains(&g.message_size.into()),
                    "message size",
                )?;
                check(
                    u64::from(g.stride) >= round_up(least, 8) && g.stride % 8 == 0,
                    "stride",
                )?;
                check(g.index_entries == 0 && g.index_offset == 0, "index")?;
                u64::from(g.stride)
            }
            Framing::Variable => {
                check(g.message_size == 0 && g.stride == 0, "message size")?;
                check(g.capacity >= MIN_VARIABLE && g.block >= 16, "capacity")?;
                check(g.index_entries == g.capacity / g.block, "index")?;
                1
            }
        };
        check(
            g.capacity.checked_mul(unit) == Some(g.ring_bytes),
            "ring size",
        )?;
        check(g.ring_bytes <= MAX_RING, "ring size")?;
        let schema_end = u64::from(g.schema_offset) + u64::from(g.schema_length);
        check(
            u64::from(g.schema_offset) >= HEADER_BYTES && g.schema_offset % 8 == 0,
            "schema",
        )?;
        check(
            g.schema_length <= MAX_SCHEMA && (g.schema_length == 0 || g.framing == Framing::Fixed),
            "schema",
        )?;
        let index_end = match g.index_entries {
            0 => schema_end,
            n => {
                check(
                    g.index_offset % 8 == 0 && g.index_offset >= schema_end,
                    "index",
                )?;
                g.index_offset
                    .checked_add(n * 16)
                    .ok_or_else(|| damaged("index"))?
            }
        };
        check(
            g.ring_offset % 8 == 0 && g.ring_offset >= index_end,
            "ring offset",
        )?;
        // Payloads of a variable ring are promised 16-byte alignment.
        check(
            g.framing == Framing::Fixed || g.ring_offset % 16 == 0,
            "ring offset",
        )?;
        let end = g.ring_offset.checked_add(g.ring_bytes);
        check(
            end.is_some_and(|end| end <= file_bytes),
            "the file is shorter than its ring",
        )?;
        check(g.max_consumers <= MAX_CONSUMERS, "max_consumers")?;
        let least = match g.delivery {
            Delivery::Lossy => 0,
            Delivery::Lossless => g.max_consumers,
        };
        check(g.min_consumers <= least, "min_consumers")?;
        Ok(g)
    }
}

/// Whether a file says that it is a queue.
pub(crate) fn says_queue(file: &File) -> io::Result<bool> {
    let mut magic = [0; 8];
    let length = os::read_up_to(file, &mut magic, at::MAGIC as u64)?;
    Ok(length == magic.len() && u64::from_le_bytes(magic) == MAGIC)
}

/// As [`says_queue`]; false if the file cannot be read.
pub(crate) fn is_queue(file: &File) -> bool {
    says_queue(file).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(message_size: u32, capacity: u64) -> Geometry {
        Geometry::new(&Request {
            message_size,
            capacity,
            ..Request::default()
        })
        .unwrap()
    }

    fn page_of(g: &Geometry) -> [u64; 512] {
        let mut page = [0; 512];
        for (at, word) in g.words() {
            page[at / 8] = word;
        }
        page[0] = MAGIC;
        page
    }

    #[test]
    fn small_slots_never_cross_a_line() {
        for size in 1..=56 {
            let stride = fixed(size, 64).stride;
            assert!(64 % stride == 0 && stride >= size + 8, "{size}: {stride}");
        }
        assert_eq!(fixed(64, 64).stride, 72);
        let large = fixed(1024, 64);
        assert_eq!((large.ring_offset + 8) % 64, 0);
        assert_eq!(large.stride % 64, 0);
    }

    #[test]
    fn capacities_are_rounded_up() {
        assert_eq!(fixed(8, 1).capacity, 2);
        assert_eq!(fixed(8, 1000).capacity, 1024);
        let v = Geometry::new(&Request {
            capacity: 5000,
            ..Request::default()
        })
        .unwrap();
        assert_eq!((v.capacity, v.framing), (8192, Framing::Variable));
    }

    #[test]
    fn impossible_requests_are_refused() {
        for r in [
            Request {
                capacity: u64::MAX,
                message_size: 8,
                ..Request::default()
            },
            Request {
                capacity: 1 << 39,
                message_size: 8,
                ..Request::default()
            },
            Request {
                message_size: u32::MAX,
                ..Request::default()
            },
            Request {
                max_consumers: 5000,
                ..Request::default()
            },
            Request {
                min_consumers: 33,
                ..Request::default()
            },
        ] {
            assert!(matches!(Geometry::new(&r), Err(Error::Invalid(_))), "{r:?}");
        }
    }

    #[test]
    fn headers_are_read_back_as_written() {
        for r in [
            Request {
                capacity: 100,
                message_size: 24,
                id: 7,
                ..Request::default()
            },
            Request {
                message_size: 8,
                schema_length: 5000,
                ..Request::default()
            },
            Request {
                first_sequence: u64::MAX - 3,
                ..Request::default()
            },
            Request {
                message_size: 4096,
                ..Request::default()
            },
        ] {
            let g = Geometry::new(&r).unwrap();
            let page = page_of(&g);
            assert_eq!(
                Geometry::read(g.file_bytes(), |at| page[at / 8]).unwrap(),
                g
            );
            assert!(Geometry::read(g.file_bytes() - 1, |at| page[at / 8]).is_err());
        }
    }

    #[test]
    fn a_schema_has_bounds() {
        for (message_size, schema_length) in [(8, MAX_SCHEMA + 1), (0, 10)] {
            let g = Geometry::new(&Request {
                message_size,
                schema_length,
                ..Request::default()
            });
            let g = g.unwrap();
            let page = page_of(&g);
            let read = Geometry::read(g.file_bytes(), |at| page[at / 8]);
            assert!(matches!(read, Err(Error::Damaged(_))), "{read:?}");
        }
    }

    #[test]
    fn no_header_can_address_beyond_the_file() {
        // Every byte of the immutable group set to every value: refused, or in bounds.
        for g in [fixed(24, 256), Geometry::new(&Request::default()).unwrap()] {
            let page = page_of(&g);
            for byte in 0..128 {
                for value in 0..=255u8 {
                    let mut page = page;
                    let mut bytes = page[byte / 8].to_le_bytes();
                    bytes[byte % 8] = value;
                    page[byte / 8] = u64::from_le_bytes(bytes);
                    if let Ok(h) = Geometry::read(g.file_bytes(), |at| page[at / 8]) {
                        assert!(h.file_bytes() <= g.file_bytes());
                        assert!(h.max_message() <= h.ring_bytes);
                        let index = h.index_offset + h.index_entries * 16;
                        assert!(index <= h.ring_offset);
                    }
                }
            }
        }
    }
}
