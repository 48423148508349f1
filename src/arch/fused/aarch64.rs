//! The vector of AArch64 and the entry to the fused kernel: ARMv8 AES and PMULL.

use core::arch::aarch64::*;

use super::denied::{Feature, is_denied};
use super::keys::XtsKeys;
use super::tweaks::ByMultiplying;
use super::vector::{Vector, Words};
use super::work::Work;
use super::xts::{self, Cut};
use crate::arch::kind::KernelKind;
use crate::arch::run::Direction;

/// Calls an intrinsic on vectors that exist already.
macro_rules! with {
    ($operation:expr) => {
        // SAFETY: the operands are vectors of the type below. No vector exists on a CPU without its instructions: the
        // caller of `load` or `splat` vouches for that. Intrinsics on registers alone need nothing else.
        unsafe { $operation }
    };
}

/// One block: NEON, AES and PMULL.
#[derive(Clone, Copy)]
pub(in crate::arch) struct Neon(uint8x16_t);

impl Neon {
    #[inline(always)]
    fn halves(self) -> uint64x2_t {
        with!(vreinterpretq_u64_u8(self.0))
    }

    #[inline(always)]
    fn from_halves(halves: uint64x2_t) -> Self {
        Neon(with!(vreinterpretq_u8_u64(halves)))
    }

    #[inline(always)]
    fn zero() -> uint8x16_t {
        with!(vdupq_n_u8(0))
    }
}

impl Vector for Neon {
    const LANES: usize = 1;
    type One = Neon;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes and the CPU.
        Neon(unsafe { vld1q_u8(from) })
    }

    #[inline(always)]
    unsafe fn splat(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes and the CPU.
        Neon(unsafe { vld1q_u8(from) })
    }

    #[inline(always)]
    unsafe fn number(number: u128) -> Self {
        // SAFETY: the caller vouches for the CPU.
        Self::from_halves(unsafe { vcombine_u64(vcreate_u64(number as u64), vcreate_u64((number >> 64) as u64)) })
    }

    #[inline(always)]
    unsafe fn numbers(first: u128, _step: u64) -> Self {
        // SAFETY: the caller vouches for the CPU.
        unsafe { Self::number(first) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { vst1q_u8(to, self.0) }
    }

    /// There is no stable intrinsic for a store past the cache.
    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { self.store(to) }
    }

    #[inline(always)]
    fn fence() {}

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Neon(with!(veorq_u8(self.0, other.0)))
    }

    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        self.xor(b).xor(c)
    }

    /// AESE adds a key before it substitutes. LLVM moves the key addition of the round before into the instruction.
    #[inline(always)]
    fn encrypt_round(self, key: Self) -> Self {
        Neon(with!(vaesmcq_u8(vaeseq_u8(self.0, Self::zero())))).xor(key)
    }

    #[inline(always)]
    fn encrypt_last(self, key: Self) -> Self {
        Neon(with!(vaeseq_u8(self.0, Self::zero()))).xor(key)
    }

    #[inline(always)]
    fn decrypt_round(self, key: Self) -> Self {
        Neon(with!(vaesimcq_u8(vaesdq_u8(self.0, Self::zero())))).xor(key)
    }

    #[inline(always)]
    fn decrypt_last(self, key: Self) -> Self {
        Neon(with!(vaesdq_u8(self.0, Self::zero()))).xor(key)
    }

    #[inline(always)]
    fn add_halves(self, other: Self) -> Self {
        Neon::from_halves(with!(vaddq_u64(self.halves(), other.halves())))
    }

    #[inline(always)]
    fn shift_left(self, counts: Self) -> Self {
        Neon::from_halves(with!(vshlq_u64(self.halves(), vreinterpretq_s64_u64(counts.halves()))))
    }

    /// Shifts left by a negative count.
    #[inline(always)]
    fn shift_right(self, counts: Self) -> Self {
        let negative = with!(vnegq_s64(vreinterpretq_s64_u64(counts.halves())));
        Neon::from_halves(with!(vshlq_u64(self.halves(), negative)))
    }

    #[inline(always)]
    fn swap_halves(self) -> Self {
        Neon(with!(vextq_u8::<8>(self.0, self.0)))
    }

    #[inline(always)]
    fn rotate_words(self) -> Self {
        Neon(with!(vextq_u8::<12>(self.0, self.0)))
    }

    #[inline(always)]
    fn high_words(self, zero: Self) -> Self {
        let words = |from: Neon| with!(vreinterpretq_u32_u8(from.0));
        Neon(with!(vreinterpretq_u8_u32(vzip2q_u32(words(self), words(zero)))))
    }

    #[inline(always)]
    fn low_to_high(self, zero: Self) -> Self {
        Neon::from_halves(with!(vzip1q_u64(zero.halves(), self.halves())))
    }

    #[inline(always)]
    fn multiply_low(self, by: Self) -> Self {
        let (a, b) = (with!(vgetq_lane_u64::<0>(self.halves())), with!(vgetq_lane_u64::<0>(by.halves())));
        Neon(with!(vreinterpretq_u8_p128(vmull_p64(a, b))))
    }

    #[inline(always)]
    fn multiply_high(self, by: Self) -> Self {
        let (a, b) = (with!(vgetq_lane_u64::<1>(self.halves())), with!(vgetq_lane_u64::<0>(by.halves())));
        Neon(with!(vreinterpretq_u8_p128(vmull_p64(a, b))))
    }

    #[inline(always)]
    fn high_to_low(self, zero: Self) -> Self {
        Neon::from_halves(with!(vzip2q_u64(self.halves(), zero.halves())))
    }

    #[inline(always)]
    fn reverse_bytes(self) -> Self {
        Neon(with!(vrev64q_u8(self.0))).swap_halves()
    }

    #[inline(always)]
    fn multiply_high_by_high(self, by: Self) -> Self {
        let (a, b) = (with!(vgetq_lane_u64::<1>(self.halves())), with!(vgetq_lane_u64::<1>(by.halves())));
        Neon(with!(vreinterpretq_u8_p128(vmull_p64(a, b))))
    }

    #[inline(always)]
    fn multiply_low_by_high(self, by: Self) -> Self {
        let (a, b) = (with!(vgetq_lane_u64::<0>(self.halves())), with!(vgetq_lane_u64::<1>(by.halves())));
        Neon(with!(vreinterpretq_u8_p128(vmull_p64(a, b))))
    }

    #[inline(always)]
    fn spread(one: Neon) -> Self {
        one
    }

    #[inline(always)]
    fn in_first_lane(one: Neon) -> Self {
        one
    }

    #[inline(always)]
    fn first_lane(self) -> Neon {
        self
    }

    #[inline(always)]
    fn fold(self) -> Neon {
        self
    }

    /// Does nothing: the instruction has no stable intrinsic, and the hardware's own prefetchers are enough.
    #[inline(always)]
    fn prefetch(_at: *const u8) {}
}

impl Words for Neon {
    #[inline(always)]
    fn last_word(self) -> Self {
        Neon(with!(vreinterpretq_u8_u32(vdupq_laneq_u32::<3>(vreinterpretq_u32_u8(self.0)))))
    }

    #[inline(always)]
    fn rotated_last_word(self) -> Self {
        Neon(with!(vqtbl1q_u8(self.0, vreinterpretq_u8_u32(vdupq_n_u32(0x0c0f_0e0d)))))
    }

    #[inline(always)]
    fn up_one_word(self) -> Self {
        Neon(with!(vextq_u8::<12>(Self::zero(), self.0)))
    }
}

/// Whether this CPU and its operating system can run a kernel.
pub(super) fn has(kind: KernelKind) -> bool {
    #[cfg(feature = "std")]
    let aes = std::arch::is_aarch64_feature_detected!("aes");
    // Without std nothing can ask the operating system, so the compiler's target features count.
    #[cfg(not(feature = "std"))]
    let aes = cfg!(target_feature = "aes");
    kind == KernelKind::Armv8 && aes && !is_denied(Feature::Aes)
}

/// Expands two keys of 16 or 32 bytes.
#[target_feature(enable = "neon,aes")]
pub(super) fn expand(keys: &mut XtsKeys, data_key: &[u8], tweak_key: &[u8]) {
    // SAFETY: this function's own target features are those of `Neon`.
    unsafe { keys.expand::<Neon>(data_key, tweak_key) }
}

/// # Safety
/// As [`xts::run`].
#[target_feature(enable = "neon,aes")]
pub(super) unsafe fn armv8<const STREAM: bool>(
    k: *const XtsKeys,
    d: Direction,
    first: u128,
    cut: Cut,
    src: *const u8,
    dst: *mut u8,
    len: usize,
) {
    // SAFETY: this function's own target features are those of `Neon`; the rest is the caller's promise.
    unsafe { xts::run::<Neon, ByMultiplying, 8, STREAM>(k, d, first, cut, src, dst, len) }
}

/// Runs a job on a kernel.
///
/// # Safety
/// The CPU can run the kernel, and the job's own demands are met.
#[inline(always)]
pub(super) unsafe fn run<W: Work>(_kind: KernelKind, work: W) {
    #[target_feature(enable = "neon,aes")]
    unsafe fn armv8<W: Work>(work: W) {
        // SAFETY: this function's own target features are those of `Neon`; the rest is the caller's promise.
        unsafe { work.run::<Neon, 8>() }
    }
    // SAFETY: the caller's promises are passed on; there is one kernel here.
    unsafe { armv8(work) }
}
