//! Stores of managed disks whose records are made by the harness, with checksums by the letter of the format.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::pages::Pages;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The tables of former releases.
const SETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sets");
const RESOURCES: TableDefinition<'_, (u8, &str), &[u8]> = TableDefinition::new("resources");
const ORPHANS: TableDefinition<'_, &str, &str> = TableDefinition::new("orphans");

/// The kinds of records, by their numbers in tables of former releases. A resource's place has its kind's name.
const KINDS: [&str; 5] = ["set", "resource/disk", "resource/snapshot", "resource/image", "orphan"];
const SET: u8 = 0;
pub const ORPHAN: u8 = 4;
/// The length of what comes before the JSON of a record.
const HEAD: usize = 66;
const REVISION: usize = 8;
/// Of the one commit that writes a store here.
const COMMIT: [u8; 16] = [1; 16];
const SERIAL: u64 = 7;

/// The release that writes a store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// With a table for each kind of records.
    Former = 1,
    Now = 2,
}

/// The records of a store, as JSON, by kind and name. Those for finding others aren't among them.
pub type Records = BTreeMap<(u8, String), Vec<u8>>;

pub fn records(path: &Path) -> Records {
    let database = Database::open(path).unwrap();
    let table = database.begin_read().unwrap().open_table(RECORDS).unwrap();
    let mut records = Records::new();
    for entry in table.iter().unwrap() {
        let (key, stored) = entry.unwrap();
        let of_kind = |kind: &&str| Some(key.value().strip_prefix(*kind)?.strip_prefix('/')?.to_owned());
        let found = (0..).zip(&KINDS).find_map(|(number, kind)| Some((number, of_kind(kind)?)));
        records.extend(found.map(|place| (place, stored.value()[REVISION + HEAD..].to_vec())));
    }
    records
}

/// A store of some records, with all checksums right. The record of an orphan is its region in the former form, and JSON in the
/// other.
pub struct Store {
    records: Records,
    contents: Contents,
    file: Pages,
}

impl Store {
    pub fn new(records: &Records, form: Form) -> Self {
        let file = Memory::default();
        let mut contents = Contents { form, counts: [0; 3], sum: [0; 32] };
        let changes = records.iter().map(|((kind, name), record)| (*kind, &**name, &**record, true));
        contents.change(&file, &changes.collect::<Vec<_>>());
        Store { records: records.clone(), contents, file: file.take() }
    }

    /// Writes it to a file.
    pub fn write(&self, path: &Path) {
        self.file.write_file(path).unwrap();
    }

    /// Writes it to a file with one more record, or another one. It costs less than to make a store anew.
    pub fn write_with(&self, path: &Path, kind: u8, name: &str, record: &[u8]) {
        let file = Memory(Arc::new(Mutex::new(self.file.clone())));
        let old = self.records.get(&(kind, name.to_owned()));
        let mut changes: Vec<Change<'_>> = old.iter().map(|old| (kind, name, &***old, false)).collect();
        changes.push((kind, name, record, true));
        Contents { ..self.contents }.change(&file, &changes);
        file.take().write_file(path).unwrap();
    }
}

/// A record, and whether it is put there or away.
type Change<'a> = (u8, &'a str, &'a [u8], bool);

impl Contents {
    /// Changes records of a database in one commit.
    fn change(&mut self, file: &Memory, changes: &[Change<'_>]) {
        let database = Database::builder().create_with_backend(file.clone()).unwrap();
        let transaction = database.begin_write().unwrap();
        match self.form {
            Form::Now => {
                let mut table = transaction.open_table(RECORDS).unwrap();
                for (kind, name, record, is_put) in changes {
                    for (key, record) in filed(*kind, name, record) {
                        let stored = [&SERIAL.to_le_bytes()[..], &sealed(&key, &record)].concat();
                        let hash = Sha256::new().chain_update([Form::Now as u8]);
                        let hash = hash.chain_update((key.len() as u64).to_le_bytes()).chain_update(&key);
                        let kind = KINDS.iter().position(|kind| key.starts_with(*kind)).map(|kind| kind as u8);
                        self.count(kind, hash.chain_update(&stored).finalize().into(), *is_put);
                        if *is_put {
                            table.insert(key.as_str(), stored.as_slice()).unwrap();
                        } else {
                            table.remove(key.as_str()).unwrap();
                        }
                    }
                }
            }
            Form::Former => {
                let mut sets = transaction.open_table(SETS).unwrap();
                let mut resources = transaction.open_table(RESOURCES).unwrap();
                let mut orphans = transaction.open_table(ORPHANS).unwrap();
                for (kind, name, record, is_put) in changes {
                    let (table, number) = match *kind {
                        SET => (1, 0),
                        ORPHAN => (3, 0),
                        kind => (2, kind),
                    };
                    let region = String::from_utf8_lossy(record);
                    let record = if *kind == ORPHAN { region.as_bytes() } else { record };
                    let hash = Sha256::new().chain_update([Form::Former as u8, table, number]);
                    let hash = hash.chain_update((name.len() as u64).to_le_bytes()).chain_update(name);
                    let hash: [u8; 32] = hash.chain_update(record).finalize().into();
                    self.count(Some(*kind), hash, *is_put);
                    // What is put away comes again with another record, in the same place.
                    if !is_put {
                        continue;
                    }
                    let sealed = [&[Form::Former as u8][..], &hash, record].concat();
                    match *kind {
                        SET => drop(sets.insert(*name, sealed.as_slice()).unwrap()),
                        ORPHAN => drop(orphans.insert(*name, &*region).unwrap()),
                        kind => drop(resources.insert((kind, *name), sealed.as_slice()).unwrap()),
                    }
                }
            }
        }
        transaction.open_table(META).unwrap().insert("contents", self.bytes().as_slice()).unwrap();
        transaction.commit().unwrap();
    }
}

/// A file in memory.
#[derive(Clone, Default, Debug)]
struct Memory(Arc<Mutex<Pages>>);

impl Memory {
    fn take(&self) -> Pages {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.lock().unwrap().read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().write_at(offset, data);
        Ok(())
    }
}

/// A record, and those for finding it, as far as it says what they are of.
fn filed(kind: u8, name: &str, record: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut filed = vec![(format!("{}/{name}", KINDS[usize::from(kind)]), record.to_vec())];
    let Ok(value) = serde_json::from_slice::<Value>(record) else { return filed };
    let (Some((_, kind)), Some(id)) = (KINDS[usize::from(kind)].split_once('/'), value["id"].as_str()) else {
        return filed;
    };
    let joining = &value["joining"];
    let leaving = joining["Set"].as_str();
    let mut add = |key: String, value: Value| filed.push((key, value.to_string().into_bytes()));
    add(format!("id/{}", part(id)), json!([kind, value["name"]]));
    for (set, leaves) in [(value["set"].as_str(), false), (leaving, true)] {
        let key = set.map(|set| format!("member/{}/{kind}/{name}", part(set)));
        key.into_iter().for_each(|key| add(key, json!(leaves)));
    }
    if !joining.is_null() {
        add(format!("joining/{kind}/{name}"), Value::Null);
    }
    if let (Some(disk), Some(place)) = (value["source"].as_str(), value["increment"].as_u64()) {
        add(format!("increment/{}/{place:020}", part(disk)), json!(value["name"]));
    }
    filed
}

/// A name as a part of a key.
fn part(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A record in its envelope.
fn sealed(key: &str, record: &[u8]) -> Vec<u8> {
    let head = [&[2, 1][..], &COMMIT, &[0; 16]].concat();
    let hash = Sha256::new().chain_update(&head).chain_update((key.len() as u64).to_le_bytes());
    let hash = hash.chain_update(key).chain_update(record).finalize();
    [&head[..], &hash, record].concat()
}

/// The checksum over all records.
struct Contents {
    form: Form,
    /// Of sets, resources and orphans.
    counts: [u64; 3],
    sum: [u8; 32],
}

impl Contents {
    fn count(&mut self, kind: Option<u8>, hash: [u8; 32], is_put: bool) {
        self.sum.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
        let count = match kind {
            Some(SET) => &mut self.counts[0],
            Some(ORPHAN) => &mut self.counts[2],
            Some(_) => &mut self.counts[1],
            None => return,
        };
        *count = if is_put { *count + 1 } else { *count - 1 };
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.form as u8];
        [SERIAL].iter().chain(&self.counts).for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend(self.sum);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }
}
