//! What the store keeps of sets and disks.

mod keys;
mod text;

use serde::{Deserialize, Serialize};

pub(super) use self::keys::{is_platforms, is_same};
use crate::key::{EncryptionType, Fingerprint, KeyId};
use crate::{Error, Result};

/// The largest disk: 64 TiB.
pub(super) const MAX_SIZE: u64 = 1 << 46;

/// A disk encryption set: the key, identity and kind of encryption that many disks share (behaviours 19 to 34).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EncryptionSet {
    /// The name, unique among sets.
    pub name: String,
    /// Where it is; its vault and its disks are there too.
    pub region: String,
    /// Whose it is.
    pub subscription: String,
    /// The tenant that its identity belongs to.
    pub tenant: String,
    /// The identity under which it asks its vault, made with it. The vault's owner has to grant it `get`, `wrapKey` and
    /// `unwrapKey`.
    pub identity: String,
    /// [`CustomerKey`](EncryptionType::CustomerKey) or
    /// [`PlatformAndCustomerKeys`](EncryptionType::PlatformAndCustomerKeys).
    #[serde(with = "text::type_name")]
    pub encryption_type: EncryptionType,
    /// The key that its disks are under, or will be when the rotation that is in progress has ended.
    #[serde(with = "text::url")]
    pub active_key: KeyId,
    /// Keys that disks may still be under, while a rotation is in progress; else empty. They must stay enabled.
    #[serde(with = "text::urls")]
    pub previous_keys: Vec<KeyId>,
    /// Keys that it was under, the last ones. No rotation goes back to one by itself.
    #[serde(with = "text::urls")]
    pub former_keys: Vec<KeyId>,
    /// Whether newer versions of the key are taken up as they come.
    pub auto_rotation: bool,
    /// When the last rotation ended, in seconds since 1970-01-01 UTC.
    pub last_key_rotation_timestamp: Option<u64>,
    /// What stopped a rotation. It isn't tried again until this is cleared.
    pub auto_key_rotation_error: Option<RotationError>,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub created: u64,
}

impl EncryptionSet {
    /// The record in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record has only string keys")
    }
}

/// The platform's keys: those of everything that is in no set, and of the lower layer of what has two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlatformKeys {
    /// The key that all of it is under, or will be when the rotation that is in progress has ended.
    #[serde(with = "text::url")]
    pub active_key: KeyId,
    /// Keys that some of it may still be under; empty once that is finished. They must stay enabled.
    #[serde(with = "text::urls")]
    pub previous_keys: Vec<KeyId>,
    /// Keys that it was under, the last ones.
    #[serde(with = "text::urls")]
    pub former_keys: Vec<KeyId>,
    /// When the last rotation ended, in seconds since 1970-01-01 UTC.
    pub last_key_rotation_timestamp: Option<u64>,
    /// What stopped the last rotation, until one begins again.
    pub rotation_error: Option<RotationError>,
}

impl PlatformKeys {
    /// The record in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record has only string keys")
    }
}

/// What stopped a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RotationError {
    /// A name for programs, such as `KeyDisabled`.
    pub code: String,
    /// A text for people.
    pub message: String,
    /// What it stopped at: `disk "db-1"`; empty if it did not come to any.
    pub resource: String,
}

/// Where a resource comes from that is being put into a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Joining {
    /// From the platform's key.
    Platform,
    /// From another set.
    Set(String),
}

/// What a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ResourceKind {
    /// A disk, which is written.
    Disk,
    /// What a disk held at one instant.
    Snapshot,
    /// One copy of what an image is made of: of one disk, in one region.
    Image,
}

impl ResourceKind {
    const ALL: [(ResourceKind, u8, &'static str); 3] =
        [(ResourceKind::Disk, 1, "disk"), (ResourceKind::Snapshot, 2, "snapshot"), (ResourceKind::Image, 3, "image")];

    /// The name, as people write it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., name)| name)
    }

    /// The number, as the C ABI and the store carry it.
    pub fn code(self) -> u8 {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or(0, |(_, code, _)| *code)
    }

    /// The kind of this number, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, c, _)| *c == code).map(|(kind, ..)| *kind)
    }
}

/// The name of a resource: unique among those of its kind. It reads `disk "db-1"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName {
    /// What it is.
    pub kind: ResourceKind,
    /// Its name. That of an image's copy is `IMAGE/REGION/NUMBER`, where the number is the disk's in the image, from 0.
    pub name: String,
}

impl ResourceName {
    /// The name of a disk.
    pub fn disk(name: impl Into<String>) -> Self {
        ResourceName { kind: ResourceKind::Disk, name: name.into() }
    }

    /// The name of a snapshot.
    pub fn snapshot(name: impl Into<String>) -> Self {
        ResourceName { kind: ResourceKind::Snapshot, name: name.into() }
    }

    /// The name of the copy of an image's disk `number`, from 0, in a region.
    pub fn image(image: &str, region: &str, number: usize) -> Self {
        ResourceName { kind: ResourceKind::Image, name: format!("{image}/{region}/{number}") }
    }
}

impl core::fmt::Display for ResourceName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {:?}", self.kind.name(), self.name)
    }
}

/// A managed disk, a snapshot, or a copy of an image's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Resource {
    /// What it is.
    pub kind: ResourceKind,
    /// The name, unique among those of its kind.
    pub name: String,
    /// What its volumes are bound to, and the name of its device: a UUID that is never used again.
    pub id: String,
    /// Where it is.
    pub region: String,
    /// Whose it is.
    pub subscription: String,
    /// The size of its data in bytes.
    pub size: u64,
    /// The sector size in bytes.
    pub sector_size: u32,
    /// Whose keys protect it.
    #[serde(with = "text::type_name")]
    pub encryption_type: EncryptionType,
    /// The set that it is in, unless the platform's key alone protects it.
    pub set: Option<String>,
    /// Where it comes from while it is being put into its set and not yet under its key for sure; finished at the next use.
    pub joining: Option<Joining>,
    /// Whether what it holds was ever encrypted in the guest.
    pub guest_encrypted: bool,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// The id of the disk, snapshot or image that it was copied from.
    pub source: Option<String>,
    /// Its place among the incremental snapshots of its source, if it is one: each holds what the ones before it don't.
    pub increment: Option<u64>,
    /// What tells its DEKs from all others: that of the upper volume, then that of the lower one, if there are two. Volumes
    /// with other DEKs are refused. Empty in what an earlier version made, until it is opened.
    #[serde(default, with = "text::fingerprints")]
    pub fingerprints: Vec<Fingerprint>,
    /// The key that its DEK is under, as its vault has proved; of two layers, the upper one's. What its header says is another
    /// matter. None in what an earlier version made, until it is opened or rotated.
    #[serde(default)]
    pub proven: Option<Proof>,
    /// The same of the lower layer, if there are two: a key of the platform.
    #[serde(default)]
    pub proven_lower: Option<Proof>,
    /// How many blocks of 16 bytes its DEKs have encrypted, the upper layer's first, as was noted when it was last closed
    /// ([`KeyUsage`](crate::KeyUsage)), and by [`maintain`](crate::managed::DiskService::maintain) after each 16 GiB: what a
    /// process that was killed had written since is missing.
    #[serde(default)]
    pub used_blocks: [u64; 2],
}

/// The key that a volume's DEK is under, as the key's vault has proved: it unwrapped what the volume's header holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Proof {
    /// The key, with its version.
    #[serde(with = "text::url")]
    pub key: KeyId,
    /// When that was first proved, in seconds since 1970-01-01 UTC.
    pub since: u64,
}

impl Resource {
    /// The set that it is on its way out of, into another.
    pub(super) fn leaving(&self) -> Option<&String> {
        match &self.joining {
            Some(Joining::Set(from)) => Some(from),
            _ => None,
        }
    }

    /// The id of the disk that it and its incremental snapshots, or the others beside it, are of.
    pub(super) fn chain(&self) -> &str {
        self.place().map_or(&self.id, |(disk, _)| disk)
    }

    /// The id of its disk, and its place among the disk's incremental snapshots, if it is one.
    pub(super) fn place(&self) -> Option<(&str, u64)> {
        self.source.as_deref().zip(self.increment)
    }

    /// Its kind and name.
    pub fn full_name(&self) -> ResourceName {
        ResourceName { kind: self.kind, name: self.name.clone() }
    }

    /// The record in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record has only string keys")
    }
}

/// The names of resources and regions, which a backend may make files of.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.starts_with('.') {
        return Err(Error::InvalidName("the name of a resource, region or subscription begins with no '.'".into()));
    }
    KeyId::check_name("resource", name)
}

/// That the name of a device is a UUID as this library writes it; of anything else a backend might make a path.
pub(super) fn check_id(id: &str) -> Result<()> {
    match uuid::Uuid::try_parse(id) {
        Ok(parsed) if parsed.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()) == id => Ok(()),
        _ => Err(Error::InvalidName(format!("the id {id:?} is not a UUID"))),
    }
}
