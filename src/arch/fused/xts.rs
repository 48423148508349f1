//! The fused kernel: XTS with tweaks and rounds in one loop, for any [`Vector`].
//!
//! The steps of a run of sectors, from the outside in:
//!
//! 1. [`run`] takes data units in groups of 64. It computes the first tweaks (the encrypted numbers) of a group
//!    together. One by one, each would wait the whole latency of AES.
//! 2. A group is cut into *strides* of 64 blocks (1 KiB): two sectors of 512 bytes, or a part of a larger one. The
//!    tweaks of a stride lie in memory, since registers are full of data.
//! 3. [`chunk`] takes `C` registers at a time in lock step through the rounds, which hides the latency of the AES
//!    instructions. Between the rounds it makes tweaks of the next stride, on ports that AES leaves free, by the
//!    [method](Method) that suits the CPU best.
//!
//! Where eight registers hide that latency, it goes by [half strides](halves) instead.
//!
//! Tweaks are stored as `T xor K`, where K is the last round key. So the last round adds key and tweak in one
//! instruction. Data units that don't fit this pattern go through [`odd_unit`], one at a time.

use core::hint::black_box;
use core::mem::MaybeUninit;

use super::aes::{BLOCK, crypt, one_round, rounds_from};
use super::halves::{self, HALF_BYTES};
use super::keys::{KeyPointer, XtsKeys};
use super::numbers::Numbers;
use super::prefetch::{self, LINE};
use super::scratch::{GROUP, STRIDE, STRIDE_BYTES, Scratch};
use super::tweaks::{Expand, Known, Method, Multiplied, Nothing, Produce, Step, fill, next_tweak};
use super::vector::Vector;
use crate::arch::run::Direction;

/// Registers in lock step where the kernel's own number doesn't fit.
const CHAINS: usize = 8;

/// The size and numbering of a run's data units. It is small enough to be passed in registers. The number of the first
/// data unit is passed in registers, too: through memory it would be written in halves and read whole, and such a read
/// waits until all earlier stores are done.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// The length of a data unit in bytes.
    pub(super) len: usize,
    /// The increment of the number from one data unit to the next.
    pub(super) step: u64,
}

/// Encrypts or decrypts whole data units with `C` registers in lock step.
///
/// # Safety
/// The CPU has the instructions of `V`. `keys` live. `src` is valid for reads and `dst` for writes of `len` bytes; they
/// are the same or do not overlap. `units.len` is at least 16 and divides `len`. If `STREAM`, `dst` is aligned to the
/// size of a register.
#[inline(always)]
pub(super) unsafe fn run<V: Vector, M: Method<V>, const C: usize, const STREAM: bool>(
    keys: *const XtsKeys,
    direction: Direction,
    first: u128,
    units: Cut,
    src: *const u8,
    dst: *mut u8,
    len: usize,
) {
    // SAFETY: the caller's promises are passed on.
    unsafe {
        let tweak = KeyPointer::new(&raw const (*keys).tweak);
        let (encrypt, decrypt) = (&raw const (*keys).encrypt, &raw const (*keys).decrypt);
        match direction {
            Direction::Encrypt => {
                groups::<V, M, C, false, STREAM>(KeyPointer::new(encrypt), tweak, first, units, src, dst, len)
            }
            Direction::Decrypt => {
                groups::<V, M, C, true, STREAM>(KeyPointer::new(decrypt), tweak, first, units, src, dst, len)
            }
        }
    }
}

/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn groups<V: Vector, M: Method<V>, const C: usize, const DECRYPT: bool, const STREAM: bool>(
    keys: KeyPointer,
    tweak_keys: KeyPointer,
    first: u128,
    units: Cut,
    mut src: *const u8,
    mut dst: *mut u8,
    len: usize,
) {
    let mut memory = MaybeUninit::uninit();
    let mut scratch = Scratch::new(&mut memory);
    let small = units.len * 2 == STRIDE_BYTES;
    let fits = small || units.len.is_multiple_of(STRIDE_BYTES);
    let distance = prefetch::distance::<V>(len, STRIDE_BYTES);
    if len == units.len && fits && V::LANES == 4 {
        // A path of its own: the work of going on to further data units, and the way of the first tweak through memory, show
        // in the time of one sector. Narrower vectors have too few registers: the tweak would be put on the stack.
        // SAFETY: one data unit is at `src` and `dst`, and the CPU is as the caller says.
        unsafe {
            let [unit] = crypt::<V, 1, false>(tweak_keys, [V::number(first)]);
            let unit = Known { keys, unit };
            match len / HALF_BYTES {
                1 => halves::one::<V, DECRYPT, STREAM>(unit, src, dst),
                halves if M::HALVES => halves::lone::<V, DECRYPT, STREAM>(unit, halves, src, dst),
                _ => {
                    let group = Group { small, blocks: len / BLOCK, count: 1 };
                    fill::<V, _>(Multiplied::from(unit), scratch.tweaks[0], STRIDE);
                    scratch.used([STRIDE, if group.blocks > STRIDE { STRIDE } else { 0 }]);
                    strides::<V, M, C, DECRYPT, STREAM>(keys, group, &mut scratch, src, dst, distance);
                }
            }
        }
        if STREAM {
            V::fence();
        }
        return scratch.wipe::<V>(M::SLACK);
    }
    let mut number = first;
    // A division would noticeably slow down a single sector.
    let mut left = if len == units.len { 1 } else { len / units.len };
    while left > 0 {
        let count = left.min(GROUP);
        // SAFETY: the CPU is as the caller says, and `count` is within `GROUP`.
        unsafe { first_tweaks::<V>(tweak_keys, number, units.step, count, &mut scratch) };
        let group = Group { small, blocks: units.len / BLOCK, count };
        // SAFETY: `count` data units are left at `src` and `dst`, and `scratch` has their first tweaks.
        unsafe {
            if fits && M::HALVES {
                halves::group::<V, DECRYPT, STREAM>(keys, &mut scratch, units.len / HALF_BYTES, count, src, dst);
            } else if fits {
                first_stride::<V, M>(keys, group, &mut scratch);
                strides::<V, M, C, DECRYPT, STREAM>(keys, group, &mut scratch, src, dst, distance);
            } else {
                for i in 0..count {
                    let (src, dst) = (src.add(i * units.len), dst.add(i * units.len));
                    odd_unit::<V, M, C, DECRYPT>(keys, i, units.len, &mut scratch, src, dst);
                }
            }
            src = src.add(count * units.len);
            dst = dst.add(count * units.len);
        }
        number = number.wrapping_add(count as u128 * u128::from(units.step));
        left -= count;
    }
    if STREAM {
        V::fence();
    }
    scratch.wipe::<V>(M::SLACK);
}

/// A group of data units whose strides are whole.
#[derive(Clone, Copy)]
struct Group {
    /// Whether a stride holds two data units.
    small: bool,
    /// The blocks of a data unit.
    blocks: usize,
    /// The number of data units.
    count: usize,
}

/// Makes the tweaks of the first stride of a group, or of a lone small data unit.
///
/// # Safety
/// The CPU has the instructions of `V`, and `scratch` has the first tweaks of the group.
#[inline(always)]
unsafe fn first_stride<V: Vector, M: Method<V>>(keys: KeyPointer, group: Group, scratch: &mut Scratch) {
    let [now, _] = scratch.tweaks;
    // SAFETY: the caller vouches for it.
    unsafe {
        if !group.small {
            fill::<V, _>(M::Start::from(Expand::<false>::new(keys, scratch, 0, 0)), now, STRIDE);
        } else if group.count > 1 {
            fill::<V, _>(M::Start::from(Expand::<true>::new(keys, scratch, 0, 1)), now, STRIDE);
        } else {
            fill::<V, _>(Multiplied::from(Expand::<true>::new(keys, scratch, 0, 0)), now, STRIDE / 2);
        }
    }
    let blocks = group.count * group.blocks;
    scratch.used([blocks.min(STRIDE), if blocks > STRIDE { STRIDE } else { 0 }]);
}

/// # Safety
/// As [`run`], for the data units of `group`, whose first tweaks `scratch` has, if they are several, and those of the first
/// stride in any case.
#[inline(always)]
unsafe fn strides<V: Vector, M: Method<V>, const C: usize, const DECRYPT: bool, const STREAM: bool>(
    keys: KeyPointer,
    group: Group,
    scratch: &mut Scratch,
    mut src: *const u8,
    mut dst: *mut u8,
    distance: usize,
) {
    let strides = group.count * group.blocks / STRIDE;
    // Strides per data unit, and data units per stride.
    let (per_unit, units) = if group.small { (1, 2) } else { (group.blocks / STRIDE, 1) };
    let [mut now, mut next] = scratch.tweaks;
    let (mut unit, mut position) = (0, 0);
    // SAFETY: all pointers stay within the caller's buffers and `scratch`; tweaks are written before they are read.
    unsafe {
        for stride in 0..strides {
            let ahead = src.wrapping_add(distance);
            position += 1;
            if stride + 1 == strides {
                chunks::<V, C, DECRYPT, STREAM, _>(keys, src, dst, ahead, now, next, &Nothing);
            } else if position < per_unit {
                let step = Step::new(keys, now);
                chunks::<V, C, DECRYPT, STREAM, _>(keys, src, dst, ahead, now, next, &M::Step::from(step));
            } else {
                (unit, position) = (unit + units, 0);
                if group.small {
                    let expand = M::Small::from(Expand::new(keys, scratch, unit, unit + 1));
                    chunks::<V, C, DECRYPT, STREAM, _>(keys, src, dst, ahead, now, next, &expand);
                } else {
                    let expand = M::Large::from(Expand::new(keys, scratch, unit, unit));
                    chunks::<V, C, DECRYPT, STREAM, _>(keys, src, dst, ahead, now, next, &expand);
                }
            }
            (now, next) = (next, now);
            src = src.add(STRIDE_BYTES);
            dst = dst.add(STRIDE_BYTES);
        }
        if group.small && !group.count.is_multiple_of(2) {
            if strides > 0 {
                let last = group.count - 1;
                fill::<V, _>(Multiplied::from(Expand::<true>::new(keys, scratch, last, last)), now, STRIDE / 2);
            }
            for slot in (0..STRIDE / 2 / V::LANES).step_by(CHAINS) {
                chunk::<V, CHAINS, DECRYPT, STREAM, _>(keys, src, dst, src, now, next, slot, &Nothing, &mut ());
            }
        }
    }
}

/// One data unit of any other length (IEEE 1619-2018, 5.3.2 and 5.4.2). Its first tweak is at `index` in `scratch`.
///
/// # Safety
/// As [`run`], for one data unit of `len` bytes.
#[inline(always)]
unsafe fn odd_unit<V: Vector, M: Method<V>, const C: usize, const DECRYPT: bool>(
    keys: KeyPointer,
    index: usize,
    len: usize,
    scratch: &mut Scratch,
    mut src: *const u8,
    mut dst: *mut u8,
) {
    let (whole, partial) = (len / BLOCK, len % BLOCK);
    // A partial last block is processed together with the whole one before it.
    let mut blocks = if partial == 0 { whole } else { whole - 1 };
    let [mut now, mut next] = scratch.tweaks;
    // SAFETY: all pointers stay within the caller's buffers and `scratch`; tweaks are written before they are read.
    unsafe {
        fill::<V, _>(M::Start::from(Expand::<false>::new(keys, scratch, index, index)), now, STRIDE);
        scratch.used([STRIDE, if blocks < STRIDE { 0 } else { STRIDE }]);
        while blocks >= STRIDE {
            let step = Step::new(keys, now);
            chunks::<V, C, DECRYPT, false, _>(keys, src, dst, src, now, next, &M::Step::from(step));
            (now, next) = (next, now);
            src = src.add(STRIDE_BYTES);
            dst = dst.add(STRIDE_BYTES);
            blocks -= STRIDE;
        }
        let mut slot = 0;
        let mut take = |registers: usize| {
            let whole = blocks / V::LANES - slot >= registers;
            slot += if whole { registers } else { 0 };
            whole.then(|| slot - registers)
        };
        while let Some(slot) = take(CHAINS) {
            chunk::<V, CHAINS, DECRYPT, false, _>(keys, src, dst, src, now, next, slot, &Nothing, &mut ());
        }
        if let Some(slot) = take(4) {
            chunk::<V, 4, DECRYPT, false, _>(keys, src, dst, src, now, next, slot, &Nothing, &mut ());
        }
        if let Some(slot) = take(2) {
            chunk::<V, 2, DECRYPT, false, _>(keys, src, dst, src, now, next, slot, &Nothing, &mut ());
        }
        if let Some(slot) = take(1) {
            chunk::<V, 1, DECRYPT, false, _>(keys, src, dst, src, now, next, slot, &Nothing, &mut ());
        }
        for block in slot * V::LANES..blocks {
            chunk::<V::One, 1, DECRYPT, false, _>(keys, src, dst, src, now, next, block, &Nothing, &mut ());
        }
        if partial != 0 {
            let at = blocks * BLOCK;
            steal::<V, DECRYPT>(keys, now.add(at), src.add(at), dst.add(at), partial);
        }
    }
}

/// The last whole block and the partial one of a data unit. `tweak` points to the tweak of the former.
///
/// # Safety
/// As [`run`], for 16 and `partial` bytes; `tweak` is valid for reads of 16 bytes.
#[inline(always)]
unsafe fn steal<V: Vector, const DECRYPT: bool>(
    keys: KeyPointer,
    tweak: *const u8,
    src: *const u8,
    dst: *mut u8,
    partial: usize,
) {
    let mut before = [0; BLOCK];
    let mut after = [0; BLOCK];
    let mut stolen = [0; BLOCK];
    let mut last = [0; BLOCK];
    // SAFETY: `tweak` and `src` are valid for these reads; the CPU is as the caller says.
    unsafe {
        tweak.copy_to_nonoverlapping(before.as_mut_ptr(), BLOCK);
        next_tweak::<V::One>(keys, tweak, after.as_mut_ptr());
        src.copy_to_nonoverlapping(stolen.as_mut_ptr(), BLOCK);
        src.add(BLOCK).copy_to_nonoverlapping(last.as_mut_ptr(), partial);
    }
    // Decryption uses the two tweaks in reverse order.
    let (one, two) = if DECRYPT { (&after, &before) } else { (&before, &after) };
    let block = |block: &mut [u8; BLOCK], tweak: &[u8; BLOCK]| {
        // As in `Scratch::new`: the compiler must not know that writing a block can't change keys.
        let at = black_box(block.as_mut_ptr());
        // SAFETY: the CPU is as the caller of `run` says; both arrays have the 16 bytes of one block.
        unsafe { chunk::<V::One, 1, DECRYPT, false, _>(keys, at, at, at, tweak.as_ptr(), at, 0, &Nothing, &mut ()) };
    };
    block(&mut stolen, one);
    last[partial..].copy_from_slice(&stolen[partial..]);
    block(&mut last, two);
    // SAFETY: `dst` is valid for these writes.
    unsafe {
        last.as_ptr().copy_to_nonoverlapping(dst, BLOCK);
        stolen.as_ptr().copy_to_nonoverlapping(dst.add(BLOCK), partial);
    }
    for secret in [&mut before, &mut after, &mut stolen, &mut last] {
        *secret = [0; BLOCK];
        black_box(secret);
    }
}

/// A whole stride.
///
/// # Safety
/// As [`chunk`], for all slots of a stride.
#[inline(always)]
unsafe fn chunks<V: Vector, const C: usize, const DECRYPT: bool, const STREAM: bool, P: Produce<V>>(
    keys: KeyPointer,
    src: *const u8,
    dst: *mut u8,
    ahead: *const u8,
    now: *const u8,
    next: *mut u8,
    produce: &P,
) {
    // SAFETY: the caller's promises hold for every slot.
    unsafe {
        let mut state = produce.begin(0);
        for slot in (0..STRIDE / V::LANES).step_by(C) {
            if slot > 0 && slot.is_multiple_of(P::SLOTS) {
                state = produce.begin(slot);
            }
            chunk::<V, C, DECRYPT, STREAM, P>(keys, src, dst, ahead, now, next, slot, produce, &mut state);
        }
    }
}

/// `C` registers from `slot` on, in lock step: C = E(P xor T) xor T. It also makes as many tweaks of the next stride.
///
/// # Safety
/// The CPU has the instructions of `V`. For slots from `slot` to `slot + C`, `src` and `now` are valid for reads, `dst`
/// for writes, and `next` for writes if `P` makes tweaks. A slot is `V::BYTES` bytes. `src` and `dst` are the same or
/// do not overlap.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // all of it is inlined into one loop
unsafe fn chunk<V: Vector, const C: usize, const DECRYPT: bool, const STREAM: bool, P: Produce<V>>(
    keys: KeyPointer,
    src: *const u8,
    dst: *mut u8,
    ahead: *const u8,
    now: *const u8,
    next: *mut u8,
    slot: usize,
    produce: &P,
    state: &mut P::State,
) {
    let at = slot * V::BYTES;
    // SAFETY: offsets are those of slots `slot` to `slot + C`. The caller vouches for these and for the CPU.
    unsafe {
        // 1. The first round key and the tweak. The tweak contains the last round key, which is cancelled here.
        let key: V = keys.first_and_last();
        let mut blocks = [key; C];
        for (i, block) in blocks.iter_mut().enumerate() {
            let offset = at + i * V::BYTES;
            *block = block.xor3(V::load(src.add(offset)), V::load(now.add(offset)));
        }
        // 2. The middle rounds. Each of the first eight makes a tweak of the next stride for every eight registers.
        if P::ROLLED {
            // The compiler must not unroll this loop, or it would put all tweaks before the rounds.
            for round in 0..black_box(8) {
                round_and_tweaks::<V, C, DECRYPT, P>(keys, &mut blocks, round, slot, ahead, next, produce, state);
            }
        } else {
            for round in 0..8 {
                round_and_tweaks::<V, C, DECRYPT, P>(keys, &mut blocks, round, slot, ahead, next, produce, state);
            }
        }
        rounds_from::<V, C, DECRYPT>(keys, &mut blocks, 8);
        // 3. The last round key and the tweak, in one instruction.
        for (i, block) in blocks.iter().enumerate() {
            let offset = at + i * V::BYTES;
            let tweak = V::load(now.add(offset));
            let block = if DECRYPT { block.decrypt_last(tweak) } else { block.encrypt_last(tweak) };
            if STREAM {
                block.stream(dst.add(offset));
            } else {
                block.store(dst.add(offset));
            }
        }
    }
}

/// One of the first eight rounds, with its prefetches and tweaks.
///
/// # Safety
/// As [`chunk`]; `round` is below 8.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // as in `chunk`
unsafe fn round_and_tweaks<V: Vector, const C: usize, const DECRYPT: bool, P: Produce<V>>(
    keys: KeyPointer,
    blocks: &mut [V; C],
    round: usize,
    slot: usize,
    ahead: *const u8,
    next: *mut u8,
    produce: &P,
    state: &mut P::State,
) {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        one_round::<V, C, DECRYPT>(blocks, keys.round(1 + round));
        for eight_lines in (0..C * V::BYTES).step_by(8 * LINE) {
            V::prefetch(ahead.wrapping_add(slot * V::BYTES + eight_lines + round * LINE));
        }
        if P::ACTIVE {
            for (half, eighth) in (0..C).step_by(8).enumerate() {
                produce.make(state, half, round, slot + eighth, next);
            }
        }
    }
}

/// Encrypts the numbers of `count` data units into `scratch.first`.
///
/// # Safety
/// The CPU has the instructions of `V`; `count` is 1 to `GROUP`. The numbers of more than one are below 2^64.
#[inline(always)]
unsafe fn first_tweaks<V: Vector>(keys: KeyPointer, first: u128, step: u64, count: usize, scratch: &mut Scratch) {
    let to = scratch.first.cast::<u8>();
    // SAFETY: there is twice room for `GROUP` blocks, a multiple of eight registers of any type; the caller vouches for the
    // CPU.
    unsafe {
        let mut numbers = Numbers::<V>::new(first, step);
        let (mut done, needed) = (0, count.div_ceil(V::LANES));
        // Numbers beyond the last are made but not used.
        while done < needed {
            let at = to.add(done * V::BYTES);
            done += match needed - done {
                1 => store(crypt::<V, 1, false>(keys, numbers.take()), at),
                2..=4 => store(crypt::<V, 4, false>(keys, numbers.take()), at),
                _ => store(crypt::<V, CHAINS, false>(keys, numbers.take()), at),
            };
        }
        scratch.used_first = scratch.used_first.max(done * V::BYTES);
    }
}

/// Writes first tweaks, and the same with swapped halves `GROUP` blocks behind, and returns the number of registers.
///
/// # Safety
/// `to` is valid for these writes.
#[inline(always)]
unsafe fn store<V: Vector, const C: usize>(registers: [V; C], to: *mut u8) -> usize {
    for (i, register) in registers.into_iter().enumerate() {
        // SAFETY: the caller vouches for it.
        unsafe {
            register.store(to.add(i * V::BYTES));
            register.swap_halves().store(to.add(GROUP * BLOCK + i * V::BYTES));
        }
    }
    C
}
