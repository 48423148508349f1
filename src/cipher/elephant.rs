//! AES-CBC with the Elephant diffuser, of BitLocker in Windows Vista and 7 (N. Ferguson, AES-CBC + Elephant diffuser, 2006).
//!
//! CBC alone lets an attacker who writes to the disk flip chosen bits. The diffuser spreads each change over the sector.

use zeroize::Zeroize;

use super::cbc::{Cbc, Iv};
use super::{BLOCK, KernelKind};
use crate::arch::{CbcKernel, Direction};
use crate::{Error, Result};

/// The key of a sector has two blocks.
const SECTOR_KEY: usize = 2 * BLOCK;
/// Sectors whose keys are made at once.
const BATCH: usize = 32;
/// The last byte of the second block's number.
const SECOND: u8 = 0x80;

/// The rotations of a word by its place modulo 4, and how often a diffuser goes over the sector.
const A: ([u32; 4], usize) = ([9, 0, 13, 0], 5);
const B: ([u32; 4], usize) = ([0, 10, 0, 25], 3);

/// An expanded key.
pub(super) struct Elephant {
    cbc: Cbc,
    /// Encrypts the blocks from which the sectors' keys are made.
    tweak: CbcKernel,
}

impl Elephant {
    /// Expands a CBC key followed by a tweak key: 16 bytes each, or 32.
    pub(super) fn new(key: &[u8], kind: KernelKind) -> Result<Self> {
        let (data, tweak) = key.split_at(key.len() / 2);
        let tweak = CbcKernel::expand(kind, tweak, None)?;
        let tweak = tweak.ok_or_else(|| Error::KernelUnavailable { kind: kind.name() })?;
        Ok(Elephant { cbc: Cbc::new(data, Iv::Encrypted, kind)?, tweak })
    }

    /// Encrypts or decrypts a run of whole sectors. The first one begins at byte `first`.
    pub(super) fn crypt(&self, way: Direction, first: u64, sector_size: usize, data: &mut [u8]) -> Result<()> {
        let mut at = first;
        for sectors in data.chunks_mut(BATCH * sector_size) {
            let mut keys = self.sector_keys(at, sector_size, sectors.len() / sector_size)?;
            if way == Direction::Encrypt {
                for (sector, key) in sectors.chunks_mut(sector_size).zip(&keys) {
                    mask(sector, key);
                    spread_a(sector);
                    spread_b(sector);
                }
                self.cbc.crypt_by_bytes(way, at, sector_size, sectors)?;
            } else {
                self.cbc.crypt_by_bytes(way, at, sector_size, sectors)?;
                for (sector, key) in sectors.chunks_mut(sector_size).zip(&keys) {
                    gather_b(sector);
                    gather_a(sector);
                    mask(sector, key);
                }
            }
            keys.zeroize();
            // No sector follows the last one, so a number that wraps is never used.
            at = at.wrapping_add(sectors.len() as u64);
        }
        Ok(())
    }

    /// The keys of `count` sectors: their first byte's number encrypted, and the same with the highest bit set.
    fn sector_keys(&self, first: u64, sector_size: usize, count: usize) -> Result<[[u8; SECTOR_KEY]; BATCH]> {
        let mut keys = [[0; SECTOR_KEY]; BATCH];
        for half in 0..2 {
            // CBC of a single block encrypts the block XOR the number.
            let mut blocks = [[0; BLOCK]; BATCH];
            blocks.iter_mut().for_each(|block| block[BLOCK - 1] = if half == 1 { SECOND } else { 0 });
            let run = blocks[..count].as_flattened_mut();
            self.tweak.crypt(Direction::Encrypt, first, sector_size as u64, BLOCK, run)?;
            for (key, block) in keys.iter_mut().zip(&blocks) {
                key[half * BLOCK..][..BLOCK].copy_from_slice(block);
            }
            blocks.zeroize();
        }
        Ok(keys)
    }
}

fn mask(sector: &mut [u8], key: &[u8; SECTOR_KEY]) {
    for chunk in sector.chunks_mut(SECTOR_KEY) {
        chunk.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
    }
}

// The number of words is a power of two, which `DmCipher` checks.

/// Diffuser A, in the direction of encryption: each word is changed by words before it.
fn spread_a(sector: &mut [u8]) {
    let ((rotations, cycles), words) = (A, sector.as_chunks_mut().0);
    let last = words.len() - 1;
    for i in (0..cycles).flat_map(|_| (0..=last).rev()) {
        let change =
            word(words[i.wrapping_sub(2) & last]) ^ word(words[i.wrapping_sub(5) & last]).rotate_left(rotations[i % 4]);
        words[i] = word(words[i]).wrapping_sub(change).to_le_bytes();
    }
}

fn gather_a(sector: &mut [u8]) {
    let ((rotations, cycles), words) = (A, sector.as_chunks_mut().0);
    let last = words.len() - 1;
    for i in (0..cycles).flat_map(|_| 0..=last) {
        let change =
            word(words[i.wrapping_sub(2) & last]) ^ word(words[i.wrapping_sub(5) & last]).rotate_left(rotations[i % 4]);
        words[i] = word(words[i]).wrapping_add(change).to_le_bytes();
    }
}

/// Diffuser B, in the direction of encryption: each word is changed by words after it.
fn spread_b(sector: &mut [u8]) {
    let ((rotations, cycles), words) = (B, sector.as_chunks_mut().0);
    let last = words.len() - 1;
    for i in (0..cycles).flat_map(|_| (0..=last).rev()) {
        let change = word(words[(i + 2) & last]) ^ word(words[(i + 5) & last]).rotate_left(rotations[i % 4]);
        words[i] = word(words[i]).wrapping_sub(change).to_le_bytes();
    }
}

fn gather_b(sector: &mut [u8]) {
    let ((rotations, cycles), words) = (B, sector.as_chunks_mut().0);
    let last = words.len() - 1;
    for i in (0..cycles).flat_map(|_| 0..=last) {
        let change = word(words[(i + 2) & last]) ^ word(words[(i + 5) & last]).rotate_left(rotations[i % 4]);
        words[i] = word(words[i]).wrapping_add(change).to_le_bytes();
    }
}

fn word(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes)
}
