//! The store's records of sets and disks.

mod fleet;
mod keys;
mod reencryption;
mod text;

use serde::{Deserialize, Serialize};

pub(super) use self::fleet::{Attachment, Holder, HostRecord, LeftTo, Part, Turn};
pub(super) use self::keys::{is_platforms, is_same};
pub use self::reencryption::{Reencryption, ReencryptionKind};
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
    /// Its region. Its vault and disks are in the same one.
    pub region: String,
    /// Its subscription.
    pub subscription: String,
    /// The tenant that its identity belongs to.
    pub tenant: String,
    /// The identity for access to its vault, made with the set. The vault's owner must grant it `get`, `wrapKey` and
    /// `unwrapKey`.
    pub identity: String,
    /// [`CustomerKey`](EncryptionType::CustomerKey) or
    /// [`PlatformAndCustomerKeys`](EncryptionType::PlatformAndCustomerKeys).
    #[serde(with = "text::type_name")]
    pub encryption_type: EncryptionType,
    /// The key of its disks. During a rotation, the key that they are moving to.
    #[serde(with = "text::url")]
    pub active_key: KeyId,
    /// The keys that disks may still be under during a rotation; otherwise empty. They must stay enabled.
    #[serde(with = "text::urls")]
    pub previous_keys: Vec<KeyId>,
    /// The most recent keys that it was under. No automatic rotation returns to one.
    #[serde(with = "text::urls")]
    pub former_keys: Vec<KeyId>,
    /// Whether it adopts newer versions of the key automatically.
    pub auto_rotation: bool,
    /// When the last rotation ended, in seconds since 1970-01-01 UTC.
    pub last_key_rotation_timestamp: Option<u64>,
    /// The error that stopped a rotation. No rotation is tried until it is cleared.
    pub auto_key_rotation_error: Option<RotationError>,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// Somebody looks whether it has no members, to remove it. A new member takes this back.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(super) removing: bool,
}

impl EncryptionSet {
    /// The record in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record has only string keys")
    }
}

/// The platform's keys. They protect everything outside of sets, and the lower layer of resources with two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlatformKeys {
    /// The key of all these. During a rotation, the key that they are moving to.
    #[serde(with = "text::url")]
    pub active_key: KeyId,
    /// The keys that some may still be under during a rotation; otherwise empty. They must stay enabled.
    #[serde(with = "text::urls")]
    pub previous_keys: Vec<KeyId>,
    /// The most recent keys that they were under.
    #[serde(with = "text::urls")]
    pub former_keys: Vec<KeyId>,
    /// When the last rotation ended, in seconds since 1970-01-01 UTC.
    pub last_key_rotation_timestamp: Option<u64>,
    /// The error that stopped the last rotation, until the next begins.
    pub rotation_error: Option<RotationError>,
}

impl PlatformKeys {
    /// The record in JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record has only string keys")
    }
}

/// The error that stopped a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RotationError {
    /// A name for programs, such as `KeyDisabled`.
    pub code: String,
    /// A text for people.
    pub message: String,
    /// The resource at which it stopped, such as `disk "db-1"`; empty if it stopped before any.
    pub resource: String,
}

/// The origin of a resource that is moving into a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Joining {
    /// From the platform's key.
    Platform,
    /// From another set.
    Set(String),
}

/// The kind of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ResourceKind {
    /// A disk, which can be written.
    Disk,
    /// A disk's content at one instant.
    Snapshot,
    /// One copy in an image: of one disk, in one region.
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

    /// The kind of this name, if there is one.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(.., n)| *n == name).map(|(kind, ..)| *kind)
    }

    /// The kind of this number, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, c, _)| *c == code).map(|(kind, ..)| *kind)
    }
}

/// The name of a resource: unique among those of its kind. It reads `disk "db-1"`. It is its kind and its name, and
/// nothing else ever, so programs make it by its members, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its name. A copy in an image is named `IMAGE/REGION/NUMBER`, with the number of the disk in the image, from 0.
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
    /// Its kind.
    pub kind: ResourceKind,
    /// The name, unique among those of its kind.
    pub name: String,
    /// A UUID that is never reused. Its volumes are bound to it, and its device has this name.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Its subscription.
    pub subscription: String,
    /// The size of its data in bytes.
    pub size: u64,
    /// The sector size in bytes.
    pub sector_size: u32,
    /// The owner of the keys that protect it.
    #[serde(with = "text::type_name")]
    pub encryption_type: EncryptionType,
    /// Its set; `None` if the platform's key alone protects it.
    pub set: Option<String>,
    /// Its origin while it moves into its set, until it is surely under the set's key. The next use finishes the move.
    pub joining: Option<Joining>,
    /// Whether its data was ever encrypted in the guest.
    pub guest_encrypted: bool,
    /// Whether it is encrypted at the host: see [`set_host_encryption`](crate::managed::DiskService::set_host_encryption).
    #[serde(default)]
    pub host_encrypted: bool,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// The id of the disk, snapshot or image that it was copied from.
    pub source: Option<String>,
    /// Its place among the incremental snapshots of its source, if it is one. Each holds only what the earlier ones
    /// lack.
    pub increment: Option<u64>,
    /// The fingerprints of its DEKs: of the upper volume, then of the lower one if there is one. Volumes with other
    /// DEKs are refused. Empty in a record of an earlier version until the resource is opened.
    #[serde(default, with = "text::fingerprints")]
    pub fingerprints: Vec<Fingerprint>,
    /// The key that its DEK is under, proved by the key's vault; with two layers, the upper one's. The header may name
    /// another. `None` in a record of an earlier version until the resource is opened or rotated.
    #[serde(default)]
    pub proven: Option<Proof>,
    /// The same for the lower layer, if there are two: a key of the platform.
    #[serde(default)]
    pub proven_lower: Option<Proof>,
    /// The number of 16-byte blocks that its DEKs have encrypted, the upper layer's first
    /// ([`KeyUsage`](crate::KeyUsage)). It is noted on closing, and by
    /// [`maintain`](crate::managed::DiskService::maintain) after each 16 GiB. Writes of a killed process since the last
    /// note are missing.
    #[serde(default)]
    pub used_blocks: [u64; 2],
    /// The last re-encryption of its data, if there was one; with two layers, of the upper one's. Until it is finished, the
    /// fingerprint and the usage of the old DEK stay where they are.
    #[serde(default)]
    pub reencryption: Option<Reencryption>,
    /// The id of the host's write-back cache that may hold writes which the disk lacks
    /// ([`OpenDisk::set_host_cache`](crate::managed::OpenDisk::set_host_cache)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_cache: Option<String>,
    /// The host that this cache is on, if hosts share the store. Another one opens the disk once it has
    /// [taken](crate::managed::DiskService::take_host_cache) the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_cache_at: Option<String>,
    /// The rest of its adoption, if that isn't finished ([`adopt_disk`](crate::managed::DiskService::adopt_disk)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopting: Option<Adopting>,
    /// The layers (0 is the upper one) whose header was found to be another one than was proved, while nobody could move it. The
    /// rotation waits for them until somebody has looked again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replaced: Vec<usize>,
}

/// A volume that is becoming a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Adopting {
    /// The image that becomes its device, by the name that the backend knows.
    pub image: String,
    /// The size of the image in bytes.
    pub device_size: u64,
    /// Whether a new DEK is ordered when it is adopted.
    pub reencrypt: bool,
}

/// The key that a volume's DEK is under, proved by the key's vault: it unwrapped the DEK in the volume's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Proof {
    /// The key, with its version.
    #[serde(with = "text::url")]
    pub key: KeyId,
    /// When this was first proved, in seconds since 1970-01-01 UTC.
    pub since: u64,
}

impl Resource {
    /// The set that it is leaving for another set.
    pub(super) fn leaving(&self) -> Option<&String> {
        match &self.joining {
            Some(Joining::Set(from)) => Some(from),
            _ => None,
        }
    }

    /// The id of its disk if it is an incremental snapshot, otherwise its own id: identifies the chain of a disk and
    /// its snapshots.
    pub(super) fn chain(&self) -> &str {
        self.place().map_or(&self.id, |(disk, _)| disk)
    }

    /// The id of its disk and its place in the chain, if it is an incremental snapshot.
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

/// Checks the name of a resource or region, because a backend may use it as a file name.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.starts_with('.') {
        return Err(Error::InvalidName("the name of a resource, region or subscription begins with no '.'".into()));
    }
    KeyId::check_name("resource", name)
}

/// Checks that a device's name is a UUID as this library writes it, because a backend may use it in a path.
pub(super) fn check_id(id: &str) -> Result<()> {
    match uuid::Uuid::try_parse(id) {
        Ok(parsed) if parsed.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()) == id => Ok(()),
        _ => Err(Error::InvalidName(format!("the id {id:?} is not a UUID"))),
    }
}
