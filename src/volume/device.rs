//! What a volume lies on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::{Error, Result, fs};

/// A device of bytes that can be read and written anywhere: a file, a disk, an object store's block layer, memory.
///
/// Methods take `&self` and may be called from many threads at once. The library reads and writes the header in multiples
/// of 4096 bytes, keyslots in multiples of 512, and the data in multiples of the volume's sector size, at offsets that are
/// such multiples too.
pub trait BlockDevice: Send + Sync {
    /// The size in bytes.
    ///
    /// # Errors
    /// What the device says.
    fn size(&self) -> io::Result<u64>;

    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// What the device says; [`io::ErrorKind::UnexpectedEof`] when it ends before `bytes` is full.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the device says. A part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// As [`write_at`](Self::write_at), from a buffer that may be changed, for devices that change what they write: a
    /// [`Volume`](crate::Volume) encrypts it where it lies. What `bytes` holds afterwards is not defined.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_in_place(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.write_at(offset, bytes)
    }

    /// Returns when all that was written is on stable storage, with all that is needed to find it there.
    ///
    /// # Errors
    /// What the device says. What was written since the last sync may be lost.
    fn sync(&self) -> io::Result<()>;
}

impl<D: BlockDevice + ?Sized> BlockDevice for Arc<D> {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write_at(offset, bytes)
    }

    fn write_in_place(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        (**self).write_in_place(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
}

/// What errors call it.
const IMAGE: &str = "disk or image";

/// A file or a block device.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
}

impl FileDevice {
    /// Opens a file or block device for reading and writing, and holds it: a second open of it fails while this lives.
    ///
    /// The hold is an advisory lock (`flock` on Unix), which binds those who ask for it, `cryptsetup` among them.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Io`]; [`Error::Busy`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::held(fs::open_disk(OpenOptions::new().read(true).write(true), path), path)
    }

    /// Opens a file or block device for reading. Many may do so at once, while nobody has it open for writing.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Io`]; [`Error::Busy`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = fs::open_disk(OpenOptions::new().read(true), path);
        let file = file.map_err(|e| fs::error_at(path, IMAGE, "opening", e))?;
        hold(path, file.try_lock_shared())?;
        Ok(FileDevice { file })
    }

    /// Makes a new file of `size` bytes, readable by its owner only, and holds it as [`open`](Self::open) does. It is
    /// sparse where the file system can do that.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::NotFound`] for its folder; [`Error::Io`].
    pub fn create(path: impl AsRef<Path>, size: u64) -> Result<Self> {
        let path = path.as_ref();
        let device = Self::held(fs::create_new(path), path)?;
        let made = device.file.set_len(size).and_then(|()| fs::sync(path));
        made.map_err(|e| {
            // It is this call's own, and useless.
            let _ = std::fs::remove_file(path);
            Error::io(format!("making {} of {size} bytes", path.display()), e)
        })?;
        Ok(device)
    }

    /// Takes an open file as it is; who else has it open is the caller's matter.
    pub fn from_file(file: File) -> Self {
        FileDevice { file }
    }

    fn held(opened: io::Result<File>, path: &Path) -> Result<Self> {
        let file = opened.map_err(|e| fs::error_at(path, IMAGE, "opening", e))?;
        hold(path, file.try_lock())?;
        Ok(FileDevice { file })
    }
}

fn hold(path: &Path, locked: Result<(), TryLockError>) -> Result<()> {
    let what = || PathBuf::from(path).display().to_string();
    locked.map_err(|e| match e {
        TryLockError::WouldBlock => Error::Busy { what: what() },
        TryLockError::Error(e) => Error::io(format!("locking {}", what()), e),
    })
}

impl BlockDevice for FileDevice {
    fn size(&self) -> io::Result<u64> {
        // The metadata of a block device has no size; its end has.
        let metadata = self.file.metadata()?;
        if metadata.is_file() { Ok(metadata.len()) } else { io::Seek::seek(&mut &self.file, io::SeekFrom::End(0)) }
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.file, bytes, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => (bytes, offset) = (&mut bytes[n..], offset + n as u64),
            }
        }
        Ok(())
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(&self.file, bytes, offset)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => (bytes, offset) = (&bytes[n..], offset + n as u64),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// A device in memory, for tests and for volumes that must not touch a disk.
#[derive(Debug, Default)]
pub struct MemoryDevice {
    bytes: RwLock<Vec<u8>>,
}

impl MemoryDevice {
    /// A device of `size` zero bytes.
    pub fn new(size: usize) -> Self {
        Self::from_bytes(vec![0; size])
    }

    /// A device that holds `bytes`.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        MemoryDevice { bytes: RwLock::new(bytes) }
    }

    /// What the device holds.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockDevice for MemoryDevice {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let held = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let range = range(offset, bytes.len(), held.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(&held[range]);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut held = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let range = range(offset, bytes.len(), held.len()).ok_or(io::ErrorKind::WriteZero)?;
        held[range].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn range(offset: u64, len: usize, size: usize) -> Option<core::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(len).filter(|&end| end <= size)?;
    Some(start..end)
}
