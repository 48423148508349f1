//! One vault file, many handles: in threads, and in another process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::common::{PASSPHRASE, peer, vault_at};
use atrest::key::KeyVault;
use atrest::vault::{FileVault, KdfCost, Unlock, VaultOptions};
use atrest::{Dek, DekAlgorithm, Envelope, Error, KeyRefusal};

const ROTATIONS: usize = 20;
const VAULT: &str = "ATREST_TEST_ROTATE_VAULT";

fn open(path: &Path) -> FileVault {
    FileVault::open(path, Unlock::Passphrase(PASSPHRASE)).unwrap()
}

fn rotate(path: &Path) {
    let vault = open(path);
    for _ in 0..ROTATIONS {
        vault.rotate_key("disks").unwrap();
    }
}

/// The versions of the key, which must be 1, 2, 3 and so on.
fn count(path: &Path) -> usize {
    let versions = &open(path).keys().unwrap()[0].versions;
    for (i, version) in versions.iter().enumerate() {
        assert_eq!(version.id.version(), (i + 1).to_string());
    }
    versions.len()
}

#[test]
fn two_handles_that_rotate_at_once_lose_no_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    vault_at(&path);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            // A concurrent reader finds a whole file at every instant.
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let now = count(&path);
                assert!(now >= last);
                last = now;
            }
        });
        let writers = [scope.spawn(|| rotate(&path)), scope.spawn(|| rotate(&path))];
        let results = writers.map(|writer| writer.join());
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        results.into_iter().for_each(|result| result.unwrap());
    });
    assert_eq!(count(&path), 1 + 2 * ROTATIONS);
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(folder.path().join("keys.vault.bak")).unwrap());
}

#[test]
fn one_handle_serves_many_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let vault = vault_at(&path);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    vault.rotate_key("disks").unwrap();
                    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
                    let envelope = Envelope::seal(&dek, &vault, "disks", b"").unwrap();
                    assert_eq!(envelope.unseal(&vault, b"").unwrap(), dek);
                }
            });
        }
    });
    assert_eq!(count(&path), 1 + 4 * 5);
}

#[test]
fn two_processes_that_rotate_at_once_lose_no_version() {
    let this = std::env::current_exe().unwrap();
    // Under an emulator this program can't start another of its kind.
    let Some(this) = peer(this.to_str().unwrap(), &["--list"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    vault_at(&path);
    let mut command = Command::new(this);
    command.args(["--exact", "sharing::the_second_process", "--nocapture"]).env(VAULT, &path).stdout(Stdio::null());
    let mut other = command.spawn().unwrap();
    rotate(&path);
    assert!(other.wait().unwrap().success());
    assert_eq!(count(&path), 1 + 2 * ROTATIONS);
}

/// The work of another process in the test above. Run on its own, it does nothing.
#[test]
fn the_second_process() {
    if let Some(path) = std::env::var_os(VAULT) {
        rotate(Path::new(&path));
    }
}

#[test]
fn a_second_handle_sees_what_the_first_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let first = vault_at(&path);
    let second = open(&path);
    first.rotate_key("disks").unwrap();
    first.create_key("tapes").unwrap();
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    // Unwrapping under a version and a key that the second handle has not read yet.
    for key in ["disks", "tapes"] {
        let envelope = Envelope::seal(&dek, &first, key, b"").unwrap();
        assert_eq!(envelope.unseal(&second, b"").unwrap(), dek);
    }
    // Wrapping takes the latest version, made by any process.
    first.rotate_key("disks").unwrap();
    assert_eq!(Envelope::seal(&dek, &second, "disks", b"").unwrap().kek().version(), "3");
    assert_eq!(second.keys().unwrap(), first.keys().unwrap());
}

#[test]
fn a_version_that_another_handle_destroyed_unwraps_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let first = vault_at(&path);
    let second = open(&path);
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let envelope = Envelope::seal(&dek, &second, "disks", b"").unwrap();
    first.hazmat_destroy_version(envelope.kek()).unwrap();
    let error = envelope.unseal(&second, b"").unwrap_err();
    assert!(
        matches!(&error, atrest::Error::KeyRefused { key, reason: KeyRefusal::Missing } if *key == envelope.kek().to_string()),
        "{error:?}"
    );
}

#[test]
fn many_who_open_or_create_a_vault_at_once_get_the_same() {
    const PATH: &str = "ATREST_TEST_OPEN_OR_CREATE";
    let options = VaultOptions::new().kdf_cost(KdfCost::new(64, 1, 1)).region("north");
    let id = |path: &Path| {
        let vault = FileVault::open_or_create(path, Unlock::Passphrase(PASSPHRASE), &options).unwrap();
        vault.id().to_owned()
    };
    if let Some(path) = std::env::var_os(PATH) {
        println!("id: {}", id(Path::new(&path)));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let path = folder.path().join(format!("{round}.vault"));
        let children: Vec<_> = (0..4)
            .map(|_| {
                let mut this = Command::new(std::env::current_exe().unwrap());
                this.args(["--exact", "sharing::many_who_open_or_create_a_vault_at_once_get_the_same", "--nocapture"]);
                this.env(PATH, &path).stdout(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let mut ids: Vec<String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| id(&path))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for child in children {
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let found = said.split("id: ").nth(1).unwrap_or_else(|| panic!("{said}"));
            ids.push(found.lines().next().unwrap().to_owned());
        }
        assert_eq!(ids.len(), 12);
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let vault = FileVault::open(&path, Unlock::Passphrase(PASSPHRASE)).unwrap();
        assert_eq!(vault.properties().unwrap().region.as_deref(), Some("north"));
    }
}

#[test]
fn open_or_create_makes_no_vault_in_place_of_one_that_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    let options = VaultOptions::new().kdf_cost(KdfCost::new(64, 1, 1));
    let open = |passphrase| FileVault::open_or_create(&path, Unlock::Passphrase(passphrase), &options);
    let first = open(PASSPHRASE).unwrap();
    first.create_key("disks").unwrap();
    assert_eq!(open(PASSPHRASE).unwrap().keys().unwrap().len(), 1);
    assert!(matches!(open(b"another"), Err(Error::WrongVaultPassphrase)));
    // Its file is lost, and the copy is left.
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(PASSPHRASE), Err(Error::DamagedVault(text)) if text.contains("put it in place")));
    // A foreign file is no vault.
    std::fs::write(&path, b"a letter\n").unwrap();
    assert!(matches!(open(PASSPHRASE), Err(Error::DamagedVault(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"a letter\n");
    let missing =
        FileVault::open_or_create(folder.path().join("none/keys.vault"), Unlock::Passphrase(PASSPHRASE), &options);
    assert!(matches!(missing, Err(Error::NotFound { what: "folder", path }) if path.ends_with("none")));
}
