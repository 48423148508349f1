//! [`Volume`]: an encrypted device.

mod backup;
mod data_area;
mod device;
mod format;
mod header;
mod headers;
mod info;
mod layout;
mod open;
mod protect;
mod rotate;
pub(crate) mod signature;
mod unlock;

use core::cell::RefCell;
use core::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use crate::approval::Approval;
use crate::cipher::CipherSpec;
use crate::usage::{self, KeyUsage};
use crate::{Dek, Error, Result, SectorSize};
use data_area::DataArea;
use headers::StoredHeader;
use layout::{Layout, Place};

pub use crate::ondisk::luks::{Label, LuksVersion, Priority};
pub use device::{BlockDevice, FileDevice, MemoryDevice};
pub use format::FormatOptions;
pub use header::Header;
pub use info::{DigestInfo, KeyslotInfo, ProtectorId, SegmentInfo, TokenInfo};
#[cfg(feature = "managed")]
pub(crate) use open::Closed;
pub use open::OpenOptions;
pub use protect::KeyslotOptions;

/// The number of bytes encrypted and written at once: a whole number of sectors of any size.
const CHUNK: usize = 128 << 10;

/// An encrypted device: a header of LUKS2 or LUKS1, and sectors of AES-XTS (`aes-xts-plain64`), or of another cipher in
/// an old volume.
///
/// Reads and writes are in whole sectors, at byte offsets from the start of the data. Any number of threads may read
/// and write at once. If two write the same sectors at once, each sector ends up with the data of either, as on a disk.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.vault");
/// use atrest::vault::{FileVault, Unlock};
/// use atrest::{Credential, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};
///
/// let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// vault.create_key("disks")?;
///
/// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Vault(&vault, "disks"), &FormatOptions::new())?;
/// volume.write_at(4096, &[7; 1024])?;
/// volume.sync()?;
///
/// let volume = Volume::open(volume.into_device(), Credential::Vault(&vault), &OpenOptions::new())?;
/// let mut sectors = [0; 1024];
/// volume.read_at(4096, &mut sectors)?;
/// assert_eq!(sectors, [7; 1024]);
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct Volume<D> {
    device: D,
    /// The device of a detached header.
    header_device: Option<Arc<dyn BlockDevice>>,
    dek: Dek,
    data: DataArea,
    layout: Layout,
    read_only: bool,
    /// The approval of opening or formatting it.
    made_by: Approval,
    /// The blocks that its key had encrypted before.
    used_blocks: u64,
    header: Mutex<Box<dyn StoredHeader>>,
}

impl<D: BlockDevice> Volume<D> {
    /// The size of the data in bytes.
    pub fn size(&self) -> u64 {
        self.layout.size
    }

    /// The sector size. Offsets and lengths of reads and writes must be multiples of it.
    pub fn sector_size(&self) -> SectorSize {
        self.layout.sector_size
    }

    /// The first byte of the data on the device.
    pub fn data_offset(&self) -> u64 {
        self.layout.extents[0].device_offset
    }

    /// The cipher of the data, in dm-crypt's notation.
    pub fn cipher(&self) -> CipherSpec {
        self.data.cipher
    }

    /// Whether everything uses [approved](crate::approval) algorithms: the data's cipher, and the way in which the
    /// volume was opened or formatted (a vault's key, a KDF, the header's digest).
    pub fn approval(&self) -> Approval {
        self.made_by.and(self.data.cipher.approval())
    }

    /// How much its key has encrypted: [`OpenOptions::used_blocks`] and every block written since. Store it when you
    /// close the volume, to find out when its key is due for replacement.
    pub fn usage(&self) -> KeyUsage {
        let ciphers = self.layout.extents.iter().filter_map(|extent| extent.cipher.as_ref());
        let written = ciphers.map(|cipher| cipher.usage().blocks());
        KeyUsage::new(written.fold(self.used_blocks, u64::saturating_add))
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The DEK, for wrapping it elsewhere too.
    pub fn dek(&self) -> &Dek {
        &self.dek
    }

    /// The fingerprint of its DEK. Keep it apart from the disk and demand it with [`OpenOptions::expect`]: see
    /// [`Fingerprint`](crate::Fingerprint).
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn fingerprint(&self) -> Result<crate::Fingerprint> {
        self.dek.fingerprint()
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Closes the volume and returns the device. Data that was not synced may not have reached the disk.
    pub fn into_device(self) -> D {
        self.device
    }

    /// Reads and decrypts `sectors.len()` bytes from `offset`.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::OutOfBounds`]; [`Error::Io`], after which the content of `sectors` is undefined.
    pub fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.dek.check()?;
        self.layout.check(offset, sectors.len())?;
        let len = sectors.len();
        for place in self.layout.places(offset, len) {
            let part = &mut sectors[place.within];
            let read = self.device.read_at(place.device_offset, part);
            read.map_err(|e| Error::io(format!("reading {len} bytes at offset {offset}"), e))?;
            if let Some(cipher) = place.cipher {
                cipher.decrypt(place.first_sector, part)?;
            }
        }
        Ok(())
    }

    /// Encrypts and writes `sectors` at `offset`. [`sync`](Self::sync) ensures that they are on the disk.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Misaligned`]; [`Error::OutOfBounds`]; [`Error::KeyExhausted`]; [`Error::Io`], after
    /// which a part may have been written.
    pub fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        self.dek.check()?;
        self.layout.check(offset, sectors.len())?;
        self.usage().check(usage::blocks(sectors.len()))?;
        // Take the buffer out while the device writes: the device may be a volume itself, and its write comes here
        // again.
        let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
        let written = self.layout.places(offset, sectors.len()).try_for_each(|place| {
            let part = &sectors[place.within.clone()];
            let failed = |e| Error::io(format!("writing {} bytes at offset {offset}", sectors.len()), e);
            self.write_chunks(place, part, &mut scratch, failed)
        });
        SCRATCH.with_borrow_mut(|spare| spare.push(scratch));
        written
    }

    fn write_chunks(
        &self,
        place: Place<'_>,
        sectors: &[u8],
        scratch: &mut [u8],
        failed: impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        let Place { mut device_offset, mut first_sector, cipher, .. } = place;
        let Some(cipher) = cipher else { return self.device.write_at(device_offset, sectors).map_err(failed) };
        for chunk in sectors.chunks(CHUNK) {
            let ciphertext = &mut scratch[..chunk.len()];
            cipher.encrypt_to(first_sector, chunk, ciphertext)?;
            self.device.write_at(device_offset, ciphertext).map_err(&failed)?;
            device_offset += chunk.len() as u64;
            first_sector += (chunk.len() / 512) as u64;
        }
        Ok(())
    }

    /// Makes earlier writes durable: waits until the device reports that they are on the disk.
    ///
    /// # Errors
    /// [`Error::Io`]: data written since the last sync may be lost.
    pub fn sync(&self) -> Result<()> {
        self.device.sync().map_err(|e| Error::io("syncing the device", e))
    }
}

thread_local! {
    /// Each thread's buffers for ciphertext on its way to the device, so that a write allocates nothing. There is one
    /// for each volume in a stack of volumes.
    static SCRATCH: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A volume is a device itself. Another volume can lie on it, for two layers of encryption.
impl<D: BlockDevice> BlockDevice for Volume<D> {
    fn size(&self) -> io::Result<u64> {
        Ok(Volume::size(self))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        Volume::read_at(self, offset, bytes).map_err(device_error)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Volume::write_at(self, offset, bytes).map_err(device_error)
    }

    fn sync(&self) -> io::Result<()> {
        Volume::sync(self).map_err(device_error)
    }
}

/// Passes on the inner device's error unchanged.
fn device_error(error: Error) -> io::Error {
    if let Error::Io { source, .. } = error { source } else { io::Error::other(error) }
}

impl<D> fmt::Debug for Volume<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("cipher", &self.data.cipher)
            .field("size", &self.layout.size)
            .field("sector_size", &self.layout.sector_size)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
