//! Volumes in sparse files: writing to a hole takes space.

use std::fs;
use std::path::Path;

use atrest::volume::{Header, KeyslotOptions, ProtectorId};
use atrest::volume::{LuksVersion, Priority};
use atrest::{BlockDevice, Credential, Error, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector};
use atrest::{Result, Volume};

use super::common::keyslots::{KEEP, NEW, OLD, cost, described};
use super::common::vaults::MemoryVault;
use super::common::volumes::{holds_plain, plain};
use super::{Room, on_a_small_disk, put};

const DATA: u64 = 2 << 20;
const SIZE: u64 = 1 << 20;

fn options(version: LuksVersion) -> FormatOptions {
    FormatOptions::new().version(version).keyslot(cost()).data_offset(DATA)
}

/// Volumes with two passphrases, and in LUKS2 a vault's token. The written data lies in a place that was blank before.
fn image(version: LuksVersion, vault: &MemoryVault) -> Vec<u8> {
    let device = MemoryDevice::new((DATA + SIZE) as usize);
    let volume = Volume::format(device, Protector::Passphrase(KEEP), &options(version)).unwrap();
    volume.add_protector(Protector::Passphrase(OLD), &cost().id(1)).unwrap();
    if version == LuksVersion::Luks2 {
        volume.add_protector(Protector::Vault(vault, "disks"), &KeyslotOptions::new()).unwrap();
    }
    volume.write_at(0, &plain()).unwrap();
    volume.into_device().into_bytes()
}

fn open<D: BlockDevice>(device: D, read_only: bool) -> Volume<D> {
    Volume::open(device, Credential::Passphrase(KEEP), &OpenOptions::new().read_only(read_only)).unwrap()
}

/// The content of the header in a file, even while another handle has the file open. Also opens the volume and checks
/// its data.
fn found(path: &Path) -> String {
    let device = MemoryDevice::from_bytes(fs::read(path).unwrap());
    let opens = |passphrase| {
        let header = Header::load(&device).unwrap();
        header.unlock(Credential::Passphrase(passphrase), &OpenOptions::new()).is_ok()
    };
    let said = format!("{} old: {}, new: {}", described(&device), opens(OLD), opens(NEW));
    assert!(holds_plain(&open(device, true)), "the data is gone");
    said
}

type Change = fn(&Volume<FileDevice>, &MemoryVault) -> Result<()>;

/// Changes, and whether LUKS1 has them too.
const CHANGES: [(&str, bool, Change); 8] = [
    ("add a passphrase", true, |volume, _| volume.add_protector(Protector::Passphrase(NEW), &cost().id(5)).map(drop)),
    ("remove a passphrase", true, |volume, _| volume.header().remove_protector(ProtectorId::Keyslot(1))),
    ("change a passphrase", true, |volume, _| volume.change_keyslot(1, Protector::Passphrase(NEW), &cost()).map(drop)),
    ("add a vault", false, |volume, vault| {
        volume.add_protector(Protector::Vault(vault, "disks"), &KeyslotOptions::new()).map(drop)
    }),
    ("rotate", false, |volume, vault| volume.rotate_kek(vault).map(drop)),
    ("label", false, |volume, _| volume.header().set_label("a label", "")),
    ("prefer", false, |volume, _| volume.header().set_priority(1, Priority::Prefer)),
    ("import a token", false, |volume, _| {
        let json = format!(r#"{{"type":"other","keyslots":[],"note":"{}"}}"#, "x".repeat(7000));
        volume.header().import_token(&json).map(drop)
    }),
];

#[test]
fn a_header_is_changed_or_not() {
    on_a_small_disk("volumes::a_header_is_changed_or_not", 5, |disk| {
        let mut failed = 0;
        for version in [LuksVersion::Luks2, LuksVersion::Luks1] {
            let vault = MemoryVault::new("memory:one");
            let image = image(version, &vault);
            vault.rotate();
            for (name, _, change) in CHANGES.iter().filter(|(_, both, _)| *both || version == LuksVersion::Luks2) {
                // The properties with enough room.
                let path = disk.folder().join("disk");
                put(&image, &path);
                let before = found(&path);
                change(&open(FileDevice::open(&path).unwrap(), false), &vault).unwrap();
                let wanted = found(&path);
                assert_ne!(wanted, before);

                disk.with_less_room(&[Room::Pages], |room| {
                    let what = format!("{version:?}: {name} with {room:?}");
                    let path = disk.folder().join("disk");
                    put(&image, &path);
                    let volume = open(FileDevice::open(&path).unwrap(), false);
                    disk.leave(room);
                    let result = change(&volume, &vault);
                    let during = found(&path);
                    assert!(during == *if result.is_ok() { &wanted } else { &before }, "{what}: {during}");
                    assert!(
                        volume.write_at(0, &plain()).is_ok() && holds_plain(&volume),
                        "{what}: what was there stays"
                    );
                    disk.make_room();
                    if let Err(e) = &result {
                        assert!(matches!(e, Error::Io { .. }), "{what}: {e:?}");
                        failed += 1;
                    }
                    if during != wanted {
                        change(&volume, &vault).unwrap_or_else(|e| panic!("{what}, once there is room: {e:?}"));
                    }
                    assert_eq!(found(&path), wanted, "{what}");
                    drop(volume);
                    let device = FileDevice::open(&path).unwrap();
                    let volume = open(device, false);
                    assert!(holds_plain(&volume), "{what}");
                    assert!(!volume.header().needs_repair(), "{what}");
                    result.is_ok()
                });
            }
        }
        assert!(failed > 40, "{failed}");
    });
}

#[test]
fn a_volume_is_made_or_not_and_can_be_made_then() {
    on_a_small_disk("volumes::a_volume_is_made_or_not_and_can_be_made_then", 5, |disk| {
        let vault = MemoryVault::new("memory:one");
        for version in [LuksVersion::Luks2, LuksVersion::Luks1] {
            for by_vault in [false, true] {
                if by_vault && version == LuksVersion::Luks1 {
                    continue;
                }
                let credential = if by_vault { Credential::Vault(&vault) } else { Credential::Passphrase(KEEP) };
                let protector = if by_vault { Protector::Vault(&vault, "disks") } else { Protector::Passphrase(KEEP) };
                let mut failed = 0;
                disk.with_less_room(&[Room::Pages], |room| {
                    let what = format!("{version:?} {by_vault} with {room:?}");
                    let path = disk.folder().join("disk");
                    disk.leave(room);
                    let format = |device, options| Volume::format(device, protector, &options);
                    let result = FileDevice::create(&path, DATA + SIZE);
                    let result = result.and_then(|device| format(device, options(version))).map(drop);
                    disk.make_room();
                    if let Err(e) = &result {
                        assert!(matches!(e, Error::Io { .. }), "{what}: {e:?}");
                        failed += 1;
                        let device = FileDevice::open(&path).unwrap();
                        let again = format(device, options(version));
                        again.unwrap_or_else(|e| panic!("{what}, once there is room: {e:?}")).sync().unwrap();
                    }
                    let device = FileDevice::open(&path).unwrap();
                    let volume = Volume::open(device, credential, &OpenOptions::new()).unwrap();
                    volume.write_at(0, &plain()).unwrap();
                    result.is_ok()
                });
                assert!(failed > 2, "{failed}");
            }
        }
    });
}

#[test]
fn a_header_is_restored_whole_once_there_is_room() {
    on_a_small_disk("volumes::a_header_is_restored_whole_once_there_is_room", 5, |disk| {
        let vault = MemoryVault::new("memory:one");
        for version in [LuksVersion::Luks2, LuksVersion::Luks1] {
            let image = image(version, &vault);
            let backup = Header::load(&MemoryDevice::from_bytes(image.clone())).unwrap().backup().unwrap();
            // The other keyslot's area is a hole.
            let other = open(MemoryDevice::from_bytes(image.clone()), false);
            other.header().remove_protector(ProtectorId::Keyslot(1)).unwrap();
            let mut other = other.into_device().into_bytes();
            let areas = Header::load(&MemoryDevice::from_bytes(image.clone())).unwrap().keyslots();
            let area = areas.iter().find(|keyslot| keyslot.id == 1).unwrap();
            other[area.area_offset as usize..][..area.area_size as usize].fill(0);
            let mut failed = 0;
            disk.with_less_room(&[Room::Pages], |room| {
                let path = disk.folder().join("disk");
                put(&other, &path);
                let device = FileDevice::open(&path).unwrap();
                disk.leave(room);
                let result = Header::restore(&device, &backup);
                disk.make_room();
                if result.is_err() {
                    failed += 1;
                    Header::restore(&device, &backup).unwrap_or_else(|e| panic!("{version:?} {room:?}: {e:?}"));
                }
                assert!(found(&path).starts_with(&described(&MemoryDevice::from_bytes(image.clone()))));
                let area = area.area_offset as usize..(area.area_offset + area.area_size) as usize;
                assert!(fs::read(&path).unwrap()[area.clone()] == image[area]);
                result.is_ok()
            });
            assert!(failed > 2, "{failed}");
        }
    });
}

#[test]
fn data_that_finds_no_room_harms_no_other() {
    on_a_small_disk("volumes::data_that_finds_no_room_harms_no_other", 5, |disk| {
        let vault = MemoryVault::new("memory:one");
        let image = image(LuksVersion::Luks2, &vault);
        let mut failed = 0;
        disk.with_less_room(&[Room::Pages], |room| {
            let path = disk.folder().join("disk");
            put(&image, &path);
            let volume = open(FileDevice::open(&path).unwrap(), false);
            let data = vec![0x5a; 20 * 4096];
            disk.leave(room);
            // It begins in the middle of a page.
            let at = 300 * 1024 + 512;
            let result = volume.write_at(at, &data);
            assert!(holds_plain(&volume), "{room:?}");
            volume.write_at(0, &plain()).unwrap();
            volume.sync().unwrap();
            let mut read = vec![0; data.len()];
            volume.read_at(at, &mut read).unwrap();
            assert!(result.is_err() || read == data, "{room:?}");
            disk.make_room();
            if let Err(e) = &result {
                assert!(matches!(e, Error::Io { .. }), "{room:?}: {e:?}");
                failed += 1;
                volume.write_at(at, &data).unwrap();
            }
            volume.sync().unwrap();
            drop(volume);
            let volume = open(FileDevice::open(&path).unwrap(), false);
            volume.read_at(at, &mut read).unwrap();
            assert!(read == data && holds_plain(&volume), "{room:?}");
            result.is_ok()
        });
        assert!(failed >= 5, "{failed}");
    });
}
