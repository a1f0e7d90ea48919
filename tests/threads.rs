//! A producer and consumers in threads of one process, in all ways to push and to pop, across
//! restarts of the producer.
//!
//! `scripts/tsan.sh` runs this test under ThreadSanitizer, where all handles share one mapping. It
//! has no harness, because the threads of the harness synchronise in ways that the tool does not
//! see. All threads are joined by their handles, which the tool does see.

mod common;

use common::*;
use ipcq::{Consumer, Delivery, Error, Producer, Start};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The number of messages of each kind.
const MESSAGES: u64 = 20_000;

/// Pushes in all ways up to a sequence. Closes and opens the queue again now and then.
fn produce(options: &ipcq::ProducerOptions, name: &Path, mut out: Producer, end: u64) -> Producer {
    let mut random = Random(end);
    while out.next_sequence() < end {
        let next = out.next_sequence();
        let length = length_in(out.geometry(), next);
        // In a lossless queue it sleeps until it is woken.
        let longest = out.max_message();
        out.wait_for_room(longest, Duration::MAX).unwrap();
        match random.below(64) {
            0 => {
                drop(out);
                out = options.open(name).unwrap();
                assert_eq!(out.next_sequence(), next);
            }
            1..=16 => {
                let room = match out.geometry().message_size {
                    0 => out.max_message(),
                    size => size as usize,
                };
                let mut claim = out.claim(room).unwrap();
                claim.write(0, &message(next, length)).unwrap();
                if next % 3 > 0 {
                    claim.commit(length).unwrap();
                }
            }
            17..=24 if out.geometry().message_size > 0 => {
                let all: Vec<u8> = (next..next + 5).flat_map(|s| message(s, length)).collect();
                let pushed = out.push_many(&all, length).unwrap();
                assert!(pushed == 5 || out.geometry().delivery == Delivery::Lossless);
            }
            _ => push_next(&mut out),
        }
        if random.below(16) == 0 {
            // Consumers keep up at times and are lapped at others.
            std::thread::yield_now();
        }
    }
    out
}

/// Pops in one way until all messages were pushed, and checks that each is whole.
fn consume(name: &Path, how: &str, ended: &AtomicBool, received: &AtomicU64) -> u64 {
    let mut q = Consumer::options().start(Start::Oldest).open(name).unwrap();
    let (start, size) = (q.next_sequence(), q.max_message());
    let mut expected = start;
    let mut buffer = vec![0; 8 * size];
    let geometry = *q.geometry();
    loop {
        let last = ended.load(Ordering::SeqCst);
        let take = |sequence: u64, lost: u64, bytes: &[u8]| {
            assert_eq!(sequence, expected + lost, "sequences");
            assert_eq!(bytes.len(), length_in(&geometry, sequence));
            assert!(is_whole(sequence, bytes), "message {sequence} is torn");
            expected = sequence + 1;
            received.fetch_add(1, Ordering::Relaxed);
        };
        let found = pop_by(how, &mut q, &mut buffer, take);
        match found {
            Ok(Found::Messages | Found::Overwritten) => {}
            Ok(Found::Nothing) | Err(Error::Closed(_)) if last => break,
            Ok(Found::Nothing) if how == "pop" => match q.wait(Duration::from_millis(10)) {
                Ok(()) | Err(Error::TimedOut(_) | Error::Closed(_)) => {}
                Err(e) => panic!("{e}"),
            },
            Ok(Found::Nothing) | Err(Error::Closed(_)) => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    }
    let s = check_accounts(&q, start);
    assert_eq!(s.lag, 0);
    assert!(s.lost == 0 || geometry.delivery == Delivery::Lossy);
    s.pushed
}

fn threads(kind: Kind, capacity: u64, delivery: Delivery) {
    let dir = Dir::new();
    let (dir, name) = (&dir, &dir.name("q"));
    let options = &kind.options(capacity).delivery(delivery);
    let out = options.open(name).unwrap();
    let ended = &AtomicBool::new(false);
    let counts = &[0, 0, 0].map(AtomicU64::new);
    std::thread::scope(|scope| {
        let consumers = ["pop", "many", "peek"]
            .into_iter()
            .zip(counts)
            .map(|(how, count)| scope.spawn(move || consume(name, how, ended, count)));
        let consumers: Vec<_> = consumers.collect();
        // The handle moves from thread to thread.
        let mut out = Some(out);
        for part in 1..=4 {
            let mine = out.take().unwrap();
            let end = MESSAGES / 4 * part;
            let thread = scope.spawn(move || produce(options, name, mine, end));
            out = thread.join().ok();
        }
        let pushed = out.unwrap().next_sequence();
        ended.store(true, Ordering::SeqCst);
        for consumer in consumers {
            assert_eq!(consumer.join().unwrap(), pushed);
        }
    });
    println!("{kind:?}, {delivery:?}: received {counts:?}");
    assert_eq!(dir.files(), ["q", "q.ctl", "q.lock"]);
}

fn main() {
    for delivery in [Delivery::Lossy, Delivery::Lossless] {
        threads(Kind::Fixed(24), 256, delivery);
        threads(Kind::Fixed(1000), 64, delivery);
        threads(Kind::Variable, 16 << 10, delivery);
    }
    println!("threads: passed");
}
