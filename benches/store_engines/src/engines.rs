//! The engines, and their common interface.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use heed::types::{Bytes, Str};
use rusqlite::OptionalExtension;

use crate::service::Service;

pub type Map = BTreeMap<String, Vec<u8>>;
pub type Told<T> = Result<T, String>;

/// An open store.
pub trait Engine {
    /// Stores records in one transaction, which is on the disk when this returns.
    fn put(&mut self, records: &[(String, Vec<u8>)]) -> Told<()>;

    /// All records.
    fn load(&mut self) -> Told<Map>;

    /// Moves the content of a journal to its permanent place.
    fn settle(&mut self) -> Told<()> {
        Ok(())
    }
}

pub const NAMES: [&str; 5] = ["redb", "sqlite", "lmdb", "fjall", "atrest"];

/// Opens the store in a folder, or makes it. With `check`, first runs the engine's own check of the whole store.
pub fn open(name: &str, folder: &Path, check: bool) -> Told<Box<dyn Engine>> {
    Ok(match name {
        "redb" => Box::new(Redb::open(folder, check)?),
        "sqlite" => Box::new(Sqlite::open(folder, check)?),
        "lmdb" => Box::new(Lmdb::open(folder)?),
        "fjall" => Box::new(Fjall::open(folder)?),
        "atrest" => Box::new(Service::open(folder)?),
        _ => return Err(format!("no engine is named {name:?}; there are {NAMES:?}")),
    })
}

pub fn told<E: Display>(e: E) -> String {
    e.to_string()
}

struct Redb(redb::Database);

impl Redb {
    const TABLE: redb::TableDefinition<'static, &'static str, &'static [u8]> = redb::TableDefinition::new("records");

    fn open(folder: &Path, check: bool) -> Told<Self> {
        let mut database = redb::Database::create(folder.join("store")).map_err(told)?;
        if check && !database.check_integrity().map_err(told)? {
            return Err("it was damaged".into());
        }
        let transaction = database.begin_write().map_err(told)?;
        transaction.open_table(Self::TABLE).map(drop).map_err(told)?;
        transaction.commit().map_err(told)?;
        Ok(Redb(database))
    }
}

impl Engine for Redb {
    fn put(&mut self, records: &[(String, Vec<u8>)]) -> Told<()> {
        let mut transaction = self.0.begin_write().map_err(told)?;
        transaction.set_two_phase_commit(true);
        {
            let mut table = transaction.open_table(Self::TABLE).map_err(told)?;
            for (key, value) in records {
                table.insert(key.as_str(), value.as_slice()).map_err(told)?;
            }
        }
        transaction.commit().map_err(told)
    }

    fn load(&mut self) -> Told<Map> {
        use redb::{ReadableDatabase, ReadableTable};
        let table = self.0.begin_read().map_err(told)?.open_table(Self::TABLE).map_err(told)?;
        let record = |entry: Result<(redb::AccessGuard<'_, &'static str>, redb::AccessGuard<'_, &'static [u8]>), _>| {
            let (key, value) = entry.map_err(told::<redb::StorageError>)?;
            Ok((key.value().to_owned(), value.value().to_owned()))
        };
        table.iter().map_err(told)?.map(record).collect()
    }
}

struct Sqlite(rusqlite::Connection);

impl Sqlite {
    fn open(folder: &Path, check: bool) -> Told<Self> {
        let connection = rusqlite::Connection::open(folder.join("store")).map_err(told)?;
        // SQLite's advice for untrusted files.
        let cautious = "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;";
        connection.execute_batch(cautious).map_err(told)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(told)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(told)?;
        if check {
            let found: Option<String> =
                connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).optional().map_err(told)?;
            if found.as_deref() != Some("ok") {
                return Err(found.unwrap_or_default());
            }
        }
        let make = "CREATE TABLE IF NOT EXISTS records (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID";
        connection.execute_batch(make).map_err(told)?;
        Ok(Sqlite(connection))
    }
}

impl Engine for Sqlite {
    fn put(&mut self, records: &[(String, Vec<u8>)]) -> Told<()> {
        let transaction = self.0.transaction().map_err(told)?;
        for (key, value) in records {
            let mut put = transaction.prepare_cached("REPLACE INTO records VALUES (?1, ?2)").map_err(told)?;
            put.execute((key, value)).map_err(told)?;
        }
        transaction.commit().map_err(told)
    }

    fn load(&mut self) -> Told<Map> {
        let mut all = self.0.prepare("SELECT key, value FROM records ORDER BY key").map_err(told)?;
        let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(told)?;
        rows.map(|row| row.map_err(told)).collect()
    }

    fn settle(&mut self) -> Told<()> {
        self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(told)
    }
}

struct Lmdb {
    environment: heed::Env,
    records: heed::Database<'static, Str, Bytes>,
}

impl Lmdb {
    fn open(folder: &Path) -> Told<Self> {
        let mut options = heed::EnvOpenOptions::new();
        // SAFETY: nobody else changes or shortens the file while it is open.
        let environment = unsafe { options.map_size(1 << 30).open(folder) }.map_err(told)?;
        let transaction = environment.write_txn().map_err(told)?;
        let made = environment.create_databases_and_commit(transaction, |databases, transaction| {
            databases.create_database(transaction, None).map(heed::CommitOrAbort::<_, ()>::Commit)
        });
        let records = made.map_err(told::<heed::Error>)?.unwrap_commit();
        Ok(Lmdb { environment, records })
    }
}

impl Engine for Lmdb {
    fn put(&mut self, records: &[(String, Vec<u8>)]) -> Told<()> {
        let mut transaction = self.environment.write_txn().map_err(told)?;
        for (key, value) in records {
            self.records.put(&mut transaction, key, value).map_err(told)?;
        }
        transaction.commit().map_err(told)
    }

    fn load(&mut self) -> Told<Map> {
        let transaction = self.environment.read_txn().map_err(told)?;
        let all = self.records.iter(&transaction).map_err(told)?;
        all.map(|entry| entry.map(|(key, value)| (key.to_owned(), value.to_owned())).map_err(told)).collect()
    }
}

struct Fjall {
    database: fjall::Database,
    records: fjall::Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Told<Self> {
        let database = fjall::Database::builder(folder).open().map_err(told)?;
        let records = database.keyspace("records", fjall::KeyspaceCreateOptions::default).map_err(told)?;
        Ok(Fjall { database, records })
    }
}

impl Engine for Fjall {
    fn put(&mut self, records: &[(String, Vec<u8>)]) -> Told<()> {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncAll));
        for (key, value) in records {
            batch.insert(&self.records, key.as_str(), value.as_slice());
        }
        batch.commit().map_err(told)
    }

    fn load(&mut self) -> Told<Map> {
        let record = |entry: fjall::Guard| {
            let (key, value) = entry.into_inner().map_err(told)?;
            Ok((String::from_utf8(key.to_vec()).map_err(told)?, value.to_vec()))
        };
        self.records.iter().map(record).collect()
    }

    fn settle(&mut self) -> Told<()> {
        self.records.rotate_memtable_and_wait().map_err(told)
    }
}
