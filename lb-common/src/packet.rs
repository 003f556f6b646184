//! Access to one frame, checked on every load and store.

use crate::csum;
use crate::forward::{self, Stage};
use crate::tables::Tables;
use crate::verdict::Verdict;
use crate::word::Blur;

/// One Ethernet frame, from the destination MAC to the end.
pub trait Packet {
    /// The frame's length in bytes, padding included.
    fn length(&self) -> usize;

    /// `N` bytes at `offset`, or `None` if the frame ends before them.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Replaces `N` bytes at `offset`, or `None`, without a change, if the frame ends before them.
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()>;

    /// Adds `by` bytes (positive) in front of the frame or takes them away (negative). The new bytes are
    /// arbitrary. `None`, without a change, if there is no room.
    fn grow_front(&mut self, by: i32) -> Option<()>;

    /// The index of the interface the frame came in on.
    fn ingress(&self) -> u32;

    /// Goes on with a stage of the datapath; or says that it comes next, and leaves it to [`forward::stage`].
    #[inline(always)]
    fn stage<T: Tables>(&mut self, tables: &T, stage: Stage) -> Verdict
    where
        Self: Sized,
    {
        forward::uncounted(self, tables, stage)
    }

    /// The bits of [`csum::sum`], here or by a function of its own.
    #[inline(always)]
    fn sum(&self, at: usize, length: usize) -> Option<u64>
    where
        Self: Sized,
    {
        csum::sum(self, at, length).map(csum::Sum::bits)
    }

    /// Cuts off what is behind the first `length` bytes. `None`, without a change, if the frame is shorter.
    fn shrink(&mut self, length: usize) -> Option<()>;

    /// See [`Blur`]; plain memory has nobody to hide anything from.
    #[inline(always)]
    fn blur(&self) -> Blur {
        Blur::new(0)
    }
}

/// A frame in plain memory, with room in front as a driver leaves it.
#[cfg(any(test, feature = "user"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPacket {
    bytes: Vec<u8>,
    ingress: u32,
}

#[cfg(any(test, feature = "user"))]
impl MemoryPacket {
    /// A frame that came in on `ingress`.
    pub fn new(bytes: Vec<u8>, ingress: u32) -> Self {
        Self { bytes, ingress }
    }

    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(any(test, feature = "user"))]
impl Packet for MemoryPacket {
    fn length(&self) -> usize {
        self.bytes.len()
    }

    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Option<()> {
        self.bytes.get_mut(offset..offset.checked_add(N)?)?.copy_from_slice(&bytes);
        Some(())
    }

    fn grow_front(&mut self, by: i32) -> Option<()> {
        let count = usize::try_from(by.unsigned_abs()).ok()?;
        if by >= 0 {
            self.bytes.splice(0..0, core::iter::repeat_n(0, count));
        } else if self.bytes.len() >= count.checked_add(14)? {
            // The kernel refuses to shrink a frame below an Ethernet header (bpf_xdp_adjust_head).
            self.bytes.drain(..count);
        } else {
            return None;
        }
        Some(())
    }

    fn shrink(&mut self, length: usize) -> Option<()> {
        (self.bytes.len() >= length).then(|| self.bytes.truncate(length))
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }
}
