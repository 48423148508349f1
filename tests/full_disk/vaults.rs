//! The files of a vault: the vault, its copy, its log, and a root key file.

use std::fs;
use std::path::Path;

use atrest::key::{KeyId, KeyVault};
use atrest::vault::{AuditEntry, FileVault, KeyOperation, Unlock, VersionChange};
use atrest::{Error, Result, Secret};

use super::{Disk, Room, names, on_a_small_disk};

const ROOMS: [fn(u64) -> Room; 2] = [Room::Pages, Room::Files];

#[test]
fn a_vault_and_a_key_file_are_made_or_not_there() {
    on_a_small_disk("vaults::a_vault_and_a_key_file_are_made_or_not_there", 1, |disk| {
        let mut failed = 0;
        disk.with_less_room(&ROOMS, |room| {
            let folder = disk.folder();
            let (key, path) = (folder.join("root.key"), folder.join("keys.vault"));
            disk.leave(room);
            let made = FileVault::generate_key_file(&key);
            disk.make_room();
            assert_eq!(key.exists(), made.is_ok(), "{room:?}");
            if made.is_err() {
                FileVault::generate_key_file(&key).unwrap();
            }
            disk.leave(room);
            let made = FileVault::create(&path, Unlock::KeyFile(&key)).map(drop);
            let left = names(&folder);
            disk.make_room();
            let whole = ["keys.vault", "keys.vault.bak", "keys.vault.lock", "root.key"];
            match &made {
                Ok(()) => assert_eq!(left, whole),
                Err(e) => {
                    assert!(matches!(e, Error::Io { .. }), "{e:?}");
                    assert!(left.iter().all(|name| whole[2..].contains(&name.as_str())), "{room:?}: {left:?}");
                    drop(FileVault::create(&path, Unlock::KeyFile(&key)).unwrap());
                    failed += 1;
                }
            }
            open(&folder).unwrap().create_key("disks").unwrap();
            made.is_ok()
        });
        assert!(failed >= 4, "{failed}");
    });
}

struct Case {
    operation: &'static str,
    prepare: fn(&FileVault, &KeyId),
    act: fn(&FileVault, &KeyId, &Path) -> Result<()>,
    done: fn(&FileVault, &KeyId, &Path) -> bool,
}

fn versions(vault: &FileVault) -> usize {
    vault.keys().unwrap().iter().find(|key| key.name == "disks").map_or(0, |key| key.versions.len())
}

const CHANGES: [Case; 11] = [
    Case {
        operation: "create",
        prepare: |_, _| {},
        act: |vault, _, _| vault.create_key("tapes").map(drop),
        done: |vault, _, _| vault.keys().unwrap().len() == 2,
    },
    Case {
        operation: "rotate",
        prepare: |_, _| {},
        act: |vault, _, _| vault.rotate_key("disks").map(drop),
        done: |vault, _, _| versions(vault) == 2,
    },
    Case {
        operation: "importVersion",
        prepare: |_, _| {},
        act: |vault, _, _| vault.import_version("disks", &Secret::copy_from(&[1; 32])).map(drop),
        done: |vault, _, _| versions(vault) == 2,
    },
    Case {
        operation: "setVersion",
        prepare: |_, _| {},
        act: |vault, id, _| vault.set_version(id, VersionChange::new().enabled(false)),
        done: |vault, _, _| !vault.keys().unwrap()[0].versions[0].enabled,
    },
    Case {
        operation: "delete",
        prepare: |_, _| {},
        act: |vault, _, _| vault.delete_key("disks"),
        done: |vault, _, _| vault.keys().unwrap().is_empty(),
    },
    Case {
        operation: "recover",
        prepare: |vault, _| vault.delete_key("disks").unwrap(),
        act: |vault, _, _| vault.recover_key("disks"),
        done: |vault, _, _| versions(vault) == 1,
    },
    Case {
        operation: "purge",
        prepare: |vault, _| vault.delete_key("disks").unwrap(),
        act: |vault, _, _| vault.hazmat_purge_key("disks"),
        done: |vault, _, _| vault.deleted_keys().unwrap().is_empty(),
    },
    Case {
        operation: "destroyVersion",
        prepare: |_, _| {},
        act: |vault, id, _| vault.hazmat_destroy_version(id),
        done: |vault, _, _| versions(vault) == 0,
    },
    Case {
        operation: "grant",
        prepare: |_, _| {},
        act: |vault, _, _| vault.grant("set-1", &[KeyOperation::Get]),
        done: |vault, _, _| vault.grants().unwrap().len() == 1,
    },
    Case {
        operation: "protect",
        prepare: |_, _| {},
        act: |vault, _, _| vault.enable_purge_protection(),
        done: |vault, _, _| vault.properties().unwrap().purge_protection,
    },
    Case {
        operation: "archiveAudit",
        prepare: |_, _| {},
        act: |vault, _, folder| vault.archive_audit(folder.join("old.audit")),
        done: |vault, _, folder| {
            assert_eq!(vault.audit().unwrap().count() == 0, folder.join("old.audit").exists());
            folder.join("old.audit").exists()
        },
    },
];

/// How many uses there were before: so that the log's last page has much room, or none for the second line that follows.
const USES: [usize; 6] = [0, 26, 27, 28, 29, 30];

#[test]
fn a_change_is_made_or_not_and_the_log_says_which() {
    on_a_small_disk("vaults::a_change_is_made_or_not_and_the_log_says_which", 1, |disk| {
        for case in CHANGES {
            let mut failed = 0;
            for uses in USES {
                // The number of files is small for every length of the log.
                disk.with_less_room(&ROOMS[..if uses == 0 { 2 } else { 1 }], |room| {
                    let (folder, vault, id) = vault(disk, uses);
                    (case.prepare)(&vault, &id);
                    let what = format!("{} after {uses} uses with {room:?}", case.operation);
                    disk.leave(room);
                    let result = (case.act)(&vault, &id, &folder);
                    assert_eq!((case.done)(&vault, &id, &folder), result.is_ok(), "{what}");
                    assert_eq!((case.done)(&open(&folder).unwrap(), &id, &folder), result.is_ok(), "{what}");
                    let left = names(&folder);
                    assert!(left.iter().all(|name| !name.ends_with(".new")), "{what}: {left:?}");
                    disk.make_room();
                    if let Err(e) = &result {
                        assert!(matches!(e, Error::Io { .. }), "{what}: {e:?}");
                        failed += 1;
                        let entries = entries(&vault);
                        assert_eq!(happened(&entries, case.operation), 0, "{what}");
                        let file = |name| fs::read(folder.join(name)).unwrap();
                        assert_eq!(file("keys.vault.bak"), file("keys.vault"), "{what}");
                        // The same handle, without more ado.
                        (case.act)(&vault, &id, &folder).unwrap();
                    }
                    let again = open(&folder).unwrap();
                    assert!((case.done)(&again, &id, &folder) && (case.done)(&vault, &id, &folder), "{what}");
                    if case.operation == "archiveAudit" {
                        let old = fs::read_to_string(folder.join("old.audit")).unwrap();
                        assert!(old.lines().last().unwrap().contains("archiveAudit"), "{what}");
                    } else {
                        assert_eq!(happened(&entries(&again), case.operation), 1, "{what}");
                    }
                    again.grant("set-2", &[KeyOperation::Get]).unwrap();
                    entries(&again);
                    result.is_ok()
                });
            }
            assert!(failed >= 6, "{}: {failed}", case.operation);
        }
    });
}

/// How often it was done, as the log says.
fn happened(entries: &[AuditEntry], operation: &str) -> i32 {
    let of = entries.iter().filter(|entry| entry.operation == operation && entry.key.as_deref() != Some("first"));
    // The vault of `vault` began with one that isn't counted.
    let begun = if operation == "create" { -1 } else { 0 };
    of.fold(begun, |count, entry| match entry.outcome.as_str() {
        "ok" => count + 1,
        "failed" => count - 1,
        other => panic!("{other}"),
    })
}

#[test]
fn a_use_is_answered_and_logged_or_neither() {
    on_a_small_disk("vaults::a_use_is_answered_and_logged_or_neither", 1, |disk| {
        let mut failed = 0;
        for uses in USES {
            let (folder, vault, _) = vault(disk, uses);
            let wrapped = vault.wrap("disks", &Secret::copy_from(&[7; 32])).unwrap();
            let synced = vault.clone().with_synced_uses(true);
            for _ in 0..40 {
                let acts: [&dyn Fn() -> Result<()>; 4] = [
                    &|| vault.describe("disks", None).map(drop),
                    &|| synced.wrap("disks", &Secret::copy_from(&[7; 32])).map(drop),
                    &|| vault.unwrap(&wrapped).map(|dek| assert_eq!(dek.unwrap().expose(), [7; 32])),
                    &|| vault.unwrap(&wrapped).map(drop),
                ];
                for act in acts {
                    let before = entries(&vault).len();
                    disk.leave(Room::Pages(0));
                    let result = act();
                    let found = entries(&open(&folder).unwrap()).len();
                    assert_eq!(found - before, usize::from(result.is_ok()));
                    disk.make_room();
                    if result.is_err() {
                        failed += 1;
                        act().unwrap();
                    }
                }
            }
            assert!(entries(&vault).iter().all(|entry| entry.torn.is_none() && entry.after.is_none()));
        }
        assert!(failed >= 6, "{failed}");
    });
}

fn entries(vault: &FileVault) -> Vec<AuditEntry> {
    vault.audit().unwrap().collect::<Result<_>>().unwrap()
}

fn open(folder: &Path) -> Result<FileVault> {
    FileVault::open(folder.join("keys.vault"), Unlock::KeyFile(&folder.join("root.key")))
}

/// A vault with a key and a log of some uses.
fn vault(disk: &Disk, uses: usize) -> (std::path::PathBuf, FileVault, KeyId) {
    let folder = disk.folder();
    FileVault::generate_key_file(folder.join("root.key")).unwrap();
    let vault = FileVault::create(folder.join("keys.vault"), Unlock::KeyFile(&folder.join("root.key"))).unwrap();
    let id = vault.create_key("disks").unwrap();
    for _ in 0..uses {
        vault.describe("disks", None).unwrap();
    }
    (folder, vault, id)
}
