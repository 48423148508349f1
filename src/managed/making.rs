//! Makes resources: first a device with volumes under the right keys, then the record. Also discards unfinished ones.

use super::chunk_map::ChunkMap;
use super::layers::{HEADER, Layers};
use super::live::Using;
use super::records::{EncryptionSet, Resource};
use super::service::{Inner, no_set, not_allowed};
use super::store::Tables;
use crate::error::Rule;
use crate::{EncryptionType, Result};

/// A new resource that is not in the store yet.
pub(super) struct Made {
    pub(super) resource: Resource,
    pub(super) layers: Layers,
    /// Until this is dropped, no other user opens it: others know of it before the device is closed here.
    _making: Using,
}

impl Inner {
    /// A new resource for a copy of another; it still has the other's kind, name and place.
    pub(super) fn copy_of(&self, from: &Resource) -> Result<Resource> {
        Ok(Resource {
            id: self.new_id()?,
            joining: None,
            host_encrypted: false,
            created: self.clock.now(),
            source: Some(from.id.clone()),
            increment: None,
            fingerprints: Vec::new(),
            proven: None,
            proven_lower: None,
            used_blocks: [0; 2],
            reencryption: None,
            host_cache: None,
            host_cache_at: None,
            adopting: None,
            replaced: Vec::new(),
            ..from.clone()
        })
    }

    /// A new resource in a set or under the platform's key.
    pub(super) fn in_set(&self, mut resource: Resource, set: Option<&str>) -> Result<Resource> {
        let set = set.map(|set| self.store.set(set)).transpose()?;
        if let Some(set) = &set {
            check_member(set, &resource)?;
        }
        resource.encryption_type = set.as_ref().map_or(EncryptionType::PlatformKey, |set| set.encryption_type);
        resource.set = set.map(|set| set.name);
        Ok(resource)
    }

    /// Makes the device and volumes of a new resource, and fills them. On failure nothing is left behind; after a kill,
    /// the next start removes the remains.
    pub(super) fn prepare(&self, resource: Resource, fill: impl FnOnce(Layers) -> Result<Layers>) -> Result<Made> {
        let (region, id) = (&resource.region, &resource.id);
        let _making = self.registry.making(id);
        // It may have happened all the same if that fails.
        self.store.write(|tables| tables.add_orphan(id, region)).inspect_err(|_| self.give_up_later(id))?;
        let make = || {
            let set = resource.set.as_ref().map(|set| self.store.set(set)).transpose()?;
            // A vault may still wrap with an expired key, so check it (40).
            set.as_ref().map_or(Ok(()), |set| self.keys.check_usable(set))?;
            let customer = set.as_ref().map(|set| self.keys.kek_of(set)).transpose()?;
            let device = self.backend.create(region, id, device_size(&resource))?;
            let (platform, chunk) = (self.keys.vaults.platform_kek(), self.chunk_size(&resource));
            let layers = fill(Layers::format(device, &resource, &platform, customer.as_ref(), chunk)?)?;
            layers.sync()?;
            self.keys.check_memory()?;
            Ok(layers)
        };
        let known = |layers: Layers| Ok((layers.fingerprints()?, layers));
        match make().and_then(known) {
            Ok((fingerprints, layers)) => Ok(Made { resource: Resource { fingerprints, ..resource }, layers, _making }),
            Err(e) => {
                // Nobody else knows this device.
                self.discard_device(region, id);
                Err(e)
            }
        }
    }

    /// Stores new resources, in one step.
    pub(super) fn commit(&self, made: Vec<Made>, note: impl Fn(&mut Tables<'_>) -> Result<()>) -> Result<()> {
        // Check again, because copying may have taken long.
        let sets = made.iter().filter_map(|made| made.resource.set.as_ref());
        let usable = || sets.map(|set| self.store.set(set)).try_for_each(|set| self.keys.check_usable(&set?));
        let volumes: Vec<_> = made.iter().map(|made| (&made.resource, &made.layers)).collect();
        let now = self.clock.now();
        let committed = usable().and_then(|()| {
            self.put_under_keys(&volumes, |tables| {
                note(tables)?;
                for Made { resource, layers, .. } in &made {
                    let mut resource = resource.clone();
                    resource.note_keys(&layers.all_keks(), now);
                    resource.note_used(layers.used_blocks(), 1);
                    tables.add_made(&resource)?;
                }
                Ok(())
            })
        });
        if committed.is_err() {
            made.into_iter().for_each(|made| self.discard(made));
        }
        committed
    }

    /// Removes a new resource that is not wanted any more.
    pub(super) fn discard(&self, made: Made) {
        let Made { resource, layers, _making } = made;
        drop(layers);
        self.discard_device(&resource.region, &resource.id);
    }

    /// Makes a new resource and stores it.
    pub(super) fn make(&self, resource: Resource, fill: impl FnOnce(Layers) -> Result<Layers>) -> Result<Resource> {
        self.make_if(resource, fill, |_| Ok(()))
    }

    /// Like [`make`](Self::make), but stores the resource only if `note` agrees, in the same step.
    pub(super) fn make_if(
        &self,
        resource: Resource,
        fill: impl FnOnce(Layers) -> Result<Layers>,
        note: impl Fn(&mut Tables<'_>) -> Result<()>,
    ) -> Result<Resource> {
        let name = resource.full_name();
        // Check before any work. The check when it is added decides.
        self.store.check_absent(&name)?;
        self.commit(vec![self.prepare(resource, fill)?], note)?;
        self.store.resource(&name)
    }

    /// Moves volumes to the active keys of their sets and of the platform, and runs `note` while those keys are active.
    pub(super) fn put_under_keys<T>(
        &self,
        volumes: &[(&Resource, &Layers)],
        note: impl Fn(&mut Tables<'_>) -> Result<T>,
    ) -> Result<T> {
        loop {
            let mut sets = Vec::new();
            let mut platforms = Vec::new();
            for (resource, layers) in volumes {
                if let Some(name) = &resource.set {
                    let set = self.store.set(name)?;
                    layers.rewrap(&self.keys.kek_of(&set)?, set.encryption_type)?;
                    sets.push(set);
                }
                if resource.set.is_none() || resource.has_two_layers() {
                    platforms.extend(self.keys.put_under_platform(layers.bottom(), resource.encryption_type)?);
                }
            }
            let noted = self.store.write(|tables| {
                for set in &sets {
                    let now = tables.set(&set.name)?.ok_or_else(|| no_set(&set.name))?;
                    // A rotation that began meanwhile doesn't know the new resources.
                    if now.active_key != set.active_key {
                        return Ok(None);
                    }
                }
                for key in &platforms {
                    if !tables.take_up(key)? {
                        return Ok(None);
                    }
                }
                note(tables).map(Some)
            })?;
            if let Some(noted) = noted {
                return Ok(noted);
            }
        }
    }
}

impl Inner {
    /// The chunks of a new resource's map of written chunks, if it gets one. That has half of the header's room.
    fn chunk_size(&self, resource: &Resource) -> Option<u32> {
        let wanted = self.written_map && resource.increment.is_none();
        let fits =
            |chunk: &u32| resource.size.is_multiple_of((*chunk).into()) && resource.size >> 21 <= u64::from(*chunk);
        [1 << 16, 1 << 18, 1 << 20].into_iter().find(fits).filter(|_| wanted)
    }
}

/// The size of a resource's device in bytes. An incremental snapshot has a map of its chunks after its data.
pub(super) fn device_size(resource: &Resource) -> u64 {
    let layers = if resource.has_two_layers() { 2 } else { 1 };
    let map = resource.increment.map_or(0, |_| ChunkMap::stored_len(resource.size));
    resource.size + map + layers * HEADER
}

/// Checks that a resource may be in a set.
pub(super) fn check_member(set: &EncryptionSet, resource: &Resource) -> Result<()> {
    if set.region != resource.region {
        return not_allowed(Rule::OneRegion, "a resource and its set are in one region; use a set in the resource's");
    }
    if set.subscription != resource.subscription {
        return not_allowed(
            Rule::OneSubscription,
            "a resource and its set are in one subscription; use a set of the resource's",
        );
    }
    if resource.guest_encrypted {
        let text = "a disk that was ever encrypted in the guest can't come under a customer's key; copy the decrypted \
                    files to a new disk";
        return not_allowed(Rule::EncryptedInGuest, text);
    }
    Ok(())
}
