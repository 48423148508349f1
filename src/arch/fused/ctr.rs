//! AES in counter mode (SP 800-38A, 6.5) with a counter of 128 bits.
//!
//! Counters are kept as numbers. Their bytes are reversed where they become blocks. Only the lower half of a counter is
//! incremented within a run of blocks, so a run ends where that half wraps.

use core::hint::black_box;

use super::aes::{BLOCK, one_round, rounds_from};
use super::keys::{KeyPointer, RoundKeys};
use super::numbers::Numbers;
use super::prefetch::{self, LINE};
use super::vector::Vector;
use super::work::Work;

/// An expanded key.
pub(in crate::arch) struct CtrKeys(RoundKeys);

/// Expands a key of 32 bytes.
pub(super) struct Expand<'a> {
    pub(super) keys: &'a mut CtrKeys,
    pub(super) key: &'a [u8],
}

impl Work for Expand<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const C: usize>(self) {
        // SAFETY: the caller vouches for the CPU.
        unsafe { RoundKeys::expand::<V::One, 1>([self.key], [&mut self.keys.0]) }
    }
}

/// Xors bytes with the keystream, starting at byte `skip` of the block of `counter`.
///
/// `keys` live. `src` is valid for reads and `dst` for writes of `len` bytes; they are the same or do not overlap.
/// `skip` is below 16.
pub(super) struct Apply {
    pub(super) keys: *const CtrKeys,
    pub(super) counter: u128,
    pub(super) skip: usize,
    pub(super) src: *const u8,
    pub(super) dst: *mut u8,
    pub(super) len: usize,
}

impl Work for Apply {
    #[inline(always)]
    unsafe fn run<V: Vector, const C: usize>(self) {
        let Apply { keys, mut counter, skip, mut src, mut dst, mut len } = self;
        let distance = prefetch::distance::<V>(len, C * V::BYTES);
        // SAFETY: the caller vouches for the CPU, the keys and the buffers, and no more than `len` bytes are taken.
        unsafe {
            let keys = KeyPointer::new(&raw const (*keys).0);
            if skip > 0 && len > 0 {
                let part = len.min(BLOCK - skip);
                partial::<V::One>(keys, counter, skip, src, dst, part);
                (src, dst, len) = (src.add(part), dst.add(part), len - part);
                counter = counter.wrapping_add(1);
            }
            let mut left = len / BLOCK;
            while left > 0 {
                let until_wrap = (u64::MAX - counter as u64) as usize;
                let count = left.min(until_wrap.saturating_add(1));
                blocks::<V, C>(keys, counter, src, dst, count, distance);
                (src, dst, left) = (src.add(count * BLOCK), dst.add(count * BLOCK), left - count);
                counter = counter.wrapping_add(count as u128);
            }
            if !len.is_multiple_of(BLOCK) {
                partial::<V::One>(keys, counter, 0, src, dst, len % BLOCK);
            }
        }
    }
}

/// Whole blocks. The lower half of the counter may wrap only after the last block.
///
/// # Safety
/// As [`Apply`], for `count` blocks.
#[inline(always)]
unsafe fn blocks<V: Vector, const C: usize>(
    keys: KeyPointer,
    first: u128,
    src: *const u8,
    dst: *mut u8,
    count: usize,
    distance: usize,
) {
    let mut at = 0;
    // SAFETY: the caller vouches for the CPU; `at` stays within `count`.
    unsafe {
        let mut counters = Numbers::<V>::new(first, 1);
        while count - at >= C * V::LANES {
            let (src, dst) = (src.add(at * BLOCK), dst.add(at * BLOCK));
            let ahead = src.wrapping_add(distance);
            chunk::<V, C>(keys, counters.take(), src, dst, ahead);
            at += C * V::LANES;
        }
        while count - at >= 4 * V::LANES {
            let (src, dst) = (src.add(at * BLOCK), dst.add(at * BLOCK));
            chunk::<V, 4>(keys, counters.take(), src, dst, src);
            at += 4 * V::LANES;
        }
        while count - at >= V::LANES {
            let (src, dst) = (src.add(at * BLOCK), dst.add(at * BLOCK));
            chunk::<V, 1>(keys, counters.take(), src, dst, src);
            at += V::LANES;
        }
        while at < count {
            let (src, dst) = (src.add(at * BLOCK), dst.add(at * BLOCK));
            chunk::<V::One, 1>(keys, [V::One::number(first.wrapping_add(at as u128))], src, dst, src);
            at += 1;
        }
    }
}

/// Xors `C` registers of data with keystream from as many registers of counters.
///
/// # Safety
/// As [`Apply`], for `C` registers.
#[inline(always)]
unsafe fn chunk<V: Vector, const C: usize>(
    keys: KeyPointer,
    mut blocks: [V; C],
    src: *const u8,
    dst: *mut u8,
    ahead: *const u8,
) {
    // SAFETY: the caller vouches for the CPU, the keys and the buffers.
    unsafe {
        let key = keys.round(0);
        for block in &mut blocks {
            *block = block.reverse_bytes().xor(key);
        }
        for round in 0..8 {
            one_round::<V, C, false>(&mut blocks, keys.round(1 + round));
            for line in (round * LINE..C * V::BYTES).step_by(8 * LINE) {
                V::prefetch(ahead.wrapping_add(line));
            }
        }
        rounds_from::<V, C, false>(keys, &mut blocks, 8);
        let last: V = keys.last();
        for (i, block) in blocks.into_iter().enumerate() {
            let data = V::load(src.add(i * V::BYTES));
            block.encrypt_last(data.xor(last)).store(dst.add(i * V::BYTES));
        }
    }
}

/// A part of one block.
///
/// # Safety
/// As [`Apply`], for `len` bytes, which are within the block from `skip` on.
#[inline(always)]
unsafe fn partial<V: Vector>(keys: KeyPointer, counter: u128, skip: usize, src: *const u8, dst: *mut u8, len: usize) {
    let mut block = [0u8; BLOCK];
    // The compiler must not know that writing the block can't change keys, or it would read the keys ahead.
    let at = black_box(block.as_mut_ptr());
    // SAFETY: `skip + len` is at most 16; the caller vouches for the rest.
    unsafe {
        src.copy_to_nonoverlapping(at.add(skip), len);
        chunk::<V, 1>(keys, [V::number(counter)], at, at, at);
        at.add(skip).copy_to_nonoverlapping(dst, len);
        at.write_bytes(0, BLOCK);
    }
    black_box(at);
}
