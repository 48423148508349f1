//! Managed disks: the system that a disk service embeds.
//!
//! A [`DiskService`] keeps [encryption sets](EncryptionSet), and [disks, snapshots and images](Resource). A disk is under the
//! platform's key, or under the customer's key that its set names, or under both in two layers; what is written is encrypted
//! before it reaches the disk in any case. A disk holds its key for a lease: when the key is disabled, deleted or expired, or
//! access to it revoked, I/O fails, the DEK is wiped, and all works again once access is back. A set's key is rotated while its
//! disks are in use, without touching their data.
//!
//! Numbers in brackets are those of `docs/behaviours.md`.

// What it all stands on. From here down, each group of modules imports only those above it.
mod backend;
mod capabilities;
mod parallel;
mod records;
mod sync;

// Records that last, and the volumes of a resource.
mod layers;
mod store;

// Who may use which key now, and what it opens.
mod keys;

// Resources in use.
mod live;

// Copies of them.
mod copy;

// What a service does.
mod care;
mod chunk_map;
mod copies;
mod disks;
mod file_vaults;
mod images;
mod maintain;
mod making;
mod membership;
mod platform;
mod rebuild;
mod removal;
mod report;
mod rotation;
mod service;
mod sets;
mod snapshots;

pub use crate::error::Rule;
pub use backend::{DiskBackend, DiskFolder, VaultDescription, VaultDirectory};
pub use capabilities::{Capability, CapabilityTable, EncryptionOption, Support};
pub use copy::CopyProgress;
pub use disks::{NewCopy, NewDisk};
pub use file_vaults::FileVaults;
pub use images::NewImage;
pub use keys::{LeasePolicy, OutagePolicy};
pub use live::OpenDisk;
pub use platform::PlatformReport;
pub use rebuild::{RebuildSources, Rebuilt, Unproven, rebuild};
pub use records::{EncryptionSet, Joining, PlatformKeys, Proof, Resource, ResourceKind, ResourceName, RotationError};
pub use report::{KeyAccess, ProtectionStatus, ResourceReport, SetReport};
pub use rotation::{ExpiringKey, Rotation, RotationProgress};
pub use service::{DiskService, ServiceOptions};
pub use sets::NewSet;
pub use snapshots::NewSnapshot;
pub use store::StoreCheck;
