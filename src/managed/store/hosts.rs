//! The records of hosts, and of the devices that they have open.

use std::collections::BTreeSet;

use super::layer::Records;
use super::place::{HOSTS, Place};
use super::queue::Queue;
use super::record::parse;
use super::shared::MAX_COMMIT;
use super::tables::Tables;
use crate::key::KeyId;
use crate::managed::records::{Attachment, Holder, HostRecord, ResourceName};
use crate::{Error, Result};

impl Tables<'_> {
    /// The record of a run of a host's service.
    pub(in crate::managed) fn host(&mut self, run: &str) -> Result<Option<HostRecord>> {
        self.read(&Place::Host(run.into()))
    }

    pub(in crate::managed) fn put_host(&mut self, run: &str, host: &HostRecord) -> Result<()> {
        self.put(&Place::Host(run.into()), host)
    }

    pub(in crate::managed) fn remove_host(&mut self, run: &str) -> Result<()> {
        let places = [Place::Host(run.into()).key(), Place::Mark(run.into()).key()];
        self.transaction.load(&places)?;
        places.iter().try_for_each(|key| self.transaction.remove(key))
    }

    /// The attachment of a device. Reads all records that decide whether the device may be opened, at once.
    pub(in crate::managed) fn attachment(&mut self, id: &str) -> Result<Option<Attachment>> {
        let mut places = vec![Place::Attachment(id.into()), Place::Id(id.into()), Place::Orphan(id.into())];
        places.extend(self.run.clone().map(Place::Host));
        self.transaction.load(&places.iter().map(Place::key).collect::<Vec<_>>())?;
        self.read(&Place::Attachment(id.into()))
    }

    /// The attachment of a device, without the records that decide whether it may be opened.
    pub(in crate::managed) fn holder(&mut self, id: &str) -> Result<Option<Attachment>> {
        self.read(&Place::Attachment(id.into()))
    }

    /// Reads the attachments of devices, at once.
    pub(in crate::managed) fn load_holders<'i>(&mut self, ids: impl Iterator<Item = &'i str>) -> Result<()> {
        self.transaction.load(&ids.map(|id| Place::Attachment(id.into()).key()).collect::<Vec<_>>())
    }

    /// The same, and also reads the resources of the devices, the record of the key that they come under, and this host's record.
    pub(in crate::managed) fn load_attachments(
        &mut self,
        queue: &Queue,
        resources: &[(ResourceName, &str)],
    ) -> Result<()> {
        let of = |(name, id): &(ResourceName, &str)| {
            [Place::Attachment((*id).into()), Place::Id((*id).into()), Place::Resource(name.clone())]
        };
        let places = resources.iter().flat_map(of).chain(self.run.clone().map(Place::Host));
        let places = places.chain([queue.keys()]);
        self.transaction.load(&places.map(|place| place.key()).collect::<Vec<_>>())
    }

    /// Whether the commit has room for the demands of [`check_unheld`](Self::check_unheld), besides a mark of its own.
    pub(in crate::managed) fn has_room_for(&self, found: Option<&Attachment>) -> bool {
        let hosts = found.map_or(0, |found| if found.holder.is_some() { 1 } else { found.promised.len() });
        self.transaction.len() + hosts < MAX_COMMIT
    }

    /// Demands that this run of the host's service has its record, if the store is shared: no other host has taken it for lost.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(in crate::managed) fn check_alive(&mut self) -> Result<()> {
        let Some(run) = self.run.clone() else { return Ok(()) };
        match self.host(&run)? {
            Some(_) => Ok(()),
            None => Err(Error::Busy { what: "this host, which another one has taken for lost,".into() }),
        }
    }

    /// Demands that a set's active key is this one, on which the caller has decided.
    ///
    /// # Errors
    /// [`Error::Busy`] if another host has changed it; [`Error::NoSuchResource`].
    pub(in crate::managed) fn check_active(&mut self, set: &str, key: &KeyId) -> Result<()> {
        match self.set(set)? {
            Some(found) if found.active_key == *key => Ok(()),
            Some(_) => Err(Error::Busy { what: format!("the set {set:?}, whose key another host has just changed,") }),
            None => Err(Error::NoSuchResource(format!("there is no set {set:?}"))),
        }
    }

    /// Reads the records of resources whose devices this host had open until now, at once, and demands that it wasn't taken for
    /// lost.
    pub(in crate::managed) fn load_here(&mut self, names: &[ResourceName]) -> Result<()> {
        let places = names.iter().cloned().map(Place::Resource).chain(self.run.clone().map(Place::Host));
        self.transaction.load(&places.map(|place| place.key()).collect::<Vec<_>>())?;
        self.check_alive()
    }

    /// The runs with a lease among the other hosts that have these devices, or are to get them. The commit doesn't demand that this
    /// stays so.
    pub(in crate::managed) fn living<'i>(&mut self, ids: impl Iterator<Item = &'i str>) -> Result<BTreeSet<String>> {
        let mut runs = BTreeSet::new();
        for id in ids {
            let found = self.holder(id)?;
            runs.extend(
                found.into_iter().flat_map(|found| found.promised.into_iter().chain(found.holder)).map(|of| of.run),
            );
        }
        runs.retain(|run| self.run.as_ref() != Some(run));
        let keys: Vec<_> = runs.iter().map(|run| Place::Host(run.clone()).key()).collect();
        // Also one whose record a later release wrote.
        let there = if keys.is_empty() { Vec::new() } else { self.transaction.are_there(&keys)? };
        Ok(runs.into_iter().zip(there).filter_map(|(run, there)| there.then_some(run)).collect())
    }

    /// Whether another host has a device, or is to get it: one of `living`.
    pub(in crate::managed) fn is_elsewhere(&self, found: &Attachment, living: &BTreeSet<String>) -> bool {
        let others = match &found.holder {
            Some(holder) => core::slice::from_ref(holder),
            None => &found.promised[..],
        };
        // Other hosts come for a device that this host has promised to them, as long as they live. This host is the last of the promised.
        let gave = found.holder.is_none() && others.len() > 1;
        let last = others.last().filter(|_| gave);
        let is_own = |holder: &Holder| self.run.as_ref() == Some(&holder.run);
        if others.iter().any(is_own) && !last.is_some_and(is_own) {
            return false;
        }
        others.iter().any(|holder| !is_own(holder) && living.contains(&holder.run))
    }

    /// Demands that this host has a device: no other host may have changed the record of its resource. So a host that was taken for
    /// lost, and doesn't know it, changes nothing.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(in crate::managed) fn check_attached(&mut self, id: &str) -> Result<()> {
        if self.run.is_none() {
            return Ok(());
        }
        match self.holder(id)?.and_then(|found| found.holder) {
            Some(holder) if self.run.as_ref() == Some(&holder.run) => Ok(()),
            _ => Err(Error::Busy { what: format!("the device {id}, which isn't this host's any more,") }),
        }
    }

    pub(in crate::managed) fn put_attachment(&mut self, id: &str, attachment: &Attachment) -> Result<()> {
        self.put(&Place::Attachment(id.into()), attachment)
    }

    pub(in crate::managed) fn remove_attachment(&mut self, id: &str) -> Result<()> {
        self.transaction.remove(&Place::Attachment(id.into()).key())
    }

    /// Demands that no other host has a device, nor is to get it: one that has a lease.
    ///
    /// # Errors
    /// [`Error::Busy`] with the name of the host.
    pub(in crate::managed) fn check_unheld(&mut self, found: &Attachment) -> Result<()> {
        let own = |holder: &Holder, run: &Option<String>| run.as_ref() == Some(&holder.run);
        if let Some(holder) = &found.holder {
            if !own(holder, &self.run) && self.host(&holder.run)?.is_some() {
                return Err(Error::Busy { what: format!("the device, which the host {:?} has open,", holder.host) });
            }
            return Ok(());
        }
        if found.promised.iter().any(|holder| own(holder, &self.run)) {
            return Ok(());
        }
        for holder in &found.promised {
            if self.host(&holder.run)?.is_some() {
                let to = &found.promised[0].host;
                return Err(Error::Busy {
                    what: format!("the device, which is being handed over to the host {to:?},"),
                });
            }
        }
        Ok(())
    }

    /// Whether a device is a resource's, or is being made for one.
    pub(in crate::managed) fn is_wanted(&mut self, id: &str) -> Result<bool> {
        Ok(self.name_of(id)?.is_some() || self.orphan(id)?.is_some_and(|orphan| !orphan.removing))
    }

    /// Demands that no other host has a device open, before its resource is removed.
    pub(super) fn check_unattached(&mut self, id: &str) -> Result<()> {
        if self.run.is_none() {
            return Ok(());
        }
        match self.attachment(id)? {
            Some(found) => self.check_unheld(&found),
            None => Ok(()),
        }
    }
}

impl Records {
    /// The runs of hosts' services that have a record which can be read. Another one, such as that of a later release, stops none of
    /// the others: its host is alive, as far as this one knows.
    pub(in crate::managed) fn hosts(&self) -> Result<Vec<(String, HostRecord)>> {
        self.readable(HOSTS, |place, json| match &place {
            Place::Host(run) => Ok(Some((run.clone(), parse(&place, json)?))),
            _ => Ok(None),
        })
    }

    /// Devices without a resource that another host may remove: their ids and regions. Their makers are gone.
    pub(in crate::managed) fn ownerless(&self) -> Result<Vec<(String, String)>> {
        let orphans = self.orphans_with_makers()?.into_iter();
        // Asked after the devices: a host has its record before it makes any, and a run that is gone never comes back.
        let hosts = self.places(HOSTS, |place| match place {
            Place::Host(run) => Some(run),
            _ => None,
        })?;
        let hosts: BTreeSet<String> = hosts.into_iter().collect();
        let gone = |maker: &Option<String>| maker.as_ref().is_none_or(|maker| !hosts.contains(maker));
        Ok(orphans.filter(|(.., maker)| gone(maker)).map(|(id, region, _)| (id, region)).collect())
    }
}
