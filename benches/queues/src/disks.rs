//! The disks: a volume, and managed ones of one layer and of two.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::key::KeyId;
use atrest::managed::{DiskFolder, DiskService, KnownVaults, NewDisk, NewSet, OpenDisk, ResourceName, ServiceOptions};
use atrest::vault::{KeyOperation, Unlock, VaultOptions};
use atrest::{
    BlockDevice, EncryptionType, FileDevice, FileVault, FormatOptions, Protector, SectorCipher, SectorSize, SectorUnit,
    Volume, hazmat,
};

use crate::ring::Direction::{Read, Write};
use crate::{BLOCK, Buffers, Ring, SIZE, Way, offsets};

pub struct Disks {
    /// The cipher of `volume`, by hand.
    cipher: SectorCipher,
    volume: Volume<FileDevice>,
    one_layer: Managed,
    two_layers: Managed,
}

struct Managed {
    disk: OpenDisk,
    file: File,
}

const MIB: u64 = 1 << 20;

impl Disks {
    pub fn new(folder: &Path, size: u64) -> Self {
        let at = |name: &str| folder.join(name);
        let root = at("root.key");
        FileVault::generate_key_file(&root).unwrap();
        let platform = FileVault::create(at("platform.vault"), Unlock::KeyFile(&root)).unwrap();
        platform.create_key("floor").unwrap();
        let options = VaultOptions::new().region("north").tenant("contoso").purge_protection(true);
        let contoso = FileVault::create_with(at("contoso.vault"), Unlock::KeyFile(&root), &options).unwrap();
        let key = contoso.create_key("disks").unwrap();

        let format = FormatOptions::new().sector_size(SectorSize::B4096);
        let device = FileDevice::create(at("volume"), (16 << 20) + size).unwrap().direct_io().unwrap();
        let volume = Volume::format(device, Protector::Vault(&platform, "floor"), &format).unwrap();
        let dek = hazmat::dek_bytes(&volume.dek());
        let cipher = SectorCipher::new(dek.expose(), SectorSize::B4096, SectorUnit::Bytes512).unwrap();
        fill(size, |offset, bytes| volume.write_at(offset, bytes).unwrap());

        std::fs::create_dir(at("disks")).unwrap();
        let vaults = KnownVaults::new();
        vaults.add_file(contoso.clone()).unwrap();
        let backend = Arc::new(DiskFolder::new(at("disks")).direct_io(true));
        let options = ServiceOptions::new(backend, Arc::new(vaults), Arc::new(platform), "floor");
        let service = DiskService::open(at("fleet.redb"), options).unwrap();
        let managed = |name: &str, kind| managed(&service, &at("disks"), (name, kind), (&contoso, &key), size);
        let one_layer = managed("one", EncryptionType::CustomerKey);
        let two_layers = managed("two", EncryptionType::PlatformAndCustomerKeys);
        Disks { cipher, volume, one_layer, two_layers }
    }

    pub fn reads(&self, depth: usize) -> Vec<Way<'_>> {
        let (cipher, volume) = (&self.cipher, &self.volume);
        let (file, data) = (volume.device().file(), volume.data_offset());
        let (mut hand, mut ring, mut waiting) = (Ring::new(file, depth), Ring::new(file, depth), Buffers::new(1));
        let mut ways: Vec<Way> = vec![
            ("io_uring, SectorCipher by hand", {
                Box::new(move |time| {
                    let begin = |offset: u64, _: &mut [u8]| (data + offset, offset / 512);
                    hand.run(Read, time, begin, |sector, block| cipher.decrypt(sector, block).unwrap())
                })
            }),
            ("io_uring, Volume::begin_read, complete_read", {
                Box::new(move |time| {
                    let begin = |offset, block: &mut [u8]| (volume.begin_read(offset, block.len()).unwrap(), offset);
                    ring.run(Read, time, begin, |offset, block| volume.complete_read(offset, block).unwrap())
                })
            }),
        ];
        for (name, disk) in
            [("io_uring, OpenDisk", &self.one_layer), ("io_uring, OpenDisk, two layers (XTS, HCTR2)", &self.two_layers)]
        {
            let (Managed { disk, file }, depth) = (disk, depth);
            let mut ring = Ring::new(file, depth);
            ways.push((
                name,
                Box::new(move |time| {
                    let begin = |offset, block: &mut [u8]| (disk.begin_read(offset, block.len()).unwrap(), offset);
                    ring.run(Read, time, begin, |offset, block| disk.complete_read(offset, block).unwrap())
                }),
            ));
        }
        ways.push((
            "Volume::read_at, which waits",
            Box::new(move |time| each(time, |offset| volume.read_at(offset, waiting.block(0)).unwrap())),
        ));
        ways
    }

    pub fn writes(&self, depth: usize) -> Vec<Way<'_>> {
        let (cipher, volume) = (&self.cipher, &self.volume);
        let (file, data) = (volume.device().file(), volume.data_offset());
        let (mut hand, mut ring, mut waiting) = (Ring::new(file, depth), Ring::new(file, depth), Buffers::new(1));
        let mut ways: Vec<Way> = vec![
            ("io_uring, SectorCipher by hand", {
                Box::new(move |time| {
                    let begin = |offset: u64, block: &mut [u8]| {
                        cipher.encrypt(offset / 512, block).unwrap();
                        (data + offset, ())
                    };
                    hand.run(Write, time, begin, |(), _| ())
                })
            }),
            ("io_uring, Volume::begin_write", {
                Box::new(move |time| {
                    let begin = |offset, block: &mut [u8]| (volume.begin_write(offset, block).unwrap(), ());
                    ring.run(Write, time, begin, |(), _| ())
                })
            }),
        ];
        for (name, disk) in
            [("io_uring, OpenDisk", &self.one_layer), ("io_uring, OpenDisk, two layers (XTS, HCTR2)", &self.two_layers)]
        {
            let Managed { disk, file } = disk;
            let mut ring = Ring::new(file, depth);
            ways.push((
                name,
                Box::new(move |time| {
                    let begin = |offset, block: &mut [u8]| {
                        let write = disk.begin_write(offset, block).unwrap();
                        (write.device_offset(), write)
                    };
                    ring.run(Write, time, begin, |write, _| drop(write))
                }),
            ));
        }
        ways.push((
            "Volume::write_at, which waits",
            Box::new(move |time| each(time, |offset| volume.write_at(offset, waiting.block(0)).unwrap())),
        ));
        ways
    }
}

const LARGE: usize = 16 << 20;

impl Disks {
    /// Large requests, one after the other, beside the same without encryption.
    pub fn large_writes(&self) -> Vec<Way<'_>> {
        let volume = &self.volume;
        let [mut a, mut b, mut c] = [(); 3].map(|()| Buffers::new(LARGE / BLOCK));
        vec![
            (
                "pwrite of what is encrypted",
                Box::new(move |time| {
                    each_large(time, |at| volume.device().write_at(volume.data_offset() + at, a.all(LARGE)).unwrap())
                }),
            ),
            (
                "Volume::write_at",
                Box::new(move |time| each_large(time, |at| volume.write_at(at, b.all(LARGE)).unwrap())),
            ),
            (
                "Volume::write_in_place",
                Box::new(move |time| each_large(time, |at| volume.write_in_place(at, c.all(LARGE)).unwrap())),
            ),
        ]
    }

    pub fn large_reads(&self) -> Vec<Way<'_>> {
        let volume = &self.volume;
        let [mut a, mut b] = [(); 2].map(|()| Buffers::new(LARGE / BLOCK));
        vec![
            (
                "pread of what is encrypted",
                Box::new(move |time| {
                    each_large(time, |at| volume.device().read_at(volume.data_offset() + at, a.all(LARGE)).unwrap())
                }),
            ),
            ("Volume::read_at", Box::new(move |time| each_large(time, |at| volume.read_at(at, b.all(LARGE)).unwrap()))),
        ]
    }
}

/// One large request after the other; how many MiB they were.
fn each_large(time: Duration, mut act: impl FnMut(u64)) -> u64 {
    let (end, mut mib) = (Instant::now() + time, 0);
    for at in (0..SIZE - LARGE as u64).step_by(LARGE).cycle() {
        act(at);
        mib += LARGE as u64 >> 20;
        if Instant::now() >= end {
            break;
        }
    }
    mib
}

/// What one block costs the CPU, in several ways.
type Costs<'a> = Vec<(&'static str, Box<dyn FnMut() + 'a>)>;

impl Disks {
    pub fn costs(&self) -> [(&'static str, Costs<'_>); 2] {
        let (cipher, volume, disk) = (&self.cipher, &self.volume, &self.one_layer.disk);
        let block = || Buffers::new(1);
        let (mut a, mut b, mut c, mut d, mut e, mut f) = (block(), block(), block(), block(), block(), block());
        let reads: Costs = vec![
            ("by hand", Box::new(move || cipher.decrypt(8, a.block(0)).unwrap())),
            (
                "Volume",
                Box::new(move || {
                    std::hint::black_box(volume.begin_read(4096, BLOCK).unwrap());
                    volume.complete_read(4096, b.block(0)).unwrap();
                }),
            ),
            (
                "OpenDisk",
                Box::new(move || {
                    std::hint::black_box(disk.begin_read(4096, BLOCK).unwrap());
                    disk.complete_read(4096, c.block(0)).unwrap();
                }),
            ),
        ];
        let writes: Costs = vec![
            ("by hand", Box::new(move || cipher.encrypt(8, d.block(0)).unwrap())),
            ("Volume", Box::new(move || _ = std::hint::black_box(volume.begin_write(4096, e.block(0)).unwrap()))),
            ("OpenDisk", Box::new(move || drop(disk.begin_write(4096, f.block(0)).unwrap()))),
        ];
        [("a read", reads), ("a write", writes)]
    }
}

fn managed(
    service: &DiskService,
    folder: &Path,
    (name, kind): (&str, EncryptionType),
    (vault, key): (&FileVault, &KeyId),
    size: u64,
) -> Managed {
    let new = NewSet::new(name, key.clone()).region("north").subscription("one").tenant("contoso");
    let set = service.create_set(&new.encryption_type(kind)).unwrap();
    vault.grant(&set.identity, &KeyOperation::ALL).unwrap();
    let new = NewDisk::new(name, size).region("north").subscription("one").sector_size(BLOCK as u32);
    service.create_disk(&new.encryption_set(name)).unwrap();
    let disk = service.open_disk(name).unwrap();
    fill(size, |offset, bytes| disk.write_at(offset, bytes).unwrap());
    let id = service.resource(&ResourceName::disk(name)).unwrap().id;
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_DIRECT);
    Managed { disk, file: options.open(folder.join(format!("{id}.disk"))).unwrap() }
}

/// What was never written, a file system doesn't read from the disk.
fn fill(size: u64, mut write: impl FnMut(u64, &[u8])) {
    let bytes = vec![7; MIB as usize];
    (0..size / MIB).for_each(|n| write(n * MIB, &bytes));
}

/// One request after the other.
fn each(time: Duration, mut act: impl FnMut(u64)) -> u64 {
    let (end, mut blocks) = (Instant::now() + time, 0);
    for offset in offsets() {
        act(offset);
        blocks += 1;
        if Instant::now() >= end {
            break;
        }
    }
    blocks
}
