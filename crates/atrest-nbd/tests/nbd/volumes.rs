//! Volumes on real servers.

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{BlockDevice, Credential, FileDevice, FormatOptions, OpenOptions, Protector, Volume};
use atrest_nbd::NbdDevice;

use crate::nbdkit;
use crate::servers::{Server, text, uri, zeros};

const SIZE: u64 = 24 << 20;

fn options() -> FormatOptions {
    let fast = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
    FormatOptions::new().data_offset(16 << 20).keyslot(KeyslotOptions::new().kdf(fast))
}

#[test]
fn a_volume_on_nbdkit_is_one_in_its_file() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (socket, file) = (folder.path().join("s"), zeros(folder.path().join("disk"), SIZE));
    let server = Server::nbdkit(&socket, &["file", text(&file)]);
    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    assert_eq!(device.size().unwrap(), SIZE);
    let volume = Volume::format(device, Protector::Passphrase(b"pw"), &options()).unwrap();
    let data: Vec<u8> = (0..1 << 20).map(|i: u32| (i * 31 >> 3) as u8).collect();
    volume.write_at(4096, &data).unwrap();
    volume.sync().unwrap();
    drop(volume);

    let device = NbdDevice::connect(&uri(&socket, "")).unwrap();
    let volume = Volume::open(device, Credential::Passphrase(b"pw"), &OpenOptions::new()).unwrap();
    let mut back = vec![0; data.len()];
    volume.read_at(4096, &mut back).unwrap();
    assert!(back == data);
    drop(volume);
    drop(server);

    let device = FileDevice::open(&file).unwrap();
    let volume = Volume::open(device, Credential::Passphrase(b"pw"), &OpenOptions::new()).unwrap();
    back.fill(0);
    volume.read_at(4096, &mut back).unwrap();
    assert!(back == data);
}
