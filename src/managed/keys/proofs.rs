//! What resources are under, as vaults have proved; and of the keys that a header names, which one to ask for.
//!
//! A header can be put back to an older state, and any word in it can be edited. So it isn't believed: a key is what a
//! volume is under once the key's vault has unwrapped the DEK, and the store keeps that.

use std::sync::{Arc, Mutex};

use crate::key::KeyId;
use crate::managed::layers::Layers;
use crate::managed::live::Unit;
use crate::managed::records::{EncryptionSet, PlatformKeys, Resource, ResourceName, is_platforms, is_same};
use crate::managed::service::Inner;
use crate::managed::sync::lock;
use crate::{Error, KeyVault, Result};

impl Unit {
    /// Whether the upper layer was proved to be under a key, and its header says that and nothing else.
    pub(in crate::managed) fn is_under(&self, resource: &Resource, key: &KeyId) -> Result<bool> {
        let says_so = |keys: &Vec<KeyId>| keys == core::slice::from_ref(key);
        Ok(resource.proven_key(0) == Some(key) && self.keys()?.first().is_some_and(says_so))
    }

    /// The same of the layer that the platform's key protects.
    pub(in crate::managed) fn bottom_is_under(&self, resource: &Resource, key: &KeyId) -> Result<bool> {
        Ok(resource.platform_key() == Some(key) && self.bottom_keys()? == core::slice::from_ref(key))
    }
}

impl Inner {
    /// Keeps what an opening has proved: the keys; and of what an earlier version made the fingerprints, of which the first
    /// open is trusted, and from then on no other DEK.
    pub(in crate::managed) fn learn(&self, resource: &Resource, layers: &Layers) -> Result<()> {
        let (name, at) = (resource.full_name(), self.clock.now());
        if resource.fingerprints.is_empty() {
            let fingerprints = layers.fingerprints()?;
            return self.store.write(|tables| {
                let mut resource = tables.resource_of(&name, &resource.id)?;
                resource.fingerprints = fingerprints;
                resource.note_keys(&layers.all_keks(), at);
                tables.put_resource(&resource)
            });
        }
        let keys = layers.all_keks();
        if resource.clone().note_keys(&keys, at) {
            // Without the note the data is there all the same; its status is then what was proved before.
            let _ = self.note(&name, &resource.id, |of| of.note_keys(&keys, at));
        }
        Ok(())
    }

    /// Notes something of a resource, unless `note` says that it is no news.
    pub(in crate::managed) fn note(
        &self,
        name: &ResourceName,
        id: &str,
        note: impl Fn(&mut Resource) -> bool,
    ) -> Result<()> {
        let mut before = self.store.resource(name)?;
        if before.id != *id || !note(&mut before) {
            return Ok(());
        }
        self.store.write(|tables| {
            let mut resource = tables.resource_of(name, id)?;
            if note(&mut resource) { tables.put_resource(&resource) } else { Ok(()) }
        })
    }

    /// The keys that the header of each layer names, the upper one's first. Nothing has proved it.
    pub(in crate::managed) fn keys_of(&self, unit: &Unit) -> Result<Vec<Vec<KeyId>>> {
        self.begin(&self.resource_of(unit)?, false)?.all_keys()
    }

    /// Of the keys that the header of the upper layer names, the one to ask for, with its set; without one if it is the
    /// platform's.
    ///
    /// With `leased`, a key that the resource was under before it came under another is refused. To put it under another
    /// key anything will do that still unwraps.
    pub(in crate::managed) fn key_of(
        &self,
        resource: &Resource,
        keys: &[KeyId],
        leased: bool,
    ) -> Result<(Option<EncryptionSet>, KeyId)> {
        for set in resource.set.iter().chain(resource.leaving()) {
            let set = self.store.set(set)?;
            let exact = set.in_use().find(|wanted| keys.contains(wanted)).cloned();
            if let Some(key) = exact {
                return Ok((Some(set), key));
            }
            let is_other_version = |key: &KeyId| set.in_use().any(|wanted| is_same(key, wanted));
            // Of another key, and perhaps another vault, that the set has left.
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

    /// Of the keys that the header of a layer names, the platform's.
    pub(in crate::managed) fn platform_key_of(
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
        let ours = keys.iter().filter(|key| key.vault() == self.platform.id());
        let mut named = ours.clone().filter(|key| is_platforms(key, &self.platform_key, known.as_ref()));
        let Some(key) = named.next() else {
            return Err(match ours.clone().next() {
                Some(other) => Error::OtherKey { expected: self.platform_key.clone(), found: other.to_string() },
                None => not_ours(keys),
            });
        };
        if leased {
            let former = known.as_ref().map_or(&[][..], |known| &known.former_keys);
            self.check_not_put_back(resource, layer, key, former, || Ok(self.platform.clone()))?;
        }
        Ok(key.clone())
    }

    /// Refuses the header of a layer that names a key from before the one that it was proved to be under.
    fn check_not_put_back(
        &self,
        resource: &Resource,
        layer: usize,
        key: &KeyId,
        former: &[KeyId],
        vault: impl FnOnce() -> Result<Arc<dyn KeyVault>>,
    ) -> Result<()> {
        let Some(proof) = resource.proof(layer).filter(|proof| proof.key != *key) else { return Ok(()) };
        // Or the store is what was put back: a version that came later was found by a rotation that it doesn't know of.
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

/// What a rotation has proved and not yet noted: many in one write, which takes far longer than to wrap one DEK. What is lost
/// with a kill is proved again.
pub(in crate::managed) struct Notes<'s> {
    service: &'s Inner,
    pending: Mutex<Vec<Note>>,
}

struct Note {
    /// As it was before.
    resource: Resource,
    layer: usize,
    key: KeyId,
    at: u64,
}

impl<'s> Notes<'s> {
    const MOST: usize = 256;

    pub(in crate::managed) fn new(service: &'s Inner) -> Self {
        Notes { service, pending: Mutex::default() }
    }

    /// Notes that a layer of a resource has come under a key.
    pub(in crate::managed) fn add(&self, resource: &Resource, layer: usize, key: &KeyId) -> Result<()> {
        if resource.proven_key(layer) == Some(key) {
            return Ok(());
        }
        let note = Note { resource: resource.clone(), layer, key: key.clone(), at: self.service.clock.now() };
        let full = {
            let mut pending = lock(&self.pending);
            pending.push(note);
            pending.len() >= Self::MOST
        };
        if full { self.write() } else { Ok(()) }
    }

    /// Writes down all that is noted.
    pub(in crate::managed) fn write(&self) -> Result<()> {
        let notes = core::mem::take(&mut *lock(&self.pending));
        if notes.is_empty() {
            return Ok(());
        }
        self.service.store.write(|tables| {
            for Note { resource: before, layer, key, at } in notes {
                let mut resource = match tables.resource_of(&before.full_name(), &before.id) {
                    // It was removed meanwhile.
                    Err(Error::NoSuchResource(_)) => continue,
                    resource => resource?,
                };
                // What was proved of it since, if anything was, is the later truth.
                if resource.proof(layer) == before.proof(layer) && resource.note_proven(layer, key, at) {
                    tables.put_resource(&resource)?;
                }
            }
            Ok(())
        })
    }
}

/// Whether the vault says of a version that it was made after another.
fn is_later(vault: &dyn KeyVault, key: &KeyId, than: &KeyId) -> Result<bool> {
    let created = |id: &KeyId| Ok(vault.describe(id.key(), Some(id.version()))?.and_then(|said| said.created));
    // Of one that is gone it tells nothing.
    let before: Result<_> = created(than);
    Ok(created(key)?.zip(before.unwrap_or(None)).is_some_and(|(key, than)| key > than))
}

/// The error for a header whose keys are none of those that may be asked for.
pub(in crate::managed) fn not_ours(keys: &[KeyId]) -> Error {
    let wanted = keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(", ");
    let wanted = if wanted.is_empty() { "none, for the header names no key".into() } else { wanted };
    Error::NotThisVault { wanted }
}
