//! Kernels: the inner loops of the ciphers. A kernel is chosen once, when a key is expanded.
//!
//! A kernel trusts its caller: the ciphers ([`cipher`](crate::cipher)) have checked every length and number.

#![allow(unsafe_code)]

#[cfg(feature = "std")]
mod cbc;
mod ctr;
#[cfg(any(
    all(target_arch = "x86_64", not(target_os = "none")),
    all(target_arch = "aarch64", target_endian = "little")
))]
mod fused;
#[cfg(not(any(
    all(target_arch = "x86_64", not(target_os = "none")),
    all(target_arch = "aarch64", target_endian = "little")
)))]
#[path = "no_fused.rs"]
mod fused;
#[cfg(feature = "std")]
mod hctr2;
mod kernel;
mod kind;
mod portable;
mod run;
mod stack;
mod wiped;
mod xts;

#[cfg(feature = "std")]
pub(crate) use cbc::CbcKernel;
pub(crate) use ctr::CtrKernel;
#[cfg(feature = "std")]
pub(crate) use hctr2::Hctr2Kernel;
pub use kind::KernelKind;
pub(crate) use run::{DataUnits, Direction, Store};
pub(crate) use stack::wipe_expansion;
#[cfg(feature = "std")]
pub(crate) use stack::{on_wiped_stack, wipe_mac};
pub(crate) use xts::XtsKernel;

use fused::Fused;

/// The place of expanded keys: with the other secrets or, without an allocator, in the cipher itself.
#[cfg(feature = "std")]
pub(crate) use crate::memory::Locked as Place;
#[cfg(not(feature = "std"))]
pub(crate) use wiped::Wiped as Place;

impl KernelKind {
    /// From the widest to the portable kernel, which runs on every CPU.
    const ALL: [KernelKind; 5] =
        [KernelKind::Vaes512, KernelKind::Vaes256, KernelKind::AesNi, KernelKind::Armv8, KernelKind::Portable];

    /// The kernels that this CPU can run, the default first.
    pub fn available() -> impl Iterator<Item = KernelKind> {
        Self::ALL.into_iter().filter(|&kind| kind == KernelKind::Portable || Fused::has(kind))
    }

    /// The default kernel.
    pub(crate) fn best() -> KernelKind {
        Self::available().next().unwrap_or(KernelKind::Portable)
    }
}
