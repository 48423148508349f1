//! Reading and writing a volume, compared with a plain array of bytes and with other implementations of XTS.

use std::sync::Arc;

use crate::common::device::reopen;
use crate::common::model;
use crate::common::vaults::MemoryVault;
use atrest::{
    BlockDevice, Credential, Error, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector, SectorSize,
    Volume, hazmat,
};
use proptest::prelude::*;

const MIB: usize = 1 << 20;
const DATA: usize = MIB * 3 / 8;

fn options(sector_size: SectorSize) -> FormatOptions {
    FormatOptions::new().data_offset(MIB as u64).sector_size(sector_size)
}

fn volume(sector_size: SectorSize) -> (MemoryVault, Volume<MemoryDevice>) {
    let vault = MemoryVault::new("memory:one");
    let device = MemoryDevice::new(MIB + DATA);
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(sector_size)).unwrap();
    (vault, volume)
}

/// A read or a write: where, how long, and which byte it writes.
#[derive(Debug, Clone)]
enum Op {
    Read(usize, usize),
    Write(usize, usize, u8),
}

/// Operations on whole sectors. Some are longer than the unit of encryption (128 KiB).
fn ops(sector: usize) -> impl Strategy<Value = Vec<Op>> {
    let sectors = DATA / sector;
    let range = (0..=sectors, prop_oneof![4 => 0..20usize, 1 => 0..=sectors])
        .prop_map(move |(at, len)| (at * sector, len.min(sectors - at) * sector));
    let op = (range, any::<Option<u8>>()).prop_map(|((at, len), byte)| match byte {
        Some(byte) => Op::Write(at, len, byte),
        None => Op::Read(at, len),
    });
    proptest::collection::vec(op, 1..12)
}

/// Does the operations on a volume and on plain bytes, which must stay the same. Then decrypts the device's content
/// without the crate.
fn compare<D: BlockDevice>(volume: &Volume<D>, ops: &[Op]) {
    let sector = volume.sector_size().bytes() as usize;
    let mut plain = vec![0; DATA];
    volume.write_at(0, &plain).unwrap();
    for op in ops {
        match *op {
            Op::Write(at, len, seed) => {
                let bytes: Vec<u8> = (0..len).map(|i| (i / 16) as u8 ^ seed).collect();
                volume.write_at(at as u64, &bytes).unwrap();
                plain[at..at + len].copy_from_slice(&bytes);
            }
            Op::Read(at, len) => {
                let mut bytes = vec![0xEE; len];
                volume.read_at(at as u64, &mut bytes).unwrap();
                assert!(bytes == plain[at..at + len], "{len} bytes at {at}");
            }
        }
    }
    let mut raw = vec![0; DATA];
    volume.device().read_at(volume.data_offset(), &mut raw).unwrap();
    assert!(raw != plain);
    let dek = hazmat::dek_bytes(volume.dek());
    model::decrypt(dek.expose(), 0, sector as u64 / 512, sector, &mut raw);
    assert!(raw == plain, "the data area is not what xts-mode decrypts");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_volume_in_memory_holds_what_was_written(small in ops(512), large in ops(4096)) {
        compare(&volume(SectorSize::B512).1, &small);
        compare(&volume(SectorSize::B4096).1, &large);
    }

    #[test]
    fn a_volume_in_a_file_holds_what_was_written(small in ops(512), large in ops(4096)) {
        let vault = MemoryVault::new("memory:one");
        for (sector_size, ops) in [(SectorSize::B512, &small), (SectorSize::B4096, &large)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("image");
            let device = FileDevice::create(&path, (MIB + DATA) as u64).unwrap();
            compare(&Volume::format(device, Protector::Vault(&vault, "disks"), &options(sector_size)).unwrap(), ops);
            let device = reopen(|| FileDevice::open(&path)).unwrap();
            compare(&Volume::open(device, Credential::Vault(&vault), &OpenOptions::new()).unwrap(), ops);
        }
    }
}

#[test]
fn a_range_that_is_no_whole_number_of_sectors_is_refused() {
    for (sector_size, cases) in [
        (SectorSize::B512, [(0, 511), (1, 512), (256, 256), (513, 0)]),
        (SectorSize::B4096, [(0, 512), (512, 4096), (2048, 2048), (4095, 0)]),
    ] {
        let (_, volume) = volume(sector_size);
        for (at, n) in cases {
            let right = |e: &Error| matches!(e, Error::Misaligned { offset, len, .. } if (*offset, *len) == (at, n));
            let mut bytes = vec![0xEE; n];
            let error = volume.read_at(at, &mut bytes).unwrap_err();
            assert!(right(&error) && error.to_string().contains(&sector_size.bytes().to_string()), "{error}");
            assert!(right(&volume.write_at(at, &bytes).unwrap_err()));
            assert_eq!(bytes, vec![0xEE; n]);
        }
    }
}

#[test]
fn a_range_past_the_end_is_refused_and_an_empty_one_at_the_end_is_not() {
    let (_, volume) = volume(SectorSize::B512);
    let end = volume.size();
    assert_eq!(end, DATA as u64);
    for (at, n) in
        [(end, 512), (end - 512, 1024), (0, DATA + 512), (u64::MAX - 511, 512), (1 << 63, 512), (end + 512, 0)]
    {
        let error = volume.read_at(at, &mut vec![0; n]).unwrap_err();
        assert!(matches!(error, Error::OutOfBounds { offset, len, size } if (offset, len, size) == (at, n, end)));
        assert!(error.to_string().contains(&end.to_string()), "{error}");
        assert!(matches!(volume.write_at(at, &vec![0; n]), Err(Error::OutOfBounds { .. })));
    }
    volume.read_at(end, &mut []).unwrap();
    volume.write_at(end, &[]).unwrap();
    volume.write_at(end - 512, &[1; 512]).unwrap();
}

#[test]
fn a_device_with_a_part_of_a_sector_at_its_end_leaves_that_part_alone() {
    let vault = MemoryVault::new("memory:one");
    let mut bytes = vec![0; MIB + 4096 + 4095];
    bytes[MIB + 4096..].fill(0xEE);
    let device = MemoryDevice::from_bytes(bytes);
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(SectorSize::B4096)).unwrap();
    assert_eq!(volume.size(), 4096);
    volume.write_at(0, &[1; 4096]).unwrap();
    assert_eq!(volume.into_device().into_bytes()[MIB + 4096..], [0xEE; 4095]);
}

#[test]
fn a_volume_opened_for_reading_refuses_to_be_written() {
    let (vault, volume) = volume(SectorSize::B512);
    volume.write_at(0, &[7; 512]).unwrap();
    let before = volume.into_device().into_bytes();
    let device = MemoryDevice::from_bytes(before.clone());
    let volume = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new().read_only(true)).unwrap();
    assert!(volume.is_read_only());
    assert!(matches!(volume.write_at(0, &[1; 512]), Err(Error::ReadOnly)));
    assert!(matches!(volume.rotate_kek(&vault), Err(Error::ReadOnly)));
    let mut sector = [0; 512];
    volume.read_at(0, &mut sector).unwrap();
    assert_eq!(sector, [7; 512]);
    assert!(volume.into_device().into_bytes() == before);
}

#[test]
fn sectors_beyond_2_tib_have_numbers_beyond_32_bits() {
    const SIZE: u64 = 3 << 40;
    let folder = tempfile::tempdir().unwrap();
    let vault = MemoryVault::new("memory:one");
    for (sector_size, step) in [(SectorSize::B512, 1), (SectorSize::B4096, 8)] {
        let path = folder.path().join(format!("{step}.img"));
        let device = match FileDevice::create(&path, SIZE) {
            Ok(device) => device,
            // A file system may have no files that large.
            Err(error) => return eprintln!("SKIPPED: {error}"),
        };
        let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(sector_size)).unwrap();
        assert_eq!(volume.size(), SIZE - MIB as u64);
        let plain: Vec<u8> = (0..32_768).map(|i| (i / 7) as u8).collect();
        // Across sector number 2^32, and at the very end.
        for at in [(2 << 40) - 16_384, volume.size() - 32_768] {
            volume.write_at(at, &plain).unwrap();
            let (mut read, mut raw) = (vec![0; plain.len()], vec![0; plain.len()]);
            volume.read_at(at, &mut read).unwrap();
            assert!(read == plain);
            volume.device().read_at(at + MIB as u64, &mut raw).unwrap();
            let dek = hazmat::dek_bytes(volume.dek());
            model::decrypt(dek.expose(), at / 512, step, sector_size.bytes() as usize, &mut raw);
            assert!(raw == plain, "at {at}");
        }
        assert!(matches!(volume.read_at(volume.size(), &mut [0; 4096]), Err(Error::OutOfBounds { .. })));
    }
}

#[test]
fn threads_read_and_write_at_once() {
    let (_, volume) = volume(SectorSize::B4096);
    std::thread::scope(|scope| {
        for t in 0..4u8 {
            let volume = &volume;
            scope.spawn(move || {
                let (start, len) = (u64::from(t) * (DATA as u64 / 4), DATA / 4);
                for round in 0..10u8 {
                    let bytes = vec![t * 16 + round; len];
                    volume.write_at(start, &bytes).unwrap();
                    let mut back = vec![0; len];
                    volume.read_at(start, &mut back).unwrap();
                    assert!(back == bytes, "thread {t}, round {round}");
                }
            });
        }
    });
}

#[test]
fn a_volume_lies_on_a_volume() {
    let vault = MemoryVault::new("memory:one");
    let disk = Arc::new(MemoryDevice::new(2 * MIB + 2 * DATA));
    let options = options(SectorSize::B512).overwrite(true);
    let lower = Volume::format(disk.clone(), Protector::Vault(&vault, "disks"), &options).unwrap();
    let upper = Volume::format(lower, Protector::Vault(&vault, "disks"), &options).unwrap();
    let plain: Vec<u8> = (0..DATA).map(|i| (i / 3) as u8).collect();
    upper.write_at(0, &plain).unwrap();

    let mut raw = vec![0; DATA];
    disk.read_at(2 * MIB as u64, &mut raw).unwrap();
    let keys = [upper.device(), &Volume::open(disk, Credential::Vault(&vault), &OpenOptions::new()).unwrap()];
    let lower_dek = hazmat::dek_bytes(keys[0].dek());
    assert_eq!(keys[0].dek(), keys[1].dek());
    model::decrypt(lower_dek.expose(), MIB as u64 / 512, 1, 512, &mut raw);
    model::decrypt(hazmat::dek_bytes(upper.dek()).expose(), 0, 1, 512, &mut raw);
    assert!(raw == plain);
}
