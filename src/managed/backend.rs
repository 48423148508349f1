//! The interfaces that an embedding service implements: the places of disks, and the access to vaults.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{BlockDevice, FileDevice, KeyVault, Result};

/// A place for disks: files, a pool of block devices, an object store.
pub trait DiskBackend: Send + Sync {
    /// Makes a device of `size` zero bytes in a region. Its name is a UUID that was never used before.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn create(&self, region: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>>;

    /// Opens a device.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Busy`](crate::Error::Busy).
    fn open(&self, region: &str, id: &str) -> Result<Arc<dyn BlockDevice>>;

    /// Removes a device, if it exists. Current users may continue until they close it.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    fn remove(&self, region: &str, id: &str) -> Result<()>;
}

/// Disks as files in one folder, for all regions.
#[derive(Debug, Clone)]
pub struct DiskFolder {
    folder: PathBuf,
    direct_io: bool,
}

impl DiskFolder {
    /// `folder` must exist.
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
            // Once the store forgets the disk, its file must not reappear.
            Ok(()) => crate::fs::sync(&path).map_err(|e| crate::Error::io(format!("removing {}", path.display()), e)),
        }
    }
}

/// Access to customers' vaults. [`FileVaults`](super::FileVaults) implements it for files.
pub trait VaultDirectory: Send + Sync {
    /// The vault of this name, accessed under an identity. The vault itself decides what the identity may do.
    ///
    /// # Errors
    /// [`Error::Vault`](crate::Error::Vault) if there is no such vault, or it can't be reached.
    fn vault(&self, id: &str, identity: &str) -> Result<Arc<dyn KeyVault>>;

    /// The description of the vault of this name.
    ///
    /// # Errors
    /// As [`vault`](Self::vault); [`Error::NotAllowed`](crate::Error::NotAllowed) for a vault that no set can have.
    fn describe(&self, id: &str) -> Result<VaultDescription>;
}

/// The properties of a vault that sets require.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VaultDescription {
    /// Its region.
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

    /// Sets whether deleted keys can be recovered for a while.
    pub fn soft_delete(mut self, soft_delete: bool) -> Self {
        self.soft_delete = soft_delete;
        self
    }

    /// Sets whether they can't be purged meanwhile.
    pub fn purge_protection(mut self, purge_protection: bool) -> Self {
        self.purge_protection = purge_protection;
        self
    }
}
