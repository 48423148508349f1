//! Encryption at host: disks of [`atrest`], served to virtual machines.
//!
//! A guest sees a plain disk. All data that leaves the host is ciphertext.
#![cfg(target_os = "linux")]
#![deny(unsafe_code)]

mod buffer;
pub mod cache;
mod disk;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod maintenance;
mod nbd;
mod queue;
mod serve;
mod socket;
mod sync;
mod temporary;
#[cfg(feature = "ublk")]
mod ublk;
#[cfg(feature = "uring")]
mod uring;
mod vhost_user;

pub use cache::Cache;
pub use disk::{Disk, HazmatPlain, ReadOnly};
pub use host::{Attachment, Host, HostOptions, NewTemporary};
pub use nbd::Nbd;
#[cfg(feature = "tls")]
pub use nbd::Tls;
pub use queue::DiskQueue;
pub use serve::{Serve, Served};
#[cfg(feature = "ublk")]
pub use ublk::Ublk;
#[cfg(feature = "uring")]
pub use uring::Uring;
pub use vhost_user::VhostUser;
