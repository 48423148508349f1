//! What every store of devices has to be good for: volumes and managed disks, without a trace of what they hold.

#![allow(dead_code)] // each test program uses its part

use std::path::Path;
use std::sync::Arc;

use atrest::key::KeyId;
use atrest::managed::{
    DiskBackend, DiskService, KnownVaults, NewDisk, NewSet, NewSnapshot, ResourceName, ServiceOptions,
};
use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions};
use atrest::{BlockDevice, Credential, FormatOptions, KeyVault, OpenOptions, Protector, Volume};

/// A text that is planted, and looked for where it must not be.
pub const PLAIN: &[u8] = b"a text that nobody else may read";

/// Bytes that hold the text, at any place.
pub fn planted(len: usize) -> Vec<u8> {
    PLAIN.iter().copied().cycle().take(len).collect()
}

pub fn has_plain(bytes: &[u8]) -> bool {
    bytes.windows(PLAIN.len()).any(|window| window == PLAIN)
}

/// Whether a file below a folder holds the text.
pub fn holds_plain(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { holds_plain(&path) } else { path.is_file() && has_plain(&std::fs::read(path).unwrap()) }
    })
}

/// Makes a volume on a device, and writes the text to it.
pub fn format(device: impl BlockDevice, vault: &dyn KeyVault) {
    let volume = Volume::format(device, Protector::Vault(vault, "disks"), &FormatOptions::new()).unwrap();
    volume.write_at(8192, &planted(16384)).unwrap();
    volume.sync().unwrap();
    assert_reads(&volume);
    volume.write_at(1 << 20, &planted(4096)).unwrap();
    volume.sync().unwrap();
}

/// Opens the volume, and reads the text.
pub fn open(device: impl BlockDevice, vault: &dyn KeyVault) {
    let volume = Volume::open(device, Credential::Vault(vault), &OpenOptions::new()).unwrap();
    assert_reads(&volume);
}

fn assert_reads<D: BlockDevice>(volume: &Volume<D>) {
    let mut found = vec![0; 16384];
    volume.read_at(8192, &mut found).unwrap();
    assert!(found == planted(16384));
}

/// Managed disks of a customer's set: made, written, snapshotted, opened by another service, removed.
pub fn managed(backend: &Arc<dyn DiskBackend>) {
    let folder = tempfile::tempdir().unwrap();
    let [platform, customer] = ["platform", "customer"].map(|name| {
        let root = folder.path().join(format!("{name}.root"));
        FileVault::generate_key_file(&root).unwrap();
        let options = VaultOptions::new().id(name).region("north").tenant("contoso").purge_protection(true);
        let vault = FileVault::create_with(folder.path().join(name), Unlock::KeyFile(&root), &options).unwrap();
        vault.create_key("disks").unwrap();
        vault
    });
    let service = || {
        let vaults = KnownVaults::new();
        vaults.add_file(customer.clone()).unwrap();
        let options = ServiceOptions::new(backend.clone(), Arc::new(vaults), Arc::new(platform.clone()), "disks");
        DiskService::open(folder.path().join("fleet.redb"), options).unwrap()
    };
    let key: KeyId = customer.describe("disks", None).unwrap().unwrap().id;
    {
        let service = service();
        let set = NewSet::new("set", key).region("north").subscription("one").tenant("contoso");
        let set = service.create_set(&set).unwrap();
        let operations = [KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey];
        customer.grant(&set.identity, &operations).unwrap();
        for name in ["one", "two"] {
            let new = NewDisk::new(name, 1 << 20).region("north").subscription("one").sector_size(4096);
            service.create_disk(&new.encryption_set("set")).unwrap();
        }
        let disk = service.open_disk("one").unwrap();
        disk.write_at(4096, &planted(8192)).unwrap();
        disk.sync().unwrap();
        drop(disk);
        service.create_snapshot(&NewSnapshot::new("then", "one"), &|_| {}).unwrap();
    }
    let service = service();
    let disk = service.open_disk("one").unwrap();
    let mut found = vec![0; 8192];
    disk.read_at(4096, &mut found).unwrap();
    assert!(found == planted(8192));
    drop(disk);
    let id = |name: ResourceName| service.resource(&name).unwrap().id;
    let ids = [id(ResourceName::disk("one")), id(ResourceName::disk("two")), id(ResourceName::snapshot("then"))];
    let listed = || {
        let mut listed = backend.list("north").unwrap();
        listed.sort();
        listed
    };
    let mut expected = ids.to_vec();
    expected.sort();
    assert_eq!(listed(), expected);
    service.delete(&ResourceName::disk("two")).unwrap();
    expected.retain(|id| *id != ids[1]);
    assert_eq!(listed(), expected);
    // What isn't there any more can be removed again; what is there can't be made again.
    backend.remove("north", &ids[1]).unwrap();
    let again = backend.create("north", &ids[0], 4096);
    assert!(matches!(again, Err(atrest::Error::AlreadyExists { .. })));
    let missing = backend.open("north", &ids[1]);
    assert!(matches!(missing, Err(atrest::Error::NotFound { .. })));
}
