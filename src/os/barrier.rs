//! Memory barriers in other processes.

/// Asks the kernel to include this process in every later [`heavy_barrier`]. Repeated calls are
/// harmless.
pub(crate) fn register_barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
}

/// Executes a full memory barrier in this thread and in every thread of every process that has
/// called [`register_barrier`]. A thread that is not running executes it before it runs again.
/// Returns `false` if the kernel does not support this.
pub(crate) fn heavy_barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
