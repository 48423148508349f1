//! Tweaks: the ways to compute those of the next stride.

use super::aes::BLOCK;
use super::keys::KeyPointer;
use super::scratch::{GROUP, SLACK, STRIDE, Scratch};
use super::vector::{Bytes, Doubling, Vector};

/// A way to compute the tweaks of the next stride, eight slots at a time.
pub(super) trait Produce<V: Vector> {
    /// Whether it makes any tweaks.
    const ACTIVE: bool;
    /// The number of slots that one state serves: at least a chunk.
    const SLOTS: usize;
    /// Whether the rounds stay a loop. With four lanes the compiler unrolls the loop and then moves all tweaks before the
    /// rounds.
    const ROLLED: bool = false;
    /// The values kept in registers from one slot to the next.
    type State;

    /// # Safety
    /// The CPU has the instructions of `V`; `slot` is within a stride, a multiple of eight.
    unsafe fn begin(&self, slot: usize) -> Self::State;

    /// Writes one of the eight tweaks from `slot` on. The calls come in the order of `round`, 0 to 7. `half` is the
    /// first or second half of a chunk of 16 registers.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`; `slot` is within a stride, for which `next` is valid for writes.
    unsafe fn make(&self, state: &mut Self::State, half: usize, round: usize, slot: usize, next: *mut u8);
}

/// The tweaks of slots, `T xor K`, each made when it is asked for.
pub(super) trait TweaksOf<V> {
    /// # Safety
    /// The CPU has the instructions of `V`; `slot` is within a stride.
    unsafe fn tweak(&self, slot: usize) -> V;
}

/// Makes no tweaks, for the last stride.
pub(super) struct Nothing;

impl<V: Vector> Produce<V> for Nothing {
    const ACTIVE: bool = false;
    const SLOTS: usize = STRIDE;
    type State = ();

    #[inline(always)]
    unsafe fn begin(&self, _slot: usize) {}

    #[inline(always)]
    unsafe fn make(&self, _state: &mut (), _half: usize, _round: usize, _slot: usize, _next: *mut u8) {}
}

/// The tweaks of this stride times x^64, for a data unit that goes on.
#[derive(Clone, Copy)]
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

/// The first tweak of a data unit times x^j for each block j. A stride holds two `SMALL` data units; then this is for
/// both.
#[derive(Clone, Copy)]
pub(super) struct Expand<const SMALL: bool> {
    keys: KeyPointer,
    units: [*const [u8; BLOCK]; 2],
}

impl<const SMALL: bool> Expand<SMALL> {
    /// # Safety
    /// `scratch` has first tweaks up to `one` and `two`, for as long as this is used.
    #[inline(always)]
    pub(super) unsafe fn new(keys: KeyPointer, scratch: &Scratch, one: usize, two: usize) -> Self {
        // SAFETY: the caller vouches for both.
        let units = unsafe { [scratch.first.add(one).cast_const(), scratch.first.add(two).cast_const()] };
        Expand { keys, units }
    }

    /// The first tweak of the slot's data unit, in each lane. It is read where it is used: with the tweak in a
    /// register, the compiler could make all tweaks before the rounds instead of between them.
    ///
    /// # Safety
    /// As [`Produce::make`].
    #[inline(always)]
    unsafe fn unit<V: Vector>(&self, slot: usize) -> V {
        // SAFETY: `new` was promised first tweaks there.
        unsafe { V::splat(self.at(slot * V::LANES)) }
    }

    /// The same with its halves swapped.
    ///
    /// # Safety
    /// As [`Produce::make`].
    #[inline(always)]
    unsafe fn swapped<V: Vector>(&self, slot: usize) -> V {
        // SAFETY: a swapped first tweak is `GROUP` blocks behind each.
        unsafe { V::splat(self.at(slot * V::LANES).add(GROUP * BLOCK)) }
    }

    #[inline(always)]
    fn at(&self, block: usize) -> *const u8 {
        self.units[usize::from(block >= STRIDE / 2)].cast()
    }
}

impl<V: Vector, const SMALL: bool> TweaksOf<V> for Expand<SMALL> {
    #[inline(always)]
    unsafe fn tweak(&self, slot: usize) -> V {
        let k = slot * V::LANES % if SMALL { STRIDE / 2 } else { STRIDE };
        // SAFETY: the tables have an entry for each block of a stride; the caller vouches for the rest.
        unsafe {
            let (left, right) = (V::load(LEFT[k..].as_ptr().cast()), V::load(RIGHT[k..].as_ptr().cast()));
            times_x_to_the(left, right, self.unit(slot), self.swapped(slot)).xor(self.keys.last())
        }
    }
}

/// As [`Expand`], of one data unit whose first tweak is in a register, for its first stride.
pub(super) struct Known<V> {
    pub(super) keys: KeyPointer,
    /// The first tweak, in each lane.
    pub(super) unit: V,
}

impl<V: Vector> TweaksOf<V> for Known<V> {
    #[inline(always)]
    unsafe fn tweak(&self, slot: usize) -> V {
        let k = slot * V::LANES;
        // SAFETY: as in `Expand`.
        unsafe {
            let (left, right) = (V::load(LEFT[k..].as_ptr().cast()), V::load(RIGHT[k..].as_ptr().cast()));
            times_x_to_the(left, right, self.unit, self.unit.swap_halves()).xor(self.keys.last())
        }
    }
}

/// A way to multiply by powers of x.
pub(super) trait Method<V: Vector> {
    type Step: Produce<V> + From<Step>;
    type Small: Produce<V> + From<Expand<true>>;
    type Large: Produce<V> + From<Expand<false>>;
    /// The producer that has the first tweaks of all data units soonest.
    type Start<const SMALL: bool>: Produce<V> + From<Expand<SMALL>>;
    /// How many bytes it may overwrite behind the tweaks of a stride.
    const SLACK: usize;
    /// Whether data units of whole half strides go [by half strides](super::halves).
    const HALVES: bool = false;
}

/// Makes the first `blocks` tweaks, half a stride or all of it, without interleaving.
///
/// # Safety
/// The CPU has the instructions of `V`; `to` is valid for writes of the tweaks, and `produce`'s reads are valid.
#[inline(always)]
pub(super) unsafe fn fill<V: Vector, P: Produce<V>>(produce: P, to: *mut u8, blocks: usize) {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let mut state = produce.begin(0);
        for slot in (0..blocks / V::LANES).step_by(8) {
            if slot > 0 && slot.is_multiple_of(P::SLOTS) {
                state = produce.begin(slot);
            }
            for round in 0..8 {
                produce.make(&mut state, 0, round, slot, to);
            }
        }
    }
}

/// Makes each tweak on its own, by a carry-less multiplication.
pub(super) struct ByMultiplying;

impl<V: Vector> Method<V> for ByMultiplying {
    type Step = Multiplied<Step>;
    type Small = Multiplied<Expand<true>>;
    type Large = Multiplied<Expand<false>>;
    type Start<const SMALL: bool> = Multiplied<Expand<SMALL>>;
    const SLACK: usize = 0;
}

/// The same by half strides. On Zen 4 a round takes a cycle for each register of 512 bits, and eight hide its latency of four.
#[cfg(target_arch = "x86_64")]
pub(super) struct ByHalves;

#[cfg(target_arch = "x86_64")]
impl<V: Vector> Method<V> for ByHalves {
    type Step = Multiplied<Step>;
    type Small = Multiplied<Expand<true>>;
    type Large = Multiplied<Expand<false>>;
    type Start<const SMALL: bool> = Multiplied<Expand<SMALL>>;
    const SLACK: usize = 0;
    const HALVES: bool = true;
}

pub(super) struct Multiplied<P>(P);

impl<P> From<P> for Multiplied<P> {
    #[inline(always)]
    fn from(produce: P) -> Self {
        Multiplied(produce)
    }
}

impl<V: Vector> Produce<V> for Multiplied<Step> {
    const ACTIVE: bool = true;
    const SLOTS: usize = 8;
    const ROLLED: bool = V::LANES == 4;
    type State = (V, V, V);

    #[inline(always)]
    unsafe fn begin(&self, _slot: usize) -> (V, V, V) {
        // SAFETY: the caller vouches for the CPU.
        unsafe { (V::splat(REDUCE.as_ptr()), self.0.keys.step(), self.0.keys.zero()) }
    }

    #[inline(always)]
    unsafe fn make(&self, state: &mut (V, V, V), _half: usize, round: usize, slot: usize, next: *mut u8) {
        let ((reduce, step, zero), slot) = (*state, slot + round);
        // SAFETY: `now` has all slots of a stride, and so has `next`.
        unsafe {
            let tweak = V::load(self.0.now.add(slot * V::BYTES));
            times_x64(tweak, reduce, zero, step).store(next.add(slot * V::BYTES));
        }
    }
}

impl<V: Vector, const SMALL: bool> Produce<V> for Multiplied<Expand<SMALL>> {
    const ACTIVE: bool = true;
    const SLOTS: usize = STRIDE;
    const ROLLED: bool = V::LANES == 4;
    type State = ();

    #[inline(always)]
    unsafe fn begin(&self, _slot: usize) {}

    #[inline(always)]
    unsafe fn make(&self, _state: &mut (), _half: usize, round: usize, slot: usize, next: *mut u8) {
        let at = slot + round;
        // SAFETY: the CPU is as the caller says, and `at` is within a stride, `LANES` blocks each.
        unsafe { TweaksOf::<V>::tweak(&self.0, at).store(next.add(at * V::BYTES)) }
    }
}

impl<V: Vector> Produce<V> for Multiplied<Known<V>> {
    const ACTIVE: bool = true;
    const SLOTS: usize = STRIDE;
    type State = ();

    #[inline(always)]
    unsafe fn begin(&self, _slot: usize) {}

    #[inline(always)]
    unsafe fn make(&self, _state: &mut (), _half: usize, round: usize, slot: usize, next: *mut u8) {
        let at = slot + round;
        // SAFETY: the CPU is as the caller says, and `at` is within a stride, `LANES` blocks each.
        unsafe { self.0.tweak(at).store(next.add(at * V::BYTES)) }
    }
}

/// As [`ByMultiplying`], but without shifts in [`Expand`]. On Intel's CPUs 512-bit shifts take the place of AES
/// instructions, and carry-less multiplications don't.
pub(super) struct ByProducts;

impl<V: Vector> Method<V> for ByProducts {
    type Step = Multiplied<Step>;
    type Small = Products<Expand<true>>;
    type Large = Products<Expand<false>>;
    type Start<const SMALL: bool> = Multiplied<Expand<SMALL>>;
    const SLACK: usize = 0;
}

pub(super) struct Products<P>(P);

impl<P> From<P> for Products<P> {
    #[inline(always)]
    fn from(produce: P) -> Self {
        Products(produce)
    }
}

impl<V: Vector, const SMALL: bool> Produce<V> for Products<Expand<SMALL>> {
    const ACTIVE: bool = true;
    const SLOTS: usize = STRIDE;
    const ROLLED: bool = V::LANES == 4;
    type State = (V, V);

    #[inline(always)]
    unsafe fn begin(&self, _slot: usize) -> (V, V) {
        // SAFETY: the caller vouches for the CPU.
        unsafe { (V::splat(REDUCE.as_ptr()), self.0.keys.zero()) }
    }

    #[inline(always)]
    unsafe fn make(&self, state: &mut (V, V), _half: usize, round: usize, slot: usize, next: *mut u8) {
        let ((reduce, zero), at) = (*state, slot + round);
        let k = at * V::LANES % if SMALL { STRIDE / 2 } else { STRIDE };
        // SAFETY: the CPU is as the caller says, and `at` is within a stride, `LANES` blocks each.
        unsafe {
            let (power, last) = (V::load(POWERS[k..].as_ptr().cast()), self.0.keys.last());
            times_power(self.0.unit(slot), power, reduce, zero).xor(last).store(next.add(at * V::BYTES));
        }
    }
}

/// Makes each tweak by doubling the one before, in [runs](RUN). A second lane makes the run that follows.
///
/// It takes one carry-less multiplication for each run, and as few instructions as possible for each tweak. On Zen 3 a
/// multiplication takes the place of AES instructions. So does, in part, any other vector instruction.
pub(super) struct ByDoubling;

impl<V: Doubling> Method<V> for ByDoubling {
    type Step = Doubled<Step>;
    type Small = Doubled<Expand<true>>;
    type Large = Doubled<Expand<false>>;
    type Start<const SMALL: bool> = Doubled<Expand<SMALL>>;
    const SLACK: usize = SLACK;
}

/// The number of tweaks that come from one by doubling: half a stride, which is a whole data unit if a stride holds
/// two.
const RUN: usize = STRIDE / 2;

pub(super) struct Doubled<P>(P);

impl<P> From<P> for Doubled<P> {
    #[inline(always)]
    fn from(produce: P) -> Self {
        Doubled(produce)
    }
}

impl<V: Doubling> Produce<V> for Doubled<Step> {
    const ACTIVE: bool = true;
    const SLOTS: usize = RUN;
    type State = Run<V>;

    #[inline(always)]
    unsafe fn begin(&self, slot: usize) -> Run<V> {
        let Step { keys, now } = self.0;
        // SAFETY: `now` has all slots of a stride; the caller vouches for the CPU.
        unsafe {
            let tweaks = V::gather(now.add(slot * BLOCK), now.add(RUN * BLOCK));
            let tweaks = times_x64(tweaks, V::splat(REDUCE.as_ptr()), keys.zero(), keys.step());
            Run::new(tweaks.xor(keys.last()), keys)
        }
    }

    #[inline(always)]
    unsafe fn make(&self, state: &mut Run<V>, _half: usize, round: usize, slot: usize, next: *mut u8) {
        // SAFETY: the caller vouches for it.
        unsafe { state.next(round, slot, next) }
    }
}

impl<V: Doubling, const SMALL: bool> Produce<V> for Doubled<Expand<SMALL>> {
    const ACTIVE: bool = true;
    const SLOTS: usize = RUN;
    type State = Run<V>;

    #[inline(always)]
    unsafe fn begin(&self, slot: usize) -> Run<V> {
        let Expand { keys, units } = self.0;
        // SAFETY: `units` point to first tweaks, the tables have an entry for each block, and the CPU is as the caller says.
        unsafe {
            let tweaks = V::gather(units[slot / RUN].cast(), units[1].cast());
            if SMALL {
                return Run::new(tweaks, keys);
            }
            let left = V::gather(LEFT[slot].as_ptr().cast(), LEFT[RUN].as_ptr().cast());
            let right = V::gather(RIGHT[slot].as_ptr().cast(), RIGHT[RUN].as_ptr().cast());
            Run::new(times_x_to_the(left, right, tweaks, tweaks.swap_halves()), keys)
        }
    }

    #[inline(always)]
    unsafe fn make(&self, state: &mut Run<V>, _half: usize, round: usize, slot: usize, next: *mut u8) {
        // SAFETY: the caller vouches for it.
        unsafe { state.next(round, slot, next) }
    }
}

/// The state of a run: its next tweak.
pub(super) struct Run<V> {
    tweak: V,
    /// Words whose top bits are the next to leave the halves of `tweak`. Their lower bits leave later. No bit that
    /// comes back gets up there within a run.
    leaving: V,
    keys: KeyPointer,
}

impl<V: Doubling> Run<V> {
    #[inline(always)]
    fn new(tweak: V, keys: KeyPointer) -> Self {
        Run { tweak, leaving: tweak.leaving(), keys }
    }

    /// Writes `T xor K` for block `slot + round`, and goes on to the next block.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`; `next` has a stride and `SLACK` bytes; `round` is below 8.
    #[inline(always)]
    unsafe fn next(&mut self, round: usize, slot: usize, next: *mut u8) {
        let one = next.wrapping_add((slot + round) * BLOCK);
        // SAFETY: the blocks are within a stride. Before round 7 the write may also overwrite the block behind the
        // first lane's. That block is within the stride, too, and is made later: a run ends only in round 7. In round 7
        // the write may overwrite the block behind the second lane's. That one is made later or, at the end of the run,
        // lies in the slack. The caller vouches for the CPU.
        let carry = unsafe {
            self.tweak.xor(self.keys.last()).scatter(one, one.wrapping_add(RUN * BLOCK), round == 7);
            V::splat(COME_BACK.as_ptr().cast())
        };
        self.tweak = self.tweak.add_halves(self.tweak).xor(self.leaving.top_bits().and(carry));
        self.leaving = self.leaving.add_words(self.leaving);
    }
}

/// The values that leaving bits come back as. The bit that leaves the high half comes back as x^7 + x^2 + x + 1 at the
/// low end of the low half. The bit that leaves the low half comes back as 1 at the low end of the high half.
static COME_BACK: [u32; 4] = [0x87, 0, 1, 0];

/// Combines the methods. A data unit that goes on gets its tweaks by [moving bytes](Moved), which takes more
/// instructions to begin with. Small data units get them by doubling. Large data units begin by multiplication.
pub(super) struct ByMoving;

impl<V: Doubling + Bytes> Method<V> for ByMoving {
    type Step = Moved<Step>;
    type Small = Doubled<Expand<true>>;
    type Large = Multiplied<Expand<false>>;
    type Start<const SMALL: bool> = Multiplied<Expand<SMALL>>;
    const SLACK: usize = SLACK;
}

pub(super) struct Moved<P>(P);

impl<P> From<P> for Moved<P> {
    #[inline(always)]
    fn from(produce: P) -> Self {
        Moved(produce)
    }
}

impl<V: Bytes> Produce<V> for Moved<Step> {
    const ACTIVE: bool = true;
    const SLOTS: usize = 8;
    type State = Octet<V>;

    #[inline(always)]
    unsafe fn begin(&self, slot: usize) -> Octet<V> {
        let Step { keys, now } = self.0;
        // SAFETY: `now` has all slots of a stride; the caller vouches for the CPU.
        unsafe {
            let tweak = V::load(now.add(slot / 8 * V::BYTES));
            Octet::new(times_x64(tweak, V::splat(REDUCE.as_ptr()), keys.zero(), keys.step()).xor(keys.last()))
        }
    }

    #[inline(always)]
    unsafe fn make(&self, state: &mut Octet<V>, _half: usize, round: usize, slot: usize, next: *mut u8) {
        // SAFETY: the slots from `slot / 8` on, eight blocks apart, are within a stride and so in `next`.
        unsafe {
            if round > 0 {
                state.step(round);
            }
            state.tweak.xor(self.0.keys.last()).store(next.add(slot / 8 * V::BYTES + round * 8 * BLOCK));
        }
    }
}

/// Up to eight tweaks. Each is the one before times x^8.
pub(super) struct Octet<V> {
    tweak: V,
    /// For each byte that leaves `tweak`, the 16 bits that it comes back as, in the order of the bytes.
    carries: V,
}

impl<V: Bytes> Octet<V> {
    #[inline(always)]
    fn new(tweak: V) -> Self {
        // Times x^7 + x^2 + x + 1. Bits that come back do not leave again within a run.
        let leaving = tweak.high_bytes();
        let carries =
            leaving.xor(leaving.shift_words::<1>()).xor3(leaving.shift_words::<2>(), leaving.shift_words::<7>());
        Octet { tweak, carries }
    }

    /// Goes on to the tweak of `step`.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`; `step` is 1 to 7.
    #[inline(always)]
    unsafe fn step(&mut self, step: usize) {
        // SAFETY: the caller vouches for the CPU.
        let which = unsafe { V::load(PICK[step - 1].as_ptr().cast()) };
        self.tweak = self.tweak.up_one_byte().xor(self.carries.pick(which));
    }
}

/// For each step, the indices in [`Octet::carries`] of the bytes that come back, for two lanes.
static PICK: [[[u8; BLOCK]; 2]; 7] = pick();

const fn pick() -> [[[u8; BLOCK]; 2]; 7] {
    let mut pick = [[[128; BLOCK]; 2]; 7];
    let mut step = 0;
    while step < 7 {
        let mut lane = 0;
        while lane < 2 {
            pick[step][lane][0] = 14 - 2 * step as u8;
            pick[step][lane][1] = 15 - 2 * step as u8;
            lane += 1;
        }
        step += 1;
    }
    pick
}

/// Computes the tweak of the next block from that at `tweak`.
///
/// # Safety
/// The CPU has the instructions of `V`, a type of one block; `tweak` is valid for reads and `to` for writes of 16
/// bytes.
#[inline(always)]
pub(super) unsafe fn next_tweak<V: Vector>(keys: KeyPointer, tweak: *const u8, to: *mut u8) {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let last: V = keys.last();
        let (left, right) = (V::load(LEFT[1..].as_ptr().cast()), V::load(RIGHT[1..].as_ptr().cast()));
        let tweak = V::load(tweak).xor(last);
        times_x_to_the(left, right, tweak, tweak.swap_halves()).xor(last).store(to);
    }
}

/// t x^k is t << k with the leaving bits put back. `carry` holds the bits that leave the low half in its high half, and
/// those that leave the high half in its low half. The latter come back times x^7 + x^2 + x + 1; `carry` itself is the
/// term for the 1. `left` and `right` are the shift counts of each lane's k, which is below 64. `swapped` is the tweak with its halves
/// swapped.
///
/// # Safety
/// The CPU has the instructions of `V`.
#[inline(always)]
unsafe fn times_x_to_the<V: Vector>(left: V, right: V, tweak: V, swapped: V) -> V {
    // SAFETY: the caller vouches for the CPU.
    let reduce = unsafe { V::splat(REDUCE_LESS_ONE.as_ptr()) };
    let carry = swapped.shift_right(right);
    tweak.shift_left(left).xor3(carry, carry.multiply_low(reduce))
}

/// t x^k by the products of both halves with `power`, which is x^k. The product of the high half moves up by x^64. Bits
/// that leave there come back times x^7 + x^2 + x + 1.
#[inline(always)]
fn times_power<V: Vector>(tweak: V, power: V, reduce: V, zero: V) -> V {
    let high = tweak.multiply_high(power);
    tweak.multiply_low(power).xor3(high.low_to_high(zero), high.multiply_high(reduce))
}

/// Computes `T x^64 xor K` from `T xor K`. The low half moves up by x^64. The high half leaves and comes back times
/// x^7 + x^2 + x + 1.
#[inline(always)]
fn times_x64<V: Vector>(tweak: V, reduce: V, zero: V, step: V) -> V {
    tweak.multiply_high(reduce).xor3(tweak.low_to_high(zero), step)
}

/// The step from `T xor K` to `T x^32 xor K`.
#[derive(Clone, Copy)]
pub(super) struct StepX32<V> {
    reduce: V,
    zero: V,
    /// K x^32 xor K.
    key: V,
}

impl<V: Vector> StepX32<V> {
    /// # Safety
    /// The CPU has the instructions of `V`, and the keys live.
    #[inline(always)]
    pub(super) unsafe fn new(keys: KeyPointer) -> Self {
        // SAFETY: the caller vouches for it.
        unsafe {
            let last = keys.last();
            let step = StepX32 { reduce: V::splat(REDUCE_LESS_ONE.as_ptr()), zero: keys.zero(), key: last };
            StepX32 { key: step.apply(last), ..step }
        }
    }

    /// The top 32 bits leave and come back times x^7 + x^2 + x + 1. The rotation puts back the term for the 1.
    #[inline(always)]
    pub(super) fn apply(self, tweak: V) -> V {
        tweak.rotate_words().xor3(tweak.high_words(self.zero).multiply_high(self.reduce), self.key)
    }
}

/// x^7 + x^2 + x + 1, which is congruent to x^128 (IEEE 1619-2018, 5.2), and the same without the 1.
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

/// x^j for each block j of a stride.
static POWERS: [[u64; 2]; STRIDE] = powers();

const fn powers() -> [[u64; 2]; STRIDE] {
    let mut powers = [[0; 2]; STRIDE];
    let mut j = 0;
    while j < STRIDE {
        powers[j][0] = 1 << j;
        j += 1;
    }
    powers
}
