//! Two users that do not trust each other share a directory.
//!
//! The attacker plants everything that an unprivileged process can make (links, FIFOs, directories,
//! sockets, files of any size and content, locks, leases) under the five names of a queue, before
//! and while the victim works there. The victim is never led to another file, never hangs and never
//! crashes. Every call of it ends within ten seconds, and each error is a documented one that names
//! the path. If the victim has a queue in a sticky directory, it can restart the queue regardless
//! of the plants.
//!
//! The test needs root to become the two users. It tries the settings of `/proc/sys/fs/protected_*`
//! if it may write them. `IPCQ_SOAK_SECONDS` sets the duration of the races.

mod common;

use common::*;
use ipcq::__binding::layout::{at, lock_byte};
use ipcq::{Consumer, Delivery, Error, Producer, ProducerOptions, SharedMem, Start};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{symlink, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ATTACKER: u32 = 65534;
const VICTIM: u32 = 12345;

/// The suffixes of the names of a queue's files.
const SUFFIXES: [&str; 5] = ["", ".ctl", ".lock", ".new", ".ctl.new"];

/// The objects that the attacker plants.
const PLANTS: [&str; 23] = [
    "link to a secret",
    "link to another queue",
    "link to nowhere",
    "link to itself",
    "link to a directory",
    "link to a device",
    "hard link to a secret",
    "hard link to an empty secret",
    "hard link to another queue",
    "FIFO",
    "open FIFO",
    "directory",
    "full directory",
    "socket",
    "empty file",
    "garbage",
    "unreadable file",
    "sparse file",
    "own queue",
    "forged control file",
    "write-locked file",
    "read-locked file",
    "leased file",
];

/// The operations of the victim.
const WORKS: [&str; 14] = [
    "produce",
    "produce lossless",
    "replace",
    "exclusive",
    "consume",
    "observe",
    "inspect",
    "list",
    "command",
    "create memory",
    "open memory",
    "produce again",
    "unlink",
    "unlink memory",
];

/// The size of the secret and of the shared memory that the victim requests. They are equal, so
/// that the size alone does not reject the secret.
const SIZE: usize = 8192;

/// The number of messages in a queue of the victim before a restart.
const MESSAGES: u64 = 20;

/// Prevents two tests from changing the system settings at the same time.
static SYSTEM: Mutex<()> = Mutex::new(());

#[test]
fn child_main() {
    let Some(role) = role() else { return };
    // SAFETY: the call takes a number and cannot fail.
    unsafe { libc::alarm(alarm()) };
    let base = PathBuf::from(argument("BASE"));
    become_user(number("USER") as u32);
    match role.as_str() {
        "attacker" => Attacker::new(&base).run_commands(),
        "victim" => Victim::new(&base).run_commands(),
        role => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

/// The duration of a race.
fn race_time() -> Duration {
    let seconds = std::env::var("IPCQ_SOAK_SECONDS").ok();
    seconds.map_or(Duration::from_millis(700), |s| {
        Duration::from_secs(s.parse().expect("IPCQ_SOAK_SECONDS"))
    })
}

/// The number of seconds after which a child is killed.
fn alarm() -> u32 {
    120 + 4 * race_time().as_secs() as u32
}

fn is_root() -> bool {
    // SAFETY: the call has no arguments and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        println!("skipped: only root can start processes as other users");
    }
    root
}

fn become_user(user: u32) {
    if user == 0 {
        return;
    }
    // SAFETY: an empty list of groups, and numbers.
    unsafe {
        assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
        assert_eq!(libc::setgid(user), 0);
        assert_eq!(libc::setuid(user), 0);
    }
}

fn set_umask(mask: u32) {
    // SAFETY: the call takes a number and cannot fail.
    unsafe { libc::umask(mask as libc::mode_t) };
}

/// Locks bytes of a file for as long as it is open. An error if another lock conflicts.
fn lock(file: &File, kind: libc::c_int, start: u64, length: u64) -> io::Result<()> {
    let mut l = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start as i64,
        l_len: length as i64,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open and `l` is valid.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &mut l) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

// --- the attacker --------------------------------------------------------------------------------

struct Attacker {
    shared: PathBuf,
    mine: PathBuf,
    secret: PathBuf,
    /// Open files whose locks or leases must stay.
    held: Vec<File>,
    listeners: Vec<UnixListener>,
    /// World-writable files and their content.
    bait: Vec<(PathBuf, File, Vec<u8>)>,
    count: u64,
}

impl Attacker {
    fn new(base: &Path) -> Attacker {
        set_umask(0);
        // The signal arrives when a lease is broken.
        // SAFETY: only ignores a signal.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
        let mine = base.join("mine");
        // A queue of the attacker, accessible to all users.
        let mut out = Kind::Fixed(24)
            .options(64)
            .permissions(0o666)
            .open(mine.join("queue"))
            .unwrap();
        (0..MESSAGES).for_each(|_| push_next(&mut out));
        Attacker {
            shared: base.join("shared"),
            mine,
            secret: base.join("secret"),
            held: Vec::new(),
            listeners: Vec::new(),
            bait: Vec::new(),
            count: 0,
        }
    }

    fn run_commands(mut self) {
        loop {
            let line = listen();
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "plant" => {
                    let (suffix, kind) = rest.split_once(' ').unwrap();
                    match self.plant(kind, "ipcq.q", suffix) {
                        Ok(()) => say("planted"),
                        Err(e) => say(format_args!("refused {e}")),
                    }
                }
                "endless" => {
                    self.endless(rest == "one block");
                    say("made");
                }
                "follow" => self.follow(),
                "lock" => say(format_args!("locked {}", self.lock_all("ipcq.q", rest))),
                "link" => say(format_args!("linked {}", self.link_all("ipcq.q"))),
                "check" => {
                    self.check();
                    say("same");
                }
                "drop" => {
                    self.held.clear();
                    self.listeners.clear();
                    self.bait.clear();
                    say("dropped");
                }
                "race" => self.race(rest),
                word => panic!("{word}?"),
            }
        }
    }

    /// Plants an object, and first removes what is there if possible.
    fn plant(&mut self, kind: &str, name: &str, suffix: &str) -> io::Result<()> {
        let target = self.shared.join(format!("{name}{suffix}"));
        self.count += 1;
        let made = self.mine.join(format!("made.{}", self.count));
        self.make(kind, &made, suffix)?;
        if made.symlink_metadata()?.is_dir() {
            let _ = std::fs::remove_file(&target);
        }
        if std::fs::rename(&made, &target).is_err() {
            let _ = std::fs::remove_dir_all(&target);
            if let Err(e) = std::fs::rename(&made, &target) {
                let _ = std::fs::remove_file(&made);
                let _ = std::fs::remove_dir_all(&made);
                return Err(e);
            }
        }
        Ok(())
    }

    fn make(&mut self, kind: &str, made: &Path, suffix: &str) -> io::Result<()> {
        let other = self.shared.join(format!("ipcq.other{suffix}"));
        let path = std::ffi::CString::new(made.to_str().unwrap()).unwrap();
        match kind {
            "link to a secret" => symlink(self.secret.join("secret"), made),
            "link to another queue" => symlink(other, made),
            "link to nowhere" => symlink(self.secret.join("nowhere"), made),
            "link to itself" => symlink(self.shared.join(format!("ipcq.q{suffix}")), made),
            "link to a directory" => symlink(&self.secret, made),
            "link to a device" => symlink("/dev/zero", made),
            "hard link to a secret" => std::fs::hard_link(self.secret.join("secret"), made),
            "hard link to an empty secret" => std::fs::hard_link(self.secret.join("empty"), made),
            "hard link to another queue" => std::fs::hard_link(other, made),
            "FIFO" | "open FIFO" => {
                // SAFETY: `path` is a C string.
                assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o666) }, 0);
                if kind == "open FIFO" {
                    let file = OpenOptions::new().read(true).write(true).open(made)?;
                    self.held.push(file);
                }
                Ok(())
            }
            "directory" => std::fs::create_dir(made),
            "full directory" => {
                std::fs::create_dir(made)?;
                std::fs::write(made.join("file"), "x")
            }
            "socket" => {
                // The path of the directory may be too long for a socket address.
                std::env::set_current_dir(&self.mine)?;
                self.listeners
                    .push(UnixListener::bind(made.file_name().unwrap())?);
                Ok(())
            }
            "empty file" => self.file(made, &[], 0o666).map(drop),
            "garbage" => self.file(made, &vec![0xa5; SIZE], 0o666).map(drop),
            "unreadable file" => self.file(made, b"mine", 0o600).map(drop),
            "sparse file" => {
                let file = OpenOptions::new().write(true).create_new(true).open(made)?;
                file.set_len(1 << 40)
            }
            "own queue" => {
                let from = self.mine.join(format!("queue{suffix}"));
                std::fs::copy(from, made)
                    .or_else(|_| std::fs::copy(self.mine.join("queue"), made))?;
                std::fs::set_permissions(made, PermissionsExt::from_mode(0o666))
            }
            // A copy of the attacker's control file, with a consumer that blocks the producer.
            "forged control file" => {
                let mut content = std::fs::read(self.mine.join("queue.ctl"))?;
                let mut id = [0; 8];
                let mut options = OpenOptions::new();
                options.read(true).custom_flags(libc::O_NONBLOCK);
                if let Ok(queue) = options.open(self.shared.join("ipcq.q")) {
                    let _ = queue.read_at(&mut id, at::ID as u64);
                }
                content[24..32].copy_from_slice(&id);
                content[384] = 1; // a slot is used,
                content[512 + 8] = 1; // by a consumer
                content[512 + 144..512 + 150].copy_from_slice(b"forged");
                let file = self.file(made, &content, 0o666)?;
                lock(&file, libc::F_WRLCK, 0, 1)?;
                self.held.push(file);
                Ok(())
            }
            "write-locked file" => {
                let file = self.file(made, &[], 0o666)?;
                lock(&file, libc::F_WRLCK, 0, 0)?;
                self.held.push(file);
                Ok(())
            }
            "read-locked file" => {
                let file = self.file(made, &[], 0o666)?;
                (0..40).try_for_each(|byte| lock(&file, libc::F_RDLCK, byte, 1))?;
                self.held.push(file);
                Ok(())
            }
            "leased file" => {
                let file = self.file(made, &[0; SIZE], 0o666)?;
                // Not every file system supports leases.
                // SAFETY: the call takes numbers.
                unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
                self.held.push(file);
                Ok(())
            }
            kind => panic!("{kind}?"),
        }
    }

    fn file(&mut self, path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(mode);
        let mut file = options.open(path)?;
        file.write_all(content)?;
        // A lease prevents other processes from opening the file.
        if self.bait.len() < 100 {
            let kept = file.try_clone()?;
            self.bait.push((path.to_owned(), kept, content.to_vec()));
        }
        Ok(file)
    }

    /// A large queue whose header leads every process that opens it through the whole ring.
    fn endless(&self, one_block: bool) {
        let name = self.shared.join("ipcq.q");
        let capacity = 64 << 20;
        let options = Kind::Variable.options(capacity).permissions(0o666);
        let mut out = options.delivery(Delivery::Lossless).open(&name).unwrap();
        (0..capacity / 16 - 8192).for_each(|_| out.push(&[]).unwrap());
        drop(out);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&name)
            .unwrap();
        let set =
            |at: usize, value: u64| file.write_all_at(&value.to_le_bytes(), at as u64).unwrap();
        let mut word = [0; 8];
        file.read_exact_at(&mut word, at::PUBLISHED as u64).unwrap();
        set(at::LIMIT, capacity + u64::from_le_bytes(word) + 4096);
        set(at::PUBLISHED, 0);
        set(at::PUBLISHED_SEQUENCE, 0);
        set(at::CLAIMED, capacity);
        if one_block {
            set(at::BLOCK, capacity / 2);
            set(at::INDEX_ENTRIES, 2);
        }
    }

    /// Opens and locks the new data file as early as possible, until the parent sends a line.
    fn follow(&mut self) {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            listen();
            stopped.store(true, Ordering::Relaxed);
        });
        say("following");
        let mut locked = 0;
        while !stop.load(Ordering::Relaxed) {
            for suffix in ["", ".new"] {
                if let Ok(file) = File::open(self.shared.join(format!("ipcq.q{suffix}"))) {
                    let got = lock(&file, libc::F_RDLCK, lock_byte::PRODUCER_ALIVE, 0);
                    locked += u64::from(got.is_ok());
                }
            }
        }
        thread.join().unwrap();
        say(format_args!("followed {locked}"));
    }

    /// Checks that no process has written the world-writable files.
    fn check(&self) {
        for (path, file, content) in &self.bait {
            let mut found = vec![0; content.len() + 1];
            let length = file.read_at(&mut found, 0).unwrap();
            assert!(found[..length] == content[..], "{path:?} was written");
        }
    }

    /// Locks all files that it may open, in all ways that it may.
    fn lock_all(&mut self, name: &str, how: &str) -> usize {
        let mut locked = 0;
        for suffix in SUFFIXES {
            let path = self.shared.join(format!("{name}{suffix}"));
            let mut options = OpenOptions::new();
            options
                .read(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
            let writable = options.clone().write(true).open(&path);
            let (file, kind) = match writable {
                Ok(file) => (file, libc::F_WRLCK),
                Err(_) => match options.open(&path) {
                    Ok(file) => (file, libc::F_RDLCK),
                    Err(_) => continue,
                },
            };
            let got = match how {
                // All bytes except those that the victim has locked.
                "whole" => (0..40).any(|from| lock(&file, kind, from, 0).is_ok()),
                _ => {
                    (0..40)
                        .filter(|&byte| lock(&file, kind, byte, 1).is_ok())
                        .count()
                        > 0
                }
            };
            locked += usize::from(got);
            self.held.push(file);
        }
        locked
    }

    /// Gives all files of a queue a second name.
    fn link_all(&mut self, name: &str) -> usize {
        let mut linked = 0;
        for suffix in SUFFIXES {
            self.count += 1;
            let link = self.mine.join(format!("linked.{}", self.count));
            let from = self.shared.join(format!("{name}{suffix}"));
            linked += usize::from(std::fs::hard_link(from, link).is_ok());
        }
        linked
    }

    /// Makes one name lead to its own file, to the victim's file and to nothing in turn.
    fn swap_links(&mut self, random: &mut Random) {
        let sticky = self.shared.metadata().unwrap().mode() & 0o1000 != 0;
        let suffix = ["", "", ".ctl", ".lock"][random.below(4) as usize];
        let target = self.shared.join(format!("ipcq.q{suffix}"));
        for _ in 0..50 {
            // In a sticky directory, the second name of a file of the victim cannot be removed.
            let kinds = ["empty file", "link to a secret", "hard link to a secret"];
            for kind in &kinds[..if sticky { 2 } else { 3 }] {
                let kind = match random.below(3) {
                    0 => kind.replace("a secret", "another queue"),
                    _ => kind.to_string(),
                };
                let _ = self.plant(&kind, "ipcq.q", suffix);
            }
            let _ = std::fs::remove_file(&target);
            self.bait.clear();
        }
    }

    /// Plants and removes objects at full speed until the parent sends a line.
    fn race(&mut self, how: &str) {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            listen();
            stopped.store(true, Ordering::Relaxed);
        });
        say("racing");
        let mut random = Random(number("SEED"));
        let mut steps = 0;
        while !stop.load(Ordering::Relaxed) {
            steps += 1;
            let name = ["ipcq.q", "ipcq.q", "ipcq.live"][random.below(3) as usize];
            let suffix = SUFFIXES[random.below(5) as usize];
            let file = format!("{name}{suffix}");
            let at = |suffix: usize| self.shared.join(format!("{name}{}", SUFFIXES[suffix]));
            if how == "links" {
                self.swap_links(&mut random);
                continue;
            }
            match random.below(10) {
                0 => drop(std::fs::remove_file(self.shared.join(&file))),
                1 => drop(std::fs::remove_dir_all(self.shared.join(&file))),
                2 => {
                    let (from, to) = (random.below(5) as usize, random.below(5) as usize);
                    drop(std::fs::rename(at(from), at(to)));
                }
                3 => drop(std::fs::rename(
                    self.shared.join("private"),
                    at(random.below(5) as usize),
                )),
                4 => {
                    self.lock_all(name, ["whole", "bytes"][random.below(2) as usize]);
                }
                5 => {
                    if random.below(16) == 0 {
                        self.link_all(name);
                    }
                }
                6 if how == "truncate" => {
                    let file = OpenOptions::new()
                        .write(true)
                        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
                        .open(self.shared.join(&file));
                    if let Ok(file) = file {
                        let _ = file.set_len(random.below(3) * 4096);
                    }
                }
                _ => {
                    let kind = PLANTS[random.below(PLANTS.len() as u64) as usize];
                    let _ = self.plant(kind, name, suffix);
                }
            }
            if self.held.len() > 200 {
                self.held.clear();
                self.listeners.clear();
            }
            self.bait.clear();
        }
        self.held.clear();
        self.listeners.clear();
        thread.join().unwrap();
        say(format_args!("stopped {steps}"));
    }
}

// --- the victim ----------------------------------------------------------------------------------

/// The current operation of the victim, reported if the victim hangs.
static DOING: AtomicUsize = AtomicUsize::new(0);

extern "C" fn too_late(_: libc::c_int) {
    let work = WORKS[DOING.load(Ordering::Relaxed)].as_bytes();
    let text = b"\nthe victim hangs: ";
    // SAFETY: both texts are readable for these lengths, and then the process ends.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::write(2, work.as_ptr().cast(), work.len());
        libc::_exit(3);
    }
}

/// Ends the process if the call takes longer than ten seconds.
fn timed<T>(call: impl FnOnce() -> T) -> T {
    let set = |seconds: libc::time_t| {
        let time = libc::itimerval {
            it_interval: libc::timeval {
                tv_sec: 0,
                tv_usec: 0,
            },
            it_value: libc::timeval {
                tv_sec: seconds,
                tv_usec: 0,
            },
        };
        // SAFETY: `time` is valid for reads.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &time, std::ptr::null_mut()) };
    };
    // A call that hangs never ends. A busy machine may delay any other call.
    set(10);
    let result = call();
    set(alarm().into());
    result
}

/// A call of the victim. It must end in time, with success or a documented error that names the
/// path.
fn call<T>(name: &str, call: impl FnOnce() -> ipcq::Result<T>) -> ipcq::Result<T> {
    let result = timed(call);
    if let Err(e) = &result {
        let work = WORKS[DOING.load(Ordering::Relaxed)];
        let documented = matches!(
            e,
            Error::NotFound(_)
                | Error::Exists(_)
                | Error::PermissionDenied(_)
                | Error::ProducerExists(_)
                | Error::Geometry(_)
                | Error::Damaged(_)
                | Error::Stale(_)
                | Error::RegistryFull(_)
                | Error::Closed(_)
        );
        assert!(documented, "{work}: {e:?}");
        assert!(
            e.to_string().contains(name),
            "{work} does not name {name}: {e}"
        );
    }
    result
}

struct Victim {
    name: &'static str,
    /// A live queue with an attached consumer.
    live: Option<(Producer, Consumer)>,
    /// The producer of the attacked queue.
    held: Option<Producer>,
}

impl Victim {
    fn new(_base: &Path) -> Victim {
        // SAFETY: the handler does only what is allowed in a signal handler.
        unsafe { libc::signal(libc::SIGALRM, too_late as *const () as libc::sighandler_t) };
        Victim {
            name: "q",
            live: None,
            held: None,
        }
    }

    fn options(lossless: bool) -> ProducerOptions {
        Kind::Fixed(24)
            .options(64)
            .permissions(0o644)
            .delivery(match lossless {
                true => Delivery::Lossless,
                false => Delivery::Lossy,
            })
    }

    fn run_commands(mut self) {
        let mut random = Random(number("SEED"));
        loop {
            let line = listen();
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "umask" => set_umask(u32::from_str_radix(rest, 8).unwrap()),
                "make" => match self.make(rest == "lossless") {
                    Ok(()) => say("made"),
                    Err(e) => say(format_args!("error {e}")),
                },
                "restart" => match self.restart(self.name) {
                    Ok(()) => say("restarted"),
                    Err(e) => say(format_args!("error {e}")),
                },
                "works" => {
                    let done = (0..WORKS.len()).filter(|&work| self.work(work)).count();
                    say(format_args!("worked {done}"));
                }
                "hold" => {
                    let mut out = Producer::options().open(self.name).unwrap();
                    push_next(&mut out);
                    say("held");
                    self.held = Some(out);
                }
                "open" => match Producer::options().open(rest) {
                    Ok(_) => say("opened"),
                    Err(e) => say(format_args!("error {e}")),
                },
                "close" => {
                    self.held = None;
                    say("closed");
                }
                // As seen by a process that may only read, and by a consumer that may attach.
                "alive" => {
                    let seen = ipcq::inspect(self.name).unwrap().stats.producer_alive;
                    let q = Consumer::options().open(self.name).unwrap();
                    assert_eq!(q.stats().unwrap().producer_alive, seen);
                    assert_eq!(q.consumers().unwrap().len(), 1);
                    say(format_args!("alive {seen}"));
                }
                // Creates it again and again. Counts how many times the attacker was first.
                "remake" => {
                    let mut weak = 0;
                    for _ in 0..rest.parse().unwrap() {
                        let out = Victim::options(false).open(self.name).unwrap();
                        let file = File::open(out.path()).unwrap();
                        let mut word = [0; 8];
                        file.read_exact_at(&mut word, at::WEAK_ALIVE as u64)
                            .unwrap();
                        weak += u64::from(word != [0; 8]);
                        drop(out);
                        ipcq::unlink(self.name).unwrap();
                    }
                    say(format_args!("remade {weak}"));
                }
                "live" => {
                    let mut out = Victim::options(true).open("live").unwrap();
                    let q = Consumer::options().open("live").unwrap();
                    (0..MESSAGES).for_each(|_| push_next(&mut out));
                    self.live = Some((out, q));
                    say("live");
                }
                "race" => {
                    let since = Instant::now();
                    let (mut done, mut calls) = (0, 0);
                    let (rest, sticky) = match rest.strip_suffix(" sticky") {
                        Some(rest) => (rest, true),
                        None => (rest, false),
                    };
                    while since.elapsed() < race_time() {
                        let work = random.below(WORKS.len() as u64) as usize;
                        // Mapping a file of the attacker may end in the one documented SIGBUS.
                        let maps = ["consume", "observe", "open memory", "command"];
                        if rest == "truncate" && maps.contains(&WORKS[work]) {
                            continue;
                        }
                        let links = ["produce", "replace", "consume", "create memory", "unlink"];
                        if rest == "links" && !links.contains(&WORKS[work]) {
                            continue;
                        }
                        calls += 1;
                        done += usize::from(self.work(work));
                        if sticky {
                            // The attacker cannot prevent a consumer from attaching.
                            let q = call("live", || Consumer::options().open("live")).unwrap();
                            assert!(q.stats().unwrap().producer_alive);
                        }
                    }
                    say(format_args!("raced {done} {calls}"));
                }
                "check" => {
                    let (mut out, mut q) = self.live.take().unwrap();
                    let first = q.next_sequence();
                    (0..MESSAGES).for_each(|_| push_next(&mut out));
                    for sequence in first..out.next_sequence() {
                        let got = pop_next(&mut q).unwrap().unwrap();
                        assert_eq!((got.sequence, got.lost), (sequence, 0));
                    }
                    assert!(pop_next(&mut q).unwrap().is_none());
                    drop(out);
                    drop(q);
                    if rest == "sticky" {
                        self.restart("live").unwrap();
                    }
                    say("checked");
                }
                word => panic!("{word}?"),
            }
        }
    }

    fn make(&self, lossless: bool) -> ipcq::Result<()> {
        DOING.store(0, Ordering::Relaxed);
        let mut out = call(self.name, || Victim::options(lossless).open(self.name))?;
        (0..MESSAGES).for_each(|_| push_next(&mut out));
        Ok(())
    }

    /// Opens the existing queue again, checks its messages, and pushes more.
    fn restart(&self, name: &str) -> ipcq::Result<()> {
        DOING.store(0, Ordering::Relaxed);
        if let Ok(seen) = call(name, || ipcq::inspect(name)) {
            let consumers = seen.consumers.unwrap_or_default();
            assert!(consumers.iter().all(|c| c.name != "forged"));
        }
        // The control file is not needed. One of another user is not used.
        drop(call(name, || Consumer::options().open(name)));
        let mut out = call(name, || Producer::options().open(name))?;
        let end = out.next_sequence();
        assert!(
            end >= MESSAGES && end % MESSAGES == 0,
            "the queue begins at {end}"
        );
        let mut q = call(name, || Consumer::options().start(Start::Oldest).open(name))?;
        push_next(&mut out);
        for sequence in 0..=end {
            let got = pop_next(&mut q).unwrap().unwrap();
            assert_eq!((got.sequence, got.lost), (sequence, 0));
        }
        assert_eq!(q.consumers()?.len(), 1);
        let stats = q.stats()?;
        assert!(stats.producer_alive && !stats.unlinked);
        // The next restart then begins at a multiple of MESSAGES again.
        (1..MESSAGES).for_each(|_| push_next_to(&mut out, &mut q));
        Ok(())
    }

    /// Whether the operation succeeded.
    fn work(&self, work: usize) -> bool {
        DOING.store(work, Ordering::Relaxed);
        let (name, path) = (self.name, "ipcq.q");
        let produce = |options: ProducerOptions| {
            let mut out = call(path, || options.open(name))?;
            (0..5).for_each(|_| timed(|| push_next(&mut out)));
            timed(|| drop(out));
            Ok(())
        };
        let consume = |observer| {
            let options = Consumer::options().observer(observer).start(Start::Oldest);
            let mut q = call(path, || options.open(name))?;
            let mut buffer = vec![0; q.max_message().min(1 << 20)];
            for _ in 0..100 {
                match call(path, || q.pop(&mut buffer)) {
                    Ok(Some(_)) => {}
                    Ok(None) | Err(Error::Closed(_)) => break,
                    Err(e) => return Err(e),
                }
            }
            call(path, || q.stats())?;
            timed(|| drop(q));
            Ok(())
        };
        let result: ipcq::Result<()> = match WORKS[work] {
            "produce" | "produce again" => produce(Victim::options(false)),
            "produce lossless" => produce(Victim::options(true)),
            "replace" => produce(Victim::options(false).capacity(128).replace(true)),
            "exclusive" => produce(Victim::options(false).exclusive(true)),
            "consume" => consume(false),
            "observe" => consume(true),
            "inspect" => call(path, || ipcq::inspect(name)).map(drop),
            // Regardless of the planted objects, the other queues are listed.
            "list" => {
                let list = call("", ipcq::listing).expect("list");
                assert!(list.queues.iter().any(|name| name == "other"), "{list:?}");
                Ok(())
            }
            "command" => {
                self.command();
                Ok(())
            }
            "create memory" => call(path, || SharedMem::create(name, SIZE, 0o644)).map(|mut m| {
                m.write(0, &[0x77; SIZE]).unwrap();
                timed(|| drop(m));
            }),
            "open memory" => call(path, || SharedMem::open(name)).map(|m| {
                let mut bytes = vec![0; m.size().min(SIZE)];
                m.read(0, &mut bytes).unwrap();
            }),
            "unlink" => call(path, || ipcq::unlink(name)),
            "unlink memory" => call(path, || SharedMem::unlink(name)),
            work => panic!("{work}?"),
        };
        result.is_ok()
    }

    /// Runs `ipcq list`, if the command was built with this test.
    fn command(&self) {
        let test = std::env::current_exe().unwrap();
        let command = test.parent().unwrap().with_file_name("ipcq");
        let built = command.metadata().and_then(|meta| meta.modified());
        // A command from an earlier build contains an older library.
        if built
            .is_ok_and(|built| built < newest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")))
        {
            return;
        }
        // Under an emulator the command is built for another processor.
        if !command.exists() || std::env::var_os("IPCQ_TEST_RUNNER").is_some() {
            return;
        }
        let output = timed(|| Command::new(command).arg("list").output()).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("other"),
            "{output:?}"
        );
    }
}

/// The time at which the newest file in a directory was written.
fn newest(directory: &Path) -> std::time::SystemTime {
    let paths = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let times = paths.map(|path| match path.is_dir() {
        true => newest(&path),
        false => path.metadata().unwrap().modified().unwrap(),
    });
    times.max().unwrap_or(std::time::UNIX_EPOCH)
}

/// Pushes the next message and pops it.
fn push_next_to(out: &mut Producer, q: &mut Consumer) {
    push_next(out);
    assert!(pop_next(q).unwrap().is_some());
}

// --- the system ----------------------------------------------------------------------------------

/// The kernel settings that protect files of users in sticky directories.
struct Settings {
    directory: PathBuf,
    /// Restores the settings, even if this process is killed.
    guard: std::process::Child,
}

const SETTINGS: [&str; 4] = ["symlinks", "hardlinks", "fifos", "regular"];

impl Settings {
    /// `None` if they cannot be set.
    fn take() -> Option<Settings> {
        let directory = PathBuf::from("/proc/sys/fs");
        // All processes of the host have the same settings. The guard keeps the lock until it has
        // put them back, so another run of this test finds those of the host.
        let lock = File::open(&directory).ok()?;
        // SAFETY: the descriptor is open.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) } != 0 {
            return None;
        }
        let mut restore = String::from("trap '' INT TERM HUP; cat >&2; ");
        for name in SETTINGS {
            let path = directory.join(format!("protected_{name}"));
            let value = std::fs::read_to_string(&path).ok()?;
            // Without privileges, writing the current value also fails.
            std::fs::write(&path, &value).ok()?;
            restore += &format!("echo {} > {}; ", value.trim(), path.display());
        }
        let guard = Command::new("sh")
            .args(["-c", &restore])
            .stdin(Stdio::piped())
            .stdout(lock)
            .spawn()
            .ok()?;
        Some(Settings { directory, guard })
    }

    fn set(&self, protected: bool) {
        for name in SETTINGS {
            let value = match (protected, name) {
                (false, _) => "0",
                (true, "symlinks" | "hardlinks") => "1",
                (true, _) => "2",
            };
            let path = self.directory.join(format!("protected_{name}"));
            std::fs::write(path, value).unwrap();
        }
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The test directories: one for both users, and one for each.
struct Place {
    base: Dir,
    sticky: bool,
    /// Files that must not change.
    kept: Vec<(PathBuf, File, Vec<u8>, u32)>,
}

impl Place {
    fn new(victim: u32, owner: u32, sticky: bool) -> Place {
        let base = Dir::new();
        let mode = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        mode(base.path(), 0o755);
        let directory = |name: &str, owner: u32, bits: u32| {
            let path = base.name(name);
            std::fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
            mode(&path, bits);
            path
        };
        let shared = directory("shared", owner, if sticky { 0o1777 } else { 0o777 });
        let secret = directory("secret", victim, 0o755);
        directory("mine", ATTACKER, 0o755);
        let mut place = Place {
            base,
            sticky,
            kept: Vec::new(),
        };
        for (path, content) in [
            (secret.join("secret"), message(1, SIZE)),
            (secret.join("empty"), Vec::new()),
            (shared.join("private"), message(2, 5000)),
        ] {
            std::fs::write(&path, content).unwrap();
            std::os::unix::fs::chown(&path, Some(victim), Some(victim)).unwrap();
            mode(&path, 0o600);
            place.keep(&path);
        }
        // A queue of the victim next to the attacked one.
        let other = shared.join("ipcq.other");
        let mut out = Victim::options(false).open(&other).unwrap();
        (0..MESSAGES).for_each(|_| push_next(&mut out));
        drop(out);
        for suffix in ["", ".ctl", ".lock"] {
            let path = shared.join(format!("ipcq.other{suffix}"));
            std::os::unix::fs::chown(&path, Some(victim), Some(victim)).unwrap();
            place.keep(&path);
        }
        place
    }

    fn keep(&mut self, path: &Path) {
        let mut file = File::open(path).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        let mode = file.metadata().unwrap().mode();
        self.kept.push((path.to_owned(), file, content, mode));
    }

    /// Checks that no file of the victim was changed.
    fn check(&self, after: &str) {
        for (path, file, content, mode) in &self.kept {
            let mut found = vec![0; content.len() + 1];
            let length = file.read_at(&mut found, 0).unwrap();
            assert!(
                found[..length] == content[..],
                "{after}: {path:?} was written"
            );
            assert_eq!(file.metadata().unwrap().mode(), *mode, "{after}: {path:?}");
        }
        assert!(
            !self.base.name("secret").join("nowhere").exists(),
            "{after}"
        );
    }

    /// Removes all files of the attacked queue.
    fn clear(&self) {
        for entry in std::fs::read_dir(self.base.name("shared")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with("ipcq.other") || name == "private" {
                continue;
            }
            if std::fs::remove_file(&path).is_err() {
                std::fs::remove_dir_all(&path).unwrap();
            }
        }
        for entry in std::fs::read_dir(self.base.name("mine")).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("linked")
            {
                std::fs::remove_file(&path).unwrap();
            }
        }
    }

    fn start(&self, role: &str, user: u32, seed: u64) -> Process {
        let base = self.base.path().to_str().unwrap().to_owned();
        let shared = self.base.name("shared").to_str().unwrap().to_owned();
        let arguments = [
            ("BASE", base),
            ("IPCQ_DIR", shared),
            ("USER", user.to_string()),
            ("SEED", seed.to_string()),
        ];
        Process::start(role, &arguments)
    }
}

/// Sends a command and waits for the answer that begins with `answer`. Returns the rest of it.
fn ask(process: &mut Process, command: &str, answer: &str) -> String {
    process.tell(command);
    process.expect(answer)
}

/// As `ask`, for a command that may fail.
fn try_it(process: &mut Process, command: &str) -> String {
    process.tell(command);
    process
        .next_line()
        .unwrap_or_else(|| panic!("{command}: the process ended"))
}

// --- the tests -----------------------------------------------------------------------------------

/// Runs all operations of the user with the planted objects and checks that no file was changed.
/// Returns the number of calls that succeeded.
fn work_on(place: &Place, user: &mut Process, attacker: &mut Process, what: &str) -> usize {
    let done = ask(user, "works", "worked").parse().unwrap();
    ask(attacker, "check", "same");
    ask(attacker, "drop", "dropped");
    place.check(what);
    place.clear();
    done
}

/// Plants every object under each name, of a missing and of an existing queue. Tries every
/// `every`th combination.
fn plant_everything(place: &Place, victim: u32, every: usize) {
    let mut attacker = place.start("attacker", ATTACKER, 1);
    let mut user = place.start("victim", victim, 1);
    let (mut done, mut planted) = (0, 0);
    for (i, (kind, suffix)) in PLANTS
        .iter()
        .flat_map(|kind| SUFFIXES.map(|suffix| (kind, suffix)))
        .enumerate()
    {
        if i % every != 0 {
            continue;
        }
        let what = format!(
            "{kind} at NAME{suffix}, sticky: {}, user {victim}",
            place.sticky
        );
        user.tell(["umask 777", "umask 0", "umask 022"][i % 3]);
        let plant = format!("plant {suffix} {kind}");
        for lossless in ["lossy", "lossless"] {
            // Before the queue exists.
            let before = try_it(&mut attacker, &plant) == "planted";
            let made = try_it(&mut user, &format!("make {lossless}"));
            if made == "made" {
                try_it(
                    &mut attacker,
                    &format!("lock {}", ["whole", "bytes"][i / 2 % 2]),
                );
                try_it(&mut attacker, "link");
                let again = try_it(&mut user, "restart");
                assert!(!place.sticky || again == "restarted", "{what}: {again}");
            }
            done += work_on(place, &mut user, &mut attacker, &what);
            // With an existing queue.
            ask(&mut user, &format!("make {lossless}"), "made");
            let planted_later = try_it(&mut attacker, &plant) == "planted";
            if *kind != "forged control file" {
                let how = ["whole", "bytes"][i % 2];
                try_it(&mut attacker, &format!("lock {how}"));
            }
            try_it(&mut attacker, "link");
            let again = try_it(&mut user, "restart");
            assert!(!place.sticky || again == "restarted", "{what}: {again}");
            done += work_on(place, &mut user, &mut attacker, &what);
            planted += usize::from(before) + usize::from(planted_later);
        }
    }
    assert!(done > 0 && planted > 0);
    println!("{planted} plants, {done} calls succeeded");
}

/// The attacker swaps files while the victim works.
fn race(place: &Place, victim: u32, how: &str) {
    let seed = std::time::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .subsec_nanos()
        .into();
    println!("seed {seed}");
    let mut attacker = place.start("attacker", ATTACKER, seed);
    let mut user = place.start("victim", victim, seed);
    user.tell(["umask 777", "umask 0"][usize::from(how == "truncate")]);
    ask(&mut user, "live", "live");
    ask(&mut attacker, &format!("race {how}"), "racing");
    // The owner of the directory may remove files of other users in it.
    let sticky = if place.sticky && victim != 0 {
        " sticky"
    } else {
        ""
    };
    let raced = ask(&mut user, &format!("race {how}{sticky}"), "raced");
    let steps = ask(&mut attacker, "stop", "stopped");
    ask(&mut user, &format!("check{sticky}"), "checked");
    place.check(how);
    println!("{how}: calls that succeeded, of all: {raced}; {steps} steps of the attacker");
    place.clear();
}

/// Runs `body` with the protection of the kernel off and on, if the settings can be changed.
fn with_settings(mut body: impl FnMut(bool)) {
    let _one = SYSTEM.lock().unwrap_or_else(|e| e.into_inner());
    match Settings::take() {
        Some(settings) => {
            for protected in [false, true] {
                settings.set(protected);
                body(protected);
            }
        }
        None => {
            println!(
                "/proc/sys/fs/protected_* cannot be written: trying with the current settings"
            );
            body(false);
        }
    }
}

#[test]
fn planted_files_do_no_harm() {
    if !is_root() {
        return;
    }
    with_settings(|protected| {
        for sticky in [true, false] {
            let every = if protected { 7 } else { 1 };
            plant_everything(&Place::new(VICTIM, 0, sticky), VICTIM, every);
        }
        // Root, in a directory of the attacker.
        plant_everything(
            &Place::new(0, ATTACKER, false),
            0,
            if protected { 11 } else { 3 },
        );
    });
}

#[test]
fn swapped_files_do_no_harm() {
    if !is_root() {
        return;
    }
    with_settings(|protected| {
        for how in ["swap", "truncate", "links"] {
            for sticky in [true, false] {
                if !protected || sticky {
                    race(&Place::new(VICTIM, 0, sticky), VICTIM, how);
                }
            }
            if !protected {
                race(&Place::new(0, ATTACKER, false), 0, how);
            }
        }
    });
}

/// The content of a file can be as hostile as its name.
#[test]
fn hostile_file_contents_do_no_harm() {
    if !is_root() {
        return;
    }
    let place = Place::new(VICTIM, 0, true);
    let mut attacker = place.start("attacker", ATTACKER, 1);
    let mut user = place.start("victim", VICTIM, 1);
    for what in ["many blocks", "one block"] {
        ask(&mut attacker, &format!("endless {what}"), "made");
        ask(&mut user, "works", "worked");
        place.check(what);
        place.clear();
    }
}

/// A process that may only read the data file can lock it. Its locks neither hide a producer, nor
/// fake one, nor block any other process.
#[test]
fn locks_of_a_reader_do_no_harm() {
    if !is_root() {
        return;
    }
    let place = Place::new(VICTIM, 0, true);
    let mut attacker = place.start("attacker", ATTACKER, 1);
    let mut user = place.start("victim", VICTIM, 1);
    for how in ["whole", "bytes"] {
        for before in [true, false] {
            ask(&mut user, "make lossless", "made");
            let mut lock = || {
                let locked = ask(&mut attacker, &format!("lock {how}"), "locked");
                // Only the data file.
                assert_eq!(locked, "1");
            };
            if before {
                lock();
            }
            let mut holder = place.start("victim", VICTIM, 1);
            ask(&mut holder, "hold", "held");
            assert_eq!(ask(&mut user, "alive", "alive"), "true");
            if !before {
                lock();
                assert_eq!(ask(&mut user, "alive", "alive"), "true");
            }
            // A second producer is refused, and the error names the first one.
            let second = try_it(&mut user, "restart");
            assert!(second.contains(&holder.pid().to_string()), "{second}");
            if before && how == "whole" {
                // The lock file is not the only protection against a second producer.
                std::fs::remove_file(place.base.name("shared/ipcq.q.lock")).unwrap();
                let second = try_it(&mut user, "restart");
                assert!(second.contains("another live producer"), "{second}");
            }
            ask(&mut holder, "close", "closed");
            assert_eq!(ask(&mut user, "alive", "alive"), "false", "{how} {before}");
            ask(&mut holder, "hold", "held");
            assert_eq!(ask(&mut user, "alive", "alive"), "true");
            holder.kill();
            assert_eq!(ask(&mut user, "alive", "alive"), "false", "{how} {before}");
            let mut next = place.start("victim", VICTIM, 1);
            ask(&mut next, "hold", "held");
            ask(&mut attacker, "drop", "dropped");
            place.clear();
        }
    }
    // A reader cannot take the lock of a new queue before its producer either.
    let place = Place::new(VICTIM, 0, true);
    let mut attacker = place.start("attacker", ATTACKER, 1);
    let mut user = place.start("victim", VICTIM, 1);
    attacker.tell("follow");
    attacker.expect("following");
    assert_eq!(ask(&mut user, "remake 500", "remade"), "0");
    attacker.tell("stop");
    println!("{} locks", attacker.expect("followed"));
}

/// A lock file that is linked to that of another queue does not make the two queues exclude each
/// other.
#[test]
fn a_linked_lock_file_does_no_harm() {
    if !is_root() {
        return;
    }
    with_settings(|protected| {
        let place = Place::new(VICTIM, 0, true);
        let mut attacker = place.start("attacker", ATTACKER, 1);
        let mut user = place.start("victim", VICTIM, 1);
        let mut holder = place.start("victim", VICTIM, 1);
        let planted = try_it(&mut attacker, "plant .lock hard link to another queue");
        assert!(planted == "planted" || protected, "{planted}");
        ask(&mut user, "make lossy", "made");
        ask(&mut holder, "hold", "held");
        assert_eq!(try_it(&mut user, "open other"), "opened");
    });
}
