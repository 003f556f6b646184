//! A 64-bit word that the kernel's CPUs and user space change under each other.
#![cfg_attr(
    target_arch = "bpf",
    expect(unsafe_code, reason = "atomics of the BPF target exist only as instructions")
)]

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering::Relaxed;

/// A shared word. Loads and stores are whole; the read-modify-write operations are atomic, and in BPF each of
/// them is a full barrier on every architecture (kernel `Documentation/bpf/standardization`, atomic operations).
///
/// `core` has no compare-and-swap for the BPF target, so there the instructions are written out.
///
/// # Minimum kernel version
///
/// 5.12, for atomic operations that fetch.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Word(AtomicU64);

impl Word {
    /// A word with this value.
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// Replaces the value after everything before it is visible.
    #[inline(always)]
    pub fn publish(&self, value: u64) {
        // x86-64 keeps the order of stores by itself, and the loader's JIT that of instructions.
        if cfg!(all(target_arch = "bpf", bpf_target_arch = "x86_64")) {
            self.store(value);
        } else {
            self.exchange(value);
        }
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Word {
    /// The value now.
    pub fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Replaces the value.
    pub fn store(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Replaces the value; returns the one before.
    pub fn exchange(&self, value: u64) -> u64 {
        self.0.swap(value, core::sync::atomic::Ordering::SeqCst)
    }

    /// Replaces the value if it is `expected`; was it?
    pub fn replace(&self, expected: u64, value: u64) -> bool {
        use core::sync::atomic::Ordering::SeqCst;
        self.0.compare_exchange(expected, value, SeqCst, SeqCst).is_ok()
    }

    /// Adds; returns the value before.
    pub fn fetch_add(&self, value: u64) -> u64 {
        self.0.fetch_add(value, Relaxed)
    }
}

/// Makes all of them 0.
#[cfg(not(target_arch = "bpf"))]
pub fn clear(words: &[Word]) {
    words.iter().for_each(|word| word.store(0));
}

/// Are all of them 0?
#[cfg(not(target_arch = "bpf"))]
pub fn are_clear(words: &[Word]) -> bool {
    words.iter().all(|word| word.load() == 0)
}

/// Are there as many, with the same values?
#[cfg(not(target_arch = "bpf"))]
pub fn same(some: &[Word], others: &[Word]) -> bool {
    some.iter().map(Word::load).eq(others.iter().map(Word::load))
}

#[cfg(target_arch = "bpf")]
impl Word {
    /// The value now.
    #[inline(always)]
    pub fn load(&self) -> u64 {
        // SAFETY: an aligned word that lives as long as `self`; a 64-bit load instruction is whole.
        unsafe { core::ptr::read_volatile(self.0.as_ptr()) }
    }

    /// Replaces the value.
    #[inline(always)]
    pub fn store(&self, value: u64) {
        // SAFETY: as for `load`.
        unsafe { core::ptr::write_volatile(self.0.as_ptr(), value) }
    }

    /// Replaces the value; returns the one before.
    #[inline(always)]
    pub fn exchange(&self, value: u64) -> u64 {
        let mut register = value;
        // SAFETY: the address is this word's, which is aligned and lives as long as `self`.
        unsafe {
            core::arch::asm!("{value} = xchg_64({address} + 0, {value})", address = in(reg) self.0.as_ptr(),
                value = inout(reg) register, options(nostack));
        }
        register
    }

    /// Replaces the value if it is `expected`; was it?
    #[inline(always)]
    pub fn replace(&self, expected: u64, value: u64) -> bool {
        let mut found = expected;
        // SAFETY: as for `exchange`; the instruction compares with r0 and leaves there what it found.
        unsafe {
            core::arch::asm!("r0 = cmpxchg_64({address} + 0, r0, {value})", address = in(reg) self.0.as_ptr(),
                value = in(reg) value, inout("r0") found, options(nostack));
        }
        found == expected
    }

    /// Adds; returns the value before.
    #[inline(always)]
    pub fn fetch_add(&self, value: u64) -> u64 {
        let mut register = value;
        // SAFETY: as for `exchange`.
        unsafe {
            core::arch::asm!("{value} = atomic_fetch_add((u64 *)({address} + 0), {value})",
                address = in(reg) self.0.as_ptr(), value = inout(reg) register, options(nostack));
        }
        register
    }
}

/// Zero, as far as anyone but the verifier knows.
///
/// The verifier follows every path and takes two for one only if what it knows about all numbers agrees. A
/// number that is a different constant on each path (a slot's index, a header's offset) thus doubles the work
/// behind it. Adding this hides the constant; a mask behind it gives back the bounds that accesses need.
#[derive(Clone, Copy, Debug)]
pub struct Blur(u64);

impl Blur {
    /// From a number that is zero.
    #[inline(always)]
    pub const fn new(zero: u64) -> Self {
        Self(zero)
    }

    /// `index`, known only to be `0..=MASK`.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps it small")]
    pub const fn index<const MASK: u64>(self, index: usize) -> usize {
        ((index as u64).wrapping_add(self.0) & MASK) as usize
    }

    /// `number`, about which nothing is known.
    #[inline(always)]
    pub const fn number(self, number: u64) -> u64 {
        number.wrapping_add(self.0)
    }
}
