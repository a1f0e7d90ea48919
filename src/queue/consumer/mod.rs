//! The consuming handle.

use crate::error::{Error, Result, Text};
use crate::format::control_file::Control;
use crate::format::data_file::{state, Framing, Geometry};
use crate::format::names::Paths;
use crate::os::Region;
use crate::os::{self, NoCancel};
use crate::queue::errors::damaged;
use crate::queue::open::{self, Observed};
use crate::queue::options::ConsumerOptions;
use crate::queue::poll_fd::Watch;
use crate::queue::registry::{ConsumerInfo, Seat};
use crate::queue::stats::Stats;
use crate::queue::wait::Sleeper;
use crate::queue::Message;
use crate::ring::flow_control::SlotCursor as _;
use crate::ring::{
    Field, FixedReader, FrameReader, Mapped, Memory, Pop, Reader, Shape, Site, Start,
    VariableReader,
};
use crate::schema::Schema;
use crate::wakeup::{self, EventCount as _, SharedEventCount};
use end::Nothing;
use seat::{room, NOTHING, TELL};
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

/// Does the same to either kind of ring.
macro_rules! either {
    ($ring:expr, $reader:ident => $do:expr) => {
        match $ring {
            Ring::Fixed($reader) => $do,
            Ring::Variable($reader) => $do,
        }
    };
}

mod end;
mod seat;
mod view;
mod wait;

/// A consuming handle of a queue. There may be any number; each has its own position and sees
/// every message.
///
/// It may move between threads and is used by one at a time. It maps the ring read-only.
pub struct Consumer {
    ring: Ring,
    geometry: Geometry,
    schema: Option<Box<Schema>>,
    paths: Arc<Paths>,
    sleeper: Sleeper,
    /// The descriptor to poll, if it was asked for.
    watch: Option<Watch>,
    region: Arc<Region>,
    control: Option<Arc<Control>>,
    /// This consumer's slot in it.
    seat: Option<Seat>,
    /// The sequence that it last showed there, or would have; or [`NOTHING`].
    told: Cell<u64>,
    /// The message size, if it is fixed and short; or else more than any buffer has.
    quick: usize,
    /// Where all bits of it are zero in the sequence wanted next, this consumer shows how far it is.
    tell_mask: u64,
    /// The same after a pop that was more than a copy. In a lossless queue that is always.
    slow_tell_mask: u64,
    /// The fork generation this handle last did all that a pop may have to do in.
    generation: Cell<u32>,
    /// Whether the seat holds the producer back.
    lossless: bool,
    /// Lossless: wakes a producer that waits for room.
    room: Option<SharedEventCount>,
    name: String,
    /// Nobody will push into this queue again: its file has lost its name, and it has no producer.
    gone: bool,
    /// When that was last looked for.
    sought: Duration,
    /// Whether finding nothing is more than that: there is a descriptor, or the queue is gone.
    heeds_empty: bool,
    /// What is said of an empty queue, once it was.
    empty: OnceCell<Text>,
    /// Tells this consumer from all others of this process.
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
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), also when the time to wait is over;
    /// [`Error::PermissionDenied`](crate::Error::PermissionDenied),
    /// [`Error::Damaged`](crate::Error::Damaged), [`Error::Version`](crate::Error::Version);
    /// [`Error::SchemaMismatch`](crate::Error::SchemaMismatch);
    /// [`Error::RegistryFull`](crate::Error::RegistryFull) if the queue is lossless and has no
    /// place left, `PermissionDenied` also if its control file may not be written;
    /// [`Error::Invalid`](crate::Error::Invalid) if the start sequence was not pushed yet;
    /// [`Error::Interrupted`](crate::Error::Interrupted) if a signal arrived while waiting.
    pub fn open(&self, name: impl AsRef<OsStr>) -> Result<Consumer> {
        Consumer::open_with(name.as_ref(), self)
    }
}

impl Consumer {
    /// What to open with; see [`ConsumerOptions`].
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
            seat,
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
            quick: geometry.short_message().unwrap_or(usize::MAX),
            geometry,
            schema: schema.map(Box::new),
            paths: Arc::new(paths),
            sleeper,
            watch: None,
            region,
            control,
            seat,
            told: Cell::new(NOTHING),
            tell_mask: match shape.lossless {
                true => TELL.min(shape.block) - 1,
                false => TELL - 1,
            },
            slow_tell_mask: if shape.lossless { 0 } else { TELL - 1 },
            generation: Cell::new(os::fork_generation()),
            lossless: shape.lossless,
            room,
            name: options.name.clone(),
            gone: false,
            sought: Duration::ZERO,
            heeds_empty: false,
            empty: OnceCell::new(),
            // Relaxed: only that they differ counts.
            #[cfg(feature = "capi")]
            number: OPENED.fetch_add(1, Ordering::Relaxed) + 1,
        };
        consumer.begin(options.start)?;
        Ok(consumer)
    }

    /// Copies the next message into `buffer` and consumes it; `None` if there is none yet. Makes no
    /// system call, unless a producer of a lossless queue is asleep until there is room, the consumer
    /// has a descriptor ([`Consumer::fd`]) and finds nothing, or this is the first call in a forked
    /// child.
    ///
    /// In a lossy queue, [`Message::lost`] says how many messages were overwritten between the
    /// last one this consumer consumed and this one.
    ///
    /// # Errors
    /// [`Error::Closed`] if the producer has closed and everything was consumed; a producer may
    /// open the queue again, and then messages come again. [`Error::Stale`] if the queue was
    /// replaced. [`Error::MessageSize`] if the buffer is too small: nothing is consumed.
    /// [`Error::Damaged`].
    #[inline]
    pub fn pop(&mut self, buffer: &mut [u8]) -> Result<Option<Message>> {
        // SAFETY: a mutable slice is writable.
        match unsafe { self.pop_quickly(buffer.as_mut_ptr(), buffer.len()) } {
            Some((message, crowded)) => {
                self.popped_quickly(message, crowded);
                Ok(Some(message))
            }
            None => self.pop_otherwise(buffer),
        }
    }

    #[cold]
    #[inline(never)]
    fn pop_otherwise(&mut self, buffer: &mut [u8]) -> Result<Option<Message>> {
        // SAFETY: a mutable slice is writable.
        match unsafe { self.pop_fully(buffer.as_mut_ptr(), buffer.len()) }? {
            Pop::Message(message) => Ok(Some(message)),
            Pop::Empty => Ok(None),
            other => Err(self.not_popped(other, buffer.len())),
        }
    }

    /// As [`Consumer::pop`], to a pointer, with all outcomes told apart.
    ///
    /// # Safety
    /// `to` is writable for `size` bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::RegistryFull`] if this consumer has lost its place in a
    /// lossless queue (in a forked child, or evicted) and there is none left.
    #[inline(always)]
    pub unsafe fn pop_raw(&mut self, to: *mut u8, size: usize) -> Result<Pop> {
        // SAFETY: the caller's promise.
        unsafe {
            let Some((message, crowded)) = self.pop_quickly(to, size) else {
                return self.pop_slowly(to, size);
            };
            self.popped_quickly(message, crowded);
            Ok(Pop::Message(message))
        }
    }

    /// Pops, if that takes nothing but the copy of a short message of a fixed queue; `None` where
    /// there is anything else to do or to say. [`Consumer::popped_quickly`] comes after it.
    ///
    /// It does not look whether the producer has taken this consumer's seat away. What was not
    /// overwritten since is popped, and then it is seen.
    ///
    /// # Safety
    /// As [`Consumer::pop_raw`].
    #[inline(always)]
    pub(crate) unsafe fn pop_quickly(
        &mut self,
        to: *mut u8,
        size: usize,
    ) -> Option<(Message, bool)> {
        if size < self.quick || self.generation.get() != os::fork_generation() {
            return None;
        }
        let Ring::Fixed(reader) = &mut self.ring else {
            return None;
        };
        // SAFETY: writable, says the caller, and the message is short.
        unsafe { reader.try_fast(to) }
    }

    /// To be called with each message that was popped quickly; returns its length.
    #[inline(always)]
    pub(crate) fn popped_quickly(&self, message: Message, crowded: bool) -> i64 {
        if crowded {
            if let (Some(seat), Some(room)) = (&self.seat, &self.room) {
                // Partner: `SeeCursor`.
                seat.store_cursor_release(Site::Consumed, message.sequence.wrapping_add(1));
                if room.has_waiters() {
                    return self.tell_now_and_then(message.length);
                }
            }
        }
        if message.sequence.wrapping_add(1) & self.tell_mask == 0 {
            return self.tell_now_and_then(message.length);
        }
        message.length.into()
    }

    /// # Safety
    /// As [`Consumer::pop_raw`].
    #[cold]
    #[inline(never)]
    unsafe fn pop_slowly(&mut self, to: *mut u8, size: usize) -> Result<Pop> {
        // SAFETY: the caller's promise.
        unsafe { self.pop_fully(to, size) }
    }

    /// All that a pop may come to.
    ///
    /// # Safety
    /// As [`Consumer::pop_raw`].
    #[inline(always)]
    pub(crate) unsafe fn pop_fully(&mut self, to: *mut u8, size: usize) -> Result<Pop> {
        // SAFETY: the caller's promise.
        let pop = unsafe { self.take(to, size) }?;
        match pop {
            // After a loss the sequence may never be one of those again.
            Pop::Message(m)
                if m.sequence.wrapping_add(1) & self.slow_tell_mask != 0 && m.lost == 0 => {}
            _ => self.tell(),
        }
        Ok(pop)
    }

    /// Pops, and tells nobody.
    ///
    /// # Safety
    /// As [`Consumer::pop_raw`].
    #[inline(always)]
    unsafe fn take(&mut self, to: *mut u8, size: usize) -> Result<Pop> {
        self.keep_seat()?;
        // SAFETY: writable, says the caller.
        match unsafe { either!(&mut self.ring, r => r.pop(to, size)) } {
            Ok(pop) if !self.heeds(&pop) => Ok(pop),
            Ok(pop) => Ok(match self.found_nothing(pop == Pop::Superseded) {
                Nothing::Yet => Pop::Empty,
                Nothing::Closed => Pop::Closed,
                Nothing::Ever => Pop::Superseded,
            }),
            Err(damage) => Err(damaged(&self.paths, damage)),
        }
    }

    /// Copies up to `count` messages out, each to a place `stride` bytes after the last, and
    /// consumes them. Returns how many, and about the first; its `lost` counts what was lost
    /// before it. All follow each other without a gap: a batch ends where messages were lost,
    /// and in a variable queue where the length changes.
    ///
    /// # Errors
    /// [`Error::Damaged`] only.
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
        if stride >= self.quick && self.generation.get() == os::fork_generation() {
            if let Ring::Fixed(reader) = &mut self.ring {
                // SAFETY: the caller's promise; the message is short, and each place has room.
                let (many, first) = unsafe { reader.try_fast_run(to, stride, count) };
                if many > 0 {
                    self.tell();
                    return Ok((Pop::Message(first), many));
                }
            }
        }
        // SAFETY: one of the places.
        let first = match unsafe { self.take(to, stride) }? {
            Pop::Message(first) => first,
            none => {
                self.tell();
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
                // Damage is told by the next call, at the first place.
                Ok(false) | Err(_) => break,
            }
        }
        self.tell();
        Ok((Pop::Message(first), many))
    }

    /// Copies up to `buffer.len() / size` messages of `size` bytes each into `buffer`; see
    /// [`Consumer::pop_many_raw`]. In a variable queue, `size` is the room for each message.
    ///
    /// # Errors
    /// As [`Consumer::pop`]; [`Error::Invalid`] for a `size` of 0.
    pub fn pop_many(&mut self, buffer: &mut [u8], size: usize) -> Result<Option<(usize, Message)>> {
        if size == 0 {
            return Err(Error::Invalid("a size of 0 bytes for each message".into()));
        }
        // SAFETY: the buffer has room for so many messages.
        match unsafe { self.pop_many_raw(buffer.as_mut_ptr(), size, buffer.len() / size) }? {
            (Pop::Message(first), many) => Ok(Some((many, first))),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(self.not_popped(other, size)),
        }
    }

    /// Goes to a sequence, at most the one pushed next; one that is not retained any more becomes
    /// the oldest that is, and what lies between counts as lost. The counts begin anew.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the sequence lies beyond what was pushed; the position is as before.
    pub fn seek(&mut self, sequence: u64) -> Result<()> {
        let begun = self.begin(Start::At(sequence));
        if let Some(watch) = &self.watch {
            let _no = NoCancel::new();
            watch.disarm();
        }
        begun
    }

    /// The sequence of the message wanted next.
    pub fn next_sequence(&self) -> u64 {
        either!(&self.ring, r => r.next())
    }

    /// Bytes of the longest message that can come.
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

    /// Figures of the queue and of this consumer.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn stats(&self) -> Result<Stats> {
        self.stats_with(&self.consumers()?)
    }

    /// As [`Consumer::stats`], where the consumers are known already.
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

    /// How much of the ring the messages take that were pushed and not consumed, in the unit of its
    /// capacity. More than the capacity if some of them are lost.
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

    /// The consumers attached and known, the slowest first: all of a lossless queue, of a lossy
    /// one those that may write its control file; but no observers. Costs a system call each.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        let pushed = either!(&self.ring, r => r.frames().frontier());
        let pushed = pushed.map_err(|d| damaged(&self.paths, d))?;
        self.tell();
        Ok(match &self.control {
            Some(control) => control.consumers(&self.paths, pushed),
            None => Vec::new(),
        })
    }

    /// What is said of an empty queue. It is made once, because it is no more than an answer.
    pub(crate) fn empty_text(&self) -> &Text {
        let text = || format!("{}: the queue has no new message", self.paths.shown()).into();
        self.empty.get_or_init(text)
    }

    /// A number of that text, which no other consumer of this process has.
    #[cfg(feature = "capi")]
    #[inline(always)]
    pub(crate) fn empty_number(&self) -> u64 {
        self.number
    }

    /// The error for a pop or peek that found no message.
    #[cold]
    pub(crate) fn not_popped(&self, pop: Pop, size: usize) -> Error {
        let shown = self.paths.shown();
        match pop {
            Pop::Message(_) | Pop::Empty => Error::Empty(self.empty_text().clone()),
            Pop::Closed => Error::Closed(
                format!(
                    "{shown}: the producer has closed the queue, and this consumer has consumed \
                     everything in it"
                )
                .into(),
            ),
            Pop::Superseded => Error::Stale(
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
                        "{}: there is no message {wanted}: {pushed} were pushed so far",
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
        // First the seat, then the call to those who wait for it.
        self.seat = None;
        if let Some(room) = &self.room {
            wakeup::notify(room);
        }
    }
}
