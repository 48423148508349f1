//! Crashes: every state that a device can be in after one, for every operation that writes a header.
//!
//! Each 512-byte sector written since the last sync may be on the disk or not, in any order.

use std::sync::Arc;

use crate::common::device::{Call, Op, TestDevice, crash_images};
use crate::common::header::{self, COPY};
use crate::common::vaults::MemoryVault;
use crate::common::volumes::{DATA, SIZE, holds_plain, image, look, open, options, shared};
use atrest::{Error, Protector, Volume};

/// As many as the JSON of a copy has sectors.
const EVERY: usize = 24;

/// Says how many crashes were survived, since the number is worth nothing when it is 0.
fn survived(what: &str, count: usize, least: usize) {
    println!("{what}: {count} crash points survived");
    assert!(count >= least, "{what}: only {count} crash points");
}

#[test]
fn a_crash_of_format_leaves_a_volume_or_something_to_format_again() {
    let vault = MemoryVault::new("memory:one");
    let device = shared(vec![0; DATA + SIZE]);
    Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options()).unwrap();
    let log = device.take_log();
    let (mut opened, mut refused) = (0, 0);
    let blank = vec![0; DATA + SIZE];
    let count = crash_images(&blank, &log, EVERY, |what, image| match look(image.clone(), &vault) {
        Ok(_) => opened += 1,
        Err(Error::NotLuks { .. } | Error::InvalidHeader(_)) => {
            refused += 1;
            // To format again costs time; a part of the images will do.
            if refused % 16 == 1 {
                let device = TestDevice::new(image);
                let volume =
                    Volume::format(device, Protector::Vault(&vault, "disks"), &options().overwrite(true)).unwrap();
                assert!(header::is_whole(&volume.device().bytes()), "{what}");
                look(volume.into_device().bytes(), &vault).unwrap();
            }
        }
        Err(error) => panic!("{what}: {error:?}"),
    });
    assert!(opened > 0 && refused > 0);
    survived("format", count, 200);
}

#[test]
fn a_crash_of_format_over_an_older_volume_leaves_one_of_both_or_none() {
    let (old_vault, old) = image();
    let vault = MemoryVault::new("memory:two");
    let device = shared(old.clone());
    Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options().overwrite(true)).unwrap();
    let log = device.take_log();
    let mut seen = [0; 3];
    let count = crash_images(&old, &log, EVERY, |what, image| match look(image.clone(), &old_vault) {
        Ok(volume) => {
            assert!(holds_plain(&volume), "{what}: the older header with other data");
            seen[0] += 1;
        }
        Err(Error::NotThisVault { .. }) => {
            look(image, &vault).unwrap_or_else(|e| panic!("{what}: {e:?}"));
            seen[1] += 1;
        }
        Err(Error::NotLuks { .. } | Error::InvalidHeader(_)) => seen[2] += 1,
        Err(error) => panic!("{what}: {error:?}"),
    });
    assert!(seen.iter().all(|&n| n > 0), "{seen:?}");
    survived("format over another volume", count, 200);
}

/// Opens the image that a crash left, which repairs it, and checks that nothing is lost.
fn recovers(what: &str, image: Vec<u8>, vault: &MemoryVault) -> (String, Vec<u8>, Vec<Op>) {
    let device = shared(image);
    let volume = open(device.clone(), vault).unwrap_or_else(|e| panic!("{what}: {e:?}"));
    assert!(holds_plain(&volume), "{what}: the data is gone");
    let repaired = device.bytes();
    assert!(header::is_whole(&repaired), "{what}: not repaired");
    (volume.keks()[0].version().to_owned(), repaired, device.take_log())
}

#[test]
fn a_crash_of_a_rotation_leaves_the_old_version_or_the_new() {
    // Behaviour 74
    let (vault, before) = image();
    vault.rotate();
    let device = shared(before.clone());
    let volume = open(device.clone(), &vault).unwrap();
    device.take_log();
    volume.rotate_kek(&vault).unwrap();
    let log = device.take_log();
    let (mut old, mut new, mut crashes) = (0, 0, Vec::new());
    let count = crash_images(&before, &log, EVERY, |what, image| {
        let (version, _, repair) = recovers(what, image.clone(), &vault);
        match version.as_str() {
            "1" => old += 1,
            "2" => new += 1,
            other => panic!("{what}: version {other}"),
        }
        if !repair.iter().all(|op| matches!(op, Op::Read { .. })) {
            crashes.push((image, repair));
        }
    });
    assert!(old > 0 && new > 0, "{old} old, {new} new");
    survived("rotate_kek", count, 300);

    // A second crash, while the first is repaired.
    let mut count = 0;
    for (image, repair) in crashes.into_iter().step_by(60) {
        count += crash_images(&image, &repair, 4, |what, image| drop(recovers(what, image, &vault)));
    }
    survived("repair after a crash of rotate_kek", count, 300);
    // Once it has returned, the new version is enough.
    vault.destroy(1);
    assert!(holds_plain(&look(device.bytes(), &vault).unwrap()));
}

#[test]
fn a_crash_of_a_repair_loses_nothing() {
    let (vault, image) = image();
    let mut count = 0;
    for which in 0..2 {
        let mut damaged = image.clone();
        damaged[which * COPY + 600..which * COPY + 6000].fill(0x77);
        let device = shared(damaged.clone());
        open(device.clone(), &vault).unwrap();
        count += crash_images(&damaged, &device.take_log(), EVERY, |what, image| drop(recovers(what, image, &vault)));
    }
    survived("repair", count, 300);
}

#[test]
fn a_crash_of_a_rotation_that_failed_before_loses_nothing() {
    let (vault, before) = image();
    vault.rotate();
    let mut count = 0;
    // Every write and every sync of the first attempt fails in turn; then the second attempt crashes everywhere.
    for (call, n, lose) in (0..6).flat_map(|n| [(Call::Write, n, false), (Call::Sync, n, false), (Call::Sync, n, true)])
    {
        let device = shared(before.clone());
        let volume = open(device.clone(), &vault).unwrap();
        device.fail(call, n, lose);
        let error = volume.rotate_kek(&vault).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{call:?} {n}: {error:?}");
        let failed = device.bytes();
        recovers(&format!("after {call:?} {n}"), failed.clone(), &vault);
        device.take_log();
        assert_eq!(volume.rotate_kek(&vault).unwrap().version(), "2");
        let log = device.take_log();
        count += crash_images(&failed, &log, 1, |what, image| {
            recovers(&format!("{call:?} {n} failed, then a crash {what}"), image, &vault);
        });
        assert!(header::is_whole(&device.bytes()));
    }
    survived("rotate_kek again", count, 200);
}

#[test]
fn a_device_that_returns_other_bytes_than_were_written_is_noticed() {
    /// Loses one write without a word.
    struct Forgetful(TestDevice, u64);
    impl atrest::BlockDevice for Forgetful {
        fn size(&self) -> std::io::Result<u64> {
            self.0.size()
        }
        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
            self.0.read_at(offset, bytes)
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            if offset == self.1 { Ok(()) } else { self.0.write_at(offset, bytes) }
        }
        fn sync(&self) -> std::io::Result<()> {
            self.0.sync()
        }
    }
    let vault = MemoryVault::new("memory:one");
    for (lost, says) in [(0, "primary"), (4096, "primary"), (COPY as u64, "secondary")] {
        let device = Arc::new(Forgetful(TestDevice::new(vec![0; DATA + SIZE]), lost));
        let error = Volume::format(device, Protector::Vault(&vault, "disks"), &options()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.to_string().contains(says), "{error:?}");
    }
}
