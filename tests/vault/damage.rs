//! A vault file that is damaged, torn, altered, or replaced by an older one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::spent::spent;
use crate::common::{PASSPHRASE, text, vault_at};
use atrest::vault::{FileVault, Unlock};
use atrest::{Dek, DekAlgorithm, Envelope, Error};
use base64ct::{Base64, Encoding};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

struct Fixture {
    folder: tempfile::TempDir,
    path: PathBuf,
    /// The text of a sound file.
    sound: Vec<u8>,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    vault_at(&path).rotate_key("disks").unwrap();
    let sound = fs::read(&path).unwrap();
    Fixture { folder, path, sound }
}

impl Fixture {
    fn bak(&self) -> PathBuf {
        self.folder.path().join("keys.vault.bak")
    }

    fn open(&self) -> atrest::Result<FileVault> {
        FileVault::open(&self.path, Unlock::Passphrase(PASSPHRASE))
    }

    fn open_with(&self, text: &[u8]) -> atrest::Result<FileVault> {
        // Not `fs::write`: some file systems flush a file that was truncated to nothing, thousands of them here.
        let mut file = fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all(text).unwrap();
        file.set_len(text.len() as u64).unwrap();
        self.open()
    }

    /// The sound file with an edit, and a checksum that is right for it.
    fn edited(&self, from: &str, to: &str) -> Vec<u8> {
        let text = str::from_utf8(&self.sound).unwrap();
        let (body, trailer) = text.strip_suffix('\n').unwrap().rsplit_once('\n').unwrap();
        assert_eq!(body.matches(from).count(), 1, "{from} in {body}");
        let body = format!("{}\n", body.replace(from, to));
        let mut trailer: serde_json::Value = serde_json::from_str(trailer).unwrap();
        trailer["sha256"] = Base64::encode_string(&Sha256::digest(&body)).into();
        format!("{body}{trailer}\n").into_bytes()
    }

    /// The value of a string field, as written in the file.
    fn value(&self, name: &str) -> String {
        let text = str::from_utf8(&self.sound).unwrap();
        let rest = text.split_once(&format!("\"{name}\": \"")).unwrap().1;
        rest.split_once('"').unwrap().0.to_owned()
    }
}

fn says(error: &Error, what: &str) -> bool {
    matches!(error, Error::DamagedVault(text) if text.contains(what))
}

/// Only a program with the root key can write such a file. Opening reports it as damage, later calls don't.
#[test]
fn a_name_that_no_vault_gives_is_told_at_open() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("keys.vault"), folder.path().join("root.key"));
    fs::write(&key, [7; 32]).unwrap();
    FileVault::create(&path, Unlock::KeyFile(&key)).unwrap().create_key("disks").unwrap();
    let sound = fs::read_to_string(&path).unwrap();
    let body = &sound[..sound.trim_end().rfind('\n').unwrap() + 1];
    let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
    let id = parsed["id"].as_str().unwrap();
    let open = |from: &str, to: &str| {
        let body = body.replace(from, to);
        assert!(from == to || body.matches(to).count() == 1);
        let salt = Base64::decode_vec(parsed["root"]["salt"].as_str().unwrap()).unwrap();
        let mut mac_key = [0; 32];
        Hkdf::<Sha256>::new(Some(&salt), &[7; 32]).expand(b"atrest vault mac v1", &mut mac_key).unwrap();
        let mac = Hmac::<Sha256>::new_from_slice(&mac_key).unwrap().chain_update(&body).finalize().into_bytes();
        let (sum, mac) = (Base64::encode_string(&Sha256::digest(&body)), Base64::encode_string(&mac));
        fs::write(&path, format!("{body}{{\"sha256\":\"{sum}\",\"mac\":\"{mac}\"}}\n")).unwrap();
        FileVault::open(&path, Unlock::KeyFile(&key)).and_then(|vault| vault.keys())
    };
    assert_eq!(open("disks", "disks").unwrap().len(), 1, "the file is sealed as the vault does it");
    for (from, to) in [("\"disks\"", "\"di sks\""), ("\"disks\"", "\"..\""), (id, "a vault"), (id, "")] {
        let quoted = if to.is_empty() { (format!("\"{from}\""), "\"\"".to_owned()) } else { (from.into(), to.into()) };
        let error = open(&quoted.0, &quoted.1).unwrap_err();
        assert!(says(&error, "one of its names is not allowed"), "{from} as {to:?}: {error}");
    }
}

#[test]
fn no_flip_of_a_bit_opens_and_the_copy_beside_it_repairs() {
    let vault = fixture();
    let mut text = vault.sound.clone();
    for bit in 0..text.len() * 8 {
        text[bit / 8] ^= 1 << (bit % 8);
        let error = vault.open_with(&text).unwrap_err();
        // Damage found by the checksum or the form of the file names the copy. Damage found only by the MAC can't.
        assert!(matches!(&error, Error::DamagedVault(_)), "bit {bit}: {error:?}");
        assert!(says(&error, "put it in place") || says(&error, "MAC"), "bit {bit}: {error:?}");
        text[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(fs::read(vault.bak()).unwrap(), vault.sound);
    fs::copy(vault.bak(), &vault.path).unwrap();
    assert_eq!(vault.open().unwrap().keys().unwrap()[0].versions.len(), 2);
}

#[test]
fn a_torn_file_is_refused_at_every_length() {
    let vault = fixture();
    for len in 0..vault.sound.len() {
        let error = vault.open_with(&vault.sound[..len]).unwrap_err();
        assert!(says(&error, text(&vault.path)) && says(&error, "put it in place"), "{len}: {error:?}");
        // Possible remains of a file that was not synced.
        let mut zeros = vault.sound.clone();
        zeros[len..].fill(0);
        assert!(matches!(vault.open_with(&zeros), Err(Error::DamagedVault(_))), "{len}");
    }
    for more in [&b"\n"[..], b"{}\n", b"\0", &vault.sound] {
        let longer = [&vault.sound[..], more].concat();
        assert!(matches!(vault.open_with(&longer), Err(Error::DamagedVault(_))), "{more:?}");
    }
}

#[test]
fn a_damaged_copy_is_not_recommended() {
    let vault = fixture();
    fs::write(vault.bak(), &vault.sound[1..]).unwrap();
    assert!(says(&vault.open_with(b"{}\n").unwrap_err(), "damaged too"));
    fs::remove_file(vault.bak()).unwrap();
    assert!(says(&vault.open_with(b"{}\n").unwrap_err(), "missing"));
    // The file itself needs no copy.
    let vault = vault.open_with(&vault.sound).unwrap();
    vault.rotate_key("disks").unwrap();
}

#[test]
fn what_a_killed_writer_left_behind_is_harmless() {
    let vault = fixture();
    for garbage in [&b""[..], b"garbage", &vault.sound[..100], &vec![0; 100_000]] {
        for name in ["keys.vault.new", "keys.vault.bak.new", "keys.vault.lock"] {
            fs::write(vault.folder.path().join(name), garbage).unwrap();
        }
        let before = vault.open().unwrap().keys().unwrap()[0].versions.len();
        vault.open().unwrap().rotate_key("disks").unwrap();
        assert_eq!(vault.open().unwrap().keys().unwrap()[0].versions.len(), before + 1);
    }
    assert!(!vault.folder.path().join("keys.vault.new").exists());
}

#[test]
fn a_writer_that_was_killed_between_the_copy_and_the_file_has_changed_nothing() {
    let vault = fixture();
    vault.open().unwrap().rotate_key("disks").unwrap();
    let newer = fs::read(&vault.path).unwrap();
    assert_eq!(fs::read(vault.bak()).unwrap(), newer);
    // The copy is replaced first.
    fs::write(&vault.path, &vault.sound).unwrap();
    assert_eq!(vault.open().unwrap().keys().unwrap()[0].versions.len(), 2);
    // Should the file be damaged just then, the copy opens, with a version that nothing was wrapped under.
    fs::copy(vault.bak(), &vault.path).unwrap();
    assert_eq!(vault.open().unwrap().keys().unwrap()[0].versions.len(), 3);
    fs::write(&vault.path, &vault.sound).unwrap();
    vault.open().unwrap().create_key("tapes").unwrap();
    assert_eq!(fs::read(vault.bak()).unwrap(), fs::read(&vault.path).unwrap());
}

#[test]
fn a_change_that_could_not_be_written_has_not_happened_and_the_copy_is_never_behind() {
    // In the place of each of the two new files stands something that can't be removed.
    for name in ["keys.vault.bak.new", "keys.vault.new"] {
        let fixture = fixture();
        let vault = fixture.open().unwrap();
        let first = vault.keys().unwrap()[0].versions[0].id.clone();
        let obstacle = fixture.folder.path().join(name);
        fs::create_dir_all(obstacle.join("full")).unwrap();
        assert!(matches!(vault.rotate_key("disks"), Err(Error::Io { .. })), "{name}");
        assert!(matches!(vault.hazmat_destroy_version(&first), Err(Error::Io { .. })), "{name}");
        let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
        let envelope = Envelope::seal(&dek, &vault, "disks", b"").unwrap();
        assert_eq!(envelope.kek().version(), "2", "{name}");
        fs::remove_dir_all(obstacle).unwrap();
        // Tried again, it destroys the version in both files.
        vault.hazmat_destroy_version(&first).unwrap();
        assert_eq!(fs::read(fixture.bak()).unwrap(), fs::read(&fixture.path).unwrap());
        // A user who follows the error's advice has all keys that were in use.
        fs::write(&fixture.path, b"garbage").unwrap();
        fs::copy(fixture.bak(), &fixture.path).unwrap();
        assert_eq!(envelope.unseal(&fixture.open().unwrap(), b"").unwrap(), dek);
    }
}

#[test]
#[cfg(unix)]
fn a_link_to_a_vault_stays_a_link() {
    let fixture = fixture();
    let link = fixture.folder.path().join("link");
    std::os::unix::fs::symlink(&fixture.path, &link).unwrap();
    let vault = FileVault::open(&link, Unlock::Passphrase(PASSPHRASE)).unwrap();
    vault.create_key("tapes").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fixture.open().unwrap().keys().unwrap().len(), 2);
}

#[test]
fn a_file_that_went_back_in_time_is_neither_used_nor_written_over() {
    let vault = fixture();
    let handle = vault.open().unwrap();
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    assert_eq!(handle.rotate_key("disks").unwrap().version(), "3");
    let envelope = Envelope::seal(&dek, &handle, "disks", b"").unwrap();
    let newer = fs::read(&vault.path).unwrap();

    fs::write(&vault.path, &vault.sound).unwrap();
    // A second version 3 would be another key under the same name, and a DEK under the first would be lost.
    assert!(says(&handle.rotate_key("disks").unwrap_err(), "older"));
    assert!(says(&handle.create_key("tapes").unwrap_err(), "older"));
    assert!(says(&handle.keys().unwrap_err(), "older"));
    assert!(matches!(Envelope::seal(&dek, &handle, "disks", b""), Err(Error::DamagedVault(_))));
    assert_eq!(fs::read(&vault.path).unwrap(), vault.sound);
    // It answers nothing from memory, and goes on when the newer file is back.
    assert!(says(&envelope.unseal(&handle, b"").unwrap_err(), "older"));
    fs::write(&vault.path, newer).unwrap();
    assert_eq!(envelope.unseal(&handle, b"").unwrap(), dek);
    assert_eq!(handle.rotate_key("disks").unwrap().version(), "4");
}

#[test]
fn another_vault_in_its_place_is_refused() {
    let vault = fixture();
    let handle = vault.open().unwrap();
    let other = vault.folder.path().join("other.vault");
    vault_at(&other);
    fs::copy(&other, &vault.path).unwrap();
    // Its MAC is made with another root key.
    assert!(matches!(handle.rotate_key("disks"), Err(Error::DamagedVault(_))));
    assert!(matches!(handle.keys(), Err(Error::DamagedVault(_))));
    assert_eq!(fs::read(&other).unwrap(), fs::read(&vault.path).unwrap());
}

#[test]
fn an_edit_with_a_right_checksum_is_refused_by_the_mac() {
    let vault = fixture();
    let uuid = format!("\"uuid\": \"{}\"", vault.value("uuid"));
    let other = uuid.replace(&uuid[9..17], "00000000");
    for (from, to) in [
        ("\"generation\": 3", "\"generation\": 4"),
        ("\"name\": \"disks\"", "\"name\": \"disk\""),
        ("\"next_version\": 3", "\"next_version\": 2"),
        ("\"version\": 2,\n          \"kind\"", "\"version\": 9,\n          \"kind\""),
        ("\"purge_protection\": false", "\"purge_protection\": true"),
        ("\"grants\": []", "\"grants\": [{\"identity\":\"me\",\"operations\":[\"unwrapKey\"]}]"),
        (uuid.as_str(), other.as_str()),
        ("\"keys\": [", "\"keys\":  ["),
    ] {
        let error = vault.open_with(&vault.edited(from, to)).unwrap_err();
        assert!(says(&error, "MAC"), "{from} -> {to}: {error:?}");
    }
    // The same way without an edit opens, so that it is the edit which is refused.
    vault.open_with(&vault.edited(&uuid, &uuid)).unwrap();
}

#[test]
fn an_edit_of_how_the_root_key_comes_about_gives_another_root_key() {
    let vault = fixture();
    let (salt, verifier) = (vault.value("salt"), vault.value("verifier"));
    for (from, to) in [
        ("\"passes\": 1", "\"passes\": 2"),
        ("\"memory_kib\": 64", "\"memory_kib\": 65"),
        ("\"kdf\": \"argon2id\"", "\"kdf\": \"key-file\""),
        (salt.as_str(), verifier.as_str()),
        (verifier.as_str(), salt.as_str()),
    ] {
        let error = vault.open_with(&vault.edited(from, to)).unwrap_err();
        assert!(matches!(error, Error::WrongVaultPassphrase), "{from} -> {to}: {error:?}");
    }
    for (from, to) in [
        (salt.as_str(), "AAAA"),
        (verifier.as_str(), "?"),
        ("\"version\": 3,\n  \"uuid\"", "\"version\": 4,\n  \"uuid\""),
    ] {
        let error = vault.open_with(&vault.edited(from, to)).unwrap_err();
        assert!(matches!(error, Error::DamagedVault(_)), "{from} -> {to}: {error:?}");
    }
}

#[test]
fn a_hostile_cost_in_the_file_is_refused_quickly() {
    let vault = fixture();
    for (from, to) in [
        ("\"passes\": 1", "\"passes\": 4294967295"),
        ("\"passes\": 1", "\"passes\": 65"),
        ("\"passes\": 1", "\"passes\": 0"),
        ("\"memory_kib\": 64", "\"memory_kib\": 4294967295"),
        ("\"memory_kib\": 64", "\"memory_kib\": 1048577"),
        ("\"lanes\": 1", "\"lanes\": 16777215"),
        ("\"lanes\": 1", "\"lanes\": 0"),
    ] {
        let start = spent();
        let error = vault.open_with(&vault.edited(from, to)).unwrap_err();
        assert!(says(&error, "Argon2id"), "{to}: {error:?}");
        let took = spent() - start;
        assert!(took < Duration::from_secs(2), "{to} took {took:?}");
    }
}

#[test]
fn a_file_without_end_is_not_read_into_memory() {
    let vault = fixture();
    fs::File::create(&vault.path).unwrap().set_len(1 << 36).unwrap();
    let error = vault.open().unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains(text(&vault.path)), "{error:?}");
    assert!(FileVault::open(Path::new("/"), Unlock::Passphrase(PASSPHRASE)).is_err());
}

#[test]
fn a_missing_file_is_reported_with_its_intact_copy() {
    let fixture = fixture();
    fs::remove_file(&fixture.path).unwrap();
    let error = fixture.open().unwrap_err();
    assert!(says(&error, "missing") && says(&error, "keys.vault.bak"), "{error:?}");
    fs::copy(fixture.bak(), &fixture.path).unwrap();
    fixture.open().unwrap();
}
