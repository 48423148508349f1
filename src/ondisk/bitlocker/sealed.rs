//! Keys that are sealed under other keys: AES-256-CCM (SP 800-38C) with a nonce of 12 bytes, a tag of 16 and no associated data.

use aes::Aes256;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U12, U16};
use ccm::{Ccm, aead};

use super::bytes::array;
use super::entry::Key;
use crate::arch::on_wiped_stack;
use crate::latch::{Algorithm, unhex};
use crate::{Error, Result, Secret};

type Aead = Ccm<Aes256, U16, U12>;

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

    /// The data of an entry with a sealed key. No nonce comes twice under one key.
    ///
    /// # Errors
    /// [`Error::WrongKey`] for a key of another length than 32 bytes; [`Error::SelfTest`].
    pub(super) fn seal(under: &Secret, nonce: [u8; 12], key: &Secret) -> Result<Vec<u8>> {
        Algorithm::Ccm.check(is_right)?;
        let mut bytes = key.clone();
        let tag = on_wiped_stack(|| {
            let aead = Aead::new_from_slice(under.expose()).map_err(|_| Error::WrongKey)?;
            aead.encrypt_inout_detached(&nonce.into(), b"", bytes.expose_mut().into()).map_err(|_| Error::WrongKey)
        })?;
        Ok([&nonce[..], &tag, bytes.expose()].concat())
    }

    /// The key; `None` if it was sealed under another, or altered.
    ///
    /// # Errors
    /// [`Error::InvalidHeader`] if something else was sealed; [`Error::SelfTest`].
    pub(crate) fn open(&self, under: &Secret) -> Result<Option<Key>> {
        Algorithm::Ccm.check(is_right)?;
        let mut plain = Secret::copy_from(&self.ciphertext);
        let opened = on_wiped_stack(|| {
            let aead = Aead::new_from_slice(under.expose()).map_err(|_| Error::WrongKey)?;
            Ok::<_, Error>(aead.decrypt_inout_detached(
                &self.nonce.into(),
                b"",
                plain.expose_mut().into(),
                &self.tag.into(),
            ))
        })?;
        match opened {
            Ok(()) => Key::from_entry(plain.expose())
                .map(Some)
                .map_err(|text| Error::InvalidHeader(format!("BitLocker: {text}"))),
            Err(aead::Error) => Ok(None),
        }
    }
}

/// RFC 3610, 8, packet vector #1, both ways.
fn is_right() -> bool {
    const KEY: [u8; 16] = unhex(b"c0c1c2c3c4c5c6c7c8c9cacbcccdcecf");
    const NONCE: [u8; 13] = unhex(b"00000003020100a0a1a2a3a4a5");
    const HEADER: [u8; 8] = unhex(b"0001020304050607");
    const PLAIN: [u8; 23] = unhex(b"08090a0b0c0d0e0f101112131415161718191a1b1c1d1e");
    const SEALED: [u8; 23] = unhex(b"588c979a61c663d2f066d0c2c0f989806d5f6b61dac384");
    const TAG: [u8; 8] = unhex(b"17e8d12cfdf926e0");
    type Small = Ccm<aes::Aes128, ccm::consts::U8, ccm::consts::U13>;
    let aead = Small::new(&KEY.into());
    let mut bytes = PLAIN;
    let tag = aead.encrypt_inout_detached(&NONCE.into(), &HEADER, bytes.as_mut_slice().into());
    let seals = tag.is_ok_and(|tag| tag[..] == TAG) && bytes == SEALED;
    let opens = aead.decrypt_inout_detached(&NONCE.into(), &HEADER, bytes.as_mut_slice().into(), &TAG.into());
    let mut altered = TAG;
    altered[7] ^= 1;
    let mut other = SEALED;
    let refused = aead.decrypt_inout_detached(&NONCE.into(), &HEADER, other.as_mut_slice().into(), &altered.into());
    seals && opens.is_ok() && bytes == PLAIN && refused.is_err()
}
