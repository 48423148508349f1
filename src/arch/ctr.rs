//! AES-256 in counter mode, by any kernel.

use aes::cipher::inout::InOutBuf;

use super::fused::CtrKeys;
use super::kernel::{Kernel, Key};
use super::kind::KernelKind;
use super::portable::ctr::Ctr;
use super::stack::{wipe_keystream, wipe_scraps};
use crate::Result;

/// An AES-256 key.
pub(crate) struct CtrKernel(Kernel<CtrKeys, Ctr>);

impl CtrKernel {
    /// Expands a key. Returns `None` if this CPU can't run the kernel.
    ///
    /// # Errors
    /// As [`Place::get_mut`](super::Place::get_mut).
    #[inline(always)]
    pub(crate) fn expand(kind: KernelKind, key: &[u8; 32]) -> Result<Option<Self>> {
        // SAFETY: keys are arrays of bytes and their number.
        let kernel = unsafe { Kernel::expanded(kind, || Ctr::new(key), |fused, keys| fused.expand_ctr(keys, key)) };
        Ok(kernel?.map(CtrKernel))
    }

    /// The kernel in use.
    pub(crate) fn kind(&self) -> KernelKind {
        self.0.kind()
    }

    /// Xors `data` with the keystream, starting at byte `skip` of the block of `counter`. `skip` is below 16.
    ///
    /// # Errors
    /// As [`Place::get`](super::Place::get). `data` is untouched then.
    #[inline]
    pub(crate) fn apply(&self, counter: u128, skip: usize, data: InOutBuf<'_, '_, u8>) -> Result<()> {
        match self.0.key()? {
            Key::Fused(fused, keys) => {
                fused.ctr(keys, counter, skip, data);
                wipe_scraps();
            }
            Key::Portable(keys) => {
                keys.apply(counter, skip, data);
                // The `aes` crate spreads round keys over the stack and leaves keystream there too.
                wipe_keystream();
            }
        }
        Ok(())
    }
}
