//! The vectors of x86-64 and the entries to the fused kernel: AES-NI (128 bits), VAES with AVX2 (256), VAES with AVX-512.

use core::arch::x86_64::*;

use super::denied::{DENIED, Feature};
use super::kernel;
use super::keys::XtsKeys;
use super::tweaks::{ByDoubling, ByMoving, ByMultiplying};
use super::vector::{Bytes, Doubling, Vector, Words};
use crate::arch::kind::KernelKind;
use crate::arch::run::{DataUnits, Direction};

/// Calls an intrinsic on vectors that exist already.
macro_rules! with {
    ($operation:expr) => {
        // SAFETY: the operands are vectors of the types below. There is no vector on a CPU without its instructions:
        // who makes one by `load` or `splat` vouches for that. Intrinsics on registers alone need nothing else.
        unsafe { $operation }
    };
}

/// One block: AES, PCLMULQDQ and SSE2.
#[derive(Clone, Copy)]
pub(super) struct Xmm(__m128i);

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

    /// SSE2 shifts both halves by one count, the low half of `counts`; kernels give both halves the same.
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

    #[inline(always)]
    fn add_halves(self, other: Self) -> Self {
        Xmm(with!(_mm_add_epi64(self.0, other.0)))
    }
}

impl Words for Xmm {
    #[inline(always)]
    fn last_word(self) -> Self {
        Xmm(with!(_mm_shuffle_epi32::<0b1111_1111>(self.0)))
    }

    #[inline(always)]
    fn rotate_words(self) -> Self {
        Xmm(with!(_mm_or_si128(_mm_srli_epi32::<8>(self.0), _mm_slli_epi32::<24>(self.0))))
    }

    #[inline(always)]
    fn up_one_word(self) -> Self {
        Xmm(with!(_mm_slli_si128::<4>(self.0)))
    }
}

/// Two blocks: VAES, VPCLMULQDQ and AVX2.
#[derive(Clone, Copy)]
pub(super) struct Ymm(__m256i);

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

    #[inline(always)]
    fn add_halves(self, other: Self) -> Self {
        Ymm(with!(_mm256_add_epi64(self.0, other.0)))
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

/// Four blocks: VAES, VPCLMULQDQ and AVX-512F.
///
/// `vpunpcklqdq` and qword shifts run beside AES on Zen 5, where `vpslldq`, `vpshufb` and rotates would take its ports.
#[derive(Clone, Copy)]
pub(super) struct Zmm(__m512i);

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
    fn prefetch(at: *const u8) {
        Xmm::prefetch(at);
    }
}

/// Whether this CPU and its operating system can run a kernel.
pub(super) fn has(kind: KernelKind) -> bool {
    #[cfg(feature = "std")]
    macro_rules! detected {
        ($feature:tt) => {
            std::arch::is_x86_feature_detected!($feature)
        };
    }
    // Without std there is nobody to ask the operating system; what the compiler was told holds.
    #[cfg(not(feature = "std"))]
    macro_rules! detected {
        ($feature:tt) => {
            cfg!(target_feature = $feature)
        };
    }
    let aes = || detected!("aes") && detected!("pclmulqdq") && !matches!(DENIED, Some(Feature::Aes));
    let vaes = || {
        aes()
            && detected!("avx2")
            && detected!("vaes")
            && detected!("vpclmulqdq")
            && !matches!(DENIED, Some(Feature::Vaes))
    };
    match kind {
        KernelKind::AesNi => aes(),
        KernelKind::Vaes256 => vaes(),
        KernelKind::Vaes512 => vaes() && detected!("avx512f") && !matches!(DENIED, Some(Feature::Avx512)),
        _ => false,
    }
}

/// Expands two keys of 16 or 32 bytes.
#[target_feature(enable = "aes,pclmulqdq")]
pub(super) fn expand(keys: &mut XtsKeys, data_key: &[u8], tweak_key: &[u8]) {
    // SAFETY: this function's own target features are those of `Xmm`.
    unsafe { keys.expand::<Xmm>(data_key, tweak_key) }
}

/// # Safety
/// As [`kernel::run`].
#[target_feature(enable = "aes,pclmulqdq")]
pub(super) unsafe fn aes_ni<const STREAM: bool>(
    k: *const XtsKeys,
    d: Direction,
    u: DataUnits,
    src: *const u8,
    dst: *mut u8,
    len: usize,
) {
    // SAFETY: this function's own target features are those of `Xmm`; the rest is the caller's promise.
    unsafe { kernel::run::<Xmm, ByDoubling, 8, STREAM>(k, d, u, src, dst, len) }
}

/// # Safety
/// As [`kernel::run`].
#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq")]
pub(super) unsafe fn vaes_256<const STREAM: bool>(
    k: *const XtsKeys,
    d: Direction,
    u: DataUnits,
    src: *const u8,
    dst: *mut u8,
    len: usize,
) {
    // SAFETY: this function's own target features are those of `Ymm`; the rest is the caller's promise.
    unsafe { kernel::run::<Ymm, ByMoving, 8, STREAM>(k, d, u, src, dst, len) }
}

/// # Safety
/// As [`kernel::run`].
#[target_feature(enable = "aes,pclmulqdq,avx2,vaes,vpclmulqdq,avx512f")]
pub(super) unsafe fn vaes_512<const STREAM: bool>(
    k: *const XtsKeys,
    d: Direction,
    u: DataUnits,
    src: *const u8,
    dst: *mut u8,
    len: usize,
) {
    // SAFETY: this function's own target features are those of `Zmm`; the rest is the caller's promise.
    unsafe { kernel::run::<Zmm, ByMultiplying, 16, STREAM>(k, d, u, src, dst, len) }
}
