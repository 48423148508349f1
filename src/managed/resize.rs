//! Makes disks larger while they are in use.
//!
//! The order: the device; the volumes, the lower one first; the store. A device that is larger than its disk does no harm, so
//! whatever is cut off is done again by the next call.

use super::making::device_size;
use super::records::{MAX_SIZE, Resource, ResourceName};
use super::service::DiskService;
use super::sync::{try_lock, write};
use crate::{Error, Result};

impl DiskService {
    /// Makes a disk larger, to `size` bytes, while it is in use: every [`OpenDisk`](super::OpenDisk) of it has the new size when
    /// this returns. The new part reads as noise until it is written, or as zeros if the disk has a map of written chunks. If it is
    /// killed or fails, the disk has its old size, and the same call goes on.
    ///
    /// Snapshots keep the size that the disk had. The next incremental one reads the whole disk.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::InvalidOption`] for a size that is smaller than the disk, is no whole number of
    /// sectors, is over 64 TiB or more than its map of written chunks can tell of, and for a backend whose devices keep their
    /// size; [`Error::Busy`] while the disk is being copied or re-encrypted; [`Error::DiskSuspended`]; [`Error::Io`].
    pub fn resize_disk(&self, disk: &str, size: u64) -> Result<Resource> {
        let (inner, name) = (self.inner()?, ResourceName::disk(disk));
        let id = inner.store.resource(&name)?.id;
        inner.check_uncopied(&name, &id)?;
        // An incremental snapshot that begins would miss writes beyond the old end.
        let chain = inner.chains.of(&id);
        let _alone = write(&chain);
        inner.registry.changing_here(&name, |live, resource| {
            if live.id != id {
                return Err(Error::NoSuchResource(format!("the {name} was removed")));
            }
            let copying = || Error::Busy { what: format!("the {name} (a copy of it is being made)") };
            let _uncopied = try_lock(&live.copying).ok_or_else(copying)?;
            if resource.unfinished().is_some() {
                return Err(Error::Busy { what: format!("the {name}, whose data is being re-encrypted,") });
            }
            check_size(&resource, size)?;
            if size == resource.size {
                return Ok(resource);
            }
            let wanted = Resource { size, ..resource };
            live.with_layers(|layers| layers.grow(device_size(&wanted), size))?;
            let resized = inner.store.write(|tables| {
                tables.check_attached(&live.id)?;
                let mut resource = tables.resource_of(&live.name, &live.id)?;
                resource.size = size;
                tables.put_resource(&resource)?;
                Ok(resource)
            })?;
            live.set_size(size);
            Ok(resized)
        })
    }
}

fn check_size(disk: &Resource, size: u64) -> Result<()> {
    let text = if size < disk.size {
        format!("the disk has {} bytes, and can't be made smaller; copy what is on it to a smaller disk", disk.size)
    } else if !size.is_multiple_of(disk.sector_size.into()) || size > MAX_SIZE {
        "a disk has a whole number of sectors, up to 64 TiB".into()
    } else {
        return Ok(());
    };
    Err(Error::InvalidOption(text))
}
