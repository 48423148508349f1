//! Encrypted files of engines.

use atrest::{FilePrefix as Prefix, Fingerprint};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::Source;
use crate::cipher::{SectorCipher, StreamCipher, sector_size, unit};
use crate::device::Device;
use crate::error::freely;
use crate::records;
use crate::vault::{KeyVault, VaultKey};

/// The first bytes of an encrypted file: its own DEK, wrapped by a vault. A stream or sectors follow. Make a new prefix for each
/// new file, and never copy one.
#[pyclass(frozen, module = "atrest_storage")]
pub struct FilePrefix(Prefix);

#[pymethods]
impl FilePrefix {
    /// The length of a prefix in bytes.
    #[classattr]
    const LEN: usize = Prefix::LEN;

    /// A prefix for a new file, and the cipher for the stream that follows it.
    #[staticmethod]
    fn create(py: Python<'_>, key: &VaultKey, context: Source) -> PyResult<(Self, StreamCipher)> {
        let context = context.bytes();
        let (prefix, cipher) = freely(py, || Prefix::create(&*key.vault, &key.name, context))?;
        Ok((FilePrefix(prefix), StreamCipher(cipher)))
    }

    /// A prefix for a new file, and the cipher for the sectors that follow it.
    #[staticmethod]
    #[pyo3(signature = (key, context, *, sector_size, unit))]
    fn create_sectors(
        py: Python<'_>,
        key: &VaultKey,
        context: Source,
        sector_size: u32,
        unit: &str,
    ) -> PyResult<(Self, SectorCipher)> {
        let (size, unit) = (self::sector_size(py, sector_size)?, self::unit(unit)?);
        let context = context.bytes();
        let (prefix, cipher) = freely(py, || Prefix::create_sectors(&*key.vault, &key.name, context, size, unit))?;
        Ok((FilePrefix(prefix), SectorCipher(cipher)))
    }

    /// Reads the first `LEN` bytes of a file.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, prefix: Source) -> PyResult<Self> {
        let prefix = prefix.bytes();
        freely(py, || Prefix::from_bytes(prefix)).map(FilePrefix)
    }

    /// The same prefix, which opens only if its DEK has this fingerprint.
    fn expect(&self, fingerprint: [u8; 32]) -> Self {
        FilePrefix(self.0.clone().expect(Fingerprint::from_bytes(fingerprint)))
    }

    /// The cipher for the stream that follows.
    fn open(&self, py: Python<'_>, vault: &KeyVault, context: Source) -> PyResult<StreamCipher> {
        let context = context.bytes();
        freely(py, || self.0.open(&*vault.vault, context)).map(StreamCipher)
    }

    /// The cipher for the sectors that follow.
    #[pyo3(signature = (vault, context, *, sector_size, unit))]
    fn open_sectors(
        &self,
        py: Python<'_>,
        vault: &KeyVault,
        context: Source,
        sector_size: u32,
        unit: &str,
    ) -> PyResult<SectorCipher> {
        let (size, unit) = (self::sector_size(py, sector_size)?, self::unit(unit)?);
        let context = context.bytes();
        freely(py, || self.0.open_sectors(&*vault.vault, context, size, unit)).map(SectorCipher)
    }

    /// The fingerprint of the file's DEK, 32 bytes.
    fn fingerprint(&self, py: Python<'_>, vault: &KeyVault, context: Source) -> PyResult<[u8; 32]> {
        let context = context.bytes();
        freely(py, || self.0.fingerprint(&*vault.vault, context)).map(Fingerprint::to_bytes)
    }

    /// Has the vault wrap the DEK of the file again, under the latest version of its key. Data isn't touched. With `expect`, only
    /// if the DEK has this fingerprint.
    #[staticmethod]
    #[pyo3(signature = (device, vault, context, *, expect = None))]
    fn rotate_kek(
        py: Python<'_>,
        device: &Device,
        vault: &KeyVault,
        context: Source,
        expect: Option<[u8; 32]>,
    ) -> PyResult<Py<PyAny>> {
        let (device, context) = (device.device()?, context.bytes());
        let id = freely(py, || match expect.map(Fingerprint::from_bytes) {
            Some(expected) => Prefix::rotate_kek_expecting(&*device, &*vault.vault, context, expected),
            None => Prefix::rotate_kek(&*device, &*vault.vault, context),
        })?;
        records::key_id(py, &id)
    }

    /// The key and version that wrapped the DEK.
    #[getter]
    fn kek(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        records::key_id(py, self.0.kek())
    }

    /// The context that the prefix claims. Only opening proves it.
    #[getter]
    fn context<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.context())
    }

    /// The bytes to store at the start of the file, `LEN` of them.
    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    fn __repr__(&self) -> String {
        format!("<FilePrefix under {}>", self.0.kek())
    }
}
