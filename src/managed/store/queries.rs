//! The queries of a service over its records.

use super::errors::{missing, taken};
use super::layer::Records;
use super::page::pages;
use super::place::{JOINING, ORPHANS, Place, RESOURCES, SETS, copies_of, increments_of, members_of, resources_of};
use super::record::{json_of, parse, parse_resource};
use super::shared::{MAX_COMMIT, MAX_PAGE, Record};
use super::tables::{Orphan, member, named};
use super::transaction::opened;
use crate::log::tell;
use crate::managed::records::{EncryptionSet, PlatformKeys, Resource, ResourceKind, ResourceName};
use crate::{Error, Result};

impl Records {
    /// The JSON of a record.
    fn json(&self, place: &Place) -> Result<Option<Vec<u8>>> {
        let found = self.store.get(&[&place.key()])?.pop().flatten();
        Ok(found.map(|record| opened(&record)).transpose()?.map(|(_, json)| json))
    }

    pub(super) fn one<T: serde::de::DeserializeOwned>(&self, place: &Place) -> Result<Option<T>> {
        Ok(self.json(place)?.map(|json| parse(place, &json)).transpose()?)
    }

    /// The results of `parse` for all records whose keys begin with `prefix`, in order.
    pub(super) fn all<T>(&self, prefix: &str, parse: impl Fn(Place, &[u8]) -> Result<Option<T>>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for record in pages(&*self.store, prefix) {
            let record = record?;
            if let Some(place) = Place::of_key(&record.key) {
                all.extend(parse(place, &opened(&record)?.1)?);
            }
        }
        Ok(all)
    }

    /// Like [`all`](Self::all), but skips and logs records that can't be read: one bad record doesn't keep a host from its work on
    /// the others.
    pub(super) fn readable<T>(
        &self,
        prefix: &str,
        parse: impl Fn(Place, &[u8]) -> Result<Option<T>>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for record in pages(&*self.store, prefix) {
            let record = record?;
            let Some(place) = Place::of_key(&record.key) else { continue };
            match opened(&record).map_err(Error::from).and_then(|(_, json)| parse(place, &json)) {
                Ok(found) => all.extend(found),
                Err(e) => tell!(warn, "it was passed over: {e}"),
            }
        }
        Ok(all)
    }

    /// The results of `wanted` for the places of all records whose keys begin with `prefix`, in order. The values of the records
    /// aren't read.
    pub(super) fn places<T>(&self, prefix: &str, wanted: impl Fn(Place) -> Option<T>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for record in pages(&*self.store, prefix) {
            all.extend(Place::of_key(&record?.key).and_then(&wanted));
        }
        Ok(all)
    }

    pub(in crate::managed) fn set(&self, name: &str) -> Result<EncryptionSet> {
        self.one(&Place::Set(name.into()))?.ok_or_else(|| Error::NoSuchResource(format!("there is no set {name:?}")))
    }

    pub(in crate::managed) fn resource(&self, name: &ResourceName) -> Result<Resource> {
        let json = self.json(&Place::Resource(name.clone()))?.ok_or_else(|| missing(name))?;
        Ok(parse_resource(name, &json)?)
    }

    /// Checks that a name is free.
    pub(in crate::managed) fn check_absent(&self, name: &ResourceName) -> Result<()> {
        match self.resource(name) {
            Ok(_) => Err(taken(name)),
            Err(Error::NoSuchResource(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The platform's keys, if anything is known to be under one.
    pub(in crate::managed) fn platform(&self) -> Result<Option<PlatformKeys>> {
        self.one(&Place::Platform)
    }

    /// The names of all sets, in order.
    pub(in crate::managed) fn set_names(&self) -> Result<Vec<String>> {
        self.places(SETS, |place| match place {
            Place::Set(name) => Some(name),
            _ => None,
        })
    }

    /// The names of all resources of a kind, in order.
    pub(in crate::managed) fn names(&self, kind: ResourceKind) -> Result<Vec<String>> {
        self.places(&resources_of(kind), |place| match place {
            Place::Resource(name) => Some(name.name),
            _ => None,
        })
    }

    /// At most `limit` names of resources of a kind, in order, after the name `after`.
    pub(in crate::managed) fn names_page(
        &self,
        kind: ResourceKind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>> {
        let after = after.map(|name| Place::Resource(ResourceName { kind, name: name.into() }).key());
        let page = self.store.list(&resources_of(kind), after.as_deref(), limit)?;
        let name = |record: &Record| match Place::of_key(&record.key) {
            Some(Place::Resource(name)) => Some(name.name),
            _ => None,
        };
        Ok(page.iter().filter_map(name).collect())
    }

    /// The copies of an image.
    pub(in crate::managed) fn image(&self, name: &str) -> Result<Vec<Resource>> {
        self.all(&copies_of(name), parsed)
    }

    /// The members of a set, in order; with `leaving`, also those that are moving into another set.
    pub(in crate::managed) fn members(&self, set: &str, leaving: bool) -> Result<Vec<ResourceName>> {
        let prefix = members_of(set);
        let mut members = Vec::new();
        for record in pages(&*self.store, &prefix) {
            let record = record?;
            let Some(name) = member(&record.key) else { continue };
            if leaving || !self.leaves(&record)? {
                members.push(name);
            }
        }
        members.sort_unstable();
        Ok(members)
    }

    /// Whether a member of a set is moving into another one.
    fn leaves(&self, member: &Record) -> Result<bool> {
        if self.file.is_some() && json_of(&member.value) == Some(b"false") {
            // A file was checked as it was opened, and is checked page by page.
            return Ok(false);
        }
        let place = Place::of_key(&member.key).unwrap_or(Place::Platform);
        Ok(parse(&place, &opened(member)?.1)?)
    }

    /// At most `limit` members of a set that stay in it, after the member `after`, in the order of their keys. Fewer than `limit`
    /// means that these are the last.
    pub(in crate::managed) fn members_page(
        &self,
        set: &str,
        after: Option<&ResourceName>,
        limit: usize,
    ) -> Result<Vec<ResourceName>> {
        let prefix = members_of(set);
        let mut after = after.map(|name| Place::Member(set.into(), name.clone()).key());
        let mut members = Vec::new();
        loop {
            let page = self.store.list(&prefix, after.as_deref(), limit)?;
            for record in &page {
                if let Some(name) = member(&record.key).filter(|_| members.len() < limit)
                    && !self.leaves(record)?
                {
                    members.push(name);
                }
            }
            match page.last().filter(|_| page.len() == limit && members.len() < limit) {
                Some(last) => after = Some(last.key.clone()),
                None => return Ok(members),
            }
        }
    }

    /// A page of all sets, in order, and the key after which the next page begins. Sets whose records can't be read are left out.
    pub(in crate::managed) fn sets_page(&self, after: Option<&str>) -> Result<(Vec<EncryptionSet>, Option<String>)> {
        let page = self.store.list(SETS, after, MAX_PAGE)?;
        let set = |record: &Record| {
            let place = Place::of_key(&record.key)?;
            parse(&place, &opened(record).ok()?.1).ok()
        };
        Ok((page.iter().filter_map(set).collect(), next_of(&page)))
    }

    /// A page of the resources that were put into a set but are not surely under its key.
    pub(in crate::managed) fn joining_page(&self, after: Option<&str>) -> Result<(Vec<ResourceName>, Option<String>)> {
        let page = self.store.list(JOINING, after, MAX_PAGE)?;
        let name = |record: &Record| match Place::of_key(&record.key) {
            Some(Place::Joining(name)) => Some(name),
            _ => None,
        };
        Ok((page.iter().filter_map(name).collect(), next_of(&page)))
    }

    /// All resources for which `wanted` holds, in order. The others are dropped page by page.
    pub(in crate::managed) fn resources_where(&self, wanted: impl Fn(&Resource) -> bool) -> Result<Vec<Resource>> {
        self.all(RESOURCES, |place, json| Ok(parsed(place, json)?.filter(&wanted)))
    }

    /// Resources by their names; `None` for a name without a resource.
    pub(in crate::managed) fn resources_of(&self, names: &[ResourceName]) -> Result<Vec<Option<Resource>>> {
        let mut found = Vec::with_capacity(names.len());
        for names in names.chunks(MAX_COMMIT) {
            let keys: Vec<_> = names.iter().map(|name| Place::Resource(name.clone()).key()).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for (name, record) in names.iter().zip(self.store.get(&keys)?) {
                let json = record.map(|record| opened(&record)).transpose()?;
                found.push(json.map(|(_, json)| parse_resource(name, &json)).transpose()?);
            }
        }
        Ok(found)
    }

    /// The incremental snapshots of a disk, the oldest first, with their places.
    pub(in crate::managed) fn increments(&self, disk: &str) -> Result<Vec<(u64, ResourceName)>> {
        self.all(&increments_of(disk), |place, json| {
            let name: String = parse(&place, json)?;
            match place {
                Place::Increment(_, place) => Ok(Some((place, ResourceName::snapshot(name)))),
                _ => Ok(None),
            }
        })
    }

    /// The name of the resource with this id, if it still exists.
    pub(in crate::managed) fn name_of(&self, id: &str) -> Result<Option<ResourceName>> {
        let place = Place::Id(id.into());
        Ok(self.one(&place)?.map(|found| named(&place, found)).transpose()?)
    }

    /// The ids of devices that are being made or removed.
    pub(in crate::managed) fn orphan_ids(&self) -> Result<Vec<String>> {
        self.places(ORPHANS, |place| match place {
            Place::Orphan(id) => Some(id),
            _ => None,
        })
    }

    /// Devices without a resource, and their regions, as far as their records can be read.
    pub(in crate::managed) fn orphans(&self) -> Result<Vec<(String, String)>> {
        Ok(self.orphans_with_makers()?.into_iter().map(|(id, region, _)| (id, region)).collect())
    }

    /// Devices without a resource, their regions, and the runs of the hosts that are making them.
    pub(super) fn orphans_with_makers(&self) -> Result<Vec<(String, String, Option<String>)>> {
        self.readable(ORPHANS, |place, json| {
            let orphan: Orphan = parse(&place, json)?;
            match place {
                Place::Orphan(id) => Ok(Some((id, orphan.region, orphan.maker))),
                _ => Ok(None),
            }
        })
    }
}

/// The key after which the next page begins; `None` if this page is the last.
fn next_of(page: &[Record]) -> Option<String> {
    page.last().filter(|_| page.len() == MAX_PAGE).map(|last| last.key.clone())
}

fn parsed(place: Place, json: &[u8]) -> Result<Option<Resource>> {
    match place {
        Place::Resource(name) => Ok(Some(parse_resource(&name, json)?)),
        _ => Ok(None),
    }
}
