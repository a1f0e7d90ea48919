//! Which processes are alive, and the identity of this one.

use std::io;
use std::os::unix::fs::MetadataExt;

pub(crate) fn effective_uid() -> u32 {
    // SAFETY: the call takes no arguments and cannot fail.
    unsafe { libc::geteuid() }
}

/// Identifies a process on this host until the next reboot, together with its pid: the pid
/// namespace and the start time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStamp {
    namespace: u32,
    begun: u32,
}

impl ProcessStamp {
    /// The stamp of this process. Its fields are zero if /proc is missing.
    pub(crate) fn own() -> ProcessStamp {
        let begun = match process(std::process::id()) {
            Some(Found::Alive(begun)) => begun,
            _ => None,
        };
        match (pid_namespace(), begun) {
            (Some(namespace), Some(begun)) => ProcessStamp { namespace, begun },
            _ => ProcessStamp {
                namespace: 0,
                begun: 1,
            },
        }
    }

    /// The stamp as one word, which is never 0.
    pub(crate) fn word(self) -> u64 {
        u64::from(self.namespace) << 32 | u64::from(self.begun)
    }

    /// Whether the process with this pid and this word is alive. `None` if that cannot be
    /// determined from here.
    pub(crate) fn of(word: u64, pid: u64) -> Option<bool> {
        let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0)?;
        if pid_namespace()? != (word >> 32) as u32 {
            return None;
        }
        match process(pid)? {
            Found::Dead => Some(false),
            Found::Alive(Some(begun)) => Some(begun == word as u32),
            Found::Alive(None) => None,
        }
    }
}

/// Whether no process has this pid.
pub(crate) fn is_dead(pid: u32) -> bool {
    matches!(process(pid), Some(Found::Dead))
}

/// The state of a process, with its start time if that is readable.
enum Found {
    Dead,
    Alive(Option<u32>),
}

/// Looks up a pid. `None` if its state cannot be determined.
fn process(pid: u32) -> Option<Found> {
    // SAFETY: signal 0 sends nothing. The call only looks up the pid.
    let rc = unsafe { libc::kill(libc::pid_t::try_from(pid).ok()?, 0) };
    if rc != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
        return Some(Found::Dead);
    }
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Some(Found::Alive(None));
    };
    // The name of the program is in parentheses and may contain any bytes. After it come the state
    // and then numbers. The 17th is the number of threads and the 19th is the start time.
    let words: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| words.get(index)?.parse::<u64>().ok();
    // The first thread may have ended before the others. A zombie counts as dead.
    if matches!(words.first(), Some(&("Z" | "X"))) && number(17)? <= 1 {
        return Some(Found::Dead);
    }
    Some(Found::Alive(number(19).map(|begun| begun as u32)))
}

/// The pid namespace of this process.
fn pid_namespace() -> Option<u32> {
    let meta = std::fs::metadata("/proc/self/ns/pid").ok()?;
    u32::try_from(meta.ino()).ok().filter(|inode| *inode != 0)
}

/// A number that is unlikely to be returned twice on this host.
pub(crate) fn unique_id() -> u64 {
    let mut id = 0u64;
    // SAFETY: `id` is valid for writes of eight bytes.
    let got = unsafe { libc::getrandom((&raw mut id).cast(), 8, libc::GRND_NONBLOCK) };
    if got == 8 && id != 0 {
        return id;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(1, |d| d.as_nanos() as u64);
    (now ^ u64::from(std::process::id()).rotate_left(40)) | 1
}
