//! Care of the store itself: backups, and whether all is in it.

use std::path::Path;

use super::service::DiskService;
use super::store::{self, StoreCheck};
use crate::Result;

impl StoreCheck {
    /// Looks at all that is in the store at `path`, which no service has open. It needn't be one that opens, and is not
    /// changed.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) while a service has the store open; [`Error::Io`](crate::Error::Io) where it can't
    /// be read at all.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self> {
        store::check_file(path.as_ref())
    }
}

impl DiskService {
    /// Writes a backup of the store to a new file: all sets and resources as they are at one instant, while the service goes
    /// on. It is a store by itself: put in the place of a lost one, it opens. It is made for its owner only (0600), under
    /// another name at first, and has its own once it is whole, on the disk, and was looked through.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io), also if there is something of this name; then nothing of the backup stays.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        self.inner.store.backup(to.as_ref())
    }

    /// Looks at all that is in the store, while the service goes on.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where it can't be read on.
    pub fn check(&self) -> Result<StoreCheck> {
        self.inner.store.check()
    }
}
