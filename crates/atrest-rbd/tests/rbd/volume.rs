//! Volumes on images.

use atrest::volume::LuksVersion;
use atrest::{BlockDevice, Credential, Error, FormatOptions, OpenOptions, Protector, Volume};
use atrest_rbd::RbdDevice;

use crate::cluster::cluster;
use crate::fast;

#[test]
fn a_volume_on_an_image_is_read_back_after_it_was_closed() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    for version in [LuksVersion::Luks1, LuksVersion::Luks2] {
        let image = cluster.image(64);
        let device = RbdDevice::open(&image, &cluster.options()).unwrap();
        assert_eq!(device.size().unwrap(), 64 << 20);
        let options = fast(FormatOptions::new().version(version));
        let volume = Volume::format(device, Protector::Passphrase(b"secret"), &options).unwrap();
        let noise: Vec<u8> = (0..5 << 20).map(|i: u32| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
        volume.write_at(3 << 20, &noise).unwrap();
        volume.sync().unwrap();
        drop(volume);
        let device = RbdDevice::open(&image, &cluster.options()).unwrap();
        let volume = Volume::open(device, Credential::Passphrase(b"secret"), &OpenOptions::new()).unwrap();
        let mut read = vec![0; noise.len()];
        volume.read_at(3 << 20, &mut read).unwrap();
        assert!(read == noise);
        let second = RbdDevice::open(&image, &cluster.options());
        assert!(matches!(second, Err(Error::Busy { .. })), "{second:?}");
    }
}
