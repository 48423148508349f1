//! The devices that volumes lie on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use atrest::volume::Header;
use atrest::{BlockDevice, FileDevice, MemoryDevice};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::Source;
use crate::error::freely;
use crate::header;

pub type AnyDevice = Arc<dyn BlockDevice>;

/// A file, a disk or memory that a volume lies on. It holds ciphertext only.
///
/// A volume that is made or opened on it takes it over; if that fails, it stays usable. An open file is locked against other
/// users of this library.
#[pyclass(frozen, module = "atrest_storage")]
pub struct Device(Mutex<Option<AnyDevice>>);

impl Device {
    fn new(device: impl BlockDevice + 'static) -> Self {
        Device(Mutex::new(Some(Arc::new(device))))
    }

    fn take(&self) -> PyResult<AnyDevice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or_else(gone)
    }

    fn put_back(&self, device: AnyDevice) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(device);
    }

    pub fn device(&self) -> PyResult<AnyDevice> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(gone)
    }
}

fn gone() -> PyErr {
    PyValueError::new_err("the device is closed, or a volume has taken it over; open it again")
}

/// A device for one call: the caller's, or a file by its path.
pub enum Place {
    Lent(Py<Device>),
    Path(PathBuf),
}

impl FromPyObject<'_, '_> for Place {
    type Error = PyErr;

    fn extract(from: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if let Ok(device) = from.cast::<Device>() {
            return Ok(Place::Lent(device.to_owned().unbind()));
        }
        let path = from.extract().map_err(|_| PyTypeError::new_err("a device is a path or a Device"))?;
        Ok(Place::Path(path))
    }
}

impl Place {
    /// Hands the device to a call, which takes it over if it succeeds.
    pub fn lend<T>(self, py: Python<'_>, read_only: bool, call: impl FnOnce(AnyDevice) -> PyResult<T>) -> PyResult<T> {
        let lent = match self {
            Place::Path(path) => {
                let open = || if read_only { FileDevice::open_read_only(path) } else { FileDevice::open(path) };
                return call(Arc::new(freely(py, open)?));
            }
            Place::Lent(lent) => lent,
        };
        let device = lent.get().take()?;
        let called = call(device.clone());
        if called.is_err() {
            lent.get().put_back(device);
        }
        called
    }
}

/// Hands the device of a detached header to a call in the same way.
pub fn lend_header<T>(header: Option<Py<Device>>, call: impl FnOnce(Option<AnyDevice>) -> PyResult<T>) -> PyResult<T> {
    let Some(lent) = header else { return call(None) };
    let device = lent.get().take()?;
    let called = call(Some(device.clone()));
    if called.is_err() {
        lent.get().put_back(device);
    }
    called
}

#[pymethods]
impl Device {
    /// Opens a file or block device. With `direct`, past the page cache.
    #[staticmethod]
    #[pyo3(signature = (path, *, read_only = false, direct = false))]
    fn open(py: Python<'_>, path: PathBuf, read_only: bool, direct: bool) -> PyResult<Self> {
        freely(py, || {
            let device = if read_only { FileDevice::open_read_only(path)? } else { FileDevice::open(path)? };
            Ok(Device::new(if direct { device.direct_io()? } else { device }))
        })
    }

    /// Makes a new file of `size` bytes, which must not exist.
    #[staticmethod]
    fn create(py: Python<'_>, path: PathBuf, size: u64) -> PyResult<Self> {
        freely(py, || Ok(Device::new(FileDevice::create(path, size)?)))
    }

    /// A device in memory, of zeros, or of a copy of bytes.
    #[staticmethod]
    fn memory(content: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(size) = content.extract::<usize>() {
            return Ok(Device::new(MemoryDevice::new(size)));
        }
        Ok(Device::new(MemoryDevice::from_bytes(content.extract::<Source>()?.bytes().to_vec())))
    }

    /// The size in bytes.
    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<u64> {
        let device = self.device()?;
        Ok(py.detach(|| device.size())?)
    }

    /// The header on the device, as it is written. It isn't authenticated before the volume is opened.
    fn header(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let device = self.device()?;
        let described = freely(py, || Header::load(&device).map(|loaded| header::Described::of(&loaded)))?;
        described.record(py)
    }

    /// A backup of the header: anyone who holds it and a credential can open the volume, even if that credential was removed since.
    fn header_backup<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let device = self.device()?;
        let backup = freely(py, || Header::load(&device)?.backup())?;
        Ok(PyBytes::new(py, &backup))
    }

    /// Writes a backup of its header back. A backup of another volume is refused.
    fn restore_header(&self, py: Python<'_>, backup: Source) -> PyResult<()> {
        let (device, backup) = (self.device()?, backup.bytes());
        freely(py, || Header::restore(&device, backup))
    }

    /// Repairs a damaged copy of the header from the other. Returns whether there was one.
    fn repair_header(&self, py: Python<'_>) -> PyResult<bool> {
        let device = self.device()?;
        freely(py, || Header::load(&device)?.repair())
    }

    /// Destroys all ways into the volume, and with them its data for good, unless there is a backup of the header.
    fn erase_header(&self, py: Python<'_>) -> PyResult<()> {
        let device = self.device()?;
        freely(py, || Header::load(&device)?.erase())
    }

    /// Closes the device. Another call does nothing.
    fn close(&self, py: Python<'_>) {
        let device = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(device));
    }

    fn __enter__(own: Py<Self>) -> Py<Self> {
        own
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) {
        self.close(py);
    }
}
