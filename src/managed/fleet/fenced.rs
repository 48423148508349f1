//! [`Fenced`]: a backend whose devices are open on one host at a time, and are used while that host's lease holds.

use core::num::NonZero;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use super::attachments::Fleet;
use crate::managed::backend::DiskBackend;
use crate::{BlockDevice, Error, Result};

pub(in crate::managed) struct Fenced {
    backend: Arc<dyn DiskBackend>,
    fleet: Arc<Fleet>,
}

impl Fenced {
    pub(in crate::managed) fn new(backend: Arc<dyn DiskBackend>, fleet: Arc<Fleet>) -> Self {
        Fenced { backend, fleet }
    }

    fn attached(&self, id: &str, open: impl FnOnce() -> Result<Arc<dyn BlockDevice>>) -> Result<Arc<dyn BlockDevice>> {
        let attached = Here::attach(&self.fleet, id)?;
        Ok(Arc::new(FencedDevice { device: open()?, attached }))
    }
}

impl DiskBackend for Fenced {
    fn create(&self, region: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        self.attached(id, || {
            let made = self.backend.create(region, id, size)?;
            // A host that stood still may have been lost since it attached it, and its remains removed.
            if let Err(why) = self.fleet.check() {
                drop(made);
                self.backend.remove(region, id)?;
                return Err(Error::Busy { what: format!("the device {id}: {why}; it") });
            }
            Ok(made)
        })
    }

    fn open(&self, region: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        self.attached(id, || self.backend.open(region, id))
    }

    fn open_image(&self, region: &str, image: &str) -> Result<Arc<dyn BlockDevice>> {
        self.backend.open_image(region, image)
    }

    fn adopt_image(&self, region: &str, id: &str, image: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        self.attached(id, || {
            // A host that stood still since it attached it would move the image beside the one that has the disk now.
            self.fleet.check().map_err(|why| Error::Busy { what: format!("the device {id}: {why}; it") })?;
            self.backend.adopt_image(region, id, image, size)
        })
    }

    fn remove(&self, region: &str, id: &str) -> Result<()> {
        self.backend.remove(region, id)
    }

    fn list(&self, region: &str) -> Result<Vec<String>> {
        self.backend.list(region)
    }
}

/// A device that this host has open.
struct FencedDevice {
    // Closed before it is let go.
    device: Arc<dyn BlockDevice>,
    attached: Here,
}

/// A device that stays this host's while this lives.
pub(in crate::managed) struct Here {
    fleet: Arc<Fleet>,
    id: String,
    number: u64,
}

impl Here {
    /// Attaches a device to this host.
    ///
    /// # Errors
    /// [`Error::Busy`] with the name of the host that has it; [`Error::NoSuchResource`] for a device of no resource.
    pub(in crate::managed) fn attach(fleet: &Arc<Fleet>, id: &str) -> Result<Self> {
        let number = fleet.attach(id)?;
        Ok(Here { fleet: fleet.clone(), id: id.into(), number })
    }

    /// The number of the attachment. It differs if another host had the device meanwhile, or may have had it.
    pub(in crate::managed) fn number(&self) -> u64 {
        self.number
    }

    /// Withdraws the device's promises to other hosts.
    pub(in crate::managed) fn keep(&self) {
        self.fleet.promise(&self.id, Vec::new());
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.fleet.detach(&self.id);
    }
}

impl FencedDevice {
    /// The device, while this host may use it.
    fn usable(&self) -> io::Result<&dyn BlockDevice> {
        // A read or write was counted where its caller was refused. This also stops looks at headers, and syncs.
        self.attached.fleet.check().map_err(io::Error::other)?;
        Ok(&*self.device)
    }
}

impl BlockDevice for FencedDevice {
    fn size(&self) -> io::Result<u64> {
        self.usable()?.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.usable()?.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.usable()?.write_at(offset, bytes)
    }

    fn write_in_place(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.usable()?.write_in_place(offset, bytes)
    }

    fn read_vectored_at(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        self.usable()?.read_vectored_at(offset, buffers)
    }

    fn write_vectored_at(&self, offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        self.usable()?.write_vectored_at(offset, buffers)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.usable()?.write_zeroes(offset, len)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.usable()?.discard(offset, len)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.usable()?.set_size(size)
    }

    fn alignment(&self) -> NonZero<usize> {
        self.device.alignment()
    }

    fn has_latency(&self) -> bool {
        self.device.has_latency()
    }

    fn sync(&self) -> io::Result<()> {
        self.usable()?.sync()
    }
}
