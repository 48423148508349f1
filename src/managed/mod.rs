//! Managed disks: the system that a disk service embeds.
//!
//! A [`DiskService`] keeps [encryption sets](EncryptionSet), and [disks, snapshots and images](Resource). A disk is under the
//! platform's key, or under the customer's key that its set names, or under both in two layers; what is written is encrypted
//! before it reaches the disk in any case. A disk holds its key for a lease: when the key is disabled, deleted or expired, or
//! access to it revoked, I/O fails, the DEK is wiped, and all works again once access is back. A set's key is rotated while its
//! disks are in use, without touching their data.
//!
//! Numbers in brackets are those of the README's table of behaviours.

mod backend;
mod capabilities;
mod care;
mod copies;
mod copy;
mod disks;
mod file_vaults;
mod images;
mod keys;
mod layers;
mod live;
mod maintain;
mod making;
mod membership;
mod parallel;
mod platform;
mod rebuild;
mod records;
mod removal;
mod report;
mod rotation;
mod service;
mod sets;
mod snapshots;
mod store;
mod sync;

pub use backend::{DiskBackend, DiskFolder, VaultDescription, VaultDirectory};
pub use capabilities::{Built, Capability, CapabilityTable, EncryptionOption, Support};
pub use copy::CopyProgress;
pub use disks::{NewCopy, NewDisk};
pub use file_vaults::FileVaults;
pub use images::{ImageRegion, NewImage};
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
