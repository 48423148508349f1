//! Kernels on the AES instructions of the CPU: one text ([`kernel`]) over vectors of any width ([`vector`]).

#![allow(unsafe_code)]

mod kernel;
mod keys;
mod vector;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as cpu;
#[cfg(target_arch = "x86_64")]
use x86_64 as cpu;

use aes::cipher::inout::InOutBuf;

use super::{DataUnits, Direction, KernelKind};
use keys::XtsKeys;

/// An expanded key, and the kernel to use it with. It exists only where the CPU can run that kernel.
pub(crate) struct Fused {
    keys: XtsKeys,
    kind: KernelKind,
}

impl Fused {
    /// Whether this CPU can run a kernel.
    pub(super) fn has(kind: KernelKind) -> bool {
        cpu::has(kind)
    }

    /// Expands two keys of 16 or two of 32 bytes, unless the CPU can't run this kernel.
    pub(super) fn new(kind: KernelKind, data_key: &[u8], tweak_key: &[u8]) -> Option<Self> {
        // SAFETY: the CPU has the instructions of this kernel, and so those of the narrowest one of its family.
        cpu::has(kind).then(|| Fused { keys: unsafe { cpu::expand(data_key, tweak_key) }, kind })
    }

    pub(super) fn kind(&self) -> KernelKind {
        self.kind
    }

    #[inline]
    pub(super) fn crypt(&self, direction: Direction, units: DataUnits, data: InOutBuf<'_, '_, u8>) {
        let (k, len) = (&raw const self.keys, data.len());
        let (src, dst) = data.into_raw();
        // SAFETY: `new` has seen that the CPU can run `kind`. The buffers of an `InOutBuf` are the same or do not overlap,
        // and `len` bytes long; the caller, `SectorCipher`, has checked the units.
        unsafe {
            match self.kind {
                #[cfg(target_arch = "x86_64")]
                KernelKind::AesNi => cpu::aes_ni(k, direction, units, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                KernelKind::Vaes256 => cpu::vaes_256(k, direction, units, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                KernelKind::Vaes512 => cpu::vaes_512(k, direction, units, src, dst, len),
                #[cfg(target_arch = "aarch64")]
                KernelKind::Armv8 => cpu::armv8(k, direction, units, src, dst, len),
                _ => unreachable!("`has` says no to kernels of other CPUs"),
            }
        }
    }
}
