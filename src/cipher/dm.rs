//! Ciphers of dm-crypt over runs of sectors.

use std::boxed::Box;

use aes::cipher::inout::InOutBuf;

#[cfg(feature = "legacy")]
use super::adiantum::Adiantum;
use super::cbc::{self, Cbc, Iv};
#[cfg(feature = "bitlocker")]
use super::elephant::Elephant;
use super::hctr2::{self, Hctr2};
use super::sectors::Sectors;
use super::spec::{BlockCipher, CipherSpec, IvKind, Mode};
use super::{KernelKind, SectorCipher, SectorSize, SectorUnit, check_run, two_buffers};
use crate::approval::Approval;
use crate::arch::{Direction, Store, on_wiped_stack};
use crate::hash::HashAlgorithm;
use crate::memory::Locked;
use crate::usage::{self, Counter, KeyUsage};
use crate::{Error, Result};

/// A dm-crypt cipher over runs of sectors. Sector numbers count 512-byte units for every sector size, as in LUKS2. (A cipher
/// [with large sectors](CipherSpec::with_large_sectors) makes its IVs of them by counting its own sectors.)
///
/// One value serves any number of threads. It allocates and locks nothing after it is made. Its round keys are wiped
/// when it is dropped.
///
/// ```
/// use atrest::SectorSize;
/// use atrest::cipher::{CipherSpec, DmCipher};
///
/// let spec = CipherSpec::from_name("aes-cbc-essiv:sha256").unwrap();
/// let cipher = DmCipher::boxed(spec, &[7; 32], SectorSize::B512)?;
/// let mut sectors = [0; 1024];
/// cipher.encrypt(0, &mut sectors)?;
/// assert_ne!(sectors, [0; 1024]);
/// cipher.decrypt(0, &mut sectors)?;
/// assert_eq!(sectors, [0; 1024]);
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct DmCipher {
    /// In the memory of secrets as a whole, because moving it there fills its padding with bytes of the stack.
    engine: Locked<Engine>,
    used: Counter,
    spec: CipherSpec,
    sector_size: SectorSize,
    /// That of the cipher, with a key of this length.
    approval: Approval,
}

enum Engine {
    Xts(SectorCipher),
    Cbc(Cbc),
    Hctr2(Hctr2),
    // Those of old volumes are large, and have a place of their own, so that the others take no more memory of secrets.
    Sectors(Locked<Sectors>),
    #[cfg(feature = "legacy")]
    Adiantum(Locked<Adiantum>),
    #[cfg(feature = "bitlocker")]
    CbcByBytes(Cbc),
    #[cfg(feature = "bitlocker")]
    Elephant(Elephant),
}

impl DmCipher {
    /// Expands `key` in a box. The move into the box leaves no key on the stack.
    ///
    /// # Errors
    /// [`Error::KeyLength`] if the cipher doesn't [take](CipherSpec::takes_key) the key's length;
    /// [`Error::EqualKeyHalves`] for an XTS key; [`Error::SectorSize`] if `sector_size` isn't a multiple of 512, and with the
    /// Elephant diffuser a power of two;
    /// [`Error::SelfTest`]; [`Error::NotApproved`].
    pub fn boxed(spec: CipherSpec, key: &[u8], sector_size: SectorSize) -> Result<Box<Self>> {
        on_wiped_stack(|| Self::expand(spec, key, sector_size))
    }

    fn expand(spec: CipherSpec, key: &[u8], sector_size: SectorSize) -> Result<Box<Self>> {
        if !spec.takes_key(key.len()) {
            return Err(Error::KeyLength { len: key.len() });
        }
        if !sector_size.bytes().is_multiple_of(512) {
            return Err(Error::SectorSize { size: u64::from(sector_size.bytes()) });
        }
        let approval = spec.approval_for_key(key.len());
        approval.require()?;
        let kind = KernelKind::best();
        let engine = match (spec.block, spec.mode, spec.iv, spec.large) {
            // The kernels have no AES-192.
            _ if spec.is_aes_192_xts(key.len()) => Engine::Sectors(Locked::new(Sectors::new(spec, key)?)),
            (BlockCipher::Aes, Mode::Xts, IvKind::Plain64 | IvKind::Plain, false) => {
                Engine::Xts(SectorCipher::new(key, sector_size, SectorUnit::Bytes512AnyOffset)?)
            }
            (BlockCipher::Aes, Mode::Xts, IvKind::Plain64, true) => {
                Engine::Xts(SectorCipher::new(key, sector_size, SectorUnit::Sector)?)
            }
            (BlockCipher::Aes, Mode::Cbc, IvKind::Essiv(HashAlgorithm::Sha256), false) => {
                cbc::check(kind)?;
                Engine::Cbc(Cbc::new(key, Iv::EssivSha256, kind)?)
            }
            (BlockCipher::Aes, Mode::Cbc, IvKind::Plain64, false) => {
                cbc::check(kind)?;
                Engine::Cbc(Cbc::new(key, Iv::Plain64, kind)?)
            }
            (_, Mode::Xts | Mode::Cbc | Mode::Ecb, _, _) if !spec.is_by_bytes() => {
                Engine::Sectors(Locked::new(Sectors::new(spec, key)?))
            }
            (_, Mode::Hctr2, _, _) => {
                hctr2::check(kind)?;
                Engine::Hctr2(Hctr2::new(key, kind)?)
            }
            #[cfg(feature = "legacy")]
            (_, Mode::Adiantum, iv, _) => Engine::Adiantum(Locked::new(Adiantum::new(iv, key)?)),
            #[cfg(feature = "bitlocker")]
            (_, Mode::Elephant, _, _) => {
                if !sector_size.bytes().is_power_of_two() {
                    return Err(Error::SectorSize { size: u64::from(sector_size.bytes()) });
                }
                cbc::check(kind)?;
                Engine::Elephant(Elephant::new(key, kind)?)
            }
            #[cfg(feature = "bitlocker")]
            _ => {
                cbc::check(kind)?;
                Engine::CbcByBytes(Cbc::new(key, Iv::Encrypted, kind)?)
            }
            #[cfg(not(feature = "bitlocker"))]
            _ => return Err(Error::UnsupportedAlgorithm(spec.name().into())),
        };
        Ok(Box::new(DmCipher { engine: Locked::new(engine), used: Counter::new(), spec, sector_size, approval }))
    }

    /// The cipher.
    pub fn spec(&self) -> CipherSpec {
        self.spec
    }

    /// The sector size.
    pub fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// Whether it is [approved](crate::approval).
    pub fn approval(&self) -> Approval {
        self.approval
    }

    /// How much it has encrypted.
    pub fn usage(&self) -> KeyUsage {
        self.used.usage()
    }

    /// Encrypts a run of consecutive sectors in place.
    ///
    /// `first_sector` is the number of the first sector of `sectors`, in units of 512 bytes.
    ///
    /// # Errors
    /// [`Error::PartialSector`]; [`Error::SectorOverflow`]; [`Error::KeyExhausted`]; [`Error::NotApproved`]. Then
    /// `sectors` is unchanged.
    pub fn encrypt(&self, first_sector: u64, sectors: &mut [u8]) -> Result<()> {
        self.in_place(Direction::Encrypt, first_sector, sectors)
    }

    /// Decrypts a run of consecutive sectors in place. As [`encrypt`](Self::encrypt).
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub fn decrypt(&self, first_sector: u64, sectors: &mut [u8]) -> Result<()> {
        self.in_place(Direction::Decrypt, first_sector, sectors)
    }

    /// Encrypts a run of consecutive sectors from `src` to `dst`.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] and the errors of [`encrypt`](Self::encrypt). Then `dst` is unchanged.
    pub fn encrypt_to(&self, first_sector: u64, src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.to(Direction::Encrypt, first_sector, src, dst)
    }

    /// Decrypts a run of consecutive sectors from `src` to `dst`. As [`encrypt_to`](Self::encrypt_to).
    ///
    /// # Errors
    /// As [`encrypt_to`](Self::encrypt_to).
    pub fn decrypt_to(&self, first_sector: u64, src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.to(Direction::Decrypt, first_sector, src, dst)
    }

    /// Checks whether [`encrypt`](Self::encrypt) would take a run of `len` bytes.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub fn check_run(&self, first_sector: u64, len: usize) -> Result<()> {
        let step = self.sector_size.bytes() / 512;
        if self.spec.large && !first_sector.is_multiple_of(u64::from(step)) {
            return Err(Error::SectorNumber { first_sector, units_per_sector: step });
        }
        check_run(self.sector_size, SectorUnit::Bytes512AnyOffset, first_sector, len)
    }

    fn in_place(&self, direction: Direction, first: u64, sectors: &mut [u8]) -> Result<()> {
        self.check_and_count(direction, first, sectors.len())?;
        self.crypt(direction, first, sectors)
    }

    fn to(&self, direction: Direction, first: u64, src: &[u8], dst: &mut [u8]) -> Result<()> {
        let data = two_buffers(src, dst)?;
        self.check_and_count(direction, first, src.len())?;
        if let Engine::Xts(xts) = self.engine.get()? {
            return self.xts(xts, direction, first, data);
        }
        dst.copy_from_slice(src);
        self.crypt(direction, first, dst)
    }

    /// Checks and counts a whole run before any of it is encrypted.
    #[inline]
    fn check_and_count(&self, direction: Direction, first: u64, len: usize) -> Result<()> {
        self.approval.require()?;
        self.check_run(first, len)?;
        if direction == Direction::Encrypt { self.used.add(usage::blocks(len)) } else { Ok(()) }
    }

    /// Encrypts or decrypts a run that was checked and counted.
    fn crypt(&self, direction: Direction, first: u64, sectors: &mut [u8]) -> Result<()> {
        let sector_size = self.sector_size.bytes() as usize;
        match self.engine.get()? {
            Engine::Xts(xts) => self.xts(xts, direction, first, InOutBuf::from(sectors))?,
            Engine::Cbc(cbc) => cbc.crypt(direction, first, sector_size, sectors)?,
            Engine::Hctr2(hctr2) => {
                let (first, step) = self.numbers(first);
                hctr2.crypt(direction, first, step, sector_size, sectors)?;
            }
            #[cfg(feature = "legacy")]
            Engine::Adiantum(cipher) => {
                let (first, step) = self.numbers(first);
                cipher.get()?.crypt(direction, first, step, sector_size, sectors);
            }
            Engine::Sectors(cipher) => {
                let (first, step) = self.numbers(first);
                cipher.get()?.crypt(direction, first, step, sector_size, sectors);
            }
            #[cfg(feature = "bitlocker")]
            Engine::CbcByBytes(cbc) => cbc.crypt_by_bytes(direction, first_byte(first)?, sector_size, sectors)?,
            #[cfg(feature = "bitlocker")]
            Engine::Elephant(elephant) => elephant.crypt(direction, first_byte(first)?, sector_size, sectors)?,
        }
        Ok(())
    }

    /// The number that the first sector's IV is made of, and its growth from one sector to the next.
    fn numbers(&self, first: u64) -> (u64, u64) {
        let step = u64::from(self.sector_size.bytes() / 512);
        if self.spec.large { (first / step, 1) } else { (first, step) }
    }

    fn xts(&self, xts: &SectorCipher, way: Direction, first: u64, data: InOutBuf<'_, '_, u8>) -> Result<()> {
        if self.spec == CipherSpec::AesXtsPlain64 {
            return xts.crypt_run(way, first, data, Store::Cache);
        }
        let sector_size = u64::from(self.sector_size.bytes());
        let step = sector_size / 512;
        if self.spec.large {
            return xts.crypt_run(way, first / step, data, Store::Cache);
        }
        let (mut number, mut left) = (first as u32, data);
        // Cut where the 32 bits of `plain` wrap. They don't wrap to 0 if large sectors aren't aligned to their size.
        while !left.is_empty() {
            let before_wrap = ((1 << 32) - u64::from(number)).div_ceil(step);
            let len = (before_wrap * sector_size).min(left.len() as u64) as usize;
            let (piece, rest) = left.split_at(len);
            xts.crypt_run(way, u64::from(number), piece, Store::Cache)?;
            number = number.wrapping_add((before_wrap * step) as u32);
            left = rest;
        }
        Ok(())
    }
}

/// The first byte of a sector whose number counts 512 bytes.
#[cfg(feature = "bitlocker")]
fn first_byte(first_sector: u64) -> Result<u64> {
    first_sector.checked_mul(512).ok_or(Error::SectorOverflow { first_sector })
}

impl core::fmt::Debug for DmCipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("DmCipher")
            .field("spec", &self.spec.name())
            .field("sector_size", &self.sector_size)
            .finish_non_exhaustive()
    }
}
