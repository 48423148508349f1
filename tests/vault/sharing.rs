//! One vault file, many handles: in threads, and in another process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{PASSPHRASE, peer, vault_at};
use atrest::vault::{FileVault, Unlock};
use atrest::{Dek, DekAlgorithm, Envelope};

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
            // Whoever reads meanwhile finds a whole file at every instant.
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

/// What the test above runs in another process; by itself it does nothing.
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
    // Wrapping takes the latest version, whoever made it.
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
    assert!(matches!(&error, atrest::Error::NoSuchKey { key } if *key == envelope.kek().to_string()), "{error:?}");
}
