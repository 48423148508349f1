//! The data encryption key.

use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;

use crate::{Error, Result, Secret, SectorCipher, SectorSize, SectorUnit};

/// What a DEK is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DekAlgorithm {
    /// AES-128-XTS: 32 bytes of key.
    Aes128Xts,
    /// AES-256-XTS: 64 bytes of key. The default.
    #[default]
    Aes256Xts,
}

impl DekAlgorithm {
    /// The length of the key in bytes.
    pub fn key_len(self) -> usize {
        match self {
            DekAlgorithm::Aes128Xts => 32,
            DekAlgorithm::Aes256Xts => 64,
        }
    }

    /// The name, as people write it.
    pub fn name(self) -> &'static str {
        match self {
            DekAlgorithm::Aes128Xts => "AES-128-XTS",
            DekAlgorithm::Aes256Xts => "AES-256-XTS",
        }
    }

    /// The number, as envelopes and the C ABI carry it.
    pub fn code(self) -> u16 {
        match self {
            DekAlgorithm::Aes128Xts => 1,
            DekAlgorithm::Aes256Xts => 2,
        }
    }

    /// The algorithm of this number, if there is one.
    pub fn from_code(code: u16) -> Option<Self> {
        [DekAlgorithm::Aes128Xts, DekAlgorithm::Aes256Xts].into_iter().find(|algorithm| algorithm.code() == code)
    }
}

/// A data encryption key: random bytes that encrypt sectors and are themselves only ever stored wrapped.
///
/// ```
/// use atrest::{Dek, DekAlgorithm, SectorSize};
///
/// let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
/// let cipher = dek.sector_cipher(SectorSize::B512)?;
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

    /// What the key is for.
    pub fn algorithm(&self) -> DekAlgorithm {
        self.algorithm
    }

    /// Expands the key for sectors of `sector_size`, numbered in units of 512 bytes.
    ///
    /// # Errors
    /// [`Error::SectorSize`], as [`SectorCipher::new`].
    pub fn sector_cipher(&self, sector_size: SectorSize) -> Result<SectorCipher> {
        SectorCipher::new(self.key.expose(), sector_size)
    }

    /// Expands the key for sectors of `sector_size`, numbered in `unit`s.
    ///
    /// # Errors
    /// [`Error::SectorSize`], as [`SectorCipher::with_unit`].
    pub fn sector_cipher_with_unit(&self, sector_size: SectorSize, unit: SectorUnit) -> Result<SectorCipher> {
        SectorCipher::with_unit(self.key.expose(), sector_size, unit)
    }

    /// As [`sector_cipher_with_unit`](Self::sector_cipher_with_unit), in a box, which is where a cipher should be that lives
    /// long: a value that is moved leaves its round keys behind on the stack, and here they are wiped.
    ///
    /// # Errors
    /// [`Error::SectorSize`], as [`SectorCipher::with_unit`].
    pub fn boxed_sector_cipher(&self, sector_size: SectorSize, unit: SectorUnit) -> Result<Box<SectorCipher>> {
        SectorCipher::boxed(self.key.expose(), sector_size, unit)
    }

    /// Takes bytes that somebody else vouches for: a vault's answer, or the caller of `hazmat`.
    pub(crate) fn from_secret(algorithm: DekAlgorithm, key: Secret) -> Result<Self> {
        if key.len() != algorithm.key_len() {
            return Err(Error::KeyLength { len: key.len() });
        }
        let (data, tweak) = key.expose().split_at(key.len() / 2);
        if subtle::ConstantTimeEq::ct_eq(data, tweak).into() {
            return Err(Error::EqualKeyHalves);
        }
        Ok(Dek { algorithm, key })
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.key
    }

    /// A 32-byte key for another use than sectors: HKDF-SHA-256 of the DEK, without salt, with `info` (RFC 5869).
    pub(crate) fn derive(&self, info: &str) -> Secret {
        let mut derived = Secret::zeroed(32);
        Hkdf::<Sha256>::new(None, self.key.expose())
            .expand(info.as_bytes(), derived.expose_mut())
            .expect("32 bytes are within HKDF's limit of 8160");
        derived
    }
}

impl fmt::Debug for Dek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dek({})", self.algorithm.name())
    }
}
