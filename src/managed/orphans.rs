//! Devices of a backend that belong to no known resource.

use super::records::check_id;
use super::service::DiskService;
use crate::{Error, Result};

impl DiskService {
    /// The ids of the devices that the backend has made in a region and that aren't this service's, in order. They may be remains
    /// of a service whose store was lost or came back from a backup. **They may be another service's disks**: the backend doesn't
    /// know their owners. [`rebuild`](super::rebuild) says what is on them.
    ///
    /// # Errors
    /// Those of [`DiskBackend::list`](super::DiskBackend::list); [`Error::Io`].
    pub fn orphans(&self, region: &str) -> Result<Vec<String>> {
        let inner = self.inner()?;
        let mut ids = inner.backend.list(region)?;
        // Asked after the list: a device that is made meanwhile is in the store before it is in the backend.
        let being_made = inner.store.orphan_ids()?;
        let mut unknown = Vec::new();
        ids.sort_unstable();
        for id in ids {
            if !being_made.contains(&id) && inner.store.name_of(&id)?.is_none() {
                unknown.push(id);
            }
        }
        Ok(unknown)
    }

    /// Removes a device that [`orphans`](Self::orphans) has named. Its data can't be brought back.
    ///
    /// # Errors
    /// [`Error::Busy`] for a device of this service; [`Error::NoSuchResource`] if the backend has no such device; those of
    /// [`orphans`](Self::orphans) and of the backend.
    pub fn remove_orphan(&self, region: &str, id: &str) -> Result<()> {
        let inner = self.inner()?;
        check_id(id)?;
        if let Some(name) = inner.store.name_of(id)? {
            return Err(Error::Busy { what: format!("the device of the {name}") });
        }
        if !self.orphans(region)?.iter().any(|orphan| orphan == id) {
            return Err(Error::NoSuchResource(format!("the backend has no device {id} in the region {region:?}")));
        }
        inner.remove_device(region, id)
    }
}
