//! The look at all that is in the store, when it is opened: each record by itself, all of them together, and the tables by
//! which they are found.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadTransaction, ReadableTable};

use super::contents::{Contents, Place};
use super::{
    CONTENTS, IDS, INCREMENTS, JOINING, KEYS, MEMBERS, META, ORPHANS, RESOURCES, SETS, check_id, check_resource,
    damaged, platform_table, reading, resource_name,
};
use crate::Result;
use crate::managed::records::{EncryptionSet, Joining, PlatformKeys, Resource};
use crate::managed::service::check_name;

/// What the other tables should hold, as the records of resources tell.
#[derive(Default)]
struct Indices {
    members: BTreeMap<(String, u8, String), bool>,
    increments: BTreeMap<(String, u64), String>,
    joining: BTreeSet<(u8, String)>,
    ids: BTreeMap<String, (u8, String)>,
}

/// Checks everything, and returns what is noted of it.
pub(super) fn check(store: &ReadTransaction) -> Result<Contents> {
    let meta = store.open_table(META).map_err(reading)?;
    let noted =
        meta.get(CONTENTS).map_err(reading)?.ok_or_else(|| damaged("it has lost the record of its contents"))?;
    let noted = Contents::from_bytes(noted.value())?;
    let mut found = Contents::EMPTY;

    let mut sets = BTreeSet::new();
    for entry in store.open_table(SETS).map_err(reading)?.iter().map_err(reading)? {
        let (key, record) = entry.map_err(reading)?;
        let place = Place::Set(key.value());
        let json = place.checked(record.value())?;
        let set: EncryptionSet = place.parse(json)?;
        if set.name != key.value() {
            return Err(damaged(&format!("the record of the {} is that of the set {:?}", place.name(), set.name)));
        }
        found.add(place, json);
        sets.insert(set.name);
    }

    let mut indices = Indices::default();
    for entry in store.open_table(RESOURCES).map_err(reading)?.iter().map_err(reading)? {
        let (key, record) = entry.map_err(reading)?;
        let (kind, name) = key.value();
        let place = Place::Resource(kind, name);
        let json = place.checked(record.value())?;
        let resource: Resource = place.parse(json)?;
        check_resource(&resource, &resource_name(kind, name)?)?;
        indices.note(&resource, &sets)?;
        found.add(place, json);
    }

    for entry in store.open_table(ORPHANS).map_err(reading)?.iter().map_err(reading)? {
        let (id, region) = entry.map_err(reading)?;
        check_id(id.value()).and_then(|()| check_name(region.value())).map_err(|e| damaged(&e.to_string()))?;
        if let Some((kind, name)) = indices.ids.get(id.value()) {
            let name = Place::Resource(*kind, name).name();
            return Err(damaged(&format!("the device of the {name} is also among those to be removed")));
        }
        found.add(Place::Orphan(id.value()), region.value().as_bytes());
    }
    if let Some(record) = platform_table(store)?
        && let Some(record) = record.get(KEYS).map_err(reading)?
    {
        let json = Place::Platform.checked(record.value())?;
        Place::Platform.parse::<PlatformKeys>(json)?;
        found.add(Place::Platform, json);
    }
    found.check(&noted)?;
    indices.check(store)?;
    Ok(noted)
}

impl Indices {
    fn note(&mut self, resource: &Resource, sets: &BTreeSet<String>) -> Result<()> {
        let (kind, name) = (resource.kind.code(), resource.name.clone());
        let from = match &resource.joining {
            Some(Joining::Set(from)) => Some(from),
            _ => None,
        };
        for (set, leaving) in resource.set.iter().map(|set| (set, false)).chain(from.map(|from| (from, true))) {
            if !sets.contains(set) {
                let name = resource.full_name();
                return Err(damaged(&format!("the record of the set {set:?} is missing, which the {name} is in")));
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
            return Err(damaged(&format!("the {} and the {other} have one device", resource.full_name())));
        }
        Ok(())
    }

    fn check(self, store: &ReadTransaction) -> Result<()> {
        let mut found = Indices::default();
        for entry in store.open_table(MEMBERS).map_err(reading)?.iter().map_err(reading)? {
            let (key, leaving) = entry.map_err(reading)?;
            let (set, kind, name) = key.value();
            found.members.insert((set.into(), kind, name.into()), leaving.value());
        }
        for entry in store.open_table(INCREMENTS).map_err(reading)?.iter().map_err(reading)? {
            let (key, name) = entry.map_err(reading)?;
            let (disk, place) = key.value();
            found.increments.insert((disk.into(), place), name.value().into());
        }
        for entry in store.open_table(JOINING).map_err(reading)?.iter().map_err(reading)? {
            let (key, _) = entry.map_err(reading)?;
            let (kind, name) = key.value();
            found.joining.insert((kind, name.into()));
        }
        for entry in store.open_table(IDS).map_err(reading)?.iter().map_err(reading)? {
            let (id, name) = entry.map_err(reading)?;
            let (kind, name) = name.value();
            found.ids.insert(id.value().into(), (kind, name.into()));
        }
        for (what, same) in [
            ("ids", self.ids == found.ids),
            ("members", self.members == found.members),
            ("increments", self.increments == found.increments),
            ("joining", self.joining == found.joining),
        ] {
            if !same {
                return Err(damaged(&format!("its table of {what} does not fit its records of resources")));
            }
        }
        Ok(())
    }
}
