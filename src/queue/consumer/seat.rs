//! How a consumer shows how far it is, and keeps its seat.

use super::{Consumer, Ring};
use crate::error::{Error, Result};
use crate::format::control_file::Control;
use crate::os::{self, NoCancel};
use crate::queue::errors::damaged;
use crate::queue::open;
use crate::queue::registry::Seat;
use crate::ring::{self, FrameReader, Start};
use crate::wakeup::{self, SharedEventCount};

/// How many messages a consumer takes before it shows again how far it is, unless it finds the ring
/// empty. In a lossless queue it is at most a block; and where the ring is nearly full every
/// message is shown, so that a producer that waits gets room at once.
///
/// A lossless pop that showed every message took 1.6 times as long, and the producer, which
/// looks, and the consumer took the line with the cursor from each other.
pub(super) const TELL: u64 = 64;

/// What was told if nothing was. (Or it was that sequence: then it is told once less.)
pub(super) const NOTHING: u64 = u64::MAX;

impl Consumer {
    /// Shows how far this consumer is, and gives the producer of a lossless queue what is behind.
    #[inline(always)]
    pub(super) fn tell(&self) {
        // What spins on an empty queue tells nothing new.
        let next = self.next_sequence();
        if self.told.replace(next) == next {
            return;
        }
        if let Some(seat) = &self.seat {
            if self.lossless && !seat.is_held() {
                // No short way until there is a seat again.
                self.generation.set(os::fork_generation().wrapping_sub(1));
            }
            if seat.is_own() {
                let (cursor, sequence, lost) =
                    either!(&self.ring, r => (r.frames().cursor(), r.next(), r.counts().1));
                seat.tell(cursor, sequence, lost);
                if let Some(room) = &self.room {
                    wakeup::notify(room);
                }
            }
        }
    }

    /// Out of line, for it is rare, and the last thing that is done, so that nothing has to be kept
    /// in registers meanwhile.
    #[cold]
    #[inline(never)]
    pub(super) extern "C" fn tell_now_and_then(&self, length: u32) -> i64 {
        self.tell();
        length.into()
    }

    pub(super) fn set_asleep(&self, asleep: bool) {
        if let Some(seat) = &self.seat {
            seat.set_asleep(asleep);
        }
    }

    /// Makes sure that the producer of a lossless queue waits for this consumer.
    #[inline(always)]
    pub(super) fn keep_seat(&mut self) -> Result<()> {
        if self.lossless && !self.has_seat() {
            self.rejoin()?;
        }
        self.generation.set(os::fork_generation());
        Ok(())
    }

    #[inline(always)]
    fn has_seat(&self) -> bool {
        self.seat.as_ref().is_some_and(Seat::is_held)
    }

    /// Takes the seat back, or another where this is a forked child, and goes on from here.
    #[cold]
    fn rejoin(&mut self) -> Result<()> {
        let _no = NoCancel::new();
        if !self.seat.as_ref().is_some_and(Seat::is_own) {
            let control = self.control.clone();
            let control = control.ok_or_else(|| Error::Internal("no control file".into()))?;
            // A process of its own rings for itself.
            self.room = Some(room(&control));
            self.seat = Seat::lock(control, &self.paths, &self.name, self.seat.as_ref())?;
        }
        if self.seat.is_none() {
            return Err(open::registry_full(&self.paths, &self.geometry));
        }
        self.join(None).map(|_| ())
    }

    pub(super) fn join(&mut self, start: Option<Start>) -> Result<bool> {
        let joined = match (&self.seat, start) {
            (Some(seat), start) => either!(&mut self.ring, r => ring::join(r, seat, start)),
            (None, Some(start)) => either!(&mut self.ring, r => r.begin(start)),
            (None, None) => Ok(true),
        };
        self.told.set(NOTHING);
        self.tell();
        joined.map_err(|d| damaged(&self.paths, d))
    }
}

/// What wakes a producer that waits for room. It is used for as long as the control file is kept.
pub(super) fn room(control: &Control) -> SharedEventCount {
    // SAFETY: both are mapped for as long as the control file.
    unsafe { SharedEventCount::for_notifier(control.blocked(), control.room()) }
}
