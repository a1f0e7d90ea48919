//! Floods a tiny lossy ring while consumers in threads and in other processes are lapped
//! repeatedly. No message is torn, and the statistics are exact at the end.

mod common;

use common::*;
use ipcq::{Consumer, Error, Producer, Start};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const FLOOD: Duration = Duration::from_millis(2500);

#[test]
fn child_main() {
    if let Some(role) = role() {
        assert_eq!(role, "consume");
        let (how, name) = (argument("HOW"), argument("NAME"));
        let q = open(Path::new(&name));
        say("ready");
        say(consume_until_closed(q, &how));
        std::process::exit(0);
    }
}

fn open(name: &Path) -> Consumer {
    Consumer::options().start(Start::Oldest).open(name).unwrap()
}

/// The results that a consumer reports at the end.
struct Account {
    received: u64,
    lost: u64,
    /// How many times messages were lost.
    gaps: u64,
    /// Messages that were overwritten while the consumer looked at them in place.
    stale: u64,
    /// Messages pushed between its start and the end.
    pushed: u64,
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Account {
            received,
            lost,
            gaps,
            stale,
            pushed,
        } = self;
        write!(f, "{received} {lost} {gaps} {stale} {pushed}")
    }
}

impl Account {
    fn parse(line: &str) -> Account {
        let mut numbers = line.split(' ').map(|n| n.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        Account {
            received: next(),
            lost: next(),
            gaps: next(),
            stale: next(),
            pushed: next(),
        }
    }
}

/// Consumes until the queue is closed, and checks every byte and every number.
fn consume_until_closed(mut q: Consumer, how: &str) -> Account {
    let start = q.next_sequence();
    let mut expected = start;
    let mut a = Account {
        received: 0,
        lost: 0,
        gaps: 0,
        stale: 0,
        pushed: 0,
    };
    let mut buffer = vec![0; 16 * q.max_message()];
    for turn in 0u64.. {
        // The loss before a message is reported with that message. Otherwise the sequences have no
        // gap.
        let take = |sequence: u64, lost: u64, bytes: &[u8]| {
            assert!(is_whole(sequence, bytes), "message {sequence} is torn");
            assert_eq!(sequence, expected.wrapping_add(lost), "sequences");
            expected = sequence.wrapping_add(1);
            a.received += 1;
            a.lost += lost;
            a.gaps += u64::from(lost > 0);
        };
        let way = if how == "slow" { "pop" } else { how };
        match pop_by(way, &mut q, &mut buffer, take) {
            Ok(Found::Messages) => {}
            Ok(Found::Overwritten) => a.stale += 1,
            // The machine has fewer cores than consumers, so a consumer that finds no message
            // yields.
            Ok(Found::Nothing) => std::thread::yield_now(),
            Err(Error::Closed(_)) => break,
            Err(e) => panic!("{e}"),
        }
        if turn % 1024 == 0 {
            check_accounts(&q, start);
        }
        if how == "slow" {
            (0..500).for_each(|_| std::hint::spin_loop());
        }
    }
    let s = check_accounts(&q, start);
    assert_eq!(s.lag, 0);
    assert_eq!(s.received, a.received);
    assert!(s.lost >= a.lost, "more losses were reported than occurred");
    // If the ring was lapped just before the end, messages may be lost with no message after them.
    a.lost = s.lost;
    a.pushed = s.pushed - start;
    a
}

/// Pushes at full speed until `stop` is set. Returns the number of messages.
fn push_until_stopped(mut out: Producer, stop: &AtomicBool) -> u64 {
    let mut buffer = vec![0; out.max_message()];
    let since = Instant::now();
    while since.elapsed() < FLOOD && !stop.load(Ordering::Relaxed) {
        for _ in 0..1000 {
            let sequence = out.next_sequence();
            let length = match out.geometry().message_size {
                0 => (mix(sequence) % (buffer.len() as u64 + 1)) as usize,
                size => size as usize,
            };
            fill(sequence, &mut buffer[..length]);
            if sequence % 5 == 0 && out.geometry().message_size > 0 {
                // More than the smallest ring holds.
                let size = out.geometry().message_size as usize;
                let mut many = vec![0; 7 * size];
                for (sequence, message) in (sequence..).zip(many.chunks_mut(size)) {
                    fill(sequence, message);
                }
                assert_eq!(out.push_many(&many, size), Ok(7));
            } else if sequence % 3 == 0 {
                // In place and in two parts, so that consumers find a half-written message.
                let mut claim = out.claim(length).unwrap();
                claim.write(0, &buffer[..length / 2]).unwrap();
                claim
                    .write(length / 2, &buffer[length / 2..length])
                    .unwrap();
                claim.commit(length).unwrap();
            } else {
                out.push(&buffer[..length]).unwrap();
            }
        }
    }
    out.next_sequence()
}

fn flood(what: &str, options: ipcq::ProducerOptions) {
    flood_by(
        what,
        options,
        ["pop", "peek", "many", "run"],
        ["pop", "slow"],
    );
}

/// With consumers in processes and in threads that receive in these ways.
fn flood_by<const P: usize, const T: usize>(
    what: &str,
    options: ipcq::ProducerOptions,
    processes: [&'static str; P],
    threads: [&'static str; T],
) {
    let dir = Dir::new();
    let name = dir.name("q");
    let out = options.open(&name).unwrap();
    let mut children: Vec<_> = processes
        .map(|how| {
            let child = Process::start(
                "consume",
                &[("NAME", name.as_os_str()), ("HOW", how.as_ref())],
            );
            (how, child)
        })
        .into();
    children
        .iter_mut()
        .for_each(|(_, child)| drop(child.expect("ready")));
    let stop = AtomicBool::new(false);
    let mut accounts = Vec::new();
    let pushed = std::thread::scope(|scope| {
        let threads = threads.map(|how| {
            let q = open(&name);
            (how, scope.spawn(move || consume_until_closed(q, how)))
        });
        let producer = scope.spawn(|| push_until_stopped(out, &stop));
        for (how, thread) in threads {
            accounts.push(("thread", how, thread.join()));
        }
        // If a consumer has failed, the flood ends at once.
        stop.store(true, Ordering::Relaxed);
        producer.join().unwrap()
    });
    for (how, mut child) in children {
        let line = child.next_line();
        accounts.push((
            "process",
            how,
            Ok(Account::parse(&line.expect("a consumer process failed"))),
        ));
        child.done();
    }
    println!("{what}: {pushed} pushed");
    for (place, how, account) in accounts {
        let a = account.unwrap_or_else(|e| std::panic::resume_unwind(e));
        println!(
            "  {place:7} {how:4}: received {}, lost {} in {} gaps, stale {}",
            a.received, a.lost, a.gaps, a.stale
        );
        assert_eq!(
            a.pushed, pushed,
            "{place} {how}: it began at the first message"
        );
        assert_eq!(a.received + a.lost, pushed, "{place} {how}");
        assert!(a.received > 0, "{place} {how} received no message");
        assert!(a.gaps > 0 || a.stale > 0, "{place} {how} was never lapped");
    }
}

#[test]
fn a_flood_of_messages_of_any_length() {
    flood("variable, 1 KiB", Producer::options().capacity(1024));
}

#[test]
fn a_flood_of_messages_of_fixed_length() {
    flood(
        "fixed, 4 of 200 bytes",
        Producer::options().capacity(4).message_size(200),
    );
}

/// Short messages take the fastest paths: batches in which only the first message is validated,
/// across the end of a ring that is overwritten at the same time.
#[test]
fn a_flood_of_short_messages() {
    for (capacity, size) in [(4, 24), (32, 64), (64, 8)] {
        flood_by(
            &format!("fixed, {capacity} of {size} bytes"),
            Producer::options().capacity(capacity).message_size(size),
            ["many", "run", "pop"],
            ["many", "slow"],
        );
    }
}
