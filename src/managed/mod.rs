//! Managed disks: the system that a disk service embeds.
//!
//! A [`DiskService`] keeps [encryption sets](EncryptionSet), and [disks, snapshots and images](Resource). A disk is
//! under the platform's key, under the customer's key of its set, or under both in two layers. In each case data is
//! encrypted before it reaches the disk. A disk holds its key for a lease. When the key is disabled, deleted or
//! expired, or access to it revoked, I/O fails and the DEK is wiped; the disk works again once access is back. A set's
//! key can be rotated while its disks are in use, without touching their data.
//!
//! Numbers in brackets are those of `docs/behaviours.md`.

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
