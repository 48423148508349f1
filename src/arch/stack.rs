//! Overwrites the stack where calls that have just ended had their frames. The compiler copies keys there as it likes, and
//! nothing but this reaches those copies.
//!
//! How deep they lie was measured with Rust 1.95; the test `wiping`, in a release build, finds what is left below.

use super::kind::KernelKind;

/// What expanding a key by the `aes` crate, or a call of that, takes.
const AES: usize = 8 << 10;
/// The same where the `aes` crate works on 512 bits at once: it spreads each round key over a register of its own, has
/// fewer registers than that takes, and puts 64 blocks beside them.
const WIDE_AES: usize = 16 << 10;
/// What expanding a key for a fused kernel takes: round keys lie where they are to stay, and little else is needed.
const FUSED: usize = 1 << 10;
/// What a keystream takes: 2.8 KiB. Short calls are many, and the wiping is most of what they take.
const KEYSTREAM: usize = 4 << 10;
/// What a fused kernel may leave of the data, the hashes and the keystream that its registers don't hold.
const SCRAPS: usize = 1 << 10;
/// What hashes, MACs and KDFs of a key take.
#[cfg(feature = "std")]
const DEEP: usize = 32 << 10;

/// After a call that used the `aes` crate.
#[inline(always)]
pub(crate) fn wipe_stack() {
    if aes_is_wide() { wipe::<WIDE_AES>() } else { wipe::<AES>() }
}

/// After a key was expanded for a kernel, if it was.
#[inline(always)]
pub(crate) fn wipe_expansion(kind: Option<KernelKind>) {
    match kind {
        None | Some(KernelKind::Portable) => wipe_stack(),
        Some(_) => wipe::<FUSED>(),
    }
}

/// After a keystream was applied.
#[inline(always)]
pub(crate) fn wipe_keystream() {
    if aes_is_wide() { wipe::<WIDE_AES>() } else { wipe::<KEYSTREAM>() }
}

/// After a fused kernel other than that of XTS, which wipes its own memory.
#[inline(always)]
pub(crate) fn wipe_scraps() {
    wipe::<SCRAPS>()
}

/// Makes a call that goes deep (hashes, MACs and KDFs of a key), and wipes what it leaves on the stack.
#[cfg(feature = "std")]
pub(crate) fn on_wiped_stack<T>(call: impl FnOnce() -> T) -> T {
    /// Not inlined, so that all of the call is below its caller, who wipes it.
    #[inline(never)]
    fn below<T>(call: impl FnOnce() -> T) -> T {
        call()
    }
    let result = below(call);
    wipe::<DEEP>();
    result
}

/// Whether the `aes` crate takes its code for 512 bits here. It asks the CPU, whatever our kernels are denied.
#[inline(always)]
fn aes_is_wide() -> bool {
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    return std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("vaes");
    // Without std the crate asks the CPU all the same, and we don't.
    #[cfg(not(all(target_arch = "x86_64", feature = "std")))]
    return cfg!(target_arch = "x86_64");
}

#[inline(never)]
fn wipe<const BYTES: usize>() {
    core::hint::black_box(&mut [0u8; BYTES]);
}
