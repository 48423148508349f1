//! Which keys and versions may be used, as a body has them.

use super::format::{Body, KeyRecord, VersionRecord};
use crate::key::{KeyDescription, KeyId};
use crate::{Error, Result};

impl Body {
    /// The URL of a version.
    pub(super) fn id_of(&self, key: &str, version: &VersionRecord) -> Result<KeyId> {
        KeyId::new(&self.id, key, &version.version.to_string())
    }

    /// A key that exists and isn't deleted.
    pub(super) fn live(&self, name: &str) -> Result<&KeyRecord> {
        let key = self.keys.iter().find(|key| key.name == name);
        check_live(key, name)
    }

    /// A key that exists and isn't deleted.
    pub(super) fn live_mut(&mut self, name: &str) -> Result<&mut KeyRecord> {
        self.live(name)?;
        self.key_mut(name).ok_or_else(|| Error::NoSuchKey { key: name.into() })
    }

    /// A key in any state, purged ones included.
    pub(super) fn key_mut(&mut self, name: &str) -> Option<&mut KeyRecord> {
        self.keys.iter_mut().find(|key| key.name == name)
    }

    /// A deleted key.
    pub(super) fn deleted_mut(&mut self, name: &str) -> Result<&mut KeyRecord> {
        let key = self.key_mut(name).filter(|key| key.deleted.is_some());
        key.ok_or_else(|| Error::NoSuchKey { key: format!("{name} among the deleted keys") })
    }

    /// The version that wraps: the latest one that is enabled and valid now.
    pub(super) fn to_wrap(&self, name: &str, now: u64) -> Result<&VersionRecord> {
        let versions = &self.live(name)?.versions;
        let last = versions.last().ok_or_else(|| Error::NoSuchKey { key: name.into() })?;
        let usable = |version: &&VersionRecord| self.check_usable(name, version, now, true).is_ok();
        match versions.iter().rev().find(usable) {
            Some(version) => Ok(version),
            None => self.check_usable(name, last, now, true).map(|()| last),
        }
    }

    /// A version that is told and may wrap.
    pub(super) fn to_wrap_under(&self, id: &KeyId, now: u64) -> Result<&VersionRecord> {
        let version = self.version(id)?;
        self.check_usable(id.key(), version, now, true)?;
        Ok(version)
    }

    /// A version that may unwrap.
    pub(super) fn to_unwrap(&self, id: &KeyId, now: u64) -> Result<&VersionRecord> {
        let version = self.version(id)?;
        self.check_usable(id.key(), version, now, self.refuse_expired)?;
        Ok(version)
    }

    /// A version, whether it may be used or not.
    pub(super) fn version(&self, id: &KeyId) -> Result<&VersionRecord> {
        let missing = || Error::NoSuchKey { key: id.to_string() };
        let key = self.live(id.key()).map_err(|e| match e {
            Error::KeyDeleted { .. } => Error::KeyDeleted { key: id.to_string() },
            _ => missing(),
        })?;
        let found = key.versions.iter().find(|version| version.version.to_string() == id.version());
        found.filter(|_| id.vault() == self.id).ok_or_else(missing)
    }

    /// What is said of a version; without one, of that which wraps, or else of the latest enabled one.
    pub(super) fn describe(&self, name: &str, version: Option<&str>, now: u64) -> Result<KeyDescription> {
        let record = match version {
            Some(version) => self.version(&KeyId::new(&self.id, name, version)?)?,
            None => match self.to_wrap(name, now) {
                Ok(version) => version,
                Err(e) => {
                    let enabled = self.live(name)?.versions.iter().rev().find(|version| version.enabled);
                    enabled.ok_or(match e {
                        Error::NoSuchKey { .. } => e,
                        _ => Error::KeyDisabled { key: name.into() },
                    })?
                }
            },
        };
        let mut said = KeyDescription::new(self.id_of(name, record)?, record.kind);
        (said.enabled, said.not_before, said.expires) = (record.enabled, record.not_before, record.expires);
        (said.created, said.authenticated) = (Some(record.created), record.is_authenticated());
        Ok(said)
    }

    fn check_usable(&self, name: &str, version: &VersionRecord, now: u64, refuse_expired: bool) -> Result<()> {
        let key = || format!("{}/keys/{name}/{}", self.id, version.version);
        if !version.enabled {
            return Err(Error::KeyDisabled { key: key() });
        }
        if version.not_before.is_some_and(|not_before| now < not_before) {
            return Err(Error::KeyNotYetValid { key: key() });
        }
        if refuse_expired && version.expires.is_some_and(|expires| now >= expires) {
            return Err(Error::KeyExpired { key: key() });
        }
        Ok(())
    }
}

fn check_live<'a>(key: Option<&'a KeyRecord>, name: &str) -> Result<&'a KeyRecord> {
    match key {
        Some(key) if key.deleted.is_some() => Err(Error::KeyDeleted { key: name.into() }),
        Some(key) if !key.purged => Ok(key),
        _ => Err(Error::NoSuchKey { key: name.into() }),
    }
}
