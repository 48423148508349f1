//! A re-encryption that another program has begun without any way to recover from a crash.

use super::super::{BlockDevice, Volume};
use super::{Resilience, zone};
use crate::arch::on_wiped_stack;
use crate::ondisk::luks::{self, Plan};
use crate::{Error, Result};

impl<D: BlockDevice> Volume<D> {
    /// Lets a re-encryption go on that `cryptsetup reencrypt --resilience none` has begun, from now on with `resilience`. Then
    /// [`reencrypt_step`](Self::reencrypt_step) accepts it, which refused it before.
    ///
    /// **Only you know whether it was stopped properly**, by Ctrl+C or SIGTERM. Only then does its header record its progress,
    /// with the resilience `none`. If it was killed, or the power failed, a part that is done already looks as if it were not: it
    /// reads as noise, and going on destroys it. So first read data that you know from the volume, around the progress that
    /// [`reencryption`](Self::reencryption) reports.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if there is no such re-encryption; [`Error::NoRoom`]; [`Error::ReadOnly`]; [`Error::Busy`] if
    /// another program has changed the header; [`Error::Io`].
    pub fn hazmat_resume_unprotected(&self, resilience: Resilience) -> Result<()> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let _alone = self.steps.lock();
            let state = self.live.get();
            let (keys, moving) = (state.keys.clone(), state.data.moving.clone());
            drop(state);
            let moving = moving.filter(|moving| moving.plan.resilience == luks::Resilience::None).ok_or_else(|| {
                Error::InvalidOption("no re-encryption with the resilience \"none\" has begun on the volume".into())
            })?;
            let resilience = resilience.stored(moving.plan.sector_size());
            let plan = Plan { resilience, ..moving.plan };
            zone::max_len(&plan, 0, u64::MAX)?;
            let (mut header, device_size) = (self.locked_header(), self.device_size()?);
            let old = keys.previous.as_ref().map(|old| &*old.dek);
            header.set_resilience(self.header_device(), &keys.current.dek, &plan, old)?;
            self.publish(&**header, keys, device_size)
        })
    }
}
