//! Memory barriers in other processes.

/// Asks the kernel to include this process in every [`heavy_barrier`] from now on. Asking twice
/// is fine.
pub(crate) fn register_barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
}

/// A full memory barrier here and in every thread, at this moment or when it next runs, of every
/// process that has called [`register_barrier`]; `false` if the kernel does not do that.
pub(crate) fn heavy_barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
