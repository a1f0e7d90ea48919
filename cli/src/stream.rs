//! Standard input and output, with the errors that the standard library hides. If a stream is
//! closed or was opened in the wrong direction, that library reads nothing and discards the output.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

/// Whether standard input and output were closed when the process started.
static CLOSED: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// Before `main`, the standard library opens /dev/null in place of a closed stream. The functions
/// in this section run before that.
#[used]
#[link_section = ".init_array"]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for (fd, closed) in (0..).zip(&CLOSED) {
        // SAFETY: only queries a descriptor.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        closed.store(flags == -1, Ordering::Relaxed);
    }
}

/// Standard input.
pub fn input() -> io::Result<&'static File> {
    static INPUT: OnceLock<File> = OnceLock::new();
    stream(libc::STDIN_FILENO, &INPUT)
}

/// Standard output without a buffer.
pub fn output() -> io::Result<&'static File> {
    static OUTPUT: OnceLock<File> = OnceLock::new();
    stream(libc::STDOUT_FILENO, &OUTPUT)
}

fn stream(fd: i32, file: &'static OnceLock<File>) -> io::Result<&'static File> {
    if CLOSED[fd as usize].load(Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor was open when the process started. It is never closed, because a
    // static is not dropped.
    Ok(file.get_or_init(|| unsafe { File::from_raw_fd(fd) }))
}
