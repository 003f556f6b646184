//! What the tests share: frames, the two instances of the datapath, and the virtual servers they run with.

pub(crate) mod case;
pub(crate) mod frame;
pub(crate) mod random;
pub(crate) mod sides;
mod window;
pub(crate) mod world;
