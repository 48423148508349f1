//! A vault file in the place of Azure's: for disks whose secrets were copied out of it.

use atrest::vault::{FileVault, Unlock, VaultOptions};
use atrest::volume::Header;
use atrest::{Credential, Error, OpenOptions, Volume};
use atrest_ade::{
    Disk, FILE_NAME, Kek, KeyEncryptionKeys, ReplaceOptions, SecretStore, Source, Tags, TakeOverOptions, Vaults,
    generate_passphrase, open, replace_secret, seal, take_over,
};

use crate::memory::ID;
use crate::volumes::{KEK, cheap, holds_content, small};

pub fn vault(folder: &std::path::Path) -> FileVault {
    let key_file = folder.join("root.key");
    FileVault::generate_key_file(&key_file).unwrap();
    let options = VaultOptions::new().id(ID);
    let vault = FileVault::create_with(folder.join("keys.vault"), Unlock::KeyFile(&key_file), &options).unwrap();
    vault.create_key("disks").unwrap();
    vault
}

#[test]
fn a_disk_opens_by_a_secret_of_a_vault_file_gets_another_and_comes_under_a_key_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(folder.path());
    let vaults = Vaults { secrets: &[&vault], keks: &[&vault] };
    let passphrase = generate_passphrase().unwrap();
    let tags = Tags::new(None, FILE_NAME, "vm-1").to_map();
    let version = SecretStore::set(&vault, "disk-1", &seal(&passphrase, None, &[]).unwrap(), &tags).unwrap();
    assert_eq!(SecretStore::get(&vault, "disk-1", None).unwrap().tags, tags);

    let device = small(&passphrase, &[]);
    let disk = Disk::new(device.clone());
    let url = format!("{ID}/secrets/disk-1/{version}").parse().unwrap();
    let options = ReplaceOptions::new().keyslot(cheap());
    let new = replace_secret(&disk, &url, None, vaults, &options).unwrap();
    assert_ne!(new.version(), url.version());
    let old = Volume::open(device.clone(), Credential::Passphrase(passphrase.expose()), &OpenOptions::new());
    assert!(matches!(old, Err(Error::WrongPassphrase)), "{:?}", old.err());

    let source = Source::Secret { url: new, kek: None };
    assert!(holds_content(&open(&disk, &source, vaults, &OpenOptions::new()).unwrap()));
    let taken = take_over(&disk, &source, vaults, &vault, "disks", &TakeOverOptions::new()).unwrap();
    assert!(holds_content(&taken.volume) && taken.left.is_empty());
    drop(taken);
    assert!(Header::load(&*device).unwrap().keyslots().is_empty());

    // Nothing needs it any more. A snapshot might.
    vault.delete_secret("disk-1").unwrap();
    let snapshot = Disk::new(small(&passphrase, &[]));
    let refused = open(&snapshot, &source, vaults, &OpenOptions::new()).map(drop).unwrap_err();
    assert!(matches!(refused, Error::KeyRefused { .. }), "{refused}");
}

#[test]
fn what_a_vault_file_cannot_wrap_by_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault(folder.path());
    for algorithm in ["RSA1_5", "RSA-OAEP"] {
        let kek = Kek::new(KEK, algorithm).unwrap();
        let refused = KeyEncryptionKeys::unwrap(&vault, &kek.id, kek.algorithm, &[0; 256]).unwrap_err();
        match algorithm {
            "RSA1_5" => assert!(matches!(&refused, Error::UnsupportedAlgorithm(text) if text.contains(algorithm))),
            _ => assert!(matches!(refused, Error::KeyRefused { .. }), "{refused}"),
        }
    }
}
