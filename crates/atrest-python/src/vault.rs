//! Vaults of any kind, as volumes and envelopes use them.

use std::sync::Arc;

use atrest::KeyVault as AnyKeyVault;
use atrest::key::AnyVault;
use pyo3::prelude::*;

use crate::error::freely;
use crate::records;

/// A vault: it holds keys, and wraps and unwraps DEKs under them. `open_vault` opens one, and `FileVault` is one in a file.
#[pyclass(frozen, subclass, module = "atrest_storage")]
pub struct KeyVault {
    pub vault: Arc<dyn AnyKeyVault>,
}

/// A key of a vault, by its name: a protector of volumes. A missing key is noticed when it is used.
#[pyclass(frozen, module = "atrest_storage")]
pub struct VaultKey {
    pub vault: Arc<dyn AnyKeyVault>,
    pub name: String,
}

#[pymethods]
impl KeyVault {
    /// The vault's name, the first part of its keys' URLs.
    #[getter]
    fn id(&self) -> &str {
        self.vault.id()
    }

    /// A key of this vault, to protect something with.
    fn key(&self, name: String) -> VaultKey {
        VaultKey { vault: self.vault.clone(), name }
    }

    /// The vault's description of a key: of a version, or of the one that would wrap now. `None` if this vault has no descriptions.
    #[pyo3(signature = (key, version = None))]
    fn describe(&self, py: Python<'_>, key: &str, version: Option<&str>) -> PyResult<Option<Py<PyAny>>> {
        let description = freely(py, || self.vault.describe(key, version))?;
        description.map(|description| records::key_description(py, description)).transpose()
    }

    fn __repr__(&self) -> String {
        format!("<KeyVault {}>", self.vault.id())
    }
}

#[pymethods]
impl VaultKey {
    /// The name of the key.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    fn __repr__(&self) -> String {
        format!("<VaultKey {} of {}>", self.name, self.vault.id())
    }
}

/// Several vaults as one: each unwraps the DEKs that it has wrapped.
#[pyfunction]
pub fn any_vault(py: Python<'_>, vaults: Vec<Py<KeyVault>>) -> PyResult<KeyVault> {
    let vaults: Vec<_> = vaults.iter().map(|vault| vault.get().vault.clone()).collect();
    let vault = freely(py, || AnyVault::new(vaults))?;
    Ok(KeyVault { vault: Arc::new(vault) })
}
