//! A producer is killed or stopped before every step that it takes: each access to the shared ring
//! and its header, each word of a payload, and each system call that changes a file or a lock.
//! After each, another producer continues, while consumers stay attached and others join.
//!
//! Needs the feature `steps` (`scripts/steps.sh`). `IPCQ_SOAK_SECONDS` sets how long the test
//! repeats, with other lengths and sizes in each round.

mod common;

use common::*;
use ipcq::{Consumer, Delivery, Error, Producer, ProducerOptions, SharedMem, Start};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn child_main() {
    let Some(role) = role() else { return };
    // SAFETY: the call takes a number and cannot fail.
    unsafe { libc::alarm(600) };
    let name = PathBuf::from(argument("NAME"));
    match role.as_str() {
        "drive" => drive(&name, &scenario(&argument("SCENARIO"))),
        "watch" => watch(&name),
        "memory" => memory(&name),
        role => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

// --- producers -----------------------------------------------------------------------------------

/// The operation in which a producer is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Opens the existing queue, pushes in all ways, and closes it.
    Continuing,
    /// As `Continuing` in a lossless queue, where it waits for slow consumers.
    Lossless,
    /// As `Continuing`, with no queue at first.
    Creating,
    /// As `Continuing`, with an existing queue of another geometry.
    Replacing,
    /// Removes the queue.
    Unlinking,
}

#[derive(Debug, Clone, Copy)]
struct Scenario {
    doing: Doing,
    signal: i32,
    kind: Kind,
    capacity: u64,
    first: u64,
}

/// Parses `DOING SIGNAL SIZE CAPACITY FIRST`. A size of 0 stands for messages of any length.
fn scenario(text: &str) -> Scenario {
    let words: Vec<&str> = text.split(' ').collect();
    let [doing, signal, size, capacity, first] = words[..] else {
        panic!("{text}");
    };
    Scenario {
        doing: match doing {
            "continuing" => Doing::Continuing,
            "lossless" => Doing::Lossless,
            "creating" => Doing::Creating,
            "replacing" => Doing::Replacing,
            "unlinking" => Doing::Unlinking,
            doing => panic!("{doing}"),
        },
        signal: match signal {
            "kill" => libc::SIGKILL,
            "stop" => libc::SIGSTOP,
            signal => panic!("{signal}"),
        },
        kind: match size.parse().unwrap() {
            0 => Kind::Variable,
            size => Kind::Fixed(size),
        },
        capacity: capacity.parse().unwrap(),
        first: first.parse().unwrap(),
    }
}

impl Scenario {
    /// How the producer of a turn opens the queue. If they replace it, every second one requests
    /// another geometry.
    fn options(&self, turn: u64) -> ProducerOptions {
        let replacing = self.doing == Doing::Replacing;
        let kind = match (self.kind, replacing && turn % 2 == 1) {
            (Kind::Variable, true) => Kind::Fixed(40),
            (Kind::Fixed(_), true) => Kind::Variable,
            (kind, false) => kind,
        };
        ipcq::__binding::first_sequence(kind.options(self.capacity), self.first)
            .replace(replacing)
            .delivery(match self.doing {
                Doing::Lossless => Delivery::Lossless,
                _ => Delivery::Lossy,
            })
    }
}

/// A record of what the producers have done, in memory that outlives them.
struct Ledger(Words);

impl Ledger {
    const PUSHED: usize = 0;
    const BEGUN: usize = 1;
    const OPENED: usize = 2;
    const ID: usize = 3;
    const FIRST: usize = 4;

    fn set(&self, index: usize, value: u64) {
        self.0.word(index).store(value, Ordering::SeqCst);
    }

    fn get(&self, index: usize) -> u64 {
        self.0.word(index).load(Ordering::SeqCst)
    }
}

/// The maximum time that a producer waits for slow consumers.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// The content of a message identifies the producer that has pushed it. A mixture of an unfinished
/// message of a killed producer and a message of its successor can thus be detected.
fn content(sequence: u64, producer: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    match bytes.split_first_chunk_mut() {
        Some((head, rest)) => {
            *head = producer.to_le_bytes();
            fill(mix(sequence) ^ mix(producer), rest);
        }
        None => fill(sequence, &mut bytes),
    }
    bytes
}

/// Checks that these bytes are a message of that sequence, and returns its producer if they are
/// long enough to tell.
fn author(sequence: u64, bytes: &[u8]) -> Option<u64> {
    let producer = bytes
        .first_chunk()
        .map(|head: &[u8; 8]| u64::from_le_bytes(*head));
    assert!(
        content(sequence, producer.unwrap_or(0), bytes.len()) == bytes,
        "message {sequence} is torn"
    );
    producer
}

fn length(out: &Producer, random: &mut Random) -> usize {
    match out.geometry().message_size {
        0 => length_of(random.next(), out.max_message()),
        size => size as usize,
    }
}

/// Opens a queue and records it in the ledger.
fn open(options: &ProducerOptions, name: &Path, ledger: &Ledger) -> Producer {
    let out = options.open(name).expect("a producer can always open");
    let next = out.next_sequence();
    if ledger.get(Ledger::ID) == out.geometry().id {
        let (pushed, begun) = (ledger.get(Ledger::PUSHED), ledger.get(Ledger::BEGUN));
        assert!(
            next.wrapping_sub(pushed) <= begun.wrapping_sub(pushed),
            "opened at {next}, but {pushed} were pushed and {begun} begun"
        );
    } else {
        assert_eq!(next, out.geometry().first_sequence);
    }
    ledger.set(Ledger::ID, out.geometry().id);
    ledger.set(Ledger::PUSHED, next);
    ledger.set(Ledger::BEGUN, next);
    ledger.set(Ledger::FIRST, next);
    ledger.set(Ledger::OPENED, 1);
    out
}

/// Pushes in every way.
fn push_all_ways(out: &mut Producer, ledger: &Ledger, producer: u64, random: &mut Random) {
    for way in [0, 1, 2, 3, 4, 0, 3, 0] {
        let longest = out.max_message();
        out.wait_for_room(longest, WAIT_LIMIT).unwrap();
        let next = out.next_sequence();
        let begin = |many: u64| ledger.set(Ledger::BEGUN, next.wrapping_add(many));
        let length = length(out, random);
        let room = match out.geometry().message_size {
            0 => out.max_message(),
            _ => length,
        };
        match way {
            0 => {
                begin(1);
                out.push(&content(next, producer, length)).unwrap();
            }
            1 => {
                let mut given_up = out.claim(room).unwrap();
                // The remaining bytes look like the frame after the next, wherever that begins.
                let frame = [next.wrapping_add(2), 8].map(u64::to_le_bytes).concat();
                for (i, piece) in frame.repeat(room / 16).chunks(8).enumerate() {
                    given_up.write(i * 8, piece).unwrap();
                }
            }
            2 => {
                begin(3);
                let length = length.max(1);
                let all: Vec<u8> = (0..3)
                    .flat_map(|i| content(next.wrapping_add(i), producer, length))
                    .collect();
                let pushed = out.push_many(&all, length).unwrap();
                assert!(pushed == 3 || out.geometry().delivery == Delivery::Lossless);
            }
            3 => {
                begin(1);
                let mut claim = out.claim(room).unwrap();
                for (i, piece) in content(next, producer, length).chunks(8).enumerate() {
                    claim.write(i * 8, piece).unwrap();
                }
                claim.commit(length).unwrap();
            }
            _ => {
                begin(1);
                let longest = content(next, producer, room);
                out.push(&longest).unwrap();
            }
        }
        ledger.set(Ledger::PUSHED, out.next_sequence());
    }
}

// --- consumers -----------------------------------------------------------------------------------

/// Which producer opened which file (by its id) at which sequence.
#[derive(Default)]
struct History(HashMap<u64, Vec<(u64, u64)>>);

impl History {
    /// Records that this producer has opened the queue, if it has.
    fn note(&mut self, ledger: &Ledger, producer: u64) {
        if ledger.get(Ledger::OPENED) == 1 {
            let of_file = self.0.entry(ledger.get(Ledger::ID)).or_default();
            of_file.push((ledger.get(Ledger::FIRST), producer));
            ledger.set(Ledger::OPENED, 0);
        }
    }

    /// The producer that has pushed the message of this sequence.
    fn author(&self, id: u64, first: u64, sequence: u64) -> u64 {
        let number = |s: u64| s.wrapping_sub(first);
        self.0[&id]
            .iter()
            .rfind(|(opened, _)| number(*opened) <= number(sequence))
            .expect("a producer has opened it before")
            .1
    }
}

/// The reason that a consumer found no further message.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Drained,
    Replaced,
}

/// A consumer that checks every message.
struct Watcher {
    q: Consumer,
    start: u64,
    next: u64,
    producer: u64,
    received: u64,
    lost: u64,
}

impl Watcher {
    fn open(name: &Path) -> ipcq::Result<Watcher> {
        Ok(Watcher::new(
            Consumer::options().start(Start::Oldest).open(name)?,
        ))
    }

    fn new(q: Consumer) -> Watcher {
        let start = q.next_sequence();
        Watcher {
            q,
            start,
            next: start,
            producer: 0,
            received: 0,
            lost: 0,
        }
    }

    /// Takes the next message. `check` receives its sequence and its producer.
    fn take(&mut self, check: impl FnOnce(u64, u64)) -> ipcq::Result<bool> {
        let mut buffer = vec![0; self.q.max_message()];
        let Some(m) = self.q.pop(&mut buffer)? else {
            return Ok(false);
        };
        assert_eq!(m.sequence, self.next.wrapping_add(m.lost), "sequences");
        if let Some(producer) = author(m.sequence, &buffer[..m.length as usize]) {
            assert!(producer >= self.producer, "a message of an older producer");
            self.producer = producer;
            check(m.sequence, producer);
        }
        self.next = m.sequence.wrapping_add(1);
        self.received += 1;
        self.lost += m.lost;
        Ok(true)
    }

    /// Takes all messages. The history must have their producers.
    fn drain(&mut self, history: &History) -> End {
        let (id, first) = (self.q.geometry().id, self.q.geometry().first_sequence);
        let end = loop {
            match self.take(|s, producer| assert_eq!(producer, history.author(id, first, s))) {
                Ok(true) => {}
                Ok(false) | Err(Error::Closed(_)) => break End::Drained,
                Err(Error::Stale(_)) => break End::Replaced,
                Err(e) => panic!("{e}"),
            }
        };
        let s = check_accounts(&self.q, self.start);
        assert_eq!((s.received, s.lost), (self.received, self.lost));
        assert_eq!((s.lag, s.pushed), (0, self.next), "{s:?}");
        end
    }
}

/// A process that stays attached until the parent announces the end. It follows replacements.
fn watch(name: &Path) {
    static END_REQUESTED: AtomicBool = AtomicBool::new(false);
    let open = || {
        let options = Consumer::options().open_timeout(Duration::from_secs(60));
        Watcher::new(options.open(name).unwrap())
    };
    let (mut received, mut lost, mut replaced) = (0, 0, 0u64);
    let mut w = open();
    say("ready");
    std::thread::spawn(|| {
        listen();
        END_REQUESTED.store(true, Ordering::SeqCst);
    });
    loop {
        let last = END_REQUESTED.load(Ordering::SeqCst);
        match w.take(|_, _| {}) {
            Ok(true) => {}
            Ok(false) | Err(Error::Closed(_)) if last => break,
            Ok(false) | Err(Error::Closed(_)) => std::thread::yield_now(),
            Err(Error::Stale(_)) => {
                check_accounts(&w.q, w.start);
                (received, lost) = (received + w.received, lost + w.lost);
                replaced += 1;
                w = open();
                std::thread::yield_now();
            }
            Err(e) => panic!("{e}"),
        }
    }
    let s = check_accounts(&w.q, w.start);
    assert_eq!(s.lag, 0);
    say(format_args!(
        "end {} {} {} {replaced}",
        s.pushed,
        received + w.received,
        lost + w.lost
    ));
}

// --- step by step --------------------------------------------------------------------------------

/// Waits until a child ends or stops.
fn wait(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is valid for writes, and the child was not waited for.
    let waited = unsafe { libc::waitpid(child, &mut status, libc::WUNTRACED) };
    assert_eq!(waited, child);
    status
}

fn ended_well(status: i32) -> bool {
    let ended = libc::WIFEXITED(status);
    assert!(!ended || libc::WEXITSTATUS(status) == 0, "{status:#x}");
    ended
}

fn end() -> ! {
    // SAFETY: ends a forked process at once, without the exit handlers of its parent.
    unsafe { libc::_exit(0) }
}

/// Checks that the directory contains only files that are allowed at any moment.
fn only_known_files(name: &Path) {
    for entry in std::fs::read_dir(name.parent().unwrap()).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let known = ["q", "q.ctl", "q.lock", "q.new", "q.ctl.new"];
        assert!(known.contains(&file.as_str()), "{file}");
    }
}

fn drive(name: &Path, s: &Scenario) {
    let ledger = Ledger(Words::open(argument("LEDGER").as_ref()));
    // The same in each turn, so that every step is covered.
    let seed = number("SEED");
    let mut history = History::default();
    // One consumer checks each turn. The other checks each fifth turn and is lapped.
    let mut steady: Option<Watcher> = None;
    let mut sparse: Option<Watcher> = None;
    let (mut steps, mut messages, mut lost, mut replaced) = (0, 0u64, 0u64, 0u64);
    // Takes all messages and changes to the new queue if the old one was replaced.
    let mut look = |w: &mut Watcher, history: &History| loop {
        if w.drain(history) == End::Drained {
            break;
        }
        let (id, pushed) = (w.q.geometry().id, w.next);
        (messages, lost) = (messages + w.received, lost + w.lost);
        replaced += 1;
        let mut again = Watcher::open(name).unwrap();
        if again.q.geometry().id == id {
            // Marked as replaced, but not replaced, because the producer was killed in between.
            assert_eq!(again.drain(history), End::Replaced);
            assert_eq!(again.next, pushed);
            break;
        }
        *w = again;
    };
    for turn in 1u64.. {
        let options = s.options(turn);
        if s.doing == Doing::Creating {
            (steady, sparse) = (None, None);
            match ipcq::unlink(name) {
                Ok(()) => {}
                Err(Error::NotFound(_)) => assert_eq!(turn, 1),
                Err(e) => panic!("{e}"),
            }
        }
        let producer = 2 * turn;
        let child = fork(|| {
            ipcq::__binding::signal_at(turn, s.signal);
            if s.doing == Doing::Unlinking {
                match ipcq::unlink(name) {
                    Ok(()) => end(),
                    // The first time.
                    Err(Error::NotFound(_)) if turn == 1 => end(),
                    Err(e) => panic!("{e}"),
                }
            }
            let mut out = open(&options, name, &ledger);
            push_all_ways(&mut out, &ledger, producer, &mut Random(seed));
            drop(out);
            end();
        });
        let mut status = wait(child);
        let finished = ended_well(status);
        history.note(&ledger, producer);
        only_known_files(name);
        for w in [&mut steady, &mut sparse] {
            // In a lossless queue these consumers would block the producer that this process waits
            // for. So only the consumer in another process exists there.
            if w.is_none() && s.doing != Doing::Lossless {
                *w = match Watcher::open(name) {
                    Ok(w) => Some(w),
                    Err(Error::NotFound(_)) => None,
                    Err(e) => panic!("{e}"),
                };
            }
        }
        steady.iter_mut().for_each(|w| look(w, &history));
        if turn % 5 == 0 {
            sparse.iter_mut().for_each(|w| look(w, &history));
        }
        if libc::WIFSTOPPED(status) {
            // Consumers do not wait for a stopped producer, receive no message, and no other
            // producer can open the queue.
            let pushed = ledger.get(Ledger::PUSHED);
            if let Some(w) = &mut steady {
                let before = w.received;
                w.drain(&history);
                assert_eq!(w.received, before);
                if w.q.geometry().id == ledger.get(Ledger::ID) {
                    let most = ledger.get(Ledger::BEGUN).wrapping_sub(pushed);
                    assert!(w.next.wrapping_sub(pushed) <= most, "{} {pushed}", w.next);
                }
            }
            // The child may have been stopped before it took the lock or after it dropped it.
            match options.open(name) {
                Err(Error::ProducerExists(_)) => {}
                Ok(_) => assert_eq!(ledger.get(Ledger::PUSHED), pushed),
                Err(e) => panic!("{e}"),
            }
            // SAFETY: the call takes numbers, and the child was not waited for.
            assert_eq!(unsafe { libc::kill(child, libc::SIGCONT) }, 0);
            status = wait(child);
            assert!(ended_well(status), "{status:#x}");
            history.note(&ledger, producer);
        } else if !finished {
            let killed = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
            assert!(killed, "{status:#x}");
        }
        steps = turn;
        // Another producer continues. Every second one does not close the queue either.
        let reported = steady
            .as_ref()
            .map(|w| (w.q.geometry().id, w.q.stats().unwrap().pushed));
        let child = fork(|| {
            let mut out = open(&options, name, &ledger);
            if let Some((id, pushed)) = reported {
                if id == out.geometry().id {
                    assert_eq!(
                        out.next_sequence(),
                        pushed,
                        "consumers report what was pushed"
                    );
                }
            }
            for _ in 0..2 {
                let next = out.next_sequence();
                ledger.set(Ledger::BEGUN, next.wrapping_add(1));
                let length = length(&out, &mut Random(!seed)).max(8);
                let last = content(next, producer + 1, length);
                out.push_wait(&last, WAIT_LIMIT).unwrap();
                ledger.set(Ledger::PUSHED, next.wrapping_add(1));
            }
            if turn % 2 == 0 {
                drop(out);
            }
            end();
        });
        assert!(ended_well(wait(child)));
        history.note(&ledger, producer + 1);
        steady.iter_mut().for_each(|w| look(w, &history));
        // A consumer that joins now receives the retained messages, up to the last.
        let mut joined = Watcher::open(name).unwrap();
        assert_eq!(joined.drain(&history), End::Drained);
        assert_eq!(joined.next, ledger.get(Ledger::PUSHED));
        assert_eq!(joined.producer, producer + 1);
        assert!(joined.received > 0);
        // A consumer of a file whose name was removed is not notified.
        if let Some(w) = steady.iter().find(|_| s.doing != Doing::Unlinking) {
            assert_eq!(
                w.q.geometry().id,
                ledger.get(Ledger::ID),
                "the consumer was notified"
            );
            assert_eq!(w.next, joined.next);
        }
        if finished {
            break;
        }
    }
    sparse.iter_mut().for_each(|w| look(w, &history));
    for w in steady.into_iter().chain(sparse) {
        (messages, lost) = (messages + w.received, lost + w.lost);
    }
    say(format_args!(
        "{} {messages} {lost} {replaced} {}",
        steps - 1,
        ledger.get(Ledger::PUSHED)
    ));
}

/// The same for shared memory on its own.
fn memory(name: &Path) {
    for turn in 1u64.. {
        let child = fork(|| {
            ipcq::__binding::signal_at(turn, libc::SIGKILL);
            let mut memory = SharedMem::create(name, 100, 0).unwrap();
            for i in 0..12 {
                memory.write(i * 8, &turn.to_le_bytes()).unwrap();
            }
            drop(memory);
            ipcq::unlink(name).unwrap();
            end();
        });
        let finished = ended_well(wait(child));
        only_known_files(name);
        let before = match SharedMem::open(name) {
            Ok(memory) => {
                let mut bytes = [0; 100];
                memory.read(0, &mut bytes).unwrap();
                let word = |i: usize| u64::from_le_bytes(bytes[i * 8..][..8].try_into().unwrap());
                let written = (0..12).take_while(|&i| word(i) == turn).count();
                assert!((written..12).all(|i| word(i) == 0), "{bytes:?}");
                Some(bytes)
            }
            Err(Error::NotFound(_)) => None,
            Err(e) => panic!("{e}"),
        };
        let memory = SharedMem::create(name, 100, 0).unwrap();
        let mut bytes = [0; 100];
        memory.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, before.unwrap_or([0; 100]), "the content is kept");
        drop(memory);
        SharedMem::unlink(name).unwrap();
        let left = std::fs::read_dir(name.parent().unwrap()).unwrap().count();
        assert_eq!(left, 0);
        if finished {
            say(turn - 1);
            break;
        }
    }
}

// --- the tests -----------------------------------------------------------------------------------

/// Runs a scenario once, or in a soak for a quarter of its time, because a test has up to four
/// scenarios.
fn every_step(scenario: &str) {
    let soak = std::env::var("IPCQ_SOAK_SECONDS").ok();
    let lasts = Duration::from_secs(soak.map_or(0, |s| s.parse().expect("IPCQ_SOAK_SECONDS"))) / 4;
    let since = Instant::now();
    let mut sum = [0u64; 4];
    let mut round = 0;
    loop {
        let counts = one_round(scenario, round);
        sum.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        round += 1;
        if since.elapsed() >= lasts {
            break;
        }
    }
    let [steps, messages, lost, replaced] = sum;
    assert!(lost == 0 || !scenario.starts_with("lossless"));
    println!(
        "{scenario}: at {steps} steps, {messages} messages seen, {lost} lost, {replaced} replaced"
    );
}

fn one_round(scenario: &str, round: u64) -> [u64; 4] {
    let (dir, aside) = (Dir::new(), Dir::new());
    let (name, ledger) = (dir.name("q"), aside.name("ledger"));
    let seed = round.to_string();
    let arguments = [
        ("NAME", name.to_str().unwrap()),
        ("LEDGER", ledger.to_str().unwrap()),
        ("SCENARIO", scenario),
        ("SEED", &seed),
    ];
    // If each turn unlinks the queue, no consumer can stay attached.
    let stays = !scenario.starts_with("creating") && !scenario.starts_with("unlinking");
    let mut watcher = stays.then(|| Process::start("watch", &arguments));
    let mut driver = Process::start("drive", &arguments);
    let line = driver.expect("");
    let mut numbers: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
    driver.done();
    if let Some(watcher) = &mut watcher {
        watcher.expect("ready");
        watcher.tell("end");
        let end = watcher.expect("end");
        let seen: Vec<u64> = end.split(' ').map(|n| n.parse().unwrap()).collect();
        assert!(seen[2] == 0 || !scenario.starts_with("lossless"));
        assert_eq!(seen[0], numbers[4], "the consumer has reached the end");
        assert!(seen[1] > 0, "the consumer has received no message");
        numbers[1] += seen[1];
        numbers[2] += seen[2];
        assert!(watcher.wait().success());
    }
    assert_eq!(dir.files(), ["q", "q.ctl", "q.lock"]);
    ipcq::unlink(&name).unwrap();
    assert_eq!(dir.files(), [""; 0]);
    [numbers[0], numbers[1], numbers[2], numbers[3]]
}

#[test]
fn killed_in_a_fixed_ring() {
    // With one message and with several messages per announcement.
    every_step("continuing kill 24 8 0");
    every_step("continuing kill 40 128 0");
}

#[test]
fn killed_in_a_fixed_ring_of_long_messages() {
    every_step("continuing kill 200 4 0");
}

#[test]
fn killed_in_a_variable_ring() {
    every_step("continuing kill 0 1024 0");
    every_step("continuing kill 0 4096 0");
}

#[test]
fn killed_in_a_lossless_ring() {
    every_step("lossless kill 24 8 0");
    every_step("lossless kill 0 1024 0");
    every_step("lossless stop 24 8 0");
}

#[test]
fn killed_at_the_end_of_the_sequences() {
    every_step("continuing kill 16 8 18446744073709551000");
    every_step("continuing kill 0 1024 18446744073709550000");
}

#[test]
fn killed_while_creating() {
    every_step("creating kill 24 8 0");
    every_step("creating kill 24 8 1000");
    every_step("creating kill 0 1024 0");
}

#[test]
fn killed_while_replacing() {
    every_step("replacing kill 24 1024 0");
}

#[test]
fn killed_while_unlinking() {
    every_step("unlinking kill 24 8 0");
}

#[test]
fn stopped_anywhere() {
    every_step("continuing stop 24 8 0");
    every_step("continuing stop 0 1024 0");
    every_step("creating stop 24 8 0");
    every_step("replacing stop 24 1024 0");
}

#[test]
fn killed_with_a_shared_memory() {
    let dir = Dir::new();
    let mut driver = Process::start("memory", &[("NAME", &dir.name("q"))]);
    let steps = driver.expect("");
    driver.done();
    println!("shared memory: at {steps} steps");
    assert_eq!(dir.files(), [""; 0]);
}
