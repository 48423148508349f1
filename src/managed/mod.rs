//! Managed disks: the system that a disk service embeds.
//!
//! A [`DiskService`] keeps [encryption sets](EncryptionSet) and [disks](ManagedDisk). A disk is under the platform's key, or
//! under the customer's key that its set names, or under both in two layers; what is written is encrypted before it reaches
//! the disk in any case. A disk holds its key for a lease: when the key is disabled, deleted or expired, or access to it
//! revoked, I/O fails, the DEK is wiped, and all works again once access is back. A set's key is rotated while its disks are
//! in use, without touching their data.
//!
//! Numbers in brackets are those of the README's table of behaviours.

mod backend;
mod disk;
mod layers;
mod lease;
mod leases;
mod records;
mod rotation;
mod service;
mod store;

pub use backend::{DiskBackend, DiskFolder, VaultDescription, VaultDirectory};
pub use disk::OpenDisk;
pub use lease::{LeasePolicy, OutagePolicy};
pub use records::{EncryptionSet, Joining, ManagedDisk, RotationError};
pub use rotation::{Rotation, RotationProgress};
pub use service::{DiskService, NewDisk, NewSet, ServiceOptions};
