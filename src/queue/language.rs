//! What options are called in the language of the caller, for the texts of errors.
//!
//! A process that loads the library through one language speaks that language. The C interface and
//! the Python module say so; otherwise it is Rust.

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
}

static LANGUAGE: AtomicUsize = AtomicUsize::new(Language::Rust as usize);

/// Has the texts of errors name options as this language does.
pub fn speak(language: Language) {
    // Relaxed: nothing depends on it but words.
    LANGUAGE.store(language as usize, Ordering::Relaxed);
}

fn word(by_language: [&'static str; 3]) -> &'static str {
    by_language[LANGUAGE.load(Ordering::Relaxed).min(2)]
}

/// The option that replaces a queue that does not fit.
pub(crate) fn replace() -> &'static str {
    word(["replace(true)", "IPCQ_REPLACE", "replace=True"])
}

/// The option that makes opening wait for the queue.
pub(crate) fn open_timeout() -> &'static str {
    word(["open_timeout", "open_timeout_ns", "open_timeout"])
}

/// Why a consumer is evicted.
pub(crate) fn evict_after() -> &'static str {
    word([
        "made no progress for longer than evict_after",
        "made no progress for longer than evict_after_ns",
        "made no progress for longer than evict_after",
    ])
}

/// The option that opens a consumer that holds nobody back.
pub(crate) fn observer() -> &'static str {
    word(["observer(true)", "IPCQ_OBSERVER", "observer=True"])
}

/// The option that fails if the queue exists.
pub(crate) fn exclusive() -> &'static str {
    word(["exclusive(true)", "IPCQ_EXCL", "exclusive=True"])
}
