//! The changes of a transaction: to records, to the tables for finding them, and to the record of the contents.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use redb::{Database, Durability, ReadableTable, WriteTransaction};

use super::contents::Contents;
use super::engine::Engine;
use super::errors::{damaged, missing, reading, taken, writing};
use super::record::{Place, json, parse_resource, resource_name};
use super::schema::{CONTENTS, IDS, INCREMENTS, JOINING, KEYS, MEMBERS, META, ORPHANS, PLATFORM, RESOURCES, SETS};
use crate::Result;
use crate::managed::records::{EncryptionSet, PlatformKeys, Resource, ResourceKind, ResourceName};

/// The tables of a write transaction.
pub(in crate::managed) struct Tables<'t> {
    sets: redb::Table<'t, &'static str, &'static [u8]>,
    resources: redb::Table<'t, (u8, &'static str), &'static [u8]>,
    members: redb::Table<'t, (&'static str, u8, &'static str), bool>,
    increments: redb::Table<'t, (&'static str, u64), &'static str>,
    ids: redb::Table<'t, &'static str, (u8, &'static str)>,
    joining: redb::Table<'t, (u8, &'static str), ()>,
    orphans: redb::Table<'t, &'static str, &'static str>,
    platform: redb::Table<'t, &'static str, &'static [u8]>,
    contents: Contents,
    /// Whether the database is running.
    inside: &'t Cell<bool>,
}

/// Marks the database as running while it lives. A panic leaves the mark set.
struct Inside<'t> {
    flag: &'t Cell<bool>,
    before: bool,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.flag.set(self.before);
        }
    }
}

/// Runs one transaction: on return, all or none of it is on the disk. From the commit on, `committing` holds the result
/// and the number of the change.
///
/// A panic of the database means damage. A panic of `change` goes on to the caller, and nothing is changed.
pub(super) fn commit<T>(
    engine: &Engine,
    change: impl FnOnce(&mut Tables<'_>) -> Result<T>,
    committing: &mut Option<(T, u64)>,
) -> Result<()> {
    let mut panic = None;
    let committed = engine.guarded(|database| {
        let transaction = begin(database)?;
        match Tables::change(&transaction, change)? {
            Ok(changed) => *committing = Some(changed),
            Err(of_change) => {
                panic = Some(of_change);
                return Ok(());
            }
        }
        transaction.commit().map_err(writing)
    });
    match panic {
        Some(panic) => resume_unwind(panic),
        None => committed,
    }
}

pub(super) fn begin(database: &Database) -> Result<WriteTransaction> {
    let mut transaction = database.begin_write().map_err(writing)?;
    // Two phases, so that a damaged page can be told from a torn commit.
    transaction.set_two_phase_commit(true);
    transaction.set_durability(Durability::Immediate).map_err(writing)?;
    Ok(transaction)
}

impl<'t> Tables<'t> {
    /// Changes the store, and returns the number of the change, or the panic of `change`.
    fn change<T>(
        transaction: &WriteTransaction,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T>,
    ) -> Result<std::thread::Result<(T, u64)>> {
        let mut meta = transaction.open_table(META).map_err(writing)?;
        let noted = meta.get(CONTENTS).map_err(reading)?;
        let contents = noted.map_or(Ok(Contents::default()), |noted| Contents::from_bytes(noted.value()))?;
        let inside = Cell::new(false);
        let mut tables = Tables {
            sets: transaction.open_table(SETS).map_err(writing)?,
            resources: transaction.open_table(RESOURCES).map_err(writing)?,
            members: transaction.open_table(MEMBERS).map_err(writing)?,
            increments: transaction.open_table(INCREMENTS).map_err(writing)?,
            ids: transaction.open_table(IDS).map_err(writing)?,
            joining: transaction.open_table(JOINING).map_err(writing)?,
            orphans: transaction.open_table(ORPHANS).map_err(writing)?,
            platform: transaction.open_table(PLATFORM).map_err(writing)?,
            contents,
            inside: &inside,
        };
        let changed = match catch_unwind(AssertUnwindSafe(|| change(&mut tables))) {
            Ok(changed) => changed?,
            Err(panic) if inside.get() => resume_unwind(panic),
            Err(panic) => return Ok(Err(panic)),
        };
        let serial = tables.contents.serial.wrapping_add(1);
        tables.contents.serial = serial;
        meta.insert(CONTENTS, tables.contents.to_bytes().as_slice()).map_err(writing)?;
        Ok(Ok((changed, serial)))
    }

    fn enter(&self) -> Inside<'t> {
        Inside { flag: self.inside, before: self.inside.replace(true) }
    }

    /// Calls back to the caller while the database is not running.
    fn asked(&self, wanted: &impl Fn(&Resource) -> bool, resource: &Resource) -> bool {
        self.inside.set(false);
        let answer = wanted(resource);
        self.inside.set(true);
        answer
    }

    /// Counts changes from those of the store that this one is made from.
    pub(in crate::managed) fn begin_after(&mut self, changes: u64) {
        self.contents.serial = self.contents.serial.max(changes);
    }

    /// Adds checksums to the records of an older release.
    pub(super) fn seal(&mut self) -> Result<()> {
        let _inside = self.enter();
        let plain = |json: &[u8]| match json.first() {
            Some(b'{') => Ok(json.to_vec()),
            _ => Err(damaged("it has lost the record of its contents")),
        };
        let mut sets = Vec::new();
        for entry in self.sets.iter().map_err(reading)? {
            let (key, record) = entry.map_err(reading)?;
            sets.push((key.value().to_owned(), plain(record.value())?));
        }
        for (name, json) in sets {
            let place = Place::Set(&name);
            self.sets.insert(name.as_str(), place.sealed(&json).as_slice()).map_err(writing)?;
            self.contents.add(place, &json);
        }
        let mut resources = Vec::new();
        for entry in self.resources.iter().map_err(reading)? {
            let (key, record) = entry.map_err(reading)?;
            let (kind, name) = key.value();
            resources.push((kind, name.to_owned(), plain(record.value())?));
        }
        for (kind, name, json) in resources {
            let place = Place::Resource(kind, &name);
            self.resources.insert((kind, name.as_str()), place.sealed(&json).as_slice()).map_err(writing)?;
            self.contents.add(place, &json);
        }
        for entry in self.orphans.iter().map_err(reading)? {
            let (id, region) = entry.map_err(reading)?;
            self.contents.add(Place::Orphan(id.value()), region.value().as_bytes());
        }
        Ok(())
    }

    pub(in crate::managed) fn set(&self, name: &str) -> Result<Option<EncryptionSet>> {
        let _inside = self.enter();
        let record = self.sets.get(name).map_err(reading)?;
        Ok(record.map(|record| Place::Set(name).unsealed(record.value())).transpose()?)
    }

    pub(in crate::managed) fn put_set(&mut self, set: &EncryptionSet) -> Result<()> {
        let _inside = self.enter();
        let (name, json) = (set.name.as_str(), json(set));
        let place = Place::Set(name);
        if let Some(old) = self.sets.insert(name, place.sealed(&json).as_slice()).map_err(writing)? {
            self.contents.remove(place, place.checked(old.value())?);
        }
        self.contents.add(place, &json);
        Ok(())
    }

    pub(in crate::managed) fn remove_set(&mut self, name: &str) -> Result<()> {
        let _inside = self.enter();
        if let Some(old) = self.sets.remove(name).map_err(writing)? {
            self.contents.remove(Place::Set(name), Place::Set(name).checked(old.value())?);
        }
        Ok(())
    }

    pub(in crate::managed) fn platform(&self) -> Result<Option<PlatformKeys>> {
        let _inside = self.enter();
        let record = self.platform.get(KEYS).map_err(reading)?;
        Ok(record.map(|record| Place::Platform.unsealed(record.value())).transpose()?)
    }

    pub(in crate::managed) fn put_platform(&mut self, keys: &PlatformKeys) -> Result<()> {
        let _inside = self.enter();
        let (place, json) = (Place::Platform, json(keys));
        if let Some(old) = self.platform.insert(KEYS, place.sealed(&json).as_slice()).map_err(writing)? {
            self.contents.remove(place, place.checked(old.value())?);
        }
        self.contents.add(place, &json);
        Ok(())
    }

    /// The first resource for which `wanted` holds.
    pub(in crate::managed) fn find(&self, wanted: impl Fn(&Resource) -> bool) -> Result<Option<ResourceName>> {
        let _inside = self.enter();
        for entry in self.resources.iter().map_err(reading)? {
            let (key, record) = entry.map_err(reading)?;
            let (kind, name) = key.value();
            let name = resource_name(kind, name)?;
            if self.asked(&wanted, &parse_resource(&name, record.value())?) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The first member of a set, including members that are leaving, for which `wanted` holds.
    pub(in crate::managed) fn find_member(
        &self,
        set: &str,
        wanted: impl Fn(&Resource) -> bool,
    ) -> Result<Option<ResourceName>> {
        let _inside = self.enter();
        for entry in self.members.range((set, 0, "")..(set, u8::MAX, "")).map_err(reading)? {
            let (key, _) = entry.map_err(reading)?;
            let (_, kind, name) = key.value();
            let name = resource_name(kind, name)?;
            if self.asked(&wanted, &self.resource(&name)?) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Whether a set has any members, including members that are leaving.
    pub(in crate::managed) fn has_members(&self, set: &str) -> Result<bool> {
        let _inside = self.enter();
        Ok(self.members.range((set, 0, "")..(set, u8::MAX, "")).map_err(reading)?.next().is_some())
    }

    pub(in crate::managed) fn resource(&self, name: &ResourceName) -> Result<Resource> {
        let _inside = self.enter();
        let record = self.resources.get((name.kind.code(), name.name.as_str())).map_err(reading)?;
        Ok(parse_resource(name, record.ok_or_else(|| missing(name))?.value())?)
    }

    /// The resource of this name, if it has this id.
    pub(in crate::managed) fn resource_of(&self, name: &ResourceName, id: &str) -> Result<Resource> {
        self.resource(name).and_then(|found| if found.id == id { Ok(found) } else { Err(missing(name)) })
    }

    /// Whether the image has any copy.
    pub(in crate::managed) fn has_image(&self, name: &str) -> Result<bool> {
        let _inside = self.enter();
        let kind = ResourceKind::Image.code();
        let (from, to) = (format!("{name}/"), format!("{name}0"));
        Ok(self.resources.range((kind, from.as_str())..(kind, to.as_str())).map_err(reading)?.next().is_some())
    }

    pub(in crate::managed) fn check_absent(&self, name: &ResourceName) -> Result<()> {
        let _inside = self.enter();
        match self.resources.get((name.kind.code(), name.name.as_str())).map_err(reading)? {
            Some(_) => Err(taken(name)),
            None => Ok(()),
        }
    }

    /// Inserts a new resource. Its device stops being an orphan.
    pub(in crate::managed) fn add_resource(&mut self, resource: &Resource) -> Result<()> {
        self.check_absent(&resource.full_name())?;
        self.remove_orphan(&resource.id)?;
        self.put_resource(resource)
    }

    /// Inserts a resource, or replaces it.
    pub(in crate::managed) fn put_resource(&mut self, resource: &Resource) -> Result<()> {
        let _inside = self.enter();
        let (kind, name) = (resource.kind.code(), resource.name.as_str());
        let (place, json) = (Place::Resource(kind, name), json(resource));
        let old = self.resources.insert((kind, name), place.sealed(&json).as_slice()).map_err(writing)?;
        let old = old.map(|old| {
            let json = place.checked(old.value())?;
            self.contents.remove(place, json);
            place.parse::<Resource>(json)
        });
        self.contents.add(place, &json);
        old.transpose()?.map_or(Ok(()), |old| self.remove_indices(&old))?;
        if let Some(set) = &resource.set {
            self.members.insert((set.as_str(), kind, name), false).map_err(writing)?;
        }
        if let Some(from) = resource.leaving() {
            self.members.insert((from.as_str(), kind, name), true).map_err(writing)?;
        }
        if resource.joining.is_some() {
            self.joining.insert((kind, name), ()).map_err(writing)?;
        }
        if let Some((disk, place)) = resource.place() {
            self.increments.insert((disk, place), name).map_err(writing)?;
        }
        self.ids.insert(resource.id.as_str(), (kind, name)).map(drop).map_err(writing)
    }

    /// Removes a resource. Its device becomes an orphan.
    pub(in crate::managed) fn remove_resource(&mut self, resource: &Resource) -> Result<()> {
        let _inside = self.enter();
        let (kind, name) = (resource.kind.code(), resource.name.as_str());
        if let Some(old) = self.resources.remove((kind, name)).map_err(writing)? {
            let place = Place::Resource(kind, name);
            self.contents.remove(place, place.checked(old.value())?);
        }
        self.add_orphan(&resource.id, &resource.region)?;
        self.remove_indices(resource)
    }

    fn remove_indices(&mut self, resource: &Resource) -> Result<()> {
        let _inside = self.enter();
        let (kind, name) = (resource.kind.code(), resource.name.as_str());
        if let Some(set) = &resource.set {
            self.members.remove((set.as_str(), kind, name)).map_err(writing)?;
        }
        if let Some(from) = resource.leaving() {
            self.members.remove((from.as_str(), kind, name)).map_err(writing)?;
        }
        self.joining.remove((kind, name)).map_err(writing)?;
        if let Some((disk, place)) = resource.place() {
            self.increments.remove((disk, place)).map_err(writing)?;
        }
        self.ids.remove(resource.id.as_str()).map(drop).map_err(writing)
    }

    pub(in crate::managed) fn add_orphan(&mut self, id: &str, region: &str) -> Result<()> {
        let _inside = self.enter();
        if let Some(old) = self.orphans.insert(id, region).map_err(writing)? {
            self.contents.remove(Place::Orphan(id), old.value().as_bytes());
        }
        self.contents.add(Place::Orphan(id), region.as_bytes());
        Ok(())
    }

    pub(in crate::managed) fn remove_orphan(&mut self, id: &str) -> Result<()> {
        let _inside = self.enter();
        if let Some(old) = self.orphans.remove(id).map_err(writing)? {
            self.contents.remove(Place::Orphan(id), old.value().as_bytes());
        }
        Ok(())
    }
}
