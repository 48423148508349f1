//! The vectors of x86-64 and the entries to the kernels: AES-NI (128 bits), VAES with AVX2 (256), VAES with AVX-512
//! (512).

/// Calls an intrinsic on vectors that exist already.
macro_rules! with {
    ($operation:expr) => {
        // SAFETY: the operands are vectors of the types below. No vector exists on a CPU without its instructions: the
        // caller of `load` or `splat` vouches for that. Intrinsics on registers alone need nothing else.
        unsafe { $operation }
    };
}

mod model;
mod xmm;
mod ymm;
mod zmm;

use super::denied::{Feature, is_denied};
use super::keys::XtsKeys;
use super::tweaks::{ByDoubling, ByMoving, Method};
use super::work::Work;
use super::xts::{self, Cut};
use crate::arch::kind::KernelKind;
use crate::arch::run::Direction;
use model::Model;
use xmm::Xmm;
use ymm::Ymm;
use zmm::Zmm;

/// Whether this CPU and its operating system can run a kernel.
pub(super) fn has(kind: KernelKind) -> bool {
    #[cfg(feature = "std")]
    macro_rules! detected {
        ($feature:tt) => {
            std::arch::is_x86_feature_detected!($feature)
        };
    }
    // Without std nothing can ask the operating system, so the compiler's target features count.
    #[cfg(not(feature = "std"))]
    macro_rules! detected {
        ($feature:tt) => {
            cfg!(target_feature = $feature)
        };
    }
    let aes = || detected!("aes") && detected!("pclmulqdq") && detected!("ssse3") && !is_denied(Feature::Aes);
    let vaes =
        || aes() && detected!("avx2") && detected!("vaes") && detected!("vpclmulqdq") && !is_denied(Feature::Vaes);
    match kind {
        KernelKind::AesNi => aes(),
        KernelKind::Vaes256 => vaes(),
        KernelKind::Vaes512 => vaes() && detected!("avx512f") && detected!("avx512bw") && !is_denied(Feature::Avx512),
        _ => false,
    }
}

/// The form of the kernel for AVX-512.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// [`ByMultiplying`](super::tweaks::ByMultiplying).
    Multiplying,
    /// [`ByProducts`](super::tweaks::ByProducts), for Intel's CPUs: there 512-bit shifts take the place of AES instructions. AMD's CPUs
    /// have AES on two other ports, or run multiplications on the ports of AES.
    Products,
    /// [`ByHalves`](super::tweaks::ByHalves), for Zen 4.
    Halves,
}

impl Form {
    #[inline(always)]
    pub(super) fn of_this_cpu() -> Self {
        match Model::get() {
            Model::Intel => Form::Products,
            Model::Zen3Or4 => Form::Halves,
            Model::Zen5 | Model::Other => Form::Multiplying,
        }
    }
}

/// Expands two keys of 16 or 32 bytes.
#[target_feature(enable = "aes,pclmulqdq,ssse3")]
pub(super) fn expand(keys: &mut XtsKeys, data_key: &[u8], tweak_key: &[u8]) {
    // SAFETY: this function's own target features are those of `Xmm`.
    unsafe { keys.expand::<Xmm>(data_key, tweak_key) }
}

/// # Safety
/// As [`xts::run`].
#[target_feature(enable = "aes,pclmulqdq,ssse3")]
pub(super) unsafe fn aes_ni<const STREAM: bool>(
    k: *const XtsKeys,
    d: Direction,
    first: u128,
    cut: Cut,
    src: *const u8,
    dst: *mut u8,
    len: usize,
) {
    // SAFETY: this function's own target features are those of `Xmm`; the rest is the caller's promise.
    unsafe { xts::run::<Xmm, ByDoubling, 8, STREAM>(k, d, first, cut, src, dst, len) }
}

/// # Safety
/// As [`xts::run`].
#[target_feature(enable = "aes,pclmulqdq,ssse3,avx2,vaes,vpclmulqdq")]
pub(super) unsafe fn vaes_256<const STREAM: bool>(
    k: *const XtsKeys,
    d: Direction,
    first: u128,
    cut: Cut,
    src: *const u8,
    dst: *mut u8,
    len: usize,
) {
    // SAFETY: this function's own target features are those of `Ymm`; the rest is the caller's promise.
    unsafe { xts::run::<Ymm, ByMoving, 8, STREAM>(k, d, first, cut, src, dst, len) }
}

/// # Safety
/// As [`xts::run`].
#[target_feature(enable = "aes,pclmulqdq,ssse3,avx2,vaes,vpclmulqdq,avx512f,avx512bw")]
pub(super) unsafe fn vaes_512<M: Method<Zmm>, const STREAM: bool>(
    k: *const XtsKeys,
    d: Direction,
    first: u128,
    cut: Cut,
    src: *const u8,
    dst: *mut u8,
    len: usize,
) {
    // SAFETY: this function's own target features are those of `Zmm`; the rest is the caller's promise.
    unsafe { xts::run::<Zmm, M, 16, STREAM>(k, d, first, cut, src, dst, len) }
}

/// Runs a job on a kernel.
///
/// # Safety
/// The CPU can run the kernel, and the job's own demands are met.
#[inline(always)]
pub(super) unsafe fn run<W: Work>(kind: KernelKind, work: W) {
    #[target_feature(enable = "aes,pclmulqdq,ssse3")]
    unsafe fn aes_ni<W: Work>(work: W) {
        // SAFETY: this function's own target features are those of `Xmm`; the rest is the caller's promise.
        unsafe { work.run::<Xmm, 8>() }
    }
    #[target_feature(enable = "aes,pclmulqdq,ssse3,avx2,vaes,vpclmulqdq")]
    unsafe fn vaes_256<W: Work>(work: W) {
        // SAFETY: as above, of `Ymm`.
        unsafe { work.run::<Ymm, 8>() }
    }
    #[target_feature(enable = "aes,pclmulqdq,ssse3,avx2,vaes,vpclmulqdq,avx512f,avx512bw")]
    unsafe fn vaes_512<W: Work>(work: W) {
        // SAFETY: as above, of `Zmm`.
        unsafe { work.run::<Zmm, 16>() }
    }
    // SAFETY: the caller's promises are passed on.
    unsafe {
        match kind {
            KernelKind::Vaes512 => vaes_512(work),
            KernelKind::Vaes256 => vaes_256(work),
            _ => aes_ni(work),
        }
    }
}
