//! [`Volume`]: an encrypted device.

mod aligned;
mod backup;
mod data_area;
mod device;
mod file_device;
mod format;
mod header;
mod headers;
mod info;
mod io;
mod layout;
mod open;
mod protect;
mod rotate;
mod scratch;
pub(crate) mod signature;
mod submit;
mod unlock;

use core::fmt;
use std::sync::{Arc, Mutex};

use crate::approval::Approval;
use crate::cipher::CipherSpec;
use crate::usage::KeyUsage;
use crate::{Dek, Result, SectorSize};
use aligned::Aligned;
use data_area::DataArea;
use headers::StoredHeader;
use layout::Layout;

pub use crate::ondisk::luks::{Label, LuksVersion, Priority};
pub use device::{BlockDevice, MemoryDevice};
pub use file_device::FileDevice;
pub use format::FormatOptions;
pub use header::Header;
pub use info::{DigestInfo, KeyslotInfo, ProtectorId, SegmentInfo, TokenInfo};
pub use open::OpenOptions;
pub use protect::KeyslotOptions;

/// An encrypted device: a header of LUKS2, or of LUKS1, and sectors of AES-XTS (`aes-xts-plain64`), or of what else an old
/// volume has.
///
/// Reads and writes are in whole sectors, at byte offsets from the start of the data. Any number of threads may read and
/// write at once; two that write the same sectors at once leave either's data in each sector, as on a disk.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.vault");
/// use atrest::vault::{FileVault, Unlock};
/// use atrest::{Credential, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};
///
/// let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// vault.create_key("disks")?;
///
/// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Vault(&vault, "disks"), &FormatOptions::new())?;
/// volume.write_at(4096, &[7; 1024])?;
/// volume.sync()?;
///
/// let volume = Volume::open(volume.into_device(), Credential::Vault(&vault), &OpenOptions::new())?;
/// let mut sectors = [0; 1024];
/// volume.read_at(4096, &mut sectors)?;
/// assert_eq!(sectors, [7; 1024]);
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct Volume<D> {
    device: Aligned<D>,
    /// The device of a detached header.
    header_device: Option<Aligned<Arc<dyn BlockDevice>>>,
    dek: Dek,
    data: DataArea,
    layout: Layout,
    read_only: bool,
    /// What it was opened or made by.
    made_by: Approval,
    /// The blocks that its key had encrypted before.
    used_blocks: u64,
    header: Mutex<Box<dyn StoredHeader>>,
}

impl<D: BlockDevice> Volume<D> {
    /// The size of the data in bytes: what can be read and written.
    pub fn size(&self) -> u64 {
        self.layout.size
    }

    /// The sector size: offsets and lengths of reads and writes are multiples of it.
    pub fn sector_size(&self) -> SectorSize {
        self.layout.sector_size
    }

    /// Where the data begins on the device, in bytes.
    pub fn data_offset(&self) -> u64 {
        self.layout.extents[0].device_offset
    }

    /// How the data is encrypted, in dm-crypt's notation.
    pub fn cipher(&self) -> CipherSpec {
        self.data.cipher
    }

    /// Whether all of it is done by [approved](crate::approval) algorithms: its cipher, and what it was opened or formatted by
    /// (a vault's key, a KDF, the header's digest).
    pub fn approval(&self) -> Approval {
        self.made_by.and(self.data.cipher.approval())
    }

    /// How much its key has encrypted: what [`OpenOptions::used_blocks`] said, and every block that was written since. To be
    /// kept when the volume is closed, if a volume shall be told from one that is due for another key.
    pub fn usage(&self) -> KeyUsage {
        let ciphers = self.layout.extents.iter().filter_map(|extent| extent.cipher.as_ref());
        let written = ciphers.map(|cipher| cipher.usage().blocks());
        KeyUsage::new(written.fold(self.used_blocks, u64::saturating_add))
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The DEK, for those who wrap it elsewhere too.
    pub fn dek(&self) -> &Dek {
        &self.dek
    }

    /// Which DEK it has, to be kept apart from the disk and demanded by [`OpenOptions::expect`]: see
    /// [`Fingerprint`](crate::Fingerprint).
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn fingerprint(&self) -> Result<crate::Fingerprint> {
        self.dek.fingerprint()
    }

    /// The device below.
    pub fn device(&self) -> &D {
        self.device.get()
    }

    /// Ends the volume and gives the device back. What was written and not synced may not have reached the disk.
    pub fn into_device(self) -> D {
        self.device.into_inner()
    }
}

impl<D> fmt::Debug for Volume<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("cipher", &self.data.cipher)
            .field("size", &self.layout.size)
            .field("sector_size", &self.layout.sector_size)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
