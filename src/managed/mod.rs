//! Managed disks: the system that a disk service embeds.
//!
//! A [`DiskService`] keeps [encryption sets](EncryptionSet), and [disks, snapshots and images](Resource). A disk is
//! under the platform's key, under the customer's key of its set, or under both in two layers. In each case data is
//! encrypted before it reaches the disk. A disk holds its key for a lease. When the key is disabled, deleted or
//! expired, or access to it revoked, I/O fails and the DEK is wiped; the disk works again once access is back. A set's
//! key can be rotated while its disks are in use, without touching their data.
//!
//! Numbers in brackets are those of `docs/behaviours.md`.
//!
//! ```
//! use std::sync::Arc;
//! use atrest::managed::{DiskFolder, DiskService, KnownVaults, NewDisk, NewSet, ServiceOptions};
//! use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions, VersionChange};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let at = |name: &str| folder.path().join(name);
//! # std::fs::create_dir(at("disks")).unwrap();
//! let root = at("root.key");
//! FileVault::generate_key_file(&root)?;
//! let platform = FileVault::create(at("platform.vault"), Unlock::KeyFile(&root))?;
//! platform.create_key("floor")?;
//! let options = VaultOptions::new().region("north").tenant("contoso").purge_protection(true);
//! let contoso = FileVault::create_with(at("contoso.vault"), Unlock::KeyFile(&root), &options)?;
//! let key = contoso.create_key("disks")?;
//! let vaults = KnownVaults::new();
//! vaults.add_file(contoso.clone())?;
//! let backend = Arc::new(DiskFolder::new(at("disks")));
//! let options = ServiceOptions::new(backend, Arc::new(vaults), Arc::new(platform), "floor");
//! let service = DiskService::open(at("fleet.redb"), options)?;
//!
//! // A set names the customer's key, and the customer grants the set's identity access.
//! let set = NewSet::new("payroll", key.clone()).region("north").subscription("one").tenant("contoso");
//! contoso.grant(&service.create_set(&set)?.identity, &KeyOperation::ALL)?;
//! let new = NewDisk::new("db", 1 << 20).region("north").subscription("one").encryption_set("payroll");
//! service.create_disk(&new)?;
//! service.open_disk("db")?.write_at(0, &[7; 4096])?;
//!
//! // The customer takes the key away: the disk no longer opens.
//! contoso.set_version(&key, VersionChange::new().enabled(false))?;
//! assert!(service.open_disk("db").is_err());
//! # Ok::<(), atrest::Error>(())
//! ```

// The foundation. From here down, each group of modules imports only those above it.
mod backend;
mod capabilities;
mod counters;
mod kek;
mod lent;
mod parallel;
mod records;
mod sync;
mod write_back;

// Persistent records, and the volumes of a resource.
mod fleet;
mod layers;
pub mod store;

// Permission to use keys, and opening with them.
mod keys;

// Resources in use.
mod live;

// Copies of resources.
mod copy;

// The operations of a service.
mod adopt;
mod care;
mod chunk_map;
mod copies;
mod disks;
mod due;
mod expiring;
mod fleet_view;
mod hosts;
mod images;
mod import;
mod known_vaults;
mod maintain;
mod making;
mod membership;
mod metrics;
mod orphans;
mod parts;
mod pass;
mod platform;
mod rebuild;
mod reencryption;
mod removal;
mod report;
mod resize;
mod rotation;
mod rounds;
mod service;
mod sets;
mod shared_end;
mod shared_rotation;
mod shared_round;
mod snapshots;
mod under_way;

pub use crate::error::Rule;
pub use adopt::AdoptOptions;
pub use backend::{DiskBackend, DiskFolder, VaultDescription, VaultDirectory};
pub use capabilities::{Capability, CapabilityTable, EncryptionOption, Support};
pub use copy::CopyProgress;
pub use counters::{CALL_BUCKETS, CallOutcome, CallTimes};
pub use disks::{NewCopy, NewDisk};
pub use expiring::ExpiringKey;
pub use fleet::HostOptions;
pub use fleet_view::{AttachmentReport, FleetView, HostReport, LeaseState};
pub use images::NewImage;
pub use keys::{LeasePolicy, OutagePolicy};
pub use known_vaults::KnownVaults;
pub use lent::SecretHolder;
pub use live::{DeviceWrite, OpenDisk};
pub use metrics::{
    DiskCounts, HostMetrics, KeyLeaseCounts, RefusedCounts, RotationCounts, ServiceMetrics, StoreCalls, VaultCalls,
};
#[cfg(feature = "metrics")]
pub use metrics::{METRICS, MetricKind};
pub use platform::PlatformReport;
pub use rebuild::{RebuildSources, Rebuilt, Unproven, rebuild};
pub use records::{
    Adopting, EncryptionSet, Joining, PlatformKeys, Proof, Reencryption, ReencryptionKind, Resource, ResourceKind,
    ResourceName, RotationError,
};
pub use report::{KeyAccess, ProtectionStatus, ReencryptionReport, ResourceReport, SetPage, SetReport};
pub use rotation::{Rotation, RotationProgress};
pub use service::{DiskService, ServiceOptions};
pub use sets::NewSet;
pub use snapshots::NewSnapshot;
pub use store::StoreCheck;
pub use write_back::WriteBack;
