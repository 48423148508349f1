//! Errors as Python's exceptions: the class has the name of the variant, and its attributes are the variant's fields.

use atrest::Error;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::records::python;

/// Runs `work` while other Python threads run, and raises its error.
pub fn freely<T: Send>(py: Python<'_>, work: impl FnOnce() -> atrest::Result<T> + Send) -> PyResult<T> {
    py.detach(work).map_err(|error| raised(py, &error))
}

/// The exception for an error.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).map_or_else(|failed| failed, PyErr::from_value)
}

fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    let name = describe(error, &fields)?;
    let raised = python(py, "errors", name)?.call1((format!("{error:#}"),))?;
    for (field, value) in fields {
        raised.setattr(field.extract::<String>()?.as_str(), value)?;
    }
    Ok(raised)
}

/// The name of the class; its attributes go into `to`.
fn describe(error: &Error, to: &Bound<'_, PyDict>) -> PyResult<&'static str> {
    macro_rules! with {
        ($name:literal $(, $field:ident)*) => {{
            $(to.set_item(stringify!($field), $field)?;)*
            $name
        }};
    }
    Ok(match error {
        Error::KeyLength { len } => with!("KeyLength", len),
        Error::EqualKeyHalves => "EqualKeyHalves",
        Error::SectorSize { size } => with!("SectorSize", size),
        Error::PartialSector { len, sector_size } => with!("PartialSector", len, sector_size),
        Error::LengthMismatch { src, dst } => with!("LengthMismatch", src, dst),
        Error::SectorOverflow { first_sector } => with!("SectorOverflow", first_sector),
        Error::SectorNumber { first_sector, units_per_sector } => with!("SectorNumber", first_sector, units_per_sector),
        Error::StreamOverflow { offset } => with!("StreamOverflow", offset),
        Error::DataUnitLength { len } => with!("DataUnitLength", len),
        Error::SelfTest { algorithm } => with!("SelfTest", algorithm),
        Error::NotApproved { algorithm, .. } => with!("NotApproved", algorithm),
        Error::KeyExhausted { blocks } => with!("KeyExhausted", blocks),
        Error::KernelUnavailable { .. } => "KernelUnavailable",
        Error::KekLength { len } => with!("KekLength", len),
        Error::WrapLength { len } => with!("WrapLength", len),
        Error::BufferTooShort { needed } => with!("BufferTooShort", needed),
        Error::UnwrapFailed => "UnwrapFailed",
        Error::UnsupportedAlgorithm(_) => "UnsupportedAlgorithm",
        Error::Forked => "Forked",
        Error::MemoryNotLocked { unlocked } => with!("MemoryNotLocked", unlocked),
        Error::Random => "Random",
        Error::InvalidName(_) => "InvalidName",
        Error::ContextLength { len } => with!("ContextLength", len),
        Error::InvalidEnvelope(_) => "InvalidEnvelope",
        Error::ContextMismatch => "ContextMismatch",
        Error::OtherDek => "OtherDek",
        Error::OtherKey { expected, found } => with!("OtherKey", expected, found),
        Error::NotThisVault { wanted } => with!("NotThisVault", wanted),
        Error::KeyRefused { key, reason } => {
            let reason = reason.name();
            with!("KeyRefused", key, reason)
        }
        Error::KeyExists { key } => with!("KeyExists", key),
        Error::PurgeProtected { key } => with!("PurgeProtected", key),
        Error::WrongPassphrase => "WrongPassphrase",
        Error::WrongVaultPassphrase => "WrongVaultPassphrase",
        Error::NotAVault { path } => with!("NotAVault", path),
        Error::DamagedVault(_) => "DamagedVault",
        Error::InvalidPrefix(_) => "InvalidPrefix",
        Error::Vault(_) => "VaultFailed",
        Error::NotLuks { found } => with!("NotLuks", found),
        Error::ForeignData(_) => "ForeignData",
        Error::InvalidHeader(_) => "InvalidHeader",
        Error::UnsupportedHeader(_) => "UnsupportedHeader",
        Error::TamperedHeader => "TamperedHeader",
        Error::DamagedMap(_) => "DamagedMap",
        Error::WrongKey => "WrongKey",
        Error::NoSuchProtector(_) => "NoSuchProtector",
        Error::LastProtector => "LastProtector",
        Error::NoRoom(_) => "NoRoom",
        Error::OtherHeader(_) => "OtherHeader",
        Error::DeviceTooSmall { what, needed, size } => {
            let what = what.name();
            with!("DeviceTooSmall", what, needed, size)
        }
        Error::DeviceNotBlank { offset, found } => with!("DeviceNotBlank", offset, found),
        Error::Misaligned { offset, len, sector_size } => with!("Misaligned", offset, len, sector_size),
        Error::OutOfBounds { offset, len, size } => with!("OutOfBounds", offset, len, size),
        Error::ReadOnly => "ReadOnly",
        Error::Busy { what } => with!("Busy", what),
        Error::InvalidOption(_) => "InvalidOption",
        Error::NotFound { path, .. } => {
            to.set_item("filename", path)?;
            "NotFound"
        }
        Error::AlreadyExists { path, .. } => {
            to.set_item("filename", path)?;
            "AlreadyExists"
        }
        Error::Io { source, .. } => {
            if let Some(errno) = source.raw_os_error() {
                with!("Io", errno)
            } else {
                "Io"
            }
        }
        _ => "Error",
    })
}
