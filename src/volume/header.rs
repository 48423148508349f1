//! A header without the key: looked at, and changed where no key is needed.

use core::fmt;
use core::ops::{Deref, DerefMut};
use std::sync::MutexGuard;

use super::stored::StoredHeader;
use super::{BlockDevice, ProtectorId, Volume};
use crate::luks::{LuksVersion, Priority};
use crate::{Error, Result};

/// The header of a volume, locked or open.
///
/// What it says is what the disk says, which nothing has proven: of a volume that is open, the MAC has been checked, of
/// one that is locked nothing. Changes are safe to kill at any instant.
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
    device: &'d dyn BlockDevice,
    stored: Held<'d>,
    read_only: bool,
}

enum Held<'d> {
    Own(Box<StoredHeader>),
    Volumes(MutexGuard<'d, StoredHeader>),
}

/// A keyslot, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyslotInfo {
    /// Its number.
    pub id: u32,
    /// `luks2` for a passphrase's, `reencrypt`, or what else the header has; `luks1` in LUKS1.
    pub kind: String,
    /// The length of the key in it, in bits.
    pub key_bits: u32,
    /// When it is tried.
    pub priority: Priority,
    /// The key derivation: `pbkdf2`, `argon2i`, `argon2id`, or empty.
    pub kdf: String,
    /// The hash of PBKDF2, or empty.
    pub hash: String,
    /// Iterations of PBKDF2, or passes of Argon2.
    pub iterations: u32,
    /// Memory of Argon2 in KiB.
    pub memory_kib: u32,
    /// Lanes of Argon2.
    pub lanes: u32,
    /// How its area is encrypted, in dm-crypt's notation.
    pub cipher: String,
    /// The length of the key of its area, in bits.
    pub area_key_bits: u32,
    /// The salt of the key derivation.
    pub salt: Vec<u8>,
    /// The hash of the anti-forensic splitter.
    pub af_hash: String,
    /// The stripes of the anti-forensic splitter.
    pub af_stripes: u32,
    /// Where its area begins on the device of the header, in bytes.
    pub area_offset: u64,
    /// The size of its area in bytes.
    pub area_size: u64,
    /// Digests that prove its key.
    pub digests: Vec<u32>,
    /// Whether its key is that of the data, by a digest of it.
    pub holds_data_key: bool,
}

/// A token, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenInfo {
    /// Its number.
    pub id: u32,
    /// Its type: `atrest` for ours.
    pub kind: String,
    /// The keyslots that it is for.
    pub keyslots: Vec<u32>,
    /// For a sound token of ours: the URL of the key that wraps the DEK.
    pub key_url: Option<String>,
    /// All of it, as JSON.
    pub json: String,
}

/// A segment of data, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its number.
    pub id: u32,
    /// Its type: `crypt`, `linear`, or another.
    pub kind: String,
    /// Where it begins on the device of the data, in bytes.
    pub offset: u64,
    /// Its size in bytes, or `None` for all that follows.
    pub size: Option<u64>,
    /// The cipher in dm-crypt's notation, or empty.
    pub cipher: String,
    /// The sector size in bytes, or 0.
    pub sector_size: u32,
    /// The number of its first sector, in units of 512 bytes.
    pub iv_tweak: u64,
    /// Its flags.
    pub flags: Vec<String>,
}

/// What proves a key, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DigestInfo {
    /// Its number; 0 in LUKS1, which has one.
    pub id: u32,
    /// Its type: `pbkdf2`, or empty for one that is not known.
    pub kind: String,
    /// The hash of PBKDF2.
    pub hash: String,
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// The digest itself.
    pub digest: Vec<u8>,
    /// The length of the key that it proves, in bits, as far as LUKS1's header, a keyslot or a token says it; else 0.
    pub key_bits: u32,
    /// The keyslots that hold its key.
    pub keyslots: Vec<u32>,
    /// The segments that are encrypted with its key. Without one, it is another key than the data's.
    pub segments: Vec<u32>,
}

impl<'d> Header<'d> {
    /// Reads the header of `device`, which may be the device of a detached header or a backup. Nothing is written.
    ///
    /// # Errors
    /// [`Error::NotLuks`]; [`Error::InvalidHeader`]; [`Error::UnsupportedHeader`]; [`Error::DeviceTooSmall`];
    /// [`Error::Io`].
    pub fn load(device: &'d dyn BlockDevice) -> Result<Self> {
        let stored = Held::Own(Box::new(StoredHeader::load(device)?));
        Ok(Header { device, stored, read_only: false })
    }

    /// Takes a way in away. What was in a keyslot's area is overwritten; a token's bytes are, by the new header.
    ///
    /// # Errors
    /// [`Error::NoSuchProtector`]; [`Error::LastProtector`]: [`erase`](Self::erase) takes the last one too;
    /// [`Error::ReadOnly`]; [`Error::UnsupportedHeader`] for a header that demands what this library does not know;
    /// [`Error::Busy`]; [`Error::Io`].
    pub fn remove_protector(&mut self, id: ProtectorId) -> Result<()> {
        self.check_writable()?;
        // What is counted has to be what the device has, also after a change that failed half-way.
        self.stored.check_unchanged(self.device)?;
        let Some(is_a_way_in) = self.stored.is_a_way_in(id) else {
            return Err(Error::NoSuchProtector(format!("there is no {id}")));
        };
        if is_a_way_in && self.stored.ways_in() == 1 {
            return Err(Error::LastProtector);
        }
        match id {
            ProtectorId::Keyslot(id) => self.stored.remove_keyslot(self.device, id),
            ProtectorId::Token(id) => {
                let stored = self.stored.luks2("tokens")?;
                stored.check_requirements()?;
                stored.update(self.device, |new| new.metadata.remove_token(id))
            }
        }
    }

    /// Says when a keyslot is tried.
    ///
    /// # Errors
    /// [`Error::NoSuchProtector`]; [`Error::UnsupportedHeader`] in LUKS1, which has no priorities; as
    /// [`remove_protector`](Self::remove_protector).
    pub fn set_priority(&mut self, keyslot: u32, priority: Priority) -> Result<()> {
        self.check_writable()?;
        self.stored.priority(keyslot)?;
        let stored = self.stored.luks2("priorities")?;
        stored.check_requirements()?;
        stored.update(self.device, |new| new.metadata.set_priority(keyslot, priority))
    }

    /// Gives the volume other labels, of up to 47 bytes each without a zero byte.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::UnsupportedHeader`] in LUKS1, which has no labels; as
    /// [`remove_protector`](Self::remove_protector).
    pub fn set_label(&mut self, label: &str, subsystem: &str) -> Result<()> {
        self.check_writable()?;
        super::format::check_labels(label, subsystem)?;
        let stored = self.stored.luks2("labels")?;
        stored.check_requirements()?;
        stored.update(self.device, |new| {
            (new.binary.label, new.binary.subsystem) = (label.into(), subsystem.into());
            Ok(())
        })
    }

    /// Puts in a token of another program's type, as JSON, and returns its number.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when it isn't sound, or of type `atrest`; [`Error::NoRoom`]; [`Error::UnsupportedHeader`]
    /// in LUKS1, which has no tokens; as [`remove_protector`](Self::remove_protector).
    pub fn import_token(&mut self, json: &str) -> Result<u32> {
        self.check_writable()?;
        let stored = self.stored.luks2("tokens")?;
        stored.check_requirements()?;
        stored.update(self.device, |new| new.metadata.add_foreign_token(json))
    }

    /// Destroys every way in: all keyslots, with all that their room may hold, and all tokens. Nobody gets at the data any
    /// more, however much there is of it, but who has the DEK itself or a backup of the header.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Busy`]; [`Error::Io`]: then it is to be done again.
    pub fn erase(&mut self) -> Result<()> {
        self.check_writable()?;
        self.stored.erase(self.device)
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
        self.check_writable()?;
        let needed = self.stored.needs_recovery();
        if needed {
            self.stored.recover(self.device, overwrite)?;
        }
        Ok(needed)
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

    /// The label, empty where there is none.
    pub fn label(&self) -> &str {
        self.stored.labels().0
    }

    /// The second label, empty where there is none.
    pub fn subsystem(&self) -> &str {
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

    pub(super) fn device(&self) -> &'d dyn BlockDevice {
        self.device
    }

    fn check_writable(&self) -> Result<()> {
        if self.read_only { Err(Error::ReadOnly) } else { Ok(()) }
    }
}

impl<D: BlockDevice> Volume<D> {
    /// The volume's header, held: until it is dropped, nothing else of this volume that concerns the header goes on, in
    /// this thread for ever. Reads and writes do.
    pub fn header(&self) -> Header<'_> {
        let stored = Held::Volumes(self.locked_header());
        Header { device: self.header_device(), stored, read_only: self.read_only }
    }
}

impl Deref for Held<'_> {
    type Target = StoredHeader;

    fn deref(&self) -> &StoredHeader {
        match self {
            Held::Own(stored) => stored,
            Held::Volumes(stored) => stored,
        }
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut StoredHeader {
        match self {
            Held::Own(stored) => stored,
            Held::Volumes(stored) => stored,
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
