//! Access for identities other than the vault's owner.

use core::fmt;

use super::FileVault;
use super::body::KeyOperation;
use crate::key::{KeyDescription, KeyId, KeyVault, WrappedDek};
use crate::{Result, Secret};

/// The operations that an identity may do with the keys of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The name of the identity.
    pub identity: String,
    /// The operations.
    pub operations: Vec<KeyOperation>,
}

/// A vault as one identity sees it: see [`FileVault::as_identity`].
#[derive(Clone)]
pub struct VaultIdentity {
    vault: FileVault,
    name: String,
}

impl FileVault {
    /// The vault as seen by an identity other than its owner. The identity needs [`KeyOperation::Get`],
    /// [`KeyOperation::WrapKey`] or [`KeyOperation::UnwrapKey`] for the call of that name. Calls are refused as soon as
    /// access is revoked.
    pub fn as_identity(&self, name: &str) -> VaultIdentity {
        VaultIdentity { vault: self.clone(), name: name.into() }
    }
}

impl VaultIdentity {
    /// The name of the identity.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl KeyVault for VaultIdentity {
    fn id(&self) -> &str {
        self.vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.vault.wrap_as(Some(&self.name), key, None, dek)
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.vault.wrap_as(Some(&self.name), kek.key(), Some(kek), dek)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.vault.unwrap_as(Some(&self.name), wrapped)
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.vault.describe_as(Some(&self.name), key, version).map(Some)
    }
}

impl fmt::Debug for VaultIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultIdentity").field("vault", &self.vault).field("name", &self.name).finish()
    }
}
