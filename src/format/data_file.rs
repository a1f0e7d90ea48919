//! The format of the data file: constants, the geometry of a ring, and the checks on both.
//!
//! ```text
//!      0  immutable: magic, version, geometry, identity      written once, magic last
//!    128  state, epoch, pid, weak_alive                      producer, at open and close
//!    160  blocked                                            producer, when it finds the ring full
//!    256  claimed, limit                                     producer, once a block
//!    384  published                                          producer, once a block
//!    512  wake                                               producer, when a consumer sleeps
//!    640  reserved, zero
//!   4096  record schema (schema_length bytes, may be 0)
//!      …  index of block starts (variable framing only)
//!      …  the ring
//! ```
//!
//! All numbers are little-endian. Each group that changes has 128 bytes of its own. These are two
//! cache lines, because processors prefetch lines in pairs.
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
/// The version of this layout. The library refuses any other version.
pub const VERSION: u32 = 1;

/// Bytes of the header.
pub const HEADER_BYTES: u64 = 4096;
/// The longest block, in slots or bytes. A reader walks through a block from frame to frame, so the
/// limit bounds the work that a damaged file can cause.
const MAX_BLOCK_FIXED: u64 = 1024;
const MAX_BLOCK_VARIABLE: u64 = 64 << 10;
/// The alignment of the schema, the index and the ring.
const PAGE: u64 = 4096;

/// Byte offsets of the header's words.
pub mod at {
    #![allow(missing_docs)] // The names are enough.
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
    pub const HOME: usize = 112; // a hash of the directory and name that the file was made for
    pub const STATE: usize = 128;
    pub const EPOCH: usize = 136;
    pub const PID: usize = 144; // of the producer, for information. 0 if it has closed or detached
    /// Identifies the process of the producer if its lock is the weaker one, which any reader could
    /// hold ([`PRODUCER_PERHAPS_ALIVE`](super::lock_byte::PRODUCER_PERHAPS_ALIVE)). Otherwise 0.
    pub const WEAK_ALIVE: usize = 152;
    pub const BLOCKED: usize = 160; // lossless: the end that a push without room had to announce
    pub const CLAIMED: usize = 256;
    pub const LIMIT: usize = 264; // lossless: the producer moves claimed up to here
    pub const PUBLISHED: usize = 384; // sequence (fixed) or position (variable)
    pub const PUBLISHED_SEQUENCE: usize = 392; // variable: the sequence at that position
    pub const WAKE: usize = 512; // u32, a futex word that counts the wake-ups

    const _: () = {
        // Words are aligned, and the groups that change are 128 bytes apart.
        assert!(CAPACITY % 8 == 0 && ID % 8 == 0 && HOME + 8 <= STATE);
        assert!(STATE % 128 == 0 && CLAIMED % 128 == 0 && PUBLISHED % 128 == 0 && WAKE % 128 == 0);
        assert!((WAKE as u64) < super::HEADER_BYTES);
    };
}

/// The bytes that file locks stand for. The files need not be that long.
pub mod lock_byte {
    /// On the data file: a live producer holds it exclusively, and consumers test it.
    pub const PRODUCER_ALIVE: u64 = 0;
    /// On the data file: a live producer holds it, shared, if a reader of the file has locked
    /// `PRODUCER_ALIVE`. The header then has [`WEAK_ALIVE`](super::at::WEAK_ALIVE). Any reader can
    /// hold this lock, so consumers also look at the process.
    pub const PRODUCER_PERHAPS_ALIVE: u64 = 1;
    /// On the lock file: the one producer holds it exclusively while it lives.
    pub const PRODUCER: u64 = 0;
    /// On the lock file: held exclusively while a process makes, replaces or removes the files of
    /// the name.
    pub const NAMES: u64 = 1;
}

/// The values of the state word.
pub mod state {
    /// A producer is, or was, attached and did not close.
    pub const LIVE: u64 = 1;
    /// The producer closed the queue. It may be opened again.
    pub const CLOSED: u64 = 2;
    /// Another file has taken the name of this one, or is about to. While this file still has its
    /// name, its queue is what it was before: live, after a producer that died.
    pub const SUPERSEDED: u64 = 3;
    /// The same, but closed before.
    pub const SUPERSEDED_CLOSED: u64 = 4;
}

/// Bytes before the payload of a fixed slot.
pub const SLOT_HEADER: usize = 8;
/// Payloads of up to this length are short. They are copied without a call.
///
/// Measured when streaming: 64 bytes take 1.7 ns without a call and 4.4 ns with a call to `memcpy`.
/// 1 KiB takes 155 ns by words and 62 to 75 ns with `memcpy`.
pub const SHORT: usize = 128;
/// Bytes before the payload of a variable frame. Frames are a multiple of this long.
pub const FRAME_HEADER: usize = 16;
/// `flags` of a frame that fills the ring up to its end and is not a message.
pub const FLAG_PADDING: u32 = 1;

/// The largest fixed message: 1 GiB.
pub const MAX_MESSAGE: u64 = 1 << 30;
/// The largest ring: 1 TiB.
pub const MAX_RING: u64 = 1 << 40;
/// The smallest variable ring, in bytes.
pub const MIN_VARIABLE: u64 = 1024;
/// The largest number of consumer slots.
pub const MAX_CONSUMERS: u32 = 4096;
/// The longest record schema, in bytes.
pub const MAX_SCHEMA: u32 = 64 << 10;
/// About the number of bytes of a ring if no capacity is given.
const DEFAULT_RING: u64 = 4 << 20;

/// The kinds of rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Framing {
    /// All messages have one size.
    Fixed = 0,
    /// Each message has its own length.
    Variable = 1,
}

/// Decides about messages that a consumer has not read when the ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Delivery {
    /// They are overwritten, and the consumer counts them as lost.
    #[default]
    Lossy = 0,
    /// They are kept, and the producer has to wait.
    Lossless = 1,
}

/// Everything about a queue that never changes. It is in the first group of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Fixed or variable.
    pub framing: Framing,
    /// Lossy or lossless.
    pub delivery: Delivery,
    /// Bytes of every message. 0 in a variable ring.
    pub message_size: u32,
    /// Bytes from one slot to the next. 0 in a variable ring.
    pub stride: u32,
    /// Messages (fixed) or bytes (variable): a power of two.
    pub capacity: u64,
    /// The producer announces this much at once, in the unit of the capacity: a power of two.
    pub block: u64,
    /// The offset of the ring in the file.
    pub ring_offset: u64,
    /// Bytes of the ring.
    pub ring_bytes: u64,
    /// The offset of the index of block starts. 0 in a fixed ring, which has none.
    pub index_offset: u64,
    /// Entries of the index, 16 bytes each. Each block has one.
    pub index_entries: u64,
    /// The offset of the record schema.
    pub schema_offset: u32,
    /// Bytes of the record schema.
    pub schema_length: u32,
    /// Consumer slots in the control file.
    pub max_consumers: u32,
    /// The producer overwrites nothing before this many consumers have attached.
    pub min_consumers: u32,
    /// The sequence of the first message ever.
    pub first_sequence: u64,
    /// Identifies this file and its control file.
    pub id: u64,
}

/// The request for a new queue. Zero means the default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Request {
    pub capacity: u64,
    pub message_size: u32,
    pub delivery: Delivery,
    pub max_consumers: u32,
    pub min_consumers: u32,
    pub schema_length: u32,
    /// The alignment of the payloads that the record needs. Zero or one if it is not known.
    pub alignment: u32,
    pub first_sequence: u64,
    pub id: u64,
}

fn round_up(n: u64, unit: u64) -> u64 {
    n.div_ceil(unit) * unit
}

/// Bytes from one slot to the next.
///
/// Up to a cache line it is a power of two. No slot then crosses a line, so a message of up to 56
/// bytes moves one line between the cores. Longer slots are packed to 8 bytes, because a 64-byte
/// message streams faster in 72 bytes than in 128 (measured 7.4 against 12.6 ns). From 256 bytes
/// on, slots are whole lines with the payload at the start of a line (see [`payload_skew`]),
/// because the copy dominates there.
fn stride_of(message_size: u64) -> u64 {
    let bytes = SLOT_HEADER as u64 + message_size;
    match bytes {
        0..=64 => bytes.next_power_of_two().max(16),
        65..264 => round_up(bytes, 8),
        _ => round_up(bytes, 64),
    }
}

/// The offset of the ring in its first line. With it, large payloads start on a line.
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
        // A payload is 8 bytes after the start of its slot. If it needs an alignment of 16 bytes,
        // the ring begins 8 bytes before such an address.
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
        // 1/64 of the ring. Announced messages are given up, so a full ring retains all but a
        // block. A block of more than 64 KiB (1024 slots) gains nothing, because the announcement,
        // which moves one line to each consumer, then costs 0.1 ns a message.
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

    /// A description for people: `1024 messages of 24 bytes, lossy`.
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

    /// The first group of the header as `(offset, word)`. The magic is not included, because it is
    /// written last.
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

    /// Reads a header and checks every field against every other and against the size of the file.
    ///
    /// `word` loads one word of the first 4096 bytes. It is called once for each. The result can be
    /// used to address the file without a further check.
    pub(crate) fn read(file_bytes: u64, word: impl Fn(usize) -> u64) -> Result<Geometry> {
        let g = Geometry::decode(file_bytes, word)?;
        g.check_ring()?;
        g.check_schema()?;
        g.check_index()?;
        g.check_extent(file_bytes)?;
        g.check_consumers()?;
        Ok(g)
    }

    /// Loads the immutable words, and checks magic, version, header size and enumerations.
    fn decode(file_bytes: u64, word: impl Fn(usize) -> u64) -> Result<Geometry> {
        let low = |w: u64| w as u32;
        let high = |w: u64| (w >> 32) as u32;
        if file_bytes < HEADER_BYTES || word(at::MAGIC) != MAGIC {
            return Err(Error::Damaged("not a queue".into()));
        }
        let version = word(at::VERSION);
        if low(version) != VERSION {
            return Err(Error::Version(
                format!(
                    "the queue has layout version {}, but this library ({}) reads version {VERSION}: \
                     use one version of ipcq on both sides",
                    low(version),
                    env!("CARGO_PKG_VERSION")
                )
                .into(),
            ));
        }
        let (framing, sizes) = (word(at::FRAMING), word(at::MESSAGE_SIZE));
        let (schema, consumers) = (word(at::SCHEMA_OFFSET), word(at::MAX_CONSUMERS));
        check(u64::from(high(version)) == HEADER_BYTES, "header size")?;
        Ok(Geometry {
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
        })
    }

    /// Checks capacity, block, message size, stride and the size of the ring against each other.
    fn check_ring(&self) -> Result<()> {
        check(
            self.capacity.is_power_of_two() && self.capacity <= MAX_RING,
            "capacity",
        )?;
        check(
            self.block.is_power_of_two() && self.block <= self.capacity / 2,
            "block",
        )?;
        let (longest_block, unit) = match self.framing {
            Framing::Fixed => (MAX_BLOCK_FIXED, u64::from(self.stride)),
            Framing::Variable => (MAX_BLOCK_VARIABLE, 1),
        };
        check(self.block <= longest_block, "block")?;
        match self.framing {
            Framing::Fixed => {
                let least = SLOT_HEADER as u64 + u64::from(self.message_size);
                check(
                    (1..=MAX_MESSAGE).contains(&self.message_size.into()),
                    "message size",
                )?;
                check(unit >= round_up(least, 8) && unit % 8 == 0, "stride")?;
            }
            Framing::Variable => {
                check(self.message_size == 0 && self.stride == 0, "message size")?;
                check(
                    self.capacity >= MIN_VARIABLE && self.block >= 16,
                    "capacity",
                )?;
            }
        }
        check(
            self.capacity.checked_mul(unit) == Some(self.ring_bytes),
            "ring size",
        )?;
        check(self.ring_bytes <= MAX_RING, "ring size")
    }

    /// Checks the place and length of the record schema.
    fn check_schema(&self) -> Result<()> {
        check(
            u64::from(self.schema_offset) >= HEADER_BYTES && self.schema_offset % 8 == 0,
            "schema",
        )?;
        check(
            self.schema_length <= MAX_SCHEMA
                && (self.schema_length == 0 || self.framing == Framing::Fixed),
            "schema",
        )
    }

    /// The end of the record schema. It cannot overflow.
    fn schema_end(&self) -> u64 {
        u64::from(self.schema_offset) + u64::from(self.schema_length)
    }

    /// Checks the place and length of the index. The block was checked.
    fn check_index(&self) -> Result<()> {
        match self.framing {
            Framing::Fixed => check(self.index_entries == 0 && self.index_offset == 0, "index"),
            Framing::Variable => {
                check(self.index_entries == self.capacity / self.block, "index")?;
                check(
                    self.index_offset % 8 == 0 && self.index_offset >= self.schema_end(),
                    "index",
                )
            }
        }
    }

    /// Checks that the ring begins after the schema and the index, and ends in the file. Ring and
    /// index were checked.
    fn check_extent(&self, file_bytes: u64) -> Result<()> {
        let index_end = match self.index_entries {
            0 => self.schema_end(),
            n => self
                .index_offset
                .checked_add(n * 16)
                .ok_or_else(|| damaged("index"))?,
        };
        check(
            self.ring_offset % 8 == 0 && self.ring_offset >= index_end,
            "ring offset",
        )?;
        // Payloads of a variable ring have an alignment of 16 bytes.
        check(
            self.framing == Framing::Fixed || self.ring_offset % 16 == 0,
            "ring offset",
        )?;
        let end = self.ring_offset.checked_add(self.ring_bytes);
        check(
            end.is_some_and(|end| end <= file_bytes),
            "the file is shorter than its ring",
        )
    }

    /// Checks the numbers of consumers.
    fn check_consumers(&self) -> Result<()> {
        check(self.max_consumers <= MAX_CONSUMERS, "max_consumers")?;
        let most = match self.delivery {
            Delivery::Lossy => 0,
            Delivery::Lossless => self.max_consumers,
        };
        check(self.min_consumers <= most, "min_consumers")
    }
}

#[cold]
fn damaged(what: &str) -> Error {
    Error::Damaged(format!("damaged header: {what}").into())
}

fn check(ok: bool, what: &str) -> Result<()> {
    if ok {
        Ok(())
    } else {
        Err(damaged(what))
    }
}

/// Whether a file begins with the magic of a queue.
pub(crate) fn has_magic(file: &File) -> io::Result<bool> {
    let mut magic = [0; 8];
    let length = os::read_up_to(file, &mut magic, at::MAGIC as u64)?;
    Ok(length == magic.len() && u64::from_le_bytes(magic) == MAGIC)
}

/// As [`has_magic`], but `false` if the file cannot be read.
pub(crate) fn is_queue(file: &File) -> bool {
    has_magic(file).unwrap_or(false)
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
        // With any byte of the immutable group set to any value, the header is refused or in
        // bounds.
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
