//! Edge cases: buffers that end at the end of a page, and a lossless ring that is full to its last
//! message.

mod common;

use common::*;
use ipcq::{Consumer, Delivery, Error, Pop};
use std::time::Duration;

/// Memory with inaccessible pages before and after it.
struct Fenced {
    base: *mut u8,
    page: usize,
}

impl Fenced {
    fn new() -> Fenced {
        // SAFETY: a new mapping, of which only the middle is accessed.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let (kind, none) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::PROT_NONE);
            let all = libc::mmap(std::ptr::null_mut(), 6 * page, none, kind, -1, 0);
            assert_ne!(all, libc::MAP_FAILED);
            let base = all.cast::<u8>().add(page);
            let rw = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(base.cast(), 4 * page, rw), 0);
            Fenced { base, page }
        }
    }

    /// A range of `size` bytes that ends before, or starts after, an inaccessible page.
    fn bytes(&self, size: usize, at_the_end: bool) -> *mut u8 {
        assert!(size <= 4 * self.page);
        let at = if at_the_end { 4 * self.page - size } else { 0 };
        self.base.wrapping_add(at)
    }

    fn fill(&self, byte: u8) {
        // SAFETY: the range is the accessible part.
        unsafe { self.base.write_bytes(byte, 4 * self.page) };
    }

    /// Whether only this range was written since `fill`.
    fn is_untouched_but(&self, at: *mut u8, size: usize, byte: u8) -> bool {
        // SAFETY: the range is the accessible part.
        let all = unsafe { std::slice::from_raw_parts(self.base, 4 * self.page) };
        let from = at as usize - self.base as usize;
        all[..from]
            .iter()
            .chain(&all[from + size..])
            .all(|b| *b == byte)
    }
}

#[test]
fn no_byte_outside_a_buffer_is_touched() {
    let (source, target) = (Fenced::new(), Fenced::new());
    for kind in [Kind::Fixed(0), Kind::Variable] {
        for length in (0..=300).chain([1023, 1024, 1025, 2047, 2048, 2049]) {
            if length == 0 && kind == Kind::Fixed(0) {
                continue;
            }
            let dir = Dir::new();
            let name = dir.name("q");
            let (options, stride_of) = match kind {
                Kind::Fixed(_) => (Kind::Fixed(length as u32).options(16), length + 3),
                Kind::Variable => (Kind::Variable.options(1 << 16), length),
            };
            let mut out = options.open(&name).unwrap();
            let mut q = Consumer::options().open(&name).unwrap();
            let mut peeking = Consumer::options().open(&name).unwrap();
            for round in 0..9u64 {
                let at_the_end = round % 2 == 0;
                let from = source.bytes(length, at_the_end);
                let to = target.bytes(length, at_the_end);
                let bytes = message(round, length);
                target.fill(0xa5);
                // SAFETY: the buffer has this many bytes.
                unsafe {
                    from.copy_from_nonoverlapping(bytes.as_ptr(), length);
                    out.push_raw(from, length).unwrap();
                    let Pop::Message(m) = q.pop_raw(to, length).unwrap() else {
                        panic!("nothing")
                    };
                    assert_eq!(
                        (m.sequence as usize % 1000, m.length as usize),
                        (round as usize, length)
                    );
                    assert_eq!(std::slice::from_raw_parts(to, length), &bytes[..]);
                }
                assert!(
                    target.is_untouched_but(to, length, 0xa5),
                    "{kind:?} {length}"
                );
                let mut part = vec![0; length];
                let view = peeking.peek().unwrap().unwrap();
                view.read(0, &mut part).unwrap();
                view.release().unwrap();
                assert_eq!(part, bytes);
            }
            // In batches: messages back to back, and with gaps between them.
            for (stride, at_the_end) in [
                (length, true),
                (length, false),
                (stride_of, true),
                (stride_of, false),
            ] {
                for count in [1, 2, 3, 7] {
                    let size = if stride == 0 {
                        0
                    } else {
                        stride * (count - 1) + length
                    };
                    if size > 4 * source.page {
                        continue;
                    }
                    let (from, to) = (
                        source.bytes(size, at_the_end),
                        target.bytes(size, at_the_end),
                    );
                    target.fill(0x5a);
                    let messages: Vec<_> =
                        (0..count as u64).map(|i| message(i + 77, length)).collect();
                    // SAFETY: the buffer has room for these messages. After the last one, only the
                    // gap is missing.
                    unsafe {
                        for (i, m) in messages.iter().enumerate() {
                            from.add(i * stride)
                                .copy_from_nonoverlapping(m.as_ptr(), length);
                        }
                        assert_eq!(out.push_many_raw(from, stride, count).unwrap(), count);
                        let (pop, many) = q.pop_many_raw(to, stride, count).unwrap();
                        assert!(matches!(pop, Pop::Message(_)));
                        assert_eq!(many, count);
                        for (i, m) in messages.iter().enumerate() {
                            let got = std::slice::from_raw_parts(to.add(i * stride), length);
                            assert_eq!(got, &m[..]);
                            if i + 1 < count {
                                let gap = std::slice::from_raw_parts(
                                    to.add(i * stride + length),
                                    stride - length,
                                );
                                assert!(gap.iter().all(|b| *b == 0x5a), "{length} {stride}");
                            }
                        }
                    }
                    assert!(target.is_untouched_but(to, size, 0x5a), "{kind:?} {length}");
                    let mut buffer = vec![0; length];
                    for m in &messages {
                        peeking.pop(&mut buffer).unwrap().unwrap();
                        assert_eq!(&buffer, m);
                    }
                }
            }
        }
    }
}

/// A lossless queue holds its capacity, minus the messages that a consumer has consumed within a
/// block but not published. If the consumer has found the queue empty, in any way, it holds the
/// whole capacity.
#[test]
fn consumed_messages_become_free_space() {
    type Ways = [(&'static str, fn(&mut Consumer)); 6];
    let ways: Ways = [
        ("stop", |_| ()),
        ("pop", |q| assert_eq!(pop_next(q), Ok(None))),
        ("peek", |q| assert!(q.peek().unwrap().is_none())),
        ("peek_many", |q| assert!(q.peek_many(9).unwrap().is_none())),
        ("wait", |q| {
            assert!(matches!(q.wait(Duration::ZERO), Err(Error::TimedOut(_))))
        }),
        ("wait_any", |q| {
            let found = ipcq::wait_any(&mut [q], Duration::ZERO);
            assert!(matches!(found, Err(Error::TimedOut(_))));
        }),
    ];
    for (size, capacity) in [
        (8, 16),
        (8, 256),
        (64, 1024),
        (128, 4096),
        (200, 4096),
        (8, 1 << 16),
    ] {
        for consumed in [1, 2, 15, 16, 17, 40, 63, 64, 65] {
            for (way, find_nothing) in ways {
                if consumed > capacity {
                    continue;
                }
                let dir = Dir::new();
                let name = dir.name("q");
                let options = Kind::Fixed(size).options(capacity);
                let mut out = options.delivery(Delivery::Lossless).open(&name).unwrap();
                let mut q = Consumer::options().open(&name).unwrap();
                for _ in 0..consumed {
                    push_next(&mut out);
                }
                for _ in 0..consumed {
                    assert_eq!(pop_next(&mut q).unwrap().unwrap().lost, 0);
                }
                find_nothing(&mut q);
                let mut room = 0;
                let bytes = message(0, size as usize);
                while out.push(&bytes).is_ok() {
                    room += 1;
                    assert!(room <= capacity);
                }
                assert!(matches!(out.push(&bytes), Err(Error::Full(_))));
                let shown_by = if way == "stop" && size <= 128 {
                    (capacity / 64).clamp(1, 64)
                } else {
                    1
                };
                assert!(
                    room + shown_by > capacity,
                    "{capacity} of {size} bytes, {consumed} consumed, then {way}: {room} free"
                );
            }
        }
    }
}

/// A consumer that is evicted while it pops on the fast path. No message is torn and the statistics
/// are exact.
#[test]
fn a_consumer_evicted_repeatedly_keeps_exact_statistics() {
    use std::sync::atomic::{AtomicBool, Ordering};
    for (size, capacity) in [(8, 2), (8, 64), (64, 256), (128, 4096), (200, 128)] {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out = Kind::Fixed(size)
            .options(capacity)
            .delivery(Delivery::Lossless)
            .evict_after(Duration::from_micros(100))
            .max_consumers(8)
            .open(&name)
            .unwrap();
        let stop = AtomicBool::new(false);
        let lost = std::thread::scope(|s| {
            let consumers: Vec<_> = (0..3u64)
                .map(|seed| {
                    let mut q = Consumer::options().open(&name).unwrap();
                    let start = q.next_sequence();
                    let stop = &stop;
                    s.spawn(move || {
                        let mut random = Random(seed);
                        let (mut next, mut received, mut lost) = (start, 0u64, 0u64);
                        let mut many = vec![0u8; size as usize * 100];
                        while !stop.load(Ordering::Relaxed) {
                            match random.below(6) {
                                // Longer than the interval at which the producer checks its
                                // consumers.
                                0 => {
                                    std::thread::sleep(Duration::from_micros(random.below(80_000)))
                                }
                                1 => {
                                    let count = 1 + random.below(100) as usize;
                                    let bytes = &mut many[..count * size as usize];
                                    if let Some((n, first)) =
                                        q.pop_many(bytes, size as usize).unwrap()
                                    {
                                        lost += first.lost;
                                        received += n as u64;
                                        assert_eq!(first.sequence, next + first.lost);
                                        for i in 0..n {
                                            let got = &bytes[i * size as usize..][..size as usize];
                                            assert!(is_whole(first.sequence + i as u64, got));
                                        }
                                        next = first.sequence + n as u64;
                                    }
                                }
                                2 => {
                                    if let Some(run) = q.peek_many(40).unwrap() {
                                        let (first, n) = (run.first(), run.count());
                                        let mut part = vec![0; n * size as usize];
                                        for (i, got) in part.chunks_mut(size as usize).enumerate() {
                                            run.read(i, 0, got).unwrap();
                                        }
                                        if run.release().is_ok() {
                                            for (i, got) in part.chunks(size as usize).enumerate() {
                                                assert!(is_whole(first.sequence + i as u64, got));
                                            }
                                            lost += first.lost;
                                            received += n as u64;
                                            assert_eq!(first.sequence, next + first.lost);
                                            next = first.sequence + n as u64;
                                        }
                                    }
                                }
                                _ => {
                                    for _ in 0..random.below(200) {
                                        let Some(m) = pop_next(&mut q).unwrap() else {
                                            break;
                                        };
                                        lost += m.lost;
                                        received += 1;
                                        assert_eq!(m.sequence, next + m.lost);
                                        next = m.sequence + 1;
                                    }
                                }
                            }
                        }
                        // When the producer has stopped.
                        while let Some(m) = pop_next(&mut q).unwrap() {
                            lost += m.lost;
                            received += 1;
                            assert_eq!(m.sequence, next + m.lost);
                            next = m.sequence + 1;
                        }
                        let s = check_accounts(&q, start);
                        assert_eq!((s.received, s.lost, s.lag), (received, lost, 0));
                        assert_eq!(start + received + lost, s.pushed);
                        lost
                    })
                })
                .collect();
            let since = std::time::Instant::now();
            while since.elapsed() < Duration::from_secs(3) {
                for _ in 0..100 {
                    let sequence = out.next_sequence();
                    let bytes = message(sequence, size as usize);
                    out.push_wait(&bytes, Duration::MAX).unwrap();
                }
            }
            stop.store(true, Ordering::Relaxed);
            consumers
                .into_iter()
                .map(|c| c.join().unwrap())
                .sum::<u64>()
        });
        println!(
            "{size} {capacity}: {} pushed, {lost} lost by three consumers",
            out.next_sequence()
        );
        assert!(lost > 0, "no consumer was evicted");
    }
}
