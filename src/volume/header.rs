//! A header without its key: reading it, and changes that need no key.

use core::fmt;
use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::aligned::Aligned;
use super::headers::{self, StoredHeader};
use super::{BlockDevice, DigestInfo, HeaderFormat, KeyslotInfo, ProtectorId, SegmentInfo, TokenInfo, Volume};
#[cfg(doc)]
use crate::ondisk::luks::LuksVersion;
use crate::ondisk::luks::Priority;
use crate::{Error, Result};

/// The header of a volume, locked or open.
///
/// Its fields come from the disk. For an open volume their MAC was verified; for a locked one nothing was. They are a
/// snapshot from when this value was made, or was last used to change the header. Changes are safe to kill at any
/// instant.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// use atrest::key::{HashAlgorithm, Kdf, Protector};
/// use atrest::volume::{Header, KeyslotOptions, ProtectorId};
/// use atrest::{FormatOptions, MemoryDevice, Volume};
///
/// let cheap = KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 });
/// let options = FormatOptions::new().keyslot(cheap.clone());
/// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"first"), &options)?;
/// volume.add_protector(Protector::Passphrase(b"second"), &cheap)?;
///
/// let device = volume.into_device();
/// let mut header = Header::load(&device)?;
/// assert_eq!(header.keyslots().len(), 2);
/// header.remove_protector(ProtectorId::Keyslot(0))?;
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct Header<'d> {
    device: Aligned<&'d dyn BlockDevice>,
    /// Its content.
    pub(super) stored: Box<dyn StoredHeader>,
    /// The header of the open volume that this belongs to. Changes are made there.
    volume: Option<&'d Mutex<Box<dyn StoredHeader>>>,
    read_only: bool,
}

impl<'d> Header<'d> {
    /// Reads the header of `device`, which may be the device of a detached header or a backup. Nothing is written.
    ///
    /// # Errors
    /// [`Error::NotLuks`]; [`Error::InvalidHeader`]; [`Error::UnsupportedHeader`]; [`Error::DeviceTooSmall`];
    /// [`Error::Io`].
    pub fn load(device: &'d dyn BlockDevice) -> Result<Self> {
        let device = Aligned::new(device);
        Ok(Header { stored: headers::load(&device)?, device, volume: None, read_only: false })
    }

    /// Removes a way into the volume. A keyslot's area is overwritten; a token's bytes are overwritten by the new
    /// header.
    ///
    /// # Errors
    /// [`Error::NoSuchProtector`]; [`Error::LastProtector`]: [`erase`](Self::erase) also removes the last one;
    /// [`Error::ReadOnly`]; [`Error::UnsupportedHeader`] for a header with requirements that this library does not
    /// know; [`Error::Busy`]; [`Error::Io`].
    pub fn remove_protector(&mut self, id: ProtectorId) -> Result<()> {
        self.change(Some(id), |stored, device| {
            // Count the ways in that the device really has, also after a change that failed half-way.
            stored.check_unchanged(device)?;
            let Some(is_a_way_in) = stored.is_a_way_in(id) else {
                return Err(Error::NoSuchProtector(format!("there is no {id}")));
            };
            if is_a_way_in && stored.ways_in() == 1 {
                return Err(Error::LastProtector);
            }
            match id {
                ProtectorId::Keyslot(id) => stored.remove_keyslot(device, id),
                ProtectorId::Token(id) => stored.remove_token(device, id),
            }
        })
    }

    /// Sets the priority of a keyslot.
    ///
    /// # Errors
    /// [`Error::NoSuchProtector`]; [`Error::UnsupportedHeader`] in LUKS1, which has no priorities; as
    /// [`remove_protector`](Self::remove_protector).
    pub fn set_priority(&mut self, keyslot: u32, priority: Priority) -> Result<()> {
        self.change(Some(ProtectorId::Keyslot(keyslot)), |stored, device| {
            stored.priority(keyslot)?;
            stored.set_priority(device, keyslot, priority)
        })
    }

    /// Replaces the volume's labels, of up to 47 bytes each without a zero byte.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::UnsupportedHeader`] in LUKS1, which has no labels; as
    /// [`remove_protector`](Self::remove_protector).
    pub fn set_label(&mut self, label: &str, subsystem: &str) -> Result<()> {
        self.change(None, |stored, device| stored.set_labels(device, label, subsystem))
    }

    /// Inserts a token of another program's type, given as JSON, and returns its number. The bytes are kept exactly;
    /// they need not be UTF-8.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if it isn't sound, or has the type `atrest`; [`Error::NoRoom`];
    /// [`Error::UnsupportedHeader`] in LUKS1, which has no tokens; as [`remove_protector`](Self::remove_protector).
    pub fn import_token(&mut self, json: impl AsRef<[u8]>) -> Result<u32> {
        self.change(None, |stored, device| stored.import_token(device, json.as_ref()))
    }

    /// Converts LUKS1 to LUKS2 in place, as `cryptsetup convert --type luks2` does. Data, volume key, UUID and keyslots
    /// stay, and no credential is needed. Also the header of an open volume can be converted. A header of LUKS2 stays
    /// as it is.
    ///
    /// It is safe to kill at any instant: afterwards each passphrase opens the volume, by LUKS1 or LUKS2, and another
    /// call finishes the conversion. Keyslots keep their numbers unless it was killed. At least one of the eight must be
    /// unused. A backup of the LUKS1 header no longer fits; make a new one.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if all keyslots are taken, or if the data begins too early for a header of LUKS2;
    /// [`Error::UnsupportedHeader`] for keyslots in unusual places, for a header that can't be opened, and for BitLocker;
    /// [`Error::ForeignData`] for the metadata of luksmeta; [`Error::DeviceTooSmall`] for a detached header or a backup
    /// without room for one of LUKS2; [`Error::ReadOnly`]; [`Error::Busy`]; [`Error::Io`]: then repeat it.
    pub fn convert_to_luks2(&mut self) -> Result<()> {
        self.change(None, headers::convert_to_luks2)
    }

    /// Destroys every way in: all keyslots with their whole area, and all tokens. Afterwards only somebody with the DEK
    /// itself or a backup of the header can read the data, of any size. Of a BitLocker volume all protectors go, in all
    /// copies of its metadata.
    ///
    /// # Errors
    /// [`Error::UnsupportedHeader`] for a BitLocker volume that isn't encrypted as a whole, and for one of Windows Vista;
    /// [`Error::ReadOnly`]; [`Error::Busy`]; [`Error::Io`]: then repeat it.
    pub fn erase(&mut self) -> Result<()> {
        self.change(None, |stored, device| stored.erase(device))
    }

    /// Finishes the work that a killed process or a damaged copy left, like opening the volume does. Returns whether
    /// there was any.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Busy`]; [`Error::ForeignData`] if the place of a copy holds something neither
    /// blank nor the remains of a header; [`Error::Io`].
    pub fn repair(&mut self) -> Result<bool> {
        self.recover(false)
    }

    /// As [`repair`](Self::repair), but foreign data at the place of a copy **is destroyed.**
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Busy`]; [`Error::ForeignData`] for BitLocker metadata that name a place where no copy can be: over
    /// the boot sector, or behind the volume; [`Error::Io`].
    pub fn hazmat_repair(&mut self) -> Result<bool> {
        self.recover(true)
    }

    fn recover(&mut self, overwrite: bool) -> Result<bool> {
        self.change(None, |stored, device| {
            let needed = stored.needs_recovery();
            if needed {
                stored.recover(device, overwrite)?;
            }
            Ok(needed)
        })
    }

    /// Whether [`repair`](Self::repair) has anything to do.
    pub fn needs_repair(&self) -> bool {
        self.stored.needs_recovery()
    }

    /// The format, which compares with a [`LuksVersion`] too.
    pub fn format(&self) -> HeaderFormat {
        self.stored.format()
    }

    /// The UUID, as text.
    pub fn uuid(&self) -> &str {
        self.stored.uuid()
    }

    /// The label; empty if there is none. Bytes that aren't UTF-8 show as U+FFFD.
    pub fn label(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.label_bytes())
    }

    /// The second label; empty if there is none. Bytes that aren't UTF-8 show as U+FFFD.
    pub fn subsystem(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.subsystem_bytes())
    }

    /// The label as bytes, up to 47 in any encoding. Rewriting the header keeps them.
    pub fn label_bytes(&self) -> &[u8] {
        self.stored.labels().0
    }

    /// The second label as bytes.
    pub fn subsystem_bytes(&self) -> &[u8] {
        self.stored.labels().1
    }

    /// The keyslots, ordered by number.
    pub fn keyslots(&self) -> Vec<KeyslotInfo> {
        self.stored.keyslot_infos()
    }

    /// The tokens, ordered by number; none in LUKS1.
    pub fn tokens(&self) -> Vec<TokenInfo> {
        self.stored.token_infos()
    }

    /// The segments of data, ordered by number.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.stored.segment_infos()
    }

    /// The digests that verify keys, ordered by number.
    pub fn digests(&self) -> Vec<DigestInfo> {
        self.stored.digest_infos()
    }

    /// Flags of the header, such as `allow-discards`; none in LUKS1.
    pub fn flags(&self) -> Vec<String> {
        self.stored.flags()
    }

    /// The header's sequence number, which grows with each write; `None` in LUKS1, which has none.
    pub fn epoch(&self) -> Option<u64> {
        self.stored.epoch()
    }

    /// The header's JSON, byte for byte; `None` but for LUKS2.
    pub fn metadata_json(&self) -> Option<&[u8]> {
        self.stored.metadata_json()
    }

    /// The size in bytes of one copy of the header's metadata; in LUKS1, of the header.
    pub fn metadata_size(&self) -> u64 {
        self.stored.metadata_size()
    }

    /// The size in bytes of the room for keyslots, which follows the metadata.
    pub fn keyslots_size(&self) -> u64 {
        self.stored.keyslots_size()
    }

    /// Features that a reader must know to open the volume. An unfinished reencryption is one of them.
    pub fn requirements(&self) -> Vec<String> {
        self.stored.requirements()
    }

    /// The number of bytes at the start of the device that the header takes with its keyslots.
    pub fn size(&self) -> u64 {
        self.stored.len()
    }

    pub(super) fn device(&self) -> &dyn BlockDevice {
        &self.device
    }

    /// Locks the volume's header against other changes.
    pub(super) fn hold(&self) -> Option<MutexGuard<'d, Box<dyn StoredHeader>>> {
        self.volume.map(|volume| volume.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the header, or the open volume's header, which other threads may have changed meanwhile. The keyslot or
    /// token `named` must still be the one in this snapshot: otherwise the number may belong to another keyslot by now.
    fn change<T>(
        &mut self,
        named: Option<ProtectorId>,
        change: impl FnOnce(&mut Box<dyn StoredHeader>, &dyn BlockDevice) -> Result<T>,
    ) -> Result<T> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let Some(mut held) = self.hold() else { return change(&mut self.stored, &self.device) };
        if named.is_some_and(|id| !held.has_same(id, &*self.stored)) {
            return Err(Error::Busy { what: "the header, which was changed since it was asked for,".into() });
        }
        let changed = change(&mut held, &self.device);
        self.stored = held.boxed();
        changed
    }
}

impl<D: BlockDevice> Volume<D> {
    /// A snapshot of the volume's current header. It holds no lock: any number of snapshots may exist in any number of
    /// threads. A change through one changes the volume's header. A change of a keyslot or token that differs from this
    /// snapshot by now fails with [`Error::Busy`].
    pub fn header(&self) -> Header<'_> {
        let stored = self.locked_header().boxed();
        Header {
            device: Aligned::new(self.header_device()),
            stored,
            volume: Some(&self.header),
            read_only: self.read_only,
        }
    }
}

impl fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("format", &self.format())
            .field("uuid", &self.uuid())
            .field("keyslots", &self.keyslots())
            .field("tokens", &self.tokens())
            .field("segments", &self.segments())
            .finish_non_exhaustive()
    }
}
