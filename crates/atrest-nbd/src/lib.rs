//! Disks of [`atrest`] on any NBD server, which sees ciphertext only.
//!
//! [`NbdDevice`] is an export as a device for a [`Volume`](atrest::Volume). [`NbdBackend`] gives managed disks exports of their own.
//!
//! ```no_run
//! use atrest::{Credential, OpenOptions, Volume};
//! use atrest_nbd::NbdDevice;
//!
//! let device = NbdDevice::connect("nbd+unix:///disk-1?socket=/run/nbd.sock")?;
//! let volume = Volume::open(device, Credential::Passphrase(b"secret"), &OpenOptions::new())?;
//! volume.write_at(0, &[7; 4096])?;
//! volume.sync()?;
//! # Ok::<(), atrest::Error>(())
//! ```
//!
//! # What can be relied on
//!
//! - **Durable** are the changes acknowledged before a [`sync`](atrest::BlockDevice::sync) that returned without an error. A
//!   server without a flush is refused.
//! - **A lost server** is connected to again. It may have lost changes that it acknowledged and didn't flush; the device has
//!   kept them, and repeats them, in order, before anything else. Callers wait, and see no error.
//! - **Overlapping changes** are done in the order in which they were begun. Others may reach the disk in any order.
//! - **A call that times out** has an unknown outcome: a write may be done, or be done later. It never overwrites a write that
//!   was begun after it. The device keeps trying in the background.
//! - **A silent connection** is kept until it answers or ends. A server that hangs has to be killed before another one takes its
//!   place.
//! - **A server that breaks the protocol** gets no more requests: every call fails until the device is opened again.
//! - **A second writer** isn't kept out by the protocol, which has no lock. Within a process, the second is
//!   [`Busy`](atrest::Error::Busy); across processes, the server has to allow one client only.
//! - **Torn writes** are possible if a server is killed, in units of its storage.
//!
//! `docs/storage/nbd.md` says why, and how to set servers up.
//!
//! # How it works
//!
//! The fixed newstyle handshake, structured replies, block status, flush, FUA, trim, zeros and several connections, by the
//! specification of the NBD project (`doc/proto.md`); the numbers are in `wire`. No thread runs while a server answers: the
//! waiting caller reads, for itself and for others.
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
mod held;
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

/// The examples of the pages are tried as the others are.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/storage/nbd.md")]
    mod nbd {}
}
