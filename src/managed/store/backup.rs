//! Copies of the store, made while it is in use; and new stores, made the same way.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable, WriteTransaction};

use super::embedded::FileStore;
use super::engine::Engine;
use super::errors::{damaged, reading, writing};
use super::file::StoreFile;
use super::layer::Records;
use super::opening::opened;
use super::place::ORPHANS;
use super::schema::{CONTENTS, META, RECORDS, Written};
use super::shared::{Change, Outcome, Record, Store};
use super::tables::Tables;
use super::write::{begin, commit};
use crate::{Error, Result, fs, random};

impl Records {
    /// Writes the state after the last change to a new file, which is a complete store. Changes continue meanwhile.
    pub(in crate::managed) fn backup(&self, to: &Path) -> Result<()> {
        let Some(from) = &self.file else {
            let text = "a shared store is backed up by the means of its engine, as of one moment; see docs/fleet.md";
            return Err(Error::InvalidOption(text.into()));
        };
        from.backup(to)
    }

    /// Makes a store with the content that `fill` writes, in one step. It counts changes on from `after`.
    pub(in crate::managed) fn create(
        to: &Path,
        after: u64,
        fill: impl FnOnce(&mut Tables<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut tables = Tables::new(&Nothing, None);
        fill(&mut tables)?;
        let changes = tables.transaction.commit(&random::array()?);
        made(to, |engine| commit(engine, &changes, after, &mut None).map(drop))
    }
}

impl FileStore {
    /// Writes the records after the last change to a new file, which is a complete store; changes continue meanwhile. It is what
    /// [`DiskService::backup`](crate::managed::DiskService::backup) does, for a store that no service has open.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::NotFound`] without its folder; [`Error::Io`]. On failure nothing is left behind.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        made(to.as_ref(), |engine| {
            self.read(|from| {
                engine.guarded(|database| {
                    let into = begin(database)?;
                    copy(from, &into)?;
                    into.commit().map_err(writing)
                })
            })
        })
    }
}

/// Copies all records, but not those of devices that were being made or removed. When the backup is restored, such a device
/// may belong to a disk by then, and the service would remove it at its start.
fn copy(from: &ReadTransaction, into: &WriteTransaction) -> Result<()> {
    let Written::Now(mut contents) = Written::of(from)? else {
        return Err(damaged("it has lost the record of its contents"));
    };
    let mut table = into.open_table(RECORDS).map_err(writing)?;
    for entry in from.open_table(RECORDS).map_err(reading)?.iter().map_err(reading)? {
        let (key, stored) = entry.map_err(reading)?;
        let (key, stored) = (key.value(), stored.value());
        if key.starts_with(ORPHANS) {
            contents.remove(key, stored);
        } else {
            table.insert(key, stored).map_err(writing)?;
        }
    }
    let mut meta = into.open_table(META).map_err(writing)?;
    meta.insert(CONTENTS, contents.to_bytes().as_slice()).map(drop).map_err(writing)
}

/// A store that is still to be made.
struct Nothing;

impl Store for Nothing {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        Ok(vec![None; keys.len()])
    }

    fn list(&self, _: &str, _: Option<&str>, _: usize) -> Result<Vec<Record>> {
        Ok(Vec::new())
    }

    fn commit(&self, _: &[Change]) -> Result<Outcome> {
        Ok(Outcome::Conflict)
    }

    fn deadline(&self) -> Duration {
        Duration::ZERO
    }
}

/// Makes a store under a temporary name, opens it again as a check, and then renames it. It replaces nothing, and
/// leaves nothing on failure.
fn made(to: &Path, fill: impl FnOnce(&Engine) -> Result<()>) -> Result<()> {
    let io = |e| Error::io(format!("making the store {}", to.display()), e);
    check_free(to)?;
    let partial = partial(to)?;
    let file = Arc::new(StoreFile::create(&partial)?);
    let made = (|| {
        let engine = Engine::open(&file)?;
        fill(&engine).map_err(|e| match e {
            Error::Io { source, .. } if engine.has_failed() => io(source),
            e => e,
        })?;
        drop(engine);
        opened(&file)?;
        fs::rename_new(&partial, to).map_err(|e| fs::error_at(to, "store", "making the store", e))
    })();
    made.inspect_err(|_| drop(std::fs::remove_file(&partial)))
}

/// Checks that a path is free.
pub(in crate::managed) fn check_free(path: &Path) -> Result<()> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    Err(Error::AlreadyExists { what: "store", path: path.into() })
}

/// A unique temporary name next to the path.
fn partial(path: &Path) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".partial-{:08x}", u32::from_le_bytes(random::array()?)));
    Ok(name.into())
}
