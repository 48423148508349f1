//! Changes of a file: to its records, and to the record of its contents.

use redb::{Database, Durability, ReadableTable, WriteTransaction};

use super::contents::{self, Contents};
use super::engine::Engine;
use super::errors::{reading, writing};
use super::schema::{CONTENTS, META, RECORDS};
use super::shared::{Action, Change, Outcome, Revision};
use crate::Result;

pub(super) fn begin(database: &Database) -> Result<WriteTransaction> {
    let mut transaction = database.begin_write().map_err(writing)?;
    // Two phases, so that a damaged page can be told from a torn commit.
    transaction.set_two_phase_commit(true);
    transaction.set_durability(Durability::Immediate).map_err(writing)?;
    Ok(transaction)
}

/// Runs one transaction: on return, all or none of it is on the disk. From the commit on, `committing` holds the number of the
/// change and its outcome. The number is greater than `after`.
pub(super) fn commit(
    engine: &Engine,
    changes: &[Change],
    after: u64,
    committing: &mut Option<(u64, Outcome)>,
) -> Result<Outcome> {
    engine.guarded(|database| {
        let transaction = begin(database)?;
        let Some((serial, revisions)) = apply(&transaction, changes, after)? else { return Ok(Outcome::Conflict) };
        let outcome = Outcome::Committed(revisions);
        *committing = Some((serial, outcome.clone()));
        transaction.commit().map_err(writing)?;
        Ok(outcome)
    })
}

/// Writes the changes, unless a record has another revision than is expected.
fn apply(transaction: &WriteTransaction, changes: &[Change], after: u64) -> Result<Option<(u64, Vec<Revision>)>> {
    let mut meta = transaction.open_table(META).map_err(writing)?;
    let mut contents = match meta.get(CONTENTS).map_err(reading)? {
        Some(noted) => Contents::from_bytes(noted.value(), contents::FORM)?,
        None => Contents::default(),
    };
    // Revisions are numbers of changes, so that they grow also after a removal.
    let serial = contents.serial.max(after).wrapping_add(1);
    contents.serial = serial;
    let mut table = transaction.open_table(RECORDS).map_err(writing)?;
    let mut revisions = Vec::new();
    for Change { key, expected, action } in changes {
        let key = key.as_str();
        let found = table.get(key).map_err(reading)?.map(|found| found.value().to_vec());
        let revision = found.as_ref().and_then(|found| found.first_chunk()).map(|n| Revision(u64::from_le_bytes(*n)));
        if revision != *expected {
            return Ok(None);
        }
        if let (Some(old), Action::Put(_) | Action::Remove) = (&found, action) {
            contents.remove(key, old);
        }
        match action {
            Action::Check => {}
            Action::Remove => drop(table.remove(key).map_err(writing)?),
            Action::Put(value) => {
                let stored = [&serial.to_le_bytes()[..], value].concat();
                table.insert(key, stored.as_slice()).map_err(writing)?;
                contents.add(key, &stored);
                revisions.push(Revision(serial));
            }
        }
    }
    meta.insert(CONTENTS, contents.to_bytes().as_slice()).map_err(writing)?;
    Ok(Some((serial, revisions)))
}
