//! Consumers that sleep. A push, the end of the queue or a signal wakes them, and they are never
//! left asleep, even if other processes are killed. A waiting consumer uses almost no processor
//! time.
//!
//! `IPCQ_WAKES` is the number of sleeps and wakes of the long test.

mod common;

use common::*;
use ipcq::__binding::{consumer_ask, push_unheard, Deadline, Pace, Ticket};
use ipcq::{wait_any, Consumer, Error, Producer, WAIT_ANY_MAX};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The uid of the unprivileged user `nobody`.
const NOBODY: u32 = 65534;

/// The offset of the waiter flag in the control file.
const ASLEEP: usize = 128;

const NO_LIMIT: Duration = Duration::MAX;

#[test]
fn child_main() {
    let Some(role) = role() else { return };
    let name = PathBuf::from(argument("NAME"));
    match role.as_str() {
        "sleep" => sleep(&name),
        "sleep_any" => sleep_any(&name),
        "sleep_by_poll" => sleep_by_poll(&name),
        "sleep_in_turns" => sleep_in_turns(&name),
        "count_threads" => count_threads(&name),
        "push" => push_until_killed(&name),
        "push_quietly" => push_quietly(&name),
        role => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

// --- observing a sleeper -------------------------------------------------------------------------

/// The control file, which a test reads and modifies.
struct Control(memmap2::MmapMut);

impl Control {
    fn of(name: &Path) -> Control {
        let mut path = name.as_os_str().to_owned();
        path.push(".ctl");
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        // SAFETY: the file is never shortened, and all accesses to it are atomic.
        Control(unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap())
    }

    fn asleep(&self) -> &AtomicU64 {
        assert!(ASLEEP + 8 <= self.0.len());
        // SAFETY: the word is aligned and inside the mapping.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().add(ASLEEP).cast_mut().cast()) }
    }
}

/// How many times the waiters of a queue were woken.
fn wakes(name: &Path) -> u32 {
    wakes_in(&std::fs::File::open(name).unwrap())
}

fn wakes_in(file: &std::fs::File) -> u32 {
    let mut word = [0; 4];
    let at = ipcq::__binding::layout::at::WAKE as u64;
    file.read_exact_at(&mut word, at).unwrap();
    u32::from_le_bytes(word)
}

/// A thread of another process.
#[derive(Clone, Copy)]
struct Thread {
    pid: i32,
    id: i32,
}

impl Thread {
    /// The current thread.
    fn own() -> Thread {
        Thread {
            pid: std::process::id() as i32,
            // SAFETY: the call takes no arguments and cannot fail.
            id: unsafe { libc::gettid() },
        }
    }

    fn file(&self, name: &str) -> String {
        let path = format!("/proc/{}/task/{}/{name}", self.pid, self.id);
        std::fs::read_to_string(path).unwrap()
    }

    fn is_asleep(&self) -> bool {
        let stat = self.file("stat");
        stat[stat.rfind(')').unwrap()..].starts_with(") S")
    }

    /// The processor time that it has used.
    fn ran(&self) -> Duration {
        let stat = self.file("schedstat");
        let nanoseconds = stat.split(' ').next().unwrap();
        Duration::from_nanos(nanoseconds.parse().unwrap())
    }
}

/// Starts another process, which reports the thread that will sleep.
fn start(role: &str, name: &Path, arguments: &[(&str, &str)]) -> (Process, Thread) {
    let mut all = vec![("NAME", name.to_str().unwrap())];
    all.extend(arguments);
    let mut process = Process::start(role, &all);
    let id = process.expect("thread").parse().unwrap();
    let pid = process.pid();
    (process, Thread { pid, id })
}

/// Waits until a consumer has set the waiter flag and is asleep.
fn fall_asleep(control: &Control, thread: Thread) {
    eventually("the consumer sleeps", || {
        let asked = control.asleep().load(Ordering::Relaxed) != 0;
        (asked && thread.is_asleep()).then_some(())
    });
}

fn options() -> ipcq::ProducerOptions {
    Producer::options().capacity(256).message_size(24)
}

extern "C" fn nothing(_: i32) {}

/// Installs a handler, so that the signal ends a system call and has no other effect.
fn catch(signal: i32) {
    // SAFETY: the action is valid, and its handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// Makes a system call fail in this process from now on, as on an older kernel or in a sandbox.
fn refuse(number: libc::c_long, errno: i32) {
    let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let mut filter = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0), // the number of the system call
        op(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            number as u32,
            0,
            1,
        ),
        op(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | errno as u32,
            0,
            0,
        ),
        op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program is valid during the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let filter = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, filter, &program), 0);
    }
}

/// Applies the setup that the parent has requested.
fn apply_setup() {
    match std::env::var("AS").as_deref() {
        Ok("nobody") => {
            // SAFETY: the calls take numbers.
            unsafe {
                assert_eq!(libc::setgid(NOBODY), 0);
                assert_eq!(libc::setuid(NOBODY), 0);
                // After a change of user, /proc is readable only to root, which the parent is.
            }
        }
        Ok("without futex_waitv") => refuse(libc::SYS_futex_waitv, libc::ENOSYS),
        Ok("without membarrier") => refuse(libc::SYS_membarrier, libc::EPERM),
        Ok(other) => panic!("unknown setup {other}"),
        Err(_) => {}
    }
}

// --- one sleeper ---------------------------------------------------------------------------------

/// Reports every message and the end.
fn sleep(name: &Path) {
    apply_setup();
    catch(libc::SIGUSR1);
    let mut consumer = Consumer::options().open(name).unwrap();
    say(format_args!("thread {}", Thread::own().id));
    let mut buffer = [0; 24];
    let mut expected = 0;
    loop {
        match consumer.pop_wait(&mut buffer, NO_LIMIT) {
            Ok(got) => {
                assert!(got.sequence == expected && got.lost == 0, "{got:?}");
                assert!(is_whole(got.sequence, &buffer), "{got:?}");
                expected += 1;
                say(format_args!("got {}", got.sequence));
            }
            Err(Error::Interrupted(_)) => say("interrupted"),
            Err(Error::Closed(_)) => {
                say("closed");
                if listen() == "end" {
                    return;
                }
            }
            Err(Error::Stale(_)) => {
                say("stale");
                return;
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn a_sleeper_is_woken_by_a_push() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut producer = options().open(&name).unwrap();
    let control = Control::of(&name);
    let (mut sleeper, thread) = start("sleep", &name, &[]);
    for n in 0..200 {
        fall_asleep(&control, thread);
        match n % 3 {
            0 => push_next(&mut producer),
            1 => {
                let mut claim = producer.claim(24).unwrap();
                claim.write(0, &message(n, 24)).unwrap();
                claim.commit(24).unwrap();
            }
            _ => assert_eq!(producer.push_many(&message(n, 24), 24).unwrap(), 1),
        }
        assert_eq!(sleeper.expect("got"), n.to_string());
        // The consumer was woken by the push. The producer also woke the waiters when it opened the
        // queue.
        assert_eq!(wakes(&name), n as u32 + 2);
    }
    fall_asleep(&control, thread);
    drop(producer);
    sleeper.expect("closed");
    sleeper.tell("end");
    sleeper.done();
}

#[test]
fn many_sleepers_are_woken_by_one_push() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut producer = options().open(&name).unwrap();
    let control = Control::of(&name);
    let mut sleepers: Vec<_> = (0..16).map(|_| start("sleep", &name, &[])).collect();
    for n in 0..5u64 {
        for (_, thread) in &sleepers {
            fall_asleep(&control, *thread);
        }
        push_next(&mut producer);
        for (sleeper, _) in &mut sleepers {
            assert_eq!(sleeper.expect("got"), n.to_string());
        }
    }
    // Kill half of them while they sleep. The others are not affected.
    for (_, thread) in &sleepers {
        fall_asleep(&control, *thread);
    }
    for (sleeper, _) in sleepers.iter_mut().step_by(2) {
        sleeper.kill();
    }
    push_next(&mut producer);
    for (sleeper, _) in sleepers.iter_mut().skip(1).step_by(2) {
        assert_eq!(sleeper.expect("got"), "5");
        sleeper.kill();
    }
    push_next(&mut producer);
    push_next(&mut producer);
    assert_eq!(control.asleep().load(Ordering::Relaxed), 0);
}

#[test]
fn a_signal_ends_a_sleep() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut producer = options().open(&name).unwrap();
    let control = Control::of(&name);
    let (mut sleeper, thread) = start("sleep", &name, &[]);
    for _ in 0..20 {
        fall_asleep(&control, thread);
        // SAFETY: the call takes numbers, and the thread belongs to a child that was not waited
        // for.
        unsafe { libc::syscall(libc::SYS_tgkill, thread.pid, thread.id, libc::SIGUSR1) };
        sleeper.expect("interrupted");
    }
    // A stop does not end the sleep.
    fall_asleep(&control, thread);
    sleeper.signal(libc::SIGSTOP);
    sleeper.signal(libc::SIGCONT);
    push_next(&mut producer);
    assert_eq!(sleeper.expect("got"), "0");
}

#[test]
fn a_sleeper_is_woken_by_the_end() {
    let dir = Dir::new();
    let name = dir.name("q");
    for _ in 0..5 {
        let producer = options().open(&name).unwrap();
        let control = Control::of(&name);
        let (mut sleeper, thread) = start("sleep", &name, &[]);
        fall_asleep(&control, thread);
        let before = wakes(&name);
        drop(producer);
        sleeper.expect("closed");
        assert_eq!(wakes(&name), before + 1);
        sleeper.tell("end");
        sleeper.done();
    }
}

/// Pushes what the parent requests, until it is killed.
fn push_until_killed(name: &Path) {
    apply_setup();
    let mut producer = options().open(name).unwrap();
    say(format_args!("thread {}", Thread::own().id));
    loop {
        listen();
        push_next(&mut producer);
        say("pushed");
    }
}

#[test]
fn a_sleeper_survives_its_producers() {
    let dir = Dir::new();
    let name = dir.name("q");
    let (mut pusher, _) = start("push", &name, &[]);
    let (mut sleeper, thread) = start("sleep", &name, &[]);
    for n in 0..20 {
        fall_asleep(&Control::of(&name), thread);
        pusher.kill();
        assert!(thread.is_asleep() || n > 0);
        // The control file may be lost as well. The next producer creates another.
        if n % 4 == 3 {
            std::fs::remove_file(dir.name("q.ctl")).unwrap();
        }
        let before = wakes(&name);
        pusher = start("push", &name, &[]).0;
        assert_eq!(wakes(&name), before + 1);
        pusher.tell("push");
        pusher.expect("pushed");
        assert_eq!(sleeper.expect("got"), n.to_string());
    }
    // Another queue replaces the one that the consumer waits on.
    fall_asleep(&Control::of(&name), thread);
    pusher.kill();
    let old = std::fs::File::open(&name).unwrap();
    let before = wakes(&name);
    let _other = options().capacity(512).replace(true).open(&name).unwrap();
    sleeper.expect("stale");
    // Once before the new queue has the name, and once after.
    assert_eq!(wakes_in(&old), before + 2);
    sleeper.done();
}

#[test]
fn a_wake_lost_with_a_killed_producer_is_made_up_within_a_second() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut producer = options().open(&name).unwrap();
    let control = Control::of(&name);
    let (mut sleeper, thread) = start("sleep", &name, &[]);
    // As if the producer had been killed after clearing the flag. Within a second the sleeper
    // checks by itself.
    fall_asleep(&control, thread);
    control.asleep().store(0, Ordering::Relaxed);
    push_unheard(&mut producer, &message(0, 24)).unwrap();
    assert_eq!(sleeper.expect("got"), "0");
}

#[test]
fn a_wait_ends_at_its_timeout() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut producer = options().open(&name).unwrap();
    let mut consumer = Consumer::options().open(&name).unwrap();
    let mut other = Consumer::options().open(&name).unwrap();
    let mut buffer = [0; 24];
    let no_time = Duration::ZERO;
    assert!(matches!(consumer.wait(no_time), Err(Error::TimedOut(_))));
    assert!(matches!(
        consumer.pop_wait(&mut buffer, no_time),
        Err(Error::TimedOut(_))
    ));
    let none = wait_any(&mut [&mut consumer, &mut other], no_time);
    assert!(matches!(none, Err(Error::TimedOut(_))));
    for time in [1, 20, 1100].map(Duration::from_millis) {
        let since = Instant::now();
        assert!(matches!(consumer.wait(time), Err(Error::TimedOut(_))));
        assert!(since.elapsed() >= time);
        let since = Instant::now();
        let none = wait_any(&mut [&mut consumer, &mut other], time);
        assert!(matches!(none, Err(Error::TimedOut(_))));
        assert!(since.elapsed() >= time);
    }
    push_next(&mut producer);
    for time in [no_time, Duration::from_millis(1), NO_LIMIT] {
        consumer.wait(time).unwrap();
        assert_eq!(wait_any(&mut [&mut consumer, &mut other], time), Ok(0));
    }
    let got = consumer.pop_wait(&mut buffer, no_time).unwrap();
    assert!(got.sequence == 0 && is_whole(0, &buffer));
    assert_eq!(wait_any(&mut [&mut consumer, &mut other], no_time), Ok(1));
    drop(producer);
    for time in [no_time, NO_LIMIT] {
        assert!(matches!(consumer.wait(time), Err(Error::Closed(_))));
        assert!(matches!(
            consumer.pop_wait(&mut buffer, time),
            Err(Error::Closed(_))
        ));
        assert_eq!(wait_any(&mut [&mut consumer], time), Ok(0));
    }
    let invalid = |found| matches!(found, Err(Error::Invalid(_)));
    assert!(invalid(wait_any(&mut [], NO_LIMIT)));
}

// --- without support by the producer or the kernel -----------------------------------------------

/// A consumer that can only poll still receives every message.
fn polls_and_receives(how: &str) {
    let dir = Dir::new();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    let name = dir.name("q");
    let mut producer = options()
        .permissions(0o644)
        .control_permissions(0o600)
        .open(&name)
        .unwrap();
    let (mut sleeper, thread) = start("sleep", &name, &[("AS", how)]);
    for n in 0..20u64 {
        eventually("the consumer sleeps", || thread.is_asleep().then_some(()));
        push_next(&mut producer);
        assert_eq!(sleeper.expect("got"), n.to_string());
    }
    drop(producer);
    sleeper.expect("closed");
    sleeper.tell("end");
    sleeper.done();
}

#[test]
fn without_write_access_to_the_control_file_a_consumer_polls() {
    // SAFETY: the call takes no arguments and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can start a process as another user");
        return;
    }
    polls_and_receives("nobody");
}

#[test]
fn a_kernel_without_membarrier_is_enough() {
    polls_and_receives("without membarrier");
}

/// The same on the side of the producer: it issues a fence itself and wakes a sleeping consumer.
#[test]
fn a_producer_without_membarrier_also_wakes() {
    let dir = Dir::new();
    let name = dir.name("q");
    let (mut pusher, _) = start("push", &name, &[("AS", "without membarrier")]);
    let control = Control::of(&name);
    let (mut sleeper, thread) = start("sleep", &name, &[]);
    for n in 0..20 {
        fall_asleep(&control, thread);
        pusher.tell("push");
        pusher.expect("pushed");
        assert_eq!(sleeper.expect("got"), n.to_string());
        // The producer uses a flag that is always set, so it has checked the shared flag.
        assert!([0, u64::MAX].contains(&control.asleep().load(Ordering::Relaxed)));
    }
}

// --- several queues ------------------------------------------------------------------------------

fn numbered(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("q{number}"))
}

/// Reports from which queue of a directory each message came. `which` selects a queue that has
/// messages, and that queue is popped until it is empty.
fn report_sources(directory: &Path, mut which: impl FnMut(&mut [Consumer]) -> usize) {
    apply_setup();
    let open = |i| Consumer::options().open(numbered(directory, i)).unwrap();
    let mut consumers: Vec<_> = (0..number("COUNT") as usize).map(open).collect();
    say(format_args!("thread {}", Thread::own().id));
    loop {
        let i = which(&mut consumers);
        loop {
            match pop_next(&mut consumers[i]) {
                Ok(Some(got)) => say(format_args!("got {i} {}", got.sequence)),
                Ok(None) => break,
                Err(Error::Closed(_)) => {
                    say(format_args!("closed {i}"));
                    return;
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}

fn sleep_any(directory: &Path) {
    report_sources(directory, |consumers| {
        let mut all: Vec<_> = consumers.iter_mut().collect();
        wait_any(&mut all, NO_LIMIT).unwrap()
    });
}

/// Pushes into each of `count` queues in turn while a process in this role waits. Of every `rest`
/// pushes, the process is asleep at the first.
fn one_of_many(role: &str, rest: u64, count: usize, arguments: &[(&str, &str)]) {
    let dir = Dir::new();
    let open = |i| options().open(numbered(dir.path(), i)).unwrap();
    let mut producers: Vec<_> = (0..count).map(open).collect();
    let count_text = count.to_string();
    let mut all = vec![("COUNT", count_text.as_str())];
    all.extend(arguments);
    let (mut sleeper, thread) = start(role, dir.path(), &all);
    let mut random = Random(rest);
    for round in 0..200 * rest {
        if round % rest == 0 {
            eventually("the consumer sleeps", || thread.is_asleep().then_some(()));
        }
        let i = random.below(count as u64) as usize;
        let sequence = producers[i].next_sequence();
        push_next(&mut producers[i]);
        assert_eq!(sleeper.expect("got"), format!("{i} {sequence}"));
    }
    eventually("the consumer sleeps", || thread.is_asleep().then_some(()));
    producers.remove(count / 2);
    assert_eq!(sleeper.expect("closed"), (count / 2).to_string());
    sleeper.done();
}

fn several(count: usize, arguments: &[(&str, &str)]) {
    one_of_many("sleep_any", 1, count, arguments);
}

#[test]
fn one_consumer_waits_on_many_queues() {
    several(WAIT_ANY_MAX, &[]);
    several(2, &[]);
    several(1, &[]);
}

#[test]
fn one_consumer_waits_on_many_queues_on_an_older_kernel() {
    several(5, &[("AS", "without futex_waitv")]);
    several(5, &[("AS", "without membarrier")]);
}

// --- a descriptor --------------------------------------------------------------------------------

/// Whether the descriptor is readable now.
fn is_readable(fd: i32) -> bool {
    poll(&[fd], 0) == Some(0)
}

/// The index of a descriptor that is readable.
fn poll(fds: &[i32], milliseconds: i32) -> Option<usize> {
    let poll = |fd: &i32| libc::pollfd {
        fd: *fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut all: Vec<_> = fds.iter().map(poll).collect();
    // SAFETY: this many entries are valid.
    let found = unsafe { libc::poll(all.as_mut_ptr(), all.len() as u64, milliseconds) };
    assert!(found >= 0);
    all.iter().position(|p| p.revents != 0)
}

/// As `sleep_any`, with descriptors.
fn sleep_by_poll(directory: &Path) {
    report_sources(directory, |consumers| {
        let fds: Vec<_> = consumers.iter_mut().map(|c| c.fd().unwrap()).collect();
        poll(&fds, -1).unwrap()
    });
}

fn polled(count: usize, arguments: &[(&str, &str)]) {
    // Every second push may occur while the process arms the descriptor again.
    one_of_many("sleep_by_poll", 2, count, arguments);
}

#[test]
fn descriptors_become_readable() {
    polled(1, &[]);
    polled(7, &[]);
    // More queues than one thread can watch.
    polled(150, &[]);
}

#[test]
fn descriptors_become_readable_on_an_older_kernel() {
    polled(5, &[("AS", "without futex_waitv")]);
    polled(5, &[("AS", "without membarrier")]);
}

/// The number of watcher threads of this process.
fn watchers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let is_one = |path: PathBuf| {
        let name = std::fs::read_to_string(path.join("comm"));
        name.is_ok_and(|name| name == "ipcq-watch\n")
    };
    tasks.filter(|t| is_one(t.as_ref().unwrap().path())).count()
}

#[test]
fn a_descriptor_is_readable_while_a_message_is_available() {
    let dir = Dir::new();
    let name = dir.name("q");
    let mut producer = options().open(&name).unwrap();
    push_next(&mut producer);
    let mut consumer = Consumer::options().open(&name).unwrap();
    let fd = consumer.fd().unwrap();
    assert_eq!(consumer.fd().unwrap(), fd);
    assert!(is_readable(fd));
    pop_next(&mut consumer).unwrap().unwrap();
    assert_eq!(pop_next(&mut consumer), Ok(None));
    assert!(!is_readable(fd));
    let becomes_readable = || {
        eventually("the descriptor is readable", || {
            is_readable(fd).then_some(())
        })
    };
    for _ in 0..100 {
        push_next(&mut producer);
        becomes_readable();
        pop_next(&mut consumer).unwrap().unwrap();
        assert!(is_readable(fd));
        match pop_next(&mut consumer) {
            Ok(None) => assert!(!is_readable(fd)),
            other => panic!("{other:?}"),
        }
    }
    consumer.seek(50).unwrap();
    assert!(is_readable(fd));
    pop_next(&mut consumer).unwrap().unwrap();
    consumer.seek(producer.next_sequence()).unwrap();
    assert!(matches!(
        consumer.wait(Duration::ZERO),
        Err(Error::TimedOut(_))
    ));
    assert!(!is_readable(fd));
    drop(producer);
    becomes_readable();
    assert!(matches!(pop_next(&mut consumer), Err(Error::Closed(_))));
    assert!(is_readable(fd));
    let mut producer = options().open(&name).unwrap();
    assert_eq!(pop_next(&mut consumer), Ok(None));
    assert!(!is_readable(fd));

    push_next(&mut producer);
    becomes_readable();
    // A forked child has its own descriptor and leaves the descriptor of the parent unchanged.
    let mut pipe = [0; 2];
    // SAFETY: `pipe` is valid for writes of two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let child = fork_to_the_end(|| {
        assert_eq!(pop_next(&mut consumer).unwrap().unwrap().sequence, 101);
        assert_eq!(pop_next(&mut consumer), Ok(None));
        let own = consumer.fd().unwrap();
        assert!(!is_readable(own));
        // SAFETY: one byte is readable.
        assert_eq!(unsafe { libc::write(pipe[1], b"x".as_ptr().cast(), 1) }, 1);
        assert_eq!(poll(&[own], 30_000), Some(0));
        assert_eq!(pop_next(&mut consumer).unwrap().unwrap().sequence, 102);
    });
    assert_eq!(poll(&[pipe[0]], 30_000), Some(0));
    assert!(is_readable(fd));
    push_next(&mut producer);
    assert!(wait_for(child).success());
    becomes_readable();
    assert_eq!(pop_next(&mut consumer).unwrap().unwrap().sequence, 101);
    drop(consumer);
    // SAFETY: only queries a descriptor.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_GETFD) }, -1);
}

#[test]
fn the_thread_ends_with_the_last_descriptor() {
    let dir = Dir::new();
    let name = dir.name("q");
    let _producer = options().open(&name).unwrap();
    // Other tests may run at the same time, so the threads are counted in a separate process.
    let mut child = Process::start("count_threads", &[("NAME", name)]);
    child.expect("done");
    child.done();
}

fn count_threads(name: &Path) {
    for _ in 0..3 {
        assert_eq!(watchers(), 0);
        let open = |_| Consumer::options().open(name).unwrap();
        let mut consumers: Vec<_> = (0..200).map(open).collect();
        for consumer in &mut consumers {
            consumer.fd().unwrap();
        }
        eventually("two threads watch", || (watchers() == 2).then_some(()));
        drop(consumers);
        eventually("the threads end", || (watchers() == 0).then_some(()));
    }
    say("done");
}

// --- cost ----------------------------------------------------------------------------------------

#[test]
fn a_sleeper_uses_no_processor() {
    let dir = Dir::new();
    let name = dir.name("q");
    let _producer = options().open(&name).unwrap();
    let control = Control::of(&name);
    let (_sleeper, thread) = start("sleep", &name, &[]);
    fall_asleep(&control, thread);
    let (since, before) = (Instant::now(), thread.ran());
    std::thread::sleep(Duration::from_secs(3)); // the measured time
    let used = (thread.ran() - before).as_secs_f64() / since.elapsed().as_secs_f64();
    println!("{:.2} ms of processor time an idle minute", used * 60e3);
    assert!(used * 60e3 < 20.0, "it used {used} of a processor");
}

/// Pushes between two calls that strace shows.
fn push_quietly(name: &Path) {
    let mut producer = options().open(name).unwrap();
    let mark = || {
        // SAFETY: the call takes no arguments and cannot fail.
        unsafe { libc::syscall(libc::SYS_getppid) };
    };
    mark();
    for n in 0..100_000 {
        producer.push(&message(n, 24)).unwrap();
    }
    mark();
}

#[test]
fn a_push_without_waiters_makes_no_system_call() {
    let dir = Dir::new();
    let (name, log) = (dir.name("q"), dir.name("log"));
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: strace is missing");
        return;
    }
    // A sleeper that was killed leaves its flag set, which costs one wake.
    drop(options().open(&name).unwrap());
    Control::of(&name)
        .asleep()
        .store(u64::MAX, Ordering::Relaxed);
    let status = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_main", "--nocapture", "--test-threads=1"])
        .env("IPCQ_TEST_ROLE", "push_quietly")
        .env("NAME", &name)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    if !status.success() {
        eprintln!("skipped: strace may not trace here");
        return;
    }
    let log = std::fs::read_to_string(log).unwrap();
    let mark = log.lines().find(|l| l.contains("getppid()")).unwrap();
    let thread = mark.split(' ').next().unwrap();
    let own: Vec<_> = log.lines().filter(|l| l.starts_with(thread)).collect();
    let marks: Vec<_> = (0..own.len())
        .filter(|&i| own[i].contains("getppid()"))
        .collect();
    let [first, last] = marks[..] else {
        panic!("{marks:?}")
    };
    let between: Vec<_> = own[first + 1..last]
        .iter()
        .filter(|l| !l.contains("brk(") && !l.contains("mmap("))
        .collect();
    let wakes = between.iter().filter(|l| l.contains("FUTEX_WAKE")).count();
    assert!(wakes == 1 && between.len() == 1, "{between:#?}");
}

// --- the race ------------------------------------------------------------------------------------

/// The number of messages that the sleeper has taken.
fn taken(name: &Path) -> Words {
    Words::open(&name.with_extension("taken"))
}

/// Delays for a random time of up to some microseconds. Shorter times are more likely.
fn delay(random: &mut Random) {
    let longest = 1 << random.below(12);
    for i in 0..random.below(longest) {
        std::hint::black_box(i);
    }
}

/// Waits for each message, and checks that no message arrives without a wake.
fn sleep_in_turns(name: &Path) {
    // SAFETY: the call takes a number. A long run takes longer than other tests.
    unsafe { libc::alarm(60 + (number("WAKES") / 2_000) as u32) };
    let mut consumer = Consumer::options().open(name).unwrap();
    let taken = taken(name);
    let ended = Deadline::after(NO_LIMIT);
    let (mut asleep, mut in_time) = (0u64, 0u64);
    let mut random = Random(4);
    for n in 0..2 * number("WAKES") {
        taken.word(0).store(n, Ordering::Release);
        if n % 2 == 1 {
            // About the time that the other side takes for its push.
            delay(&mut random);
        }
        let got = loop {
            let mut ticket = [consumer_ask(&mut consumer)];
            Ticket::confirm(&mut ticket);
            if let Some(got) = pop_next(&mut consumer).unwrap() {
                in_time += 1;
                break got;
            }
            assert!(Ticket::sleep_any(&ticket, &mut Pace::default(), ended));
            if let Some(got) = pop_next(&mut consumer).unwrap() {
                // A consumer that has slept was woken. If its time was over instead and a message
                // is there, the message arrived just now and its wake is about to follow.
                let since = Instant::now();
                while !ticket[0].is_rung() {
                    assert!(
                        since.elapsed() < Duration::from_secs(5),
                        "message {n} woke no consumer"
                    );
                    std::thread::yield_now();
                }
                asleep += 1;
                break got;
            }
        };
        assert!(got.sequence == n && got.lost == 0, "{got:?}");
    }
    say(format_args!(
        "asleep {asleep}, found without a sleep {in_time}"
    ));
}

/// For every second message the consumer has set its flag, and usually sleeps. The other messages
/// arrive while it sets the flag and checks again, so that the loads and stores of both sides race.
#[test]
fn no_wake_up_is_lost() {
    let wakes = std::env::var("IPCQ_WAKES").unwrap_or_else(|_| "20000".into());
    let dir = Dir::new();
    let name = dir.name("q");
    let mut producer = options().open(&name).unwrap();
    let (control, taken) = (Control::of(&name), taken(&name));
    let arguments = [("NAME", name.to_str().unwrap()), ("WAKES", &wakes)];
    let mut sleeper = Process::start("sleep_in_turns", &arguments);
    let mut random = Random(3);
    let mut wait = |until: &dyn Fn() -> bool| {
        let since = Instant::now();
        while !until() {
            let dead = since.elapsed() > Duration::from_secs(30);
            assert!(!dead, "{:?}", sleeper.next_line());
            std::hint::spin_loop();
        }
    };
    for n in 0..2 * wakes.parse::<u64>().unwrap() {
        // Check this first. Otherwise this message would wake the consumer in place of a lost wake.
        wait(&|| taken.word(0).load(Ordering::Acquire) == n);
        if n % 2 == 0 {
            wait(&|| control.asleep().load(Ordering::Relaxed) != 0);
        }
        delay(&mut random);
        push_next(&mut producer);
    }
    println!("asleep {}", sleeper.expect("asleep"));
    sleeper.done();
}
