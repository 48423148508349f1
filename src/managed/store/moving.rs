//! Moves all records from one store to another, while no service has either open.

use std::cmp::Ordering;

use super::page::{Pages, pages};
use super::place::HOSTS;
use super::shared::{Action, Change, MAX_COMMIT, MAX_COMMIT_BYTES, Outcome, Record, Store};
use crate::{Error, Result};

/// The record that a store has while it is being filled. No service opens it.
const MOVING: &str = "moving";

/// Copies all records of the store `from` to `to`, compares both, and returns how many there are. So a service moves from a file to
/// an engine that hosts share, and back. `from` isn't changed.
///
/// **Nothing stops a service that opens `from` afterwards**: it and the hosts on `to` would write the same devices. Move its file away, or
/// take the service's rights to it.
///
/// No service may have either open. `to` must be empty, or hold what an earlier attempt left: if this fails or is killed, call it
/// again with the same stores. Until it has succeeded, no service opens `to`.
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
/// [`Error::InvalidOption`] if `to` has other records; [`Error::Io`], also if `from` changes meanwhile.
pub fn copy_records(from: &dyn Store, to: &dyn Store) -> Result<u64> {
    for store in [from, to] {
        if !store.list(HOSTS, None, 1)?.is_empty() {
            return Err(Error::Busy { what: "a store, which services of hosts have open,".into() });
        }
    }
    check_whole(from)?;
    if to.get(&[MOVING])?[0].is_none() {
        if !to.list("", None, 1)?.is_empty() {
            let text = "there are records in the store already; give an empty one";
            return Err(Error::InvalidOption(text.into()));
        }
        commit(to, vec![put(MOVING, b"by copy_records".to_vec(), None)])?;
    }
    let mut changes = Vec::new();
    let mut bytes = 0;
    merge(from, to, |source, target| {
        let change = match (source, target) {
            (Some(source), target) => {
                let expected = target.map(|target| target.revision);
                put(&source.key, source.value, expected)
            }
            (None, Some(target)) => Change { key: target.key, expected: Some(target.revision), action: Action::Remove },
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
    let mut differing = 0_u64;
    let count = merge(from, to, |_, _| {
        differing += 1;
        Ok(())
    })?;
    if differing > 0 {
        return Err(changed());
    }
    let marker = to.get(&[MOVING])?.pop().flatten().ok_or_else(changed)?;
    commit(to, vec![Change { key: MOVING.into(), expected: Some(marker.revision), action: Action::Remove }])?;
    Ok(count)
}

/// Refuses a store that is only partly filled.
pub(super) fn check_whole(store: &dyn Store) -> Result<()> {
    if store.get(&[MOVING])?[0].is_none() {
        return Ok(());
    }
    let text = "not all records were copied to it yet; call `copy_records` again, and open it then";
    Err(Error::io("opening the store", std::io::Error::other(text)))
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
    let next_target = |targets: &mut Pages<'_>| loop {
        match targets.next().transpose()? {
            Some(record) if record.key == MOVING => {}
            other => return Ok::<_, Error>(other),
        }
    };
    let (mut source, mut target) = (sources.next().transpose()?, next_target(&mut targets)?);
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
            (source, count) = (sources.next().transpose()?, count + 1);
        }
        if other.is_some() {
            target = next_target(&mut targets)?;
        }
        if one.as_ref().map(|one| &one.value) != other.as_ref().map(|other| &other.value) {
            act(one, other)?;
        }
    }
}
