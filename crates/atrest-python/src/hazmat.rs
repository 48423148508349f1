//! Functions that lose data or disclose keys if they are misused: `atrest_storage.hazmat`.

use atrest::hazmat;
use atrest::volume::Header;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::Source;
use crate::cipher::{Dek, algorithm};
use crate::device::Device;
use crate::error::freely;
use crate::file_vault::{FileVault, key_id};
use crate::header::protector_id;
use crate::volume::Volume;

/// A DEK of these bytes: of AES-XTS by their length, or of the algorithm named. Anyone who knows them can read the data.
#[pyfunction]
#[pyo3(signature = (key, algorithm = None))]
pub fn dek_from_bytes(py: Python<'_>, key: Source, algorithm: Option<&str>) -> PyResult<Dek> {
    let (key, algorithm) = (key.bytes(), algorithm.map(self::algorithm).transpose()?);
    freely(py, || match algorithm {
        Some(algorithm) => hazmat::dek_from_bytes_for(algorithm, key),
        None => hazmat::dek_from_bytes(key),
    })
    .map(Dek)
}

/// The bytes of a DEK. Python can't wipe them.
#[pyfunction]
pub fn dek_bytes<'py>(py: Python<'py>, dek: &Dek) -> PyResult<Bound<'py, PyBytes>> {
    // A forked child has no key, which this finds out.
    let key = freely(py, || dek.0.fingerprint().map(|_| hazmat::dek_bytes(&dek.0)))?;
    Ok(PyBytes::new(py, key.expose()))
}

/// Destroys a deleted key. All that it wraps is lost for good.
#[pyfunction]
pub fn purge_key(py: Python<'_>, vault: &FileVault, name: &str) -> PyResult<()> {
    freely(py, || vault.inner().hazmat_purge_key(name))
}

/// Destroys a version of a key. All that it wraps is lost for good.
#[pyfunction]
pub fn destroy_version(py: Python<'_>, vault: &FileVault, id: &Bound<'_, PyAny>) -> PyResult<()> {
    let id = key_id(id)?;
    freely(py, || vault.inner().hazmat_destroy_version(&id))
}

/// Writes a backup of a header onto a device, and overwrites any content there.
#[pyfunction]
pub fn restore_header(py: Python<'_>, device: &Device, backup: Source) -> PyResult<()> {
    let (device, backup) = (device.device()?, backup.bytes());
    freely(py, || Header::hazmat_restore(&device, backup))
}

/// Suspends the protection of a BitLocker volume: a key that opens it is written to it in the clear. `resume_protection` of the
/// volume takes it away. Returns the clear key's protector.
#[pyfunction]
pub fn suspend_protection(py: Python<'_>, volume: &Volume) -> PyResult<Py<PyAny>> {
    let opened = volume.opened()?;
    let id = freely(py, || opened.volume.hazmat_suspend_protection())?;
    protector_id(py, id)
}

/// Repairs a copy of the header although something foreign lies there, which is destroyed.
#[pyfunction]
pub fn repair_header(py: Python<'_>, device: &Device) -> PyResult<bool> {
    let device = device.device()?;
    freely(py, || Header::load(&device)?.hazmat_repair())
}
