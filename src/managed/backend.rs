//! The interfaces that an embedding service implements: the places of disks, and the access to vaults.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{BlockDevice, Error, FileDevice, KeyVault, Result};

/// A place for disks: files, a pool of block devices, an object store.
pub trait DiskBackend: Send + Sync {
    /// Makes a device of `size` zero bytes in a region. Its name is a UUID that was never used before.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn create(&self, region: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>>;

    /// Opens a device.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Busy`].
    fn open(&self, region: &str, id: &str) -> Result<Arc<dyn BlockDevice>>;

    /// Opens an existing plain image, by whatever name the backend knows images, to look at it before it is imported. Nothing
    /// is written.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Busy`]; [`Error::Io`];
    /// [`Error::InvalidOption`] by default: the backend takes in no images.
    fn open_image(&self, region: &str, image: &str) -> Result<Arc<dyn BlockDevice>> {
        let _ = (region, image);
        Err(no_images())
    }

    /// Makes such an image the device of this id, and grows it with zeros to `size` bytes. It then has this name only. If it
    /// was killed or failed, it is called again with the same arguments, and finishes: the image may be the device already.
    ///
    /// # Errors
    /// As [`open_image`](Self::open_image).
    fn adopt_image(&self, region: &str, id: &str, image: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let _ = (region, id, image, size);
        Err(no_images())
    }

    /// Removes a device, if it exists. Current users may continue until they close it.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn remove(&self, region: &str, id: &str) -> Result<()>;

    /// The ids of all devices in a region that were made by [`create`](Self::create), in no order, including devices that no
    /// service knows any more. Other files there, such as images, aren't among them.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::InvalidOption`] by default: the backend can't tell.
    fn list(&self, region: &str) -> Result<Vec<String>> {
        let _ = region;
        Err(Error::InvalidOption("this backend can't list its devices; ask what they lie on".into()))
    }
}

/// A device that refuses writes.
pub(super) struct ReadOnly(pub(super) Arc<dyn BlockDevice>);

impl BlockDevice for ReadOnly {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, bytes)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a backend says that there is no such device.
pub(super) fn is_absent(error: &Error) -> bool {
    match error {
        Error::NotFound { .. } => true,
        Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

fn no_images() -> Error {
    Error::InvalidOption(
        "this backend can't make an existing image a disk; make a disk, and copy the data into it".into(),
    )
}

/// Disks as files in one folder, for all regions. Images are files, named by their path; one that is imported must be on the same
/// file system as the folder, since it is moved there.
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

    fn open_image(&self, _: &str, image: &str) -> Result<Arc<dyn BlockDevice>> {
        let is_file = std::fs::symlink_metadata(image).map(|found| found.is_file());
        if is_file.is_ok_and(|is_file| !is_file) {
            return Err(Error::InvalidOption(format!("the image {image:?} is no plain file")));
        }
        Ok(Arc::new(FileDevice::open_read_only(image)?))
    }

    fn adopt_image(&self, _: &str, id: &str, image: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let (image, path) = (Path::new(image), self.path(id));
        let failed = |e| Error::io(format!("moving {} to {}", image.display(), path.display()), e);
        if !path.try_exists().map_err(failed)? {
            // Nobody has it open, nor will in between.
            let _held = FileDevice::open(image)?;
            std::fs::rename(image, &path).map_err(failed)?;
            crate::fs::sync(image).map_err(failed)?;
        }
        crate::fs::sync(&path).map_err(failed)?;
        let device = FileDevice::open(&path)?;
        let growing = |e| Error::io(format!("growing {} to {size} bytes", path.display()), e);
        if device.size().map_err(growing)? < size {
            device.file().set_len(size).and_then(|()| device.file().sync_all()).map_err(growing)?;
        }
        self.device(device)
    }

    fn remove(&self, _: &str, id: &str) -> Result<()> {
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(format!("removing {}", path.display()), e)),
            Err(_) => Ok(()),
            // Once the store forgets the disk, its file must not reappear.
            Ok(()) => crate::fs::sync(&path).map_err(|e| Error::io(format!("removing {}", path.display()), e)),
        }
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        let failed = |e| Error::io(format!("listing {}", self.folder.display()), e);
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // Images that were not made here have names of their own.
            let id = name.to_str().and_then(|name| name.strip_suffix(".disk"));
            ids.extend(id.filter(|id| uuid::Uuid::try_parse(id).is_ok()).map(str::to_owned));
        }
        Ok(ids)
    }
}

/// Access to customers' vaults. [`KnownVaults`](super::KnownVaults) implements it.
pub trait VaultDirectory: Send + Sync {
    /// The vault of this name, accessed under an identity. The vault itself decides what the identity may do.
    ///
    /// # Errors
    /// [`Error::Vault`] if there is no such vault, or it can't be reached.
    fn vault(&self, id: &str, identity: &str) -> Result<Arc<dyn KeyVault>>;

    /// The description of the vault of this name.
    ///
    /// # Errors
    /// As [`vault`](Self::vault); [`Error::NotAllowed`] for a vault that no set can have.
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
