//! Kernels on the AES instructions of the CPU: one text ([`kernel`]) over vectors of any width ([`vector`]).

mod denied;
mod kernel;
mod keys;
mod tweaks;
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

use super::kind::KernelKind;
use super::run::{DataUnits, Direction, Store};
use keys::XtsKeys;

/// What streamed stores need: the size of the widest register, and of a cache line.
const ALIGNMENT: usize = 64;

/// An expanded key, and the kernel to use it with. It exists only where the CPU can run that kernel.
pub(super) struct Fused {
    keys: XtsKeys,
    kind: KernelKind,
}

impl Fused {
    /// Whether this CPU can run a kernel.
    pub(super) fn has(kind: KernelKind) -> bool {
        cpu::has(kind)
    }

    /// Without keys, unless the CPU can't run this kernel.
    #[inline(always)]
    pub(super) fn blank(kind: KernelKind) -> Option<Self> {
        cpu::has(kind).then_some(Fused { keys: XtsKeys::EMPTY, kind })
    }

    /// Expands two keys of 16 or two of 32 bytes.
    #[inline(always)]
    pub(super) fn expand(&mut self, data_key: &[u8], tweak_key: &[u8]) {
        // SAFETY: the CPU has the instructions of this kernel, or it would not exist, and so those of the narrowest one of its
        // family.
        unsafe { cpu::expand(&mut self.keys, data_key, tweak_key) };
    }

    #[inline]
    pub(super) fn crypt(&self, direction: Direction, units: DataUnits, data: InOutBuf<'_, '_, u8>, store: Store) {
        let (k, d, u, len) = (&raw const self.keys, direction, units, data.len());
        let (src, dst) = data.into_raw();
        let stream = store == Store::Stream && dst.addr().is_multiple_of(ALIGNMENT);
        // SAFETY: `blank` has seen that the CPU can run `kind`. The buffers of an `InOutBuf` are the same or do not overlap,
        // and `len` bytes long; `dst` is aligned if it is streamed to; the caller, `SectorCipher`, has checked the units.
        unsafe {
            match (self.kind, stream) {
                #[cfg(target_arch = "x86_64")]
                (KernelKind::AesNi, false) => cpu::aes_ni::<false>(k, d, u, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                (KernelKind::AesNi, true) => cpu::aes_ni::<true>(k, d, u, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                (KernelKind::Vaes256, false) => cpu::vaes_256::<false>(k, d, u, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                (KernelKind::Vaes256, true) => cpu::vaes_256::<true>(k, d, u, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                (KernelKind::Vaes512, false) => cpu::vaes_512::<false>(k, d, u, src, dst, len),
                #[cfg(target_arch = "x86_64")]
                (KernelKind::Vaes512, true) => cpu::vaes_512::<true>(k, d, u, src, dst, len),
                #[cfg(target_arch = "aarch64")]
                (KernelKind::Armv8, _) => cpu::armv8::<false>(k, d, u, src, dst, len),
                _ => unreachable!("`has` says no to kernels of other CPUs"),
            }
        }
    }
}
