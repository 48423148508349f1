//! Suspends and resumes the protection of a BitLocker volume.

use super::headers::Means;
use super::{BlockDevice, KeyslotOptions, ProtectorId, Volume};
use crate::arch::on_wiped_stack;
use crate::key::Passphrase;
use crate::{Error, Result};

/// The `kind` of a protector that is a clear key.
const CLEAR_KEY: &str = "clear key";

impl<D: BlockDevice> Volume<D> {
    /// Suspends the protection of a BitLocker volume, as before a change of the firmware: **a key that opens the volume is written
    /// to it in the clear**, beside the other protectors. [`Credential::ClearKey`](crate::Credential::ClearKey) opens it from
    /// then on, and so does Windows without asking. The data stays encrypted. A volume that is suspended stays as it is.
    ///
    /// [`resume_protection`](Self::resume_protection) removes the key. Anyone who has copied it meanwhile, with the metadata, has
    /// the volume's key for good, because the volume's key doesn't change.
    ///
    /// Returns the clear key's protector. If this is killed at any instant, the volume is suspended or not, and always keeps
    /// its other protectors.
    ///
    /// # Errors
    /// [`Error::UnsupportedHeader`] for another format, and for Windows Vista; [`Error::ReadOnly`]; [`Error::NoRoom`];
    /// [`Error::Busy`]; [`Error::Io`]: the volume may be suspended then. Call it again, or
    /// [`resume_protection`](Self::resume_protection).
    pub fn hazmat_suspend_protection(&self) -> Result<ProtectorId> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let mut header = self.locked_header();
            header.check_means(Means::ClearKey)?;
            header.check_unchanged(self.header_device())?;
            if let Some(found) = header.keyslot_infos().iter().find(|protector| protector.kind == CLEAR_KEY) {
                header.repair_and_wipe(self.header_device())?;
                return Ok(ProtectorId::Keyslot(found.id));
            }
            let none = (Passphrase::given(&[])?, Means::ClearKey);
            let options = KeyslotOptions::new();
            let new = options.keyslot(options.resolve_for(header.fixed_kdf(), header.required_hash())?, none);
            header.add_keyslot(self.header_device(), self.dek().secret(), &new).map(ProtectorId::Keyslot)
        })
    }

    /// Resumes the protection of a BitLocker volume: all clear keys are removed, and overwritten. Returns whether there was one,
    /// or a change that failed half-way may have left one.
    ///
    /// ```
    /// use atrest::volume::BitLockerOptions;
    /// use atrest::{Credential, MemoryDevice, OpenOptions, Protector, Volume};
    ///
    /// let device = MemoryDevice::new(4 << 20);
    /// let volume = Volume::format_bitlocker(device, Protector::Passphrase(b"secret"), &BitLockerOptions::new())?;
    /// volume.hazmat_suspend_protection()?; // the volume opens without the password
    /// let volume = Volume::open(volume.into_device(), Credential::ClearKey, &OpenOptions::new())?;
    /// assert!(volume.resume_protection()?);
    /// Volume::open(volume.into_device(), Credential::ClearKey, &OpenOptions::new()).unwrap_err();
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::LastProtector`] if the volume has no other protector: add one first; [`Error::UnsupportedHeader`] for another
    /// format, and for Windows Vista; [`Error::ReadOnly`]; [`Error::Busy`]; [`Error::Io`]: then call it again.
    pub fn resume_protection(&self) -> Result<bool> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let mut header = self.locked_header();
            header.check_means(Means::ClearKey)?;
            header.check_unchanged(self.header_device())?;
            let protectors = header.keyslot_infos();
            let (clear, others): (Vec<_>, Vec<_>) =
                protectors.into_iter().partition(|protector| protector.kind == CLEAR_KEY);
            if clear.is_empty() {
                // Copies of the metadata that an earlier call couldn't write may still have one.
                let is_left = header.needs_repair();
                header.repair_and_wipe(self.header_device())?;
                return Ok(is_left);
            }
            if others.is_empty() {
                return Err(Error::LastProtector);
            }
            // From the last to the first, so that the numbers of the remaining protectors stay.
            for protector in clear.iter().rev() {
                header.remove_keyslot(self.header_device(), protector.id)?;
            }
            Ok(true)
        })
    }
}
