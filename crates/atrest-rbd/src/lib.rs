//! Disks of [`atrest`] on Ceph RBD.
#![deny(unsafe_code)]

mod backend;
mod bounded;
mod connect;
mod device;
mod life;
mod name;
mod options;
mod sys;
mod trouble;

pub use backend::RbdBackend;
pub use device::RbdDevice;
pub use options::RbdOptions;
