//! Processes, processors, clocks and arguments.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Prints the reason and ends the program, from any process or thread.
#[cold]
pub fn die(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(1)
}

/// The argument `name=value`.
pub fn text_arg(name: &str) -> Option<String> {
    std::env::args().find_map(|a| Some(a.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// The argument as a number.
pub fn arg(name: &str, otherwise: u64) -> u64 {
    text_arg(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Binds the thread to a processor.
pub fn pin(cpu: u64) {
    // SAFETY: a cpu_set_t is plain data and is passed with its size.
    let rc = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if rc != 0 {
        die(&format!("cpu {cpu}: {}", std::io::Error::last_os_error()));
    }
}

/// A clock that costs a few nanoseconds.
#[inline(always)]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let mut t = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `t` is valid for writes.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
        t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
    }
}

/// Converts ticks to time.
pub struct Clock(Instant, u64);

impl Clock {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Clock {
        Clock(Instant::now(), ticks())
    }

    /// The nanoseconds per tick, measured since `new`.
    pub fn ns_per_tick(&self) -> f64 {
        while self.0.elapsed() < Duration::from_millis(10) {
            std::hint::spin_loop();
        }
        self.0.elapsed().as_nanos() as f64 / (ticks() - self.1) as f64
    }
}

#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// Two processes or threads synchronise here, measure their distance, and store a figure.
#[derive(Default)]
#[repr(C)]
pub struct Shared {
    here: [Line; 2],
    lines: [Line; 2],
    /// The figure of the side that is not measured.
    pub figure: AtomicU64,
}

/// Waits for the other side. It yields the processor, because the wait may be long.
pub fn meet(shared: &Shared, me: usize) {
    shared.here[me].0.fetch_add(1, Ordering::SeqCst);
    while shared.here[1 - me].0.load(Ordering::SeqCst) < shared.here[me].0.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
}

impl Shared {
    /// The median round trip of a word between the two sides, in ticks, as `distance` in `bench.h`.
    pub fn distance(&self, me: usize) -> u64 {
        const TRIPS: u64 = 1000;
        self.lines[me].0.store(0, Ordering::SeqCst);
        meet(self, me);
        let mut samples = Vec::with_capacity(TRIPS as usize);
        for i in 1..=TRIPS {
            let begun = ticks();
            if me == 0 {
                self.lines[0].0.store(i, Ordering::Release);
            }
            while self.lines[1 - me].0.load(Ordering::Acquire) != i {}
            if me == 1 {
                self.lines[1].0.store(i, Ordering::Release);
            }
            samples.push(ticks() - begun);
        }
        meet(self, me);
        samples.sort_unstable();
        samples[samples.len() / 2]
    }
}

/// Runs `second` in a forked process and `first` in this one.
pub fn processes<T>(first: impl FnOnce(&Shared) -> T, second: impl FnOnce(&Shared)) -> T {
    // SAFETY: shared anonymous memory, in which zeroes are a valid `Shared`. This process has no
    // other thread yet.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            size_of::<Shared>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if at == libc::MAP_FAILED {
            die("mmap");
        }
        let shared = &*at.cast::<Shared>();
        let parent = libc::getpid();
        match libc::fork() {
            -1 => die("fork"),
            0 => {
                // The child spins, so it must not outlive its parent.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid() != parent {
                    libc::_exit(1);
                }
                second(shared);
                std::process::exit(0);
            }
            child => {
                let done = first(shared);
                let mut status = 0;
                if libc::waitpid(child, &mut status, 0) != child || status != 0 {
                    die("the other process failed");
                }
                done
            }
        }
    }
}
