//! The kernel's side as user space sees it: the program's object, its maps, its attachment to interfaces.
//!
//! Nothing here decides what the tables should say (that is [`crate::plane`]).

pub mod attach;
pub mod connections;
pub mod loader;
pub mod mapped;
mod networks;
pub mod tables;
