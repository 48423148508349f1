//! AES-HCTR2, by any kernel.

use super::fused::Hctr2Keys;
use super::kernel::{Kernel, Key};
use super::kind::KernelKind;
use super::portable::hctr2::Hctr2;
use super::run::Direction;
use super::stack::{wipe_scraps, wipe_stack};
use crate::Result;

/// An AES-256 key and the values derived from it.
pub(crate) struct Hctr2Kernel(Kernel<Hctr2Keys, Hctr2>);

impl Hctr2Kernel {
    /// Expands a key. Returns `None` if this CPU can't run the kernel.
    ///
    /// # Errors
    /// As [`Place::get_mut`](super::Place::get_mut).
    pub(crate) fn expand(kind: KernelKind, key: &[u8; 32]) -> Result<Option<Self>> {
        // SAFETY: keys are arrays of bytes and their number.
        let kernel = unsafe { Kernel::expanded(kind, || Hctr2::new(key), |fused, keys| fused.expand_hctr2(keys, key)) };
        Ok(kernel?.map(Hctr2Kernel))
    }

    /// Encrypts or decrypts whole sectors in place, a multiple of 16 bytes. `tweak` is the tweak of the first sector:
    /// 32 bytes as two little-endian numbers. The first number grows by `step` from one sector to the next.
    ///
    /// # Errors
    /// As [`Place::get`](super::Place::get). `data` is untouched then.
    pub(crate) fn crypt(
        &self,
        direction: Direction,
        tweak: [u128; 2],
        step: u64,
        sector_size: usize,
        data: &mut [u8],
    ) -> Result<()> {
        match self.0.key()? {
            Key::Fused(fused, keys) => {
                fused.hctr2(keys, direction, tweak, step, sector_size, data);
                wipe_scraps();
            }
            Key::Portable(keys) => {
                keys.crypt(direction, tweak, step, sector_size, data);
                // The underlying crates spread keys over the stack.
                wipe_stack();
            }
        }
        Ok(())
    }
}
