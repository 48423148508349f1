//! Moves all records from one store to another, while no service has either open.

use std::cmp::Ordering;

use super::page::{Pages, pages};
use super::place::HOSTS;
use super::shared::{Action, Change, MAX_COMMIT, MAX_COMMIT_BYTES, Outcome, Record, Store};
use crate::{Error, Result, random};

/// The record that a store has while it is being filled. No service opens it. Its value names the copy.
const MOVING: &str = "moving";
/// The record that a store has once its records are in another one. No service opens it. Its value names the copy that moved them:
/// if there are several copies to different stores, at most one ends.
const MOVED: &str = "moved";

/// Copies all records of the store `from` to `to`, compares both, and returns how many there are. So a service moves from a file to
/// an engine that hosts share, and back.
///
/// `from` stays unchanged, except for a mark that it was moved. No service opens it any more, because that service and the hosts on
/// `to` would write to the same devices. If the copy fails at the end, the mark is taken away if that is certain to be safe;
/// [`reopen_moved`] does it otherwise. Releases before this function's mark don't know it.
///
/// No service may have either open. `to` must be empty, or hold the records of an earlier attempt: if this fails or is killed, call
/// it again with the same stores. Until it has succeeded, no service opens `to`.
///
/// ```
/// use std::sync::Arc;
///
/// use atrest::managed::store::{FileStore, MemoryStore, copy_records};
///
/// # let folder = tempfile::tempdir().unwrap();
/// let from = FileStore::open(folder.path().join("fleet.redb"))?;
/// let to = MemoryStore::new();
/// assert_eq!(copy_records(&from, &to)?, 0);
/// # Ok::<(), atrest::Error>(())
/// ```
///
/// # Errors
/// [`Error::Busy`] if a host has a record in one of them: close its service, or wait until another one has taken it for lost;
/// [`Error::InvalidOption`] if `to` has other records; [`Error::Io`], also if `from` changes meanwhile, or was moved to another store.
pub fn copy_records(from: &dyn Store, to: &dyn Store) -> Result<u64> {
    [from, to].into_iter().try_for_each(check_closed)?;
    let begun = value_of(to, MOVING)?;
    let is_begun = begun.is_some();
    let copy = begun.map_or_else(new_name, Ok)?;
    if !is_begun || value_of(from, MOVED)?.as_ref() != Some(&copy) {
        // If an earlier attempt of this copy marked `from`, go on with it.
        check_whole(from)?;
    }
    check_unmoved(to)?;
    if !is_begun {
        if !to.list("", None, 1)?.is_empty() {
            let text = "there are records in the store already; give an empty one";
            return Err(Error::InvalidOption(text.into()));
        }
        commit(to, vec![put(MOVING, copy.clone(), None)])?;
    }
    let mut changes = Vec::new();
    let mut bytes = 0;
    merge(from, to, |source, target| {
        let change = match (source, target) {
            (Some(source), target) => {
                let expected = target.map(|target| target.revision);
                put(&source.key, source.value, expected)
            }
            (None, Some(target)) => removal(target),
            (None, None) => return Ok(()),
        };
        let len = change.key.len() + if let Action::Put(value) = &change.action { value.len() } else { 0 };
        if changes.len() == MAX_COMMIT || bytes + len > MAX_COMMIT_BYTES {
            bytes = 0;
            commit(to, core::mem::take(&mut changes))?;
        }
        bytes += len;
        changes.push(change);
        Ok(())
    })?;
    if !changes.is_empty() {
        commit(to, changes)?;
    }
    // A service that opens `from` after this finds the mark. One that opened it before has changed a record, or its host's record
    // is still there.
    match value_of(from, MOVED)? {
        None => commit(from, vec![put(MOVED, copy.clone(), None)])?,
        Some(moved) if moved == copy => {}
        Some(_) => check_unmoved(from)?,
    }
    let compared = check_closed(from).and_then(|()| {
        let mut differing = 0_u64;
        let count = merge(from, to, |_, _| {
            differing += 1;
            Ok(())
        })?;
        if differing > 0 { Err(changed()) } else { Ok(count) }
    });
    let count = compared.inspect_err(|_| {
        // `from` may be in use, and isn't moved. If it stays marked, the error on opening it says what to do.
        let _ = take_back(from, to, &copy);
    })?;
    let marker = mark_of(to, &copy)?.ok_or_else(changed)?;
    commit(to, vec![removal(marker)])?;
    Ok(count)
}

/// Takes away the mark of a copy that isn't to end. Another call for the same stores may be about to end it, or may have ended it:
/// the record that it removes at its end gets another name first.
fn take_back(from: &dyn Store, to: &dyn Store, copy: &[u8]) -> Result<()> {
    let Some(marker) = mark_of(to, copy)? else { return Ok(()) };
    commit(to, vec![put(MOVING, new_name()?, Some(marker.revision))])?;
    match from.get(&[MOVED])?.pop().flatten().filter(|mark| mark.value == copy) {
        Some(mark) => commit(from, vec![removal(mark)]),
        None => Ok(()),
    }
}

/// The mark of a store that this copy is filling.
fn mark_of(to: &dyn Store, copy: &[u8]) -> Result<Option<Record>> {
    Ok(to.get(&[MOVING])?.pop().flatten().filter(|mark| mark.value == copy))
}

/// A name that no other copy has.
fn new_name() -> Result<Vec<u8>> {
    Ok(format!("by copy_records {:032x}", u128::from_be_bytes(random::array()?)).into_bytes())
}

fn value_of(store: &dyn Store, mark: &str) -> Result<Option<Vec<u8>>> {
    Ok(store.get(&[mark])?.pop().flatten().map(|mark| mark.value))
}

/// Makes a store usable again whose records were moved to another one by [`copy_records`], as it was before that. A store that
/// wasn't moved stays as it is.
///
/// **No service may use the other store from then on**, nor have used it: its hosts and those of this store would write to the same
/// devices, and this store doesn't know the resources that they made or rotated. To bring those back, copy the other store's
/// records into an empty one instead.
///
/// # Errors
/// [`Error::Io`].
pub fn reopen_moved(store: &dyn Store) -> Result<()> {
    match store.get(&[MOVED])?.pop().flatten() {
        Some(mark) => commit(store, vec![removal(mark)]),
        None => Ok(()),
    }
}

/// Refuses a store that is only partly filled, or whose records are in another one now.
pub(in crate::managed) fn check_whole(store: &dyn Store) -> Result<()> {
    if store.get(&[MOVING])?[0].is_some() {
        let text = "not all records were copied to it yet; call `copy_records` again, and open it then";
        return Err(Error::io("opening the store", std::io::Error::other(text)));
    }
    check_unmoved(store)
}

fn check_unmoved(store: &dyn Store) -> Result<()> {
    if store.get(&[MOVED])?[0].is_none() {
        return Ok(());
    }
    let text = "its records were moved to another store by `copy_records`: open that one; `reopen_moved` makes this one usable again, \
                if no service has used the other";
    Err(Error::io("opening the store", std::io::Error::other(text)))
}

/// Refuses a store that services of hosts have open.
fn check_closed(store: &dyn Store) -> Result<()> {
    match store.list(HOSTS, None, 1)?.is_empty() {
        true => Ok(()),
        false => Err(Error::Busy { what: "a store, which services of hosts have open,".into() }),
    }
}

fn removal(record: Record) -> Change {
    Change { key: record.key, expected: Some(record.revision), action: Action::Remove }
}

fn put(key: &str, value: Vec<u8>, expected: Option<super::shared::Revision>) -> Change {
    Change { key: key.into(), expected, action: Action::Put(value) }
}

fn commit(to: &dyn Store, changes: Vec<Change>) -> Result<()> {
    match to.commit(&changes)? {
        Outcome::Committed(_) => Ok(()),
        Outcome::Conflict => Err(changed()),
    }
}

fn changed() -> Error {
    let text = "somebody changed one of them meanwhile; close all services on both, and call it again";
    Error::io("comparing the stores", std::io::Error::other(text))
}

/// Passes the records that differ to `act`, of the one store and of the other, and returns how many the first has.
fn merge(
    from: &dyn Store,
    to: &dyn Store,
    mut act: impl FnMut(Option<Record>, Option<Record>) -> Result<()>,
) -> Result<u64> {
    let (mut sources, mut targets) = (pages(from, ""), pages(to, ""));
    let next = |records: &mut Pages<'_>| loop {
        match records.next().transpose()? {
            Some(record) if [MOVING, MOVED].contains(&record.key.as_str()) => {}
            other => return Ok::<_, Error>(other),
        }
    };
    let (mut source, mut target) = (next(&mut sources)?, next(&mut targets)?);
    let mut count = 0;
    loop {
        let order = match (&source, &target) {
            (None, None) => return Ok(count),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(source), Some(target)) => source.key.cmp(&target.key),
        };
        let (one, other) = match order {
            Ordering::Less => (source.take(), None),
            Ordering::Greater => (None, target.take()),
            Ordering::Equal => (source.take(), target.take()),
        };
        if one.is_some() {
            (source, count) = (next(&mut sources)?, count + 1);
        }
        if other.is_some() {
            target = next(&mut targets)?;
        }
        if one.as_ref().map(|one| &one.value) != other.as_ref().map(|other| &other.value) {
            act(one, other)?;
        }
    }
}
