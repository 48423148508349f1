//! [`TpmVault`]: the trait of vaults on sealed keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use atrest::key::{KeyDescription, KeyId, KeyKind, WrapAlgorithm, WrappedDek, wrap};
use atrest::{Error, KeyRefusal, KeyVault, OwningProcess, Result, Secret, VaultFailure};

use crate::fault::Fault;
use crate::key_file::{Folder, KeyFile, Version, number_of};
use crate::options::TpmOptions;
use crate::pcr::PcrSelection;
use crate::public;
use crate::self_test;
use crate::tpm::{Policy, Tpm};
use crate::transport::Deadline;
use crate::wire::Reader;

/// The length of a KEK.
const KEK: usize = 32;

/// How often a call looks at PCRs that change under its eyes.
const LOOKS: usize = 3;

/// A vault whose KEKs are sealed by a TPM 2.0. Clones are the same vault. A forked child makes one of its own.
///
/// A version of a key is an AES-256 key in a file of its own, sealed below the TPM's storage key. Each call unseals it into locked
/// memory, wraps or unwraps by RFC 3394, and wipes it.
///
/// ```no_run
/// use atrest::{Dek, DekAlgorithm, Envelope};
/// use atrest_tpm::{TpmAddress, TpmOptions, TpmVault};
///
/// let vault = TpmVault::new(TpmOptions::new("tpm:host-17", TpmAddress::device("/dev/tpmrm0"), "/etc/disks/keys"))?;
/// vault.create_key("disks", Some("sha256:7".parse()?))?;
/// let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
/// let envelope = Envelope::seal(&dek, &vault, "disks", b"disk-17")?;
/// assert_eq!(envelope.unseal(&vault, b"disk-17")?, dek);
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone)]
pub struct TpmVault(Arc<Inner>);

struct Inner {
    owner: OwningProcess,
    options: TpmOptions,
    folder: Folder,
    /// Whether a call is at the TPM: it has room for few objects, so that calls take turns.
    busy: Mutex<bool>,
    freed: Condvar,
    /// For each version, the authorisation value that the TPM refused for it. Each try more brings it nearer to its lockout.
    refused: Mutex<BTreeMap<String, Secret>>,
}

impl fmt::Debug for TpmVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmVault").field("options", &self.0.options).finish()
    }
}

impl TpmVault {
    /// Checks the options. Neither the TPM nor the files are read yet.
    ///
    /// # Errors
    /// [`Error::InvalidName`] for an invalid vault name.
    pub fn new(options: TpmOptions) -> Result<Self> {
        KeyId::new(&options.id, "key", "1")?;
        let folder = Folder(options.folder.clone());
        let (busy, freed, refused) = (Mutex::new(false), Condvar::new(), Mutex::default());
        Ok(TpmVault(Arc::new(Inner { owner: OwningProcess::current(), options, folder, busy, freed, refused })))
    }

    /// Makes a new version of a key: a random KEK, sealed by the TPM, unsealed again as a check, and written into the folder. If
    /// the vault has an authorisation value, the version takes it. With `pcrs`, it is unsealed only while these registers have the
    /// values that they have now. It is the latest version from then on.
    ///
    /// # Errors
    /// [`Error::InvalidName`] for a name that no key has; otherwise as [`KeyVault::wrap`].
    pub fn create_key(&self, key: &str, pcrs: Option<PcrSelection>) -> Result<KeyId> {
        self.0.owner.check()?;
        let inner = &*self.0;
        KeyId::new(&inner.options.id, key, "1")?;
        let deadline = Deadline::after(inner.options.deadline);
        let auth = inner.auth()?;
        let kek = Secret::random(KEK)?;
        let policy = pcrs.map(|pcrs| Policy { pcrs, auth: auth.is_some() });
        let value = auth.as_ref().map_or(&[][..], |auth| auth.expose());
        let made = inner.with_tpm(deadline, |tpm| {
            let parent = tpm.parent(inner.options.parent, None)?;
            let (public, private) = tpm.seal(&parent, kek.expose(), value, policy)?;
            Ok((parent.public, public, private))
        });
        let (parent, public, private) = made.map_err(|fault| inner.error(fault, key, "createKey", None))?;
        let created = inner.options.clock.now();
        inner.add(key, KeyFile { created, auth: auth.is_some(), pcrs, parent, public, private }, Some(&kek))
    }

    /// Takes over a key of 32 bytes that another tool sealed below the same storage key, as a new version: the files that
    /// `tpm2_create -u PUBLIC -r PRIVATE` writes. `pcrs` are the PCRs of its policy, which must contain nothing else; then the
    /// key has no authorisation value. Without `pcrs` the key has the vault's authorisation value.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for files that aren't these; otherwise as [`create_key`](Self::create_key).
    pub fn import_key(&self, key: &str, public: &[u8], private: &[u8], pcrs: Option<PcrSelection>) -> Result<KeyId> {
        self.0.owner.check()?;
        let inner = &*self.0;
        KeyId::new(&inner.options.id, key, "1")?;
        let content = |bytes| {
            let mut reader = Reader(bytes);
            reader.sized().and_then(|content| reader.end().map(|()| content.to_vec()))
        };
        let bad = |malformed: crate::wire::Malformed| Error::InvalidOption(format!("a sealed key: {}", malformed.0));
        let (public, private) = (content(public).map_err(bad)?, content(private).map_err(bad)?);
        public::check_sealed(&public).map_err(bad)?;
        let deadline = Deadline::after(inner.options.deadline);
        let parent = inner.with_tpm(deadline, |tpm| tpm.parent(inner.options.parent, None).map(|parent| parent.public));
        let parent = parent.map_err(|fault| inner.error(fault, key, "importKey", None))?;
        let created = inner.options.clock.now();
        let auth = pcrs.is_none() && inner.auth()?.is_some();
        inner.add(key, KeyFile { created, auth, pcrs, parent, public, private }, None)
    }

    /// Disables a version of a key, or enables it again, by renaming its file.
    ///
    /// # Errors
    /// [`Error::Vault`] if there is no such version, or the folder can't be written.
    pub fn set_enabled(&self, kek: &KeyId, enabled: bool) -> Result<()> {
        self.0.owner.check()?;
        let number = number_of(kek.version()).filter(|_| kek.vault() == self.id());
        let number = number.ok_or_else(|| Error::Vault(format!("{kek} is no key of {}", self.id()).into()))?;
        self.0.folder.set_enabled(kek.key(), number, enabled)
    }

    /// Tries an authorisation value again that the TPM refused, after its owner reset its count. Without this, a refused value is
    /// tried again only once its source gives another one.
    pub fn retry_auth(&self) {
        // Nothing of a child's parent is tried again there.
        if self.0.owner.is_current() {
            self.0.refused().clear();
        }
    }
}

impl KeyVault for TpmVault {
    fn id(&self) -> &str {
        &self.0.options.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.0.owner.check()?;
        let version = self.0.latest(key)?;
        self.0.wrap(key, version, dek)
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.0.owner.check()?;
        if kek.vault() != self.id() {
            return Err(Error::Vault(format!("{kek} is a key of another vault than {}", self.id()).into()));
        }
        let version = self.0.version(kek.key(), kek.version())?;
        self.0.wrap(kek.key(), version, dek)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.0.owner.check()?;
        let kek = &wrapped.kek;
        if kek.vault() != self.id() {
            return Ok(None);
        }
        if wrapped.algorithm != WrapAlgorithm::Aes256Kw {
            return Err(Error::UnwrapFailed);
        }
        let len = wrapped.bytes.len().checked_sub(8).ok_or(Error::UnwrapFailed)?;
        let version = self.0.version(kek.key(), kek.version())?;
        let unsealed = self.0.kek(kek.key(), version, "unwrapKey")?;
        let mut dek = Secret::zeroed(len);
        wrap::aes_kw_unwrap(unsealed.expose(), &wrapped.bytes, dek.expose_mut()).map_err(|e| match e {
            Error::SelfTest { .. } => e,
            _ => Error::UnwrapFailed,
        })?;
        Ok(Some(dek))
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.0.owner.check()?;
        let version = match version {
            None => self.0.latest(key)?,
            Some(version) => self.0.version(key, version)?,
        };
        let file = self.0.file(key, version)?;
        let id = KeyId::new(self.id(), key, &version.number.to_string())?;
        let mut description = KeyDescription::new(id, KeyKind::Aes256);
        description.enabled = version.enabled;
        description.created = Some(file.created);
        Ok(Some(description))
    }
}

impl Inner {
    fn refusal<T>(key: &str, reason: KeyRefusal) -> Result<T> {
        Err(Error::KeyRefused { key: key.into(), reason })
    }

    /// The highest version that is enabled.
    fn latest(&self, key: &str) -> Result<Version> {
        let versions = self.folder.versions(key)?;
        let reason = if versions.is_empty() { KeyRefusal::Missing } else { KeyRefusal::Disabled };
        let latest = versions.into_iter().rev().find(|version| version.enabled);
        latest.map_or_else(|| Self::refusal(key, reason), Ok)
    }

    fn version(&self, key: &str, name: &str) -> Result<Version> {
        let number = number_of(name);
        let versions = self.folder.versions(key)?;
        let found = versions.into_iter().find(|version| Some(version.number) == number);
        found.map_or_else(|| Self::refusal(&format!("{key}/{name}"), KeyRefusal::Missing), Ok)
    }

    fn file(&self, key: &str, version: Version) -> Result<KeyFile> {
        let file = self.folder.read(key, version)?;
        file.map_or_else(|| Self::refusal(&format!("{key}/{}", version.number), KeyRefusal::Missing), Ok)
    }

    fn wrap(&self, key: &str, version: Version, dek: &Secret) -> Result<WrappedDek> {
        let unsealed = self.kek(key, version, "wrapKey")?;
        let mut bytes = vec![0; dek.len() + 8];
        wrap::aes_kw_wrap(unsealed.expose(), dek.expose(), &mut bytes)?;
        let kek = KeyId::new(&self.options.id, key, &version.number.to_string())?;
        Ok(WrappedDek::new(kek, WrapAlgorithm::Aes256Kw, bytes))
    }

    /// The KEK of a version.
    fn kek(&self, key: &str, version: Version, operation: &str) -> Result<Secret> {
        if !version.enabled {
            return Self::refusal(&format!("{key}/{}", version.number), KeyRefusal::Disabled);
        }
        let file = self.file(key, version)?;
        self.unseal(&format!("{key}/{}", version.number), &file, operation)
    }

    fn unseal(&self, key: &str, file: &KeyFile, operation: &str) -> Result<Secret> {
        let deadline = Deadline::after(self.options.deadline);
        let auth = if file.auth { self.auth()? } else { None };
        if file.auth && auth.is_none() {
            let text = format!("the sealed key {key:?} takes an authorisation value: give its source to the vault");
            return Err(Error::Vault(text.into()));
        }
        let is_refused = |auth: &Secret| self.refused().get(key).is_some_and(|old| old == auth);
        if auth.as_ref().is_some_and(is_refused) {
            return Self::refusal(key, self.denied(operation, "with this authorisation value"));
        }
        let value = auth.as_ref().map_or(&[][..], |auth| auth.expose());
        let mut looks = 0;
        let unsealed = loop {
            let unsealed = self.with_tpm(deadline, |tpm| {
                let parent = tpm.parent(self.options.parent, Some(&file.parent))?;
                tpm.unseal(&parent, (&file.public, &file.private), value, file.policy())
            });
            looks += 1;
            match unsealed {
                Err(Fault::Code(_, code)) if code.is_pcr_changed() && looks < LOOKS => {}
                unsealed => break unsealed,
            }
        };
        match (&unsealed, auth) {
            (Err(Fault::Code("TPM2_Unseal", code)), Some(auth)) if code.is_auth() => {
                self.refused().insert(key.into(), auth);
            }
            _ => {}
        }
        let unsealed = unsealed.map_err(|fault| self.error(fault, key, operation, Some(file)))?;
        if unsealed.len() != KEK {
            let text = format!("the sealed key {key:?} has {} bytes, where an AES-256 key has {KEK}", unsealed.len());
            return Err(Error::Vault(text.into()));
        }
        Ok(Secret::copy_from(&unsealed))
    }

    /// Writes a new version, after a check that it unseals.
    ///
    /// If the bytes aren't known, it is unsealed twice. The key that encrypts them on the bus includes the authorisation value,
    /// so that a wrong value, which a policy may not check, gives different bytes each time.
    fn add(&self, key: &str, file: KeyFile, kek: Option<&Secret>) -> Result<KeyId> {
        let number = self.folder.versions(key)?.last().map_or(1, |last| last.number.saturating_add(1));
        let name = format!("{key}/{number}");
        let unsealed = self.unseal(&name, &file, "get")?;
        let same = match kek {
            Some(kek) => *kek == unsealed,
            None => self.unseal(&name, &file, "get")? == unsealed,
        };
        if !same {
            let text = "the sealed key doesn't unseal to what it should: it has another authorisation value or policy";
            return Err(Error::Vault(text.into()));
        }
        self.folder.write(key, number, &file)?;
        KeyId::new(&self.options.id, key, &number.to_string())
    }

    fn auth(&self) -> Result<Option<Secret>> {
        let failed = |e| Error::Vault(VaultFailure::new("getting the authorisation value").caused_by(e));
        self.options.auth.read().map_err(failed)
    }

    fn denied(&self, operation: &str, how: &str) -> KeyRefusal {
        KeyRefusal::AccessDenied { identity: format!("{} {how}", self.options.who()), operation: operation.into() }
    }

    /// Runs `f` with the TPM while no other call of this vault uses it.
    fn with_tpm<T>(&self, deadline: Deadline, f: impl FnOnce(&mut Tpm) -> Result<T, Fault>) -> Result<T, Fault> {
        let lock = || self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busy = lock();
        while *busy {
            busy = self.freed.wait_timeout(busy, deadline.left()?).unwrap_or_else(PoisonError::into_inner).0;
        }
        *busy = true;
        drop(busy);
        // Also if `f` panics, others have their turn.
        let _turn = Turn(self);
        self_test::check()?;
        let mut tpm = Tpm::open(&self.options.tpm, deadline)?;
        f(&mut tpm)
    }

    /// The error that the caller gets for a fault.
    fn error(&self, fault: Fault, key: &str, operation: &str, file: Option<&KeyFile>) -> Error {
        let what = |text: &str| format!("{operation} with the key {key:?}: {text} ({})", self.options.tpm);
        let failed = |text: &str| VaultFailure::new(what(text));
        match fault {
            Fault::Code("TPM2_Unseal", code) if code.is_auth() => {
                let reason = self.denied(operation, "with this authorisation value");
                Error::KeyRefused { key: key.into(), reason }
            }
            Fault::Code("TPM2_Unseal", code) if code.is_policy() => {
                let pcrs = file.and_then(|file| file.pcrs).map_or("its policy".into(), |pcrs| pcrs.to_string());
                let reason = self.denied(operation, &format!("in its present state, by {pcrs}"));
                Error::KeyRefused { key: key.into(), reason }
            }
            Fault::Code("TPM2_Load", code) if code.is_integrity() => {
                let text = "the sealed key is damaged, or not of this storage key; restore its file";
                Error::Vault(failed(text).caused_by(code))
            }
            Fault::Code("TPM2_CreatePrimary", code) if code.is_auth() => {
                let text = "the owner hierarchy has an authorisation value; make a storage key persistent, and name it as the parent";
                Error::Vault(failed(text).caused_by(code))
            }
            Fault::Code(command, code) if code.is_lockout() => {
                Error::Vault(failed(&format!("the TPM is locked out, at {command}")).caused_by(code))
            }
            Fault::Code(command, code) => Error::Vault(failed(&format!("the TPM refuses {command}")).caused_by(code)),
            Fault::Refused(error) => error,
            Fault::Io(error) => Error::Vault(failed("asking the TPM").caused_by(error)),
            Fault::Malformed(malformed) => {
                Error::Vault(failed(&format!("the TPM's answer makes no sense: {}", malformed.0)))
            }
            Fault::Forged => Error::Vault(failed("the TPM's answer has a wrong MAC: somebody on the way altered it")),
            Fault::OtherTpm => Error::Vault(failed(
                "the storage key is another one than that of the sealed key: it is another TPM, or its owner hierarchy was cleared",
            )),
        }
    }

    fn refused(&self) -> MutexGuard<'_, BTreeMap<String, Secret>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Turn<'v>(&'v Inner);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.freed.notify_one();
    }
}
