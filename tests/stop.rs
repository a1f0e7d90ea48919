//! A producer or a consumer that is stopped (SIGSTOP) in the middle of a stream, for a while: the
//! others see no more of it than that nothing comes, or nothing is taken.
//!
//! `IPCQ_SOAK_SECONDS` makes each stop last two seconds.

mod common;

use common::*;
use ipcq::{Consumer, Error, Producer, Start};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long each stop lasts at least.
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

/// By the number in `KIND`.
fn kind() -> (Kind, u64) {
    KINDS[number("KIND") as usize]
}

#[test]
fn child_main() {
    let Some(role) = role() else { return };
    let name = PathBuf::from(argument("NAME"));
    match role.as_str() {
        "pour" => pour(&name),
        "drink" => drink(&name),
        role => panic!("no role {role}"),
    }
    std::process::exit(0);
}

/// Set when the parent says a line.
fn told() -> &'static AtomicBool {
    static TOLD: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        listen();
        TOLD.store(true, Ordering::SeqCst);
    });
    &TOLD
}

/// Pushes without a pause until it is told to end.
fn pour(name: &Path) {
    let (kind, capacity) = kind();
    let mut out = kind.options(capacity).open(name).unwrap();
    let end = told();
    say("ready");
    while !end.load(Ordering::SeqCst) {
        push_next(&mut out);
    }
    say(out.next_sequence());
}

/// Takes everything until the queue is closed.
fn drink(name: &Path) {
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

/// Stops a process and waits until it stands.
fn stop(process: &Process) {
    process.signal(libc::SIGSTOP);
    let mut status = 0;
    // SAFETY: `status` is a place for the answer; a process that stops can be waited for again.
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
        let mut producer = Process::start("pour", &arguments);
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
                assert_eq!(q.stats().unwrap(), before, "nothing changes");
            }
            assert!(before.producer_alive && !before.closed);
            // It lives, so nobody may take its place; and whoever joins now finds what there is.
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
        let mut consumer = Process::start("drink", &arguments);
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
            // Nobody waits for it; in the end nothing is left of what it had not read.
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
        // Each stop has cost it at least a ring; which it learned at once, or with the next.
        assert!(numbers[1] >= 4 * ring, "{line}, {ring}");
        assert!(numbers[2] >= ring, "{line}, {ring}");
    }
}
