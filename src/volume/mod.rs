//! [`Volume`]: an encrypted device.

mod device;
mod format;
mod header;
mod open;
mod rotate;

use core::cell::RefCell;
use core::fmt;
use std::sync::Mutex;

use crate::{Dek, Error, Result, SectorCipher, SectorSize};
use header::StoredHeader;

pub use device::{BlockDevice, FileDevice, MemoryDevice};
pub use format::FormatOptions;
pub use open::OpenOptions;

/// How many bytes are encrypted and handed to the device at once: a whole number of sectors of every size.
const CHUNK: usize = 128 << 10;

/// An encrypted device: a LUKS2 header, then sectors of AES-XTS (`aes-xts-plain64`).
///
/// Reads and writes are in whole sectors, at byte offsets from the start of the data. Any number of threads may read and
/// write at once; two that write the same sectors at once leave either's data in each sector, as on a disk.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.vault");
/// use atrest::key::{FileVault, Unlock};
/// use atrest::{Credential, FormatOptions, MemoryDevice, OpenOptions, Volume};
///
/// let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// vault.create_key("disks")?;
///
/// let volume = Volume::format(MemoryDevice::new(20 << 20), &vault, "disks", &FormatOptions::new())?;
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
    cipher: Box<SectorCipher>,
    dek: Dek,
    layout: Layout,
    read_only: bool,
    header: Mutex<StoredHeader>,
}

/// Where the data is and how its sectors are numbered.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// The first byte of the data on the device.
    data_offset: u64,
    /// The size of the data in bytes, a multiple of the sector size.
    size: u64,
    /// The number of the first sector, in units of 512 bytes.
    iv_tweak: u64,
    sector_size: SectorSize,
}

impl<D: BlockDevice> Volume<D> {
    /// The size of the data in bytes: what can be read and written.
    pub fn size(&self) -> u64 {
        self.layout.size
    }

    /// The sector size: offsets and lengths of reads and writes are multiples of it.
    pub fn sector_size(&self) -> SectorSize {
        self.layout.sector_size
    }

    /// Where the data begins on the device, in bytes.
    pub fn data_offset(&self) -> u64 {
        self.layout.data_offset
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The DEK, for those who wrap it elsewhere too.
    pub fn dek(&self) -> &Dek {
        &self.dek
    }

    /// The device below.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Ends the volume and gives the device back. What was written and not synced may not have reached the disk.
    pub fn into_device(self) -> D {
        self.device
    }

    /// Reads and decrypts `sectors.len()` bytes from `offset`.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::OutOfBounds`]; [`Error::Io`]. What `sectors` holds after [`Error::Io`] is not
    /// defined.
    pub fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        let place = self.layout.place(offset, sectors.len())?;
        let read = self.device.read_at(place.device_offset, sectors);
        read.map_err(|e| Error::io(format!("reading {} bytes at offset {offset}", sectors.len()), e))?;
        self.cipher.decrypt(place.first_sector, sectors)
    }

    /// Encrypts and writes `sectors` at `offset`. They are on the disk for sure after [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Misaligned`]; [`Error::OutOfBounds`]; [`Error::Io`], after which a part may have
    /// been written.
    pub fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let place = self.layout.place(offset, sectors.len())?;
        // Taken out of its place while the device writes: the device may be a volume itself, and come here again.
        let mut scratch = SCRATCH.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice());
        let written = self.write_chunks(offset, place, sectors, &mut scratch);
        SCRATCH.with_borrow_mut(|spare| spare.push(scratch));
        written
    }

    fn write_chunks(&self, offset: u64, place: Place, sectors: &[u8], scratch: &mut [u8]) -> Result<()> {
        let (mut device_offset, mut first_sector) = (place.device_offset, place.first_sector);
        for chunk in sectors.chunks(CHUNK) {
            let ciphertext = &mut scratch[..chunk.len()];
            self.cipher.encrypt_to(first_sector, chunk, ciphertext)?;
            let written = self.device.write_at(device_offset, ciphertext);
            written.map_err(|e| Error::io(format!("writing {} bytes at offset {offset}", sectors.len()), e))?;
            device_offset += chunk.len() as u64;
            first_sector += (chunk.len() / 512) as u64;
        }
        Ok(())
    }

    /// Makes what was written last: returns when the device says that it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`]: what was written since the last sync may be lost.
    pub fn sync(&self) -> Result<()> {
        self.device.sync().map_err(|e| Error::io("syncing the device", e))
    }
}

thread_local! {
    /// Room for ciphertext on its way to the device, kept by each thread, so that a write allocates nothing: one for each
    /// volume that lies on another.
    static SCRATCH: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Where a read or write lands.
struct Place {
    device_offset: u64,
    first_sector: u64,
}

impl Layout {
    fn place(&self, offset: u64, len: usize) -> Result<Place> {
        let sector_size = self.sector_size.bytes();
        if !offset.is_multiple_of(u64::from(sector_size)) || !len.is_multiple_of(sector_size as usize) {
            return Err(Error::Misaligned { offset, len, sector_size });
        }
        if offset.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(Error::OutOfBounds { offset, len, size: self.size });
        }
        // Neither sum can wrap: `check` made sure of it for the whole size.
        Ok(Place { device_offset: self.data_offset + offset, first_sector: self.iv_tweak + offset / 512 })
    }

    /// Refuses a layout in which an offset or a sector number could go over 2^64 - 1.
    fn check(self) -> Result<Self> {
        let fits =
            self.data_offset.checked_add(self.size).is_some() && self.iv_tweak.checked_add(self.size / 512).is_some();
        if fits { Ok(self) } else { Err(Error::SectorOverflow { first_sector: self.iv_tweak }) }
    }
}

impl<D> fmt::Debug for Volume<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("layout", &self.layout)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
