//! Making a BitLocker volume.

use super::aligned::Aligned;
use super::format::{first_used, wipe};
use super::headers::{NewBitLocker, Room};
use super::protect::secret_of;
use super::{BlockDevice, OpenOptions, Volume, signature};
use crate::key::{Credential, Protector};
use crate::{Dek, DekAlgorithm, Error, Result, SectorSize};

/// How many bytes are wiped at the start of a device that held something: other formats have their headers there, and copies of
/// them.
const WIPED: u64 = 8 << 20;
/// The first sectors, which the boot sector takes.
const START: u64 = 8 << 10;

/// The most characters of a description.
const MAX_DESCRIPTION: usize = 256;

/// How to make a BitLocker volume. `BitLockerOptions::new()` is right for most.
#[derive(Debug, Clone)]
pub struct BitLockerOptions {
    algorithm: DekAlgorithm,
    sector_size: SectorSize,
    description: String,
    overwrite: bool,
}

impl Default for BitLockerOptions {
    fn default() -> Self {
        BitLockerOptions {
            algorithm: DekAlgorithm::Aes256Xts,
            sector_size: SectorSize::B512,
            description: String::new(),
            overwrite: false,
        }
    }
}

impl BitLockerOptions {
    /// AES-256-XTS, sectors of 512 bytes, no description.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cipher: [`Aes256Xts`](DekAlgorithm::Aes256Xts), or [`Aes128Xts`](DekAlgorithm::Aes128Xts), which Windows takes by
    /// default.
    pub fn dek_algorithm(mut self, algorithm: DekAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The sector size of the device: 512 or 4096 bytes.
    pub fn sector_size(mut self, sector_size: SectorSize) -> Self {
        self.sector_size = sector_size;
        self
    }

    /// A description, up to 256 characters. Windows has the names of the machine and the drive, and the date.
    pub fn description(mut self, description: &str) -> Self {
        self.description = description.into();
        self
    }

    /// Whether to destroy the device's content. Otherwise the device is refused unless the bytes that the volume needs for itself
    /// are all zero: the first 8 KiB, and 200 KiB near the end.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    fn check(&self) -> Result<()> {
        if self.sector_size != SectorSize::B512 && self.sector_size != SectorSize::B4096 {
            return Err(Error::SectorSize { size: u64::from(self.sector_size.bytes()) });
        }
        if self.description.encode_utf16().count() > MAX_DESCRIPTION || self.description.contains('\0') {
            let text = format!("a description has at most {MAX_DESCRIPTION} characters, none of them zero");
            return Err(Error::InvalidOption(text));
        }
        Ok(())
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Makes a BitLocker volume on `device`, with a new key and `protector` as its first way in: a password or key file, a
    /// recovery password, or the file of a startup key. [`add_protector`](Self::add_protector) adds the second, which Windows asks for.
    ///
    /// The volume's own places lie in the last 268 KiB of the device. [`size`](Self::size) leaves these out. **Make the file
    /// system no larger**: other programs that open the volume show zeros there, and some of them lose data that is written
    /// there. The data area stays as it is, and reads as noise until it is written.
    ///
    /// Reading such a volume was tested with dissect, libbde, dislocker, cryptsetup and Linux's dm-crypt, but not with Windows.
    ///
    /// ```
    /// use atrest::volume::{BitLockerOptions, KeyslotOptions, RecoveryPassword};
    /// use atrest::{Credential, MemoryDevice, OpenOptions, Protector, Volume};
    ///
    /// let device = MemoryDevice::new(4 << 20);
    /// let volume = Volume::format_bitlocker(device, Protector::Passphrase(b"secret"), &BitLockerOptions::new())?;
    /// let recovery = RecoveryPassword::generate()?; // to be printed, and kept apart
    /// volume.add_protector(Protector::RecoveryPassword(recovery.expose()), &KeyslotOptions::new())?;
    /// volume.write_at(0, &[7; 512])?;
    ///
    /// let credential = Credential::RecoveryPassword(recovery.expose());
    /// let volume = Volume::open(volume.into_device(), credential, &OpenOptions::new())?;
    /// let mut sector = [0; 512];
    /// volume.read_at(0, &mut sector)?;
    /// assert_eq!(sector, [7; 512]);
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::DeviceNotBlank`] unless [`overwrite`](BitLockerOptions::overwrite) is set; [`Error::DeviceTooSmall`] under 1
    /// MiB and 4 KiB; [`Error::InvalidOption`], also for a vault, which BitLocker has no place for; [`Error::SectorSize`];
    /// [`Error::NotApproved`]; [`Error::Io`].
    pub fn format_bitlocker(device: D, protector: Protector<'_>, options: &BitLockerOptions) -> Result<Self> {
        options.check()?;
        let device = Aligned::new(device);
        let (secret, by) = secret_of(protector)?;
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let room = Room::of(size)?;
        let dek = Dek::generate(options.algorithm)?;
        let new = NewBitLocker::new(&dek, options.sector_size, &options.description, secret.bytes(), by)?;
        let used = match first_used(&device, 0, START)? {
            Some(used) => Some(used),
            None => first_used(&device, room.start, room.end())?,
        };
        if let Some(offset) = used
            && !options.overwrite
        {
            let found = signature::describe(&device).map_err(|e| Error::io("looking at what the device holds", e))?;
            return Err(Error::DeviceNotBlank { offset, found });
        }
        let made = new.make(&room)?;
        if used.is_some() {
            wipe(&device, 0, WIPED.min(room.start))?;
            wipe(&device, room.start, room.end())?;
        }
        made.write(&device)?;
        let credential = match protector {
            Protector::RecoveryPassword(text) => Credential::RecoveryPassword(text),
            Protector::StartupKey(path) => Credential::StartupKey(path),
            Protector::StartupKeyBytes(file) => Credential::StartupKeyBytes(file),
            _ => Credential::Passphrase(secret.bytes()),
        };
        // It is opened like any other volume, which shows that it can be.
        Self::open(device.into_inner(), credential, &OpenOptions::new())
    }
}
