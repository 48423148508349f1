//! [`Disk`].

use core::fmt;
use std::sync::Arc;

use atrest::volume::{Header, HeaderFormat};
use atrest::{BlockDevice, OpenOptions, Result};

/// A disk of Azure Disk Encryption: its device, and that of its header, if it is detached.
#[derive(Clone)]
pub struct Disk {
    pub(crate) device: Arc<dyn BlockDevice>,
    header: Option<Arc<dyn BlockDevice>>,
}

impl Disk {
    /// A disk with its header at its start, as data disks have it.
    pub fn new(device: Arc<dyn BlockDevice>) -> Self {
        Disk { device, header: None }
    }

    /// The detached header, as OS disks have it: the file `/boot/luks/osluksheader` on the boot partition.
    pub fn header(mut self, header: Arc<dyn BlockDevice>) -> Self {
        self.header = Some(header);
        self
    }

    /// Converts a header of LUKS1, as old OS disks have it, to LUKS2, which has room for tokens. See
    /// [`Header::convert_to_luks2`]: it is safe to kill, and leaves LUKS2 as it is.
    ///
    /// # Errors
    /// Errors of [`Header::convert_to_luks2`]. A detached header needs a file of 16 MiB or more: grow it by `truncate` before.
    pub fn convert_to_luks2(&self) -> Result<()> {
        self.load()?.convert_to_luks2()
    }

    pub(crate) fn format(&self) -> Result<HeaderFormat> {
        Ok(self.load()?.format())
    }

    pub(crate) fn load(&self) -> Result<Header<'_>> {
        Header::load(self.header.as_deref().unwrap_or(&*self.device))
    }

    pub(crate) fn options(&self, options: &OpenOptions) -> OpenOptions {
        let options = options.clone();
        self.header.clone().map_or(options.clone(), |header| options.header(header))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("is_detached", &self.header.is_some()).finish_non_exhaustive()
    }
}
