//! A volume under a key of the engine.

use atrest::{Credential, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};

use crate::server::Bao;

#[test]
fn a_volume_opens_by_its_key_also_after_rotations() {
    let Some(bao) = Bao::start() else { return };
    let (vault, device) = (bao.vault(), std::sync::Arc::new(MemoryDevice::new(32 << 20)));
    let volume = Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &FormatOptions::new()).unwrap();
    volume.write_at(0, &[7; 4096]).unwrap();
    drop(volume);
    bao.rotate("disks");
    let mut found = [0; 4096];
    for vault in [&vault, &bao.vault()] {
        let volume = Volume::open(device.clone(), Credential::Vault(vault), &OpenOptions::new()).unwrap();
        volume.read_at(0, &mut found).unwrap();
        assert_eq!(found, [7; 4096]);
    }
}
