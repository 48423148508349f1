//! Resources in use. All users of a resource share one instance.

mod before_write;
mod capturing;
mod changes;
mod coming;
mod hand_over;
mod in_flight;
mod keys_of;
mod notes;
mod open_disk;
mod registry;
mod resource;
mod rewriting;
mod stay;
mod to_rewrap;
mod using;

pub(super) use before_write::BeforeWrite;
pub(super) use capturing::Capturing;
pub use in_flight::DeviceWrite;
pub use open_disk::OpenDisk;
pub(super) use registry::{Registry, Seen};
pub(super) use resource::LiveResource;
pub(super) use using::Using;
