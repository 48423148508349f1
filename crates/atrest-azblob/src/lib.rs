//! Encrypted disks of `atrest` on page blobs of Azure.
//!
//! A disk is one page blob: a raw image, or a fixed VHD. It is tried on Azurite, Microsoft's emulator, and not on the real
//! service.
//!
//! ```no_run
//! use std::sync::Arc;
//! use atrest::managed::DiskBackend;
//! use atrest_azblob::{Credential, PageBlobBackend, PageBlobOptions};
//!
//! let url = "azblob:https://myaccount.blob.core.windows.net/disks/host-7";
//! let options = PageBlobOptions::new(Credential::sas(&std::env::var("SAS")?)?);
//! let backend: Arc<dyn DiskBackend> = Arc::new(PageBlobBackend::new(url, options)?);
//! // A service of managed disks takes the backend; a volume takes a device.
//! let device = backend.open("north", "2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a01")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `entra`, `Credential::entra` authorises by a managed identity, a workload identity or an application. None
//! of them was tried on the real service.
//!
//! # What holds
//!
//! | | |
//! |---|---|
//! | durable | when a write returns: the service acknowledges a write when it is stored. A sync has nothing left to do. |
//! | torn | each 512 bytes are old or new. A write goes in requests of at most 4 MiB, several at once. |
//! | order | a write that has returned lies before one that begins later. Writes at the same time have no order. |
//! | own reads | see all writes. |
//! | two header copies | right: each is durable before the other is written. |
//! | second writers | a lease keeps them out: [`Error::Busy`](atrest::Error::Busy). Each request carries the lease. |
//! | a lost lease | every call fails from then on, with [`StaleNetworkFileHandle`](std::io::ErrorKind::StaleNetworkFileHandle), for ever. |
//! | a time-out | the outcome of the write is unknown: the range holds old data or new. Nothing changes it once the next write was begun. |
//! | retries | until the call's deadline, 30 s by default; at most 100 at once and 10 a second for a backend. |
//!
//! # How a late write is kept from overtaking
//!
//! A request that timed out may still be under way. Each write is conditional on the blob's sequence number
//! (`x-ms-if-sequence-number-eq`). After a request with an unknown outcome, the number is raised by Set Blob Properties before
//! anything else is written, also before the same write is tried again. The service then refuses the late request. The number
//! is raised by the action `max`: a late raise changes nothing. A change of the size is conditional on the blob's ETag, which
//! each raise changes too.
//!
//! A lease that ran out while the network was away is renewed. The service allows that only if no other client took it or wrote since.
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

#[cfg(feature = "entra")]
pub use atrest_oauth::AzureIdentity;
pub use backend::PageBlobBackend;
pub use credential::Credential;
pub use device::PageBlobDevice;
pub use options::{Lease, PageBlobOptions};
