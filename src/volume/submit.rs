//! I/O done by the caller: the volume says where, encrypts before writes and decrypts after reads.

use super::layout::Place;
use super::live::State;
use super::{BlockDevice, Volume};
use crate::{Error, Result};

/// Sectors that a queue reads and writes on the device itself: those of a [`Volume`], or of an `OpenDisk` of a managed disk. The
/// queues of `atrest-uring` and `atrest-rbd` take either.
pub trait Sectors: Send + Sync {
    /// A guard that is kept while a write is under way, and dropped when it is done.
    type Write: Send;

    /// See [`Volume::begin_read`].
    ///
    /// # Errors
    /// Its errors.
    fn begin_read(&self, offset: u64, len: usize) -> Result<u64>;

    /// See [`Volume::complete_read`].
    ///
    /// # Errors
    /// Its errors.
    fn complete_read(&self, offset: u64, sectors: &mut [u8]) -> Result<()>;

    /// See [`Volume::begin_write`]. Returns the offset on the device, and a guard to keep until the device has answered.
    ///
    /// # Errors
    /// Its errors.
    fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<(u64, Self::Write)>;
}

impl<D: BlockDevice> Sectors for Volume<D> {
    type Write = ();

    fn begin_read(&self, offset: u64, len: usize) -> Result<u64> {
        self.begin_read(offset, len)
    }

    fn complete_read(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.complete_read(offset, sectors)
    }

    fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<(u64, ())> {
        Ok((self.begin_write(offset, sectors)?, ()))
    }
}

/// For engines with queues, such as those of `io_uring`, vhost-user and SPDK, which do their own I/O and don't wait for it:
/// between the beginning and the completion of a request the caller reads or writes the device itself.
///
/// During a re-encryption these fail with [`Error::Busy`]. A request may not be under way when one begins: the volume
/// doesn't know of it, and its sectors may be elsewhere, or under another key, when it completes.
///
/// ```
/// use atrest::{BlockDevice, FormatOptions, MemoryDevice, Protector, Volume};
/// # use atrest::volume::KeyslotOptions;
/// # use atrest::key::Kdf;
/// # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
/// # let options = FormatOptions::new().keyslot(cheap);
/// # let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"secret"), &options)?;
///
/// let mut sectors = [7; 4096];
/// let device_offset = volume.begin_write(8192, &mut sectors)?; // `sectors` hold ciphertext now
/// volume.device().write_at(device_offset, &sectors).unwrap(); // or a queue's entry
///
/// let device_offset = volume.begin_read(8192, 4096)?;
/// volume.device().read_at(device_offset, &mut sectors).unwrap(); // or a queue's entry
/// volume.complete_read(8192, &mut sectors)?;
/// assert_eq!(sectors, [7; 4096]);
/// # Ok::<(), atrest::Error>(())
/// ```
impl<D: BlockDevice> Volume<D> {
    /// Returns the byte offset on the device of `len` bytes from `offset`. The caller reads them, and passes them to
    /// [`complete_read`](Self::complete_read). Nothing is held meanwhile, so a read may be abandoned.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::OutOfBounds`]; [`Error::UnsupportedHeader`] where they lie in several segments.
    pub fn begin_read(&self, offset: u64, len: usize) -> Result<u64> {
        self.define(offset, len)?;
        let state = self.live.to_read(offset, len)?;
        Ok(place_of(&state, offset, len)?.device_offset)
    }

    /// Decrypts the sectors that the caller has read from the device: those from `offset`.
    ///
    /// # Errors
    /// Those of [`begin_read`](Self::begin_read). `sectors` are untouched then.
    pub fn complete_read(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        let state = self.live.to_read(offset, sectors.len())?;
        let Place { first_sector, cipher, .. } = place_of(&state, offset, sectors.len())?;
        cipher.map_or(Ok(()), |cipher| cipher.decrypt(first_sector, sectors))?;
        if let Some(written) = &self.written {
            let blank = written.runs(offset, sectors.len() as u64).filter(|(_, is_written)| !is_written);
            blank.for_each(|(run, _)| sectors[(run.start - offset) as usize..(run.end - offset) as usize].fill(0));
        }
        Ok(())
    }

    /// Encrypts `sectors` in place, and returns the offset on the device where the caller must write them. They are durable once
    /// they are written and the device is synced.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::KeyExhausted`]; those of [`begin_read`](Self::begin_read). `sectors` are untouched then.
    pub fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<u64> {
        self.define(offset, sectors.len())?;
        let state = self.open_for_write(offset, sectors.len())?;
        let place = place_of(&state, offset, sectors.len())?;
        place.cipher.map_or(Ok(()), |cipher| cipher.encrypt(place.first_sector, sectors))?;
        Ok(place.device_offset)
    }

    /// As [`begin_write`](Self::begin_write), for `sectors` that must not be changed, such as a guest's memory: the caller
    /// writes `ciphertext`, of the same length.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`]; those of [`begin_write`](Self::begin_write). `ciphertext` is untouched then.
    pub fn begin_write_from(&self, offset: u64, sectors: &[u8], ciphertext: &mut [u8]) -> Result<u64> {
        self.define(offset, sectors.len())?;
        let state = self.open_for_write(offset, sectors.len())?;
        let place = place_of(&state, offset, sectors.len())?;
        if sectors.len() != ciphertext.len() {
            return Err(Error::LengthMismatch { src: sectors.len(), dst: ciphertext.len() });
        }
        match place.cipher {
            Some(cipher) => cipher.encrypt_to(place.first_sector, sectors, ciphertext)?,
            None => ciphertext.copy_from_slice(sectors),
        }
        Ok(place.device_offset)
    }

    /// Writes the ciphertext to the device, as callers do after [`begin_write`](Self::begin_write).
    #[cfg(feature = "managed")]
    pub(crate) fn write_ciphertext(&self, device_offset: u64, ciphertext: &[u8]) -> Result<()> {
        let written = self.device.write_at(device_offset, ciphertext);
        let what = || format!("writing {} bytes at offset {device_offset} of the device", ciphertext.len());
        written.map_err(|e| Error::io(what(), e))
    }
}

fn place_of(state: &State, offset: u64, len: usize) -> Result<Place<'_>> {
    if state.data.moving.is_some() {
        let what =
            "the volume, whose re-encryption moves what is read and written (use read_at and write_at meanwhile),";
        return Err(Error::Busy { what: what.into() });
    }
    state.layout.one_place(offset, len).ok_or_else(|| {
        let text = "the request lies in several segments of the volume; use read_at and write_at, which cut it";
        Error::UnsupportedHeader(text.into())
    })
}
