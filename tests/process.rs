//! Events in the life of a process that has queues open: it closes descriptors, forks, changes its
//! user, reaches a limit, receives signals or is stopped, and its files are removed.
//!
//! `IPCQ_SOAK_SECONDS` makes the test of signals try many more points in time.

mod common;

use common::*;
use ipcq::__binding::layout::at;
use ipcq::{wait_any, Consumer, Delivery, Error, Producer, SharedMem};
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The uid of the unprivileged user `nobody`.
const NOBODY: u32 = 65534;

const NO_LIMIT: Duration = Duration::MAX;

/// A wait that must end much earlier.
const LONG: Duration = Duration::from_secs(20);

fn lossless() -> ipcq::ProducerOptions {
    Kind::Fixed(24).options(64).delivery(Delivery::Lossless)
}

/// Runs `body` in a forked process, which must end successfully and soon.
fn in_a_process(body: impl FnOnce()) {
    let child = fork_to_the_end(|| {
        // SAFETY: the call takes a number and cannot fail.
        unsafe { libc::alarm(30) };
        body();
    });
    let status = wait_for(child);
    assert!(status.success(), "{status}");
}

/// A program that has closed its standard descriptors still writes to their numbers.
#[test]
fn no_file_gets_a_standard_descriptor() {
    let dir = Dir::new();
    let (name, memory) = (dir.name("q"), dir.name("memory"));
    in_a_process(|| {
        // A panic could not be reported, so the exit status says which step failed.
        let mut step = 0;
        let mut check = || {
            step += 1;
            for fd in 0..3 {
                // SAFETY: the call takes numbers.
                if unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1 {
                    // SAFETY: the process ends.
                    unsafe { libc::_exit(10 * step + fd) };
                }
            }
        };
        for fd in 0..3 {
            // SAFETY: nothing in this process uses the descriptor any more.
            unsafe { libc::close(fd) };
        }
        let mut out = lossless().open(&name).unwrap();
        check();
        let mut q = Consumer::options().open(&name).unwrap();
        check();
        q.fd().unwrap();
        check();
        let _shared = SharedMem::create(&memory, 4096, 0o600).unwrap();
        let _reader = SharedMem::open(&memory).unwrap();
        check();
        out.push(&message(0, 24)).unwrap();
        let child = fork_to_the_end(|| {
            pop_next(&mut q).unwrap().unwrap();
            q.fd().unwrap();
            check();
        });
        if !wait_for(child).success() {
            // SAFETY: the process ends.
            unsafe { libc::_exit(9) };
        }
    });
}

/// Changes to another user. `false` if that is not permitted.
fn become_nobody() -> bool {
    // SAFETY: an empty list of groups, and numbers.
    unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setgid(NOBODY) == 0
            && libc::setuid(NOBODY) == 0
    }
}

fn is_root() -> bool {
    // SAFETY: the call takes no arguments and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("skipped: only root can become another user");
    }
    root
}

// --- descriptors ---------------------------------------------------------------------------------

/// Daemons close all of their descriptors. Later other files may have the same numbers.
#[test]
fn a_program_that_closes_all_descriptors_keeps_its_queues() {
    let dir = Dir::new();
    let name = &dir.name("q");
    in_a_process(|| {
        let mut out = lossless().open(name).unwrap();
        let mut q = Consumer::options().open(name).unwrap();
        let memory = SharedMem::create(dir.name("m"), 100, 0).unwrap();
        q.fd().unwrap();
        // SAFETY: only the queues use any of these descriptors.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        assert_eq!(closed, 0);
        let others: Vec<_> = (0..40)
            .map(|i| std::fs::File::create(dir.name(&format!("other{i}"))).unwrap())
            .collect();
        for _ in 0..100 {
            push_next(&mut out);
            assert!(pop_next(&mut q).unwrap().is_some());
        }
        in_a_process(|| {
            for _ in 0..3 {
                let second = lossless().open(name);
                assert!(
                    matches!(second, Err(Error::ProducerExists(_))),
                    "{second:?}"
                );
                let second = SharedMem::create(dir.name("m"), 100, 0);
                assert!(
                    matches!(second, Err(Error::ProducerExists(_))),
                    "{second:?}"
                );
            }
        });
        // The producer still notices that a consumer has died.
        let ready = Words::open(&dir.name("ready"));
        let other = fork(|| {
            let options = Consumer::options().start(ipcq::Start::Next);
            let _q = options.open(name).unwrap();
            ready.word(0).store(1, Ordering::SeqCst);
            loop {
                // SAFETY: the call takes no arguments.
                unsafe { libc::pause() };
            }
        });
        eventually("another consumer", || {
            (ready.word(0).load(Ordering::SeqCst) == 1).then_some(())
        });
        (0..64).for_each(|_| push_next(&mut out));
        while pop_next(&mut q).unwrap().is_some() {}
        assert!(matches!(out.push(&[0; 24]), Err(Error::Full(_))));
        // SAFETY: the call takes numbers, and the process was not waited for.
        unsafe { libc::kill(other, libc::SIGKILL) };
        wait_for(other);
        let next = out.next_sequence();
        out.push_wait(&message(next, 24), LONG).unwrap();
        assert!(pop_next(&mut q).unwrap().is_some());
        // The consumer has found an empty ring and does not count as dead.
        (0..64).for_each(|_| push_next(&mut out));
        assert!(matches!(out.push(&[0; 24]), Err(Error::Full(_))));
        drop((q, memory));
        push_next(&mut out);
        drop(out);
        for (i, other) in others.iter().enumerate() {
            other.write_at(b"x", 0).unwrap();
            assert_eq!(std::fs::read(dir.name(&format!("other{i}"))).unwrap(), b"x");
        }
    });
}

/// The numbers of a handle's descriptors may later belong to eventfds of the program. All eventfds
/// have the same inode, so they cannot be distinguished from each other.
#[test]
fn an_eventfd_of_the_program_is_left_alone() {
    let dir = Dir::new();
    let name = &dir.name("q");
    in_a_process(|| {
        let mut out = lossless().open(name).unwrap();
        let mut consumer = Some(Consumer::options().open(name).unwrap());
        consumer.as_mut().unwrap().fd().unwrap();
        let event = || {
            // SAFETY: the call takes numbers.
            let fd = unsafe { libc::eventfd(5, libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE) };
            assert!(fd >= 0);
            fd
        };
        // SAFETY: only the queues use any of these descriptors.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        assert_eq!(closed, 0);
        let others: Vec<i32> = (0..40).map(|_| event()).collect();
        // A child closes the descriptors of its parent's locks and no others.
        in_a_process(|| {
            let _ = consumer.as_mut().unwrap().pop(&mut [0; 24]);
            in_a_process(|| drop(consumer.take()));
            drop(consumer.take());
            all_have(&others, 5);
        });
        let mut q = consumer.unwrap();
        for _ in 0..100 {
            push_next(&mut out);
            assert!(pop_next(&mut q).unwrap().is_some());
            assert!(pop_next(&mut q).unwrap().is_none());
        }
        drop((out, q));
        all_have(&others, 4);
    });
}

/// Checks that each of these eventfds has this value, and reads from it, which reduces the value by
/// one.
fn all_have(events: &[i32], value: u64) {
    for &fd in events {
        let path = format!("/proc/self/fdinfo/{fd}");
        let info = std::fs::read_to_string(path).expect("an open descriptor");
        let count = info.lines().find_map(|l| l.strip_prefix("eventfd-count:"));
        let count = u64::from_str_radix(count.expect("an eventfd").trim(), 16).unwrap();
        assert_eq!(count, value);
        let mut one = [0; 8];
        // SAFETY: `one` is valid for writes of eight bytes.
        assert_eq!(unsafe { libc::read(fd, one.as_mut_ptr().cast(), 8) }, 8);
    }
}

/// A process that a thread is starting shares all open file descriptions until its `exec`. With
/// them it holds the locks of handles that another thread has just opened and closed.
#[test]
fn starting_a_process_blocks_no_open() {
    let dir = Dir::new();
    let name = &dir.name("q");
    in_a_process(|| {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let child = std::process::Command::new("/bin/true").spawn();
                    child.unwrap().wait().unwrap();
                }
            });
            let open_and_close = || -> ipcq::Result<()> {
                for _ in 0..500 {
                    let mut out = lossless().max_consumers(1).open(name)?;
                    let mut q = Consumer::options().start(ipcq::Start::Next).open(name)?;
                    push_next(&mut out);
                    assert!(pop_next(&mut q)?.is_some());
                    drop((q, out));
                    SharedMem::create(dir.name("m"), 100, 0)?;
                }
                Ok(())
            };
            let result = open_and_close();
            done.store(true, Ordering::Relaxed);
            result.unwrap();
        });
    });
}

/// A program may pass the name of an unrelated file by mistake.
#[test]
fn an_unrelated_file_is_neither_removed_nor_replaced() {
    let dir = Dir::new();
    let name = &dir.name("letter.txt");
    std::fs::write(name, "Dear Sir or Madam").unwrap();
    for _ in 0..2 {
        let removed = ipcq::unlink(name);
        assert!(matches!(removed, Err(Error::Damaged(_))), "{removed:?}");
        let removed = SharedMem::unlink(name);
        assert!(matches!(removed, Err(Error::Damaged(_))), "{removed:?}");
        let replaced = lossless().replace(true).open(name);
        assert!(matches!(replaced, Err(Error::Damaged(_))), "{replaced:?}");
        assert_eq!(std::fs::read(name).unwrap(), b"Dear Sir or Madam");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    // A file that replaced a queue may be removed.
    drop(lossless().open(dir.name("q")).unwrap());
    std::fs::write(dir.name("q"), "no queue any more").unwrap();
    drop(lossless().replace(true).open(dir.name("q")).unwrap());
    ipcq::unlink(dir.name("q")).unwrap();
}

/// A child made without the fork handlers keeps neither a lock nor its open file description.
#[test]
fn a_bare_clone_keeps_no_lock_of_its_parent() {
    let dir = Dir::new();
    let name = &dir.name("q");
    let words = Words::open(&dir.name("words"));
    let parent = fork(|| {
        let _out = lossless().open(name).unwrap();
        let _q = Consumer::options().open(name).unwrap();
        // SAFETY: as `fork`, except that no handler runs.
        let child = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if child != 0 {
            words.word(0).store(child as u64, Ordering::SeqCst);
        }
        loop {
            // SAFETY: the call takes no arguments.
            unsafe { libc::pause() };
        }
    });
    let clone = eventually("the clone", || match words.word(0).load(Ordering::SeqCst) {
        0 => None,
        pid => Some(pid as i32),
    });
    let watcher = Consumer::options().observer(true).open(name).unwrap();
    assert!(watcher.stats().unwrap().producer_alive);
    // SAFETY: the call takes numbers, and the process was not waited for.
    unsafe { libc::kill(parent, libc::SIGKILL) };
    wait_for(parent);
    assert!(!watcher.stats().unwrap().producer_alive);
    let mut out = lossless().open(name).unwrap();
    assert_eq!(out.consumers().len(), 0);
    // No process holds the producer back.
    for _ in 0..200 {
        let next = out.next_sequence();
        out.push_wait(&message(next, 24), LONG).unwrap();
    }
    // SAFETY: the call takes numbers. The process exists until it is killed, so the number is still
    // its own.
    unsafe { libc::kill(clone, libc::SIGKILL) };
}

/// A forked child of a lossless consumer takes its own consumer slot, even after it has changed its
/// directory, root or user.
#[test]
fn a_child_gets_its_own_slot_after_chdir_chroot_or_setuid() {
    type Change = fn(&Path);
    let before: [(&str, Change); 4] = [
        ("nothing", |_| {}),
        ("unlinked", |name| ipcq::unlink(name).unwrap()),
        ("renamed", |name| {
            std::fs::rename(name, name.with_file_name("elsewhere")).unwrap();
        }),
        ("replaced", |name| {
            let other = Kind::Fixed(40).options(64).replace(true).open(name);
            drop(other.unwrap());
        }),
    ];
    let inside: [(&str, Change); 4] = [
        ("nothing", |_| {}),
        ("another directory", |_| {
            std::env::set_current_dir("/").unwrap()
        }),
        ("another root", |name| {
            let empty = name.with_file_name("empty");
            let path = CString::new(empty.as_os_str().as_bytes()).unwrap();
            // SAFETY: `path` is a C string.
            assert_eq!(unsafe { libc::chroot(path.as_ptr()) }, 0);
        }),
        ("another user", |_| assert!(become_nobody())),
    ];
    if !is_root() {
        return;
    }
    for (what, change) in before {
        for (where_to, go) in inside {
            let dir = Dir::new();
            let name = &dir.name("q");
            std::fs::create_dir(dir.name("empty")).unwrap();
            in_a_process(|| {
                let mut out = lossless().open(name).unwrap();
                let mut q = Consumer::options().open(name).unwrap();
                (0..3).for_each(|_| push_next(&mut out));
                if what == "replaced" {
                    drop(out);
                }
                change(name);
                in_a_process(|| {
                    go(name);
                    for sequence in 0..3 {
                        let got = pop_next(&mut q).unwrap().unwrap();
                        assert_eq!(got.sequence, sequence, "{what}, {where_to}");
                    }
                });
                for sequence in 0..3 {
                    assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, sequence);
                }
            });
        }
    }
}

// --- limits --------------------------------------------------------------------------------------

fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: `limit` is valid for reads.
    assert_eq!(unsafe { libc::setrlimit(resource, &limit) }, 0);
}

/// If the system returns `EAGAIN` because a limit is reached, that is not reported as an empty
/// queue.
#[test]
fn a_system_limit_is_not_reported_as_a_queue_state() {
    if !is_root() {
        return;
    }
    let dir = Dir::new();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let big = Kind::Fixed(64).options(1 << 17).permissions(0o666);
    let _out = big.open(dir.name("big")).unwrap();
    let says = |error: Error, what: &str| {
        assert!(matches!(error, Error::Os(libc::EAGAIN, _)), "{error:?}");
        assert_eq!(error.code(), -libc::ENOMEM);
        assert!(error.to_string().contains(what), "{error}");
    };
    in_a_process(|| {
        assert!(become_nobody());
        limit(libc::RLIMIT_MEMLOCK, 4 << 20);
        // SAFETY: the call takes a number.
        assert_eq!(unsafe { libc::mlockall(libc::MCL_FUTURE) }, 0);
        says(big.open(dir.name("mine")).unwrap_err(), "ulimit -l");
        let consumer = Consumer::options().open(dir.name("big"));
        says(consumer.unwrap_err(), "ulimit -l");
        let memory = SharedMem::create(dir.name("memory"), 8 << 20, 0);
        says(memory.unwrap_err(), "ulimit -l");
    });
    in_a_process(|| {
        assert!(become_nobody());
        let mut q = Consumer::options().open(dir.name("big")).unwrap();
        limit(libc::RLIMIT_NPROC, 0);
        says(q.fd().unwrap_err(), "descriptor");
    });
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static RESERVED: AtomicU32 = AtomicU32::new(0);

/// Replaces the function of the C library, so that a test can interrupt it.
///
/// # Safety
/// The function has no requirements.
#[no_mangle]
pub unsafe extern "C" fn posix_fallocate(
    fd: libc::c_int,
    offset: libc::off_t,
    length: libc::off_t,
) -> libc::c_int {
    RESERVED.fetch_add(1, Ordering::Relaxed);
    if INTERRUPTED.load(Ordering::Relaxed) {
        return libc::EINTR;
    }
    // SAFETY: the call takes numbers.
    match unsafe { libc::fallocate(fd, 0, offset, length) } {
        0 => 0,
        _ => std::io::Error::last_os_error().raw_os_error().unwrap(),
    }
}

/// A process with a timer interrupts the reservation of space repeatedly.
#[test]
fn reserving_space_ends_despite_a_timer() {
    let dir = Dir::new();
    let name = &dir.name("q");
    in_a_process(|| {
        INTERRUPTED.store(true, Ordering::Relaxed);
        let opened = lossless().open(name);
        assert!(matches!(opened, Err(Error::Interrupted(_))), "{opened:?}");
        assert!(RESERVED.load(Ordering::Relaxed) > 0);
        assert_eq!(dir.files(), [""; 0]);
        INTERRUPTED.store(false, Ordering::Relaxed);
        lossless().open(name).unwrap();
    });
}

// --- files that are removed, or are not what they seem -------------------------------------------

/// A producer finds its queue by the name. If the name is gone and the producer is dead, no more
/// messages will come.
#[test]
fn a_queue_without_name_and_producer_ends_every_wait() {
    let removals: [fn(&Path); 2] = [
        |name| ipcq::unlink(name).unwrap(),
        // As a cleaner of old files or a logout does.
        |name| std::fs::remove_file(name).unwrap(),
    ];
    for remove in removals {
        let dir = Dir::new();
        let name = &dir.name("q");
        let words = Words::open(&dir.name("words"));
        let producer = fork(|| {
            let mut out = lossless().open(name).unwrap();
            words.word(0).store(1, Ordering::SeqCst);
            while words.word(0).load(Ordering::SeqCst) != 2 {
                std::thread::yield_now();
            }
            push_next(&mut out);
            words.word(0).store(3, Ordering::SeqCst);
            loop {
                // SAFETY: the call takes no arguments.
                unsafe { libc::pause() };
            }
        });
        let says = |word| {
            eventually("the producer", || {
                (words.word(0).load(Ordering::SeqCst) == word).then_some(())
            });
        };
        says(1);
        let open = |observer| Consumer::options().observer(observer).open(name).unwrap();
        let (mut q, mut polled) = (open(false), open(true));
        let (mut one, mut other) = (open(true), open(true));
        let fd = polled.fd().unwrap();
        assert!(!q.stats().unwrap().unlinked);
        remove(name);
        // While the producer is alive, messages may come.
        assert!(q.stats().unwrap().unlinked);
        let waited = q.wait(Duration::from_millis(20));
        assert!(matches!(waited, Err(Error::TimedOut(_))), "{waited:?}");
        words.word(0).store(2, Ordering::SeqCst);
        says(3);
        for q in [&mut q, &mut polled, &mut one, &mut other] {
            q.wait(LONG).unwrap();
            assert_eq!(pop_next(q).unwrap().unwrap().sequence, 0);
            assert!(pop_next(q).unwrap().is_none());
        }
        // SAFETY: the call takes numbers, and the process was not waited for.
        unsafe { libc::kill(producer, libc::SIGKILL) };
        wait_for(producer);
        let waited = q.wait(LONG);
        assert!(matches!(waited, Err(Error::Stale(_))), "{waited:?}");
        assert!(matches!(pop_next(&mut q), Err(Error::Stale(_))));
        let first = wait_any(&mut [&mut one, &mut other], LONG).unwrap();
        let popped = pop_next([&mut one, &mut other][first]);
        assert!(matches!(popped, Err(Error::Stale(_))), "{popped:?}");
        eventually("the end, reported by the descriptor", || {
            let mut poll = libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: `poll` is one valid entry.
            assert!(unsafe { libc::poll(&mut poll, 1, 10_000) } >= 0);
            match pop_next(&mut polled) {
                Ok(None) => None,
                Err(Error::Stale(_)) => Some(()),
                other => panic!("{other:?}"),
            }
        });
        // A queue that is created later under that name is another queue.
        if !name.with_file_name("q.ctl").exists() {
            drop(lossless().open(name).unwrap());
            let again = Consumer::options().open(name).unwrap();
            assert_ne!(again.stats().unwrap().id, q.stats().unwrap().id);
        }
    }
}

/// The positions of attached consumers are in the control file and would be lost.
#[test]
fn a_lossless_queue_is_not_continued_without_its_control_file() {
    let dir = Dir::new();
    let name = &dir.name("q");
    let mut out = lossless().open(name).unwrap();
    let mut q = Consumer::options().open(name).unwrap();
    (0..10).for_each(|_| push_next(&mut out));
    std::fs::remove_file(dir.name("q.ctl")).unwrap();
    drop(out);
    let error = lossless().open(name).unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error:?}");
    assert!(error.to_string().contains("q.ctl was removed"), "{error}");
    let mut out = lossless().replace(true).open(name).unwrap();
    (0..200).for_each(|_| push_next(&mut out));
    for sequence in 0..10 {
        let got = pop_next(&mut q).unwrap().unwrap();
        assert_eq!((got.sequence, got.lost), (sequence, 0));
    }
    assert!(matches!(pop_next(&mut q), Err(Error::Stale(_))));
}

/// A zero in the options takes the value of the queue only if the value applies to the requested
/// delivery.
#[test]
fn a_lossless_queue_is_replaced_by_a_lossy_one() {
    let dir = Dir::new();
    let name = &dir.name("q");
    drop(lossless().min_consumers(2).open(name).unwrap());
    let lossy = Kind::Fixed(24).options(64).delivery(Delivery::Lossy);
    let error = lossy.open(name).unwrap_err();
    assert!(matches!(error, Error::Geometry(_)), "{error:?}");
    let out = lossy.replace(true).open(name).unwrap();
    assert_eq!(out.geometry().delivery, Delivery::Lossy);
}

#[test]
fn a_queue_is_refused_as_shared_memory() {
    let dir = Dir::new();
    let name = &dir.name("q");
    let mut out = lossless().open(name).unwrap();
    push_next(&mut out);
    drop(out);
    let size = std::fs::metadata(name).unwrap().len() as usize;
    let error = SharedMem::create(name, size, 0).unwrap_err();
    assert!(error.to_string().contains("it is a queue"), "{error}");
    let mut q = Consumer::options().open(name).unwrap();
    assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 0);
}

#[test]
fn a_consumer_of_another_message_size_is_refused() {
    let dir = Dir::new();
    let name = &dir.name("q");
    let _out = lossless().open(name).unwrap();
    Consumer::options().message_size(24).open(name).unwrap();
    let error = Consumer::options().message_size(8).open(name).unwrap_err();
    assert!(matches!(error, Error::Geometry(_)), "{error:?}");
    for word in ["24 bytes", "8 bytes", "message_size"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// A record that C aligns to 16 bytes is aligned to 16 bytes in the ring.
#[test]
fn records_are_aligned() {
    let dir = Dir::new();
    let wide = r#"{"names":["t","x"],"formats":["<u8","<f16"],"offsets":[0,16],"itemsize":32}"#;
    let schema = ipcq::Schema::from_json(wide).unwrap();
    for capacity in [2, 64] {
        let name = &dir.name(&format!("q{capacity}"));
        let options = Producer::options()
            .capacity(capacity)
            .schema(schema.clone());
        let mut out = options.open(name).unwrap();
        let mut q = Consumer::options().open(name).unwrap();
        for _ in 0..2 * capacity {
            let mut claim = out.claim(32).unwrap();
            assert_eq!(claim.as_mut_ptr() as usize % 16, 0);
            claim.write(0, &[7; 32]).unwrap();
            claim.commit(32).unwrap();
            let view = q.peek().unwrap().unwrap();
            assert_eq!(view.as_ptr() as usize % 16, 0);
            view.release().unwrap();
        }
    }
}

/// Every call returns, regardless of the content of a file. A search through a ring that no
/// producer writes is not repeated endlessly.
#[test]
fn a_hostile_file_causes_no_endless_loop() {
    let dir = Dir::new();
    let name = &dir.name("q");
    let capacity = 16u64 << 20;
    let options = Kind::Variable.options(capacity);
    let mut out = options.delivery(Delivery::Lossless).open(name).unwrap();
    let frames = capacity / 16;
    for _ in 0..frames - 8192 {
        out.push(&[]).unwrap();
    }
    drop(out);
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(name)
        .unwrap();
    let mut front = [0; 8];
    file.read_exact_at(&mut front, at::PUBLISHED as u64)
        .unwrap();
    let front = u64::from_le_bytes(front);
    let words = [
        // The retained messages begin behind the front, and the index leads to it from the first
        // block.
        (at::LIMIT, capacity + front + 4096),
        (at::PUBLISHED, 0),
        (at::PUBLISHED_SEQUENCE, 0),
        (at::CLAIMED, capacity),
    ];
    for (at, word) in words {
        file.write_all_at(&word.to_le_bytes(), at as u64).unwrap();
    }
    let since = Instant::now();
    let opened = Consumer::options().open(name);
    assert!(matches!(opened, Err(Error::Damaged(_))), "{opened:?}");
    let _ = ipcq::inspect(name);
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
}

// --- stops, delays and signals -------------------------------------------------------------------

/// A suspended machine stops both processes. The first one that resumes must not evict the other.
#[test]
fn a_pause_of_both_sides_evicts_no_consumer() {
    let dir = Dir::new();
    let name = &dir.name("q");
    let words = Words::open(&dir.name("words"));
    let limit = Duration::from_millis(800);
    let producer = fork(|| {
        let options = lossless().min_consumers(1).evict_after(limit);
        let mut out = options.open(name).unwrap();
        loop {
            let next = out.next_sequence();
            out.push_wait(&message(next, 24), NO_LIMIT).unwrap();
            words.word(0).store(next, Ordering::SeqCst);
        }
    });
    let consumer = fork_to_the_end(|| {
        let options = Consumer::options().open_timeout(LONG);
        let mut q = options.open(name).unwrap();
        loop {
            q.wait(LONG).unwrap();
            let got = pop_next(&mut q).unwrap().unwrap();
            assert_eq!(got.lost, 0, "the consumer was evicted");
            words.word(1).store(got.sequence + 1, Ordering::SeqCst);
            if words.word(2).load(Ordering::SeqCst) != 0 && got.sequence > 200 {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let send = |process, signal| {
        // SAFETY: the call takes numbers, and neither process was waited for.
        assert_eq!(unsafe { libc::kill(process, signal) }, 0);
    };
    eventually("a full queue", || {
        (words.word(0).load(Ordering::SeqCst) > 100).then_some(())
    });
    for _ in 0..2 {
        send(consumer, libc::SIGSTOP);
        send(producer, libc::SIGSTOP);
        std::thread::sleep(2 * limit);
        send(producer, libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(50));
        send(consumer, libc::SIGCONT);
        let at = words.word(1).load(Ordering::SeqCst);
        eventually("more messages", || {
            (words.word(1).load(Ordering::SeqCst) > at + 20).then_some(())
        });
    }
    words.word(2).store(1, Ordering::SeqCst);
    let status = wait_for(consumer);
    send(producer, libc::SIGKILL);
    wait_for(producer);
    assert!(status.success(), "{status}");
}

/// A lossy consumer that is lapped repeatedly still publishes its position.
#[test]
fn a_consumer_that_loses_messages_publishes_its_position() {
    let dir = Dir::new();
    let name = &dir.name("q");
    for step in [20, 64, 250] {
        let mut out = Kind::Fixed(8).options(64).open(name).unwrap();
        let mut q = Consumer::options().open(name).unwrap();
        for _ in 0..300 {
            (0..step).for_each(|_| push_next(&mut out));
            assert!(pop_next(&mut q).unwrap().is_some());
        }
        let (shown, own) = (&out.consumers()[0], q.stats().unwrap());
        assert!(own.lost > 0);
        let behind = q.next_sequence() - shown.sequence;
        assert!(
            behind <= 64,
            "step {step}: published {behind} messages too late"
        );
        assert!(own.lost - shown.lost <= 10 * step, "step {step}");
    }
}

extern "C" fn ignore(_: libc::c_int) {}

/// Installs a handler for this signal.
fn handle(signal: libc::c_int, flags: libc::c_int) {
    // SAFETY: zero is valid for every field, and `action` is valid during the call.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as *const () as usize;
        action.sa_flags = flags;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// Whether a process is asleep now.
fn is_asleep(process: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat[stat.rfind(')').unwrap()..].starts_with(") S")
}

/// All calls that wait.
const WAITS: [&str; 8] = [
    "pop_wait",
    "wait",
    "wait_any of one",
    "wait_any of three",
    "push_wait",
    "open",
    "wait, not woken",
    "wait_any, not woken",
];

fn wait_by(what: &str, name: &Path, others: &[&Path; 2]) -> Error {
    let open = |name: &Path| Consumer::options().observer(true).open(name).unwrap();
    let (mut q, mut second, mut third) = (open(name), open(others[0]), open(others[1]));
    match what {
        "pop_wait" => q.pop_wait(&mut [0; 64], NO_LIMIT).map(drop),
        "wait_any of one" => wait_any(&mut [&mut q], NO_LIMIT).map(drop),
        "wait_any of three" | "wait_any, not woken" => {
            wait_any(&mut [&mut q, &mut second, &mut third], LONG).map(drop)
        }
        "open" => {
            let options = Consumer::options().open_timeout(NO_LIMIT);
            options.open(name.with_file_name("never")).map(drop)
        }
        "push_wait" => {
            let name = name.with_file_name("full");
            let mut out = lossless().open(&name).unwrap();
            let _q = Consumer::options().open(&name).unwrap();
            while out.push(&[0; 24]).is_ok() {}
            out.push_wait(&[0; 24], NO_LIMIT)
        }
        _ => q.wait(NO_LIMIT),
    }
    .unwrap_err()
}

/// Sends a signal to each wait, with and without `SA_RESTART`, `tries` times. Returns how many were
/// sent and how many of them did not end a wait.
fn interrupt_waits(tries: u32, random: &mut Random) -> (u32, u32) {
    let (mut sent, mut missed) = (0, 0);
    for what in WAITS {
        for flags in [0, libc::SA_RESTART] {
            let dir = Dir::new();
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
            let (name, others) = (dir.name("q"), [dir.name("r"), dir.name("s")]);
            let others = [others[0].as_path(), others[1].as_path()];
            let open = |name: &Path| {
                let options = Kind::Fixed(24).options(64).permissions(0o644);
                options.open(name).unwrap()
            };
            let _outs = [open(&name), open(others[0]), open(others[1])];
            let words = Words::open(&dir.name("words"));
            for _ in 0..tries {
                words.word(0).store(0, Ordering::SeqCst);
                let child = fork_to_the_end(|| {
                    // SAFETY: the call takes a number and cannot fail.
                    unsafe { libc::alarm(60) };
                    handle(libc::SIGUSR1, flags);
                    let woken = !what.ends_with("not woken") || !become_nobody();
                    words.word(0).store(1 + u64::from(woken), Ordering::SeqCst);
                    let error = wait_by(what, &name, &others);
                    assert!(matches!(error, Error::Interrupted(_)), "{what}: {error:?}");
                    let path = dir.path().to_str().unwrap();
                    assert!(error.to_string().contains(path), "{error}");
                });
                eventually("the wait", || {
                    let begun = words.word(0).load(Ordering::SeqCst) != 0;
                    (begun && is_asleep(child)).then_some(())
                });
                std::thread::sleep(Duration::from_micros(random.below(60_000)));
                let mut status = 0;
                for turn in 0.. {
                    if turn > 0 {
                        println!("no effect: {what}, flags {flags:#x}");
                        missed += 1;
                    }
                    // SAFETY: the call takes numbers, and the child was not waited for.
                    assert_eq!(unsafe { libc::kill(child, libc::SIGUSR1) }, 0);
                    let since = Instant::now();
                    let ended = loop {
                        // SAFETY: `status` is valid for writes.
                        let ended = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) };
                        if ended == child || since.elapsed() > Duration::from_secs(3) {
                            break ended == child;
                        }
                        std::thread::sleep(Duration::from_micros(200));
                    };
                    if ended {
                        break;
                    }
                }
                assert_eq!(status, 0, "{what}, {flags:#x}: {status:#x}");
                sent += 1;
            }
        }
    }
    println!("{sent} signals, {missed} of them without effect");
    (sent, missed)
}

/// With and without `SA_RESTART`, at any point in time.
#[test]
fn a_signal_ends_every_wait() {
    const SOAK: u32 = 100;
    let soak = std::env::var_os("IPCQ_SOAK_SECONDS").is_some();
    let mut random = Random(u64::from(std::process::id()));
    let (mut sent, mut missed) = interrupt_waits(if soak { SOAK } else { 5 }, &mut random);
    // If the timeout of a sleep expires, the kernel reports that even if a signal arrives before
    // the thread runs again. One such signal among a few does not show how often that occurs.
    if !soak && missed > 0 {
        let more = interrupt_waits(SOAK, &mut random);
        (sent, missed) = (sent + more.0, missed + more.1);
    }
    assert!(
        missed * 100 <= sent,
        "{missed} of {sent} signals ended no wait"
    );
}

/// The thread behind a descriptor inherits neither the CPU affinity nor the priority of its
/// creator.
#[test]
fn the_thread_of_a_descriptor_inherits_no_affinity_and_priority() {
    let dir = Dir::new();
    let name = &dir.name("q");
    let _out = lossless().open(name).unwrap();
    in_a_process(|| {
        // SAFETY: the sets and the parameter are valid during the calls.
        let pinned = unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(0, &mut one);
            let mut first: libc::sched_param = std::mem::zeroed();
            first.sched_priority = 1;
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one) == 0
                && libc::sched_setscheduler(0, libc::SCHED_FIFO, &first) == 0
        };
        if !pinned {
            eprintln!("skipped: this user may not set a priority");
            return;
        }
        let mut q = Consumer::options().open(name).unwrap();
        q.fd().unwrap();
        let thread = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                std::fs::read_to_string(path.join("comm")).unwrap().trim() == "ipcq-watch"
            });
        let id: i32 = thread
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        // SAFETY: the set is valid for writes.
        unsafe {
            assert_eq!(libc::sched_getscheduler(id), libc::SCHED_OTHER);
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(id, size_of::<libc::cpu_set_t>(), &mut set);
            let all = std::thread::available_parallelism().unwrap().get();
            assert!(libc::CPU_COUNT(&set) as usize >= all);
        }
        assert!(q.fd().unwrap().as_raw_fd() >= 0);
    });
}

/// A producer hands its queue over to another. Consumers do not see an end in between.
#[test]
fn a_queue_is_handed_over() {
    let dir = Dir::new();
    let name = &dir.name("q");
    let mut out = lossless().open(name).unwrap();
    let mut q = Consumer::options().open(name).unwrap();
    push_next(&mut out);
    // The claim is abandoned.
    let _ = out.claim_raw(24).unwrap();
    out.detach();
    let s = q.stats().unwrap();
    assert!(!s.producer_alive && !s.closed && !s.unlinked, "{s:?}");
    assert_eq!(ipcq::inspect(name).unwrap().producer_pid, 0);
    assert!(pop_next(&mut q).unwrap().is_some());
    let waited = q.wait(Duration::from_millis(10));
    assert!(matches!(waited, Err(Error::TimedOut(_))), "{waited:?}");
    in_a_process(|| {
        let mut out = lossless().open(name).unwrap();
        assert_eq!(
            ipcq::inspect(name).unwrap().producer_pid,
            std::process::id()
        );
        push_next(&mut out);
    });
    assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 1);
    assert!(matches!(pop_next(&mut q), Err(Error::Closed(_))));
}
