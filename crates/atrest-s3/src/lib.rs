//! Encrypted disks of `atrest` on S3 objects.
//!
//! A disk is a folder of objects: chunks, and a manifest that names them. It is tried on moto, an emulator, and not on the real
//! service. The store must know conditional writes (`If-Match` and `If-None-Match` of PutObject), as S3 does since November 2024.
//!
//! ```no_run
//! use std::sync::Arc;
//! use atrest::managed::DiskBackend;
//! use atrest_s3::S3Backend;
//!
//! // The credential is that of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
//! let url = "s3:https://s3.eu-central-1.amazonaws.com/disks/host-7?region=eu-central-1";
//! let backend: Arc<dyn DiskBackend> = Arc::new(S3Backend::from_url(url)?);
//! let device = backend.open("north", "2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a01")?;
//! device.write_at(0, &[0; 4096])?;
//! device.sync()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//!
//! | | |
//! |---|---|
//! | durable | when a sync returns. A write is acknowledged when it is in memory; a crash of the host loses writes that weren't synced. |
//! | torn | never: a sync happens as a whole, whenever the host dies. After a crash the disk is as one sync left it. |
//! | order | as of the last sync that was done: no later write is there without all earlier ones. |
//! | own reads | see all writes, also before a sync. |
//! | two header copies | right: each sync swaps the manifest at once, so that one copy is durable before the other. |
//! | second writers | a lock object keeps out honest ones: [`Error::Busy`](atrest::Error::Busy). The manifest's conditional write fences all others. |
//! | a disk taken over | every call fails once that is known, with [`StaleNetworkFileHandle`](std::io::ErrorKind::StaleNetworkFileHandle), for ever. Until then reads may show the old state. |
//! | a time-out | the outcome of the sync is unknown. The writes stay in memory, and the next sync tries again. |
//! | retries | until the call's deadline, 30 s by default; at most 100 at once and 10 a second for a backend. |
//!
//! # How a sync works
//!
//! 1. Each changed chunk is uploaded as a new object. Its name holds a generation that is never used again, and the session, a
//!    random number. A partly written chunk is read first. A chunk of zeros has no object.
//! 2. Each page of the manifest that names such a chunk is uploaded as a new object: 4096 chunks, 64 KiB.
//! 3. The root, which names the pages, is written on condition that it is still the one that was written last (`If-Match`).
//!    If the answer is lost, the root is read: it is either ours or not.
//! 4. Objects that are named no more are deleted, by a thread.
//!
//! Opening a disk writes a root too. The previous holder can't write another: the condition fails, and its disk is lost from
//! then on. The objects that it uploaded in vain are deleted when a disk is opened that wasn't closed: they are of older
//! generations, and the manifest doesn't name them.
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
