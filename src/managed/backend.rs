//! What the service that embeds this brings: where disks are, and how vaults are reached.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{BlockDevice, FileDevice, KeyVault, Result};

/// Where disks lie: files, a pool of block devices, an object store.
pub trait DiskBackend: Send + Sync {
    /// Makes a device of `size` zero bytes in a region, under a name that was never used before: a UUID.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn create(&self, region: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>>;

    /// Opens a device.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Busy`](crate::Error::Busy).
    fn open(&self, region: &str, id: &str) -> Result<Arc<dyn BlockDevice>>;

    /// Removes a device; there may be none. Who still has it open may go on until it is closed.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn remove(&self, region: &str, id: &str) -> Result<()>;
}

/// Disks as files of one folder, whatever region they are in.
#[derive(Debug, Clone)]
pub struct DiskFolder {
    folder: PathBuf,
    direct_io: bool,
}

impl DiskFolder {
    /// The folder must be there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        DiskFolder { folder: folder.into(), direct_io: false }
    }

    /// Says whether disks are read and written past the page cache: see [`FileDevice::direct_io`].
    pub fn direct_io(mut self, direct_io: bool) -> Self {
        self.direct_io = direct_io;
        self
    }

    fn device(&self, file: FileDevice) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(if self.direct_io { file.direct_io()? } else { file }))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.disk"))
    }
}

impl DiskBackend for DiskFolder {
    fn create(&self, _: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        self.device(FileDevice::create(self.path(id), size)?)
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        self.device(FileDevice::open(self.path(id))?)
    }

    fn remove(&self, _: &str, id: &str) -> Result<()> {
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(crate::Error::io(format!("removing {}", path.display()), e))
            }
            Err(_) => Ok(()),
            // Once the store forgets it, it must not come back.
            Ok(()) => crate::fs::sync(&path).map_err(|e| crate::Error::io(format!("removing {}", path.display()), e)),
        }
    }
}

/// How the vaults of customers are reached. [`FileVaults`](super::FileVaults) are files.
pub trait VaultDirectory: Send + Sync {
    /// The vault of this name, asked under an identity. The vault answers for itself whether that may do what it asks.
    ///
    /// # Errors
    /// [`Error::Vault`](crate::Error::Vault) when there is none, or it can't be reached.
    fn vault(&self, id: &str, identity: &str) -> Result<Arc<dyn KeyVault>>;

    /// What is known of the vault of this name.
    ///
    /// # Errors
    /// As [`vault`](Self::vault); [`Error::NotAllowed`](crate::Error::NotAllowed) for a vault that no set can have.
    fn describe(&self, id: &str) -> Result<VaultDescription>;
}

/// What a set demands of its vault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VaultDescription {
    /// Where it is.
    pub region: String,
    /// The tenant that it trusts.
    pub tenant: String,
    /// Whether deleted keys can be recovered for a while.
    pub soft_delete: bool,
    /// Whether they can't be purged meanwhile.
    pub purge_protection: bool,
}

impl VaultDescription {
    /// A vault in a region that trusts a tenant, without soft delete and purge protection.
    pub fn new(region: impl Into<String>, tenant: impl Into<String>) -> Self {
        let (region, tenant) = (region.into(), tenant.into());
        VaultDescription { region, tenant, soft_delete: false, purge_protection: false }
    }

    /// Says whether deleted keys can be recovered for a while.
    pub fn soft_delete(mut self, soft_delete: bool) -> Self {
        self.soft_delete = soft_delete;
        self
    }

    /// Says whether they can't be purged meanwhile.
    pub fn purge_protection(mut self, purge_protection: bool) -> Self {
        self.purge_protection = purge_protection;
        self
    }
}
