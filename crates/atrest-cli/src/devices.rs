//! Devices, by path or URL, and their content.

use std::path::Path;
use std::sync::Arc;

use atrest::volume::Header;
use atrest::{BlockDevice, Error, FileDevice};
use atrest_nbd::{NbdDevice, NbdOptions};

use crate::failure::{About, Failure, Result};
use crate::output::{shown, size};

/// A device of any kind.
pub type Device = Arc<dyn BlockDevice>;

/// The access that a device is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
}

/// Opens a file, a block device, or an export of an NBD server.
pub fn open(name: &str, access: Access) -> Result<Device> {
    if is_nbd(name) {
        let options = NbdOptions::new().read_only(access == Access::Read);
        return Ok(Arc::new(NbdDevice::connect_with(name, &options)?));
    }
    Ok(match access {
        Access::Read => Arc::new(FileDevice::open_read_only(name)?),
        Access::Write => Arc::new(FileDevice::open(name)?),
    })
}

/// Whether it is the URL of an NBD server's export.
pub fn is_nbd(name: &str) -> bool {
    ["nbd://", "nbd+unix://", "nbds://", "nbds+unix://"].iter().any(|scheme| name.starts_with(scheme))
}

/// Refuses a name that needs a file or a block device.
pub fn local(name: &str) -> Result<&Path> {
    if is_nbd(name) { Err(Failure::usage("this command needs a file or a block device")) } else { Ok(Path::new(name)) }
}

pub fn size_of(device: &dyn BlockDevice) -> Result<u64> {
    device.size().about("asking for the size")
}

/// Describes the content of a device, for the question whether it may be lost.
pub fn content(device: &dyn BlockDevice) -> String {
    let len = device.size().map_or_else(|_| "data".into(), size);
    match Header::load(device) {
        Ok(header) => {
            let label = Some(header.label()).filter(|label| !label.is_empty());
            let label = label.map(|label| format!(", labelled {:?}", shown(&label))).unwrap_or_default();
            format!("a volume of {} ({len}, UUID {}{label})", header.format(), shown(header.uuid()))
        }
        Err(Error::NotLuks { found }) => format!("{len}: {found}"),
        Err(_) => len,
    }
}

/// Describes the content of a file, for the question whether it may be replaced.
pub fn content_of_file(path: &Path) -> String {
    FileDevice::open_read_only(path).map_or_else(|_| "a file".into(), |device| content(&device))
}
