//! A forked child has none of its parent's keys, gets an error for them, and makes new ones. It never hangs.

#![cfg(all(feature = "std", target_os = "linux"))]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use atrest::key::{AnyVault, KeyId, WrapAlgorithm, WrappedDek};
use atrest::{
    Credential, Dek, DekAlgorithm, Error, FileDevice, FormatOptions, KeyVault, OpenOptions, Protector, Result, Secret,
    SectorSize, SectorUnit, Volume,
};
use common::device::reopen;
use common::fork::{failed_of, forked, in_child, so};
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
    let busy = || {
        let secrets: Vec<Secret> = (0..100).map(|len| Secret::copy_from(&vec![7; len * 8])).collect();
        assert!(secrets.iter().all(|secret| secret.expose().iter().all(|byte| *byte == 7)));
    };
    let failed = failed_of(400, &[&busy, &busy, &busy, &busy], || {
        let secrets: Vec<Secret> = (0..100).map(|len| Secret::copy_from(&vec![9; len * 8])).collect();
        so!(secrets.iter().all(|secret| secret.expose().iter().all(|byte| *byte == 9)));
        Ok(())
    });
    assert_eq!(failed, 0, "of 400 children");
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
    let busy = || assert!(any.unwrap(&wrapped[1]).unwrap().is_some());
    let failed = failed_of(100, &[&busy, &busy, &busy, &busy], || {
        so!(forked(any.unwrap(&wrapped[0])));
        so!(any.unwrap(&wrapped[1]).is_ok_and(|dek| dek.is_some()));
        Ok(())
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
    let count = AtomicUsize::new(0);
    let busy =
        || assert!(is_put(store.commit(&put(&format!("of the thread/{}", count.fetch_add(1, Ordering::Relaxed))))));
    let failed = failed_of(50, &[&busy], || {
        so!(forked(store.get(&["a"])) && forked(store.list("a", None, 9)));
        so!(forked(store.commit(&put("b"))));
        Ok(())
    });
    assert_eq!(failed, 0, "of 50 children");
    let mut store = Some(store);
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

/// Threads of the parent hold locks of the service, of its resources and of their keys almost all the time.
#[cfg(feature = "managed")]
#[test]
fn a_child_waits_for_no_lock_of_its_parents_service() {
    use atrest::EncryptionType;
    use atrest::managed::{AdoptOptions, NewImage, ResourceKind, ResourceName, SecretHolder, ServiceMetrics};
    use common::world::{VAULT, World, copy_to, new_disk, new_set, quiet, snapshot_of, still};

    struct Holder;
    impl SecretHolder for Holder {
        fn hold(&self, _: Secret) -> Result<()> {
            Ok(())
        }
        fn wipe(&self) {}
    }

    let world = World::new();
    let service = world.service();
    world.set(&service, "set", EncryptionType::CustomerKey);
    for name in ["used", "opened", "copied"] {
        service.create_disk(&new_disk(name, Some("set"))).unwrap();
    }
    let disk = service.open_disk("used").unwrap();
    let write = disk.begin_write(0, &mut [7; 4096]).unwrap();
    let holder: Arc<dyn SecretHolder> = Arc::new(Holder);
    let key = world.customer(VAULT).key(1);
    let (name, new) = (ResourceName::disk("used"), new_disk("new", None));

    let busy: [&(dyn Fn() + Sync); 4] = [
        &|| {
            world.customer(VAULT).rotate();
            service.rotate_set("set", &quiet).unwrap();
            service.rotate_platform(&quiet).unwrap();
        },
        &|| {
            disk.write_at(4096, &[7; 4096]).unwrap();
            drop(service.open_disk("opened").unwrap());
        },
        &|| {
            service.maintain();
            assert!(service.metrics().disks.open > 0);
        },
        &|| {
            service.create_snapshot(&snapshot_of("copied", "snapshot", false), &still).unwrap();
            service.delete(&ResourceName::snapshot("snapshot")).unwrap();
        },
    ];
    let failed = failed_of(50, &busy, || {
        let s = &service;
        so!(forked(s.rotate_set("set", &quiet)) && forked(s.change_key("set", &key, &quiet)));
        so!(forked(s.rotate_platform(&quiet)) && forked(s.report_platform()));
        so!(forked(s.auto_rotate(&quiet)) && forked(s.auto_rotate_each(&quiet, &mut |_, _| {})));
        so!(forked(s.clear_rotation_error("set")) && forked(s.rotation_progress("set")));
        so!(forked(s.open_disk("opened")) && forked(s.create_disk(&new)) && forked(s.delete(&name)));
        so!(forked(s.create_disk_from(&name, &copy_to("new", None), &still)));
        so!(forked(s.import_disk(&new, "image")) && forked(s.resize_disk("used", 1 << 20)));
        so!(forked(s.adopt_disk(&new, "image", Credential::Passphrase(b"p"), &AdoptOptions::new())));
        so!(forked(s.create_snapshot(&snapshot_of("used", "new", true), &still)));
        so!(forked(s.create_image(&NewImage::new("new").disk("used").region("north", [None]), &still)));
        so!(forked(s.image("new")) && forked(s.delete_image("new")));
        so!(forked(s.resource(&name)) && forked(s.names(ResourceKind::Disk)));
        so!(forked(s.names_page(ResourceKind::Disk, None, 9)) && forked(s.report(&name)) && forked(s.reports()));
        so!(forked(s.report_set("set")) && forked(s.report_set_page("set", None, 9)));
        so!(forked(s.create_set(&new_set("new", EncryptionType::CustomerKey))));
        so!(forked(s.encryption_set("set")) && forked(s.encryption_sets()) && forked(s.members("set")));
        so!(forked(s.members_page("set", None, 9)) && forked(s.set_auto_rotation("set", false)));
        so!(forked(s.move_set_to_tenant("set", "fabrikam")) && forked(s.delete_set("set")));
        so!(forked(s.put_into_set(&name, "set")) && forked(s.move_to_subscription(&name, "two")));
        so!(forked(s.mark_guest_encrypted("used")) && forked(s.set_host_encryption("used", true)));
        so!(forked(s.rekey_disk("used")) && forked(s.reencrypt_step("used", 1 << 20)));
        so!(forked(s.cancel_reencryption("used")) && forked(s.reencrypting()));
        so!(forked(s.expiring_keys(std::time::Duration::ZERO)) && forked(s.check()) && forked(s.backup("backup")));
        so!(forked(s.orphans("north")) && forked(s.remove_orphan("north", "0b7c0bd9-3c1f-4c34-b3b2-2c6b7a0a2f5d")));
        so!(forked(s.renew_host_lease()) && forked(s.hand_over("used", "to")) && forked(s.take_host_cache("used")));
        s.maintain();
        so!(s.metrics() == ServiceMetrics::default());
        #[cfg(feature = "metrics")]
        s.publish_metrics();

        so!(disk.name() == "used" && disk.size() == 64 << 10 && disk.is_suspended());
        so!(forked(disk.check_key()) && forked(disk.lend_secret("label", &holder)));
        so!(forked(disk.host_cache()) && forked(disk.set_host_cache(None)));
        disk.set_write_back(None);
        let mut block = [7; 4096];
        so!(forked(disk.read_at(0, &mut block)) && forked(disk.write_at(0, &block)));
        so!(forked(disk.write_in_place(0, &mut block)) && forked(disk.sync()));
        so!(forked(disk.read_vectored_at(0, &mut [])) && forked(disk.write_vectored_at(0, &[])));
        so!(forked(disk.write_zeroes(0, 4096)) && forked(disk.discard(0, 4096)) && forked(disk.extents(0, 4096, 9)));
        so!(forked(disk.begin_read(0, 4096)) && forked(disk.complete_read(0, &mut block)));
        so!(forked(disk.begin_write(0, &mut block)) && forked(disk.begin_write_from(0, &[7; 4096], &mut block)));
        so!(block == [7; 4096] && !format!("{s:?} {disk:?} {write:?}").is_empty());
        let clone = disk.clone();
        so!(forked(clone.check_key()));
        // SAFETY: the child ends before it would drop its copies once more.
        drop((clone, unsafe { (std::ptr::read(&write), std::ptr::read(&disk), std::ptr::read(s)) }));
        Ok(())
    });
    assert_eq!(failed, 0, "of 50 children");
    drop((write, disk));
    let mut found = [0; 4096];
    service.open_disk("used").unwrap().read_at(4096, &mut found).unwrap();
    assert_eq!(found, [7; 4096]);
}
