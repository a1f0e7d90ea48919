//! Sleeping until the other side has done something, and waking who sleeps.
//!
//! One side works and the other waits. Who waits says so by a *flag*, looks once more, and sleeps
//! on a *word* that counts the wake-ups; who works looks at the flag after each step, and only if
//! it is set clears it, counts up and wakes all.
//!
//! ```text
//!  waits    seen = word; flag := ones; heavy barrier; look once more; sleep while word == seen
//!  works    do it; light barrier; flag != 0?  flag := 0; word += 1; wake all
//! ```
//!
//! Either the last look finds what was done, or the one who works finds the flag: both could miss
//! only if each one's load went before its own store, which is what the barriers forbid. The light
//! one is free: it only binds the compiler, and the heavy one makes the kernel issue a full barrier
//! in the process that works (`membarrier`), for which that has registered. Where it could not, its
//! light barrier is a full fence; where the kernel refuses the heavy barrier, who waits looks again
//! every few milliseconds.
//!
//! The flag is zero or all ones: who works may or it into a number, and find it by a comparison that it
//! makes anyway ([`SharedEventCount::waiters_or`]).
//!
//! It is no counter, so one who is killed asleep leaves a single useless wake-up behind. If
//! the one who works is killed between clearing the flag and waking, a sleeper finds out by itself:
//! no sleep is longer than [`MAX_SLEEP`], and a new producer wakes all.
//!
//! Who the two sides are is not known here.

mod pace;

pub(crate) use pace::{jittered, MAX_SLEEP, SPIN_LIMIT};
pub use pace::{Deadline, Pace};

use crate::os;
use std::ptr::NonNull;
use std::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};

/// What the two sides share. Under the model checker it is made of modelled atomics.
pub(crate) trait EventCount {
    /// How often it was rung; loads and stores that follow stay behind it.
    fn count(&self) -> u32;
    /// The light barrier, then a relaxed load: whether somebody may be asleep.
    fn has_waiters(&self) -> bool;
    /// The same once more, where that was not yet the whole answer.
    fn slow_check(&self) -> bool {
        true
    }
    /// Says that somebody may be asleep.
    fn set_flag(&self);
    /// Takes that back.
    fn clear_flag(&self);
    /// Counts up and wakes all who sleep.
    fn wake_all(&self);
}

/// Wakes those who wait for what was just done; almost always there are none.
#[inline(always)]
pub(crate) fn notify(event_count: &impl EventCount) {
    if event_count.has_waiters() {
        notify_slow(event_count);
    }
}

#[cold]
#[inline(never)]
fn notify_slow(event_count: &impl EventCount) {
    if !event_count.slow_check() {
        return;
    }
    // First, for who flags anew after it must be woken anew.
    event_count.clear_flag();
    event_count.wake_all();
}

/// Asks to be woken, and returns the word as it was before. A [`heavy_barrier`] follows, then one
/// more look, then the sleep.
pub(crate) fn prepare_wait(event_count: &impl EventCount) -> u32 {
    let seen = event_count.count();
    event_count.set_flag();
    seen
}

/// How one who is about to sleep will be woken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed {
    /// The word, before the flag was set.
    pub seen: u32,
    /// Whether the other side will hear of it; or else one has to look now and then.
    pub wakeable: bool,
}

/// An event count in shared memory. It holds pointers only: whoever makes one keeps the mappings alive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedEventCount {
    /// What is looked at first: the flag; or [`ALWAYS`] if this process's light barrier has
    /// to be a fence, so that only then a step costs more than one load and one branch.
    first: NonNull<AtomicU64>,
    flag: NonNull<AtomicU64>,
    word: NonNull<AtomicU32>,
}

/// A flag that is always set.
static ALWAYS: AtomicU64 = AtomicU64::new(u64::MAX);

// SAFETY: it only leads to atomics, which threads may share as processes do.
unsafe impl Send for SharedEventCount {}

impl SharedEventCount {
    /// For the side that rings: both places are writable. It registers for the heavy barrier, so
    /// it is made before the first step that somebody may wait for.
    ///
    /// # Safety
    /// Both are mapped for as long as the result and its copies are used.
    pub(crate) unsafe fn for_notifier(flag: &AtomicU64, word: NonNull<AtomicU32>) -> Self {
        let reached = os::register_barrier();
        SharedEventCount {
            first: if reached { flag } else { &ALWAYS }.into(),
            flag: flag.into(),
            word,
        }
    }

    /// For the side that sleeps: the flag is writable.
    ///
    /// # Safety
    /// As `for_notifier`.
    pub(crate) unsafe fn for_waiter(flag: &AtomicU64, word: NonNull<AtomicU32>) -> Self {
        SharedEventCount {
            first: flag.into(),
            flag: flag.into(),
            word,
        }
    }

    /// `bits`, or all ones if somebody may be asleep: the light barrier, and a relaxed load that is or'ed
    /// in. So one branch may ask more than this. What other processes write into the flag, the result is
    /// not less than `bits`.
    #[inline(always)]
    pub(crate) fn waiters_or(&self, bits: u64) -> u64 {
        // Pairs with the system call in `heavy_barrier`. The assembly binds the compiler alone: it may
        // read any memory, so what was stored before is in its place. A `compiler_fence` would also
        // make the compiler forget what it holds in registers.
        #[cfg(target_arch = "x86_64")]
        {
            // The compiler makes two instructions of it.
            let mut bits = bits;
            // SAFETY: mapped, as was promised, or static; aligned, so loaded in one piece, as by an
            // atomic load; nothing is stored.
            unsafe {
                std::arch::asm!(
                    "or {0}, qword ptr [{1}]",
                    inout(reg) bits,
                    in(reg) self.first.as_ptr(),
                    options(readonly, nostack)
                )
            };
            bits
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let mut first = self.first.as_ptr();
            // The address that is loaded from comes out of it.
            // SAFETY: it does nothing.
            unsafe {
                std::arch::asm!("/* {0} */", inout(reg) first, options(readonly, nostack, preserves_flags))
            };
            // SAFETY: mapped, as was promised, or static; aligned, and only accessed by atomics.
            bits | unsafe { (*first).load(Ordering::Relaxed) }
        }
    }

    fn flag_word(&self) -> &AtomicU64 {
        // SAFETY: mapped, as was promised; aligned, and only accessed by atomics.
        unsafe { self.flag.as_ref() }
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: as `flag_word`.
        unsafe { self.word.as_ref() }
    }
}

/// Wakes all who sleep on this word, whether they have asked or not.
pub(crate) fn wake_all(word: &AtomicU32) {
    // Pairs with `count`.
    word.fetch_add(1, Ordering::Release);
    os::futex_wake(word);
}

/// How often the event count with this word was rung.
pub(crate) fn count(word: &AtomicU32) -> u32 {
    let count = word.load(Ordering::Relaxed);
    // Pairs with `ring`. Who counts on this number sees what came before it, as the new control file
    // of a new producer.
    fence(Ordering::Acquire);
    count
}

/// The barrier of one who has asked; `false` if it did not reach the other side.
pub(crate) fn heavy_barrier() -> bool {
    // Pairs with `has_waiters`, its fence or, with the system call, the other barrier.
    fence(Ordering::SeqCst);
    os::heavy_barrier()
}

impl EventCount for SharedEventCount {
    fn count(&self) -> u32 {
        count(self.word())
    }

    #[inline(always)]
    fn has_waiters(&self) -> bool {
        self.waiters_or(0) != 0
    }

    fn slow_check(&self) -> bool {
        if self.first == self.flag {
            return true;
        }
        // Pairs with the fence in `heavy_barrier`.
        fence(Ordering::SeqCst);
        self.flag_word().load(Ordering::Relaxed) != 0
    }

    fn set_flag(&self) {
        // Pairs with `unflag`. If this is what makes the other side ring, then that is no part of
        // the count loaded before.
        self.flag_word().store(u64::MAX, Ordering::Release);
    }

    fn clear_flag(&self) {
        // Pairs with `flag`.
        self.flag_word().swap(0, Ordering::Acquire);
    }

    fn wake_all(&self) {
        wake_all(self.word());
    }
}
