//! The handle of a consumer.

use crate::error::{Error, Result, Text};
use crate::format::control_file::Control;
use crate::format::data_file::{state, Framing, Geometry};
use crate::format::names::Paths;
use crate::os::Region;
use crate::os::{self, NoCancel};
use crate::queue::errors::damaged;
use crate::queue::fast::Fast;
use crate::queue::open::{self, Observed};
use crate::queue::options::ConsumerOptions;
use crate::queue::poll_fd::Watch;
use crate::queue::registry::{ConsumerInfo, ConsumerSlot};
use crate::queue::stats::Stats;
use crate::queue::wait::Sleeper;
use crate::queue::Meta;
use crate::ring::flow_control::SlotCursor as _;
use crate::ring::{
    Field, FixedReader, FrameReader, Mapped, Memory, Pop, Reader, Shape, Site, Start,
    VariableReader,
};
use crate::schema::Schema;
use crate::wakeup::{self, EventCount as _, SharedEventCount};
use end::Nothing;
use slot::{room, PUBLISH_EVERY, UNPUBLISHED};
use std::cell::{Cell, OnceCell};
use std::ffi::OsStr;
#[cfg(feature = "capi")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

pub use view::{Run, View};

#[derive(Debug, Clone)]
enum Ring {
    Fixed(Reader<FixedReader<Mapped>>),
    Variable(Reader<VariableReader<Mapped>>),
}

/// Evaluates the expression for either kind of ring.
macro_rules! either {
    ($ring:expr, $reader:ident => $do:expr) => {
        match $ring {
            Ring::Fixed($reader) => $do,
            Ring::Variable($reader) => $do,
        }
    };
}

mod end;
mod slot;
mod view;
mod wait;

/// The handle of a consumer. A queue has any number of consumers. Each one sees every message and
/// has a position of its own.
///
/// A handle may move between threads, and one thread uses it at a time. It maps the ring read-only.
///
/// ```
/// # ipcq::__example!();
/// use ipcq::{Consumer, Producer};
///
/// let mut out = Producer::options().message_size(8).open("numbers")?;
/// let mut q = Consumer::options().open("numbers")?;
/// out.push(&7u64.to_le_bytes())?;
/// let mut buffer = [0; 8];
/// let meta = q.pop(&mut buffer)?.unwrap();
/// assert_eq!((meta.sequence, u64::from_le_bytes(buffer)), (0, 7));
/// # Ok::<(), ipcq::Error>(())
/// ```
pub struct Consumer {
    ring: Ring,
    geometry: Geometry,
    schema: Option<Box<Schema>>,
    paths: Arc<Paths>,
    sleeper: Sleeper,
    /// The descriptor to poll, if the program has called `fd`.
    watch: Option<Watch>,
    region: Arc<Region>,
    control: Option<Arc<Control>>,
    /// This consumer's slot in the control file.
    slot: Option<ConsumerSlot>,
    /// The value of `next_sequence` when the position was last published, or [`UNPUBLISHED`].
    last_published: Cell<u64>,
    /// The smallest buffer for the fast path: the message size if it is fixed and short, otherwise
    /// more than any buffer has.
    fast_len: usize,
    /// The fast path publishes the position when `next_sequence & publish_mask` is 0.
    publish_mask: u64,
    /// The same for the slow path. In a lossless queue the mask is 0, so it always publishes.
    slow_publish_mask: u64,
    /// The fork generation of this handle's last slow pop.
    generation: Cell<u32>,
    /// Whether the producer waits for this consumer.
    lossless: bool,
    /// Wakes the producer if it waits for room. `None` if this consumer never holds it back.
    room: Option<SharedEventCount>,
    name: String,
    /// Whether the queue has ended: its file has lost its name, and it has no producer.
    gone: bool,
    /// When the consumer last checked for that.
    end_checked: Duration,
    /// Whether an empty ring needs `found_nothing`: there is a descriptor, or the queue has ended.
    checks_empty: bool,
    /// The error text for an empty queue, once it was needed.
    empty: OnceCell<Text>,
    /// Differs from the number of any other consumer of this process.
    #[cfg(feature = "capi")]
    number: u64,
}

/// Consumers that were opened in this process.
#[cfg(feature = "capi")]
static OPENED: AtomicU64 = AtomicU64::new(0);

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("file", &self.paths.path)
            .field("queue", &self.geometry.describe())
            .field("next", &self.next_sequence())
            .finish()
    }
}

impl ConsumerOptions {
    /// Opens the queue as one of its consumers.
    ///
    /// ```
    /// # ipcq::__example!();
    /// use ipcq::{Consumer, Start};
    /// # let out = ipcq::Producer::options().message_size(8).open("numbers")?;
    ///
    /// let q = Consumer::options().start(Start::Next).open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`], also when the time limit is reached. [`Error::PermissionDenied`], also
    /// if the queue is lossless and this process may not write its control file.
    /// [`Error::RegistryFull`] if the queue is lossless and has no free consumer slot.
    /// [`Error::Invalid`] if the start sequence was not pushed yet. [`Error::Interrupted`] if a
    /// signal arrived during the wait. [`Error::Damaged`], [`Error::Version`], [`Error::Geometry`],
    /// [`Error::SchemaMismatch`].
    pub fn open(&self, name: impl AsRef<OsStr>) -> Result<Consumer> {
        Consumer::open_with(name.as_ref(), self)
    }
}

impl Consumer {
    /// The options to open a queue with.
    ///
    /// ```
    /// # ipcq::__example!();
    /// # let out = ipcq::Producer::options().message_size(8).open("numbers")?;
    /// let options = ipcq::Consumer::options().name("logger");
    /// let q = options.open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn options() -> ConsumerOptions {
        ConsumerOptions::default()
    }

    pub(super) fn open_with(name: &OsStr, options: &ConsumerOptions) -> Result<Consumer> {
        let _no = NoCancel::new();
        let (paths, observed) = open::observe(name, options)?;
        let Observed {
            region,
            geometry,
            schema,
            epoch,
            control,
            slot,
        } = observed;
        let (memory, mut shape) = (open::mapped(&region, &geometry), Shape::of(&geometry));
        if options.observer {
            shape = shape.observed();
        }
        let ring = match geometry.framing {
            Framing::Fixed => Ring::Fixed(Reader::new(FixedReader::new(memory, shape))),
            Framing::Variable => Ring::Variable(Reader::new(VariableReader::new(memory, shape))),
        };
        let writable = control.clone().filter(|c| c.region().is_writable());
        let sleeper = Sleeper::new(writable, epoch);
        let room = control.as_deref().filter(|_| shape.lossless).map(room);
        let mut consumer = Consumer {
            ring,
            fast_len: geometry.short_message().unwrap_or(usize::MAX),
            geometry,
            schema: schema.map(Box::new),
            paths: Arc::new(paths),
            sleeper,
            watch: None,
            region,
            control,
            slot,
            last_published: Cell::new(UNPUBLISHED),
            publish_mask: match shape.lossless {
                true => PUBLISH_EVERY.min(shape.block) - 1,
                false => PUBLISH_EVERY - 1,
            },
            slow_publish_mask: if shape.lossless { 0 } else { PUBLISH_EVERY - 1 },
            generation: Cell::new(os::fork_generation()),
            lossless: shape.lossless,
            room,
            name: options.name.clone(),
            gone: false,
            end_checked: Duration::ZERO,
            checks_empty: false,
            empty: OnceCell::new(),
            // Relaxed: the numbers only have to differ.
            #[cfg(feature = "capi")]
            number: OPENED.fetch_add(1, Ordering::Relaxed) + 1,
        };
        consumer.begin(options.start)?;
        Ok(consumer)
    }

    /// Copies the next message into `buffer` and consumes it. Returns `None` if the queue has no
    /// new message.
    ///
    /// [`Meta::lost`] says how many messages were overwritten between the last message of this
    /// consumer and this one.
    ///
    /// The call makes no system call, except if the producer of a lossless queue sleeps until there
    /// is room, if the consumer has a descriptor ([`Consumer::fd`]) and finds nothing, or if this
    /// is the first call in a forked child.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&7u64.to_le_bytes())?;
    /// let mut buffer = [0; 8];
    /// while let Some(meta) = q.pop(&mut buffer)? {
    ///     println!("#{}: {}", meta.sequence, u64::from_le_bytes(buffer));
    /// }
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] if the producer has closed the queue and every message was consumed. If a
    /// producer opens the queue again, messages come again. [`Error::Replaced`] if the queue was
    /// replaced. [`Error::MessageSize`] if the buffer is too small; the message stays.
    /// [`Error::RegistryFull`] if this consumer has lost its slot in a lossless queue (in a forked
    /// child, or by eviction) and no slot is free. [`Error::Damaged`].
    #[inline]
    pub fn pop(&mut self, buffer: &mut [u8]) -> Result<Option<Meta>> {
        // SAFETY: a mutable slice is writable.
        match unsafe { self.try_fast(buffer.as_mut_ptr(), buffer.len()) } {
            Fast::Done(message) => Ok(Some(message)),
            Fast::NeedsAfter(message) => {
                self.after_fast();
                Ok(Some(message))
            }
            Fast::Slow => self.slow_into(buffer),
        }
    }

    /// The slow path of [`Consumer::pop`].
    #[cold]
    #[inline(never)]
    fn slow_into(&mut self, buffer: &mut [u8]) -> Result<Option<Meta>> {
        // SAFETY: a mutable slice is writable.
        match unsafe { self.slow_inline(buffer.as_mut_ptr(), buffer.len()) }? {
            Pop::Message(message) => Ok(Some(message)),
            Pop::Empty => Ok(None),
            other => Err(self.not_popped(other, buffer.len())),
        }
    }

    /// As [`Consumer::pop`], to a pointer. A closed queue and a small buffer are results, not
    /// errors.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let mut number = 0u64;
    /// // SAFETY: the number is writable, and any bytes are a valid one.
    /// let pop = unsafe { q.pop_raw((&raw mut number).cast(), 8) }?;
    /// assert_eq!(pop, ipcq::Pop::Empty);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Safety
    /// `to` is writable for `size` bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::RegistryFull`] if this consumer has lost its slot in a lossless
    /// queue (in a forked child, or by eviction) and no slot is free.
    #[inline(always)]
    pub unsafe fn pop_raw(&mut self, to: *mut u8, size: usize) -> Result<Pop> {
        // SAFETY: the caller's promise.
        unsafe {
            match self.try_fast(to, size) {
                Fast::Done(message) => Ok(Pop::Message(message)),
                Fast::NeedsAfter(message) => {
                    self.after_fast();
                    Ok(Pop::Message(message))
                }
                Fast::Slow => self.slow(to, size),
            }
        }
    }

    /// Pops a short message of a fixed queue if the pop needs only a copy. Otherwise the caller
    /// takes the slow path, which also reports every error.
    ///
    /// It does not check whether the producer has evicted this consumer. After an eviction it may
    /// still pop messages that are not overwritten yet. The consumer detects the eviction when it
    /// next publishes its position or takes the slow path.
    ///
    /// # Safety
    /// As [`Consumer::pop_raw`].
    #[inline(always)]
    pub(crate) unsafe fn try_fast(&mut self, to: *mut u8, size: usize) -> Fast<Meta> {
        if size < self.fast_len || self.generation.get() != os::fork_generation() {
            return Fast::Slow;
        }
        let Ring::Fixed(reader) = &mut self.ring else {
            return Fast::Slow;
        };
        // SAFETY: writable, by the caller's contract, and the message is short.
        let Some((message, near_full)) = (unsafe { reader.try_fast(to) }) else {
            return Fast::Slow;
        };
        let next = message.sequence.wrapping_add(1);
        // If the ring is not nearly full, `claimed` is at most the capacity minus two blocks ahead,
        // and the published cursor is less than a block behind. So the producer can still announce
        // a block. If `claimed` was stale, the position is published later: at the end of a block
        // (`publish_mask`), or by the slow path when the ring is empty.
        if near_full {
            if let (Some(slot), Some(room)) = (&self.slot, &self.room) {
                // Pairs with `SeeCursor`. This is harmless after an eviction: the producer ignores
                // a slot without a token, and no other consumer can take the slot while this one
                // holds its lock.
                slot.store_cursor_release(Site::Consumed, next);
                // `has_waiters` begins with the light barrier, so the cursor is stored before
                // `blocked` is loaded. If that takes a fence, `after_fast` issues it.
                if room.has_waiters() {
                    return Fast::NeedsAfter(message);
                }
            }
        }
        match next & self.publish_mask {
            0 => Fast::NeedsAfter(message),
            _ => Fast::Done(message),
        }
    }

    /// Completes a pop that returned [`Fast::NeedsAfter`].
    ///
    /// Out of line and in tail position, so that the fast path saves no registers.
    #[cold]
    #[inline(never)]
    pub(crate) fn after_fast(&self) {
        self.publish_position();
    }

    /// The whole pop, with all of its errors, out of line.
    ///
    /// # Safety
    /// As [`Consumer::pop_raw`].
    #[cold]
    #[inline(never)]
    unsafe fn slow(&mut self, to: *mut u8, size: usize) -> Result<Pop> {
        // SAFETY: the caller's promise.
        unsafe { self.slow_inline(to, size) }
    }

    /// The whole pop, with all of its errors, inlined into a function that is out of line itself.
    ///
    /// # Safety
    /// As [`Consumer::pop_raw`].
    #[inline(always)]
    pub(crate) unsafe fn slow_inline(&mut self, to: *mut u8, size: usize) -> Result<Pop> {
        // SAFETY: the caller's promise.
        let pop = unsafe { self.take(to, size) }?;
        match pop {
            // After a loss, a sequence with zeroes under the mask may never come.
            Pop::Message(m)
                if m.sequence.wrapping_add(1) & self.slow_publish_mask != 0 && m.lost == 0 => {}
            _ => self.publish_position(),
        }
        Ok(pop)
    }

    /// Pops, and does not publish the position.
    ///
    /// # Safety
    /// As [`Consumer::pop_raw`].
    #[inline(always)]
    unsafe fn take(&mut self, to: *mut u8, size: usize) -> Result<Pop> {
        self.keep_slot()?;
        // SAFETY: writable, by the caller's contract.
        match unsafe { either!(&mut self.ring, r => r.pop(to, size)) } {
            Ok(pop) if !self.needs_reason(&pop) => Ok(pop),
            Ok(pop) => Ok(match self.found_nothing(pop == Pop::Superseded) {
                Nothing::Yet => Pop::Empty,
                Nothing::Closed => Pop::Closed,
                Nothing::Ever => Pop::Superseded,
            }),
            Err(damage) => Err(damaged(&self.paths, damage)),
        }
    }

    /// Copies up to `count` messages out, `stride` bytes apart, and consumes them. Returns what the
    /// pop of the first message returned, and how many messages were copied.
    ///
    /// The messages follow each other without a gap. A batch ends where messages were lost and, in
    /// a variable queue, where the length changes.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// let mut numbers = [0u64; 10];
    /// // SAFETY: the numbers are writable, and any bytes are valid ones.
    /// let (first, count) = unsafe { q.pop_many_raw(numbers.as_mut_ptr().cast(), 8, 10) }?;
    /// assert_eq!(count, 3);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::pop_raw`].
    ///
    /// # Safety
    /// `to` is writable for `stride * count` bytes.
    pub unsafe fn pop_many_raw(
        &mut self,
        to: *mut u8,
        stride: usize,
        count: usize,
    ) -> Result<(Pop, usize)> {
        if count == 0 {
            return Ok((Pop::Empty, 0));
        }
        if stride >= self.fast_len && self.generation.get() == os::fork_generation() {
            if let Ring::Fixed(reader) = &mut self.ring {
                // SAFETY: the caller's promise; the message is short, and each place has room.
                let (many, first) = unsafe { reader.try_fast_run(to, stride, count) };
                if many > 0 {
                    self.publish_position();
                    return Ok((Pop::Message(first), many));
                }
            }
        }
        // SAFETY: one of the places.
        let first = match unsafe { self.take(to, stride) }? {
            Pop::Message(first) => first,
            none => {
                self.publish_position();
                return Ok((none, 0));
            }
        };
        let length = first.length as usize;
        let mut many = 1;
        while many < count {
            // SAFETY: `many` is below `count`, so this is one of the places.
            let to = unsafe { to.add(many * stride) };
            // SAFETY: as above; the stride has room for the length, which the first message had.
            match unsafe { either!(&mut self.ring, r => r.pop_same_length(to, length)) } {
                Ok(true) => many += 1,
                // The next call reports damage.
                Ok(false) | Err(_) => break,
            }
        }
        self.publish_position();
        Ok((Pop::Message(first), many))
    }

    /// Copies up to `buffer.len() / size` messages into `buffer`, `size` bytes apart, and consumes
    /// them. Returns how many, and the meta of the first.
    ///
    /// The messages follow each other without a gap. A batch ends where messages were lost and, in
    /// a variable queue, where the length changes.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// let mut buffer = [0; 10 * 8];
    /// let (count, first) = q.pop_many(&mut buffer, 8)?.unwrap();
    /// assert_eq!((count, first.sequence), (3, 0));
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::pop`]; [`Error::Invalid`] if `size` is 0.
    pub fn pop_many(&mut self, buffer: &mut [u8], size: usize) -> Result<Option<(usize, Meta)>> {
        if size == 0 {
            return Err(Error::Invalid(
                "the size of each message is 0 bytes: it has to be at least 1".into(),
            ));
        }
        // SAFETY: the buffer has room for this many messages.
        match unsafe { self.pop_many_raw(buffer.as_mut_ptr(), size, buffer.len() / size) }? {
            (Pop::Message(first), many) => Ok(Some((many, first))),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(self.not_popped(other, size)),
        }
    }

    /// Moves this consumer to `sequence`, which is at most the sequence of the next message to be
    /// pushed. Messages that are no longer retained count as lost. The counts of
    /// [`Consumer::stats`] start again.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// q.seek(2)?;
    /// assert_eq!(q.next_sequence(), 2);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if the sequence is beyond what was pushed; the position does not change.
    pub fn seek(&mut self, sequence: u64) -> Result<()> {
        let begun = self.begin(Start::At(sequence));
        if let Some(watch) = &self.watch {
            let _no = NoCancel::new();
            watch.disarm();
        }
        begun
    }

    /// The sequence of the next message.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(q.next_sequence(), 0);
    /// ```
    pub fn next_sequence(&self) -> u64 {
        either!(&self.ring, r => r.next())
    }

    /// The length of the longest message that the producer can push, in bytes.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let mut buffer = vec![0; q.max_message()];
    /// assert!(q.pop(&mut buffer)?.is_none());
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn max_message(&self) -> usize {
        self.geometry.max_message() as usize
    }

    /// The absolute path of the data file, as resolved when the queue was opened.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(q.path(), out.path());
    /// ```
    pub fn path(&self) -> &std::path::Path {
        &self.paths.path
    }

    /// The shape of the queue.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(q.geometry().message_size, 8);
    /// ```
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The record schema of the messages, if the queue has one.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert!(q.schema().is_none());
    /// ```
    pub fn schema(&self) -> Option<&Schema> {
        self.schema.as_deref()
    }

    /// Statistics of the queue and of this consumer.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&[0; 8])?;
    /// let stats = q.stats()?;
    /// assert_eq!((stats.pushed, stats.lag), (1, 1));
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn stats(&self) -> Result<Stats> {
        self.stats_with(&self.consumers()?)
    }

    /// As [`Consumer::stats`], if the caller has the list of consumers already.
    pub(crate) fn stats_with(&self, consumers: &[ConsumerInfo]) -> Result<Stats> {
        let _no = NoCancel::new();
        let figures = either!(&self.ring, r => {
            r.frames().frontier().and_then(|f| Ok((f, r.frames().oldest()?)))
        });
        let (pushed, oldest) = figures.map_err(|d| damaged(&self.paths, d))?;
        let (received, lost) = either!(&self.ring, r => r.counts());
        let memory = *either!(&self.ring, r => r.frames().memory());
        Ok(Stats {
            pushed,
            received,
            lost,
            lag: pushed.wrapping_sub(self.next_sequence()),
            oldest,
            capacity: self.geometry.capacity,
            message_size: self.geometry.message_size,
            max_message: self.geometry.max_message(),
            delivery: self.geometry.delivery,
            epoch: memory.load_relaxed(Field::Epoch) as u32,
            consumers: consumers.len() as u32,
            producer_alive: open::is_alive(&self.region),
            closed: matches!(
                memory.load_relaxed(Field::State),
                state::CLOSED | state::SUPERSEDED_CLOSED
            ),
            id: self.geometry.id,
            unlinked: !self
                .region
                .is_named(&self.paths.dir, &self.paths.data)
                .unwrap_or(true),
        })
    }

    /// The room that unread messages take in the ring, in the unit of the capacity: messages
    /// (fixed) or bytes (variable). The result is more than the capacity if some of these messages
    /// are lost.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(crate) fn in_use(&self) -> Result<u64> {
        let end = match &self.ring {
            Ring::Fixed(r) => r.frames().frontier(),
            Ring::Variable(r) => r.frames().front().map(|(position, _)| position),
        };
        let end = end.map_err(|d| damaged(&self.paths, d))?;
        Ok(end.wrapping_sub(either!(&self.ring, r => r.frames().cursor())))
    }

    /// The attached consumers, the slowest first. The list does not contain observers, nor the
    /// consumers of a lossy queue that have no permission to write its control file. The call makes
    /// a system call for each consumer.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(q.consumers()?.len(), 1);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        let pushed = either!(&self.ring, r => r.frames().frontier());
        let pushed = pushed.map_err(|d| damaged(&self.paths, d))?;
        self.publish_position();
        Ok(match &self.control {
            Some(control) => control.consumers(&self.paths, pushed),
            None => Vec::new(),
        })
    }

    /// The queue's name, for error texts.
    #[cfg(feature = "typed")]
    pub(in crate::queue) fn shown(&self) -> impl std::fmt::Display + use<'_> {
        self.paths.shown()
    }

    /// The error text for an empty queue. It is made once and kept, because an empty queue is
    /// common.
    pub(crate) fn empty_text(&self) -> &Text {
        let text = || format!("{}: the queue has no new message", self.paths.shown()).into();
        self.empty.get_or_init(text)
    }

    /// Identifies the text of `empty_text`. No other consumer of this process has the same number.
    #[cfg(feature = "capi")]
    #[inline(always)]
    pub(crate) fn empty_number(&self) -> u64 {
        self.number
    }

    /// The error for a pop or a peek that ended without a message. Callers must not pass
    /// `Pop::Message` or `Pop::Empty`, which are results and not errors.
    #[cold]
    pub(crate) fn not_popped(&self, pop: Pop, size: usize) -> Error {
        let shown = self.paths.shown();
        match pop {
            Pop::Message(_) | Pop::Empty => Error::Internal(self.empty_text().clone()),
            Pop::Closed => Error::Closed(
                format!(
                    "{shown}: the producer has closed the queue, and this consumer has consumed \
                     everything in it"
                )
                .into(),
            ),
            Pop::Superseded => Error::Replaced(
                format!(
                    "{shown}: the queue was replaced or removed, and this consumer has consumed \
                     everything in it: open it again"
                )
                .into(),
            ),
            Pop::TooSmall(message) => Error::MessageSize(
                format!(
                    "{shown}: the next message has {} bytes, but the buffer has {size}",
                    message.length
                )
                .into(),
            ),
        }
    }

    fn begin(&mut self, start: Start) -> Result<()> {
        match self.join(Some(start))? {
            true => Ok(()),
            false => {
                let pushed = either!(&self.ring, r => r.frames().frontier()).unwrap_or(0);
                let wanted = match start {
                    Start::At(sequence) => sequence,
                    _ => pushed,
                };
                Err(Error::Invalid(
                    format!(
                        "{}: message {wanted} does not exist yet: {pushed} were pushed so far",
                        self.paths.shown()
                    )
                    .into(),
                ))
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _no = NoCancel::new();
        // The slot first, because the producer looks at it when it wakes.
        self.slot = None;
        if let Some(room) = &self.room {
            wakeup::notify(room);
        }
    }
}
