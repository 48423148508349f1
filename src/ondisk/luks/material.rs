//! A keyslot's area, which holds the volume key. It is the same in LUKS1 (4.2, 4.3) and LUKS2 (3.2).

use zeroize::Zeroizing;

use super::af;
use crate::arch::on_wiped_stack;
use crate::cipher::{CipherSpec, DmCipher};
use crate::key::{HashAlgorithm, Kdf};
use crate::{Error, Result, Secret, SectorSize};

/// Areas are encrypted in sectors of this size, numbered from 0, even if the data has other sectors.
const SECTOR: usize = 512;

/// The parameters that protect the volume key in a keyslot's area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Material {
    /// The cipher of the area.
    pub(crate) cipher: CipherSpec,
    /// The length in bytes of the key that the KDF derives. The cipher must take it.
    pub(crate) area_key_len: usize,
    /// The hash of the anti-forensic splitter.
    pub(crate) af_hash: HashAlgorithm,
    /// The stripes of the anti-forensic splitter: at least 1.
    pub(crate) stripes: u32,
    /// The length of the volume key in bytes: at least 1.
    pub(crate) key_len: usize,
}

impl Material {
    /// The length of the ciphertext in bytes. If the stripes don't fill the last sector, as with 24-byte keys, zeros
    /// follow them (LUKS1, 2.1). A length that overflows becomes `usize::MAX`, which no area has.
    pub(crate) fn len(&self) -> usize {
        let stripes = self.key_len.saturating_mul(self.stripes as usize);
        stripes.checked_next_multiple_of(SECTOR).unwrap_or(usize::MAX)
    }

    /// Seals `key` for an area, under the key that `kdf` derives from the passphrase and salt.
    ///
    /// # Errors
    /// [`Error::KeyLength`] if `key` isn't [`key_len`](Self::key_len) bytes long, or the cipher doesn't take the area's
    /// key; [`Error::Random`]; the errors of [`Kdf::derive`].
    pub(crate) fn seal(&self, key: &Secret, kdf: &Kdf, passphrase: &[u8], salt: &[u8]) -> Result<Vec<u8>> {
        if key.len() != self.key_len {
            return Err(Error::KeyLength { len: key.len() });
        }
        let cipher = self.cipher(kdf, passphrase, salt)?;
        let material = on_wiped_stack(|| af::split(key.expose(), self.stripes, self.af_hash))?;
        let mut area = Zeroizing::new(vec![0; self.len()]);
        area[..material.len()].copy_from_slice(&material);
        cipher.encrypt(0, &mut area)?;
        // It is ciphertext now, the same as on the disk, so it needs no wiping.
        Ok(std::mem::take(&mut *area))
    }

    /// The key that a passphrase gives: a candidate that the digest must verify. `area` is read from the device, and
    /// wiped.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] if `area` isn't [`len`](Self::len) bytes long; [`Error::KeyLength`] if the cipher
    /// doesn't take the area's key, or a length is zero; the errors of [`Kdf::derive`].
    pub(crate) fn open(
        &self,
        mut area: Zeroizing<Vec<u8>>,
        kdf: &Kdf,
        passphrase: &[u8],
        salt: &[u8],
    ) -> Result<Secret> {
        if area.len() != self.len() {
            return Err(Error::LengthMismatch { src: area.len(), dst: self.len() });
        }
        if self.key_len == 0 || self.stripes == 0 {
            return Err(Error::KeyLength { len: self.key_len });
        }
        self.cipher(kdf, passphrase, salt)?.decrypt(0, &mut area)?;
        on_wiped_stack(|| af::merge(&area, self.key_len, self.stripes, self.af_hash))
    }

    /// The cipher of the area. A key of a wrong length is refused before the costly KDF runs.
    fn cipher(&self, kdf: &Kdf, passphrase: &[u8], salt: &[u8]) -> Result<Box<DmCipher>> {
        if !self.cipher.takes_key(self.area_key_len) {
            return Err(Error::KeyLength { len: self.area_key_len });
        }
        let key = kdf.derive(passphrase, salt, self.area_key_len)?;
        DmCipher::boxed(self.cipher, key.expose(), SectorSize::B512)
    }
}

#[cfg(test)]
mod tests;
