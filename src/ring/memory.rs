//! The shared memory as the protocol sees it: words, fences with a name, and the two copies that
//! may race.
//!
//! [`crate::ring`] is written over the trait [`Memory`] alone. In production `Memory` is `Mapped`,
//! a mapping of the data file. Under the model checker it is an array of modelled atomics, and each
//! mutation test leaves out one [`Site`] or one [`Step`].

use crate::format::data_file::{at, SLOT_HEADER};
use std::sync::atomic::Ordering;

/// The words of the header that change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Live, closed or superseded.
    State,
    /// Counts producer attachments.
    Epoch,
    /// The first sequence (fixed) or position (variable) that is not announced for overwriting.
    Claimed,
    /// The next sequence or position as of the last announcement.
    Published,
    /// Variable: the sequence at the position `Published`.
    PublishedSequence,
    /// Lossless: the producer moves `Claimed` up to here before it reads the cursors again.
    Limit,
}

impl Field {
    /// The offset of the word in the data file.
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

/// A place in the protocol whose order makes it right. Each site has a line in
/// `docs/memory-model.md`. The models show what breaks without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Site {
    /// Producer, release fence: orders the announcement before the overwriting. Pairs with
    /// `Validate` and `ValidateEntry`.
    Announce,
    /// A new producer, release fence: orders the announcement of the previous producer before the
    /// overwriting by this one. Pairs with the same sites as `Announce`.
    TakeOver,
    /// Producer, release store: orders the payload before its stamp. Pairs with `SeeStamp` and
    /// `FindFront`.
    Stamp,
    /// Producer, release store of `published`, then of `claimed`: orders frames and index before
    /// the announcement that lets a consumer find them. Pairs with `FindFront` and `FindOldest`.
    Publish,
    /// Producer, release store: orders the last stamp before the state. Pairs with `SeeState`.
    State,
    /// Consumer, acquire fence: orders the stamp before the payload. Pairs with `Stamp`.
    SeeStamp,
    /// Consumer, acquire fence: orders the payload before the check of `claimed`. Pairs with
    /// `Announce` and `TakeOver`.
    Validate,
    /// Consumer of a variable ring, acquire fence: orders an index entry before the check of
    /// `claimed`. Pairs with the same sites as `Validate`.
    ValidateEntry,
    /// Consumer, acquire fence: orders `published` before the stamps and index entries that lead
    /// from it to the front. Pairs with `Publish` and `Stamp`.
    FindFront,
    /// Consumer, acquire fence: orders `claimed` before the index entries of the retained messages,
    /// and before the limit. Pairs with `Publish`.
    FindOldest,
    /// Consumer, acquire fence: orders the state before a last look at the ring. Pairs with
    /// `State`.
    SeeState,
    /// Lossless producer, full fence: orders the limit before the second look at the consumer
    /// slots. Pairs with `TakeSlot`.
    Limit,
    /// Lossless consumer, full fence: orders its slot before the look at the limit. Pairs with
    /// `Limit`.
    TakeSlot,
    /// Lossless consumer, release store: orders the reads of a message before the cursor that gives
    /// the message up. Pairs with `SeeCursor`.
    Consumed,
    /// Lossless producer, acquire fence: orders the cursors before the overwriting. Pairs with
    /// `Consumed`.
    SeeCursor,
}

impl Site {
    /// The order of the site. The call at the site names it, too.
    pub const fn order(self) -> Ordering {
        match self {
            Site::Announce
            | Site::TakeOver
            | Site::Stamp
            | Site::Publish
            | Site::State
            | Site::Consumed => Ordering::Release,
            Site::SeeStamp
            | Site::Validate
            | Site::ValidateEntry
            | Site::FindFront
            | Site::FindOldest
            | Site::SeeState
            | Site::SeeCursor => Ordering::Acquire,
            Site::Limit | Site::TakeSlot => Ordering::SeqCst,
        }
    }
}

/// A step of the protocol that orders nothing itself. Each step has a line in
/// `docs/memory-model.md`, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Producer of a variable ring: it clears the stamp of the next frame before it stores the
    /// stamp of this one.
    ClearNext,
    /// Consumer: it checks `claimed` after it has copied a message.
    IsValid,
    /// Consumer: after it has seen the end of the queue, it looks for a message once more.
    LookAgain,
    /// Lossless producer: after it has stored the limit, it reads the cursors once more.
    LookTwice,
}

/// Memory shared between one producer and its consumers. Offsets into the ring are in bytes. The
/// offset of a word is a multiple of 8. The caller keeps all of them in bounds.
///
/// # Safety
/// An implementation must make every in-bounds access defined behaviour. A load may return any
/// value, so the caller must not trust it.
pub unsafe trait Memory: Clone {
    /// Loads a header word.
    fn load_relaxed(&self, field: Field) -> u64;
    /// Stores a header word.
    fn store_release(&self, site: Site, field: Field, value: u64);
    /// Loads a word of the ring.
    ///
    /// # Safety
    /// `offset` is a multiple of 8 inside the ring.
    unsafe fn load_word_relaxed(&self, offset: usize) -> u64;
    /// Stores a word of the ring.
    ///
    /// # Safety
    /// As for `load_word_relaxed`, and this is the producer's mapping.
    unsafe fn store_word_relaxed(&self, offset: usize, value: u64);
    /// Stores a word of the ring.
    ///
    /// # Safety
    /// As for `store_word_relaxed`.
    unsafe fn store_word_release(&self, site: Site, offset: usize, value: u64);
    /// Loads a word of the index of block starts. Entry `n` has its position in word `2 n` and its
    /// sequence in word `2 n + 1`.
    ///
    /// # Safety
    /// `word` is below twice the number of entries.
    unsafe fn load_index_relaxed(&self, word: usize) -> u64;
    /// Stores a word of the index.
    ///
    /// # Safety
    /// As for `load_index_relaxed`, and this is the producer's mapping.
    unsafe fn store_index_relaxed(&self, word: usize, value: u64);
    /// Copies out of the ring, in no particular order. The caller must not trust the copy until it
    /// has validated it.
    ///
    /// # Safety
    /// `offset` is a multiple of 8. `offset + length`, rounded up to 8, is inside the ring. `to` is
    /// writable for `length` bytes that no other thread uses.
    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize);
    /// Copies into the ring. It may also write the bytes from `length` up to a multiple of 8.
    ///
    /// # Safety
    /// As for `read`, with `from` readable, and this is the producer's mapping.
    unsafe fn write(&self, offset: usize, from: *const u8, length: usize);
    /// Reads a payload of at most [`SHORT`](crate::format::data_file::SHORT) bytes. `offset` is
    /// that of its slot header.
    ///
    /// # Safety
    /// As for `read`.
    #[inline(always)]
    unsafe fn read_short(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.read(offset + SLOT_HEADER, to, length) }
    }
    /// Writes a payload of at most [`SHORT`](crate::format::data_file::SHORT) bytes. `offset` is
    /// that of its slot header.
    ///
    /// # Safety
    /// As for `write`.
    #[inline(always)]
    unsafe fn write_short(&self, offset: usize, from: *const u8, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.write(offset + SLOT_HEADER, from, length) }
    }
    /// Hints that the bytes at `offset + AHEAD` will soon be written. That offset may be beyond the
    /// ring. The hint changes nothing that the protocol could notice.
    #[inline(always)]
    fn prefetch_for_write<const AHEAD: usize>(&self, _offset: usize) {}
    /// Hints that the bytes at `offset + AHEAD` will soon be read. That offset may be beyond the
    /// ring.
    #[inline(always)]
    fn prefetch_for_read<const AHEAD: usize>(&self, _offset: usize) {}
    /// Issues a fence. The protocol calls one of the three functions below.
    fn fence(&self, order: Ordering, site: Site);
    /// Issues the acquire fence of a site.
    #[inline(always)]
    fn fence_acquire(&self, site: Site) {
        debug_assert_eq!(site.order(), Ordering::Acquire);
        self.fence(Ordering::Acquire, site);
    }
    /// Issues the release fence of a site.
    #[inline(always)]
    fn fence_release(&self, site: Site) {
        debug_assert_eq!(site.order(), Ordering::Release);
        self.fence(Ordering::Release, site);
    }
    /// Issues the full fence of a site.
    #[inline(always)]
    fn fence_full(&self, site: Site) {
        debug_assert_eq!(site.order(), Ordering::SeqCst);
        self.fence(Ordering::SeqCst, site);
    }
    /// Whether to perform a step. Only a mutation test leaves one out.
    #[inline(always)]
    fn performs(&self, _step: Step) -> bool {
        true
    }
}
