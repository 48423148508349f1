//! [`Volume`]: an encrypted device.

mod aligned;
mod backup;
mod chunks;
mod data_area;
mod describe;
mod device;
mod discard;
#[cfg(feature = "managed")]
mod expected;
mod file_device;
mod format;
#[cfg(feature = "bitlocker")]
mod format_bitlocker;
mod header;
mod headers;
mod info;
mod io;
mod keys;
mod layout;
mod live;
mod moving;
mod open;
mod plain;
mod protect;
#[cfg(feature = "bitlocker")]
mod recovery_password;
mod reencrypt;
mod resize;
mod rotate;
mod scratch;
pub(crate) mod signature;
#[cfg(feature = "bitlocker")]
mod startup_key;
mod steps;
mod submit;
#[cfg(feature = "bitlocker")]
mod suspend;
mod token_keyslot;
mod unlock;
mod written;

use core::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use crate::approval::Approval;
use crate::cipher::CipherSpec;
use crate::usage::KeyUsage;
use crate::{Dek, Result, SectorSize};
use aligned::Aligned;
use headers::StoredHeader;
use live::Live;
use steps::Steps;
use written::Written;

pub use crate::ondisk::luks::{Label, LuksVersion, Priority};
pub use chunks::VolumeExtent;
pub use device::{BlockDevice, MemoryDevice, write_zeros};
#[cfg(feature = "managed")]
pub(crate) use expected::{Expected, KnownDek};
pub use file_device::FileDevice;
pub use format::FormatOptions;
#[cfg(feature = "bitlocker")]
pub use format_bitlocker::BitLockerOptions;
pub use header::Header;
pub use info::{DigestInfo, HeaderFormat, KeyslotInfo, ProtectorId, SegmentInfo, TokenInfo};
#[cfg(feature = "managed")]
pub(crate) use open::Closed;
pub use open::OpenOptions;
pub use plain::PlainOptions;
pub use protect::KeyslotOptions;
#[cfg(feature = "bitlocker")]
pub use recovery_password::RecoveryPassword;
#[cfg(feature = "managed")]
pub(crate) use reencrypt::{Begun, intended};
pub use reencrypt::{ReencryptOptions, Resilience};
#[cfg(feature = "bitlocker")]
pub use startup_key::StartupKey;
pub use steps::ReencryptionProgress;
pub use submit::Sectors;
pub use token_keyslot::{TokenOptions, token_passphrase};

/// An encrypted device: a LUKS2 or LUKS1 header, and sectors under AES-XTS (`aes-xts-plain64`) or an old volume's cipher. With
/// the feature `bitlocker` also a BitLocker volume of Windows, opened by the [credentials](crate::Credential) that Windows has
/// for one.
///
/// Reads and writes are in whole sectors, at byte offsets from the start of the data. Any number of threads may read
/// and write at once. If two write the same sectors at once, each sector ends up with the data of either, as on a disk.
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
    /// The device of a detached header. A decryption may give it one.
    header_device: OnceLock<Aligned<Arc<dyn BlockDevice>>>,
    live: Live,
    read_only: bool,
    discards: bool,
    /// The approval of opening or formatting it.
    made_by: Approval,
    header: Mutex<Box<dyn StoredHeader>>,
    /// Which chunks were written, if others read as zeros.
    written: Option<Written>,
    steps: Steps,
}

impl<D: BlockDevice> Volume<D> {
    /// A volume that can be written, without discards. The way it was made counts as approved until the caller says otherwise.
    fn new(
        device: Aligned<D>,
        header_device: Option<Aligned<Arc<dyn BlockDevice>>>,
        live: Live,
        header: Box<dyn StoredHeader>,
    ) -> Self {
        Volume {
            device,
            header_device: header_device.map_or_else(OnceLock::new, OnceLock::from),
            live,
            read_only: false,
            discards: false,
            made_by: Approval::Approved,
            header: Mutex::new(header),
            written: None,
            steps: Steps::default(),
        }
    }

    /// The size of the data in bytes.
    pub fn size(&self) -> u64 {
        self.live.get().layout.size
    }

    /// The sector size. Offsets and lengths of reads and writes must be multiples of it.
    pub fn sector_size(&self) -> SectorSize {
        self.live.get().layout.sector_size
    }

    /// The first byte of the data on the device.
    pub fn data_offset(&self) -> u64 {
        self.live.get().layout.extents[0].device_offset
    }

    /// The cipher of the data, in dm-crypt's notation.
    pub fn cipher(&self) -> CipherSpec {
        self.live.get().data.cipher
    }

    /// Whether everything uses [approved](crate::approval) algorithms: the data's cipher, and the way in which the
    /// volume was opened or formatted (a vault's key, a KDF, the header's digest).
    pub fn approval(&self) -> Approval {
        let live = self.live.get();
        self.made_by.and(live.data.cipher.approval_for_key(live.keys.current.dek.algorithm().key_len()))
    }

    /// How much its key has encrypted: [`OpenOptions::used_blocks`] and every block written since. Store it when you
    /// close the volume, to find out when its key is due for replacement.
    pub fn usage(&self) -> KeyUsage {
        self.live.get().keys.current.usage()
    }

    /// Whether writes are refused.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The DEK, for wrapping it elsewhere too. During a re-encryption, the new one.
    pub fn dek(&self) -> Arc<Dek> {
        self.live.get().keys.current.dek.clone()
    }

    /// The fingerprint of its DEK. Keep it apart from the disk and demand it with [`OpenOptions::expect`]: see
    /// [`Fingerprint`](crate::Fingerprint).
    ///
    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked).
    pub fn fingerprint(&self) -> Result<crate::Fingerprint> {
        self.dek().fingerprint()
    }

    /// The fingerprint of the old DEK during a re-encryption that has one.
    #[cfg(feature = "managed")]
    pub(crate) fn previous_fingerprint(&self) -> Result<Option<crate::Fingerprint>> {
        self.live.get().keys.previous.as_ref().map(|previous| previous.dek.fingerprint()).transpose()
    }

    /// Checks its keys, and a re-encryption under way, against a record.
    #[cfg(feature = "managed")]
    pub(crate) fn check_record(&self, expected: &Expected) -> Result<()> {
        let state = self.live.get();
        let done = state.data.moving.as_ref().map(|moving| moving.done(state.layout.size));
        let previous = state.keys.previous.as_ref().map(|previous| &*previous.dek);
        expected.check(&state.keys.current.dek, previous, done).map(drop)
    }

    /// The device below.
    pub fn device(&self) -> &D {
        self.device.get()
    }

    /// Closes the volume and returns the device. Data that was not synced may not have reached the disk.
    pub fn into_device(self) -> D {
        if self.written.is_some() && !self.read_only {
            // Otherwise chunks first written since the last sync would read as zeros. Callers that need the error sync first.
            let _ = self.sync();
        }
        self.device.into_inner()
    }
}

impl<D> fmt::Debug for Volume<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.live.get();
        f.debug_struct("Volume")
            .field("cipher", &state.data.cipher)
            .field("size", &state.layout.size)
            .field("sector_size", &state.layout.sector_size)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
