//! Volumes and managed disks on page blobs.

use atrest::{BlockDevice, Credential, FormatOptions, OpenOptions, Protector, Volume};

use crate::server::Azurite;
use crate::vaults::MemoryVault;

#[test]
fn a_volume_lies_on_a_page_blob() {
    let Some(azurite) = Azurite::start() else { return };
    let backend = azurite.backend();
    let vault = MemoryVault::new("memory:vault");
    let text = b"nobody's business".repeat(256)[..4096].to_vec();
    {
        let device = backend.create_blob("vm/volume.img", 40 << 20).unwrap();
        let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &FormatOptions::new()).unwrap();
        volume.write_at(8192, &text).unwrap();
        volume.sync().unwrap();
        let busy = backend.open_blob("vm/volume.img");
        assert!(matches!(busy, Err(atrest::Error::Busy { .. })));
    }
    let device = backend.open_blob("vm/volume.img").unwrap();
    assert_eq!(device.size().unwrap(), 40 << 20);
    let volume = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new()).unwrap();
    let mut found = vec![0; 4096];
    volume.read_at(8192, &mut found).unwrap();
    assert_eq!(found, text);
}
