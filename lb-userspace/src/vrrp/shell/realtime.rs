//! Precedence over other threads: an advert that is late by three intervals is a change of master.
#![expect(unsafe_code, reason = "the scheduling policy has no safe interface")]

use std::io;

/// Puts the calling thread under `SCHED_RR` with this priority (1 to 99). Threads and processes that it starts have the
/// ordinary policy (`SCHED_RESET_ON_FORK`).
///
/// # Errors
/// `CAP_SYS_NICE` is missing, or the control group has no real-time budget.
pub(super) fn prefer(priority: i32) -> io::Result<()> {
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // The kernel's call itself: musl's function of this name refuses always. Its `struct sched_param` is this one int.
    // SAFETY: 0 names the calling thread, and `priority` lives until after the call.
    let failed = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
