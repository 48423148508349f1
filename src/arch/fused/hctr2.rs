//! AES-HCTR2 over whole sectors. The names are those of figure 1 in Crowley, Huckleberry and Biggers,
//! *Length-preserving encryption with HCTR2*, 2021.
//!
//! Each sector takes two passes. The first computes POLYVAL of the input. The second is XCTR. Between its rounds it
//! computes POLYVAL of the output of the registers before. The first block of a sector belongs to neither. Both passes
//! still include it, with values that make it add nothing, so that all registers are whole.

use core::hint::black_box;

use super::aes::{BLOCK, crypt, one_round, rounds_from};
use super::keys::{KeyPointer, RoundKeys};
use super::numbers::Numbers;
use super::polyval::{self, Products};
use super::vector::Vector;
use super::work::Work;
use crate::arch::run::Direction;

/// Registers in lock step.
const CHAINS: usize = 8;
/// The most blocks that are hashed together: eight of the widest register.
const MOST: usize = CHAINS * 4;
/// The number of sectors whose first blocks are encrypted together. One by one, each would wait the whole latency of
/// AES.
const GROUP: usize = 8;

/// An expanded key. All bytes zero is a valid but useless key.
#[repr(C)]
pub(in crate::arch) struct Hctr2Keys {
    encrypt: RoundKeys,
    decrypt: RoundKeys,
    /// The powers of the key h of POLYVAL, from `MOST` down to 1.
    powers: [[u8; BLOCK]; MOST],
    /// L
    mask: [u8; BLOCK],
    /// The contribution of the tweak's length to the hash of the tweak. The length is the first block of every hash.
    length: [u8; BLOCK],
}

/// Expands a key of 32 bytes.
pub(super) struct Expand<'a> {
    pub(super) keys: &'a mut Hctr2Keys,
    pub(super) key: &'a [u8],
}

impl Work for Expand<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const C: usize>(self) {
        let keys = self.keys;
        // SAFETY: the caller vouches for the CPU; all arrays have the 16 bytes of a block.
        unsafe {
            RoundKeys::expand::<V::One, 1>([self.key], [&mut keys.encrypt]);
            keys.encrypt.invert::<V::One>(&mut keys.decrypt);
            let pointer = KeyPointer::new(&raw const keys.encrypt);
            let [h, mask] = crypt::<V::One, 2, false>(pointer, [V::One::number(0), V::One::number(1)]);
            mask.store(keys.mask.as_mut_ptr());
            let mut power = h;
            for place in keys.powers.iter_mut().rev() {
                power.store(place.as_mut_ptr());
                power = polyval::dot(power, h);
            }
            // The tweak has two blocks, so 256 bits. Whole blocks follow.
            let length = V::One::number(2 * 256 + 2);
            polyval::dot(polyval::dot(length, h), h).store(keys.length.as_mut_ptr());
        }
    }
}

/// Encrypts or decrypts whole sectors in place.
///
/// `keys` live. `data` is valid for reads and writes of `len` bytes, a multiple of 16. `sector_size` is a multiple of
/// 16 and not 0. The last sector may be shorter.
pub(super) struct Sectors {
    pub(super) keys: *const Hctr2Keys,
    pub(super) direction: Direction,
    /// The tweak of the first sector: 32 bytes as two little-endian numbers.
    pub(super) tweak: [u128; 2],
    /// The increment of the first of the two from one sector to the next.
    pub(super) step: u64,
    pub(super) sector_size: usize,
    pub(super) data: *mut u8,
    pub(super) len: usize,
}

impl Work for Sectors {
    #[inline(always)]
    unsafe fn run<V: Vector, const C: usize>(self) {
        let Sectors { keys, direction, tweak: [mut number, rest], step, sector_size, mut data, mut len } = self;
        while len > 0 {
            let group = len.min(GROUP * sector_size);
            // SAFETY: `group` bytes are left at `data`; the caller vouches for all else.
            unsafe {
                sectors::<V>(keys, direction, [number, rest], step, sector_size, data, group);
                data = data.add(group);
            }
            len -= group;
            number = number.wrapping_add(GROUP as u128 * u128::from(step));
        }
    }
}

/// Values kept between the two passes over a group: one block of each kind for each sector.
#[repr(C, align(64))]
struct Between {
    /// The hash of the tweak, before its last multiplication by h. It takes the place of the block at index 0 and is
    /// multiplied there. The hash goes on with the block at index 1.
    tweaks: [[u8; BLOCK]; GROUP],
    /// MM or UU; then S
    seeds: [[u8; BLOCK]; GROUP],
    /// UU or MM
    firsts: [[u8; BLOCK]; GROUP],
}

/// # Safety
/// As [`Sectors`], for `GROUP` sectors or fewer.
#[inline(always)]
unsafe fn sectors<V: Vector>(
    keys: *const Hctr2Keys,
    direction: Direction,
    [one, two]: [u128; 2],
    step: u64,
    sector_size: usize,
    data: *mut u8,
    len: usize,
) {
    let mut memory = Between { tweaks: [[0; BLOCK]; GROUP], seeds: [[0; BLOCK]; GROUP], firsts: [[0; BLOCK]; GROUP] };
    // The compiler must not know that writes here can't change keys, or it would read the keys ahead.
    let between = black_box(&raw mut memory);
    let count = len.div_ceil(sector_size);
    let blocks = |sector: usize| (len - sector * sector_size).min(sector_size) / BLOCK;
    let powers = Powers(keys);
    // SAFETY: the caller vouches for the CPU, the keys and the buffer; `between` is memory of this function.
    unsafe {
        let (tweaks, seeds) = ((&raw mut (*between).tweaks).cast::<u8>(), (&raw mut (*between).seeds).cast::<u8>());
        let firsts = (&raw mut (*between).firsts).cast::<u8>();
        for i in 0..count {
            let data = data.add(i * sector_size);
            let number = V::One::number(one.wrapping_add(i as u128 * u128::from(step)));
            let after_length = V::One::number(two).xor(V::One::load((*keys).length.as_ptr()));
            let tweak = polyval::dot(number, powers.from(1)).xor(after_length);
            // M or U. The hash reads the block at index 0, too, so the state cancels it.
            let first = V::One::load(data);
            first.xor(hash::<V>(powers, first.xor(tweak), data, blocks(i))).store(seeds.add(i * BLOCK));
            tweak.store(tweaks.add(i * BLOCK));
        }
        for register in 0..count.div_ceil(V::LANES) {
            let at = register * V::BYTES;
            let before = V::load(seeds.add(at));
            let [after] = match direction {
                Direction::Encrypt => crypt::<_, 1, false>(KeyPointer::new(&raw const (*keys).encrypt), [before]),
                Direction::Decrypt => crypt::<_, 1, true>(KeyPointer::new(&raw const (*keys).decrypt), [before]),
            };
            before.xor3(after, V::splat((*keys).mask.as_ptr())).store(seeds.add(at));
            after.store(firsts.add(at));
        }
        for i in 0..count {
            let data = data.add(i * sector_size);
            let [seed, tweak, first] = [seeds, tweaks, firsts];
            let (seed, tweak) = (V::One::load(seed.add(i * BLOCK)), V::One::load(tweak.add(i * BLOCK)));
            let hash = xctr_and_hash::<V>(keys, seed, tweak, data, blocks(i));
            V::One::load(first.add(i * BLOCK)).xor(hash).store(data);
        }
        between.write_bytes(0, 1);
    }
    black_box(between);
}

/// The powers of h.
#[derive(Clone, Copy)]
struct Powers(*const Hctr2Keys);

impl Powers {
    /// A register of powers, from the given one down.
    ///
    /// # Safety
    /// The keys live, the CPU has the instructions of `V`, and `power` is between a register's lanes and `MOST`.
    #[inline(always)]
    unsafe fn from<V: Vector>(self, power: usize) -> V {
        // SAFETY: the caller vouches for it.
        unsafe { V::load((&raw const (*self.0).powers).cast::<u8>().add((MOST - power) * BLOCK)) }
    }
}

/// POLYVAL of whole blocks. `state` is the hash of the blocks before.
///
/// # Safety
/// As [`Sectors`], for `blocks` blocks to read.
#[inline(always)]
unsafe fn hash<V: Vector>(powers: Powers, mut state: V::One, src: *const u8, blocks: usize) -> V::One {
    let mut at = 0;
    // SAFETY: the caller vouches for it; `at` stays within `blocks`.
    unsafe {
        while blocks - at >= MOST {
            state = hash_registers::<V>(powers, state, src.add(at * BLOCK), MOST / V::LANES);
            at += MOST;
        }
        while blocks - at >= V::LANES {
            state = hash_registers::<V>(powers, state, src.add(at * BLOCK), 1);
            at += V::LANES;
        }
        while at < blocks {
            state = hash_registers::<V::One>(powers, state, src.add(at * BLOCK), 1);
            at += 1;
        }
    }
    state
}

/// As [`hash`], for `registers` registers, `MOST` blocks at most.
///
/// # Safety
/// As [`hash`].
#[inline(always)]
unsafe fn hash_registers<V: Vector>(powers: Powers, state: V::One, src: *const u8, registers: usize) -> V::One {
    // SAFETY: the caller vouches for it.
    unsafe {
        let first = V::load(src).xor(V::in_first_lane(state));
        let mut products = Products::new(first, powers.from(registers * V::LANES));
        for register in 1..registers {
            let power = powers.from((registers - register) * V::LANES);
            products.add(V::load(src.add(register * V::BYTES)), power);
        }
        products.reduce()
    }
}

/// XCTR of all blocks from index 1 on, and POLYVAL of the result. The block at index 0 becomes zeros.
///
/// # Safety
/// As [`Sectors`], for one sector of `blocks` blocks.
#[inline(always)]
unsafe fn xctr_and_hash<V: Vector>(
    keys: *const Hctr2Keys,
    seed: V::One,
    mut state: V::One,
    data: *mut u8,
    blocks: usize,
) -> V::One {
    let chunk = CHAINS * V::LANES;
    // SAFETY: the caller vouches for it; `at` stays within `blocks`, and blocks are written before they are hashed.
    unsafe {
        let (aes, powers) = (KeyPointer::new(&raw const (*keys).encrypt), Powers(keys));
        let mut numbers = Numbers::<V>::new(0, 1);
        let mask = V::spread(seed).xor(aes.round(0));
        let mut at = 0;
        if blocks >= chunk {
            xctr::<V, CHAINS>(aes, numbers.take(), mask, data, true);
            at = chunk;
            while blocks - at >= chunk {
                state = xctr_and_hash_before::<V>(aes, powers, numbers.take(), mask, state, data.add(at * BLOCK));
                at += chunk;
            }
            state = hash_registers::<V>(powers, state, data.add((at - chunk) * BLOCK), CHAINS);
        }
        while blocks - at >= V::LANES {
            let data = data.add(at * BLOCK);
            xctr::<V, 1>(aes, numbers.take(), mask, data, at == 0);
            state = hash_registers::<V>(powers, state, data, 1);
            at += V::LANES;
        }
        while at < blocks {
            let data = data.add(at * BLOCK);
            xctr::<V::One, 1>(aes, [V::One::number(at as u128)], seed.xor(aes.round(0)), data, at == 0);
            state = hash_registers::<V::One>(powers, state, data, 1);
            at += 1;
        }
    }
    state
}

/// `C` registers of XCTR, from their numbers. `mask` is the seed xor the first round key. If `first`, the first block
/// becomes zeros: XCTR doesn't cover it, and its keystream must not leak.
///
/// # Safety
/// As [`Sectors`], for `C` registers.
#[inline(always)]
unsafe fn xctr<V: Vector, const C: usize>(keys: KeyPointer, mut blocks: [V; C], mask: V, data: *mut u8, first: bool) {
    for block in &mut blocks {
        *block = block.xor(mask);
    }
    // SAFETY: the caller vouches for it.
    unsafe {
        rounds_from::<V, C, false>(keys, &mut blocks, 0);
        apply(keys, blocks, data, first);
    }
}

/// As [`xctr`], with POLYVAL of as many registers before `data` between the rounds.
///
/// # Safety
/// As [`Sectors`], for `CHAINS` registers, and as many before them.
#[inline(always)]
unsafe fn xctr_and_hash_before<V: Vector>(
    keys: KeyPointer,
    powers: Powers,
    mut blocks: [V; CHAINS],
    mask: V,
    state: V::One,
    data: *mut u8,
) -> V::One {
    for block in &mut blocks {
        *block = block.xor(mask);
    }
    // SAFETY: the caller vouches for it.
    unsafe {
        let before = data.sub(CHAINS * V::BYTES);
        one_round::<V, CHAINS, false>(&mut blocks, keys.round(1));
        let first = V::load(before).xor(V::in_first_lane(state));
        let mut products = Products::new(first, powers.from(CHAINS * V::LANES));
        // The compiler must not unroll this loop, or it would put all products before or after the rounds.
        for round in 1..black_box(CHAINS) {
            one_round::<V, CHAINS, false>(&mut blocks, keys.round(1 + round));
            products.add(V::load(before.add(round * V::BYTES)), powers.from((CHAINS - round) * V::LANES));
        }
        rounds_from::<V, CHAINS, false>(keys, &mut blocks, CHAINS);
        apply(keys, blocks, data, false);
        products.reduce()
    }
}

/// The last round, applied to the data.
///
/// # Safety
/// As [`xctr`].
#[inline(always)]
unsafe fn apply<V: Vector, const C: usize>(keys: KeyPointer, blocks: [V; C], data: *mut u8, first: bool) {
    // SAFETY: the caller vouches for it.
    unsafe {
        let last: V = keys.last();
        for (i, block) in blocks.into_iter().enumerate() {
            let at = data.add(i * V::BYTES);
            let mut block = block.encrypt_last(V::load(at).xor(last));
            if first && i == 0 {
                block = block.xor(V::in_first_lane(block.first_lane()));
            }
            block.store(at);
        }
    }
}
