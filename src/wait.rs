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
//! makes anyway ([`SharedBell::or_asleep`]).
//!
//! It is no counter, so one who is killed asleep leaves a single useless wake-up behind. If
//! the one who works is killed between clearing the flag and waking, a sleeper finds out by itself:
//! no sleep is longer than [`SLICE`], and a new producer wakes all.
//!
//! Who the two sides are is not known here.

use crate::sys::{self, SignalGate, Woken};
use std::ptr::NonNull;
use std::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What the two sides share. Under the model checker it is made of modelled atomics.
pub(crate) trait Bell {
    /// How often it was rung; loads and stores that follow stay behind it.
    fn count(&self) -> u32;
    /// The light barrier, then a relaxed load: whether somebody may be asleep.
    fn is_flagged(&self) -> bool;
    /// The same once more, where that was not yet the whole answer.
    fn is_flagged_after_all(&self) -> bool {
        true
    }
    /// Says that somebody may be asleep.
    fn flag(&self);
    /// Takes that back.
    fn unflag(&self);
    /// Counts up and wakes all who sleep.
    fn ring(&self);
}

/// Wakes those who wait for what was just done; almost always there are none.
#[inline(always)]
pub(crate) fn notify(bell: &impl Bell) {
    if bell.is_flagged() {
        answer(bell);
    }
}

#[cold]
#[inline(never)]
fn answer(bell: &impl Bell) {
    if !bell.is_flagged_after_all() {
        return;
    }
    // First, for who flags anew after it must be woken anew.
    bell.unflag();
    bell.ring();
}

/// Asks to be woken, and returns the word as it was before. A [`heavy_barrier`] follows, then one
/// more look, then the sleep.
pub(crate) fn ask(bell: &impl Bell) -> u32 {
    let seen = bell.count();
    bell.flag();
    seen
}

/// How one who is about to sleep will be woken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Armed {
    /// The word, before the flag was set.
    pub seen: u32,
    /// Whether the other side will hear of it; or else one has to look now and then.
    pub heard: bool,
}

/// A bell in shared memory. It holds pointers only: whoever makes one keeps the mappings alive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedBell {
    /// What is looked at first: the flag; or [`ALWAYS`] if this process's light barrier has
    /// to be a fence, so that only then a step costs more than one load and one branch.
    first: NonNull<AtomicU64>,
    flag: NonNull<AtomicU64>,
    word: NonNull<AtomicU32>,
}

/// A flag that is always set.
static ALWAYS: AtomicU64 = AtomicU64::new(u64::MAX);

// SAFETY: it only leads to atomics, which threads may share as processes do.
unsafe impl Send for SharedBell {}

impl SharedBell {
    /// For the side that rings: both places are writable. It registers for the heavy barrier, so
    /// it is made before the first step that somebody may wait for.
    ///
    /// # Safety
    /// Both are mapped for as long as the result and its copies are used.
    pub(crate) unsafe fn to_ring(flag: &AtomicU64, word: NonNull<AtomicU32>) -> Self {
        let reached = sys::register_barrier();
        SharedBell {
            first: if reached { flag } else { &ALWAYS }.into(),
            flag: flag.into(),
            word,
        }
    }

    /// For the side that sleeps: the flag is writable.
    ///
    /// # Safety
    /// As `to_ring`.
    pub(crate) unsafe fn to_hear(flag: &AtomicU64, word: NonNull<AtomicU32>) -> Self {
        SharedBell {
            first: flag.into(),
            flag: flag.into(),
            word,
        }
    }

    /// `bits`, or all ones if somebody may be asleep: the light barrier, and a relaxed load that is or'ed
    /// in. So one branch may ask more than this. What other processes write into the flag, the result is
    /// not less than `bits`.
    #[inline(always)]
    pub(crate) fn or_asleep(&self, bits: u64) -> u64 {
        // Partner: the system call in `heavy_barrier`. The assembly binds the compiler alone: it may
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
pub(crate) fn ring(word: &AtomicU32) {
    // Partner: `count`.
    word.fetch_add(1, Ordering::Release);
    sys::futex_wake(word);
}

/// How often the bell with this word was rung.
pub(crate) fn count(word: &AtomicU32) -> u32 {
    let count = word.load(Ordering::Relaxed);
    // Partner: `ring`. Who counts on this number sees what came before it, as the new control file
    // of a new producer.
    fence(Ordering::Acquire);
    count
}

/// The barrier of one who has asked; `false` if it did not reach the other side.
pub(crate) fn heavy_barrier() -> bool {
    // Partner: `is_flagged`, its fence or, with the system call, the other barrier.
    fence(Ordering::SeqCst);
    sys::heavy_barrier()
}

impl Bell for SharedBell {
    fn count(&self) -> u32 {
        count(self.word())
    }

    #[inline(always)]
    fn is_flagged(&self) -> bool {
        self.or_asleep(0) != 0
    }

    fn is_flagged_after_all(&self) -> bool {
        if self.first == self.flag {
            return true;
        }
        // Partner: the fence in `heavy_barrier`.
        fence(Ordering::SeqCst);
        self.flag_word().load(Ordering::Relaxed) != 0
    }

    fn flag(&self) {
        // Partner: `unflag`. If this is what makes the other side ring, then that is no part of
        // the count loaded before.
        self.flag_word().store(u64::MAX, Ordering::Release);
    }

    fn unflag(&self) {
        // Partner: `flag`.
        self.flag_word().swap(0, Ordering::Acquire);
    }

    fn ring(&self) {
        ring(self.word());
    }
}

/// No sleep is longer: what is lost by a kill between clearing the flag and waking is found then.
pub(crate) const SLICE: Duration = Duration::from_secs(1);

/// How long one sleeps who is not woken: the first time, and at most.
const DOZE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(4));

/// How often one looks again before going to sleep: some microseconds, a fraction of what a sleep
/// and its end cost.
pub(crate) const LOOKS: usize = 256;

/// When to give up waiting.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Duration>);

impl Deadline {
    /// So long from now; for ever, if that is beyond all clocks.
    pub fn after(timeout: Duration) -> Deadline {
        match timeout {
            Duration::MAX => Deadline(None),
            _ => Deadline(sys::now().checked_add(timeout)),
        }
    }

    /// Whether the time is over.
    pub fn is_over(self) -> bool {
        self.0.is_some_and(|end| sys::now() >= end)
    }

    /// The end, at most so long from now.
    pub(crate) fn within(self, most: Duration) -> Duration {
        let end = sys::now() + most;
        self.0.map_or(end, |own| own.min(end))
    }
}

/// How long the next sleep of a waiter lasts that nobody wakes: longer and longer.
pub struct Pace {
    next: Duration,
    /// Whether a sleep that somebody could have ended took its whole time.
    pub(crate) in_vain: bool,
    /// Once it has slept so: no signal arrives between two sleeps.
    gate: Option<SignalGate>,
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pace").field(&self.next).finish()
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            next: DOZE.0,
            in_vain: false,
            gate: None,
        }
    }
}

impl Pace {
    /// The longest sleep to make now.
    pub(crate) fn next(&mut self, heard: bool) -> Duration {
        if heard {
            return SLICE;
        }
        let now = self.next;
        self.next = (now * 2).min(DOZE.1);
        now
    }

    /// A short sleep on a word, with the signals held back so that none arrives as it ends, when the
    /// kernel would report the time and not the signal. They are let in before the next sleep.
    pub(crate) fn sleep_held(&mut self, sleep: impl FnOnce() -> Woken) -> Woken {
        match &self.gate {
            None => self.gate = Some(SignalGate::new()),
            Some(gate) if gate.nap(Duration::ZERO) => {}
            Some(_) => return Woken::Signal,
        }
        sleep()
    }

    /// Lets in the signals that were held back, for a caller that handles them between two sleeps.
    pub fn admit_signals(&mut self) {
        self.gate = None;
    }

    /// Sleeps for that long at most, without being woken.
    pub(crate) fn doze(&mut self, deadline: Deadline) -> Woken {
        let until = deadline.within(self.next(false));
        let gate = self.gate.get_or_insert_with(SignalGate::new);
        match gate.nap(until.saturating_sub(sys::now())) {
            true => Woken::Late,
            false => Woken::Signal,
        }
    }
}

/// A little less than this time, and never the same. A signal that arrives in the microseconds in
/// which a sleep ends is not noticed, so no timer is to go off with the sleeps again and again.
pub(crate) fn uneven(time: Duration) -> Duration {
    let noise = sys::now().subsec_nanos().wrapping_mul(0x9e37_79b1) >> 24;
    time - time * noise / 1024
}
