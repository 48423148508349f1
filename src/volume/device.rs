//! The devices that volumes lie on.

use core::num::NonZero;
use core::ops::Range;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Arc, PoisonError, RwLock};

use super::scratch::{CHUNK, with_scratch};

/// A device of bytes that can be read and written anywhere: a file, a disk, an object store's block layer, memory.
///
/// Methods take `&self` and may be called from many threads at once. The library reads and writes the header in multiples
/// of 4096 bytes, keyslots in multiples of 512, and the data in multiples of the volume's sector size, at offsets that are
/// such multiples too; and all of it in multiples of [`alignment`](Self::alignment).
///
/// A volume on a device of one's own, which keeps count of what is written:
///
/// ```
/// use std::io;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use atrest::{BlockDevice, FormatOptions, MemoryDevice, Protector, Volume};
/// # use atrest::key::Kdf;
/// # use atrest::volume::KeyslotOptions;
///
/// struct Counted {
///     device: MemoryDevice, // or a connection to where the bytes lie
///     written: AtomicU64,
/// }
///
/// impl BlockDevice for Counted {
///     fn size(&self) -> io::Result<u64> {
///         self.device.size()
///     }
///
///     fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
///         self.device.read_at(offset, bytes)
///     }
///
///     fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
///         self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
///         self.device.write_at(offset, bytes)
///     }
///
///     fn sync(&self) -> io::Result<()> {
///         self.device.sync()
///     }
/// }
///
/// let device = Counted { device: MemoryDevice::new(32 << 20), written: AtomicU64::new(0) };
/// let options = FormatOptions::new();
/// # let kdf = Kdf::Pbkdf2 { hash: atrest::key::HashAlgorithm::Sha256, iterations: 1000 };
/// # let options = options.keyslot(KeyslotOptions::new().kdf(kdf));
/// let volume = Volume::format(device, Protector::Passphrase(b"correct horse battery staple"), &options)?;
/// let before = volume.device().written.load(Ordering::Relaxed);
/// volume.write_at(0, &[0x5a; 8192])?;
/// assert_eq!(volume.device().written.load(Ordering::Relaxed), before + 8192);
/// # Ok::<(), atrest::Error>(())
/// ```
pub trait BlockDevice: Send + Sync {
    /// The size in bytes.
    ///
    /// # Errors
    /// The device's error.
    fn size(&self) -> io::Result<u64>;

    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// The device's error; [`io::ErrorKind::UnexpectedEof`] if the device ends before `bytes` is full.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The device's error. A part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// As [`write_at`](Self::write_at), from a buffer that the device may change: a [`Volume`](crate::Volume) encrypts it in
    /// place. The content of `bytes` afterwards is not defined.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_in_place(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.write_at(offset, bytes)
    }

    /// As [`read_at`](Self::read_at), into several buffers one after the other: `preadv`. The default reads each buffer alone.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn read_vectored_at(&self, mut offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        for buffer in buffers {
            self.read_at(offset, buffer)?;
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    /// As [`write_at`](Self::write_at), from several buffers one after the other: `pwritev`. The default writes each buffer
    /// alone.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_vectored_at(&self, mut offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        for buffer in buffers {
            self.write_at(offset, buffer)?;
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    /// Makes `len` bytes from `offset` zeros. The default writes zeros in pieces; a device with a faster way should override it.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        write_zeros(self, offset, len)
    }

    /// Tells the device that nobody needs the content of `len` bytes from `offset`, so that it can free their space. It is a
    /// hint: a device may free all of them, some or none, and the default does nothing. Until they are written again, reads of
    /// them return undefined bytes; the bytes around them stay.
    ///
    /// # Errors
    /// The device's error. If the device can't free space, that is no error.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }

    /// Makes the device larger, with zeros, or smaller. The new size is durable when this returns.
    ///
    /// # Errors
    /// The device's error; by default [`io::ErrorKind::Unsupported`], for devices whose size somebody else decides.
    fn set_size(&self, size: u64) -> io::Result<()> {
        let _ = size;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The alignment in bytes of offsets, lengths and addresses of reads and writes, as with `O_DIRECT`: a power of two. The
    /// library reads and writes unaligned data through an aligned buffer, so aligned buffers and sectors are faster. Beyond
    /// 4096, a crash while a header is written may damage both of its copies.
    fn alignment(&self) -> NonZero<usize> {
        NonZero::<usize>::MIN
    }

    /// Whether each write waits long for its answer, as from a network, or from a disk past the page cache. A volume then writes
    /// up to 1 MiB at once; otherwise it writes 128 KiB at once, which stays in the processor's cache. The default is true if
    /// [`alignment`](Self::alignment) is more than 1.
    fn has_latency(&self) -> bool {
        self.alignment().get() > 1
    }

    /// Returns when all that was written is on stable storage, with all that is needed to find it there.
    ///
    /// # Errors
    /// The device's error. Data written since the last sync may be lost.
    fn sync(&self) -> io::Result<()>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<D: BlockDevice + ?Sized> BlockDevice for $pointer {
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

            fn read_vectored_at(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
                (**self).read_vectored_at(offset, buffers)
            }

            fn write_vectored_at(&self, offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<()> {
                (**self).write_vectored_at(offset, buffers)
            }

            fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
                (**self).write_zeroes(offset, len)
            }

            fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
                (**self).discard(offset, len)
            }

            fn set_size(&self, size: u64) -> io::Result<()> {
                (**self).set_size(size)
            }

            fn alignment(&self) -> NonZero<usize> {
                (**self).alignment()
            }

            fn has_latency(&self) -> bool {
                (**self).has_latency()
            }

            fn sync(&self) -> io::Result<()> {
                (**self).sync()
            }
        }
    )*};
}

forward!(&D, Arc<D>);

/// Writes `len` zeros in pieces, as the default [`BlockDevice::write_zeroes`] does. It is for devices whose own way isn't
/// always available.
///
/// # Errors
/// As [`BlockDevice::write_at`].
pub fn write_zeros(device: &(impl BlockDevice + ?Sized), offset: u64, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let block = device.alignment().get();
    let most = CHUNK.next_multiple_of(block);
    let room = usize::try_from(len).map_or(most, |len| len.min(most));
    with_scratch(room, block, |zeros| {
        zeros.fill(0);
        let mut done = 0;
        while done < len {
            let now = (len - done).min(room as u64);
            device.write_at(offset + done, &zeros[..now as usize])?;
            done += now;
        }
        Ok(())
    })
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

    /// The device's content.
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

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut held = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let range = usize::try_from(len).ok().and_then(|len| range(offset, len, held.len()));
        held[range.ok_or(io::ErrorKind::WriteZero)?].fill(0);
        Ok(())
    }

    /// Makes the bytes zeros; no memory is freed.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        let more = size.saturating_sub(bytes.len());
        bytes.try_reserve(more).map_err(|_| io::ErrorKind::OutOfMemory)?;
        bytes.resize(size, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The whole blocks of a range of bytes, if it has one.
pub(super) fn whole_blocks(offset: u64, len: u64, block: u64) -> Option<Range<u64>> {
    let start = offset.checked_next_multiple_of(block)?;
    let end = offset.checked_add(len)? / block * block;
    (start < end).then_some(start..end)
}

fn range(offset: u64, len: usize, size: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(len).filter(|&end| end <= size)?;
    Some(start..end)
}
