//! AES-CBC with a new chain in each sector (SP 800-38A, 6.2). Decryption takes many blocks at once. Encryption can't.

use super::aes::{BLOCK, crypt, rounds_from};
use super::keys::{KeyPointer, RoundKeys};
use super::vector::Vector;
use super::work::Work;
use crate::arch::run::Direction;

/// Registers in lock step.
const CHAINS: usize = 8;

/// An expanded key.
pub(in crate::arch) struct CbcKeys {
    encrypt: RoundKeys,
    decrypt: RoundKeys,
    /// The key that encrypts sector numbers. Unused where they are the IVs themselves.
    iv: RoundKeys,
    encrypted_iv: bool,
}

/// Expands a key of 16 or 32 bytes, and the key of the IVs if there is one.
pub(super) struct Expand<'a> {
    pub(super) keys: &'a mut CbcKeys,
    pub(super) key: &'a [u8],
    pub(super) iv_key: Option<&'a [u8]>,
}

impl Work for Expand<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const C: usize>(self) {
        let keys = self.keys;
        // SAFETY: the caller vouches for the CPU.
        unsafe {
            RoundKeys::expand::<V::One, 1>([self.key], [&mut keys.encrypt]);
            keys.encrypt.invert::<V::One>(&mut keys.decrypt);
            if let Some(key) = self.iv_key {
                RoundKeys::expand::<V::One, 1>([key], [&mut keys.iv]);
                keys.encrypted_iv = true;
            }
        }
    }
}

/// Encrypts or decrypts whole sectors in place.
///
/// `keys` live. `data` is valid for reads and writes of `len` bytes, a multiple of 16. `sector_size` is a multiple of
/// 16 and not 0. The last sector may be shorter.
pub(super) struct Sectors {
    pub(super) keys: *const CbcKeys,
    pub(super) direction: Direction,
    /// The number of the first sector, and its increment from one sector to the next.
    pub(super) first: u64,
    pub(super) step: u64,
    pub(super) sector_size: usize,
    pub(super) data: *mut u8,
    pub(super) len: usize,
}

impl Work for Sectors {
    #[inline(always)]
    unsafe fn run<V: Vector, const C: usize>(self) {
        let mut number = self.first;
        let mut at = 0;
        while at < self.len {
            let blocks = (self.len - at).min(self.sector_size) / BLOCK;
            // SAFETY: `blocks` blocks are left at `at`; the caller vouches for all else.
            unsafe {
                let data = self.data.add(at);
                let mut iv = V::One::number(u128::from(number));
                if (*self.keys).encrypted_iv {
                    [iv] = crypt::<_, 1, false>(KeyPointer::new(&raw const (*self.keys).iv), [iv]);
                }
                match self.direction {
                    Direction::Encrypt => encrypt(KeyPointer::new(&raw const (*self.keys).encrypt), iv, data, blocks),
                    Direction::Decrypt => {
                        decrypt::<V>(KeyPointer::new(&raw const (*self.keys).decrypt), iv, data, blocks);
                    }
                }
            }
            at += self.sector_size;
            // No sector follows the last one, so a number that wraps is never used.
            number = number.wrapping_add(self.step);
        }
    }
}

/// # Safety
/// As [`Sectors`], for one sector of `blocks` blocks.
#[inline(always)]
unsafe fn encrypt<V: Vector>(keys: KeyPointer, iv: V, data: *mut u8, blocks: usize) {
    let mut chain = iv;
    for block in 0..blocks {
        // SAFETY: the caller vouches for it.
        unsafe {
            let at = data.add(block * BLOCK);
            [chain] = crypt::<_, 1, false>(keys, [chain.xor(V::load(at))]);
            chain.store(at);
        }
    }
}

/// Decrypts from the end to the start, since each block needs the ciphertext of the one before it.
///
/// # Safety
/// As [`Sectors`], for one sector of `blocks` blocks.
#[inline(always)]
unsafe fn decrypt<V: Vector>(keys: KeyPointer, iv: V::One, data: *mut u8, blocks: usize) {
    let mut left = blocks;
    // SAFETY: the caller vouches for it. Blocks from `left` on are done.
    unsafe {
        while !left.is_multiple_of(V::LANES) {
            left -= 1;
            match left {
                0 => chunk::<V::One, 1>(keys, data, Some(iv)),
                _ => chunk::<V::One, 1>(keys, data.add(left * BLOCK), None),
            }
        }
        while left >= CHAINS * V::LANES {
            left -= CHAINS * V::LANES;
            match left {
                0 => chunk::<V, CHAINS>(keys, data, Some(behind(iv, data))),
                _ => chunk::<V, CHAINS>(keys, data.add(left * BLOCK), None),
            }
        }
        while left > 0 {
            left -= V::LANES;
            match left {
                0 => chunk::<V, 1>(keys, data, Some(behind(iv, data))),
                _ => chunk::<V, 1>(keys, data.add(left * BLOCK), None),
            }
        }
    }
}

/// One register: the IV, followed by the blocks at `data`.
///
/// # Safety
/// The CPU has the instructions of `V`, and `data` is valid for reads of a register.
#[inline(always)]
unsafe fn behind<V: Vector>(iv: V::One, data: *const u8) -> V {
    let mut register = [0u8; 4 * BLOCK];
    let at = register.as_mut_ptr();
    // SAFETY: no register is longer than four blocks; the caller vouches for the rest.
    unsafe {
        iv.store(at);
        data.copy_to_nonoverlapping(at.add(BLOCK), V::BYTES - BLOCK);
        V::load(at)
    }
}

/// Decrypts `C` registers. `before` holds the ciphertext blocks that precede those of the first register. Without it
/// they are read from memory, from one block before `data` on.
///
/// # Safety
/// As [`Sectors`], for `C` registers, and for a block before them if there is no `before`.
#[inline(always)]
unsafe fn chunk<V: Vector, const C: usize>(keys: KeyPointer, data: *mut u8, before: Option<V>) {
    // SAFETY: the caller vouches for it.
    unsafe {
        let key = keys.round(0);
        let mut blocks: [V; C] = [key; C];
        for (i, block) in blocks.iter_mut().enumerate() {
            *block = block.xor(V::load(data.add(i * V::BYTES)));
        }
        rounds_from::<V, C, true>(keys, &mut blocks, 0);
        let last: V = keys.last();
        for (i, block) in blocks.into_iter().enumerate().rev() {
            let at = data.add(i * V::BYTES);
            let chain = match before {
                Some(before) if i == 0 => before,
                _ => V::load(at.sub(BLOCK)),
            };
            block.decrypt_last(chain.xor(last)).store(at);
        }
    }
}
