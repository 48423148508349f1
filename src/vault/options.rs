//! What a vault is told when it is made, and what a version of a key is told later.

use super::body::{Body, DEFAULT_RETENTION_DAYS};
use super::root::KdfCost;
use crate::key::{Kdf, KeyId};
use crate::{Error, Result};

const MAX_LABEL: usize = 127;

/// How [`FileVault::create_with`](crate::FileVault::create_with) makes a vault.
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

    /// The vault's own name, the first part of its keys' URLs: `https://contoso.vault.example`, say. 1 to 512 visible ASCII
    /// characters. No two vaults may share one.
    pub fn id(mut self, id: &str) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Where the vault is: 1 to 127 visible ASCII characters.
    pub fn region(mut self, region: &str) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Whose the vault is: 1 to 127 visible ASCII characters.
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// For how many days a deleted key can be recovered at least: 7 to 90.
    pub fn retention_days(mut self, days: u32) -> Self {
        self.retention_days = Some(days);
        self
    }

    /// Whether nobody, the owner included, can purge a deleted key before its retention is over, or destroy a version of a
    /// key. It can't be turned off again.
    pub fn purge_protection(mut self, on: bool) -> Self {
        self.purge_protection = on;
        self
    }

    /// Whether an expired version refuses to unwrap. By default it unwraps, as cloud vaults do: it is for whoever uses the
    /// vault to enforce expiry.
    pub fn refuse_expired(mut self, refuse: bool) -> Self {
        self.refuse_expired = refuse;
        self
    }

    /// What a passphrase costs to try by Argon2id.
    pub fn kdf_cost(self, cost: KdfCost) -> Self {
        self.kdf(cost.into())
    }

    /// What a passphrase is stretched by, and what that costs: Argon2id in the bounds of [`KdfCost`], or PBKDF2 with SHA-256 or
    /// SHA-512 and 1000 to 10,000,000 iterations. Otherwise it is Argon2id at [`KdfCost::default`]; or where
    /// [approved](crate::approval) algorithms only are taken, PBKDF2 with SHA-256 and 600,000 iterations.
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

/// What [`FileVault::properties`](crate::FileVault::properties) says of a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VaultProperties {
    /// The vault's own name.
    pub id: String,
    /// Where it is, if it was told.
    pub region: Option<String>,
    /// Whose it is, if it was told.
    pub tenant: Option<String>,
    /// For how many days a deleted key can be recovered at least.
    pub retention_days: u32,
    /// Whether a deleted key can't be purged before that.
    pub purge_protection: bool,
    /// Whether an expired version refuses to unwrap.
    pub refuse_expired: bool,
}

/// What [`FileVault::set_version`](crate::FileVault::set_version) changes; what isn't named stays. Times are in seconds
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

    /// Whether an RSA key takes only what the vault itself has wrapped. Without this, whoever has its public half can wrap a
    /// key of their own, which the vault then unwraps as if it were yours. With it, the vault puts a MAC behind what it
    /// wraps, under a secret key of this version, and unwraps nothing without
    /// ([`RsaOaep256Hs256`](crate::key::WrapAlgorithm::RsaOaep256Hs256)). The vault decides that, whatever the name of the
    /// algorithm beside a wrapped key says.
    ///
    /// Versions that [`rotate_key`](crate::FileVault::rotate_key) makes, or that are brought in, are as the RSA version
    /// before them. What was wrapped before it was turned on is refused while it is on: rotate the key, turn it on for the
    /// new version, have all that is under the old one wrapped anew, then disable the old one. Turned off again, what has a
    /// MAC unwraps too. An AES key needs no such thing, for who wraps under it has it.
    pub fn authenticated(mut self, on: bool) -> Self {
        self.authenticated = Some(on);
        self
    }
}
