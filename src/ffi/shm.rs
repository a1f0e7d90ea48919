//! Shared memory without a queue.

use super::support::{bytes, guard, guard_slow, name, null, out};
use crate::error::Result;
use crate::SharedMem;
use std::ffi::{c_char, c_int, c_void};

/// Memory without a queue: the processes agree on what the bytes mean.
pub struct ipcq_shm {
    shm: SharedMem,
}

/// Creates or opens writable memory of `size` bytes, which are zero at first. `permissions`: mode
/// bits, default 0600.
/// Errors: -EACCES, -EBUSY (another writer), -ENOSPC.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_shm_create(
    out: *mut *mut ipcq_shm,
    name: *const c_char,
    size: usize,
    permissions: u32,
) -> c_int {
    guard_slow(|| {
        // SAFETY: valid or NULL, says the caller.
        let out = unsafe { self::out(out, "the place for the handle") }?;
        *out = std::ptr::null_mut();
        // SAFETY: a string or NULL, says the caller.
        *out = into_handle(SharedMem::create(
            unsafe { self::name(name) }?,
            size,
            (permissions != 0).then_some(permissions),
        )?);
        Ok(0)
    })
}

/// Opens memory to read.
/// Errors: -EACCES, -ENOENT.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_shm_open(out: *mut *mut ipcq_shm, name: *const c_char) -> c_int {
    guard_slow(|| {
        // SAFETY: valid or NULL, says the caller.
        let out = unsafe { self::out(out, "the place for the handle") }?;
        *out = std::ptr::null_mut();
        // SAFETY: a string or NULL, says the caller.
        *out = into_handle(SharedMem::open(unsafe { self::name(name) }?)?);
        Ok(0)
    })
}

/// Copies bytes in. A reader may see a part of the write.
/// Errors: -ERANGE.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_shm_write(
    shm: *mut ipcq_shm,
    offset: usize,
    data: *const c_void,
    length: usize,
) -> c_int {
    guard(|| {
        let data = bytes(data, length, "the data")?;
        // SAFETY: a handle, and `length` readable bytes, says the caller.
        unsafe { memory(shm)?.write_raw(offset, data, length) }?;
        Ok(0)
    })
}

/// Copies bytes out.
/// Errors: -ERANGE.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_shm_read(
    shm: *const ipcq_shm,
    offset: usize,
    buffer: *mut c_void,
    length: usize,
) -> c_int {
    guard(|| {
        let buffer = bytes(buffer, length, "the buffer")?;
        // SAFETY: a handle, and `length` writable bytes, says the caller.
        unsafe { memory(shm.cast_mut())?.read_raw(offset, buffer, length) }?;
        Ok(0)
    })
}

/// The bytes, to write. NULL for a reader.
#[no_mangle]
pub unsafe extern "C" fn ipcq_shm_data(shm: *mut ipcq_shm) -> *mut c_void {
    // SAFETY: a handle or NULL, says the caller.
    let data = unsafe { memory(shm) }.ok().and_then(SharedMem::as_mut_ptr);
    data.map_or(std::ptr::null_mut(), |data| data.cast())
}

/// The bytes, to read.
#[no_mangle]
pub unsafe extern "C" fn ipcq_shm_cdata(shm: *const ipcq_shm) -> *const c_void {
    // SAFETY: a handle or NULL, says the caller.
    let shm = unsafe { memory(shm.cast_mut()) };
    shm.map_or(std::ptr::null(), |shm| shm.as_ptr().cast())
}

/// The size in bytes. 0 for NULL.
#[no_mangle]
pub unsafe extern "C" fn ipcq_shm_size(shm: *const ipcq_shm) -> usize {
    // SAFETY: a handle or NULL, says the caller.
    unsafe { memory(shm.cast_mut()) }.map_or(0, |shm| shm.size())
}

/// Closes a handle. NULL is allowed.
#[no_mangle]
pub unsafe extern "C" fn ipcq_shm_close(shm: *mut ipcq_shm) {
    guard_slow(|| {
        if !shm.is_null() {
            // SAFETY: from this file, and not used again, says the caller.
            drop(unsafe { Box::from_raw(shm) });
        }
        Ok(0)
    });
}

/// Removes the name. Open handles keep the memory.
#[no_mangle]
pub unsafe extern "C" fn ipcq_shm_unlink(name: *const c_char) -> c_int {
    guard_slow(|| {
        // SAFETY: a string or NULL, says the caller.
        SharedMem::unlink(unsafe { self::name(name) }?)?;
        Ok(0)
    })
}

/// # Safety
/// `shm` is NULL or a handle that no other thread uses.
unsafe fn memory<'a>(shm: *mut ipcq_shm) -> Result<&'a mut SharedMem> {
    // SAFETY: the caller's promise.
    match unsafe { shm.as_mut() } {
        Some(shm) => Ok(&mut shm.shm),
        None => Err(null("the shared memory")),
    }
}

fn into_handle(shm: SharedMem) -> *mut ipcq_shm {
    Box::into_raw(Box::new(ipcq_shm { shm }))
}
