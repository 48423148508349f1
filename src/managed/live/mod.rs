//! Resources in use. All users of a resource share one instance.

mod in_flight;
mod open_disk;
mod registry;
mod resource;

pub use in_flight::DeviceWrite;
pub use open_disk::OpenDisk;
pub(super) use registry::Registry;
pub(super) use resource::{BeforeWrite, LiveResource};
