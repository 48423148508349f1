//! The sector engine: XTS-AES over runs of sectors (IEEE 1619-2018, NIST SP 800-38E); and AES-CTR over streams of bytes
//! ([`StreamCipher`]), for files that are read and written at any byte.
//!
//! XTS protects a sector's content against an attacker who sees the disk once. It does not detect changes. To an
//! attacker who sees the disk twice, it reveals which 16-byte blocks of a sector changed. The README says more.

#[cfg(feature = "legacy")]
mod adiantum;
#[cfg(feature = "std")]
mod blocks;
#[cfg(feature = "std")]
mod cbc;
#[cfg(feature = "std")]
mod dm;
#[cfg(feature = "bitlocker")]
mod elephant;
#[cfg(feature = "std")]
mod hctr2;
mod known_answers;
#[cfg(feature = "std")]
mod names;
mod sector;
#[cfg(feature = "std")]
mod sectors;
mod segments;
pub(crate) mod self_test;
#[cfg(feature = "std")]
mod spec;
mod stream;

pub use crate::arch::KernelKind;
#[cfg(feature = "std")]
pub use dm::DmCipher;
pub use sector::{SectorSize, SectorUnit};
#[cfg(feature = "std")]
pub use spec::CipherSpec;
#[cfg(feature = "std")]
pub(crate) use spec::{BlockCipher, Mode};
pub use stream::StreamCipher;

use core::hint::black_box;

use aes::cipher::inout::InOutBuf;

use crate::approval::Approval;
use crate::arch::{DataUnits, Direction, Store, XtsKernel, wipe_expansion};
use crate::usage::{self, Counter, KeyUsage};
use crate::{Error, Result, latch};

/// The size of an AES block in bytes.
pub const BLOCK: usize = 16;

/// The largest data unit: 2^20 blocks, 16 MiB (IEEE 1619-2018, 5.1; SP 800-38E, 4).
pub const MAX_DATA_UNIT: usize = BLOCK << 20;

/// An expanded XTS key, with the size and numbering of sectors.
///
/// One value serves any number of threads. It allocates and locks nothing after it is made. Its round keys are wiped
/// when it is dropped. The argument `first_sector` counts in the cipher's [`SectorUnit`].
///
/// ```
/// use atrest::{Error, SectorCipher, SectorSize, SectorUnit};
///
/// let key: [u8; 64] = core::array::from_fn(|i| i as u8);
/// let cipher = SectorCipher::new(&key, SectorSize::B4096, SectorUnit::Sector)?;
/// let mut pages = [0u8; 3 * 4096];
/// cipher.encrypt(1, &mut pages)?; // pages 1, 2 and 3
/// assert_ne!(pages, [0u8; 3 * 4096]);
/// cipher.decrypt(1, &mut pages)?;
/// assert_eq!(pages, [0u8; 3 * 4096]);
///
/// // Where numbers count units of 512 bytes, as on disks of LUKS, page 1 is sector 8.
/// let disk = SectorCipher::new(&key, SectorSize::B4096, SectorUnit::Bytes512)?;
/// disk.encrypt(8, &mut pages)?;
/// assert!(matches!(disk.encrypt(1, &mut pages), Err(Error::SectorNumber { .. })));
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct SectorCipher {
    kernel: XtsKernel,
    used: Counter,
    sector_size: SectorSize,
    unit: SectorUnit,
    /// Replaces padding. A move could fill padding with bytes of the stack, such as pieces of keys.
    _rest: [u8; REST],
}

const MORE: usize = size_of::<Counter>() + size_of::<SectorSize>() + size_of::<SectorUnit>();
const REST: usize = MORE.next_multiple_of(align_of::<XtsKernel>()) - MORE;
const _: () = assert!(size_of::<SectorCipher>() == size_of::<XtsKernel>() + MORE + REST);

impl SectorCipher {
    /// Expands `key` for sectors of `sector_size`, numbered in `unit`s.
    ///
    /// `key` is the data key followed by the tweak key: 32 bytes for AES-128-XTS, 64 bytes for AES-256-XTS.
    ///
    /// # Errors
    /// [`Error::KeyLength`]; [`Error::EqualKeyHalves`]; [`Error::SectorSize`] if `unit` counts 512 bytes and
    /// `sector_size` isn't a multiple of 512.
    #[inline(always)]
    pub fn new(key: &[u8], sector_size: SectorSize, unit: SectorUnit) -> Result<Self> {
        let mut cipher = Self::blank(key, sector_size, unit, None);
        Self::fill(&mut cipher, key)?;
        cipher
    }

    /// Expands `key` for one kernel, to measure it or to compare it with others.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::KernelUnavailable`] if this CPU can't run it.
    #[inline(always)]
    pub fn with_kernel(key: &[u8], sector_size: SectorSize, unit: SectorUnit, kind: KernelKind) -> Result<Self> {
        let mut cipher = Self::blank(key, sector_size, unit, Some(kind));
        Self::fill(&mut cipher, key)?;
        cipher
    }

    /// As [`new`](Self::new), in a box. The move into it leaves no key on the stack.
    #[cfg(feature = "std")]
    pub(crate) fn boxed(key: &[u8], sector_size: SectorSize, unit: SectorUnit) -> Result<std::boxed::Box<Self>> {
        #[inline(never)]
        fn blank(key: &[u8], sector_size: SectorSize, unit: SectorUnit) -> Result<std::boxed::Box<SectorCipher>> {
            SectorCipher::made(key, sector_size, unit, None).map(std::boxed::Box::new)
        }
        let (kind, cipher) = match blank(key, sector_size, unit) {
            Ok(mut cipher) => (Some(cipher.kernel()), cipher.expand(key).map(|()| cipher)),
            Err(error) => (None, Err(error)),
        };
        wipe_expansion(kind);
        cipher
    }

    /// Expands `key` for a blank cipher, if there is one, and wipes the stack below.
    ///
    /// The cipher is moved only afterwards: a move of bytes that were just written waits for all writes before it, and the
    /// expansion would wait for the move.
    #[inline(always)]
    fn fill(cipher: &mut Result<Self>, key: &[u8]) -> Result<()> {
        let (kind, done) = match cipher {
            Ok(cipher) => (Some(cipher.kernel()), cipher.expand(key)),
            Err(_) => (None, Ok(())),
        };
        wipe_expansion(kind);
        done
    }

    /// Not inlined, unlike its callers. So all copies of keys that it leaves are in frames that [`wipe_expansion`] covers.
    #[inline(never)]
    fn expand(&mut self, key: &[u8]) -> Result<()> {
        let (data_key, tweak_key) = key.split_at(key.len() / 2);
        self.kernel.expand(data_key, tweak_key)
    }

    /// As [`made`](Self::made). Not inlined, as [`expand`](Self::expand).
    #[inline(never)]
    fn blank(key: &[u8], sector_size: SectorSize, unit: SectorUnit, kind: Option<KernelKind>) -> Result<Self> {
        Self::made(key, sector_size, unit, kind)
    }

    /// A cipher of zeros, into which the key is expanded later; if its kernel is the portable one, a cipher of `key`.
    #[inline(always)]
    fn made(key: &[u8], sector_size: SectorSize, unit: SectorUnit, kind: Option<KernelKind>) -> Result<Self> {
        let (data_key, tweak_key) = halves(key)?;
        if unit != SectorUnit::Sector && !sector_size.bytes().is_multiple_of(512) {
            return Err(Error::SectorSize { size: u64::from(sector_size.bytes()) });
        }
        let kind = match kind {
            Some(kind) if !KernelKind::available().any(|available| available == kind) => {
                return Err(Error::KernelUnavailable { kind: kind.name() });
            }
            Some(kind) => kind,
            None => KernelKind::best(),
        };
        known_answers::xts(kind)?;
        let with = |kernel| SectorCipher { kernel, used: Counter::new(), sector_size, unit, _rest: [0; REST] };
        if kind == KernelKind::Portable {
            return Ok(with(XtsKernel::portable(data_key, tweak_key)));
        }
        Ok(with(XtsKernel::blank(kind).ok_or_else(|| Error::KernelUnavailable { kind: kind.name() })?))
    }

    /// The sector size.
    pub fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// The kernel that does the work.
    pub fn kernel(&self) -> KernelKind {
        self.kernel.kind()
    }

    /// Whether it is [approved](crate::approval). XTS-AES is approved for storage.
    pub fn approval(&self) -> Approval {
        Approval::Approved
    }

    /// How much it has encrypted.
    pub fn usage(&self) -> KeyUsage {
        self.used.usage()
    }

    /// Counts blocks that its key has encrypted elsewhere: in an earlier process, or by another cipher.
    pub fn count_in(&self, blocks: u64) {
        self.used.count_in(blocks);
    }

    /// The unit of sector numbers.
    pub fn sector_unit(&self) -> SectorUnit {
        self.unit
    }

    /// Encrypts a run of consecutive sectors in place.
    ///
    /// `first_sector` is the number of the first sector of `sectors`, counted in this cipher's [`SectorUnit`].
    ///
    /// # Errors
    /// [`Error::PartialSector`]; [`Error::SectorNumber`]; [`Error::SectorOverflow`]; [`Error::KeyExhausted`]. Then
    /// `sectors` is unchanged.
    #[inline]
    pub fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) -> Result<()> {
        self.run(Direction::Encrypt, first_sector, InOutBuf::from(sectors), Store::Cache)
    }

    /// Decrypts a run of consecutive sectors in place. As [`encrypt`](Self::encrypt).
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    #[inline]
    pub fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) -> Result<()> {
        self.run(Direction::Decrypt, first_sector, InOutBuf::from(sectors), Store::Cache)
    }

    /// Encrypts a run of consecutive sectors from `src` to `dst`.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] and the errors of [`encrypt`](Self::encrypt). Then `dst` is unchanged.
    pub fn encrypt_to(&self, first_sector: u64, src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.run(Direction::Encrypt, first_sector, two_buffers(src, dst)?, Store::Cache)
    }

    /// Decrypts a run of consecutive sectors from `src` to `dst`. As [`encrypt_to`](Self::encrypt_to).
    ///
    /// # Errors
    /// As [`encrypt_to`](Self::encrypt_to).
    pub fn decrypt_to(&self, first_sector: u64, src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.run(Direction::Decrypt, first_sector, two_buffers(src, dst)?, Store::Cache)
    }

    /// Encrypts a run of consecutive sectors from `src` to `dst`, past the cache.
    ///
    /// Use it for output that is larger than the cache or isn't read soon. The output then doesn't evict the cache's
    /// content, and isn't fetched before it is overwritten. `dst` must be aligned to 64 bytes. Otherwise, and on CPUs
    /// without such stores, this is [`encrypt_to`](Self::encrypt_to). It is slower for output that stays in the cache.
    ///
    /// # Errors
    /// As [`encrypt_to`](Self::encrypt_to).
    pub fn encrypt_streaming(&self, first_sector: u64, src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.run(Direction::Encrypt, first_sector, two_buffers(src, dst)?, Store::Stream)
    }

    /// Decrypts a run of consecutive sectors from `src` to `dst`, past the cache. As
    /// [`encrypt_streaming`](Self::encrypt_streaming).
    ///
    /// # Errors
    /// As [`encrypt_to`](Self::encrypt_to).
    pub fn decrypt_streaming(&self, first_sector: u64, src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.run(Direction::Decrypt, first_sector, two_buffers(src, dst)?, Store::Stream)
    }

    /// Encrypts one data unit in place under a 128-bit tweak, for engines with their own block numbers.
    ///
    /// `unit` may have any length from 16 bytes to [`MAX_DATA_UNIT`], independent of the sector size. If the length
    /// isn't a multiple of 16, the last block uses ciphertext stealing (IEEE 1619-2018, 5.3.2). `tweak` is the data
    /// unit's number as 16 little-endian bytes. Never use a tweak for two data units under one key.
    ///
    /// # Errors
    /// [`Error::DataUnitLength`]; [`Error::KeyExhausted`]. Then `unit` is unchanged.
    pub fn encrypt_unit(&self, tweak: [u8; 16], unit: &mut [u8]) -> Result<()> {
        self.one_unit(Direction::Encrypt, tweak, InOutBuf::from(unit))
    }

    /// Decrypts one data unit in place under a 128-bit tweak. As [`encrypt_unit`](Self::encrypt_unit).
    ///
    /// # Errors
    /// As [`encrypt_unit`](Self::encrypt_unit).
    pub fn decrypt_unit(&self, tweak: [u8; 16], unit: &mut [u8]) -> Result<()> {
        self.one_unit(Direction::Decrypt, tweak, InOutBuf::from(unit))
    }

    /// Encrypts one data unit under a 128-bit tweak from `src` to `dst`. As [`encrypt_unit`](Self::encrypt_unit).
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] and the errors of [`encrypt_unit`](Self::encrypt_unit). Then `dst` is unchanged.
    pub fn encrypt_unit_to(&self, tweak: [u8; 16], src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.one_unit(Direction::Encrypt, tweak, two_buffers(src, dst)?)
    }

    /// Decrypts one data unit under a 128-bit tweak from `src` to `dst`. As [`encrypt_unit`](Self::encrypt_unit).
    ///
    /// # Errors
    /// As [`encrypt_unit_to`](Self::encrypt_unit_to).
    pub fn decrypt_unit_to(&self, tweak: [u8; 16], src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.one_unit(Direction::Decrypt, tweak, two_buffers(src, dst)?)
    }

    #[inline]
    fn run(&self, direction: Direction, first: u64, data: InOutBuf<'_, '_, u8>, store: Store) -> Result<()> {
        self.check_run(first, data.len())?;
        if direction == Direction::Encrypt {
            self.used.add(usage::blocks(data.len()))?;
        }
        self.crypt_run(direction, first, data, store)
    }

    /// Encrypts or decrypts a run that was checked and counted.
    #[inline]
    fn crypt_run(&self, direction: Direction, first: u64, data: InOutBuf<'_, '_, u8>, store: Store) -> Result<()> {
        let step = self.unit.units_per_sector(self.sector_size);
        let len = self.sector_size.bytes() as usize;
        let units = DataUnits { first: u128::from(first), step: u64::from(step), len };
        self.kernel.crypt(direction, units, data, store)
    }

    /// Checks whether [`encrypt`](Self::encrypt) would take a run of `len` bytes.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    #[inline]
    pub fn check_run(&self, first_sector: u64, len: usize) -> Result<()> {
        check_run(self.sector_size, self.unit, first_sector, len)
    }

    #[inline]
    fn one_unit(&self, direction: Direction, tweak: [u8; 16], data: InOutBuf<'_, '_, u8>) -> Result<()> {
        latch::sound()?;
        let len = data.len();
        if !(BLOCK..=MAX_DATA_UNIT).contains(&len) {
            return Err(Error::DataUnitLength { len });
        }
        if direction == Direction::Encrypt {
            self.used.add(usage::blocks(len))?;
        }
        let units = DataUnits { first: u128::from_le_bytes(tweak), step: 0, len };
        self.kernel.crypt(direction, units, data, Store::Cache)
    }
}

impl core::fmt::Debug for SectorCipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SectorCipher")
            .field("kernel", &self.kernel.kind())
            .field("sector_size", &self.sector_size)
            .field("unit", &self.unit)
            .finish_non_exhaustive()
    }
}

/// The data key and the tweak key.
fn halves(key: &[u8]) -> Result<(&[u8], &[u8])> {
    if key.len() != 32 && key.len() != 64 {
        return Err(Error::KeyLength { len: key.len() });
    }
    unequal_halves(key)
}

/// The data key and the tweak key, of a length that was checked.
pub(crate) fn unequal_halves(key: &[u8]) -> Result<(&[u8], &[u8])> {
    let (data_key, tweak_key) = key.split_at(key.len() / 2);
    // In a time that doesn't depend on the bytes, and by words: a comparison byte by byte takes longer than to expand the keys.
    let ((words, rest), (tweak_words, tweak_rest)) = (data_key.as_chunks::<8>(), tweak_key.as_chunks::<8>());
    let words = words.iter().zip(tweak_words).map(|(a, b)| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b));
    let rest = rest.iter().zip(tweak_rest).map(|(a, b)| u64::from(a ^ b));
    if black_box(words.chain(rest).fold(0, |all, difference| all | difference)) == 0 {
        return Err(Error::EqualKeyHalves);
    }
    Ok((data_key, tweak_key))
}

#[inline]
fn check_run(size: SectorSize, unit: SectorUnit, first_sector: u64, len: usize) -> Result<()> {
    latch::sound()?;
    unit.check_number(size, first_sector)?;
    let sector_size = size.bytes();
    if len == sector_size as usize {
        return Ok(()); // skips the divisions, which are measurable for one sector
    }
    if !len.is_multiple_of(sector_size as usize) {
        return Err(Error::PartialSector { len, sector_size });
    }
    let more_sectors = (len / sector_size as usize).saturating_sub(1);
    let step = unit.units_per_sector(size);
    // 128 bits can't overflow: a length is below 2^64 and a step at most 128.
    if more_sectors as u128 * u128::from(step) > u128::from(u64::MAX - first_sector) {
        return Err(Error::SectorOverflow { first_sector });
    }
    Ok(())
}

fn two_buffers<'a, 'b>(src: &'a [u8], dst: &'b mut [u8]) -> Result<InOutBuf<'a, 'b, u8>> {
    let mismatch = Error::LengthMismatch { src: src.len(), dst: dst.len() };
    InOutBuf::new(src, dst).map_err(|_| mismatch)
}
