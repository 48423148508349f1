//! AES-CBC in sectors, by any kernel.

use super::fused::{CbcKeys, Fused};
use super::kernel::{Kernel, Key};
use super::kind::KernelKind;
use super::portable::cbc::Cbc;
use super::run::Direction;
use super::stack::{wipe_scraps, wipe_stack};
use crate::Result;

/// An AES key, and the key that encrypts IVs if the mode has one.
pub(crate) struct CbcKernel(Kernel<CbcKeys, Cbc>);

impl CbcKernel {
    /// Expands a key of 16, 24 or 32 bytes, and the key of the IVs if there is one. Returns `None` if the kernel is
    /// unavailable. A fused kernel takes no key of 24 bytes.
    ///
    /// # Errors
    /// As [`Place::get_mut`](super::Place::get_mut).
    pub(crate) fn expand(kind: KernelKind, key: &[u8], iv_key: Option<&[u8]>) -> Result<Option<Self>> {
        let lengths = core::iter::once(key.len()).chain(iv_key.map(<[u8]>::len));
        if kind != KernelKind::Portable && !lengths.into_iter().all(|len| matches!(len, 16 | 32)) {
            return Ok(None);
        }
        let expand = |fused: Fused, keys: &mut CbcKeys| fused.expand_cbc(keys, key, iv_key);
        // SAFETY: keys are arrays of bytes, their number, and `false`.
        let kernel = unsafe { Kernel::expanded(kind, || Cbc::new(key, iv_key), expand) };
        Ok(kernel?.map(CbcKernel))
    }

    /// Encrypts or decrypts whole sectors in place, a multiple of 16 bytes. `first` is the number of the first sector.
    /// The number grows by `step` from one sector to the next.
    ///
    /// # Errors
    /// As [`Place::get`](super::Place::get). `data` is untouched then.
    pub(crate) fn crypt(
        &self,
        direction: Direction,
        first: u64,
        step: u64,
        sector_size: usize,
        data: &mut [u8],
    ) -> Result<()> {
        match self.0.key()? {
            Key::Fused(fused, keys) => {
                fused.cbc(keys, direction, first, step, sector_size, data);
                wipe_scraps();
            }
            Key::Portable(keys) => {
                keys.crypt(direction, first, step, sector_size, data);
                // The `aes` crate spreads round keys over the stack.
                wipe_stack();
            }
        }
        Ok(())
    }
}
