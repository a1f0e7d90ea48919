//! A consumer that is checked at every step. Its statistics must be consistent regardless of the
//! content of the files.

use crate::Input;
use arbitrary::Result;
use ipcq::{Consumer, Error, Framing, Geometry, Message, Pop, Start};
use std::ops::Range;
use std::time::Duration;

/// Checks that an error is about a queue, and not about this library or the system.
pub fn check_error(e: Error) {
    let internal = matches!(e, Error::Internal(_) | Error::Os(..) | Error::NoSpace(_));
    assert!(!internal, "{e:?}");
}

/// Returns the result, if any, and checks that an error is an allowed one.
pub fn allowed<T>(result: ipcq::Result<T>) -> Option<T> {
    result.map_err(check_error).ok()
}

/// Checks a geometry that the library has accepted for addressing the ring.
pub fn check_geometry(g: &Geometry) {
    assert!(g.max_message() <= g.ring_bytes);
    if g.framing == Framing::Fixed {
        assert!(g.stride % 8 == 0 && g.stride >= g.message_size + 8);
        assert_eq!(g.ring_bytes, g.capacity * u64::from(g.stride));
    } else {
        assert!(g.index_offset + g.index_entries * 16 <= g.ring_offset);
        assert_eq!(
            (g.ring_bytes, g.index_entries),
            (g.capacity, g.capacity / g.block)
        );
    }
}

/// The mapping at this address, without its first page, which contains the header.
fn mapping(address: usize) -> Range<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut ranges = maps.lines().map(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        number(start) + 4096..number(end)
    });
    let found = ranges.find(|range| range.contains(&address));
    found.unwrap_or_else(|| panic!("{address:#x} is not mapped"))
}

/// Checks that the message is inside the ring. Reading beyond it need not raise a signal, because
/// other mappings may follow.
fn check_place(mapped: &mut Option<Range<usize>>, data: *const u8, m: &Message) {
    // The stamp is before the message, and an empty message may be at the very end.
    let (from, to) = (data as usize - 8, data as usize + m.length as usize);
    let mapped = mapped.get_or_insert_with(|| mapping(from));
    assert!(
        mapped.contains(&from) && to <= mapped.end,
        "{m:?} at {from:#x}"
    );
}

/// A consumer with its own statistics.
pub struct Checked {
    q: Consumer,
    /// The sequence that it started at, and the number of messages received since.
    start: u64,
    received: u64,
    /// The sequence after the last consumed message, or the start.
    after: u64,
    /// The mapping of its ring.
    mapped: Option<Range<usize>>,
}

impl Checked {
    pub fn new(q: Consumer, start: Start) -> Checked {
        let begun = match start {
            Start::At(sequence) => sequence,
            _ => q.next_sequence(),
        };
        check_geometry(q.geometry());
        Checked {
            q,
            start: begun,
            received: 0,
            after: begun,
            mapped: None,
        }
    }

    pub fn geometry(&self) -> &Geometry {
        self.q.geometry()
    }

    pub fn next_sequence(&self) -> u64 {
        self.q.next_sequence()
    }

    fn is_fixed(&self) -> bool {
        self.q.geometry().framing == Framing::Fixed
    }

    /// Checks what is known about a message before it counts as consumed.
    fn check(&self, m: &Message) {
        assert_eq!(m.sequence, self.after.wrapping_add(m.lost), "the gap");
        let (length, most) = (m.length as usize, self.q.max_message());
        assert!(length == most || !self.is_fixed() && length < most);
    }

    fn consumed(&mut self, m: &Message, many: usize) {
        self.received = self.received.wrapping_add(many as u64);
        self.after = m.sequence.wrapping_add(many as u64);
        assert_eq!(self.after, self.q.next_sequence());
    }

    /// A buffer for messages. A sanitizer knows where it ends.
    fn buffer(&self, u: &mut Input) -> Result<Vec<u8>> {
        let most = self.q.max_message().min(1 << 16);
        let size = match u.int_in_range(0..=3)? {
            0 | 1 => most,
            2 => u.int_in_range(0..=most)?,
            _ => most + 1,
        };
        Ok(vec![0xa5; size])
    }

    pub fn pop(&mut self, buffer: &mut [u8]) -> ipcq::Result<Option<Message>> {
        let before = self.q.next_sequence();
        let popped = self.q.pop(buffer);
        match &popped {
            Ok(Some(m)) => {
                self.check(m);
                assert!(m.length as usize <= buffer.len());
                self.consumed(m, 1);
            }
            Err(Error::MessageSize(_)) => assert!(buffer.len() < self.q.max_message()),
            _ => assert!(self.q.next_sequence().wrapping_sub(before) <= 1 << 63),
        }
        popped
    }

    fn pop_many(&mut self, u: &mut Input) -> Result<()> {
        let size = match u.int_in_range(0..=2)? {
            0 => self.q.max_message().min(1 << 16),
            1 => u.int_in_range(0..=300)?,
            _ => 1,
        };
        let count = match u.int_in_range(0..=1)? {
            0 => u.int_in_range(0..=40usize)?,
            _ => 300,
        };
        let mut buffer = vec![0xa5; (size * count).min(1 << 17)];
        if let Some(Some((many, m))) = allowed(self.q.pop_many(&mut buffer, size)) {
            assert!(many >= 1 && many <= buffer.len() / size);
            assert!(m.length as usize <= size);
            self.check(&m);
            self.consumed(&m, many);
        }
        Ok(())
    }

    /// Peeks at a message while `meanwhile` runs.
    fn peek(
        &mut self,
        u: &mut Input,
        meanwhile: &mut dyn FnMut(&mut Input) -> Result<()>,
    ) -> Result<()> {
        let align = if self.is_fixed() { 8 } else { 16 };
        let after = self.after;
        let most = self.q.max_message();
        let Some(Some(view)) = allowed(self.q.peek()) else {
            return Ok(());
        };
        let m = view.message();
        assert_eq!(m.sequence, after.wrapping_add(m.lost), "the gap");
        assert!(m.length as usize <= most);
        assert_eq!(view.as_ptr() as usize % align, 0);
        check_place(&mut self.mapped, view.as_ptr(), &m);
        let mut buffer = vec![0; (m.length as usize).min(1 << 16)];
        view.read(0, &mut buffer).unwrap();
        if u.ratio(1, 2)? {
            meanwhile(u)?;
        }
        view.read(m.length as usize - buffer.len(), &mut buffer)
            .unwrap();
        let beyond = view.read(m.length as usize, &mut [0]);
        assert!(matches!(beyond, Err(Error::OutOfRange(_))));
        let given_up = u.ratio(1, 8)?;
        if !given_up && allowed(view.release()).is_some() {
            self.consumed(&m, 1);
        }
        Ok(())
    }

    /// Peeks at the next message and leaves it.
    fn look(&mut self) {
        if let Some((Pop::Message(m), data)) = allowed(self.q.peek_raw()) {
            self.check(&m);
            check_place(&mut self.mapped, data, &m);
        }
    }

    /// Peeks at a message and releases a sequence that may be another one.
    fn release(&mut self, u: &mut Input) -> Result<()> {
        let sequence = match self.q.peek_raw() {
            Ok((Pop::Message(m), _)) => {
                self.check(&m);
                m.sequence
            }
            Ok(_) => self.q.next_sequence(),
            Err(e) => {
                check_error(e);
                return Ok(());
            }
        };
        let other = u64::from(u.int_in_range(0..=4u8)? == 4);
        let sequence = sequence.wrapping_sub(other);
        if allowed(self.q.release_raw(sequence)).is_some() {
            assert_eq!(other, 0);
            self.received = self.received.wrapping_add(1);
            self.after = sequence.wrapping_add(1);
            assert_eq!(self.after, self.q.next_sequence());
        }
        Ok(())
    }

    fn seek(&mut self, to: u64) {
        let before = self.q.next_sequence();
        let pushed = allowed(self.q.stats()).map(|s| s.pushed);
        match self.q.seek(to) {
            Ok(()) => {
                if let Some(pushed) = pushed {
                    assert!(to.wrapping_sub(pushed) as i64 <= 0, "{to} of {pushed}");
                }
                (self.start, self.after, self.received) = (to, to, 0);
            }
            Err(e) => {
                check_error(e);
                assert_eq!(self.q.next_sequence(), before);
            }
        }
    }

    /// Waits for a message for a short time.
    fn wait(&mut self, u: &mut Input) -> Result<()> {
        let time = Duration::from_micros(u.int_in_range(0..=1)?);
        if u.arbitrary()? {
            allowed(self.q.wait(time));
            return Ok(());
        }
        let mut buffer = self.buffer(u)?;
        if let Some(m) = allowed(self.q.pop_wait(&mut buffer, time)) {
            self.check(&m);
            self.consumed(&m, 1);
        }
        Ok(())
    }

    pub fn stats(&mut self) {
        let (g, next) = (*self.q.geometry(), self.q.next_sequence());
        if let Some(s) = allowed(self.q.stats()) {
            let accounted = s.received.wrapping_add(s.lost);
            assert_eq!(s.received, self.received);
            assert_eq!(accounted, next.wrapping_sub(self.start), "received + lost");
            assert_eq!(s.lag, s.pushed.wrapping_sub(next), "lag");
            assert!(s.lag < 1 << 63, "{} pushed, {next} is next", s.pushed);
            let attached = allowed(self.q.consumers()).map(|list| list.len() as u32);
            assert!(s.consumers <= g.max_consumers && attached.is_none_or(|n| n == s.consumers));
        }
        assert_eq!(self.q.next_sequence(), next);
    }

    /// Makes one random call of a consumer. `meanwhile` may run in the middle of it.
    pub fn ask(
        &mut self,
        u: &mut Input,
        meanwhile: &mut dyn FnMut(&mut Input) -> Result<()>,
    ) -> Result<()> {
        match u.int_in_range(0..=8)? {
            0 => {
                let mut buffer = self.buffer(u)?;
                allowed(self.pop(&mut buffer));
            }
            1 => self.pop_many(u)?,
            2 => self.peek(u, meanwhile)?,
            3 => self.release(u)?,
            4 => {
                let by = u64::from(u.arbitrary::<u8>()?);
                let next = self.q.next_sequence();
                self.seek(next.wrapping_add(by).wrapping_sub(128));
            }
            7 => self.wait(u)?,
            5 => self.seek(u.arbitrary()?),
            6 => {
                // Drain the queue, or pop for a while.
                let mut buffer = vec![0; self.q.max_message().min(1 << 16)];
                for _ in 0..u.arbitrary::<u8>()? {
                    self.look();
                    if !matches!(allowed(self.pop(&mut buffer)), Some(Some(_))) {
                        break;
                    }
                }
            }
            _ => self.stats(),
        }
        Ok(())
    }
}

/// A random start for a consumer.
pub fn start(u: &mut Input) -> Result<Start> {
    Ok(match u.int_in_range(0..=4)? {
        0 => Start::Oldest,
        1 => Start::Newest,
        2 => Start::Next,
        3 => Start::At(u64::from(u.arbitrary::<u8>()?)),
        _ => Start::At(u.arbitrary()?),
    })
}
