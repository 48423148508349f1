//! What is open: the resources in use, each shared by all who use it.

mod changes;
mod open_disk;
mod registry;
mod resource;

pub use open_disk::OpenDisk;
pub(super) use registry::Registry;
pub(super) use resource::{BeforeWrite, Capturing, LiveResource};
