//! Opening a volume.

use core::fmt;
use std::sync::Arc;

use super::aligned::Aligned;
use super::data_area::DataArea;
#[cfg(feature = "managed")]
use super::expected::Expected;
use super::headers::{self, StoredHeader};
use super::keys::{Key, Keys};
use super::live::Live;
use super::unlock::{Budget, Locked};
use super::written::Written;
use super::{BlockDevice, Header, Volume};
use crate::approval;
use crate::arch::on_wiped_stack;
use crate::cipher::CipherSpec;
#[cfg(feature = "managed")]
use crate::key::KeyId;
use crate::key::{Credential, Fingerprint, KdfLimits};
use crate::log::tell;
#[cfg(doc)]
use crate::ondisk::luks::Priority;
use crate::ondisk::luks::{Mode, Plan, Token};
use crate::{Dek, Error, Result, TooSmall};

/// How to open a volume. `OpenOptions::new()` is right for most.
#[derive(Clone, Default)]
pub struct OpenOptions {
    read_only: bool,
    discard: bool,
    context: Option<Vec<u8>>,
    header: Option<Arc<dyn BlockDevice>>,
    keyslot: Option<u32>,
    kdf_limits: KdfLimits,
    allow_truncated: bool,
    allow_unencrypted: bool,
    repair_foreign: bool,
    ignore_tokens: bool,
    ignore_written_map: bool,
    require_locked_memory: bool,
    expected: Option<Fingerprint>,
    expected_key: Option<String>,
    used_blocks: u64,
    #[cfg(feature = "managed")]
    by_record: Option<Expected>,
    leave_torn: bool,
}

impl OpenOptions {
    /// For reading and writing, with any context.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to write nothing at all: neither data nor a repair of the header.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Whether [`Volume::discard`] is passed on to the device. It is not by default, because **it shows anyone who sees the
    /// device which blocks are free**, and so how full the volume is and which file system it holds.
    ///
    /// For `--allow-discards --persistent`, `cryptsetup` stores a flag in the header, `allow-discards`, and obeys it from then
    /// on. Here only this option counts: nothing authenticates the flag, and anyone who can write to the disk could set it. If
    /// you trust the flag, pass it on:
    ///
    /// ```
    /// # use atrest::volume::{Header, KeyslotOptions};
    /// # use atrest::{Credential, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume, key::Kdf};
    /// # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    /// # let format = FormatOptions::new().keyslot(cheap);
    /// # let device = std::sync::Arc::new(MemoryDevice::new(20 << 20));
    /// # Volume::format(device.clone(), Protector::Passphrase(b"secret"), &format)?;
    /// let flags = Header::load(&device)?.flags();
    /// let options = OpenOptions::new().discard(flags.iter().any(|flag| flag == "allow-discards"));
    /// let volume = Volume::open(device, Credential::Passphrase(b"secret"), &options)?;
    /// # assert!(!volume.discards());
    /// # Ok::<(), atrest::Error>(())
    /// ```
    pub fn discard(mut self, discard: bool) -> Self {
        self.discard = discard;
        self
    }

    /// The context that the volume must be bound to. Without it, a swap with another volume's header under the same key
    /// is not noticed.
    pub fn context(mut self, context: &[u8]) -> Self {
        self.context = Some(context.to_vec());
        self
    }

    /// The DEK that the volume must have, by its [`Volume::fingerprint`] from when it was made. Without it, nobody
    /// notices if an attacker replaces the volume by one under their own DEK: see [`Fingerprint`].
    pub fn expect(mut self, fingerprint: Fingerprint) -> Self {
        self.expected = Some(fingerprint);
        self
    }

    /// The name of the key, in any vault, that must wrap the DEK. A volume that only names other keys is refused before
    /// any vault is asked.
    pub fn expect_key(mut self, name: &str) -> Self {
        self.expected_key = Some(name.into());
        self
    }

    /// The number of blocks that the volume's key has encrypted before, from [`Volume::usage`] when it was closed.
    /// Without it, each process counts from 0.
    pub fn used_blocks(mut self, blocks: u64) -> Self {
        self.used_blocks = blocks;
        self
    }

    /// The keys that the volume must have, and the re-encryption that may be under way, by a record that is kept apart from the
    /// device. Without it, an older header under the same key is not noticed.
    #[cfg(feature = "managed")]
    pub(crate) fn by_record(mut self, expected: Expected) -> Self {
        self.by_record = Some(expected);
        self
    }

    /// Whether to leave a zone unfinished in which a re-encryption was killed. It can't be read then.
    #[cfg(feature = "managed")]
    pub(crate) fn leave_torn(mut self, leave: bool) -> Self {
        self.leave_torn = leave;
        self
    }

    /// The device of the header, if it is detached from the data.
    pub fn header(mut self, device: Arc<dyn BlockDevice>) -> Self {
        self.header = Some(device);
        self
    }

    /// The only keyslot on which to try a passphrase, even if its priority is [`Priority::Ignore`]. By default all
    /// others are tried, in the order of their priority.
    pub fn keyslot(mut self, id: u32) -> Self {
        self.keyslot = Some(id);
        self
    }

    /// The limits for a keyslot's costs, checked before a passphrase is tried on it. Anyone who can write to the disk
    /// can write a header that asks for any amount of time and memory.
    pub fn kdf_limits(mut self, limits: KdfLimits) -> Self {
        self.kdf_limits = limits;
        self
    }

    /// Whether to refuse with [`Error::MemoryNotLocked`] if any secret of this process, including this volume's, may be
    /// swapped. [`memory_protection`](crate::memory_protection) reports how much memory that is.
    pub fn require_locked_memory(mut self, require: bool) -> Self {
        self.require_locked_memory = require;
        self
    }

    /// Whether to open a device that is smaller than its volume was. The data after its end is lost. Every open needs
    /// this option: the volume keeps its recorded size, even after a rotation.
    pub fn hazmat_allow_truncated(mut self, allow: bool) -> Self {
        self.allow_truncated = allow;
        self
    }

    /// Whether to show data that the header declares unencrypted (segments of type `linear`), and to write to it in the
    /// clear. Unless a token of type `atrest` proves the header, anyone who can write to the disk can declare that.
    pub fn hazmat_allow_unencrypted(mut self, allow: bool) -> Self {
        self.allow_unencrypted = allow;
        self
    }

    /// Whether to repair a copy of the header even if its place holds something neither blank nor the remains of a
    /// header. **That is destroyed**: it may be a file system made on the device since.
    pub fn hazmat_repair(mut self, repair: bool) -> Self {
        self.repair_foreign = repair;
        self
    }

    /// Whether a passphrase or a DEK opens a volume although no token of type `atrest` in it proves the header, as after
    /// another program has re-encrypted it. Nothing then proves where the data is and how it is encrypted, as in any volume
    /// without such a token. Remove the old token and add the vault again; then the header is proven.
    pub fn hazmat_ignore_tokens(mut self, ignore: bool) -> Self {
        self.ignore_tokens = ignore;
        self
    }

    /// Whether to open a volume read-only and without its [map of written chunks](crate::FormatOptions::written_map), if that
    /// is damaged ([`Error::DamagedMap`]). The volume then shows everything on the device: noise in chunks that were never
    /// written, and perhaps old data in chunks that were discarded or made zeros.
    pub fn hazmat_ignore_written_map(mut self, ignore: bool) -> Self {
        self.ignore_written_map = ignore;
        self
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("read_only", &self.read_only)
            .field("discard", &self.discard)
            .field("context", &self.context)
            .field("detached", &self.header.is_some())
            .field("keyslot", &self.keyslot)
            .field("kdf_limits", &self.kdf_limits)
            .field("allow_truncated", &self.allow_truncated)
            .field("allow_unencrypted", &self.allow_unencrypted)
            .field("repair_foreign", &self.repair_foreign)
            .field("ignore_tokens", &self.ignore_tokens)
            .field("ignore_written_map", &self.ignore_written_map)
            .field("require_locked_memory", &self.require_locked_memory)
            .field("expected", &self.expected)
            .field("expected_key", &self.expected_key)
            .field("used_blocks", &self.used_blocks)
            .finish()
    }
}

impl OpenOptions {
    /// Whether a record says which parts may be plain.
    fn has_record(&self) -> bool {
        #[cfg(feature = "managed")]
        return self.by_record.is_some();
        #[cfg(not(feature = "managed"))]
        return false;
    }

    /// Finds the DEK, and verifies it and the header as these options demand.
    fn unlock(
        &self,
        header: &dyn StoredHeader,
        device: &dyn BlockDevice,
        data: &DataArea,
        credential: Credential<'_>,
    ) -> Result<(Dek, Option<Dek>, Option<Token>)> {
        let (keyslot, key, ignore_tokens) = (self.keyslot, self.expected_key.as_deref(), self.ignore_tokens);
        let (cipher, budget) = (data.cipher, &Budget::new(self.kdf_limits));
        let locked = Locked { header, device, cipher, keyslot, budget, key, ignore_tokens };
        let (dek, token) = locked.unlock(credential)?;
        if self.context.as_deref().is_some_and(|wanted| token.as_ref().is_none_or(|t| t.context != wanted)) {
            return Err(Error::ContextMismatch);
        }
        let previous = match &data.moving {
            Some(moving) => Self::prove_reencryption(&locked, &moving.plan, &dek, credential)?,
            None => None,
        };
        if let Some(expected) = self.expected {
            // A re-encryption binds both keys: only an owner of the old one can have begun it.
            let is_previous = previous.as_ref().is_some_and(|previous| expected.check(previous).is_ok());
            if !is_previous {
                expected.check(&dek)?;
            }
        }
        Ok((dek, previous, token))
    }

    /// Proves that an owner of both keys has begun a re-encryption. Returns the old key, if it differs.
    fn prove_reencryption(
        locked: &Locked<'_>,
        plan: &Plan,
        dek: &Dek,
        credential: Credential<'_>,
    ) -> Result<Option<Dek>> {
        let (header, key) = (locked.header, Some(dek.secret()));
        match plan.mode {
            Mode::Encrypt => header.verify_reencryption(plan, None, key).map(|()| None),
            Mode::Decrypt => header.verify_reencryption(plan, key, None).map(|()| None),
            Mode::Reencrypt if plan.old == plan.new => header.verify_reencryption(plan, key, key).map(|()| None),
            Mode::Reencrypt => {
                let of_previous = header.of_previous_key().ok_or(Error::TamperedHeader)?;
                let cipher = plan.previous_cipher().ok_or(Error::TamperedHeader)?;
                let previous = Locked { header: &*of_previous, cipher, keyslot: None, ..*locked };
                let previous = previous.unlock_previous(dek, credential)?;
                header.verify_reencryption(plan, Some(previous.secret()), key)?;
                Ok(Some(previous))
            }
        }
    }
}

impl Header<'_> {
    /// Unlocks the DEK with a credential, from the header alone. So a backup of the header, or a detached one, is
    /// enough to check a passphrase or vault, without the data. Nothing is written.
    ///
    /// Only these options apply: the context, the expectations, the keyslot and the limits.
    ///
    /// # Errors
    /// As [`Volume::open`], except the errors of the data's device.
    ///
    /// ```
    /// use atrest::volume::{Header, KeyslotOptions};
    /// use atrest::{Credential, Error, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume, key::Kdf};
    ///
    /// let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    /// let options = FormatOptions::new().data_offset(1 << 20).keyslot(cheap);
    /// let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Passphrase(b"correct"), &options)?;
    /// let backup = MemoryDevice::from_bytes(volume.header().backup()?);
    ///
    /// let header = Header::load(&backup)?;
    /// let dek = header.unlock(Credential::Passphrase(b"correct"), &OpenOptions::new())?;
    /// assert_eq!(dek.fingerprint()?, volume.fingerprint()?);
    /// let wrong = header.unlock(Credential::Passphrase(b"wrong"), &OpenOptions::new());
    /// assert!(matches!(wrong, Err(Error::WrongPassphrase)));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn unlock(&self, credential: Credential<'_>, options: &OpenOptions) -> Result<Dek> {
        on_wiped_stack(|| {
            // The place of the data doesn't matter here.
            let data = self.stored.data_area(true)?;
            options.unlock(&*self.stored, self.device(), &data, credential).map(|(dek, _, _)| dek)
        })
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Opens the volume on `device`, which is dropped on failure. To try several passphrases, pass clones of an
    /// [`Arc`]:
    ///
    /// ```
    /// # use atrest::volume::KeyslotOptions;
    /// # use atrest::{FormatOptions, Protector, key::Kdf};
    /// use std::sync::Arc;
    ///
    /// use atrest::{Credential, Error, MemoryDevice, OpenOptions, Volume};
    ///
    /// let device = Arc::new(MemoryDevice::new(20 << 20));
    /// # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    /// # let format = FormatOptions::new().keyslot(cheap);
    /// # Volume::format(device.clone(), Protector::Passphrase(b"right"), &format)?;
    /// let attempt = |passphrase| Volume::open(device.clone(), Credential::Passphrase(passphrase), &OpenOptions::new());
    /// assert!(matches!(attempt(b"wrong"), Err(Error::WrongPassphrase)));
    /// let volume = attempt(b"right")?;
    /// # drop(volume);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// Before anything is written or decrypted, the DEK is proven by the MAC in the token that a vault unwrapped, or by the
    /// header's digest; and the header by such a MAC if there is one. Then this finishes the work of a killed process, and
    /// repairs a damaged copy of the header. If foreign data is in the place of a copy, nothing is written, and the volume
    /// opens only for reading.
    ///
    /// A volume of AES-ECB opens only for reading. For this and other old ciphers the log states the weakness
    /// ([`CipherSpec::weakness`]).
    ///
    /// # Errors
    /// [`Error::NotLuks`]; [`Error::InvalidHeader`]; [`Error::UnsupportedHeader`]; [`Error::NotThisVault`]; the vault's
    /// errors; [`Error::WrongPassphrase`]; [`Error::NoSuchProtector`] if no keyslot takes a passphrase, and for
    /// the startup key of another BitLocker volume;
    /// [`Error::WrongKey`]; [`Error::TamperedHeader`]; [`Error::ContextMismatch`]; [`Error::OtherDek`];
    /// [`Error::OtherKey`]; [`Error::DeviceTooSmall`] for a truncated device; [`Error::ForeignData`] unless
    /// [`hazmat_repair`](OpenOptions::hazmat_repair) is set; [`Error::DamagedMap`]; [`Error::MemoryNotLocked`]; [`Error::NotApproved`];
    /// [`Error::Io`].
    pub fn open(device: D, credential: Credential<'_>, options: &OpenOptions) -> Result<Self> {
        let (device, header_device) = (Aligned::new(device), options.header.clone().map(Aligned::new));
        let header = match &header_device {
            Some(header_device) => headers::load(header_device),
            None => headers::load(&device),
        }?;
        Self::open_by(header, device, header_device, credential, options)
    }

    /// Opens the volume of a header that was already read.
    fn open_by(
        header: Box<dyn StoredHeader>,
        device: Aligned<D>,
        header_device: Option<Aligned<Arc<dyn BlockDevice>>>,
        credential: Credential<'_>,
        options: &OpenOptions,
    ) -> Result<Self> {
        let (volume, approval) =
            approval::observe(|| on_wiped_stack(|| Self::proven(header, device, header_device, credential, options)));
        Ok(Volume { made_by: approval, ..volume? })
    }

    fn proven(
        mut header: Box<dyn StoredHeader>,
        device: Aligned<D>,
        header_device: Option<Aligned<Arc<dyn BlockDevice>>>,
        credential: Credential<'_>,
        options: &OpenOptions,
    ) -> Result<Self> {
        let on = match &header_device {
            Some(header_device) => header_device as &dyn BlockDevice,
            None => &device,
        };
        let data = header.data_area(header_device.is_some())?;
        if !options.allow_unencrypted && !options.has_record() {
            data.check_encrypted()?;
        }
        let (dek, previous, token) = options.unlock(&*header, on, &data, credential)?;
        let device_size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let mut keys = Keys::new(Key::new(dek, options.used_blocks), previous.map(|previous| Key::new(previous, 0)));
        let mut layout = data.layout(device_size, &mut keys)?;
        #[cfg(feature = "managed")]
        if let Some(expected) = &options.by_record {
            let done = data.moving.as_ref().map(|moving| moving.done(layout.size));
            let previous = keys.previous.as_ref().map(|previous| &*previous.dek);
            let used = expected.check(&keys.current.dek, previous, done)?;
            keys.count_from(used);
            if !options.allow_unencrypted {
                data.check_encrypted()?;
            }
        }
        let map = header.written_map(&keys.current.dek)?;
        let ignored = map.is_some() && options.ignore_written_map;
        let map = map.filter(|_| !ignored);
        if let Some(map) = &map {
            if data.pieces.len() > 1 {
                let text = "it has several segments and a map of written chunks";
                return Err(Error::UnsupportedHeader(text.into()));
            }
            map.fit(&mut layout)?;
        }
        if options.require_locked_memory {
            crate::memory::require_locked()?;
        }
        let was = token.map_or(0, |token| token.data_size);
        if layout.size < was && !options.allow_truncated {
            let needed = layout.extents[0].device_offset.saturating_add(was);
            return Err(Error::DeviceTooSmall { what: TooSmall::Volume, needed, size: device_size });
        }
        if header.needs_recovery() && !options.read_only {
            header.recover(on, options.repair_foreign)?;
        }
        let written = map.map(|map| Written::load(&map, &keys.current.dek, on)).transpose()?;
        if let Some(weakness) = data.cipher.weakness() {
            tell!(warn, "the volume {} is encrypted with {}: {weakness}", header.uuid(), data.cipher.name());
        }
        let previous = data.moving.as_ref().and_then(|moving| moving.plan.previous_cipher());
        let is_weak = data.cipher.is_read_only() || previous.is_some_and(CipherSpec::is_read_only);
        let read_only = options.read_only || ignored || is_weak || !header.takes_writes();
        let volume = Self::new(device, header_device, Live::new(keys, data, layout), header);
        let volume = Volume { read_only, discards: options.discard, written, ..volume };
        if !options.leave_torn {
            volume.finish_torn_step()?;
        }
        if !read_only {
            volume.repair_map()?;
        }
        Ok(volume)
    }
}

/// A device and its header, which is read only once: to look at the keys that it names, and to open the volume by one of them.
#[cfg(feature = "managed")]
pub(crate) struct Closed<D> {
    device: Aligned<D>,
    header: Box<dyn StoredHeader>,
}

#[cfg(feature = "managed")]
impl<D: BlockDevice> Closed<D> {
    /// Reads the header. Nothing is written.
    pub(crate) fn load(device: D) -> Result<Self> {
        let device = Aligned::new(device);
        Ok(Closed { header: headers::load(&device)?, device })
    }

    /// The keys that the header names. They are not proven.
    pub(crate) fn keks(&self) -> Vec<KeyId> {
        // Opening the volume reports unsound tokens.
        let tokens = self.header.tokens().unwrap_or_default();
        tokens.into_iter().map(|(_, token)| token.wrapped.kek).collect()
    }

    /// As [`keks`](Self::keks), for a device that stays closed.
    pub(crate) fn keks_on(device: &D) -> Result<Vec<KeyId>> {
        headers::keks(&Aligned::new(device))
    }

    /// As [`keks_on`](Self::keks_on), which tells more of a header that is damaged.
    pub(crate) fn keks_skimmed(device: &D) -> Result<Vec<KeyId>> {
        headers::keks_skimmed(&Aligned::new(device))
    }

    /// As [`Volume::open`], with a header that isn't detached.
    pub(crate) fn open(self, credential: Credential<'_>, options: &OpenOptions) -> Result<Volume<D>> {
        Volume::open_by(self.header, self.device, None, credential, options)
    }
}
