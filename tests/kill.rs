//! Producers and consumers are killed at any instruction, stopped and restarted while other
//! processes stay attached. No message is torn, repeated or out of order, the sequence continues,
//! all statistics are exact, and nothing has to be cleaned up.
//!
//! `IPCQ_SOAK_SECONDS` sets the duration of each test.

mod common;

use common::*;
use ipcq::{Consumer, Error, Producer, ProducerOptions, Start};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The duration of a test.
fn duration() -> Duration {
    let seconds = std::env::var("IPCQ_SOAK_SECONDS").ok();
    Duration::from_secs(seconds.map_or(5, |s| s.parse().expect("IPCQ_SOAK_SECONDS")))
}

#[test]
fn child_main() {
    let Some(role) = role() else { return };
    // SAFETY: the call takes a number and cannot fail. A soak takes longer than other tests.
    unsafe { libc::alarm(60 + duration().as_secs() as u32) };
    let name = PathBuf::from(argument("NAME"));
    match role.as_str() {
        "kill_producers" => kill_producers(&name),
        "kill_replacers" => kill_replacers(&name),
        "consume" => consume(&name, &argument("HOW")),
        "follow" => follow(&name),
        role => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

/// A seed that differs from run to run. It is printed, and the children receive it.
fn seed() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    mix(now)
}

fn kind_of(size: u64) -> Kind {
    match size {
        0 => Kind::Variable,
        size => Kind::Fixed(size as u32),
    }
}

fn options(kind: Kind) -> ProducerOptions {
    kind.options(match kind {
        Kind::Fixed(_) => 1024,
        Kind::Variable => 64 << 10,
    })
}

/// A record of what the producers have pushed, in memory that outlives them.
struct Ledger(Words);

impl Ledger {
    fn open(path: &Path) -> Ledger {
        Ledger(Words::open(path))
    }

    /// All smaller sequences were pushed: the calls have returned.
    fn pushed(&self) -> &AtomicU64 {
        self.0.word(0)
    }

    /// No push of this sequence or a larger one has begun.
    fn begun(&self) -> &AtomicU64 {
        self.0.word(1)
    }

    /// How many times a queue was opened.
    fn opened(&self) -> &AtomicU64 {
        self.0.word(2)
    }
}

// --- killed processes ----------------------------------------------------------------------------

/// Kills a child that must still be alive.
fn kill(child: i32) {
    // SAFETY: the call takes numbers, and the child was not waited for.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    let status = wait_for(child);
    let killed = status.signal() == Some(libc::SIGKILL);
    assert!(killed, "the child ended before it was killed: {status}");
}

/// Stops a child, runs `look`, and continues the child.
fn stop(child: i32, look: impl FnOnce()) {
    let mut status = 0;
    // SAFETY: `status` is valid for writes, and the child was not waited for.
    unsafe {
        assert_eq!(libc::kill(child, libc::SIGSTOP), 0);
        assert_eq!(libc::waitpid(child, &mut status, libc::WUNTRACED), child);
    }
    assert!(
        libc::WIFSTOPPED(status),
        "the child ended before it was stopped: {status:#x}"
    );
    look();
    // SAFETY: the call takes numbers, and the child was not waited for.
    assert_eq!(unsafe { libc::kill(child, libc::SIGCONT) }, 0);
}

/// Waits for a random time, often until the queue is being opened.
fn pause(random: &mut Random) {
    let longest = [200, 1000, 5000, 20_000][random.below(4) as usize];
    std::thread::sleep(Duration::from_micros(random.below(longest)));
}

/// Opens, pushes in all ways and closes in a loop until it is killed.
fn produce(name: &Path, options: &ProducerOptions, ledger: &Ledger, mut random: Random) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let mut out = options.open(name).expect("a producer can always open");
        let next = out.next_sequence();
        let pushed = ledger.pushed().load(Ordering::SeqCst);
        let begun = ledger.begun().load(Ordering::SeqCst);
        assert!(
            (pushed..=begun).contains(&next),
            "opened at {next}, but {pushed} were pushed and {begun} begun"
        );
        ledger.opened().fetch_add(1, Ordering::SeqCst);
        ledger.pushed().store(next, Ordering::SeqCst);
        let slow = random.below(2) == 0;
        for turn in 0..random.below(200_000) {
            let next = out.next_sequence();
            let length = length_in(out.geometry(), next);
            let size = u64::from(out.geometry().message_size);
            let many = if size > 0 && random.below(8) == 0 {
                5
            } else {
                1
            };
            ledger.begun().store(next + many, Ordering::SeqCst);
            if many > 1 {
                let size = size as usize;
                for i in 0..many as usize {
                    fill(next + i as u64, &mut bytes[i * size..][..size]);
                }
                out.push_many(&bytes[..many as usize * size], size).unwrap();
            } else if random.below(4) == 0 {
                let room = if size > 0 { length } else { out.max_message() };
                if random.below(8) == 0 {
                    let mut given_up = out.claim(room).unwrap();
                    given_up.write(0, &vec![0xee; room]).unwrap();
                }
                fill(next, &mut bytes[..length]);
                let mut claim = out.claim(room).unwrap();
                claim.write(0, &bytes[..length / 2]).unwrap();
                claim.write(length / 2, &bytes[length / 2..length]).unwrap();
                claim.commit(length).unwrap();
            } else {
                fill(next, &mut bytes[..length]);
                out.push(&bytes[..length]).unwrap();
            }
            ledger.pushed().store(next + many, Ordering::SeqCst);
            if slow && turn % 32 == 0 {
                // Consumers can keep up with a producer that sleeps, but not with the others.
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }
}

/// Starts one producer after the other on the same file.
fn kill_producers(name: &Path) {
    let options = options(kind_of(number("SIZE")));
    let ledger = Ledger::open(argument("LEDGER").as_ref());
    let mut random = Random(number("SEED"));
    let (mut kills, mut stops) = (0u64, 0u64);
    let since = Instant::now();
    while since.elapsed() < duration() {
        let seed = random.next();
        let child = fork(|| produce(name, &options, &ledger, Random(seed)));
        pause(&mut random);
        if random.below(8) == 0 {
            stop(child, || {
                stops += 1;
                let before = ledger.pushed().load(Ordering::SeqCst);
                // The child may have been stopped before it took the lock or after it dropped it.
                match options.open(name) {
                    Err(Error::ProducerExists(_)) => {}
                    Ok(out) => assert!(out.next_sequence() >= before),
                    Err(e) => panic!("{e}"),
                }
                pause(&mut random);
                assert_eq!(before, ledger.pushed().load(Ordering::SeqCst));
            });
            pause(&mut random);
        }
        kill(child);
        kills += 1;
    }
    say(format_args!("killed {kills} {stops}"));
}

// --- consumers -----------------------------------------------------------------------------------

/// Set when the parent sends a line.
fn end_requested() -> &'static AtomicBool {
    static REQUESTED: AtomicBool = AtomicBool::new(false);
    std::thread::spawn(|| {
        listen();
        REQUESTED.store(true, Ordering::SeqCst);
    });
    &REQUESTED
}

/// Stays attached until the parent announces the end.
fn consume(name: &Path, how: &str) {
    let ended = end_requested();
    let mut q = Consumer::options()
        .start(Start::Oldest)
        .open_timeout(Duration::from_secs(30))
        .open(name)
        .unwrap();
    let start = q.next_sequence();
    let (mut expected, mut stale) = (start, 0u64);
    let geometry = *q.geometry();
    let size = q.max_message();
    let mut buffer = vec![0; 16 * size];
    let mut take = |sequence: u64, lost: u64, bytes: &[u8]| {
        assert_eq!(sequence, expected.wrapping_add(lost), "sequences");
        assert_eq!(bytes.len(), length_in(&geometry, sequence), "{sequence}");
        assert!(is_whole(sequence, bytes), "message {sequence} is torn");
        expected = sequence.wrapping_add(1);
    };
    say("ready");
    for turn in 0u64.. {
        // Read before the queue is. If no message is found after that, none is left.
        let last = ended.load(Ordering::SeqCst);
        let found = pop_by(how, &mut q, &mut buffer, &mut take);
        match found {
            Ok(Found::Messages) => {}
            Ok(Found::Overwritten) => stale += 1,
            // A producer that closes the queue opens it again later.
            Ok(Found::Nothing) | Err(Error::Closed(_)) if last => break,
            Ok(Found::Nothing) | Err(Error::Closed(_)) => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
        if turn % 256 == 0 {
            check_accounts(&q, start);
        }
    }
    let s = check_accounts(&q, start);
    assert_eq!(s.lag, 0);
    say(format_args!(
        "account {} {} {} {start} {stale}",
        s.pushed, s.received, s.lost
    ));
}

fn numbers(line: &str) -> Vec<u64> {
    line.split(' ').map(|n| n.parse().unwrap()).collect()
}

/// Kills a process that must still be alive.
fn kill_process(mut process: Process) {
    process.signal(libc::SIGKILL);
    let status = process.wait();
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
}

fn killed_over_and_over(kind: Kind, hows: [&str; 2]) {
    let (dir, aside) = (Dir::new(), Dir::new());
    let (name, path) = (dir.name("q"), aside.name("ledger"));
    let ledger = Ledger::open(&path);
    let seed = seed();
    println!("{kind:?}: seed {seed}");
    let size = match kind {
        Kind::Fixed(size) => size,
        Kind::Variable => 0,
    };
    let start = |role: &str, how: &str| {
        let text = |n: u64| n.to_string();
        let (name, path) = (name.to_str().unwrap(), path.to_str().unwrap());
        Process::start(
            role,
            &[
                ("NAME", name),
                ("LEDGER", path),
                ("HOW", how),
                ("SIZE", &text(size.into())),
                ("SEED", &text(seed)),
            ],
        )
    };
    let mut steady = hows.map(|how| start("consume", how));
    let mut killer = start("kill_producers", "");
    let mut random = Random(!seed);
    let since = Instant::now();
    let (mut killed, mut stopped) = (0u64, 0u64);
    let mut victim = start("consume", "pop");
    while since.elapsed() < duration() {
        std::thread::sleep(Duration::from_millis(random.below(30)));
        if random.below(4) == 0 {
            // A producer does not wait for a consumer that is stopped.
            let process = &steady[random.below(2) as usize];
            process.signal(libc::SIGSTOP);
            let before = ledger.pushed().load(Ordering::SeqCst);
            if since.elapsed() + Duration::from_secs(1) < duration() {
                eventually("a push while a consumer is stopped", || {
                    (ledger.pushed().load(Ordering::SeqCst) != before).then_some(())
                });
            }
            process.signal(libc::SIGCONT);
            stopped += 1;
        }
        kill_process(victim);
        killed += 1;
        let how = ["pop", "many", "peek"][random.below(3) as usize];
        victim = start("consume", how);
        if random.below(2) == 0 {
            victim.expect("ready");
        }
    }
    kill_process(victim);
    let counts = numbers(&killer.expect("killed"));
    killer.done();

    // Regardless of which process was killed last, the next producer opens the queue and continues.
    let mut out = options(kind).open(&name).unwrap();
    let range = ledger.pushed().load(Ordering::SeqCst)..=ledger.begun().load(Ordering::SeqCst);
    assert!(range.contains(&out.next_sequence()), "{range:?}");
    (0..3).for_each(|_| push_next(&mut out));
    let pushed = out.next_sequence();
    drop(out);
    println!(
        "{kind:?}: {} producers killed ({} stopped, {} openings), {killed} consumers killed \
         ({stopped} stopped), {pushed} messages",
        counts[0],
        counts[1],
        ledger.opened().load(Ordering::SeqCst)
    );
    steady.iter_mut().for_each(|p| p.tell("end"));
    for (mut process, how) in steady.into_iter().zip(hows) {
        process.expect("ready");
        let [seen, received, lost, start, stale] = numbers(&process.expect("account"))[..] else {
            panic!("an account must have five numbers");
        };
        process.done();
        println!("  {how}: {received} received, {lost} lost, {stale} overwritten in view");
        assert_eq!(seen, pushed);
        assert_eq!(received + lost, pushed - start);
        assert!(received > 0);
    }
    assert_eq!(dir.files(), ["q", "q.ctl", "q.lock"]);
    assert!(
        counts[0] > 20 && killed > 5,
        "too few kills for a meaningful test"
    );
}

#[test]
fn fixed_survives_kills() {
    killed_over_and_over(Kind::Fixed(24), ["pop", "many"]);
}

#[test]
fn variable_survives_kills() {
    killed_over_and_over(Kind::Variable, ["pop", "peek"]);
}

// --- kills while queues are made and replaced ----------------------------------------------------

/// The geometries that the queue alternates between.
const GEOMETRIES: [Kind; 2] = [Kind::Fixed(24), Kind::Variable];
/// The last geometry.
const LAST: Kind = Kind::Fixed(40);

fn replacing(kind: Kind) -> ProducerOptions {
    options(kind).replace(true)
}

/// Opens, pushes a few messages and closes, alternating between the geometries.
fn replace(name: &Path, ledger: &Ledger, mut random: Random) {
    for turn in random.below(2) as usize.. {
        let mut out = replacing(GEOMETRIES[turn % 2])
            .open(name)
            .expect("a producer can always open");
        ledger.opened().fetch_add(1, Ordering::SeqCst);
        (0..random.below(20)).for_each(|_| push_next(&mut out));
    }
}

fn kill_replacers(name: &Path) {
    let ledger = Ledger::open(argument("LEDGER").as_ref());
    let fresh = name.with_file_name("fresh");
    let mut random = Random(number("SEED"));
    let mut kills = 0u64;
    let since = Instant::now();
    while since.elapsed() < duration() {
        let seed = random.next();
        let child = fork(|| replace(name, &ledger, Random(seed)));
        pause(&mut random);
        kill(child);
        // The same for a name that does not exist yet.
        match ipcq::unlink(&fresh) {
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(e) => panic!("{e}"),
        }
        let child = fork(|| replace(&fresh, &ledger, Random(seed)));
        std::thread::sleep(Duration::from_micros(random.below(500)));
        kill(child);
        kills += 2;
    }
    drop(replacing(LAST).open(&fresh).unwrap());
    say(format_args!("killed {kills}"));
}

/// Follows a queue through its replacements until the last one.
fn follow(name: &Path) {
    let (mut messages, mut stale) = (0u64, 0u64);
    let open = || {
        let wait = Duration::from_secs(60) + duration();
        Consumer::options().open_timeout(wait).open(name).unwrap()
    };
    let mut q = open();
    let mut expected = q.next_sequence();
    say("ready");
    loop {
        match pop_next(&mut q) {
            Ok(Some(m)) => {
                assert_eq!(m.sequence, expected + m.lost, "sequences");
                expected = m.sequence + 1;
                messages += 1;
            }
            Ok(None) => std::thread::yield_now(),
            Err(Error::Closed(_)) if q.geometry().message_size == 40 => break,
            Err(Error::Closed(_)) => std::thread::yield_now(),
            Err(Error::Stale(_)) => {
                stale += 1;
                q = open();
                expected = q.next_sequence();
            }
            Err(e) => panic!("{e}"),
        }
    }
    say(format_args!("end {messages} {stale} {expected}"));
}

#[test]
fn killed_while_replacing() {
    let (dir, aside) = (Dir::new(), Dir::new());
    let (name, path) = (dir.name("q"), aside.name("ledger"));
    let ledger = Ledger::open(&path);
    let seed = seed();
    println!("replacing: seed {seed}");
    let text = seed.to_string();
    let arguments = [
        ("NAME", name.to_str().unwrap()),
        ("LEDGER", path.to_str().unwrap()),
        ("SEED", &text),
    ];
    let mut followers = [0, 1].map(|_| Process::start("follow", &arguments));
    let mut killer = Process::start("kill_replacers", &arguments);
    let kills = killer.expect("killed");
    killer.done();
    let mut out: Producer = replacing(LAST).open(&name).unwrap();
    assert_eq!(out.next_sequence(), 0);
    (0..10).for_each(|_| push_next(&mut out));
    drop(out);
    println!(
        "replacing: {kills} producers killed, {} openings",
        ledger.opened().load(Ordering::SeqCst)
    );
    for follower in &mut followers {
        follower.expect("ready");
        let end = numbers(&follower.expect("end"));
        println!("  follower: {} messages, {} replacements", end[0], end[1]);
        assert!(end[1] > 0, "the consumer never saw a replacement");
        assert_eq!(
            end[2], 10,
            "the consumer must read the last queue to its end"
        );
        assert!(follower.wait().success());
    }
    assert_eq!(
        dir.files(),
        ["fresh", "fresh.ctl", "fresh.lock", "q", "q.ctl", "q.lock"]
    );
}
