//! Secrets: values of other programs that the vault keeps in versions, such as the passphrases of disks that a machine encrypted
//! for itself.

use std::collections::BTreeMap;

use super::audit::Use;
use super::body::{Body, SecretRecord, SecretVersionRecord};
use super::info::DeletedKey;
use super::options::VersionChange;
use super::rules::{check_period, parse_version};
use super::{FileVault, MAX_KEYS};
use crate::key::{KeyId, wrap};
use crate::{Error, KeyRefusal, Result, Secret};

/// The most bytes of a secret's value.
pub const MAX_SECRET: usize = wrap::MAX_KEY;
/// The most tags of a version, and the most bytes of a tag's name and of its value.
const MAX_TAGS: usize = 32;
const MAX_TAG: usize = 1024;

/// A version of a secret. `Debug` leaves the value out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredSecret {
    /// Its version.
    pub version: String,
    /// Its value.
    pub value: Secret,
    /// Notes of its owner, stored in the clear.
    pub tags: BTreeMap<String, String>,
}

/// A secret without its values. Times are in seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretInfo {
    /// The name.
    pub name: String,
    /// The versions, the oldest first.
    pub versions: Vec<SecretVersionInfo>,
}

/// A version of a secret without its value. Times are in seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretVersionInfo {
    /// The version.
    pub version: String,
    /// The time when it was made.
    pub created: u64,
    /// Whether it may be read.
    pub enabled: bool,
    /// The first second in which it may be read; `None` for any.
    pub not_before: Option<u64>,
    /// The first second in which it may not be read any more; `None` for never.
    pub expires: Option<u64>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Secrets. Only the owner can use them; grants don't cover them. Each read and each change is logged, with `secrets/NAME` as the
/// key.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.vault");
/// use std::collections::BTreeMap;
/// use atrest::Secret;
/// use atrest::vault::{FileVault, Unlock};
///
/// let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// let first = vault.set_secret("guest-17", &Secret::copy_from(b"what opens the disk"), &BTreeMap::new())?;
/// vault.set_secret("guest-17", &Secret::copy_from(b"another"), &BTreeMap::new())?;
///
/// assert_eq!(vault.secret("guest-17", None)?.value.expose(), b"another");
/// assert_eq!(vault.secret("guest-17", Some(&first))?.value.expose(), b"what opens the disk");
/// # Ok::<(), atrest::Error>(())
/// ```
impl FileVault {
    /// Stores a new version of a secret, or a new secret, and returns the version. Earlier versions stay as they are. The value
    /// has 1 byte to [`MAX_SECRET`].
    ///
    /// # Errors
    /// [`Error::InvalidName`], as for keys; [`Error::InvalidOption`] for a value or tags out of bounds;
    /// [`KeyRefusal::Deleted`] when a deleted secret has the name; those of writing the file.
    pub fn set_secret(&self, name: &str, value: &Secret, tags: &BTreeMap<String, String>) -> Result<String> {
        KeyId::check_name("secret", name)?;
        check_value(value)?;
        check_tags(tags)?;
        let created = self.now();
        self.change(Use::of_key("setSecret", &logged(name)), |body, used| {
            let (url, full) = (url(body, name), body.secrets.len() >= MAX_KEYS);
            let at = match body.secrets.iter().position(|secret| secret.name == name) {
                Some(at) => at,
                None if full => {
                    let text = format!("a vault file holds at most {MAX_KEYS} secrets, purged ones included");
                    return Err(Error::Vault(text.into()));
                }
                None => {
                    body.secrets.push(SecretRecord::new(name));
                    body.secrets.len() - 1
                }
            };
            let secret = &mut body.secrets[at];
            if secret.deleted.is_some() {
                return Err(Error::key_refused(url, KeyRefusal::Deleted));
            }
            let used_up = || Error::Vault(format!("{url} has used up its versions").into());
            let version = secret.next_version;
            if secret.versions.len() >= MAX_KEYS {
                return Err(used_up());
            }
            secret.next_version = version.checked_add(1).ok_or_else(used_up)?;
            secret.purged = false;
            secret.versions.push(SecretVersionRecord {
                version,
                created,
                enabled: true,
                not_before: None,
                expires: None,
                tags: tags.clone(),
                value: self.root().wrap_secret(value)?,
            });
            used.version = Some(version.to_string());
            Ok(version.to_string())
        })
    }

    /// A version of a secret, or the newest one.
    ///
    /// # Errors
    /// [`Error::KeyRefused`] with the reason: it is missing, deleted, disabled, not yet valid or expired;
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn secret(&self, name: &str, version: Option<&str>) -> Result<StoredSecret> {
        self.reload()?;
        let now = self.now();
        let mut used = Use::of_key("getSecret", &logged(name));
        used.version = version.map(Into::into);
        let read = self.log_use(used, |body, used| {
            let found = body.secret_version(name, version)?;
            used.version = Some(found.version.to_string());
            check_period(found.enabled, found.not_before, found.expires, now)
                .map_err(|reason| Error::key_refused(format!("{}/{}", url(body, name), found.version), reason))?;
            let value = self.root().unwrap_secret(&found.value)?;
            Ok(StoredSecret { version: found.version.to_string(), value, tags: found.tags.clone() })
        });
        read.map(|(secret, _)| secret)
    }

    /// The secrets of the vault that aren't deleted, as the file has them now.
    ///
    /// # Errors
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn secrets(&self) -> Result<Vec<SecretInfo>> {
        self.reload()?;
        let body = self.body();
        let live = body.secrets.iter().filter(|secret| secret.is_live());
        Ok(live.map(SecretRecord::info).collect())
    }

    /// Enables or disables a version of a secret, or changes its period of validity.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when it would expire before it is valid, and for a change that only keys have;
    /// [`KeyRefusal::Missing`]; [`KeyRefusal::Deleted`]; those of writing the file.
    pub fn set_secret_version(&self, name: &str, version: &str, change: VersionChange) -> Result<()> {
        if change.authenticated.is_some() {
            return Err(Error::InvalidOption("only a key authenticates what it wraps".into()));
        }
        let used = Use { version: Some(version.into()), ..Use::of_key("setSecretVersion", &logged(name)) };
        self.change(used, |body, _| {
            let number = body.secret_version(name, Some(version))?.version;
            let records = body.secrets.iter_mut().filter(|secret| secret.name == name);
            for record in records.flat_map(|secret| &mut secret.versions).filter(|record| record.version == number) {
                record.enabled = change.enabled.unwrap_or(record.enabled);
                (record.not_before, record.expires) = change.period(record.not_before, record.expires)?;
            }
            Ok(())
        })
    }

    /// Deletes a secret, with all its versions. It can be recovered until it is purged, and until then its name is taken.
    ///
    /// # Errors
    /// [`KeyRefusal::Missing`]; [`KeyRefusal::Deleted`]; those of writing the file.
    pub fn delete_secret(&self, name: &str) -> Result<()> {
        let at = self.now();
        self.change(Use::of_key("deleteSecret", &logged(name)), |body, _| {
            let days = body.retention_days;
            body.live_secret(name)?;
            let records = body.secrets.iter_mut().filter(|secret| secret.name == name);
            records.for_each(|secret| secret.delete(at, days));
            Ok(())
        })
    }

    /// The deleted secrets that can be recovered.
    ///
    /// # Errors
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn deleted_secrets(&self) -> Result<Vec<DeletedKey>> {
        self.reload()?;
        let body = self.body();
        let info = |secret: &SecretRecord| secret.deleted.map(|deleted| deleted.info(&secret.name));
        Ok(body.secrets.iter().filter_map(info).collect())
    }

    /// Undoes the deletion of a secret. Its versions are unchanged.
    ///
    /// # Errors
    /// [`KeyRefusal::Missing`] unless there is such a deleted secret; those of writing the file.
    pub fn recover_secret(&self, name: &str) -> Result<()> {
        self.change(Use::of_key("recoverSecret", &logged(name)), |body, _| {
            body.deleted_secret(name)?.deleted = None;
            Ok(())
        })
    }

    /// Destroys a deleted secret for good. **All data that only its values open is lost.** A new secret may take the name; its
    /// versions continue after the old ones.
    ///
    /// # Errors
    /// [`Error::PurgeProtected`] before its retention is over in a vault with purge protection; [`KeyRefusal::Missing`] unless
    /// there is such a deleted secret; those of writing the file.
    pub fn hazmat_purge_secret(&self, name: &str) -> Result<()> {
        let now = self.now();
        self.change(Use::of_key("purgeSecret", &logged(name)), |body, _| {
            let (protected, key) = (body.purge_protection, url(body, name));
            let secret = body.deleted_secret(name)?;
            if protected && secret.is_retained(now) {
                return Err(Error::PurgeProtected { key });
            }
            secret.purge();
            Ok(())
        })
    }
}

impl Body {
    /// A secret that exists and isn't deleted.
    fn live_secret(&self, name: &str) -> Result<&SecretRecord> {
        let refused = |reason| Err(Error::key_refused(url(self, name), reason));
        match self.secrets.iter().find(|secret| secret.name == name) {
            Some(secret) if secret.deleted.is_some() => refused(KeyRefusal::Deleted),
            Some(secret) if !secret.purged => Ok(secret),
            _ => refused(KeyRefusal::Missing),
        }
    }

    fn deleted_secret(&mut self, name: &str) -> Result<&mut SecretRecord> {
        let missing = Error::key_refused(format!("{} among the deleted secrets", url(self, name)), KeyRefusal::Missing);
        let mut records = self.secrets.iter_mut();
        records.find(|secret| secret.name == name && secret.deleted.is_some()).ok_or(missing)
    }

    /// A version of a secret, or the newest one, usable or not.
    fn secret_version(&self, name: &str, version: Option<&str>) -> Result<&SecretVersionRecord> {
        let secret = self.live_secret(name)?;
        let found = match version {
            Some(told) => {
                parse_version(told).and_then(|number| secret.versions.iter().find(|record| record.version == number))
            }
            None => secret.versions.last(),
        };
        let key = || format!("{}/{}", url(self, name), version.unwrap_or_default());
        found.ok_or_else(|| Error::key_refused(key(), KeyRefusal::Missing))
    }
}

impl SecretRecord {
    fn info(&self) -> SecretInfo {
        let version = |record: &SecretVersionRecord| SecretVersionInfo {
            version: record.version.to_string(),
            created: record.created,
            enabled: record.enabled,
            not_before: record.not_before,
            expires: record.expires,
            tags: record.tags.clone(),
        };
        SecretInfo { name: self.name.clone(), versions: self.versions.iter().map(version).collect() }
    }
}

/// The URL of a secret, without a version.
fn url(body: &Body, name: &str) -> String {
    format!("{}/secrets/{name}", body.id)
}

/// The name of a secret in the log. It can't be a key's, because those have no slash.
fn logged(name: &str) -> String {
    format!("secrets/{name}")
}

fn check_value(value: &Secret) -> Result<()> {
    if (1..=MAX_SECRET).contains(&value.len()) {
        return Ok(());
    }
    Err(Error::InvalidOption(format!("the value of a secret has 1 to {MAX_SECRET} bytes, not {}", value.len())))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    let is_sound = |text: &String| text.len() <= MAX_TAG && !text.contains(char::is_control);
    if tags.len() <= MAX_TAGS && tags.iter().all(|(name, value)| !name.is_empty() && is_sound(name) && is_sound(value))
    {
        return Ok(());
    }
    Err(Error::InvalidOption(format!(
        "a secret has at most {MAX_TAGS} tags, with names and values of at most {MAX_TAG} bytes and no control character"
    )))
}
