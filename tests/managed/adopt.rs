//! Encrypted volumes that become disks with their data: behaviours 52, 56, 64, 66 and 74.

use std::sync::Arc;

use crate::common::device::TestDevice;
use crate::common::world::{T, VAULT, World, new_disk, quiet, rule, text};
use crate::common::{cryptsetup, pipe, run};
use atrest::EncryptionType::{CustomerKey, PlatformAndCustomerKeys};
use atrest::key::{HashAlgorithm, Kdf};
use atrest::managed::{
    AdoptOptions, DiskFolder, DiskService, ProtectionStatus, ReencryptionKind, ResourceKind, ResourceName,
};
use atrest::volume::{Header, KeyslotOptions};
use atrest::{Credential, DekAlgorithm, Error, FormatOptions, OpenOptions, Protector, Result, SectorSize, Volume};

/// The size of the data, which isn't aligned to anything larger than a sector.
pub const SIZE: usize = (64 << 10) + 4096;
pub const PASSPHRASE: Credential<'static> = Credential::Passphrase(b"of the guest");
pub const IMAGE: &str = "image";
/// Where the data begins: not where that of other disks does.
pub const OFFSET: usize = 2 << 20;
const TOKEN: &str = r#"{"type":"Azure_Disk_Encryption","keyslots":["0"],"Passphrase":"c2VjcmV0"}"#;

pub fn cheap() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 })
}

pub fn format() -> FormatOptions {
    FormatOptions::new().data_offset(OFFSET as u64).keyslot(cheap()).sector_size(SectorSize::B4096)
}

pub fn data() -> Vec<u8> {
    text(9).into_iter().cycle().take(SIZE).collect()
}

/// A volume as a guest has it: with a passphrase, an administrator's, and a token of another program.
pub fn image() -> Vec<u8> {
    image_by(&format())
}

pub fn image_by(options: &FormatOptions) -> Vec<u8> {
    let device = Arc::new(TestDevice::new(vec![0; OFFSET + SIZE]));
    let volume = Volume::format(device.clone(), Protector::Passphrase(b"of the guest"), options).unwrap();
    volume.add_protector(Protector::Passphrase(b"administrator"), &cheap()).unwrap();
    volume.header().import_token(TOKEN).unwrap();
    volume.write_at(0, &data()).unwrap();
    volume.sync().unwrap();
    drop(volume);
    device.bytes()
}

pub fn give(world: &World, bytes: Vec<u8>) {
    world.disks.0.lock().unwrap().insert(IMAGE.into(), Arc::new(TestDevice::new(bytes)));
}

pub fn adopt(service: &DiskService, set: Option<&str>, options: &AdoptOptions) -> Result<()> {
    service.adopt_disk(&new_disk("d", set).size(0), IMAGE, PASSPHRASE, options).map(drop)
}

pub fn read(service: &DiskService, disk: &str) -> Result<Vec<u8>> {
    let mut bytes = vec![0; SIZE];
    service.open_disk(disk)?.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Nothing but a vault opens it any more.
pub fn only_by_a_vault(device: Vec<u8>, what: &str) {
    let device = Arc::new(TestDevice::new(device));
    let header = Header::load(&device).unwrap();
    assert!(header.keyslots().is_empty(), "{what}");
    let kinds: Vec<String> = header.tokens().into_iter().map(|token| token.kind).collect();
    assert_eq!(kinds, ["atrest"], "{what}");
    for passphrase in [&b"of the guest"[..], b"administrator"] {
        let credential = Credential::Passphrase(passphrase);
        assert!(Volume::open(device.clone(), credential, &OpenOptions::new()).is_err(), "{what}");
    }
}

#[test]
fn an_encrypted_volume_becomes_a_disk_and_its_old_ways_in_go() {
    for set in [None, Some("s")] {
        let world = World::new();
        let service = world.service();
        world.set(&service, "s", CustomerKey);
        give(&world, image());
        let old = Header::load(&TestDevice::new(image())).unwrap().uuid().to_owned();
        adopt(&service, set, &AdoptOptions::new()).unwrap();
        let made = service.resource(&ResourceName::disk("d")).unwrap();
        assert_eq!((made.size, made.sector_size, made.set.as_deref()), (SIZE as u64, 4096, set));
        assert_eq!((made.adopting, made.reencryption, made.guest_encrypted), (None, None, false));
        assert_eq!(made.used_blocks[0], SIZE as u64 / 16);
        let devices: Vec<String> = world.disks.0.lock().unwrap().keys().cloned().collect();
        assert_eq!(devices, std::slice::from_ref(&made.id), "the image has no other name");
        assert!(read(&service, "d").unwrap() == data());
        let report = service.report(&ResourceName::disk("d")).unwrap();
        assert_eq!(report.status, ProtectionStatus::Finished);
        let device = world.device(&service, "d");
        only_by_a_vault(device.bytes(), "adopted");
        assert_ne!(old, "");

        // From now on it is as any disk: it is rotated, grows, and gets a new DEK.
        service.open_disk("d").unwrap().write_at(0, &[5; 4096]).unwrap();
        world.customer(VAULT).rotate();
        service.rotate_set("s", &quiet).unwrap();
        service.resize_disk("d", 2 * SIZE as u64).unwrap();
        assert_eq!(device.bytes().len(), OFFSET + 2 * SIZE);
        service.rekey_disk("d").unwrap();
        while !service.reencrypt_step("d", 1 << 20).unwrap().is_finished() {}
        drop(service);
        let mut expected = data();
        expected[..4096].fill(5);
        assert!(read(&world.service(), "d").unwrap() == expected);

        // It is bound to the store: another volume under the same key in its place is refused.
        let service = world.service();
        give(&world, image());
        service.adopt_disk(&new_disk("e", set).size(SIZE as u64), IMAGE, PASSPHRASE, &AdoptOptions::new()).unwrap();
        let other = world.device(&service, "e").bytes();
        drop(service);
        device.edit(|bytes| bytes[..other.len()].copy_from_slice(&other));
        let service = world.service();
        assert!(service.open_disk("d").is_err());
        assert!(read(&service, "e").unwrap() == data());
    }
}

#[test]
fn what_a_guest_encrypted_comes_into_a_set_only_with_a_new_dek() {
    // Behaviours 52, 56
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    give(&world, image());
    let guest = AdoptOptions::new().guest_encrypted(true);
    assert_eq!(rule(adopt(&service, Some("s"), &guest)), "52");
    assert!(world.disks.0.lock().unwrap()[IMAGE].bytes().len() == OFFSET + SIZE, "nothing has happened to it");
    adopt(&service, Some("s"), &guest.clone().reencrypt(true)).unwrap();
    let order = service.resource(&ResourceName::disk("d")).unwrap().reencryption.unwrap();
    assert_eq!((order.kind, order.begun, order.finished), (ReencryptionKind::Rekey, Some(T), None));
    assert!(read(&service, "d").unwrap() == data());
    while !service.reencrypt_step("d", 1 << 20).unwrap().is_finished() {}
    let made = service.resource(&ResourceName::disk("d")).unwrap();
    assert!(!made.guest_encrypted && made.reencryption.unwrap().finished.is_some());
    only_by_a_vault(world.device(&service, "d").bytes(), "re-encrypted");
    assert!(read(&service, "d").unwrap() == data());

    // Under the platform's key it keeps its DEK, and the mark.
    give(&world, image());
    service.adopt_disk(&new_disk("p", None).size(0), IMAGE, PASSPHRASE, &guest).unwrap();
    assert!(service.resource(&ResourceName::disk("p")).unwrap().guest_encrypted);
    assert_eq!(rule(service.put_into_set(&ResourceName::disk("p"), "s")), "52");
    assert!(matches!(service.set_host_encryption("p", true), Err(Error::NotAllowed { .. })));
}

#[test]
fn what_can_not_be_adopted_is_refused_and_left() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "both", PlatformAndCustomerKeys);
    world.set(&service, "s", CustomerKey);
    let options = AdoptOptions::new();
    assert!(matches!(adopt(&service, None, &options), Err(Error::NotFound { .. })));
    let left = |bytes: Vec<u8>, set: Option<&str>, credential, size| {
        give(&world, bytes.clone());
        let refused = service.adopt_disk(&new_disk("d", set).size(size), IMAGE, credential, &options).unwrap_err();
        assert!(world.disks.0.lock().unwrap()[IMAGE].bytes() == bytes, "{refused}");
        assert!(service.names(ResourceKind::Disk).unwrap().is_empty(), "{refused}");
        refused
    };
    assert!(matches!(left(data(), None, PASSPHRASE, 0), Error::NotLuks { .. }));
    assert!(matches!(left(image(), None, Credential::Passphrase(b"x"), 0), Error::WrongPassphrase));
    assert!(matches!(left(image(), None, PASSPHRASE, 4096), Error::InvalidOption(_)), "another size");
    assert_eq!(rule::<()>(Err(left(image(), Some("both"), PASSPHRASE, 0))), "60");
    let old = format().version(atrest::volume::LuksVersion::Luks1).sector_size(SectorSize::B512);
    let device = Arc::new(TestDevice::new(vec![0; OFFSET + SIZE]));
    drop(Volume::format(device.clone(), Protector::Passphrase(b"of the guest"), &old).unwrap());
    let error = left(device.bytes(), None, PASSPHRASE, 0);
    assert!(matches!(&error, Error::UnsupportedHeader(text) if text.contains("convert")), "{error}");
    let weak = image_by(&format().sector_size(SectorSize::B512).dek_algorithm(DekAlgorithm::Aes256Hctr2));
    give(&world, weak);
    service.adopt_disk(&new_disk("h", None).size(0), IMAGE, PASSPHRASE, &options).unwrap();
    assert!(read(&service, "h").unwrap() == data(), "another strong cipher is taken");
    service.delete(&ResourceName::disk("h")).unwrap();
    // A re-encryption is under way.
    let device = Arc::new(TestDevice::new(image()));
    let volume = Volume::open(device.clone(), PASSPHRASE, &OpenOptions::new()).unwrap();
    volume.begin_reencryption(&[Protector::Passphrase(b"of the guest")], &Default::default()).unwrap();
    drop(volume);
    assert!(left(device.bytes(), None, PASSPHRASE, 0).to_string().contains("isn't finished"));
    // The vault refuses.
    world.customer(VAULT).granted.lock().unwrap().clear();
    assert!(matches!(left(image(), Some("s"), PASSPHRASE, 0), Error::KeyRefused { .. }));
    // A name that is taken, even by a disk that is being adopted from another image.
    service.create_disk(&new_disk("d", None)).unwrap();
    assert!(matches!(adopt(&service, None, &options), Err(Error::ResourceExists(_))));
}

/// What cryptsetup made is adopted from a file, and cryptsetup finds no way in afterwards but the token.
#[test]
fn a_volume_of_cryptsetup_is_adopted_from_a_file() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let world = World::new();
    let (folder, path) = (world.folder.path().join("disks"), world.folder.path().join("guest.img"));
    std::fs::create_dir(&folder).unwrap();
    let image = path.to_str().unwrap();
    run("truncate", &["-s", "18M", image]);
    let arguments = ["luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    pipe(&cryptsetup, &[&arguments[..], &["--key-file", "-", image]].concat(), b"of the guest");
    let device = atrest::FileDevice::open(&path).unwrap();
    let volume = Volume::open(device, PASSPHRASE, &OpenOptions::new()).unwrap();
    volume.write_at(0, &data()).unwrap();
    let size = volume.size();
    drop(volume);
    let backend = Arc::new(DiskFolder::new(&folder));
    let options = atrest::managed::ServiceOptions::new(backend, world.vaults.clone(), world.platform.clone(), "disks");
    let service = DiskService::open(world.folder.path().join("store-of-files"), options).unwrap();
    world.set(&service, "s", CustomerKey);
    let made = service.adopt_disk(&new_disk("d", Some("s")).size(0), image, PASSPHRASE, &AdoptOptions::new()).unwrap();
    assert_eq!((made.size, path.exists()), (size, false));
    assert!(read(&service, "d").unwrap() == data());
    let disk = folder.join(format!("{}.disk", made.id));
    let dump = run(&cryptsetup, &["luksDump", disk.to_str().unwrap()]);
    assert!(dump.contains("0: atrest") && !dump.contains("0: luks2"), "{dump}");
}

#[test]
fn a_disk_that_is_half_adopted_waits_for_its_credential_and_can_be_given_up() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", CustomerKey);
    // The vault wraps the trial, and then breaks down.
    give(&world, image());
    let customer = world.customer(VAULT);
    let wraps = customer.wraps.load(std::sync::atomic::Ordering::Relaxed);
    customer.fail_wrap_at.store(wraps + 2, std::sync::atomic::Ordering::Relaxed);
    adopt(&service, Some("s"), &AdoptOptions::new()).unwrap_err();
    let half = service.resource(&ResourceName::disk("d")).unwrap();
    assert!(half.adopting.is_some());
    let error = service.open_disk("d").err().unwrap();
    assert!(matches!(&error, Error::Busy { what } if what.contains("adopt_disk")), "{error}");
    assert_ne!(service.report(&ResourceName::disk("d")).unwrap().status, ProtectionStatus::Finished);
    // Another image, or another set, is another matter.
    give(&world, image());
    let other = service.adopt_disk(&new_disk("d", None).size(0), IMAGE, PASSPHRASE, &AdoptOptions::new());
    assert!(matches!(other, Err(Error::ResourceExists(_))));
    world.disks.0.lock().unwrap().remove(IMAGE);
    let wrong = service.adopt_disk(
        &new_disk("d", Some("s")).size(0),
        IMAGE,
        Credential::Passphrase(b"wrong"),
        &AdoptOptions::new(),
    );
    assert!(matches!(wrong, Err(Error::WrongPassphrase)));
    adopt(&service, Some("s"), &AdoptOptions::new()).unwrap();
    assert!(read(&service, "d").unwrap() == data());
    only_by_a_vault(world.device(&service, "d").bytes(), "the second time");
    assert!(matches!(adopt(&service, Some("s"), &AdoptOptions::new()), Err(Error::ResourceExists(_))));
}
