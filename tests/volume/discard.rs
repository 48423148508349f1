//! Zeros and discards: of devices, and of volumes on them.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use atrest::{BlockDevice, FileDevice, MemoryDevice};

use crate::alignment::Strict;
use crate::io::MIB;

/// Noise that repeats nowhere near.
fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8 | 1).collect()
}

/// What lies on a device.
pub fn content(device: &impl BlockDevice) -> Vec<u8> {
    let mut bytes = vec![0; device.size().unwrap() as usize];
    device.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Zeroes ranges of a device that holds `model`, and compares all of it each time.
fn zero_and_compare(device: &impl BlockDevice, model: &mut [u8], ranges: impl IntoIterator<Item = (usize, usize)>) {
    for (at, len) in ranges {
        device.write_zeroes(at as u64, len as u64).unwrap();
        model[at..at + len].fill(0);
        assert!(content(device) == model, "{len} zeros at {at}");
    }
}

/// Ranges of whole blocks: none, one, some, and more than is written at once (128 KiB).
fn ranges(block: usize) -> [(usize, usize); 5] {
    [(0, 0), (block, block), (4 * block, 3 * block), (20 * block, 300 << 10), (MIB - block, block)]
}

/// A device that leaves all but reading and writing to the trait.
struct Plain(MemoryDevice, usize, AtomicUsize);

impl BlockDevice for Plain {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.2.fetch_max(bytes.len(), Relaxed);
        assert!(bytes.as_ptr().addr().is_multiple_of(self.1) && bytes.len().is_multiple_of(self.1));
        self.0.write_at(offset, bytes)
    }

    fn alignment(&self) -> std::num::NonZero<usize> {
        self.1.try_into().unwrap()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_device_without_a_way_of_its_own_writes_zeros_in_pieces_and_discards_nothing() {
    for alignment in [1, 512, 4096] {
        let mut model = noise(MIB);
        let device = Plain(MemoryDevice::from_bytes(model.clone()), alignment, AtomicUsize::new(0));
        device.discard(0, MIB as u64).unwrap();
        assert!(content(&device) == model);
        zero_and_compare(&device, &mut model, ranges(alignment));
        assert_eq!(device.2.load(Relaxed), 128 << 10);
        assert_eq!(device.write_zeroes(MIB as u64, 4096).unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}

#[test]
fn a_device_in_memory_has_zeros_where_they_are_asked_for_and_nowhere_else() {
    let mut model = noise(MIB);
    let device = MemoryDevice::from_bytes(model.clone());
    zero_and_compare(&device, &mut model, ranges(1).into_iter().chain(ranges(511)));
    for (at, len) in [(MIB as u64, 1), (MIB as u64 - 1, 2), (1, u64::MAX), (u64::MAX, 1)] {
        assert_eq!(device.write_zeroes(at, len).unwrap_err().kind(), io::ErrorKind::WriteZero);
        assert!(device.discard(at, len).is_err());
    }
    device.discard(7, 5000).unwrap();
    model[7..5007].fill(0);
    assert!(device.into_bytes() == model);
}

#[test]
fn a_pointer_to_a_device_zeroes_and_discards_as_the_device_does() {
    let device = std::sync::Arc::new(Strict::new(MIB, 512));
    (&&*device as &dyn BlockDevice).write_zeroes(0, 512).unwrap();
    (&device as &dyn BlockDevice).discard(512, 512).unwrap();
    assert_eq!(device.calls(), [("write_zeroes", 0, 512), ("discard", 512, 512)]);
}

/// Files where disks are as a rule, where the file system zeroes, and where it is memory that doesn't.
#[cfg(target_os = "linux")]
mod files {
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    fn on_disk() -> TempDir {
        // Not where temporary files are as a rule: that may be a file system in memory.
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
    }

    fn folders() -> impl Iterator<Item = TempDir> {
        core::iter::once(on_disk()).chain(tempfile::tempdir_in("/dev/shm"))
    }

    /// A file full of noise, and the noise.
    fn filled(path: &Path) -> (FileDevice, Vec<u8>) {
        let device = FileDevice::create(path, MIB as u64).unwrap();
        let model = noise(MIB);
        device.write_at(0, &model).unwrap();
        device.sync().unwrap();
        (device, model)
    }

    fn room(device: &FileDevice) -> u64 {
        device.sync().unwrap();
        device.file().metadata().unwrap().blocks() * 512
    }

    #[test]
    fn a_file_has_zeros_where_they_are_asked_for_and_nowhere_else() {
        for folder in folders() {
            let (device, mut model) = filled(&folder.path().join("file"));
            zero_and_compare(&device, &mut model, ranges(1).into_iter().chain(ranges(512)).chain(ranges(4096)));
            // Beyond its end a file grows, as it does when it is written.
            device.write_zeroes(MIB as u64 - 512, 1024).unwrap();
            model[MIB - 512..].fill(0);
            model.resize(MIB + 512, 0);
            assert!(content(&device) == model);
            assert!(device.write_zeroes(u64::MAX - 4096, 4096).is_err());
            let unwritable = FileDevice::from_file(std::fs::File::open(folder.path().join("file")).unwrap());
            assert!(unwritable.write_zeroes(0, 512).is_err() && unwritable.discard(0, 4096).is_err());
            assert!(content(&device) == model);
        }
    }

    #[test]
    fn a_discard_gives_whole_blocks_back_and_leaves_the_bytes_around_it() {
        for folder in folders() {
            let (device, model) = filled(&folder.path().join("file"));
            let before = room(&device);
            assert!(before >= MIB as u64);
            for (at, len) in [(0, 0), (1, 4095), (100, 8091), (u64::MAX - 10, 10), (u64::MAX, u64::MAX)] {
                device.discard(at, len).unwrap();
            }
            assert!(content(&device) == model && room(&device) == before, "there was no whole block");

            // 128 blocks, and parts of two more.
            let (start, end) = (8192 - 1, 8192 + 512 * 1024 + 4095);
            device.discard(start, end - start).unwrap();
            let now = content(&device);
            assert!(now[..8192] == model[..8192] && now[8192 + 512 * 1024..] == model[8192 + 512 * 1024..]);
            assert!(now[8192..8192 + 512 * 1024].iter().all(|&byte| byte == 0));
            // A file system counts its own blocks for a file that has more pieces now, too.
            assert!(room(&device) <= before - (480 << 10), "{} of {before} bytes are left", room(&device));

            // Beyond the end nothing is, and the file stays as long as it is.
            device.discard(MIB as u64, 1 << 20).unwrap();
            assert_eq!(device.size().unwrap(), MIB as u64);
            // What was discarded is there again once it is written.
            device.write_at(8192, &model[8192..][..512 * 1024]).unwrap();
            assert!(content(&device) == model);
        }
    }

    #[test]
    fn a_file_opened_with_o_direct_zeroes_and_discards() {
        let folder = on_disk();
        let path = folder.path().join("file");
        let (device, mut model) = filled(&path);
        let device = match device.direct_io() {
            Ok(device) => device,
            Err(error) => return eprintln!("SKIPPED: {error}: {:?}", std::error::Error::source(&error)),
        };
        let (block, cached) = (device.alignment().get(), FileDevice::from_file(std::fs::File::open(&path).unwrap()));
        for (at, len) in ranges(block) {
            device.write_zeroes(at as u64, len as u64).unwrap();
            model[at..at + len].fill(0);
            assert!(content(&cached) == model, "{len} zeros at {at}");
        }
        let before = room(&device);
        device.discard(512 << 10, 256 << 10).unwrap();
        model[512 << 10..768 << 10].fill(0);
        assert!(content(&cached) == model);
        assert!(room(&device) <= before - (256 << 10));
    }
}
