//! Copies of a vault, and what a locked one tells.

use std::fs;

use crate::common::{PASSPHRASE, vault_at};
use atrest::key::KeyVault;
use atrest::vault::{FileVault, KdfCost, Unlock, VaultOptions};
use atrest::{Error, Secret};

const CHEAP: KdfCost = KdfCost::new(64, 1, 1);

#[test]
fn a_backup_opens_and_its_log_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("keys.vault"), folder.path().join("copy.vault"));
    let vault = vault_at(&path);
    let wrapped = vault.wrap("disks", &Secret::copy_from(&[7; 32])).unwrap();
    vault.backup(&copy).unwrap();

    // What came after isn't in it.
    vault.create_key("later").unwrap();
    let restored = FileVault::open(&copy, Unlock::Passphrase(PASSPHRASE)).unwrap();
    let names: Vec<String> = restored.keys().unwrap().into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["disks"]);
    assert_eq!(restored.unwrap(&wrapped).unwrap().unwrap().expose(), [7; 32]);
    let operations: Vec<String> = restored.audit().unwrap().map(|entry| entry.unwrap().operation).collect();
    assert_eq!(operations, ["create", "wrapKey", "unwrapKey"]);
    // The copy beside it can take its place.
    fs::remove_file(&copy).unwrap();
    fs::rename(folder.path().join("copy.vault.bak"), &copy).unwrap();
    FileVault::open(&copy, Unlock::Passphrase(PASSPHRASE)).unwrap();
}

#[test]
fn a_backup_replaces_nothing_and_of_a_failed_one_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    for taken in ["copy.vault", "copy.vault.bak", "copy.vault.audit"] {
        let place = folder.path().join(taken);
        fs::write(&place, b"somebody's").unwrap();
        let refused = vault.backup(folder.path().join("copy.vault"));
        assert!(matches!(refused, Err(Error::AlreadyExists { .. })), "{refused:?}");
        assert_eq!(fs::read(&place).unwrap(), b"somebody's");
        fs::remove_file(&place).unwrap();
    }
    assert!(matches!(vault.backup(&path), Err(Error::AlreadyExists { .. })));
    let missing = vault.backup(folder.path().join("no/copy.vault"));
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");

    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(vault.backup(folder.path().join("copy.vault")), Err(Error::DamagedVault(_))));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("copy")), "{left:?}");
}

#[test]
fn a_locked_vault_tells_its_properties_and_another_file_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let options = VaultOptions::new().id("urn:example:keys").retention_days(7).purge_protection(true).kdf_cost(CHEAP);
    let vault = FileVault::create_with(&path, Unlock::Passphrase(PASSPHRASE), &options).unwrap();
    assert_eq!(FileVault::peek(&path).unwrap(), vault.properties().unwrap());
    let other = folder.path().join("other");
    fs::write(&other, b"no vault\n").unwrap();
    assert!(matches!(FileVault::peek(&other), Err(Error::NotAVault { .. })));
    assert!(matches!(FileVault::peek(folder.path().join("none")), Err(Error::NotFound { .. })));
}
