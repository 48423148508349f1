//! Opening data without a header: plain mappings of dm-crypt, and disks of SPDK and ubiblk.

use super::aligned::Aligned;
use super::data_area::Crypt;
use super::headers::{NoHeader, StoredHeader};
use super::keys::{Key, Keys, Under};
use super::live::Live;
use super::{BlockDevice, Volume};
use crate::approval;
use crate::arch::on_wiped_stack;
use crate::cipher::CipherSpec;
use crate::{Dek, Error, Result, SectorSize, TooSmall};

/// The place and the encryption of data without a header.
///
/// | made by | cipher | sector size |
/// |---|---|---|
/// | `cryptsetup open --type plain` | that of `--cipher` | that of `--sector-size`, 512 by default |
/// | the same with `--iv-large-sectors` | [with large sectors](CipherSpec::with_large_sectors) | that of `--sector-size` |
/// | SPDK's `bdev_crypto` on its software module | [`AesXtsUpperHalf`](CipherSpec::AesXtsUpperHalf) | the block size of the device below |
/// | ubiblk | [`AesXtsUpperHalf`](CipherSpec::AesXtsUpperHalf) | 512 |
///
/// SPDK's key is its `key` followed by its `key2`. Its other modules number sectors by `tweak_mode`. `SIMPLE_LBA` in the modules
/// that put the number into the lower half is [`AesXtsPlain64Large`](CipherSpec::AesXtsPlain64Large).
#[derive(Debug, Clone)]
pub struct PlainOptions {
    cipher: CipherSpec,
    sector_size: SectorSize,
    offset: u64,
    size: Option<u64>,
    first_number: u64,
    read_only: bool,
    discard: bool,
    used_blocks: u64,
}

impl PlainOptions {
    /// All of the device, for reading and writing, in sectors of 512 bytes that are numbered from 0.
    pub fn new(cipher: CipherSpec) -> Self {
        let sector_size = SectorSize::B512;
        let (offset, size, first_number, used_blocks) = (0, None, 0, 0);
        PlainOptions { cipher, sector_size, offset, size, first_number, read_only: false, discard: false, used_blocks }
    }

    /// The size of the cipher's sectors: 512, 1024, 2048 or 4096 bytes.
    pub fn sector_size(mut self, size: SectorSize) -> Self {
        self.sector_size = size;
        self
    }

    /// The first byte of the data on the device, a multiple of 512: `--offset` of `cryptsetup`, times 512.
    pub fn offset(mut self, bytes: u64) -> Self {
        self.offset = bytes;
        self
    }

    /// The size of the data in bytes, a multiple of the sector size: `--size` of `cryptsetup`, times 512. Without it, the data
    /// goes to the end of the device.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// The number of the first sector, in units of 512 bytes: `--skip` of `cryptsetup`.
    pub fn first_number(mut self, units: u64) -> Self {
        self.first_number = units;
        self
    }

    /// Whether to write nothing at all.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether [`Volume::discard`] is passed on: see [`OpenOptions::discard`](super::OpenOptions::discard).
    pub fn discard(mut self, discard: bool) -> Self {
        self.discard = discard;
        self
    }

    /// The number of blocks that the key has encrypted before: see [`OpenOptions::used_blocks`](super::OpenOptions::used_blocks).
    pub fn used_blocks(mut self, blocks: u64) -> Self {
        self.used_blocks = blocks;
        self
    }

    fn crypt(&self) -> Result<Crypt> {
        let bad = |text: String| Err(Error::InvalidOption(text));
        let (bytes, units) = (u64::from(self.sector_size.bytes()), u64::from(self.sector_size.bytes() / 512));
        if !matches!(bytes, 512 | 1024 | 2048 | 4096) {
            return bad(format!("sectors have 512, 1024, 2048 or 4096 bytes here, not {bytes}"));
        }
        if !self.offset.is_multiple_of(512) {
            return bad(format!("the data begins at byte {}, which is no multiple of 512", self.offset));
        }
        if self.size.is_some_and(|size| size == 0 || !size.is_multiple_of(bytes)) {
            return bad(format!("the data's size is no whole number of sectors of {bytes} bytes"));
        }
        if self.cipher.large && !self.first_number.is_multiple_of(units) {
            let (cipher, first) = (self.cipher.name(), self.first_number);
            return bad(format!("{cipher} counts sectors of {bytes} bytes, and {first} (units of 512) is within one"));
        }
        Ok(Crypt {
            iv_tweak: self.first_number,
            sector_size: self.sector_size,
            cipher: self.cipher,
            under: Under::Current,
        })
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Opens data that has no header, such as a plain mapping of dm-crypt, with the key, the cipher and the place that the caller
    /// knows. `device` is dropped on failure.
    ///
    /// **Nothing proves that these are right.** With a wrong key, cipher, sector size, offset or number, reads return noise, and
    /// writes destroy data. Try it with [`PlainOptions::read_only`] first. Calls that need a header fail on such a volume with
    /// [`Error::UnsupportedHeader`].
    ///
    /// Make the key with [`hazmat::dek_from_bytes_for`](crate::hazmat::dek_from_bytes_for), or from a passphrase with
    /// [`hazmat::plain_dek`](crate::hazmat::plain_dek).
    ///
    /// ```
    /// use atrest::cipher::CipherSpec;
    /// use atrest::volume::PlainOptions;
    /// use atrest::{MemoryDevice, SectorSize, Volume, hazmat};
    ///
    /// // A disk of SPDK's, with blocks of 4096 bytes.
    /// let key: Vec<u8> = (0..64).collect();
    /// let options = PlainOptions::new(CipherSpec::AesXtsUpperHalf).sector_size(SectorSize::B4096);
    /// let disk = MemoryDevice::new(1 << 20);
    /// let volume = Volume::hazmat_open_plain(disk, &hazmat::dek_from_bytes(&key)?, &options)?;
    /// assert_eq!(volume.size(), 1 << 20);
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::UnsupportedAlgorithm`] if the DEK is for another cipher; [`Error::DeviceTooSmall`];
    /// [`Error::NotApproved`]; [`Error::SelfTest`]; [`Error::Io`].
    pub fn hazmat_open_plain(device: D, dek: &Dek, options: &PlainOptions) -> Result<Self> {
        let open = || {
            let device = Aligned::new(device);
            let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
            let header = NoHeader { offset: options.offset, size: options.size, crypt: options.crypt()? };
            let data = header.data_area(false)?;
            let mut keys = Keys::new(Key::new(dek.clone(), options.used_blocks), None);
            let layout = data.layout(size, &mut keys).map_err(|e| e.too_small_for(TooSmall::Plain))?;
            let read_only = options.read_only || options.cipher.is_read_only();
            let volume = Self::new(device, None, Live::new(keys, data, layout), Box::new(header));
            Ok::<_, Error>(Volume { read_only, discards: options.discard, ..volume })
        };
        let (volume, made_by) = approval::observe(|| on_wiped_stack(open));
        Ok(Volume { made_by, ..volume? })
    }
}
