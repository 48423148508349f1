//! Chooses the key to ask for among those that a header names.

use core::cmp::Ordering;
use std::sync::Arc;

use super::access::Access;
use crate::key::KeyId;
use crate::managed::records::{EncryptionSet, PlatformKeys, Resource, is_platforms, is_same};
use crate::{Error, KeyVault, Result};

impl Access {
    /// Chooses a key among those that the header of the upper layer names, and returns it with its set. There is no set
    /// if it is the platform's key.
    ///
    /// A set that the caller has just read may be `known`. With `leased`, a former key of the resource is refused. For moving it to another key, any key will do that still
    /// unwraps.
    pub(super) fn key_of(
        &self,
        resource: &Resource,
        keys: &[KeyId],
        leased: bool,
        known: Option<&EncryptionSet>,
    ) -> Result<(Option<EncryptionSet>, KeyId)> {
        let sets = resource.set.iter().chain(resource.leaving());
        let read = |name: &String| match known {
            Some(known) if known.name == *name => Ok(known.clone()),
            _ => self.store.set(name),
        };
        let sets = sets.map(read).collect::<Result<Vec<_>>>()?;
        // Look for exact versions in both sets first: while a resource moves to a set with a later version of the same key, the set
        // that it leaves may still move the header to its own version.
        for set in &sets {
            if let Some(key) = set.in_use().find(|wanted| keys.contains(wanted)).cloned() {
                return Ok((Some(set.clone()), key));
            }
        }
        for set in sets {
            let is_other_version = |key: &KeyId| set.in_use().any(|wanted| is_same(key, wanted));
            // A key that the set has left, possibly in another vault.
            let is_former = |key: &KeyId| resource.proven.is_some() && set.former_keys.contains(key);
            if let Some(key) = keys.iter().find(|key| is_other_version(key) || is_former(key)).cloned() {
                if leased {
                    let vault = || self.vault_of(&set, &key);
                    self.check_not_put_back(resource, 0, &key, &set.former_keys, vault)?;
                }
                return Ok((Some(set), key));
            }
        }
        if resource.platform_layer() == Some(0) {
            return self.platform_key_of(resource, 0, keys, leased).map(|key| (None, key));
        }
        Err(not_ours(keys))
    }

    /// Chooses the platform's key among those that the header of a layer names.
    pub(super) fn platform_key_of(
        &self,
        resource: &Resource,
        layer: usize,
        keys: &[KeyId],
        leased: bool,
    ) -> Result<KeyId> {
        let known = self.store.platform()?;
        let wanted: Vec<_> = known.iter().flat_map(PlatformKeys::in_use).collect();
        if let Some(key) = wanted.into_iter().find(|wanted| keys.contains(wanted)) {
            return Ok(key.clone());
        }
        let ours = keys.iter().filter(|key| key.vault() == self.vaults.platform.id());
        let mut named = ours.clone().filter(|key| is_platforms(key, &self.vaults.platform_key, known.as_ref()));
        let Some(key) = named.next() else {
            return Err(match ours.clone().next() {
                Some(other) => Error::OtherKey { expected: self.vaults.platform_key.clone(), found: other.to_string() },
                None => not_ours(keys),
            });
        };
        if leased {
            let former = known.as_ref().map_or(&[][..], |known| &known.former_keys);
            self.check_not_put_back(resource, layer, key, former, || Ok(self.vaults.platform.clone()))?;
        }
        Ok(key.clone())
    }

    /// Refuses the header of a layer if it names an older key than the proven one.
    fn check_not_put_back(
        &self,
        resource: &Resource,
        layer: usize,
        key: &KeyId,
        former: &[KeyId],
        vault: impl FnOnce() -> Result<Arc<dyn KeyVault>>,
    ) -> Result<()> {
        let Some(proof) = resource.proof(layer).filter(|proof| proof.key != *key) else { return Ok(()) };
        // Or an older store was put back: then a rotation unknown to it has introduced the later version.
        if !former.contains(key) && is_same(key, &proof.key) && is_later(&*vault()?, key, &proof.key)? {
            return Ok(());
        }
        Err(Error::OlderHeader {
            resource: resource.full_name().to_string(),
            found: key.to_string(),
            proven: proof.key.to_string(),
        })
    }
}

/// Whether the vault says that version `key` was made after version `than`.
fn is_later(vault: &dyn KeyVault, key: &KeyId, than: &KeyId) -> Result<bool> {
    let described = |id: &KeyId| vault.describe(id.key(), Some(id.version()));
    // A vault reports nothing about a version that is gone.
    let before = described(than).unwrap_or(None);
    let age = described(key)?.zip(before).and_then(|(key, than)| key.age(&than));
    Ok(age == Some(Ordering::Greater))
}

/// The error for a header that names none of the allowed keys.
pub(in crate::managed) fn not_ours(keys: &[KeyId]) -> Error {
    let wanted = keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ");
    let wanted = if wanted.is_empty() { "none, for the header names no key".into() } else { wanted };
    Error::NotThisVault { wanted }
}
