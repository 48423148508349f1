//! A volume on a real block device: a loop device over a file, if this machine allows one.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::common::device::reopen;
use crate::common::{cryptsetup, peer, run, text, vault_at};
use atrest::{BlockDevice, Credential, Error, FileDevice, FormatOptions, OpenOptions, Protector, Volume};

/// A loop device that ends with this.
struct Loop(String);

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["-d", &self.0]);
    }
}

#[test]
fn a_volume_lies_on_a_block_device() {
    if peer("losetup", &["-f"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let file = folder.path().join("disk");
    std::fs::File::create(&file).unwrap().set_len(20 << 20).unwrap();
    let device = Loop(run("losetup", &["-f", "--show", text(&file)]).trim().to_owned());
    let path = Path::new(&device.0);
    assert!(std::fs::metadata(path).unwrap().file_type().is_block_device());

    let disk = FileDevice::open(path).unwrap();
    assert_eq!(disk.size().unwrap(), 20 << 20);
    let volume = Volume::format(disk, Protector::Vault(&vault, "disks"), &FormatOptions::new()).unwrap();
    assert_eq!(volume.size(), 4 << 20);
    let plain: Vec<u8> = (0..4 << 20).map(|i| (i / 512) as u8).collect();
    volume.write_at(0, &plain).unwrap();
    volume.sync().unwrap();
    assert!(matches!(FileDevice::open(path), Err(Error::Busy { .. })), "the device can be opened twice");
    drop(volume);

    let disk = reopen(|| FileDevice::open(path)).unwrap();
    let volume = Volume::open(disk, Credential::Vault(&vault), &OpenOptions::new()).unwrap();
    let mut read = vec![0; plain.len()];
    volume.read_at(0, &mut read).unwrap();
    assert!(read == plain);
    volume.rotate_kek(&vault).unwrap();
    drop(volume);
    if let Some(cryptsetup) = cryptsetup() {
        run(&cryptsetup, &["isLuks", "--type", "luks2", &device.0]);
    }
}

#[test]
fn a_block_device_zeroes_and_gives_blocks_back() {
    use std::os::unix::fs::MetadataExt;
    if peer("losetup", &["-f"]).is_none() {
        return;
    }
    // Not where temporary files are as a rule: that may be a file system in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = folder.path().join("disk");
    let mut model: Vec<u8> = (0..4u32 << 20).map(|i| (i >> 9) as u8 | 1).collect();
    std::fs::write(&file, &model).unwrap();
    let loops = Loop(run("losetup", &["-f", "--show", text(&file)]).trim().to_owned());
    let disk = FileDevice::open(&loops.0).unwrap();
    let compare = |model: &[u8]| {
        let mut read = vec![0; model.len()];
        disk.read_at(0, &mut read).unwrap();
        assert!(read == model);
    };
    // Its own blocks, and what is no whole block.
    for (at, len) in [(0, 512), (4096, 1 << 20), (2 << 20, 100), ((3 << 20) + 7, 9000)] {
        disk.write_zeroes(at as u64, len as u64).unwrap();
        model[at..at + len].fill(0);
        compare(&model);
    }
    assert!(disk.write_zeroes(4 << 20, 512).is_err(), "a disk does not grow");
    disk.sync().unwrap();
    let before = std::fs::metadata(&file).unwrap().blocks();
    disk.discard((2 << 20) - 512, (1 << 20) + 1024).unwrap();
    disk.sync().unwrap();
    let after = std::fs::metadata(&file).unwrap().blocks();
    if after == before {
        return eprintln!("SKIPPED: loop devices here give nothing back");
    }
    // A file system counts its own blocks for a file that has more pieces now, too.
    assert!(after <= before - (1 << 20) / 512 + 64, "{after} of {before} sectors are left");
    model[2 << 20..3 << 20].fill(0);
    compare(&model);
}
