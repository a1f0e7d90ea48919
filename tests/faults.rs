//! Failures around a queue: no space, no descriptors, unusual names, and files that their owner
//! truncates or removes. Each is an error that names the cause and leaves nothing behind, or is as
//! harmless as the documentation promises.

mod common;

use common::*;
use ipcq::{Consumer, Error, Producer, SharedMem, Start};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

#[test]
fn child_main() {
    let Some(role) = role() else { return };
    let name = PathBuf::from(argument("NAME"));
    match role.as_str() {
        "no_room" => no_room(&name),
        "few_files" => few_files(&name),
        "odd_names" => odd_names(),
        "no_rename" => no_rename(&name),
        "read" => read(&name),
        "write" => write(&name),
        "hold" => hold(&name),
        role => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

fn consumer(name: &Path) -> Consumer {
    Consumer::options().start(Start::Oldest).open(name).unwrap()
}

/// The last line of the child is `done`, or its only line begins with `skipped`.
fn run(role: &str, name: &Path) {
    let mut child = Process::start(role, &[("NAME", name)]);
    match child.next_line() {
        Some(line) if line.starts_with("skipped") => println!("{line}"),
        line => assert_eq!(line.as_deref(), Some("done"), "{role}"),
    }
    child.done();
}

// --- no space ------------------------------------------------------------------------------------

const TMPFS: u64 = 512 << 10;

/// Mounts a small file system that only this process sees. Returns the reason if that is not
/// permitted.
fn mount_small(at: &Path) -> Result<(), String> {
    let failed = |what: &str| Err(format!("{what}: {}", std::io::Error::last_os_error()));
    // SAFETY: the calls cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: the call takes a number.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        // SAFETY: the call takes a number.
        if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } != 0 {
            return failed("unshare");
        }
        for (file, text) in [
            ("setgroups", "deny".into()),
            ("uid_map", format!("{uid} {uid} 1")),
            ("gid_map", format!("{gid} {gid} 1")),
        ] {
            std::fs::write(format!("/proc/self/{file}"), text)
                .map_err(|e| format!("{file}: {e}"))?;
        }
    }
    let at = CString::new(at.as_os_str().as_bytes()).unwrap();
    let data = CString::new(format!("size={TMPFS},mode=0755")).unwrap();
    // SAFETY: the strings end with a NUL and are valid during the calls.
    unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        if libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            private,
            std::ptr::null(),
        ) != 0
        {
            return failed("making mounts private");
        }
        let tmpfs = c"tmpfs".as_ptr();
        if libc::mount(tmpfs, at.as_ptr(), tmpfs, 0, data.as_ptr().cast()) != 0 {
            return failed("mounting a tmpfs");
        }
    }
    Ok(())
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Fills the file system except for `room` bytes.
fn leave(ballast: &Path, room: u64) {
    let _ = std::fs::remove_file(ballast);
    let file = std::fs::File::create(ballast).unwrap();
    let chunk = [1; 4096];
    let mut length = 0;
    while file.write_at(&chunk, length).is_ok() {
        length += 4096;
    }
    file.set_len(length.saturating_sub(room)).unwrap();
}

fn is_no_space<T: std::fmt::Debug>(result: ipcq::Result<T>, name: &Path) {
    match result {
        Err(Error::NoSpace(text)) => {
            assert!(text.contains(name.to_str().unwrap()), "{text}");
            assert!(text.contains("room"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

/// Runs in its own process with its own file system.
fn no_room(name: &Path) {
    let dir = name.parent().unwrap();
    if let Err(why) = mount_small(dir) {
        say(format_args!("skipped: a small file system: {why}"));
        return;
    }
    // Larger than the whole file system.
    let large = Kind::Variable.options(2 * TMPFS);
    is_no_space(large.open(name), name);
    is_no_space(SharedMem::create(name, 2 * TMPFS as usize, 0), name);
    assert_eq!(files(dir), [""; 0]);

    // A queue that was opened has all of its space, so a later push never raises SIGBUS.
    let mut out = Kind::Variable.options(TMPFS / 4).open(name).unwrap();
    let mut q = consumer(name);
    let ballast = dir.join("ballast");
    leave(&ballast, 0);
    let all = |out: &mut Producer, q: &mut Consumer| {
        for _ in 0..200 {
            push_next(out);
            let got = pop_next(q).unwrap().unwrap();
            assert_eq!((got.sequence + 1, got.lost), (out.next_sequence(), 0));
        }
    };
    (0..20).for_each(|_| all(&mut out, &mut q));
    // A restart needs no more space. A larger replacement does not fit, and the failed attempt
    // changes nothing.
    drop(out);
    let before = files(dir);
    is_no_space(large.clone().replace(true).open(name), name);
    assert_eq!(files(dir), before);
    let mut out = Producer::options().capacity(TMPFS / 4).open(name).unwrap();
    all(&mut out, &mut q);
    // Without its control file the queue cannot be continued, but it stays as it was.
    drop(out);
    std::fs::remove_file(dir.join("q.ctl")).unwrap();
    leave(&ballast, 0);
    is_no_space(Producer::options().capacity(TMPFS / 4).open(name), name);
    assert_eq!(files(dir), ["ballast", "q", "q.lock"]);
    std::fs::remove_file(&ballast).unwrap();
    let mut out = Producer::options().capacity(TMPFS / 4).open(name).unwrap();
    all(&mut out, &mut q);
    drop(out);
    ipcq::unlink(name).unwrap();

    // The free space shrinks page by page. Whichever file does not fit, no file is left behind.
    let (mut failed, mut opened) = (0, 0);
    while opened < 2 {
        leave(&ballast, failed * 4096);
        let small = Kind::Fixed(24).options(64);
        match small.open(name) {
            Ok(mut out) => {
                (0..200).for_each(|_| push_next(&mut out));
                opened += 1;
                drop(out);
                ipcq::unlink(name).unwrap();
                failed += 1;
            }
            Err(Error::NoSpace(_)) => {
                assert_eq!(opened, 0);
                failed += 1;
            }
            Err(e) => panic!("{e}"),
        }
        assert_eq!(files(dir), ["ballast"]);
    }
    assert!(failed > 4, "{failed}");
    say("done");
}

#[test]
fn a_full_file_system_is_an_error_that_leaves_no_file() {
    let dir = Dir::new();
    run("no_room", &dir.name("q"));
}

/// Runs in its own process, with fewer and fewer descriptors.
fn few_files(name: &Path) {
    let dir = name.parent().unwrap();
    let limit_to = |most: u64| {
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: 4096,
        };
        // SAFETY: `limit` is valid for reads.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    };
    limit_to(1024);
    // The first call installs the fork handlers and opens other descriptors that stay open.
    drop(Kind::Fixed(24).options(64).open(name).unwrap());
    ipcq::unlink(name).unwrap();
    // All open descriptors are below the lowest free number.
    let free = std::fs::File::open("/").unwrap().as_raw_fd() as u64;
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open_files();
    type Open<'a> = Box<dyn Fn() -> ipcq::Result<()> + 'a>;
    let opens: [(&str, Open); 3] = [
        (
            "a queue",
            Box::new(|| Kind::Fixed(24).options(64).open(name).map(drop)),
        ),
        (
            "a replacement",
            Box::new(|| {
                let options = Kind::Fixed(40).options(64).replace(true);
                options.open(name).map(drop)
            }),
        ),
        (
            "a memory",
            Box::new(|| SharedMem::create(name, 100, 0).map(drop)),
        ),
    ];
    for (what, open) in &opens {
        let replaces = *what == "a replacement";
        if replaces {
            drop(Kind::Fixed(24).options(64).open(name).unwrap());
        }
        let there = files(dir);
        let mut failed = 0;
        for room in 0..10 {
            limit_to(free + room);
            let result = open();
            limit_to(1024);
            assert_eq!(open_files(), before, "{what}: a descriptor was left open");
            match result {
                Ok(()) => break,
                Err(Error::Os(libc::EMFILE, text)) => {
                    assert!(text.contains(name.to_str().unwrap()), "{text}");
                    assert_eq!(files(dir), there, "{what}, {room}: {text}");
                    failed += 1;
                }
                Err(e) => panic!("{what}, {room}: {e:?}"),
            }
            if replaces {
                // An attached consumer gets the same results as before.
                let mut q = consumer(name);
                assert!(matches!(pop_next(&mut q), Err(Error::Closed(_))));
            }
        }
        assert!((2..9).contains(&failed), "{what}: {failed} failed");
        ipcq::unlink(name).unwrap();
    }
    say("done");
}

#[test]
fn without_descriptors_an_open_fails_cleanly() {
    let dir = Dir::new();
    run("few_files", &dir.name("q"));
    assert_eq!(dir.files(), [""; 0]);
}

// --- names ---------------------------------------------------------------------------------------

/// Runs in its own process, with its own directory for names without a slash.
fn odd_names() {
    let dir = PathBuf::from(argument("IPCQ_DIR"));
    std::fs::write(dir.join("file"), "x").unwrap();
    std::fs::create_dir(dir.join("folder")).unwrap();
    let there = files(&dir);
    let path = |name: &str| dir.join(name).into_os_string();
    let long = |length: usize| OsString::from("x".repeat(length));
    let refused: [(OsString, i32); 17] = [
        ("".into(), libc::EINVAL),
        ("a\0b".into(), libc::EINVAL),
        ("/".into(), libc::EINVAL),
        ("a/".into(), libc::EINVAL),
        ("../".into(), libc::EINVAL),
        (path(".."), libc::EINVAL),
        (path("folder/.."), libc::EINVAL),
        ("x.ctl".into(), libc::EINVAL),
        ("x.lock".into(), libc::EINVAL),
        (path("x.new"), libc::EINVAL),
        (long(256), libc::ENAMETOOLONG),
        (long(255 - 8 - 5 + 1), libc::ENAMETOOLONG),
        (path(&"x".repeat(255 - 8 + 1)), libc::ENAMETOOLONG),
        // Each part is short enough, but the whole path is too long.
        (path(&"folder/../".repeat(500)), libc::EINVAL),
        (path(&("folder/../".repeat(500) + "x")), libc::ENAMETOOLONG),
        (path("nowhere/x"), libc::ENOENT),
        (path("file/x"), libc::ENOTDIR),
    ];
    for (name, errno) in refused {
        let errors = [
            Producer::options().open(&name).map(drop),
            Consumer::options().open(&name).map(drop),
            SharedMem::create(&name, 100, 0).map(drop),
            SharedMem::open(&name).map(drop),
            ipcq::unlink(&name),
            SharedMem::unlink(&name),
        ];
        for (i, result) in errors.into_iter().enumerate() {
            let error = result.unwrap_err();
            // A name that cannot exist is reported as not found when it is removed.
            let fits = error.code() == -errno || (i > 3 && error.code() == -libc::ENOENT);
            assert!(fits, "{i} {name:?}: {error:?}");
            assert!(error.to_string().len() > 10, "{name:?}: {error}");
        }
        assert_eq!(files(&dir), there, "{name:?}");
    }
    let fine = [
        "..".into(),
        ".".into(),
        "...".into(),
        "-".into(),
        "a b\n".into(),
        "\u{e9}".into(),
        OsString::from_vec(b"\xff\xfe".to_vec()),
        OsStr::from_bytes(&[dir.as_os_str().as_bytes(), b"/\xff"].concat()).to_owned(),
        path("folder/../x"),
        long(255 - 8 - 5),
        path(&"x".repeat(255 - 8)),
    ];
    for name in fine {
        let mut out = Kind::Fixed(24).options(64).open(&name).unwrap();
        push_next(&mut out);
        let mut q = Consumer::options().open(&name).unwrap();
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 0);
        // The queue has only its three files, and all of them are in this directory.
        assert_eq!(files(&dir.join("folder")), [""; 0]);
        let entries = std::fs::read_dir(&dir).unwrap();
        assert_eq!(entries.count(), there.len() + 3, "{name:?}");
        if !name.as_bytes().contains(&b'/') {
            assert_eq!(ipcq::list().unwrap(), std::slice::from_ref(&name));
        }
        drop(out);
        ipcq::unlink(&name).unwrap();
        assert_eq!(files(&dir), there, "{name:?}");
    }
    say("done");
}

#[test]
fn unusual_names_work_or_are_refused() {
    let dir = Dir::new();
    let arguments = [
        ("NAME", OsStr::new("")),
        ("IPCQ_DIR", dir.path().as_os_str()),
    ];
    let mut child = Process::start("odd_names", &arguments);
    child.expect("done");
    child.done();
}

/// Runs as another user in a directory where every user may create files but not replace those of
/// others.
fn no_rename(name: &Path) {
    let nobody = 65534;
    // SAFETY: an empty list of groups, and numbers.
    let changed = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setgid(nobody) == 0
            && libc::setuid(nobody) == 0
    };
    if !changed {
        say("skipped: only root can start a process as another user");
        return;
    }
    let refused = |error: Error| {
        let refused = matches!(error, Error::PermissionDenied(_) | Error::Damaged(_));
        assert!(refused, "{error:?}");
        assert!(error.to_string().contains(name.to_str().unwrap()));
        assert_eq!(files(name.parent().unwrap()), ["q"], "{error}");
    };
    refused(SharedMem::create(name, 100, 0).unwrap_err());
    refused(Kind::Variable.options(1024).open(name).unwrap_err());
    say("done");
}

#[test]
fn an_open_that_cannot_rename_its_file_fails() {
    let dir = Dir::new();
    // A dangling link is neither opened nor replaced.
    let name = dir.name("q");
    std::os::unix::fs::symlink(dir.name("nowhere"), &name).unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    run("no_rename", &name);
}

#[test]
fn a_queue_of_another_version_is_refused_by_name() {
    let dir = Dir::new();
    let name = dir.name("q");
    drop(Kind::Fixed(24).options(64).open(&name).unwrap());
    let at = ipcq::__binding::layout::at::VERSION as u64;
    let file = std::fs::OpenOptions::new().write(true).open(&name).unwrap();
    file.write_at(&7u32.to_le_bytes(), at).unwrap();
    let errors = [
        Consumer::options().open(&name).map(drop).unwrap_err(),
        Producer::options().open(&name).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), -libc::EPROTONOSUPPORT);
        let text = error.to_string();
        let ours = format!("version {}", ipcq::__binding::layout::VERSION);
        for word in [name.to_str().unwrap(), "version 7", &ours] {
            assert!(text.contains(word), "{text}");
        }
    }
    let mut out = Kind::Fixed(24)
        .options(64)
        .replace(true)
        .open(&name)
        .unwrap();
    push_next(&mut out);
    assert!(pop_next(&mut consumer(&name)).unwrap().is_some());
}

/// The epoch wraps from 2^32 - 1 to 0 without an effect.
#[test]
fn epochs_wrap_around() {
    let dir = Dir::new();
    let name = dir.name("q");
    let options = Kind::Variable.options(1024);
    let mut out = options.open(&name).unwrap();
    push_next(&mut out);
    drop(out);
    let at = ipcq::__binding::layout::at::EPOCH as u64;
    let file = std::fs::OpenOptions::new().write(true).open(&name).unwrap();
    file.write_at(&u64::from(u32::MAX - 1).to_le_bytes(), at)
        .unwrap();
    let mut q = consumer(&name);
    for epoch in [u32::MAX, 0, 1, 2] {
        let mut out = options.open(&name).unwrap();
        push_next(&mut out);
        assert_eq!(out.stats().unwrap().epoch, epoch);
        assert_eq!(q.stats().unwrap().epoch, epoch);
    }
    for sequence in 0..5 {
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, sequence);
    }
    assert!(matches!(pop_next(&mut q), Err(Error::Closed(_))));
}

// --- files that are truncated or removed --------------------------------------------------------------------

/// Consumes until it ends.
fn read(name: &Path) {
    let mut q = consumer(name);
    say("ready");
    loop {
        match pop_next(&mut q) {
            Ok(_) => {}
            Err(e) => break say(e.code()),
        }
    }
}

/// Produces until it ends.
fn write(name: &Path) {
    let mut out = Kind::Fixed(24).options(1024).open(name).unwrap();
    say("ready");
    loop {
        push_next(&mut out);
    }
}

/// The library cannot protect a process from this: the kernel kills a process that touches pages
/// after the owner of the file has truncated it. Other processes and later queues are not affected.
#[test]
fn a_truncated_file_harms_only_the_processes_that_touch_it() {
    let dir = Dir::new();
    let (name, other) = (dir.name("q"), dir.name("other"));
    let mut unharmed = Kind::Fixed(24).options(1024).open(&other).unwrap();
    for left in [0, 4096] {
        let mut writer = Process::start("write", &[("NAME", &name)]);
        writer.expect("ready");
        let mut reader = Process::start("read", &[("NAME", &name)]);
        reader.expect("ready");
        let file = std::fs::OpenOptions::new().write(true).open(&name).unwrap();
        file.set_len(left).unwrap();
        for mut process in [writer, reader] {
            assert_eq!(process.wait().signal(), Some(libc::SIGBUS), "{left} left");
        }
        // A new process gets an error or creates a new queue.
        let errors = [
            Consumer::options().open(&name).map(drop).unwrap_err(),
            Producer::options().open(&name).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Damaged(_)), "{left}: {error:?}");
        }
        let options = Kind::Fixed(24).options(1024).replace(true);
        let mut out = options.open(&name).unwrap();
        let mut q = consumer(&name);
        push_next(&mut out);
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 0);
        push_next(&mut unharmed);
        let all = ["other", "other.ctl", "other.lock", "q", "q.ctl", "q.lock"];
        assert_eq!(dir.files(), all);
    }
    // A file that is too long is also usable.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&other)
        .unwrap();
    file.set_len(1 << 20).unwrap();
    push_next(&mut unharmed);
    drop(unharmed);
    let mut out = Kind::Fixed(24).options(1024).open(&other).unwrap();
    push_next(&mut out);
    let mut q = consumer(&other);
    for sequence in 0..4 {
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, sequence);
    }
}

/// With `rm`, not with `unlink`.
#[test]
fn files_that_are_removed_by_hand() {
    let dir = Dir::new();
    let name = dir.name("q");
    let options = Kind::Fixed(24).options(64);
    let remove = |files: &[&str]| {
        for file in files {
            std::fs::remove_file(dir.name(file)).unwrap();
        }
    };
    for removed in [
        &["q"][..],
        &["q.ctl"],
        &["q.lock"],
        &["q", "q.ctl"],
        &["q.ctl", "q.lock"],
        &["q", "q.lock"],
        &["q", "q.ctl", "q.lock"],
    ] {
        let mut out = options.open(&name).unwrap();
        let mut q = consumer(&name);
        push_next(&mut out);
        remove(removed);
        // Attached processes continue with their mappings.
        push_next(&mut out);
        for sequence in 0..2 {
            assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, sequence);
        }
        assert!(q.stats().unwrap().producer_alive);
        // A second producer never gets the same ring.
        match options.open(&name) {
            Err(Error::ProducerExists(_)) => {}
            Ok(mut second) => {
                assert!(removed.contains(&"q") && removed.contains(&"q.lock"));
                push_next(&mut second);
                assert_eq!(pop_next(&mut consumer(&name)).unwrap().unwrap().sequence, 0);
            }
            Err(e) => panic!("{removed:?}: {e:?}"),
        }
        assert_eq!(pop_next(&mut q).unwrap(), None);
        push_next(&mut out);
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, 2);
        drop(out);
        assert!(matches!(pop_next(&mut q), Err(Error::Closed(_))));
        assert!(!q.stats().unwrap().producer_alive);
        // If all files are gone, nothing is left to clean up. Otherwise the remaining file is
        // complete or is created again.
        let mut out = options.open(&name).unwrap();
        let next = match (removed.contains(&"q"), removed.contains(&"q.lock")) {
            (false, _) => 3,
            (true, false) => 0,
            // The message of the second producer.
            (true, true) => 1,
        };
        assert_eq!(out.next_sequence(), next, "{removed:?}");
        push_next(&mut out);
        drop(out);
        assert_eq!(dir.files(), ["q", "q.ctl", "q.lock"], "{removed:?}");
        ipcq::unlink(&name).unwrap();
        assert_eq!(dir.files(), [""; 0]);
    }
}

// --- liveness ------------------------------------------------------------------------------------

/// Opens the queue and holds every lock that a reader can take.
fn hold(name: &Path) {
    let file = std::fs::File::open(name).unwrap();
    let whole = libc::flock {
        l_type: libc::F_RDLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    say("ready");
    loop {
        listen();
        // SAFETY: the descriptor is open and `whole` is valid for reads.
        let got = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &whole) };
        say(got == 0);
    }
}

/// No lock of a reader makes a dead producer seem alive or hides a live one.
#[test]
fn a_reader_cannot_pose_as_the_producer() {
    let dir = Dir::new();
    let name = dir.name("q");
    let options = Kind::Fixed(24).options(64);
    let out = options.open(&name).unwrap();
    let q = consumer(&name);
    let alive = || q.stats().unwrap().producer_alive;
    let mut reader = Process::start("hold", &[("NAME", &name)]);
    reader.expect("ready");
    let mut lock = || {
        reader.tell("lock");
        reader.expect("") == "true"
    };
    assert!(alive());
    assert!(!lock(), "the producer should hold the lock");
    assert!(alive());
    drop(out);
    assert!(!alive());
    assert!(lock());
    assert!(!alive());
    // The reader does not prevent a new producer.
    let mut out = options.open(&name).unwrap();
    push_next(&mut out);
    assert!(alive());
    drop(out);
    // The liveness lock of that producer is shared with the reader, but the producer has marked the
    // queue as closed.
    assert!(!alive());
    drop(reader);
    assert!(!alive());
    let _out = options.open(&name).unwrap();
    assert!(alive());
}

/// A copy may have holes. On a full file system, a push into a hole would raise SIGBUS.
#[test]
fn a_queue_with_holes_gets_its_space_back() {
    use std::os::unix::fs::MetadataExt;
    let dir = Dir::new();
    let name = dir.name("q");
    let mut out = Kind::Fixed(1024).options(1024).open(&name).unwrap();
    push_next(&mut out);
    drop(out);
    let file = std::fs::File::options().write(true).open(&name).unwrap();
    let length = file.metadata().unwrap().len();
    let (hole, end) = (64 << 10, length as i64);
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: takes numbers.
    let punched = unsafe { libc::fallocate(file.as_raw_fd(), mode, hole, end - hole) };
    if punched != 0 {
        eprintln!("skipped: this file system punches no holes");
        return;
    }
    let space = || std::fs::metadata(&name).unwrap().blocks() * 512;
    assert!(space() < length);
    let mut out = Kind::Fixed(1024).options(1024).open(&name).unwrap();
    assert!(space() >= length);
    assert_eq!(out.next_sequence(), 1);
    push_next(&mut out);
    let mut q = Consumer::options().open(&name).unwrap();
    for sequence in 0..2 {
        assert_eq!(pop_next(&mut q).unwrap().unwrap().sequence, sequence);
    }
}
