//! 256 bits.

use core::arch::x86_64::*;

use super::xmm::Xmm;
use crate::arch::fused::vector::{Bytes, Doubling, Vector};

/// Two blocks: VAES, VPCLMULQDQ and AVX2.
#[derive(Clone, Copy)]
pub(in crate::arch) struct Ymm(pub(super) __m256i);

impl Vector for Ymm {
    const LANES: usize = 2;
    type One = Xmm;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 32 bytes and the CPU.
        Ymm(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn splat(from: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes and the CPU.
        Ymm(unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast())) })
    }

    #[inline(always)]
    unsafe fn number(number: u128) -> Self {
        // SAFETY: the caller vouches for the CPU.
        Ymm(unsafe { _mm256_broadcastsi128_si256(Xmm::number(number).0) })
    }

    #[inline(always)]
    unsafe fn numbers(first: u128, step: u64) -> Self {
        // SAFETY: the caller vouches for the CPU.
        let steps = Ymm(unsafe { _mm256_set_epi64x(0, step as i64, 0, 0) });
        // SAFETY: as above.
        unsafe { Self::number(first) }.add_halves(steps)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller vouches for 32 bytes.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut u8) {
        // SAFETY: the caller vouches for as many bytes, and their alignment.
        unsafe { _mm256_stream_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    fn fence() {
        Xmm::fence();
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Ymm(with!(_mm256_xor_si256(self.0, other.0)))
    }

    #[inline(always)]
    fn xor3(self, b: Self, c: Self) -> Self {
        self.xor(b).xor(c)
    }

    #[inline(always)]
    fn encrypt_round(self, key: Self) -> Self {
        Ymm(with!(_mm256_aesenc_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn encrypt_last(self, key: Self) -> Self {
        Ymm(with!(_mm256_aesenclast_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn decrypt_round(self, key: Self) -> Self {
        Ymm(with!(_mm256_aesdec_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn decrypt_last(self, key: Self) -> Self {
        Ymm(with!(_mm256_aesdeclast_epi128(self.0, key.0)))
    }

    #[inline(always)]
    fn add_halves(self, other: Self) -> Self {
        Ymm(with!(_mm256_add_epi64(self.0, other.0)))
    }

    #[inline(always)]
    fn shift_left(self, counts: Self) -> Self {
        Ymm(with!(_mm256_sllv_epi64(self.0, counts.0)))
    }

    #[inline(always)]
    fn shift_right(self, counts: Self) -> Self {
        Ymm(with!(_mm256_srlv_epi64(self.0, counts.0)))
    }

    #[inline(always)]
    fn swap_halves(self) -> Self {
        Ymm(with!(_mm256_shuffle_epi32::<0b0100_1110>(self.0)))
    }

    #[inline(always)]
    fn rotate_words(self) -> Self {
        Ymm(with!(_mm256_shuffle_epi32::<0b1001_0011>(self.0)))
    }

    #[inline(always)]
    fn high_words(self, zero: Self) -> Self {
        Ymm(with!(_mm256_unpackhi_epi32(self.0, zero.0)))
    }

    #[inline(always)]
    fn low_to_high(self, zero: Self) -> Self {
        Ymm(with!(_mm256_unpacklo_epi64(zero.0, self.0)))
    }

    #[inline(always)]
    fn multiply_low(self, by: Self) -> Self {
        Ymm(with!(_mm256_clmulepi64_epi128::<0x00>(self.0, by.0)))
    }

    #[inline(always)]
    fn multiply_high(self, by: Self) -> Self {
        Ymm(with!(_mm256_clmulepi64_epi128::<0x01>(self.0, by.0)))
    }

    #[inline(always)]
    fn high_to_low(self, zero: Self) -> Self {
        Ymm(with!(_mm256_unpackhi_epi64(self.0, zero.0)))
    }

    #[inline(always)]
    fn reverse_bytes(self) -> Self {
        let (low, high) = (0x0809_0a0b_0c0d_0e0f, 0x0001_0203_0405_0607);
        Ymm(with!(_mm256_shuffle_epi8(self.0, _mm256_set_epi64x(high, low, high, low))))
    }

    #[inline(always)]
    fn multiply_high_by_high(self, by: Self) -> Self {
        Ymm(with!(_mm256_clmulepi64_epi128::<0x11>(self.0, by.0)))
    }

    #[inline(always)]
    fn multiply_low_by_high(self, by: Self) -> Self {
        Ymm(with!(_mm256_clmulepi64_epi128::<0x10>(self.0, by.0)))
    }

    #[inline(always)]
    fn spread(one: Xmm) -> Self {
        Ymm(with!(_mm256_broadcastsi128_si256(one.0)))
    }

    #[inline(always)]
    fn in_first_lane(one: Xmm) -> Self {
        Ymm(with!(_mm256_zextsi128_si256(one.0)))
    }

    #[inline(always)]
    fn first_lane(self) -> Xmm {
        Xmm(with!(_mm256_castsi256_si128(self.0)))
    }

    #[inline(always)]
    fn fold(self) -> Xmm {
        self.first_lane().xor(Xmm(with!(_mm256_extracti128_si256::<1>(self.0))))
    }

    #[inline(always)]
    fn prefetch(at: *const u8) {
        Xmm::prefetch(at);
    }
}

impl Doubling for Ymm {
    #[inline(always)]
    unsafe fn gather(one: *const u8, two: *const u8) -> Self {
        // SAFETY: the caller vouches for 16 bytes at both, and the CPU.
        Ymm(unsafe { _mm256_loadu2_m128i(two.cast(), one.cast()) })
    }

    /// Through memory, since `vextracti128` takes the place of an AES instruction on Zen 3. The read is volatile, or the
    /// compiler would make it that.
    #[inline(always)]
    unsafe fn scatter(self, one: *mut u8, two: *mut u8, keep: bool) {
        // SAFETY: the caller vouches for it.
        unsafe {
            if keep {
                self.store(two);
                one.cast::<__m128i>().write(two.cast::<__m128i>().read_volatile());
                two.cast::<__m128i>().write(two.add(16).cast::<__m128i>().read_volatile());
            } else {
                self.store(one);
                two.cast::<__m128i>().write(one.add(16).cast::<__m128i>().read_volatile());
            }
        }
    }

    #[inline(always)]
    fn leaving(self) -> Self {
        Ymm(with!(_mm256_shuffle_epi32::<0b0101_1111>(self.0)))
    }

    #[inline(always)]
    fn top_bits(self) -> Self {
        Ymm(with!(_mm256_srai_epi32::<31>(self.0)))
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Ymm(with!(_mm256_and_si256(self.0, other.0)))
    }

    #[inline(always)]
    fn add_words(self, other: Self) -> Self {
        Ymm(with!(_mm256_add_epi32(self.0, other.0)))
    }
}

impl Bytes for Ymm {
    #[inline(always)]
    fn up_one_byte(self) -> Self {
        Ymm(with!(_mm256_slli_si256::<1>(self.0)))
    }

    #[inline(always)]
    fn high_bytes(self) -> Self {
        Ymm(with!(_mm256_unpackhi_epi8(self.0, _mm256_setzero_si256())))
    }

    #[inline(always)]
    fn shift_words<const N: i32>(self) -> Self {
        Ymm(with!(_mm256_slli_epi16::<N>(self.0)))
    }

    #[inline(always)]
    fn pick(self, which: Self) -> Self {
        Ymm(with!(_mm256_shuffle_epi8(self.0, which.0)))
    }
}
