//! An expanded key in the form that its kernel needs.

use super::Place;
use super::fused::Fused;
use super::kind::KernelKind;
use super::wiped::Wiped;
use crate::Result;

/// The key of one mode: `F` for the fused kernels (on the CPU's AES instructions), `P` for the portable one.
pub(super) struct Kernel<F, P>(Wiped<Expanded<F, P>>);

// Without an allocator the larger keys can't be boxed, and one cipher serves a whole device.
#[allow(clippy::large_enum_variant)]
enum Expanded<F, P> {
    Fused(Fused, Place<F>),
    Portable(Place<P>),
}

/// The key. Only the kernel that it was expanded for uses it.
pub(super) enum Key<'a, F, P> {
    Fused(Fused, &'a F),
    Portable(&'a P),
}

impl<F, P> Kernel<F, P> {
    /// A key of zeros for a fused kernel. The caller expands it in place: a move would leave a copy behind and take
    /// time.
    ///
    /// # Safety
    /// All bytes zero is a valid `F`.
    #[inline(always)]
    pub(super) unsafe fn zeroed(fused: Fused) -> Self {
        // SAFETY: the caller vouches for it.
        Kernel(Wiped::new(Expanded::Fused(fused, unsafe { Place::zeroed() })))
    }

    /// Expands a key for a kernel: by `portable` or, in its place, by `expand`. Returns `None` if this CPU can't run it.
    ///
    /// # Errors
    /// As [`Place::get_mut`].
    ///
    /// # Safety
    /// As [`zeroed`](Self::zeroed).
    #[inline(always)]
    pub(super) unsafe fn expanded(
        kind: KernelKind,
        portable: impl FnOnce() -> P,
        expand: impl FnOnce(Fused, &mut F),
    ) -> Result<Option<Self>> {
        /// Not inlined, so that its stack is not used where another kernel is made.
        #[inline(never)]
        fn made<F, P>(portable: impl FnOnce() -> P) -> Kernel<F, P> {
            Kernel::portable(portable())
        }
        if kind == KernelKind::Portable {
            return Ok(Some(made(portable)));
        }
        let Some(fused) = Fused::of(kind) else { return Ok(None) };
        // SAFETY: the caller vouches for it.
        let mut kernel = unsafe { Self::zeroed(fused) };
        if let Some((fused, keys)) = kernel.fused_mut()? {
            expand(fused, keys);
        }
        Ok(Some(kernel))
    }

    #[inline(always)]
    pub(super) fn portable(key: P) -> Self {
        Kernel(Wiped::new(Expanded::Portable(Place::new(key))))
    }

    pub(super) fn kind(&self) -> KernelKind {
        match &*self.0 {
            Expanded::Fused(fused, _) => fused.kind(),
            Expanded::Portable(_) => KernelKind::Portable,
        }
    }

    /// # Errors
    /// As [`Place::get`].
    #[inline(always)]
    pub(super) fn key(&self) -> Result<Key<'_, F, P>> {
        Ok(match &*self.0 {
            Expanded::Fused(fused, key) => Key::Fused(*fused, key.get()?),
            Expanded::Portable(key) => Key::Portable(key.get()?),
        })
    }

    /// The place of the key of a fused kernel.
    ///
    /// # Errors
    /// As [`Place::get`].
    #[inline(always)]
    pub(super) fn fused_mut(&mut self) -> Result<Option<(Fused, &mut F)>> {
        match &mut *self.0 {
            Expanded::Fused(fused, key) => Ok(Some((*fused, key.get_mut()?))),
            Expanded::Portable(_) => Ok(None),
        }
    }
}
