//! Overwrites the stack frames of calls that have just ended. The compiler copies keys there as it likes, and nothing
//! else reaches those copies.
//!
//! The depths were measured with Rust 1.95. The test `wiping`, in a release build, finds keys left below them.

use super::kind::KernelKind;

/// The stack that the `aes` crate takes to expand a key or to serve a call.
const AES: usize = 8 << 10;
/// The same where the `aes` crate works on 512 bits at once. It spreads each round key over a register of its own, runs
/// out of registers, and puts 64 blocks beside them.
const WIDE_AES: usize = 16 << 10;
/// The stack that expanding a key for a fused kernel takes. The round keys are written in place, and little else is
/// needed.
const FUSED: usize = 1 << 10;
/// The stack that a keystream takes: 2.8 KiB. Short calls are frequent, and wiping takes most of their time.
const KEYSTREAM: usize = 4 << 10;
/// The stack where a fused kernel may leave data, hashes and keystream that don't fit its registers.
const SCRAPS: usize = 1 << 10;
/// The stack that a MAC by a state of its key takes: the copy of the state, and what a block of SHA-256 needs.
#[cfg(feature = "std")]
const MAC: usize = 2 << 10;
/// The stack that hashes, MACs and KDFs of a key take.
#[cfg(feature = "std")]
const DEEP: usize = 32 << 10;

/// Wipes the stack after a call that used the `aes` crate.
#[inline(always)]
pub(crate) fn wipe_stack() {
    if aes_is_wide() { wipe::<WIDE_AES>() } else { wipe::<AES>() }
}

/// Wipes the stack after a key was expanded for a kernel, if there was one.
#[inline(always)]
pub(crate) fn wipe_expansion(kind: Option<KernelKind>) {
    match kind {
        None | Some(KernelKind::Portable) => wipe_stack(),
        Some(_) => wipe::<FUSED>(),
    }
}

/// Wipes the stack after a keystream was applied.
#[inline(always)]
pub(crate) fn wipe_keystream() {
    if aes_is_wide() { wipe::<WIDE_AES>() } else { wipe::<KEYSTREAM>() }
}

/// Wipes the stack after a fused kernel other than XTS. The XTS kernel wipes its own memory.
#[inline(always)]
pub(crate) fn wipe_scraps() {
    wipe::<SCRAPS>()
}

/// Wipes the stack after a MAC by a state of its key.
#[cfg(feature = "std")]
#[inline(always)]
pub(crate) fn wipe_mac() {
    wipe::<MAC>()
}

/// Makes a call that goes deep (hashes, MACs and KDFs of a key), and wipes the stack below.
#[cfg(feature = "std")]
pub(crate) fn on_wiped_stack<T>(call: impl FnOnce() -> T) -> T {
    /// Not inlined, so that the whole call lies below its caller. The caller wipes that part of the stack.
    #[inline(never)]
    fn below<T>(call: impl FnOnce() -> T) -> T {
        call()
    }
    let result = below(call);
    wipe::<DEEP>();
    result
}

/// Whether the `aes` crate uses its 512-bit code here. The crate asks the CPU and ignores the features denied to our
/// kernels.
#[inline(always)]
fn aes_is_wide() -> bool {
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    return std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("vaes");
    // Without std the crate still asks the CPU, and we don't.
    #[cfg(not(all(target_arch = "x86_64", feature = "std")))]
    return cfg!(target_arch = "x86_64");
}

#[inline(never)]
fn wipe<const BYTES: usize>() {
    core::hint::black_box(&mut [0u8; BYTES]);
}
