//! The consuming handle.

use super::files::{self, Observed};
use super::options::ConsumerOptions;
use super::sleep::{self, Sleeper, Ticket};
use super::watch::{Look, Watch};
use super::{Message, Stats};
use crate::control::Control;
use crate::error::{Error, Result, Text};
use crate::layout::{state, Framing, Geometry};
use crate::memory::{Field, Mapped, Memory, Site};
use crate::name::Paths;
use crate::registry::{ConsumerInfo, Seat};
use crate::ring::gate::{self, Seat as _};
use crate::ring::{Damage, FixedReader, Frames, Place, Pop, Reader, Shape, Start, VariableReader};
use crate::schema::Schema;
use crate::shm::Region;
use crate::sys::{self, NoCancel};
use crate::wait::{self, Bell as _, SharedBell};
use std::cell::{Cell, OnceCell};
use std::ffi::OsStr;
use std::os::fd::RawFd;
#[cfg(feature = "capi")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// How many messages a consumer takes before it shows again how far it is, unless it finds the ring
/// empty. In a lossless queue it is at most a block; and where the ring is nearly full every
/// message is shown, so that a producer that waits gets room at once.
///
/// A lossless pop that showed every message took 1.6 times as long, and the producer, which
/// looks, and the consumer took the line with the cursor from each other.
const TELL: u64 = 64;

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

/// What it means that no message was found. (Small, so that a pop keeps its result in registers.)
enum Nothing {
    /// There is none yet.
    Yet,
    /// The producer has closed the queue.
    Closed,
    /// Nobody can push into this queue any more.
    Ever,
}

/// What was told if nothing was. (Or it was that sequence: then it is told once less.)
const NOTHING: u64 = u64::MAX;

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
    room: Option<SharedBell>,
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

impl Consumer {
    /// What to open with; see [`ConsumerOptions`].
    pub fn options() -> ConsumerOptions {
        ConsumerOptions::default()
    }

    pub(super) fn open_with(name: &OsStr, options: &ConsumerOptions) -> Result<Consumer> {
        let _no = NoCancel::new();
        let (paths, observed) = files::observe(name, options)?;
        let Observed {
            region,
            geometry,
            schema,
            epoch,
            control,
            seat,
        } = observed;
        let (memory, mut shape) = (files::mapped(&region, &geometry), Shape::of(&geometry));
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
            generation: Cell::new(sys::fork_generation()),
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
    #[doc(hidden)]
    #[inline(always)]
    pub unsafe fn pop_quickly(&mut self, to: *mut u8, size: usize) -> Option<(Message, bool)> {
        if size < self.quick || self.generation.get() != sys::fork_generation() {
            return None;
        }
        let Ring::Fixed(reader) = &mut self.ring else {
            return None;
        };
        // SAFETY: writable, says the caller, and the message is short.
        unsafe { reader.pop_short(to) }
    }

    /// To be called with each message that was popped quickly; returns its length.
    #[doc(hidden)]
    #[inline(always)]
    pub fn popped_quickly(&self, message: Message, crowded: bool) -> i64 {
        if crowded {
            if let (Some(seat), Some(room)) = (&self.seat, &self.room) {
                // Partner: `SeeCursor`.
                seat.consumed(Site::Consumed, message.sequence.wrapping_add(1));
                if room.is_flagged() {
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
            Err(damage) => Err(super::damaged(&self.paths, damage)),
        }
    }

    /// Whether it has to be found out what it means that no message was found.
    #[inline(always)]
    fn heeds(&self, found: &Pop) -> bool {
        match found {
            Pop::Message(_) | Pop::TooSmall(_) | Pop::Closed => false,
            Pop::Empty => self.heeds_empty,
            Pop::Superseded => true,
        }
    }

    /// What it means that no message was found.
    #[cold]
    #[inline(never)]
    fn found_nothing(&mut self, superseded: bool) -> Nothing {
        let _no = NoCancel::new();
        if superseded && self.has_lost_name() {
            return Nothing::Ever;
        }
        if superseded && self.was_closed() {
            return Nothing::Closed;
        }
        if self.watch.is_some() {
            // A descriptor that became readable for this, perhaps.
            self.seek_end(SEEK_END_EVERY);
            if !self.gone {
                self.watch_on();
            }
        }
        match self.gone {
            true => Nothing::Ever,
            false => Nothing::Yet,
        }
    }

    /// A producer is about to give the name of this queue to another, but has not done so yet:
    /// whether the queue was closed before.
    fn was_closed(&self) -> bool {
        let memory = either!(&self.ring, r => r.frames().memory());
        memory.load(Field::State) == state::SUPERSEDED_CLOSED
    }

    /// Whether the name of the queue leads elsewhere by now. If that cannot be found out, it does.
    fn has_lost_name(&mut self) -> bool {
        if !self.gone
            && self
                .region
                .is_named(&self.paths, &self.paths.data)
                .unwrap_or(false)
        {
            return false;
        }
        self.is_gone();
        true
    }

    fn is_gone(&mut self) {
        self.gone = true;
        self.heeds_empty = true;
    }

    /// Looks whether anybody can still push into this queue, if it has not looked for so long.
    fn seek_end(&mut self, every: Duration) {
        let now = sys::now();
        if self.gone || now < self.sought + every {
            return;
        }
        self.sought = now;
        if is_at_its_end(&self.region, &self.paths) {
            self.is_gone();
        }
    }

    /// As [`Consumer::pop`], but waits for a message, at most for `timeout` (`Duration::MAX`: for
    /// ever), asleep. With a `timeout` of zero this is a pop that says [`Error::TimedOut`] where
    /// that says `None`.
    ///
    /// # Errors
    /// As [`Consumer::pop`], and as [`Consumer::wait`].
    pub fn pop_wait(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<Message> {
        // SAFETY: a mutable slice is writable.
        match unsafe { self.pop_wait_raw(buffer.as_mut_ptr(), buffer.len(), timeout) }? {
            Pop::Message(message) => Ok(message),
            other => Err(self.not_popped(other, buffer.len())),
        }
    }

    /// As [`Consumer::pop_wait`], to a pointer, with all outcomes told apart; [`Pop::Empty`] is
    /// none of them.
    ///
    /// # Safety
    /// `to` is writable for `size` bytes.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Interrupted`], [`Error::Damaged`].
    pub unsafe fn pop_wait_raw(
        &mut self,
        to: *mut u8,
        size: usize,
        timeout: Duration,
    ) -> Result<Pop> {
        // SAFETY: writable, says the caller.
        let look = |c: &mut Consumer| match unsafe { c.pop_raw(to, size) }? {
            Pop::Empty => Ok(None),
            other => Ok(Some(other)),
        };
        sleep::until(self, timeout, look)
    }

    /// Waits until there is a message, at most for `timeout`; `Duration::MAX` is for ever.
    ///
    /// It looks a few hundred times and then sleeps in the kernel, without use of the processor,
    /// until the producer pushes. For that it needs to write the control file; where it may not,
    /// it looks again after 0.1 to 4 ms, the longer the longer it waits, which takes some
    /// thousandths of a processor and delays a message by as much.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::Interrupted`] if a signal arrived; [`Error::Closed`],
    /// [`Error::Stale`], [`Error::Damaged`] as the pop that would follow.
    pub fn wait(&mut self, timeout: Duration) -> Result<()> {
        let look = |c: &mut Consumer| match c.peek_raw()? {
            (Pop::Message(_), _) => Ok(Some(())),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(c.not_popped(other, 0)),
        };
        sleep::until(self, timeout, look)
    }

    /// A descriptor for `poll`, `epoll` and the like: it becomes readable when there is a message,
    /// or when the queue is at its end, and stays so until a pop (or peek, or wait) finds nothing.
    /// So pop until there is nothing, then poll. It may be readable though nothing is there.
    ///
    /// It belongs to this handle and is closed with it; only ever poll it. A thread, which the
    /// handles of a process share, watches the queues; where this one may not be woken (see
    /// [`Consumer::wait`]), or before Linux 5.16, that thread looks every few milliseconds. After a
    /// `fork` it is the parent's, and the child asks for one of its own.
    ///
    /// # Errors
    /// [`Error::Os`] if there are too many descriptors or threads.
    pub fn fd(&mut self) -> Result<RawFd> {
        let _no = NoCancel::new();
        if !self.watch.as_ref().is_some_and(Watch::is_own) {
            self.watch = None;
            self.watch = Some(Watch::new(&self.paths)?);
            self.heeds_empty = true;
            // Where nothing is there it is not readable.
            self.is_ready();
        }
        Ok(self.watch.as_ref().map_or(-1, Watch::fd))
    }

    /// Nothing was found: the descriptor tells when there is something.
    #[cold]
    fn watch_on(&mut self) {
        let Some(watch) = &self.watch else { return };
        if watch.is_settled() {
            return;
        }
        let (sleeper, ring) = (&mut self.sleeper, &self.ring);
        let memory = *either!(ring, r => r.frames().memory());
        watch.arm(|| {
            let epoch = || memory.load(Field::Epoch);
            let mut ticket = [sleeper.ask(&self.region, epoch, &self.paths, &self.geometry)];
            Ticket::confirm(&mut ticket);
            let [ticket] = ticket;
            // The copy keeps the mapping, in which it only looks.
            let mut ring = ring.clone();
            let (region, paths) = (self.region.clone(), self.paths.clone());
            let look: Look = Box::new(move |idle| match either!(&mut ring, r => r.peek()) {
                Ok((Pop::Empty, _)) => idle && is_at_its_end(&region, &paths),
                Ok((Pop::Superseded, _)) => !region.is_named(&paths, &paths.data).unwrap_or(false),
                _ => true,
            });
            (ticket, look)
        });
    }

    /// Whether a pop would give something else than nothing.
    pub(super) fn is_ready(&mut self) -> bool {
        !matches!(self.peek_raw(), Ok((Pop::Empty, _)))
    }

    /// Asks the producer to wake this consumer, for those that wait in their own way:
    /// [`Ticket::confirm`] it, look once more, and only then sleep.
    #[doc(hidden)]
    pub fn ask(&mut self) -> Ticket {
        self.tell();
        self.set_asleep(true);
        // A caller that waits in its own way asks before each sleep, and has found nothing.
        self.seek_end(SEEK_END_EVERY);
        let memory = *either!(&self.ring, r => r.frames().memory());
        self.sleeper.ask(
            &self.region,
            || memory.load(Field::Epoch),
            &self.paths,
            &self.geometry,
        )
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
        if stride >= self.quick && self.generation.get() == sys::fork_generation() {
            if let Ring::Fixed(reader) = &mut self.ring {
                // SAFETY: the caller's promise; the message is short, and each place has room.
                let (many, first) = unsafe { reader.pop_run(to, stride, count) };
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
            match unsafe { either!(&mut self.ring, r => r.pop_alike(to, length)) } {
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

    /// Gives the next message in place, without a copy; `None` if there is none yet. Nothing is
    /// consumed before [`View::release`].
    ///
    /// In a lossless queue the bytes do not change before that (unless this consumer is an observer,
    /// or is evicted). In a lossy one they may be overwritten while they are looked at, which
    /// [`View::release`] tells.
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    pub fn peek(&mut self) -> Result<Option<View<'_>>> {
        match self.peek_raw()? {
            (Pop::Message(message), data) => Ok(Some(View {
                consumer: self,
                data,
                message,
            })),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(self.not_popped(other, 0)),
        }
    }

    /// Gives up to `most` messages in place, as many as there are and as lie side by side in the ring:
    /// in a fixed queue those up to its end, in a variable one a single message. `None` if there is
    /// none yet. Nothing is consumed before [`Run::release`]; what [`Consumer::peek`] says of one
    /// message holds for all of them.
    ///
    /// # Errors
    /// As [`Consumer::pop`]; [`Error::Invalid`] for a `most` of 0.
    pub fn peek_many(&mut self, most: usize) -> Result<Option<Run<'_>>> {
        if most == 0 {
            return Err(Error::Invalid("a run of 0 messages".into()));
        }
        match self.peek_many_raw(most)? {
            (Pop::Message(first), data, count) => Ok(Some(Run {
                consumer: self,
                data,
                first,
                count,
            })),
            (Pop::Empty, ..) => Ok(None),
            (other, ..) => Err(self.not_popped(other, 0)),
        }
    }

    /// As [`Consumer::peek`], for [`Consumer::release_raw`] to end.
    ///
    /// # Errors
    /// [`Error::Damaged`] only.
    #[inline]
    pub fn peek_raw(&mut self) -> Result<(Pop, *const u8)> {
        self.peeked(|c| either!(&mut c.ring, r => r.peek()))
    }

    /// As [`Consumer::peek_many`], for [`Consumer::release_many_raw`] to end: with the first message
    /// its place, and how many there are, each [`Consumer::stride`] bytes after the last.
    ///
    /// # Errors
    /// [`Error::Damaged`] only.
    pub fn peek_many_raw(&mut self, most: usize) -> Result<(Pop, *const u8, usize)> {
        let mut count = 0;
        let (pop, data) = self.peeked(|c| {
            let (pop, place, many) = either!(&mut c.ring, r => r.peek_many(most as u64))?;
            count = many as usize;
            Ok((pop, place))
        })?;
        Ok((pop, data, count))
    }

    #[inline(always)]
    fn peeked(
        &mut self,
        peek: impl FnOnce(&mut Consumer) -> std::result::Result<(Pop, Place), Damage>,
    ) -> Result<(Pop, *const u8)> {
        self.keep_seat()?;
        match peek(self) {
            Ok((mut pop, place)) => {
                if pop == Pop::Empty {
                    self.tell();
                }
                if self.heeds(&pop) {
                    pop = match self.found_nothing(pop == Pop::Superseded) {
                        Nothing::Yet => Pop::Empty,
                        Nothing::Closed => Pop::Closed,
                        Nothing::Ever => Pop::Superseded,
                    };
                }
                Ok((pop, self.address(place)))
            }
            Err(damage) => Err(super::damaged(&self.paths, damage)),
        }
    }

    /// Bytes from one message of a run to the next; 0 in a variable queue, where a run is one message.
    pub fn stride(&self) -> usize {
        self.geometry.stride as usize
    }

    /// Consumes the message with this sequence, which is being peeked at.
    ///
    /// # Errors
    /// [`Error::Stale`] if it was overwritten meanwhile: what was computed from it is to be thrown
    /// away, and it counts as lost. [`Error::Invalid`] if it is not being peeked at.
    pub fn release_raw(&mut self, sequence: u64) -> Result<()> {
        self.release_many_raw(sequence, 1)
    }

    /// Consumes the first `count` messages of the run that begins with this sequence.
    ///
    /// # Errors
    /// As [`Consumer::release_raw`]; if one was overwritten, none is consumed, and what was lost is
    /// what being overtaken loses.
    #[inline]
    pub fn release_many_raw(&mut self, sequence: u64, count: usize) -> Result<()> {
        let released = either!(&mut self.ring, r => r.release_many(sequence, count as u64));
        self.tell();
        match released {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err(Error::Stale(
                format!(
                    "{}: message {sequence} was overwritten while it was looked at",
                    self.paths.shown()
                )
                .into(),
            )),
            Ok(None) => Err(Error::Invalid(
                format!(
                    "{}: message {sequence} is not being peeked at",
                    self.paths.shown()
                )
                .into(),
            )),
            Err(damage) => Err(super::damaged(&self.paths, damage)),
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
        let (pushed, oldest) = figures.map_err(|d| super::damaged(&self.paths, d))?;
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
            epoch: memory.load(Field::Epoch) as u32,
            consumers: consumers.len() as u32,
            producer_alive: files::is_alive(&self.region),
            closed: matches!(
                memory.load(Field::State),
                state::CLOSED | state::SUPERSEDED_CLOSED
            ),
            id: self.geometry.id,
            unlinked: !self
                .region
                .is_named(&self.paths, &self.paths.data)
                .unwrap_or(true),
        })
    }

    /// How much of the ring the messages take that were pushed and not consumed, in the unit of its
    /// capacity. More than the capacity if some of them are lost.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    #[doc(hidden)]
    pub fn in_use(&self) -> Result<u64> {
        let end = match &self.ring {
            Ring::Fixed(r) => r.frames().frontier(),
            Ring::Variable(r) => r.frames().front().map(|(position, _)| position),
        };
        let end = end.map_err(|d| super::damaged(&self.paths, d))?;
        Ok(end.wrapping_sub(either!(&self.ring, r => r.frames().cursor())))
    }

    /// The consumers attached and known, the slowest first: all of a lossless queue, of a lossy
    /// one those that may write its control file; but no observers. Costs a system call each.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        let pushed = either!(&self.ring, r => r.frames().frontier());
        let pushed = pushed.map_err(|d| super::damaged(&self.paths, d))?;
        self.tell();
        Ok(match &self.control {
            Some(control) => control.consumers(&self.paths, pushed),
            None => Vec::new(),
        })
    }

    /// Shows how far this consumer is, and gives the producer of a lossless queue what is behind.
    #[inline(always)]
    fn tell(&self) {
        // What spins on an empty queue tells nothing new.
        let next = self.next_sequence();
        if self.told.replace(next) == next {
            return;
        }
        if let Some(seat) = &self.seat {
            if self.lossless && !seat.is_held() {
                // No short way until there is a seat again.
                self.generation.set(sys::fork_generation().wrapping_sub(1));
            }
            if seat.is_own() {
                let (cursor, sequence, lost) =
                    either!(&self.ring, r => (r.frames().cursor(), r.next(), r.counts().1));
                seat.tell(cursor, sequence, lost);
                if let Some(room) = &self.room {
                    wait::notify(room);
                }
            }
        }
    }

    /// Out of line, for it is rare, and the last thing that is done, so that nothing has to be kept
    /// in registers meanwhile.
    #[cold]
    #[inline(never)]
    extern "C" fn tell_now_and_then(&self, length: u32) -> i64 {
        self.tell();
        length.into()
    }

    fn set_asleep(&self, asleep: bool) {
        if let Some(seat) = &self.seat {
            seat.set_asleep(asleep);
        }
    }

    /// Says that one who has [asked](Consumer::ask) does not sleep any more.
    #[doc(hidden)]
    pub fn awake(&self) {
        self.set_asleep(false);
    }

    /// Makes sure that the producer of a lossless queue waits for this consumer.
    #[inline(always)]
    fn keep_seat(&mut self) -> Result<()> {
        if self.lossless && !self.has_seat() {
            self.rejoin()?;
        }
        self.generation.set(sys::fork_generation());
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
            return Err(files::registry_full(&self.paths, &self.geometry));
        }
        self.join(None).map(|_| ())
    }

    fn join(&mut self, start: Option<Start>) -> Result<bool> {
        let joined = match (&self.seat, start) {
            (Some(seat), start) => either!(&mut self.ring, r => gate::join(r, seat, start)),
            (None, Some(start)) => either!(&mut self.ring, r => r.begin(start)),
            (None, None) => Ok(true),
        };
        self.told.set(NOTHING);
        self.tell();
        joined.map_err(|d| super::damaged(&self.paths, d))
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

    fn address(&self, place: Place) -> *const u8 {
        let memory = either!(&self.ring, r => r.frames().memory());
        // SAFETY: a place is in the ring.
        unsafe { memory.at(place.offset) }
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

/// What wakes a producer that waits for room. It is used for as long as the control file is kept.
fn room(control: &Control) -> SharedBell {
    // SAFETY: both are mapped for as long as the control file.
    unsafe { SharedBell::to_ring(control.blocked(), control.room()) }
}

impl sleep::Waits for Consumer {
    fn ask(&mut self, tickets: &mut Vec<Ticket>) {
        tickets.push(Consumer::ask(self));
    }

    fn late(&mut self) {
        self.seek_end(Duration::ZERO);
    }

    fn awake(&mut self) {
        Consumer::awake(self);
    }

    fn shown(&mut self) -> String {
        self.paths.shown().to_string()
    }

    fn timed_out(&mut self, timeout: Duration) -> Error {
        Error::TimedOut(match timeout.is_zero() {
            true => self.empty_text().clone(),
            false => format!("{}: no message came within {timeout:?}", self.paths.shown()).into(),
        })
    }
}

/// How often a descriptor that is readable for nothing makes a consumer look for the end.
const SEEK_END_EVERY: Duration = Duration::from_millis(500);

/// Whether nobody can push into a queue any more: a producer finds it by its name, which leads
/// elsewhere, and it has none.
fn is_at_its_end(region: &Region, paths: &Paths) -> bool {
    matches!(region.is_named(paths, &paths.data), Ok(false)) && !files::is_alive(region)
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _no = NoCancel::new();
        // First the seat, then the call to those who wait for it.
        self.seat = None;
        if let Some(room) = &self.room {
            wait::notify(room);
        }
    }
}

/// A message in place. It borrows the consumer until it is released; dropping it instead leaves the
/// message to be popped or peeked at again.
#[derive(Debug)]
pub struct View<'a> {
    consumer: &'a mut Consumer,
    data: *const u8,
    message: Message,
}

impl View<'_> {
    /// The message's sequence, its length, and what was lost before it.
    pub fn message(&self) -> Message {
        self.message
    }

    /// Where the bytes are, [`Message::length`] of them, aligned to 8 bytes (16 in a variable
    /// queue). The producer of a lossy queue, or one that evicts, may overwrite them at any time, so they are read
    /// through this pointer and never turned into a reference.
    pub fn as_ptr(&self) -> *const u8 {
        self.data
    }

    /// Copies a part of the message. What was copied is the message's only if
    /// [`View::release`] says so.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond its end.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        // SAFETY: the message lies in the mapped ring.
        unsafe { read_part(self.data, self.message.length as usize, offset, buffer) }
    }

    /// Consumes the message.
    ///
    /// # Errors
    /// [`Error::Stale`] if it was overwritten meanwhile: what was computed from it is to be thrown
    /// away, and it counts as lost.
    pub fn release(self) -> Result<()> {
        self.consumer.release_raw(self.message.sequence)
    }
}

// SAFETY: the pointer belongs to the consumer that the view borrows, which is `Send`.
unsafe impl Send for View<'_> {}

/// Messages side by side in place. It borrows the consumer until it is released; dropping it instead
/// leaves them to be popped or peeked at again.
#[derive(Debug)]
pub struct Run<'a> {
    consumer: &'a mut Consumer,
    data: *const u8,
    first: Message,
    count: usize,
}

impl Run<'_> {
    /// About the first message. The others follow it without a gap and have its length.
    pub fn first(&self) -> Message {
        self.first
    }

    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes from one message to the next; 0 in a variable queue, where there is one.
    pub fn stride(&self) -> usize {
        self.consumer.stride()
    }

    /// Where the bytes of the first are; see [`View::as_ptr`].
    pub fn as_ptr(&self) -> *const u8 {
        self.data
    }

    /// Copies a part of the message with this index. What was copied is the message's only if
    /// [`Run::release`] says so.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond its end, and beyond the last message.
    pub fn read(&self, index: usize, offset: usize, buffer: &mut [u8]) -> Result<()> {
        if index >= self.count {
            return Err(Error::OutOfRange(
                format!("message {index} of a run of {}", self.count).into(),
            ));
        }
        let length = self.first.length as usize;
        // SAFETY: the message lies in the mapped ring.
        unsafe { read_part(self.data.add(index * self.stride()), length, offset, buffer) }
    }

    /// Consumes them all.
    ///
    /// # Errors
    /// [`Error::Stale`] if one was overwritten meanwhile: what was computed from them is to be thrown
    /// away. None is consumed then; what was lost is what being overtaken loses.
    pub fn release(self) -> Result<()> {
        self.consumer
            .release_many_raw(self.first.sequence, self.count)
    }
}

// SAFETY: as for `View`.
unsafe impl Send for Run<'_> {}

/// Copies a part of a message of `length` bytes.
///
/// # Safety
/// `message` is in a mapped ring for so many bytes.
unsafe fn read_part(
    message: *const u8,
    length: usize,
    offset: usize,
    buffer: &mut [u8],
) -> Result<()> {
    let wanted = buffer.len();
    match offset.checked_add(wanted) {
        Some(end) if end <= length => {
            // SAFETY: inside the message, says the caller.
            unsafe {
                crate::memory::copy_from_shared(buffer.as_mut_ptr(), message.add(offset), wanted)
            };
            Ok(())
        }
        _ => Err(Error::OutOfRange(
            format!("{wanted} bytes at {offset} of a message of {length}").into(),
        )),
    }
}
