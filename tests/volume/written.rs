//! Volumes with a map of written chunks, compared with a plain array of bytes.

use std::sync::Arc;
use std::thread;

use atrest::volume::{Header, ProtectorId, ReencryptOptions, Resilience, VolumeExtent};
use atrest::{
    BlockDevice, Credential, Error, FormatOptions, MemoryDevice, OpenOptions, Protector, Result, SectorSize, Volume,
};
use proptest::prelude::*;

use crate::common::device::{Call, TestDevice};
use crate::common::keyslots::cost;
use crate::common::vaults::MemoryVault;
use crate::common::volumes::shared;

const MIB: usize = 1 << 20;
pub const CHUNK: usize = 4096;
/// Ten chunks, and a rest that makes none.
const SIZE: usize = 10 * CHUNK;
const REST: usize = 512;

pub fn format() -> FormatOptions {
    FormatOptions::new().data_offset(MIB as u64).written_map(CHUNK as u32)
}

/// A device whose data area is full of noise.
pub fn noisy(data: usize) -> Arc<TestDevice> {
    let noise = (0..data as u32).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8 | 1);
    shared(vec![0; MIB].into_iter().chain(noise).collect())
}

pub fn formatted(data: usize) -> (MemoryVault, Volume<Arc<TestDevice>>) {
    let vault = MemoryVault::new("memory:one");
    let volume = Volume::format(noisy(data), Protector::Vault(&vault, "disks"), &format()).unwrap();
    (vault, volume)
}

pub fn open<D: BlockDevice>(device: D, vault: &MemoryVault, options: OpenOptions) -> Result<Volume<D>> {
    Volume::open(device, Credential::Vault(vault), &options)
}

pub fn content<D: BlockDevice>(volume: &Volume<D>) -> Vec<u8> {
    let mut bytes = vec![0xEE; volume.size() as usize];
    volume.read_at(0, &mut bytes).unwrap();
    bytes
}

/// The chunks that were written.
fn written<D: BlockDevice>(volume: &Volume<D>) -> Vec<u64> {
    let extents = volume.extents(0, volume.size()).unwrap().filter(|extent| extent.is_written);
    extents.flat_map(|VolumeExtent { range, .. }| range.step_by(CHUNK)).map(|at| at / CHUNK as u64).collect()
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Write(usize, usize, u8, u8),
    Zero(usize, usize),
    Discard(usize, usize),
    Read(usize, usize),
    Sync,
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let sectors = SIZE / 512;
    let range = (0..sectors, prop_oneof![3 => 0..6usize, 1 => 0..40usize])
        .prop_map(move |(at, len)| (at * 512, len.min(sectors - at) * 512));
    let op = (range, 0..10, any::<u8>(), any::<u8>()).prop_map(|((at, len), kind, byte, way)| match kind {
        0..4 => Op::Write(at, len, byte, way),
        4 => Op::Zero(at, len),
        5 => Op::Discard(at, len),
        6 | 7 => Op::Read(at, len),
        8 => Op::Sync,
        _ => Op::Reopen,
    });
    proptest::collection::vec(op, 1..30)
}

/// One of the ways to write.
fn write<D: BlockDevice>(volume: &Volume<D>, way: u8, at: u64, mut bytes: Vec<u8>) {
    match way % 4 {
        0 => volume.write_at(at, &bytes).unwrap(),
        1 => volume.write_in_place(at, &mut bytes).unwrap(),
        2 => {
            let (first, second) = bytes.split_at(bytes.len() / 1024 * 512);
            volume.write_vectored_at(at, &[first, second].map(std::io::IoSlice::new)).unwrap();
        }
        _ => {
            let place = volume.begin_write(at, &mut bytes).unwrap();
            volume.device().write_at(place, &bytes).unwrap();
        }
    }
}

/// One of the ways to read.
fn read<D: BlockDevice>(volume: &Volume<D>, way: usize, at: u64, bytes: &mut [u8]) {
    match way % 3 {
        0 => volume.read_at(at, bytes).unwrap(),
        1 => {
            let (first, second) = bytes.split_at_mut(bytes.len() / 1024 * 512);
            volume.read_vectored_at(at, &mut [first, second].map(std::io::IoSliceMut::new)).unwrap();
        }
        _ => {
            let place = volume.begin_read(at, bytes.len()).unwrap();
            volume.device().read_at(place, bytes).unwrap();
            volume.complete_read(at, bytes).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_never_written_reads_as_zeros(ops in ops(), discards: bool) {
        let (vault, volume) = formatted(SIZE + REST);
        let options = || OpenOptions::new().discard(discards);
        let mut volume = open(volume.into_device(), &vault, options()).unwrap();
        prop_assert_eq!(volume.size(), SIZE as u64);
        let mut model = vec![0; SIZE];
        for (n, op) in ops.into_iter().enumerate() {
            match op {
                Op::Write(at, len, byte, way) => {
                    write(&volume, way, at as u64, vec![byte; len]);
                    model[at..at + len].fill(byte);
                }
                Op::Zero(at, len) => {
                    volume.write_zeroes(at as u64, len as u64).unwrap();
                    model[at..at + len].fill(0);
                }
                Op::Discard(at, len) => {
                    volume.discard(at as u64, len as u64).unwrap();
                    let (from, to) = (at.next_multiple_of(CHUNK), (at + len) / CHUNK * CHUNK);
                    model[from..to.max(from)].fill(0);
                }
                Op::Read(at, len) => {
                    let mut bytes = vec![0xEE; len];
                    read(&volume, n, at as u64, &mut bytes);
                    prop_assert!(bytes == model[at..at + len]);
                }
                Op::Sync => volume.sync().unwrap(),
                Op::Reopen => volume = open(volume.into_device(), &vault, options()).unwrap(),
            }
            prop_assert!(content(&volume) == model, "after {:?}", op);
            let written = written(&volume);
            let blank = |(n, chunk): (usize, &[u8])| written.contains(&(n as u64)) || chunk.iter().all(|byte| *byte == 0);
            prop_assert!(model.chunks(CHUNK).enumerate().all(blank));
        }
        let volume = open(volume.into_device(), &vault, OpenOptions::new().read_only(true)).unwrap();
        prop_assert!(content(&volume) == model);
    }
}

#[test]
fn a_new_volume_is_blank_with_every_kind_of_header_and_sector() {
    let vault = MemoryVault::new("memory:one");
    for (sector, detached) in [(512, false), (1024, true), (4096, false), (4096, true)] {
        let header: Arc<dyn BlockDevice> = Arc::new(MemoryDevice::new(17 * MIB));
        let sector_size = SectorSize::new(sector).unwrap();
        let options = FormatOptions::new().sector_size(sector_size).written_map(64 << 10);
        let options = if detached { options.header(header.clone()) } else { options };
        let device = MemoryDevice::from_bytes([vec![0; 18 * MIB], vec![0xAB; MIB]].concat());
        let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options).unwrap();
        let size = if detached { 19 * MIB } else { 2 * MIB };
        assert_eq!(volume.size(), size as u64);
        assert_eq!(volume.data_offset(), if detached { 0 } else { 17 << 20 });
        assert_eq!(volume.written_chunk_size(), Some(64 << 10));
        assert!(content(&volume) == vec![0; size]);
        let at = volume.size() - 4096;
        volume.write_at(at, &[7; 4096]).unwrap();
        let open = OpenOptions::new();
        let open = if detached { open.header(header) } else { open };
        let volume = Volume::open(volume.into_device(), Credential::Vault(&vault), &open).unwrap();
        let mut model = vec![0; size];
        model[size - 4096..].fill(7);
        assert!(content(&volume) == model);
        assert!(volume.header().requirements() == ["atrest-written-v1"]);
    }
}

#[test]
fn a_volume_without_a_map_counts_as_written() {
    let vault = MemoryVault::new("memory:one");
    let options = FormatOptions::new().data_offset(MIB as u64);
    let volume = Volume::format(noisy(SIZE), Protector::Vault(&vault, "disks"), &options).unwrap();
    let all: Vec<_> = volume.extents(512, 4096).unwrap().collect();
    assert_eq!(all, [VolumeExtent::new(512..4608, true)]);
    assert_eq!(volume.extents(512, 0).unwrap().count(), 0);
    assert!(matches!(volume.extents(512, SIZE as u64).map(drop), Err(Error::OutOfBounds { .. })));
    assert_eq!(volume.written_chunk_size(), None);
    assert_ne!(content(&volume), vec![0; SIZE]);
}

#[test]
fn threads_that_write_to_new_chunks_lose_nothing_of_each_other() {
    let (_, volume) = formatted(64 * CHUNK);
    thread::scope(|scope| {
        for n in 0..4 {
            let volume = &volume;
            scope.spawn(move || {
                // Each thread has two sectors of each chunk.
                for chunk in 0..64u64 {
                    let at = chunk * CHUNK as u64 + n * 1024;
                    volume.write_at(at, &[n as u8 + 1; 512]).unwrap();
                    let mut back = [9; 1024];
                    volume.read_at(at, &mut back).unwrap();
                    assert_eq!((back[..512].to_vec(), back[512..].to_vec()), (vec![n as u8 + 1; 512], vec![0; 512]));
                    if chunk % 16 == n {
                        volume.sync().unwrap();
                    }
                }
            });
        }
    });
    for chunk in content(&volume).chunks(CHUNK) {
        for (n, part) in chunk.chunks(1024).enumerate() {
            assert!(part[..512] == [n as u8 + 1; 512] && part[512..] == [0; 512]);
        }
    }
}

#[test]
fn a_thread_that_discards_and_one_that_reads_see_data_or_zeros() {
    let (vault, volume) = formatted(4 * CHUNK);
    let volume = open(volume.into_device(), &vault, OpenOptions::new().discard(true)).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                for sector in content(&volume).chunks(512) {
                    assert!(sector.iter().all(|byte| *byte == sector[0]) && [0, 7].contains(&sector[0]), "{sector:?}");
                }
            }
        });
        for _ in 0..100 {
            volume.write_at(CHUNK as u64 + 512, &[7; 1024]).unwrap();
            volume.discard(0, 4 * CHUNK as u64).unwrap();
            volume.sync().unwrap();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn zeros_and_discards_of_whole_chunks_are_not_written_and_the_device_is_told() {
    for discards in [false, true] {
        let (vault, volume) = formatted(SIZE);
        let device = volume.into_device();
        let volume = open(device.clone(), &vault, OpenOptions::new().discard(discards)).unwrap();
        volume.write_at(0, &[7; SIZE]).unwrap();
        volume.sync().unwrap();
        device.take_log();
        let before = device.bytes();
        volume.write_zeroes(CHUNK as u64, 2 * CHUNK as u64).unwrap();
        volume.discard(5 * CHUNK as u64 - 512, 2 * CHUNK as u64).unwrap();
        assert_eq!(device.log_len(), 0);
        assert_eq!(written(&volume), [0, 3, 4, 6, 7, 8, 9]);
        assert!(device.bytes() == before, "before a sync nothing is discarded");
        volume.sync().unwrap();
        let after = device.bytes();
        for chunk in 0..10 {
            let place = MIB + chunk * CHUNK..MIB + (chunk + 1) * CHUNK;
            if discards && chunk == 5 {
                assert_eq!(after[place], [0xDD; CHUNK], "{chunk}");
            } else {
                assert_eq!(after[place.clone()], before[place], "{chunk}");
            }
        }
        // The map doesn't tell where: it is encrypted.
        let changed = (0..MIB).filter(|at| after[*at] != before[*at]).count();
        assert!((7900..=8192).contains(&changed), "{changed}");
    }
}

#[test]
fn a_failed_sync_leaves_zeros_or_data() {
    for (call, lose) in [(Call::Sync, false), (Call::Sync, true), (Call::Write, false)] {
        for before in 0..4 {
            let (vault, volume) = formatted(SIZE);
            let device = volume.into_device();
            let volume = open(device.clone(), &vault, OpenOptions::new()).unwrap();
            volume.write_at(512, &[5; 512]).unwrap();
            volume.sync().unwrap();
            device.fail(call, before, lose);
            let mut failed = false;
            for at in [2 * CHUNK + 512, 5 * CHUNK] {
                failed |= volume.write_at(at as u64, &[7; 1024]).is_err();
                failed |= volume.sync().is_err();
            }
            assert_eq!(failed, !device.heal(), "{call:?} {before}");
            let check = |what: &str, volume: &Volume<Arc<TestDevice>>| {
                for (n, sector) in content(volume).chunks(512).enumerate() {
                    let may: &[u8] = match n {
                        1 => &[5],
                        17 | 18 | 40 | 41 => &[0, 7],
                        _ => &[0],
                    };
                    let is_one = sector.iter().all(|byte| *byte == sector[0]);
                    assert!(is_one && may.contains(&sector[0]), "{what}: {call:?} {before} {lose}: sector {n}");
                }
            };
            check("then", &volume);
            // Who writes it again has it.
            volume.write_at(2 * CHUNK as u64 + 512, &[7; 1024]).unwrap();
            volume.write_at(5 * CHUNK as u64, &[7; 1024]).unwrap();
            volume.sync().unwrap();
            check("again", &volume);
            let again = open(shared(device.bytes()), &vault, OpenOptions::new()).unwrap();
            check("opened", &again);
            assert_eq!(written(&again), [0, 2, 5]);
        }
    }
}

#[test]
fn a_volume_grows_and_shrinks_by_whole_chunks_that_read_as_zeros() {
    let vault = MemoryVault::new("memory:one");
    let device = noisy(SIZE);
    let volume = Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &format()).unwrap();
    volume.write_at(0, &[7; SIZE]).unwrap();
    volume.sync().unwrap();
    assert!(matches!(volume.resize(Some(512)), Err(Error::InvalidOption(_))));
    assert_eq!(volume.resize(Some(3 * CHUNK as u64)).unwrap(), 3 * CHUNK as u64);
    // As if the device had been cut off and enlarged meanwhile.
    device.edit(|bytes| bytes[MIB + 3 * CHUNK..].fill(0xCC));
    assert_eq!(volume.resize(None).unwrap(), SIZE as u64);
    let mut model = vec![7; SIZE];
    model[3 * CHUNK..].fill(0);
    assert!(content(&volume) == model);
    let volume = open(shared(device.bytes()), &vault, OpenOptions::new()).unwrap();
    assert!(content(&volume) == model);
    // It grows with its device while it is closed, too.
    let mut bytes = device.bytes();
    bytes.extend([0xCD; 5 * CHUNK + 512]);
    let volume = open(shared(bytes), &vault, OpenOptions::new()).unwrap();
    model.resize(SIZE + 5 * CHUNK, 0);
    assert!(content(&volume) == model);
}

#[test]
fn the_map_bounds_how_far_a_volume_grows() {
    let vault = MemoryVault::new("memory:one");
    // A page has bits for 32320 chunks.
    let page = 32320 * CHUNK;
    for (options, size) in [(format(), page), (format().written_map_for(page as u64 + 1), page + 16 * CHUNK)] {
        let volume = Volume::format(MemoryDevice::new(2 * MIB), Protector::Vault(&vault, "disks"), &options).unwrap();
        let mut bytes = volume.into_device().into_bytes();
        bytes.resize(MIB + page + 16 * CHUNK, 0xBB);
        let volume = open(MemoryDevice::from_bytes(bytes), &vault, OpenOptions::new()).unwrap();
        assert_eq!(volume.size(), size as u64);
        volume.write_at(volume.size() - 512, &[7; 512]).unwrap();
        let volume = open(volume.into_device(), &vault, OpenOptions::new()).unwrap();
        let mut end = [1; 8192];
        volume.read_at(volume.size() - 8192, &mut end).unwrap();
        assert!(end[..7680] == [0; 7680] && end[7680..] == [7; 512]);
    }
}

#[test]
fn options_that_cannot_be_are_refused() {
    let vault = MemoryVault::new("memory:one");
    let format = |device: MemoryDevice, options: &FormatOptions| {
        Volume::format(device, Protector::Vault(&vault, "disks"), options).map(drop)
    };
    for chunk in [0, 512, 2048, 5000, 2 << 20, u32::MAX] {
        let refused = format(MemoryDevice::new(20 * MIB), &FormatOptions::new().written_map(chunk));
        assert!(matches!(refused, Err(Error::InvalidOption(_))), "{chunk}");
    }
    let options = FormatOptions::new().written_map(CHUNK as u32);
    for (options, why) in [
        (options.clone().written_map_for(1 << 50), "larger chunks"),
        (options.clone().data_offset(MIB as u64).written_map_for(64 << 30), "data_offset"),
        (options.clone().version(atrest::volume::LuksVersion::Luks1), "LUKS1"),
    ] {
        match format(MemoryDevice::new(20 * MIB), &options) {
            Err(e @ Error::InvalidOption(_)) => assert!(e.to_string().contains(why), "{e}"),
            other => panic!("{why}: {other:?}"),
        }
    }
    // No whole chunk is there.
    let options = FormatOptions::new().written_map(1 << 20);
    let refused = format(MemoryDevice::new(17 * MIB + MIB / 2), &options);
    assert!(matches!(refused, Err(Error::DeviceTooSmall { .. })), "{refused:?}");
}

#[test]
fn what_would_show_noise_is_refused_by_name() {
    let passphrase = Protector::Passphrase(b"one");
    let detached = || format().keyslot(cost()).header(Arc::new(MemoryDevice::new(17 * MIB)));
    let volume = Volume::format(MemoryDevice::new(2 * MIB), passphrase, &detached()).unwrap();
    let options = ReencryptOptions::new().keyslot(cost());
    for refused in [volume.begin_reencryption(&[passphrase], &options), volume.begin_decryption(Resilience::Checksum)] {
        match refused {
            Err(e @ Error::UnsupportedHeader(_)) => assert!(e.to_string().contains("map of written chunks"), "{e}"),
            other => panic!("{other:?}"),
        }
    }
    let refused = Volume::begin_encryption(MemoryDevice::new(2 * MIB), passphrase, &detached(), 0);
    assert!(matches!(refused, Err(Error::InvalidOption(_))));
    // The token that names the map stays, whatever becomes of the others.
    let mut header = volume.header();
    let id = header.tokens().iter().find(|token| token.kind == "atrest-written").unwrap().id;
    assert!(matches!(header.remove_protector(ProtectorId::Token(id)), Err(Error::InvalidOption(_))));
    let json = header.tokens().pop().unwrap().json_bytes;
    assert!(matches!(header.import_token(json), Err(Error::InvalidOption(_))));
}

#[test]
fn an_erased_volume_opens_with_its_dek_and_still_reads_zeros() {
    let (_, volume) = formatted(SIZE);
    volume.write_at(0, &[7; 512]).unwrap();
    let dek = volume.dek();
    volume.header().erase().unwrap();
    let volume = Volume::open(volume.into_device(), Credential::Dek(&dek), &OpenOptions::new()).unwrap();
    let mut model = vec![0; SIZE];
    model[..512].fill(7);
    assert!(content(&volume) == model);
}

#[test]
fn a_backup_of_the_header_leaves_the_map_as_it_is() {
    let (vault, volume) = formatted(SIZE);
    let backup = volume.header().backup().unwrap();
    volume.write_at(CHUNK as u64, &[7; 512]).unwrap();
    let device = volume.into_device();
    device.edit(|bytes| bytes[..32 << 10].fill(0));
    Header::hazmat_restore(&device, &backup).unwrap();
    let volume = open(device, &vault, OpenOptions::new()).unwrap();
    let mut model = vec![0; SIZE];
    model[CHUNK..CHUNK + 512].fill(7);
    assert!(content(&volume) == model);
}

#[test]
fn two_layers_are_blank_together() {
    let (vault, lower) = formatted(4 * MIB);
    let options = FormatOptions::new().data_offset(MIB as u64).written_map(64 << 10);
    let upper = Volume::format(lower, Protector::Vault(&vault, "disks"), &options).unwrap();
    assert!(content(&upper) == vec![0; 3 * MIB]);
    upper.write_at(MIB as u64, &[7; 512]).unwrap();
    upper.sync().unwrap();
    let device = upper.into_device().into_device();
    let lower = open(device, &vault, OpenOptions::new()).unwrap();
    let upper = open(lower, &vault, OpenOptions::new()).unwrap();
    let mut model = vec![0; 3 * MIB];
    model[MIB..MIB + 512].fill(7);
    assert!(content(&upper) == model);
    assert!(written(upper.device()).len() < 64, "the blank part takes no room below");
}
