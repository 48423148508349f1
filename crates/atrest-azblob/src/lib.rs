//! x
#![deny(unsafe_code)]
mod address;
mod backend;
mod credential;
mod device;
mod failure;
mod held;
mod image;
mod list;
mod options;
mod sequence;
mod service;
mod vhd;

pub use backend::PageBlobBackend;
pub use credential::Credential;
pub use device::PageBlobDevice;
pub use options::{Lease, PageBlobOptions};
