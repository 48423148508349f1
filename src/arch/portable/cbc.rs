//! AES-CBC in sectors, on the `aes` crate.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes192, Aes256};

use crate::arch::run::Direction;

type Block = Array<u8, U16>;

const BLOCK: usize = 16;
/// The `aes` crate works on up to 64 blocks at once. It treats the rest of a call block by block.
const BATCH: usize = 64;

/// An expanded key. The `aes` crate wipes its expanded keys.
pub(crate) struct Cbc {
    data: Aes,
    iv: Iv,
}

enum Aes {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

/// The IV of a sector: its number as 16 little-endian bytes.
#[allow(clippy::large_enum_variant)] // it lies in the cipher's place
enum Iv {
    Plain64,
    Encrypted(Aes),
}

impl Cbc {
    /// `key` has 16, 24 or 32 bytes, and so has that of the IVs.
    pub(crate) fn new(key: &[u8], iv_key: Option<&[u8]>) -> Self {
        Cbc { data: Aes::new(key), iv: iv_key.map_or(Iv::Plain64, |key| Iv::Encrypted(Aes::new(key))) }
    }

    /// A run of whole sectors.
    pub(crate) fn crypt(&self, direction: Direction, first: u64, step: u64, sector_size: usize, data: &mut [u8]) {
        let run = Run { direction, first, step, sector_size };
        match &self.data {
            Aes::Aes128(aes) => self.iv.crypt(aes, run, data),
            Aes::Aes192(aes) => self.iv.crypt(aes, run, data),
            Aes::Aes256(aes) => self.iv.crypt(aes, run, data),
        }
    }
}

impl Aes {
    fn new(key: &[u8]) -> Self {
        const CHECKED: &str = "the caller has checked the length";
        match key.len() {
            16 => Aes::Aes128(Aes128::new_from_slice(key).expect(CHECKED)),
            24 => Aes::Aes192(Aes192::new_from_slice(key).expect(CHECKED)),
            _ => Aes::Aes256(Aes256::new_from_slice(key).expect(CHECKED)),
        }
    }
}

struct Run {
    direction: Direction,
    first: u64,
    step: u64,
    sector_size: usize,
}

impl Iv {
    fn of(&self, sector: u64) -> Block {
        let mut block = Block::from(u128::from(sector).to_le_bytes());
        match self {
            Iv::Plain64 => {}
            Iv::Encrypted(Aes::Aes128(aes)) => aes.encrypt_block(&mut block),
            Iv::Encrypted(Aes::Aes192(aes)) => aes.encrypt_block(&mut block),
            Iv::Encrypted(Aes::Aes256(aes)) => aes.encrypt_block(&mut block),
        }
        block
    }

    /// Not inlined, so that it leaves its data on the stack below its caller. The caller wipes that part.
    #[inline(never)]
    fn crypt<C>(&self, aes: &C, run: Run, data: &mut [u8])
    where
        C: BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + BlockCipherDecrypt,
    {
        let (blocks, _) = Block::slice_as_chunks_mut(data);
        let Run { direction, first, step, sector_size } = run;
        let per_sector = sector_size / BLOCK;
        // No sector follows the last one, so a number that wraps is never used.
        let number = |sector: usize| first.wrapping_add(sector as u64 * step);
        match direction {
            Direction::Encrypt => {
                for (i, sector) in blocks.chunks_mut(per_sector).enumerate() {
                    let mut chain = self.of(number(i));
                    for block in sector {
                        xor(block, &chain);
                        aes.encrypt_block(block);
                        chain = *block;
                    }
                }
            }
            Direction::Decrypt => {
                let (mut before, mut masks) = (Block::default(), [Block::default(); BATCH]);
                for (i, batch) in blocks.chunks_mut(BATCH).enumerate() {
                    for (j, (mask, block)) in masks.iter_mut().zip(&*batch).enumerate() {
                        let at = i * BATCH + j;
                        let is_first = at.is_multiple_of(per_sector);
                        *mask = if is_first { self.of(number(at / per_sector)) } else { before };
                        before = *block;
                    }
                    aes.decrypt_blocks(batch);
                    for (block, mask) in batch.iter_mut().zip(&masks) {
                        xor(block, mask);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn xor(block: &mut Block, mask: &Block) {
    for (byte, mask) in block.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
