//! Adiantum with XChaCha12 and AES-256, a wide-block mode for CPUs without AES instructions: each byte of a sector's ciphertext
//! depends on each byte of its plaintext.
//!
//! Crowley and Biggers, *Adiantum: length-preserving encryption for entry-level processors* (2018). The tweak is that of dm-crypt:
//! the sector number as a little-endian integer of 32 bytes.

use aes::cipher::StreamCipher;
use chacha20::{KeyIvInit, XChaCha12};
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use zeroize::Zeroize;

use super::BLOCK;
use super::blocks::{Block, Blocks};
use super::spec::{BlockCipher, IvKind};
use crate::arch::{Direction, on_wiped_stack};
use crate::latch::{Algorithm, unhex};
use crate::{Error, Result};

const KEY: usize = 32;
/// The bytes of a message that NH hashes at once.
const UNIT: usize = 1024;
/// NH's passes. Each has the key of the one before, without its first 16 bytes.
const PASSES: usize = 4;
const NH_WORDS: usize = UNIT / 4 + 4 * (PASSES - 1);
/// AES's key, two keys of Poly1305, and NH's key.
const DERIVED: usize = KEY + 2 * BLOCK + 4 * NH_WORDS;
const TWEAK: usize = 32;

/// An expanded key.
pub(super) struct Adiantum {
    block: Blocks,
    hash: Hash,
    low_32_bits: bool,
}

struct Hash {
    stream: [u8; KEY],
    /// Poly1305's keys of the tweak and of the message. Their second halves stay zero: nothing is added to the hash.
    tweak: [u8; KEY],
    message: [u8; KEY],
    nh: [u32; NH_WORDS],
}

impl Drop for Hash {
    fn drop(&mut self) {
        self.stream.zeroize();
        self.tweak.zeroize();
        self.message.zeroize();
        self.nh.zeroize();
    }
}

impl Adiantum {
    /// From a key of 32 bytes.
    pub(super) fn new(iv: IvKind, key: &[u8]) -> Result<Self> {
        Algorithm::Adiantum.check(is_right)?;
        Self::expand(iv, key)
    }

    fn expand(iv: IvKind, key: &[u8]) -> Result<Self> {
        let stream: [u8; KEY] = key.try_into().map_err(|_| Error::KeyLength { len: key.len() })?;
        let mut derived = [0; DERIVED];
        let mut nonce = [0; 24];
        nonce[0] = 1;
        keystream(&stream, &nonce, &mut derived);
        let (mut tweak, mut message, mut nh) = ([0; KEY], [0; KEY], [0; NH_WORDS]);
        tweak[..BLOCK].copy_from_slice(&derived[KEY..][..BLOCK]);
        message[..BLOCK].copy_from_slice(&derived[KEY + BLOCK..][..BLOCK]);
        let (words, _) = derived[KEY + 2 * BLOCK..].as_chunks();
        nh.iter_mut().zip(words).for_each(|(word, bytes)| *word = u32::from_le_bytes(*bytes));
        let block = Blocks::new(BlockCipher::Aes, &derived[..KEY]);
        derived.zeroize();
        Ok(Adiantum { block: block?, hash: Hash { stream, tweak, message, nh }, low_32_bits: iv == IvKind::Plain })
    }

    /// Encrypts or decrypts a run of whole sectors of `sector_size` bytes. Their numbers grow by `step`.
    pub(super) fn crypt(&self, way: Direction, first: u64, step: u64, sector_size: usize, data: &mut [u8]) {
        on_wiped_stack(|| {
            for (i, sector) in data.chunks_mut(sector_size).enumerate() {
                // No sector follows the last one, so a number that wraps is never used.
                let number = first.wrapping_add(i as u64 * step);
                let number = if self.low_32_bits { number & u64::from(u32::MAX) } else { number };
                let mut tweak = [0; TWEAK];
                tweak[..8].copy_from_slice(&number.to_le_bytes());
                self.crypt_one(way, &tweak, sector);
            }
        });
    }

    /// Encrypts or decrypts one message of whole blocks, at least one. The tweak has at most 32 bytes.
    fn crypt_one(&self, way: Direction, tweak: &[u8], message: &mut [u8]) {
        let (left, right) = message.split_at_mut(message.len() - BLOCK);
        let tweak = self.hash.of_tweak(tweak, left.len());
        let mut middle = Block::default();
        let sum = u128_of(right).wrapping_add(tweak).wrapping_add(self.hash.of_message(left));
        middle.copy_from_slice(&sum.to_le_bytes());
        // The stream depends on the block as it is encrypted.
        let mut nonce = [0; 24];
        nonce[BLOCK] = 1;
        if way == Direction::Encrypt {
            self.block.each(way, core::slice::from_mut(&mut middle));
            nonce[..BLOCK].copy_from_slice(&middle);
        } else {
            nonce[..BLOCK].copy_from_slice(&middle);
            self.block.each(way, core::slice::from_mut(&mut middle));
        }
        keystream(&self.hash.stream, &nonce, left);
        let rest = u128_of(&middle).wrapping_sub(tweak).wrapping_sub(self.hash.of_message(left));
        right.copy_from_slice(&rest.to_le_bytes());
    }
}

impl Hash {
    /// The hash of the message's length in bits, and of the tweak.
    fn of_tweak(&self, tweak: &[u8], len: usize) -> u128 {
        let mut text = [0; BLOCK + TWEAK];
        text[..8].copy_from_slice(&(8 * len as u64).to_le_bytes());
        text[BLOCK..][..tweak.len()].copy_from_slice(tweak);
        u128_of(&Poly1305::new(&self.tweak.into()).compute_unpadded(&text[..BLOCK + tweak.len()]))
    }

    /// The hash by Poly1305 of the hashes by NH of all units of the message.
    fn of_message(&self, message: &[u8]) -> u128 {
        let mut poly = Poly1305::new(&self.message.into());
        for unit in message.chunks(UNIT) {
            let mut sums = [0u64; PASSES];
            let (strides, _) = unit.as_chunks::<BLOCK>();
            for (i, stride) in strides.iter().enumerate() {
                let word = |at: usize| u32::from_le_bytes(core::array::from_fn(|byte| stride[4 * at + byte]));
                for (pass, sum) in sums.iter_mut().enumerate() {
                    let keyed = |at: usize| u64::from(word(at).wrapping_add(self.nh[4 * (i + pass) + at]));
                    *sum = sum.wrapping_add(keyed(0) * keyed(2)).wrapping_add(keyed(1) * keyed(3));
                }
            }
            let mut hashes = [Block::default(); 2];
            for (pass, sum) in sums.iter().enumerate() {
                hashes[pass / 2][8 * (pass % 2)..][..8].copy_from_slice(&sum.to_le_bytes());
            }
            poly.update(&hashes);
        }
        u128_of(&poly.finalize())
    }
}

/// Adds XChaCha12's stream to `data`.
fn keystream(key: &[u8; KEY], nonce: &[u8; 24], data: &mut [u8]) {
    XChaCha12::new(key.into(), nonce.into()).apply_keystream(data);
}

fn u128_of(block: &[u8]) -> u128 {
    let mut bytes = [0; BLOCK];
    bytes.copy_from_slice(block);
    u128::from_le_bytes(bytes)
}

/// A vector of the authors, of 128 bytes and a tweak of 17.
fn is_right() -> bool {
    const KEY: [u8; 32] = unhex(b"9fd336b18507df1901eaf95268bfcee7d049f3ba58fb87189fca24ca61a3f0da");
    const TWEAK: [u8; 17] = unhex(b"eac6725e66d4c7bda16eab09b55839ae40");
    const PLAINTEXT: [u8; 128] = unhex(
        b"c7d67365cbf3f53eb9a7bfb154cbac01eeb594174092fdad8fdb27223db10bf7\
        a74670d031dbf9dbb9b9404a0aba776f35369eeb68e29ed7efc25e210db3b087\
        d643356e22a0b7ec26e07d48f55d58d329b71f7ee95a02a4b1de109fe1a85e05\
        b6a259ca3ebcd194094e1b37299c15ef8c7253be6f252c6888080c00807a8564",
    );
    const CIPHERTEXT: [u8; 128] = unhex(
        b"493697d2dea4de927d3008c3d947d4cb5b41272c06b82bef7b5759b75b8138b4\
        d181b3e8acf0a006cb743101e13dcf6d57d165cde7336c0354f02c41b875071d\
        70f09cbd8f6bdb76865be0fdad617a4cd6f1850bfd0b3a5fcffcb00b2bc73107\
        9d7582d914d433d3ff20f714cfe4daca11cc578f51529d9001c84e1f2a89e252",
    );
    let Ok(cipher) = Adiantum::expand(IvKind::Plain64, &KEY) else { return false };
    let mut data = PLAINTEXT;
    cipher.crypt_one(Direction::Encrypt, &TWEAK, &mut data);
    let encrypts = data == CIPHERTEXT;
    cipher.crypt_one(Direction::Decrypt, &TWEAK, &mut data);
    encrypts && data == PLAINTEXT
}

pub(super) const SELF_TEST: (Algorithm, fn() -> bool) = (Algorithm::Adiantum, is_right);

#[cfg(test)]
mod tests {
    use super::*;

    /// More vectors of the authors: of 128 bytes, with tweaks of 17.
    #[test]
    fn the_vectors_of_the_authors() {
        assert!(is_right());
        for [key, tweak, plaintext, ciphertext] in [
            [
                "4663ebc1cecb0d38bee547eff9ca6f370bd6e4e41f93b1e251ebd63feea3caf9",
                "820dd200f23f7045ba91ebbc06940d417a",
                "b4729f743da2b0ccb954cb035228fe2497c157f28c56c90ff4b4cb2ae1b7d9a1ef16aab8995faa6d12acc2182fd79547469d9130bd6ee614\
                 058ff3a2dc81d869b39e848a5c122e10e643b7ab5ea37cc527107a1f17fda782c801529f1092a53566b92f4c1159d86162c18174f849d161\
                 93b6e2ace8cddd381a3102d29c11c965",
                "2617aff0b45d48973e4ca45155ebd5be3116aea42edfc56d9ac18d03bfa83ad5595ef513abcafc9c4119112d435d35783603bb50a5f95058\
                 381feb1716eddb6e5913ccb231e2297488b3258c27aab114275e5b4a6fc8a09368860f3a5c1523970194ba7f54edcfac70f14bb45176def6\
                 ce45cd0ce2ad65955cb499ed46f1d47c",
            ],
            [
                "7fc7152ae1f5fda4176769aec92bba82a314e7cfadfd8540da7b7d24bdf17d07",
                "",
                "9be382c65ac19fad4659b80bacc857a0",
                "820ae44477dd9a186f80288b25070e85",
            ],
        ] {
            let bytes = |hex: &str| -> Vec<u8> {
                (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
            };
            let cipher = Adiantum::expand(IvKind::Plain64, &bytes(key)).unwrap();
            let mut data = bytes(plaintext);
            cipher.crypt_one(Direction::Encrypt, &bytes(tweak), &mut data);
            assert_eq!(data, bytes(ciphertext));
            cipher.crypt_one(Direction::Decrypt, &bytes(tweak), &mut data);
            assert_eq!(data, bytes(plaintext));
        }
    }
}
