//! Volumes and managed disks on real files, past the page cache where the file system can do that.

use std::path::Path;
use std::sync::Arc;

use atrest::key::Kdf;
use atrest::managed::{
    DiskFolder, DiskService, KnownVaults, NewCopy, NewDisk, NewSnapshot, ResourceName, ServiceOptions,
};
use atrest::vault::{FileVault, KdfCost, Unlock};
use atrest::volume::KeyslotOptions;
use atrest::{BlockDevice, Error, FileDevice, FormatOptions, Protector, Result, SectorSize, Volume};
use atrest_uring::{Queue, Sectors, UringDevice};

const SIZE: u64 = 24 << 20;

/// xorshift64: any noise will do if it is the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn device(path: &Path, direct: bool) -> UringDevice {
    let file = FileDevice::create(path, SIZE).unwrap();
    // Not every file system has direct I/O.
    match direct.then(|| file.direct_io()) {
        Some(Ok(file)) => UringDevice::new(file),
        Some(Err(_)) => UringDevice::new(FileDevice::open(path).unwrap()),
        None => UringDevice::new(FileDevice::open(path).unwrap()),
    }
}

fn format(device: UringDevice, sector_size: SectorSize) -> Volume<UringDevice> {
    let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    let options = FormatOptions::new().sector_size(sector_size).keyslot(cheap);
    Volume::format(device, Protector::Passphrase(b"secret"), &options).unwrap()
}

#[test]
fn a_queue_reads_what_it_and_others_wrote() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (n, (direct, sector_size)) in
        [(true, SectorSize::B4096), (false, SectorSize::B4096), (false, SectorSize::B512)].into_iter().enumerate()
    {
        let volume = format(device(&folder.path().join(n.to_string()), direct), sector_size);
        let blocks = volume.size() / 4096;
        let mut queue = Queue::new(&volume, volume.device().file(), 32, 64 << 10).unwrap();
        let mut model = vec![None; blocks as usize];
        let mut busy = std::collections::HashMap::new();
        let mut noise = Noise(n as u64 + 1);
        let (mut reads, mut tag) = (0, 0);
        for _ in 0..1500 {
            while queue.is_full() || noise.below(4) == 0 && queue.in_flight() > 0 {
                let least = noise.below(3) as usize;
                queue
                    .wait(least.max(queue.is_full().into()), |done| {
                        let (first, expected): (u64, Option<Vec<Option<u8>>>) = busy.remove(&done.tag).unwrap();
                        let found = done.result.unwrap();
                        let Some(expected) = expected else { return assert_eq!(found.len(), 0) };
                        for (block, expected) in found.chunks(4096).zip(&expected) {
                            reads += 1;
                            // Unwritten blocks read as noise.
                            assert!(expected.is_none_or(|byte| block == [byte; 4096]), "{first}");
                        }
                    })
                    .unwrap();
            }
            let count = noise.below(16) + 1;
            let first = noise.below(blocks - count);
            let overlaps = |(at, blocks): (u64, u64)| at < first + count && first < at + blocks;
            let others = busy.values().map(|(at, expected)| (*at, expected.as_ref().map_or(16, |e| e.len() as u64)));
            if others.into_iter().any(overlaps) {
                continue;
            }
            tag += 1;
            let range = first as usize..(first + count) as usize;
            if noise.below(2) == 0 {
                let byte = noise.next() as u8;
                queue.write(first * 4096, count as usize * 4096, tag, |sectors| sectors.fill(byte)).unwrap();
                model[range].fill(Some(byte));
                busy.insert(tag, (first, None));
            } else {
                queue.read(first * 4096, count as usize * 4096, tag).unwrap();
                busy.insert(tag, (first, Some(model[range].to_vec())));
            }
        }
        while queue.in_flight() > 0 {
            queue.wait(1, |done| assert!(done.result.is_ok())).unwrap();
        }
        assert!(reads > 1000, "{reads}");
        drop(queue);
        // The data that other readers see.
        for (block, byte) in model.iter().enumerate().filter_map(|(block, byte)| byte.map(|byte| (block, byte))) {
            let mut found = [0; 4096];
            volume.read_at(block as u64 * 4096, &mut found).unwrap();
            assert_eq!(found, [byte; 4096]);
        }
    }
}

/// Memory that direct I/O takes.
struct Memory(Vec<u8>);

impl Memory {
    fn new(len: usize) -> Self {
        Memory(vec![0; len + 4096])
    }

    fn of(&mut self, len: usize) -> &mut [u8] {
        let start = self.0.as_ptr().align_offset(4096);
        &mut self.0[start..start + len]
    }
}

#[test]
fn large_transfers_of_many_threads_arrive_whole() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for direct in [true, false] {
        let device = device(&folder.path().join(direct.to_string()), direct);
        assert_eq!(
            device.has_ring(),
            device.alignment().get() > 1 && Queue::new(&Unused, device.file(), 1, 1).unwrap().has_ring()
        );
        let part = (SIZE / 4) as usize;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let device = &device;
                scope.spawn(move || {
                    let mut noise = Noise(thread + 7);
                    let (start, mut held) = (thread * part as u64, vec![0; part]);
                    let (mut given, mut found) = (Memory::new(part), Memory::new(part));
                    for round in 0..20u8 {
                        // Below 256 KiB and above, and no whole number of pieces.
                        let len = (noise.below(500) + 1) as usize * 4096;
                        let offset = noise.below(part as u64 / 4096 - 512) as usize * 4096;
                        let bytes = given.of(len);
                        bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at >> 9) as u8 ^ round);
                        device.write_at(start + offset as u64, bytes).unwrap();
                        held[offset..offset + len].copy_from_slice(bytes);
                        let found = found.of(part);
                        device.read_at(start, found).unwrap();
                        assert!(found == held);
                    }
                });
            }
        });
        // Beyond the end.
        let mut bytes = Memory::new(1 << 20);
        let error = device.read_at(SIZE - (512 << 10), bytes.of(1 << 20)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

/// No sectors.
struct Unused;

impl Sectors for Unused {
    type Write = ();

    fn begin_read(&self, offset: u64, _: usize) -> Result<u64> {
        Ok(offset)
    }

    fn complete_read(&self, _: u64, _: &mut [u8]) -> Result<()> {
        Ok(())
    }

    fn begin_write(&self, offset: u64, _: &mut [u8]) -> Result<(u64, ())> {
        Ok((offset, ()))
    }
}

#[test]
fn a_snapshot_waits_for_the_writes_of_a_queue() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| folder.path().join(name);
    let cheap = KdfCost::new(64, 1, 1);
    let platform = FileVault::create_with_cost(at("vault"), Unlock::Passphrase(b"p"), cheap).unwrap();
    platform.create_key("disks").unwrap();
    let backend = Arc::new(DiskFolder::new(folder.path()));
    let options = ServiceOptions::new(backend, Arc::new(KnownVaults::new()), Arc::new(platform), "disks");
    let service = DiskService::open(at("store"), options).unwrap();
    let made =
        service.create_disk(&NewDisk::new("d", 1 << 20).region("north").subscription("one").sector_size(4096)).unwrap();
    let disk = service.open_disk("d").unwrap();
    // The engine's own way to the device.
    let file = std::fs::File::options().read(true).write(true).open(at(&format!("{}.disk", made.id))).unwrap();
    let mut queue = Queue::new(&disk, &file, 8, 4096).unwrap();
    for block in 0..8 {
        queue.write(block * 4096, 4096, block, |sectors| sectors.fill(block as u8 + 1)).unwrap();
    }
    // It is made when all is written, since nobody else takes what is done.
    std::thread::scope(|scope| {
        let snapshot = scope.spawn(|| {
            service.create_snapshot(&NewSnapshot::new("s", "d"), &|_| {}).unwrap();
        });
        while !snapshot.is_finished() {
            queue.wait(1, |done| assert!(done.result.is_ok())).unwrap();
            std::thread::yield_now();
        }
    });
    let copy = NewCopy::new("c").region("north").subscription("one");
    service.create_disk_from(&ResourceName::snapshot("s"), &copy, &|_| {}).unwrap();
    let copy = service.open_disk("c").unwrap();
    for block in 0..8 {
        let mut found = [0; 4096];
        copy.read_at(block * 4096, &mut found).unwrap();
        assert_eq!(found, [block as u8 + 1; 4096]);
    }
    assert!(matches!(queue.read(1 << 20, 4096, 1), Err(Error::OutOfBounds { .. })));
    assert!(matches!(queue.write(512, 4096, 1, |_| {}), Err(Error::Misaligned { .. })));
    assert!(matches!(queue.read(0, 8192, 1), Err(Error::InvalidOption(_))));
    assert_eq!(queue.in_flight(), 0);
}

#[test]
fn the_errors_of_a_file_are_told_with_the_request() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("disk");
    let volume = format(device(&path, false), SectorSize::B4096);
    volume.write_at(0, &[3; 4096]).unwrap();
    volume.sync().unwrap();
    // Nobody may write by this one.
    let file = std::fs::File::open(&path).unwrap();
    let mut queue = Queue::new(&volume, &file, 4, 4096).unwrap();
    queue.write(0, 4096, 1, |sectors| sectors.fill(9)).unwrap();
    queue.wait(1, |done| assert!(matches!(done.result, Err(Error::Io { .. })))).unwrap();
    queue.read(0, 4096, 2).unwrap();
    queue.wait(1, |done| assert_eq!(done.result.unwrap(), [3; 4096])).unwrap();
    // The device gets shorter under the volume.
    volume.device().set_size(20 << 20).unwrap();
    queue.read(volume.size() - 4096, 4096, 3).unwrap();
    queue.wait(1, |done| assert!(matches!(done.result, Err(Error::Io { .. })))).unwrap();
    for bad in [(0, 4096), (4097, 4096), (1, 0), (1, (16 << 20) + 1)] {
        assert!(matches!(Queue::new(&volume, &file, bad.0, bad.1), Err(Error::InvalidOption(_))));
    }
    // It goes with requests under way.
    (0..4).for_each(|tag| queue.read(tag * 4096, 4096, tag).unwrap());
}
