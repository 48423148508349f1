//! Vaults in files: their keys, grants, and the audit log.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use atrest::key::{KeyId, KeyKind};
use atrest::vault::{AuditHead, AuditLog as Log, FileVault as Vault, KeyOperation, VersionChange};
use atrest::{Error, Secret};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::buffer::Source;
use crate::credential::Unlocker;
use crate::error::{freely, raised};
use crate::options::{KdfChoice, VaultChoices};
use crate::records;
use crate::vault::KeyVault;

type Record = PyResult<Py<PyAny>>;

/// A vault in a file: named keys with versions, each wrapped under a root key that a passphrase or a key file unlocks.
///
/// A process that unlocks it is its owner. Others use it by `as_identity`, within their grants. Each use is written to an audit
/// log before it is answered. Many threads and processes may use one file at once.
#[pyclass(frozen, extends = KeyVault, module = "atrest_storage")]
pub struct FileVault {
    vault: Vault,
}

/// The entries of an audit log, each verified when it is read.
#[pyclass(frozen, module = "atrest_storage")]
pub struct AuditLog(Mutex<Log>);

impl FileVault {
    pub fn made(py: Python<'_>, vault: Vault) -> PyResult<Py<Self>> {
        let base = KeyVault { vault: Arc::new(vault.clone()) };
        Py::new(py, PyClassInitializer::from(base).add_subclass(FileVault { vault }))
    }

    /// The vault for the functions of `hazmat`.
    pub fn inner(&self) -> &Vault {
        &self.vault
    }
}

/// A key's version by its URL or by a KeyId, whose text is the URL.
pub fn key_id(id: &Bound<'_, PyAny>) -> PyResult<KeyId> {
    id.str()?.to_str()?.parse().map_err(|error: Error| raised(id.py(), &error))
}

fn operations(names: Option<Vec<String>>) -> PyResult<Vec<KeyOperation>> {
    let Some(names) = names else { return Ok(KeyOperation::ALL.to_vec()) };
    let named = |name: String| {
        let found = KeyOperation::ALL.into_iter().find(|operation| operation.name() == name);
        found.ok_or_else(|| PyValueError::new_err(format!("an operation is get, wrapKey or unwrapKey, not {name:?}")))
    };
    names.into_iter().map(named).collect()
}

#[pymethods]
impl FileVault {
    /// Makes a new vault without keys. No file of a vault may be there.
    #[staticmethod]
    #[pyo3(signature = (path, unlock, options = None))]
    fn create(py: Python<'_>, path: PathBuf, unlock: Unlocker, options: Option<VaultChoices>) -> PyResult<Py<Self>> {
        let options = options.unwrap_or_default().options()?;
        let vault = freely(py, || Vault::create_with(path, unlock.unlock()?, &options))?;
        Self::made(py, vault)
    }

    /// Opens a vault.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf, unlock: Unlocker) -> PyResult<Py<Self>> {
        let vault = freely(py, || Vault::open(path, unlock.unlock()?))?;
        Self::made(py, vault)
    }

    /// Opens the vault, or makes one with the options if there is none. If many processes do so at once, one makes it.
    #[staticmethod]
    #[pyo3(signature = (path, unlock, options = None))]
    fn open_or_create(
        py: Python<'_>,
        path: PathBuf,
        unlock: Unlocker,
        options: Option<VaultChoices>,
    ) -> PyResult<Py<Self>> {
        let options = options.unwrap_or_default().options()?;
        let vault = freely(py, || Vault::open_or_create(path, unlock.unlock()?, &options))?;
        Self::made(py, vault)
    }

    /// Writes a new root key file of 32 random bytes, readable by its owner only.
    #[staticmethod]
    fn generate_key_file(py: Python<'_>, path: PathBuf) -> PyResult<()> {
        freely(py, || Vault::generate_key_file(path))
    }

    /// The file of the vault.
    #[getter]
    fn path(&self) -> PathBuf {
        self.vault.path().to_owned()
    }

    /// The same vault, but each use waits until its entry in the audit log is on the disk.
    fn with_synced_uses(&self, py: Python<'_>) -> PyResult<Py<Self>> {
        Self::made(py, self.vault.clone().with_synced_uses(true))
    }

    /// The keys that aren't deleted.
    fn keys(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let keys = freely(py, || self.vault.keys())?;
        records::all(py, keys, records::key_info)
    }

    /// Generates a key, of kind `AES-256`; or, in a build with RSA, of `RSA-2048`, `RSA-3072` or `RSA-4096`.
    #[pyo3(signature = (name, kind = "AES-256"))]
    fn create_key(&self, py: Python<'_>, name: &str, kind: &str) -> Record {
        let kind =
            KeyKind::from_name(kind).ok_or_else(|| PyValueError::new_err(format!("no key is of kind {kind:?}")))?;
        let id = freely(py, || self.vault.create_key_of(name, kind))?;
        records::key_id(py, &id)
    }

    /// Imports an AES key of 32 bytes.
    fn import_key(&self, py: Python<'_>, name: &str, kek: Source) -> Record {
        let kek = Secret::copy_from(kek.bytes());
        let id = freely(py, || self.vault.import_key(name, &kek))?;
        records::key_id(py, &id)
    }

    /// Gives a key a new version, which wraps from now on. Earlier ones unwrap.
    fn rotate_key(&self, py: Python<'_>, name: &str) -> Record {
        let id = freely(py, || self.vault.rotate_key(name))?;
        records::key_id(py, &id)
    }

    /// Imports a new version of an AES key.
    fn import_version(&self, py: Python<'_>, name: &str, kek: Source) -> Record {
        let kek = Secret::copy_from(kek.bytes());
        let id = freely(py, || self.vault.import_version(name, &kek))?;
        records::key_id(py, &id)
    }

    /// Enables or disables a version of a key.
    fn set_enabled(&self, py: Python<'_>, id: &Bound<'_, PyAny>, enabled: bool) -> PyResult<()> {
        let id = key_id(id)?;
        freely(py, || self.vault.set_version(&id, VersionChange::new().enabled(enabled)))
    }

    /// From when to when a version of a key is valid, in seconds since 1970; `None` for any time.
    #[pyo3(signature = (id, *, not_before = None, expires = None))]
    fn set_validity(
        &self,
        py: Python<'_>,
        id: &Bound<'_, PyAny>,
        not_before: Option<u64>,
        expires: Option<u64>,
    ) -> PyResult<()> {
        let id = key_id(id)?;
        let change = VersionChange::new().not_before(not_before).expires(expires);
        freely(py, || self.vault.set_version(&id, change))
    }

    /// Deletes a key. It can be recovered until it is purged.
    fn delete_key(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        freely(py, || self.vault.delete_key(name))
    }

    /// The deleted keys that can be recovered.
    fn deleted_keys(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let keys = freely(py, || self.vault.deleted_keys())?;
        records::all(py, keys, records::deleted_key)
    }

    /// Recovers a deleted key.
    fn recover_key(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        freely(py, || self.vault.recover_key(name))
    }

    /// The options that the vault was made with.
    fn properties(&self, py: Python<'_>) -> Record {
        let properties = freely(py, || self.vault.properties())?;
        records::vault_properties(py, properties)
    }

    /// From now on a deleted key can't be purged before its retention is over. This can't be turned off again.
    fn enable_purge_protection(&self, py: Python<'_>) -> PyResult<()> {
        freely(py, || self.vault.enable_purge_protection())
    }

    /// Replaces the passphrase or root key file.
    #[pyo3(signature = (unlock, kdf = None))]
    fn change_unlock(&self, py: Python<'_>, unlock: Unlocker, kdf: Option<KdfChoice>) -> PyResult<()> {
        let kdf = kdf.map(|kdf| kdf.kdf()).transpose()?;
        freely(py, || self.vault.change_unlock(unlock.unlock()?, kdf))
    }

    /// Lets an identity do operations with all keys: of `get`, `wrapKey` and `unwrapKey`, by default all.
    #[pyo3(signature = (identity, operations = None))]
    fn grant(&self, py: Python<'_>, identity: &str, operations: Option<Vec<String>>) -> PyResult<()> {
        let operations = self::operations(operations)?;
        freely(py, || self.vault.grant(identity, &operations))
    }

    /// Takes operations from an identity, by default all.
    #[pyo3(signature = (identity, operations = None))]
    fn revoke(&self, py: Python<'_>, identity: &str, operations: Option<Vec<String>>) -> PyResult<()> {
        if operations.is_none() {
            return freely(py, || self.vault.revoke(identity));
        }
        let operations = self::operations(operations)?;
        freely(py, || self.vault.revoke_operations(identity, &operations))
    }

    /// The grants of all identities.
    fn grants(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let grants = freely(py, || self.vault.grants())?;
        records::all(py, grants, records::grant)
    }

    /// The vault as an identity other than its owner sees it.
    fn as_identity(&self, name: &str) -> KeyVault {
        KeyVault { vault: Arc::new(self.vault.as_identity(name)) }
    }

    /// The audit log, from its first entry. Reading it verifies it. `including` is a head from `audit_head` that must be in it.
    #[pyo3(signature = (including = None))]
    fn audit(&self, py: Python<'_>, including: Option<&str>) -> PyResult<AuditLog> {
        let log = freely(py, || {
            let log = self.vault.audit()?;
            Ok(match including {
                Some(head) => log.including(head.parse::<AuditHead>()?),
                None => log,
            })
        })?;
        Ok(AuditLog(Mutex::new(log)))
    }

    /// The head of the audit log as text, to be kept elsewhere. It holds no secret.
    fn audit_head(&self, py: Python<'_>) -> PyResult<String> {
        freely(py, || self.vault.audit_head()).map(|head| head.to_string())
    }

    /// Moves the audit log into a file that must not exist, and begins a new one that continues it.
    fn archive_audit(&self, py: Python<'_>, to: PathBuf) -> PyResult<()> {
        freely(py, || self.vault.archive_audit(to))
    }

    /// How much its keys can have encrypted at most.
    fn usage(&self, py: Python<'_>) -> Record {
        let usage = freely(py, || self.vault.usage())?;
        records::key_usage(py, usage)
    }

    fn __repr__(&self) -> String {
        format!("<FileVault {:?}>", self.vault.path())
    }
}

#[pymethods]
impl AuditLog {
    fn __iter__(own: Py<Self>) -> Py<Self> {
        own
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let next = py.detach(|| self.0.lock().unwrap_or_else(PoisonError::into_inner).next());
        match next {
            None => Ok(None),
            Some(Ok(entry)) => records::audit_entry(py, entry).map(Some),
            Some(Err(error)) => Err(raised(py, &error)),
        }
    }
}
