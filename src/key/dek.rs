//! The data encryption key.

use core::fmt;

use hkdf::Hkdf;
use sha2::Sha256;

use super::dek_algorithm::DekAlgorithm;
use super::self_test;
use crate::cipher::{CipherSpec, DmCipher, unequal_halves};
use crate::{Error, Result, Secret, SectorCipher, SectorSize, SectorUnit, StreamCipher};

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

    /// Makes a DEK of bytes from a vault, or from the caller of `hazmat`.
    #[inline]
    pub(crate) fn from_secret(algorithm: DekAlgorithm, key: Secret) -> Result<Self> {
        self_test::hkdf()?;
        if key.len() != algorithm.key_len() {
            return Err(Error::KeyLength { len: key.len() });
        }
        if algorithm.has_halves() {
            unequal_halves(key.expose())?;
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

    /// Derives a 32-byte key for a use other than sectors: HKDF-SHA-256 of the DEK, without salt, with `info` (RFC
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
        let mut specs =
            vec!["aes-xts-plain64", "aes-hctr2-plain64", "aes-xts-plain", "aes-cbc-essiv:sha256", "aes-ecb"];
        if cfg!(feature = "legacy") {
            specs.extend(["serpent-xts-plain64", "twofish-cbc-plain", "camellia-xts-essiv:sha256"]);
        }
        for spec in specs.into_iter().map(|name| CipherSpec::from_name(name).unwrap()) {
            for len in 0..100 {
                let algorithm = DekAlgorithm::for_cipher(spec, len);
                assert_eq!(algorithm.is_some(), spec.takes_key(len), "{spec:?} {len}");
                let Some(algorithm) = algorithm else { continue };
                let dek = Dek::generate(algorithm).unwrap();
                assert_eq!((dek.secret().len(), algorithm.has_halves()), (len, spec.name().contains("xts")));
                dek.dm_cipher(spec, SectorSize::B512).unwrap();
                let other = if algorithm.has_halves() { CipherSpec::AesCbcPlain64 } else { CipherSpec::AesXtsPlain64 };
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
            assert_eq!(matches!(equal, Err(Error::EqualKeyHalves)), algorithm.has_halves());
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
