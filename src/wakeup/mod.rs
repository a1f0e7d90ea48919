//! Sleeping until the other side has done something, and waking the sleepers.
//!
//! One side works and the other one waits. A waiter sets a *flag*, checks its condition again, and
//! sleeps on a *word* that counts the wake-ups. The worker checks the flag after each operation. If
//! it is set, the worker clears it, increments the word and wakes all waiters.
//!
//! ```text
//!  waits    seen = word; flag := ones; heavy barrier; look once more; sleep while word == seen
//!  works    do it; light barrier; flag != 0?  flag := 0; word += 1; wake all
//! ```
//!
//! Either the last look of the waiter finds the result of the operation, or the worker finds the
//! flag. Both can fail only if each side loads before its own store, and the barriers forbid that.
//!
//! The light barrier is free, because it only binds the compiler. The heavy barrier makes the
//! kernel issue a full barrier in the process of the worker (`membarrier`), which has registered
//! for it. If the worker could not register, every operation takes the slow path, which issues a
//! full fence and then loads the flag (`slow_check`). If the kernel refuses the heavy barrier, the
//! waiter looks again every few milliseconds.
//!
//! The flag is zero or all ones. So the worker may OR it into a number and find it by a comparison
//! that it makes anyway ([`SharedEventCount::waiters_or`]).
//!
//! The flag does not count waiters, so a waiter that is killed in its sleep causes a single useless
//! wake-up. If the worker is killed between clearing the flag and waking, the waiter notices it
//! itself, because no sleep is longer than [`MAX_SLEEP`]. A new producer wakes all waiters, too.
//!
//! This module does not depend on who the two sides are.

mod pace;

pub(crate) use pace::{jittered, MAX_SLEEP, SPIN_LIMIT};
pub use pace::{Deadline, Pace};

use crate::os;
use std::ptr::NonNull;
use std::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};

/// The state that both sides share. Under the model checker it consists of modelled atomics.
pub(crate) trait EventCount {
    /// The number of wake-ups. Loads and stores that follow stay after it.
    fn count(&self) -> u32;
    /// Issues the light barrier, then loads the flag, relaxed. Returns whether there may be
    /// waiters. If the light barrier has to be a fence, this may only return `true`. `slow_check`
    /// then issues the fence and loads the flag.
    fn has_waiters(&self) -> bool;
    /// The rest of the check, after `has_waiters` has returned `true`. Returns whether there may be
    /// waiters.
    fn slow_check(&self) -> bool {
        true
    }
    /// Tells the worker that there may be a waiter.
    fn set_flag(&self);
    /// Clears the flag.
    fn clear_flag(&self);
    /// Increments the word and wakes all waiters.
    fn wake_all(&self);
}

/// Wakes the waiters, if any, after an operation. Usually no process waits.
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
    // The flag is cleared first, because a waiter that sets it again later needs another wake-up.
    event_count.clear_flag();
    event_count.wake_all();
}

/// Asks for a wake-up, and returns the word as it was before. The caller then issues a
/// [`heavy_barrier`], looks once more, and sleeps.
pub(crate) fn prepare_wait(event_count: &impl EventCount) -> u32 {
    let seen = event_count.count();
    event_count.set_flag();
    seen
}

/// The state of a waiter before its sleep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed {
    /// The word before the flag was set.
    pub seen: u32,
    /// Whether the other side sees the flag. Otherwise the waiter must look again from time to
    /// time.
    pub wakeable: bool,
}

/// An event count in shared memory. It holds only pointers. The caller that makes it keeps the
/// mappings alive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedEventCount {
    /// The word that `has_waiters` loads. Usually it is the flag, and an operation costs one load
    /// and one branch. If the light barrier of this process must be a fence, it is [`ALWAYS`], and
    /// every operation takes the slow path.
    first: NonNull<AtomicU64>,
    flag: NonNull<AtomicU64>,
    word: NonNull<AtomicU32>,
}

/// A flag that is always set.
static ALWAYS: AtomicU64 = AtomicU64::new(u64::MAX);

// SAFETY: it only points to atomics, which any thread may use.
unsafe impl Send for SharedEventCount {}

impl SharedEventCount {
    /// For the worker. Both words are writable. This registers the process for the heavy barrier,
    /// so it comes before the first operation that a waiter may wait for.
    ///
    /// # Safety
    /// Both words are mapped for as long as the result and its copies are used.
    pub(crate) unsafe fn for_notifier(flag: &AtomicU64, word: NonNull<AtomicU32>) -> Self {
        let reached = os::register_barrier();
        SharedEventCount {
            first: if reached { flag } else { &ALWAYS }.into(),
            flag: flag.into(),
            word,
        }
    }

    /// For the waiter. The flag is writable.
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

    /// `bits`, or all ones if there may be waiters. This is the light barrier and a relaxed load
    /// that is ORed in, so that one branch can decide two questions. The result is never less than
    /// `bits`, even if another process stores some other value in the flag.
    #[inline(always)]
    pub(crate) fn waiters_or(&self, bits: u64) -> u64 {
        // Pairs with the system call in `heavy_barrier`. The assembly binds only the compiler. The
        // compiler must assume that it reads any memory, and so puts earlier stores before it. A
        // `compiler_fence` would also make the compiler load values again that it holds in
        // registers.
        #[cfg(target_arch = "x86_64")]
        {
            // The compiler makes two instructions of an atomic load and an OR.
            let mut bits = bits;
            // SAFETY: the word is mapped, as the caller of the constructor promised, or static. It
            // is aligned, so the processor loads it atomically. The assembly stores nothing.
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
            // The address of the load is an output of the assembly, so the load stays after it.
            // SAFETY: the assembly is empty.
            unsafe {
                std::arch::asm!("/* {0} */", inout(reg) first, options(readonly, nostack, preserves_flags))
            };
            // SAFETY: the word is mapped, as the caller of the constructor promised, or static. It
            // is aligned, and only accessed by atomics.
            bits | unsafe { (*first).load(Ordering::Relaxed) }
        }
    }

    fn flag_word(&self) -> &AtomicU64 {
        // SAFETY: mapped, as the caller of the constructor promised. Aligned, and only accessed by
        // atomics.
        unsafe { self.flag.as_ref() }
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: as `flag_word`.
        unsafe { self.word.as_ref() }
    }
}

/// Wakes all sleepers on this word, whether they have set the flag or not.
pub(crate) fn wake_all(word: &AtomicU32) {
    // Pairs with `count`.
    word.fetch_add(1, Ordering::Release);
    os::futex_wake(word);
}

/// The number of wake-ups by this word.
pub(crate) fn count(word: &AtomicU32) -> u32 {
    let count = word.load(Ordering::Relaxed);
    // Pairs with `wake_all`. A process that sees this number sees everything before it, such as the
    // new control file of a new producer.
    fence(Ordering::Acquire);
    count
}

/// The barrier of a waiter that has set the flag. Returns `false` if it did not reach the other
/// side.
pub(crate) fn heavy_barrier() -> bool {
    // Pairs with the SeqCst fence in `slow_check`, or, through membarrier, with the compiler
    // barrier in `waiters_or`.
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
        // Pairs with `clear_flag`. The waiter has loaded the word before this store (Release). The
        // worker increments the word after the swap that sees this store (Acquire). So the loaded
        // count does not include that wake-up, and the waiter does not sleep through it.
        self.flag_word().store(u64::MAX, Ordering::Release);
    }

    fn clear_flag(&self) {
        // Pairs with `set_flag`.
        self.flag_word().swap(0, Ordering::Acquire);
    }

    fn wake_all(&self) {
        wake_all(self.word());
    }
}
