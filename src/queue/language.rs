//! The names of options and remedies in the language of the caller, for error texts.
//!
//! A process that loads the library through one language speaks that language. The C interface, the
//! Python module and the `ipcq` command set theirs. The default is Rust.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The language of the program.
#[derive(Debug, Clone, Copy)]
pub enum Language {
    /// By the crate.
    Rust,
    /// By the C header, or the C++ one.
    C,
    /// By the Python module.
    Python,
    /// By the `ipcq` command. It has no option for most of what the others have options for.
    Command,
}

static LANGUAGE: AtomicUsize = AtomicUsize::new(Language::Rust as usize);

/// Makes error texts name options as this language does.
pub fn speak(language: Language) {
    // Relaxed: only texts depend on it.
    LANGUAGE.store(language as usize, Ordering::Relaxed);
}

/// The word of the language. The command uses the word of Rust for an error that it never gets.
fn word(by_language: [&'static str; 3]) -> &'static str {
    let language = LANGUAGE.load(Ordering::Relaxed);
    by_language.get(language).unwrap_or(&by_language[0])
}

fn is_command() -> bool {
    LANGUAGE.load(Ordering::Relaxed) == Language::Command as usize
}

/// The option that replaces a queue that does not fit.
fn replace() -> &'static str {
    word(["replace(true)", "IPCQ_REPLACE", "replace=True"])
}

/// The remedies for a producer, if the queue is not the one that it asked for.
pub(crate) fn refit() -> String {
    match is_command() {
        true => "fit --size and --capacity to it, or remove it (ipcq unlink NAME)".into(),
        false => format!(
            "open it as it is, or with {}, or remove it (ipcq unlink NAME)",
            replace()
        ),
    }
}

/// The remedies for a queue that cannot be used any more.
pub(crate) fn renew() -> String {
    match is_command() {
        true => "remove it (ipcq unlink NAME)".into(),
        false => format!(
            "remove it (ipcq unlink NAME), or open its producer with {}",
            replace()
        ),
    }
}

/// How to wait for a queue that does not exist, in parentheses.
pub(crate) fn how_to_wait() -> String {
    match is_command() {
        true => String::new(),
        false => format!(" (to wait for that, set {})", open_timeout()),
    }
}

/// The option that makes opening wait for the queue.
pub(crate) fn open_timeout() -> &'static str {
    word(["open_timeout", "open_timeout_ns", "open_timeout"])
}

/// The option that limits how long a consumer can hold the producer back.
pub(crate) fn evict_after() -> &'static str {
    word(["evict_after", "evict_after_ns", "evict_after"])
}

/// The option that opens a consumer that never holds the producer back.
pub(crate) fn observer() -> &'static str {
    word(["observer(true)", "IPCQ_OBSERVER", "observer=True"])
}

/// The option that fails if the queue exists.
pub(crate) fn exclusive() -> &'static str {
    word(["exclusive(true)", "IPCQ_EXCL", "exclusive=True"])
}
