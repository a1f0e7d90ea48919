//! Shared by the functions: the panic boundary, the error text, the checks of arguments.

use crate::error::{Error, Result, Text};
use crate::os::NoCancel;
use crate::Consumer;
use std::cell::{Cell, UnsafeCell};
use std::ffi::{c_char, CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

/// Bytes of the longest error text. A longer text is cut.
const TEXT_SIZE: usize = 4096;

/// The text of a thread's last error. Its address never changes, so that `f(q) && g(ipcq_errmsg())`
/// is right in whichever order the compiler evaluates the two calls.
struct LastError {
    text: UnsafeCell<[u8; TEXT_SIZE]>,
    /// The number of the text if it says that a queue is empty, otherwise 0. A program that spins
    /// on an empty queue gets the same text each time, and this number saves the copy.
    number: Cell<u64>,
}

thread_local! {
    static LAST_ERROR: LastError = const {
        LastError { text: UnsafeCell::new([0; TEXT_SIZE]), number: Cell::new(0) }
    };
}

/// The text of this thread's last error.
pub(super) fn last_message() -> *const c_char {
    // A thread that ends may have destroyed it.
    LAST_ERROR
        .try_with(|last| last.text.get() as *const c_char)
        .unwrap_or(c"".as_ptr())
}

/// Stores the error's text and returns its code.
pub(super) fn fail(error: &Error) -> i32 {
    let _ = LAST_ERROR.try_with(|last| last.set(error.text(), 0));
    error.code()
}

/// As [`fail`], with the error of an empty queue.
#[inline(always)]
pub(super) fn empty(q: &Consumer) -> i32 {
    let number = q.empty_number();
    let _ = LAST_ERROR.try_with(|last| {
        if last.number.get() != number {
            last.set(q.empty_text(), number);
        }
    });
    -libc::EAGAIN
}

impl LastError {
    #[cold]
    fn set(&self, text: &str, number: u64) {
        let mut end = text.len().min(TEXT_SIZE - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // SAFETY: it belongs to this thread, and this library holds no other reference to it.
        let place = unsafe { &mut *self.text.get() };
        place[..end].copy_from_slice(&text.as_bytes()[..end]);
        place[end] = 0;
        self.number.set(number);
    }
}

/// The return type of a function of the C interface: a count or a negated errno.
pub(super) trait Code {
    fn of(code: i32) -> Self;
}

impl Code for i32 {
    fn of(code: i32) -> i32 {
        code
    }
}

impl Code for i64 {
    fn of(code: i32) -> i64 {
        code.into()
    }
}

/// Runs the body of a function of the C interface. No panic leaves it.
#[inline(always)]
pub(super) fn guard<T: Code>(body: impl FnOnce() -> Result<T>) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => T::of(fail(&error)),
        Err(panic) => T::of(catch_panic(&*panic)),
    }
}

/// As [`guard`], for functions that open, close and inspect. The thread cannot be cancelled during
/// the call or the destructors that it runs, and error texts use the C names of options.
pub(super) fn guard_slow<T: Code>(body: impl FnOnce() -> Result<T>) -> T {
    let _no = NoCancel::new();
    crate::queue::speak(crate::queue::Language::C);
    guard(body)
}

#[cold]
fn catch_panic(panic: &(dyn std::any::Any + Send)) -> i32 {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown");
    let text = format!("internal error, please report it: {what}");
    crate::log::say(crate::log::Level::Error, || text.clone());
    fail(&Error::Internal(text.into()))
}

#[cold]
pub(super) fn invalid(text: impl Into<Text>) -> Error {
    Error::Invalid(text.into())
}

#[cold]
pub(super) fn null(what: &str) -> Error {
    invalid(format!("{what} is NULL"))
}

/// A pointer to bytes, which may be NULL only if `length` is 0.
#[inline(always)]
pub(super) fn bytes<T>(pointer: *const T, length: usize, what: &str) -> Result<*mut u8> {
    if pointer.is_null() && length != 0 {
        return Err(null(what));
    }
    // The copies of the core do not accept NULL, even for 0 bytes.
    Ok(if length == 0 {
        std::ptr::NonNull::dangling().as_ptr()
    } else {
        pointer.cast_mut().cast()
    })
}

/// As [`bytes`], for `count` elements that are `stride` bytes apart.
#[inline(always)]
pub(super) fn array<T>(
    pointer: *const T,
    stride: usize,
    count: usize,
    what: &str,
) -> Result<*mut u8> {
    // No object is larger than `isize::MAX`. The limit also keeps `count` in the range of the
    // result.
    match stride.max(1).checked_mul(count) {
        Some(size) if size <= isize::MAX as usize => bytes(pointer, stride * count, what),
        _ => Err(too_many(stride, count, what)),
    }
}

#[cold]
fn too_many(stride: usize, count: usize, what: &str) -> Error {
    invalid(format!(
        "{what}: {count} times {stride} bytes are more than memory can hold"
    ))
}

/// A pointer that must not be NULL.
///
/// # Safety
/// It is NULL or valid to write.
#[inline(always)]
pub(super) unsafe fn out<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(what))
}

/// Nanoseconds to wait. A negative number means no limit.
pub(super) fn timeout(ns: i64) -> Duration {
    u64::try_from(ns).map_or(Duration::MAX, Duration::from_nanos)
}

/// # Safety
/// `name` is NULL or a string.
pub(super) unsafe fn name<'a>(name: *const c_char) -> Result<&'a OsStr> {
    if name.is_null() {
        return Err(null("the name"));
    }
    // SAFETY: the caller's promise.
    Ok(OsStr::from_bytes(
        unsafe { CStr::from_ptr(name) }.to_bytes(),
    ))
}

/// No version of a struct that begins with its size will be longer. A greater number shows that the
/// struct was not initialised.
const LONGEST_STRUCT: usize = 4096;

/// The size that the caller knows the struct to have, which is its first word. `name` is the name
/// of the struct, and `initialiser` the macro that sets the size.
///
/// # Safety
/// `from` points to a word.
pub(super) unsafe fn size_of_sized<T>(
    from: *const T,
    name: &str,
    initialiser: &str,
) -> Result<usize> {
    // SAFETY: the caller's promise.
    let size = unsafe { from.cast::<u32>().read() } as usize;
    // Every version has a multiple of 4 bytes.
    if size == 0 || size > LONGEST_STRUCT || size % size_of::<u32>() != 0 {
        return Err(invalid(format!(
            "{name} is not initialised (struct_size is {size}): start with {initialiser}"
        )));
    }
    Ok(size)
}

/// Copies a struct that begins with the size that the caller knows. Members that the caller does
/// not know become zero. Members that this library does not know must be zero.
///
/// # Safety
/// `from` is NULL or valid for the number of bytes in its first word. `T` is plain data, begins
/// with that size, and is valid if all its bytes are zero.
pub(super) unsafe fn sized<T: Copy>(
    from: *const T,
    name: &str,
    initialiser: &str,
) -> Result<Option<T>> {
    if from.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_sized(from, name, initialiser) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: both sides have the bytes that are copied, and zero is valid for the others.
    let copy = unsafe {
        let mut copy: T = std::mem::zeroed();
        (&raw mut copy)
            .cast::<u8>()
            .copy_from_nonoverlapping(from.cast(), known);
        copy
    };
    for i in known..size {
        // SAFETY: the struct has `size` bytes, says the caller.
        if unsafe { from.cast::<u8>().add(i).read() } != 0 {
            return Err(Error::TooBig(
                format!(
                    "{name} has {size} bytes (struct_size), and a byte after the {known} that ipcq \
                     {} knows is not zero. Either the program was built with a newer ipcq.h and \
                     asks for what this library cannot do, or the struct is not initialised: \
                     start with {initialiser}",
                    crate::VERSION
                )
                .into(),
            ));
        }
    }
    Ok(Some(copy))
}

/// Fills a struct of `size` bytes with zeroes, and its first word with that size.
///
/// # Safety
/// `to` is NULL or valid to write for `size` bytes.
pub(super) unsafe fn init<T>(to: *mut T, size: usize) {
    if to.is_null() || size < size_of::<u32>() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        to.cast::<u8>().write_bytes(0, size);
        to.cast::<u32>().write_unaligned(size as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_panic_leaves_a_function() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let code: i32 = guard(|| panic!("a {}", "bug"));
        std::panic::set_hook(hook);
        assert_eq!(code, -libc::ENOTRECOVERABLE);
        // SAFETY: a string that belongs to this thread.
        let text = unsafe { CStr::from_ptr(last_message()) };
        assert!(text.to_str().unwrap().contains("a bug"), "{text:?}");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "ä".repeat(TEXT_SIZE);
        fail(&Error::Invalid(format!("x{long}").into()));
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(last_message()) }.to_str().unwrap();
        assert!(text.len() < TEXT_SIZE && text.starts_with("xää"));
    }
}
