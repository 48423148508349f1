//! Care of the store: backups and checks.

use std::path::Path;

use super::service::DiskService;
use super::store::{self, StoreCheck};
use crate::Result;

impl StoreCheck {
    /// Checks the whole store at `path`, which no service may have open. The store need not be openable, and is not
    /// changed.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) while a service has the store open; [`Error::NotFound`](crate::Error::NotFound);
    /// [`Error::Io`](crate::Error::Io) if it can't be read at all.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self> {
        store::check_file(path.as_ref())
    }

    /// Checks each record of a store that hosts share, while they use it. Whether the records fit each other isn't checked, and
    /// there is no number of changes.
    ///
    /// # Errors
    /// Those of the store.
    pub fn of_shared(store: &dyn store::Store) -> Result<Self> {
        store::check_shared(store)
    }
}

impl DiskService {
    /// Writes a backup of the store to a new file: all sets and resources at one instant, while the service continues.
    /// The backup is a complete store: put in the place of a lost one, it opens. Only its owner can read it (0600). It
    /// is written under a temporary name, and renamed once it is complete, on the disk and checked.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists); [`Error::NotFound`](crate::Error::NotFound) without its folder;
    /// [`Error::Io`](crate::Error::Io). On failure nothing is left behind.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        self.inner()?.store.backup(to.as_ref())
    }

    /// Checks the whole store while the service continues.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if it can't be read any further.
    pub fn check(&self) -> Result<StoreCheck> {
        self.inner()?.store.check()
    }
}
