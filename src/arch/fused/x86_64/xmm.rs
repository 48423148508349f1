//! 128 bits.

use core::arch::x86_64::*;

use crate::arch::fused::vector::{Doubling, Vector, Words};

/// One block: AES, PCLMULQDQ and SSSE3.
#[derive(Clone, Copy)]
pub(in crate::arch) struct Xmm(pub(super) __m128i);

impl Vector for Xmm {
    const LANES: usize = 1;
    type One = Xmm;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes and the CPU.
        Xmm(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline(always)]
    unsafe fn splat(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes and the CPU.
        Xmm(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline(always)]
    unsafe fn number(number: u128) -> Self {
        // SAFETY: the caller vouches for the CPU.
        Xmm(unsafe { _mm_set_epi64x((number >> 64) as i64, number as i64) })
    }

    #[inline(always)]
    unsafe fn numbers(first: u128, _step: u64) -> Self {
        // SAFETY: the caller vouches for the CPU.
        unsafe { Self::number(first) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { _mm_storeu_si128(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller vouches for as many bytes, and their alignment.
        unsafe { _mm_stream_si128(to.cast(), self.0) }
    }

    #[inline(always)]
    fn fence() {
        // SAFETY: SSE belongs to x86-64.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Xmm(with!(_mm_xor_si128(self.0, other.0)))
    }

    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        self.xor(b).xor(c)
    }

    #[inline(always)]
    fn encrypt_round(self, key: Self) -> Self {
        Xmm(with!(_mm_aesenc_si128(self.0, key.0)))
    }

    #[inline(always)]
    fn encrypt_last(self, key: Self) -> Self {
        Xmm(with!(_mm_aesenclast_si128(self.0, key.0)))
    }

    #[inline(always)]
    fn decrypt_round(self, key: Self) -> Self {
        Xmm(with!(_mm_aesdec_si128(self.0, key.0)))
    }

    #[inline(always)]
    fn decrypt_last(self, key: Self) -> Self {
        Xmm(with!(_mm_aesdeclast_si128(self.0, key.0)))
    }

    #[inline(always)]
    fn add_halves(self, other: Self) -> Self {
        Xmm(with!(_mm_add_epi64(self.0, other.0)))
    }

    /// SSE2 shifts both halves by one count, the low half of `counts`. Kernels give both halves the same count.
    #[inline(always)]
    fn shift_left(self, counts: Self) -> Self {
        Xmm(with!(_mm_sll_epi64(self.0, counts.0)))
    }

    #[inline(always)]
    fn shift_right(self, counts: Self) -> Self {
        Xmm(with!(_mm_srl_epi64(self.0, counts.0)))
    }

    #[inline(always)]
    fn swap_halves(self) -> Self {
        Xmm(with!(_mm_shuffle_epi32::<0b0100_1110>(self.0)))
    }

    #[inline(always)]
    fn rotate_words(self) -> Self {
        Xmm(with!(_mm_shuffle_epi32::<0b1001_0011>(self.0)))
    }

    #[inline(always)]
    fn high_words(self, zero: Self) -> Self {
        Xmm(with!(_mm_unpackhi_epi32(self.0, zero.0)))
    }

    #[inline(always)]
    fn low_to_high(self, zero: Self) -> Self {
        Xmm(with!(_mm_unpacklo_epi64(zero.0, self.0)))
    }

    #[inline(always)]
    fn multiply_low(self, by: Self) -> Self {
        Xmm(with!(_mm_clmulepi64_si128::<0x00>(self.0, by.0)))
    }

    #[inline(always)]
    fn multiply_high(self, by: Self) -> Self {
        Xmm(with!(_mm_clmulepi64_si128::<0x01>(self.0, by.0)))
    }

    #[inline(always)]
    fn high_to_low(self, zero: Self) -> Self {
        Xmm(with!(_mm_unpackhi_epi64(self.0, zero.0)))
    }

    #[inline(always)]
    fn reverse_bytes(self) -> Self {
        Xmm(with!(_mm_shuffle_epi8(self.0, _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f))))
    }

    #[inline(always)]
    fn multiply_high_by_high(self, by: Self) -> Self {
        Xmm(with!(_mm_clmulepi64_si128::<0x11>(self.0, by.0)))
    }

    #[inline(always)]
    fn multiply_low_by_high(self, by: Self) -> Self {
        Xmm(with!(_mm_clmulepi64_si128::<0x10>(self.0, by.0)))
    }

    #[inline(always)]
    fn spread(one: Xmm) -> Self {
        one
    }

    #[inline(always)]
    fn in_first_lane(one: Xmm) -> Self {
        one
    }

    #[inline(always)]
    fn first_lane(self) -> Xmm {
        self
    }

    #[inline(always)]
    fn fold(self) -> Xmm {
        self
    }

    #[inline(always)]
    fn prefetch(at: *const u8) {
        // SAFETY: a prefetch of any address is harmless, and SSE belongs to x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}

impl Doubling for Xmm {
    #[inline(always)]
    unsafe fn gather(one: *const u8, _two: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes and the CPU.
        unsafe { Self::load(one) }
    }

    #[inline(always)]
    unsafe fn scatter(self, one: *mut u8, _two: *mut u8, _keep: bool) {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { self.store(one) }
    }

    #[inline(always)]
    fn leaving(self) -> Self {
        Xmm(with!(_mm_shuffle_epi32::<0b0101_1111>(self.0)))
    }

    #[inline(always)]
    fn top_bits(self) -> Self {
        Xmm(with!(_mm_srai_epi32::<31>(self.0)))
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Xmm(with!(_mm_and_si128(self.0, other.0)))
    }

    #[inline(always)]
    fn add_words(self, other: Self) -> Self {
        Xmm(with!(_mm_add_epi32(self.0, other.0)))
    }
}

impl Words for Xmm {
    #[inline(always)]
    fn last_word(self) -> Self {
        Xmm(with!(_mm_shuffle_epi32::<0b1111_1111>(self.0)))
    }

    #[inline(always)]
    fn rotated_last_word(self) -> Self {
        Xmm(with!(_mm_shuffle_epi8(self.0, _mm_set1_epi32(0x0c0f_0e0d))))
    }

    #[inline(always)]
    fn up_one_word(self) -> Self {
        Xmm(with!(_mm_slli_si128::<4>(self.0)))
    }
}
