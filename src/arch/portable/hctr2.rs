//! AES-HCTR2, on the crates `aes` and `polyval`.
//!
//! The names are those of Crowley, Huckleberry and Biggers, *Length-preserving encryption with HCTR2* (2021).

use aes::Aes256;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit, consts::U16};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use crate::arch::run::Direction;

type Block = Array<u8, U16>;

/// The `aes` crate works on up to 64 blocks at once. It treats the rest of a call block by block.
const BATCH: usize = 64;

/// An expanded key. The crates wipe their expanded keys.
pub(crate) struct Hctr2 {
    aes: Aes256,
    /// POLYVAL under the key h.
    hash: Polyval,
    /// L
    mask: Block,
}

impl Hctr2 {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let aes = Aes256::new(key.into());
        let (mut h, mut mask) = (number(0), number(1));
        aes.encrypt_block(&mut h);
        aes.encrypt_block(&mut mask);
        Hctr2 { aes, hash: Polyval::new(&h), mask }
    }

    /// Whole sectors.
    pub(crate) fn crypt(
        &self,
        direction: Direction,
        [first, rest]: [u128; 2],
        step: u64,
        sector_size: usize,
        data: &mut [u8],
    ) {
        for (i, sector) in data.chunks_mut(sector_size).enumerate() {
            // No sector follows the last one, so a number that wraps is never used.
            let number = first.wrapping_add(i as u128 * u128::from(step));
            let tweak = [number.to_le_bytes(), rest.to_le_bytes()];
            self.sector(direction, tweak.as_flattened(), sector);
        }
    }

    /// Encrypt, or decrypt (figure 1): the first block of a sector is M or U, the others are N or V.
    ///
    /// Not inlined, so that it leaves its data on the stack below its caller. The caller wipes that part.
    #[inline(never)]
    pub(crate) fn sector(&self, direction: Direction, tweak: &[u8], sector: &mut [u8]) {
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

    /// XCTR: the i-th block, counted from 1, is xored with the encryption of i xor `seed`.
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

/// bin: a number as a block, little-endian.
fn number(number: u128) -> Block {
    Block::from(number.to_le_bytes())
}

#[inline(always)]
fn xor(a: &Block, b: &Block) -> Block {
    Block::from((u128::from_ne_bytes((*a).into()) ^ u128::from_ne_bytes((*b).into())).to_ne_bytes())
}
