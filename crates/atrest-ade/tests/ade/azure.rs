//! All of it on the fake of Azure Key Vault.

use std::sync::Arc;

use atrest::key::KeyId;
use atrest::{Error, FileDevice, KeyVault, OpenOptions};
use atrest_ade::{
    Disk, FILE_NAME, Kek, KeyEncryptionKeys, SecretStore, Source, Tags, TakeOverOptions, TokenPassphrase,
};
use atrest_ade::{Vaults, generate_passphrase, open, seal, take_over};
use atrest_kms::AzureSecrets;

use crate::opens::source;
use crate::peers::{self, run, text};
use crate::server::{Fake, options};
use crate::volumes::{holds_content, luks_format, small, token};

fn kek(id: &KeyId, algorithm: &str) -> Kek {
    // Azure writes the port.
    Kek::new(&id.to_string().replace(".net/", ".net:443/"), algorithm).unwrap()
}

#[test]
fn a_disk_moves_from_a_secret_in_key_vault_to_a_key_there() {
    // Behaviours 66, 67
    let Some(fake) = Fake::start() else { return };
    let (secrets, keys) = (AzureSecrets::new(&options(fake.port)).unwrap(), fake.vault());
    let vaults = Vaults { secrets: &[&secrets], keks: &[&keys] };
    let id = keys.describe("disks", None).unwrap().unwrap().id;
    let passphrase = generate_passphrase().unwrap();
    for algorithm in ["RSA-OAEP", "RSA-OAEP-256", "RSA1_5"] {
        let kek = kek(&id, algorithm);
        let value = seal(&passphrase, Some(&kek), vaults.keks).unwrap();
        let tags = Tags::new(Some(kek), &format!("{FILE_NAME}_1_0"), "vm-1").to_map();
        let version = SecretStore::set(&secrets, "disk-1", &value, &tags).unwrap();
        let device = small(&passphrase, &[]);
        let (disk, from) = (Disk::new(device), source(Some(&version), None));
        let volume = open(&disk, &from, vaults, &OpenOptions::new()).unwrap();
        assert!(holds_content(&volume), "{algorithm}");
        drop(volume);
        let taken = take_over(&disk, &from, vaults, &keys, "disks", &TakeOverOptions::new()).unwrap();
        assert!(holds_content(&taken.volume) && taken.removed.len() == 1, "{algorithm}");
    }
    // The reasons are told apart.
    let disk = Disk::new(small(&passphrase, &[]));
    let opened = || open(&disk, &source(None, None), vaults, &OpenOptions::new());
    let reason = |wanted: &str| match opened() {
        Err(Error::KeyRefused { key, reason }) => {
            assert!(key.contains("/secrets/disk-1") || key.contains("/keys/disks"), "{key}");
            assert_eq!(reason.name(), wanted);
        }
        other => panic!("{wanted}: {:?}", other.err()),
    };
    fake.tell(r#"{"op":"set","key":"disks","enabled":false}"#);
    reason("key-disabled");
    fake.tell(r#"{"op":"set","key":"disks","enabled":true}"#);
    fake.tell(r#"{"op":"set-secret","secret":"disk-1","exp":-1}"#);
    reason("key-expired");
    fake.tell(r#"{"op":"set-secret","secret":"disk-1","exp":null}"#);
    fake.tell(r#"{"op":"state","rights":["unwrapkey"]}"#);
    reason("access-denied");
    fake.tell(r#"{"op":"state","rights":["get","wrapkey","unwrapkey"]}"#);
    assert!(holds_content(&opened().unwrap()));
    fake.tell(r#"{"op":"delete-secret","secret":"disk-1"}"#);
    reason("key-deleted");
}

#[test]
fn a_disk_of_cryptsetup_with_an_imported_token_is_taken_over_by_key_vault() {
    let (Some(_), Some(fake)) = (peers::cryptsetup(), Fake::start()) else { return };
    let keys = fake.vault();
    let id = keys.describe("disks", None).unwrap().unwrap().id;
    let (kek, passphrase) = (kek(&id, "RSA-OAEP-256"), generate_passphrase().unwrap());
    let folder = tempfile::tempdir().unwrap();
    luks_format(folder.path(), &passphrase, "luks2", false);
    let (path, file) = (folder.path().join("disk"), folder.path().join("token.json"));
    let wrapped = KeyEncryptionKeys::wrap(&keys, &kek.id, kek.algorithm, &passphrase).unwrap();
    let mut token = token(TokenPassphrase::Wrapped(wrapped));
    token.kek_url = Some(id.to_string());
    std::fs::write(&file, token.to_json()).unwrap();
    run("cryptsetup", &["token", "import", "--token-id", "5", "--json-file", text(&file), text(&path)]);
    let disk = Disk::new(Arc::new(FileDevice::open(&path).unwrap()));
    let vaults = Vaults { secrets: &[], keks: &[&keys] };
    let taken = take_over(&disk, &Source::Token, vaults, &keys, "disks", &TakeOverOptions::new()).unwrap();
    assert_eq!((taken.removed.len(), taken.left.len()), (2, 0));
}
