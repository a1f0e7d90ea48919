//! Shared memory on its own.

mod common;

use common::*;
use ipcq::{Error, SharedMem};
use std::os::unix::fs::PermissionsExt;

#[test]
fn child_main() {
    match role().as_deref() {
        None => return,
        Some("write") => {
            let mut memory = SharedMem::create(argument("NAME"), 4096, None).unwrap();
            memory.write(100, &message(1, 500)).unwrap();
            say("written");
            listen();
        }
        Some("umask_and_limit") => umask_and_limit(),
        Some(role) => panic!("unknown role {role}"),
    }
    std::process::exit(0);
}

#[test]
fn what_one_process_writes_another_reads() {
    let dir = Dir::new();
    let name = dir.name("m");
    assert!(matches!(SharedMem::open(&name), Err(Error::NotFound(_))));
    let mut writer = Process::start("write", &[("NAME", &name)]);
    writer.expect("written");
    let memory = SharedMem::open(&name).unwrap();
    let mut bytes = [1; 500];
    memory.read(100, &mut bytes).unwrap();
    assert!(is_whole(1, &bytes));
    memory.read(3596, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 500], "initially zero");

    // Only one writer at a time. If it is killed, the next writer continues with the content.
    let error = SharedMem::create(&name, 4096, None).unwrap_err();
    assert!(matches!(error, Error::ProducerExists(_)), "{error}");
    assert_eq!(error.code(), -libc::EBUSY);
    writer.kill();
    let mut next = SharedMem::create(&name, 4096, None).unwrap();
    next.read(100, &mut bytes).unwrap();
    assert!(is_whole(1, &bytes), "the content is kept");
    next.write(100, &message(2, 500)).unwrap();
    memory.read(100, &mut bytes).unwrap();
    assert!(is_whole(2, &bytes), "both have the same memory");
}

#[test]
fn a_reader_cannot_write() {
    let dir = Dir::new();
    let name = dir.name("m");
    let mut writer = SharedMem::create(&name, 100, None).unwrap();
    writer.write(0, b"kept").unwrap();
    let mut reader = SharedMem::open(&name).unwrap();
    assert!(writer.is_writable() && !reader.is_writable());
    assert!(writer.as_mut_ptr().is_some() && reader.as_mut_ptr().is_none());
    let error = reader.write(0, b"gone").unwrap_err();
    assert_eq!(error.code(), -libc::EBADF);
    let mut bytes = [0; 4];
    reader.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"kept");
}

#[test]
fn nothing_beyond_the_end() {
    let dir = Dir::new();
    let mut memory = SharedMem::create(dir.name("m"), 100, None).unwrap();
    for (offset, length) in [
        (0, 101),
        (100, 1),
        (101, 0),
        (99, 2),
        (usize::MAX, 1),
        (usize::MAX, 0),
    ] {
        let bytes = vec![1; length];
        assert_eq!(
            memory.write(offset, &bytes).unwrap_err().code(),
            -libc::ERANGE
        );
        let mut buffer = vec![0; length];
        assert_eq!(
            memory.read(offset, &mut buffer).unwrap_err().code(),
            -libc::ERANGE
        );
    }
    let mut all = [1; 100];
    memory.read(0, &mut all).unwrap();
    assert_eq!(all, [0; 100], "nothing was written");
    memory.write(100, &[]).unwrap();
    memory.write(99, &[9]).unwrap();
    memory.read(0, &mut all).unwrap();
    assert_eq!((all[98], all[99]), (0, 9));
}

#[test]
fn sizes() {
    let dir = Dir::new();
    for size in [0, usize::MAX] {
        let error = SharedMem::create(dir.name("m"), size, None).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
    for size in [1, 4095, 4096, 4097, 1 << 20] {
        let name = dir.name(&format!("m{size}"));
        assert_eq!(SharedMem::create(&name, size, None).unwrap().size(), size);
        assert_eq!(SharedMem::open(&name).unwrap().size(), size);
        let error = SharedMem::create(&name, size + 1, None).unwrap_err();
        assert!(matches!(error, Error::Geometry(_)), "{error}");
        let text = error.to_string();
        assert!(text.contains(&size.to_string()) && text.contains(&(size + 1).to_string()));
        SharedMem::unlink(&name).unwrap();
    }
    assert_eq!(dir.files(), [""; 0]);
}

#[test]
fn unlinking() {
    let dir = Dir::new();
    let name = dir.name("m");
    assert!(matches!(SharedMem::unlink(&name), Err(Error::NotFound(_))));
    let mut writer = SharedMem::create(&name, 100, None).unwrap();
    let reader = SharedMem::open(&name).unwrap();
    SharedMem::unlink(&name).unwrap();
    assert_eq!(dir.files(), ["m.lock"]);
    writer.write(0, b"on").unwrap();
    let mut bytes = [0; 2];
    reader.read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"on");
    drop(writer);
    assert_eq!(dir.files(), [""; 0]);
}

/// Runs in its own process with its own umask and limit.
fn umask_and_limit() {
    let dir = Dir::new();
    // SAFETY: the call takes a number and cannot fail.
    unsafe { libc::umask(0o077) };
    for (asked, got) in [
        (None, 0o600),
        (Some(0o644), 0o644),
        (Some(0o666), 0o666),
        (Some(0o640), 0o640),
    ] {
        let name = dir.name(&format!("m{got:o}"));
        let _memory = SharedMem::create(&name, 10, asked).unwrap();
        assert_eq!(
            std::fs::metadata(&name).unwrap().permissions().mode() & 0o7777,
            got
        );
        let lock = std::fs::metadata(dir.name(&format!("m{got:o}.lock"))).unwrap();
        assert_eq!(lock.permissions().mode() & 0o7777, 0o600);
    }
    let limit = libc::rlimit {
        rlim_cur: 8192,
        rlim_max: 8192,
    };
    // SAFETY: `limit` is valid during the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    let error = SharedMem::create(dir.name("large"), 8193, None).unwrap_err();
    assert_eq!(error.code(), -libc::ENOSPC);
    let error = ipcq::Producer::options()
        .open(dir.name("queue"))
        .unwrap_err();
    assert_eq!(error.code(), -libc::ENOSPC);
    let left = dir.files();
    assert!(
        !left
            .iter()
            .any(|f| f.contains("large") || f.contains("queue")),
        "{left:?}"
    );
    SharedMem::create(dir.name("fits"), 8192, None).unwrap();
}

#[test]
fn permissions_are_exact_and_a_limit_is_an_error() {
    Process::start("umask_and_limit", &[("NAME", "")]).done();
}
