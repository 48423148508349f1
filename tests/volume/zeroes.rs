//! Zeroing volumes, and discarding parts of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use atrest::key::Kdf;
use atrest::volume::{Header, KeyslotOptions};
use atrest::{
    BlockDevice, Credential, Error, FileDevice, FormatOptions, KeyUsage, MemoryDevice, OpenOptions, Protector,
    SectorSize, Volume, hazmat,
};
use proptest::prelude::*;
use serde_json::json;

use crate::alignment::Strict;
use crate::common::device::{Call, TestDevice};
use crate::common::vaults::MemoryVault;
use crate::common::{header, model, volumes};
use crate::discard;
use crate::io::{DATA, MIB, compare_with, ops, options};

fn opened<D: BlockDevice>(device: D, vault: &MemoryVault, options: OpenOptions) -> Volume<D> {
    Volume::open(device, Credential::Vault(vault), &options).unwrap()
}

/// A volume of [`DATA`] bytes on a device of whole blocks, full of `7`, and opened with options.
fn on_strict(alignment: usize, sector_size: SectorSize, options: OpenOptions) -> Volume<Strict> {
    let vault = MemoryVault::new("memory:one");
    let format = FormatOptions::new().data_offset(MIB as u64).sector_size(sector_size);
    let device = Strict::new(MIB + DATA, alignment);
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &format).unwrap();
    volume.write_at(0, &[7; DATA]).unwrap();
    opened(volume.into_device(), &vault, options)
}

fn content<D: BlockDevice>(volume: &Volume<D>) -> Vec<u8> {
    let mut bytes = vec![0; volume.size() as usize];
    volume.read_at(0, &mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    // The other sizes, and devices of all kinds: where they read and write.
    #[test]
    fn a_volume_holds_zeros_whatever_its_sector_size(small in ops(1024), large in ops(2048)) {
        let vault = MemoryVault::new("memory:one");
        for (sector_size, ops) in [(1024, &small), (2048, &large)] {
            let sector_size = SectorSize::new(sector_size).unwrap();
            let device = MemoryDevice::new(MIB + DATA);
            let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(sector_size)).unwrap();
            compare_with(&volume, ops, |offset, bytes| volume.device().read_at(offset, bytes));
        }
    }
}

/// A segment: its offset in the volume, its length, and, unless it is not encrypted, the number of its first sector and the
/// sector size.
type Part = (usize, usize, Option<(u64, usize)>);

/// A volume of several segments, two of other sector sizes and one that is not encrypted, and what lies where.
fn of_segments() -> (Volume<Arc<TestDevice>>, [Part; 4]) {
    of_segments_on(volumes::shared)
}

/// The same on a device that is made of what lies on it.
fn of_segments_on<D: BlockDevice>(make: impl FnOnce(Vec<u8>) -> D) -> (Volume<D>, [Part; 4]) {
    let kdf = Kdf::Pbkdf2 { hash: atrest::key::HashAlgorithm::Sha256, iterations: 1000 };
    let format = volumes::options().keyslot(KeyslotOptions::new().kdf(kdf));
    let made = Volume::format(MemoryDevice::new(MIB + DATA), Protector::Passphrase(b"one"), &format).unwrap();
    let parts =
        [(144 << 10, Some((5, 512))), (40 << 10, None), (168 << 10, Some((8, 4096))), (32 << 10, Some((77, 1024)))];
    let mut at = 0;
    let parts = parts.map(|(len, crypt)| {
        at += len;
        (at - len, len, crypt)
    });
    let edit = |bytes: &mut [u8]| {
        header::edit_json(bytes, |root| {
            for (id, (at, len, crypt)) in parts.iter().enumerate() {
                let (kind, offset) = (if crypt.is_some() { "crypt" } else { "linear" }, MIB + at);
                let mut segment = json!({"type": kind, "offset": offset.to_string(), "size": len.to_string()});
                if let Some((first, sector_size)) = crypt {
                    segment["iv_tweak"] = json!(first.to_string());
                    segment["encryption"] = json!("aes-xts-plain64");
                    segment["sector_size"] = json!(sector_size);
                }
                root["segments"][id.to_string()] = segment;
            }
            root["digests"]["0"]["segments"] = json!(["0", "2", "3"]);
        });
    };
    let mut image = made.into_device().into_bytes();
    edit(&mut image);
    let options = OpenOptions::new().hazmat_allow_unencrypted(true).discard(true);
    (Volume::open(make(image), Credential::Passphrase(b"one"), &options).unwrap(), parts)
}

#[test]
fn zeros_go_into_every_segment_and_are_ciphertext_where_it_is_encrypted() {
    let (volume, parts) = of_segments();
    zeros_go_into_every_segment(&volume, parts, |device| device.bytes());
    // Where the segment that is not encrypted is zeroed, blocks are zeroed by the device, and parts of them are written.
    let (volume, parts) = of_segments_on(|bytes| Strict::from_bytes(bytes, 16 << 10));
    zeros_go_into_every_segment(&volume, parts, |device| discard::content(&device.0));
    let blocks = volume.device().calls();
    let part = MIB as u64 + (144 << 10)..MIB as u64 + (184 << 10);
    assert!(blocks.contains(&("write_zeroes", part.start + (16 << 10), 16 << 10)), "{blocks:?}");
    assert!(blocks.iter().all(|&(_, at, len)| part.contains(&at) && at + len <= part.end), "{blocks:?}");
}

fn zeros_go_into_every_segment<D: BlockDevice>(volume: &Volume<D>, parts: [Part; 4], raw: impl FnOnce(&D) -> Vec<u8>) {
    let mut plain: Vec<u8> = (0..DATA).map(|i| (i / 5) as u8 | 1).collect();
    assert_eq!(volume.size(), DATA as u64);
    volume.write_at(0, &plain).unwrap();
    // Within each, across each border, and all.
    for (at, len) in [(1, 2), (35, 2), (36, 1), (37, 8), (45, 2), (60, 7), (87, 1), (0, 94)] {
        let (at, len) = (at * 4096, len * 4096);
        volume.write_zeroes(at as u64, len as u64).unwrap();
        plain[at..at + len].fill(0);
        assert!(content(volume) == plain, "{len} zeros at {at}");
    }
    let (raw, key) = (raw(volume.device()), hazmat::dek_bytes(&volume.dek()));
    for (at, len, crypt) in parts {
        let mut part = raw[MIB + at..][..len].to_vec();
        match crypt {
            Some((first, sector_size)) => {
                assert!(part.chunks(16).all(|block| block != [0; 16]), "zeros lie on the device in the clear");
                model::decrypt(key.expose(), first, sector_size as u64 / 512, sector_size, &mut part);
            }
            None => assert!(part == vec![0; len]),
        }
        assert!(part == plain[at..at + len], "at {at}");
    }
}

#[test]
fn zeros_that_failed_can_be_written_again_and_nothing_else_changes() {
    let (volume, _) = of_segments();
    let plain: Vec<u8> = (0..DATA).map(|i| (i / 5) as u8 | 1).collect();
    let (start, end) = (4096, DATA - 4096);
    let mut faults = 0;
    for n in 0.. {
        volume.write_at(0, &plain).unwrap();
        volume.device().fail(Call::Write, n, false);
        let result = volume.write_zeroes(start as u64, (end - start) as u64);
        if volume.device().heal() {
            result.unwrap();
            break;
        }
        faults += 1;
        let Err(Error::Io { what, source }) = result else { panic!("{n}: {result:?}") };
        assert!(what.contains(&format!("{} zeros at offset 4096", end - start)), "{what}");
        assert!(source.to_string().contains("was to fail"));
        let now = content(&volume);
        assert!(now[..start] == plain[..start] && now[end..] == plain[end..], "{n}");
    }
    // 128 KiB and the rest of the first segment, one write for each of two, and two for the largest.
    assert_eq!(faults, 6);
    assert!(content(&volume)[start..end].iter().all(|&byte| byte == 0));
    volume.write_zeroes(0, DATA as u64).unwrap();
    assert!(content(&volume) == vec![0; DATA]);
}

#[test]
fn a_discard_that_failed_says_so() {
    /// A device that can't discard beyond a place.
    struct Failing(MemoryDevice, u64);
    impl BlockDevice for Failing {
        fn size(&self) -> io::Result<u64> {
            self.0.size()
        }
        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            self.0.read_at(offset, bytes)
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write_at(offset, bytes)
        }
        fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
            if offset >= self.1 { Err(io::Error::other("it is worn out")) } else { self.0.discard(offset, len) }
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }
    let vault = MemoryVault::new("memory:one");
    let device = Arc::new(Failing(MemoryDevice::new(MIB + DATA), MIB as u64 + 8192));
    Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &volumes::options()).unwrap();
    let volume = opened(device.clone(), &vault, OpenOptions::new().discard(true));
    volume.discard(4096, 4096).unwrap();
    let error = volume.discard(8192, 512).unwrap_err();
    assert!(matches!(&error, Error::Io { what, source }
        if what.contains("discarding 512 bytes at offset 8192") && source.to_string() == "it is worn out"));
    // A volume as a device tells what the device below it said.
    let error = BlockDevice::discard(&volume, 8192, 512).unwrap_err();
    assert_eq!(error.to_string(), "it is worn out");
    // It isn't asked where discards aren't allowed.
    drop(volume);
    opened(device, &vault, OpenOptions::new()).discard(8192, 512).unwrap();
}

#[test]
fn discards_reach_the_device_only_where_they_are_allowed_and_as_whole_blocks() {
    const DATA_AT: u64 = MIB as u64;
    for alignment in [512, 4096] {
        let off = on_strict(alignment, SectorSize::B512, OpenOptions::new());
        assert!(!off.discards());
        off.discard(0, DATA as u64).unwrap();
        assert!(off.device().calls().is_empty() && content(&off) == vec![7; DATA]);

        let on = on_strict(alignment, SectorSize::B512, OpenOptions::new().discard(true));
        assert!(on.discards());
        for (at, len) in [(0, 0), (512, 1024), (0, 4096), (3584, 5120), (DATA as u64 - 4096, 4096)] {
            on.write_at(0, &[7; DATA]).unwrap();
            on.discard(at, len).unwrap();
            let block = alignment as u64;
            let (start, end) = (at.next_multiple_of(block), (at + len) / block * block);
            let wanted = (start < end).then_some(("discard", DATA_AT + start, end.saturating_sub(start)));
            assert_eq!(on.device().calls(), Vec::from_iter(wanted), "{len} bytes at {at}");
            let now = content(&on);
            assert!(now[..at as usize].iter().chain(&now[(at + len) as usize..]).all(|&byte| byte == 7));
            // What was discarded holds what is written next.
            on.write_zeroes(at, len).unwrap();
            assert!(content(&on)[at as usize..(at + len) as usize].iter().all(|&byte| byte == 0));
        }
        assert!(on.device().calls().is_empty(), "encrypted zeros are no zeros of the device");
    }
    // Each segment by itself.
    let (volume, _) = of_segments();
    volume.write_at(0, &[7; DATA]).unwrap();
    let before = volume.device().bytes();
    volume.discard(4096, DATA as u64 - 8192).unwrap();
    let (after, discarded) = (volume.device().bytes(), MIB + 4096..MIB + DATA - 4096);
    assert!(after[discarded.clone()].iter().all(|&byte| byte == 0xDD));
    assert!(after[..discarded.start] == before[..discarded.start] && after[discarded.end..] == before[discarded.end..]);
}

#[test]
fn ranges_that_can_not_be_written_are_not_zeroed_or_discarded_either() {
    for options in [OpenOptions::new(), OpenOptions::new().discard(true)] {
        let volume = on_strict(512, SectorSize::B4096, options);
        for (at, len) in [(0, 512), (512, 4096), (4096, u64::MAX), (4096, u64::MAX - 4095), (DATA as u64 - 4096, 8192)]
        {
            let right = |result| match result {
                Err(Error::Misaligned { .. }) => at % 4096 != 0 || len % 4096 != 0,
                Err(Error::OutOfBounds { size, .. }) => size == DATA as u64,
                _ => false,
            };
            assert!(right(volume.write_zeroes(at, len)) && right(volume.discard(at, len)), "{len} bytes at {at}");
        }
        for at in [0, 4096, DATA as u64] {
            volume.write_zeroes(at, 0).unwrap();
            volume.discard(at, 0).unwrap();
        }
        assert!(volume.device().calls().is_empty() && content(&volume) == vec![7; DATA]);
    }
    for discard in [false, true] {
        let volume = on_strict(512, SectorSize::B512, OpenOptions::new().read_only(true).discard(discard));
        assert!(!volume.discards());
        assert!(matches!(volume.write_zeroes(0, 512), Err(Error::ReadOnly)));
        assert!(matches!(volume.discard(0, 512), Err(Error::ReadOnly)));
        assert!(volume.device().calls().is_empty() && content(&volume) == vec![7; DATA]);
    }
}

#[test]
fn zeros_count_as_use_of_the_key_and_discards_do_not() {
    let before = KeyUsage::MAX - 4096;
    let volume = on_strict(512, SectorSize::B512, OpenOptions::new().used_blocks(before).discard(true));
    assert!(matches!(volume.write_zeroes(0, 2 * 4096 * 16), Err(Error::KeyExhausted { .. })));
    assert!(content(&volume) == vec![7; DATA], "what is refused is not begun");
    volume.write_zeroes(0, 4096).unwrap();
    assert!(volume.usage().blocks() >= before + 256);
    volume.write_zeroes(4096, 4096 * 15).unwrap();
    assert!(matches!(volume.write_zeroes(0, 512), Err(Error::KeyExhausted { .. })));
    volume.discard(0, DATA as u64).unwrap();
}

#[test]
fn the_flag_of_a_header_turns_discards_on_only_for_who_says_so() {
    let (vault, mut image) = volumes::image();
    header::edit_json(&mut image, |json| json["config"]["flags"] = json!(["allow-discards"]));
    let device = Arc::new(Strict::from_bytes(image, 512));
    let flagged = Header::load(&device).unwrap().flags() == ["allow-discards"];
    opened(device.clone(), &vault, OpenOptions::new()).discard(0, 4096).unwrap();
    assert!(device.calls().is_empty());
    opened(device.clone(), &vault, OpenOptions::new().discard(flagged)).discard(0, 4096).unwrap();
    assert_eq!(device.calls(), [("discard", MIB as u64, 4096)]);
}

#[test]
fn a_volume_on_a_volume_zeroes_and_discards() {
    let vault = MemoryVault::new("memory:one");
    let disk = Arc::new(Strict::new(2 * MIB + 2 * DATA, 512));
    let format = options(SectorSize::B512).overwrite(true);
    let lower = Volume::format(disk.clone(), Protector::Vault(&vault, "disks"), &format).unwrap();
    drop(Volume::format(lower, Protector::Vault(&vault, "disks"), &format).unwrap());
    for (upper_on, lower_on) in [(false, false), (true, false), (false, true), (true, true)] {
        let lower = Arc::new(opened(disk.clone(), &vault, OpenOptions::new().discard(lower_on)));
        let upper = opened(lower.clone(), &vault, OpenOptions::new().discard(upper_on));
        let mut plain = vec![9; 2 * DATA];
        upper.write_at(0, &plain).unwrap();
        BlockDevice::write_zeroes(&upper, 512, 200 << 10).unwrap();
        plain[512..512 + (200 << 10)].fill(0);
        assert!(content(&upper) == plain);
        let mut below = vec![0; 200 << 10];
        lower.read_at(MIB as u64 + 512, &mut below).unwrap();
        assert!(below.chunks(16).all(|block| block != [0; 16]));
        assert!(disk.calls().is_empty());

        BlockDevice::discard(&upper, 300 << 10, 4096).unwrap();
        let wanted = (upper_on && lower_on).then_some(("discard", 2 * MIB as u64 + (300 << 10), 4096));
        assert_eq!(disk.calls(), Vec::from_iter(wanted));
        let now = content(&upper);
        assert!(now[..300 << 10] == plain[..300 << 10] && now[304 << 10..] == plain[304 << 10..]);
    }
}

/// A device of which only the calls count.
#[derive(Default)]
struct Huge(AtomicUsize);

impl BlockDevice for Huge {
    fn size(&self) -> io::Result<u64> {
        Ok(1 << 50)
    }
    fn read_at(&self, _: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.fill(0);
        Ok(())
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, _: u64, len: u64) -> io::Result<()> {
        self.0.fetch_add((len >> 40) as usize, Relaxed);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_discard_may_be_longer_than_the_memory() {
    let vault = MemoryVault::new("memory:one");
    let header = Arc::new(MemoryDevice::new(16 * MIB));
    let format = FormatOptions::new().header(header.clone());
    drop(Volume::format(Huge::default(), Protector::Vault(&vault, "disks"), &format).unwrap());
    let volume = opened(Huge::default(), &vault, OpenOptions::new().header(header).discard(true));
    volume.discard(0, volume.size()).unwrap();
    assert_eq!(volume.device().0.load(Relaxed), 1 << 10);
}

#[cfg(target_os = "linux")]
#[test]
fn discarded_blocks_of_a_volume_in_a_file_are_given_back() {
    use std::os::unix::fs::MetadataExt;
    let vault = MemoryVault::new("memory:one");
    // Not where temporary files are as a rule: that may be a file system in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (sector_size, direct) in [(SectorSize::B512, false), (SectorSize::B4096, false), (SectorSize::B512, true)] {
        let path = folder.path().join(format!("{}-{direct}", sector_size.bytes()));
        let device = Arc::new(FileDevice::create(&path, 4 * MIB as u64).unwrap());
        let room = || {
            device.sync().unwrap();
            device.file().metadata().unwrap().blocks() * 512
        };
        Volume::format(device.clone(), Protector::Vault(&vault, "disks"), &options(sector_size)).unwrap();
        // The same file.
        let below = FileDevice::from_file(device.file().try_clone().unwrap());
        let below = match if direct { below.direct_io() } else { Ok(below) } {
            Ok(below) => below,
            Err(error) => return eprintln!("SKIPPED: {error}: {:?}", std::error::Error::source(&error)),
        };
        let volume = opened(below, &vault, OpenOptions::new().discard(true));
        let mut plain: Vec<u8> = (0..3 * MIB).map(|i| (i / 5) as u8 | 1).collect();
        volume.write_at(0, &plain).unwrap();
        volume.write_zeroes(4096, 64 << 10).unwrap();
        plain[4096..68 << 10].fill(0);
        assert!(content(&volume) == plain);
        let before = room();
        assert!(before >= 3 * MIB as u64, "encrypted zeros take as much room as anything");
        volume.discard(MIB as u64, MIB as u64).unwrap();
        let now = content(&volume);
        assert!(now[..MIB] == plain[..MIB] && now[2 * MIB..] == plain[2 * MIB..]);
        // A file system counts its own blocks for a file that has more pieces now, too.
        assert!(room() <= before - MIB as u64 + (32 << 10), "{} of {before} bytes are left", room());
        volume.write_at(0, &plain).unwrap();
        assert!(content(&volume) == plain);
    }
}
