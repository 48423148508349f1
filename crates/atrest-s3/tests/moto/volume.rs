//! Volumes and managed disks on S3.

use atrest::{BlockDevice, Credential, FormatOptions, OpenOptions, Protector, Volume};

use crate::server::Moto;
use crate::vaults::MemoryVault;

const ID: &str = "2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a01";

#[test]
fn a_volume_lies_on_objects() {
    let Some(moto) = Moto::start() else { return };
    let backend = moto.backend();
    let vault = MemoryVault::new("memory:vault");
    let text = b"nobody's business".repeat(256)[..4096].to_vec();
    {
        let device = backend.create_disk(ID, 40 << 20).unwrap();
        let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &FormatOptions::new()).unwrap();
        volume.write_at(8192, &text).unwrap();
        volume.sync().unwrap();
        let busy = backend.open_disk(ID);
        assert!(matches!(busy, Err(atrest::Error::Busy { .. })));
    }
    let device = backend.open_disk(ID).unwrap();
    assert_eq!(device.size().unwrap(), 40 << 20);
    let volume = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new()).unwrap();
    let mut found = vec![0; 4096];
    volume.read_at(8192, &mut found).unwrap();
    assert_eq!(found, text);
}
