//! Credentials and protectors of vaults and volumes: one set of classes for all calls.

use core::str;
use std::path::PathBuf;
use std::sync::Arc;

use atrest::vault::Unlock;
use atrest::{Credential, Dek as DekKey, KeyVault as AnyKeyVault, Protector, Secret};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::buffer::Source;
use crate::cipher::Dek;
use crate::error::freely;
use crate::vault::{KeyVault, VaultKey};

/// Copies text or bytes into memory that is locked and wiped.
fn secret(from: &Bound<'_, PyAny>) -> PyResult<Arc<Secret>> {
    if let Ok(text) = from.cast::<PyString>() {
        let encoded = text.encode_utf8()?;
        return Ok(Arc::new(Secret::copy_from(encoded.as_bytes())));
    }
    Ok(Arc::new(Secret::copy_from(from.extract::<Source>()?.bytes())))
}

/// A passphrase of a vault or a volume: bytes, or text, which is taken as UTF-8. The copy in it lies in locked memory, and is
/// wiped with the object. Text and `bytes` of Python's own can't be wiped; a `bytearray` can.
#[pyclass(frozen, module = "atrest_storage")]
pub struct Passphrase(Arc<Secret>);

/// A file whose whole content is a volume's passphrase, or a vault's root key.
#[pyclass(frozen, module = "atrest_storage")]
pub struct KeyFile(PathBuf);

/// A recovery password of BitLocker: eight groups of six digits, with dashes between them.
#[pyclass(frozen, module = "atrest_storage")]
pub struct RecoveryPassword(Arc<Secret>);

/// A file with a startup key or recovery key of BitLocker (`.BEK`).
#[pyclass(frozen, module = "atrest_storage")]
pub struct StartupKey(PathBuf);

/// The clear key of a BitLocker volume whose protection is suspended.
#[pyclass(frozen, module = "atrest_storage")]
pub struct ClearKey;

#[pymethods]
impl Passphrase {
    #[new]
    #[pyo3(signature = (passphrase, /))]
    fn new(passphrase: &Bound<'_, PyAny>) -> PyResult<Self> {
        secret(passphrase).map(Self)
    }

    fn __repr__(&self) -> &'static str {
        "Passphrase(...)"
    }
}

#[pymethods]
impl KeyFile {
    #[new]
    #[pyo3(signature = (path, /))]
    fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its path.
    #[getter]
    fn path(&self) -> &PathBuf {
        &self.0
    }

    fn __repr__(&self) -> String {
        format!("KeyFile({:?})", self.0)
    }
}

#[pymethods]
impl RecoveryPassword {
    #[new]
    #[pyo3(signature = (password, /))]
    fn new(password: &Bound<'_, PyAny>) -> PyResult<Self> {
        let secret = secret(password)?;
        str::from_utf8(secret.expose())
            .map_err(|_| PyValueError::new_err("a recovery password is digits and dashes"))?;
        Ok(Self(secret))
    }

    /// A new random one.
    #[staticmethod]
    fn generate(py: Python<'_>) -> PyResult<Self> {
        let made = freely(py, atrest::volume::RecoveryPassword::generate)?;
        Ok(Self(Arc::new(Secret::copy_from(made.expose().as_bytes()))))
    }

    /// The text, to be printed and kept in a safe. Python can't wipe it.
    fn expose<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        let text = freely(py, || text(&self.0))?;
        Ok(PyString::new(py, text))
    }

    fn __repr__(&self) -> &'static str {
        "RecoveryPassword(...)"
    }
}

#[pymethods]
impl StartupKey {
    #[new]
    #[pyo3(signature = (path, /))]
    fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Makes a startup key, and writes its file to `path`, or into that folder by the name that Windows looks for. Only its owner
    /// may read it. A file that is there stays. Add the protector by it then.
    #[staticmethod]
    #[pyo3(signature = (path, /))]
    fn generate(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        freely(py, || atrest::volume::StartupKey::generate()?.write(path)).map(Self)
    }

    /// The path of its file.
    #[getter]
    fn path(&self) -> &PathBuf {
        &self.0
    }

    fn __repr__(&self) -> String {
        format!("StartupKey({:?})", self.0)
    }
}

#[pymethods]
impl ClearKey {
    #[new]
    fn new() -> Self {
        Self
    }

    fn __repr__(&self) -> &'static str {
        "ClearKey()"
    }
}

/// A volume's credential, held for a call during which other Python threads run.
pub enum Opener {
    Vault(Arc<dyn AnyKeyVault>),
    Passphrase(Arc<Secret>),
    KeyFile(PathBuf),
    Dek(DekKey),
    RecoveryPassword(Arc<Secret>),
    StartupKey(PathBuf),
    ClearKey,
}

impl Opener {
    pub fn credential(&self) -> atrest::Result<Credential<'_>> {
        Ok(match self {
            Opener::Vault(vault) => Credential::Vault(&**vault),
            Opener::Passphrase(secret) => Credential::Passphrase(exposed(secret)?),
            Opener::KeyFile(path) => Credential::KeyFile(path),
            Opener::Dek(dek) => Credential::Dek(dek),
            Opener::RecoveryPassword(secret) => Credential::RecoveryPassword(text(secret)?),
            Opener::StartupKey(path) => Credential::StartupKey(path),
            Opener::ClearKey => Credential::ClearKey,
        })
    }
}

impl FromPyObject<'_, '_> for Opener {
    type Error = PyErr;

    fn extract(from: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if let Ok(vault) = from.cast::<KeyVault>() {
            return Ok(Opener::Vault(vault.get().vault.clone()));
        }
        if let Ok(dek) = from.cast::<Dek>() {
            return Ok(Opener::Dek(dek.get().0.clone()));
        }
        if let Ok(passphrase) = from.cast::<Passphrase>() {
            return Ok(Opener::Passphrase(passphrase.get().0.clone()));
        }
        if let Ok(file) = from.cast::<KeyFile>() {
            return Ok(Opener::KeyFile(file.get().0.clone()));
        }
        if let Ok(password) = from.cast::<RecoveryPassword>() {
            return Ok(Opener::RecoveryPassword(password.get().0.clone()));
        }
        if let Ok(file) = from.cast::<StartupKey>() {
            return Ok(Opener::StartupKey(file.get().0.clone()));
        }
        if from.cast::<ClearKey>().is_ok() {
            return Ok(Opener::ClearKey);
        }
        Err(unfit(
            &from,
            "a credential is a KeyVault, Passphrase, KeyFile, Dek, RecoveryPassword, StartupKey or ClearKey",
        ))
    }
}

/// A volume's protector.
pub enum Protection {
    Vault(Arc<dyn AnyKeyVault>, String),
    Passphrase(Arc<Secret>),
    KeyFile(PathBuf),
    RecoveryPassword(Arc<Secret>),
    StartupKey(PathBuf),
}

impl Protection {
    pub fn protector(&self) -> atrest::Result<Protector<'_>> {
        Ok(match self {
            Protection::Vault(vault, key) => Protector::Vault(&**vault, key),
            Protection::Passphrase(secret) => Protector::Passphrase(exposed(secret)?),
            Protection::KeyFile(path) => Protector::KeyFile(path),
            Protection::RecoveryPassword(secret) => Protector::RecoveryPassword(text(secret)?),
            Protection::StartupKey(path) => Protector::StartupKey(path),
        })
    }
}

impl FromPyObject<'_, '_> for Protection {
    type Error = PyErr;

    fn extract(from: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if let Ok(key) = from.cast::<VaultKey>() {
            let key = key.get();
            return Ok(Protection::Vault(key.vault.clone(), key.name.clone()));
        }
        if let Ok(passphrase) = from.cast::<Passphrase>() {
            return Ok(Protection::Passphrase(passphrase.get().0.clone()));
        }
        if let Ok(file) = from.cast::<KeyFile>() {
            return Ok(Protection::KeyFile(file.get().0.clone()));
        }
        if let Ok(password) = from.cast::<RecoveryPassword>() {
            return Ok(Protection::RecoveryPassword(password.get().0.clone()));
        }
        if let Ok(file) = from.cast::<StartupKey>() {
            return Ok(Protection::StartupKey(file.get().0.clone()));
        }
        let what = "a protector is a VaultKey (vault.key(NAME)), Passphrase, KeyFile, RecoveryPassword or StartupKey";
        Err(unfit(&from, what))
    }
}

/// A vault file's credential.
pub enum Unlocker {
    Passphrase(Arc<Secret>),
    KeyFile(PathBuf),
}

impl Unlocker {
    pub fn unlock(&self) -> atrest::Result<Unlock<'_>> {
        Ok(match self {
            Unlocker::Passphrase(secret) => Unlock::Passphrase(exposed(secret)?),
            Unlocker::KeyFile(path) => Unlock::KeyFile(path),
        })
    }
}

impl FromPyObject<'_, '_> for Unlocker {
    type Error = PyErr;

    fn extract(from: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if let Ok(passphrase) = from.cast::<Passphrase>() {
            return Ok(Unlocker::Passphrase(passphrase.get().0.clone()));
        }
        if let Ok(file) = from.cast::<KeyFile>() {
            return Ok(Unlocker::KeyFile(file.get().0.clone()));
        }
        Err(unfit(&from, "a vault file is unlocked by a Passphrase or a KeyFile"))
    }
}

/// Never the value itself: it may be a passphrase that lacks its class.
fn unfit(given: &Bound<'_, PyAny>, what: &str) -> PyErr {
    let kind = given.get_type().name().map_or_else(|_| "that".into(), |name| name.to_string());
    PyTypeError::new_err(format!("{what}, not {kind}"))
}

/// A forked child can't use its parent's secrets.
fn exposed(secret: &Secret) -> atrest::Result<&[u8]> {
    secret.check()?;
    Ok(secret.expose())
}

fn text(secret: &Secret) -> atrest::Result<&str> {
    Ok(str::from_utf8(exposed(secret)?).expect("it was text when it was made"))
}
