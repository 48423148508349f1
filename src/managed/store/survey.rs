//! A survey of the whole store: each record, all of them together, and the records for finding others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redb::{ReadTransaction, ReadableTable};

use super::check::StoreCheck;
use super::contents::Contents;
use super::errors::{Defect, damaged, reading};
use super::page::pages;
use super::place::{INDICES, Place};
use super::record::{check_resource, checked, parse, unsealed};
use super::schema::{RECORDS, Written};
use super::shared::Store;
use super::tables::{Orphan, indices};
use crate::Result;
use crate::managed::records::{
    Attachment, EncryptionSet, HostRecord, Part, PlatformKeys, Resource, ResourceName, Turn, check_id, check_name,
};

/// The contents of the store, and its defects.
pub(super) struct Survey {
    /// The record of the contents. That of a shared store has no serial.
    pub(super) noted: Contents,
    /// Each damaged or missing record, and each contradiction.
    pub(super) defects: Vec<String>,
}

impl Survey {
    /// Checks everything in a file, and continues after defects.
    ///
    /// # Errors
    /// An error that prevents going on.
    pub(super) fn of(store: &ReadTransaction) -> Result<Self> {
        let Written::Now(noted) = Written::of(store)? else {
            return Err(damaged("it was to be converted, but that was not done"));
        };
        let mut look = Look::default();
        for entry in store.open_table(RECORDS).map_err(reading)?.iter().map_err(reading)? {
            let (key, stored) = entry.map_err(reading)?;
            let (key, stored) = (key.value(), stored.value());
            look.found.add(key, stored);
            look.record(key, stored.get(8..).unwrap_or_default());
        }
        look.together();
        let mut defects = look.defects;
        defects.extend(look.found.differences(&noted).into_iter().map(|Defect(how)| how));
        Ok(Survey { noted, defects })
    }

    /// Checks each record of a shared store by itself. Whether records fit each other can't be checked while other hosts change them.
    fn of_shared(store: &dyn Store) -> Result<Self> {
        let mut look = Look::default();
        for record in pages(store, "") {
            let record = record?;
            look.found.add(&record.key, &record.value);
            look.record(&record.key, &record.value);
            // Drops the data that would be used to compare records.
            look = Look { found: look.found, defects: look.defects, ..Look::default() };
        }
        Ok(Survey { noted: look.found, defects: look.defects })
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

/// Checks a store that hosts share.
pub(in crate::managed) fn check_shared(store: &dyn Store) -> Result<StoreCheck> {
    Ok(Survey::of_shared(store)?.told())
}

#[derive(Default)]
struct Look {
    found: Contents,
    defects: Vec<String>,
    sets: BTreeSet<String>,
    /// Sets and resources with untrustworthy records, so that they aren't also reported missing.
    unread_sets: BTreeSet<String>,
    unread: BTreeSet<ResourceName>,
    /// The sets that resources are in.
    in_sets: BTreeMap<String, ResourceName>,
    orphans: BTreeSet<String>,
    /// The records for finding resources that there are, by their keys, and those that there should be, as far as they don't
    /// agree so far.
    there: HashMap<String, Vec<u8>>,
    wanted: HashMap<String, Vec<u8>>,
    /// The devices that resources have.
    devices: BTreeMap<String, ResourceName>,
}

impl Look {
    fn record(&mut self, key: &str, value: &[u8]) {
        // Most records are of these kinds. Their objects are looked at only if no resource wants them.
        if INDICES.iter().any(|prefix| key.starts_with(prefix)) {
            match unsealed(key, value) {
                Ok(sealed) => settle(&mut self.wanted, &mut self.there, key.into(), sealed.json),
                Err(how) => {
                    let name = Place::of_key(key).map(|place| place.name());
                    self.defects.extend(name.map(|name| format!("the record of the {name} {how}")));
                }
            }
            return;
        }
        // A kind of record that a later release has.
        let Some(place) = Place::of_key(key) else { return };
        if let Err(Defect(how)) = self.judge(&place, value) {
            match place {
                Place::Set(name) => drop(self.unread_sets.insert(name)),
                Place::Resource(name) => drop(self.unread.insert(name)),
                _ => {}
            }
            self.defects.push(how);
        }
    }

    fn judge(&mut self, place: &Place, value: &[u8]) -> Result<(), Defect> {
        let json = checked(place, value)?;
        match place {
            Place::Set(name) => {
                let set: EncryptionSet = parse(place, json)?;
                if set.name != *name {
                    let text = format!("the record of the {} is that of the set {:?}", place.name(), set.name);
                    return Err(Defect(text));
                }
                self.sets.insert(set.name);
            }
            Place::Resource(name) => {
                let resource: Resource = parse(place, json)?;
                check_resource(&resource, name)?;
                self.note(&resource);
            }
            Place::Orphan(id) => {
                let orphan: Orphan = parse(place, json)?;
                if let Err(e) = check_id(id).and_then(|()| check_name(&orphan.region)) {
                    self.defects.push(format!("a device to be removed: {e}"));
                }
                self.orphans.insert(id.clone());
            }
            Place::Platform => drop(parse::<PlatformKeys>(place, json)?),
            Place::Host(_) => drop(parse::<HostRecord>(place, json)?),
            Place::Attachment(_) => drop(parse::<Attachment>(place, json)?),
            Place::Turn(_) => drop(parse::<Turn>(place, json)?),
            Place::Part(..) => drop(parse::<Part>(place, json)?),
            Place::Image(_) | Place::Mark(_) => {}
            // Not here: see above.
            Place::Member(..) | Place::Id(_) | Place::Increment(..) | Place::Joining(_) => {}
        }
        Ok(())
    }

    fn note(&mut self, resource: &Resource) {
        let name = resource.full_name();
        for set in resource.set.iter().chain(resource.leaving()) {
            if !self.in_sets.contains_key(set) {
                self.in_sets.insert(set.clone(), name.clone());
            }
        }
        if let Some(other) = self.devices.insert(resource.id.clone(), name.clone()) {
            self.defects.push(format!("the {name} and the {other} have one device"));
        }
        for (place, json) in indices(resource) {
            settle(&mut self.there, &mut self.wanted, place.key(), &json);
        }
    }

    /// Checks that the records fit each other. If only a record for finding it names a resource, its own record is lost.
    fn together(&mut self) {
        for (set, name) in &self.in_sets {
            if !self.sets.contains(set) && !self.unread_sets.contains(set) {
                self.defects.push(format!("the record of the set {set:?} is missing, which the {name} is in"));
            }
        }
        for id in &self.orphans {
            if let Some(name) = self.devices.get(id) {
                self.defects.push(format!("the device of the {name} is also among those to be removed"));
            }
        }
        let known: BTreeSet<&ResourceName> = self.devices.values().chain(&self.unread).collect();
        let mut differing = BTreeMap::new();
        let there = self.there.iter().filter_map(|(key, json)| Place::of_key(key).map(|place| (place, json)));
        let there: BTreeMap<Place, &Vec<u8>> = there.collect();
        let wanted: BTreeSet<Place> = self.wanted.keys().filter_map(|key| Place::of_key(key)).collect();
        for (place, json) in &there {
            let name = match place {
                Place::Id(_) => super::tables::named_in(json),
                Place::Member(_, name) | Place::Joining(name) => Some(name.clone()),
                Place::Increment(..) => {
                    serde_json::from_slice(json.as_slice()).ok().map(|name: String| ResourceName::snapshot(name))
                }
                _ => None,
            };
            if name.as_ref().is_some_and(|name| self.unread.contains(name)) {
                continue;
            }
            if let (Place::Id(id), Some(name)) = (place, &name)
                && !known.contains(name)
            {
                self.defects.push(format!("the record of the {name} is missing; its device is {id}"));
            }
            differing.entry(table(place)).or_insert_with(|| place.name());
        }
        for place in wanted.iter().filter(|place| !there.contains_key(place)) {
            differing.entry(table(place)).or_insert_with(|| place.name());
        }
        let fit = |(what, at)| format!("its table of {what} does not fit its records of resources, first at the {at}");
        self.defects.extend(differing.into_iter().map(fit));
    }
}

/// Takes a record from those of the one side, if it is there with this content, and puts it to those of the other if not.
fn settle(from: &mut HashMap<String, Vec<u8>>, to: &mut HashMap<String, Vec<u8>>, key: String, json: &[u8]) {
    match from.get(&key) {
        Some(found) if found == json => drop(from.remove(&key)),
        _ => drop(to.insert(key, json.to_vec())),
    }
}

fn table(place: &Place) -> &'static str {
    match place {
        Place::Id(_) => "ids",
        Place::Member(..) => "members",
        Place::Increment(..) => "increments",
        _ => "joining",
    }
}
