//! The datapath from outside: the same frames through `lb_common::forward` on plain memory and through the
//! program in the kernel (`BPF_PROG_TEST_RUN`), with tables that plan and apply wrote.
//!
//! Tests with `kernel` in their name need root. Without it they fail, unless `LBCTL_SKIP_PRIVILEGED=1` is set;
//! with `LBCTL_REQUIRE_PRIVILEGES=1` they never skip.
//!
//! `cfg(test)` says to clippy, which cannot see it of a test target's helpers, that they may panic.

#[cfg(test)]
mod differential;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod parts;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod sequences;
