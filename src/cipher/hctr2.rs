//! HCTR2, a wide-block mode: each byte of a sector's ciphertext hangs on each byte of its plaintext.
//!
//! Crowley, Huckleberry and Biggers, *Length-preserving encryption with HCTR2* (2021), whose names are used here. The
//! tweak is that of dm-crypt: the sector number as a little-endian integer of 32 bytes.

use aes::Aes256;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit, consts::U16};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use super::BLOCK;
use crate::arch::{Direction, wipe_stack};
use crate::latch::{Algorithm, unhex};
use crate::{Error, Result};

type Block = Array<u8, U16>;

/// The `aes` crate works on up to 64 blocks at once and treats the rest of a call block by block.
const BATCH: usize = 64;
/// The length of the tweak in bytes: what Linux gives `hctr2(aes)`.
const TWEAK: usize = 32;

/// An expanded key. The crates below wipe what they expand.
pub(super) struct Hctr2 {
    aes: Aes256,
    /// POLYVAL under the key h.
    hash: Polyval,
    /// L
    mask: Block,
}

impl Hctr2 {
    pub(super) fn new(key: &[u8]) -> Result<Self> {
        let aes = Aes256::new_from_slice(key).map_err(|_| Error::KeyLength { len: key.len() })?;
        let (mut h, mut mask) = (number(0), number(1));
        aes.encrypt_block(&mut h);
        aes.encrypt_block(&mut mask);
        Ok(Hctr2 { aes, hash: Polyval::new(&h), mask })
    }

    /// A run of whole sectors of `sector_size` bytes, a multiple of the block, numbered in units of 512 bytes.
    pub(super) fn crypt(&self, direction: Direction, first: u64, sector_size: usize, data: &mut [u8]) {
        let step = (sector_size / 512) as u64;
        for (i, sector) in data.chunks_mut(sector_size).enumerate() {
            let mut tweak = [0; TWEAK];
            // Behind the last sector that there is comes none, so that a number which wraps isn't used.
            tweak[..8].copy_from_slice(&first.wrapping_add(i as u64 * step).to_le_bytes());
            self.sector(direction, &tweak, sector);
        }
        // The crates below spread keys over the stack.
        wipe_stack();
    }

    /// Encrypt, or decrypt (figure 1): the first block of a sector is M or U, the others are N or V.
    ///
    /// Not inlined, so that what it leaves on the stack is below its caller, who wipes it.
    #[inline(never)]
    fn sector(&self, direction: Direction, tweak: &[u8], sector: &mut [u8]) {
        let (blocks, _) = Block::slice_as_chunks_mut(sector);
        let Some((first, rest)) = blocks.split_first_mut() else { return };
        // MM, or UU
        let before = xor(first, &self.hash(tweak, rest));
        let mut after = before;
        match direction {
            Direction::Encrypt => self.aes.encrypt_block(&mut after),
            Direction::Decrypt => self.aes.decrypt_block(&mut after),
        }
        let seed = xor(&xor(&before, &after), &self.mask);
        self.xctr(&seed, rest);
        *first = xor(&after, &self.hash(tweak, rest));
    }

    /// H: POLYVAL of the tweak's length, the tweak, and whole blocks.
    fn hash(&self, tweak: &[u8], blocks: &[Block]) -> Block {
        let mut hash = self.hash.clone();
        hash.update(&[number(2 * 8 * tweak.len() as u128 + 2)]);
        hash.update_padded(tweak);
        hash.update(blocks);
        hash.finalize()
    }

    /// XCTR: the i-th block, counted from 1, is under the encryption of i xor `seed`.
    fn xctr(&self, seed: &Block, blocks: &mut [Block]) {
        let mut stream = [Block::default(); BATCH];
        for (i, batch) in blocks.chunks_mut(BATCH).enumerate() {
            let stream = &mut stream[..batch.len()];
            for (j, block) in stream.iter_mut().enumerate() {
                *block = xor(seed, &number((i * BATCH + j + 1) as u128));
            }
            self.aes.encrypt_blocks(stream);
            for (block, stream) in batch.iter_mut().zip(&*stream) {
                *block = xor(block, stream);
            }
        }
    }
}

/// Tries HCTR2 before its first use.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest).
pub(super) fn check() -> Result<()> {
    Algorithm::Hctr2.check(is_right)
}

/// The authors' vector of 48 bytes, in both directions.
pub(super) fn is_right() -> bool {
    const KEY: [u8; 32] = unhex(b"0365036e4de6e84e8bbe22194831eed9a09121be6289de78d9b036a33cce43d5");
    const VECTOR_TWEAK: [u8; TWEAK] = unhex(b"a9c34be70ffc6dbf5627211cfcd604105f43e23035296c1090f1bf61ed0f8a91");
    const PLAINTEXT: [u8; 48] = unhex(
        b"07aa0226b498115e3341215151632c7200ab32a71cc83c9c250e8b9adf85ed2d\
        f4f2bc55ca926d22fd223b424c0b74ec",
    );
    const CIPHERTEXT: [u8; 48] = unhex(
        b"7bb1436dd8726cf6676a00c4f1f0f5a4fc6091ab460b15fcd7c12815a1fcf768\
        8ecc276200645672a617d73f67801058",
    );
    let Ok(cipher) = Hctr2::new(&KEY) else { return false };
    let mut data = PLAINTEXT;
    cipher.sector(Direction::Encrypt, &VECTOR_TWEAK, &mut data);
    let encrypts = data == CIPHERTEXT;
    cipher.sector(Direction::Decrypt, &VECTOR_TWEAK, &mut data);
    encrypts && data == PLAINTEXT
}

/// bin: a number as a block, little-endian.
fn number(number: u128) -> Block {
    Block::from(number.to_le_bytes())
}

#[inline(always)]
fn xor(a: &Block, b: &Block) -> Block {
    Block::from((u128::from_ne_bytes((*a).into()) ^ u128::from_ne_bytes((*b).into())).to_ne_bytes())
}

const _: () = assert!(TWEAK.is_multiple_of(BLOCK));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_authors() {
        let bytes = |hex: &str| -> Vec<u8> {
            let hex = hex.trim_matches('-');
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
        };
        let vectors = include_str!("../../tests/vectors/hctr2.txt").lines().filter(|line| !line.starts_with('#'));
        let mut passed = 0;
        for line in vectors {
            let fields: Vec<Vec<u8>> = line.split(' ').map(bytes).collect();
            let [key, tweak, plaintext, ciphertext] = &fields[..] else { panic!("{line}") };
            let cipher = Hctr2::new(key).unwrap();
            let mut data = plaintext.clone();
            cipher.sector(Direction::Encrypt, tweak, &mut data);
            assert_eq!(&data, ciphertext, "{line}");
            cipher.sector(Direction::Decrypt, tweak, &mut data);
            assert_eq!(&data, plaintext, "{line}");
            passed += 1;
        }
        assert_eq!(passed, 20);
    }
}
