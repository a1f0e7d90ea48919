//! What waiting costs: `cargo bench --bench waiting`.
//!
//! Two ratios, each of two things measured in turns in one run, so that the machine's speed does
//! not matter: a push that looks for sleepers against one that does not, and the wake-up of a
//! sleeping consumer against that of a bare futex pair. Both are medians. The wake-up is measured
//! between two processes, pinned to different cores where there are two.

use ipcq::{Consumer, Producer, ProducerOptions};
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

fn main() {
    let mut builder = tempfile::Builder::new();
    builder.prefix("ipcq-bench.");
    let dir = builder
        .tempdir_in("/dev/shm")
        .or_else(|_| builder.tempdir())
        .unwrap();
    for (what, size, capacity) in [
        ("8 bytes", 8, 1 << 12),
        ("64 bytes", 64, 1 << 12),
        ("64 bytes of variable length", 0, 1 << 18),
    ] {
        let options = Producer::options().capacity(capacity).message_size(size);
        push(&dir.path().join("push"), what, &options);
    }
    wake(dir.path());
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn pin(core: usize) {
    // Asked once: a process that is pinned has one core.
    static CORES: OnceLock<usize> = OnceLock::new();
    let cores = *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    // SAFETY: a set of zeroes is a valid empty one, and is valid for the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core % cores, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

// One call each, as from C: the two differ in nothing else.
#[inline(never)]
fn heard_push(producer: &mut Producer, message: &[u8]) {
    producer.push(message).unwrap();
}

#[inline(never)]
fn unheard_push(producer: &mut Producer, message: &[u8]) {
    producer.push_unheard(message).unwrap();
}

/// A push with nobody asleep, warm, in one process.
fn push(name: &Path, what: &str, options: &ProducerOptions) {
    const ROUNDS: usize = 401;
    const PUSHES: usize = 20_000;
    pin(0);
    let mut producer = options.open(name).unwrap();
    let size = match producer.geometry().message_size {
        0 => 64,
        size => size as usize,
    };
    let message = vec![7u8; size];
    let mut time = |heard: bool| {
        let since = Instant::now();
        for _ in 0..PUSHES {
            let message = black_box(&message[..]);
            match heard {
                true => heard_push(&mut producer, message),
                false => unheard_push(&mut producer, message),
            }
        }
        since.elapsed().as_secs_f64() / PUSHES as f64 * 1e9
    };
    let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Neither is always the first.
        let (a, b) = match round % 2 {
            0 => {
                let a = time(true);
                (a, time(false))
            }
            _ => {
                let b = time(false);
                (time(true), b)
            }
        };
        with.push(a);
        without.push(b);
        ratios.push(a / b);
    }
    println!(
        "push, {what}: {:.2} ns, without the look for sleepers {:.2} ns, ratio {:.3}",
        median(with),
        median(without),
        median(ratios)
    );
    drop(producer);
    ipcq::unlink(name).unwrap();
}

/// What both processes of the wake-up see.
#[repr(C)]
struct Shared {
    word: AtomicU32,
    sent: AtomicU64,
}

fn now() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// From before the push until the message is there, in a consumer that sleeps.
fn wake(dir: &Path) {
    const WAKES: usize = 4001;
    // SAFETY: a new mapping, shared with the child, zero at first.
    let shared: &Shared = unsafe {
        let map = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(map, libc::MAP_FAILED);
        &*map.cast()
    };
    let name = dir.join("wake");
    let options = Producer::options().capacity(64).message_size(8);
    drop(options.open(&name).unwrap());
    let mut pipe = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        pin(0);
        let mut producer = options.open(&name).unwrap();
        // SAFETY: one byte is read from it.
        unsafe { libc::write(pipe[1], b"x".as_ptr().cast(), 1) };
        for turn in 0..2 * WAKES {
            // Long enough for the other to fall asleep; nothing depends on it but the figures.
            std::thread::sleep(Duration::from_micros(300));
            if turn % 2 == 0 {
                shared.sent.store(now(), Ordering::Relaxed);
                shared.word.fetch_add(1, Ordering::Release);
                // SAFETY: the word is mapped.
                unsafe { libc::syscall(libc::SYS_futex, &shared.word, libc::FUTEX_WAKE, i32::MAX) };
            } else {
                producer.push(&now().to_le_bytes()).unwrap();
            }
        }
        // SAFETY: ends the child without what the parent has registered.
        unsafe { libc::_exit(0) };
    }
    pin(1);
    let mut byte = 0u8;
    // SAFETY: room for one byte.
    unsafe { libc::read(pipe[0], (&raw mut byte).cast(), 1) };
    let mut consumer = Consumer::options().open(&name).unwrap();
    let (mut bare, mut ours, mut buffer) = (Vec::new(), Vec::new(), [0; 8]);
    for turn in 0..2 * WAKES {
        if turn % 2 == 0 {
            let seen = (turn / 2) as u32;
            while shared.word.load(Ordering::Acquire) == seen {
                // SAFETY: the word is mapped; no time is given.
                unsafe {
                    libc::syscall(
                        libc::SYS_futex,
                        &shared.word,
                        libc::FUTEX_WAIT,
                        seen,
                        std::ptr::null::<libc::timespec>(),
                    )
                };
            }
            bare.push((now() - shared.sent.load(Ordering::Relaxed)) as f64 / 1e3);
        } else {
            consumer.pop_wait(&mut buffer, Duration::MAX).unwrap();
            ours.push((now() - u64::from_le_bytes(buffer)) as f64 / 1e3);
        }
    }
    // SAFETY: waits for the child.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    let (bare, ours) = (median(bare), median(ours));
    println!(
        "wake-up, p50: {ours:.2} us, bare futex pair {bare:.2} us, ratio {:.3}",
        ours / bare
    );
}
