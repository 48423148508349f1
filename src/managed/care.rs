//! Care of the store itself: backups, and whether all is in it.

use std::path::Path;

use super::service::DiskService;
use super::store;
use crate::Result;

/// What a look at a whole store found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCheck {
    /// How many changes were ever made to it. A store with fewer than it once had was put back to an earlier state: keep the
    /// number elsewhere to tell. 0 if that can't be read.
    pub changes: u64,
    /// How many sets it has; of a store that doesn't open, of how many a record can be read.
    pub sets: u64,
    /// How many disks, snapshots, and copies of images' disks it has, likewise.
    pub resources: u64,
    /// What is wrong, for a person: each damaged or missing record that can be named. Empty if the store is sound.
    pub defects: Vec<String>,
}

impl StoreCheck {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.defects.is_empty()
    }

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
