//! Reading and writing a volume, compared with a plain array of bytes and with other implementations of XTS.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::common::device::reopen;
use crate::common::model;
use crate::common::vaults::MemoryVault;
use atrest::{
    BlockDevice, Credential, Error, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector, SectorSize,
    Volume, hazmat,
};
use proptest::prelude::*;

pub const MIB: usize = 1 << 20;
pub const DATA: usize = MIB * 3 / 8;

pub fn options(sector_size: SectorSize) -> FormatOptions {
    FormatOptions::new().data_offset(MIB as u64).sector_size(sector_size)
}

fn volume(sector_size: SectorSize) -> (MemoryVault, Volume<MemoryDevice>) {
    let vault = MemoryVault::new("memory:one");
    let device = MemoryDevice::new(MIB + DATA);
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(sector_size)).unwrap();
    (vault, volume)
}

/// A read or a write: where, how long, and which byte it writes; or zeros.
#[derive(Debug, Clone)]
pub enum Op {
    Read(usize, usize),
    Write(usize, usize, u8),
    Zero(usize, usize),
}

/// Operations on whole sectors, some of them longer than what is encrypted at once (128 KiB).
pub fn ops(sector: usize) -> impl Strategy<Value = Vec<Op>> {
    let sectors = DATA / sector;
    let range = (0..=sectors, prop_oneof![4 => 0..20usize, 1 => 0..=sectors])
        .prop_map(move |(at, len)| (at * sector, len.min(sectors - at) * sector));
    let op = (range, 0..4, any::<u8>()).prop_map(|((at, len), kind, byte)| match kind {
        0 => Op::Read(at, len),
        1 => Op::Zero(at, len),
        _ => Op::Write(at, len, byte),
    });
    proptest::collection::vec(op, 1..12)
}

/// Pieces of 1, 2, 3 .. sectors, and an empty one.
fn pieces(mut bytes: &mut [u8], sector: usize) -> Vec<&mut [u8]> {
    let mut pieces = vec![];
    for sectors in 1.. {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at_mut((sectors * sector).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.insert(pieces.len() / 2, &mut []);
    pieces
}

/// One of the ways to write.
fn write<D: BlockDevice>(volume: &Volume<D>, way: u8, at: u64, mut bytes: Vec<u8>) {
    match way % 3 {
        0 => volume.write_at(at, &bytes).unwrap(),
        1 => {
            let plain = bytes.clone();
            volume.write_in_place(at, &mut bytes).unwrap();
            assert!(bytes.is_empty() || bytes != plain, "the buffer holds ciphertext");
        }
        _ => {
            let pieces = pieces(&mut bytes, volume.sector_size().bytes() as usize);
            let pieces: Vec<_> = pieces.into_iter().map(|piece| IoSlice::new(piece)).collect();
            volume.write_vectored_at(at, &pieces).unwrap();
        }
    }
}

/// Does the operations on a volume and on plain bytes, which must stay the same; then decrypts what lies on the device
/// without the crate.
fn compare<D: BlockDevice>(volume: &Volume<D>, ops: &[Op]) {
    compare_with(volume, ops, |offset, bytes| volume.device().read_at(offset, bytes));
}

/// As [`compare`], where what lies on the device is read in another way.
pub fn compare_with<D: BlockDevice>(
    volume: &Volume<D>,
    ops: &[Op],
    read_raw: impl FnOnce(u64, &mut [u8]) -> io::Result<()>,
) {
    let sector = volume.sector_size().bytes() as usize;
    let mut plain = vec![0; DATA];
    volume.write_at(0, &plain).unwrap();
    for op in ops {
        match *op {
            Op::Write(at, len, seed) => {
                let bytes: Vec<u8> = (0..len).map(|i| (i / 16) as u8 ^ seed).collect();
                plain[at..at + len].copy_from_slice(&bytes);
                write(volume, seed, at as u64, bytes);
            }
            Op::Zero(at, len) => {
                plain[at..at + len].fill(0);
                volume.write_zeroes(at as u64, len as u64).unwrap();
            }
            Op::Read(at, len) => {
                let mut bytes = vec![0xEE; len];
                if (len / sector).is_multiple_of(2) {
                    volume.read_at(at as u64, &mut bytes).unwrap();
                } else {
                    let mut pieces: Vec<_> = pieces(&mut bytes, sector).into_iter().map(IoSliceMut::new).collect();
                    volume.read_vectored_at(at as u64, &mut pieces).unwrap();
                }
                assert!(bytes == plain[at..at + len], "{len} bytes at {at}");
            }
        }
    }
    let mut back = vec![0; DATA];
    volume.read_at(0, &mut back).unwrap();
    assert!(back == plain);
    let mut raw = vec![0; DATA];
    read_raw(volume.data_offset(), &mut raw).unwrap();
    assert!(raw != plain);
    let dek = hazmat::dek_bytes(&volume.dek());
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
            assert!(right(&volume.write_in_place(at, &mut bytes).unwrap_err()));
            assert!(right(&volume.read_vectored_at(at, &mut [IoSliceMut::new(&mut bytes)]).unwrap_err()));
            assert!(right(&volume.write_vectored_at(at, &[IoSlice::new(&bytes)]).unwrap_err()));
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
        let mut bytes = vec![7; n];
        assert!(matches!(volume.write_in_place(at, &mut bytes), Err(Error::OutOfBounds { .. })));
        assert_eq!(bytes, vec![7; n]);
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
    let mut sector = [1; 512];
    assert!(matches!(volume.write_in_place(0, &mut sector), Err(Error::ReadOnly)));
    assert_eq!(sector, [1; 512]);
    assert!(matches!(volume.rotate_kek(&vault), Err(Error::ReadOnly)));
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
            let dek = hazmat::dek_bytes(&volume.dek());
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

/// A device that counts its writes.
struct Counted(MemoryDevice, AtomicUsize, bool);

impl BlockDevice for Counted {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.fetch_add(1, Relaxed);
        self.0.write_at(offset, bytes)
    }

    fn has_latency(&self) -> bool {
        self.2
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn a_device_with_latency_gets_larger_pieces() {
    let vault = MemoryVault::new("memory:one");
    let writes = |has_latency| {
        let device = Counted(MemoryDevice::new(3 * MIB), AtomicUsize::new(0), has_latency);
        let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(SectorSize::B512)).unwrap();
        let before = volume.device().1.load(Relaxed);
        volume.write_at(0, &vec![7; MIB]).unwrap();
        volume.device().1.load(Relaxed) - before
    };
    assert_eq!([writes(false), writes(true)], [8, 1]);
}

#[test]
fn a_write_in_place_is_one_write_of_the_device() {
    let vault = MemoryVault::new("memory:one");
    let device = Counted(MemoryDevice::new(MIB + DATA), AtomicUsize::new(0), false);
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(SectorSize::B512)).unwrap();
    let before = volume.device().1.load(Relaxed);
    volume.write_in_place(0, &mut vec![7; DATA]).unwrap();
    assert_eq!(volume.device().1.load(Relaxed), before + 1);
}

#[test]
fn buffers_that_make_whole_sectors_only_together_are_refused() {
    let (_, volume) = volume(SectorSize::B512);
    let (mut a, mut b) = ([1; 256], [1; 256]);
    let written = volume.write_vectored_at(0, &[IoSlice::new(&a), IoSlice::new(&b)]);
    assert!(matches!(written, Err(Error::Misaligned { len: 256, .. })));
    let read = volume.read_vectored_at(0, &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)]);
    assert!(matches!(read, Err(Error::Misaligned { len: 256, .. })));
    assert_eq!((a, b), ([1; 256], [1; 256]));
}

#[test]
fn more_buffers_than_the_kernel_takes_at_once_are_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let vault = MemoryVault::new("memory:one");
    let device = FileDevice::create(folder.path().join("image"), 3 * MIB as u64).unwrap();
    let plain: Vec<u8> = (0..2500 * 512).map(|i| (i / 11) as u8).collect();
    let pieces: Vec<_> = plain.chunks(512).map(IoSlice::new).collect();
    let mut back = vec![0; plain.len()];

    device.write_vectored_at(4096, &pieces).unwrap();
    device.read_at(4096, &mut back).unwrap();
    assert!(back == plain);
    back.fill(0);
    device.read_vectored_at(4096, &mut back.chunks_mut(512).map(IoSliceMut::new).collect::<Vec<_>>()).unwrap();
    assert!(back == plain);
    let mut beyond = [0; 1024];
    let (first, second) = beyond.split_at_mut(512);
    let read = device.read_vectored_at(3 * MIB as u64 - 512, &mut [IoSliceMut::new(first), IoSliceMut::new(second)]);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);

    let options = options(SectorSize::B512).overwrite(true);
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options).unwrap();
    volume.write_vectored_at(512, &pieces).unwrap();
    back.fill(0);
    volume.read_vectored_at(512, &mut back.chunks_mut(512).map(IoSliceMut::new).collect::<Vec<_>>()).unwrap();
    assert!(back == plain);
}

#[test]
fn a_volume_lies_on_a_volume() {
    let vault = MemoryVault::new("memory:one");
    let disk = Arc::new(MemoryDevice::new(2 * MIB + 2 * DATA));
    let options = options(SectorSize::B512).overwrite(true);
    let lower = Volume::format(disk.clone(), Protector::Vault(&vault, "disks"), &options).unwrap();
    let upper = Volume::format(lower, Protector::Vault(&vault, "disks"), &options).unwrap();
    let plain: Vec<u8> = (0..DATA).map(|i| (i / 3) as u8).collect();
    // Half of it each way; both go through the lower volume in the scratch or the buffer itself.
    let (first, second) = plain.split_at(DATA / 2);
    upper.write_at(0, first).unwrap();
    upper.write_in_place(DATA as u64 / 2, &mut second.to_vec()).unwrap();

    let mut raw = vec![0; DATA];
    disk.read_at(2 * MIB as u64, &mut raw).unwrap();
    let keys = [upper.device(), &Volume::open(disk, Credential::Vault(&vault), &OpenOptions::new()).unwrap()];
    let lower_dek = hazmat::dek_bytes(&keys[0].dek());
    assert_eq!(keys[0].dek(), keys[1].dek());
    model::decrypt(lower_dek.expose(), MIB as u64 / 512, 1, 512, &mut raw);
    model::decrypt(hazmat::dek_bytes(&upper.dek()).expose(), 0, 1, 512, &mut raw);
    assert!(raw == plain);
}

#[test]
fn a_caller_that_does_its_own_io_reads_and_writes_what_others_do() {
    for (sector_size, step) in [(SectorSize::B512, 1), (SectorSize::B4096, 8)] {
        let (_, volume) = volume(sector_size);
        let plain: Vec<u8> = (0..32_768).map(|i| (i / 3) as u8).collect();
        let key = hazmat::dek_bytes(&volume.dek());
        for (at, in_place) in [(0, true), (8192, false), (DATA as u64 - 32_768, true)] {
            let mut sectors = plain.clone();
            let device_offset = if in_place {
                volume.begin_write(at, &mut sectors).unwrap()
            } else {
                volume.begin_write_from(at, &plain, &mut sectors).unwrap()
            };
            assert_eq!(device_offset, MIB as u64 + at);
            let mut model = sectors.clone();
            model::decrypt(key.expose(), at / 512, step, sector_size.bytes() as usize, &mut model);
            assert!(model == plain, "what is to be written is not what xts-mode decrypts");

            volume.device().write_at(device_offset, &sectors).unwrap();
            let mut back = vec![0; plain.len()];
            volume.read_at(at, &mut back).unwrap();
            assert!(back == plain);
            let device_offset = volume.begin_read(at, back.len()).unwrap();
            volume.device().read_at(device_offset, &mut back).unwrap();
            volume.complete_read(at, &mut back).unwrap();
            assert!(back == plain);
        }
    }
}

#[test]
fn what_a_caller_can_not_read_or_write_itself_is_refused_and_changes_nothing() {
    let (vault, volume) = volume(SectorSize::B512);
    let (end, mut plain, mut out) = (volume.size(), [7; 1024], [8; 512]);
    assert!(matches!(volume.begin_read(256, 512), Err(Error::Misaligned { .. })));
    assert!(matches!(volume.begin_read(end, 512), Err(Error::OutOfBounds { .. })));
    assert!(matches!(volume.begin_write(end - 512, &mut plain), Err(Error::OutOfBounds { .. })));
    assert!(matches!(volume.begin_write_from(0, &plain, &mut out), Err(Error::LengthMismatch { src: 1024, dst: 512 })));
    assert!(matches!(volume.complete_read(end - 512, &mut plain), Err(Error::OutOfBounds { .. })));
    assert!(matches!(volume.complete_read(0, &mut plain[..100]), Err(Error::Misaligned { .. })));
    // A request of nothing is one, also at the end.
    for at in [0, end] {
        assert_eq!(volume.begin_read(at, 0).unwrap(), MIB as u64 + at);
        volume.complete_read(at, &mut []).unwrap();
        volume.begin_write(at, &mut []).unwrap();
    }
    let options = OpenOptions::new().read_only(true);
    let volume = Volume::open(volume.into_device(), Credential::Vault(&vault), &options).unwrap();
    assert!(matches!(volume.begin_write(0, &mut plain), Err(Error::ReadOnly)));
    assert!(matches!(volume.begin_write_from(0, &plain[..512], &mut out), Err(Error::ReadOnly)));
    assert_eq!((plain, out), ([7; 1024], [8; 512]));
}
