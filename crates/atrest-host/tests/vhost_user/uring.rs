//! A volume on a real file whose requests are under way together.

use std::path::Path;
use std::sync::Arc;

use atrest::key::Kdf;
use atrest::volume::KeyslotOptions;
use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, SectorSize, Volume};
use atrest_host::{Disk as _, ReadOnly, Serve as _, Uring, VhostUser};

use super::load::{Shape, run};
use super::machine::*;
use super::{IN, OUT};

const SIZE: u64 = 2 << 20;
const OFFSET: u64 = 16 << 20;

/// Past the page cache, where the file system can.
fn device(path: &Path) -> FileDevice {
    FileDevice::open(path).unwrap().direct_io().unwrap_or_else(|_| FileDevice::open(path).unwrap())
}

fn format(path: &Path, sector_size: SectorSize) -> Vec<u8> {
    let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    let options = FormatOptions::new().sector_size(sector_size).keyslot(cheap).data_offset(OFFSET);
    let device = FileDevice::create(path, OFFSET + SIZE).unwrap();
    let volume = Volume::format(device, Protector::Passphrase(b"secret"), &options).unwrap();
    let data: Vec<u8> = (0..SIZE).map(|i| (i ^ (i >> 9)) as u8).collect();
    volume.write_at(0, &data).unwrap();
    volume.sync().unwrap();
    data
}

fn open(device: FileDevice) -> Volume<FileDevice> {
    Volume::open(device, Credential::Passphrase(b"secret"), &OpenOptions::new()).unwrap()
}

fn uring(path: &Path) -> Uring<Volume<FileDevice>> {
    let device = device(path);
    let file = device.file().try_clone().unwrap();
    Uring::new(open(device), file)
}

#[test]
fn a_volume_by_io_uring_is_right_under_load() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (sector_size, name) in [(SectorSize::B4096, "4096"), (SectorSize::B512, "512")] {
        let (path, socket) = (folder.path().join(name), folder.path().join("sock"));
        let mut model = format(&path, sector_size);
        for (depth, seed) in [(1, 1), (8, 2), (64, 3)] {
            let disk = Arc::new(uring(&path).depth(depth));
            let served = VhostUser::new(&socket).queues(2).serve(disk, "disk").unwrap();
            let mut guest = Machine::boot(&socket);
            assert_eq!(run(&mut guest, &mut model, Shape::small(4096), 600, seed), 0);
            drop((guest, served));
            // As the library alone reads it.
            let mut read = vec![0; SIZE as usize];
            open(FileDevice::open(&path).unwrap()).read_at(0, &mut read).unwrap();
            assert!(read == model, "depth {depth}");
        }
    }
}

/// A device that has lost its end: what is there is read, and what isn't is the guest's error.
#[test]
fn a_device_that_fails_is_an_error_of_the_guest() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (path, socket) = (folder.path().join("disk"), folder.path().join("sock"));
    let data = format(&path, SectorSize::B4096);
    let disk = Arc::new(uring(&path));
    let _served = VhostUser::new(&socket).queues(2).serve(disk, "disk").unwrap();
    let mut guest = Machine::boot(&socket);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(OFFSET + SIZE / 2).unwrap();
    let middle = SIZE / 2 / 512;
    assert_eq!(guest.request(IN, middle, 4096, true), IO_ERROR);
    // One of its parts is there, and others are not.
    assert_eq!(guest.request(IN, middle - 8, 1 << 20, true), IO_ERROR);
    assert_eq!(guest.request(IN, 0, 1 << 20, true), OK);
    assert!(guest.read(DATA, 1 << 20) == data[..1 << 20]);
}

#[test]
fn a_disk_that_may_only_be_read_has_a_queue_too() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (path, socket) = (folder.path().join("disk"), folder.path().join("sock"));
    let data = format(&path, SectorSize::B4096);
    let disk = ReadOnly(uring(&path));
    assert!(disk.queue().is_some());
    let _served = VhostUser::new(&socket).queues(2).serve(Arc::new(disk), "disk").unwrap();
    let mut guest = Machine::boot(&socket);
    assert_eq!(guest.request(OUT, 0, 4096, false), IO_ERROR);
    assert_eq!(guest.request(IN, 8, 4096, true), OK);
    assert_eq!(guest.read(DATA, 4096), data[4096..8192]);
}
