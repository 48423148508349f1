//! I/O that its caller does: the volume says where, encrypts before and decrypts after.

#[cfg(feature = "managed")]
use super::io::write_failed;
use super::layout::Place;
use super::{BlockDevice, Volume};
use crate::{Error, Result};

/// A run of sectors that its caller reads or writes on the device: see [`Volume::begin_read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRun {
    offset: u64,
    device_offset: u64,
    len: usize,
}

impl DeviceRun {
    /// One that lies elsewhere by what is below its volume.
    #[cfg(feature = "managed")]
    pub(crate) fn new(offset: u64, device_offset: u64, len: usize) -> Self {
        DeviceRun { offset, device_offset, len }
    }

    /// Where in the volume's data it begins, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where on the device it begins, in bytes.
    pub fn device_offset(&self) -> u64 {
        self.device_offset
    }

    /// How many bytes it has.
    #[expect(clippy::len_without_is_empty, reason = "it is a length that the caller gave")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Refuses a buffer of another length.
    pub(crate) fn check_len(&self, sectors: &[u8]) -> Result<()> {
        let (src, dst) = (self.len, sectors.len());
        if src == dst { Ok(()) } else { Err(Error::LengthMismatch { src, dst }) }
    }
}

/// For engines with queues, such as those of `io_uring`, vhost-user and SPDK, which do their own I/O and don't wait for it:
/// between the beginning and the completion of a request the caller reads or writes the device, in whatever way.
///
/// ```
/// use atrest::volume::DeviceRun;
/// use atrest::{BlockDevice, FormatOptions, MemoryDevice, Protector, Volume};
/// # use atrest::volume::KeyslotOptions;
/// # use atrest::key::Kdf;
/// # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
/// # let options = FormatOptions::new().keyslot(cheap);
/// # let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"secret"), &options)?;
///
/// let mut sectors = [7; 4096];
/// let write = volume.begin_write(8192, &mut sectors)?; // `sectors` hold ciphertext now
/// volume.device().write_at(write.device_offset(), &sectors).unwrap(); // or a queue's entry
///
/// let read = volume.begin_read(8192, 4096)?;
/// volume.device().read_at(read.device_offset(), &mut sectors).unwrap(); // or a queue's entry
/// volume.complete_read(&read, &mut sectors)?;
/// assert_eq!(sectors, [7; 4096]);
/// # Ok::<(), atrest::Error>(())
/// ```
impl<D: BlockDevice> Volume<D> {
    /// Says where on the device `len` bytes from `offset` are. The caller reads them, and hands them to
    /// [`complete_read`](Self::complete_read). Nothing is held meanwhile: a read may be given up.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::OutOfBounds`]; [`Error::UnsupportedHeader`] where they lie in several segments.
    pub fn begin_read(&self, offset: u64, len: usize) -> Result<DeviceRun> {
        self.check_read(offset, len)?;
        Ok(DeviceRun { offset, device_offset: self.run_at(offset, len)?.device_offset, len })
    }

    /// Decrypts what was read.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] for a buffer of another length than the read's; those of [`begin_read`](Self::begin_read)
    /// for another volume's read. `sectors` are untouched then.
    pub fn complete_read(&self, read: &DeviceRun, sectors: &mut [u8]) -> Result<()> {
        read.check_len(sectors)?;
        self.check_read(read.offset, sectors.len())?;
        let Place { first_sector, cipher, .. } = self.run_at(read.offset, sectors.len())?;
        cipher.map_or(Ok(()), |cipher| cipher.decrypt(first_sector, sectors))
    }

    /// Encrypts `sectors` where they lie, and says where on the device the caller is to write them. They are on the disk for
    /// sure once that is done, and the device is synced.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::KeyExhausted`]; those of [`begin_read`](Self::begin_read). `sectors` are untouched then.
    pub fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<DeviceRun> {
        let place = self.writable_at(offset, sectors.len())?;
        place.cipher.map_or(Ok(()), |cipher| cipher.encrypt(place.first_sector, sectors))?;
        Ok(DeviceRun { offset, device_offset: place.device_offset, len: sectors.len() })
    }

    /// As [`begin_write`](Self::begin_write), of `sectors` that must not be changed, such as a guest's memory: `ciphertext`,
    /// of the same length, is what the caller is to write.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`]; those of [`begin_write`](Self::begin_write). `ciphertext` is untouched then.
    pub fn begin_write_from(&self, offset: u64, sectors: &[u8], ciphertext: &mut [u8]) -> Result<DeviceRun> {
        let place = self.writable_at(offset, sectors.len())?;
        let run = DeviceRun { offset, device_offset: place.device_offset, len: sectors.len() };
        run.check_len(ciphertext)?;
        match place.cipher {
            Some(cipher) => cipher.encrypt_to(place.first_sector, sectors, ciphertext)?,
            None => ciphertext.copy_from_slice(sectors),
        }
        Ok(run)
    }

    /// Does what the caller is to do after [`begin_write`](Self::begin_write).
    #[cfg(feature = "managed")]
    pub(crate) fn write_ciphertext(&self, run: &DeviceRun, ciphertext: &[u8]) -> Result<()> {
        let written = self.device.write_at(run.device_offset, ciphertext);
        written.map_err(|e| write_failed(run.offset, run.len, e))
    }

    fn writable_at(&self, offset: u64, len: usize) -> Result<Place<'_>> {
        self.check_write(offset, len)?;
        self.run_at(offset, len)
    }

    fn run_at(&self, offset: u64, len: usize) -> Result<Place<'_>> {
        self.layout.one_place(offset, len).ok_or_else(|| {
            let text = "the request lies in several segments of the volume; use read_at and write_at, which cut it";
            Error::UnsupportedHeader(text.into())
        })
    }
}
