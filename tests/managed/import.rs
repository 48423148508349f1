//! Plain images that become disks where they lie: behaviours 77, 78 and 83.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::crash::{is_plain_in, killed, most};
use crate::common::device::{Op, TestDevice};
use crate::common::world::{T, VAULT, World, new_disk, quiet, rule, snapshot_of, still, text};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::managed::{
    DiskBackend, DiskFolder, DiskService, ProtectionStatus, RebuildSources, ReencryptionKind, ResourceName, rebuild,
};
use atrest::{BlockDevice, Credential, Error, OpenOptions, Result, Volume};

/// Two zones, of which the second is smaller.
pub const SIZE: usize = (1 << 20) + (64 << 10);
const ROOM: usize = 2 << 20;
pub const IMAGE: &str = "image";

pub fn name(disk: &str) -> ResourceName {
    ResourceName::disk(disk)
}

pub fn image() -> Vec<u8> {
    text(9).into_iter().cycle().take(SIZE).collect()
}

/// Puts an image where the backend finds it.
pub fn give(world: &World, bytes: Vec<u8>) {
    world.disks.0.lock().unwrap().insert(IMAGE.into(), Arc::new(TestDevice::new(bytes)));
}

pub fn import(service: &DiskService, disk: &str, set: Option<&str>) -> Result<()> {
    service.import_disk(&new_disk(disk, set).size(0), IMAGE).map(drop)
}

pub fn read(service: &DiskService, disk: &str) -> Result<Vec<u8>> {
    let mut bytes = vec![0; SIZE];
    service.open_disk(disk)?.read_at(0, &mut bytes)?;
    Ok(bytes)
}

pub fn finish(service: &DiskService, disk: &str) {
    while !service.reencrypt_step(disk, 4096).unwrap().is_finished() {}
}

#[test]
fn a_plain_image_becomes_a_disk_in_steps_and_the_report_says_how_far_it_is() {
    // Behaviours 77, 83
    for (set, sector_size) in [(None, 512), (Some("s"), 4096)] {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        give(&world, image());
        let new = new_disk("d", set).size(SIZE as u64).sector_size(sector_size);
        let made = service.import_disk(&new, IMAGE).unwrap();
        assert_eq!((made.size, made.fingerprints.len()), (SIZE as u64, 1));
        let order = made.reencryption.unwrap();
        assert_eq!((order.kind, order.begun, order.finished), (ReencryptionKind::EncryptInPlace, Some(T), None));
        let devices: Vec<String> = world.disks.0.lock().unwrap().keys().cloned().collect();
        assert_eq!(devices, [made.id], "the image has no other name");
        let device = world.device(&service, "d");
        assert_eq!(device.bytes().len(), SIZE + ROOM);

        let told = || {
            let report = service.report(&name("d")).unwrap();
            assert_eq!(report.status, ProtectionStatus::Finished, "its key is the right one");
            report.reencryption.map(|of| (of.kind, of.done, of.total, of.finished)).unwrap()
        };
        let kind = ReencryptionKind::EncryptInPlace;
        assert_eq!(told(), (kind, 0, SIZE as u64, false));
        assert_eq!(service.reencrypting().unwrap(), ["d"]);
        // It is used meanwhile.
        let disk = service.open_disk("d").unwrap();
        disk.write_at(8192, &[5; 4096]).unwrap();
        disk.write_at(SIZE as u64 - 4096, &[6; 4096]).unwrap();
        assert!(disk.read_at(SIZE as u64, &mut [0; 4096]).is_err());
        let mut expected = image();
        expected[8192..12288].fill(5);
        expected[SIZE - 4096..].fill(6);
        assert!(!service.reencrypt_step("d", 4096).unwrap().is_finished());
        let half = told();
        assert!(half.1 > 0 && half.1 < SIZE as u64 && !half.3, "{half:?}");
        assert!(read(&service, "d").unwrap() == expected);
        service.create_snapshot(&snapshot_of("d", "half", true), &still).unwrap();
        assert!(matches!(service.rekey_disk("d"), Err(Error::Busy { .. })));
        finish(&service, "d");
        assert_eq!(told(), (kind, SIZE as u64, SIZE as u64, true));
        drop(disk);
        assert!(read(&service, "d").unwrap() == expected);
        assert!(!is_plain_in(&device.bytes()));
        // From now on it is as any disk.
        service.rekey_disk("d").unwrap();
        while !service.reencrypt_step("d", 1 << 20).unwrap().is_finished() {}
        drop(service);
        let service = world.service();
        assert!(read(&service, "d").unwrap() == expected);
        service.create_snapshot(&snapshot_of("d", "after", true), &still).unwrap();
    }
}

#[test]
fn what_can_not_be_encrypted_in_place_is_refused_and_left() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "both", PlatformAndCustomerKeys);
    world.set(&service, "s", CustomerKey);
    assert!(matches!(import(&service, "d", None), Err(Error::NotFound { .. })));
    give(&world, vec![7; 512 << 10]);
    assert!(matches!(import(&service, "d", None), Err(Error::InvalidOption(_))), "too small");
    give(&world, image());
    let other = service.import_disk(&new_disk("d", None).size(SIZE as u64 + 4096), IMAGE);
    assert!(matches!(other, Err(Error::InvalidOption(_))), "another size");
    assert_eq!(rule(import(&service, "d", Some("both"))), "60");
    // The vault refuses.
    world.customer(VAULT).granted.lock().unwrap().clear();
    assert!(matches!(import(&service, "d", Some("s")), Err(Error::KeyRefused { .. })));
    service.create_disk(&new_disk("there", None)).unwrap();
    assert!(matches!(import(&service, "there", None), Err(Error::ResourceExists(_))));
    assert_eq!(service.names(atrest::managed::ResourceKind::Disk).unwrap(), ["there"]);
    assert!(world.disks.0.lock().unwrap()[IMAGE].bytes() == image());
    // What is encrypted already: behaviour 78.
    let encrypted = world.device(&service, "there").bytes();
    give(&world, encrypted.clone());
    let error = import(&service, "d", None).unwrap_err();
    assert!(error.to_string().contains("encrypted already"), "{error}");
    assert!(world.disks.0.lock().unwrap()[IMAGE].bytes() == encrypted);
}

#[test]
fn an_older_image_in_its_place_is_not_encrypted_again() {
    // Behaviour 78
    let world = World::new();
    let service = world.service();
    give(&world, image());
    import(&service, "d", None).unwrap();
    let device = world.device(&service, "d");
    let begun = device.bytes();
    service.reencrypt_step("d", 4096).unwrap();
    let half = device.bytes();
    let mut plain = image();
    plain.resize(half.len(), 0);
    let mut wait = 0;
    let mut put = |bytes: &[u8]| {
        device.edit(|image| image.copy_from_slice(bytes));
        wait += 600;
        world.clock.set(T + wait);
    };
    put(&plain);
    assert!(matches!(service.reencrypt_step("d", 4096), Err(Error::NotLuks { .. })));
    assert!(service.open_disk("d").is_err() && device.bytes() == plain);
    put(&begun);
    assert!(matches!(service.reencrypt_step("d", 4096), Err(Error::OlderDevice { .. })));
    assert!(device.bytes() == begun);
    put(&half);
    finish(&service, "d");
    let newest = device.bytes();
    put(&half);
    assert!(matches!(service.open_disk("d"), Err(Error::OlderDevice { .. })));
    put(&newest);
    assert!(read(&service, "d").unwrap() == image());
}

/// A folder that fails to take in an image, before it has done it or afterwards.
pub struct Failing {
    pub folder: DiskFolder,
    pub before: AtomicBool,
    pub after: AtomicBool,
}

impl DiskBackend for Failing {
    fn create(&self, region: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        self.folder.create(region, id, size)
    }
    fn open(&self, region: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        self.folder.open(region, id)
    }
    fn remove(&self, region: &str, id: &str) -> Result<()> {
        self.folder.remove(region, id)
    }
    fn open_image(&self, region: &str, image: &str) -> Result<Arc<dyn BlockDevice>> {
        self.folder.open_image(region, image)
    }
    fn adopt_image(&self, region: &str, id: &str, image: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let failed = || Error::Io { what: "taking in an image".into(), source: io::Error::other("it is to fail") };
        if self.before.swap(false, Relaxed) {
            return Err(failed());
        }
        let device = self.folder.adopt_image(region, id, image, size)?;
        if self.after.swap(false, Relaxed) { Err(failed()) } else { Ok(device) }
    }
}

#[test]
fn a_file_becomes_the_device_and_what_failed_is_begun_by_the_next_use() {
    let world = World::new();
    let (folder, path) = (world.folder.path().join("disks"), world.folder.path().join("plain.img"));
    std::fs::create_dir(&folder).unwrap();
    let files = || -> BTreeMap<String, u64> {
        let all = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
        all.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())).collect()
    };
    let text = path.to_str().unwrap();
    for (n, [before, after]) in [[false, false], [true, false], [false, true]].into_iter().enumerate() {
        std::fs::write(&path, image()).unwrap();
        let backend = Failing { folder: DiskFolder::new(&folder), before: before.into(), after: after.into() };
        let options = atrest::managed::ServiceOptions::new(
            Arc::new(backend),
            world.vaults.clone(),
            world.platform.clone(),
            "disks",
        );
        let service = DiskService::open(world.folder.path().join(format!("store-{n}")), options).unwrap();
        world.set(&service, "s", CustomerKey);
        let made = service.import_disk(&new_disk("d", Some("s")).size(0), text);
        assert_eq!(made.is_err(), before || after);
        assert_eq!(path.exists(), before, "it is moved or left");
        let report = service.report(&name("d")).unwrap();
        assert_eq!((report.reencryption.unwrap().done, report.reencryption.unwrap().finished), (0, false));
        // Somebody else uses the image.
        if before {
            let held = atrest::FileDevice::open(&path).unwrap();
            assert!(matches!(service.open_disk("d"), Err(Error::Busy { .. })));
            drop(held);
        }
        match n {
            0 => {}
            1 => assert!(read(&service, "d").unwrap() == image()),
            _ => assert_eq!(service.rotate_set("s", &quiet).unwrap().rewrapped, 0),
        }
        let id = service.resource(&name("d")).unwrap().id;
        assert_eq!(files(), BTreeMap::from([(format!("{id}.disk"), (SIZE + ROOM) as u64)]));
        assert!(!path.exists());
        finish(&service, "d");
        assert!(read(&service, "d").unwrap() == image());
        // By the volume alone, as any other reader of LUKS2 has it.
        drop(service);
        let device = TestDevice::new(std::fs::read(folder.join(format!("{id}.disk"))).unwrap());
        let vault = &world.customer(VAULT).vault;
        let volume = Volume::open(device, Credential::Vault(vault), &OpenOptions::new()).unwrap();
        let mut bytes = vec![0; SIZE];
        volume.read_at(0, &mut bytes).unwrap();
        assert!(bytes == image());
        std::fs::remove_file(folder.join(format!("{id}.disk"))).unwrap();
    }
    // A folder or a link is no image.
    let backend = DiskFolder::new(&folder);
    std::os::unix::fs::symlink(&folder, &path).unwrap();
    for image in [text, folder.to_str().unwrap()] {
        assert!(matches!(backend.open_image("north", image), Err(Error::InvalidOption(_))), "{image}");
    }
}

#[test]
fn a_lost_store_is_rebuilt_in_the_middle_of_an_import() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    give(&world, image());
    import(&service, "d", Some("s")).unwrap();
    drop(service);
    let path = world.folder.path().join("store");
    let begun = std::fs::read(&path).unwrap();
    let service = world.service();
    service.reencrypt_step("d", 4096).unwrap();
    let (id, done) = (service.resource(&name("d")).unwrap().id, service.report(&name("d")).unwrap().reencryption);
    drop(service);
    let (stale, new) = (world.folder.path().join("old"), world.folder.path().join("new"));
    std::fs::write(&stale, begun).unwrap();
    let sources = RebuildSources::new().device("north", &id).store(&stale);
    let told = rebuild(&new, &sources, &world.options()).unwrap();
    assert_eq!((told.restored.len(), told.unproven), (1, Vec::new()));
    let service = world.service_over(&new).unwrap();
    assert_eq!(service.report(&name("d")).unwrap().reencryption, done);
    finish(&service, "d");
    assert!(read(&service, "d").unwrap() == image());
}

/// A backend of the caller that takes in no images.
#[test]
fn a_backend_without_images_says_so() {
    struct Plain;
    impl DiskBackend for Plain {
        fn create(&self, _: &str, _: &str, _: u64) -> Result<Arc<dyn BlockDevice>> {
            unreachable!("nothing is made")
        }
        fn open(&self, _: &str, _: &str) -> Result<Arc<dyn BlockDevice>> {
            unreachable!("nothing is opened")
        }
        fn remove(&self, _: &str, _: &str) -> Result<()> {
            Ok(())
        }
    }
    let backend = Plain;
    assert!(matches!(backend.open_image("north", "x"), Err(Error::InvalidOption(_))));
    assert!(matches!(backend.adopt_image("north", "id", "x", 1), Err(Error::InvalidOption(_))));
}

/// Before the header is at the start of the device, the store that is rebuilt has the disk, or says why not. Nothing is lost.
#[test]
fn a_store_is_rebuilt_while_an_import_begins() {
    let act = |world: &World, service: &DiskService| {
        give(world, image());
        import(service, "d", Some("s")).unwrap();
    };
    let mut seen = [0; 3];
    killed("beginning to import", 1, 8 * most(), act, |what, world, service, _| {
        let record = service.resource(&name("d")).unwrap();
        drop(service);
        let (old, new) = (world.folder.path().join("store"), world.folder.path().join("new"));
        let before = world.disks.0.lock().unwrap()[&record.id].bytes();
        let sources = RebuildSources::new().device("north", &record.id).store(&old);
        let told = rebuild(&new, &sources, &world.options()).unwrap();
        assert!(world.disks.0.lock().unwrap()[&record.id].bytes() == before, "{what}: it was written to");
        if told.restored.is_empty() {
            let [unproven] = &told.unproven[..] else { panic!("{what}: {told:?}") };
            assert!(unproven.reason.contains(r#"disk "d", the import of which had not begun"#), "{what}: {unproven:?}");
            assert!(before[..SIZE] == image(), "{what}: it isn't plain");
            seen[0] += 1;
            return;
        }
        assert_eq!((told.restored.len(), told.unproven), (1, Vec::new()), "{what}");
        let service = world.service_over(&new).unwrap();
        let order = service.resource(&name("d")).unwrap().reencryption.unwrap();
        seen[1 + usize::from(order.begun.is_some())] += 1;
        assert!(read(&service, "d").unwrap() == image(), "{what}");
        finish(&service, "d");
        assert!(read(&service, "d").unwrap() == image(), "{what}");
    });
    println!("rebuilt: {} were told, {} begin with the next use, {} had begun", seen[0], seen[1], seen[2]);
    assert!(seen.iter().all(|&n| n > 0), "{seen:?}");
}

/// Nobody knows its name, but its header, which isn't at the start yet, has what it is.
#[test]
fn an_import_that_begins_is_rebuilt_without_an_old_store_too() {
    let world = World::new();
    let service = world.service();
    give(&world, image());
    import(&service, "d", None).unwrap();
    let id = service.resource(&name("d")).unwrap().id;
    let (device, log) = (world.device(&service, "d"), world.device(&service, "d").take_log());
    drop(service);
    // All that was written but the header.
    let mut bytes = image();
    bytes.resize(SIZE + ROOM, 0);
    for op in log {
        if let Op::Write { offset, bytes: written } = op
            && offset > SIZE as u64 - 4096
            && written.iter().any(|&byte| byte != 0)
        {
            bytes[offset as usize..][..written.len()].copy_from_slice(&written);
        }
    }
    device.edit(|all| all.copy_from_slice(&bytes));
    let new = world.folder.path().join("new");
    let sources = RebuildSources::new().device("north", &id).subscription("one");
    let told = rebuild(&new, &sources, &world.options()).unwrap();
    assert_eq!((told.named_by_id.len(), told.unproven), (1, Vec::new()));
    let service = world.service_over(&new).unwrap();
    assert_eq!(service.reencrypting().unwrap(), [id.as_str()]);
    assert!(read(&service, &id).unwrap() == image());
    finish(&service, &id);
    assert!(read(&service, &id).unwrap() == image());
}

#[test]
fn an_image_that_was_not_moved_is_told_when_a_store_is_rebuilt() {
    let world = World::new();
    let (folder, path) = (world.folder.path().join("disks"), world.folder.path().join("plain.img"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&path, image()).unwrap();
    let options = || {
        let backend = Failing { folder: DiskFolder::new(&folder), before: true.into(), after: false.into() };
        let (vaults, platform) = (world.vaults.clone(), world.platform.clone());
        atrest::managed::ServiceOptions::new(Arc::new(backend), vaults, platform, "disks")
    };
    let [old, given, left] = ["old", "given", "left"].map(|store| world.folder.path().join(store));
    let service = DiskService::open(&old, options()).unwrap();
    service.import_disk(&new_disk("d", None).size(0), path.to_str().unwrap()).unwrap_err();
    let id = service.resource(&name("d")).unwrap().id;
    drop(service);
    let told = rebuild(&given, &RebuildSources::new().device("north", &id).store(&old), &options()).unwrap();
    let reason = &told.unproven[0].reason;
    assert!(reason.contains(r#"disk "d""#) && reason.contains("plain.img"), "{reason}");
    let told = rebuild(&left, &RebuildSources::new().store(&old), &options()).unwrap();
    assert_eq!(told.missing, [name("d")]);
    assert!(std::fs::read(&path).unwrap() == image());
}
