//! XTS by half strides: eight registers of data in lock step, and their tweaks in eight more. Of x86-64's vectors only those of four lanes
//! have so many.
//!
//! A stride has all its tweaks in memory, loads each of them twice, and needs more memory to be wiped. Strides are for CPUs whose AES needs
//! more registers at once. The tweaks that come next wait in memory here, too, which is wiped. With them in registers as well, the
//! compiler put some on the stack, where nothing is wiped.

use super::aes::{one_round, rounds_from};
use super::keys::KeyPointer;
use super::scratch::{STRIDE_BYTES, Scratch};
use super::tweaks::{Expand, Known, StepX32, TweaksOf};
use super::vector::Vector;

/// The bytes of half a stride.
pub(super) const HALF_BYTES: usize = STRIDE_BYTES / 2;

/// The registers of half a stride.
const CHAINS: usize = 8;

/// A lone data unit of half a stride, with its tweaks in registers: nothing comes next.
///
/// # Safety
/// As [`xts::run`](super::xts::run), for this data unit. `V` has four lanes.
#[inline(always)]
pub(super) unsafe fn one<V: Vector, const DECRYPT: bool, const STREAM: bool>(
    unit: Known<V>,
    src: *const u8,
    dst: *mut u8,
) {
    // SAFETY: the caller vouches for all of it; the slots are within half a stride.
    unsafe {
        let key: V = unit.keys.first_and_last();
        let (mut tweaks, mut blocks) = ([key; CHAINS], [key; CHAINS]);
        for (i, (block, tweak)) in blocks.iter_mut().zip(&mut tweaks).enumerate() {
            *tweak = unit.tweak(i);
            *block = key.xor3(V::load(src.add(i * V::BYTES)), *tweak);
        }
        rounds_from::<V, CHAINS, DECRYPT>(unit.keys, &mut blocks, 0);
        for (i, (block, tweak)) in blocks.into_iter().zip(tweaks).enumerate() {
            finish::<V, DECRYPT, STREAM>(block, tweak, dst.add(i * V::BYTES));
        }
    }
}

/// A lone data unit of `halves` half strides.
///
/// # Safety
/// As [`xts::run`](super::xts::run), for this data unit. `V` has four lanes.
#[inline(always)]
pub(super) unsafe fn lone<V: Vector, const DECRYPT: bool, const STREAM: bool>(
    unit: Known<V>,
    halves: usize,
    mut src: *const u8,
    mut dst: *mut u8,
) {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let (mut tweaks, step) = (start(&unit), StepX32::new(unit.keys));
        // After the last half stride they are made in vain, which takes less time than a loop's end of its own.
        for _ in 0..halves {
            half::<V, _, DECRYPT, STREAM>(unit.keys, &mut tweaks, src, dst, &step);
            src = src.add(HALF_BYTES);
            dst = dst.add(HALF_BYTES);
        }
    }
}

/// `count` data units of `halves` half strides each, whose first tweaks `scratch` has.
///
/// # Safety
/// As [`xts::run`](super::xts::run), for these data units. `V` has four lanes.
#[inline(always)]
pub(super) unsafe fn group<V: Vector, const DECRYPT: bool, const STREAM: bool>(
    keys: KeyPointer,
    scratch: &mut Scratch,
    halves: usize,
    count: usize,
    mut src: *const u8,
    mut dst: *mut u8,
) {
    scratch.used([CHAINS * V::LANES, 0]);
    let [to, _] = scratch.tweaks;
    // SAFETY: the caller vouches for all of it; `unit` stays below `count`.
    unsafe {
        let mut tweaks: [V; CHAINS] = start(&Expand::<true>::new(keys, scratch, 0, 0));
        let step = StepX32::new(keys);
        let (mut position, mut unit) = (0, 0);
        // One loop over all half strides: with a loop for each data unit, sectors of 512 bytes took 1.06 times as long on Zen 4, and
        // 4096 bytes 1.03 times.
        for _ in 0..halves * count {
            position += 1;
            if position < halves {
                half::<V, _, DECRYPT, STREAM>(keys, &mut tweaks, src, dst, &Made { by: step, to });
            } else {
                (position, unit) = (0, (unit + 1).min(count - 1));
                let next = Made { by: Expand::new(keys, scratch, unit, unit), to };
                half::<V, _, DECRYPT, STREAM>(keys, &mut tweaks, src, dst, &next);
            }
            src = src.add(HALF_BYTES);
            dst = dst.add(HALF_BYTES);
        }
    }
}

/// The tweaks of the first half stride. It is a loop, as in [`aes`](super::aes).
///
/// # Safety
/// As [`TweaksOf::tweak`].
#[inline(always)]
unsafe fn start<V: Vector>(of: &impl TweaksOf<V>) -> [V; CHAINS] {
    // SAFETY: the caller vouches for it.
    unsafe {
        let mut tweaks = [of.tweak(0); CHAINS];
        for (slot, tweak) in tweaks.iter_mut().enumerate().skip(1) {
            *tweak = of.tweak(slot);
        }
        tweaks
    }
}

/// Half a stride: C = E(P xor T) xor T. Then `tweaks` are those that come next.
///
/// # Safety
/// The CPU has the instructions of `V`. `src` is valid for reads and `dst` for writes of eight registers; they are the same or do not
/// overlap. If `STREAM`, `dst` is aligned to the size of a register.
#[inline(always)]
unsafe fn half<V: Vector, N: Next<V>, const DECRYPT: bool, const STREAM: bool>(
    keys: KeyPointer,
    tweaks: &mut [V; CHAINS],
    src: *const u8,
    dst: *mut u8,
    next: &N,
) {
    // SAFETY: the caller vouches for all of it; the slots are within half a stride.
    unsafe {
        // The first round key and the tweak, which contains the last round key: it is cancelled here.
        let key: V = keys.first_and_last();
        let mut blocks = [key; CHAINS];
        for (i, (block, tweak)) in blocks.iter_mut().zip(&*tweaks).enumerate() {
            *block = key.xor3(V::load(src.add(i * V::BYTES)), *tweak);
        }
        for round in 0..CHAINS {
            one_round::<V, CHAINS, DECRYPT>(&mut blocks, keys.round(1 + round));
            next.meanwhile(round, tweaks);
        }
        rounds_from::<V, CHAINS, DECRYPT>(keys, &mut blocks, CHAINS);
        for (i, (block, tweak)) in blocks.into_iter().zip(tweaks).enumerate() {
            finish::<V, DECRYPT, STREAM>(block, *tweak, dst.add(i * V::BYTES));
            *tweak = next.after(i, *tweak);
        }
    }
}

/// The last round key and the tweak, in one instruction.
///
/// # Safety
/// `dst` is valid for writes of a register, and aligned to its size if `STREAM`.
#[inline(always)]
unsafe fn finish<V: Vector, const DECRYPT: bool, const STREAM: bool>(block: V, tweak: V, dst: *mut u8) {
    let block = if DECRYPT { block.decrypt_last(tweak) } else { block.encrypt_last(tweak) };
    // SAFETY: the caller vouches for it.
    unsafe { if STREAM { block.stream(dst) } else { block.store(dst) } }
}

/// A way to the tweaks of the half stride that comes next.
trait Next<V> {
    /// What is done for a slot beside a round.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`; `slot` is within half a stride.
    unsafe fn meanwhile(&self, slot: usize, tweaks: &[V; CHAINS]);

    /// The tweak of a slot after the one that is there.
    ///
    /// # Safety
    /// As [`meanwhile`](Self::meanwhile), which was called for all slots.
    unsafe fn after(&self, slot: usize, tweak: V) -> V;
}

/// For a lone data unit that goes on. Its tweaks stay in registers.
impl<V: Vector> Next<V> for StepX32<V> {
    #[inline(always)]
    unsafe fn meanwhile(&self, _slot: usize, _tweaks: &[V; CHAINS]) {}

    #[inline(always)]
    unsafe fn after(&self, _slot: usize, tweak: V) -> V {
        self.apply(tweak)
    }
}

/// For runs of data units: tweaks are made in the first eight rounds, beside AES, and wait in memory.
struct Made<P> {
    by: P,
    /// Where they wait.
    to: *mut u8,
}

/// For a data unit that goes on.
impl<V: Vector> Next<V> for Made<StepX32<V>> {
    #[inline(always)]
    unsafe fn meanwhile(&self, slot: usize, tweaks: &[V; CHAINS]) {
        // SAFETY: `to` has room for half a stride; the caller vouches for the rest.
        unsafe { self.by.apply(tweaks[slot]).store(self.to.add(slot * V::BYTES)) }
    }

    #[inline(always)]
    unsafe fn after(&self, slot: usize, _tweak: V) -> V {
        // SAFETY: as above.
        unsafe { V::load(self.to.add(slot * V::BYTES)) }
    }
}

/// For the next data unit.
impl<V: Vector> Next<V> for Made<Expand<true>> {
    #[inline(always)]
    unsafe fn meanwhile(&self, slot: usize, _tweaks: &[V; CHAINS]) {
        // SAFETY: `to` has room for half a stride; the caller vouches for the rest.
        unsafe { TweaksOf::<V>::tweak(&self.by, slot).store(self.to.add(slot * V::BYTES)) }
    }

    #[inline(always)]
    unsafe fn after(&self, slot: usize, _tweak: V) -> V {
        // SAFETY: as above.
        unsafe { V::load(self.to.add(slot * V::BYTES)) }
    }
}
