//! Which processes live, and who this one is.

use std::io;
use std::os::unix::fs::MetadataExt;

pub(crate) fn effective_uid() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// What tells a process from all others of this host, as long as it does not restart: its pid
/// namespace, and when it began. The pid goes with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStamp {
    namespace: u32,
    begun: u32,
}

impl ProcessStamp {
    /// This process's; zeroes where there is no /proc.
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

    /// As one word, which is not 0.
    pub(crate) fn word(self) -> u64 {
        u64::from(self.namespace) << 32 | u64::from(self.begun)
    }

    /// Whether a process lives, by its pid and that word. `None` if that cannot be found out from here.
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

/// Whether there is no process with this pid.
pub(crate) fn is_dead(pid: u32) -> bool {
    matches!(process(pid), Some(Found::Dead))
}

/// A process, and when it began, if that may be read.
enum Found {
    Dead,
    Alive(Option<u32>),
}

/// What lives with a pid. `None` if that cannot be found out.
fn process(pid: u32) -> Option<Found> {
    // SAFETY: signal 0 is none: only the pid is looked up.
    let rc = unsafe { libc::kill(libc::pid_t::try_from(pid).ok()?, 0) };
    if rc != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
        return Some(Found::Dead);
    }
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Some(Found::Alive(None));
    };
    // The name of the program is in parentheses, and may have any bytes. Then: the state, and from
    // there on numbers, of which the 17th counts threads and the 19th is the time.
    let words: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| words.get(index)?.parse::<u64>().ok();
    // The first thread may have ended before the others. One that nobody has waited for is dead.
    if matches!(words.first(), Some(&("Z" | "X"))) && number(17)? <= 1 {
        return Some(Found::Dead);
    }
    Some(Found::Alive(number(19).map(|begun| begun as u32)))
}

/// Which numbers of processes this process sees.
fn pid_namespace() -> Option<u32> {
    let meta = std::fs::metadata("/proc/self/ns/pid").ok()?;
    u32::try_from(meta.ino()).ok().filter(|inode| *inode != 0)
}

/// A number that no two calls on this host are likely to give alike.
pub(crate) fn unique_id() -> u64 {
    let mut id = 0u64;
    // SAFETY: eight bytes are writable at `id`.
    let got = unsafe { libc::getrandom((&raw mut id).cast(), 8, libc::GRND_NONBLOCK) };
    if got == 8 && id != 0 {
        return id;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(1, |d| d.as_nanos() as u64);
    (now ^ u64::from(std::process::id()).rotate_left(40)) | 1
}
