//! [`FileStore`]: a store in one file of this process.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::check::StoreCheck;
use super::contents::Contents;
use super::engine::Engine;
use super::errors::{damaged, reading, writing};
use super::file::StoreFile;
use super::limits::{check_commit, check_get, check_list};
use super::opening::opened;
use super::schema::RECORDS;
use super::shared::{Change, Outcome, Record, Revision, Store};
use super::survey::Survey;
use super::write::commit;
use crate::Result;
use crate::managed::sync::lock;

/// The time between two attempts to reopen a failed store.
const RETRY: Duration = Duration::from_secs(1);

/// A store in one file, which one process has open at a time: the default of a
/// [`DiskService`](crate::managed::DiskService). A forked child can't use its parent's.
///
/// Its file may get damaged, and its disk full. Damage is detected by redb's checksums of pages, which are all checked on opening,
/// and by our own checksums over each record and over all. After a failed write, the file is opened again within the process, and
/// its content then counts. Keys of the form of a service's records are reserved for these: opening the file checks the values
/// under them.
pub struct FileStore {
    file: Arc<StoreFile>,
    engine: Mutex<Arc<Engine>>,
    /// Locked while writing or reopening the file.
    writing: Mutex<Writing>,
}

#[derive(Default)]
struct Writing {
    /// A commit failed, and may have happened or not. The next opening shows which.
    uncertain: bool,
    tried: Option<Instant>,
}

impl FileStore {
    /// Opens the file, or makes it, and checks all its content. A file of a former release is converted in one step.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) while another process has it open; [`Error::Io`](crate::Error::Io) if it can't be read, or is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::over(StoreFile::open(path.as_ref())?)
    }

    pub(super) fn over(file: StoreFile) -> Result<Self> {
        let file = Arc::new(file);
        let opened = opened(&file).inspect_err(|_| {
            if file.is_new {
                file.empty();
            }
        });
        Ok(FileStore { engine: Mutex::new(Arc::new(opened?.0)), file, writing: Mutex::default() })
    }

    /// Checks everything in the store, as of the last change.
    pub(super) fn check(&self) -> Result<StoreCheck> {
        self.read(|store| Ok(Survey::of(store)?.told()))
    }

    /// Refuses a forked child. Call it before taking a lock.
    pub(super) fn check_process(&self) -> Result<()> {
        self.file.owner().check()
    }

    fn engine(&self) -> Arc<Engine> {
        lock(&self.engine).clone()
    }

    /// Reads the state of the last commit. If that fails, opens the file again and reads once more.
    pub(super) fn read<T>(&self, read: impl Fn(&ReadTransaction) -> Result<T>) -> Result<T> {
        self.check_process()?;
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

    /// How many keys begin with `prefix`.
    pub(super) fn count(&self, prefix: &str) -> Result<usize> {
        self.read(|store| {
            let table = store.open_table(RECORDS).map_err(reading)?;
            let mut count = 0;
            for entry in table.range::<&str>(prefix..).map_err(reading)? {
                if !entry.map_err(reading)?.0.value().starts_with(prefix) {
                    break;
                }
                count += 1;
            }
            Ok(count)
        })
    }

    /// Fails while the outcome of a failed commit is unknown: then nothing is written.
    pub(super) fn check_sound(&self) -> Result<()> {
        self.check_process()?;
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

    /// As [`commit`](Store::commit), for any number of changes. On return, all or none of it is on the disk.
    pub(super) fn commit_any(&self, changes: &[Change]) -> Result<Outcome> {
        self.check_process()?;
        let mut state = lock(&self.writing);
        self.check_writable(&mut state)?;
        let engine = self.engine();
        let mut committing = None;
        match (commit(&engine, changes, 0, &mut committing), committing) {
            (Ok(outcome), _) => Ok(outcome),
            (Err(e), Some((serial, outcome))) => {
                state.uncertain = true;
                // The file's content now counts, as after a restart.
                match self.reopen_failed(&mut state) {
                    Ok(Some(contents)) if contents.serial == serial => Ok(outcome),
                    _ => Err(e),
                }
            }
            (Err(e), None) => Err(e),
        }
    }
}

impl Store for FileStore {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        check_get(keys)?;
        self.read(|store| {
            let table = store.open_table(RECORDS).map_err(reading)?;
            let one = |key: &&str| {
                let found = table.get(*key).map_err(reading)?;
                found.map(|found| record(key, found.value())).transpose()
            };
            keys.iter().map(one).collect()
        })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        check_list(prefix, after, limit)?;
        self.read(|store| {
            let table = store.open_table(RECORDS).map_err(reading)?;
            let from = after.filter(|after| *after >= prefix);
            let from = from.map_or(std::ops::Bound::Included(prefix), std::ops::Bound::Excluded);
            let mut page = Vec::new();
            for entry in table.range::<&str>((from, std::ops::Bound::Unbounded)).map_err(reading)? {
                let (key, stored) = entry.map_err(reading)?;
                if page.len() == limit || !key.value().starts_with(prefix) {
                    break;
                }
                page.push(record(key.value(), stored.value())?);
            }
            Ok(page)
        })
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome> {
        check_commit(changes)?;
        self.commit_any(changes)
    }

    /// How long a disk takes at most to write a few pages. A disk that hangs isn't given up: its state is unknown.
    fn deadline(&self) -> Duration {
        Duration::from_secs(60)
    }
}

impl core::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FileStore").field("path", &self.file.path()).finish_non_exhaustive()
    }
}

/// A record as it lies in the file.
pub(super) fn split(key: &str, stored: &[u8]) -> Result<(Revision, Vec<u8>)> {
    match stored.split_first_chunk() {
        Some((revision, value)) => Ok((Revision(u64::from_le_bytes(*revision)), value.to_vec())),
        None => Err(damaged(&format!("the record of the key {key:?} is cut off"))),
    }
}

fn record(key: &str, stored: &[u8]) -> Result<Record> {
    let (revision, value) = split(key, stored)?;
    Ok(Record { key: key.into(), value, revision })
}
