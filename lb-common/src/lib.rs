//! Packet decisions.
#![no_std]
