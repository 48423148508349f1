//! A survey of the whole store: each record, all of them together, and the tables for finding them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use redb::{ReadTransaction, ReadableTable};

use super::check::StoreCheck;
use super::contents::Contents;
use super::errors::{Defect, damaged, reading};
use super::record::{Place, check_resource, resource_name};
use super::schema::{
    CONTENTS, IDS, INCREMENTS, JOINING, KEYS, MEMBERS, META, ORPHANS, RESOURCES, SETS, platform_table,
};
use crate::Result;
use crate::managed::records::{EncryptionSet, PlatformKeys, Resource, check_id, check_name};

/// The contents of the store, and its defects.
pub(super) struct Survey {
    /// The record of the contents.
    pub(super) noted: Contents,
    /// Each damaged or missing record, and each contradiction.
    pub(super) defects: Vec<String>,
}

impl Survey {
    /// Checks everything, and continues after defects.
    ///
    /// # Errors
    /// An error that prevents going on.
    pub(super) fn of(store: &ReadTransaction) -> Result<Self> {
        let meta = store.open_table(META).map_err(reading)?;
        let noted =
            meta.get(CONTENTS).map_err(reading)?.ok_or_else(|| damaged("it has lost the record of its contents"))?;
        let noted = Contents::from_bytes(noted.value())?;
        let mut look = Look::default();
        look.sets(store)?;
        look.resources(store)?;
        look.orphans(store)?;
        look.platform(store)?;
        look.tables(store)?;
        let mut defects = look.defects;
        defects.extend(look.found.differences(&noted).into_iter().map(|Defect(how)| how));
        Ok(Survey { noted, defects })
    }

    pub(super) fn told(self) -> StoreCheck {
        let [sets, resources, _] = self.noted.counts;
        StoreCheck { changes: self.noted.serial, sets, resources, defects: self.defects }
    }

    /// The record of the contents, if there are no defects.
    pub(super) fn sound(self) -> Result<Contents> {
        match &self.defects[..] {
            [] => Ok(self.noted),
            [one] => Err(damaged(one)),
            [first, others @ ..] => Err(damaged(&format!("{first}, and {} more is wrong", others.len()))),
        }
    }
}

/// The key of a resource's record.
type Key = (u8, String);

#[derive(Default)]
struct Look {
    found: Contents,
    defects: Vec<String>,
    sets: BTreeSet<String>,
    /// Sets and resources with untrustworthy records, so that they aren't also reported missing.
    unread_sets: BTreeSet<String>,
    unread: BTreeSet<Key>,
    /// The content that the other tables should have, by the records of resources.
    members: BTreeMap<(String, u8, String), bool>,
    increments: BTreeMap<(String, u64), String>,
    joining: BTreeSet<Key>,
    ids: BTreeMap<String, Key>,
}

impl Look {
    fn sets(&mut self, store: &ReadTransaction) -> Result<()> {
        for entry in store.open_table(SETS).map_err(reading)?.iter().map_err(reading)? {
            let (key, record) = entry.map_err(reading)?;
            let place = Place::Set(key.value());
            let checked = place.checked(record.value()).and_then(|json| {
                let set: EncryptionSet = place.parse(json)?;
                if set.name == key.value() {
                    return Ok(json);
                }
                Err(Defect(format!("the record of the {} is that of the set {:?}", place.name(), set.name)))
            });
            match checked {
                Ok(json) => {
                    self.found.add(place, json);
                    self.sets.insert(key.value().into());
                }
                Err(Defect(how)) => {
                    self.unread_sets.insert(key.value().into());
                    self.found.count(place);
                    self.defects.push(how);
                }
            }
        }
        Ok(())
    }

    fn resources(&mut self, store: &ReadTransaction) -> Result<()> {
        for entry in store.open_table(RESOURCES).map_err(reading)?.iter().map_err(reading)? {
            let (key, record) = entry.map_err(reading)?;
            let (kind, name) = key.value();
            let place = Place::Resource(kind, name);
            let checked = place.checked(record.value()).and_then(|json| {
                let resource: Resource = place.parse(json)?;
                check_resource(&resource, &resource_name(kind, name)?)?;
                Ok((json, resource))
            });
            match checked {
                Ok((json, resource)) => {
                    self.found.add(place, json);
                    self.note(&resource);
                }
                Err(Defect(how)) => {
                    self.unread.insert((kind, name.into()));
                    self.found.count(place);
                    self.defects.push(how);
                }
            }
        }
        Ok(())
    }

    fn orphans(&mut self, store: &ReadTransaction) -> Result<()> {
        for entry in store.open_table(ORPHANS).map_err(reading)?.iter().map_err(reading)? {
            let (id, region) = entry.map_err(reading)?;
            if let Err(e) = check_id(id.value()).and_then(|()| check_name(region.value())) {
                self.defects.push(format!("a device to be removed: {e}"));
            }
            if let Some((kind, name)) = self.ids.get(id.value()) {
                let name = Place::Resource(*kind, name).name();
                self.defects.push(format!("the device of the {name} is also among those to be removed"));
            }
            self.found.add(Place::Orphan(id.value()), region.value().as_bytes());
        }
        Ok(())
    }

    fn platform(&mut self, store: &ReadTransaction) -> Result<()> {
        let Some(table) = platform_table(store)? else { return Ok(()) };
        if let Some(record) = table.get(KEYS).map_err(reading)? {
            let place = Place::Platform;
            match place.checked(record.value()).and_then(|json| place.parse::<PlatformKeys>(json).map(|_| json)) {
                Ok(json) => self.found.add(place, json),
                Err(Defect(how)) => self.defects.push(how),
            }
        }
        Ok(())
    }

    fn note(&mut self, resource: &Resource) {
        let (kind, name) = (resource.kind.code(), resource.name.clone());
        for (set, leaving) in
            resource.set.iter().map(|set| (set, false)).chain(resource.leaving().map(|set| (set, true)))
        {
            if !self.sets.contains(set) && !self.unread_sets.contains(set) {
                let name = resource.full_name();
                self.defects.push(format!("the record of the set {set:?} is missing, which the {name} is in"));
            }
            self.members.insert((set.clone(), kind, name.clone()), leaving);
        }
        if resource.joining.is_some() {
            self.joining.insert((kind, name.clone()));
        }
        if let Some((disk, place)) = resource.place() {
            self.increments.insert((disk.to_owned(), place), name.clone());
        }
        if let Some((kind, other)) = self.ids.insert(resource.id.clone(), (kind, name)) {
            let other = Place::Resource(kind, &other).name();
            self.defects.push(format!("the {} and the {other} have one device", resource.full_name()));
        }
    }

    /// Checks the tables for finding records. If only a table names a resource, its record is lost.
    fn tables(&mut self, store: &ReadTransaction) -> Result<()> {
        let mut found = Look::default();
        for entry in store.open_table(MEMBERS).map_err(reading)?.iter().map_err(reading)? {
            let (key, leaving) = entry.map_err(reading)?;
            let (set, kind, name) = key.value();
            if !self.unread.contains(&(kind, name.into())) {
                found.members.insert((set.into(), kind, name.into()), leaving.value());
            }
        }
        for entry in store.open_table(INCREMENTS).map_err(reading)?.iter().map_err(reading)? {
            let (key, name) = entry.map_err(reading)?;
            let (disk, place) = key.value();
            found.increments.insert((disk.into(), place), name.value().into());
        }
        for entry in store.open_table(JOINING).map_err(reading)?.iter().map_err(reading)? {
            let (key, _) = entry.map_err(reading)?;
            let (kind, name) = key.value();
            if !self.unread.contains(&(kind, name.into())) {
                found.joining.insert((kind, name.into()));
            }
        }
        for entry in store.open_table(IDS).map_err(reading)?.iter().map_err(reading)? {
            let (id, name) = entry.map_err(reading)?;
            let (kind, name) = name.value();
            if !self.unread.contains(&(kind, name.into())) {
                found.ids.insert(id.value().into(), (kind, name.into()));
            }
        }
        let known: BTreeSet<&Key> = self.ids.values().collect();
        for (id, key) in &found.ids {
            if !known.contains(key) {
                let name = Place::Resource(key.0, &key.1).name();
                self.defects.push(format!("the record of the {name} is missing; its device is {id}"));
            }
        }
        let unread: BTreeSet<&String> = self.unread.iter().map(|(_, name)| name).collect();
        found.increments.retain(|_, name| !unread.contains(name));
        let differing = [
            ("ids", differing(&self.ids, &found.ids)),
            ("members", differing(&self.members, &found.members)),
            ("increments", differing(&self.increments, &found.increments)),
            ("joining", self.joining.symmetric_difference(&found.joining).next().map(|key| format!("{key:?}"))),
        ];
        for (what, at) in differing {
            let fit = |at| format!("its table of {what} does not fit its records of resources, first at {at}");
            self.defects.extend(at.map(fit));
        }
        Ok(())
    }
}

/// The first difference between two tables.
fn differing<K: Ord + Debug, V: PartialEq>(one: &BTreeMap<K, V>, other: &BTreeMap<K, V>) -> Option<String> {
    let missing = |(key, value): &(&K, &V)| other.get(key) != Some(value);
    let key = one.iter().find(missing).or_else(|| other.iter().find(|(key, value)| one.get(key) != Some(value)));
    key.map(|(key, _)| format!("{key:?}"))
}
