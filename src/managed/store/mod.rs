//! The fleet's records, in one file that survives being killed: `redb`, a copy-on-write B-tree with transactions.
//!
//! Its file may be damaged, and its disk full. What is damaged is told: by redb's checksums of pages, all of which are
//! checked when the file is opened, and by checksums of our own over each record and all of them. After a write that failed
//! the file is opened again within the process, and what is there then is what counts.

mod backup;
mod check;
mod contents;
mod engine;
mod file;
mod old;
mod remains;
mod tables;
mod untouched;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};

pub(super) use self::backup::check_free;
use self::check::Survey;
use self::contents::{Contents, Place};
use self::engine::Engine;
use self::file::{Bytes, StoreFile};
pub(super) use self::old::OldRecords;
use self::remains::Remains;
pub(super) use self::tables::Tables;
use self::untouched::Untouched;
use super::care::StoreCheck;
use super::records::{
    EncryptionSet, MAX_SIZE, PlatformKeys, Resource, ResourceKind, ResourceName, check_id, check_name,
};
use super::sync::lock;
use crate::key::{HashAlgorithm, self_test};
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
/// The platform's keys, under [`KEYS`].
const PLATFORM: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("platform");
const KEYS: &str = "keys";
/// What the whole store holds, under [`CONTENTS`].
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const CONTENTS: &str = "contents";

/// How long after a try to open a store that failed a read tries again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Store {
    file: Arc<StoreFile>,
    engine: Mutex<Arc<Engine>>,
    /// Who writes, or opens the file again.
    writing: Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    /// A commit failed: it may have come about, or not. What has, the next opening sees.
    uncertain: bool,
    tried: Option<Instant>,
}

impl Store {
    /// Opens the file, or makes it, and checks all that is in it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::over(StoreFile::open(path)?)
    }

    fn over(file: StoreFile) -> Result<Self> {
        let file = Arc::new(file);
        let opened = opened(&file).inspect_err(|_| {
            if file.is_new {
                file.empty();
            }
        });
        Ok(Store { engine: Mutex::new(Arc::new(opened?.0)), file, writing: Mutex::default() })
    }

    /// Looks at all that is in the store as the last change left it.
    pub(super) fn check(&self) -> Result<StoreCheck> {
        self.read(|store| Ok(Survey::of(store)?.told()))
    }

    fn engine(&self) -> Arc<Engine> {
        lock(&self.engine).clone()
    }

    /// Reads what the last commit left; once more after the file was opened again, where it could not be read.
    fn read<T>(&self, read: impl Fn(&ReadTransaction) -> Result<T>) -> Result<T> {
        let act = |database: &Database| read(&database.begin_read().map_err(reading)?);
        let engine = self.engine();
        let result = engine.guarded(act);
        if result.is_ok() || !engine.has_failed() {
            return result;
        }
        let Ok(mut state) = self.writing.try_lock() else { return result };
        if state.tried.is_some_and(|tried| tried.elapsed() < RETRY) || self.reopen_failed(&mut state).is_err() {
            return result;
        }
        drop(state);
        self.engine().guarded(act)
    }

    /// Opens the file again if the database has given up on it, and returns what is in it then.
    fn reopen_failed(&self, state: &mut Writing) -> Result<Option<Contents>> {
        let engine = self.engine();
        if !engine.has_failed() || engine.is_damaged() {
            return Ok(None);
        }
        state.tried = Some(Instant::now());
        let (opened, contents) = opened(&self.file)?;
        *lock(&self.engine) = Arc::new(opened);
        *state = Writing::default();
        Ok(Some(contents))
    }

    pub(super) fn set(&self, name: &str) -> Result<EncryptionSet> {
        self.read(|store| {
            let table = store.open_table(SETS).map_err(reading)?;
            let record = table.get(name).map_err(reading)?;
            let record = record.ok_or_else(|| Error::NoSuchResource(format!("there is no set {name:?}")))?;
            Ok(Place::Set(name).unsealed(record.value())?)
        })
    }

    pub(super) fn resource(&self, name: &ResourceName) -> Result<Resource> {
        self.read(|store| {
            let table = store.open_table(RESOURCES).map_err(reading)?;
            let record = table.get((name.kind.code(), name.name.as_str())).map_err(reading)?;
            Ok(parse_resource(name, record.ok_or_else(|| missing(name))?.value())?)
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

    /// The platform's keys, once anything is known to be under one.
    pub(super) fn platform(&self) -> Result<Option<PlatformKeys>> {
        self.read(|store| {
            let Some(table) = platform_table(store)? else { return Ok(None) };
            let record = table.get(KEYS).map_err(reading)?;
            Ok(record.map(|record| Place::Platform.unsealed(record.value())).transpose()?)
        })
    }

    /// The names of all sets, in order.
    pub(super) fn set_names(&self) -> Result<Vec<String>> {
        self.read(|store| {
            let table = store.open_table(SETS).map_err(reading)?;
            let entries = table.iter().map_err(reading)?;
            entries.map(|entry| entry.map(|(key, _)| key.value().to_owned()).map_err(reading)).collect()
        })
    }

    /// The names of all resources of a kind, in order.
    pub(super) fn names(&self, kind: ResourceKind) -> Result<Vec<String>> {
        self.read(|store| {
            let table = store.open_table(RESOURCES).map_err(reading)?;
            let entries = table.range((kind.code(), "")..(kind.code() + 1, "")).map_err(reading)?;
            entries.map(|entry| entry.map(|(key, _)| key.value().1.to_owned()).map_err(reading)).collect()
        })
    }

    /// All resources, in order.
    pub(super) fn resources(&self) -> Result<Vec<Resource>> {
        self.read(|store| {
            let table = store.open_table(RESOURCES).map_err(reading)?;
            let mut resources = Vec::new();
            for entry in table.iter().map_err(reading)? {
                let (key, record) = entry.map_err(reading)?;
                let (kind, name) = key.value();
                resources.push(parse_resource(&resource_name(kind, name)?, record.value())?);
            }
            Ok(resources)
        })
    }

    /// The copies that an image is made of.
    pub(super) fn image(&self, name: &str) -> Result<Vec<Resource>> {
        self.read(|store| {
            let table = store.open_table(RESOURCES).map_err(reading)?;
            let kind = ResourceKind::Image.code();
            // '0' comes after '/'.
            let (from, to) = (format!("{name}/"), format!("{name}0"));
            let entries = table.range((kind, from.as_str())..(kind, to.as_str())).map_err(reading)?;
            let parse = |entry: Result<_, _>| {
                let (key, record): (redb::AccessGuard<'_, (u8, &str)>, redb::AccessGuard<'_, &[u8]>) =
                    entry.map_err(reading)?;
                let (kind, name) = key.value();
                Ok(parse_resource(&resource_name(kind, name)?, record.value())?)
            };
            entries.map(parse).collect()
        })
    }

    /// What is in a set, in order; with `leaving`, also what is on its way into another.
    pub(super) fn members(&self, set: &str, leaving: bool) -> Result<Vec<ResourceName>> {
        self.read(|store| {
            let table = store.open_table(MEMBERS).map_err(reading)?;
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
        self.read(|store| {
            let table = store.open_table(INCREMENTS).map_err(reading)?;
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
        self.read(|store| {
            let table = store.open_table(IDS).map_err(reading)?;
            let Some(found) = table.get(id).map_err(reading)? else { return Ok(None) };
            let (kind, name) = found.value();
            Ok(Some(resource_name(kind, name)?))
        })
    }

    /// What was put into a set, and isn't under its key for sure.
    pub(super) fn joining(&self) -> Result<Vec<ResourceName>> {
        self.read(|store| {
            let table = store.open_table(JOINING).map_err(reading)?;
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
        self.read(|store| {
            let table = store.open_table(ORPHANS).map_err(reading)?;
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
        let mut state = lock(&self.writing);
        self.check_writable(&mut state)?;
        let engine = self.engine();
        let mut committing = None;
        let result = engine.guarded(|database| {
            let mut transaction = begin_write(database)?;
            let (changed, serial) = Tables::change(&mut transaction, change)?;
            committing = Some((changed, serial));
            transaction.commit().map_err(writing)
        });
        match (result, committing) {
            (Ok(()), Some((changed, _))) => Ok(changed),
            (Err(e), Some((changed, serial))) => {
                state.uncertain = true;
                // What is there now is what counts, as after a start.
                match self.reopen_failed(&mut state) {
                    Ok(Some(contents)) if contents.serial == serial => Ok(changed),
                    _ => Err(e),
                }
            }
            (Err(e), None) => Err(e),
            (Ok(()), None) => unreachable!("what was committed was noted before"),
        }
    }

    /// While it isn't known what a commit that failed came to, nothing is written, and no device removed.
    pub(super) fn check_sound(&self) -> Result<()> {
        self.check_writable(&mut lock(&self.writing))
    }

    fn check_writable(&self, state: &mut Writing) -> Result<()> {
        self.reopen_failed(state)?;
        if state.uncertain {
            let text = "a change could not be written before; start the service again once its disk is well";
            return Err(writing(std::io::Error::other(text)));
        }
        Ok(())
    }
}

fn begin_write(database: &Database) -> Result<redb::WriteTransaction> {
    let mut transaction = database.begin_write().map_err(writing)?;
    // In two phases: a damaged page can then be told from a commit that was torn.
    transaction.set_two_phase_commit(true);
    transaction.set_durability(Durability::Immediate).map_err(writing)?;
    Ok(transaction)
}

/// Looks at all that is in a store that no service has open. It needn't open, and isn't changed.
pub(super) fn check_file(path: &Path) -> Result<StoreCheck> {
    let untouched = Untouched::open(path)?;
    let is_empty = untouched.len().map_err(reading)? == 0;
    let file = Arc::new(StoreFile::over(path, Box::new(untouched)));
    let survey = if is_empty { Err(damaged("it is empty")) } else { Engine::open(&file).and_then(|e| surveyed(&e)) };
    match survey {
        Ok(survey) => Ok(survey.told()),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::InvalidData => {
            let remains = Remains::of(&Untouched::open(path)?).map_err(reading)?;
            Ok(remains.told(source.to_string()))
        }
        Err(e) => Err(e),
    }
}

/// The database in the file, its records as this version writes them, and what is noted of them.
fn opened(file: &Arc<StoreFile>) -> Result<(Engine, Contents)> {
    self_test::hash(HashAlgorithm::Sha256)?; // for the checksums
    let engine = Engine::open(file)?;
    let contents = surveyed(&engine)?.sound()?;
    Ok((engine, contents))
}

fn surveyed(engine: &Engine) -> Result<Survey> {
    engine.guarded(|database| {
        if is_older(&database.begin_read().map_err(reading)?)? {
            let mut transaction = begin_write(database)?;
            Tables::change(&mut transaction, |tables| tables.seal())?;
            transaction.commit().map_err(writing)?;
        }
        Survey::of(&database.begin_read().map_err(reading)?)
    })
}

/// Whether it is new, or of a release that kept no checksums.
fn is_older(store: &ReadTransaction) -> Result<bool> {
    match store.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => Ok(true),
        table => table.map(|_| false).map_err(reading),
    }
}

/// None in the store of a release that kept no keys of the platform.
fn platform_table(store: &ReadTransaction) -> Result<Option<redb::ReadOnlyTable<&'static str, &'static [u8]>>> {
    match store.open_table(PLATFORM) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => table.map(Some).map_err(reading),
    }
}

fn parse_resource(name: &ResourceName, record: &[u8]) -> Result<Resource, Defect> {
    let resource = Place::Resource(name.kind.code(), &name.name).unsealed(record)?;
    check_resource(&resource, name)?;
    Ok(resource)
}

/// That a record is one that nothing can be made to fail with, or to leave its folder by.
fn check_resource(resource: &Resource, name: &ResourceName) -> Result<(), Defect> {
    let (size, sector_size) = (resource.size, resource.sector_size);
    let bad = |text: String| Defect(format!("the record of the {name} {text}"));
    if resource.full_name() != *name {
        return Err(bad(format!("is that of the {}", resource.full_name())));
    }
    if size == 0 || size > MAX_SIZE || !matches!(sector_size, 512 | 4096) || !size.is_multiple_of(sector_size.into()) {
        return Err(bad(format!("says that it has {size} bytes in sectors of {sector_size}")));
    }
    check_id(&resource.id).and_then(|()| check_name(&resource.region)).map_err(|e| bad(format!("is wrong: {e}")))
}

fn json(record: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has only string keys")
}

fn taken(name: &ResourceName) -> Error {
    Error::ResourceExists(format!("there is a {name} already"))
}

fn missing(name: &ResourceName) -> Error {
    Error::NoSuchResource(format!("there is no {name}"))
}

fn resource_name(kind: u8, name: &str) -> Result<ResourceName, Defect> {
    let unknown = || Defect("it holds a kind of resource that this version doesn't know".into());
    Ok(ResourceName { kind: ResourceKind::from_code(kind).ok_or_else(unknown)?, name: name.into() })
}

fn reading(e: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::io("reading the store", std::io::Error::other(e))
}

fn writing(e: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::io("writing the store", std::io::Error::other(e))
}

/// How the file isn't what was written to it, for a person.
#[derive(Debug)]
struct Defect(String);

impl From<Defect> for Error {
    fn from(Defect(how): Defect) -> Self {
        damaged(&how)
    }
}

/// The file isn't what was written to it.
fn damaged(how: &str) -> Error {
    let text = format!(
        "it is damaged: {how}. Stop the service, keep this file, and put the last backup of the store in its place; the \
         disks themselves are not touched by this"
    );
    Error::io("reading the store", std::io::Error::new(std::io::ErrorKind::InvalidData, text))
}

#[cfg(test)]
mod tests;
