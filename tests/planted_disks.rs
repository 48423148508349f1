//! A managed disk that somebody replaced by a volume under a DEK of their own, which its vault has wrapped.

#![cfg(feature = "managed")]

mod common;

use std::time::Duration;

use atrest::managed::ResourceName;
use atrest::{EncryptionType, FormatOptions, Protector, SectorSize, Volume};
use common::device::TestDevice;
use common::vaults::MemoryVault;
use common::world::{VAULT, World, new_disk, quiet, text};

/// What only who knows their DEK can read.
const SECRET: [u8; 4096] = [0x5E; 4096];

/// A volume of their own on a device of this size, as a managed disk with one layer has it.
fn plant(vault: &MemoryVault, id: &str, len: usize, kind: EncryptionType) -> Vec<u8> {
    let options = FormatOptions::new()
        .sector_size(SectorSize::B4096)
        .data_offset(1 << 20)
        .context(id.as_bytes())
        .encryption_type(kind);
    let device = TestDevice::new(vec![0; len]);
    Volume::format(device, Protector::Vault(vault, "disks"), &options).unwrap().into_device().bytes()
}

#[test]
fn a_managed_disk_is_not_replaced_by_one_under_a_planted_dek() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "s", EncryptionType::CustomerKey);
    for (disk, set) in [("customers", Some("s")), ("platforms", None)] {
        service.create_disk(&new_disk(disk, set)).unwrap();
        service.open_disk(disk).unwrap().write_at(0, &text(1)).unwrap();
    }
    // The fingerprint stays through a rotation and a restart.
    world.customer(VAULT).rotate();
    service.rotate_set("s", &quiet).unwrap();
    drop(service);
    let service = world.service();
    for (disk, vault, kind) in [
        ("customers", &world.customer(VAULT).vault, EncryptionType::CustomerKey),
        ("platforms", &*world.platform, EncryptionType::PlatformKey),
    ] {
        let id = service.resource(&ResourceName::disk(disk)).unwrap().id;
        let device = world.device(&service, disk);
        let honest = device.bytes();
        let planted = plant(vault, &id, honest.len(), kind);
        device.edit(|image| image.copy_from_slice(&planted));
        let error = service.open_disk(disk).and_then(|disk| disk.write_at(0, &SECRET)).unwrap_err();
        assert!(error.to_string().contains("another one than expected"), "{disk}: {error:?}");
        assert!(device.bytes() == planted, "{disk}");
        device.edit(|image| image.copy_from_slice(&honest));
        world.clock.advance(Duration::from_secs(60));
        let mut bytes = vec![0; text(1).len()];
        service.open_disk(disk).unwrap().read_at(0, &mut bytes).unwrap();
        assert!(bytes == text(1), "{disk}");
    }
}
