//! Removes resources: first from the store in one step, then their devices.

use std::sync::Arc;

use super::live::LiveResource;
use super::records::{Resource, ResourceKind, ResourceName};
use super::service::Inner;
use super::sync::{lock, write};
use crate::{Error, Result};

impl Inner {
    /// Removes unused resources from the store, in one step, and then their devices.
    pub(super) fn remove(&self, resources: &[Resource]) -> Result<()> {
        // Removing a disk ends a copy of it. Other kinds can't be copied meanwhile.
        let others = || resources.iter().filter(|resource| resource.kind != ResourceKind::Disk);
        others().try_for_each(|resource| self.check_uncopied(&resource.full_name(), resource.chain()))?;
        let chains: Vec<_> = others().map(|resource| self.chains.of(resource.chain())).collect();
        let _unread: Vec<_> = chains.iter().map(|chain| write(chain)).collect();
        let group: Vec<_> = resources.iter().map(|resource| self.registry.of(resource)).collect();
        let _alone: Vec<_> = group.iter().map(|live| live.changing()).collect();
        self.remove_live(&group)
    }

    /// As [`remove`](Self::remove), for resources whose change locks the caller holds.
    pub(super) fn remove_live(&self, group: &[Arc<LiveResource>]) -> Result<()> {
        let remove = || {
            group.iter().try_for_each(|live| live.begin_removal())?;
            self.store.write(|tables| {
                let resources = group.iter().map(|live| tables.resource_of(&live.name, &live.id));
                let resources = resources.collect::<Result<Vec<_>>>()?;
                // A snapshot with a later one is merged into that one instead.
                let increments = resources.iter().filter_map(|resource| resource.place());
                increments.into_iter().try_for_each(|(disk, place)| tables.still_last(disk, Some(place)))?;
                resources.iter().try_for_each(|resource| tables.remove_resource(resource))?;
                Ok(resources)
            })
        };
        let removed = remove().inspect_err(|_| group.iter().for_each(|live| live.cancel_removal()))?;
        group.iter().for_each(|live| live.close());
        removed.iter().try_for_each(|resource| self.remove_device(&resource.region, &resource.id))
    }

    /// Refuses to remove a resource that is being copied. Other users of a chain finish soon.
    pub(super) fn check_uncopied(&self, name: &ResourceName, chain: &str) -> Result<()> {
        if self.copies.is_held(chain) {
            return Err(Error::Busy { what: format!("the {name} (a snapshot or a copy of its disk is being made)") });
        }
        Ok(())
    }

    /// Removes a device that was made for a resource and isn't wanted. If the store or the backend doesn't answer, a later round of
    /// [`maintain`](super::DiskService::maintain) does it on a shared store, and the next start otherwise.
    pub(super) fn discard_device(&self, region: &str, id: &str) {
        if self.remove_device(region, id).is_err() {
            self.give_up_later(id);
        }
    }

    /// Notes that an unwanted device made by this host may be left.
    pub(super) fn give_up_later(&self, id: &str) {
        if self.keys.fleet.is_some() {
            // Until then, a commit that was sent before may still happen.
            let until = self.clock.uptime().saturating_add(self.store.deadline());
            lock(&self.given_up).push((id.to_owned(), until));
        }
    }

    /// Lets all hosts remove such devices.
    pub(super) fn give_up_devices(&self) -> Result<()> {
        let mut left = core::mem::take(&mut *lock(&self.given_up));
        let mut given_up = Ok(());
        left.retain(|(id, until)| {
            let is_certain = self.clock.uptime() >= *until;
            let given = if given_up.is_ok() { self.store.write(|tables| tables.give_up(id)) } else { Ok(()) };
            let done = given_up.is_ok() && given.is_ok() && is_certain;
            if given.is_err() {
                given_up = given;
            }
            !done
        });
        lock(&self.given_up).append(&mut left);
        given_up
    }

    /// Removes a device that no resource has.
    pub(super) fn remove_device(&self, region: &str, id: &str) -> Result<()> {
        self.store.begin_to_remove(id, region)?;
        self.backend.remove(region, id)?;
        self.store.write(|tables| tables.remove_orphan(id))
    }
}
