//! Record schemas.

use super::handle::{ipcq_queue, queue, Role};
use super::support::{bytes, guard_slow};
use crate::error::Result;
use std::ffi::c_char;

/// A field of a record. Use the macros below.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_field {
    /// "from.x" is member x of the struct "from", which is earlier in the list.
    pub name: *const c_char,
    /// Bytes from the start of the message.
    pub offset: u32,
    /// Bytes of one element.
    pub size: u32,
    /// 'u' unsigned, 'i' signed, 'f' float, 'b' bool, 'S' string, 'M' time since 1970, 'm'
    /// duration, 'V' struct or raw bytes, 'c' complex, 'U' UTF-32.
    pub kind: u32,
    /// Elements of an array, or 1.
    pub count: u32,
    /// Unit of 'M' and 'm': "ns" (default), "us", "25us", "ms", "s" or another of numpy.
    pub unit: [c_char; 8],
}

/// Writes the schema to `buffer` as JSON of a numpy dtype, truncated to `size` and NUL-terminated.
/// Returns its full length without the NUL, as snprintf does, or 0 if the queue has no schema.
#[no_mangle]
pub unsafe extern "C" fn ipcq_schema(
    q: *const ipcq_queue,
    buffer: *mut c_char,
    size: usize,
) -> i64 {
    // SAFETY: a handle or NULL, and `size` writable bytes or NULL, says the caller.
    guard_slow(|| Ok(unsafe { write_schema(queue(q)?, buffer, size) }?))
}

/// # Safety
/// `buffer` is NULL or writable for `size` bytes.
unsafe fn write_schema(q: &ipcq_queue, buffer: *mut c_char, size: usize) -> Result<i64> {
    let buffer = bytes(buffer, size, "the buffer")?;
    let schema = match &q.role {
        Role::Producer(producer) => producer.schema(),
        Role::Consumer(consumer) => consumer.schema(),
    };
    let json = schema.map_or_else(String::new, |s| s.to_json());
    if let Some(room) = size.checked_sub(1) {
        let length = json.len().min(room);
        // SAFETY: writable for `size` bytes, says the caller.
        unsafe {
            buffer.copy_from_nonoverlapping(json.as_ptr().cast(), length);
            buffer.add(length).write(0);
        }
    }
    Ok(json.len() as i64)
}
