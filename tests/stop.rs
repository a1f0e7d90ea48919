//! A producer or a consumer is stopped (SIGSTOP) in the middle of a stream for a while. The other
//! processes only notice that no message comes, or that none is consumed.
//!
//! With `IPCQ_SOAK_SECONDS`, each stop lasts two seconds.

mod common;

use common::*;
use ipcq::{Consumer, Error, Producer, Start};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The minimum duration of a stop.
fn stop_lasts() -> Duration {
    match std::env::var_os("IPCQ_SOAK_SECONDS") {
        Some(_) => Duration::from_secs(2),
        None => Duration::from_millis(40),
    }
}

const KINDS: [(Kind, u64); 3] = [
    (Kind::Fixed(24), 256),
    (Kind::Fixed(1000), 64),
    (Kind::Variable, 16 << 10),
];

/// The kind with the number in `KIND`.
fn kind() -> (Kind, u64) {
    KINDS[number("KIND") as usize]
}

#[test]
fn child_main() {
    let Some(role) = role() else { return };
    let name = PathBuf::from(argument("NAME"));
    match role.as_str() {
        "produce" => produce(&name),
        "consume" => consume(&name),
        role => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

/// Set when the parent sends a line.
fn end_requested() -> &'static AtomicBool {
    static REQUESTED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        listen();
        REQUESTED.store(true, Ordering::SeqCst);
    });
    &REQUESTED
}

/// Pushes without a pause until the parent announces the end.
fn produce(name: &Path) {
    let (kind, capacity) = kind();
    let mut out = kind.options(capacity).open(name).unwrap();
    let end = end_requested();
    say("ready");
    while !end.load(Ordering::SeqCst) {
        push_next(&mut out);
    }
    say(out.next_sequence());
}

/// Takes all messages until the queue is closed.
fn consume(name: &Path) {
    let mut q = Consumer::options().start(Start::Oldest).open(name).unwrap();
    let start = q.next_sequence();
    let (mut expected, mut largest) = (start, 0);
    say("ready");
    loop {
        match pop_next(&mut q) {
            Ok(Some(m)) => {
                assert_eq!(m.sequence, expected + m.lost, "sequences");
                expected = m.sequence + 1;
                largest = largest.max(m.lost);
            }
            Ok(None) => std::thread::yield_now(),
            Err(Error::Closed(_)) => break,
            Err(e) => panic!("{e}"),
        }
    }
    let s = check_accounts(&q, start);
    assert_eq!(s.lag, 0);
    say(format_args!("{} {} {largest}", s.pushed, s.lost));
}

/// Stops a process and waits until it has stopped.
fn stop(process: &Process) {
    process.signal(libc::SIGSTOP);
    let mut status = 0;
    // SAFETY: `status` is valid for writes. A process that stops can be waited for again.
    let waited = unsafe { libc::waitpid(process.pid(), &mut status, libc::WUNTRACED) };
    assert_eq!(waited, process.pid());
    assert!(libc::WIFSTOPPED(status), "{status:#x}");
}

#[test]
fn a_stopped_producer() {
    for (index, (kind, capacity)) in KINDS.into_iter().enumerate() {
        let dir = Dir::new();
        let name = dir.name("q");
        let arguments = [
            ("NAME", name.to_str().unwrap()),
            ("KIND", &index.to_string()),
        ];
        let mut producer = Process::start("produce", &arguments);
        producer.expect("ready");
        let mut q = Consumer::options()
            .start(Start::Oldest)
            .open(&name)
            .unwrap();
        let start = q.next_sequence();
        let mut expected = start;
        let mut take = |q: &mut Consumer| {
            let m = pop_next(q).unwrap()?;
            assert_eq!(m.sequence, expected + m.lost, "sequences");
            expected = m.sequence + 1;
            Some(())
        };
        for _ in 0..5 {
            eventually("a message", || take(&mut q));
            stop(&producer);
            while take(&mut q).is_some() {}
            let before = check_accounts(&q, start);
            assert_eq!(before.lag, 0);
            let since = Instant::now();
            while since.elapsed() < stop_lasts() {
                assert_eq!(pop_next(&mut q).unwrap(), None);
                assert_eq!(q.stats().unwrap(), before, "the statistics must not change");
            }
            assert!(before.producer_alive && !before.closed);
            // The producer is alive, so no other producer can open the queue. A consumer that joins
            // now receives the retained messages.
            let second = kind.options(capacity).open(&name);
            assert!(matches!(second, Err(Error::ProducerExists(_))));
            let mut joined = Consumer::options()
                .start(Start::Newest)
                .open(&name)
                .unwrap();
            let newest = pop_next(&mut joined).unwrap().unwrap();
            assert_eq!(newest.sequence + 1, before.pushed);
            producer.signal(libc::SIGCONT);
        }
        producer.tell("end");
        let pushed: u64 = producer.expect("").parse().unwrap();
        producer.done();
        while let Ok(Some(_)) = pop_next(&mut q) {}
        let s = check_accounts(&q, start);
        assert_eq!((s.pushed, s.lag), (pushed, 0));
    }
}

#[test]
fn a_stopped_consumer() {
    for (index, (kind, capacity)) in KINDS.into_iter().enumerate() {
        let dir = Dir::new();
        let name = dir.name("q");
        let mut out: Producer = kind.options(capacity).open(&name).unwrap();
        let arguments = [
            ("NAME", name.to_str().unwrap()),
            ("KIND", &index.to_string()),
        ];
        let mut consumer = Process::start("consume", &arguments);
        consumer.expect("ready");
        let ring = match kind {
            Kind::Fixed(_) => capacity,
            // A frame has at least 16 bytes.
            Kind::Variable => capacity / 16,
        };
        for _ in 0..5 {
            (0..100).for_each(|_| push_next(&mut out));
            stop(&consumer);
            let since = Instant::now();
            // The producer does not wait for it. In the end the ring holds none of its unread
            // messages.
            let before = out.next_sequence();
            while since.elapsed() < stop_lasts() || out.next_sequence() < before + 2 * ring {
                push_next(&mut out);
            }
            consumer.signal(libc::SIGCONT);
        }
        let pushed = out.next_sequence();
        drop(out);
        let line = consumer.expect("");
        let numbers: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        consumer.done();
        assert_eq!(numbers[0], pushed);
        println!("{kind:?}: {pushed} pushed, {} lost", numbers[1]);
        // Each stop has cost it at least a ring. It has learned of the loss at once or with the
        // next message.
        assert!(numbers[1] >= 4 * ring, "{line}, {ring}");
        assert!(numbers[2] >= ring, "{line}, {ring}");
    }
}
