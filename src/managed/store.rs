//! The fleet's records, in one file that survives being killed: `redb`, a copy-on-write B-tree with transactions.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::records::{EncryptionSet, ManagedDisk};
use crate::{Error, Result};

const SETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sets");
const DISKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("disks");
/// Sets and their disks.
const MEMBERS: TableDefinition<'_, (&str, &str), ()> = TableDefinition::new("members");

pub(super) struct Store {
    database: Database,
}

impl Store {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |e| failed(format!("opening the store {}", path.display()), e);
        let database = Database::create(path).map_err(failed)?;
        let store = Store { database };
        // Tables come to be when they are first written.
        store.write(|_| Ok(()))?;
        Ok(store)
    }

    pub(super) fn set(&self, name: &str) -> Result<Option<EncryptionSet>> {
        self.read(SETS, name)
    }

    pub(super) fn disk(&self, name: &str) -> Result<Option<ManagedDisk>> {
        self.read(DISKS, name)
    }

    pub(super) fn put_set(&self, set: &EncryptionSet) -> Result<()> {
        self.write(|tables| tables.put_set(set))
    }

    pub(super) fn put_disk(&self, disk: &ManagedDisk) -> Result<()> {
        self.write(|tables| tables.put_disk(disk))
    }

    pub(super) fn remove_disk(&self, disk: &ManagedDisk) -> Result<()> {
        self.write(|tables| tables.remove_disk(disk))
    }

    pub(super) fn remove_set(&self, name: &str) -> Result<()> {
        self.write(|tables| tables.sets.remove(name).map(drop).map_err(|e| failed("writing the store", e)))
    }

    /// The names of a set's disks, in order.
    pub(super) fn members(&self, set: &str) -> Result<Vec<String>> {
        let reading = |e: redb::Error| failed("reading the store", e);
        let transaction = self.database.begin_read().map_err(|e| reading(e.into()))?;
        let table = transaction.open_table(MEMBERS).map_err(|e| reading(e.into()))?;
        let mut members = Vec::new();
        for entry in table.range((set, "")..).map_err(|e| reading(e.into()))? {
            let (key, _) = entry.map_err(|e| reading(e.into()))?;
            let (of, disk) = key.value();
            if of != set {
                break;
            }
            members.push(disk.to_owned());
        }
        Ok(members)
    }

    /// The names of all sets, in order.
    pub(super) fn set_names(&self) -> Result<Vec<String>> {
        self.names(SETS)
    }

    /// The names of all disks, in order.
    pub(super) fn disk_names(&self) -> Result<Vec<String>> {
        self.names(DISKS)
    }

    fn names(&self, table: TableDefinition<'_, &str, &[u8]>) -> Result<Vec<String>> {
        let reading = |e: redb::Error| failed("reading the store", e);
        let transaction = self.database.begin_read().map_err(|e| reading(e.into()))?;
        let table = transaction.open_table(table).map_err(|e| reading(e.into()))?;
        let entries = table.iter().map_err(|e| reading(e.into()))?;
        entries.map(|entry| entry.map(|(key, _)| key.value().to_owned()).map_err(|e| reading(e.into()))).collect()
    }

    fn read<T: DeserializeOwned>(&self, table: TableDefinition<'_, &str, &[u8]>, name: &str) -> Result<Option<T>> {
        let reading = |e: redb::Error| failed(format!("reading {name:?} from the store"), e);
        let transaction = self.database.begin_read().map_err(|e| reading(e.into()))?;
        let table = transaction.open_table(table).map_err(|e| reading(e.into()))?;
        let Some(record) = table.get(name).map_err(|e| reading(e.into()))? else { return Ok(None) };
        serde_json::from_slice(record.value())
            .map(Some)
            .map_err(|e| failed(format!("reading {name:?} from the store"), e))
    }

    /// One transaction: all of it is on the disk when this returns, or none.
    fn write(&self, change: impl FnOnce(&mut Tables<'_>) -> Result<()>) -> Result<()> {
        let writing = |e: redb::Error| failed("writing the store", e);
        let transaction = self.database.begin_write().map_err(|e| writing(e.into()))?;
        {
            let mut tables = Tables {
                sets: transaction.open_table(SETS).map_err(|e| writing(e.into()))?,
                disks: transaction.open_table(DISKS).map_err(|e| writing(e.into()))?,
                members: transaction.open_table(MEMBERS).map_err(|e| writing(e.into()))?,
            };
            change(&mut tables)?;
        }
        transaction.commit().map_err(|e| writing(e.into()))
    }
}

struct Tables<'t> {
    sets: redb::Table<'t, &'static str, &'static [u8]>,
    disks: redb::Table<'t, &'static str, &'static [u8]>,
    members: redb::Table<'t, (&'static str, &'static str), ()>,
}

impl Tables<'_> {
    fn put_set(&mut self, set: &EncryptionSet) -> Result<()> {
        let written = self.sets.insert(set.name.as_str(), json(set).as_slice()).map(drop);
        written.map_err(|e| failed("writing the store", e))
    }

    fn put_disk(&mut self, disk: &ManagedDisk) -> Result<()> {
        let writing = |e| failed("writing the store", e);
        let old = self.disks.insert(disk.name.as_str(), json(disk).as_slice()).map_err(writing)?;
        let old: Option<ManagedDisk> = old.and_then(|old| serde_json::from_slice(old.value()).ok());
        if let Some(set) = old.and_then(|old| old.set) {
            self.members.remove((set.as_str(), disk.name.as_str())).map_err(writing)?;
        }
        if let Some(set) = &disk.set {
            self.members.insert((set.as_str(), disk.name.as_str()), ()).map_err(writing)?;
        }
        Ok(())
    }

    fn remove_disk(&mut self, disk: &ManagedDisk) -> Result<()> {
        let writing = |e| failed("writing the store", e);
        self.disks.remove(disk.name.as_str()).map_err(writing)?;
        if let Some(set) = &disk.set {
            self.members.remove((set.as_str(), disk.name.as_str())).map_err(writing)?;
        }
        Ok(())
    }
}

fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has only string keys")
}

fn failed(what: impl Into<String>, e: impl core::error::Error + Send + Sync + 'static) -> Error {
    Error::io(what, std::io::Error::other(e))
}
