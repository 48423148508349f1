//! x
#![deny(unsafe_code)]
mod access;
mod address;
mod backend;
mod bucket;
mod commit;
mod device;
mod dirty;
mod disk;
mod failure;
mod lock;
mod manifest;
mod options;
mod orphans;

pub use atrest_http::aws::AccessKey;
pub use backend::S3Backend;
pub use device::S3Device;
pub use options::{Credential, S3Options};
