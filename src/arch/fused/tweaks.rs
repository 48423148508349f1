//! Tweaks: how those of the next stride come about, and the memory that they lie in.

use core::hint::black_box;
use core::mem::MaybeUninit;

use super::keys::KeyPointer;
use super::vector::Vector;

pub(super) const BLOCK: usize = 16;
/// The blocks of a stride, and its bytes.
pub(super) const STRIDE: usize = 64;
pub(super) const STRIDE_BYTES: usize = STRIDE * BLOCK;
/// How many data units have their first tweaks computed together.
pub(super) const GROUP: usize = 64;

/// How the tweaks of the next stride come about.
pub(super) trait Produce<V: Vector> {
    /// Whether there are any.
    const ACTIVE: bool;
    /// What can be kept in registers for a chunk.
    type Ready: Copy;

    /// # Safety
    /// The CPU has the instructions of `V`.
    unsafe fn ready(&self, slot: usize) -> Self::Ready;

    /// The tweaks of `slot`, in the first or second `half` of a chunk of 16 registers.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`; `slot` is within a stride.
    unsafe fn make(&self, ready: Self::Ready, half: usize, slot: usize) -> V;
}

/// No tweaks: the last stride.
pub(super) struct Nothing;

impl<V: Vector> Produce<V> for Nothing {
    const ACTIVE: bool = false;
    type Ready = ();

    #[inline(always)]
    unsafe fn ready(&self, _slot: usize) {}

    #[inline(always)]
    unsafe fn make(&self, _ready: (), _half: usize, _slot: usize) -> V {
        unreachable!("it is not active")
    }
}

/// The tweaks of this stride times x^64: the data unit goes on.
pub(super) struct Step {
    keys: KeyPointer,
    now: *const u8,
}

impl Step {
    #[inline(always)]
    pub(super) fn new(keys: KeyPointer, now: *const u8) -> Self {
        Step { keys, now }
    }
}

impl<V: Vector> Produce<V> for Step {
    const ACTIVE: bool = true;
    type Ready = (V, V, V);

    #[inline(always)]
    unsafe fn ready(&self, _slot: usize) -> (V, V, V) {
        // SAFETY: the caller vouches for the CPU.
        unsafe { (V::splat(REDUCE.as_ptr()), self.keys.step(), self.keys.zero()) }
    }

    /// The low half moves up by x^64; the high half leaves, and comes back times x^7 + x^2 + x + 1.
    #[inline(always)]
    unsafe fn make(&self, (reduce, step, zero): (V, V, V), _half: usize, slot: usize) -> V {
        // SAFETY: `now` has all slots of a stride.
        let tweak = unsafe { V::load(self.now.add(slot * V::BYTES)) };
        tweak.multiply_high(reduce).xor3(tweak.low_to_high(zero), step)
    }
}

/// The first tweak of a data unit times x^j for each block j; of two data units where a stride holds two.
pub(super) struct Expand {
    keys: KeyPointer,
    units: [*const [u8; BLOCK]; 2],
    mask: usize,
}

impl Expand {
    /// # Safety
    /// `first` has first tweaks up to `one` and `two`, for as long as this is used.
    #[inline(always)]
    pub(super) unsafe fn new(keys: KeyPointer, first: *const [u8; BLOCK], one: usize, two: usize, mask: usize) -> Self {
        // SAFETY: the caller vouches for both.
        let units = unsafe { [first.add(one), first.add(two)] };
        Expand { keys, units, mask }
    }
}

impl<V: Vector> Produce<V> for Expand {
    const ACTIVE: bool = true;
    type Ready = [V; 2];

    #[inline(always)]
    unsafe fn ready(&self, slot: usize) -> [V; 2] {
        let one = usize::from(slot * V::LANES >= STRIDE / 2);
        // SAFETY: the CPU is as the caller says, and `units` point to first tweaks.
        unsafe { [V::splat(self.units[one].cast()), V::splat(self.units[1].cast())] }
    }

    #[inline(always)]
    unsafe fn make(&self, ready: [V; 2], half: usize, slot: usize) -> V {
        let k = (slot * V::LANES) & self.mask;
        // SAFETY: the CPU is as the caller says, and `slot` is within a stride, `LANES` blocks each.
        unsafe { times_x_to_the(k, ready[half]).xor(self.keys.last()) }
    }
}

/// The tweak of the block behind that of `tweak`.
///
/// # Safety
/// The CPU has the instructions of `V`, a type of one block; `tweak` is valid for reads and `to` for writes of 16 bytes.
#[inline(always)]
pub(super) unsafe fn next_tweak<V: Vector>(keys: KeyPointer, tweak: *const u8, to: *mut u8) {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let last: V = keys.last();
        times_x_to_the(1, V::load(tweak).xor(last)).xor(last).store(to);
    }
}

/// t x^k is t << k, with the bits that leave the low half (in `carry`, high) and those that leave the high half (in
/// `carry`, low) put back; the latter times x^7 + x^2 + x + 1, the 1 of which `carry` itself is.
///
/// # Safety
/// The CPU has the instructions of `V`; `k` is within a stride, as are the exponents of the further lanes, k + 1 and so on.
#[inline(always)]
unsafe fn times_x_to_the<V: Vector>(k: usize, tweak: V) -> V {
    // SAFETY: the tables have an entry for each block of a stride, and the CPU is as the caller says.
    let (left, right, reduce): (V, V, V) = unsafe {
        (V::load(LEFT[k..].as_ptr().cast()), V::load(RIGHT[k..].as_ptr().cast()), V::splat(REDUCE_LESS_ONE.as_ptr()))
    };
    let carry = tweak.swap_halves().shift_right(right);
    tweak.shift_left(left).xor3(carry, carry.multiply_low(reduce))
}

/// x^7 + x^2 + x + 1, to which x^128 is congruent (IEEE 1619-2018, 5.2); and the same without the 1.
const REDUCE: [u8; BLOCK] = [0x87, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const REDUCE_LESS_ONE: [u8; BLOCK] = [0x86, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Shift counts for the tweak of each block of a stride, j and 64 - j, once for each half of a block.
static LEFT: [[u64; 2]; STRIDE] = shift_counts(false);
static RIGHT: [[u64; 2]; STRIDE] = shift_counts(true);

const fn shift_counts(right: bool) -> [[u64; 2]; STRIDE] {
    let mut counts = [[0; 2]; STRIDE];
    let mut j = 0;
    while j < STRIDE {
        counts[j] = if right { [64 - j as u64; 2] } else { [j as u64; 2] };
        j += 1;
    }
    counts
}

/// Makes the first `registers` slots of tweaks, with nothing to interleave.
///
/// # Safety
/// The CPU has the instructions of `V`; `to` is valid for writes of the slots, and what `expand` reads is there.
#[inline(always)]
pub(super) unsafe fn fill<V: Vector>(expand: &Expand, to: *mut u8, registers: usize) {
    for eighth in (0..registers).step_by(8) {
        // SAFETY: the caller vouches for all of it.
        unsafe {
            let ready: [V; 2] = expand.ready(eighth);
            for slot in eighth..eighth + 8 {
                expand.make(ready, 0, slot).store(to.add(slot * V::BYTES));
            }
        }
    }
}

/// Memory for tweaks.
#[repr(C, align(64))]
pub(super) struct Memory {
    tweaks: [[u8; STRIDE_BYTES]; 2],
    first: [[u8; BLOCK]; GROUP],
}

/// The use of [`Memory`]. Tweaks are as good as a piece of the tweak key, so they are wiped; and only as much as was used,
/// since clearing 3 KiB would show in the time of one sector.
pub(super) struct Scratch {
    /// The tweaks of this stride and the next, in turn.
    pub(super) tweaks: [*mut u8; 2],
    /// The first tweaks of a group of data units.
    pub(super) first: *mut [u8; BLOCK],
    used_tweaks: usize,
    pub(super) used_first: usize,
}

impl Scratch {
    #[inline(always)]
    pub(super) fn new(memory: &mut MaybeUninit<Memory>) -> Self {
        // The compiler must not know where this points, or it would see that writing tweaks can't change keys, read keys
        // ahead of the loops, and put them on the stack.
        let memory = black_box(memory.as_mut_ptr());
        // SAFETY: these are places within `memory`; nothing is read.
        let (one, two, first) =
            unsafe { (&raw mut (*memory).tweaks[0], &raw mut (*memory).tweaks[1], &raw mut (*memory).first) };
        Scratch { tweaks: [one.cast(), two.cast()], first: first.cast(), used_tweaks: 0, used_first: 0 }
    }

    #[inline(always)]
    pub(super) fn used(&mut self, tweak_bytes: usize) {
        self.used_tweaks = self.used_tweaks.max(tweak_bytes);
    }

    #[inline(always)]
    pub(super) fn wipe<V: Vector>(&mut self) {
        let [one, two] = self.tweaks;
        for (area, used) in [(one, self.used_tweaks), (two, self.used_tweaks), (self.first.cast(), self.used_first)] {
            // SAFETY: `used` never exceeds an area, and a kernel runs only on a CPU that has the instructions of `V`.
            unsafe {
                let zero = V::splat([0; BLOCK].as_ptr());
                for offset in (0..used).step_by(V::BYTES) {
                    zero.store(area.add(offset));
                }
            }
            // The compiler must take it that somebody looks at the zeros.
            black_box(area);
        }
    }
}
