//! Disks of [`atrest`] on any NBD server, which sees ciphertext only.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod backend;
mod channel;
mod connection;
mod device;
mod export;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod inbox;
mod keeper;
mod link;
mod log;
mod options;
mod outbox;
mod pool;
mod ranges;
mod slots;
mod socket;
#[cfg(feature = "tls")]
mod tls;
mod url;
#[doc(hidden)]
pub mod wire;

pub use backend::{ExportMaker, NbdBackend};
pub use device::NbdDevice;
pub use options::NbdOptions;
#[cfg(feature = "tls")]
pub use tls::Tls;
