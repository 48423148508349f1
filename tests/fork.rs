//! A forked child has none of its parent's keys, gets an error for them, and makes new ones. It never hangs.

#![cfg(all(feature = "std", target_os = "linux"))]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use atrest::key::{AnyVault, KeyId, WrapAlgorithm, WrappedDek};
use atrest::{
    Credential, Dek, DekAlgorithm, Error, FileDevice, FormatOptions, KeyVault, OpenOptions, Protector, Result, Secret,
    SectorSize, SectorUnit, Volume,
};
use common::device::reopen;
use common::fork::{forked, in_child, so};
use common::vault_at;

#[test]
fn a_child_has_no_keys_of_its_parent_and_makes_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let options = FormatOptions::new().data_offset(1 << 20);
    let device = FileDevice::create(folder.path().join("disk"), 2 << 20).unwrap();
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options).unwrap();
    volume.write_at(0, &[7; 4096]).unwrap();
    let (secret, long) = (Secret::random(32).unwrap(), Secret::random(100_000).unwrap());
    let stored = secret.expose().to_vec();
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let cipher = dek.sector_cipher(SectorSize::B512, SectorUnit::Bytes512).unwrap();
    let stream = Dek::generate(DekAlgorithm::Aes256Ctr).unwrap().stream_cipher([0; 16]).unwrap();
    let mut sector = [1; 512];

    let ended = in_child(|| {
        so!(forked(secret.check()) && forked(long.check()));
        so!(forked(cipher.encrypt(0, &mut sector)));
        so!(forked(stream.apply(0, &mut sector)));
        so!(sector == [1; 512]);
        so!(forked(dek.sector_cipher(SectorSize::B512, SectorUnit::Bytes512)));
        so!(forked(volume.read_at(0, &mut [0; 512])));
        so!(forked(volume.write_at(0, &[0; 512])));
        so!(forked(volume.rotate_kek(&vault)));
        so!(forked(vault.create_key("more")));
        // Dropping the parent's objects is harmless.
        drop((secret, long, cipher, stream, dek));
        let new = Secret::copy_from(&stored);
        so!(new.expose() == stored);
        let own = Dek::generate(DekAlgorithm::Aes256Xts)
            .unwrap()
            .sector_cipher(SectorSize::B512, SectorUnit::Bytes512)
            .unwrap();
        so!(own.encrypt(0, &mut sector).is_ok() && sector != [1; 512]);
        Ok(())
    });
    assert_eq!(ended, 0, "the line that wasn't so");

    // The parent's objects are unchanged.
    let mut back = [0; 4096];
    volume.read_at(0, &mut back).unwrap();
    assert_eq!(back, [7; 4096]);
    volume.rotate_kek(&vault).unwrap();
    drop(volume);
    let ended = in_child(|| {
        let vault = atrest::FileVault::open(
            folder.path().join("keys.vault"),
            atrest::vault::Unlock::Passphrase(common::PASSPHRASE),
        )
        .unwrap();
        // A child of the other test may hold a lock that this process held when it was forked.
        let device = reopen(|| FileDevice::open(folder.path().join("disk"))).unwrap();
        let volume = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new()).unwrap();
        let mut back = [0; 4096];
        volume.read_at(0, &mut back).unwrap();
        so!(back == [7; 4096]);
        Ok(())
    });
    assert_eq!(ended, 0);
}

#[test]
fn a_child_locks_memory_of_its_own_for_secrets() {
    let long = Secret::random(100_000).unwrap();
    // This thread has a place that it could take again. In a child it isn't locked.
    drop(Secret::random(32).unwrap());
    let ended = in_child(|| {
        let secret = Secret::copy_from(&[7; 32]);
        let memory = atrest::memory_protection();
        so!(memory.locked + memory.unlocked == 4096);
        so!(secret.expose() == [7; 32]);
        Ok(())
    });
    assert_eq!(ended, 0, "the line that wasn't so");
    assert_eq!(Secret::zeroed(32).expose(), [0; 32]);
    drop(long);
}

#[test]
fn no_child_hangs_in_what_a_thread_of_its_parent_held() {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let secrets: Vec<Secret> = (0..100).map(|len| Secret::copy_from(&vec![7; len * 8])).collect();
                    assert!(secrets.iter().all(|secret| secret.expose().iter().all(|byte| *byte == 7)));
                }
            });
        }
        let failed = (0..400).filter(|_| {
            0 != in_child(|| {
                let secrets: Vec<Secret> = (0..100).map(|len| Secret::copy_from(&vec![9; len * 8])).collect();
                so!(secrets.iter().all(|secret| secret.expose().iter().all(|byte| *byte == 9)));
                Ok(())
            })
        });
        let failed = failed.count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0, "of 400 children");
    });
}

/// A vault without locks, which a child may use.
struct Echo;

impl KeyVault for Echo {
    fn id(&self) -> &str {
        "memory:echo"
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        Ok(WrappedDek::new(KeyId::new(self.id(), key, "1")?, WrapAlgorithm::Opaque, dek.expose().to_vec()))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        Ok(Some(Secret::copy_from(&wrapped.bytes)))
    }
}

#[test]
fn a_child_asks_the_vaults_that_its_parent_has_put_together() {
    let folder = tempfile::tempdir().unwrap();
    let file = vault_at(&folder.path().join("keys.vault"));
    let wrapped = [&file as &dyn KeyVault, &Echo].map(|vault| vault.wrap("disks", &Secret::zeroed(32)).unwrap());
    let any = AnyVault::new([Arc::new(file) as Arc<dyn KeyVault>, Arc::new(Echo)]).unwrap();
    let done = AtomicBool::new(false);
    let failed = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(any.unwrap(&wrapped[1]).unwrap().is_some());
                }
            });
        }
        let failed = (0..100).filter(|_| {
            0 != in_child(|| {
                so!(forked(any.unwrap(&wrapped[0])));
                so!(any.unwrap(&wrapped[1]).is_ok_and(|dek| dek.is_some()));
                Ok(())
            })
        });
        let failed = failed.count();
        done.store(true, Ordering::Relaxed);
        failed
    });
    assert_eq!(failed, 0, "of 100 children");
}

#[test]
fn a_file_that_was_let_go_of_is_free_while_other_threads_begin_programs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    FileDevice::create(&path, 1 << 20).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(std::process::Command::new("true").status().unwrap().success());
                }
            });
        }
        let opened = (0..20_000).try_for_each(|_| FileDevice::open(&path).map(drop));
        stop.store(true, Ordering::Relaxed);
        opened.unwrap();
    });
}

#[test]
fn what_a_child_lets_go_of_its_parent_still_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let device = FileDevice::create(&path, 1 << 20).unwrap();
    let mut device = Some(device);
    let answer = in_child(|| {
        drop(device.take());
        so!(matches!(FileDevice::open(&path), Err(Error::Busy { .. })));
        Ok(())
    });
    assert_eq!(answer, 0);
    assert!(matches!(FileDevice::open(&path), Err(Error::Busy { .. })));
    drop(device);
    FileDevice::open(&path).unwrap();
}

#[cfg(feature = "managed")]
#[test]
fn a_child_leaves_the_store_of_its_parents_service_alone() {
    use atrest::managed::store::{Action, Change, FileStore, Outcome, Store};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let put = |key: &str| [Change { key: key.into(), expected: None, action: Action::Put(b"value".to_vec()) }];
    let is_put = |outcome| matches!(outcome, Ok(Outcome::Committed(_)));
    let store = FileStore::open(&path).unwrap();
    assert!(is_put(store.commit(&put("a"))));
    let mut store = Some(store);
    let done = AtomicBool::new(false);
    let failed = thread::scope(|scope| {
        let shared = store.as_ref().unwrap();
        scope.spawn(|| {
            for n in 0.. {
                assert!(is_put(shared.commit(&put(&format!("of the thread/{n}")))));
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let failed = (0..50).filter(|_| {
            0 != in_child(|| {
                so!(forked(shared.get(&["a"])) && forked(shared.list("a", None, 9)));
                so!(forked(shared.commit(&put("b"))));
                Ok(())
            })
        });
        let failed = failed.count();
        done.store(true, Ordering::Relaxed);
        failed
    });
    assert_eq!(failed, 0, "of 50 children");
    let ended = in_child(|| {
        drop(store.take());
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    // The child's drop has given no lock back.
    assert!(matches!(FileStore::open(&path), Err(Error::Busy { .. })));
    let store = store.unwrap();
    assert!(is_put(store.commit(&put("c"))));
    drop(store);
    let found = FileStore::open(&path).unwrap().get(&["a", "b", "c"]).unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
}
