//! A managed disk that an attacker replaced by a volume under their own DEK, wrapped by the disk's vault.

use std::time::Duration;

use crate::common::device::TestDevice;
use crate::common::vaults::MemoryVault;
use crate::common::world::{VAULT, World, new_disk, quiet, text};
use atrest::key::DekAlgorithm;
use atrest::managed::ResourceName;
use atrest::{Credential, EncryptionType, Error, FormatOptions, OpenOptions, Protector, SectorSize, Volume};

/// Content that only a holder of their DEK can read.
const SECRET: [u8; 4096] = [0x5E; 4096];

/// The attackers' own volume on a device of this size, in the form of a managed disk with one layer.
fn plant(vault: &MemoryVault, id: &str, len: usize, kind: EncryptionType) -> Vec<u8> {
    let options = FormatOptions::new()
        .sector_size(SectorSize::B4096)
        .data_offset(1 << 20)
        .context(id.as_bytes())
        .encryption_type(kind);
    let device = TestDevice::new(vec![0; len]);
    Volume::format(device, Protector::Vault(vault, "disks"), &options).unwrap().into_device().bytes()
}

/// As [`plant`], of two layers: the lower one under the platform's key, the upper one under the customer's.
fn plant_two(platform: &MemoryVault, customer: &MemoryVault, id: &str, len: usize) -> Vec<u8> {
    let options = FormatOptions::new()
        .sector_size(SectorSize::B4096)
        .data_offset(1 << 20)
        .encryption_type(EncryptionType::PlatformAndCustomerKeys);
    let below = options.clone().dek_algorithm(DekAlgorithm::Aes256Hctr2).context(format!("{id}/platform").as_bytes());
    let device = TestDevice::new(vec![0; len]);
    let lower = Volume::format(device, Protector::Vault(platform, "disks"), &below).unwrap();
    let above = options.context(id.as_bytes()).overwrite(true);
    let upper = Volume::format(lower, Protector::Vault(customer, "disks"), &above).unwrap();
    upper.into_device().into_device().bytes()
}

#[test]
fn neither_layer_of_two_is_replaced_by_one_under_a_planted_dek() {
    let world = World::new();
    let service = world.service();
    world.set(&service, "d", EncryptionType::PlatformAndCustomerKeys);
    service.create_disk(&new_disk("b", Some("d"))).unwrap();
    service.open_disk("b").unwrap().write_at(0, &text(1)).unwrap();
    let resource = service.resource(&ResourceName::disk("b")).unwrap();
    let device = world.device(&service, "b");
    let honest = device.bytes();
    let customer = &world.customer(VAULT).vault;
    let both = plant_two(&world.platform, customer, &resource.id, honest.len());
    // The upper layer alone: in a lower one that is the disk's own, for who once had the DEK of that.
    let own = || Credential::Vault(&*world.platform);
    let below = OpenOptions::new().context(format!("{}/platform", resource.id).as_bytes());
    let lower = Volume::open(TestDevice::new(honest.clone()), own(), &below).unwrap();
    let above = FormatOptions::new()
        .sector_size(SectorSize::B4096)
        .data_offset(1 << 20)
        .encryption_type(EncryptionType::PlatformAndCustomerKeys)
        .context(resource.id.as_bytes())
        .overwrite(true);
    let upper = Volume::format(lower, Protector::Vault(customer, "disks"), &above).unwrap();
    let upper = upper.into_device().into_device().bytes();
    for (planted, what) in [(both, "both"), (upper, "the upper one")] {
        device.edit(|image| image.copy_from_slice(&planted));
        let error = service.open_disk("b").and_then(|disk| disk.write_at(0, &SECRET)).unwrap_err();
        assert!(matches!(error, Error::OtherDek), "{what}: {error:?}");
        assert!(device.bytes() == planted, "{what}");
        device.edit(|image| image.copy_from_slice(&honest));
        world.clock.advance(Duration::from_secs(60));
        let mut bytes = vec![0; text(1).len()];
        service.open_disk("b").unwrap().read_at(0, &mut bytes).unwrap();
        assert!(bytes == text(1), "{what}");
    }
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
        assert!(error.to_string().contains("not the expected one"), "{disk}: {error:?}");
        assert!(device.bytes() == planted, "{disk}");
        device.edit(|image| image.copy_from_slice(&honest));
        world.clock.advance(Duration::from_secs(60));
        let mut bytes = vec![0; text(1).len()];
        service.open_disk(disk).unwrap().read_at(0, &mut bytes).unwrap();
        assert!(bytes == text(1), "{disk}");
    }
}
