//! Marks what may be copied to and from the kernel as bytes.
#![expect(unsafe_code, reason = "aya::Pod is an unsafe marker")]

use crate::layout::{FragmentKey, FragmentOwner, Neighbour, Traffic};

macro_rules! pod {
    ($($type:ty),*) => { $(
        // SAFETY: repr(C), 'static, only integers and arrays of them, and no padding: crate::layout asserts the size.
        unsafe impl aya::Pod for $type {}
    )* };
}

pod!(FragmentKey, FragmentOwner, Neighbour, Traffic);
