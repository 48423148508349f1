//! Tests of a store whose disk fails.

mod header;
mod shared;

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, TableDefinition, TableHandle};

use super::contents::{Contents, Counted, FORMER};
use super::file::{Bytes, StoreFile};
use super::place::Place;
use super::schema::{CONTENTS, META, RECORDS, former};
use super::{Records, Tables, *};
use crate::Result;
use crate::managed::records::{Resource, ResourceName, check_id};
use crate::managed::sync::lock;

const ID: &str = "00000000-0000-4000-8000-00000000000";

/// A disk that starts to fail or is full.
#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    /// The number of writes and syncs that still succeed; `None` for all.
    left: Mutex<Option<u64>>,
    calls: AtomicUsize,
}

#[derive(Debug)]
struct Shared(Arc<Disk>);

impl Disk {
    fn take(&self) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match &mut *lock(&self.left) {
            Some(0) => Err(io::ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Bytes for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0.bytes).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = lock(&self.0.bytes);
        let found = bytes.get(offset as usize..offset as usize + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        lock(&self.0.bytes).resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.take()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.take()?;
        lock(&self.0.bytes)[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn store(disk: &Arc<Disk>) -> Result<Records> {
    let file = StoreFile::over(Path::new("test"), Box::new(Shared(disk.clone())));
    FileStore::over(file).map(Records::of_file)
}

fn id(n: usize) -> String {
    format!("{ID}{n}")
}

fn orphans(store: &Records) -> Vec<String> {
    store.orphans().unwrap().into_iter().map(|(id, _)| id).collect()
}

/// The disk is full at each write and sync of a change, and then has room again. The same store writes again without a
/// restart. Changes reported as done are there; changes reported as failed are not.
#[test]
fn a_store_needs_no_restart_after_its_disk_was_full() {
    let mut failed = 0;
    for left in 0.. {
        let disk = Arc::new(Disk::default());
        let store = store(&disk).unwrap();
        store.write(|tables| tables.add_orphan(&id(1), "north")).unwrap();
        *lock(&disk.left) = Some(left);
        let written = store.write(|tables| tables.add_orphan(&id(2), "north"));
        // While there is no room.
        if written.is_err() {
            failed += 1;
            assert!(store.write(|tables| tables.add_orphan(&id(3), "north")).is_err(), "{left}");
        }
        *lock(&disk.left) = None;
        store.write(|tables| tables.add_orphan(&id(4), "north")).unwrap_or_else(|e| panic!("{left}: {e}"));
        store.check_sound().unwrap();
        let found = orphans(&store);
        drop(store);
        assert_eq!(orphans(&self::store(&disk).unwrap()), found, "{left}");
        let said: Vec<_> =
            [(1, true), (2, written.is_ok()), (3, false), (4, true)].into_iter().filter(|s| s.1).collect();
        let said: Vec<_> = said.into_iter().map(|(n, _)| id(n)).collect();
        // If the disk took no write at all, the change may have been on it already; then it stays.
        assert!(found == said || written.is_err() && found == [id(1), id(2), id(4)], "{left}: {found:?}");
        if written.is_ok() {
            break;
        }
    }
    assert!(failed > 3, "{failed}");
}

/// If making a store fails, the next attempt makes it.
#[test]
fn a_store_that_was_begun_on_a_full_disk_is_made_anew() {
    let mut failed = 0;
    for left in 0.. {
        let disk = Arc::new(Disk::default());
        *lock(&disk.left) = Some(left);
        let made = store(&disk);
        *lock(&disk.left) = None;
        if let Ok(store) = made {
            store.write(|tables| tables.add_orphan(&id(1), "north")).unwrap();
            break;
        }
        failed += 1;
        let store = store(&disk).unwrap_or_else(|e| panic!("{left}: {e}"));
        store.write(|tables| tables.add_orphan(&id(1), "north")).unwrap();
    }
    assert!(failed > 3, "{failed}");
}

/// Damages the flag that selects the last of two commits.
#[test]
fn a_flipped_flag_does_not_bring_back_the_commit_before_the_last() {
    let disk = Arc::new(Disk::default());
    let store = store(&disk).unwrap();
    for n in 1..9 {
        store.write(|tables| tables.add_orphan(&id(n), "north")).unwrap();
        let found = orphans(&store);
        let mut bytes = lock(&disk.bytes).clone();
        assert_eq!(bytes[..4], *b"redb");
        bytes[9] ^= 1;
        let damaged = Arc::new(Disk { bytes: Mutex::new(bytes), ..Disk::default() });
        let opened = self::store(&damaged).unwrap();
        assert_eq!(orphans(&opened), found, "{n}");
        assert_eq!(lock(&damaged.bytes)[9] & 4, 4, "the last commit is whole again");
    }
}

/// A name from outside is never used as a path.
#[test]
fn an_id_is_a_uuid() {
    for id in [
        "../../etc/passwd",
        "/etc/passwd",
        "",
        "00000000-0000-4000-8000-00000000000A",
        "{00000000-0000-4000-8000-000000000001}",
    ] {
        assert!(check_id(id).is_err(), "{id}");
    }
    check_id(&id(1)).unwrap();
}

const MEMBERS: TableDefinition<'_, (&str, u8, &str), bool> = TableDefinition::new("members");
const IDS: TableDefinition<'_, &str, (u8, &str)> = TableDefinition::new("ids");

const SET: &[u8] = br#"{"name":"s","region":"north","subscription":"one","tenant":"contoso","identity":"i","encryption_type":"customer-key","active_key":"https://contoso.vault.example/keys/disks/1","previous_keys":[],"former_keys":[],"auto_rotation":false,"last_key_rotation_timestamp":null,"auto_key_rotation_error":null,"created":1700000000}"#;
const DISK: &[u8] = br#"{"kind":"disk","name":"d","id":"00000000-0000-4000-8000-000000000007","region":"north","subscription":"one","size":8192,"sector_size":4096,"encryption_type":"customer-key","set":"s","joining":null,"guest_encrypted":false,"created":1700000000,"source":null,"increment":null}"#;

/// A store of a former release, closed cleanly: with checksums, if `contents` are given, or of an older one.
fn former_store(path: &Path, contents: Option<&Contents>) {
    let sealed = |place: &Place, json: &[u8]| match contents {
        Some(_) => super::former::sealed(place, json),
        None => json.to_vec(),
    };
    let older = Database::create(path).unwrap();
    let transaction = older.begin_write().unwrap();
    let set = sealed(&Place::Set("s".into()), SET);
    transaction.open_table(former::SETS).unwrap().insert("s", set.as_slice()).unwrap();
    let disk = sealed(&Place::Resource(ResourceName::disk("d")), DISK);
    transaction.open_table(former::RESOURCES).unwrap().insert((1, "d"), disk.as_slice()).unwrap();
    transaction.open_table(MEMBERS).unwrap().insert(("s", 1, "d"), false).unwrap();
    transaction.open_table(IDS).unwrap().insert(id(7).as_str(), (1, "d")).unwrap();
    transaction.open_table(former::ORPHANS).unwrap().insert(id(8).as_str(), "north").unwrap();
    if let Some(contents) = contents {
        let bytes = contents.to_bytes_of(FORMER);
        transaction.open_table(META).unwrap().insert(CONTENTS, bytes.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

/// The contents of such a store, by the definition of the former release.
fn former_contents() -> Contents {
    let mut contents = Contents::default();
    contents.serial = 41;
    for (place, counted, json) in [
        (Place::Set("s".into()), Counted::Set, SET),
        (Place::Resource(ResourceName::disk("d")), Counted::Resource, DISK),
        (Place::Orphan(id(8)), Counted::Orphan, b"north"),
    ] {
        contents.turn(super::former::hash(&place, json));
        contents.count(counted);
    }
    contents
}

#[test]
fn a_store_of_a_former_release_is_converted() {
    for contents in [None, Some(former_contents())] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        former_store(&path, contents.as_ref());
        let before = std::fs::read(&path).unwrap();
        // A look converts nothing in the file.
        let check = check_file(&path).unwrap();
        assert_eq!((check.sets, check.resources, check.defects.len()), (1, 1, 0));
        assert!(std::fs::read(&path).unwrap() == before);
        for _ in 0..2 {
            let store = Records::open(&path).unwrap();
            assert_eq!(store.set("s").unwrap().active_key.to_string(), "https://contoso.vault.example/keys/disks/1");
            assert_eq!(store.resource(&ResourceName::disk("d")).unwrap().id, id(7));
            assert_eq!(store.name_of(&id(7)).unwrap(), Some(ResourceName::disk("d")));
            assert_eq!(store.members("s", false).unwrap(), [ResourceName::disk("d")]);
            assert_eq!(orphans(&store), [id(8)]);
            let changes = store.check().unwrap().changes;
            assert_eq!(changes, 1 + contents.as_ref().map_or(0, |contents| contents.serial));
        }
        let database = Database::open(&path).unwrap();
        let mut tables: Vec<_> =
            database.begin_read().unwrap().list_tables().unwrap().map(|table| table.name().to_owned()).collect();
        tables.sort();
        assert_eq!(tables, ["meta", "records"]);
    }
}

/// The disk is full at each write of a conversion: the file stays unchanged until it is converted.
#[test]
fn a_conversion_that_is_cut_off_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    former_store(&path, Some(&former_contents()));
    let bytes = std::fs::read(&path).unwrap();
    let mut failed = 0;
    for left in 0.. {
        let disk = Arc::new(Disk { bytes: Mutex::new(bytes.clone()), ..Disk::default() });
        *lock(&disk.left) = Some(left);
        let opened = store(&disk);
        *lock(&disk.left) = None;
        if opened.is_ok() {
            break;
        }
        failed += 1;
        let store = store(&disk).unwrap_or_else(|e| panic!("{left}: {e}"));
        assert_eq!(store.resource(&ResourceName::disk("d")).unwrap().id, id(7), "{left}");
        assert_eq!((store.set_names().unwrap(), orphans(&store)), (vec!["s".into()], vec![id(8)]), "{left}");
    }
    assert!(failed > 3, "{failed}");
}

/// A store of a former release from which a record was lost, or in which one was changed, is not converted.
#[test]
fn a_damaged_store_of_a_former_release_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    type Change<'a> = &'a dyn Fn(&redb::WriteTransaction);
    let changes: [(&str, Change<'_>); 3] = [
        ("it has 0 resources but should have 1", &|t| {
            t.open_table(former::RESOURCES).unwrap().remove((1, "d")).unwrap();
        }),
        ("the record of the disk \"d\" does not match its checksum", &|t| {
            t.open_table(former::RESOURCES).unwrap().insert((1, "d"), DISK).unwrap();
        }),
        ("one of its records is of another time", &|t| {
            t.open_table(former::ORPHANS).unwrap().insert(id(8).as_str(), "south").unwrap();
        }),
    ];
    for (text, change) in changes {
        let _ = std::fs::remove_file(&path);
        former_store(&path, Some(&former_contents()));
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        change(&transaction);
        transaction.commit().unwrap();
        drop(database);
        let told = Records::open(&path).err().map(|e| format!("{e:#}")).unwrap_or_default();
        assert!(told.contains(text) && told.contains("backup"), "{text}: {told:?}");
        let check = check_file(&path).unwrap();
        assert!(check.defects.iter().any(|defect| defect.contains(text)), "{text}: {check:?}");
    }
}

/// Writes to the database behind the store's back: changed or missing records are reported by name.
#[test]
fn a_record_that_was_changed_or_lost_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let json = |id: &str| {
        format!(
            r#"{{"kind":"disk","name":"d","id":"{id}","region":"north","subscription":"one","size":8192,"sector_size":4096,"encryption_type":"platform-key","set":null,"joining":null,"guest_encrypted":false,"created":1,"source":null,"increment":null}}"#
        )
    };
    let resource: Resource = serde_json::from_str(&json(&id(1))).unwrap();
    let key = Place::Resource(ResourceName::disk("d")).key();
    let key = key.as_str();
    let put = |t: &redb::WriteTransaction, value: &[u8]| {
        let stored = [&1_u64.to_le_bytes()[..], value].concat();
        t.open_table(RECORDS).unwrap().insert(key, stored.as_slice()).unwrap();
    };
    let sealed = |json: &str| super::record::sealed(key, json.as_bytes(), &[1; 16], &[0; 16]);
    type Change<'a> = &'a dyn Fn(&redb::WriteTransaction);
    let changes: [(&str, Change<'_>); 5] = [
        ("disk \"d\" does not match its checksum", &|t| {
            let head = super::record::HEAD;
            put(t, &[&sealed(&json(&id(1)))[..head], json(&id(2)).as_bytes()].concat());
        }),
        ("../../x\" is not a UUID", &|t| put(t, &sealed(&json("../../x")))),
        ("record of the disk \"d\" is missing; its device is 00000000-0000-4000-8000-000000000001", &|t| {
            t.open_table(RECORDS).unwrap().remove(key).unwrap();
        }),
        ("table of ids", &|t| {
            t.open_table(RECORDS).unwrap().remove(Place::Id(id(1)).key().as_str()).unwrap();
        }),
        ("one of its records is of another time", &|t| put(t, &sealed(&json(&id(1))))),
    ];
    for (text, change) in changes {
        let _ = std::fs::remove_file(&path);
        let store = Records::open(&path).unwrap();
        store.write(|tables| tables.add_resource(&resource)).unwrap();
        drop(store);
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        change(&transaction);
        transaction.commit().unwrap();
        drop(database);
        let told = Records::open(&path).err().map(|e| format!("{e:#}")).unwrap_or_default();
        assert!(told.contains(text) && told.contains("backup"), "{text}: {told:?}");
        let check = check_file(&path).unwrap();
        assert!(check.defects.iter().any(|defect| defect.contains(text)), "{text}: {check:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_store_is_its_owners_only_and_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    drop(Records::open(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let told = Records::open(folder.path()).err().unwrap();
    let told = format!("{told:#}");
    assert!(told.contains("it is a folder, not a file"), "{told}");
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let told = format!("{:#}", Records::open(&fifo).err().unwrap());
    assert!(told.contains("it is a pipe (FIFO), not a file"), "{told}");
}

#[test]
fn a_change_that_panics_is_no_damage_and_changes_nothing() {
    let disk = Arc::new(Disk::default());
    let store = store(&disk).unwrap();
    store.write(|tables| tables.add_orphan(&id(1), "north")).unwrap();
    let told = |store: &Records| store.check().unwrap();
    let before = told(&store);
    type Change = fn(&mut Tables<'_>) -> Result<()>;
    let changes: [Change; 2] = [
        |tables| {
            tables.add_orphan(&id(2), "north")?;
            panic!("a fault of the caller")
        },
        |tables| {
            let json = format!(
                r#"{{"kind":"disk","name":"d","id":"{}","region":"north","subscription":"s","size":4096,"sector_size":4096,
                "encryption_type":"{}","set":null,"joining":null,"guest_encrypted":false,"created":0,"source":null,
                "increment":null}}"#,
                id(3),
                crate::EncryptionType::PlatformKey.name()
            );
            tables.put_resource(&serde_json::from_str(&json).unwrap())?;
            tables.find(|_| panic!("a fault of the caller")).map(drop)
        },
    ];
    for change in changes {
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| store.write(change))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a fault of the caller"));
        assert_eq!(told(&store), before);
    }
    store.write(|tables| tables.add_orphan(&id(4), "north")).unwrap();
    assert_eq!(orphans(&store), [id(1), id(4)]);
    assert!(told(&store).is_sound());
}
