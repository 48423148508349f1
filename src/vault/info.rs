//! Information about the keys in a vault.

use super::body::{Body, DeletedRecord, KeyOrigin, KeyRecord};
use super::options::VaultProperties;
use crate::Result;
use crate::key::{KeyId, KeyKind};

/// A key, as [`FileVault::keys`](crate::FileVault::keys) lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// The name.
    pub name: String,
    /// The versions, the oldest first.
    pub versions: Vec<VersionInfo>,
}

/// One version of a key, as [`FileVault::keys`](crate::FileVault::keys) lists it. Times are in seconds since 1970-01-01
/// UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionInfo {
    /// The full name of the version.
    pub id: KeyId,
    /// The kind of the key.
    pub kind: KeyKind,
    /// The time when it was generated or imported.
    pub created: u64,
    /// Its origin.
    pub origin: KeyOrigin,
    /// Whether it may be used.
    pub enabled: bool,
    /// The first second in which it may be used; `None` for any.
    pub not_before: Option<u64>,
    /// The first second in which it has expired; `None` for never.
    pub expires: Option<u64>,
    /// Whether it only unwraps keys that were wrapped with a secret of the vault: see
    /// [`VersionChange::authenticated`](super::VersionChange::authenticated).
    pub authenticated: bool,
}

/// A deleted key, as [`FileVault::deleted_keys`](crate::FileVault::deleted_keys) lists it. Times are in seconds since
/// 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeletedKey {
    /// The name.
    pub name: String,
    /// The time of deletion.
    pub deleted: u64,
    /// The end of its retention. It can be recovered after that too, until it is purged.
    pub retained_until: u64,
}

impl Body {
    pub(super) fn infos(&self) -> Result<Vec<KeyInfo>> {
        let live = self.keys.iter().filter(|key| key.is_live());
        live.map(|key| self.info(key)).collect()
    }

    fn info(&self, key: &KeyRecord) -> Result<KeyInfo> {
        let versions = key.versions.iter().map(|version| {
            Ok(VersionInfo {
                id: self.id_of(&key.name, version)?,
                kind: version.kind,
                created: version.created,
                origin: version.origin,
                enabled: version.enabled,
                not_before: version.not_before,
                expires: version.expires,
                authenticated: version.is_authenticated(),
            })
        });
        Ok(KeyInfo { name: key.name.clone(), versions: versions.collect::<Result<_>>()? })
    }

    pub(super) fn properties(&self) -> VaultProperties {
        VaultProperties {
            id: self.id.clone(),
            region: self.region.clone(),
            tenant: self.tenant.clone(),
            retention_days: self.retention_days,
            purge_protection: self.purge_protection,
            refuse_expired: self.refuse_expired,
        }
    }

    pub(super) fn deleted_infos(&self) -> Vec<DeletedKey> {
        let info = |key: &KeyRecord| key.deleted.map(|deleted| deleted.info(&key.name));
        self.keys.iter().filter_map(info).collect()
    }
}

impl DeletedRecord {
    pub(super) fn info(&self, name: &str) -> DeletedKey {
        DeletedKey { name: name.into(), deleted: self.at, retained_until: self.until }
    }
}
