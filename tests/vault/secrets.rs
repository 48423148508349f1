//! Secrets that a vault keeps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::vault::{AuditEntry, FileVault, MAX_SECRET, StoredSecret, Unlock, VaultOptions, VersionChange};
use atrest::{Error, KeyRefusal, ManualClock, Result, Secret};

use crate::common::{python, run, text};

const PASSPHRASE: &[u8] = b"what the guest is opened by, 0123456789";

struct World {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        FileVault::generate_key_file(folder.path().join("root.key")).unwrap();
        World { folder, clock: Arc::new(ManualClock::new(1_000_000)) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.vault")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("root.key")
    }

    fn create(&self, options: &VaultOptions) -> FileVault {
        let vault = FileVault::create_with(self.path(), Unlock::KeyFile(&self.key_file()), options).unwrap();
        vault.with_clock(self.clock.clone())
    }

    fn open(&self) -> FileVault {
        FileVault::open(self.path(), Unlock::KeyFile(&self.key_file())).unwrap().with_clock(self.clock.clone())
    }
}

fn value(bytes: &[u8]) -> Secret {
    Secret::copy_from(bytes)
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn refusal(result: Result<StoredSecret>) -> KeyRefusal {
    match result.map(drop) {
        Err(Error::KeyRefused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn text_of(path: &Path) -> String {
    String::from_utf8(fs::read(path).unwrap()).unwrap()
}

#[test]
fn each_version_keeps_its_value_and_its_tags() {
    let world = World::new();
    let vault = world.create(&VaultOptions::new());
    let first = vault.set_secret("guest", &value(b"one"), &tags(&[("DiskEncryptionKeyFileName", "LinuxPassPhrase")]));
    assert_eq!(first.unwrap(), "1");
    assert_eq!(vault.set_secret("guest", &value(PASSPHRASE), &BTreeMap::new()).unwrap(), "2");
    vault.set_secret("other", &value(&[0; MAX_SECRET]), &BTreeMap::new()).unwrap();

    for vault in [vault, world.open()] {
        let newest = vault.secret("guest", None).unwrap();
        assert_eq!((newest.version.as_str(), newest.value.expose()), ("2", PASSPHRASE));
        let first = vault.secret("guest", Some("1")).unwrap();
        assert_eq!((first.value.expose(), first.tags.len()), (&b"one"[..], 1));
        assert_eq!(vault.secret("other", None).unwrap().value.len(), MAX_SECRET);
        let infos = vault.secrets().unwrap();
        let names: Vec<(&str, usize)> = infos.iter().map(|info| (info.name.as_str(), info.versions.len())).collect();
        assert_eq!(names, [("guest", 2), ("other", 1)]);
        assert_eq!(infos[0].versions[0].created, 1_000_000);
        for missing in ["3", "01", "x", ""] {
            assert_eq!(refusal(vault.secret("guest", Some(missing))), KeyRefusal::Missing, "{missing}");
        }
        assert_eq!(refusal(vault.secret("nobody", None)), KeyRefusal::Missing);
    }
}

#[test]
fn another_process_sees_what_one_has_set() {
    let world = World::new();
    let (one, two) = (world.create(&VaultOptions::new()), world.open());
    one.set_secret("guest", &value(b"one"), &BTreeMap::new()).unwrap();
    assert_eq!(two.secret("guest", None).unwrap().value.expose(), b"one");
    two.set_secret("guest", &value(b"two"), &BTreeMap::new()).unwrap();
    assert_eq!(one.secret("guest", None).unwrap().value.expose(), b"two");
}

#[test]
fn a_version_that_is_disabled_or_out_of_its_time_is_not_read() {
    let world = World::new();
    let vault = world.create(&VaultOptions::new());
    vault.set_secret("guest", &value(b"one"), &BTreeMap::new()).unwrap();
    let set = |change| vault.set_secret_version("guest", "1", change);
    set(VersionChange::new().enabled(false)).unwrap();
    assert_eq!(refusal(vault.secret("guest", None)), KeyRefusal::Disabled);
    set(VersionChange::new().enabled(true).not_before(Some(1_000_100)).expires(Some(1_000_200))).unwrap();
    assert_eq!(refusal(vault.secret("guest", None)), KeyRefusal::NotYetValid);
    world.clock.advance(std::time::Duration::from_secs(100));
    vault.secret("guest", None).unwrap();
    world.clock.advance(std::time::Duration::from_secs(100));
    assert_eq!(refusal(vault.secret("guest", None)), KeyRefusal::Expired);

    let backwards = VersionChange::new().not_before(Some(9)).expires(Some(9));
    assert!(matches!(set(backwards), Err(Error::InvalidOption(_))));
    assert!(matches!(set(VersionChange::new().authenticated(true)), Err(Error::InvalidOption(_))));
    assert!(matches!(vault.set_secret_version("guest", "2", VersionChange::new()), Err(Error::KeyRefused { .. })));
}

#[test]
fn a_deleted_secret_comes_back_until_it_is_purged() {
    let world = World::new();
    let vault = world.create(&VaultOptions::new().retention_days(7).purge_protection(true));
    vault.set_secret("guest", &value(b"one"), &BTreeMap::new()).unwrap();
    vault.delete_secret("guest").unwrap();
    assert_eq!(refusal(vault.secret("guest", None)), KeyRefusal::Deleted);
    assert!(vault.secrets().unwrap().is_empty());
    let taken = vault.set_secret("guest", &value(b"two"), &BTreeMap::new());
    assert!(matches!(taken, Err(Error::KeyRefused { reason: KeyRefusal::Deleted, .. })), "{taken:?}");
    vault.recover_secret("guest").unwrap();
    assert_eq!(vault.secret("guest", None).unwrap().value.expose(), b"one");

    vault.delete_secret("guest").unwrap();
    assert_eq!(vault.deleted_secrets().unwrap()[0].retained_until, 1_000_000 + 7 * 86_400);
    assert!(matches!(vault.hazmat_purge_secret("guest"), Err(Error::PurgeProtected { .. })));
    world.clock.advance(std::time::Duration::from_secs(7 * 86_400));
    vault.hazmat_purge_secret("guest").unwrap();
    assert!(vault.recover_secret("guest").is_err() && vault.deleted_secrets().unwrap().is_empty());
    assert_eq!(refusal(vault.secret("guest", None)), KeyRefusal::Missing);
    // No version ever names two values.
    assert_eq!(vault.set_secret("guest", &value(b"three"), &BTreeMap::new()).unwrap(), "2");
}

#[test]
fn what_is_out_of_bounds_is_refused_and_nothing_is_written() {
    let world = World::new();
    let vault = world.create(&VaultOptions::new());
    let before = fs::read(world.path()).unwrap();
    let none = BTreeMap::new();
    for (name, bytes, tags) in [
        ("guest", vec![], none.clone()),
        ("guest", vec![1; MAX_SECRET + 1], none.clone()),
        ("a/b", vec![1], none.clone()),
        ("", vec![1], none.clone()),
        ("guest", vec![1], tags(&[("", "x")])),
        ("guest", vec![1], tags(&[("a", "b\n")])),
        ("guest", vec![1], tags(&[("a", &"x".repeat(1025))])),
        ("guest", vec![1], (0..33).map(|i| (i.to_string(), String::new())).collect()),
    ] {
        let refused = vault.set_secret(name, &value(&bytes), &tags);
        assert!(matches!(refused, Err(Error::InvalidName(_) | Error::InvalidOption(_))), "{name:?}: {refused:?}");
    }
    assert_eq!(fs::read(world.path()).unwrap(), before);
}

#[test]
fn a_value_is_in_no_file_no_log_and_no_debug_text() {
    let world = World::new();
    let vault = world.create(&VaultOptions::new());
    vault.set_secret("guest", &value(PASSPHRASE), &BTreeMap::new()).unwrap();
    let secret = vault.secret("guest", None).unwrap();
    vault.delete_secret("guest").unwrap();
    let words = std::str::from_utf8(PASSPHRASE).unwrap();
    assert!(!format!("{secret:?} {vault:?}").contains(words));
    for entry in fs::read_dir(world.folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(PASSPHRASE.len()).any(|part| part == PASSPHRASE));
    }
    let log: Vec<AuditEntry> = vault.audit().unwrap().collect::<Result<_>>().unwrap();
    let told = |e: &AuditEntry| {
        format!("{} {} {}", e.operation, e.key.as_deref().unwrap_or(""), e.version.as_deref().unwrap_or(""))
    };
    let entries: Vec<String> = log.iter().map(told).collect();
    assert_eq!(entries, ["setSecret secrets/guest 1", "getSecret secrets/guest 1", "deleteSecret secrets/guest "]);
}

#[test]
fn a_release_that_knows_no_secrets_refuses_the_file() {
    let world = World::new();
    let vault = world.create(&VaultOptions::new());
    vault.create_key("disks").unwrap();
    assert!(text_of(&world.path()).contains("\"version\": 3,"));
    vault.set_secret("guest", &value(b"one"), &BTreeMap::new()).unwrap();
    assert!(text_of(&world.path()).contains("\"version\": 5,"));
}

#[test]
fn another_root_keeps_the_secrets() {
    let world = World::new();
    let vault = world.create(&VaultOptions::new());
    vault.set_secret("guest", &value(PASSPHRASE), &BTreeMap::new()).unwrap();
    let other = world.folder.path().join("other.key");
    FileVault::generate_key_file(&other).unwrap();
    vault.change_unlock(Unlock::KeyFile(&other), None).unwrap();
    assert_eq!(vault.secret("guest", None).unwrap().value.expose(), PASSPHRASE);
    let opened = FileVault::open(world.path(), Unlock::KeyFile(&other)).unwrap();
    assert_eq!(opened.secret("guest", None).unwrap().value.expose(), PASSPHRASE);
    assert!(text_of(&world.path()).contains("\"version\": 5,"));
}

/// By docs/formats/vault.md, with Python's HMAC and another library's key wrap.
#[test]
fn another_program_reads_a_secret_by_the_specification() {
    let Some(python) = python("cryptography") else { return };
    let world = World::new();
    let vault = world.create(&VaultOptions::new());
    vault.set_secret("guest", &value(PASSPHRASE), &BTreeMap::new()).unwrap();
    let script = r#"
import base64, hashlib, hmac, json, sys
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
text = open(sys.argv[1]).read()
body = json.loads(text[:text.rstrip("\n").rindex("\n")])
root = hmac.new(base64.b64decode(body["root"]["salt"]), open(sys.argv[2], "rb").read(), hashlib.sha256).digest()
key = hmac.new(root, b"atrest vault secret v1\x01", hashlib.sha256).digest()
print(aes_key_unwrap_with_padding(key, base64.b64decode(body["secrets"][0]["versions"][0]["value"])).decode())
"#;
    let read = run(&python, &["-c", script, text(&world.path()), text(&world.key_file())]);
    assert_eq!(read.trim_end().as_bytes(), PASSPHRASE);
}
