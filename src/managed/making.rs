//! Resources come and go: a device with volumes under the right keys, then the record of it; and both away again.

use super::chunk_map::ChunkMap;
use super::layers::{HEADER, Layers};
use super::records::{EncryptionSet, Resource};
use super::service::{Inner, no_set, not_allowed};
use super::store::Tables;
use crate::error::Rule;
use crate::{EncryptionType, Result};

/// A resource that was made and isn't in the store yet.
pub(super) struct Made {
    pub(super) resource: Resource,
    pub(super) layers: Layers,
}

impl Inner {
    /// A resource that is to hold what another holds; its kind, name and place are still those of the other.
    pub(super) fn copy_of(&self, from: &Resource) -> Result<Resource> {
        Ok(Resource {
            id: self.new_id()?,
            joining: None,
            created: self.clock.now(),
            source: Some(from.id.clone()),
            increment: None,
            fingerprints: Vec::new(),
            proven: None,
            proven_lower: None,
            used_blocks: [0; 2],
            ..from.clone()
        })
    }

    /// A new resource, put into a set or under the platform's key.
    pub(super) fn in_set(&self, mut resource: Resource, set: Option<&str>) -> Result<Resource> {
        let set = set.map(|set| self.store.set(set)).transpose()?;
        if let Some(set) = &set {
            check_member(set, &resource)?;
        }
        resource.encryption_type = set.as_ref().map_or(EncryptionType::PlatformKey, |set| set.encryption_type);
        resource.set = set.map(|set| set.name);
        Ok(resource)
    }

    /// Makes the device and volumes of a new resource, and has them filled. On failure nothing is left behind; nor of what is
    /// killed, after the next start.
    pub(super) fn prepare(&self, resource: Resource, fill: impl FnOnce(Layers) -> Result<Layers>) -> Result<Made> {
        let (region, id) = (&resource.region, &resource.id);
        self.store.write(|tables| tables.add_orphan(id, region))?;
        let make = || {
            let set = resource.set.as_ref().map(|set| self.store.set(set)).transpose()?;
            // A vault may still wrap with an expired key (40).
            set.as_ref().map_or(Ok(()), |set| self.keys.check_usable(set))?;
            let customer = set.as_ref().map(|set| self.keys.kek_of(set)).transpose()?;
            let device = self.backend.create(region, id, device_size(&resource))?;
            let layers = fill(Layers::format(device, &resource, &self.keys.vaults.platform_kek(), customer.as_ref())?)?;
            layers.sync()?;
            self.keys.check_memory()?;
            Ok(layers)
        };
        let known = |layers: Layers| Ok((layers.fingerprints()?, layers));
        match make().and_then(known) {
            Ok((fingerprints, layers)) => Ok(Made { resource: Resource { fingerprints, ..resource }, layers }),
            Err(e) => {
                // It is this call's own, and nobody knows of it. What stays of it the next start removes.
                let _ = self.remove_device(region, id);
                Err(e)
            }
        }
    }

    /// Puts resources that were made into the store, in one step.
    pub(super) fn commit(&self, made: Vec<Made>, note: impl Fn(&mut Tables<'_>) -> Result<()>) -> Result<()> {
        // The copy may have taken long.
        let sets = made.iter().filter_map(|made| made.resource.set.as_ref());
        let usable = || sets.map(|set| self.store.set(set)).try_for_each(|set| self.keys.check_usable(&set?));
        let volumes: Vec<_> = made.iter().map(|made| (&made.resource, &made.layers)).collect();
        let now = self.clock.now();
        let committed = usable().and_then(|()| {
            self.put_under_keys(&volumes, |tables| {
                note(tables)?;
                for Made { resource, layers } in &made {
                    let mut resource = resource.clone();
                    resource.note_keys(&layers.all_keks(), now);
                    resource.note_used(layers.used_blocks(), 1);
                    tables.add_resource(&resource)?;
                }
                Ok(())
            })
        });
        if committed.is_err() {
            made.into_iter().for_each(|made| self.discard(made));
        }
        committed
    }

    /// Removes what was made and isn't wanted.
    pub(super) fn discard(&self, made: Made) {
        let Made { resource, layers } = made;
        drop(layers);
        // What stays of it the next start removes.
        let _ = self.remove_device(&resource.region, &resource.id);
    }

    /// Makes a new resource and puts it into the store.
    pub(super) fn make(&self, resource: Resource, fill: impl FnOnce(Layers) -> Result<Layers>) -> Result<Resource> {
        let name = resource.full_name();
        // Before any work; what counts is the look when it is added.
        self.store.check_absent(&name)?;
        self.commit(vec![self.prepare(resource, fill)?], |_| Ok(()))?;
        self.store.resource(&name)
    }

    /// Puts volumes under the active keys of their sets and of the platform, and notes something while those are the active
    /// keys.
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
                    // A rotation that began meanwhile doesn't know of what is added.
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

/// How large the device of a resource is, in bytes. An incremental snapshot says behind its data which of it is there.
fn device_size(resource: &Resource) -> u64 {
    let layers = if resource.has_two_layers() { 2 } else { 1 };
    let map = resource.increment.map_or(0, |_| ChunkMap::stored_len(resource.size));
    resource.size + map + layers * HEADER
}

/// What may be in a set.
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
        let text = "what was ever encrypted in the guest can't come under a customer's key; copy the decrypted files to a new \
                    disk";
        return not_allowed(Rule::EncryptedInGuest, text);
    }
    Ok(())
}
