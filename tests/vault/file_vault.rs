//! The life of a vault file, its credentials, and another program reading it.

use std::path::Path;

use crate::common::{PASSPHRASE, hex, pipe, python, text, vault_at};
use atrest::key::KeyId;
use atrest::vault::{FileVault, KdfCost, KeyOrigin, Unlock};
use atrest::{Dek, DekAlgorithm, Envelope, Error, KeyRefusal, KeyVault, Secret};

const CHEAP: KdfCost = KdfCost::new(64, 1, 1);

fn open(path: &Path) -> atrest::Result<FileVault> {
    FileVault::open(path, Unlock::Passphrase(PASSPHRASE))
}

/// The versions of a key, as text.
fn versions(vault: &FileVault, key: &str) -> Vec<String> {
    let keys = vault.keys().unwrap();
    let info = keys.iter().find(|info| info.name == key).unwrap();
    info.versions.iter().map(|version| version.id.version().to_owned()).collect()
}

#[test]
fn what_was_made_is_there_after_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let vault = vault_at(&path);
    vault.create_key("tapes").unwrap();
    assert_eq!(vault.rotate_key("disks").unwrap().version(), "2");
    assert_eq!(vault.import_key("brought", &Secret::copy_from(&[7; 32])).unwrap().version(), "1");
    assert_eq!(vault.import_version("brought", &Secret::copy_from(&[8; 32])).unwrap().version(), "2");

    let again = open(&path).unwrap();
    assert_eq!((again.id(), again.path()), (vault.id(), &*path));
    assert!(again.id().starts_with("urn:uuid:"), "{}", again.id());
    let keys = again.keys().unwrap();
    assert_eq!(keys, vault.keys().unwrap());
    assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["disks", "tapes", "brought"]);
    assert_eq!(versions(&again, "disks"), ["1", "2"]);
    for key in &keys {
        let origin = if key.name == "brought" { KeyOrigin::Imported } else { KeyOrigin::Generated };
        for version in &key.versions {
            assert_eq!(version.origin, origin);
            assert_eq!(version.id.vault(), vault.id());
            assert!((before..=before + 60).contains(&version.created), "{version:?}");
        }
        // They were made within one second, and their numbers tell which is the later.
        for version in &key.versions {
            let described = again.describe(&key.name, Some(version.id.version())).unwrap().unwrap();
            assert_eq!(described.sequence.unwrap().to_string(), version.id.version());
        }
    }
}

#[test]
fn an_imported_kek_wraps_as_rfc_3394_says() {
    // Behaviours 3, 13, 14
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let kek: Vec<u8> = (0..32).collect();
    vault.import_key("rfc", &Secret::copy_from(&kek)).unwrap();
    // RFC 3394, 4.6.
    let key = crate::common::unhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F");
    let wrapped = vault.wrap("rfc", &Secret::copy_from(&key)).unwrap();
    assert_eq!(hex(&wrapped.bytes), "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21");
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), key);
}

#[test]
fn names_and_keys_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    assert!(matches!(vault.create_key("disks"), Err(Error::KeyExists { key }) if key == "disks"));
    assert!(
        matches!(vault.rotate_key("tapes"), Err(Error::KeyRefused { key, reason: KeyRefusal::Missing }) if key == "tapes")
    );
    for name in ["", "a/b", "a b", "é", &"x".repeat(128)] {
        assert!(matches!(vault.create_key(name), Err(Error::InvalidName(_))), "{name:?}");
    }
    vault.create_key(&"x".repeat(127)).unwrap();
    for len in [0, 16, 31, 33, 64] {
        let kek = Secret::zeroed(len);
        assert!(matches!(vault.import_key("k", &kek), Err(Error::KekLength { len: l }) if l == len));
        assert!(matches!(vault.import_version("disks", &kek), Err(Error::KekLength { len: l }) if l == len));
    }
    assert_eq!(versions(&vault, "disks"), ["1"]);
}

#[test]
fn a_destroyed_version_opens_nothing_and_its_number_is_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let second = vault.rotate_key("disks").unwrap();
    let envelope = Envelope::seal(&dek, &vault, "disks", b"").unwrap();
    assert_eq!(envelope.kek(), &second);
    vault.hazmat_destroy_version(&second).unwrap();
    for vault in [&vault, &open(&path).unwrap()] {
        assert!(
            matches!(envelope.unseal(vault, b""), Err(Error::KeyRefused { key, reason: KeyRefusal::Missing }) if key == second.to_string())
        );
        assert_eq!(versions(vault, "disks"), ["1"]);
    }
    assert!(matches!(
        vault.hazmat_destroy_version(&second),
        Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })
    ));
    let elsewhere = KeyId::new("urn:uuid:0", "disks", "1").unwrap();
    assert!(matches!(
        vault.hazmat_destroy_version(&elsewhere),
        Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. })
    ));
    assert_eq!(vault.rotate_key("disks").unwrap().version(), "3");
}

#[test]
fn a_wrong_passphrase_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    vault_at(&path);
    for wrong in [&b"correct horse battery stapl"[..], b"correct horse battery staple ", b"x", &[0; 100]] {
        assert!(matches!(FileVault::open(&path, Unlock::Passphrase(wrong)), Err(Error::WrongVaultPassphrase)));
    }
    assert!(matches!(FileVault::open(&path, Unlock::Passphrase(b"")), Err(Error::InvalidOption(_))));
    open(&path).unwrap();
}

#[test]
fn the_wrong_kind_of_credential_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (by_passphrase, by_file) = (folder.path().join("a.vault"), folder.path().join("b.vault"));
    let key_file = folder.path().join("root.key");
    FileVault::generate_key_file(&key_file).unwrap();
    vault_at(&by_passphrase);
    FileVault::create(&by_file, Unlock::KeyFile(&key_file)).unwrap();
    assert!(matches!(FileVault::open(&by_passphrase, Unlock::KeyFile(&key_file)), Err(Error::WrongVaultPassphrase)));
    assert!(matches!(open(&by_file), Err(Error::WrongVaultPassphrase)));
    // The bytes of the key file, typed as a passphrase, are another credential too.
    let bytes = std::fs::read(&key_file).unwrap();
    assert!(matches!(FileVault::open(&by_file, Unlock::Passphrase(&bytes)), Err(Error::WrongVaultPassphrase)));
    FileVault::open(&by_file, Unlock::KeyFile(&key_file)).unwrap();
}

#[test]
fn a_key_file_opens_and_every_other_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key_file) = (folder.path().join("keys.vault"), folder.path().join("root.key"));
    FileVault::generate_key_file(&key_file).unwrap();
    let bytes = std::fs::read(&key_file).unwrap();
    assert_eq!(bytes.len(), 32);
    assert!(
        matches!(FileVault::generate_key_file(&key_file), Err(Error::AlreadyExists { .. })),
        "a key file was overwritten"
    );
    assert_eq!(std::fs::read(&key_file).unwrap(), bytes);
    FileVault::create(&path, Unlock::KeyFile(&key_file)).unwrap();
    let with = |bytes: &[u8]| {
        std::fs::write(&key_file, bytes).unwrap();
        FileVault::open(&path, Unlock::KeyFile(&key_file)).map(drop)
    };
    with(&bytes).unwrap();
    let mut flipped = bytes.clone();
    flipped[31] ^= 0x80;
    assert!(matches!(with(&flipped), Err(Error::WrongVaultPassphrase)));
    assert!(matches!(with(&[&bytes[..], b"\n"].concat()), Err(Error::WrongVaultPassphrase)));
    let error = with(&bytes[..31]).unwrap_err();
    assert!(matches!(&error, Error::InvalidOption(text) if text.contains("31")), "{error:?}");
    assert!(matches!(with(&vec![1; (1 << 20) + 1]), Err(Error::Io { .. })));
    std::fs::remove_file(&key_file).unwrap();
    let error = FileVault::open(&path, Unlock::KeyFile(&key_file)).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }) && error.to_string().contains(text(&key_file)), "{error}");
}

#[test]
fn a_vault_is_not_made_over_a_file_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    std::fs::write(&path, "somebody's letter").unwrap();
    let error = FileVault::create_with_cost(&path, Unlock::Passphrase(PASSPHRASE), CHEAP).unwrap_err();
    assert!(matches!(&error, Error::AlreadyExists { path: found, .. } if *found == path));
    assert!(error.to_string().contains(text(&path)), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody's letter");
    let error = open(&folder.path().join("nothing")).unwrap_err();
    assert!(matches!(&error, Error::NotFound { what: "vault file", .. }));
}

#[test]
fn debug_and_errors_show_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let kek = Secret::copy_from(&[0xC3; 32]);
    vault.import_key("brought", &kek).unwrap();
    let dek = atrest::hazmat::dek_from_bytes(&[[0xC3; 32], [0xC4; 32]].concat()).unwrap();
    let shown = format!("{vault:?} {:?} {kek:?} {dek:?} {:?}", vault.keys().unwrap(), atrest::Credential::Dek(&dek));
    for secret in ["195, 195", "c3c3", "C3C3", "correct"] {
        let shown = shown.replace(vault.id(), "").replace(text(folder.path()), "");
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[cfg(unix)]
#[test]
fn the_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    // A file left behind by a killed writer, or with another umask, must not lend its mode to the new file.
    for name in ["keys.vault.new", "keys.vault.bak.new"] {
        std::fs::write(folder.path().join(name), "left behind").unwrap();
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(0o666)).unwrap();
    }
    vault.rotate_key("disks").unwrap();
    FileVault::generate_key_file(folder.path().join("root.key")).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["keys.vault", "keys.vault.audit", "keys.vault.bak", "keys.vault.lock", "root.key"]);
}

#[test]
fn python_unwraps_a_kek_from_the_file() {
    let Some(python) = python("cryptography") else { return };
    // HKDF and HMAC from the standard library, AES-KW from OpenSSL, the layout from the specification of the format.
    const SCRIPT: &str = "
import base64, hashlib, hmac, json, sys
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
text, key = open(sys.argv[1], 'rb').read(), open(sys.argv[2], 'rb').read()
body, trailer = text[:text.rindex(b'\\n', 0, -1) + 1], json.loads(text.splitlines()[-1])
vault, b64 = json.loads(body), base64.b64decode
sha = lambda key, data: hmac.new(key, data, 'sha256').digest()
assert (vault['format'], vault['version'], vault['root']['kdf']) == ('atrest-vault', 3, 'key-file')
root = sha(b64(vault['root']['salt']), key)
expand = lambda info: sha(root, info + b'\\x01')
assert b64(trailer['sha256']) == hashlib.sha256(body).digest(), 'sha256'
assert b64(trailer['mac']) == sha(expand(b'atrest vault mac v1'), body), 'mac'
assert b64(vault['root']['verifier']) == expand(b'atrest vault verifier v1'), 'verifier'
for key in vault['keys']:
    for version in key['versions']:
        kek = aes_key_unwrap(expand(b'atrest vault kek v1'), b64(version['kek']))
        print(key['name'], version['version'], version['origin'], kek.hex())
";
    let folder = tempfile::tempdir().unwrap();
    let (path, key_file) = (folder.path().join("keys.vault"), folder.path().join("root.key"));
    FileVault::generate_key_file(&key_file).unwrap();
    let vault = FileVault::create(&path, Unlock::KeyFile(&key_file)).unwrap();
    let (first, second): (Vec<u8>, Vec<u8>) = ((10..42).collect(), (90..122).collect());
    vault.import_key("brought", &Secret::copy_from(&first)).unwrap();
    vault.import_version("brought", &Secret::copy_from(&second)).unwrap();
    let printed = pipe(&python, &["-c", SCRIPT, text(&path), text(&key_file)], b"");
    let wanted = format!("brought 1 imported {}\nbrought 2 imported {}\n", hex(&first), hex(&second));
    assert_eq!(String::from_utf8(printed).unwrap(), wanted);
}
