//! Resources come and go: a device with volumes under the right keys, then the record of it; and both away again.

use super::layers::Layers;
use super::records::{Resource, ResourceName};
use super::service::{Inner, no_set};
use super::store::Tables;
use crate::{Error, Result};

/// A resource that was made and isn't in the store yet.
pub(super) struct Made {
    pub(super) resource: Resource,
    pub(super) layers: Layers,
}

impl Inner {
    /// Makes the device and volumes of a new resource, and has them filled. Of what fails nothing stays; nor of what is
    /// killed, after the next start.
    pub(super) fn prepare(&self, resource: Resource, fill: impl FnOnce(Layers) -> Result<Layers>) -> Result<Made> {
        let (region, id) = (&resource.region, &resource.id);
        self.store.write(|tables| tables.add_orphan(id, region))?;
        let make = || {
            let set = resource.set.as_ref().map(|set| self.store.set(set)).transpose()?;
            // A vault may still wrap with an expired key (40).
            set.as_ref().map_or(Ok(()), |set| self.check_usable(set))?;
            let customer = set.as_ref().map(|set| self.kek_of(set)).transpose()?;
            let device = self.backend.create(region, id, resource.device_size())?;
            let layers = fill(Layers::format(device, &resource, &self.platform_kek(), customer.as_ref())?)?;
            layers.sync()?;
            self.check_memory()?;
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
        let usable = || sets.map(|set| self.store.set(set)).try_for_each(|set| self.check_usable(&set?));
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
                    layers.rewrap(&self.kek_of(&set)?, set.encryption_type)?;
                    sets.push(set);
                }
                if resource.set.is_none() || resource.has_two_layers() {
                    platforms.extend(self.put_under_platform(layers.bottom(), resource.encryption_type)?);
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

    /// Refuses to remove what a copy is made of; what else keeps a chain is soon over.
    pub(super) fn check_uncopied(&self, name: &ResourceName, chain: &str) -> Result<()> {
        if self.copies.is_held(chain) {
            return Err(Error::Busy { what: format!("the {name}, of whose disk a snapshot or a copy is made") });
        }
        Ok(())
    }

    /// Removes a device that no resource has.
    pub(super) fn remove_device(&self, region: &str, id: &str) -> Result<()> {
        // A store that failed may say at the next start that a resource has it.
        self.store.check_sound()?;
        // A change that failed may have come about all the same.
        if let Some(name) = self.store.name_of(id)? {
            return Err(Error::Busy { what: format!("the device of the {name}") });
        }
        self.backend.remove(region, id)?;
        self.store.write(|tables| tables.remove_orphan(id))
    }
}
