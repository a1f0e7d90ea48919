//! The log function that a program may set.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void, CString};
use std::marker::PhantomData;
use std::sync::{PoisonError, RwLock};

type Function = unsafe extern "C" fn(level: c_int, message: *const c_char, user: *mut c_void);

#[derive(Clone, Copy)]
struct Sink {
    function: Function,
    user: *mut c_void,
}

// SAFETY: the caller of `set_c` promises that the function may be called, with `user`, from any
// thread.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

/// The severity. The numbers are those of the C interface (`IPCQ_LOG_…`).
#[derive(Clone, Copy)]
pub(crate) enum Level {
    #[cfg(feature = "capi")]
    Error = 1,
    Warning = 2,
    Info = 3,
}

#[cfg(feature = "capi")]
pub(crate) fn set_c(function: Option<Function>, user: *mut c_void) {
    let sink = function.map(|function| Sink { function, user });
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
}

thread_local! {
    /// The number of [`Later`] values of this thread, and the messages that they hold back.
    static LATER: RefCell<(u32, Vec<(Level, String)>)> = const { RefCell::new((0, Vec::new())) };
}

/// Holds back the log messages of this thread until it is dropped.
pub(crate) struct Later {
    /// Makes the type `!Send`, because it belongs to the thread that made it.
    _thread: PhantomData<*const ()>,
}

impl Later {
    pub(crate) fn begin() -> Later {
        let _ = LATER.try_with(|later| later.borrow_mut().0 += 1);
        Later {
            _thread: PhantomData,
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let texts = LATER.try_with(|later| {
            let mut later = later.borrow_mut();
            later.0 -= 1;
            match later.0 {
                0 => std::mem::take(&mut later.1),
                _ => Vec::new(),
            }
        });
        for (level, text) in texts.unwrap_or_default() {
            say(level, || text);
        }
    }
}

/// Logs a message. `text` is only called if a log function is set.
pub(crate) fn say(level: Level, text: impl FnOnce() -> String) {
    // Copied, because the log function may call this library again and set another function.
    let sink = *SINK.read().unwrap_or_else(PoisonError::into_inner);
    let Some(sink) = sink else { return };
    let later = LATER.try_with(|later| later.borrow().0 > 0);
    if later.unwrap_or(false) {
        let text = text();
        let _ = LATER.try_with(|later| later.borrow_mut().1.push((level, text)));
        return;
    }
    let text = CString::new(text()).unwrap_or_default();
    // SAFETY: promised by the caller of `set_c`. The text is a C string.
    unsafe { (sink.function)(level as c_int, text.as_ptr(), sink.user) };
}
