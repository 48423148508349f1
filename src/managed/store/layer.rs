//! [`Records`]: the records of a service, over any [`Store`].

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::check::StoreCheck;
use super::counted::{Counted, outcome_of};
use super::embedded::FileStore;
use super::moving::check_whole;
use super::place::Place;
use super::record::{Commit, sealed, unsealed};
use super::shared::{Action, Change, MAX_COMMIT, Outcome, Revision, Store};
use super::survey::check_shared;
use super::tables::Tables;
use crate::managed::counters::Counters;
use crate::managed::sync::lock;
use crate::{Error, Result, random};

/// The most runs of a transaction while others change the records that it has read.
const ATTEMPTS: u32 = 16;
/// The fewest retries of a commit with an unknown outcome. Retries go on for as long as one call of the store may take: an engine
/// that elects another leader refuses at once in the meantime.
const TRIES: u32 = 4;
/// The first wait before another attempt. It doubles up to [`LONGEST_WAIT`], and a random part of it is waited.
const FIRST_WAIT: Duration = Duration::from_millis(4);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The records of a service.
///
/// On a shared store, records read before aren't trusted: another host may have changed them. A store in a file belongs to this
/// process alone, and its transactions run one after the other.
pub(in crate::managed) struct Records {
    pub(super) store: Arc<dyn Store>,
    /// The same, if it is in a file.
    pub(super) file: Option<Arc<FileStore>>,
    /// The run of this host's service, if others change the store, too.
    pub(super) run: Option<String>,
    alone: Mutex<()>,
    /// The mark of this run for commits that only make records, once it is there. See [`marked`](Self::marked).
    mark: Mutex<Option<Mark>>,
    /// How often the store failed.
    failures: Arc<AtomicU64>,
    /// The counters of the service for operators.
    pub(in crate::managed) counters: Arc<Counters>,
    /// How often a change of a file has begun and ended: an odd number while one goes on.
    changes: AtomicU64,
}

/// While it lives, no other thread changes the file.
struct Alone<'s> {
    _lock: MutexGuard<'s, ()>,
    changes: &'s AtomicU64,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

/// The mark of a run as it was last written.
#[derive(Clone, Copy)]
struct Mark {
    revision: Revision,
    commit: Commit,
}

/// The outcome of a commit that ended in an error.
enum Known {
    Happened,
    DidNot,
}

impl Records {
    /// Opens a file, or makes it, and checks all its content.
    pub(in crate::managed) fn open(path: &Path) -> Result<Self> {
        let file = FileStore::open(path)?;
        check_whole(&file)?;
        Ok(Self::of_file(file))
    }

    pub(super) fn of_file(file: FileStore) -> Self {
        let (file, counters) = (Arc::new(file), Arc::<Counters>::default());
        let counted = Counted { store: file.clone(), failures: Arc::default(), counters: counters.clone() };
        Records {
            store: Arc::new(counted),
            file: Some(file),
            run: None,
            alone: Mutex::default(),
            mark: Mutex::default(),
            failures: Arc::default(),
            counters,
            changes: AtomicU64::new(0),
        }
    }

    /// The records in a store that other hosts use, too, for a run of this host's service.
    pub(in crate::managed) fn open_shared(store: Arc<dyn Store>, run: String) -> Result<Self> {
        check_whole(&*store)?;
        Ok(Self::shared(store, run))
    }

    pub(super) fn shared(store: Arc<dyn Store>, run: String) -> Self {
        let (failures, counters) = (Arc::<AtomicU64>::default(), Arc::<Counters>::default());
        Records {
            store: Arc::new(Counted { store, failures: failures.clone(), counters: counters.clone() }),
            file: None,
            run: Some(run),
            alone: Mutex::default(),
            mark: Mutex::default(),
            failures,
            counters,
            changes: AtomicU64::new(0),
        }
    }

    /// The number of failures of a shared store so far. If another operation fails while this grows, the store may be the reason.
    pub(in crate::managed) fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// How long a commit that was sent may still happen.
    pub(in crate::managed) fn deadline(&self) -> Duration {
        self.store.deadline()
    }

    /// Checks everything in the store, as of the last change.
    pub(in crate::managed) fn check(&self) -> Result<StoreCheck> {
        match &self.file {
            Some(file) => file.check(),
            None => check_shared(&*self.store),
        }
    }

    /// A number that differs after each change: records read while it stays the same are still current. `None` while a change goes
    /// on, and for a store that others change, too.
    pub(in crate::managed) fn changes(&self) -> Option<u64> {
        self.file.as_ref()?;
        Some(self.changes.load(Ordering::SeqCst)).filter(|changes| changes.is_multiple_of(2))
    }

    /// Fails while the outcome of a failed commit to a file is unknown: then nothing is written, and no device removed. On a shared
    /// store, the removal of a device is noted first, and a commit that is still under way conflicts with that note.
    pub(in crate::managed) fn check_sound(&self) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.check_sound())
    }

    /// Makes sure that no resource has a device, nor gets it: a change that failed may have happened all the same. On a shared
    /// store it may also still be under way.
    pub(in crate::managed) fn begin_to_remove(&self, id: &str, region: &str) -> Result<()> {
        if self.file.is_none() {
            return self.write(|tables| tables.begin_to_remove(id, region));
        }
        // Nothing is written, so that the remains of a failure are removed on a full disk, too. After a failed write, the file
        // may say at the next start that a resource has this device.
        self.check_sound()?;
        self.name_of(id)?.map_or(Ok(()), |name| Err(Error::Busy { what: format!("the device of the {name}") }))
    }

    /// The most resources that one transaction changes on any store.
    pub(in crate::managed) const MOST: usize = MAX_COMMIT - 4;

    /// Runs one transaction: on return, all or none of it is in the store. It may run several times, until no record that it has
    /// read was changed meanwhile.
    ///
    /// # Errors
    /// Those of `change`; [`Error::Busy`] if others change the same all the time; [`Error::InvalidOption`] if it changes more
    /// records than a commit of a shared store can; [`Error::Io`], which says so if it isn't known whether the transaction
    /// happened. Then it happened within the store's deadline, or never will.
    pub(in crate::managed) fn write<T>(&self, mut change: impl FnMut(&mut Tables<'_>) -> Result<T>) -> Result<T> {
        if let Some(file) = &self.file {
            file.check_process()?;
        }
        let _alone = self.file.as_ref().map(|_| self.alone());
        self.check_sound()?;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                pause(attempt - 1)?;
            }
            let mut tables = Tables::new(&*self.store, self.run.clone());
            let changed = change(&mut tables);
            let transaction = tables.transaction;
            if changed.is_err() || !transaction.changes() {
                // A decision made from records of different moments may be wrong.
                if self.file.is_some() || transaction.is_consistent()? {
                    return changed;
                }
                continue;
            }
            let commit = random::array()?;
            let changes = transaction.commit(&commit);
            let outcome = match (&self.file, changes.len()) {
                (Some(file), _) => self.counters.store_call("commit", || file.commit_any(&changes), outcome_of)?,
                (None, count) if count + usize::from(only_makes(&changes)) > MAX_COMMIT => return Err(too_many(count)),
                (None, _) if only_makes(&changes) => self.marked(changes, &commit)?,
                (None, _) => self.commit(&changes, &commit)?,
            };
            match outcome {
                Outcome::Committed(_) => return changed,
                Outcome::Conflict => {}
            }
        }
        Err(Error::Busy { what: "a record that others change all the time; try again later: it".into() })
    }

    fn alone(&self) -> Alone<'_> {
        let _lock = lock(&self.alone);
        self.changes.fetch_add(1, Ordering::SeqCst);
        Alone { _lock, changes: &self.changes }
    }

    /// Commits changes that only make records. If another host has removed these meanwhile, nothing in the store says that they were
    /// made, and a second try would make them again. So the commit also changes the mark of this run, which only this host writes:
    /// a second try finds that changed.
    fn marked(&self, mut changes: Vec<Change>, commit: &Commit) -> Result<Outcome> {
        let Some(run) = &self.run else { return self.commit(&changes, commit) };
        let key = Place::Mark(run.clone()).key();
        let mut known = lock(&self.mark);
        let before = match *known {
            Some(mark) => mark,
            None => self.begin_mark(&key)?,
        };
        // Until this has ended well.
        *known = None;
        let value = sealed(&key, b"null", commit, &before.commit);
        changes.push(Change { key, expected: Some(before.revision), action: Action::Put(value) });
        let done = self.commit(&changes, commit)?;
        *known = match &done {
            // The revisions of the records put, in the order of the changes; none if the answer was lost.
            Outcome::Committed(revisions) => revisions.last().map(|&revision| Mark { revision, commit: *commit }),
            // Perhaps for this one: an earlier commit may have come late.
            Outcome::Conflict => None,
        };
        Ok(done)
    }

    /// Reads the mark of this run, or makes it. Making it twice does no harm.
    fn begin_mark(&self, key: &str) -> Result<Mark> {
        for _ in 0..ATTEMPTS {
            if let Some(found) = self.store.get(&[key])?.pop().flatten() {
                let commit = unsealed(&found.key, &found.value).map_or_else(|_| Commit::default(), |mark| mark.commit);
                return Ok(Mark { revision: found.revision, commit });
            }
            let commit = random::array()?;
            let value = sealed(key, b"null", &commit, &Commit::default());
            self.commit(&[Change { key: key.into(), expected: None, action: Action::Put(value) }], &commit)?;
        }
        Err(Error::Busy { what: "a record of this host that others change all the time; try again later: it".into() })
    }

    /// Commits, and finds out after an error whether the commit happened.
    fn commit(&self, changes: &[Change], commit: &Commit) -> Result<Outcome> {
        let began = Instant::now();
        let mut unknown = match self.store.commit(changes) {
            Err(e @ Error::Io { .. }) => e,
            outcome => return outcome,
        };
        for attempt in 0.. {
            if attempt >= TRIES && began.elapsed() >= self.store.deadline() {
                break;
            }
            pause(attempt)?;
            // It demands the same as before of a record that the first one would have changed, so that it can't happen twice.
            match self.store.commit(changes) {
                Ok(Outcome::Conflict) => match self.known(changes, commit) {
                    Ok(Some(Known::Happened)) => return Ok(Outcome::Committed(Vec::new())),
                    Ok(Some(Known::DidNot)) => return Ok(Outcome::Conflict),
                    Ok(None) => break,
                    Err(e) => unknown = e,
                },
                Err(e @ Error::Io { .. }) => unknown = e,
                outcome => return outcome,
            }
        }
        Err(match unknown {
            Error::Io { what, source } => {
                let text = format!("it isn't known whether a change of the store happened; {what}");
                Error::io(text, source)
            }
            other => other,
        })
    }

    /// Whether a commit happened, after another one of the same changes didn't. `None` if all that it changed was changed
    /// again, more than once.
    fn known(&self, changes: &[Change], commit: &Commit) -> Result<Option<Known>> {
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        let found = self.store.get(&keys)?;
        let (mut puts, mut gone) = (0, true);
        for (change, record) in changes.iter().zip(found) {
            let revision: Option<Revision> = record.as_ref().map(|record| record.revision);
            match &change.action {
                Action::Check => continue,
                Action::Put(_) => puts += 1,
                Action::Remove => gone &= record.is_none(),
            }
            if revision.is_none() && change.expected.is_none() {
                // It may have been made, and removed since.
                continue;
            }
            if revision == change.expected {
                // It would have changed this one, too.
                return Ok(Some(Known::DidNot));
            }
            let Some(Ok(found)) = record.as_ref().map(|record| unsealed(&record.key, &record.value)) else { continue };
            if [found.commit, found.before].contains(commit) {
                return Ok(Some(Known::Happened));
            }
            // The record found replaced the version that this commit was to replace. After a removal nothing tells which version
            // was replaced.
            if let Action::Put(value) = &change.action
                && change.expected.is_some()
                && unsealed(&change.key, value).is_ok_and(|own| own.before == found.before)
            {
                return Ok(Some(Known::DidNot));
            }
        }
        // For a commit that only removes, it doesn't matter which commit removed the records.
        Ok((puts == 0 && gone).then_some(Known::Happened))
    }
}

/// Waits for a random part of a time that doubles with each attempt.
fn pause(attempt: u32) -> Result<()> {
    let longest = FIRST_WAIT.saturating_mul(1 << attempt.min(16)).min(LONGEST_WAIT);
    let part = u32::from_le_bytes(random::array()?);
    std::thread::sleep(longest.mul_f64(f64::from(part) / f64::from(u32::MAX)));
    Ok(())
}

/// Whether all that a commit changes are records that aren't there yet.
fn only_makes(changes: &[Change]) -> bool {
    let changed = || changes.iter().filter(|change| change.action != Action::Check);
    changed().next().is_some() && changed().all(|change| change.expected.is_none())
}

fn too_many(count: usize) -> Error {
    Error::InvalidOption(format!(
        "this changes {count} records in one step, and a shared store changes at most {MAX_COMMIT}; do it with fewer disks or \
         regions at once, or remove some of the disk's incremental snapshots first"
    ))
}
