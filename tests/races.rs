//! Every pair of operations on one name, in two processes. The first process is stopped before each
//! of its steps, the other one runs to its end, and then the first one continues or is killed. Each
//! process gets the old queue, the new queue or a documented error. A queue never lacks its control
//! file, and no file is left over.
//!
//! Needs the feature `steps` (`scripts/steps.sh`). A normal run tries some of the steps, selected
//! by the time. With `IPCQ_SOAK_SECONDS` it tries all.

mod common;

use common::*;
use ipcq::{Consumer, Delivery, Error, Producer};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// An operation of a process on the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Opens the queue as its producer, pushes, and closes it.
    Produce,
    /// As `Produce`, with a fork in between.
    ProduceAndFork,
    /// As `Produce` with messages of another size, so that it replaces an existing queue.
    Replace,
    /// Opens the queue as a consumer, takes the available messages, and closes it.
    Consume,
    /// As `Consume`, also in a forked child.
    ConsumeAndFork,
    Unlink,
}

use Doing::*;

const ALL: [Doing; 6] = [
    Produce,
    ProduceAndFork,
    Replace,
    Consume,
    ConsumeAndFork,
    Unlink,
];

impl Doing {
    /// Whether the operation takes the lock of the name.
    fn locks(self) -> bool {
        !matches!(self, Consume | ConsumeAndFork)
    }
}

/// The result, as the exit status of the process. A panic is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
enum Outcome {
    Done = 0,
    /// The queue does not exist.
    Missing = 10,
    /// Another process holds the name.
    Busy = 11,
    /// The queue differs from the requested one.
    Other = 12,
}

impl Outcome {
    fn of(status: i32) -> Outcome {
        assert!(
            libc::WIFEXITED(status),
            "the process was ended by {:#x}",
            status
        );
        match libc::WEXITSTATUS(status) {
            0 => Outcome::Done,
            10 => Outcome::Missing,
            11 => Outcome::Busy,
            12 => Outcome::Other,
            status => panic!("status {status}"),
        }
    }
}

/// Messages that a process pushes in one go. A ring has room for all messages of a turn.
const PUSHED: u64 = 3;
const CAPACITY: u64 = 64;
/// The message sizes of the existing queue and of the one that replaces it.
const SIZES: [usize; 2] = [8, 16];

fn options(size: usize, delivery: Delivery) -> ipcq::ProducerOptions {
    Kind::Fixed(size as u32)
        .options(CAPACITY)
        .delivery(delivery)
}

fn produce(name: &Path, replace: bool, forks: bool, delivery: Delivery) -> Outcome {
    let options = options(SIZES[usize::from(replace)], delivery).replace(replace);
    let mut out = match options.open(name) {
        Ok(out) => out,
        Err(Error::ProducerExists(_)) => return Outcome::Busy,
        Err(Error::Geometry(_)) => return Outcome::Other,
        Err(e) => panic!("{e:?}"),
    };
    push_some(&mut out);
    if forks {
        let child = fork_to_the_end(|| {
            ipcq::__binding::signal_at(u64::MAX, 0);
            assert!(matches!(out.push(&[0; 8]), Err(Error::WrongRole(_))));
            // The child drops its copy, which changes nothing.
        });
        assert!(wait_for(child).success());
        push_some(&mut out);
    }
    Outcome::Done
}

fn push_some(out: &mut Producer) {
    for _ in 0..PUSHED {
        let (next, length) = (out.next_sequence(), out.geometry().message_size);
        match out.push(&message(next, length as usize)) {
            Ok(()) => {}
            // A consumer that was stopped while it attached holds the producer back.
            Err(Error::Full(_)) => return,
            Err(e) => panic!("{e:?}"),
        }
    }
}

/// Takes the available messages and checks that they are complete.
fn take(q: &mut Consumer) -> u64 {
    let mut taken = 0;
    loop {
        let mut buffer = [0; 64];
        match q.pop(&mut buffer) {
            Ok(Some(m)) => {
                assert!(is_whole(m.sequence, &buffer[..m.length as usize]), "{m:?}");
                assert_eq!(m.lost, 0);
                taken += 1;
            }
            Ok(None) | Err(Error::Closed(_) | Error::Stale(_)) => return taken,
            Err(e) => panic!("{e:?}"),
        }
    }
}

fn consume(name: &Path, forks: bool, delivery: Delivery) -> Outcome {
    let mut q = match Consumer::options().open(name) {
        Ok(q) => q,
        Err(Error::NotFound(_)) => return Outcome::Missing,
        Err(e) => panic!("{e:?}"),
    };
    if delivery == Delivery::Lossless {
        assert!(
            q.stats().unwrap().consumers > 0,
            "the consumer must be attached"
        );
    }
    if forks {
        let child = fork_to_the_end(|| {
            ipcq::__binding::signal_at(u64::MAX, 0);
            take(&mut q);
            drop(q);
        });
        assert!(wait_for(child).success());
        // SAFETY: ends this process. It no longer owns the handle, which the child had.
        unsafe { libc::_exit(take_again(name)) };
    }
    take(&mut q);
    Outcome::Done
}

/// Continues in the parent of a fork, whose own handle was moved into the closure of the child.
fn take_again(name: &Path) -> i32 {
    match Consumer::options().open(name) {
        Ok(mut q) => {
            take(&mut q);
            0
        }
        // Removed in the meantime.
        Err(Error::NotFound(_)) => 0,
        Err(e) => panic!("{e:?}"),
    }
}

fn unlink(name: &Path) -> Outcome {
    match ipcq::unlink(name) {
        Ok(()) => Outcome::Done,
        Err(Error::NotFound(_)) => Outcome::Missing,
        Err(Error::ProducerExists(_)) => Outcome::Busy,
        Err(e) => panic!("{e:?}"),
    }
}

fn act(doing: Doing, name: &Path, delivery: Delivery) -> Outcome {
    match doing {
        Produce => produce(name, false, false, delivery),
        ProduceAndFork => produce(name, false, true, delivery),
        Replace => produce(name, true, false, delivery),
        Consume => consume(name, false, delivery),
        ConsumeAndFork => consume(name, true, delivery),
        Unlink => unlink(name),
    }
}

/// Starts a process that runs the operation. It stops itself before step `at`, if it gets that far.
fn start(doing: Doing, name: &Path, delivery: Delivery, at: u64) -> i32 {
    fork(|| {
        // SAFETY: the call takes a number and cannot fail. The alarm turns a hang into a failure.
        unsafe { libc::alarm(20) };
        ipcq::__binding::signal_at(at, libc::SIGSTOP);
        let outcome = act(doing, name, delivery);
        // SAFETY: ends a forked process at once, without the exit handlers of its parent.
        unsafe { libc::_exit(outcome as i32) };
    })
}

fn wait(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is valid for writes, and the child was not waited for.
    let waited = unsafe { libc::waitpid(child, &mut status, libc::WUNTRACED) };
    assert_eq!(waited, child);
    status
}

fn send(child: i32, signal: i32) {
    // SAFETY: the call takes numbers, and the child was not waited for.
    assert_eq!(unsafe { libc::kill(child, signal) }, 0);
}

/// Two processes and the initial state.
#[derive(Debug, Clone, Copy)]
struct Race {
    /// Is stopped, and then continues or is killed.
    first: Doing,
    /// Runs while the first process is stopped.
    second: Doing,
    exists: bool,
    delivery: Delivery,
    killed: bool,
}

impl Race {
    /// Whether `this` may have this outcome. `stood`: the other process was stopped at the time.
    /// Otherwise it has run in the meantime.
    fn may_end(&self, this: Doing, other: Doing, outcome: Outcome, stood: bool) -> bool {
        match outcome {
            Outcome::Done => true,
            Outcome::Missing => {
                matches!(this, Consume | ConsumeAndFork | Unlink)
                    && (!self.exists || other == Unlink)
            }
            // Only while the other process is stopped. Afterwards no process holds the name.
            Outcome::Busy => stood && this.locks() && other.locks(),
            Outcome::Other => this != Replace && this.locks() && other == Replace,
        }
    }

    /// Runs one turn. Returns whether the first process was stopped.
    fn run(&self, dir: &Dir, at: u64) -> bool {
        let name = &dir.name("q");
        if self.exists {
            drop(
                options(SIZES[0], self.delivery)
                    .open(name)
                    .map(|mut out| push_some(&mut out)),
            );
        }
        let first = start(self.first, name, self.delivery, at);
        let status = wait(first);
        let stopped = libc::WIFSTOPPED(status);
        if !stopped {
            let outcome = Outcome::of(status);
            assert!(
                self.may_end(self.first, self.first, outcome, false),
                "{outcome:?}"
            );
        }
        let second = start(self.second, name, self.delivery, u64::MAX);
        let outcome = Outcome::of(wait(second));
        assert!(
            self.may_end(self.second, self.first, outcome, stopped),
            "the second: {outcome:?}"
        );
        if stopped && self.killed {
            send(first, libc::SIGKILL);
            wait(first);
        } else if stopped {
            send(first, libc::SIGCONT);
            let outcome = Outcome::of(wait(first));
            assert!(
                self.may_end(self.first, self.second, outcome, false),
                "the first: {outcome:?}"
            );
            let files = dir.files();
            match files.is_empty() {
                true => {}
                false => assert_eq!(files, ["q", "q.ctl", "q.lock"]),
            }
        }
        self.check_remains(dir, name);
        stopped
    }

    /// Checks that the remaining files are complete, and that the next producer continues or
    /// replaces the queue.
    fn check_remains(&self, dir: &Dir, name: &Path) {
        if name.exists() {
            let mut q = Consumer::options().open(name).unwrap();
            take(&mut q);
            assert_eq!(ipcq::inspect(name).unwrap().stats.id, q.stats().unwrap().id);
        }
        let outcome = produce(name, true, false, self.delivery);
        assert_eq!(outcome, Outcome::Done);
        let mut q = Consumer::options().open(name).unwrap();
        assert!(take(&mut q) >= PUSHED);
        drop(q);
        assert_eq!(dir.files(), ["q", "q.ctl", "q.lock"]);
        ipcq::unlink(name).unwrap();
        assert_eq!(dir.files(), [""; 0]);
    }
}

/// Stops the first operation at every step, or at every `stride`-th step.
fn every_step(race: Race, stride: u64, offset: u64) -> u64 {
    let dir = Dir::new();
    let mut tried = 0;
    for at in (1 + offset % stride..).step_by(stride as usize) {
        let turn = std::panic::AssertUnwindSafe(|| race.run(&dir, at));
        match std::panic::catch_unwind(turn) {
            Ok(stopped) => {
                tried += 1;
                if !stopped {
                    break;
                }
            }
            Err(_) => panic!("{race:?}, stopped at step {at}, files: {:?}", dir.files()),
        }
    }
    tried
}

fn against(delivery: Delivery, exists: bool) {
    let all = std::env::var_os("IPCQ_SOAK_SECONDS").is_some();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (stride, mut offset) = match all {
        true => (1, 0),
        false => (13, u64::from(now.subsec_nanos())),
    };
    let mut turns = 0;
    for first in ALL {
        for second in ALL {
            for killed in [false, true] {
                let race = Race {
                    first,
                    second,
                    exists,
                    delivery,
                    killed,
                };
                turns += every_step(race, stride, offset);
                offset += 1;
            }
        }
    }
    println!("{delivery:?}, exists: {exists}: {turns} turns");
}

#[test]
fn pairs_of_operations_on_a_lossy_queue() {
    against(Delivery::Lossy, true);
}

#[test]
fn pairs_of_operations_on_a_lossless_queue() {
    against(Delivery::Lossless, true);
}

#[test]
fn pairs_of_operations_on_no_queue() {
    against(Delivery::Lossy, false);
    against(Delivery::Lossless, false);
}
