//! Files and block devices as the devices of volumes.

use core::num::NonZero;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::io::{IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::fs::{FallocateFlags, fallocate};
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::io::{Errno, retry_on_intr};

use super::BlockDevice;
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::device::{whole_blocks, write_zeros};
use crate::{Error, OwningProcess, Result, fs};

/// How many buffers the kernel takes at once (`UIO_MAXIOV`). The rest is read or written buffer by buffer.
#[cfg(any(target_os = "linux", target_os = "android"))]
const IOV_MAX: usize = 1024;

/// The unit of a discard, in bytes: as a rule no file system and no disk has larger blocks.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BLOCK: u64 = 4096;

/// Its name in errors.
const IMAGE: &str = "disk or image";

/// A file or a block device.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    alignment: NonZero<usize>,
    /// The process that holds the file; `None` if this value doesn't hold it.
    held_by: Option<OwningProcess>,
}

impl FileDevice {
    /// Opens a file or block device for reading and writing, and holds it: a second open of it fails while this lives.
    ///
    /// The hold is an advisory lock (`flock` on Unix). It binds only programs that ask for it, `cryptsetup` among them.
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
        Ok(Self::holding(file))
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

    /// Takes an open file as it is, without a lock: the caller must know whether anyone else has it open. It may have been
    /// opened with `O_DIRECT`.
    pub fn from_file(file: File) -> Self {
        let alignment = direct::alignment(&file);
        FileDevice { file, alignment, held_by: None }
    }

    /// From here on reads and writes go past the page cache (`O_DIRECT`), on Linux. Buffers, offsets and lengths that are
    /// multiples of [`alignment`](BlockDevice::alignment), 512 or 4096 bytes as a rule, go to the disk as they are.
    ///
    /// # Errors
    /// [`Error::Io`] where the file system or the operating system can't do that.
    ///
    /// ```no_run
    /// # use atrest::{Credential, FileDevice, OpenOptions, Volume};
    /// let device = FileDevice::open("disk.img")?.direct_io()?;
    /// let volume = Volume::open(device, Credential::Passphrase(b"secret"), &OpenOptions::new())?;
    /// # Ok::<(), atrest::Error>(())
    /// ```
    pub fn direct_io(mut self) -> Result<Self> {
        direct::turn_on(&self.file).map_err(|e| Error::io("turning on direct I/O (O_DIRECT)", e))?;
        self.alignment = direct::alignment(&self.file);
        Ok(self)
    }

    /// The file, for callers that read and write it in another way, such as `io_uring`: see
    /// [`Volume::begin_read`](crate::Volume::begin_read).
    pub fn file(&self) -> &File {
        &self.file
    }

    fn held(opened: io::Result<File>, path: &Path) -> Result<Self> {
        let file = opened.map_err(|e| fs::error_at(path, IMAGE, "opening", e))?;
        hold(path, file.try_lock())?;
        Ok(Self::holding(file))
    }

    fn holding(file: File) -> Self {
        let mut device = Self::from_file(file);
        device.held_by = Some(OwningProcess::current());
        device
    }
}

fn hold(path: &Path, locked: Result<(), TryLockError>) -> Result<()> {
    let what = || PathBuf::from(path).display().to_string();
    locked.map_err(|e| match e {
        TryLockError::WouldBlock => Error::Busy { what: what() },
        TryLockError::Error(e) => Error::io(format!("locking {}", what()), e),
    })
}

impl Drop for FileDevice {
    /// Lets go of the file at once. Closing it doesn't: a child that another thread has just begun holds it, too, until it runs
    /// its own program. A forked child that goes on has no hold of its own to let go of.
    fn drop(&mut self) {
        if self.held_by.is_some_and(OwningProcess::is_current) {
            let _ = self.file.unlock();
        }
    }
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

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn read_vectored_at(&self, mut offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        for group in buffers.chunks_mut(IOV_MAX) {
            let mut read = retry_on_intr(|| rustix::io::preadv(&self.file, group, offset))?;
            for buffer in group {
                let done = buffer.len().min(read);
                self.read_at(offset + done as u64, &mut buffer[done..])?;
                (offset, read) = (offset + buffer.len() as u64, read - done);
            }
        }
        Ok(())
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn write_vectored_at(&self, mut offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        for group in buffers.chunks(IOV_MAX) {
            let mut written = retry_on_intr(|| rustix::io::pwritev(&self.file, group, offset))?;
            for buffer in group {
                let done = buffer.len().min(written);
                self.write_at(offset + done as u64, &buffer[done..])?;
                (offset, written) = (offset + buffer.len() as u64, written - done);
            }
        }
        Ok(())
    }

    /// The file system or the disk does it, and no zero is written, where it can (`FALLOC_FL_ZERO_RANGE`).
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match retry_on_intr(|| fallocate(&self.file, FallocateFlags::ZERO_RANGE, offset, len)) {
            // A block device does so with whole blocks of its own only (EINVAL), but takes any write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => write_zeros(self, offset, len),
            done => Ok(done?),
        }
    }

    /// The file gets a hole there, and the disk the blocks back, where the file system or the disk can do that
    /// (`FALLOC_FL_PUNCH_HOLE`): those of 4096 bytes that lie in the range as a whole.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let Some(blocks) = whole_blocks(offset, len, BLOCK) else { return Ok(()) };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| fallocate(&self.file, flags, blocks.start, blocks.end - blocks.start)) {
            // A block device with larger blocks says EINVAL.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Sets the size of a file. The size of a block device can't be set.
    fn set_size(&self, size: u64) -> io::Result<()> {
        if !self.file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "only a file's size can be set"));
        }
        self.file.set_len(size)?;
        self.file.sync_all()
    }

    fn alignment(&self) -> NonZero<usize> {
        self.alignment
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// I/O past the page cache.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod direct {
    use core::num::NonZero;
    use std::fs::File;
    use std::io;

    use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, statx};

    /// The alignment if the kernel doesn't say which it needs: a page always suffices.
    const PAGE: u32 = 4096;

    pub(super) fn turn_on(file: &File) -> io::Result<()> {
        Ok(fcntl_setfl(file, fcntl_getfl(file)? | OFlags::DIRECT)?)
    }

    /// The alignment that a file requires of offsets, lengths and addresses.
    pub(super) fn alignment(file: &File) -> NonZero<usize> {
        if !fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::DIRECT)) {
            return NonZero::<usize>::MIN;
        }
        let told = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
        let told = told.map(|told| told.stx_dio_mem_align.max(told.stx_dio_offset_align));
        let alignment = told.filter(|told| told.is_power_of_two()).unwrap_or(PAGE);
        NonZero::new(alignment as usize).unwrap_or(NonZero::<usize>::MIN)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod direct {
    use core::num::NonZero;
    use std::fs::File;
    use std::io;

    pub(super) fn turn_on(_: &File) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn alignment(_: &File) -> NonZero<usize> {
        NonZero::<usize>::MIN
    }
}
