//! A page of the map of written chunks, as `docs/formats/written-map.md` specifies it. It says which chunks were written.
//!
//! It is encrypted under a new nonce each time, so that the disk doesn't show which chunks are in use or have changed. It has a
//! MAC over its number, its generation and its bits.

use std::boxed::Box;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Dek, Result, Secret, StreamCipher, random};

/// The size of a page in bytes.
pub(crate) const PAGE: usize = 4096;

const NONCE: usize = 16;
const MAC: usize = 32;
const GENERATION: core::ops::Range<usize> = NONCE..NONCE + 8;
const BITS: core::ops::Range<usize> = GENERATION.end..PAGE - MAC;
const ENCRYPTED: core::ops::Range<usize> = NONCE..PAGE - MAC;

/// The number of words of 64 bits in a page.
pub(crate) const PAGE_WORDS: usize = (BITS.end - BITS.start) / 8;

/// The number of chunks that a page has bits for.
pub(crate) const PAGE_CHUNKS: u64 = PAGE_WORDS as u64 * 64;

const INFO: &str = "atrest written map v1";

/// The content of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// How often it was written.
    pub(crate) generation: u64,
    /// The first chunk is the lowest bit of the first word.
    pub(crate) words: Box<[u64]>,
}

/// The keys of one map: of the encryption of its pages, of their MAC, and of the MAC of the token that names it.
pub(crate) struct PageKeys(Secret);

impl PageKeys {
    /// Derives the keys of a map. Its salt makes them unique to it.
    pub(super) fn derive(dek: &Dek, salt: &[u8]) -> Self {
        PageKeys(dek.derive_salted(salt, INFO, 96))
    }

    /// The key of the token's MAC.
    ///
    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked).
    pub(super) fn token_key(&self) -> Result<&[u8]> {
        self.key(2)
    }

    fn key(&self, number: usize) -> Result<&[u8]> {
        self.0.check()?;
        Ok(&self.0.expose()[number * 32..][..32])
    }

    /// The bytes of a page.
    ///
    /// # Errors
    /// [`Error::Random`](crate::Error::Random); [`Error::Forked`](crate::Error::Forked).
    pub(crate) fn seal(&self, number: usize, page: &Page) -> Result<[u8; PAGE]> {
        self.seal_under(random::array()?, number, page)
    }

    fn seal_under(&self, nonce: [u8; NONCE], number: usize, page: &Page) -> Result<[u8; PAGE]> {
        let mut bytes = [0; PAGE];
        bytes[..NONCE].copy_from_slice(&nonce);
        bytes[GENERATION].copy_from_slice(&page.generation.to_be_bytes());
        for (to, word) in bytes[BITS].chunks_exact_mut(8).zip(&page.words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        self.crypt(&mut bytes)?;
        let mac = self.keyed_mac(number, &bytes)?.finalize().into_bytes();
        bytes[PAGE - MAC..].copy_from_slice(&mac);
        Ok(bytes)
    }

    /// Opens the bytes of a page; `None` unless an owner of the DEK made them for this place.
    ///
    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked).
    pub(crate) fn open(&self, number: usize, bytes: &mut [u8]) -> Result<Option<Page>> {
        if self.keyed_mac(number, bytes)?.verify_slice(&bytes[PAGE - MAC..]).is_err() {
            return Ok(None);
        }
        self.crypt(bytes)?;
        let generation = u64::from_be_bytes(bytes[GENERATION].try_into().expect("it has 8 bytes"));
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("it has 8 bytes"));
        Ok(Some(Page { generation, words: bytes[BITS].chunks_exact(8).map(word).collect() }))
    }

    /// Encrypts or decrypts by CTR, which is the same.
    fn crypt(&self, bytes: &mut [u8]) -> Result<()> {
        let nonce = bytes[..NONCE].try_into().expect("it has 16 bytes");
        StreamCipher::boxed(self.key(0)?, nonce)?.apply(0, &mut bytes[ENCRYPTED])
    }

    fn keyed_mac(&self, number: usize, bytes: &[u8]) -> Result<Hmac<Sha256>> {
        let mut mac: Hmac<Sha256> = Hmac::new_from_slice(self.key(1)?).expect("HMAC takes a key of any length");
        mac.update(&(number as u64).to_be_bytes());
        mac.update(&bytes[..PAGE - MAC]);
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DekAlgorithm;

    /// The bytes of an example in `docs/formats/written-map.md`, which `tests/formats.py` has made.
    fn example(name: &str) -> Vec<u8> {
        let text = include_str!("../../../docs/formats/written-map.md");
        let block = text.split_once(&format!("<!-- example: {name} -->\n```text\n")).unwrap().1;
        let lines = block.lines().take_while(|line| line.len() > 6);
        let digits: String = lines.flat_map(|line| line[6..53].chars()).filter(char::is_ascii_hexdigit).collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_page_is_the_one_that_the_formats_have() {
        let dek: Vec<u8> = (0..64).collect();
        let dek = Dek::from_secret(DekAlgorithm::Aes256Xts, Secret::copy_from(&dek)).unwrap();
        let keys = PageKeys::derive(&dek, &(0x40..0x60).collect::<Vec<_>>());
        let mut page = Page { generation: 2, words: vec![0; PAGE_WORDS].into() };
        page.words[0] = 0b10_0000_0011;
        let mut nonce = [0xFF; 16];
        nonce[15] = 0xFE;
        let mut bytes = keys.seal_under(nonce, 0, &page).unwrap();
        assert_eq!([&bytes[..48], &bytes[PAGE - MAC..]].concat(), example("written-page"));
        assert_eq!(keys.open(1, &mut bytes.clone()).unwrap(), None, "another page");
        assert_eq!(keys.open(0, &mut bytes).unwrap(), Some(page));
    }
}
