//! Copies of the store, made while it is in use; and new stores, made the same way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Key, ReadTransaction, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::Records;
use super::contents::Contents;
use super::engine::Engine;
use super::errors::{damaged, reading, writing};
use super::file::StoreFile;
use super::opening::opened;
use super::record::Place;
use super::schema::{
    CONTENTS, IDS, INCREMENTS, JOINING, MEMBERS, META, ORPHANS, PLATFORM, RESOURCES, SETS, platform_table,
};
use super::tables::{self, Tables};
use crate::{Error, Result, fs, random};

impl Records {
    /// Writes the state after the last change to a new file, which is a complete store. Changes continue meanwhile.
    pub(in crate::managed) fn backup(&self, to: &Path) -> Result<()> {
        made(to, |engine| {
            self.read(|from| {
                engine.guarded(|database| {
                    let into = tables::begin(database)?;
                    copy(from, &into, SETS)?;
                    copy(from, &into, RESOURCES)?;
                    copy(from, &into, MEMBERS)?;
                    copy(from, &into, INCREMENTS)?;
                    copy(from, &into, IDS)?;
                    copy(from, &into, JOINING)?;
                    // A store of an older release has no table of the platform's keys.
                    if platform_table(from)?.is_some() {
                        copy(from, &into, PLATFORM)?;
                    }
                    leave_orphans(from, &into)?;
                    into.commit().map_err(writing)
                })
            })
        })
    }

    /// Makes a store with the content that `fill` writes, in one step.
    pub(in crate::managed) fn create(to: &Path, fill: impl FnOnce(&mut Tables<'_>) -> Result<()>) -> Result<()> {
        made(to, |engine| tables::commit(engine, fill, &mut None))
    }
}

/// Copies the record of the contents, but without the devices that were being made or removed. When the backup is
/// restored, such a device may belong to a disk by then, and the service would remove it at its start.
fn leave_orphans(from: &ReadTransaction, into: &WriteTransaction) -> Result<()> {
    let noted = from.open_table(META).map_err(reading)?;
    let noted =
        noted.get(CONTENTS).map_err(reading)?.ok_or_else(|| damaged("it has lost the record of its contents"))?;
    let mut contents = Contents::from_bytes(noted.value())?;
    for entry in from.open_table(ORPHANS).map_err(reading)?.iter().map_err(reading)? {
        let (id, region) = entry.map_err(reading)?;
        contents.remove(Place::Orphan(id.value()), region.value().as_bytes());
    }
    into.open_table(ORPHANS).map_err(writing)?;
    let mut meta = into.open_table(META).map_err(writing)?;
    meta.insert(CONTENTS, contents.to_bytes().as_slice()).map(drop).map_err(writing)
}

fn copy<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    into: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<()> {
    let from = from.open_table(table).map_err(reading)?;
    let mut into = into.open_table(table).map_err(writing)?;
    for entry in from.iter().map_err(reading)? {
        let (key, value) = entry.map_err(reading)?;
        into.insert(key.value(), value.value()).map_err(writing)?;
    }
    Ok(())
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
        fs::rename_new(&partial, to).map_err(io)
    })();
    made.inspect_err(|_| drop(std::fs::remove_file(&partial)))
}

/// Checks that a path is free.
pub(in crate::managed) fn check_free(path: &Path) -> Result<()> {
    if std::fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    let text = "there is something of this name already, which is not replaced; give another name";
    let exists = std::io::Error::new(std::io::ErrorKind::AlreadyExists, text);
    Err(Error::io(format!("making the store {}", path.display()), exists))
}

/// A unique temporary name next to the path.
fn partial(path: &Path) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".partial-{:08x}", u32::from_le_bytes(random::array()?)));
    Ok(name.into())
}
