//! The changes of a transaction: to records, and to those for finding them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::errors::{Defect, damaged, missing, taken};
use super::place::{Place, RESOURCES, copies_of, members_of};
use super::record::{json, json_over, parse, parse_resource};
use super::shared::{MAX_COMMIT, Store};
use super::transaction::Transaction;
use crate::managed::records::{EncryptionSet, PlatformKeys, Resource, ResourceKind, ResourceName};
use crate::{Error, Result};

/// The record of a device without a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Orphan {
    pub(super) region: String,
    /// Its device is being removed. No resource gets it any more.
    #[serde(default)]
    pub(super) removing: bool,
    /// The run of the host's service that is making it. Others leave it alone while that host has a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) maker: Option<String>,
}

/// The records as a transaction sees and changes them.
pub(in crate::managed) struct Tables<'t> {
    pub(super) transaction: Transaction<'t>,
    /// The run of this host's service, if the store is shared.
    pub(super) run: Option<String>,
}

impl<'t> Tables<'t> {
    pub(super) fn new(store: &'t dyn Store, run: Option<String>) -> Self {
        Tables { transaction: Transaction::new(store), run }
    }

    pub(super) fn read<T: serde::de::DeserializeOwned>(&mut self, place: &Place) -> Result<Option<T>> {
        let json = self.transaction.get(&place.key())?;
        Ok(json.map(|json| parse(place, json)).transpose()?)
    }

    /// Puts a record over the one that is there, whose unknown fields stay.
    pub(super) fn put<T: Serialize + serde::de::DeserializeOwned>(&mut self, place: &Place, record: &T) -> Result<()> {
        let key = place.key();
        let new = match self.transaction.get(&key)? {
            Some(old) => json_over(record, old),
            None => json(record),
        };
        self.transaction.put(&key, new)
    }

    pub(in crate::managed) fn set(&mut self, name: &str) -> Result<Option<EncryptionSet>> {
        self.read(&Place::Set(name.into()))
    }

    pub(in crate::managed) fn put_set(&mut self, set: &EncryptionSet) -> Result<()> {
        self.put(&Place::Set(set.name.clone()), set)
    }

    pub(in crate::managed) fn remove_set(&mut self, name: &str) -> Result<()> {
        if self.run.is_some() {
            self.remove_turn(name)?;
        }
        self.transaction.remove(&Place::Set(name.into()).key())
    }

    pub(in crate::managed) fn platform(&mut self) -> Result<Option<PlatformKeys>> {
        self.read(&Place::Platform)
    }

    pub(in crate::managed) fn put_platform(&mut self, keys: &PlatformKeys) -> Result<()> {
        self.put(&Place::Platform, keys)
    }

    /// The first resource for which `wanted` holds. Others may join meanwhile: see [`Transaction`].
    pub(in crate::managed) fn find(&self, wanted: impl Fn(&Resource) -> bool) -> Result<Option<ResourceName>> {
        self.transaction.scan(RESOURCES, |key, json| {
            let Some(Place::Resource(name)) = Place::of_key(key) else { return Ok(None) };
            let resource = parse_resource(&name, json)?;
            Ok(wanted(&resource).then_some(name))
        })
    }

    /// The first member of a set, including members that are leaving, for which `wanted` holds. Others may join meanwhile:
    /// see [`Transaction`].
    pub(in crate::managed) fn find_member(
        &self,
        set: &str,
        wanted: impl Fn(&Resource) -> bool,
    ) -> Result<Option<ResourceName>> {
        let mut names = Vec::new();
        let found = self.transaction.scan(&members_of(set), |key, _| {
            names.extend(member(key));
            if names.len() < MAX_COMMIT { Ok(None) } else { self.first(core::mem::take(&mut names), &wanted) }
        })?;
        found.map_or_else(|| self.first(names, &wanted), |found| Ok(Some(found)))
    }

    /// The first of these resources for which `wanted` holds.
    fn first(&self, names: Vec<ResourceName>, wanted: impl Fn(&Resource) -> bool) -> Result<Option<ResourceName>> {
        let keys: Vec<_> = names.iter().map(|name| Place::Resource(name.clone()).key()).collect();
        for (name, json) in names.into_iter().zip(self.transaction.look(&keys)?) {
            // It may have been removed since it was listed.
            let resource = json.map(|json| parse_resource(&name, &json)).transpose()?;
            if resource.is_some_and(|resource| wanted(&resource)) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Whether a set has any members, including members that are leaving.
    pub(in crate::managed) fn has_members(&self, set: &str) -> Result<bool> {
        Ok(self.transaction.scan(&members_of(set), |_, _| Ok(Some(())))?.is_some())
    }

    pub(in crate::managed) fn resource(&mut self, name: &ResourceName) -> Result<Resource> {
        let json = self.transaction.get(&Place::Resource(name.clone()).key())?;
        Ok(parse_resource(name, json.ok_or_else(|| missing(name))?)?)
    }

    /// The resource of this name, if it has this id.
    pub(in crate::managed) fn resource_of(&mut self, name: &ResourceName, id: &str) -> Result<Resource> {
        self.resource(name).and_then(|found| if found.id == id { Ok(found) } else { Err(missing(name)) })
    }

    /// Notes that an image of this name is made.
    ///
    /// # Errors
    /// [`Error::ResourceExists`] if it has any copy.
    pub(in crate::managed) fn claim_image(&mut self, name: &str) -> Result<()> {
        // Two makers change this record, so that one of them looks again, and finds the other's copies.
        self.put(&Place::Image(name.into()), &())?;
        let copies = self.transaction.scan(&copies_of(name), |_, _| Ok(Some(())))?;
        copies.map_or(Ok(()), |()| Err(Error::ResourceExists(format!("there is an image {name:?} already"))))
    }

    pub(in crate::managed) fn check_absent(&mut self, name: &ResourceName) -> Result<()> {
        match self.transaction.get(&Place::Resource(name.clone()).key())? {
            Some(_) => Err(taken(name)),
            None => Ok(()),
        }
    }

    /// Inserts a new resource.
    pub(in crate::managed) fn add_resource(&mut self, resource: &Resource) -> Result<()> {
        self.check_absent(&resource.full_name())?;
        self.put_resource(resource)
    }

    /// Inserts a new resource whose device was made for it, and stops being an orphan.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`] if the device is being removed, or was: the host that removed it took its maker for dead.
    pub(in crate::managed) fn add_made(&mut self, resource: &Resource) -> Result<()> {
        let orphan = Place::Orphan(resource.id.clone());
        if self.orphan(&resource.id)?.is_none_or(|orphan| orphan.removing) {
            let text = format!("the device of the new {} was removed meanwhile; make it again", resource.full_name());
            return Err(Error::NoSuchResource(text));
        }
        self.transaction.remove(&orphan.key())?;
        self.add_resource(resource)
    }

    /// Demands that `last` still is the last incremental snapshot of the disk with this id, or that there is none: no other host
    /// has made one meanwhile, or removed it.
    pub(in crate::managed) fn still_last(&mut self, disk: &str, last: Option<u64>) -> Result<()> {
        let next = Place::Increment(disk.into(), next_place(last)?).key();
        let last = last.map(|last| Place::Increment(disk.into(), last).key());
        self.transaction.load(&[next.clone()].into_iter().chain(last.clone()).collect::<Vec<_>>())?;
        let stays = match last {
            Some(last) => self.transaction.get(&last)?.is_some(),
            None => true,
        };
        if stays && self.transaction.get(&next)?.is_none() {
            return Ok(());
        }
        Err(Error::Busy { what: "the disk, whose incremental snapshots another host changes at the same time,".into() })
    }

    /// The same for the chains of all these resources, which have all snapshots of their disks.
    pub(in crate::managed) fn still_whole(&mut self, resources: &[Resource]) -> Result<()> {
        let mut last = BTreeMap::new();
        for resource in resources {
            let known: &mut Option<u64> = last.entry(resource.chain()).or_default();
            *known = (*known).max(resource.place().map(|(_, place)| place));
        }
        last.into_iter().try_for_each(|(disk, last)| self.still_last(disk, last))
    }

    /// Inserts a resource, or replaces it.
    pub(in crate::managed) fn put_resource(&mut self, resource: &Resource) -> Result<()> {
        let place = Place::Resource(resource.full_name());
        let old = self.read::<Resource>(&place)?;
        self.put(&place, resource)?;
        let (before, now) = (old.as_ref().map(indices).unwrap_or_default(), indices(resource));
        now.difference(&before).try_for_each(|(index, _)| match index {
            Place::Member(set, _) => self.admit(set),
            _ => Ok(()),
        })?;
        self.replace(&before, &now)
    }

    /// Demands, for a new member, that the set stays as it is. A removal of the set looks for members after marking it; a newcomer
    /// that finds the mark takes it away, so that the removal looks again.
    fn admit(&mut self, set: &str) -> Result<()> {
        match self.set(set)? {
            None => Err(Error::NoSuchResource(format!("there is no set {set:?}"))),
            Some(found) if found.removing => self.put_set(&EncryptionSet { removing: false, ..found }),
            Some(_) => Ok(()),
        }
    }

    /// Removes a resource. Its device becomes an orphan.
    pub(in crate::managed) fn remove_resource(&mut self, resource: &Resource) -> Result<()> {
        let known = self.resource_of(&resource.full_name(), &resource.id)?;
        self.check_unattached(&known.id)?;
        self.transaction.remove(&Place::Resource(resource.full_name()).key())?;
        // On a shared store any host may remove the device from now on, and none opens it.
        let orphan = Orphan { region: known.region.clone(), removing: self.run.is_some(), maker: None };
        self.put(&Place::Orphan(known.id.clone()), &orphan)?;
        if let (ResourceKind::Image, Some((image, _))) = (known.kind, known.name.split_once('/')) {
            // Another maker of an image of this name either finds its other copies, or demands that this record is unchanged.
            self.transaction.remove(&Place::Image(image.into()).key())?;
        }
        self.replace(&indices(&known), &BTreeSet::new())
    }

    /// Replaces the records for finding a resource.
    fn replace(&mut self, before: &BTreeSet<Index>, now: &BTreeSet<Index>) -> Result<()> {
        let keys: Vec<_> = before.symmetric_difference(now).map(|(place, _)| place.key()).collect();
        // All at once.
        self.transaction.load(&keys)?;
        before.difference(now).try_for_each(|(place, _)| self.transaction.remove(&place.key()))?;
        for (place, json) in now.difference(before) {
            if let Place::Increment(..) | Place::Id(_) = place
                && self.transaction.get(&place.key())?.is_some_and(|found| found != json)
            {
                return Err(Error::Busy { what: format!("the {}, which another host has just made,", place.name()) });
            }
        }
        now.difference(before).try_for_each(|(place, json)| self.transaction.put(&place.key(), json.clone()))
    }

    pub(in crate::managed) fn add_orphan(&mut self, id: &str, region: &str) -> Result<()> {
        let orphan = Orphan { region: region.into(), removing: false, maker: self.run.clone() };
        self.put(&Place::Orphan(id.into()), &orphan)
    }

    pub(super) fn orphan(&mut self, id: &str) -> Result<Option<Orphan>> {
        self.read(&Place::Orphan(id.into()))
    }

    /// Notes that a device without a resource is being removed. From now on no resource can get it, also not by a commit
    /// that was under way: it demanded this record as it was before.
    ///
    /// # Errors
    /// [`Error::Busy`] if a resource has it, or another host makes one of it.
    pub(in crate::managed) fn begin_to_remove(&mut self, id: &str, region: &str) -> Result<()> {
        if let Some(name) = self.name_of(id)? {
            return Err(Error::Busy { what: format!("the device of the {name}") });
        }
        self.check_unattached(id)?;
        let maker = self.orphan(id)?.and_then(|orphan| orphan.maker).filter(|maker| self.run.as_ref() != Some(maker));
        if let Some(maker) = maker
            && let Some(host) = self.host(&maker)?
        {
            return Err(Error::Busy { what: format!("the device, which the host {:?} makes a disk of,", host.name) });
        }
        self.put(&Place::Orphan(id.into()), &Orphan { region: region.into(), removing: true, maker: None })
    }

    /// Lets any host remove a device that this one made, if it became no resource's.
    pub(in crate::managed) fn give_up(&mut self, id: &str) -> Result<()> {
        match self.orphan(id)? {
            Some(orphan) if orphan.maker == self.run => {
                self.put(&Place::Orphan(id.into()), &Orphan { removing: true, maker: None, ..orphan })
            }
            _ => Ok(()),
        }
    }

    pub(in crate::managed) fn remove_orphan(&mut self, id: &str) -> Result<()> {
        if self.run.is_some() && self.attachment(id)?.is_some() {
            // The attachment of a host that was lost.
            self.remove_attachment(id)?;
        }
        self.transaction.remove(&Place::Orphan(id.into()).key())
    }

    /// The name of the resource with this id.
    pub(in crate::managed) fn name_of(&mut self, id: &str) -> Result<Option<ResourceName>> {
        let place = Place::Id(id.into());
        let found = self.read(&place)?;
        Ok(found.map(|found| named(&place, found)).transpose()?)
    }
}

/// The place of the next incremental snapshot of a disk after the last one.
///
/// # Errors
/// [`Error::Io`] if there is none: no disk has had so many, so the record of the last one is wrong.
pub(in crate::managed) fn next_place(last: Option<u64>) -> Result<u64> {
    let next = last.map_or(Some(0), |last| last.checked_add(1));
    next.ok_or_else(|| damaged("the last incremental snapshot of a disk has the greatest of all places"))
}

/// A record for finding a resource: its place and its JSON.
pub(super) type Index = (Place, Vec<u8>);

/// The records for finding a resource.
pub(super) fn indices(resource: &Resource) -> BTreeSet<Index> {
    let name = resource.full_name();
    let mut indices = BTreeSet::from([(Place::Id(resource.id.clone()), json(&(resource.kind.name(), &resource.name)))]);
    let sets = resource.set.iter().map(|set| (set, false)).chain(resource.leaving().map(|set| (set, true)));
    indices.extend(sets.map(|(set, leaving)| (Place::Member(set.clone(), name.clone()), json(&leaving))));
    if resource.joining.is_some() {
        indices.insert((Place::Joining(name), json(&())));
    }
    if let Some((disk, place)) = resource.place() {
        indices.insert((Place::Increment(disk.into(), place), json(&resource.name)));
    }
    indices
}

/// The name in the record of a device's id, if it can be read.
pub(super) fn named_in(json: &[u8]) -> Option<ResourceName> {
    let (kind, name): (String, String) = serde_json::from_slice(json).ok()?;
    Some(ResourceName { kind: ResourceKind::from_name(&kind)?, name })
}

/// The name in the record of a device's id.
pub(super) fn named(place: &Place, (kind, name): (String, String)) -> Result<ResourceName, Defect> {
    let kind = ResourceKind::from_name(&kind).ok_or_else(|| {
        Defect(format!("the record of the {} names a kind that this version doesn't know", place.name()))
    })?;
    Ok(ResourceName { kind, name })
}

/// The member that a key of a set's members tells.
pub(super) fn member(key: &str) -> Option<ResourceName> {
    match Place::of_key(key) {
        Some(Place::Member(_, name)) => Some(name),
        _ => None,
    }
}
