//! What a vault's passphrase is stretched by, and another passphrase or root key file in its place.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use hkdf::Hkdf;
use hmac::Hmac;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use crate::common::PASSPHRASE;
use crate::common::spent::spent;
use atrest::key::{HashAlgorithm, Kdf, KeyVault};
use atrest::vault::{FileVault, Unlock, VaultOptions};
use atrest::{Dek, DekAlgorithm, Envelope, Error};

const ARGON2: Kdf = Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 };
const PBKDF2: Kdf = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
const PBKDF2_SHA512: Kdf = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha512, iterations: 1001 };

fn create(path: &Path, kdf: Kdf) -> FileVault {
    FileVault::create_with(path, Unlock::Passphrase(PASSPHRASE), &VaultOptions::new().kdf(kdf)).unwrap()
}

/// The body of a vault file.
fn body(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    let end = text.trim_end().rfind('\n').unwrap();
    serde_json::from_str(&text[..end]).unwrap()
}

/// Changes the root that a vault file tells, as somebody without its root key can.
fn edit_root(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut body = body(path);
    edit(&mut body["root"]);
    let text = serde_json::to_string_pretty(&body).unwrap() + "\n";
    let trailer =
        json!({"sha256": Base64::encode_string(&Sha256::digest(&text)), "mac": Base64::encode_string(&[0; 32])});
    fs::write(path, format!("{text}{trailer}\n")).unwrap();
}

#[test]
fn pbkdf2_is_that_of_the_text_and_wrong_passphrases_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (number, kdf) in [PBKDF2, PBKDF2_SHA512].into_iter().enumerate() {
        let path = folder.path().join(number.to_string());
        create(&path, kdf).create_key("disks").unwrap();
        FileVault::open(&path, Unlock::Passphrase(PASSPHRASE)).unwrap();
        for wrong in [Unlock::Passphrase(b"correct horse"), Unlock::KeyFile(&path)] {
            assert!(matches!(FileVault::open(&path, wrong), Err(Error::WrongVaultPassphrase)));
        }
        // By the crates below, as docs/formats/vault.md says it.
        let body = body(&path);
        let root = &body["root"];
        let salt = Base64::decode_vec(root["salt"].as_str().unwrap()).unwrap();
        let mut key = [0; 32];
        match number {
            0 => pbkdf2::pbkdf2::<Hmac<Sha256>>(PASSPHRASE, &salt, 1000, &mut key).unwrap(),
            _ => pbkdf2::pbkdf2::<Hmac<Sha512>>(PASSPHRASE, &salt, 1001, &mut key).unwrap(),
        }
        let mut verifier = [0; 32];
        Hkdf::<Sha256>::from_prk(&key).unwrap().expand(b"atrest vault verifier v1", &mut verifier).unwrap();
        assert_eq!(root["verifier"], Base64::encode_string(&verifier));
        assert_eq!((&root["kdf"], &root["hash"]), (&json!("pbkdf2"), &json!(["sha256", "sha512"][number])));
        assert_eq!((salt.len(), &body["version"]), (32, &json!(4)));
    }
}

#[test]
fn what_no_vault_asks_for_is_refused_before_anything_is_computed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    create(&path, PBKDF2);
    let sound = fs::read(&path).unwrap();
    let began = spent();
    for (member, value) in [
        ("iterations", json!(0)),
        ("iterations", json!(999)),
        ("iterations", json!(10_000_001)),
        ("iterations", json!(u32::MAX)),
        ("iterations", json!(1u64 << 32)),
        ("iterations", json!(-1)),
        ("iterations", json!("1000")),
        ("iterations", Value::Null),
        ("hash", json!("sha1")),
        ("hash", json!("md5")),
        ("hash", Value::Null),
        ("kdf", json!("pbkdf1")),
        ("salt", json!("AAAA")),
    ] {
        fs::write(&path, &sound).unwrap();
        edit_root(&path, |root| root[member] = value.clone());
        let opened = FileVault::open(&path, Unlock::Passphrase(PASSPHRASE));
        assert!(matches!(opened, Err(Error::DamagedVault(_))), "{member} {value}: {opened:?}");
    }
    // Within the bounds it is another key.
    fs::write(&path, &sound).unwrap();
    edit_root(&path, |root| root["iterations"] = json!(1001));
    let opened = FileVault::open(&path, Unlock::Passphrase(PASSPHRASE));
    assert!(matches!(opened, Err(Error::WrongVaultPassphrase)), "{opened:?}");
    assert!(spent() - began < Duration::from_secs(20));
    for kdf in [
        Kdf::Pbkdf2 { hash: HashAlgorithm::Sha1, iterations: 1_000_000 },
        Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 999 },
        Kdf::Pbkdf2 { hash: HashAlgorithm::Sha512, iterations: 10_000_001 },
        Kdf::Argon2i { memory_kib: 64, passes: 1, lanes: 1 },
        Kdf::Argon2id { memory_kib: 7, passes: 1, lanes: 1 },
    ] {
        let (at, options) = (folder.path().join("another"), VaultOptions::new().kdf(kdf));
        let made = FileVault::create_with(&at, Unlock::Passphrase(PASSPHRASE), &options);
        assert!(matches!(made, Err(Error::InvalidOption(_))), "{kdf:?}: {made:?}");
        assert!(!at.exists());
    }
}

#[test]
fn a_passphrase_is_changed_and_all_else_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (path, root) = (folder.path().join("keys.vault"), folder.path().join("root.key"));
    FileVault::generate_key_file(&root).unwrap();
    let vault = create(&path, ARGON2);
    vault.create_key("disks").unwrap();
    vault.rotate_key("disks").unwrap();
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let envelope = Envelope::seal(&dek, &vault, "disks", b"7").unwrap();
    let id = vault.id().to_owned();
    assert_eq!(body(&path)["version"], 3);

    let mut before = Unlock::Passphrase(PASSPHRASE);
    for (after, kdf, version) in [
        (Unlock::Passphrase(PASSPHRASE), Some(PBKDF2), 4),
        (Unlock::Passphrase(b"another"), Some(PBKDF2_SHA512), 4),
        (Unlock::KeyFile(&root), None, 4),
        (Unlock::Passphrase(b"a third"), Some(ARGON2), 4),
    ] {
        let (other, copy) = (FileVault::open(&path, before).unwrap(), vault.clone());
        let entries = vault.audit().unwrap().count();
        vault.change_unlock(after, kdf).unwrap();
        assert_eq!(body(&path)["version"], version);
        // This handle and its clones go on, and another one has to be opened anew.
        for vault in [&vault, &copy] {
            assert!(envelope.unseal(vault, b"7").unwrap() == dek);
        }
        match other.keys() {
            Err(Error::DamagedVault(text)) => assert!(text.contains("open it anew"), "{text}"),
            other => panic!("{other:?}"),
        }
        let again = FileVault::open(&path, after).unwrap();
        assert_eq!((again.id(), again.keys().unwrap()[0].versions.len()), (&*id, 2));
        assert!(envelope.unseal(&again, b"7").unwrap() == dek);
        // The log is whole, from before on.
        let log: Vec<_> = again.audit().unwrap().map(Result::unwrap).collect();
        assert_eq!((log[0].operation.as_str(), log[entries].operation.as_str()), ("create", "changeUnlock"));
        assert_eq!(log.len(), entries + 4);
        let is_same = matches!((before, after), (Unlock::Passphrase(a), Unlock::Passphrase(b)) if a == b);
        assert!(is_same || matches!(FileVault::open(&path, before), Err(Error::WrongVaultPassphrase)));
        // So it is in the copy beside it.
        assert_eq!(fs::read(&path).unwrap(), fs::read(path.with_extension("vault.bak")).unwrap());
        before = after;
    }
    let text = fs::read_to_string(&path).unwrap();
    for refused in [
        vault.change_unlock(Unlock::Passphrase(b""), None),
        vault.change_unlock(Unlock::Passphrase(b"x"), Some(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1 })),
        vault.change_unlock(Unlock::KeyFile(&folder.path().join("none")), None),
    ] {
        assert!(matches!(refused, Err(Error::InvalidOption(_) | Error::NotFound { .. })), "{refused:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    // An archive of the log, too, goes on under its key.
    vault.archive_audit(folder.path().join("archive")).unwrap();
    vault.rotate_key("disks").unwrap();
    assert_eq!(FileVault::open(&path, before).unwrap().audit().unwrap().map(Result::unwrap).count(), 1);
}

#[test]
fn who_uses_a_vault_meanwhile_notices_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let vault = create(&folder.path().join("keys.vault"), PBKDF2);
    vault.create_key("disks").unwrap();
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let envelope = Envelope::seal(&dek, &vault, "disks", b"7").unwrap();
    std::thread::scope(|scope| {
        let users: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..40 {
                        assert!(envelope.unseal(&vault, b"7").unwrap() == dek);
                        vault.describe("disks", None).unwrap().unwrap();
                    }
                })
            })
            .collect();
        let mut changes = 0;
        while changes < 5 || !users.iter().all(|user| user.is_finished()) {
            vault.change_unlock(Unlock::Passphrase(PASSPHRASE), Some([PBKDF2, PBKDF2_SHA512][changes % 2])).unwrap();
            changes += 1;
        }
    });
    assert!(vault.audit().unwrap().all(|entry| entry.is_ok()));
}
