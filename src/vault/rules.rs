//! The rules for the records of a body: names, usable keys and versions, and access.

use super::body::{Body, GrantRecord, KeyOperation, KeyRecord, VersionRecord};
use crate::key::{KeyDescription, KeyId};
use crate::{Error, KeyRefusal, Result};

const MAX_IDENTITY: usize = 256;
const MAX_GRANTS: usize = 10_000;

impl Body {
    /// Checks the names of the vault and its keys. Key ids are made from them.
    pub(super) fn check_names(&self) -> Result<()> {
        let damaged = |e: Error| Error::DamagedVault(format!("one of its names is not allowed: {e}"));
        KeyId::check_vault(&self.id).map_err(damaged)?;
        self.keys.iter().try_for_each(|key| KeyId::check_name("key", &key.name)).map_err(damaged)?;
        self.secrets.iter().try_for_each(|secret| KeyId::check_name("secret", &secret.name)).map_err(damaged)
    }

    /// The URL of a version.
    pub(super) fn id_of(&self, key: &str, version: &VersionRecord) -> Result<KeyId> {
        KeyId::new(&self.id, key, &version.version.to_string())
    }

    /// A key that exists and isn't deleted.
    pub(super) fn live(&self, name: &str) -> Result<&KeyRecord> {
        check_live(self.key(name), name)
    }

    /// A key that exists and isn't deleted.
    pub(super) fn live_mut(&mut self, name: &str) -> Result<&mut KeyRecord> {
        self.live(name)?;
        self.key_mut(name).ok_or_else(|| Error::key_refused(name, KeyRefusal::Missing))
    }

    /// A key in any state, purged ones included.
    pub(super) fn key_mut(&mut self, name: &str) -> Option<&mut KeyRecord> {
        self.keys.iter_mut().find(|key| key.name == name)
    }

    /// A deleted key.
    pub(super) fn deleted_mut(&mut self, name: &str) -> Result<&mut KeyRecord> {
        let key = self.key_mut(name).filter(|key| key.deleted.is_some());
        key.ok_or_else(|| Error::key_refused(format!("{name} among the deleted keys"), KeyRefusal::Missing))
    }

    /// The version to wrap under: the latest one that is enabled and valid now.
    pub(super) fn to_wrap(&self, name: &str, now: u64) -> Result<&VersionRecord> {
        let versions = &self.live(name)?.versions;
        let last = versions.last().ok_or_else(|| Error::key_refused(name, KeyRefusal::Missing))?;
        let usable = |version: &&VersionRecord| self.check_usable(name, version, now, true).is_ok();
        match versions.iter().rev().find(usable) {
            Some(version) => Ok(version),
            None => self.check_usable(name, last, now, true).map(|()| last),
        }
    }

    /// The given version, if it may wrap.
    pub(super) fn to_wrap_under(&self, id: &KeyId, now: u64) -> Result<&VersionRecord> {
        let version = self.version(id)?;
        self.check_usable(id.key(), version, now, true)?;
        Ok(version)
    }

    /// The given version, if it may unwrap.
    pub(super) fn to_unwrap(&self, id: &KeyId, now: u64) -> Result<&VersionRecord> {
        let version = self.version(id)?;
        self.check_usable(id.key(), version, now, self.refuse_expired)?;
        Ok(version)
    }

    /// A version, usable or not.
    pub(super) fn version(&self, id: &KeyId) -> Result<&VersionRecord> {
        let missing = || Error::key_refused(id.to_string(), KeyRefusal::Missing);
        let key = self.live(id.key()).map_err(|e| match e {
            Error::KeyRefused { reason: KeyRefusal::Deleted, .. } => {
                Error::key_refused(id.to_string(), KeyRefusal::Deleted)
            }
            _ => missing(),
        })?;
        let found = key.version(id.version());
        found.filter(|_| id.vault() == self.id).ok_or_else(missing)
    }

    /// Describes a version. Without one, describes the version to wrap under, or else the latest enabled one.
    pub(super) fn describe(&self, name: &str, version: Option<&str>, now: u64) -> Result<KeyDescription> {
        let record = match version {
            Some(version) => self.version(&KeyId::new(&self.id, name, version)?)?,
            None => match self.to_wrap(name, now) {
                Ok(version) => version,
                Err(e) => {
                    let enabled = self.live(name)?.versions.iter().rev().find(|version| version.enabled);
                    enabled.ok_or(match e {
                        Error::KeyRefused { reason: KeyRefusal::Missing, .. } => e,
                        _ => Error::key_refused(name, KeyRefusal::Disabled),
                    })?
                }
            },
        };
        let mut said = KeyDescription::new(self.id_of(name, record)?, record.kind);
        (said.enabled, said.not_before, said.expires) = (record.enabled, record.not_before, record.expires);
        (said.created, said.authenticated) = (Some(record.created), record.is_authenticated());
        said.sequence = Some(record.version.into());
        Ok(said)
    }

    fn check_usable(&self, name: &str, version: &VersionRecord, now: u64, refuse_expired: bool) -> Result<()> {
        let expires = version.expires.filter(|_| refuse_expired);
        check_period(version.enabled, version.not_before, expires, now)
            .map_err(|reason| Error::key_refused(format!("{}/keys/{name}/{}", self.id, version.version), reason))
    }
}

impl KeyRecord {
    fn version(&self, told: &str) -> Option<&VersionRecord> {
        let number = parse_version(told)?;
        // They are in the order of their numbers in each file that this crate wrote.
        let found = self.versions.binary_search_by_key(&number, |version| version.version).ok();
        let at = found.or_else(|| self.versions.iter().position(|version| version.version == number))?;
        self.versions.get(at)
    }
}

/// The number of a version has one spelling: no sign, no zero before it.
pub(super) fn parse_version(told: &str) -> Option<u32> {
    told.parse::<u32>().ok().filter(|number| number.to_string() == told)
}

/// Whether a version, of a key or a secret, may be used now.
pub(super) fn check_period(
    enabled: bool,
    not_before: Option<u64>,
    expires: Option<u64>,
    now: u64,
) -> Result<(), KeyRefusal> {
    if !enabled {
        return Err(KeyRefusal::Disabled);
    }
    if not_before.is_some_and(|not_before| now < not_before) {
        return Err(KeyRefusal::NotYetValid);
    }
    if expires.is_some_and(|expires| now >= expires) {
        return Err(KeyRefusal::Expired);
    }
    Ok(())
}

fn check_live<'a>(key: Option<&'a KeyRecord>, name: &str) -> Result<&'a KeyRecord> {
    match key {
        Some(key) if key.deleted.is_some() => Err(Error::key_refused(name, KeyRefusal::Deleted)),
        Some(key) if !key.purged => Ok(key),
        _ => Err(Error::key_refused(name, KeyRefusal::Missing)),
    }
}

impl Body {
    /// Checks that `identity` may do `operation`. `None` is the owner, who may do everything.
    pub(super) fn check_access(&self, identity: Option<&str>, operation: KeyOperation, key: &str) -> Result<()> {
        let Some(identity) = identity else { return Ok(()) };
        let granted = self.grants.iter().any(|g| g.identity == identity && g.operations.contains(&operation));
        let denied = || KeyRefusal::AccessDenied { identity: identity.into(), operation: operation.name().into() };
        granted.then_some(()).ok_or_else(|| Error::key_refused(key, denied()))
    }

    pub(super) fn grant(&mut self, identity: &str, operations: &[KeyOperation]) -> Result<()> {
        let found = self.grants.iter().position(|grant| grant.identity == identity);
        if found.is_none() && self.grants.len() >= MAX_GRANTS {
            return Err(Error::Vault(format!("a vault file grants access to at most {MAX_GRANTS} identities").into()));
        }
        let at = found.unwrap_or_else(|| {
            self.grants.push(GrantRecord { identity: identity.into(), operations: Vec::new() });
            self.grants.len() - 1
        });
        let granted = &mut self.grants[at].operations;
        granted.extend(operations);
        granted.sort_unstable();
        granted.dedup();
        Ok(())
    }

    pub(super) fn revoke(&mut self, identity: &str, operations: &[KeyOperation]) {
        for grant in self.grants.iter_mut().filter(|grant| grant.identity == identity) {
            grant.operations.retain(|operation| !operations.contains(operation));
        }
        self.grants.retain(|grant| !grant.operations.is_empty());
    }
}

pub(super) fn check_identity(identity: &str) -> Result<()> {
    let sound = (1..=MAX_IDENTITY).contains(&identity.len()) && identity.bytes().all(|byte| byte.is_ascii_graphic());
    let text = || format!("the name of an identity is 1 to {MAX_IDENTITY} visible ASCII characters");
    sound.then_some(()).ok_or_else(|| Error::InvalidName(text()))
}
