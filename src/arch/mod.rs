//! Kernels: the inner loops of the sector engine, chosen once, when a key is expanded.
//!
//! A kernel trusts its caller: [`SectorCipher`](crate::SectorCipher) has checked every length and number.

#![allow(unsafe_code)]

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
mod kind;
mod portable;
mod run;
mod stack;
mod wiped;

pub use kind::KernelKind;
pub(crate) use run::{DataUnits, Direction, Store};
#[cfg(feature = "std")]
pub(crate) use stack::on_wiped_stack;
pub(crate) use stack::{wipe_expansion, wipe_keystream, wipe_stack};
use wiped::Wiped;

use aes::cipher::inout::InOutBuf;

use crate::Result;
use fused::Fused;

/// Where expanded keys lie: with the secrets, or where nobody allocates, in the cipher itself.
#[cfg(feature = "std")]
pub(crate) use crate::memory::Locked as Place;
#[cfg(not(feature = "std"))]
pub(crate) use wiped::Wiped as Place;

impl KernelKind {
    /// From the widest to the one that every CPU runs.
    const ALL: [KernelKind; 5] =
        [KernelKind::Vaes512, KernelKind::Vaes256, KernelKind::AesNi, KernelKind::Armv8, KernelKind::Portable];

    /// The kernels that this CPU can run, the default first.
    pub fn available() -> impl Iterator<Item = KernelKind> {
        Self::ALL.into_iter().filter(|&kind| kind == KernelKind::Portable || Fused::has(kind))
    }

    /// The one that is used unless another is asked for.
    pub(crate) fn best() -> KernelKind {
        Self::available().next().unwrap_or(KernelKind::Portable)
    }
}

/// An expanded key in the form that its kernel wants.
pub(crate) struct Kernel(Wiped<Expanded>);

// Without an allocator there is no box to put the larger keys in, and one cipher serves a whole device.
#[allow(clippy::large_enum_variant)]
enum Expanded {
    Fused(KernelKind, Place<Fused>),
    PortableAes128(Place<portable::Aes128Xts>),
    PortableAes256(Place<portable::Aes256Xts>),
}

impl Kernel {
    /// A kernel without keys, unless this CPU can't run it. [`Kernel::portable`] makes the portable one.
    #[inline(always)]
    pub(crate) fn blank(kind: KernelKind) -> Option<Self> {
        Fused::blank(kind).map(|fused| Kernel(Wiped::new(Expanded::Fused(kind, Place::new(fused)))))
    }

    /// Expands two keys of 16 or two of 32 bytes each where they are to stay: a move would leave a copy behind, and take time.
    #[inline(always)]
    pub(crate) fn expand(&mut self, data_key: &[u8], tweak_key: &[u8]) -> Result<()> {
        if let Expanded::Fused(_, fused) = &mut *self.0 {
            fused.get_mut()?.expand(data_key, tweak_key);
        }
        Ok(())
    }

    /// Expands two keys of 16 or two of 32 bytes each for the portable kernel. Not inlined, so that the stack that it takes is
    /// not taken where another kernel is made.
    #[inline(never)]
    pub(crate) fn portable(data_key: &[u8], tweak_key: &[u8]) -> Self {
        Kernel(Wiped::new(match data_key.len() {
            16 => Expanded::PortableAes128(Place::new(portable::Aes128Xts::new(data_key, tweak_key))),
            _ => Expanded::PortableAes256(Place::new(portable::Aes256Xts::new(data_key, tweak_key))),
        }))
    }

    pub(crate) fn kind(&self) -> KernelKind {
        match &*self.0 {
            Expanded::Fused(kind, _) => *kind,
            Expanded::PortableAes128(_) | Expanded::PortableAes256(_) => KernelKind::Portable,
        }
    }

    /// Encrypts or decrypts whole data units: one dispatch for the whole run.
    ///
    /// # Errors
    /// As [`Place::get`]. `data` is untouched then.
    #[inline]
    pub(crate) fn crypt(
        &self,
        direction: Direction,
        units: DataUnits,
        data: InOutBuf<'_, '_, u8>,
        store: Store,
    ) -> Result<()> {
        match &*self.0 {
            Expanded::Fused(_, fused) => {
                fused.get()?.crypt(direction, units, data, store);
                return Ok(());
            }
            Expanded::PortableAes128(kernel) => kernel.get()?.crypt(direction, units, data),
            Expanded::PortableAes256(kernel) => kernel.get()?.crypt(direction, units, data),
        }
        // The `aes` crate spreads round keys over the stack.
        wipe_stack();
        Ok(())
    }
}
