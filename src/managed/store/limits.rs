//! The limits that every engine checks before it does anything, with the same error texts.

use std::collections::BTreeSet;

use super::shared::{Action, Change, MAX_COMMIT, MAX_COMMIT_BYTES, MAX_KEY, MAX_PAGE, MAX_VALUE};
use crate::{Error, Result};

fn refused(why: String) -> Error {
    Error::InvalidOption(why)
}

/// Checks the arguments of [`Store::get`](super::Store::get). Engines call it first.
///
/// # Errors
/// [`Error::InvalidOption`] for too many keys, and for a key that is empty, too long or has control characters.
pub fn check_get(keys: &[&str]) -> Result<()> {
    if keys.len() > MAX_COMMIT {
        return Err(refused(format!("{} keys are more than the {MAX_COMMIT} that are read at once", keys.len())));
    }
    keys.iter().try_for_each(|key| check_key(key))
}

/// Checks the arguments of [`Store::list`](super::Store::list). Engines call it first.
///
/// # Errors
/// [`Error::InvalidOption`] for a limit of 0 or beyond [`MAX_PAGE`], and for a prefix or a key that no key can have. Both
/// may be empty.
pub fn check_list(prefix: &str, after: Option<&str>, limit: usize) -> Result<()> {
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(refused(format!("a page of {limit} records isn't possible: ask for 1 to {MAX_PAGE}")));
    }
    [prefix, after.unwrap_or_default()].into_iter().try_for_each(check_text)
}

/// Checks the arguments of [`Store::commit`](super::Store::commit). Engines call it first.
///
/// # Errors
/// [`Error::InvalidOption`] for too many changes or bytes, a key twice, a value that is too long, an unsound key, and for
/// the removal of a record that is expected to be absent.
pub fn check_commit(changes: &[Change]) -> Result<()> {
    if changes.len() > MAX_COMMIT {
        return Err(refused(format!("{} changes are more than the {MAX_COMMIT} of a commit", changes.len())));
    }
    let (mut keys, mut bytes) = (BTreeSet::new(), 0);
    for Change { key, expected, action } in changes {
        check_key(key)?;
        if !keys.insert(key) {
            return Err(refused(format!("the key {key:?} occurs twice in a commit")));
        }
        if matches!((expected, action), (None, Action::Remove)) {
            return Err(refused(format!("a commit removes {key:?} and expects that it is absent: check it instead")));
        }
        let len = if let Action::Put(value) = action { value.len() } else { 0 };
        if len > MAX_VALUE {
            return Err(refused(format!("the value of {key:?} has {len} bytes: at most {MAX_VALUE} are possible")));
        }
        bytes += key.len() + len;
    }
    if bytes > MAX_COMMIT_BYTES {
        return Err(refused(format!("a commit of {bytes} bytes is more than {MAX_COMMIT_BYTES}: make several of it")));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(refused("a key of the store can't be empty".into()));
    }
    check_text(key)
}

fn check_text(key: &str) -> Result<()> {
    if key.len() > MAX_KEY {
        return Err(refused(format!("a key of {} bytes is too long: at most {MAX_KEY} are possible", key.len())));
    }
    if key.chars().any(char::is_control) {
        return Err(refused(format!("the key {key:?} has control characters")));
    }
    Ok(())
}
