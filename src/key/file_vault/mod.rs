//! [`FileVault`]: the vault that comes with the crate, a file of AES-256 KEKs.

mod file;
mod format;
mod root;

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{KeyId, KeyVault, WrapAlgorithm, WrappedDek, wrap};
use crate::{Error, Result, Secret, random};
use file::VaultFile;
use format::{Body, KeyRecord, VersionRecord};
use root::RootKeys;

pub use format::KeyOrigin;
pub use root::{KdfCost, Unlock};

/// The most keys of a vault, and the most versions of a key: the file stays readable in bounded time and memory.
const MAX_KEYS: usize = 10_000;
const KEK_LEN: usize = 32;

/// A vault in a file: named AES-256 keys with versions, each wrapped (AES-KW) under a root key that a passphrase
/// (Argon2id) or a key file gives.
///
/// The file is authenticated as a whole, replaced atomically, and kept twice (`NAME` and `NAME.bak`); processes take
/// turns by a lock on `NAME.lock`. Names and dates in it are readable by anyone, keys are not. Its form is specified in
/// `docs/formats.md`.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.vault");
/// use atrest::key::{FileVault, Unlock};
///
/// let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// let first = vault.create_key("disks")?;
/// let second = vault.rotate_key("disks")?;
/// assert_eq!((first.version(), second.version()), ("1", "2"));
///
/// let again = FileVault::open(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// assert_eq!(again.keys()?[0].versions.len(), 2);
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct FileVault {
    file: VaultFile,
    id: String,
    root: RootKeys,
    body: RwLock<Body>,
}

/// What [`FileVault::keys`] says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// The name.
    pub name: String,
    /// The versions, the oldest first.
    pub versions: Vec<VersionInfo>,
}

/// What [`FileVault::keys`] says of one version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// The full name of the version.
    pub id: KeyId,
    /// When it came into the vault, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// Where it comes from.
    pub origin: KeyOrigin,
}

impl FileVault {
    /// Makes a new vault without keys. There must be no file at `path`, nor a copy of a vault (`.bak`) beside it.
    ///
    /// # Errors
    /// [`Error::Io`] when there is a file already or it can't be written; [`Error::Busy`]; [`Error::InvalidOption`] for
    /// an empty passphrase or a root key file that is too short.
    pub fn create(path: impl AsRef<Path>, unlock: Unlock<'_>) -> Result<Self> {
        Self::create_with_cost(path, unlock, KdfCost::default())
    }

    /// Makes a new vault, with a cost of Argon2id of your choice.
    ///
    /// # Errors
    /// As [`create`](Self::create), and [`Error::InvalidOption`] for a cost out of bounds.
    pub fn create_with_cost(path: impl AsRef<Path>, unlock: Unlock<'_>, cost: KdfCost) -> Result<Self> {
        let file = VaultFile::at(path.as_ref());
        let _lock = file.lock()?;
        file.check_absent()?;
        let uuid = uuid::Builder::from_random_bytes(random::array()?).into_uuid().to_string();
        let (root_record, root) = RootKeys::new(unlock, cost)?;
        let body = Body::new(uuid, root_record);
        file.create(&body.seal(&root))?;
        Ok(FileVault { file, id: body.vault_id(), root, body: RwLock::new(body) })
    }

    /// Opens a vault.
    ///
    /// # Errors
    /// [`Error::WrongPassphrase`]; [`Error::DamagedVault`], which says what is damaged and whether the copy beside it is
    /// intact; [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, unlock: Unlock<'_>) -> Result<Self> {
        let file = VaultFile::at(path.as_ref());
        let sealed = file.read()?;
        let root = RootKeys::unlock(&sealed.body.root, unlock)?;
        let body = sealed.verify(&root)?;
        Ok(FileVault { file, id: body.vault_id(), root, body: RwLock::new(body) })
    }

    /// Writes a new root key file of 32 random bytes, readable by its owner only, for [`Unlock::KeyFile`].
    ///
    /// # Errors
    /// [`Error::Io`] when there is a file already or it can't be written.
    pub fn generate_key_file(path: impl AsRef<Path>) -> Result<()> {
        file::write_new(path.as_ref(), Secret::random(KEK_LEN)?.expose())
    }

    /// The file of the vault.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The keys of the vault, as the file has them now.
    ///
    /// # Errors
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn keys(&self) -> Result<Vec<KeyInfo>> {
        self.reload()?;
        let body = self.body.read().unwrap_or_else(PoisonError::into_inner);
        let version = |key: &KeyRecord, v: &VersionRecord| {
            let id = KeyId::new(&self.id, &key.name, &v.version.to_string())?;
            Ok(VersionInfo { id, created: v.created, origin: v.origin })
        };
        let info = |key: &KeyRecord| {
            let versions = key.versions.iter().map(|v| version(key, v)).collect::<Result<_>>()?;
            Ok(KeyInfo { name: key.name.clone(), versions })
        };
        body.keys.iter().map(info).collect()
    }

    /// Generates a new key with one version.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::KeyExists`]; those of writing the file.
    pub fn create_key(&self, name: &str) -> Result<KeyId> {
        self.add_key(name, &Secret::random(KEK_LEN)?, KeyOrigin::Generated)
    }

    /// Takes in a new key of 32 bytes that you bring.
    ///
    /// # Errors
    /// [`Error::KekLength`]; [`Error::InvalidName`]; [`Error::KeyExists`]; those of writing the file.
    pub fn import_key(&self, name: &str, kek: &Secret) -> Result<KeyId> {
        check_kek(kek)?;
        self.add_key(name, kek, KeyOrigin::Imported)
    }

    /// Generates a new version of a key. Older versions stay, and unwrap what they wrapped.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`]; those of writing the file.
    pub fn rotate_key(&self, name: &str) -> Result<KeyId> {
        self.add_version(name, &Secret::random(KEK_LEN)?, KeyOrigin::Generated)
    }

    /// Takes in a new version of a key, of 32 bytes that you bring.
    ///
    /// # Errors
    /// [`Error::KekLength`]; [`Error::NoSuchKey`]; those of writing the file.
    pub fn import_version(&self, name: &str, kek: &Secret) -> Result<KeyId> {
        check_kek(kek)?;
        self.add_version(name, kek, KeyOrigin::Imported)
    }

    /// Destroys one version of a key, for good. **Whatever only this version can unwrap is lost**, which erases data as
    /// surely as shredding the disk; so re-wrap first all that you want to keep.
    ///
    /// # Errors
    /// [`Error::NoSuchKey`]; those of writing the file.
    pub fn hazmat_destroy_version(&self, id: &KeyId) -> Result<()> {
        self.change(|body| {
            let key = body.key_mut(id.key()).filter(|_| id.vault() == self.id);
            let key = key.ok_or_else(|| Error::NoSuchKey { key: id.to_string() })?;
            let before = key.versions.len();
            key.versions.retain(|v| v.version.to_string() != id.version());
            if key.versions.len() == before {
                return Err(Error::NoSuchKey { key: id.to_string() });
            }
            Ok(())
        })
    }

    fn add_key(&self, name: &str, kek: &Secret, origin: KeyOrigin) -> Result<KeyId> {
        KeyId::check_name("key", name)?;
        self.change(|body| {
            if body.key_mut(name).is_some() {
                return Err(Error::KeyExists { key: name.into() });
            }
            if body.keys.len() >= MAX_KEYS {
                return Err(Error::Vault(format!("a vault file holds at most {MAX_KEYS} keys")));
            }
            let first = VersionRecord { version: 1, created: now(), origin, kek: self.root.wrap_kek(kek)? };
            body.keys.push(KeyRecord { name: name.into(), next_version: 2, versions: vec![first] });
            KeyId::new(&self.id, name, "1")
        })
    }

    fn add_version(&self, name: &str, kek: &Secret, origin: KeyOrigin) -> Result<KeyId> {
        self.change(|body| {
            let key = body.key_mut(name).ok_or_else(|| Error::NoSuchKey { key: name.into() })?;
            if key.versions.len() >= MAX_KEYS {
                return Err(Error::Vault(format!("a key has at most {MAX_KEYS} versions")));
            }
            let version = key.next_version;
            key.next_version += 1;
            let record = VersionRecord { version, created: now(), origin, kek: self.root.wrap_kek(kek)? };
            key.versions.push(record);
            KeyId::new(&self.id, name, &version.to_string())
        })
    }

    /// Reads the file anew, changes it and replaces it, all under the lock: what another process did meanwhile stays.
    fn change<T>(&self, change: impl FnOnce(&mut Body) -> Result<T>) -> Result<T> {
        let _lock = self.file.lock()?;
        let mut body = self.read_verified()?;
        let result = change(&mut body)?;
        body.generation += 1;
        self.file.replace(&body.seal(&self.root))?;
        *self.body.write().unwrap_or_else(PoisonError::into_inner) = body;
        Ok(result)
    }

    fn reload(&self) -> Result<()> {
        let body = self.read_verified()?;
        let mut held = self.body.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have written a newer one since this one was read.
        if body.generation >= held.generation {
            *held = body;
        }
        Ok(())
    }

    fn read_verified(&self) -> Result<Body> {
        // Taken before the file is read: what this handle holds was in the file by then.
        let seen = self.body.read().unwrap_or_else(PoisonError::into_inner).generation;
        let body = self.file.read()?.verify(&self.root)?;
        if body.vault_id() != self.id {
            return Err(Error::DamagedVault(format!("another vault has taken the place of {}", self.id)));
        }
        // A vault that goes on from an older file gives out its versions' numbers again, to other keys.
        if body.generation < seen {
            return Err(Error::DamagedVault(format!(
                "it is older (generation {}) than what this handle has read ({seen}); put the newer file back, or open it \
                 anew",
                body.generation
            )));
        }
        Ok(body)
    }

    /// The bytes of one version, if the vault in memory has it.
    fn kek(&self, key: &str, version: &str) -> Result<Option<Secret>> {
        let body = self.body.read().unwrap_or_else(PoisonError::into_inner);
        let key = body.keys.iter().find(|k| k.name == key);
        let record = key.and_then(|k| k.versions.iter().find(|v| v.version.to_string() == version));
        record.map(|v| self.root.unwrap_kek(&v.kek)).transpose()
    }
}

impl KeyVault for FileVault {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.reload()?;
        let version = {
            let body = self.body.read().unwrap_or_else(PoisonError::into_inner);
            let latest = body.keys.iter().find(|k| k.name == key).and_then(|k| k.versions.last());
            latest.map(|v| v.version.to_string())
        };
        let missing = || Error::NoSuchKey { key: key.into() };
        let version = version.ok_or_else(missing)?;
        let kek = self.kek(key, &version)?.ok_or_else(missing)?;
        let mut bytes = vec![0; dek.len() + 8];
        wrap::aes_kw_wrap(kek.expose(), dek.expose(), &mut bytes)?;
        Ok(WrappedDek { kek: KeyId::new(&self.id, key, &version)?, algorithm: WrapAlgorithm::Aes256Kw, bytes })
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        let id = &wrapped.kek;
        if id.vault() != self.id {
            return Ok(None);
        }
        // Another process may have made the version since this one read the file, or destroyed it. Where the file can't
        // be read, what is known of it serves.
        let read = self.reload();
        let kek = match self.kek(id.key(), id.version())? {
            Some(kek) => kek,
            None => return Err(read.err().unwrap_or(Error::NoSuchKey { key: id.to_string() })),
        };
        let mut dek = Secret::zeroed(wrapped.bytes.len().saturating_sub(8));
        let len = match wrapped.algorithm {
            WrapAlgorithm::Aes256Kw => wrap::aes_kw_unwrap(kek.expose(), &wrapped.bytes, dek.expose_mut())?.len(),
            WrapAlgorithm::Aes256Kwp => wrap::aes_kwp_unwrap(kek.expose(), &wrapped.bytes, dek.expose_mut())?.len(),
            other => return Err(Error::UnsupportedAlgorithm(other.name().into())),
        };
        Ok(Some(if len == dek.len() { dek } else { Secret::copy_from(&dek.expose()[..len]) }))
    }
}

impl core::fmt::Debug for FileVault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("FileVault").field("path", &self.path()).field("id", &self.id).finish_non_exhaustive()
    }
}

fn check_kek(kek: &Secret) -> Result<()> {
    if kek.len() != KEK_LEN {
        return Err(Error::KekLength { len: kek.len() });
    }
    Ok(())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The path of a file beside another, its name with `suffix` behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
