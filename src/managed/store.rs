//! The fleet's records, in one file that survives being killed: `redb`, a copy-on-write B-tree with transactions.

use core::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::records::{EncryptionSet, Joining, Resource, ResourceKind, ResourceName};
use super::resources::MAX_SIZE;
use crate::{Error, Result};

const SETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sets");
/// By kind and name.
const RESOURCES: TableDefinition<'_, (u8, &str), &[u8]> = TableDefinition::new("resources");
/// By set, kind and name: whether it is on its way out of the set, into another.
const MEMBERS: TableDefinition<'_, (&str, u8, &str), bool> = TableDefinition::new("members");
/// Incremental snapshots, by the id of their disk and their place.
const INCREMENTS: TableDefinition<'_, (&str, u64), &str> = TableDefinition::new("increments");
/// Resources that were put into a set, and aren't under its key for sure.
const JOINING: TableDefinition<'_, (u8, &str), ()> = TableDefinition::new("joining");
/// Resources by the id of their device.
const IDS: TableDefinition<'_, &str, (u8, &str)> = TableDefinition::new("ids");
/// Devices that no resource has: of what is being made, and of what is being removed. By id: the region.
const ORPHANS: TableDefinition<'_, &str, &str> = TableDefinition::new("orphans");

pub(super) struct Store {
    database: Database,
    /// A commit failed: it may have come about, or not. What has, the next start will see.
    uncertain: AtomicBool,
}

impl Store {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |e| match e {
            DatabaseError::DatabaseAlreadyOpen => Error::Busy { what: format!("the store {}", path.display()) },
            e => failed(format!("opening the store {}", path.display()), e),
        };
        let database = guarded(|| Database::create(path).map_err(failed))?;
        let store = Store { database, uncertain: AtomicBool::new(false) };
        // Tables come to be when they are first written.
        store.write(|_| Ok(()))?;
        Ok(store)
    }

    pub(super) fn set(&self, name: &str) -> Result<EncryptionSet> {
        guarded(|| {
            let table = self.reading()?.open_table(SETS).map_err(reading)?;
            let record = table.get(name).map_err(reading)?;
            let record = record.ok_or_else(|| Error::NoSuchResource(format!("there is no set {name:?}")))?;
            parse(record.value())
        })
    }

    pub(super) fn resource(&self, name: &ResourceName) -> Result<Resource> {
        guarded(|| {
            let table = self.reading()?.open_table(RESOURCES).map_err(reading)?;
            let record = table.get((name.kind.code(), name.name.as_str())).map_err(reading)?;
            parse_resource(record.ok_or_else(|| missing(name))?.value())
        })
    }

    /// That a name is free.
    pub(super) fn check_absent(&self, name: &ResourceName) -> Result<()> {
        match self.resource(name) {
            Ok(_) => Err(taken(name)),
            Err(Error::NoSuchResource(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The names of all sets, in order.
    pub(super) fn set_names(&self) -> Result<Vec<String>> {
        guarded(|| {
            let table = self.reading()?.open_table(SETS).map_err(reading)?;
            let entries = table.iter().map_err(reading)?;
            entries.map(|entry| entry.map(|(key, _)| key.value().to_owned()).map_err(reading)).collect()
        })
    }

    /// The names of all resources of a kind, in order.
    pub(super) fn names(&self, kind: ResourceKind) -> Result<Vec<String>> {
        guarded(|| {
            let table = self.reading()?.open_table(RESOURCES).map_err(reading)?;
            let entries = table.range((kind.code(), "")..(kind.code() + 1, "")).map_err(reading)?;
            entries.map(|entry| entry.map(|(key, _)| key.value().1.to_owned()).map_err(reading)).collect()
        })
    }

    /// The copies that an image is made of.
    pub(super) fn image(&self, name: &str) -> Result<Vec<Resource>> {
        guarded(|| {
            let table = self.reading()?.open_table(RESOURCES).map_err(reading)?;
            let kind = ResourceKind::Image.code();
            // '0' comes after '/'.
            let (from, to) = (format!("{name}/"), format!("{name}0"));
            let entries = table.range((kind, from.as_str())..(kind, to.as_str())).map_err(reading)?;
            entries.map(|entry| entry.map_err(reading).and_then(|(_, record)| parse_resource(record.value()))).collect()
        })
    }

    /// What is in a set, in order; with `leaving`, also what is on its way into another.
    pub(super) fn members(&self, set: &str, leaving: bool) -> Result<Vec<ResourceName>> {
        guarded(|| {
            let table = self.reading()?.open_table(MEMBERS).map_err(reading)?;
            let mut members = Vec::new();
            for entry in table.range((set, 0, "")..(set, u8::MAX, "")).map_err(reading)? {
                let (key, leaves) = entry.map_err(reading)?;
                let (_, kind, name) = key.value();
                if leaving || !leaves.value() {
                    members.push(resource_name(kind, name)?);
                }
            }
            Ok(members)
        })
    }

    /// The incremental snapshots of a disk, the oldest first, with their places.
    pub(super) fn increments(&self, disk: &str) -> Result<Vec<(u64, ResourceName)>> {
        guarded(|| {
            let table = self.reading()?.open_table(INCREMENTS).map_err(reading)?;
            let entries = table.range((disk, 0)..=(disk, u64::MAX)).map_err(reading)?;
            let named = |entry: Result<_, _>| {
                let (key, name): (redb::AccessGuard<'_, (&str, u64)>, redb::AccessGuard<'_, &str>) =
                    entry.map_err(reading)?;
                Ok((key.value().1, ResourceName::snapshot(name.value())))
            };
            entries.map(named).collect()
        })
    }

    /// The resource of this id, if it is still there.
    pub(super) fn name_of(&self, id: &str) -> Result<Option<ResourceName>> {
        guarded(|| {
            let table = self.reading()?.open_table(IDS).map_err(reading)?;
            let Some(found) = table.get(id).map_err(reading)? else { return Ok(None) };
            let (kind, name) = found.value();
            resource_name(kind, name).map(Some)
        })
    }

    /// What was put into a set, and isn't under its key for sure.
    pub(super) fn joining(&self) -> Result<Vec<ResourceName>> {
        guarded(|| {
            let table = self.reading()?.open_table(JOINING).map_err(reading)?;
            let mut names = Vec::new();
            for entry in table.iter().map_err(reading)? {
                let (key, _) = entry.map_err(reading)?;
                let (kind, name) = key.value();
                names.push(resource_name(kind, name)?);
            }
            Ok(names)
        })
    }

    /// Devices that no resource has, and their regions.
    pub(super) fn orphans(&self) -> Result<Vec<(String, String)>> {
        guarded(|| {
            let table = self.reading()?.open_table(ORPHANS).map_err(reading)?;
            let entries = table.iter().map_err(reading)?;
            let pair = |entry: Result<_, _>| {
                let (id, region): (redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, &str>) =
                    entry.map_err(reading)?;
                Ok((id.value().to_owned(), region.value().to_owned()))
            };
            entries.map(pair).collect()
        })
    }

    /// One transaction: all of it is on the disk when this returns, or none. One runs at a time, so that what it reads is
    /// what it changes.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        self.check_sound()?;
        let committing = Cell::new(false);
        guarded(|| {
            let transaction = self.database.begin_write().map_err(writing)?;
            let changed = {
                let mut tables = Tables {
                    sets: transaction.open_table(SETS).map_err(writing)?,
                    resources: transaction.open_table(RESOURCES).map_err(writing)?,
                    members: transaction.open_table(MEMBERS).map_err(writing)?,
                    increments: transaction.open_table(INCREMENTS).map_err(writing)?,
                    ids: transaction.open_table(IDS).map_err(writing)?,
                    joining: transaction.open_table(JOINING).map_err(writing)?,
                    orphans: transaction.open_table(ORPHANS).map_err(writing)?,
                };
                change(&mut tables)?
            };
            committing.set(true);
            transaction.commit().map_err(writing)?;
            Ok(changed)
        })
        .inspect_err(|_| {
            if committing.get() {
                self.uncertain.store(true, Ordering::Relaxed);
            }
        })
    }

    /// After a commit that failed nothing is written, and no device removed: the next start finds out what came about.
    pub(super) fn check_sound(&self) -> Result<()> {
        if self.uncertain.load(Ordering::Relaxed) {
            let text = "it could not be written before; start the service again once its disk is well";
            return Err(writing(std::io::Error::other(text)));
        }
        Ok(())
    }

    fn reading(&self) -> Result<ReadTransaction> {
        self.database.begin_read().map_err(reading)
    }
}

/// The tables of a transaction that writes.
pub(super) struct Tables<'t> {
    sets: redb::Table<'t, &'static str, &'static [u8]>,
    resources: redb::Table<'t, (u8, &'static str), &'static [u8]>,
    members: redb::Table<'t, (&'static str, u8, &'static str), bool>,
    increments: redb::Table<'t, (&'static str, u64), &'static str>,
    ids: redb::Table<'t, &'static str, (u8, &'static str)>,
    joining: redb::Table<'t, (u8, &'static str), ()>,
    orphans: redb::Table<'t, &'static str, &'static str>,
}

impl Tables<'_> {
    pub(super) fn set(&self, name: &str) -> Result<Option<EncryptionSet>> {
        self.sets.get(name).map_err(reading)?.map(|record| parse(record.value())).transpose()
    }

    pub(super) fn put_set(&mut self, set: &EncryptionSet) -> Result<()> {
        self.sets.insert(set.name.as_str(), json(set).as_slice()).map(drop).map_err(writing)
    }

    pub(super) fn remove_set(&mut self, name: &str) -> Result<()> {
        self.sets.remove(name).map(drop).map_err(writing)
    }

    /// Whether anything is in a set, or on its way out of it.
    pub(super) fn has_members(&self, set: &str) -> Result<bool> {
        Ok(self.members.range((set, 0, "")..(set, u8::MAX, "")).map_err(reading)?.next().is_some())
    }

    pub(super) fn resource(&self, name: &ResourceName) -> Result<Resource> {
        let record = self.resources.get((name.kind.code(), name.name.as_str())).map_err(reading)?;
        parse_resource(record.ok_or_else(|| missing(name))?.value())
    }

    /// The resource of a name, if it is the one of an id.
    pub(super) fn resource_of(&self, name: &ResourceName, id: &str) -> Result<Resource> {
        self.resource(name).and_then(|found| if found.id == id { Ok(found) } else { Err(missing(name)) })
    }

    /// Whether there is any copy of an image's.
    pub(super) fn has_image(&self, name: &str) -> Result<bool> {
        let kind = ResourceKind::Image.code();
        let (from, to) = (format!("{name}/"), format!("{name}0"));
        Ok(self.resources.range((kind, from.as_str())..(kind, to.as_str())).map_err(reading)?.next().is_some())
    }

    pub(super) fn check_absent(&self, name: &ResourceName) -> Result<()> {
        match self.resources.get((name.kind.code(), name.name.as_str())).map_err(reading)? {
            Some(_) => Err(taken(name)),
            None => Ok(()),
        }
    }

    /// Puts a new resource in, whose device is no orphan any more.
    pub(super) fn add_resource(&mut self, resource: &Resource) -> Result<()> {
        self.check_absent(&resource.full_name())?;
        self.orphans.remove(resource.id.as_str()).map_err(writing)?;
        self.put_resource(resource)
    }

    /// Puts a resource in, new or in place of itself.
    pub(super) fn put_resource(&mut self, resource: &Resource) -> Result<()> {
        let (kind, name) = (resource.kind.code(), resource.name.as_str());
        let old = self.resources.insert((kind, name), json(resource).as_slice()).map_err(writing)?;
        let old: Option<Resource> = old.map(|old| parse(old.value())).transpose()?;
        old.map_or(Ok(()), |old| self.remove_indices(&old))?;
        if let Some(set) = &resource.set {
            self.members.insert((set.as_str(), kind, name), false).map_err(writing)?;
        }
        if let Some(Joining::Set(from)) = &resource.joining {
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

    /// Takes a resource out; its device is an orphan from here on.
    pub(super) fn remove_resource(&mut self, resource: &Resource) -> Result<()> {
        self.resources.remove((resource.kind.code(), resource.name.as_str())).map_err(writing)?;
        self.add_orphan(&resource.id, &resource.region)?;
        self.remove_indices(resource)
    }

    fn remove_indices(&mut self, resource: &Resource) -> Result<()> {
        let (kind, name) = (resource.kind.code(), resource.name.as_str());
        if let Some(set) = &resource.set {
            self.members.remove((set.as_str(), kind, name)).map_err(writing)?;
        }
        if let Some(Joining::Set(from)) = &resource.joining {
            self.members.remove((from.as_str(), kind, name)).map_err(writing)?;
        }
        self.joining.remove((kind, name)).map_err(writing)?;
        if let Some((disk, place)) = resource.place() {
            self.increments.remove((disk, place)).map_err(writing)?;
        }
        self.ids.remove(resource.id.as_str()).map(drop).map_err(writing)
    }

    pub(super) fn add_orphan(&mut self, id: &str, region: &str) -> Result<()> {
        self.orphans.insert(id, region).map(drop).map_err(writing)
    }

    pub(super) fn remove_orphan(&mut self, id: &str) -> Result<()> {
        self.orphans.remove(id).map(drop).map_err(writing)
    }
}

fn parse<T: DeserializeOwned>(record: &[u8]) -> Result<T> {
    serde_json::from_slice(record).map_err(reading)
}

/// A record that nothing can be made to fail with.
fn parse_resource(record: &[u8]) -> Result<Resource> {
    let resource: Resource = parse(record)?;
    let (size, sector_size) = (resource.size, resource.sector_size);
    if size == 0 || size > MAX_SIZE || !matches!(sector_size, 512 | 4096) || !size.is_multiple_of(sector_size.into()) {
        let text =
            format!("it says of the {} that it has {size} bytes in sectors of {sector_size}", resource.full_name());
        return Err(reading(std::io::Error::other(text)));
    }
    Ok(resource)
}

/// What redb does with a file that was damaged is an error, even where it is a panic.
fn guarded<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    let panicked = |_| reading(std::io::Error::other("it is damaged; put a copy of it back"));
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| Err(panicked(panic)))
}

fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has only string keys")
}

fn taken(name: &ResourceName) -> Error {
    Error::ResourceExists(format!("there is a {name} already"))
}

fn missing(name: &ResourceName) -> Error {
    Error::NoSuchResource(format!("there is no {name}"))
}

fn resource_name(kind: u8, name: &str) -> Result<ResourceName> {
    let unknown = || reading(std::io::Error::other("it holds a kind of resource that this version doesn't know"));
    Ok(ResourceName { kind: ResourceKind::from_code(kind).ok_or_else(unknown)?, name: name.into() })
}

fn reading(e: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::io("reading the store", std::io::Error::other(e))
}

fn writing(e: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::io("writing the store", std::io::Error::other(e))
}

fn failed(what: String, e: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::io(what, std::io::Error::other(e))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;

    use super::*;

    /// A file whose syncs begin to fail.
    #[derive(Debug)]
    struct Failing(InMemoryBackend, Arc<AtomicBool>);

    impl StorageBackend for Failing {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            if self.1.load(Ordering::Relaxed) { Err(io::Error::other("the disk is gone")) } else { self.0.sync_data() }
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    #[test]
    fn after_a_commit_that_failed_nothing_counts_as_undone() {
        let fails = Arc::new(AtomicBool::new(false));
        let backend = Failing(InMemoryBackend::new(), fails.clone());
        let database = Database::builder().create_with_backend(backend).unwrap();
        let store = Store { database, uncertain: AtomicBool::new(false) };
        store.write(|tables| tables.add_orphan("a", "north")).unwrap();
        // What fails before the commit is undone for sure.
        let refused = |_: &mut Tables<'_>| -> Result<()> { Err(Error::Random) };
        assert!(store.write(refused).is_err());
        store.check_sound().unwrap();
        fails.store(true, Ordering::Relaxed);
        assert!(store.write(|tables| tables.add_orphan("b", "north")).is_err());
        fails.store(false, Ordering::Relaxed);
        assert!(store.check_sound().is_err());
        assert!(store.write(|tables| tables.remove_orphan("a")).is_err());
    }
}
