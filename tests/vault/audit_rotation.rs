//! The audit log's file between uses: archived by itself when it has grown, and replaced under a handle that has it open.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use crate::common::{PASSPHRASE, vault_at};
use atrest::Secret;
use atrest::key::KeyVault;
use atrest::vault::{FileVault, Unlock};

const LIMIT: u64 = 64 << 10;

fn dek() -> Secret {
    Secret::copy_from(&[0x5a; 64])
}

fn log(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.audit", path.display()))
}

/// The archives of a log, by the numbers in their names.
fn archives(path: &Path) -> BTreeMap<u64, PathBuf> {
    let prefix = format!("{}.audit.", path.file_name().unwrap().to_str().unwrap());
    let files = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let number = |file: PathBuf| {
        let digits = file.file_name()?.to_str()?.strip_prefix(&prefix)?.to_owned();
        assert_eq!(digits.len(), 20);
        Some((digits.parse().unwrap(), file))
    };
    files.filter_map(number).collect()
}

/// The numbers of the entries of a file, without the library.
fn numbers(file: &Path) -> Vec<u64> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap()).collect()
}

#[test]
fn a_log_that_has_grown_is_archived_by_the_use_that_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    // 1 byte is 64 KiB: an archive is another file, and the vault's is written anew.
    let vault = vault_at(&path).with_audit_rotation(1);
    let plain = FileVault::open(&path, Unlock::Passphrase(PASSPHRASE)).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let others = FileVault::open(&path, Unlock::Passphrase(PASSPHRASE)).unwrap().with_audit_rotation(LIMIT);
    thread::scope(|scope| {
        for vault in [&vault, &vault, &others, &others, &plain] {
            let wrapped = &wrapped;
            scope.spawn(move || {
                for _ in 0..400 {
                    vault.as_identity("nobody").unwrap(wrapped).unwrap_err();
                    vault.unwrap(wrapped).unwrap().unwrap();
                }
            });
        }
    });
    // The handle that archives nothing may have been the last for long.
    vault.unwrap(&wrapped).unwrap().unwrap();
    let archives = archives(&path);
    assert!(archives.len() >= 3, "{archives:?}");
    let mut all = Vec::new();
    for (last, file) in &archives {
        let found = numbers(file);
        // The name has the last entry before the one that says that it was archived.
        assert_eq!(found.last(), Some(&(last + 1)));
        let len = fs::metadata(file).unwrap().len();
        // Up to all entries of the handle that archives nothing.
        assert!((LIMIT..3 * LIMIT).contains(&len), "{len}");
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        all.extend(found);
    }
    all.extend(numbers(&log(&path)));
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    // One key, one wrap, 4001 uses, and the archives.
    assert_eq!(all.len(), 4003 + archives.len());
    assert!(plain.audit().unwrap().all(|entry| entry.is_ok()));
    assert!(fs::metadata(log(&path)).unwrap().len() < LIMIT + (16 << 10));
}

#[test]
fn a_use_is_answered_though_its_log_can_not_be_archived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path).with_audit_rotation(LIMIT);
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let uses = |count: usize| (0..count).for_each(|_| drop(vault.unwrap(&wrapped).unwrap().unwrap()));
    // Whatever the number will be, there is something.
    let blocked: Vec<_> = (1..2000).map(|seq| folder.path().join(format!("keys.vault.audit.{seq:020}"))).collect();
    blocked.iter().for_each(|path| fs::create_dir(path).unwrap());
    uses(1000);
    assert!(fs::metadata(log(&path)).unwrap().len() > 2 * LIMIT);
    assert_eq!(numbers(&log(&path)).len(), 1002);
    blocked.iter().for_each(|path| fs::remove_dir(path).unwrap());
    // It is tried again when some more has come to it.
    uses(100);
    let archives = archives(&path);
    assert_eq!(archives.len(), 1);
    let [archived] = archives.values().map(|file| numbers(file)).collect::<Vec<_>>().try_into().unwrap();
    let all = [archived, numbers(&log(&path))].concat();
    assert_eq!(all, (1..=1103).collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_replaced_under_a_handle_is_neither_followed_nor_written_where_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    let log = log(&path);
    let [away, victim] = ["away", "victim"].map(|name| folder.path().join(name));
    let unwrap = || vault.unwrap(&wrapped);
    unwrap().unwrap().unwrap();
    assert_eq!(numbers(&log), [1, 2, 3]);

    // Moved away, and a copy put in its place: the copy is the log.
    fs::rename(&log, &away).unwrap();
    fs::copy(&away, &log).unwrap();
    unwrap().unwrap().unwrap();
    assert_eq!((numbers(&log), numbers(&away)), (vec![1, 2, 3, 4], vec![1, 2, 3]));

    // A link to it, or to another file.
    for target in [&away, &victim] {
        fs::write(&victim, b"not yours").unwrap();
        fs::rename(&log, &away).unwrap();
        symlink(target, &log).unwrap();
        assert!(unwrap().is_err());
        assert_eq!((numbers(&away), fs::read(&victim).unwrap()), (vec![1, 2, 3, 4], b"not yours".to_vec()));
        fs::remove_file(&log).unwrap();
        fs::rename(&away, &log).unwrap();
    }
    unwrap().unwrap().unwrap();
    assert_eq!(numbers(&log), [1, 2, 3, 4, 5]);

    // What others were allowed to read is taken from them.
    fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).unwrap();
    unwrap().unwrap().unwrap();
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);

    // Another process is let in between uses: it finds no lock.
    let file = fs::File::open(&log).unwrap();
    file.try_lock().unwrap();
    file.unlock().unwrap();
    drop(file);

    // A log that is gone is told by those who read it, and uses go on in a new one.
    fs::remove_file(&log).unwrap();
    unwrap().unwrap().unwrap();
    assert!(vault.audit().unwrap().any(|entry| entry.is_err()));
}
