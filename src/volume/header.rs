//! A header without the key: looked at, and changed where no key is needed.

use core::fmt;
use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::aligned::Aligned;
use super::headers::{self, StoredHeader};
use super::{BlockDevice, DigestInfo, KeyslotInfo, ProtectorId, SegmentInfo, TokenInfo, Volume};
use crate::ondisk::luks::{LuksVersion, Priority};
use crate::{Error, Result};

/// The header of a volume, locked or open.
///
/// What it says is what the disk says, which nothing has proven: of a volume that is open, the MAC has been checked, of
/// one that is locked nothing. It is what was there when this was made, or last changed through this. Changes are safe to
/// kill at any instant.
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
    /// What it says.
    pub(super) stored: Box<dyn StoredHeader>,
    /// That of the volume that this is the header of, which changes are made to.
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

    /// Takes a way in away. What was in a keyslot's area is overwritten; a token's bytes are, by the new header.
    ///
    /// # Errors
    /// [`Error::NoSuchProtector`]; [`Error::LastProtector`]: [`erase`](Self::erase) takes the last one too;
    /// [`Error::ReadOnly`]; [`Error::UnsupportedHeader`] for a header that demands what this library does not know;
    /// [`Error::Busy`]; [`Error::Io`].
    pub fn remove_protector(&mut self, id: ProtectorId) -> Result<()> {
        self.change(Some(id), |stored, device| {
            // What is counted has to be what the device has, also after a change that failed half-way.
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

    /// Says when a keyslot is tried.
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

    /// Gives the volume other labels, of up to 47 bytes each without a zero byte.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::UnsupportedHeader`] in LUKS1, which has no labels; as
    /// [`remove_protector`](Self::remove_protector).
    pub fn set_label(&mut self, label: &str, subsystem: &str) -> Result<()> {
        self.change(None, |stored, device| stored.set_labels(device, label, subsystem))
    }

    /// Puts in a token of another program's type, as JSON, byte for byte, and returns its number. A text in it need not be
    /// UTF-8.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when it isn't sound, or of type `atrest`; [`Error::NoRoom`]; [`Error::UnsupportedHeader`]
    /// in LUKS1, which has no tokens; as [`remove_protector`](Self::remove_protector).
    pub fn import_token(&mut self, json: impl AsRef<[u8]>) -> Result<u32> {
        self.change(None, |stored, device| stored.import_token(device, json.as_ref()))
    }

    /// Destroys every way in: all keyslots, with all that their room may hold, and all tokens. Nobody gets at the data any
    /// more, however much there is of it, but who has the DEK itself or a backup of the header.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Busy`]; [`Error::Io`]: then it is to be done again.
    pub fn erase(&mut self) -> Result<()> {
        self.change(None, |stored, device| stored.erase(device))
    }

    /// Does what a killed process or a damaged copy has left to do, as opening the volume does, and says whether there was
    /// anything.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Busy`]; [`Error::ForeignData`] where a copy belongs and something stands that is
    /// neither blank nor remains of a header; [`Error::Io`].
    pub fn repair(&mut self) -> Result<bool> {
        self.recover(false)
    }

    /// As [`repair`](Self::repair), whatever stands where a copy of the header belongs. **It is destroyed.**
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Busy`]; [`Error::Io`].
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

    /// Whether there is anything for [`repair`](Self::repair) to do.
    pub fn needs_repair(&self) -> bool {
        self.stored.needs_recovery()
    }

    /// The version of LUKS.
    pub fn version(&self) -> LuksVersion {
        self.stored.version()
    }

    /// The UUID, as text.
    pub fn uuid(&self) -> &str {
        self.stored.uuid()
    }

    /// The label, empty where there is none. What of it isn't UTF-8 shows as U+FFFD.
    pub fn label(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.label_bytes())
    }

    /// The second label, empty where there is none. What of it isn't UTF-8 shows as U+FFFD.
    pub fn subsystem(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.subsystem_bytes())
    }

    /// The label as bytes, up to 47 in whatever encoding, which are kept when the header is written anew.
    pub fn label_bytes(&self) -> &[u8] {
        self.stored.labels().0
    }

    /// The second label as bytes.
    pub fn subsystem_bytes(&self) -> &[u8] {
        self.stored.labels().1
    }

    /// The keyslots that there are, by number.
    pub fn keyslots(&self) -> Vec<KeyslotInfo> {
        self.stored.keyslot_infos()
    }

    /// The tokens, by number; none in LUKS1.
    pub fn tokens(&self) -> Vec<TokenInfo> {
        self.stored.token_infos()
    }

    /// The segments of data, by number.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.stored.segment_infos()
    }

    /// The digests that prove keys, by number.
    pub fn digests(&self) -> Vec<DigestInfo> {
        self.stored.digest_infos()
    }

    /// Flags of the header, such as `allow-discards`; none in LUKS1.
    pub fn flags(&self) -> Vec<String> {
        self.stored.flags()
    }

    /// How often the header was written: its sequence number, which LUKS1 has not.
    pub fn epoch(&self) -> Option<u64> {
        self.stored.epoch()
    }

    /// The size of one copy of the header's metadata in bytes; of LUKS1, the size of its header.
    pub fn metadata_size(&self) -> u64 {
        self.stored.metadata_size()
    }

    /// The size of the room for keyslots in bytes, which follows the metadata.
    pub fn keyslots_size(&self) -> u64 {
        self.stored.keyslots_size()
    }

    /// What a reader must know to open the volume; a reencryption that is not finished says so here.
    pub fn requirements(&self) -> Vec<String> {
        self.stored.requirements()
    }

    /// How many bytes at the start of the device the header takes with its keyslots.
    pub fn size(&self) -> u64 {
        self.stored.len()
    }

    pub(super) fn device(&self) -> &dyn BlockDevice {
        &self.device
    }

    /// Keeps others of this volume from changing the header meanwhile.
    pub(super) fn hold(&self) -> Option<MutexGuard<'d, Box<dyn StoredHeader>>> {
        self.volume.map(|volume| volume.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the header: the volume's, where there is one, which other threads may have changed since this was made. What
    /// the caller names must be what this says it is, lest another keyslot is changed that got its number meanwhile.
    fn change<T>(
        &mut self,
        named: Option<ProtectorId>,
        change: impl FnOnce(&mut dyn StoredHeader, &dyn BlockDevice) -> Result<T>,
    ) -> Result<T> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let Some(mut held) = self.hold() else { return change(&mut *self.stored, &self.device) };
        if named.is_some_and(|id| !held.has_same(id, &*self.stored)) {
            return Err(Error::Busy { what: "the header, which was changed since it was asked for,".into() });
        }
        let changed = change(&mut **held, &self.device);
        self.stored = held.boxed();
        changed
    }
}

impl<D: BlockDevice> Volume<D> {
    /// The volume's header as it is now. Nothing is held: any number of these may be around, in any number of threads, and
    /// the volume goes on. A change through one is a change of the volume's header; one that names a keyslot or token which
    /// isn't any more what this one says is refused with [`Error::Busy`].
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
            .field("version", &self.version())
            .field("uuid", &self.uuid())
            .field("keyslots", &self.keyslots())
            .field("tokens", &self.tokens())
            .field("segments", &self.segments())
            .finish_non_exhaustive()
    }
}
