//! Backups of headers: the bytes of the header and its keyslots, in the form of `cryptsetup luksHeaderBackup`.

use super::aligned::Aligned;
use super::headers::{self, StoredHeader};
use super::{BlockDevice, Header, MemoryDevice};
use crate::{Error, Result, TooSmall};

/// The most bytes of a backup: two copies of a LUKS2 header of 4 MiB each, and 128 MiB of keyslots. A LUKS1 keyslot can
/// claim any place below 2 TiB.
const MAX_SIZE: usize = 136 << 20;

impl Header<'_> {
    /// The header with its keyslots. [`restore`](Self::restore) and `cryptsetup luksHeaderRestore` take these bytes.
    ///
    /// A backup opens the volume with the credentials of its time, including those removed since.
    ///
    /// # Errors
    /// [`Error::InvalidHeader`] for LUKS1 keyslots that lie too far away; [`Error::DeviceTooSmall`]; [`Error::Io`].
    pub fn backup(&self) -> Result<Vec<u8>> {
        self.stored.check_backup()?;
        let size = usize::try_from(self.size()).ok().filter(|size| *size <= MAX_SIZE);
        let size = size.ok_or_else(|| {
            Error::InvalidHeader(format!("its keyslots end at byte {}, too far for a backup", self.size()))
        })?;
        let _held = self.hold();
        let device_size = self.device().size().map_err(|e| Error::io("asking the device for its size", e))?;
        if device_size < self.size() {
            return Err(Error::DeviceTooSmall { what: TooSmall::Header, needed: self.size(), size: device_size });
        }
        let mut backup = vec![0; size];
        self.device().read_at(0, &mut backup).map_err(|e| Error::io("reading the header for a backup", e))?;
        Ok(backup)
    }

    /// Writes a backup over the header of `device`. The backup must be of this volume: same UUID, and data in the same
    /// place.
    ///
    /// If it is killed, repeat it; no data is touched. Afterwards the credentials of the backup's time open the volume.
    ///
    /// # Errors
    /// [`Error::NotLuks`], [`Error::InvalidHeader`], [`Error::UnsupportedHeader`], [`Error::DeviceTooSmall`] for the
    /// backup or the current header; [`Error::OtherHeader`] if it is another volume's; [`Error::ForeignData`];
    /// [`Error::Io`].
    pub fn restore(device: &dyn BlockDevice, backup: &[u8]) -> Result<()> {
        let (device, backup) = (&Aligned::new(device), Backup::read(backup)?);
        let current = headers::load(device)?;
        backup.check_same(&*current)?;
        current.check_foreign()?;
        backup.write(device, Some(&*current))
    }

    /// Writes a backup to the start of `device`, over any content: a damaged header, another volume's header, data.
    ///
    /// # Errors
    /// As [`restore`](Self::restore) for the backup; [`Error::DeviceTooSmall`].
    pub fn hazmat_restore(device: &dyn BlockDevice, backup: &[u8]) -> Result<()> {
        let (device, backup) = (&Aligned::new(device), Backup::read(backup)?);
        let current = headers::load(device).ok();
        backup.write(device, current.as_deref())
    }
}

/// A backup that was checked.
struct Backup<'b> {
    bytes: &'b [u8],
    header: Box<dyn StoredHeader>,
}

impl<'b> Backup<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self> {
        let header = headers::load(&MemoryDevice::from_bytes(bytes.to_vec()))?;
        if (bytes.len() as u64) < header.len() {
            return Err(Error::DeviceTooSmall {
                what: TooSmall::Header,
                needed: header.len(),
                size: bytes.len() as u64,
            });
        }
        header.check_backup()?;
        header.check_requirements()?;
        Ok(Backup { bytes: &bytes[..header.len() as usize], header })
    }

    fn check_same(&self, current: &dyn StoredHeader) -> Result<()> {
        current.check_backup()?;
        current.check_requirements()?;
        let other = |what: &str, backup: &str, device: &str| {
            Err(Error::OtherHeader(format!("its {what} is {backup}, the header's is {device}")))
        };
        if self.header.format() != current.format() {
            return other("format", &self.header.format().to_string(), &current.format().to_string());
        }
        if self.header.uuid() != current.uuid() {
            return other("uuid", self.header.uuid(), current.uuid());
        }
        if self.header.key_digest() != current.key_digest() {
            // The volume was re-encrypted under another key.
            return Err(Error::OtherHeader("it has another volume key than the header".into()));
        }
        if self.header.len() != current.len() {
            return other("size", &self.header.len().to_string(), &current.len().to_string());
        }
        let offset = |header: &dyn StoredHeader| header.segment_infos().first().map_or(0, |segment| segment.offset);
        if offset(&*self.header) != offset(current) {
            return other("data offset", &offset(&*self.header).to_string(), &offset(current).to_string());
        }
        Ok(())
    }

    fn write(mut self, device: &dyn BlockDevice, current: Option<&dyn StoredHeader>) -> Result<()> {
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        if size < self.header.len() {
            return Err(Error::DeviceTooSmall { what: TooSmall::NewHeader, needed: self.header.len(), size });
        }
        self.header.restore(device, self.bytes, current)
    }
}
