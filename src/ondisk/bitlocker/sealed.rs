//! Keys that are sealed under other keys, by AES-CCM.

use super::bytes::array;
use super::entry::Key;
use crate::key::aes_ccm;
use crate::{Error, Result, Secret};

/// The least bytes: nonce and tag.
const LEAST: usize = 12 + 16;

/// A sealed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    nonce: [u8; 12],
    tag: [u8; 16],
    ciphertext: Vec<u8>,
}

impl Sealed {
    pub(super) fn parse(data: &[u8]) -> Result<Self, String> {
        let short = || format!("a sealed key has {} bytes, fewer than {LEAST}", data.len());
        let (nonce, tag) = (array(data, 0).ok_or_else(short)?, array(data, 12).ok_or_else(short)?);
        Ok(Sealed { nonce, tag, ciphertext: data[LEAST..].to_vec() })
    }

    /// The data of an entry with a sealed key. The caller must never use a nonce twice under one key.
    ///
    /// # Errors
    /// [`Error::KekLength`] for a key of another length than 32 bytes; [`Error::SelfTest`].
    pub(super) fn seal(under: &Secret, nonce: [u8; 12], key: &Secret) -> Result<Vec<u8>> {
        let mut bytes = key.clone();
        let tag = aes_ccm::seal(under.expose(), nonce, bytes.expose_mut())?;
        Ok([&nonce[..], &tag, bytes.expose()].concat())
    }

    /// The key; `None` if it was sealed under another, or altered.
    ///
    /// # Errors
    /// [`Error::InvalidHeader`] if the sealed data is no key; [`Error::SelfTest`].
    pub(crate) fn open(&self, under: &Secret) -> Result<Option<Key>> {
        let mut plain = Secret::copy_from(&self.ciphertext);
        if !aes_ccm::open(under.expose(), self.nonce, plain.expose_mut(), self.tag)? {
            return Ok(None);
        }
        let key = Key::from_entry(plain.expose());
        key.map(Some).map_err(|text| Error::InvalidHeader(format!("BitLocker: {text}")))
    }
}
