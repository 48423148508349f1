//! Secrets that are lent to layers above a disk, and taken back when its DEK is wiped.

use std::sync::{Arc, Mutex, Weak};

use super::sync::{into_inner, lock};
use crate::{Result, Secret};

/// Holds a secret of a disk for as long as the disk's DEK is in memory: see
/// [`OpenDisk::lend_secret`](crate::managed::OpenDisk::lend_secret).
pub trait SecretHolder: Send + Sync {
    /// Takes the secret. Whatever is made from it is to be wiped by [`wipe`](Self::wipe).
    ///
    /// # Errors
    /// Any: nothing is held then.
    fn hold(&self, secret: Secret) -> Result<()>;

    /// Wipes the secret, and all that was made from it. It must not wait for a device, nor call the disk.
    fn wipe(&self);
}

/// The holders of a DEK's lent secrets. Dropping this, together with the DEK, tells them to wipe the secrets.
#[derive(Default)]
pub(super) struct Lent(Mutex<Vec<Weak<dyn SecretHolder>>>);

impl Lent {
    /// Lends a secret. The caller keeps the DEK in memory meanwhile, so that none is lent after the others were taken back.
    pub(super) fn lend(&self, secret: Secret, holder: &Arc<dyn SecretHolder>) -> Result<()> {
        let mut holders = lock(&self.0);
        holder.hold(secret)?;
        holders.retain(|known| known.strong_count() > 0);
        holders.push(Arc::downgrade(holder));
        Ok(())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let holders = into_inner(core::mem::take(&mut self.0));
        holders.iter().filter_map(Weak::upgrade).for_each(|holder| holder.wipe());
    }
}
