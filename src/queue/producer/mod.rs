//! The handle of a producer.

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
use crate::queue::fast::Fast;
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

/// Sentinel: not a valid message length.
const NONE: usize = usize::MAX;

/// A long batch wakes the waiters after this many messages.
const WAKE_EVERY: usize = 1024;

/// The producer of a full or nearly full lossless queue spins this many times before it reads the
/// cursors again. That takes about a microsecond. Streaming messages of 64 bytes took 26 ns a
/// message without these spins, and takes 20 ns with 32, 64 or 128.
const FULL_SPINS: u32 = 64;

/// A blocked producer looks for consumers that have died at least this often.
const LIVENESS_POLL: Duration = Duration::from_millis(10);

/// The handle of a producer. A queue has at most one producer at a time.
///
/// A handle may move between threads, and one thread uses it at a time. Dropping it closes the
/// queue: consumers drain the queue, and then get [`Error::Closed`]. A producer that is killed
/// leaves the queue open. In both cases the next producer continues the sequence.
///
/// After a `fork`, the handle in the child only returns errors, and dropping it changes nothing.
///
/// ```
/// # ipcq::__example!();
/// use ipcq::{Consumer, Producer};
///
/// let mut out = Producer::options().message_size(8).open("numbers")?;
/// let mut q = Consumer::options().open("numbers")?;
/// out.push(&7u64.to_le_bytes())?;
/// drop(out);
/// let mut buffer = [0; 8];
/// assert!(q.pop(&mut buffer)?.is_some());
/// assert!(matches!(q.pop(&mut buffer), Err(ipcq::Error::Closed(_))));
/// # Ok::<(), ipcq::Error>(())
/// ```
pub struct Producer {
    writer: Writer<Mapped>,
    event_count: SharedEventCount,
    /// The length of messages that the fast path takes: `short` if nothing is claimed and the
    /// writer is ready, otherwise [`NONE`].
    fast_len: usize,
    /// The message size if it is fixed and short, otherwise [`NONE`].
    short: usize,
    /// The length of the message that is claimed and not committed.
    claimed: Option<usize>,
    /// Whether the queue stays open when the handle is dropped.
    detached: bool,
    /// The consumers that hold back the producer of a lossless queue.
    backpressure: Backpressure,
    geometry: Geometry,
    schema: Option<Box<Schema>>,
    paths: Paths,
    // Fields are dropped in this order. The writer uses the fields below, so it comes before them.
    /// Shows that the producer lives. `None` once the producer has ended.
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
    /// Opens the queue as its producer. Creates it if it does not exist.
    ///
    /// ```
    /// # ipcq::__example!();
    /// use ipcq::Producer;
    ///
    /// let out = Producer::options().message_size(8).capacity(1024).open("numbers")?;
    /// assert_eq!(out.geometry().capacity, 1024);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
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
    /// The options to open a queue with.
    ///
    /// ```
    /// # ipcq::__example!();
    /// use ipcq::{Delivery, Producer};
    ///
    /// let options = Producer::options().message_size(8).delivery(Delivery::Lossless);
    /// let out = options.open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
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
        let event_count =
            unsafe { SharedEventCount::for_notifier(control.asleep(), wake_word(&region)) };
        // The last producer may have been killed before it woke the waiters. This also makes them
        // look at the new epoch.
        event_count.wake_all();
        let producer = Producer {
            writer,
            event_count,
            fast_len: NONE,
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

    /// Pushes one message. In a fixed queue it has exactly the message size, in a variable queue at
    /// most [`Producer::max_message`] bytes.
    ///
    /// The call never sleeps. If a lossless queue is full, it spins for about 1 us before it
    /// returns. It makes no system call, except if consumers are asleep, or if a lossless queue is
    /// full and the call looks for consumers that have died (at most every 10 ms).
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&7u64.to_le_bytes())?;
    /// assert_eq!(out.next_sequence(), 1);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the call fails, it has pushed nothing. [`Error::Full`] if a lossless queue has no room: a
    /// consumer has not consumed enough, or has not published its position yet
    /// ([`ProducerOptions::delivery`]). [`Error::MessageSize`]; [`Error::Invalid`] while a message
    /// is claimed; [`Error::WrongRole`] in a forked child.
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> Result<()> {
        // SAFETY: a slice is readable.
        unsafe { self.push_raw(message.as_ptr(), message.len()) }
    }

    /// As [`Producer::push`], from a pointer.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let message = 7u64;
    /// // SAFETY: a reference is readable.
    /// unsafe { out.push_raw((&raw const message).cast(), size_of_val(&message)) }?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Safety
    /// `from` is readable for `length` bytes.
    #[inline]
    pub unsafe fn push_raw(&mut self, from: *const u8, length: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe {
            match self.try_fast(from, length) {
                Fast::Done(()) => Ok(()),
                Fast::NeedsAfter(()) => {
                    self.after_fast();
                    Ok(())
                }
                Fast::Slow => self.slow(from, length),
            }
        }
    }

    /// Pushes a short message of a fixed queue if the push needs only a copy. Otherwise the caller
    /// takes the slow path, which also reports every error.
    ///
    /// The two paths are separate functions. A function that did both saved registers for the slow
    /// path on every push, which took 12 more instructions.
    ///
    /// # Safety
    /// As [`Producer::push_raw`].
    #[inline(always)]
    pub(crate) unsafe fn try_fast(&mut self, from: *const u8, length: usize) -> Fast<()> {
        // SAFETY: the caller's promise.
        unsafe { self.try_fast_with(from, length, SharedEventCount::waiters_or) }
    }

    /// As `try_fast`. `look` gets the next sequence. It returns that sequence, or all ones if a
    /// consumer may be asleep.
    ///
    /// This way one branch answers two questions: whether a consumer may be asleep, and whether the
    /// next push needs more than a copy. With two branches, a push of 8 bytes took 4.1 ns instead
    /// of 3.9 ns.
    ///
    /// # Safety
    /// As [`Producer::push_raw`].
    #[inline(always)]
    unsafe fn try_fast_with(
        &mut self,
        from: *const u8,
        length: usize,
        look: impl FnOnce(&SharedEventCount, u64) -> u64,
    ) -> Fast<()> {
        if length != self.fast_len || !self.lock.is_own() {
            return Fast::Slow;
        }
        let Writer::Fixed(writer) = &mut self.writer else {
            return Fast::Slow;
        };
        // SAFETY: readable, by the caller's contract. The length is the message size, which is
        // short, and the writer is ready.
        unsafe { writer.copy_next(from, length) };
        match writer.ends_run(look(&self.event_count, writer.next())) {
            true => Fast::NeedsAfter(()),
            false => Fast::Done(()),
        }
    }

    /// Completes a push that returned [`Fast::NeedsAfter`].
    ///
    /// Out of line and in tail position, so that the fast path saves no registers.
    #[cold]
    #[inline(never)]
    pub(crate) fn after_fast(&mut self) {
        self.pushed();
    }

    /// The whole push, with all of its errors, out of line.
    ///
    /// # Safety
    /// As [`Producer::push_raw`].
    #[cold]
    #[inline(never)]
    unsafe fn slow(&mut self, from: *const u8, length: usize) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.slow_inline(from, length) }
    }

    /// The whole push, with all of its errors, inlined into a function that is out of line itself.
    ///
    /// # Safety
    /// As [`Producer::push_raw`].
    #[inline(always)]
    pub(crate) unsafe fn slow_inline(&mut self, from: *const u8, length: usize) -> Result<()> {
        self.check_push(length)?;
        // SAFETY: readable, by the caller's contract; the length was checked.
        if !unsafe { self.write(from, length) } {
            return Err(self.full());
        }
        self.pushed();
        Ok(())
    }

    /// As [`Producer::push`], but does not wake consumers after a short message. With it,
    /// `benches/peers/src/bin/ipcq.rs` measures what the look at the sleepers costs.
    #[cfg(feature = "_bench")]
    #[inline(always)]
    pub(crate) fn push_without_wake(&mut self, message: &[u8]) -> Result<()> {
        let (from, length) = (message.as_ptr(), message.len());
        // SAFETY: a slice is readable.
        unsafe {
            match self.try_fast_with(from, length, |_, next| next) {
                Fast::Done(()) => {}
                Fast::NeedsAfter(()) => self.set_fast_len(),
                Fast::Slow => return self.slow(from, length),
            }
        }
        Ok(())
    }

    /// Pushes `data` as messages of `size` bytes each, and returns how many it pushed. It pushes
    /// all of them unless a lossless queue becomes full. In a fixed queue `size` is the message
    /// size.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let pushed = out.push_many(&[0; 3 * 8], 8)?;
    /// assert_eq!(pushed, 3);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Producer::push`]; [`Error::Invalid`] if `data` ends within a message.
    pub fn push_many(&mut self, data: &[u8], size: usize) -> Result<usize> {
        if size == 0 || data.len() % size != 0 {
            return Err(Error::Invalid(
                format!(
                    "{} bytes are not a whole number of messages of {size} bytes",
                    data.len()
                )
                .into(),
            ));
        }
        self.check_push(size)?;
        // SAFETY: `data` has this many messages of this size.
        unsafe { self.push_many_raw(data.as_ptr(), size, data.len() / size) }
    }

    /// Pushes `count` messages that are `stride` bytes apart. In a fixed queue `stride` is at least
    /// the message size. In a variable queue `stride` is the length of each message.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let messages = [1u64, 2, 3];
    /// // SAFETY: the three messages are readable.
    /// let pushed = unsafe { out.push_many_raw(messages.as_ptr().cast(), 8, 3) }?;
    /// assert_eq!(pushed, 3);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
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
                // SAFETY: the messages are readable, by the caller's contract, and have the message
                // size.
                let run =
                    unsafe { writer.try_fast_run(at, stride, (count - done).min(WAKE_EVERY)) };
                if run > 0 {
                    done += run;
                    // Wake the waiters during the batch, too. Otherwise a long batch could
                    // overwrite messages before a sleeping consumer is woken.
                    if done < count {
                        self.pushed();
                    }
                    continue;
                }
            }
            // SAFETY: readable, by the caller's contract; the length was checked.
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

    /// The sequence of the next message.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&[0; 8])?;
    /// assert_eq!(out.next_sequence(), 1);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn next_sequence(&self) -> u64 {
        self.writer.next()
    }

    /// The length of the longest message, in bytes.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(out.max_message(), 8);
    /// ```
    pub fn max_message(&self) -> usize {
        self.geometry.max_message() as usize
    }

    /// The absolute path of the data file, as resolved when the queue was opened.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(out.path().file_name().unwrap(), "ipcq.numbers");
    /// ```
    pub fn path(&self) -> &std::path::Path {
        &self.paths.path
    }

    /// The shape of the queue.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(out.geometry().message_size, 8);
    /// ```
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The record schema of the messages, if the queue has one.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert!(out.schema().is_none());
    /// ```
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_deref()
    }

    /// Statistics of the queue.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&[0; 8])?;
    /// let stats = out.stats()?;
    /// assert_eq!((stats.pushed, stats.consumers), (1, 1));
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn stats(&self) -> Result<Stats> {
        self.stats_with(&self.consumers())
    }

    /// As [`Producer::stats`], if the caller has the list of consumers already.
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

    /// The attached consumers, the slowest first. The list does not contain observers, nor the
    /// consumers of a lossy queue that have no permission to write its control file. The call makes
    /// a system call for each consumer.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(out.consumers().len(), 1);
    /// ```
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        let _no = NoCancel::new();
        self.backpressure.log();
        self.control.consumers(&self.paths, self.next_sequence())
    }

    /// Closes the queue, as dropping the handle does.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.close();
    /// assert!(matches!(q.pop(&mut [0; 8]), Err(ipcq::Error::Closed(_))));
    /// ```
    pub fn close(self) {}

    /// Ends the handle but does not close the queue. Consumers keep waiting, and another process
    /// can open the queue as its producer and continue the sequence. A claimed message is dropped.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&[0; 8])?;
    /// out.detach();
    /// let out = ipcq::Producer::options().open("numbers")?;
    /// assert_eq!(out.next_sequence(), 1);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn detach(mut self) {
        self.detached = true;
    }

    fn memory(&self) -> &Mapped {
        self.writer.memory()
    }

    /// Completes every push: finds out whether the next one may take the fast path, and wakes the
    /// waiting consumers.
    #[inline(always)]
    fn pushed(&mut self) {
        self.set_fast_len();
        wakeup::notify(&self.event_count);
    }

    /// Sets `fast_len`. Call this after every change of the writer or of `claimed`.
    #[inline(always)]
    fn set_fast_len(&mut self) {
        self.fast_len = match &self.writer {
            Writer::Fixed(writer) if writer.can_copy_next() && self.claimed.is_none() => self.short,
            _ => NONE,
        };
    }

    /// Pushes if there is room, or if room can be made. Returns whether it did.
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
        self.set_fast_len();
    }

    #[cold]
    #[inline(never)]
    fn reserve_slow(&mut self, length: usize) -> Result<usize> {
        match self.make_room(length) {
            true => self.reserve(length).ok_or_else(|| self.full()),
            false => Err(self.full()),
        }
    }

    fn reserve(&mut self, length: usize) -> Option<usize> {
        self.writer.reserve(length)
    }

    /// For a lossless queue at its limit: looks at the positions of the consumers. Returns whether
    /// there is room for a message.
    #[cold]
    fn make_room(&mut self, length: usize) -> bool {
        let mut room = self.extend(length);
        if self.limit_close(length) {
            // Each read of the cursors takes their cache lines from the consumers. If the producer
            // continued with room for only a few messages, it would soon read them again. So give
            // the consumers time to consume a block.
            for _ in 0..FULL_SPINS {
                std::hint::spin_loop();
            }
            room = self.extend(length);
        }
        room || self.evict(length) && self.extend(length)
    }

    /// Whether the producer may announce less than a block.
    fn limit_close(&self, length: usize) -> bool {
        let front = self.front(length);
        ring::distance(front.limit, front.next.wrapping_add(self.geometry.block)) < 0
    }

    fn front(&self, length: usize) -> WriterState {
        self.writer.front(length)
    }

    fn extend(&mut self, length: usize) -> bool {
        self.writer.extend(&self.control, length)
    }

    fn evict(&mut self, length: usize) -> bool {
        let _no = NoCancel::new();
        let (front, capacity) = (self.front(length), self.geometry.capacity);
        let next = self.next_sequence();
        open::show_blocked(&self.region, front.end);
        self.backpressure
            .evict(&self.paths, &self.control, capacity, front, next)
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
                "{}: this producer belongs to the parent process, and a forked child cannot use it",
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
        // A queue stays superseded if another queue has taken its name. A process stores that state
        // only after it has found that no producer of this file is alive (`check_no_other`). This
        // producer still holds its locks, so that cannot happen between this load and the store.
        if !self.detached && self.memory().load_relaxed(Field::State) == state::LIVE {
            ring::set_state(self.memory(), state::CLOSED);
        }
        open::end_weak(&self.region);
        self.event_count.wake_all();
        open::set_holder(&self.region, 0);
        // Before the lock, because a producer that gets the lock expects this one to be free.
        self.alive = None;
        self.lock.end(&self.paths, &self.region);
        log::say(Level::Info, || {
            let how = if self.detached { "detached" } else { "closed" };
            format!("{}: {how} by its producer", self.paths.shown())
        });
    }
}
