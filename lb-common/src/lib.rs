//! Everything the XDP program and user space must agree on: the packet decision
//! ([`forward`]), the table layouts ([`layout`]) and the scheduler's order ([`sched`]).
//!
//! The crate knows no kernel and no socket. `lb-ebpf` instantiates [`forward::forward`] on XDP memory and
//! BPF maps, [`memory::MemoryTables`] instantiates it on plain memory; both run the same packet cases.
//! Start with [`forward`], which reads in the order a packet is looked at.
#![cfg_attr(not(any(test, feature = "user")), no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![deny(unsafe_code)]

pub mod admission;
pub mod conn;
pub mod csum;
pub mod forward;
pub mod hash;
pub mod layout;
pub mod lease;
pub mod locality;
pub mod maps;
#[cfg(any(test, feature = "user"))]
pub mod memory;
pub mod net;
pub mod packet;
pub mod parse;
#[cfg(feature = "user")]
mod pod;
#[cfg(any(test, feature = "user"))]
pub mod sched;
pub mod services;
pub mod tables;
pub mod verdict;
pub mod word;
