//! The native half of the Python package `atrest_storage`: classes over the public API of `atrest`.
//!
//! Options, records and exceptions are Python's own (`python/atrest_storage`), since a dataclass or an exception class is
//! clearer to a reader of Python than a wrapped struct. The code here holds secrets, does I/O and computes. Every call that can
//! take time lets other Python threads run.

mod buffer;
mod bytes;
mod cipher;
mod credential;
mod device;
mod envelope;
mod error;
mod file_prefix;
mod file_vault;
mod hazmat;
mod header;
mod open_vault;
mod options;
mod records;
mod reencrypt;
mod vault;
mod volume;

use pyo3::prelude::*;

/// The native half of `atrest_storage`. Import from there.
#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use super::cipher::{Dek, SectorCipher, StreamCipher};
    #[pymodule_export]
    use super::credential::{ClearKey, KeyFile, Passphrase, RecoveryPassword, StartupKey};
    #[pymodule_export]
    use super::device::Device;
    #[pymodule_export]
    use super::envelope::Envelope;
    #[pymodule_export]
    use super::file_prefix::FilePrefix;
    #[pymodule_export]
    use super::file_vault::{AuditLog, FileVault};
    #[pymodule_export]
    use super::hazmat::{
        dek_bytes, dek_from_bytes, destroy_version, purge_key, repair_header, restore_header, suspend_protection,
    };
    #[pymodule_export]
    use super::open_vault::{open_vault, vault_schemes};
    #[pymodule_export]
    use super::vault::{KeyVault, VaultKey, any_vault};
    #[pymodule_export]
    use super::volume::Volume;

    /// The version of the library.
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    /// Tests all algorithms against published vectors, each once in a process.
    ///
    /// Raises SelfTest if one fails.
    #[pyfunction]
    fn self_test(py: Python<'_>) -> PyResult<()> {
        error::freely(py, atrest_vaults::self_test)
    }

    /// How the memory of this process's secrets is protected.
    #[pyfunction]
    fn memory_protection(py: Python<'_>) -> PyResult<Py<PyAny>> {
        records::memory_protection(py)
    }
}
