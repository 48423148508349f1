//! Volumes that this library makes: what other programs say of them, and through crashes.

use std::path::Path;
use std::sync::Arc;

use atrest::key::Kdf;
use atrest::volume::{BitLockerOptions, Header, HeaderFormat, KeyslotOptions, RecoveryPassword};
use atrest::{
    BlockDevice, Credential, DekAlgorithm, Error, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector,
    SectorSize, Volume,
};

use super::common::device::{TestDevice, crash_images, reopen};
use super::common::text;
use super::images::compare;
use super::protectors::judged_by_all;

const PASSWORD: &str = "correct horse battery staple";

fn make(device: MemoryDevice, options: &BitLockerOptions) -> atrest::Result<Volume<MemoryDevice>> {
    Volume::format_bitlocker(device, Protector::Passphrase(PASSWORD.as_bytes()), options)
}

/// The first sector of an NTFS file system of so many bytes, as far as libbde looks.
fn ntfs(size: u64, sector: u32) -> Vec<u8> {
    let mut boot = vec![0; 4096];
    boot[..11].copy_from_slice(b"\xeb\x52\x90NTFS    ");
    boot[11..13].copy_from_slice(&(sector as u16).to_le_bytes());
    boot[13] = (4096 / sector) as u8;
    boot[21] = 0xf8;
    boot[40..48].copy_from_slice(&(size / u64::from(sector) - 1).to_le_bytes());
    boot[48] = 4;
    boot[56] = 8;
    (boot[64], boot[68]) = (0xf6, 1);
    boot[510..512].copy_from_slice(b"\x55\xaa");
    boot
}

#[test]
fn other_programs_open_and_read_what_is_made_here() {
    for (algorithm, sector) in
        [(DekAlgorithm::Aes128Xts, 512), (DekAlgorithm::Aes256Xts, 512), (DekAlgorithm::Aes256Xts, 4096)]
    {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("volume");
        std::fs::write(&image, vec![0; (4 << 20) + 4096]).unwrap();
        let options = BitLockerOptions::new().dek_algorithm(algorithm).sector_size(SectorSize::new(sector).unwrap());
        let device = FileDevice::open(&image).unwrap();
        let protector = Protector::Passphrase(PASSWORD.as_bytes());
        let volume = Volume::format_bitlocker(device, protector, &options.description("a test")).unwrap();
        assert_eq!(volume.size(), (4 << 20) - (200 << 10));
        let recovery = RecoveryPassword::generate().unwrap();
        volume.add_protector(Protector::RecoveryPassword(recovery.expose()), &KeyslotOptions::new()).unwrap();
        let mut plain: Vec<u8> = (0..volume.size()).map(|i| (i ^ i >> 9) as u8).collect();
        plain[..4096].copy_from_slice(&ntfs(volume.size(), sector));
        volume.write_at(0, &plain).unwrap();
        volume.sync().unwrap();
        drop(volume);
        judge(&image, sector, recovery.expose());
        let credential = Credential::RecoveryPassword(recovery.expose());
        let open = || Volume::open(FileDevice::open(&image)?, credential, &OpenOptions::new());
        let volume = reopen(open).unwrap();
        let mut read = vec![0; plain.len()];
        volume.read_at(0, &mut read).unwrap();
        assert!(read == plain);
    }
}

fn judge(image: &Path, sector: u32, recovery: &str) {
    let device = reopen(|| FileDevice::open_read_only(image)).unwrap();
    let credential = Credential::Passphrase(PASSWORD.as_bytes());
    let volume = Volume::open(device, credential, &OpenOptions::new().read_only(true)).unwrap();
    let read = compare(image, "ours", "password", PASSWORD, &["dissect", "libbde"], &volume);
    assert_eq!(read, 8);
    drop(volume);
    if sector == 512 {
        judged_by_all(image, PASSWORD, Some(recovery), Some("wrong"));
    }
    if let Some(cryptsetup) = super::common::cryptsetup() {
        let dump = super::common::run(&cryptsetup, &["bitlkDump", text(image)]);
        for line in
            ["Sector size:  \t", "a test", "VMK protected with passphrase", "VMK protected with recovery passphrase"]
        {
            assert!(dump.contains(line), "{dump}");
        }
        assert!(dump.contains(&format!("{sector} [bytes]")) && dump.contains("4194304 [bytes]"), "{dump}");
    }
}

#[test]
fn a_new_volume_leaves_alone_what_is_not_its_own() {
    // Its own end where whole 64 KiB do that leave a sector behind them.
    let (end, own) = ((2 << 20) - (64 << 10), 200 << 10);
    let mut image = vec![0; 2 << 20];
    image[8192..end - own].fill(0x33);
    image[end..].fill(0x44);
    let volume = make(MemoryDevice::from_bytes(image.clone()), &BitLockerOptions::new()).unwrap();
    assert_eq!(volume.header().format(), HeaderFormat::BitLocker);
    let made = volume.into_device().into_bytes();
    assert!(made[512..end - own] == image[512..end - own] && made[end..] == image[end..]);

    // What stands where it wants to be is not destroyed.
    for at in [0, 100, 8191, end - own, end - 1] {
        let mut image = vec![0; 2 << 20];
        image[at] = 1;
        let device = Arc::new(MemoryDevice::from_bytes(image));
        let protector = Protector::Passphrase(b"pw");
        let refused = Volume::format_bitlocker(device.clone(), protector, &BitLockerOptions::new());
        assert!(matches!(refused, Err(Error::DeviceNotBlank { offset, .. }) if offset == at as u64));
        Volume::format_bitlocker(device, protector, &BitLockerOptions::new().overwrite(true)).unwrap();
    }
}

#[test]
fn a_volume_of_luks_that_is_made_over_is_gone() {
    let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    let options = FormatOptions::new().keyslot(cheap).data_offset(1 << 20);
    let device = Arc::new(MemoryDevice::new(20 << 20));
    drop(Volume::format(device.clone(), Protector::Passphrase(b"luks"), &options).unwrap());
    let overwrite = BitLockerOptions::new().overwrite(true);
    drop(Volume::format_bitlocker(device.clone(), Protector::Passphrase(b"pw"), &overwrite).unwrap());
    let mut start = vec![0; 8 << 20];
    device.read_at(0, &mut start).unwrap();
    assert!(start[512..].iter().all(|byte| *byte == 0), "a copy of the old header is left");
    // And the other way round.
    drop(Volume::format(device.clone(), Protector::Passphrase(b"luks"), &options.overwrite(true)).unwrap());
    drop(Volume::open(device, Credential::Passphrase(b"luks"), &OpenOptions::new()).unwrap());
}

#[test]
fn options_out_of_bounds_are_refused_and_nothing_is_written() {
    let refused = |device: usize, options: &BitLockerOptions, protector| {
        let device = Arc::new(MemoryDevice::new(device));
        let error = Volume::format_bitlocker(device.clone(), protector, options).unwrap_err();
        let mut bytes = vec![0; device.size().unwrap() as usize];
        device.read_at(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0), "{error}");
        error
    };
    let (options, password) = (BitLockerOptions::new(), Protector::Passphrase(b"pw"));
    let size = 2 << 20;
    assert!(matches!(refused((1 << 20) + 4095, &options, password), Error::DeviceTooSmall { .. }));
    assert!(matches!(refused(0, &options, password), Error::DeviceTooSmall { .. }));
    refused(size, &options.clone().sector_size(SectorSize::new(1024).unwrap()), password);
    refused(size, &options.clone().dek_algorithm(DekAlgorithm::Aes256Cbc), password);
    refused(size, &options.clone().dek_algorithm(DekAlgorithm::Aes256Hctr2), password);
    refused(size, &options.clone().description(&"x".repeat(257)), password);
    refused(size, &options.clone().description("a\0b"), password);
    refused(size, &options, Protector::Passphrase(b""));
    refused(size, &options, Protector::Passphrase(b"\xff"));
    refused(size, &options, Protector::RecoveryPassword("111111-1"));
    let recovery = RecoveryPassword::generate().unwrap();
    let device = MemoryDevice::new((1 << 20) + 4096);
    let made = Volume::format_bitlocker(device, Protector::RecoveryPassword(recovery.expose()), &options).unwrap();
    assert_eq!(made.size(), 824 << 10);
    assert_eq!(made.header().keyslots()[0].kind, "recovery password");
}

#[test]
fn what_is_refused_leaves_a_device_as_it_was_also_where_it_may_be_overwritten() {
    let before: Vec<u8> = (0..2 << 20).map(|i: u32| (i % 251) as u8).collect();
    let options = BitLockerOptions::new().overwrite(true);
    let refused = |options: &BitLockerOptions, protector| {
        let device = Arc::new(TestDevice::new(before.clone()));
        Volume::format_bitlocker(device.clone(), protector, options).unwrap_err();
        assert!(device.bytes() == before, "{protector:?} destroyed what was there");
    };
    refused(&options, Protector::Passphrase(b"\xff"));
    refused(&options, Protector::RecoveryPassword("111111-1"));
    // A digit of a true one that was mistyped: the first group is a multiple of 11 no more.
    refused(&options, Protector::RecoveryPassword("000001-000011-000022-720885-051260-432531-011000-597531"));
    refused(&options.clone().dek_algorithm(DekAlgorithm::Aes256Hctr2), Protector::Passphrase(b"pw"));
}

#[test]
fn a_crash_leaves_no_volume_or_a_whole_one() {
    let device = Arc::new(TestDevice::new(vec![0; (1 << 20) + 4096]));
    let protector = Protector::Passphrase(PASSWORD.as_bytes());
    drop(Volume::format_bitlocker(device.clone(), protector, &BitLockerOptions::new()).unwrap());
    let (mut none, mut whole) = (0, 0);
    let count = crash_images(&vec![0; (1 << 20) + 4096], &device.take_log(), 4, |what, image| {
        let device = TestDevice::new(image);
        match Header::load(&device) {
            Err(Error::NotLuks { .. }) => none += 1,
            Err(e) => panic!("{what}: {e}"),
            Ok(header) => {
                assert!(!header.needs_repair(), "{what}");
                whole += 1;
            }
        }
    });
    assert!(none > 10 && whole > 0, "{count}: {none} {whole}");
}
