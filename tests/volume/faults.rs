//! Devices whose reads, writes and syncs fail.

use std::sync::Arc;

use crate::common::device::{Call, TestDevice, reopen};
use crate::common::header::{self, COPY};
use crate::common::vaults::MemoryVault;
use crate::common::volumes::{DATA, SIZE, holds_plain, image, look, open, options, plain, shared};
use atrest::{Credential, Error, OpenOptions, Protector, Volume};

const CALLS: [Call; 3] = [Call::Read, Call::Write, Call::Sync];

/// Does something again and again on a device that fails later each time, until it no longer fails, and returns how often
/// it did. `act` does it; `after` looks at the device then, which works again.
fn every_fault(
    call: Call,
    image: &[u8],
    act: impl Fn(&Arc<TestDevice>) -> atrest::Result<()>,
    after: impl Fn(&Arc<TestDevice>),
) -> usize {
    for n in 0.. {
        let device = shared(image.to_vec());
        device.fail(call, n, false);
        let result = act(&device);
        if device.heal() {
            result.unwrap();
            return n;
        }
        let error = result.expect_err("a fault of the device was swallowed");
        let Error::Io { source, .. } = &error else { panic!("{call:?} {n}: {error:?}") };
        assert!(source.to_string().contains("was to fail"), "{error:?}");
        assert!(!error.to_string().contains(&source.to_string()), "told twice by who tells the sources: {error}");
        let whole = format!("{error:#}");
        assert!(whole.len() > source.to_string().len(), "nothing says what was done: {whole}");
        after(&device);
    }
    unreachable!()
}

#[test]
fn a_format_that_failed_can_be_done_again() {
    let vault = MemoryVault::new("memory:one");
    let format = |device: &Arc<TestDevice>, overwrite| {
        Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options().overwrite(overwrite)).map(drop)
    };
    for (image, overwrite) in [(vec![0; DATA + SIZE], false), (vec![7; DATA + SIZE], true)] {
        for call in CALLS {
            let faults = every_fault(
                call,
                &image,
                |device| format(device, overwrite),
                |device| {
                    format(device, true).unwrap();
                    assert!(header::is_whole(&device.bytes()));
                },
            );
            assert!(faults >= 3, "{call:?}: {faults}");
        }
    }
}

#[test]
fn an_open_that_failed_can_be_done_again() {
    let (vault, image) = image();
    let mut damaged = image.clone();
    damaged[4096..5000].fill(0);
    for (image, repairs) in [(image, false), (damaged, true)] {
        for call in CALLS {
            let faults = every_fault(
                call,
                &image,
                |device| open(device.clone(), &vault).map(drop),
                |device| {
                    assert!(holds_plain(&open(device.clone(), &vault).unwrap()));
                    assert!(header::is_whole(&device.bytes()));
                },
            );
            assert_eq!(faults > 0, repairs || call == Call::Read, "{call:?}: {faults}");
        }
    }
}

#[test]
fn a_rotation_that_failed_can_be_done_again() {
    let (vault, image) = image();
    vault.rotate();
    for call in CALLS {
        // A volume that was open all the time, and one that is opened afterwards.
        for reopen in [false, true] {
            for n in 0.. {
                let device = shared(image.clone());
                let mut volume = open(device.clone(), &vault).unwrap();
                device.fail(call, n, true);
                let result = volume.rotate_kek(&vault);
                if device.heal() {
                    result.unwrap();
                    assert!(n >= 2, "{call:?}: {n}");
                    break;
                }
                assert!(matches!(result, Err(Error::Io { .. })), "{call:?} {n}: {result:?}");
                // Data is read and written as if nothing had happened.
                assert!(holds_plain(&volume));
                volume.write_at(0, &plain()).unwrap();
                if reopen {
                    volume = open(device.clone(), &vault).unwrap();
                }
                let seqid = header::seqid(&device.bytes(), 0).max(header::seqid(&device.bytes(), 1));
                assert_eq!(volume.rotate_kek(&vault).unwrap().version(), "2");
                let image = device.bytes();
                assert!(header::is_whole(&image) && header::seqid(&image, 0) > seqid);
                assert!(holds_plain(&look(image, &vault).unwrap()));
            }
        }
    }
}

#[test]
fn reads_and_writes_that_failed_can_be_done_again() {
    let (vault, image) = image();
    let device = shared(image);
    let volume = open(device.clone(), &vault).unwrap();
    let bytes = vec![0x3C; 4096];
    device.fail(Call::Read, 0, false);
    let error = volume.read_at(512, &mut [0; 1024]).unwrap_err();
    assert!(matches!(&error, Error::Io { what, .. } if what.contains("1024 bytes at offset 512")), "{error:?}");
    device.fail(Call::Write, 0, false);
    let error = volume.write_at(4096, &bytes).unwrap_err();
    assert!(matches!(&error, Error::Io { what, .. } if what.contains("4096 bytes at offset 4096")), "{error:?}");
    device.fail(Call::Sync, 0, false);
    assert!(matches!(volume.sync(), Err(Error::Io { .. })));
    volume.write_at(4096, &bytes).unwrap();
    volume.sync().unwrap();
    let mut back = vec![0; SIZE];
    volume.read_at(0, &mut back).unwrap();
    let mut wanted = plain();
    wanted[4096..8192].copy_from_slice(&bytes);
    assert!(back == wanted);
}

#[test]
fn a_device_that_ends_early_is_an_error_and_no_panic() {
    /// A device that says that it is larger than it is.
    struct Boaster(TestDevice, u64);
    impl atrest::BlockDevice for Boaster {
        fn size(&self) -> std::io::Result<u64> {
            Ok(self.1)
        }
        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
            self.0.read_at(offset, bytes)
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            self.0.write_at(offset, bytes)
        }
        fn sync(&self) -> std::io::Result<()> {
            self.0.sync()
        }
    }
    let (vault, image) = image();
    for len in [0, 4096, COPY, COPY + 100, 2 * COPY - 1] {
        let device = Boaster(TestDevice::new(image[..len].to_vec()), image.len() as u64);
        let result = open(device, &vault);
        assert!(matches!(result, Err(Error::Io { .. })), "{len}: {result:?}");
    }
    // Sizes at which arithmetic could wrap.
    for size in [u64::MAX, u64::MAX - 511, 1 << 63] {
        let volume = open(Boaster(TestDevice::new(image.clone()), size), &vault).unwrap();
        assert_eq!(volume.size(), (size - DATA as u64) / 512 * 512);
        assert!(holds_plain(&volume));
        let end = volume.size();
        assert!(matches!(volume.read_at(end, &mut [0; 512]), Err(Error::OutOfBounds { .. })));
    }
}

#[cfg(unix)]
#[test]
fn a_file_is_held_by_who_has_it_open() {
    use atrest::FileDevice;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let (vault, image) = image();
    std::fs::write(&path, &image).unwrap();
    let busy = |result: atrest::Result<FileDevice>| matches!(result, Err(Error::Busy { what }) if what == path.to_str().unwrap());
    let first = FileDevice::open(&path).unwrap();
    assert!(busy(FileDevice::open(&path)) && busy(FileDevice::open_read_only(&path)));
    drop(first);
    let readers = [(); 2].map(|()| reopen(|| FileDevice::open_read_only(&path)).unwrap());
    assert!(busy(FileDevice::open(&path)));
    for reader in readers {
        let options = OpenOptions::new().read_only(true);
        assert!(holds_plain(&Volume::open(reader, Credential::Vault(&vault), &options).unwrap()));
    }
    reopen(|| FileDevice::open(&path)).unwrap();
    assert!(matches!(FileDevice::create(&path, 512), Err(Error::AlreadyExists { .. })), "an image was overwritten");
    assert!(std::fs::read(&path).unwrap() == image);
    let error = FileDevice::open(folder.path().join("nothing")).unwrap_err();
    assert!(matches!(&error, Error::NotFound { .. }) && error.to_string().contains("nothing"), "{error:?}");
}
