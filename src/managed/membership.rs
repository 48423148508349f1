//! Moves resources into a set: to a customer's key, or to another one, without touching the data (22).

use std::sync::Arc;

use super::keys::Notes;
use super::layers::Layers;
use super::live::LiveResource;
use super::making::check_member;
use super::records::{EncryptionSet, Joining, Resource, ResourceName};
use super::service::{DiskService, Inner, not_allowed};
use super::sync::write;
use crate::error::Rule;
use crate::key::KeyId;
use crate::{EncryptionType, Error, Result};

impl DiskService {
    /// Moves a disk or a snapshot into a set: from the platform's key to a customer's (22), or from another set's key.
    /// A disk and its incremental snapshots move together (45). No sector is touched, and it stays open. If it is
    /// killed at any instant, the next use finishes the move.
    ///
    /// Nothing takes it out of its set again (46). To leave the customer's key, copy the data to a new disk without a set:
    /// [`create_disk_from`](Self::create_disk_from).
    ///
    /// # Errors
    /// [`Error::NoSuchResource`](crate::Error::NoSuchResource); [`Error::NotAllowed`](crate::Error::NotAllowed) for a set in
    /// another place, of a kind that the disk can't become in place, or for a disk or snapshot that was ever encrypted in the guest
    /// (52); the vault's errors; [`Error::Io`](crate::Error::Io).
    pub fn put_into_set(&self, name: &ResourceName, set: &str) -> Result<Resource> {
        let inner = self.inner()?;
        inner.change_group(name, |group, names| {
            // From here to the end no other host opens them, nor puts them into another set.
            let _here = group.iter().map(|live| live.here()).collect::<Result<Vec<_>>>()?;
            for live in group {
                inner.begun_import(live, live.record()?)?;
                // First finish earlier moves. A resource that can't be opened stays where it is.
                inner.finish_joining(live)?;
                live.with_layers_to_rewrap(|_| Ok(()))?;
            }
            inner.check_joining(names, set)?;
            inner.intend(names, set)?;
            group.iter().try_for_each(|live| inner.finish_joining(live))?;
            inner.store.resource(name)
        })
    }
}

/// Checks that a resource may move into a set.
fn check_join(set: &EncryptionSet, resource: &Resource) -> Result<()> {
    check_member(set, resource)?;
    let double = EncryptionType::PlatformAndCustomerKeys;
    if (resource.encryption_type == double) != (set.encryption_type == double) {
        let text = "a second layer can't be added or taken away in place; copy the data to a new disk";
        return not_allowed(Rule::LayersStay, text);
    }
    Ok(())
}

impl Inner {
    /// Changes a resource together with its group: a disk and its incremental snapshots (45), or the copies of an image
    /// in one subscription. No snapshot is added or removed meanwhile.
    pub(super) fn change_group<T>(
        &self,
        name: &ResourceName,
        act: impl FnOnce(&[Arc<LiveResource>], &[ResourceName]) -> Result<T>,
    ) -> Result<T> {
        let resource = self.store.resource(name)?;
        let chain = self.chains.of(resource.chain());
        let _still = write(&chain);
        let mut names: Vec<_> = self.store.increments(resource.chain())?.into_iter().map(|(_, name)| name).collect();
        names.extend(self.store.name_of(resource.chain())?.into_iter().chain([name.clone()]));
        names.sort();
        names.dedup();
        let group = names.iter().map(|name| self.registry.find(name)).collect::<Result<Vec<_>>>()?;
        let _alone: Vec<_> = group.iter().map(|live| live.changing()).collect();
        group.iter().try_for_each(|live| live.record().map(drop))?;
        act(&group, &names)
    }

    /// Checks that resources may move into a set, and that its key can be used. If the vault refused after the move
    /// began, they could neither reach the set's key nor go back.
    fn check_joining(&self, names: &[ResourceName], set: &str) -> Result<()> {
        let set = self.store.set(set)?;
        let resources = names.iter().map(|name| self.store.resource(name)).collect::<Result<Vec<_>>>()?;
        resources.iter().try_for_each(|resource| check_join(&set, resource))?;
        if resources.iter().any(|resource| resource.set.as_ref() != Some(&set.name)) {
            self.keys.kek_of(&set)?.try_out()?;
        }
        Ok(())
    }

    /// Records that resources belong to a set. From now on they will come under its key, whatever happens.
    fn intend(&self, names: &[ResourceName], set: &str) -> Result<()> {
        self.store.write(|tables| {
            let set = tables.set(set)?.ok_or_else(|| super::service::no_set(set))?;
            tables.check_alive()?;
            let resources = names.iter().map(|name| tables.resource(name)).collect::<Result<Vec<_>>>()?;
            tables.still_whole(&resources)?;
            for mut resource in resources {
                check_join(&set, &resource)?;
                if resource.set.as_ref() == Some(&set.name) {
                    continue;
                }
                if resource.joining.is_some() {
                    // Its header names a key that neither set would say then.
                    let what = format!("the {}, which is being put into another set,", resource.full_name());
                    return Err(Error::Busy { what });
                }
                let from = resource.set.replace(set.name.clone());
                resource.joining = Some(from.map_or(Joining::Platform, Joining::Set));
                resource.encryption_type = set.encryption_type;
                tables.put_resource(&resource)?;
            }
            Ok(())
        })
    }

    /// Moves a resource to the key of the set that it was put into, if that is not done yet. The caller must hold its
    /// change lock.
    pub(super) fn finish_joining(&self, live: &LiveResource) -> Result<()> {
        if live.record()?.joining.is_none() {
            return Ok(());
        }
        let _here = live.here_or_busy()?;
        // Until now another host may have changed it.
        let resource = live.record()?;
        match resource.joining {
            Some(_) => self.rewrap_live(live, &resource).map(drop),
            None => Ok(()),
        }
    }

    /// The same before a resource is read. If the set's key may not be used, its members are suspended, even those not
    /// yet under it.
    pub(super) fn finish_before_use(&self, resource: &Resource) -> Result<()> {
        if resource.joining.is_none() {
            return Ok(());
        }
        let finished = self.registry.changing_here(&resource.full_name(), |live, _| self.finish_joining(live));
        finished.map_err(|e| match e.is_revocation() {
            true => Error::DiskSuspended { disk: resource.name.clone(), reason: format!("{e:#}") },
            false => e,
        })
    }

    /// Finishes all moves into sets, as far as the vaults allow it.
    pub(super) fn finish_all_joining(&self) -> Result<()> {
        let mut after = None;
        loop {
            let (joining, next) = self.store.joining_page(after.as_deref())?;
            for name in joining {
                // The next round tries again; meanwhile the resource's status shows it.
                let _ = self.registry.changing_here(&name, |live, _| self.finish_joining(live));
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Moves a resource to its set's active key, and returns whether it had to. The caller must hold its change lock.
    pub(super) fn rewrap_live(&self, live: &LiveResource, resource: &Resource) -> Result<bool> {
        if resource.set.is_none() { Ok(false) } else { self.rewrap_and_note(live, resource, |_, _| false) }
    }

    /// Moves a resource to its set's active key, or to one of the platform's in use, and notes that together with the changes by
    /// `note`. `note` says whether there is any. Returns whether it had to move into its set's key. The caller must hold its change
    /// lock.
    pub(super) fn rewrap_and_note(
        &self,
        live: &LiveResource,
        resource: &Resource,
        note: impl Fn(&mut Resource, &Layers) -> bool,
    ) -> Result<bool> {
        let set = resource.set.as_deref();
        let (result, key) = live.with_layers_to_rewrap(|layers| {
            let active = set.map(|set| self.store.set(set)).transpose()?.map(|set| set.active_key);
            let had_to = active.is_some_and(|active| layers.keks() != [active]);
            let now = self.clock.now();
            let noted = self.put_under_keys(&[(resource, layers)], |tables| {
                tables.check_attached(&live.id)?;
                let mut record = tables.resource_of(&live.name, &live.id)?;
                if (&record.set, &record.joining) != (&resource.set, &resource.joining) {
                    let what = format!("the {}, which was put into another set meanwhile,", live.name);
                    return Err(Error::Busy { what });
                }
                let joining = record.joining.take().is_some();
                // The keys in the headers as they are now are noted. A header that was replaced under an open volume may still be there.
                let is_right = |layer: usize| {
                    layers.keys_on_device().is_ok_and(|named| named.get(layer) == layers.all_keks().get(layer))
                };
                let before = record.replaced.len();
                record.replaced.retain(|layer| !is_right(*layer));
                let replaced = record.replaced.len() != before;
                if record.note_keys(&layers.all_keks(), now) | note(&mut record, layers) || joining || replaced {
                    tables.put_resource(&record)?;
                }
                Ok(())
            });
            let key = set.zip(layers.keks().pop());
            if let Some((set, key)) = &key {
                self.keys.leases.of(set, key).remember(layers.wrapped());
            }
            Ok((noted.map(|()| had_to), key))
        })?;
        // Its lease must match the key that it is under, even if noting failed.
        if let Some((set, key)) = key {
            self.lease_under(live, set, &key);
        }
        result
    }

    /// As [`rewrap_live`](Self::rewrap_live), for a member of a set under rotation. It skips a resource that is proven
    /// to be under the key and whose header names it.
    pub(super) fn rewrap_member(
        &self,
        live: &LiveResource,
        resource: &Resource,
        set: &EncryptionSet,
        notes: &Notes<'_>,
    ) -> Result<bool> {
        let key = &set.active_key;
        // One whose header was found replaced has its checksums compared again before that is taken back.
        let is_under =
            if resource.is_replaced(0) { live.is_under(resource, key)? } else { live.seems_under(resource, key)? };
        if is_under {
            return self.note_right(resource, 0).map(|()| false);
        }
        let rewrapped = live.with_known_layers_to_rewrap(resource, set, |layers| {
            let rewrapped = layers.rewrap(&self.keys.kek_of(set)?, set.encryption_type)?;
            self.keys.leases.of(&set.name, key).remember(layers.wrapped());
            notes.add(resource, 0, key)?;
            Ok(rewrapped)
        })?;
        self.lease_under(live, &set.name, key);
        self.note_right(resource, 0)?;
        Ok(rewrapped)
    }

    /// Notes that a layer's header is the one that was proved, if it was found otherwise before.
    pub(super) fn note_right(&self, resource: &Resource, layer: usize) -> Result<()> {
        match resource.is_replaced(layer) {
            true => self.keys.note(&resource.full_name(), &resource.id, |of| of.note_replaced(layer, false)),
            false => Ok(()),
        }
    }

    /// Gives the resource the lease of its key. If that key can't be used, the resource is suspended, whatever its
    /// previous lease was.
    fn lease_under(&self, live: &LiveResource, set: &str, key: &KeyId) {
        let lease = self.keys.leases.of(set, key);
        if live.lease().is_none_or(|before| !Arc::ptr_eq(&before, &lease)) {
            let _ = lease.renew(self.keys.now(), || self.keys.vault_of_lease(&lease));
            live.move_to(lease);
        }
    }
}
