//! Stores of managed disks whose records are made by the harness, with checksums by the letter of the format.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use sha2::{Digest, Sha256};

const SETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sets");
const RESOURCES: TableDefinition<'_, (u8, &str), &[u8]> = TableDefinition::new("resources");
const ORPHANS: TableDefinition<'_, &str, &str> = TableDefinition::new("orphans");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const FORM: u8 = 1;

/// The records of a store, as JSON.
pub fn records(path: &Path) -> Vec<Vec<u8>> {
    let database = Database::open(path).unwrap();
    let store = database.begin_read().unwrap();
    let sets = store.open_table(SETS).unwrap();
    let resources = store.open_table(RESOURCES).unwrap();
    let sets = sets.iter().unwrap().map(|entry| entry.unwrap().1.value()[33..].to_vec());
    let resources = resources.iter().unwrap().map(|entry| entry.unwrap().1.value()[33..].to_vec());
    resources.chain(sets).collect()
}

fn hash(table: u8, kind: u8, name: &str, record: &[u8]) -> [u8; 32] {
    let hash = Sha256::new().chain_update([FORM, table, kind]).chain_update((name.len() as u64).to_le_bytes());
    hash.chain_update(name).chain_update(record).finalize().into()
}

/// Puts a record into the store of `path`, and makes all checksums right: that of the record, and that over all of them.
/// `kind` 0 is a set, 4 a device to be removed, whose region the record is.
pub fn put(path: &Path, kind: u8, name: &str, record: &[u8]) {
    let database = Database::open(path).expect("the store is sound");
    let transaction = database.begin_write().unwrap();
    {
        let mut sets = transaction.open_table(SETS).unwrap();
        let mut resources = transaction.open_table(RESOURCES).unwrap();
        let mut orphans = transaction.open_table(ORPHANS).unwrap();
        let sealed = |table| [&[FORM][..], &hash(table, kind, name, record), record].concat();
        match kind {
            0 => drop(sets.insert(name, sealed(1).as_slice()).unwrap()),
            4 => drop(orphans.insert(name, String::from_utf8_lossy(record).as_ref()).unwrap()),
            _ => drop(resources.insert((kind, name), sealed(2).as_slice()).unwrap()),
        }

        let (mut counts, mut sum) = ([0u64; 3], [0u8; 32]);
        let mut add = |table: u8, hash: [u8; 32]| {
            counts[usize::from(table) - 1] += 1;
            sum.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
        };
        for entry in sets.iter().unwrap() {
            let (key, record) = entry.unwrap();
            add(1, hash(1, 0, key.value(), &record.value()[33..]));
        }
        for entry in resources.iter().unwrap() {
            let (key, record) = entry.unwrap();
            let (kind, name) = key.value();
            add(2, hash(2, kind, name, &record.value()[33..]));
        }
        for entry in orphans.iter().unwrap() {
            let (id, region) = entry.unwrap();
            add(3, hash(3, 0, id.value(), region.value().as_bytes()));
        }
        let mut contents = vec![FORM];
        [7].iter().chain(&counts).for_each(|number: &u64| contents.extend(number.to_le_bytes()));
        contents.extend(sum);
        let checksum = Sha256::digest(&contents);
        contents.extend_from_slice(&checksum);
        transaction.open_table(META).unwrap().insert("contents", contents.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}
