//! What the store keeps of sets and disks.

use serde::{Deserialize, Serialize};

use crate::key::{EncryptionType, KeyId};

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
    #[serde(with = "type_name")]
    pub encryption_type: EncryptionType,
    /// The key that its disks are under, or will be when the rotation that is in progress has ended.
    #[serde(with = "url")]
    pub active_key: KeyId,
    /// Keys that disks may still be under, while a rotation is in progress; else empty. They must stay enabled.
    #[serde(with = "urls")]
    pub previous_keys: Vec<KeyId>,
    /// Whether newer versions of the key are taken up as they come.
    pub auto_rotation: bool,
    /// When the last rotation ended, in seconds since 1970-01-01 UTC.
    pub last_key_rotation_timestamp: Option<u64>,
    /// What stopped a rotation. It isn't tried again until this is cleared.
    pub auto_key_rotation_error: Option<RotationError>,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub created: u64,
}

/// What stopped a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RotationError {
    /// A name for programs, such as `KeyDisabled`.
    pub code: String,
    /// A text for people.
    pub message: String,
    /// The disk that it stopped at.
    pub disk: String,
}

/// Where a disk comes from that is being put into a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Joining {
    /// From the platform's key.
    Platform,
    /// From another set.
    Set(String),
}

/// A managed disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ManagedDisk {
    /// The name, unique among disks.
    pub name: String,
    /// What its volumes are bound to: a UUID that is never used again.
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
    #[serde(with = "type_name")]
    pub encryption_type: EncryptionType,
    /// The set that it is in, unless the platform's key alone protects it.
    pub set: Option<String>,
    /// Where it comes from while it is being put into its set and not yet under its key for sure; finished at the next use.
    pub joining: Option<Joining>,
    /// Whether it was ever encrypted in the guest.
    pub guest_encrypted: bool,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub created: u64,
}

mod url {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::key::KeyId;

    pub(super) fn serialize<S: Serializer>(id: &KeyId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<KeyId, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

mod urls {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::key::KeyId;

    pub(super) fn serialize<S: Serializer>(ids: &[KeyId], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ids.iter().map(KeyId::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<KeyId>, D::Error> {
        let urls = Vec::<String>::deserialize(from)?;
        urls.iter().map(|url| url.parse().map_err(D::Error::custom)).collect()
    }
}

mod type_name {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::key::EncryptionType;

    pub(super) fn serialize<S: Serializer>(kind: &EncryptionType, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(kind.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<EncryptionType, D::Error> {
        let name = String::deserialize(from)?;
        EncryptionType::from_name(&name)
            .ok_or_else(|| D::Error::custom(format!("no encryption type is named {name:?}")))
    }
}
