//! The body of a vault file: its records and their JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::audit::AuditRecord;
use super::root::RootRecord;
use crate::key::KeyKind;
use crate::{Error, Result};

pub(super) const FORMAT: &str = "atrest-vault";
pub(super) const VERSION: u32 = 5;
pub(super) const DEFAULT_RETENTION_DAYS: u32 = 90;
const DAY: u64 = 24 * 60 * 60;

/// The origin of a KEK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyOrigin {
    /// The vault generated it.
    Generated,
    /// It was imported.
    Imported,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) format: String,
    pub(super) version: u32,
    pub(super) uuid: String,
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    pub(super) retention_days: u32,
    pub(super) purge_protection: bool,
    pub(super) refuse_expired: bool,
    pub(super) generation: u64,
    pub(super) audit: AuditRecord,
    pub(super) root: RootRecord,
    pub(super) keys: Vec<KeyRecord>,
    pub(super) grants: Vec<GrantRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) secrets: Vec<SecretRecord>,
    /// The places of the keys in the order of their names, or empty.
    #[serde(skip)]
    pub(super) by_name: Vec<u32>,
}

/// A key or a secret: a name with versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Named<V> {
    pub(super) name: String,
    pub(super) next_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted: Option<DeletedRecord>,
    /// Whether it was purged. Then it keeps only its name and `next_version`, so that no URL ever names two keys, or two values.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(super) purged: bool,
    pub(super) versions: Vec<V>,
}

pub(super) type KeyRecord = Named<VersionRecord>;
/// A secret. The value of a version never changes.
pub(super) type SecretRecord = Named<SecretVersionRecord>;

impl<V> Named<V> {
    /// A record without versions.
    pub(super) fn new(name: &str) -> Self {
        Named { name: name.into(), next_version: 1, deleted: None, purged: false, versions: Vec::new() }
    }

    /// Whether it is neither deleted nor purged.
    pub(super) fn is_live(&self) -> bool {
        self.deleted.is_none() && !self.purged
    }

    pub(super) fn delete(&mut self, at: u64, retention_days: u32) {
        let until = at.saturating_add(u64::from(retention_days) * DAY);
        self.deleted = Some(DeletedRecord { at, until });
    }

    /// Whether its retention isn't over, so that purge protection would still keep it.
    pub(super) fn is_retained(&self, now: u64) -> bool {
        self.deleted.is_some_and(|deleted| now < deleted.until)
    }

    pub(super) fn purge(&mut self) {
        self.versions.clear();
        (self.deleted, self.purged) = (None, true);
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct DeletedRecord {
    pub(super) at: u64,
    /// The end of its retention.
    pub(super) until: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VersionRecord {
    pub(super) version: u32,
    pub(super) kind: KeyKind,
    pub(super) created: u64,
    pub(super) origin: KeyOrigin,
    pub(super) enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    /// The KEK, wrapped, in Base64.
    pub(super) kek: String,
    /// The key for MACs over an RSA key's wraps, stored like the KEK. It exists once `authenticated` was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mac_key: Option<String>,
    /// Whether the version only unwraps keys with a MAC.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(super) authenticated: bool,
}

impl VersionRecord {
    /// Whether only an owner of the vault's secrets can have wrapped the keys that this version unwraps.
    pub(super) fn is_authenticated(&self) -> bool {
        self.kind == KeyKind::Aes256 || self.authenticated
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SecretVersionRecord {
    pub(super) version: u32,
    pub(super) created: u64,
    pub(super) enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
    /// The value, wrapped, in Base64.
    pub(super) value: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GrantRecord {
    pub(super) identity: String,
    pub(super) operations: Vec<KeyOperation>,
}

/// An operation with a key of a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyOperation {
    /// Read a key's description, without its secret: [`KeyVault::describe`](crate::KeyVault::describe).
    #[serde(rename = "get")]
    Get,
    /// Wrap a DEK: [`KeyVault::wrap`](crate::KeyVault::wrap).
    #[serde(rename = "wrapKey")]
    WrapKey,
    /// Unwrap a DEK: [`KeyVault::unwrap`](crate::KeyVault::unwrap).
    #[serde(rename = "unwrapKey")]
    UnwrapKey,
}

impl KeyOperation {
    /// All operations that a user of a customer's key needs.
    pub const ALL: [KeyOperation; 3] = [KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey];

    /// The name, as vaults write it.
    pub fn name(self) -> &'static str {
        match self {
            KeyOperation::Get => "get",
            KeyOperation::WrapKey => "wrapKey",
            KeyOperation::UnwrapKey => "unwrapKey",
        }
    }
}

impl Body {
    pub(super) fn new(uuid: String, root: RootRecord) -> Self {
        Body {
            format: FORMAT.into(),
            version: Self::version_with(&root),
            id: format!("urn:uuid:{uuid}"),
            uuid,
            region: None,
            tenant: None,
            retention_days: DEFAULT_RETENTION_DAYS,
            purge_protection: false,
            refuse_expired: false,
            generation: 1,
            audit: AuditRecord::default(),
            root,
            keys: Vec::new(),
            grants: Vec::new(),
            secrets: Vec::new(),
            by_name: Vec::new(),
        }
    }

    /// Builds the index by which [`key`](Self::key) finds a name without looking at each.
    pub(super) fn index(&mut self) {
        let mut places: Vec<u32> = (0..self.keys.len() as u32).collect();
        // A stable sort: of two keys with one name the first is found, with the index and without.
        places.sort_by(|&a, &b| self.keys[a as usize].name.cmp(&self.keys[b as usize].name));
        self.by_name = places;
    }

    /// A key in any state, purged ones included.
    pub(super) fn key(&self, name: &str) -> Option<&KeyRecord> {
        // Keys are added, never removed or renamed, so an index of the same length is up to date.
        if self.by_name.len() != self.keys.len() {
            return self.keys.iter().find(|key| key.name == name);
        }
        let key = |place: u32| &self.keys[place as usize];
        let first = self.by_name.partition_point(|&place| key(place).name.as_str() < name);
        self.by_name.get(first).map(|&place| key(place)).filter(|key| key.name == name)
    }

    /// The version of the format for a file with this root and without secrets.
    fn version_with(root: &RootRecord) -> u32 {
        if root.is_of_version_4() { 4 } else { 3 }
    }

    /// Sets the lowest version of the format that has all parts of this body. A release that doesn't know this version refuses the
    /// file, and doesn't silently drop the parts that it can't read.
    pub(super) fn set_version(&mut self) {
        self.version = if self.secrets.is_empty() { Self::version_with(&self.root) } else { VERSION };
    }

    /// Advances the generation for the next file.
    pub(super) fn count_change(&mut self) -> Result<()> {
        let used_up =
            || Error::Vault("its file has used up its generations; make a new vault and re-wrap under it".into());
        self.generation = self.generation.checked_add(1).ok_or_else(used_up)?;
        Ok(())
    }
}
