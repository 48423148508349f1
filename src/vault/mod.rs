//! [`FileVault`]: this crate's own vault, a file of KEKs.

mod access;
mod audit;
mod audited;
mod backup;
mod body;
mod change_root;
mod file;
mod format;
mod held;
mod info;
mod kek;
mod manage;
mod options;
mod pkcs8;
mod root;
#[cfg_attr(not(feature = "rsa"), path = "no_rsa.rs")]
mod rsa;
mod rules;
mod secrets;
mod version_1;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::key::{KeyDescription, KeyId, KeyKind, KeyVault, WrappedDek};
use crate::{Clock, Error, KeyUsage, OwningProcess, Result, Secret, SystemClock, fs, random};
use audit::{AuditWriter, Use};
use body::{Body, VersionRecord};
use file::VaultFile;
use held::{Held, Stamp};
use kek::{AES_LEN, Kek};
use root::RootKeys;

pub use access::{Grant, VaultIdentity};
pub use audit::{AuditEntry, AuditHead, AuditLog};
pub use body::{KeyOperation, KeyOrigin};
pub use info::{DeletedKey, KeyInfo, VersionInfo};
pub use options::{VaultOptions, VaultProperties, VersionChange};
pub use root::{KdfCost, Unlock};
pub use secrets::{MAX_SECRET, SecretInfo, SecretVersionInfo, StoredSecret};

/// The most keys of a vault, and the most versions of a key. The limit bounds the time and memory for reading the file.
const MAX_KEYS: usize = 10_000;

/// The longest DEK, in bytes.
const LONGEST_DEK: usize = 64;

/// A vault in a file: named keys with versions, each wrapped under a root key, which comes from a passphrase (by Argon2id or
/// PBKDF2) or a key file. Keys are AES-256, and with the feature `rsa` RSA too.
///
/// A version wraps and unwraps while it is enabled and valid; a deleted key can be recovered until it is purged. Anyone
/// who can open the vault is its owner. Others use it through [`as_identity`](Self::as_identity), within their
/// [grants](Self::grant). Every use is written to an [audit log](Self::audit) before it is answered.
///
/// The whole file is authenticated, replaced atomically, and kept twice (`NAME` and `NAME.bak`). Processes exclude each
/// other by a lock on `NAME.lock`. The log is `NAME.audit`. Anyone can read names and dates in these files, but not
/// keys. `docs/formats/vault.md` specifies the formats. A clone is another handle of the same vault.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.vault");
/// use atrest::key::KeyVault;
/// use atrest::vault::{FileVault, KeyOperation, Unlock, VersionChange};
///
/// let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// let first = vault.create_key("disks")?;
/// let second = vault.rotate_key("disks")?;
/// assert_eq!((first.version(), second.version()), ("1", "2"));
///
/// vault.set_version(&first, VersionChange::new().enabled(false))?;
/// vault.grant("disk-set-1", &[KeyOperation::Get])?;
/// let disk_set = vault.as_identity("disk-set-1");
/// assert!(!disk_set.describe("disks", Some("1"))?.unwrap().enabled);
///
/// let again = FileVault::open(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// assert_eq!(again.keys()?[0].versions.len(), 2);
/// let last = again.audit()?.last().unwrap()?;
/// assert_eq!((last.operation.as_str(), last.identity.as_deref()), ("get", Some("disk-set-1")));
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone)]
pub struct FileVault {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    sync_uses: bool,
    rotate_audit_at: Option<u64>,
}

/// The state shared by all handles of a vault.
struct Store {
    file: VaultFile,
    id: String,
    uuid: String,
    /// The keys from the root key. A change of the passphrase or root key file replaces them.
    root: RwLock<Arc<RootKeys>>,
    /// The process that opened it.
    owner: OwningProcess,
    /// The content of the file when it was last read.
    held: RwLock<Held>,
    audit: AuditWriter,
    /// The length from which on the log is archived automatically, if that is more than a handle's own limit. It is locked while a
    /// thread archives the log.
    rotation_due: Mutex<u64>,
}

impl FileVault {
    /// Makes a new vault without keys. `path` must not exist, and no vault's copy (`.bak`) or log (`.audit`) may lie
    /// next to it.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::NotFound`] for its folder or the root key file; [`Error::Io`]; [`Error::Busy`];
    /// [`Error::InvalidOption`] for an empty passphrase or a root key file that is too short.
    pub fn create(path: impl AsRef<Path>, unlock: Unlock<'_>) -> Result<Self> {
        Self::create_with(path, unlock, &VaultOptions::new())
    }

    /// Makes a new vault with your own cost of Argon2id.
    ///
    /// # Errors
    /// As [`create`](Self::create), and [`Error::InvalidOption`] for a cost out of bounds.
    pub fn create_with_cost(path: impl AsRef<Path>, unlock: Unlock<'_>, cost: KdfCost) -> Result<Self> {
        Self::create_with(path, unlock, &VaultOptions::new().kdf_cost(cost))
    }

    /// Makes a new vault with options.
    ///
    /// # Errors
    /// As [`create`](Self::create); [`Error::InvalidOption`] for an option out of bounds; [`Error::InvalidName`] for the id.
    pub fn create_with(path: impl AsRef<Path>, unlock: Unlock<'_>, options: &VaultOptions) -> Result<Self> {
        options.check()?;
        let file = VaultFile::at(path.as_ref());
        let _lock = file.lock()?;
        Self::make(file, unlock, options)
    }

    /// Opens the vault at `path`, or makes one with the options if there is none. If many processes do this at once,
    /// one makes it and all open the same. The options of an existing vault don't change.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`create_with`](Self::create_with).
    pub fn open_or_create(path: impl AsRef<Path>, unlock: Unlock<'_>, options: &VaultOptions) -> Result<Self> {
        options.check()?;
        let path = path.as_ref();
        let file = VaultFile::at(path);
        if !file.exists() {
            // Another process may hold the lock while it makes the vault. Once the lock is free, the vault is whole.
            let _lock = file.lock()?;
            if !file.exists() && !file.has_copy() {
                return Self::make(file, unlock, options);
            }
        }
        Self::open(path, unlock)
    }

    /// Makes the files. The lock must be held.
    fn make(file: VaultFile, unlock: Unlock<'_>, options: &VaultOptions) -> Result<Self> {
        file.check_absent()?;
        let uuid = uuid::Builder::from_random_bytes(random::array()?).into_uuid().to_string();
        let (root_record, root) = RootKeys::new(unlock, options.kdf)?;
        let mut body = Body::new(uuid, root_record);
        options.apply(&mut body);
        file.create(&body.seal(&root))?;
        Ok(Self::new(file, root, Held::new(body, None)))
    }

    /// Opens a vault.
    ///
    /// # Errors
    /// [`Error::WrongVaultPassphrase`]; [`Error::DamagedVault`], with a text that names the damage and says whether the
    /// copy is intact; [`Error::NotFound`], also for the root key file; [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, unlock: Unlock<'_>) -> Result<Self> {
        let file = VaultFile::at(path.as_ref());
        let (sealed, stamp) = file.read()?;
        let root = RootKeys::unlock(&sealed.body.root, unlock)?;
        let body = sealed.verify(&root)?;
        Ok(Self::new(file, root, Held::new(body, stamp)))
    }

    fn new(file: VaultFile, root: RootKeys, held: Held) -> Self {
        let audit = AuditWriter::new(fs::beside(file.path(), ".audit"), root.audit.clone());
        let (id, uuid) = (held.id.clone(), held.uuid.clone());
        let (root, owner) = (RwLock::new(Arc::new(root)), OwningProcess::current());
        let store = Store { file, id, uuid, root, owner, held: RwLock::new(held), audit, rotation_due: Mutex::new(0) };
        FileVault { store: Arc::new(store), clock: Arc::new(SystemClock), sync_uses: false, rotate_audit_at: None }
    }

    /// The same vault with another clock. The clock decides which versions have expired, and gives the times in the audit log.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same vault, but each use waits until its log entry is on the disk, not only each change. The entry then
    /// survives a power loss just after the answer. This takes as long as the disk takes.
    pub fn with_synced_uses(mut self, sync: bool) -> Self {
        self.sync_uses = sync;
        self
    }

    /// The same vault, but a use that finds the audit log to have at least `bytes` bytes, and at least 64 KiB, archives it: as by
    /// [`archive_audit`](Self::archive_audit), into `NAME.audit.` and the number of the last entry, with 20 digits. That use waits
    /// for it, and is answered whether it succeeds or not.
    pub fn with_audit_rotation(mut self, bytes: u64) -> Self {
        self.rotate_audit_at = Some(bytes.max(64 << 10));
        self
    }

    /// Writes a new root key file of 32 random bytes, readable by its owner only, for [`Unlock::KeyFile`].
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::NotFound`] for its folder; [`Error::Io`].
    pub fn generate_key_file(path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let written = fs::write_new(path, Secret::random(AES_LEN)?.expose());
        written.map_err(|e| fs::error_at(path, "root key file", "writing", e))
    }

    /// The file of the vault.
    pub fn path(&self) -> &Path {
        self.store.file.path()
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }

    fn root(&self) -> Arc<RootKeys> {
        self.store.root.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn body(&self) -> RwLockReadGuard<'_, Held> {
        self.store.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again, changes it and replaces it, all under the lock, so that changes of other processes stay.
    /// The change is logged first; if it then fails, the failure is logged too.
    fn change<T>(&self, mut used: Use, change: impl FnOnce(&mut Body, &mut Use) -> Result<T>) -> Result<T> {
        let _lock = self.store.file.lock()?;
        let mut body = self.read_verified()?;
        let result = change(&mut body, &mut used);
        let mut log = self.store.audit.begin(|| Ok(body.audit))?;
        log.append(&used, audit::outcome(&result), self.now(), true)?;
        let value = result?;
        body.audit = log.record(&body.audit);
        body.set_version();
        let replaced = body.count_change().and_then(|()| self.replace(body));
        replaced.inspect_err(|_| log.has_failed(&used, self.now()))?;
        Ok(value)
    }

    /// Writes the file. The lock must be held.
    fn replace(&self, body: Body) -> Result<()> {
        self.store.file.replace(&body.seal(&self.root()))?;
        *self.store.held.write().unwrap_or_else(PoisonError::into_inner) = Held::new(body, None);
        Ok(())
    }

    /// Makes sure that the held body is that of the current file. Only a changed file is read.
    fn reload(&self) -> Result<()> {
        self.check_process()?;
        let stamp = self.body().stamp.clone();
        if stamp.is_some_and(|stamp| stamp.is_of(self.path())) {
            return Ok(());
        }
        let (body, stamp) = self.read_stamped()?;
        let new = Held::new(body, stamp);
        let mut held = self.store.held.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have stored a newer body since this one was read.
        if new.generation >= held.generation {
            *held = new;
        }
        Ok(())
    }

    /// Refuses a child of the process that opened the vault. Call it before taking a lock, which may be held for ever there.
    fn check_process(&self) -> Result<()> {
        self.store.owner.check()
    }

    fn read_verified(&self) -> Result<Body> {
        self.read_stamped().map(|(body, _)| body)
    }

    fn read_stamped(&self) -> Result<(Body, Option<Stamp>)> {
        self.check_process()?;
        // Take this before reading the file: the body that this handle holds was in the file by then.
        let seen = self.body().generation;
        let root = self.root();
        let read = |root: &RootKeys| -> Result<_> {
            let (sealed, stamp) = self.store.file.read()?;
            Ok((sealed.verify(root)?, stamp))
        };
        let (body, stamp) = match read(&root) {
            // A clone of this handle has just changed the root, and the file is under the new one.
            Err(_) if !Arc::ptr_eq(&root, &self.root()) => read(&self.root())?,
            read => read?,
        };
        if (&body.id, &body.uuid) != (&self.store.id, &self.store.uuid) {
            return Err(Error::DamagedVault(format!("another vault has taken the place of {}", self.store.id)));
        }
        // An older file would give the same version numbers again, to other keys.
        if body.generation < seen {
            return Err(Error::DamagedVault(format!(
                "it is older (generation {}) than the file that this handle has read ({seen}); put the newer file back, \
                 or open the vault again",
                body.generation
            )));
        }
        Ok((body, stamp))
    }
}

/// Uses. Each outcome is logged before it is answered.
impl FileVault {
    /// Wraps under the version `told`, or under the default version if `None`.
    fn wrap_as(&self, identity: Option<&str>, key: &str, told: Option<&KeyId>, dek: &Secret) -> Result<WrappedDek> {
        self.reload()?;
        let (wrapped, head) = self.logged_at(identity, KeyOperation::WrapKey, key, |body, used| {
            used.version = told.map(|id| id.version().into());
            let version = match told {
                Some(id) => body.to_wrap_under(id, self.now())?,
                None => body.to_wrap(key, self.now())?,
            };
            let id = body.id_of(key, version)?;
            used.version = Some(id.version().into());
            let (algorithm, bytes) = self.kek(version)?.wrap(&id, dek)?;
            Ok(WrappedDek { kek: id, algorithm, bytes })
        })?;
        // A wrap over the limit is counted but not returned.
        KeyUsage::of_wraps(head.seq(), dek.len()).check(1)?;
        Ok(wrapped)
    }

    fn unwrap_as(&self, identity: Option<&str>, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        let id = &wrapped.kek;
        if id.vault() != self.store.id {
            return Ok(None);
        }
        // Another process may have made, disabled or destroyed the version since this one read the file. Only the file
        // can tell, so an unreadable file fails the call.
        self.reload()?;
        let dek = self.logged(identity, KeyOperation::UnwrapKey, id.key(), |body, used| {
            used.version = Some(id.version().into());
            let version = body.to_unwrap(id, self.now())?;
            wrapped.algorithm.approval().require()?;
            self.kek(version)?.unwrap(wrapped)
        })?;
        Ok(Some(dek))
    }

    fn describe_as(&self, identity: Option<&str>, key: &str, version: Option<&str>) -> Result<KeyDescription> {
        self.reload()?;
        self.logged(identity, KeyOperation::Get, key, |body, used| {
            used.version = version.map(Into::into);
            let said = body.describe(key, version, self.now())?;
            used.version = Some(said.id.version().into());
            Ok(said)
        })
    }

    fn logged<T>(
        &self,
        identity: Option<&str>,
        operation: KeyOperation,
        key: &str,
        act: impl FnOnce(&Body, &mut Use) -> Result<T>,
    ) -> Result<T> {
        self.logged_at(identity, operation, key, act).map(|(done, _)| done)
    }

    /// As [`logged`](Self::logged); also returns the log's head after the entry.
    fn logged_at<T>(
        &self,
        identity: Option<&str>,
        operation: KeyOperation,
        key: &str,
        act: impl FnOnce(&Body, &mut Use) -> Result<T>,
    ) -> Result<(T, AuditHead)> {
        let mut used = Use::of_key(operation.name(), key);
        used.identity = identity.map(Into::into);
        self.log_use(used, |body, used| body.check_access(identity, operation, key).and_then(|()| act(body, used)))
    }

    /// Acts on the held body, and logs the outcome before returning it.
    fn log_use<T>(&self, mut used: Use, act: impl FnOnce(&Body, &mut Use) -> Result<T>) -> Result<(T, AuditHead)> {
        let result = act(&self.body(), &mut used);
        let outcome = audit::outcome(&result);
        let head = self.store.audit.log(used, outcome, &self.clock, self.sync_uses, || self.audit_record())?;
        self.rotate_audit();
        result.map(|done| (done, head))
    }

    fn kek(&self, version: &VersionRecord) -> Result<Kek> {
        let root = self.root();
        let mac_key = version.mac_key.as_deref().map(|key| root.unwrap_kek(KeyKind::Aes256, key)).transpose()?;
        let kek = Kek::new(version.kind, root.unwrap_kek(version.kind, &version.kek)?)?;
        Ok(kek.authenticated(version.authenticated, mac_key))
    }
}

impl KeyVault for FileVault {
    fn id(&self) -> &str {
        &self.store.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.wrap_as(None, key, None, dek)
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.wrap_as(None, kek.key(), Some(kek), dek)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.unwrap_as(None, wrapped)
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.describe_as(None, key, version).map(Some)
    }
}

impl core::fmt::Debug for FileVault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FileVault").field("path", &self.path()).field("id", &self.store.id).finish_non_exhaustive()
    }
}
