//! The owner's operations on a vault and its keys.

use super::access::Grant;
use super::audit::Use;
use super::body::{Body, KeyOperation, KeyOrigin, KeyRecord, VersionRecord};
use super::info::{DeletedKey, KeyInfo};
use super::kek::{AES_LEN, Kek, MAC_KEY_LEN};
use super::options::{VaultProperties, VersionChange};
use super::rsa::RsaKey;
use super::rules::check_identity;
use super::{FileVault, MAX_KEYS, pkcs8};
use crate::key::{KeyId, KeyKind};
use crate::{Error, KeyRefusal, Result, Secret};

/// Keys. Each change is logged before it happens.
impl FileVault {
    /// The keys of the vault that aren't deleted, as the file has them now.
    ///
    /// # Errors
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn keys(&self) -> Result<Vec<KeyInfo>> {
        self.reload()?;
        self.body().infos()
    }

    /// Generates a new AES-256 key with one version.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::KeyExists`]; [`KeyRefusal::Deleted`] when a deleted key has the name; those of
    /// writing the file.
    pub fn create_key(&self, name: &str) -> Result<KeyId> {
        self.create_key_of(name, KeyKind::Aes256)
    }

    /// Generates a new key of some kind with one version.
    ///
    /// # Errors
    /// As [`create_key`](Self::create_key); [`Error::UnsupportedAlgorithm`] for RSA in a build without the feature
    /// `rsa`.
    pub fn create_key_of(&self, name: &str, kind: KeyKind) -> Result<KeyId> {
        self.add_key("create", name, kind, &Kek::generate(kind)?, KeyOrigin::Generated)
    }

    /// Imports a new AES-256 key from your own 32 bytes.
    ///
    /// # Errors
    /// [`Error::KekLength`]; [`Error::InvalidName`]; [`Error::KeyExists`]; [`KeyRefusal::Deleted`]; those of writing the file.
    pub fn import_key(&self, name: &str, kek: &Secret) -> Result<KeyId> {
        check_kek(kek)?;
        self.add_key("import", name, KeyKind::Aes256, kek, KeyOrigin::Imported)
    }

    /// Imports a new RSA key of your own: a private key of 2048, 3072 or 4096 bits in PKCS#8, as PEM or DER. It wraps
    /// by RSA-OAEP-256, and unwraps that and RSA-OAEP with SHA-1. The caller must wipe `pkcs8`.
    ///
    /// # Errors
    /// [`Error::UnsupportedAlgorithm`] for any other key, and in a build without the feature `rsa`;
    /// [`Error::InvalidOption`] for any other form; [`Error::InvalidName`]; [`Error::KeyExists`]; [`KeyRefusal::Deleted`];
    /// those of writing the file.
    pub fn import_rsa_key(&self, name: &str, pkcs8: &[u8]) -> Result<KeyId> {
        let (kind, kek) = RsaKey::import(&pkcs8::der(pkcs8)?)?;
        self.add_key("import", name, kind, &kek, KeyOrigin::Imported)
    }

    /// Imports a new RSA version of a key, like [`import_rsa_key`](Self::import_rsa_key).
    ///
    /// # Errors
    /// As [`import_rsa_key`](Self::import_rsa_key); [`KeyRefusal::Missing`] in place of [`Error::KeyExists`].
    pub fn import_rsa_version(&self, name: &str, pkcs8: &[u8]) -> Result<KeyId> {
        let (kind, kek) = RsaKey::import(&pkcs8::der(pkcs8)?)?;
        self.add_version("importVersion", name, kind, &kek, KeyOrigin::Imported)
    }

    /// Generates a new version of a key, of the same kind as the last. Older versions stay and can unwrap their wraps.
    ///
    /// # Errors
    /// [`KeyRefusal::Missing`]; [`KeyRefusal::Deleted`]; those of writing the file.
    pub fn rotate_key(&self, name: &str) -> Result<KeyId> {
        self.reload()?;
        let kind = self.body().live(name)?.versions.last().map_or(KeyKind::Aes256, |version| version.kind);
        self.add_version("rotate", name, kind, &Kek::generate(kind)?, KeyOrigin::Generated)
    }

    /// Imports a new AES-256 version of a key from your own 32 bytes.
    ///
    /// # Errors
    /// [`Error::KekLength`]; [`KeyRefusal::Missing`]; [`KeyRefusal::Deleted`]; those of writing the file.
    pub fn import_version(&self, name: &str, kek: &Secret) -> Result<KeyId> {
        check_kek(kek)?;
        self.add_version("importVersion", name, KeyKind::Aes256, kek, KeyOrigin::Imported)
    }

    /// Enables or disables a version of a key, changes its period of validity, or changes whether it only unwraps keys
    /// that the vault itself wrapped.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when it would expire before it is valid, or for an AES key that is not to be authenticated;
    /// [`KeyRefusal::Missing`]; [`KeyRefusal::Deleted`]; those of writing the file.
    pub fn set_version(&self, id: &KeyId, change: VersionChange) -> Result<()> {
        self.change(Use::of_version("setVersion", id), |body, _| {
            let version = body.version(id)?.version;
            let versions = &mut body.live_mut(id.key())?.versions;
            let record = versions.iter_mut().find(|record| record.version == version);
            let record = record.ok_or_else(|| Error::key_refused(id.to_string(), KeyRefusal::Missing))?;
            let (not_before, expires) = change.period(record.not_before, record.expires)?;
            if let Some(authenticated) = change.authenticated {
                if record.kind == KeyKind::Aes256 && !authenticated {
                    return Err(Error::InvalidOption("an AES key always authenticates its wraps".into()));
                }
                if record.kind != KeyKind::Aes256 {
                    self.authenticate(record, authenticated)?;
                }
            }
            record.enabled = change.enabled.unwrap_or(record.enabled);
            (record.not_before, record.expires) = (not_before, expires);
            Ok(())
        })
    }

    /// Deletes a key, with all its versions. It can be recovered until it is purged, and until then its name is taken.
    ///
    /// # Errors
    /// [`KeyRefusal::Missing`]; [`KeyRefusal::Deleted`]; those of writing the file.
    pub fn delete_key(&self, name: &str) -> Result<()> {
        let at = self.now();
        self.change(Use::of_key("delete", name), |body, _| {
            let days = body.retention_days;
            body.live_mut(name)?.delete(at, days);
            Ok(())
        })
    }

    /// The deleted keys that can be recovered.
    ///
    /// # Errors
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn deleted_keys(&self) -> Result<Vec<DeletedKey>> {
        self.reload()?;
        Ok(self.body().deleted_infos())
    }

    /// Undoes the deletion of a key. Its versions are unchanged.
    ///
    /// # Errors
    /// [`KeyRefusal::Missing`] unless there is such a deleted key; those of writing the file.
    pub fn recover_key(&self, name: &str) -> Result<()> {
        self.change(Use::of_key("recover", name), |body, _| {
            body.deleted_mut(name)?.deleted = None;
            Ok(())
        })
    }

    /// Destroys a deleted key for good. **All data under this key alone is lost**, as surely as by shredding the disk.
    /// A new key may take the name; its version numbers continue after the old ones.
    ///
    /// # Errors
    /// [`Error::PurgeProtected`] before its retention is over in a vault with purge protection; [`KeyRefusal::Missing`] unless
    /// there is such a deleted key; those of writing the file.
    pub fn hazmat_purge_key(&self, name: &str) -> Result<()> {
        let now = self.now();
        self.change(Use::of_key("purge", name), |body, _| {
            let protected = body.purge_protection;
            let key = body.deleted_mut(name)?;
            if protected && key.is_retained(now) {
                return Err(Error::PurgeProtected { key: name.into() });
            }
            key.purge();
            Ok(())
        })
    }

    /// Destroys one version of a key for good. **All data under this version alone is lost**, as surely as by shredding
    /// the disk. First re-wrap everything that you want to keep.
    ///
    /// # Errors
    /// [`Error::PurgeProtected`] in a vault with purge protection; [`KeyRefusal::Missing`]; [`KeyRefusal::Deleted`]; those of
    /// writing the file.
    pub fn hazmat_destroy_version(&self, id: &KeyId) -> Result<()> {
        self.change(Use::of_version("destroyVersion", id), |body, _| {
            let version = body.version(id)?.version;
            if body.purge_protection {
                return Err(Error::PurgeProtected { key: id.to_string() });
            }
            body.live_mut(id.key())?.versions.retain(|record| record.version != version);
            Ok(())
        })
    }

    /// The options that the vault was made with.
    ///
    /// # Errors
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn properties(&self) -> Result<VaultProperties> {
        self.reload()?;
        Ok(self.body().properties())
    }

    /// Turns purge protection on. It can't be turned off.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn enable_purge_protection(&self) -> Result<()> {
        let used = Use { operation: "protect", ..Use::default() };
        self.change(used, |body, _| {
            body.purge_protection = true;
            Ok(())
        })
    }

    pub(super) fn add_key(
        &self,
        operation: &'static str,
        name: &str,
        kind: KeyKind,
        kek: &Secret,
        origin: KeyOrigin,
    ) -> Result<KeyId> {
        KeyId::check_name("key", name)?;
        self.change(Use::of_key(operation, name), |body, used| {
            let full = body.keys.len() >= MAX_KEYS;
            match body.key_mut(name) {
                Some(key) if key.purged => key.purged = false,
                Some(key) if key.deleted.is_some() => return Err(Error::key_refused(name, KeyRefusal::Deleted)),
                Some(_) => return Err(Error::KeyExists { key: name.into() }),
                None if full => {
                    let text = format!("a vault file holds at most {MAX_KEYS} keys, purged ones included");
                    return Err(Error::Vault(text.into()));
                }
                None => body.keys.push(KeyRecord::new(name)),
            }
            self.push_version(body, used, name, kind, kek, origin)
        })
    }

    pub(super) fn add_version(
        &self,
        operation: &'static str,
        name: &str,
        kind: KeyKind,
        kek: &Secret,
        origin: KeyOrigin,
    ) -> Result<KeyId> {
        self.change(Use::of_key(operation, name), |body, used| self.push_version(body, used, name, kind, kek, origin))
    }

    fn push_version(
        &self,
        body: &mut Body,
        used: &mut Use,
        name: &str,
        kind: KeyKind,
        kek: &Secret,
        origin: KeyOrigin,
    ) -> Result<KeyId> {
        let id = body.id.clone();
        let key = body.live_mut(name)?;
        if key.versions.len() >= MAX_KEYS || key.next_version == u32::MAX {
            return Err(Error::Vault(format!("a key has at most {MAX_KEYS} versions").into()));
        }
        let version = key.next_version;
        key.next_version += 1;
        let rsa_before = key.versions.iter().rev().find(|version| version.kind != KeyKind::Aes256);
        let authenticated = kind != KeyKind::Aes256 && rsa_before.is_some_and(|version| version.authenticated);
        let mut record = VersionRecord {
            version,
            kind,
            created: self.now(),
            origin,
            enabled: true,
            not_before: None,
            expires: None,
            kek: self.root().wrap_kek(kind, kek)?,
            mac_key: None,
            authenticated: false,
        };
        self.authenticate(&mut record, authenticated)?;
        key.versions.push(record);
        let id = KeyId::new(&id, name, &version.to_string())?;
        used.version = Some(id.version().into());
        Ok(id)
    }
}

impl FileVault {
    /// Makes a version of an RSA key demand MACs, or stop demanding them.
    fn authenticate(&self, record: &mut VersionRecord, on: bool) -> Result<()> {
        if on && record.mac_key.is_none() {
            let mac_key = Secret::random(MAC_KEY_LEN)?;
            record.mac_key = Some(self.root().wrap_kek(KeyKind::Aes256, &mac_key)?);
        }
        record.authenticated = on;
        Ok(())
    }
}

/// Access.
impl FileVault {
    /// Allows an identity these operations with the keys of the vault, in addition to earlier grants.
    ///
    /// # Errors
    /// [`Error::InvalidName`] unless the identity is 1 to 256 visible ASCII characters; the errors of writing the file.
    pub fn grant(&self, identity: &str, operations: &[KeyOperation]) -> Result<()> {
        check_identity(identity)?;
        self.change(Use::of_identity("grant", identity), |body, _| {
            if operations.is_empty() {
                return Err(Error::InvalidOption("a grant of no operation grants nothing".into()));
            }
            body.grant(identity, operations)
        })
    }

    /// Takes all access from an identity. It succeeds even if the identity has none.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn revoke(&self, identity: &str) -> Result<()> {
        self.revoke_operations(identity, &KeyOperation::ALL)
    }

    /// Takes some operations from an identity. It succeeds even if the identity doesn't have them.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn revoke_operations(&self, identity: &str, operations: &[KeyOperation]) -> Result<()> {
        self.change(Use::of_identity("revoke", identity), |body, _| {
            body.revoke(identity, operations);
            Ok(())
        })
    }

    /// The grants of all identities. The owner needs none.
    ///
    /// # Errors
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn grants(&self) -> Result<Vec<Grant>> {
        self.reload()?;
        let body = self.body();
        let grants = body.grants.iter();
        Ok(grants.map(|g| Grant { identity: g.identity.clone(), operations: g.operations.clone() }).collect())
    }
}

fn check_kek(kek: &Secret) -> Result<()> {
    if kek.len() != AES_LEN {
        return Err(Error::KekLength { len: kek.len() });
    }
    Ok(())
}
