//! The data encryption key.

use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;

use super::self_test;
use crate::cipher::{CipherSpec, DmCipher};
use crate::{Error, Result, Secret, SectorCipher, SectorSize, SectorUnit, StreamCipher};

/// The algorithm that a DEK is used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DekAlgorithm {
    /// AES-128-XTS: 32 bytes of key.
    Aes128Xts,
    /// AES-256-XTS: 64 bytes of key. The default.
    #[default]
    Aes256Xts,
    /// AES-256-HCTR2: 32 bytes of key.
    Aes256Hctr2,
    /// AES-128-CBC: 16 bytes of key. For old volumes only.
    Aes128Cbc,
    /// AES-192-CBC: 24 bytes of key. For old volumes only.
    Aes192Cbc,
    /// AES-256-CBC: 32 bytes of key. For old volumes only.
    Aes256Cbc,
    /// AES-256-CTR: 32 bytes of key. For engines' files ([`StreamCipher`]), one key per file.
    Aes256Ctr,
    /// AES-128-CBC with the Elephant diffuser: 32 bytes of key. Of BitLocker volumes.
    #[cfg(feature = "bitlocker")]
    Aes128CbcElephant,
    /// AES-256-CBC with the Elephant diffuser: 64 bytes of key. Of BitLocker volumes.
    #[cfg(feature = "bitlocker")]
    Aes256CbcElephant,
}

impl DekAlgorithm {
    const ALL: &[DekAlgorithm] = &[
        DekAlgorithm::Aes128Xts,
        DekAlgorithm::Aes256Xts,
        DekAlgorithm::Aes256Hctr2,
        DekAlgorithm::Aes128Cbc,
        DekAlgorithm::Aes192Cbc,
        DekAlgorithm::Aes256Cbc,
        DekAlgorithm::Aes256Ctr,
        #[cfg(feature = "bitlocker")]
        DekAlgorithm::Aes128CbcElephant,
        #[cfg(feature = "bitlocker")]
        DekAlgorithm::Aes256CbcElephant,
    ];

    /// The length of the key in bytes.
    pub fn key_len(self) -> usize {
        match self {
            DekAlgorithm::Aes128Xts => 32,
            DekAlgorithm::Aes256Xts => 64,
            DekAlgorithm::Aes128Cbc => 16,
            DekAlgorithm::Aes192Cbc => 24,
            DekAlgorithm::Aes256Cbc | DekAlgorithm::Aes256Hctr2 | DekAlgorithm::Aes256Ctr => 32,
            #[cfg(feature = "bitlocker")]
            DekAlgorithm::Aes128CbcElephant => 32,
            #[cfg(feature = "bitlocker")]
            DekAlgorithm::Aes256CbcElephant => 64,
        }
    }

    /// The name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            DekAlgorithm::Aes128Xts => "AES-128-XTS",
            DekAlgorithm::Aes256Xts => "AES-256-XTS",
            DekAlgorithm::Aes128Cbc => "AES-128-CBC",
            DekAlgorithm::Aes192Cbc => "AES-192-CBC",
            DekAlgorithm::Aes256Cbc => "AES-256-CBC",
            DekAlgorithm::Aes256Hctr2 => "AES-256-HCTR2",
            DekAlgorithm::Aes256Ctr => "AES-256-CTR",
            #[cfg(feature = "bitlocker")]
            DekAlgorithm::Aes128CbcElephant => "AES-128-CBC-Elephant",
            #[cfg(feature = "bitlocker")]
            DekAlgorithm::Aes256CbcElephant => "AES-256-CBC-Elephant",
        }
    }

    /// The number, as envelopes and the C ABI carry it.
    pub const fn code(self) -> u16 {
        match self {
            DekAlgorithm::Aes128Xts => 1,
            DekAlgorithm::Aes256Xts => 2,
            DekAlgorithm::Aes128Cbc => 3,
            DekAlgorithm::Aes192Cbc => 4,
            DekAlgorithm::Aes256Cbc => 5,
            DekAlgorithm::Aes256Hctr2 => 6,
            DekAlgorithm::Aes256Ctr => 7,
            #[cfg(feature = "bitlocker")]
            DekAlgorithm::Aes128CbcElephant => 8,
            #[cfg(feature = "bitlocker")]
            DekAlgorithm::Aes256CbcElephant => 9,
        }
    }

    /// The algorithm of this number, if there is one.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.code() == code)
    }

    /// The algorithm of a key of `key_len` bytes that dm-crypt uses with the cipher `spec`.
    pub(crate) fn for_cipher(spec: CipherSpec, key_len: usize) -> Option<Self> {
        let fits = |algorithm: &Self| algorithm.key_len() == key_len && algorithm.fits(spec);
        Self::ALL.iter().copied().find(fits)
    }

    /// The cipher of a new volume under a key of this algorithm; `None` if new volumes don't use it.
    pub(crate) fn new_cipher(self) -> Option<CipherSpec> {
        match self {
            DekAlgorithm::Aes128Xts | DekAlgorithm::Aes256Xts => Some(CipherSpec::AesXtsPlain64),
            DekAlgorithm::Aes256Hctr2 => Some(CipherSpec::AesHctr2Plain64),
            DekAlgorithm::Aes128Cbc | DekAlgorithm::Aes192Cbc | DekAlgorithm::Aes256Cbc => None,
            DekAlgorithm::Aes256Ctr => None, // no cipher of sectors
            #[cfg(feature = "bitlocker")]
            DekAlgorithm::Aes128CbcElephant | DekAlgorithm::Aes256CbcElephant => None,
        }
    }

    /// Whether the algorithm is XTS, which sector ciphers need.
    pub(crate) fn is_xts(self) -> bool {
        matches!(self, DekAlgorithm::Aes128Xts | DekAlgorithm::Aes256Xts)
    }

    /// Whether an envelope takes a key of this algorithm: the algorithms for engines that keep their own metadata.
    pub(crate) fn is_for_engines(self) -> bool {
        self.is_xts() || self == DekAlgorithm::Aes256Ctr
    }

    fn fits(self, spec: CipherSpec) -> bool {
        match spec {
            CipherSpec::AesXtsPlain64 | CipherSpec::AesXtsPlain => self.is_xts(),
            CipherSpec::AesHctr2Plain64 => self == DekAlgorithm::Aes256Hctr2,
            CipherSpec::AesCbcEssivSha256 | CipherSpec::AesCbcPlain64 => {
                matches!(self, DekAlgorithm::Aes128Cbc | DekAlgorithm::Aes192Cbc | DekAlgorithm::Aes256Cbc)
            }
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesXtsPlain64Large => self.is_xts(),
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesCbcEboiv => matches!(self, DekAlgorithm::Aes128Cbc | DekAlgorithm::Aes256Cbc),
            #[cfg(feature = "bitlocker")]
            CipherSpec::AesCbcElephant => {
                matches!(self, DekAlgorithm::Aes128CbcElephant | DekAlgorithm::Aes256CbcElephant)
            }
        }
    }
}

/// A data encryption key: random bytes that encrypt sectors or a stream. It is only ever stored wrapped.
///
/// ```
/// use atrest::{Dek, DekAlgorithm, SectorSize, SectorUnit};
///
/// let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
/// let cipher = dek.sector_cipher(SectorSize::B512, SectorUnit::Bytes512)?;
/// let mut sector = [0; 512];
/// cipher.encrypt(0, &mut sector)?;
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Dek {
    algorithm: DekAlgorithm,
    key: Secret,
}

impl Dek {
    /// A new key from the operating system's random bytes.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate(algorithm: DekAlgorithm) -> Result<Self> {
        Self::from_secret(algorithm, Secret::random(algorithm.key_len())?)
    }

    /// The algorithm that the key is used with.
    pub fn algorithm(&self) -> DekAlgorithm {
        self.algorithm
    }

    /// Expands the key for sectors of `sector_size`, numbered in `unit`s. The box keeps moves from leaving copies of
    /// round keys.
    ///
    /// # Errors
    /// [`Error::SectorSize`], as [`SectorCipher::new`]; [`Error::UnsupportedAlgorithm`] unless the key is for XTS.
    pub fn sector_cipher(&self, sector_size: SectorSize, unit: SectorUnit) -> Result<Box<SectorCipher>> {
        SectorCipher::boxed(self.xts_key()?, sector_size, unit)
    }

    /// Expands the key for a stream whose counter starts from `nonce`. The box keeps moves from leaving copies of round
    /// keys.
    ///
    /// The key must be fresh for each file: see [`StreamCipher`] for what happens otherwise.
    ///
    /// # Errors
    /// [`Error::UnsupportedAlgorithm`] unless the key is for [`Aes256Ctr`](DekAlgorithm::Aes256Ctr): one key never serves
    /// two modes.
    pub fn stream_cipher(&self, nonce: [u8; 16]) -> Result<Box<StreamCipher>> {
        if self.algorithm != DekAlgorithm::Aes256Ctr {
            return Err(Error::UnsupportedAlgorithm(format!("CTR of a key for {}", self.algorithm.name())));
        }
        self.check()?;
        StreamCipher::boxed(self.key.expose(), nonce)
    }

    /// Expands the key for a cipher of dm-crypt.
    ///
    /// # Errors
    /// [`Error::SectorSize`]; [`Error::UnsupportedAlgorithm`] when the key is for another cipher.
    pub(crate) fn dm_cipher(&self, spec: CipherSpec, sector_size: SectorSize) -> Result<Box<DmCipher>> {
        if !self.algorithm.fits(spec) {
            return Err(Error::UnsupportedAlgorithm(format!("{} of a key for {}", spec.name(), self.algorithm.name())));
        }
        self.check()?;
        DmCipher::boxed(spec, self.key.expose(), sector_size)
    }

    fn xts_key(&self) -> Result<&[u8]> {
        if !self.algorithm.is_xts() {
            return Err(Error::UnsupportedAlgorithm(self.algorithm.name().into()));
        }
        self.check()?;
        Ok(self.key.expose())
    }

    /// Takes bytes that a vault, or the caller of `hazmat`, vouches for.
    pub(crate) fn from_secret(algorithm: DekAlgorithm, key: Secret) -> Result<Self> {
        self_test::hkdf()?;
        if key.len() != algorithm.key_len() {
            return Err(Error::KeyLength { len: key.len() });
        }
        let (data, tweak) = key.expose().split_at(key.len() / 2);
        if algorithm.is_xts() && subtle::ConstantTimeEq::ct_eq(data, tweak).into() {
            return Err(Error::EqualKeyHalves);
        }
        Ok(Dek { algorithm, key })
    }

    /// Fails in a child of the process that made or unwrapped the key.
    pub(crate) fn check(&self) -> Result<()> {
        self.key.check()
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.key
    }

    /// Derives a 32-byte key for another use than sectors: HKDF-SHA-256 of the DEK, without salt, with `info` (RFC
    /// 5869).
    pub(crate) fn derive(&self, info: &str) -> Secret {
        let mut derived = Secret::zeroed(32);
        Hkdf::<Sha256>::new(None, self.key.expose())
            .expand(info.as_bytes(), derived.expose_mut())
            .expect("32 bytes are within HKDF's limit of 8160");
        derived
    }

    /// As [`derive`](Self::derive), with a salt, and of `len` bytes.
    pub(crate) fn derive_salted(&self, salt: &[u8], info: &str, len: usize) -> Secret {
        let mut derived = Secret::zeroed(len);
        Hkdf::<Sha256>::new(Some(salt), self.key.expose())
            .expand(info.as_bytes(), derived.expose_mut())
            .expect("it is within HKDF's limit of 8160 bytes");
        derived
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dek({})", self.algorithm.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cipher_and_a_length_name_one_algorithm() {
        use CipherSpec::{AesCbcEssivSha256, AesCbcPlain64, AesHctr2Plain64, AesXtsPlain, AesXtsPlain64};
        for spec in [AesXtsPlain64, AesHctr2Plain64, AesXtsPlain, AesCbcEssivSha256, AesCbcPlain64] {
            for len in 0..100 {
                let algorithm = DekAlgorithm::for_cipher(spec, len);
                assert_eq!(algorithm.is_some(), spec.takes_key(len), "{spec:?} {len}");
                let Some(algorithm) = algorithm else { continue };
                let dek = Dek::generate(algorithm).unwrap();
                assert_eq!((dek.secret().len(), algorithm.is_xts()), (len, spec.name().contains("xts")));
                dek.dm_cipher(spec, SectorSize::B512).unwrap();
                let other = if algorithm.is_xts() { AesCbcPlain64 } else { AesXtsPlain64 };
                assert!(matches!(dek.dm_cipher(other, SectorSize::B512), Err(Error::UnsupportedAlgorithm(_))));
            }
        }
    }

    #[test]
    fn a_key_serves_one_mode() {
        for &algorithm in DekAlgorithm::ALL {
            assert_eq!(DekAlgorithm::from_code(algorithm.code()), Some(algorithm));
            // Only XTS refuses equal halves.
            let equal = Dek::from_secret(algorithm, Secret::copy_from(&[7; 64][..algorithm.key_len()]));
            assert_eq!(matches!(equal, Err(Error::EqualKeyHalves)), algorithm.is_xts());
            let dek = Dek::generate(algorithm).unwrap();
            match dek.stream_cipher([0; 16]) {
                Ok(_) => assert_eq!(algorithm, DekAlgorithm::Aes256Ctr),
                Err(e) => {
                    assert!(matches!(e, Error::UnsupportedAlgorithm(_)) && algorithm != DekAlgorithm::Aes256Ctr);
                }
            }
            for spec in [CipherSpec::AesXtsPlain64, CipherSpec::AesHctr2Plain64, CipherSpec::AesCbcPlain64] {
                let fits = dek.dm_cipher(spec, SectorSize::B512).is_ok();
                assert!(!fits || algorithm != DekAlgorithm::Aes256Ctr, "{spec:?}");
            }
            for cipher in [dek.sector_cipher(SectorSize::B512, SectorUnit::Sector).map(drop)] {
                match cipher {
                    Ok(()) => assert!(algorithm.is_xts()),
                    Err(e) => assert!(matches!(e, Error::UnsupportedAlgorithm(_)) && !algorithm.is_xts()),
                }
            }
        }
    }
}
