//! Who but the owner may use the keys of a vault, and for what.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::FileVault;
use super::format::{Body, GrantRecord};
use crate::key::{KeyDescription, KeyId, KeyVault, WrappedDek};
use crate::{Error, Result, Secret};

const MAX_IDENTITY: usize = 256;
const MAX_GRANTS: usize = 10_000;

/// What is done with a key of a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyOperation {
    /// To be told of a key, without its secret: [`KeyVault::describe`].
    #[serde(rename = "get")]
    Get,
    /// To have a DEK wrapped: [`KeyVault::wrap`].
    #[serde(rename = "wrapKey")]
    WrapKey,
    /// To have a DEK unwrapped: [`KeyVault::unwrap`].
    #[serde(rename = "unwrapKey")]
    UnwrapKey,
}

impl KeyOperation {
    /// All that the user of a customer's key needs.
    pub const ALL: [KeyOperation; 3] = [KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey];

    /// The name, as vaults have it.
    pub fn name(self) -> &'static str {
        match self {
            KeyOperation::Get => "get",
            KeyOperation::WrapKey => "wrapKey",
            KeyOperation::UnwrapKey => "unwrapKey",
        }
    }
}

/// What an identity may do with the keys of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Who.
    pub identity: String,
    /// What.
    pub operations: Vec<KeyOperation>,
}

/// A vault as one identity sees it: see [`FileVault::as_identity`].
#[derive(Clone)]
pub struct VaultIdentity {
    vault: FileVault,
    name: String,
}

impl VaultIdentity {
    pub(super) fn new(vault: FileVault, name: &str) -> Self {
        VaultIdentity { vault, name: name.into() }
    }

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

impl Body {
    /// Whether `identity` may do `operation` with the keys; the owner, `None`, may do all.
    pub(super) fn check_access(&self, identity: Option<&str>, operation: KeyOperation, key: &str) -> Result<()> {
        let Some(identity) = identity else { return Ok(()) };
        let granted = self.grants.iter().any(|g| g.identity == identity && g.operations.contains(&operation));
        let (who, what, key) = (identity.to_owned(), operation.name().to_owned(), key.to_owned());
        granted.then_some(()).ok_or(Error::AccessDenied { identity: who, operation: what, key })
    }

    pub(super) fn grant(&mut self, identity: &str, operations: &[KeyOperation]) -> Result<()> {
        let found = self.grants.iter().position(|grant| grant.identity == identity);
        if found.is_none() && self.grants.len() >= MAX_GRANTS {
            return Err(Error::Vault(format!("a vault file grants access to at most {MAX_GRANTS} identities")));
        }
        let at = found.unwrap_or_else(|| {
            self.grants.push(GrantRecord { identity: identity.into(), operations: Vec::new() });
            self.grants.len() - 1
        });
        let granted = &mut self.grants[at].operations;
        granted.extend(operations);
        granted.sort_unstable();
        granted.dedup();
        Ok(())
    }

    pub(super) fn revoke(&mut self, identity: &str, operations: &[KeyOperation]) {
        for grant in self.grants.iter_mut().filter(|grant| grant.identity == identity) {
            grant.operations.retain(|operation| !operations.contains(operation));
        }
        self.grants.retain(|grant| !grant.operations.is_empty());
    }
}

pub(super) fn check_identity(identity: &str) -> Result<()> {
    let sound = (1..=MAX_IDENTITY).contains(&identity.len()) && identity.bytes().all(|byte| byte.is_ascii_graphic());
    let text = || format!("the name of an identity is 1 to {MAX_IDENTITY} visible ASCII characters");
    sound.then_some(()).ok_or_else(|| Error::InvalidName(text()))
}
