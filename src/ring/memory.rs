//! The shared memory as the protocol sees it: words with an order, fences with a name, and the
//! two copies that may race.
//!
//! [`crate::ring`] is written over the trait [`Memory`] alone. In production it is `Mapped`, a
//! mapping of the data file; under the model checker it is an array of modelled atomics, and the
//! negative twins of the models leave out one [`Site`] at a time.

use crate::format::data_file::{at, SLOT_HEADER};
use std::sync::atomic::Ordering;

/// The words of the header that change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Live, closed or superseded.
    State,
    /// Counts producer attachments.
    Epoch,
    /// The first sequence (fixed) or position (variable) not announced for overwriting.
    Claimed,
    /// The next sequence or position as of the last announcement.
    Published,
    /// Variable: the sequence at the position `Published`.
    PublishedSequence,
    /// Lossless: how far `Claimed` may go before the producer looks at the seats again.
    Limit,
}

impl Field {
    /// Where the word is in the data file.
    pub const fn offset(self) -> usize {
        match self {
            Field::State => at::STATE,
            Field::Epoch => at::EPOCH,
            Field::Claimed => at::CLAIMED,
            Field::Published => at::PUBLISHED,
            Field::PublishedSequence => at::PUBLISHED_SEQUENCE,
            Field::Limit => at::LIMIT,
        }
    }
}

/// A place in the protocol where order, or a check, makes it right. Each has a line in
/// `docs/memory-model.md`; the models show what breaks when it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Site {
    /// Producer, release fence: the announcement before the overwriting. Partners: `Validate`,
    /// `ValidateEntry`.
    Announce,
    /// Producer that takes over, release fence: what the last one announced before this one's
    /// overwriting. Partners: as `Announce`.
    TakeOver,
    /// Producer, release store: the payload before its stamp. Partner: `SeeStamp`.
    Stamp,
    /// Producer, release store of `published`, then of `claimed`: frames and index before the
    /// announcement that lets a consumer find them. Partners: `FindFront`, `FindOldest`.
    Publish,
    /// Producer, release store: the last stamp before the state. Partner: `SeeState`.
    State,
    /// Producer, variable: the next frame's stamp is cleared before this one's is stored.
    ClearNext,
    /// Consumer, acquire fence: the stamp before the payload. Partner: `Stamp`.
    SeeStamp,
    /// Consumer, acquire fence: the payload before the check of `claimed`. Partners: `Announce`,
    /// `TakeOver`.
    Validate,
    /// Consumer, variable, acquire fence: an index entry before the check of `claimed`. Partners:
    /// as `Validate`.
    ValidateEntry,
    /// Consumer: the check itself.
    IsValid,
    /// Consumer, acquire fence: `published` before the stamps and index entries that lead from it
    /// to the front. Partner: `Publish`.
    FindFront,
    /// Consumer, variable, acquire fence: `claimed` before the index entries of what is retained.
    /// Partner: `Publish`.
    FindOldest,
    /// Consumer, acquire fence: the state before a last look at the ring. Partner: `State`.
    SeeState,
    /// Consumer: that last look.
    LookAgain,
    /// Lossless producer, full fence: the limit before the second look at the seats. Partner:
    /// `TakeSlot`.
    Limit,
    /// Lossless producer: that second look.
    LookTwice,
    /// Lossless consumer, full fence: its seat before the look at the limit. Partner: `Limit`.
    TakeSlot,
    /// Lossless consumer, release store: the reading before the cursor that gives it up. Partner:
    /// `SeeCursor`.
    Consumed,
    /// Lossless producer, acquire fence: the cursors before the overwriting. Partner: `Consumed`.
    SeeCursor,
}

/// Memory shared between one producer and its consumers. Offsets into the ring are in bytes, and
/// the caller keeps them in bounds; a word's is a multiple of 8.
///
/// # Safety
/// Whatever is loaded may be anything at all, so the caller must not trust it; but an
/// implementation must make every in-bounds access defined behaviour.
pub unsafe trait Memory: Clone {
    /// Loads a header word, relaxed.
    fn load(&self, field: Field) -> u64;
    /// Stores a header word, with release order.
    fn publish(&self, site: Site, field: Field, value: u64);
    /// Loads a word of the ring, relaxed.
    ///
    /// # Safety
    /// `offset` is a multiple of 8 inside the ring.
    unsafe fn word(&self, offset: usize) -> u64;
    /// Stores a word of the ring, relaxed.
    ///
    /// # Safety
    /// As for `word`, and this is the producer's mapping.
    unsafe fn set_word(&self, offset: usize, value: u64);
    /// Stores a word of the ring, with release order.
    ///
    /// # Safety
    /// As for `set_word`.
    unsafe fn publish_word(&self, site: Site, offset: usize, value: u64);
    /// Loads a word of the index of block starts, relaxed. Word `2 n` is the position, `2 n + 1`
    /// the sequence of entry `n`.
    ///
    /// # Safety
    /// `word` is below twice the number of entries.
    unsafe fn index_word(&self, word: usize) -> u64;
    /// Stores a word of the index, relaxed.
    ///
    /// # Safety
    /// As for `index_word`, and this is the producer's mapping.
    unsafe fn set_index_word(&self, word: usize, value: u64);
    /// Copies out of the ring, in no particular order, not to be believed until validated.
    ///
    /// # Safety
    /// `offset` is a multiple of 8, `offset + length` rounded up to 8 is inside the ring, and
    /// `to` is writable for `length` bytes that nobody else uses.
    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize);
    /// Copies into the ring. The bytes from `length` up to a multiple of 8 may be written too.
    ///
    /// # Safety
    /// As for `read`, with `from` readable, and this is the producer's mapping.
    unsafe fn write(&self, offset: usize, from: *const u8, length: usize);
    /// As `read`, of at most [`SHORT`] bytes, those that follow the slot header at `offset`.
    ///
    /// # Safety
    /// As for `read`.
    #[inline(always)]
    unsafe fn read_short(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.read(offset + SLOT_HEADER, to, length) }
    }
    /// As `write`, of at most [`SHORT`] bytes, to what follows the slot header at `offset`.
    ///
    /// # Safety
    /// As for `write`.
    #[inline(always)]
    unsafe fn write_short(&self, offset: usize, from: *const u8, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.write(offset + SLOT_HEADER, from, length) }
    }
    /// Says that what is `AHEAD` bytes after this offset, which may be beyond the ring, will soon be
    /// written. It does nothing that the protocol could notice.
    #[inline(always)]
    fn prefetch_for_write<const AHEAD: usize>(&self, _offset: usize) {}
    /// Says that what is `AHEAD` bytes after this offset, which may be beyond the ring, will soon be read.
    #[inline(always)]
    fn prefetch_for_read<const AHEAD: usize>(&self, _offset: usize) {}
    /// Issues the fence of this site.
    fn fence(&self, site: Site);
    /// Whether a step of the protocol is to be done. Always, but in a negative twin.
    #[inline(always)]
    fn keeps(&self, _site: Site) -> bool {
        true
    }
}

/// What kind of fence a site is.
#[inline(always)]
pub const fn order(site: Site) -> Ordering {
    match site {
        Site::Announce
        | Site::TakeOver
        | Site::Stamp
        | Site::Publish
        | Site::State
        | Site::ClearNext => Ordering::Release,
        Site::Limit | Site::TakeSlot => Ordering::SeqCst,
        _ => Ordering::Acquire,
    }
}
