//! The shared memory as the protocol sees it: words with an order, fences with a name, and the
//! two copies that may race.
//!
//! [`crate::ring`] is written over the trait [`Memory`] alone. In production it is [`Mapped`], a
//! mapping of the data file; under the model checker it is an array of modelled atomics, and the
//! negative twins of the models leave out one [`Site`] at a time.
//!
//! # Copies that race
//!
//! A consumer copies a payload that the producer may be overwriting at that moment, and throws the
//! copy away if so. Such a copy must not be a plain load or a `memcpy` of Rust, for a data race is
//! undefined behaviour even where its result is not used. Two ways are sound, and used here:
//!
//! - **Relaxed atomic words**. An atomic access cannot race in the sense of the memory model. The
//!   ring's words are aligned, the private side's are not.
//! - **An opaque copy**: the platform's `memcpy` called through a pointer that the compiler cannot
//!   see through ([`crate::sys::opaque_copy`]), or on x86-64, for payloads up to [`SHORT`] bytes,
//!   a few moves in assembly ([`crate::sys::opaque_copy_in`]). For the compiler it is a
//!   function in another language that might as well access each byte by a relaxed atomic; it can
//!   neither be inlined nor reasoned about, and on every machine that this crate supports its
//!   instructions are ordinary loads and stores, which is what relaxed atomics compile to. The
//!   fences around it order them as they order relaxed atomics (and the non-temporal stores of a
//!   very long copy, too: see `Mapped::fence`). This is the argument that sequence locks everywhere
//!   rest on, made explicit.
//!
//! Words are used where there is no assembly for short payloads, and for all payloads under the
//! model checker and sanitizers (`cfg(loom)`, `cfg(ipcq_words)`).

use crate::layout::{at, Geometry, SLOT_HEADER};
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// `TakeSeat`.
    Limit,
    /// Lossless producer: that second look.
    LookTwice,
    /// Lossless consumer, full fence: its seat before the look at the limit. Partner: `Limit`.
    TakeSeat,
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
    fn will_write<const AHEAD: usize>(&self, _offset: usize) {}
    /// Says that what is `AHEAD` bytes after this offset, which may be beyond the ring, will soon be read.
    #[inline(always)]
    fn will_read<const AHEAD: usize>(&self, _offset: usize) {}
    /// Issues the fence of this site.
    fn fence(&self, site: Site);
    /// Whether a step of the protocol is to be done. Always, but in a negative twin.
    #[inline(always)]
    fn keeps(&self, _site: Site) -> bool {
        true
    }
}

/// Payloads up to this long are short: they are copied without a call.
///
/// Measured, streaming: 64 bytes without a call 1.7 ns, by a call to `memcpy` 4.4; 1 KiB by words
/// 155, by `memcpy` 62 to 75.
pub const SHORT: usize = 128;

/// The memory that a queue's handles use.
#[cfg(not(feature = "steps"))]
pub type Mapped = Mapping;
/// As above, in builds whose tests end a process at each access.
#[cfg(feature = "steps")]
pub type Mapped = crate::steps::Stepped;

/// A mapping of a data file.
///
/// It holds pointers only: whoever makes one keeps the mapping alive for as long.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    header: *mut u8,
    ring: *mut u8,
    index: *mut u8,
    /// Whether messages may be so long that they are copied by non-temporal stores.
    #[cfg(target_arch = "x86_64")]
    long: bool,
}

/// Far less than any `memcpy` takes non-temporal stores for.
#[cfg(target_arch = "x86_64")]
const LONG: u64 = 4096;

// SAFETY: every access through the pointers is an atomic one or an opaque copy, so that threads
// may share them as processes do.
unsafe impl Send for Mapping {}

impl Mapping {
    /// # Safety
    /// `base` is a mapping of at least `geometry.file_bytes()` bytes of shared memory, aligned to
    /// a page, that outlives the result; it is writable if a producer uses it. `geometry` was
    /// checked ([`Geometry::read`]).
    pub(crate) unsafe fn new(base: *mut u8, geometry: &Geometry) -> Self {
        // SAFETY: the geometry was checked against the file's length, which is mapped whole.
        unsafe {
            Mapping {
                header: base,
                ring: base.add(geometry.ring_offset as usize),
                index: base.add(geometry.index_offset as usize),
                #[cfg(target_arch = "x86_64")]
                long: geometry.max_message() >= LONG,
            }
        }
    }

    /// The address of a payload.
    ///
    /// # Safety
    /// `offset` is inside the ring.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.ring.add(offset) }
    }

    #[inline(always)]
    fn header(&self, field: Field) -> &AtomicU64 {
        // SAFETY: the header is mapped and aligned to a page, and only accessed by atomics.
        unsafe { atomic(self.header.add(field.offset())) }
    }
}

/// # Safety
/// `at` is aligned to 8 and valid for as long as the result is used. On a read-only mapping the
/// result may only be loaded from, and only relaxed: that is what Rust defines there.
#[inline(always)]
unsafe fn atomic<'a>(at: *mut u8) -> &'a AtomicU64 {
    // SAFETY: the caller's promise.
    unsafe { AtomicU64::from_ptr(at.cast()) }
}

// SAFETY: in-bounds accesses go to mapped memory, by atomics or the opaque copy.
unsafe impl Memory for Mapping {
    #[inline(always)]
    fn load(&self, field: Field) -> u64 {
        // Relaxed, as all loads here: a fence follows where order is needed.
        self.header(field).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn publish(&self, _site: Site, field: Field, value: u64) {
        self.header(field).store(value, Ordering::Release);
    }

    #[inline(always)]
    unsafe fn word(&self, offset: usize) -> u64 {
        // SAFETY: in bounds and aligned, says the caller.
        unsafe { atomic(self.ring.add(offset)) }.load(Ordering::Relaxed)
    }

    #[inline(always)]
    unsafe fn set_word(&self, offset: usize, value: u64) {
        // SAFETY: in bounds and aligned, says the caller.
        unsafe { atomic(self.ring.add(offset)) }.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    unsafe fn publish_word(&self, _site: Site, offset: usize, value: u64) {
        // SAFETY: in bounds and aligned, says the caller.
        unsafe { atomic(self.ring.add(offset)) }.store(value, Ordering::Release);
    }

    #[inline]
    unsafe fn index_word(&self, word: usize) -> u64 {
        // SAFETY: in bounds, says the caller; words are aligned.
        unsafe { atomic(self.index.add(word * 8)) }.load(Ordering::Relaxed)
    }

    #[inline]
    unsafe fn set_index_word(&self, word: usize, value: u64) {
        // SAFETY: in bounds, says the caller; words are aligned.
        unsafe { atomic(self.index.add(word * 8)) }.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, says the caller.
        unsafe {
            if cfg!(ipcq_plain) {
                // What must not be done: the negative twin of `scripts/tsan.sh`.
                return to.copy_from_nonoverlapping(self.ring.add(offset), length);
            }
            #[cfg(not(ipcq_words))]
            if length > SHORT {
                return crate::sys::opaque_copy(to, self.ring.add(offset), length);
            }
            copy_out::<0>(self.ring.add(offset), to, length)
        }
    }

    #[inline(always)]
    unsafe fn read_short(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, says the caller.
        unsafe { copy_out::<SLOT_HEADER>(self.ring.add(offset), to, length) }
    }

    #[inline(always)]
    unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, says the caller.
        unsafe {
            #[cfg(not(ipcq_words))]
            if length > SHORT {
                return crate::sys::opaque_copy(self.ring.add(offset), from, length);
            }
            copy_in::<0>(self.ring.add(offset), from, length)
        }
    }

    #[inline(always)]
    unsafe fn write_short(&self, offset: usize, from: *const u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, says the caller.
        unsafe { copy_in::<SLOT_HEADER>(self.ring.add(offset), from, length) }
    }

    #[inline(always)]
    fn will_write<const AHEAD: usize>(&self, offset: usize) {
        crate::sys::prefetch_to_write::<AHEAD>(self.ring.wrapping_add(offset));
    }

    #[inline(always)]
    fn will_read<const AHEAD: usize>(&self, offset: usize) {
        crate::sys::prefetch_to_read::<AHEAD>(self.ring.wrapping_add(offset));
    }

    #[inline(always)]
    fn fence(&self, site: Site) {
        // A long `memcpy`, ours or that of who writes in place, may use non-temporal stores. Those
        // may overtake the announcement on x86-64, where a release fence is no instruction. (It
        // fences what it has stored itself, before it returns.) No `memcpy` does that to less than
        // a good part of a cache; and a small ring of short messages, which announces every few,
        // would pay 2 ns a message.
        #[cfg(target_arch = "x86_64")]
        if self.long && matches!(site, Site::Announce | Site::TakeOver) {
            // SAFETY: every x86-64 processor has it.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
        std::sync::atomic::fence(order(site));
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
        Site::Limit | Site::TakeSeat => Ordering::SeqCst,
        _ => Ordering::Acquire,
    }
}

/// A copy out of the ring, from what lies `AT` bytes after `from`.
///
/// # Safety
/// As [`Memory::read`].
#[inline(always)]
unsafe fn copy_out<const AT: usize>(from: *mut u8, to: *mut u8, length: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
        crate::sys::opaque_copy_out::<AT>(to, from, length);
        #[cfg(not(all(target_arch = "x86_64", not(ipcq_words))))]
        read_words(from.add(AT), to, length);
    }
}

/// A copy into the ring, to what lies `AT` bytes after `to`.
///
/// # Safety
/// As [`Memory::write`].
#[inline(always)]
unsafe fn copy_in<const AT: usize>(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
        crate::sys::opaque_copy_in::<AT>(to, from, length);
        #[cfg(not(all(target_arch = "x86_64", not(ipcq_words))))]
        write_words(to.add(AT), from, length);
    }
}

/// # Safety
/// As [`Memory::read`].
#[cfg(not(all(target_arch = "x86_64", not(ipcq_words))))]
#[inline(always)]
unsafe fn read_words(from: *mut u8, to: *mut u8, length: usize) {
    let whole = length & !7;
    let mut i = 0;
    while i < whole {
        // SAFETY: whole words inside both sides; the private one may be unaligned.
        unsafe {
            let word = atomic(from.add(i)).load(Ordering::Relaxed);
            to.add(i).cast::<u64>().write_unaligned(word);
        }
        i += 8;
    }
    if length > whole {
        // SAFETY: the ring holds a whole word here, and the private side `length - whole` bytes.
        unsafe {
            let word = atomic(from.add(whole))
                .load(Ordering::Relaxed)
                .to_le_bytes();
            to.add(whole)
                .copy_from_nonoverlapping(word.as_ptr(), length - whole);
        }
    }
}

/// # Safety
/// As [`Memory::write`].
#[cfg(not(all(target_arch = "x86_64", not(ipcq_words))))]
#[inline(always)]
unsafe fn write_words(to: *mut u8, from: *const u8, length: usize) {
    let whole = length & !7;
    let mut i = 0;
    while i < whole {
        // SAFETY: whole words inside both sides; the private one may be unaligned.
        unsafe {
            let word = from.add(i).cast::<u64>().read_unaligned();
            atomic(to.add(i)).store(word, Ordering::Relaxed);
        }
        i += 8;
    }
    if length > whole {
        // SAFETY: the ring holds a whole word here, and the private side `length - whole` bytes.
        unsafe {
            let mut word = [0u8; 8];
            word.as_mut_ptr()
                .copy_from_nonoverlapping(from.add(whole), length - whole);
            atomic(to.add(whole)).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }
}

/// Copies private bytes to shared ones at any alignment, which others may read meanwhile.
///
/// # Safety
/// `to` is mapped shared memory, writable, `from` readable, both for `length` bytes, and they do
/// not overlap.
pub unsafe fn copy_to_shared(to: *mut u8, from: *const u8, length: usize) {
    crate::steps::step();
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(not(ipcq_words))]
        crate::sys::opaque_copy(to, from, length);
        #[cfg(ipcq_words)]
        for i in 0..length {
            std::sync::atomic::AtomicU8::from_ptr(to.add(i)).store(*from.add(i), Ordering::Relaxed);
        }
    }
}

/// Copies shared bytes at any alignment, which may be written meanwhile, to private ones.
///
/// # Safety
/// As [`copy_to_shared`], the other way round.
pub unsafe fn copy_from_shared(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(not(ipcq_words))]
        crate::sys::opaque_copy(to, from, length);
        #[cfg(ipcq_words)]
        for i in 0..length {
            *to.add(i) = std::sync::atomic::AtomicU8::from_ptr(from.add(i).cast_mut())
                .load(Ordering::Relaxed);
        }
    }
}
