//! The producing handle.

mod claim;
mod wait;

use crate::error::{Error, Result};
use crate::format::control_file::Control;
use crate::format::data_file::{state, Framing, Geometry};
use crate::format::names::Paths;
use crate::log::{self, Level};
use crate::os::Region;
use crate::os::{HeldLock, NoCancel};
use crate::queue::errors::{damaged, wrong_length};
use crate::queue::eviction::Backpressure;
use crate::queue::open::{self, Attached};
use crate::queue::options::ProducerOptions;
use crate::queue::registry::ConsumerInfo;
use crate::queue::stats::Stats;
use crate::queue::wait::wake_word;
use crate::ring::flow_control::WriterState;
use crate::ring::{
    self, Field, FixedReader, FrameReader, FrameWriter, Mapped, Memory, Shape, VariableReader,
    Writer,
};
use crate::schema::Schema;
use crate::shm::Writer as WriterLock;
use crate::wakeup::{self, EventCount as _, SharedEventCount};

pub use claim::Claim;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

/// What is no length of a message.
const NONE: usize = usize::MAX;

/// In a long batch, those asleep are woken after so many messages.
const WAKE_EVERY: usize = 1024;

/// How many spins a producer of a full or nearly full lossless queue leaves its consumers alone before
/// it looks again: about a microsecond. Streaming 64 bytes lossless took 26 ns a message
/// without, and takes 20 ns with 32, 64 or 128.
const BREATH: u32 = 64;

/// How long a blocked producer sleeps at most before it looks for consumers that have died.
const LIFE_SIGN: Duration = Duration::from_millis(10);

/// The producing handle of a queue. There is one at a time.
///
/// It may move between threads and is used by one at a time. Dropping it closes the queue:
/// consumers drain it and then get [`Error::Closed`]; a producer that is killed instead leaves it
/// open, and the next one continues the sequence either way.
///
/// After a `fork`, the copy in the child only returns errors, and dropping it changes nothing.
pub struct Producer {
    writer: Writer<Mapped>,
    bell: SharedEventCount,
    /// `short`, if nothing is claimed and the writer is ready: then a push takes nothing but a copy. Or else
    /// [`NONE`].
    quick: usize,
    /// The message size, if it is fixed and short; or else [`NONE`].
    short: usize,
    /// The bytes claimed and not committed.
    claimed: Option<usize>,
    /// Whether the queue is to stay open when the handle is dropped.
    detached: bool,
    /// Of a lossless queue.
    backpressure: Backpressure,
    geometry: Geometry,
    schema: Option<Box<Schema>>,
    paths: Paths,
    // Below: kept for as long as the writer.
    /// `None` once it has ended.
    alive: Option<HeldLock>,
    lock: WriterLock,
    control: Control,
    region: Arc<Region>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("file", &self.paths.path)
            .field("queue", &self.geometry.describe())
            .field("next", &self.next_sequence())
            .finish()
    }
}

impl ProducerOptions {
    /// Opens the queue as its producer, and creates it where there is none.
    ///
    /// # Errors
    /// [`Error::ProducerExists`](crate::Error::ProducerExists),
    /// [`Error::Geometry`](crate::Error::Geometry), [`Error::Exists`](crate::Error::Exists),
    /// [`Error::NoSpace`](crate::Error::NoSpace),
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied),
    /// [`Error::Damaged`](crate::Error::Damaged), [`Error::Version`](crate::Error::Version),
    /// [`Error::SchemaMismatch`](crate::Error::SchemaMismatch),
    /// [`Error::Invalid`](crate::Error::Invalid).
    pub fn open(&self, name: impl AsRef<OsStr>) -> Result<Producer> {
        Producer::open_with(name.as_ref(), self)
    }
}

impl Producer {
    /// What to open with; see [`ProducerOptions`].
    pub fn options() -> ProducerOptions {
        ProducerOptions::default()
    }

    pub(super) fn open_with(name: &OsStr, options: &ProducerOptions) -> Result<Producer> {
        let _no = NoCancel::new();
        let paths = Paths::of(name)?;
        let Attached {
            region,
            geometry,
            schema,
            control,
            writer: lock,
            alive,
        } = open::attach(&paths, options)?;
        let (memory, shape) = (open::mapped(&region, &geometry), Shape::of(&geometry));
        let writer = Writer::recover(memory, shape).map_err(|d| damaged(&paths, d))?;
        // SAFETY: the producer keeps both mappings.
        let bell = unsafe { SharedEventCount::for_notifier(control.asleep(), wake_word(&region)) };
        // A wake-up that the last producer was killed over; and those asleep learn of the epoch.
        bell.wake_all();
        let producer = Producer {
            writer,
            bell,
            quick: NONE,
            short: geometry.short_message().unwrap_or(NONE),
            claimed: None,
            detached: false,
            geometry,
            schema: schema.map(Box::new),
            paths,
            lock,
            alive: Some(alive),
            control,
            backpressure: Backpressure::new(options.evict_after),
            region,
        };
        Ok(producer)
    }

    /// Pushes one message: of exactly the message size in a fixed queue, of at most
    /// [`Producer::max_message`] bytes in a variable one. Never sleeps. Makes no system call, unless
    /// consumers are asleep, or a lossless queue is full and it looks for consumers that have died (at
    /// most every 10 ms). If a lossless queue is full, the call spins for about 1 µs before it
    /// returns.
    ///
    /// # Errors
    /// [`Error::Full`] in a lossless queue with a consumer that has not caught up (or not shown it
    /// yet: [`ProducerOptions::delivery`]).
    /// [`Error::MessageSize`]; [`Error::Invalid`] while a message is claimed; [`Error::WrongRole`] in a forked child. Nothing is pushed then.
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> Result<()> {
        // SAFETY: a slice is readable.
        unsafe { self.push_raw(message.as_ptr(), message.len()) }
    }

    /// As [`Producer::push`], from a pointer.
    ///
    /// # Safety
    /// `from` is readable for `length` bytes.
    #[inline]
    pub unsafe fn push_raw(&mut self, from: *const u8, length: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe {
            match self.push_quickly(from, length) {
                Some(_) => Ok(()),
                None => self.push_slowly(from, length),
            }
        }
    }

    /// # Safety
    /// As [`Producer::push_raw`].
    #[cold]
    #[inline(never)]
    unsafe fn push_slowly(&mut self, from: *const u8, length: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.push_fully(from, length) }
    }

    /// All that a push may come to.
    ///
    /// # Safety
    /// As [`Producer::push_raw`].
    #[inline(always)]
    pub(crate) unsafe fn push_fully(&mut self, from: *const u8, length: usize) -> Result<()> {
        self.check_push(length)?;
        // SAFETY: readable, says the caller; the length was checked.
        if !unsafe { self.write(from, length) } {
            return Err(self.full());
        }
        self.pushed();
        Ok(())
    }

    /// Pushes and returns 0, if that takes nothing but the copy of a short message of a fixed queue; `None`
    /// where there is anything else to do or to say.
    ///
    /// What callers inline is this and a call. In one piece with all that a push may come to, it
    /// took 12 more instructions, to save registers.
    ///
    /// # Safety
    /// As [`Producer::push_raw`].
    #[inline(always)]
    pub(crate) unsafe fn push_quickly(&mut self, from: *const u8, length: usize) -> Option<i32> {
        // SAFETY: the caller's promise.
        match unsafe { self.push_if_quick(from, length, SharedEventCount::waiters_or) }? {
            true => Some(self.halt()),
            false => Some(0),
        }
    }

    /// As `push_quickly`, but leaves to the caller what comes after the push: whether anything does.
    ///
    /// Whether somebody is asleep, and whether the next push takes more than a copy, are two questions in one
    /// branch: `look` makes all ones of the next sequence for the first. As two, they took a push of 8
    /// bytes 4.1 ns, and now 3.9.
    ///
    /// # Safety
    /// As [`Producer::push_raw`]; and if anything comes after it, [`Producer::set_quick`] does.
    #[inline(always)]
    unsafe fn push_if_quick(
        &mut self,
        from: *const u8,
        length: usize,
        look: impl FnOnce(&SharedEventCount, u64) -> u64,
    ) -> Option<bool> {
        if length != self.quick || !self.lock.is_own() {
            return None;
        }
        let Writer::Fixed(writer) = &mut self.writer else {
            return None;
        };
        // SAFETY: readable, says the caller; it is the message size, and short; and the writer is ready.
        unsafe { writer.copy_next(from, length) };
        Some(writer.ends_run(look(&self.bell, writer.next())))
    }

    /// Out of line, and the last thing that is done, so that nothing has to be kept meanwhile.
    #[cold]
    #[inline(never)]
    extern "C" fn halt(&mut self) -> i32 {
        self.pushed();
        0
    }

    /// As [`Producer::push`], but does not look whether anybody is asleep after a short message. It is there to
    /// measure what that look costs (`benches/peers/src/bin/ipcq.rs`), and differs in nothing else.
    #[inline(always)]
    pub(crate) fn push_unheard(&mut self, message: &[u8]) -> Result<()> {
        let (from, length) = (message.as_ptr(), message.len());
        // SAFETY: a slice is readable.
        unsafe {
            match self.push_if_quick(from, length, |_, next| next) {
                Some(true) => self.set_quick(),
                Some(false) => {}
                None => return self.push_slowly(from, length),
            }
        }
        Ok(())
    }

    /// Pushes `data` as messages of `size` bytes each, and returns how many were pushed: all, unless
    /// a lossless queue is full. In a fixed queue `size` is the message size.
    ///
    /// # Errors
    /// As [`Producer::push`].
    pub fn push_many(&mut self, data: &[u8], size: usize) -> Result<usize> {
        if size == 0 || data.len() % size != 0 {
            return Err(Error::Invalid(
                format!(
                    "{} bytes are no whole number of messages of {size}",
                    data.len()
                )
                .into(),
            ));
        }
        self.check_push(size)?;
        // SAFETY: `data` holds so many messages of this size.
        unsafe { self.push_many_raw(data.as_ptr(), size, data.len() / size) }
    }

    /// Pushes `count` messages that lie `stride` bytes apart. In a fixed queue `stride` is at
    /// least the message size; in a variable one, `stride` is the length of each.
    ///
    /// # Errors
    /// As [`Producer::push_many`].
    ///
    /// # Safety
    /// Each message is readable.
    pub unsafe fn push_many_raw(
        &mut self,
        from: *const u8,
        stride: usize,
        count: usize,
    ) -> Result<usize> {
        let length = match self.geometry.framing {
            Framing::Fixed => stride.min(self.geometry.message_size as usize),
            Framing::Variable => stride,
        };
        self.check_push(length)?;
        let mut done = 0;
        while done < count {
            // SAFETY: one of the messages.
            let at = unsafe { from.add(done * stride) };
            if let (Writer::Fixed(writer), true) = (&mut self.writer, length == self.short) {
                // SAFETY: so many messages are readable, says the caller, of the message size.
                let run =
                    unsafe { writer.try_fast_run(at, stride, (count - done).min(WAKE_EVERY)) };
                if run > 0 {
                    done += run;
                    // Not only at the end, or a sleeper would be lapped by a long batch.
                    if done < count {
                        self.pushed();
                    }
                    continue;
                }
            }
            // SAFETY: readable, says the caller; the length was checked.
            if !unsafe { self.write(at, length) } {
                self.pushed();
                return if done == 0 {
                    Err(self.full())
                } else {
                    Ok(done)
                };
            }
            done += 1;
            if done < count && done % WAKE_EVERY == 0 {
                self.pushed();
            }
        }
        self.pushed();
        Ok(count)
    }

    /// The sequence of the message pushed next.
    pub fn next_sequence(&self) -> u64 {
        self.writer.next()
    }

    /// Bytes of the longest message.
    pub fn max_message(&self) -> usize {
        self.geometry.max_message() as usize
    }

    /// The data file, as an absolute path that was resolved when the queue was opened.
    pub fn path(&self) -> &std::path::Path {
        &self.paths.path
    }

    /// What the queue is.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What records its messages are, if the queue says so.
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_deref()
    }

    /// Figures of the queue.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn stats(&self) -> Result<Stats> {
        self.stats_with(&self.consumers())
    }

    /// As [`Producer::stats`], where the consumers are known already.
    pub(crate) fn stats_with(&self, consumers: &[ConsumerInfo]) -> Result<Stats> {
        let memory = *self.memory();
        let shape = Shape::of(&self.geometry);
        let oldest = match self.geometry.framing {
            Framing::Fixed => FixedReader::new(memory, shape).oldest(),
            Framing::Variable => VariableReader::new(memory, shape).oldest(),
        };
        Ok(Stats {
            pushed: self.next_sequence(),
            received: 0,
            lost: 0,
            lag: 0,
            oldest: oldest.map_err(|d| damaged(&self.paths, d))?,
            capacity: self.geometry.capacity,
            message_size: self.geometry.message_size,
            max_message: self.geometry.max_message(),
            delivery: self.geometry.delivery,
            epoch: memory.load_relaxed(Field::Epoch) as u32,
            consumers: consumers.len() as u32,
            producer_alive: true,
            closed: false,
            id: self.geometry.id,
            unlinked: !self
                .region
                .is_named(&self.paths.dir, &self.paths.data)
                .unwrap_or(true),
        })
    }

    /// The consumers attached and known, the slowest first: all of a lossless queue, of a lossy
    /// one those that may write its control file; but no observers. Costs a system call each.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        let _no = NoCancel::new();
        self.backpressure.log();
        self.control.consumers(&self.paths, self.next_sequence())
    }

    /// Closes the queue, as dropping the handle does.
    pub fn close(self) {}

    /// Gives the handle up without closing the queue: consumers keep waiting, and another process
    /// can open the queue as its producer and continue the sequence. A message that is claimed is
    /// given up.
    pub fn detach(mut self) {
        self.detached = true;
    }

    fn memory(&self) -> &Mapped {
        self.writer.memory()
    }

    /// What comes after every push: sees whether the next may be quick, and wakes who sleeps until something
    /// is pushed.
    #[inline(always)]
    fn pushed(&mut self) {
        self.set_quick();
        wakeup::notify(&self.bell);
    }

    /// To be done after whatever may change what it depends on.
    #[inline(always)]
    fn set_quick(&mut self) {
        self.quick = match &self.writer {
            Writer::Fixed(writer) if writer.can_copy_next() && self.claimed.is_none() => self.short,
            _ => NONE,
        };
    }

    /// Pushes, if there is room or room can be made.
    ///
    /// # Safety
    /// `from` is readable for `length` bytes, and the length was checked.
    #[inline(always)]
    unsafe fn write(&mut self, from: *const u8, length: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            self.write_if_room(from, length)
                || self.make_room(length) && self.write_if_room(from, length)
        }
    }

    /// # Safety
    /// As `write`.
    #[inline(always)]
    unsafe fn write_if_room(&mut self, from: *const u8, length: usize) -> bool {
        // SAFETY: the caller's promise; in a fixed queue the length is the message size.
        unsafe {
            match &mut self.writer {
                Writer::Fixed(writer) => {
                    length == self.short && writer.try_fast(from, length)
                        || writer.push(from, length)
                }
                Writer::Variable(writer) => writer.push(from, length),
            }
        }
    }

    fn set_claimed(&mut self, claimed: Option<usize>) {
        self.claimed = claimed;
        self.set_quick();
    }

    #[cold]
    #[inline(never)]
    fn reserve_slowly(&mut self, length: usize) -> Result<usize> {
        match self.make_room(length) {
            true => self.reserve(length).ok_or_else(|| self.full()),
            false => Err(self.full()),
        }
    }

    fn reserve(&mut self, length: usize) -> Option<usize> {
        self.writer.reserve(length)
    }

    /// Lossless, and as far as was allowed: looks how far the consumers are now. Whether there is
    /// room for a message.
    #[cold]
    fn make_room(&mut self, length: usize) -> bool {
        let mut room = self.extend(length);
        if self.is_narrow(length) {
            // Room for a few messages only is had for as many looks at the cursors, each of which takes
            // their lines from the consumers. So give those that are at work the time for a block.
            for _ in 0..BREATH {
                std::hint::spin_loop();
            }
            room = self.extend(length);
        }
        room || self.relieve(length) && self.extend(length)
    }

    /// Whether less than a block may be announced.
    fn is_narrow(&self, length: usize) -> bool {
        let front = self.front(length);
        ring::distance(front.limit, front.next.wrapping_add(self.geometry.block)) < 0
    }

    fn front(&self, length: usize) -> WriterState {
        self.writer.front(length)
    }

    fn extend(&mut self, length: usize) -> bool {
        self.writer.extend(&self.control, length)
    }

    fn relieve(&mut self, length: usize) -> bool {
        let _no = NoCancel::new();
        let (front, capacity) = (self.front(length), self.geometry.capacity);
        let next = self.next_sequence();
        open::show_blocked(&self.region, front.end);
        self.backpressure
            .relieve(&self.paths, &self.control, capacity, front, next)
    }

    #[inline(always)]
    fn check_push(&self, length: usize) -> Result<()> {
        self.check_process()?;
        if self.claimed.is_some() {
            return Err(self.in_claim());
        }
        self.check_length(length)
    }

    #[inline(always)]
    fn check_length(&self, length: usize) -> Result<()> {
        let fits = match self.geometry.framing {
            Framing::Fixed => length == self.geometry.message_size as usize,
            Framing::Variable => length <= self.max_message(),
        };
        if fits {
            Ok(())
        } else {
            Err(wrong_length(&self.paths, &self.geometry, length))
        }
    }

    #[inline(always)]
    fn check_process(&self) -> Result<()> {
        if self.lock.is_own() {
            Ok(())
        } else {
            Err(self.inherited())
        }
    }

    #[cold]
    #[inline(never)]
    fn inherited(&self) -> Error {
        Error::WrongRole(
            format!(
                "{}: this producer belongs to the process that this one was forked from",
                self.paths.shown()
            )
            .into(),
        )
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if !self.lock.is_own() {
            return;
        }
        let _no = NoCancel::new();
        self.backpressure.log();
        self.writer.settle();
        // A queue whose name was taken meanwhile stays superseded.
        if !self.detached && self.memory().load_relaxed(Field::State) == state::LIVE {
            ring::set_state(self.memory(), state::CLOSED);
        }
        open::end_weak(&self.region);
        self.bell.wake_all();
        open::set_holder(&self.region, 0);
        // Before the lock: a producer that gets that is to find this one free.
        self.alive = None;
        self.lock.end(&self.paths, &self.region);
        log::say(Level::Info, || {
            let how = if self.detached { "detached" } else { "closed" };
            format!("{}: {how} by its producer", self.paths.shown())
        });
    }
}
