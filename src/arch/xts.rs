//! XTS, by any kernel.

use aes::cipher::inout::InOutBuf;

use super::fused::{Fused, XtsKeys};
use super::kernel::{Kernel, Key};
use super::kind::KernelKind;
use super::portable::xts::Xts;
use super::run::{DataUnits, Direction, Store};
use super::stack::wipe_stack;
use crate::Result;

/// The two keys of XTS.
pub(crate) struct XtsKernel(Kernel<XtsKeys, Xts>);

impl XtsKernel {
    /// A fused kernel without keys, or `None` if this CPU can't run it. [`portable`](Self::portable) makes the portable
    /// one.
    #[inline(always)]
    pub(crate) fn blank(kind: KernelKind) -> Option<Self> {
        // SAFETY: keys are arrays of bytes and their number.
        Fused::of(kind).map(|fused| XtsKernel(unsafe { Kernel::zeroed(fused) }))
    }

    /// Expands two keys of 16 or two of 32 bytes each, in place. The keys of the portable kernel are expanded already.
    ///
    /// # Errors
    /// As [`Place::get_mut`](super::Place::get_mut).
    #[inline(always)]
    pub(crate) fn expand(&mut self, data_key: &[u8], tweak_key: &[u8]) -> Result<()> {
        if let Some((fused, keys)) = self.0.fused_mut()? {
            fused.expand_xts(keys, data_key, tweak_key);
        }
        Ok(())
    }

    /// Expands two keys of 16 or two of 32 bytes each for the portable kernel. Not inlined, so that its stack is not
    /// used where another kernel is made.
    #[inline(never)]
    pub(crate) fn portable(data_key: &[u8], tweak_key: &[u8]) -> Self {
        XtsKernel(Kernel::portable(Xts::new(data_key, tweak_key)))
    }

    /// The kernel in use.
    pub(crate) fn kind(&self) -> KernelKind {
        self.0.kind()
    }

    /// Encrypts or decrypts whole data units, with one dispatch for the whole run.
    ///
    /// # Errors
    /// As [`Place::get`](super::Place::get). `data` is untouched then.
    #[inline]
    pub(crate) fn crypt(
        &self,
        direction: Direction,
        units: DataUnits,
        data: InOutBuf<'_, '_, u8>,
        store: Store,
    ) -> Result<()> {
        match self.0.key()? {
            Key::Fused(fused, keys) => fused.xts(keys, direction, units, data, store),
            Key::Portable(keys) => {
                keys.crypt(direction, units, data);
                // The `aes` crate spreads round keys over the stack.
                wipe_stack();
            }
        }
        Ok(())
    }
}
