//! The fleet's records, in one file that survives a kill: `redb`, a copy-on-write B-tree with transactions.
//!
//! Its file may get damaged, and its disk full. Damage is detected by redb's checksums of pages, which are all checked
//! on opening, and by our own checksums over each record and over all. After a failed write, the file is opened again
//! within the process, and its content then counts.

mod backup;
mod check;
#[cfg(any(test, feature = "store-conformance"))]
pub mod conformance;
mod contents;
mod engine;
mod errors;
mod file;
mod limits;
mod memory;
mod old;
mod opening;
mod record;
mod remains;
mod schema;
mod shared;
mod survey;
mod tables;
mod untouched;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

pub(super) use self::backup::check_free;
pub use self::check::StoreCheck;
use self::contents::Contents;
use self::engine::Engine;
use self::errors::{missing, reading, taken, writing};
use self::file::StoreFile;
pub use self::limits::{check_commit, check_get, check_list};
pub use self::memory::{Call, Fault, MemoryStore};
pub(super) use self::old::OldRecords;
pub(super) use self::opening::check_file;
use self::opening::opened;
use self::record::{Place, parse_resource, resource_name};
use self::schema::{IDS, INCREMENTS, JOINING, KEYS, MEMBERS, ORPHANS, RESOURCES, SETS, platform_table};
pub use self::shared::{
    Action, Change, MAX_COMMIT, MAX_COMMIT_BYTES, MAX_KEY, MAX_PAGE, MAX_VALUE, Outcome, Record, Revision, Store,
};
use self::survey::Survey;
pub(super) use self::tables::Tables;
use super::records::{EncryptionSet, PlatformKeys, Resource, ResourceKind, ResourceName};
use super::sync::lock;
use crate::{Error, Result};

/// The time between two attempts to reopen a failed store.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Records {
    file: Arc<StoreFile>,
    engine: Mutex<Arc<Engine>>,
    /// Locked while writing or reopening the file.
    writing: Mutex<Writing>,
    /// How often a change has begun and ended: an odd number while one goes on.
    changes: AtomicU64,
}

/// While it lives, a change goes on.
struct Changing<'s>(&'s AtomicU64);

impl<'s> Changing<'s> {
    fn begin(changes: &'s AtomicU64) -> Self {
        changes.fetch_add(1, Ordering::SeqCst);
        Changing(changes)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Writing {
    /// A commit failed, and may have happened or not. The next opening shows which.
    uncertain: bool,
    tried: Option<Instant>,
}

impl Records {
    /// Opens the file, or makes it, and checks all its content.
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
        Ok(Records {
            engine: Mutex::new(Arc::new(opened?.0)),
            file,
            writing: Mutex::default(),
            changes: AtomicU64::new(0),
        })
    }

    /// Checks everything in the store, as of the last change.
    pub(super) fn check(&self) -> Result<StoreCheck> {
        self.read(|store| Ok(Survey::of(store)?.told()))
    }

    fn engine(&self) -> Arc<Engine> {
        lock(&self.engine).clone()
    }

    /// Reads the state of the last commit. If that fails, opens the file again and reads once more.
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

    /// Opens the file again if the database has failed, and returns its contents.
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

    /// Checks that a name is free.
    pub(super) fn check_absent(&self, name: &ResourceName) -> Result<()> {
        match self.resource(name) {
            Ok(_) => Err(taken(name)),
            Err(Error::NoSuchResource(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// The platform's keys, if anything is known to be under one.
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

    /// The copies of an image.
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

    /// The members of a set, in order; with `leaving`, also those that are moving into another set.
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

    /// The name of the resource with this id, if it still exists.
    pub(super) fn name_of(&self, id: &str) -> Result<Option<ResourceName>> {
        self.read(|store| {
            let table = store.open_table(IDS).map_err(reading)?;
            let Some(found) = table.get(id).map_err(reading)? else { return Ok(None) };
            let (kind, name) = found.value();
            Ok(Some(resource_name(kind, name)?))
        })
    }

    /// The resources that were put into a set but are not surely under its key.
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

    /// Devices without a resource, and their regions.
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

    /// Runs one transaction: on return, all or none of it is on the disk. Only one runs at a time, so nothing changes
    /// between its reads and its writes.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        let mut state = lock(&self.writing);
        let _changing = Changing::begin(&self.changes);
        self.check_writable(&mut state)?;
        let engine = self.engine();
        let mut committing = None;
        match (tables::commit(&engine, change, &mut committing), committing) {
            (Ok(()), Some((changed, _))) => Ok(changed),
            (Err(e), Some((changed, serial))) => {
                state.uncertain = true;
                // The file's content now counts, as after a restart.
                match self.reopen_failed(&mut state) {
                    Ok(Some(contents)) if contents.serial == serial => Ok(changed),
                    _ => Err(e),
                }
            }
            (Err(e), None) => Err(e),
            (Ok(()), None) => unreachable!("what was committed was noted before"),
        }
    }

    /// A number that is another after each change: what was read while it stays the same is still so. `None` while a change
    /// goes on.
    pub(super) fn changes(&self) -> Option<u64> {
        Some(self.changes.load(Ordering::SeqCst)).filter(|changes| changes.is_multiple_of(2))
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

#[cfg(test)]
mod tests;
