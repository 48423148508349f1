//! Keyslots that vaults' tokens name, for libcryptsetup's plugins.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use atrest::volume::{Header, ProtectorId, ReencryptOptions, TokenOptions, token_passphrase};
use atrest::{
    BlockDevice, Credential, Error, FileDevice, FormatOptions, KeyVault, MemoryDevice, OpenOptions, Protector, Secret,
    Volume,
};

use crate::common::keyslots::cost;
use crate::common::vaults::MemoryVault;
use crate::common::{cryptsetup, run, text};

const SIZE: usize = 18 << 20;

fn passphrase(header: &Header<'_>, vault: &dyn KeyVault) -> atrest::Result<Secret> {
    token_passphrase(header.metadata_json().unwrap(), header.uuid(), 0, vault, &TokenOptions::new())
}

fn bound(vault: &MemoryVault) -> (Volume<MemoryDevice>, u32) {
    let options = FormatOptions::new();
    let volume = Volume::format(MemoryDevice::new(SIZE), Protector::Vault(vault, "disks"), &options).unwrap();
    let keyslot = volume.bind_tokens().unwrap();
    (volume, keyslot)
}

/// The keyslots that each token names.
fn named<D: BlockDevice>(volume: &Volume<D>) -> Vec<Vec<u32>> {
    volume.header().tokens().into_iter().map(|token| token.keyslots).collect()
}

/// cryptsetup opens the keyslot, and shows that the token names it.
fn check_peer(path: &Path, volume: &Volume<FileDevice>, keyslot: u32, vault: &dyn KeyVault) {
    let header = volume.header();
    let token = header.tokens()[0].id;
    let json = header.metadata_json().unwrap();
    let secret = token_passphrase(json, header.uuid(), token, vault, &TokenOptions::new()).unwrap();
    let Some(cryptsetup) = cryptsetup() else { return };
    let key = path.with_extension("key");
    fs::write(&key, secret.expose()).unwrap();
    // The volume has it locked.
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    let slot = keyslot.to_string();
    run(&cryptsetup, &["open", "--test-passphrase", "--key-slot", &slot, "--key-file", text(&key), text(&copy)]);
    let exported = path.with_extension("json");
    let _ = fs::remove_file(&exported);
    run(
        &cryptsetup,
        &["token", "export", "--token-id", &token.to_string(), "--json-file", text(&exported), text(&copy)],
    );
    let exported = fs::read_to_string(exported).unwrap();
    assert!(exported.contains(&format!("\"keyslots\":[\"{keyslot}\"]")), "{exported}");
}

#[test]
fn cryptsetup_opens_the_keyslot_by_what_the_vault_gives_through_every_change_of_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let vault = MemoryVault::new("memory:one");
    let device = FileDevice::create(&path, SIZE as u64).unwrap();
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &FormatOptions::new()).unwrap();
    volume.write_at(0, &[7; 4096]).unwrap();
    let keyslot = volume.bind_tokens().unwrap();
    assert_eq!(volume.bind_tokens().unwrap(), keyslot, "there is one already");
    check_peer(&path, &volume, keyslot, &vault);

    vault.rotate();
    volume.rotate_kek(&vault).unwrap();
    check_peer(&path, &volume, keyslot, &vault);

    let other = MemoryVault::new("memory:two");
    volume.add_protector(Protector::Vault(&other, "disks"), &cost()).unwrap();
    assert_eq!(named(&volume), [[keyslot], [keyslot]], "a new token names it, too");
    volume.header().remove_protector(ProtectorId::Token(0)).unwrap();
    check_peer(&path, &volume, keyslot, &other);

    volume.move_kek("memory:two", &vault, "disks").unwrap();
    check_peer(&path, &volume, keyslot, &vault);

    // A new DEK has another passphrase.
    let options = ReencryptOptions::new();
    volume.begin_reencryption(&[Protector::Vault(&vault, "disks")], &options).unwrap();
    while !volume.reencrypt_step(1 << 20).unwrap().is_finished() {}
    let new = volume.header().keyslots()[0].id;
    assert_eq!((named(&volume), volume.header().keyslots().len()), (vec![vec![new]], 1));
    check_peer(&path, &volume, new, &vault);
    let mut sectors = [0; 4096];
    volume.read_at(0, &mut sectors).unwrap();
    assert_eq!(sectors, [7; 4096]);
}

#[test]
fn the_passphrase_is_the_one_of_the_specification() {
    // HKDF-SHA-256 by Python's hmac, of the bytes 0 to 63 with the info of docs/formats/volume.md.
    let expected = "a268dd40093abd8a731f8f367afe6fefccd70e2d0fcf35907abe7b90b03c6ed3";
    let key: Vec<u8> = (0..64).collect();
    let dek = atrest::hazmat::dek_from_bytes(&key).unwrap();
    let vault = MemoryVault::new("memory:one");
    let options = FormatOptions::new().hazmat_dek(&dek);
    let volume = Volume::format(MemoryDevice::new(SIZE), Protector::Vault(&vault, "disks"), &options).unwrap();
    volume.bind_tokens().unwrap();
    assert_eq!(passphrase(&volume.header(), &vault).unwrap().expose(), expected.as_bytes());
}

#[test]
fn it_is_no_way_in_of_its_own_and_goes_with_the_last_token() {
    let vault = MemoryVault::new("memory:one");
    let (volume, keyslot) = bound(&vault);
    let remove = |id| volume.header().remove_protector(id);
    assert!(matches!(remove(ProtectorId::Token(0)), Err(Error::LastProtector)));

    volume.add_protector(Protector::Passphrase(b"another"), &cost()).unwrap();
    remove(ProtectorId::Token(0)).unwrap();
    let header = volume.header();
    let left: Vec<u32> = header.keyslots().into_iter().map(|keyslot| keyslot.id).collect();
    assert!(header.tokens().is_empty() && left.len() == 1 && left[0] != keyslot, "{left:?}");
    assert!(matches!(remove(ProtectorId::Keyslot(left[0])), Err(Error::LastProtector)));
    drop(header);

    assert!(matches!(volume.bind_tokens(), Err(Error::NoSuchProtector(_))), "there is no token");
    Volume::open(volume.into_device(), Credential::Passphrase(b"another"), &OpenOptions::new()).unwrap();
}

#[test]
fn it_can_be_removed_alone() {
    let vault = MemoryVault::new("memory:one");
    let (volume, keyslot) = bound(&vault);
    volume.header().remove_protector(ProtectorId::Keyslot(keyslot)).unwrap();
    assert_eq!(named(&volume), [[0u32; 0]]);
    let e = passphrase(&volume.header(), &vault).unwrap_err();
    assert!(matches!(&e, Error::NoSuchProtector(text) if text.contains("bind_tokens")), "{e}");
    Volume::open(volume.into_device(), Credential::Vault(&vault), &OpenOptions::new()).unwrap();
}

#[test]
fn a_keyslot_that_somebody_else_made_a_token_name_is_not_taken_for_it() {
    let vault = MemoryVault::new("memory:one");
    let options = FormatOptions::new().keyslot(cost());
    let volume = Volume::format(MemoryDevice::new(SIZE), Protector::Passphrase(b"first"), &options).unwrap();
    volume.add_protector(Protector::Vault(&vault, "disks"), &cost()).unwrap();
    let keyslot = volume.bind_tokens().unwrap();
    assert_eq!(keyslot, 1);
    assert_eq!(named(&volume), [[1]]);
}

#[test]
fn a_header_that_another_wrote_gets_no_passphrase() {
    let vault = MemoryVault::new("memory:one");
    let (volume, _) = bound(&vault);
    let header = volume.header();
    let json = String::from_utf8(header.metadata_json().unwrap().to_vec()).unwrap();
    let options = TokenOptions::new();
    let ask = |json: &str, uuid: &str, token| token_passphrase(json.as_bytes(), uuid, token, &vault, &options);
    ask(&json, header.uuid(), 0).unwrap();

    let changes = [
        ("\"iv_tweak\":\"0\"", "\"iv_tweak\":\"8\""),
        ("\"sector_size\":512", "\"sector_size\":4096"),
        ("\"offset\":\"16777216\"", "\"offset\":\"16781312\""),
        ("\"encryption_type\":\"customer-key\"", "\"encryption_type\":\"platform-key\""),
    ];
    for (from, to) in changes {
        let forged = json.replace(from, to);
        assert_ne!(forged, json, "{from}");
        let e = ask(&forged, header.uuid(), 0).unwrap_err();
        assert!(matches!(e, Error::TamperedHeader), "{to}: {e:?}");
    }
    assert!(matches!(ask(&json, "00000000-0000-0000-0000-000000000000", 0), Err(Error::TamperedHeader)));
    assert!(matches!(ask(&json, header.uuid(), 1), Err(Error::NoSuchProtector(_))));
    for broken in ["", "{}", "[]", &json[..json.len() / 2], "{\"config\":{\"json_size\":\"1\"}}"] {
        assert!(matches!(ask(broken, header.uuid(), 0), Err(Error::InvalidHeader(_))), "{broken}");
    }
    // A part that isn't encrypted.
    let plain = json.replace("aes-xts-plain64\",\"sector_size", "cipher_null-ecb\",\"sector_size");
    assert_ne!(plain, json);
    assert!(matches!(ask(&plain, header.uuid(), 0), Err(Error::UnsupportedHeader(_))));

    let stranger = MemoryVault::new("memory:two");
    assert!(matches!(passphrase(&header, &stranger), Err(Error::NotThisVault { .. })));
    let another = TokenOptions::new().expect_key("another");
    let e = token_passphrase(json.as_bytes(), header.uuid(), 0, &vault, &another).unwrap_err();
    assert!(matches!(e, Error::OtherKey { .. }), "{e:?}");
}

#[test]
fn only_luks2_has_them() {
    let options = FormatOptions::new().version(atrest::volume::LuksVersion::Luks1).keyslot(cost());
    let device: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(SIZE));
    let volume = Volume::format(device, Protector::Passphrase(b"first"), &options).unwrap();
    assert!(matches!(volume.bind_tokens(), Err(Error::UnsupportedHeader(_))));
    assert!(volume.header().metadata_json().is_none());
}
