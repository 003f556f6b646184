//! Array maps mapped into memory, so that reading and writing them takes no system call.
#![expect(unsafe_code, reason = "maps kernel memory as typed slices")]

use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};

use lb_common::admission::Sources;
use lb_common::conn::{Bucket4, Bucket6};
use lb_common::layout::{Destination, Detail, Load, Route, Schedule, Settings, Virtual};
use lb_common::lease::Lease;
use lb_common::services;
use lb_common::word::Word;
use memmap2::{MmapOptions, MmapRaw};

/// Types made of [`Word`]s alone, which kernel and user space may share.
///
/// # Safety
///
/// Every byte belongs to a `Word`, so any bits are a value and every access is atomic.
pub unsafe trait Shared {}

macro_rules! shared {
    ($($type:ty),*) => { $(
        // SAFETY: consists of Words; layout, conn.rs, lease.rs and services.rs assert the size.
        unsafe impl Shared for $type {}
    )* };
}
shared!(Word, Settings, Schedule, Destination, Bucket4, Bucket6, services::Bucket4, services::Bucket6);
shared!(Load, Virtual, Route, Detail, Lease, Sources);

/// An array map's elements. They change under the reader, one word at a time.
#[derive(Debug)]
pub struct Mapped<T> {
    memory: MmapRaw,
    count: usize,
    element: PhantomData<T>,
}

impl<T: Shared> Mapped<T> {
    /// Maps the `count` elements of the array map `map`, which must be `BPF_F_MMAPABLE`.
    pub fn new(map: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        let count = count as usize;
        let memory = MmapOptions::new().len(count * size_of::<T>()).map_raw(map.as_raw_fd())?;
        Ok(Self { memory, count, element: PhantomData })
    }
}

impl<T: Shared> Deref for Mapped<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `count` elements were mapped, page-aligned, for as long as `self` lives; others write them
        // only as whole words, and every part of a `T` is an atomic word.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<T>(), self.count) }
    }
}
