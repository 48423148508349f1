//! Encrypted files of engines: [`FilePrefix`], in front of a stream of AES-256-CTR or of sectors of AES-256-XTS.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::approval::Approval;
use crate::arch::on_wiped_stack;
use crate::key::{DekAlgorithm, Fingerprint, HashAlgorithm, KeyId, KeyVault, self_test};
use crate::volume::BlockDevice;
use crate::{
    Dek, Envelope, Error, Result, Secret, SectorCipher, SectorSize, SectorUnit, StreamCipher, TooSmall, zeros,
};

const MAGIC: [u8; 8] = *b"atrestFP";
const VERSION: u16 = 1;
const MAC_INFO: &str = "atrest file prefix v1";

/// The size of a slot. The prefix has two, each in its own page and sector, so that a torn write damages at most one.
const SLOT: usize = 4096;
const SLOTS: usize = 2;
const FIXED: usize = 36;
const NONCE: usize = 16;
const MAC: usize = 32;
const CHECKSUM: usize = 32;
const _: () = assert!(FIXED + Envelope::MAX_LEN + MAC + CHECKSUM <= SLOT);

/// The first bytes of an encrypted file: its own DEK, wrapped by a vault, and the nonce of its stream.
///
/// The engine's data follows, under one of two ciphers. `docs/formats/file.md` specifies the bytes.
///
/// - A [`StreamCipher`], by [`create`](Self::create) and [`open`](Self::open), for engines that append at any byte
///   (RocksDB). Its offset 0 is the first byte after the prefix.
/// - A [`SectorCipher`], by [`create_sectors`](Self::create_sectors) and [`open_sectors`](Self::open_sectors), for
///   engines that overwrite data in place (the pages of SQLite). The engine chooses how to number sectors.
///
/// For both:
///
/// - **Make a new prefix for each new file.** For a stream, also make one for each file that is truncated or reused.
///   Never copy a prefix to another file: see [`StreamCipher`] for the leak of two contents under one key. So every
///   new prefix has a fresh DEK.
/// - Opening detects a wrong key, another context or a damaged prefix. It doesn't detect damage to the data.
/// - [`rotate_kek`](Self::rotate_kek) wraps the DEK again, in place. If it is killed at any instant, the file still
///   opens.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let keys = folder.path().join("keys.vault");
/// use atrest::vault::{FileVault, Unlock};
/// use atrest::FilePrefix;
///
/// let vault = FileVault::create(&keys, Unlock::Passphrase(b"correct horse battery staple"))?;
/// vault.create_key("tables")?;
///
/// // A new file.
/// let (prefix, cipher) = FilePrefix::create(&vault, "tables", b"db-7")?;
/// let mut data = *b"what the engine writes at offset 100";
/// cipher.apply(100, &mut data)?;
/// let mut file = prefix.to_bytes();
/// file.resize(FilePrefix::LEN + 100, 0);
/// file.extend(data);
///
/// // Later, some bytes out of its middle.
/// let cipher = FilePrefix::from_bytes(&file[..FilePrefix::LEN])?.open(&vault, b"db-7")?;
/// let mut data = file[FilePrefix::LEN + 109..][..6].to_vec();
/// cipher.apply(109, &mut data)?;
/// assert_eq!(data, b"engine");
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePrefix {
    slot: Slot,
    /// The number of the slot that was read.
    place: usize,
    expected: Option<Fingerprint>,
}

/// The content of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    generation: u64,
    nonce: [u8; NONCE],
    envelope: Envelope,
    mac: [u8; MAC],
}

impl FilePrefix {
    /// The length of a prefix in bytes.
    pub const LEN: usize = SLOT * SLOTS;

    /// A prefix for a new file, with a fresh DEK that `vault` wraps under the latest version of its key `key`, and the cipher
    /// for the stream that follows.
    ///
    /// `context` identifies the owner of the file, such as a database by its id. It has 0 to
    /// [`MAX_CONTEXT`](crate::key::MAX_CONTEXT) bytes and is stored in the clear. Don't use the file's name if the
    /// engine renames files.
    ///
    /// # Errors
    /// As [`Envelope::seal`]; [`Error::Random`].
    pub fn create(vault: &dyn KeyVault, key: &str, context: &[u8]) -> Result<(Self, Box<StreamCipher>)> {
        Self::create_with(vault, key, context, DekAlgorithm::Aes256Ctr, Dek::stream_cipher)
    }

    /// As [`create`](Self::create), for a file of sectors under AES-256-XTS.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Error::SectorSize`], as [`SectorCipher::new`].
    pub fn create_sectors(
        vault: &dyn KeyVault,
        key: &str,
        context: &[u8],
        sector_size: SectorSize,
        unit: SectorUnit,
    ) -> Result<(Self, Box<SectorCipher>)> {
        let expand = |dek: &Dek, _| dek.sector_cipher(sector_size, unit);
        Self::create_with(vault, key, context, DekAlgorithm::Aes256Xts, expand)
    }

    fn create_with<C>(
        vault: &dyn KeyVault,
        key: &str,
        context: &[u8],
        algorithm: DekAlgorithm,
        expand: impl FnOnce(&Dek, [u8; NONCE]) -> Result<Box<C>>,
    ) -> Result<(Self, Box<C>)> {
        on_wiped_stack(|| {
            let dek = Dek::generate(algorithm)?;
            let mut nonce = [0; NONCE];
            nonce.copy_from_slice(Secret::random(NONCE)?.expose());
            let cipher = expand(&dek, nonce)?;
            let slot = Slot::sealed(1, nonce, Envelope::seal(&dek, vault, key, context)?, &dek);
            Ok((FilePrefix { slot, place: 0, expected: None }, cipher))
        })
    }

    /// The bytes to write at the start of the file, [`LEN`](Self::LEN) of them.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.slot.to_bytes().repeat(SLOTS)
    }

    /// Reads the first [`LEN`](Self::LEN) bytes of a file.
    ///
    /// # Errors
    /// [`Error::InvalidPrefix`] if neither of the two copies is sound (its text says what is wrong with each);
    /// [`Error::UnsupportedAlgorithm`]; [`Error::SelfTest`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.len() != Self::LEN {
            return Err(Error::InvalidPrefix(format!("it has {} bytes, not {}", bytes.len(), Self::LEN)));
        }
        self_test::hash(HashAlgorithm::Sha256)?;
        let read = |place: usize| Slot::from_bytes(&bytes[place * SLOT..][..SLOT]);
        let (slot, place) = match (read(0), read(1)) {
            (Ok(first), Ok(second)) if second.generation > first.generation => (second, 1),
            (Ok(first), _) => (first, 0),
            (Err(_), Ok(second)) => (second, 1),
            (Err(unsupported @ Error::UnsupportedAlgorithm(_)), Err(_)) => return Err(unsupported),
            (Err(first), Err(second)) => {
                let (first, second) = (defect(first), defect(second));
                return Err(Error::InvalidPrefix(if first == second {
                    format!("of either copy, {first}")
                } else {
                    format!("{first}; and of the copy, {second}")
                }));
            }
        };
        Ok(FilePrefix { slot, place, expected: None })
    }

    /// Asks `vault` to unwrap the DEK, and returns the cipher for the stream that follows.
    ///
    /// # Errors
    /// [`Error::UnsupportedAlgorithm`] if sectors follow; [`Error::ContextMismatch`] if the file's context is not
    /// `context`; [`Error::NotThisVault`]; the vault's errors; [`Error::InvalidEnvelope`] and [`Error::InvalidPrefix`]
    /// if a MAC does not match.
    pub fn open(&self, vault: &dyn KeyVault, context: &[u8]) -> Result<Box<StreamCipher>> {
        self.refuse_unless(DekAlgorithm::Aes256Ctr, "a stream")?;
        self.open_with(vault, context, |dek| dek.stream_cipher(self.slot.nonce))
    }

    /// Asks `vault` to unwrap the DEK, and returns the cipher for the sectors that follow. The engine must know their size
    /// and numbering.
    ///
    /// # Errors
    /// [`Error::UnsupportedAlgorithm`] if a stream follows; [`Error::SectorSize`], as [`SectorCipher::new`]; otherwise
    /// as [`open`](Self::open).
    pub fn open_sectors(
        &self,
        vault: &dyn KeyVault,
        context: &[u8],
        sector_size: SectorSize,
        unit: SectorUnit,
    ) -> Result<Box<SectorCipher>> {
        self.refuse_unless(DekAlgorithm::Aes256Xts, "sectors")?;
        self.open_with(vault, context, |dek| dek.sector_cipher(sector_size, unit))
    }

    fn open_with<C>(
        &self,
        vault: &dyn KeyVault,
        context: &[u8],
        expand: impl FnOnce(&Dek) -> Result<Box<C>>,
    ) -> Result<Box<C>> {
        on_wiped_stack(|| {
            let dek = self.slot.unseal(vault, context)?;
            self.expected.map_or(Ok(()), |expected| expected.check(&dek))?;
            expand(&dek)
        })
    }

    /// Demands this DEK when the file is opened: [`open`](Self::open) and [`open_sectors`](Self::open_sectors) refuse
    /// another with [`Error::OtherDek`].
    pub fn expect(mut self, fingerprint: Fingerprint) -> Self {
        self.expected = Some(fingerprint);
        self
    }

    /// Asks `vault` to unwrap the DEK, and returns its [`Fingerprint`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn fingerprint(&self, vault: &dyn KeyVault, context: &[u8]) -> Result<Fingerprint> {
        on_wiped_stack(|| self.slot.unseal(vault, context)?.fingerprint())
    }

    /// Refuses a file under another algorithm. Call it first, so that the vault isn't asked for a useless DEK.
    fn refuse_unless(&self, algorithm: DekAlgorithm, what: &str) -> Result<()> {
        match self.slot.envelope.dek_algorithm() {
            found if found == algorithm => Ok(()),
            found => Err(Error::UnsupportedAlgorithm(format!("{what} in a file under {}", found.name()))),
        }
    }

    /// Whether the wrap and the cipher use [approved](crate::approval) algorithms: as [`Envelope::approval`].
    pub fn approval(&self) -> Approval {
        self.slot.envelope.approval()
    }

    /// The key and version that wrapped the DEK.
    pub fn kek(&self) -> &KeyId {
        self.slot.envelope.kek()
    }

    /// The context that the file claims. Only [`open`](Self::open) proves it.
    pub fn context(&self) -> &[u8] {
        self.slot.envelope.context()
    }

    /// Asks `vault` to wrap the DEK of the file on `device` again, under the latest version of the key that wraps it now,
    /// and returns that version. It touches no byte after the prefix, and the file may be read and written meanwhile.
    ///
    /// The old version must stay enabled until this returns. Afterwards this file doesn't need it, and neither copy
    /// holds its wrapped key. If this is killed at any instant, the file opens with the old version or the new one, and
    /// the rotation can be repeated. While it runs, nothing else may write the prefix: no second rotation, and no reuse
    /// of the file with a new prefix. [`FileDevice::open`](crate::FileDevice::open) keeps others out that open the file
    /// the same way.
    ///
    /// # Errors
    /// [`Error::DeviceTooSmall`]; those of [`from_bytes`](Self::from_bytes), [`open`](Self::open) and [`Envelope::seal`];
    /// [`Error::ForeignData`] if one copy is gone and its place holds foreign data, which this would destroy;
    /// [`Error::Io`], after which the file opens with the old version or the new one.
    pub fn rotate_kek(device: &dyn BlockDevice, vault: &dyn KeyVault, context: &[u8]) -> Result<KeyId> {
        Self::rotate(device, vault, context, None)
    }

    /// As [`rotate_kek`](Self::rotate_kek), if the file's DEK has this fingerprint: see [`expect`](Self::expect). A file that somebody
    /// has put in its place stays as it is.
    ///
    /// # Errors
    /// [`Error::OtherDek`]; those of [`rotate_kek`](Self::rotate_kek).
    pub fn rotate_kek_expecting(
        device: &dyn BlockDevice,
        vault: &dyn KeyVault,
        context: &[u8],
        fingerprint: Fingerprint,
    ) -> Result<KeyId> {
        Self::rotate(device, vault, context, Some(fingerprint))
    }

    fn rotate(
        device: &dyn BlockDevice,
        vault: &dyn KeyVault,
        context: &[u8],
        expected: Option<Fingerprint>,
    ) -> Result<KeyId> {
        on_wiped_stack(|| {
            let io = |what: &str| {
                let what = format!("{what} the prefix of a file");
                move |e| Error::io(what, e)
            };
            let size = device.size().map_err(io("looking for"))?;
            if size < Self::LEN as u64 {
                return Err(Error::DeviceTooSmall { what: TooSmall::Prefix, needed: Self::LEN as u64, size });
            }
            let mut bytes = vec![0; Self::LEN];
            device.read_at(0, &mut bytes).map_err(io("reading"))?;
            let FilePrefix { slot: old, place, .. } = Self::from_bytes(&bytes)?;
            let other = &bytes[(1 - place) * SLOT..][..SLOT];
            if let Some(why) = old.unreadable(other) {
                return Err(Error::ForeignData(format!(
                    "one copy of the file's prefix, at byte {}, isn't damaged, but can't be read here ({why}), and a rotation would \
                     destroy it: use a version that reads it; or write the prefix's bytes again and rotate",
                    (1 - place) * SLOT
                )));
            }
            if !is_slot_or_blank(other, &old.to_bytes()) {
                return Err(Error::ForeignData(format!(
                    "the file's prefix has one copy only; the place of the other, at byte {}, holds data that is \
                     neither blank nor the remains of a prefix: save it if you need it, then write the prefix's bytes \
                     again and rotate",
                    (1 - place) * SLOT
                )));
            }
            let dek = old.unseal(vault, context)?;
            expected.map_or(Ok(()), |expected| expected.check(&dek))?;
            let envelope = Envelope::seal(&dek, vault, old.envelope.kek().key(), context)?;
            let generation = old.generation.checked_add(1);
            let generation = generation.ok_or_else(|| Error::InvalidPrefix("its generation can't grow".into()))?;
            let new = Slot::sealed(generation, old.nonce, envelope, &dek);

            // 1. Over the older copy, or a copy that a killed rotation left torn. The other copy opens the file until
            //    this is written.
            // 2. Over the other, which holds the DEK under the old version.
            for place in [1 - place, place] {
                let offset = (place * SLOT) as u64;
                device.write_at(offset, &new.to_bytes()).map_err(io("writing"))?;
                device.sync().map_err(io("syncing"))?;
                let found = &mut bytes[..SLOT];
                device.read_at(offset, found).map_err(io("reading"))?;
                if found != new.to_bytes() {
                    return Err(io("writing")(std::io::Error::other(
                        "the device returned other bytes than were written",
                    )));
                }
            }
            Ok(new.envelope.kek().clone())
        })
    }
}

/// The defect of a copy, without the words that begin every such error.
fn defect(error: Error) -> String {
    if let Error::InvalidPrefix(text) = error { text } else { format!("{error:#}") }
}

/// Whether the place of a copy may be overwritten: it holds a copy, whole or torn, or is blank. `other` is the sound
/// copy.
fn is_slot_or_blank(bytes: &[u8], other: &[u8]) -> bool {
    let mut sectors = bytes.chunks(512).zip(other.chunks(512));
    bytes.starts_with(&MAGIC)
        || bytes.iter().all(|&byte| byte == 0xFF)
        || sectors.all(|(sector, other)| sector == other || zeros::is_zero(sector))
}

impl Slot {
    fn sealed(generation: u64, nonce: [u8; NONCE], envelope: Envelope, dek: &Dek) -> Self {
        let mut slot = Slot { generation, nonce, envelope, mac: [0; MAC] };
        slot.mac = slot.keyed_mac(dek).finalize().into_bytes().into();
        slot
    }

    /// Why another copy, which somebody has written whole, can't be read here. `None` if it can, if it is torn or flipped, or if it
    /// is this file's and no newer than this one.
    fn unreadable(&self, other: &[u8]) -> Option<String> {
        let Err(why) = Slot::from_bytes(other) else { return None };
        if !other.starts_with(&MAGIC) {
            return None;
        }
        let is_sound = |bytes: &[u8]| Sha256::digest(&bytes[..SLOT - CHECKSUM])[..] == bytes[SLOT - CHECKSUM..];
        let version = u16::from_be_bytes([other[8], other[9]]);
        let generation = other[12..20].try_into().map_or(0, u64::from_be_bytes);
        let is_older = version == VERSION && other[20..36] == self.nonce && generation <= self.generation;
        // Nothing says where the checksum of a newer version would be. A flipped copy is sound once its version is put back.
        let may_be_newer = (VERSION + 1..=0xFF).contains(&version) && {
            let mut known = other.to_vec();
            known[8..10].copy_from_slice(&VERSION.to_be_bytes());
            !is_sound(&known)
        };
        (is_sound(other) && !is_older || may_be_newer).then(|| defect(why))
    }

    fn unseal(&self, vault: &dyn KeyVault, context: &[u8]) -> Result<Dek> {
        let dek = self.envelope.unseal(vault, context)?;
        let matches = self.keyed_mac(&dek).verify_slice(&self.mac);
        matches.map_err(|_| Error::InvalidPrefix("its MAC does not match: it was altered".into()))?;
        Ok(dek)
    }

    fn keyed_mac(&self, dek: &Dek) -> Hmac<Sha256> {
        let key = dek.derive(MAC_INFO);
        let mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes a key of any length");
        mac.chain_update(self.covered_bytes())
    }

    fn covered_bytes(&self) -> Vec<u8> {
        let envelope = self.envelope.to_bytes();
        let mut bytes = Vec::with_capacity(SLOT);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&(envelope.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&envelope);
        bytes
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.covered_bytes();
        bytes.extend_from_slice(&self.mac);
        bytes.resize(SLOT - CHECKSUM, 0);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bad = |text: String| Error::InvalidPrefix(text);
        if bytes[..8] != MAGIC {
            return Err(bad("it does not begin with \"atrestFP\"".into()));
        }
        let field = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if field(8) != VERSION {
            return Err(bad(format!("version {} is not known, this library reads version {VERSION}", field(8))));
        }
        let (covered, checksum) = bytes.split_at(SLOT - CHECKSUM);
        if !bool::from(Sha256::digest(covered)[..].ct_eq(checksum)) {
            return Err(bad("its checksum does not match: it is damaged, or half written".into()));
        }
        let len = field(10) as usize;
        if len > Envelope::MAX_LEN {
            return Err(bad(format!("an envelope of {len} bytes, more than {}", Envelope::MAX_LEN)));
        }
        let (fixed, rest) = covered.split_at(FIXED);
        let (envelope, rest) = rest.split_at(len);
        let (mac, rest) = rest.split_at(MAC);
        if !zeros::is_zero(rest) {
            return Err(bad("there are bytes after its MAC".into()));
        }
        let envelope = Envelope::from_bytes(envelope)?;
        if !matches!(envelope.dek_algorithm(), DekAlgorithm::Aes256Ctr | DekAlgorithm::Aes256Xts) {
            return Err(Error::UnsupportedAlgorithm(format!("a file under {}", envelope.dek_algorithm().name())));
        }
        let generation = u64::from_be_bytes(fixed[12..20].try_into().expect("8 bytes"));
        let nonce = fixed[20..].try_into().expect("16 bytes");
        Ok(Slot { generation, nonce, envelope, mac: mac.try_into().expect("32 bytes") })
    }
}
