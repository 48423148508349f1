//! Proofs of the keys that resources are under.
//!
//! A header can be replaced by an older one, and any field in it can be edited, so it isn't trusted. A volume is under
//! a key if the key's vault has unwrapped the volume's DEK. The store keeps these proofs.

use std::sync::Mutex;

use super::access::Access;
use crate::key::KeyId;
use crate::managed::layers::Layers;
use crate::managed::records::{Resource, ResourceName};
use crate::managed::store::Records;
use crate::managed::sync::lock;
use crate::{Error, Result};

impl Access {
    /// Stores the proofs of an opening: the keys, and the DEKs' fingerprints if an earlier version's record has none. Its first
    /// opening is trusted; afterwards no other DEK is accepted.
    pub(in crate::managed) fn learn(&self, resource: &Resource, layers: &Layers) -> Result<()> {
        let (name, at) = (resource.full_name(), self.clock.now());
        if resource.fingerprints.is_empty() {
            let fingerprints = layers.fingerprints()?;
            return self.store.write(|tables| {
                tables.check_attached(&resource.id)?;
                let mut resource = tables.resource_of(&name, &resource.id)?;
                resource.fingerprints.clone_from(&fingerprints);
                resource.note_keys(&layers.all_keks(), at);
                tables.put_resource(&resource)
            });
        }
        let keys = layers.all_keks();
        let is_known = |(layer, keys): (usize, &Vec<KeyId>)| {
            keys.is_empty() || resource.proven_key(layer).is_some_and(|known| keys.contains(known))
        };
        if !keys.iter().enumerate().all(is_known) {
            // Without the note the data is still there. Its status is then the one proved before.
            let _ = self.note(&name, &resource.id, |of| of.note_keys(&keys, at));
        }
        Ok(())
    }

    /// Updates the record of a resource whose device is this host's, unless `note` returns that nothing changed.
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
            tables.check_attached(id)?;
            let mut resource = tables.resource_of(name, id)?;
            if note(&mut resource) { tables.put_resource(&resource) } else { Ok(()) }
        })
    }
}

/// Proofs of a rotation that are not stored yet. They are stored in batches, because a write takes far longer than
/// wrapping a DEK. Proofs lost by a kill are made again.
pub(in crate::managed) struct Notes<'s> {
    access: &'s Access,
    pending: Mutex<Vec<Note>>,
}

struct Note {
    /// The record before the rotation.
    resource: Resource,
    layer: usize,
    key: KeyId,
    at: u64,
}

impl<'s> Notes<'s> {
    const MOST: usize = 256;

    pub(in crate::managed) fn new(access: &'s Access) -> Self {
        Notes { access, pending: Mutex::default() }
    }

    /// Adds a proof that a layer of a resource has come under a key.
    pub(in crate::managed) fn add(&self, resource: &Resource, layer: usize, key: &KeyId) -> Result<()> {
        if resource.proven_key(layer) == Some(key) {
            return Ok(());
        }
        let note = Note { resource: resource.clone(), layer, key: key.clone(), at: self.access.clock.now() };
        let full = {
            let mut pending = lock(&self.pending);
            pending.push(note);
            pending.len() >= Self::MOST
        };
        if full { self.write() } else { Ok(()) }
    }

    /// Stores all proofs.
    pub(in crate::managed) fn write(&self) -> Result<()> {
        let notes = core::mem::take(&mut *lock(&self.pending));
        notes.chunks(Records::MOST).try_for_each(|notes| self.write_some(notes))
    }

    fn write_some(&self, notes: &[Note]) -> Result<()> {
        let names: Vec<_> = notes.iter().map(|note| note.resource.full_name()).collect();
        self.access.store.write(|tables| {
            tables.load_here(&names)?;
            for (name, Note { resource: before, layer, key, at }) in names.iter().zip(notes) {
                let mut resource = match tables.resource_of(name, &before.id) {
                    // It was removed meanwhile.
                    Err(Error::NoSuchResource(_)) => continue,
                    resource => resource?,
                };
                // A proof made since then is newer and stays. A move to another set may have brought back the key that it was
                // under before.
                let is_where_it_was = (&resource.set, &resource.joining) == (&before.set, &before.joining);
                if is_where_it_was
                    && resource.proof(*layer) == before.proof(*layer)
                    && resource.note_proven(*layer, key.clone(), *at)
                {
                    tables.put_resource(&resource)?;
                }
            }
            Ok(())
        })
    }
}
