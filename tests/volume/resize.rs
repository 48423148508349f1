//! Growing and shrinking a volume in use.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, RwLock};

use atrest::{BlockDevice, Credential, Error, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};

use crate::common::vaults::MemoryVault;

const MIB: u64 = 1 << 20;

/// A device in memory whose size changes.
#[derive(Clone)]
struct Elastic(Arc<RwLock<Vec<u8>>>);

impl Elastic {
    fn set_len(&self, len: u64) {
        self.0.write().unwrap().resize(len as usize, 0);
    }
}

impl BlockDevice for Elastic {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap().len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let held = self.0.read().unwrap();
        let range = offset as usize..offset as usize + bytes.len();
        bytes.copy_from_slice(held.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut held = self.0.write().unwrap();
        let range = offset as usize..offset as usize + bytes.len();
        held.get_mut(range).ok_or(io::ErrorKind::WriteZero)?.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_volume_follows_its_device_while_threads_write() {
    let vault = MemoryVault::new("memory:one");
    let device = Elastic(Arc::new(RwLock::new(vec![0; 3 * MIB as usize])));
    let options = FormatOptions::new().data_offset(MIB);
    let volume = Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut rounds = 0u64;
            while !stop.load(Relaxed) {
                let written = [rounds as u8; 4096];
                volume.write_at(8192, &written).unwrap();
                let mut read = [0; 4096];
                volume.read_at(8192, &mut read).unwrap();
                assert_eq!(read, written);
                rounds += 1;
            }
            rounds
        });
        for _ in 0..100 {
            device.set_len(5 * MIB);
            assert!(matches!(volume.write_at(3 * MIB, &[7; 512]), Err(Error::OutOfBounds { .. })));
            assert_eq!(volume.resize(None).unwrap(), 4 * MIB);
            volume.write_at(3 * MIB, &[7; 512]).unwrap();
            assert_eq!(volume.resize(Some(2 * MIB)).unwrap(), 2 * MIB);
            device.set_len(3 * MIB);
            assert!(matches!(volume.read_at(2 * MIB, &mut [0; 512]), Err(Error::OutOfBounds { .. })));
        }
        stop.store(true, Relaxed);
        assert!(writer.join().unwrap() > 0);
    });
}

#[test]
fn the_token_has_the_new_size() {
    let vault = MemoryVault::new("memory:one");
    let device = Elastic(Arc::new(RwLock::new(vec![0; 5 * MIB as usize])));
    let options = FormatOptions::new().data_offset(MIB);
    let volume = Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options).unwrap();
    volume.write_at(2 * MIB - 512, &[7; 512]).unwrap();
    let open = || Volume::open(device.clone(), Credential::Vault(&vault), &OpenOptions::new());
    assert_eq!(volume.resize(Some(2 * MIB)).unwrap(), 2 * MIB);
    // Until the device is smaller, the next open takes what it has.
    assert_eq!(open().unwrap().size(), 4 * MIB);
    device.set_len(3 * MIB);
    let mut last = [0; 512];
    open().unwrap().read_at(2 * MIB - 512, &mut last).unwrap();
    assert_eq!(last, [7; 512]);
    device.set_len(2 * MIB);
    assert!(matches!(open(), Err(Error::DeviceTooSmall { .. })), "it was cut off without a resize");
}

#[test]
fn a_size_that_cannot_be_is_refused() {
    let vault = MemoryVault::new("memory:one");
    let device = Elastic(Arc::new(RwLock::new(vec![0; 3 * MIB as usize])));
    let options = FormatOptions::new().data_offset(MIB);
    let volume = Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options).unwrap();
    for size in [0, 511, 513, 2 * MIB + 512, u64::MAX] {
        assert!(matches!(volume.resize(Some(size)), Err(Error::InvalidOption(_))), "{size}");
    }
    assert_eq!(volume.size(), 2 * MIB);
    let read_only = OpenOptions::new().read_only(true);
    let volume = Volume::open(device, Credential::Vault(&vault), &read_only).unwrap();
    assert!(matches!(volume.resize(None), Err(Error::ReadOnly)));
}

#[test]
fn devices_are_given_another_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let file = FileDevice::create(&path, MIB).unwrap();
    let memory = Arc::new(MemoryDevice::new(MIB as usize));
    let devices: [&dyn BlockDevice; 2] = [&file, &memory];
    for device in devices {
        device.write_at(0, &[1; 8192]).unwrap();
        device.set_size(4096).unwrap();
        device.set_size(8192).unwrap();
        assert_eq!(device.size().unwrap(), 8192);
        let mut found = [7; 8192];
        device.read_at(0, &mut found).unwrap();
        assert_eq!(found[..4096], [1; 4096]);
        assert_eq!(found[4096..], [0; 4096]);
    }
    assert_eq!(std::fs::metadata(path).unwrap().len(), 8192);
    // A device whose size is somebody else's matter says so.
    let fixed = Elastic(Arc::default());
    assert_eq!(fixed.set_size(1).unwrap_err().kind(), io::ErrorKind::Unsupported);
}
