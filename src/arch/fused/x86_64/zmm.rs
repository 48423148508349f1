//! 512 bits.

use core::arch::x86_64::*;

use super::model::Model;
use super::xmm::Xmm;
use super::ymm::Ymm;
use crate::arch::fused::vector::Vector;

/// Four blocks: VAES, VPCLMULQDQ, AVX-512F and AVX-512BW.
///
/// On Zen 5, `vpunpcklqdq` and qword shifts run beside AES, while `vpslldq`, `vpshufb` and rotates take its ports.
#[derive(Clone, Copy)]
pub(in crate::arch) struct Zmm(pub(super) __m512i);

impl Vector for Zmm {
    const LANES: usize = 4;
    type One = Xmm;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 64 bytes and the CPU.
        Zmm(unsafe { _mm512_loadu_si512(from.cast()) })
    }

    #[inline(always)]
    unsafe fn splat(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes and the CPU.
        Zmm(unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(from.cast())) })
    }

    #[inline(always)]
    unsafe fn number(number: u128) -> Self {
        // SAFETY: the caller vouches for the CPU.
        Zmm(unsafe { _mm512_broadcast_i32x4(Xmm::number(number).0) })
    }

    #[inline(always)]
    unsafe fn numbers(first: u128, step: u64) -> Self {
        let step = |lane: u64| step.wrapping_mul(lane) as i64;
        // SAFETY: the caller vouches for the CPU.
        let steps = Zmm(unsafe { _mm512_set_epi64(0, step(3), 0, step(2), 0, step(1), 0, 0) });
        // SAFETY: as above.
        unsafe { Self::number(first) }.add_halves(steps)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller vouches for as many bytes, and their alignment.
        unsafe { _mm512_stream_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    fn fence() {
        Xmm::fence();
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Zmm(with!(_mm512_xor_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        Zmm(with!(_mm512_ternarylogic_epi64::<0x96>(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn encrypt_round(self, key: Self) -> Self {
        Zmm(with!(_mm512_aesenc_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn encrypt_last(self, key: Self) -> Self {
        Zmm(with!(_mm512_aesenclast_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn decrypt_round(self, key: Self) -> Self {
        Zmm(with!(_mm512_aesdec_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn decrypt_last(self, key: Self) -> Self {
        Zmm(with!(_mm512_aesdeclast_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn add_halves(self, other: Self) -> Self {
        Zmm(with!(_mm512_add_epi64(self.0, other.0)))
    }

    #[inline(always)]
    fn shift_left(self, counts: Self) -> Self {
        Zmm(with!(_mm512_sllv_epi64(self.0, counts.0)))
    }

    #[inline(always)]
    fn shift_right(self, counts: Self) -> Self {
        Zmm(with!(_mm512_srlv_epi64(self.0, counts.0)))
    }

    #[inline(always)]
    fn swap_halves(self) -> Self {
        Zmm(with!(_mm512_shuffle_epi32::<0b0100_1110>(self.0)))
    }

    #[inline(always)]
    fn rotate_words(self) -> Self {
        Zmm(with!(_mm512_shuffle_epi32::<0b1001_0011>(self.0)))
    }

    #[inline(always)]
    fn high_words(self, zero: Self) -> Self {
        Zmm(with!(_mm512_unpackhi_epi32(self.0, zero.0)))
    }

    #[inline(always)]
    fn low_to_high(self, zero: Self) -> Self {
        Zmm(with!(_mm512_unpacklo_epi64(zero.0, self.0)))
    }

    #[inline(always)]
    fn multiply_low(self, by: Self) -> Self {
        Zmm(with!(_mm512_clmulepi64_epi128::<0x00>(self.0, by.0)))
    }

    #[inline(always)]
    fn multiply_high(self, by: Self) -> Self {
        Zmm(with!(_mm512_clmulepi64_epi128::<0x01>(self.0, by.0)))
    }

    #[inline(always)]
    fn high_to_low(self, zero: Self) -> Self {
        Zmm(with!(_mm512_unpackhi_epi64(self.0, zero.0)))
    }

    #[inline(always)]
    fn reverse_bytes(self) -> Self {
        let (low, high) = (0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607);
        Zmm(with!(_mm512_shuffle_epi8(self.0, _mm512_set_epi64(high, low, high, low, high, low, high, low))))
    }

    #[inline(always)]
    fn multiply_high_by_high(self, by: Self) -> Self {
        Zmm(with!(_mm512_clmulepi64_epi128::<0x11>(self.0, by.0)))
    }

    #[inline(always)]
    fn multiply_low_by_high(self, by: Self) -> Self {
        Zmm(with!(_mm512_clmulepi64_epi128::<0x10>(self.0, by.0)))
    }

    #[inline(always)]
    fn spread(one: Xmm) -> Self {
        Zmm(with!(_mm512_broadcast_i32x4(one.0)))
    }

    #[inline(always)]
    fn in_first_lane(one: Xmm) -> Self {
        Zmm(with!(_mm512_zextsi128_si512(one.0)))
    }

    #[inline(always)]
    fn first_lane(self) -> Xmm {
        Xmm(with!(_mm512_castsi512_si128(self.0)))
    }

    #[inline(always)]
    fn fold(self) -> Xmm {
        let high = Ymm(with!(_mm512_extracti64x4_epi64::<1>(self.0)));
        Ymm(with!(_mm512_castsi512_si256(self.0))).xor(high).fold()
    }

    #[inline(always)]
    fn prefetch(at: *const u8) {
        Xmm::prefetch(at);
    }

    /// Measured: on Zen 4 fetching takes half as long again as none. On Zen 5, whose AES is twice as fast, sectors of 4096 bytes take
    /// 2.2 times as long with none, 1.2 times with 8 KiB, and the same with 16 to 48 KiB.
    #[inline(always)]
    fn far() -> usize {
        match Model::get() {
            Model::Zen3Or4 => 0,
            Model::Zen5 => 16 << 10,
            Model::Intel | Model::Other => 8 << 10,
        }
    }
}
