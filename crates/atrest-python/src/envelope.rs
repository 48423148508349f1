//! Wrapped keys for engines that keep their own metadata.

use atrest::Envelope as Sealed;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::Source;
use crate::cipher::Dek;
use crate::error::freely;
use crate::records;
use crate::vault::{KeyVault, VaultKey};

/// A wrapped DEK with all that is needed to unwrap it, bound to a context. Its bytes hold no secret.
#[pyclass(frozen, module = "atrest_storage")]
pub struct Envelope(Sealed);

#[pymethods]
impl Envelope {
    /// Has a vault wrap a DEK under its key. `context` states the DEK's purpose, and is stored in the clear.
    #[staticmethod]
    #[pyo3(signature = (dek, key, context))]
    fn seal(py: Python<'_>, dek: &Dek, key: &VaultKey, context: Source) -> PyResult<Self> {
        let context = context.bytes();
        freely(py, || Sealed::seal(&dek.0, &*key.vault, &key.name, context)).map(Envelope)
    }

    /// Reads the bytes that `bytes(envelope)` gave.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, envelope: Source) -> PyResult<Self> {
        let envelope = envelope.bytes();
        freely(py, || Sealed::from_bytes(envelope)).map(Envelope)
    }

    /// Has the vault unwrap the DEK. The context must be the one with which it was sealed.
    fn unseal(&self, py: Python<'_>, vault: &KeyVault, context: Source) -> PyResult<Dek> {
        let context = context.bytes();
        freely(py, || self.0.unseal(&*vault.vault, context)).map(Dek)
    }

    /// The key and version that wrapped the DEK.
    #[getter]
    fn kek(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        records::key_id(py, self.0.kek())
    }

    /// The algorithm that the DEK is for.
    #[getter]
    fn dek_algorithm(&self) -> &'static str {
        self.0.dek_algorithm().name()
    }

    /// The context that the envelope claims. Only `unseal` proves it.
    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.context())
    }

    /// The bytes to store.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    fn __repr__(&self) -> String {
        format!("<Envelope of a key for {} under {}>", self.0.dek_algorithm().name(), self.0.kek())
    }
}
