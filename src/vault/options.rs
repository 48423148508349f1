//! The options of a new vault, and the changes of a key's version.

use super::body::{Body, DEFAULT_RETENTION_DAYS};
use super::root::KdfCost;
use crate::key::{Kdf, KeyId};
use crate::{Error, Result};

const MAX_LABEL: usize = 127;

/// Options for making a vault with [`FileVault::create_with`](crate::FileVault::create_with).
///
/// ```
/// use atrest::vault::VaultOptions;
///
/// let options = VaultOptions::new()
///     .id("https://contoso.vault.example")
///     .region("westeurope")
///     .retention_days(30)
///     .purge_protection(true);
/// ```
#[derive(Debug, Clone, Default)]
pub struct VaultOptions {
    id: Option<String>,
    region: Option<String>,
    tenant: Option<String>,
    retention_days: Option<u32>,
    purge_protection: bool,
    refuse_expired: bool,
    pub(super) kdf: Option<Kdf>,
}

impl VaultOptions {
    /// The defaults: a random `urn:uuid:` as id, deleted keys retained for 90 days, no purge protection.
    pub fn new() -> Self {
        Self::default()
    }

    /// The vault's name, the first part of its keys' URLs, such as `https://contoso.vault.example`: 1 to 512 visible
    /// ASCII characters. No two vaults may share one.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The vault's region: 1 to 127 visible ASCII characters.
    pub fn region(mut self, region: &str) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The vault's tenant: 1 to 127 visible ASCII characters.
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// The least number of days for which a deleted key can be recovered: 7 to 90.
    pub fn retention_days(mut self, days: u32) -> Self {
        self.retention_days = Some(days);
        self
    }

    /// If on, nobody, not even the owner, can purge a deleted key before its retention is over, or destroy a version of
    /// a key. It can't be turned off again.
    pub fn purge_protection(mut self, on: bool) -> Self {
        self.purge_protection = on;
        self
    }

    /// Whether an expired version refuses to unwrap. By default it unwraps, as in cloud vaults; enforcing expiry is up
    /// to the vault's users.
    pub fn refuse_expired(mut self, refuse: bool) -> Self {
        self.refuse_expired = refuse;
        self
    }

    /// The cost of Argon2id for each attempt at the passphrase.
    pub fn kdf_cost(self, cost: KdfCost) -> Self {
        self.kdf(cost.into())
    }

    /// The key derivation for the passphrase and its cost: Argon2id in the bounds of [`KdfCost`], or PBKDF2 with SHA-256 or
    /// SHA-512 and 1000 to 10,000,000 iterations. The default is Argon2id at [`KdfCost::default`]; if the process takes
    /// [approved](crate::approval) algorithms only, it is PBKDF2 with SHA-256 and 600,000 iterations.
    pub fn kdf(mut self, kdf: Kdf) -> Self {
        self.kdf = Some(kdf);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if let Some(id) = &self.id {
            KeyId::check_vault(id)?;
        }
        for (what, text) in [("region", &self.region), ("tenant", &self.tenant)] {
            let sound = |text: &String| {
                (1..=MAX_LABEL).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
            };
            if !text.as_ref().is_none_or(sound) {
                let text = format!("the {what} of a vault is 1 to {MAX_LABEL} visible ASCII characters");
                return Err(Error::InvalidOption(text));
            }
        }
        match self.retention_days {
            None | Some(7..=90) => Ok(()),
            Some(days) => Err(Error::InvalidOption(format!("deleted keys are retained for 7 to 90 days, not {days}"))),
        }
    }

    pub(super) fn apply(&self, body: &mut Body) {
        if let Some(id) = &self.id {
            body.id = id.clone();
        }
        body.region = self.region.clone();
        body.tenant = self.tenant.clone();
        body.retention_days = self.retention_days.unwrap_or(DEFAULT_RETENTION_DAYS);
        body.purge_protection = self.purge_protection;
        body.refuse_expired = self.refuse_expired;
    }
}

/// The options of a vault, from [`FileVault::properties`](crate::FileVault::properties).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VaultProperties {
    /// The vault's own name.
    pub id: String,
    /// Its region, if one was given.
    pub region: Option<String>,
    /// Its tenant, if one was given.
    pub tenant: Option<String>,
    /// The least number of days for which a deleted key can be recovered.
    pub retention_days: u32,
    /// Whether a deleted key can't be purged during its retention.
    pub purge_protection: bool,
    /// Whether an expired version refuses to unwrap.
    pub refuse_expired: bool,
}

/// Changes for [`FileVault::set_version`](crate::FileVault::set_version). Anything not set stays. Times are in seconds
/// since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, Default)]
pub struct VersionChange {
    pub(super) enabled: Option<bool>,
    pub(super) not_before: Option<Option<u64>>,
    pub(super) expires: Option<Option<u64>>,
    pub(super) authenticated: Option<bool>,
}

impl VersionChange {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// The new period of validity of a version with this one.
    pub(super) fn period(&self, not_before: Option<u64>, expires: Option<u64>) -> Result<(Option<u64>, Option<u64>)> {
        let period = (self.not_before.unwrap_or(not_before), self.expires.unwrap_or(expires));
        match period {
            (Some(not_before), Some(expires)) if not_before >= expires => {
                let text = format!("a version that is valid from {not_before} can't expire at {expires}");
                Err(Error::InvalidOption(text))
            }
            period => Ok(period),
        }
    }

    /// Enables the version, or disables it.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }

    /// The first second in which it may be used; `None` for any.
    pub fn not_before(mut self, time: Option<u64>) -> Self {
        self.not_before = Some(time);
        self
    }

    /// The first second in which it has expired; `None` for never.
    pub fn expires(mut self, time: Option<u64>) -> Self {
        self.expires = Some(time);
        self
    }

    /// Whether an RSA key only unwraps keys that the vault itself wrapped. Without this, anyone with its public half
    /// can wrap a key of their own, and the vault then unwraps it as if it were yours. With it, the vault appends a MAC
    /// to its wraps, under a secret key of this version, and refuses wraps without one
    /// ([`RsaOaep256Hs256`](crate::key::WrapAlgorithm::RsaOaep256Hs256)). The vault's setting decides, not the
    /// algorithm name stored with a wrapped key.
    ///
    /// New versions, by [`rotate_key`](crate::FileVault::rotate_key) or import, inherit the setting of the RSA version
    /// before them. While it is on, the version refuses wraps from before it was turned on. So rotate the key, turn it
    /// on for the new version, re-wrap everything under the old one, then disable the old one. After it is turned off,
    /// the version still unwraps wraps with a MAC. AES keys don't need this: wrapping under an AES key takes the key
    /// itself.
    pub fn authenticated(mut self, on: bool) -> Self {
        self.authenticated = Some(on);
        self
    }
}
