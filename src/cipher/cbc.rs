//! AES-CBC that starts anew in each sector, for volumes of old (SP 800-38A, 6.2).

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes192, Aes256};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::BLOCK;
use crate::arch::{Direction, wipe_stack};
use crate::latch::{Algorithm, unhex};
use crate::{Error, Result};

type Block = Array<u8, U16>;

/// The `aes` crate works on up to 64 blocks at once and treats the rest of a call block by block.
const BATCH: usize = 64;

/// An expanded key. The `aes` crate wipes what it expands.
pub(super) struct Cbc {
    data: Data,
    iv: Iv,
}

enum Data {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

/// What the first block of a sector is chained to: its number as 16 little-endian bytes.
#[allow(clippy::large_enum_variant)] // it stands in the cipher's box
pub(super) enum Iv {
    /// As it is, for all to know: who chooses what is written can mark a disk so that the mark shows in the ciphertext.
    Plain64,
    /// Encrypted under the SHA-256 of the key.
    Essiv(Aes256),
}

impl Iv {
    pub(super) fn essiv_sha256(key: &[u8]) -> Self {
        let mut hash = Sha256::digest(key);
        let iv = Iv::Essiv(Aes256::new_from_slice(&hash).expect("SHA-256 gives 32 bytes"));
        hash.as_mut_slice().zeroize();
        iv
    }

    fn of(&self, sector: u64) -> Block {
        let mut block = Block::from(u128::from(sector).to_le_bytes());
        if let Iv::Essiv(aes) = self {
            aes.encrypt_block(&mut block);
        }
        block
    }
}

impl Cbc {
    pub(super) fn new(key: &[u8], iv: Iv) -> Result<Self> {
        let wrong = |_| Error::KeyLength { len: key.len() };
        let data = match key.len() {
            16 => Data::Aes128(Aes128::new_from_slice(key).map_err(wrong)?),
            24 => Data::Aes192(Aes192::new_from_slice(key).map_err(wrong)?),
            _ => Data::Aes256(Aes256::new_from_slice(key).map_err(wrong)?),
        };
        Ok(Cbc { data, iv })
    }

    /// A run of whole sectors of `sector_size` bytes, numbered in units of 512 bytes.
    pub(super) fn crypt(&self, direction: Direction, first: u64, sector_size: usize, data: &mut [u8]) {
        match &self.data {
            Data::Aes128(aes) => self.iv.crypt(aes, direction, first, sector_size, data),
            Data::Aes192(aes) => self.iv.crypt(aes, direction, first, sector_size, data),
            Data::Aes256(aes) => self.iv.crypt(aes, direction, first, sector_size, data),
        }
        // The `aes` crate spreads round keys over the stack.
        wipe_stack();
    }
}

impl Iv {
    /// Not inlined, so that what it leaves on the stack is below its caller, who wipes it.
    #[inline(never)]
    fn crypt<C>(&self, aes: &C, direction: Direction, first: u64, sector_size: usize, data: &mut [u8])
    where
        C: BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + BlockCipherDecrypt,
    {
        let (blocks, _) = Block::slice_as_chunks_mut(data);
        let (per_sector, step) = (sector_size / BLOCK, (sector_size / 512) as u64);
        // Behind the last sector that there is comes none, so that a number which wraps isn't used.
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

/// Tries AES-CBC before its first use.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest).
pub(super) fn check() -> Result<()> {
    crate::hash::check(Algorithm::Sha256)?;
    Algorithm::Cbc.check(is_right)
}

/// SP 800-38A, F.2.1 to F.2.6. Their IV goes into the plaintext: sector 0 has an IV of zeros.
pub(super) fn is_right() -> bool {
    const KEY_128: [u8; 16] = unhex(b"2b7e151628aed2a6abf7158809cf4f3c");
    const KEY_192: [u8; 24] = unhex(b"8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b");
    const KEY_256: [u8; 32] = unhex(b"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    const PLAINTEXT: [u8; 32] = unhex(b"6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    let mut masked = PLAINTEXT;
    for (i, byte) in masked[..BLOCK].iter_mut().enumerate() {
        *byte ^= i as u8;
    }
    [
        (&KEY_128[..], unhex(b"7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2")),
        (&KEY_192, unhex(b"4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a")),
        (&KEY_256, unhex(b"f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d")),
    ]
    .into_iter()
    .all(|(key, ciphertext): (&[u8], [u8; 32])| {
        let Ok(cipher) = Cbc::new(key, Iv::Plain64) else { return false };
        let mut data = masked;
        cipher.crypt(Direction::Encrypt, 0, 512, &mut data);
        let encrypts = data == ciphertext;
        cipher.crypt(Direction::Decrypt, 0, 512, &mut data);
        encrypts && data == masked
    })
}

#[inline(always)]
fn xor(block: &mut Block, mask: &Block) {
    for (byte, mask) in block.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}
