//! Devices that take whole blocks at aligned addresses only: one in memory that refuses anything else, and files that were
//! opened with `O_DIRECT`.

use std::io;
use std::num::NonZero;
use std::sync::{Arc, Mutex};

use crate::common::device::reopen;
use crate::common::model;
use crate::common::vaults::MemoryVault;
use crate::io::{DATA, MIB, Op, compare_with, ops, options};
use atrest::key::Kdf;
use atrest::volume::{Header, KeyslotOptions, ProtectorId};
use atrest::{
    BlockDevice, Credential, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector, SectorSize, Volume,
    hazmat,
};
use proptest::prelude::*;

/// A device that refuses what isn't aligned, as the kernel does with `O_DIRECT`.
pub struct Strict(pub MemoryDevice, usize, Mutex<Vec<Room>>);

/// A call that zeroes or discards: which, where, and how long.
pub type Room = (&'static str, u64, u64);

impl Strict {
    pub fn new(size: usize, alignment: usize) -> Self {
        Self::from_bytes(vec![0; size], alignment)
    }

    pub fn from_bytes(bytes: Vec<u8>, alignment: usize) -> Self {
        Strict(MemoryDevice::from_bytes(bytes), alignment, Mutex::default())
    }

    /// The calls that zero or discard, since this was asked last.
    pub fn calls(&self) -> Vec<Room> {
        std::mem::take(&mut self.2.lock().unwrap())
    }

    fn check(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_all(&[offset, bytes.len() as u64, bytes.as_ptr().addr() as u64])
    }

    fn check_all(&self, numbers: &[u64]) -> io::Result<()> {
        let aligned = numbers.iter().all(|n| n.is_multiple_of(self.1 as u64));
        if aligned { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    fn called(&self, call: Room) -> io::Result<()> {
        self.2.lock().unwrap().push(call);
        self.check_all(&[call.1, call.2])
    }
}

impl BlockDevice for Strict {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.check(offset, bytes)?;
        self.0.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes)?;
        self.0.write_at(offset, bytes)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.called(("write_zeroes", offset, len))?;
        self.0.write_zeroes(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.called(("discard", offset, len))?;
        self.0.discard(offset, len)
    }

    fn alignment(&self) -> NonZero<usize> {
        NonZero::new(self.1).unwrap()
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

fn on_strict(alignment: usize, sector_size: SectorSize, ops: &[Op]) {
    let vault = MemoryVault::new("memory:one");
    // A part of a block at the end can't be reached, and isn't looked at.
    let device = Strict::new(MIB + DATA + alignment - 1, alignment);
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(sector_size)).unwrap();
    assert_eq!(volume.size() as usize, DATA);
    let volume = Volume::open(volume.into_device(), Credential::Vault(&vault), &OpenOptions::new()).unwrap();
    compare_with(&volume, ops, |offset, bytes| volume.device().0.read_at(offset, bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sectors_reach_a_device_of_whole_blocks_whatever_their_size(small in ops(512), large in ops(4096)) {
        for alignment in [512, 4096, 16384] {
            on_strict(alignment, SectorSize::B512, &small);
            on_strict(alignment, SectorSize::B4096, &large);
        }
    }
}

#[test]
fn headers_are_made_changed_and_restored_on_a_device_of_whole_blocks() {
    let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    for alignment in [512, 4096, 16384] {
        let format = FormatOptions::new().data_offset(MIB as u64).keyslot(cheap.clone());
        let device = Arc::new(Strict::new(2 * MIB, alignment));
        let volume = Volume::format(device.clone(), Protector::Passphrase(b"one"), &format).unwrap();
        let second = volume.add_protector(Protector::Passphrase(b"two"), &cheap).unwrap();
        let backup = volume.header().backup().unwrap();
        volume.header().remove_protector(ProtectorId::Keyslot(0)).unwrap();
        drop(volume);

        let open = |passphrase| Volume::open(device.clone(), Credential::Passphrase(passphrase), &OpenOptions::new());
        assert!(open(b"one").is_err());
        assert!(matches!(second, ProtectorId::Keyslot(1)) && open(b"two").is_ok());
        let mut header = Header::load(&device).unwrap();
        header.set_label("label", "").unwrap();
        assert_eq!(Header::load(&device).unwrap().label(), "label");
        Header::restore(&device, &backup).unwrap();
        assert!(open(b"one").is_ok() && open(b"two").is_ok());

        // Detached, with the header on such a device and the data on another.
        let (header, data) = (Arc::new(Strict::new(16 * MIB, alignment)), Arc::new(Strict::new(MIB, 4096)));
        let format = FormatOptions::new().keyslot(cheap.clone()).header(header.clone());
        let volume = Volume::format(data.clone(), Protector::Passphrase(b"one"), &format).unwrap();
        volume.write_at(512, &[7; 512]).unwrap();
        let options = OpenOptions::new().header(header);
        let volume = Volume::open(data, Credential::Passphrase(b"one"), &options).unwrap();
        let mut sector = [0; 512];
        volume.read_at(512, &mut sector).unwrap();
        assert_eq!(sector, [7; 512]);
    }
}

#[test]
fn threads_that_write_parts_of_one_block_lose_nothing() {
    let vault = MemoryVault::new("memory:one");
    let device = Strict::new(MIB + DATA, 4096);
    let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(SectorSize::B512)).unwrap();
    std::thread::scope(|scope| {
        for t in 0..4u8 {
            let volume = &volume;
            scope.spawn(move || {
                // The sectors of the first two blocks in turn; one thread writes the third and the second whole.
                for round in 0..200u8 {
                    let sector = [t * 50 + round / 4; 512];
                    for at in [u64::from(t) * 512, 8192 + u64::from(t) * 512] {
                        volume.write_at(at, &sector).unwrap();
                        let mut back = [0; 512];
                        volume.read_at(at, &mut back).unwrap();
                        assert_eq!(back, sector, "thread {t}, round {round}");
                    }
                    if t == 0 {
                        volume.write_at(4096, &[round; 4096]).unwrap();
                    }
                }
            });
        }
    });
    let mut block = [0; 4096];
    volume.read_at(0, &mut block[..2048]).unwrap();
    assert!(block[..2048].chunks(512).zip(0u8..).all(|(sector, t)| sector == [t * 50 + 49; 512]));
    volume.read_at(4096, &mut block).unwrap();
    assert_eq!(block, [199; 4096]);
}

#[test]
fn a_file_opened_with_o_direct_holds_what_was_written() {
    let vault = MemoryVault::new("memory:one");
    // Not where temporary files are as a rule: that may be a file system in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let small = [Op::Write(512, 200 * 1024, 1), Op::Read(1024, 4096), Op::Zero(1536, 9 * 1024)];
    let large = [Op::Write(4096, 300 * 1024, 2), Op::Zero(8192, 200 * 1024)];
    for (sector_size, ops) in [(SectorSize::B512, &small[..]), (SectorSize::B4096, &large[..])] {
        let path = folder.path().join(sector_size.bytes().to_string());
        let device = FileDevice::create(&path, (MIB + DATA) as u64).unwrap();
        let device = match device.direct_io() {
            Ok(device) => device,
            Err(error) => return eprintln!("SKIPPED: {error}: {:?}", std::error::Error::source(&error)),
        };
        let alignment = device.alignment().get();
        assert!(alignment.is_power_of_two() && (512..=4096).contains(&alignment), "{alignment}");
        let mut page = vec![0; 3 * 4096];
        let start = page.as_ptr().addr().next_multiple_of(4096) - page.as_ptr().addr();
        if device.read_at(0, &mut page[start + 1..][..4096]).is_ok() {
            eprintln!("this file system takes any address");
        }
        let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(sector_size)).unwrap();
        let volume = Volume::open(volume.into_device(), Credential::Vault(&vault), &OpenOptions::new()).unwrap();
        let cached = FileDevice::from_file(std::fs::File::open(&path).unwrap());
        compare_with(&volume, ops, |offset, bytes| cached.read_at(offset, bytes));
        drop(volume);

        // What went past the page cache is there for who reads by it.
        let plain: Vec<u8> = (0..16384).map(|i| (i / 5) as u8).collect();
        let device = reopen(|| FileDevice::open(&path)).unwrap().direct_io().unwrap();
        let volume = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new()).unwrap();
        volume.write_at(8192, &plain).unwrap();
        volume.sync().unwrap();
        drop(volume);
        let device = reopen(|| FileDevice::open_read_only(&path)).unwrap();
        let volume = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new().read_only(true)).unwrap();
        let mut back = vec![0; plain.len()];
        volume.read_at(8192, &mut back).unwrap();
        assert!(back == plain);
    }
}

#[test]
fn large_requests_reach_a_device_of_whole_blocks() {
    // More than a MiB, of which copies go by, and no multiple of it.
    const LARGE: usize = 3 * MIB + 3 * 4096;
    let vault = MemoryVault::new("memory:one");
    for (sector_size, alignment) in [(SectorSize::B512, 512), (SectorSize::B4096, 4096), (SectorSize::B4096, 16384)] {
        let device = Strict::new(MIB + 4 * MIB, alignment);
        let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options(sector_size)).unwrap();
        let plain: Vec<u8> = (0..LARGE).map(|i| (i / 9) as u8).collect();
        // Where the buffer begins decides whether it goes straight through.
        for shift in [0, 1] {
            let mut buffer = vec![0; LARGE + alignment + 1];
            let start = buffer.as_ptr().addr().next_multiple_of(alignment) - buffer.as_ptr().addr() + shift;
            let sectors = &mut buffer[start..][..LARGE];
            sectors.copy_from_slice(&plain);
            volume.write_in_place(16384, sectors).unwrap();
            let mut raw = vec![0; LARGE];
            volume.device().0.read_at(MIB as u64 + 16384, &mut raw).unwrap();
            assert!(raw == *sectors && raw != plain);
            let (dek, size) = (hazmat::dek_bytes(&volume.dek()), sector_size.bytes() as usize);
            model::decrypt(dek.expose(), 32, size as u64 / 512, size, &mut raw);
            assert!(raw == plain, "the data area is not what xts-mode decrypts");
            sectors.fill(0);
            volume.read_at(16384, sectors).unwrap();
            assert!(*sectors == plain);
            volume.write_at(16384, &plain).unwrap();
            sectors.fill(0);
            volume.read_at(16384, sectors).unwrap();
            assert!(*sectors == plain);
        }
    }
}
