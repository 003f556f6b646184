//! Precedence over other threads: an advert that is late by three intervals is a change of master.
#![expect(unsafe_code, reason = "the scheduling policy has no safe interface")]

use std::io;

/// Puts the calling thread under `SCHED_RR` with this priority (1 to 99). Threads and processes that it starts have the
/// ordinary policy (`SCHED_RESET_ON_FORK`).
///
/// # Errors
/// `CAP_SYS_NICE` is missing, or the control group has no real-time budget.
pub(super) fn prefer(priority: i32) -> io::Result<()> {
    set_policy(libc::SCHED_RR, priority)
}

/// Lets the calling thread, which has the ordinary policy, run before others of it (nice −10); not so the threads and
/// processes that it starts.
///
/// # Errors
/// `CAP_SYS_NICE` is missing.
pub(super) fn favour() -> io::Result<()> {
    set_policy(libc::SCHED_OTHER, 0)?;
    // SAFETY: takes integers only; 0 names the calling thread.
    let failed = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -10) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_policy(policy: i32, priority: i32) -> io::Result<()> {
    let policy = policy | libc::SCHED_RESET_ON_FORK;
    // The kernel's call itself: musl's function of this name refuses always. Its `struct sched_param` is this one int.
    // SAFETY: 0 names the calling thread, and `priority` lives until after the call.
    let failed = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
