//! The modelled memory, which can leave out a site or a step.

use crate::format::data_file::state;
use crate::ring::memory::Step;
use crate::ring::{Field, Memory, Shape, Site};
use loom::sync::atomic::{fence, AtomicU64};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

/// loom remembers this many stores of a word, including the initial value.
pub(super) const HISTORY: usize = 7;

/// A modelled word, and the number of its stores.
pub(super) struct Word {
    pub(super) value: AtomicU64,
    pub(super) stores: AtomicUsize,
}

impl Word {
    pub(super) fn new(value: u64) -> Self {
        Word {
            value: AtomicU64::new(value),
            stores: AtomicUsize::new(1),
        }
    }

    pub(super) fn load(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// As in a new file: a process that opens the file sees no older value.
    pub(super) fn forget(&self) -> Self {
        Word::new(self.load())
    }

    pub(super) fn store(&self, value: u64, order: Ordering) {
        let stores = self.stores.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(
            stores <= HISTORY,
            "loom forgets stores of this model: {stores}"
        );
        self.value.store(value, order);
    }
}

pub(super) struct Words {
    pub(super) header: [Word; 6],
    pub(super) ring: Vec<Word>,
    pub(super) index: Vec<Word>,
}

/// Shared memory of modelled atomics.
#[derive(Clone)]
pub(super) struct ModelMemory {
    pub(super) words: Arc<Words>,
    pub(super) without: Option<Mutation>,
    /// With a value, only the stores of this header word lose their order.
    pub(super) of: Option<Field>,
    /// The process with this handle is killed after this many more stores. This is not a part of
    /// the model, because only that process uses it.
    pub(super) stores_left: Arc<AtomicUsize>,
}

impl ModelMemory {
    /// The memory of a new queue, live and not yet formatted.
    pub(super) fn new(shape: &Shape, without: Option<Mutation>, of: Option<Field>) -> Self {
        let words = |n: u64| (0..n).map(|_| Word::new(0)).collect();
        let (ring, index) = match shape.stride {
            0 => (shape.capacity / 8, shape.capacity / shape.block * 2),
            stride => (shape.capacity * stride as u64 / 8, 0),
        };
        let header = [state::LIVE, 0, 0, 0, 0, 0].map(Word::new);
        let words = Words {
            header,
            ring: words(ring),
            index: words(index),
        };
        ModelMemory {
            words: Arc::new(words),
            without,
            of,
            stores_left: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }

    /// The same values in a new file, without the stores before, because no process has seen them.
    pub(super) fn forget(&self) -> Self {
        let forget = |words: &[Word]| words.iter().map(Word::forget).collect();
        let words = Words {
            header: std::array::from_fn(|i| self.words.header[i].forget()),
            ring: forget(&self.words.ring),
            index: forget(&self.words.index),
        };
        ModelMemory {
            words: Arc::new(words),
            ..self.clone()
        }
    }

    /// The same memory for a process that is killed after this many stores.
    pub(super) fn killed_after(&self, stores: usize) -> Self {
        ModelMemory {
            stores_left: Arc::new(AtomicUsize::new(stores)),
            ..self.clone()
        }
    }

    pub(super) fn is_killed(&self) -> bool {
        self.stores_left.load(Ordering::Relaxed) == 0
    }

    /// Whether the process makes its next store. After a kill the code still runs but stores
    /// nothing. For all other processes that is the same as if it did not run.
    pub(super) fn lives(&self) -> bool {
        let left = self.stores_left.load(Ordering::Relaxed);
        self.stores_left
            .store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    pub(super) fn has(&self, site: Site) -> bool {
        self.without != Some(Mutation::Site(site))
    }

    pub(super) fn store_order(&self, site: Site) -> Ordering {
        match self.has(site) {
            true => Ordering::Release,
            false => Ordering::Relaxed,
        }
    }
}

// SAFETY: every access is to an atomic, and is checked against the bounds.
unsafe impl Memory for ModelMemory {
    fn load_relaxed(&self, field: Field) -> u64 {
        self.words.header[field as usize].load()
    }

    fn store_release(&self, site: Site, field: Field, value: u64) {
        if self.lives() {
            let order = match self.of {
                Some(of) if of != field => Ordering::Release,
                _ => self.store_order(site),
            };
            self.words.header[field as usize].store(value, order);
        }
    }

    unsafe fn load_word_relaxed(&self, offset: usize) -> u64 {
        self.words.ring[offset / 8].load()
    }

    unsafe fn store_word_relaxed(&self, offset: usize, value: u64) {
        if self.lives() {
            self.words.ring[offset / 8].store(value, Ordering::Relaxed);
        }
    }

    unsafe fn store_word_release(&self, site: Site, offset: usize, value: u64) {
        if self.lives() {
            self.words.ring[offset / 8].store(value, self.store_order(site));
        }
    }

    unsafe fn load_index_relaxed(&self, word: usize) -> u64 {
        self.words.index[word].load()
    }

    unsafe fn store_index_relaxed(&self, word: usize, value: u64) {
        if self.lives() {
            self.words.index[word].store(value, Ordering::Relaxed);
        }
    }

    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        for i in (0..length).step_by(8) {
            // SAFETY: `offset` is a multiple of 8.
            let word = unsafe { self.load_word_relaxed(offset + i) }.to_le_bytes();
            // SAFETY: `to` is writable for `length` bytes.
            unsafe {
                to.add(i)
                    .copy_from_nonoverlapping(word.as_ptr(), 8.min(length - i))
            };
        }
    }

    unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
        for i in (0..length).step_by(8) {
            let mut word = [0; 8];
            // SAFETY: `from` is readable for `length` bytes.
            unsafe {
                word.as_mut_ptr()
                    .copy_from_nonoverlapping(from.add(i), 8.min(length - i))
            };
            // SAFETY: `offset` is a multiple of 8.
            unsafe { self.store_word_relaxed(offset + i, u64::from_le_bytes(word)) };
        }
    }

    fn fence(&self, order: Ordering, site: Site) {
        if self.has(site) {
            fence(order);
        }
    }

    fn performs(&self, step: Step) -> bool {
        self.without != Some(Mutation::Step(step))
    }
}

/// The part that a mutation test leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    Site(Site),
    Step(Step),
}
