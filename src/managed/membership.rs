//! Into a set: under a customer's key, or under another one, without touching the data (22).

use std::sync::Arc;

use super::keys::Notes;
use super::live::LiveResource;
use super::making::check_member;
use super::records::{EncryptionSet, Joining, Resource, ResourceName};
use super::service::{DiskService, Inner, not_allowed};
use super::sync::write;
use crate::error::Rule;
use crate::key::KeyId;
use crate::{EncryptionType, Error, Result};

impl DiskService {
    /// Puts a disk, or a snapshot, into a set: from under the platform's key under a customer's (22), or from under the key
    /// of another set. A disk and its incremental snapshots go together (45). No sector is touched, and it stays open. Killed
    /// at any instant, it is finished at the next use.
    ///
    /// Nothing takes it out of its set again (46). To leave the customer's key, copy the data to a new disk without a set:
    /// [`create_disk_from`](Self::create_disk_from).
    ///
    /// # Errors
    /// [`Error::NoSuchResource`](crate::Error::NoSuchResource); [`Error::NotAllowed`](crate::Error::NotAllowed) for a set in
    /// another place, of a kind that the disk can't become in place, or for what was ever encrypted in the guest (52); what
    /// the vault answers; [`Error::Io`](crate::Error::Io).
    pub fn put_into_set(&self, name: &ResourceName, set: &str) -> Result<Resource> {
        let inner = &self.inner;
        inner.change_group(name, |group, names| {
            for live in group {
                // What was begun before is finished first; and what can't be opened is left where it is.
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

/// Whether a resource may come into a set.
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
    /// Changes a resource with all that must stay with it: a disk and its incremental snapshots (45), or the copies of an
    /// image in one subscription. No snapshot comes or goes meanwhile.
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

    /// Finds out whether resources may come into a set, and whether its key can be used: what belongs to a set whose vault
    /// refuses could neither come under its key nor go back.
    fn check_joining(&self, names: &[ResourceName], set: &str) -> Result<()> {
        let set = self.store.set(set)?;
        let resources = names.iter().map(|name| self.store.resource(name)).collect::<Result<Vec<_>>>()?;
        resources.iter().try_for_each(|resource| check_join(&set, resource))?;
        if resources.iter().any(|resource| resource.set.as_ref() != Some(&set.name)) {
            self.keys.kek_of(&set)?.try_out()?;
        }
        Ok(())
    }

    /// Notes that resources belong to a set from here on: whatever happens, they come under its key.
    fn intend(&self, names: &[ResourceName], set: &str) -> Result<()> {
        self.store.write(|tables| {
            let set = tables.set(set)?.ok_or_else(|| super::service::no_set(set))?;
            for name in names {
                let mut resource = tables.resource(name)?;
                check_join(&set, &resource)?;
                if resource.set.as_ref() == Some(&set.name) {
                    continue;
                }
                let from = resource.set.replace(set.name.clone());
                resource.joining = Some(from.map_or(Joining::Platform, Joining::Set));
                resource.encryption_type = set.encryption_type;
                tables.put_resource(&resource)?;
            }
            Ok(())
        })
    }

    /// Puts a resource under the key of the set that it was put into, if it wasn't yet. It must be the caller's to change.
    pub(super) fn finish_joining(&self, live: &LiveResource) -> Result<()> {
        let resource = self.store.resource(&live.name)?;
        if resource.joining.is_none() {
            return Ok(());
        }
        self.rewrap_live(live, &resource).map(drop)
    }

    /// The same before a resource is read. A set's key that may not be used suspends what is in the set, also what isn't
    /// under it yet.
    pub(super) fn finish_before_use(&self, resource: &Resource) -> Result<()> {
        if resource.joining.is_none() {
            return Ok(());
        }
        let finished = self.registry.changing(&resource.full_name(), |live, _| self.finish_joining(live));
        finished.map_err(|e| match e.is_revocation() {
            true => Error::DiskSuspended { disk: resource.name.clone(), reason: format!("{e:#}") },
            false => e,
        })
    }

    /// Finishes what was put into a set and isn't under its key, as far as the vaults let it.
    pub(super) fn finish_all_joining(&self) -> Result<()> {
        for name in self.store.joining()? {
            // The next round tries again; its status tells of it meanwhile.
            let _ = self.registry.changing(&name, |live, _| self.finish_joining(live));
        }
        Ok(())
    }

    /// Puts a resource under its set's active key, and says whether it had to. It must be the caller's to change.
    pub(super) fn rewrap_live(&self, live: &LiveResource, resource: &Resource) -> Result<bool> {
        let Some(set) = &resource.set else { return Ok(false) };
        let (result, key) = live.with_layers_to_rewrap(|layers| {
            let active = self.store.set(set)?.active_key;
            let had_to = layers.keks() != [active];
            let now = self.clock.now();
            let noted = self.put_under_keys(&[(resource, layers)], |tables| {
                let mut joined = tables.resource(&live.name)?;
                let joining = joined.joining.take().is_some();
                if joined.note_keys(&layers.all_keks(), now) || joining {
                    tables.put_resource(&joined)?;
                }
                Ok(())
            });
            let key = layers.keks().pop();
            if let Some(key) = &key {
                self.keys.leases.of(set, key).remember(layers.wrapped());
            }
            Ok((noted.map(|()| had_to), key))
        })?;
        // Its lease is that of the key that it is under, whether that could be noted or not.
        if let Some(key) = key {
            self.lease_under(live, set, &key);
        }
        result
    }

    /// As [`rewrap_live`](Self::rewrap_live), of what stays in its set while that is rotated. What was proved to be under the
    /// key, and has a header that says so, is left alone.
    pub(super) fn rewrap_member(
        &self,
        live: &LiveResource,
        resource: &Resource,
        set: &EncryptionSet,
        notes: &Notes<'_>,
    ) -> Result<bool> {
        let key = &set.active_key;
        if live.is_under(resource, key)? {
            return Ok(false);
        }
        let rewrapped = live.with_layers_to_rewrap(|layers| {
            let rewrapped = layers.rewrap(&self.keys.kek_of(set)?, set.encryption_type)?;
            self.keys.leases.of(&set.name, key).remember(layers.wrapped());
            notes.add(resource, 0, key)?;
            Ok(rewrapped)
        })?;
        self.lease_under(live, &set.name, key);
        Ok(rewrapped)
    }

    /// What is under a key is held by its lease: what can't be used under it is suspended, whatever the lease before said.
    fn lease_under(&self, live: &LiveResource, set: &str, key: &KeyId) {
        let lease = self.keys.leases.of(set, key);
        if live.lease().is_none_or(|before| !Arc::ptr_eq(&before, &lease)) {
            let _ = lease.renew(self.keys.now(), || self.keys.vault_of_lease(&lease));
            live.move_to(lease);
        }
    }
}
