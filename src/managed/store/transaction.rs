//! A transaction over any store. It remembers the revisions of the records that it reads. All its changes are one commit, which
//! demands that none of the records read has changed.
//!
//! The commit doesn't demand what [`scan`](Transaction::scan) found: no store has a condition for "no other record begins like
//! this", and a list of a million revisions is no condition. So a scan misses a record that joins the range meanwhile. Code that
//! relies on a range therefore first changes a record that every newcomer demands unchanged, such as the set's for its members, and
//! only then scans. It finds the records that came before the change, and those that come after it know of the change.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::errors::Defect;
use super::page::pages;
use super::place::Place;
use super::record::{Commit, sealed, unsealed};
use super::shared::{Action, Change, MAX_COMMIT, Record, Revision, Store};
use crate::Result;

pub(super) struct Transaction<'s> {
    store: &'s dyn Store,
    entries: BTreeMap<String, Entry>,
    /// The number of reads from the store. The records of one read are as of one moment.
    asked: usize,
}

/// A record that was read, and its change.
struct Entry {
    revision: Option<Revision>,
    /// The commit that wrote the record.
    commit: Commit,
    /// Its JSON as it was read.
    read: Option<Vec<u8>>,
    /// Its JSON as it will be, if that was changed.
    new: Option<Option<Vec<u8>>>,
}

impl Entry {
    fn now(&self) -> Option<&Vec<u8>> {
        self.new.as_ref().unwrap_or(&self.read).as_ref()
    }
}

/// The JSON of a record as it was read.
pub(super) fn opened(record: &Record) -> Result<(Commit, Vec<u8>), Defect> {
    let sealed = unsealed(&record.key, &record.value).map_err(|how| {
        let name = Place::of_key(&record.key).map_or_else(|| format!("key {:?}", record.key), |at| at.name());
        Defect(format!("the record of the {name} {how}"))
    })?;
    Ok((sealed.commit, sealed.json.to_vec()))
}

impl<'s> Transaction<'s> {
    pub(super) fn new(store: &'s dyn Store) -> Self {
        Transaction { store, entries: BTreeMap::new(), asked: 0 }
    }

    /// Reads records, as of one moment if they are few.
    pub(super) fn load(&mut self, keys: &[String]) -> Result<()> {
        let mut missing: Vec<&str> =
            keys.iter().map(String::as_str).filter(|&key| !self.entries.contains_key(key)).collect();
        missing.sort_unstable();
        missing.dedup();
        for keys in missing.chunks(MAX_COMMIT) {
            self.asked += 1;
            for (key, record) in keys.iter().zip(self.store.get(keys)?) {
                self.entries.insert((*key).to_owned(), entry(record.as_ref())?);
            }
        }
        Ok(())
    }

    /// The JSON of a record.
    pub(super) fn get(&mut self, key: &str) -> Result<Option<&[u8]>> {
        if !self.entries.contains_key(key) {
            self.load(&[key.to_owned()])?;
        }
        Ok(self.entries.get(key).and_then(Entry::now).map(Vec::as_slice))
    }

    pub(super) fn put(&mut self, key: &str, json: Vec<u8>) -> Result<()> {
        self.change(key, Some(json))
    }

    pub(super) fn remove(&mut self, key: &str) -> Result<()> {
        self.change(key, None)
    }

    fn change(&mut self, key: &str, json: Option<Vec<u8>>) -> Result<()> {
        self.load(&[key.to_owned()])?;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.new = Some(json);
        }
        Ok(())
    }

    /// Passes all records whose keys begin with `prefix` to `act`, in order, until it returns something. Records changed by this
    /// transaction are passed as changed. Other records may join meanwhile: see above.
    pub(super) fn scan<T>(
        &self,
        prefix: &str,
        mut act: impl FnMut(&str, &[u8]) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let mut own = self
            .entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, entry)| entry.new.is_some())
            .peekable();
        for record in pages(self.store, prefix) {
            let record = record?;
            while let Some((key, entry)) = own.next_if(|(key, _)| **key < record.key) {
                if let Some(found) = entry.now().map_or(Ok(None), |json| act(key, json))? {
                    return Ok(Some(found));
                }
            }
            let found = match own.next_if(|(key, _)| **key == record.key) {
                Some((key, entry)) => entry.now().map_or(Ok(None), |json| act(key, json))?,
                None => act(&record.key, &opened(&record)?.1)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        for (key, entry) in own {
            if let Some(found) = entry.now().map_or(Ok(None), |json| act(key, json))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The JSON of records, as changed here. That they stay so isn't demanded.
    pub(super) fn look(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MAX_COMMIT) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for (key, record) in keys.iter().zip(self.store.get(&keys)?) {
                found.push(match self.entries.get(*key).and_then(|entry| entry.new.clone()) {
                    Some(changed) => changed,
                    None => record.map(|record| opened(&record)).transpose()?.map(|(_, json)| json),
                });
            }
        }
        Ok(found)
    }

    /// Whether each of these records exists, even if it can't be read. The commit doesn't demand that this stays so.
    pub(super) fn are_there(&self, keys: &[String]) -> Result<Vec<bool>> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MAX_COMMIT) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            found.extend(self.store.get(&keys)?.iter().map(Option::is_some));
        }
        Ok(found)
    }

    /// A page of records, as they are in the store. That they stay so isn't demanded.
    pub(super) fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        self.store.list(prefix, after, limit)
    }

    /// How many records the commit would demand or change.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether anything is to be changed.
    pub(super) fn changes(&self) -> bool {
        self.entries.values().any(|entry| entry.new.is_some())
    }

    /// Whether all that was read is still so, or was read at one moment.
    pub(super) fn is_consistent(&self) -> Result<bool> {
        if self.asked < 2 {
            return Ok(true);
        }
        let keys: Vec<&str> = self.entries.keys().map(String::as_str).collect();
        for keys in keys.chunks(MAX_COMMIT) {
            for (key, record) in keys.iter().zip(self.store.get(keys)?) {
                if record.map(|record| record.revision) != self.entries[*key].revision {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The commit of this number.
    pub(super) fn commit(&self, commit: &Commit) -> Vec<Change> {
        let change = |(key, entry): (&String, &Entry)| {
            let action = match &entry.new {
                Some(Some(json)) => Action::Put(sealed(key, json, commit, &entry.commit)),
                Some(None) if entry.revision.is_some() => Action::Remove,
                _ => Action::Check,
            };
            Change { key: key.clone(), expected: entry.revision, action }
        };
        self.entries.iter().map(change).collect()
    }
}

fn entry(record: Option<&Record>) -> Result<Entry> {
    Ok(match record {
        None => Entry { revision: None, commit: Commit::default(), read: None, new: None },
        Some(record) => {
            let (commit, json) = opened(record)?;
            Entry { revision: Some(record.revision), commit, read: Some(json), new: None }
        }
    })
}
