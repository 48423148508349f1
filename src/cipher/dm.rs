//! Ciphers in dm-crypt's notation, the one that LUKS headers use.

use std::boxed::Box;

use aes::cipher::inout::InOutBuf;

use super::cbc::{self, Cbc, Iv};
#[cfg(feature = "bitlocker")]
use super::elephant::Elephant;
use super::hctr2::{self, Hctr2};
use super::{KernelKind, SectorCipher, SectorSize, SectorUnit, check_run, two_buffers};
use crate::approval::Approval;
use crate::arch::{Direction, Store, on_wiped_stack};
use crate::latch::Algorithm;
use crate::memory::Locked;
use crate::usage::{self, Counter, KeyUsage};
use crate::{Error, Result};

/// The encryption of a segment, in dm-crypt's notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CipherSpec {
    /// `aes-xts-plain64`: XTS-AES. The tweak is the sector number.
    AesXtsPlain64,
    /// `aes-hctr2-plain64`: AES-256-HCTR2, a wide-block mode. If an attacker changes one byte of a sector, the whole
    /// sector becomes noise. Comparing two copies of the disk shows which sectors changed, but not where in them. It is
    /// slower than XTS.
    AesHctr2Plain64,
    /// `aes-xts-plain`: XTS-AES. The tweak is the low 32 bits of the sector number, so tweaks repeat after 2 TiB.
    AesXtsPlain,
    /// `aes-cbc-essiv:sha256`: AES-CBC. The IV is the sector number encrypted under the SHA-256 of the key.
    AesCbcEssivSha256,
    /// `aes-cbc-plain64`: AES-CBC. The IV is the sector number.
    AesCbcPlain64,
    /// `aes-xts-plain64` with dm-crypt's `iv_large_sectors`: XTS-AES. The tweak counts sectors of the cipher's own size. Of
    /// BitLocker volumes.
    #[cfg(feature = "bitlocker")]
    AesXtsPlain64Large,
    /// `aes-cbc-eboiv`: AES-CBC. The IV is the offset of the sector's first byte, encrypted under the key. Of BitLocker
    /// volumes.
    #[cfg(feature = "bitlocker")]
    AesCbcEboiv,
    /// `aes-cbc-elephant`: as `aes-cbc-eboiv`, with the Elephant diffuser below it, which has a second key. Of BitLocker
    /// volumes.
    #[cfg(feature = "bitlocker")]
    AesCbcElephant,
}

impl CipherSpec {
    /// Those that a LUKS header may name.
    const ALL: [CipherSpec; 5] = [
        CipherSpec::AesXtsPlain64,
        CipherSpec::AesHctr2Plain64,
        CipherSpec::AesXtsPlain,
        CipherSpec::AesCbcEssivSha256,
        CipherSpec::AesCbcPlain64,
    ];

    /// The name, as headers have it.
    pub fn name(self) -> &'static str {
        match self {
            CipherSpec::AesXtsPlain64 => "aes-xts-plain64",
            CipherSpec::AesHctr2Plain64 => "aes-hctr2-plain64",
            CipherSpec::AesXtsPlain => "aes-xts-plain",
            CipherSpec::AesCbcEssivSha256 => "aes-cbc-essiv:sha256",
            CipherSpec::AesCbcPlain64 => "aes-cbc-plain64",
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesXtsPlain64Large => "aes-xts-plain64,iv_large_sectors",
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesCbcEboiv => "aes-cbc-eboiv",
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesCbcElephant => "aes-cbc-elephant",
        }
    }

    /// The cipher of this name, if it is known and a LUKS header may name it. A hash after `plain` or `plain64` (`aes-xts-plain64:sha256`, an option
    /// of QEMU) has no effect, as in dm-crypt: only ESSIV uses one.
    pub fn from_name(name: &str) -> Option<Self> {
        let plain = name.split_once(':').map(|(cipher, _)| cipher).filter(|cipher| !cipher.ends_with("-essiv"));
        Self::ALL.into_iter().find(|spec| spec.name() == plain.unwrap_or(name))
    }

    /// Whether it takes a key of `len` bytes: 32 or 64 for XTS; 32 for HCTR2; 16, 24 or 32 for CBC. Of BitLocker's, CBC takes
    /// 16 or 32, and 32 or 64 with the diffuser.
    pub fn takes_key(self, len: usize) -> bool {
        match self {
            CipherSpec::AesXtsPlain64 | CipherSpec::AesXtsPlain => matches!(len, 32 | 64),
            CipherSpec::AesHctr2Plain64 => len == 32,
            CipherSpec::AesCbcEssivSha256 | CipherSpec::AesCbcPlain64 => matches!(len, 16 | 24 | 32),
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesXtsPlain64Large | CipherSpec::AesCbcElephant => matches!(len, 32 | 64),
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesCbcEboiv => matches!(len, 16 | 32),
        }
    }

    /// Whether it is for old volumes only. CBC is, because an attacker who writes to the disk can flip chosen bits; and
    /// so are 32-bit sector numbers.
    pub fn is_legacy(self) -> bool {
        match self {
            CipherSpec::AesXtsPlain64 | CipherSpec::AesHctr2Plain64 => false,
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesXtsPlain64Large => false,
            _ => true,
        }
    }

    fn is_cbc(self) -> bool {
        match self {
            CipherSpec::AesCbcEssivSha256 | CipherSpec::AesCbcPlain64 => true,
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesCbcEboiv | CipherSpec::AesCbcElephant => true,
            _ => false,
        }
    }

    /// Whether it is [approved](crate::approval) for sectors.
    #[inline]
    pub fn approval(self) -> Approval {
        match self {
            CipherSpec::AesXtsPlain64 => Approval::Approved,
            CipherSpec::AesHctr2Plain64 => Algorithm::Hctr2Portable.approval(),
            CipherSpec::AesXtsPlain => {
                Approval::NotApproved { algorithm: self.name(), reason: "its tweaks come twice after 2 TiB" }
            }
            CipherSpec::AesCbcEssivSha256 | CipherSpec::AesCbcPlain64 => Algorithm::CbcPortable.approval(),
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesXtsPlain64Large => Approval::Approved,
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesCbcEboiv | CipherSpec::AesCbcElephant => Algorithm::CbcPortable.approval(),
        }
    }
}

/// A dm-crypt cipher over runs of sectors. Sector numbers count 512-byte units for every sector size, as in LUKS2.
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
}

enum Engine {
    Xts(SectorCipher),
    Cbc(Cbc),
    Hctr2(Hctr2),
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
        spec.approval().require()?;
        let kind = KernelKind::best();
        if spec.is_cbc() {
            cbc::check(kind)?;
        }
        let engine = match spec {
            CipherSpec::AesXtsPlain64 | CipherSpec::AesXtsPlain => {
                Engine::Xts(SectorCipher::expand(key, sector_size, SectorUnit::Bytes512AnyOffset, None)?)
            }
            CipherSpec::AesHctr2Plain64 => {
                hctr2::check(kind)?;
                Engine::Hctr2(Hctr2::new(key, kind)?)
            }
            CipherSpec::AesCbcEssivSha256 => Engine::Cbc(Cbc::new(key, Iv::EssivSha256, kind)?),
            CipherSpec::AesCbcPlain64 => Engine::Cbc(Cbc::new(key, Iv::Plain64, kind)?),
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesXtsPlain64Large => {
                Engine::Xts(SectorCipher::expand(key, sector_size, SectorUnit::Sector, None)?)
            }
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesCbcEboiv => Engine::CbcByBytes(Cbc::new(key, Iv::Encrypted, kind)?),
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesCbcElephant => {
                if !sector_size.bytes().is_power_of_two() {
                    return Err(Error::SectorSize { size: u64::from(sector_size.bytes()) });
                }
                Engine::Elephant(Elephant::new(key, kind)?)
            }
        };
        Ok(Box::new(DmCipher { engine: Locked::new(engine), used: Counter::new(), spec, sector_size }))
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
        self.spec.approval()
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
        self.spec.approval().require()?;
        self.check_run(first, len)?;
        if direction == Direction::Encrypt { self.used.add(usage::blocks(len)) } else { Ok(()) }
    }

    /// Encrypts or decrypts a run that was checked and counted.
    fn crypt(&self, direction: Direction, first: u64, sectors: &mut [u8]) -> Result<()> {
        let sector_size = self.sector_size.bytes() as usize;
        match self.engine.get()? {
            Engine::Xts(xts) => self.xts(xts, direction, first, InOutBuf::from(sectors))?,
            Engine::Cbc(cbc) => cbc.crypt(direction, first, sector_size, sectors)?,
            Engine::Hctr2(hctr2) => hctr2.crypt(direction, first, sector_size, sectors)?,
            #[cfg(feature = "bitlocker")]
            Engine::CbcByBytes(cbc) => cbc.crypt_by_bytes(direction, first_byte(first)?, sector_size, sectors)?,
            #[cfg(feature = "bitlocker")]
            Engine::Elephant(elephant) => elephant.crypt(direction, first_byte(first)?, sector_size, sectors)?,
        }
        Ok(())
    }

    fn xts(&self, xts: &SectorCipher, way: Direction, first: u64, data: InOutBuf<'_, '_, u8>) -> Result<()> {
        if self.spec == CipherSpec::AesXtsPlain64 {
            return xts.crypt_run(way, first, data, Store::Cache);
        }
        let sector_size = u64::from(self.sector_size.bytes());
        let step = sector_size / 512;
        #[cfg(feature = "bitlocker")]
        if self.spec == CipherSpec::AesXtsPlain64Large {
            if !first.is_multiple_of(step) {
                return Err(Error::SectorNumber { first_sector: first, units_per_sector: step as u32 });
            }
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
