//! Vaults by URL.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atrest::Secret;
use atrest_vaults::VaultOptions;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::buffer::Source;
use crate::error::raised;
use crate::file_vault::FileVault;
use crate::vault::KeyVault;

/// Opens a vault by its URL, such as file:/etc/disks.vault?key-file=/etc/disks.key.
///
/// `secrets` is asked for each secret by the name of its environment variable, such as `VAULT_TOKEN`, and returns text, bytes or
/// `None`. `deadline` is the most seconds that a call of the vault may take. A vault file is a FileVault.
#[pyfunction]
#[pyo3(signature = (url, *, secrets = None, deadline = None))]
pub fn open_vault(py: Python<'_>, url: &str, secrets: Option<Py<PyAny>>, deadline: Option<f64>) -> PyResult<Py<PyAny>> {
    let mut options = VaultOptions::new();
    // The exception of the Python function, which the library can't carry.
    let failed = Arc::new(Mutex::new(None));
    if let Some(secrets) = secrets {
        let failed = failed.clone();
        options = options.secrets(move |name| {
            Python::attach(|py| given(secrets.bind(py), name)).map_err(|error| {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                io::Error::other("the function for secrets raised an exception")
            })
        });
    }
    if let Some(deadline) = deadline {
        let deadline = Duration::try_from_secs_f64(deadline);
        options = options.deadline(deadline.map_err(|e| PyValueError::new_err(format!("deadline: {e}")))?);
    }
    let raise = |error| match failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(cause) => cause,
        None => raised(py, &error),
    };
    if url.starts_with("file:") {
        let vault = py.detach(|| atrest_vaults::open_file(url, &options)).map_err(raise)?;
        return Ok(FileVault::made(py, vault)?.into_any());
    }
    let vault = py.detach(|| atrest_vaults::open_with(url, &options)).map_err(raise)?;
    Ok(Py::new(py, KeyVault { vault })?.into_any())
}

fn given(secrets: &Bound<'_, PyAny>, name: &str) -> PyResult<Option<Secret>> {
    let answer = secrets.call1((name,))?;
    if answer.is_none() {
        return Ok(None);
    }
    if let Ok(text) = answer.cast::<PyString>() {
        return Ok(Some(Secret::copy_from(text.encode_utf8()?.as_bytes())));
    }
    Ok(Some(Secret::copy_from(answer.extract::<Source>()?.bytes())))
}

/// The schemes of URLs that `open_vault` takes, with their colon: those that this package was built with.
#[pyfunction]
pub fn vault_schemes() -> Vec<String> {
    atrest_vaults::schemes().collect()
}
