//! [`AzureKeyVault`].

use std::fmt;
use std::time::Duration;

use atrest::key::{KeyDescription, KeyId, KeyKind, MAX_WRAPPED, WrapAlgorithm, WrappedDek};
use atrest::managed::VaultDescription;
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret};
use atrest_http::{Deadline, base64url, base64url_decode};
use serde::Serialize;
use zeroize::{Zeroize, Zeroizing};

use super::api::{Api, Bad, Found};
use super::connect::connect;
use super::key::{Bundle, Operated, Page, Version, algorithm, is_version, key_id, skip_token};
use super::options::AzureOptions;
use crate::input::{json, parse};
use crate::trouble::{Operation, Trouble, only_under};
use crate::url_options::UrlOptions;

/// The most pages of versions that are read: 1,000 versions.
const MOST_PAGES: usize = 40;

/// Keys of an Azure key vault or a managed HSM: RSA of 2048, 3072 or 4096 bits, which wrap by `RSA-OAEP-256`, and in a managed
/// HSM AES of 256 bits, which wrap by `A256KW`. DEKs wrapped by `RSA-OAEP` are unwrapped too.
///
/// The names of keys are Azure's own: `https://NAME.vault.azure.net/keys/KEY/VERSION`. `wrap` reads the key first, to learn its kind and
/// its newest version. Only where that is disabled, expired or not yet valid, it lists the others, which needs the permission `list`.
///
/// The service that tokens are for follows from the vault's name, and not from the vault's answer (`WWW-Authenticate`): no
/// answer can make this ask for a token for another service, or send one to another host.
pub struct AzureKeyVault {
    id: String,
    api: Api,
    deadline: Duration,
}

#[derive(Serialize)]
struct Operate<'a> {
    alg: &'a str,
    value: &'a str,
}

impl AzureKeyVault {
    /// A vault. No request is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a vault whose name isn't one of a known cloud and that has no fitting
    /// [`resource`](AzureOptions::resource), for an endpoint or an identity that isn't well formed, and for certificates that aren't in
    /// PEM.
    pub fn new(options: &AzureOptions) -> Result<Self> {
        let (id, api) = connect(options)?;
        Ok(AzureKeyVault { api, id, deadline: options.deadline })
    }

    /// The vault of a URL: see [`open`](crate::open).
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn from_url(url: &str, with: &UrlOptions) -> Result<Self> {
        Self::new(&AzureOptions::from_url(url, with)?)
    }

    /// Describes the vault for sets of managed disks ([`KnownVaults`](atrest::managed::KnownVaults)): whether it has soft
    /// delete and purge protection, by the recovery level of a key. The vault doesn't report its region and its tenant: the
    /// caller states them.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use atrest::managed::KnownVaults;
    /// use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions};
    ///
    /// let options = AzureOptions::new("https://contoso.vault.azure.net", AzureIdentity::managed(None));
    /// let vault = AzureKeyVault::new(&options)?;
    /// let description = vault.description("disks", "westeurope", "contoso")?;
    /// assert!(description.purge_protection, "turn purge protection on: az keyvault update --enable-purge-protection true");
    /// KnownVaults::new().add(Arc::new(vault), description)?;
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`KeyVault::describe`].
    pub fn description(&self, key: &str, region: &str, tenant: &str) -> Result<VaultDescription> {
        self.api.bearer.client.owner().check()?;
        check_key(&self.id, key)?;
        let deadline = Deadline::after(self.deadline);
        let found = self.get(deadline, key, "").map_err(|e| e.into_error(key, Operation::Get))?;
        let recovery = found.0.attributes.recovery;
        let description = VaultDescription::new(region, tenant);
        Ok(description.soft_delete(recovery.soft_delete()).purge_protection(recovery.purge_protection()))
    }

    /// Wraps a secret that isn't a DEK of a volume by a version of an RSA key and an algorithm that the caller chooses: `RSA-OAEP-256`,
    /// `RSA-OAEP` or `RSA1_5`. It is for the formats of others, such as the passphrases of Azure Disk Encryption.
    ///
    /// # Errors
    /// As [`KeyVault::wrap_version`]; [`Error::InvalidOption`] for another algorithm.
    pub fn wrap_foreign(&self, kek: &KeyId, algorithm: WrapAlgorithm, secret: &Secret) -> Result<WrappedDek> {
        self.api.bearer.client.owner().check()?;
        let failed = |e: Trouble| e.into_error(kek.to_string(), Operation::Wrap);
        check_foreign(algorithm)?;
        if kek.vault() != self.id || check_key(&self.id, kek.key()).is_err() || !is_version(kek.version()) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        let deadline = Deadline::after(self.deadline);
        let (version, now) = self.get(deadline, kek.key(), kek.version()).map_err(failed)?;
        version.attributes.check(now).map_err(failed)?;
        only_under(kek, self.encrypt_by(deadline, &version, algorithm, secret).map_err(failed)?)
    }

    /// Unwraps a key that [`wrap_foreign`](Self::wrap_foreign) or another program has wrapped, also by `RSA1_5`.
    /// [`unwrap`](KeyVault::unwrap) refuses that algorithm: an attacker who writes a volume's header could have it try one
    /// ciphertext after another. `None` for a key of another vault.
    ///
    /// # Errors
    /// As [`KeyVault::unwrap`].
    pub fn unwrap_foreign(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.api.bearer.client.owner().check()?;
        check_foreign(wrapped.algorithm)?;
        self.unwrap_by(wrapped)
    }

    fn unwrap_by(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        if wrapped.kek.vault() != self.id {
            return Ok(None);
        }
        if !(1..=MAX_WRAPPED).contains(&wrapped.bytes.len()) {
            return Err(Error::UnwrapFailed);
        }
        let failed = |e: Trouble| e.into_error(wrapped.kek.to_string(), Operation::Unwrap);
        if check_key(&self.id, wrapped.kek.key()).is_err() || !is_version(wrapped.kek.version()) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        self.decrypt(wrapped).map(Some).map_err(failed)
    }

    /// The bundle of a version, or of the newest one.
    fn bundle(&self, deadline: Deadline, key: &str, version: &str) -> Result<(Version, u64), Bad> {
        let slash = if version.is_empty() { "" } else { "/" };
        let Found { body, now } = self.api.get(deadline, &format!("/keys/{key}{slash}{version}"), "")?;
        let found = parse::<Bundle>(&body, "get key")?.version(&self.id, key)?;
        if !version.is_empty() && found.id.version() != version {
            return Err(Trouble::failed("the vault answered with another version than it was asked for").into());
        }
        Ok((found, now))
    }

    /// A version, with the time at the vault.
    fn get(&self, deadline: Deadline, key: &str, version: &str) -> Result<(Version, u64), Trouble> {
        self.bundle(deadline, key, version).map_err(|bad| match bad {
            Bad::Forbidden => Trouble::Denied(self.api.identity()),
            bad => self.meaning(deadline, key, None, bad),
        })
    }

    /// The version that wraps: the newest that may, or else the newest that is enabled.
    fn choose(&self, deadline: Deadline, key: &str) -> Result<(Version, u64), Trouble> {
        let newest = match self.get(deadline, key, "") {
            Ok((found, now)) if found.attributes.check(now).is_ok() => return Ok((found, now)),
            // The vault may refuse to describe a disabled one.
            Ok(found) => Ok(found),
            Err(trouble @ Trouble::Refused(KeyRefusal::Disabled)) => Err(trouble),
            Err(other) => return Err(other),
        };
        match self.listed(deadline, key) {
            Ok(Some(version)) => self.get(deadline, key, &version),
            Ok(None) => Err(Trouble::Refused(KeyRefusal::Disabled)),
            // A caller that may not list gets the newest version alone.
            Err(Trouble::Denied(_)) => {
                let (found, now) = newest?;
                if !found.attributes.enabled {
                    return Err(Trouble::Refused(KeyRefusal::Disabled));
                }
                Ok((found, now))
            }
            Err(other) => Err(other),
        }
    }

    /// The newest version in the list that may wrap, or else the newest that is enabled.
    fn listed(&self, deadline: Deadline, key: &str) -> Result<Option<String>, Trouble> {
        let (mut best, mut next) = (None, String::new());
        for _ in 0..MOST_PAGES {
            let found = self.api.get(deadline, &format!("/keys/{key}/versions"), &next);
            let Found { body, now } = found.map_err(|bad| match bad {
                Bad::Forbidden => Trouble::Denied(self.api.identity()),
                bad => self.meaning(deadline, key, None, bad),
            })?;
            let page: Page = parse(&body, "list of versions")?;
            for item in page.value.iter().filter(|item| item.attributes.enabled) {
                let id = key_id(&item.kid, &self.id, key)?;
                let rank = (item.attributes.check(now).is_ok(), item.attributes.created.unwrap_or(0));
                if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                    best = Some((rank, id.version().to_owned()));
                }
            }
            let Some(link) = page.next.filter(|link| !link.is_empty()) else {
                return Ok(best.map(|(_, version)| version));
            };
            let token = skip_token(&link)
                .ok_or_else(|| Trouble::failed("the list of versions has a next page that isn't one"))?;
            next = format!("&$skiptoken={token}");
        }
        Err(Trouble::failed("the key has more than 1,000 versions; remove those that are disabled"))
    }

    /// The meaning of an error about a key, whose state tells more.
    fn meaning(&self, deadline: Deadline, key: &str, version: Option<&str>, bad: Bad) -> Trouble {
        match (bad, version) {
            (Bad::Trouble(trouble) | Bad::Parameter(trouble), _) => trouble,
            // A deleted key is in the vault until it is purged. A caller that may not look has the vault's own text.
            (Bad::Missing, _) => match self.api.get(deadline, &format!("/deletedkeys/{key}"), "") {
                Ok(_) => Trouble::Refused(KeyRefusal::Deleted),
                Err(_) => Trouble::Refused(KeyRefusal::Missing),
            },
            (Bad::Forbidden, Some(version)) => match self.get(deadline, key, version) {
                Ok((found, now)) => match found.attributes.check(now) {
                    Err(trouble) => trouble,
                    Ok(()) => Trouble::Denied(self.api.identity()),
                },
                Err(trouble) => trouble,
            },
            (Bad::Forbidden, None) => Trouble::Denied(self.api.identity()),
        }
    }

    fn operate(&self, deadline: Deadline, action: &str, kek: &KeyId, body: &[u8]) -> Result<Found, Bad> {
        self.api.post(deadline, &format!("/keys/{}/{}/{action}", kek.key(), kek.version()), body)
    }

    fn encrypt(&self, deadline: Deadline, version: &Version, now: u64, dek: &Secret) -> Result<WrappedDek, Trouble> {
        // The check that the vault itself should make: some vaults are reported to let a disabled key wrap.
        version.attributes.check(now)?;
        self.encrypt_by(deadline, version, algorithm(version.kind), dek)
    }

    fn encrypt_by(
        &self,
        deadline: Deadline,
        version: &Version,
        algorithm: WrapAlgorithm,
        dek: &Secret,
    ) -> Result<WrappedDek, Trouble> {
        let value = Zeroizing::new(base64url(dek.expose()));
        let body = json(&Operate { alg: algorithm.name(), value: &value })?;
        let answer = self.operate(deadline, "wrapkey", &version.id, &body);
        let answer = answer.map_err(|bad| self.meaning(deadline, version.id.key(), Some(version.id.version()), bad))?;
        let found: Operated<'_> = parse(&answer.body, "wrapkey")?;
        let senseless = || Trouble::failed("the answer of wrapkey has no wrapped key");
        let bytes = base64url_decode(&found.value).ok_or_else(senseless)?.to_vec();
        if bytes.is_empty() || bytes.len() > MAX_WRAPPED {
            return Err(senseless());
        }
        let kek = key_id(&found.kid, &self.id, version.id.key())?;
        Ok(WrappedDek::new(kek, algorithm, bytes))
    }

    fn decrypt(&self, wrapped: &WrappedDek) -> Result<Secret, Trouble> {
        let value = base64url(&wrapped.bytes);
        let body = json(&Operate { alg: wrapped.algorithm.name(), value: &value })?;
        let (deadline, kek) = (Deadline::after(self.deadline), &wrapped.kek);
        let answer = self.operate(deadline, "unwrapkey", kek, &body).map_err(|bad| match bad {
            // The writer of the header chose the bytes and the algorithm.
            Bad::Parameter(_) => Trouble::Altered,
            bad => self.meaning(deadline, kek.key(), Some(kek.version()), bad),
        })?;
        let mut found: Operated<'_> = parse(&answer.body, "unwrapkey")?;
        let dek = base64url_decode(&found.value);
        if let std::borrow::Cow::Owned(copy) = &mut found.value {
            copy.zeroize();
        }
        if key_id(&found.kid, &self.id, kek.key())?.version() != kek.version() {
            return Err(Trouble::failed("the vault answered with another version than it was asked for"));
        }
        let dek = dek.ok_or_else(|| Trouble::failed("the answer of unwrapkey isn't base64"))?;
        Ok(Secret::copy_from(&dek))
    }
}

impl KeyVault for AzureKeyVault {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.api.bearer.client.owner().check()?;
        let failed = |e: Trouble| e.into_error(key, Operation::Wrap);
        check_key(&self.id, key)?;
        let deadline = Deadline::after(self.deadline);
        let (version, now) = self.choose(deadline, key).map_err(failed)?;
        only_under(&version.id, self.encrypt(deadline, &version, now, dek).map_err(failed)?)
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.api.bearer.client.owner().check()?;
        let failed = |e: Trouble| e.into_error(kek.to_string(), Operation::Wrap);
        check_key(&self.id, kek.key())?;
        if !is_version(kek.version()) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        let deadline = Deadline::after(self.deadline);
        let (version, now) = self.get(deadline, kek.key(), kek.version()).map_err(failed)?;
        only_under(kek, self.encrypt(deadline, &version, now, dek).map_err(failed)?)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.api.bearer.client.owner().check()?;
        if wrapped.kek.vault() != self.id {
            return Ok(None);
        }
        let known = [WrapAlgorithm::RsaOaep256, WrapAlgorithm::RsaOaep, WrapAlgorithm::Aes256Kw];
        if !known.contains(&wrapped.algorithm) {
            return Err(Error::UnwrapFailed);
        }
        wrapped.algorithm.approval().require()?;
        self.unwrap_by(wrapped)
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.api.bearer.client.owner().check()?;
        let name = version.map_or(key.to_owned(), |version| format!("{}/keys/{key}/{version}", self.id));
        let failed = |e: Trouble| e.into_error(name.clone(), Operation::Get);
        check_key(&self.id, key)?;
        if version.is_some_and(|version| !is_version(version)) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        let deadline = Deadline::after(self.deadline);
        let found = match version {
            Some(version) => self.get(deadline, key, version),
            None => self.choose(deadline, key),
        };
        let (Version { id, kind, attributes }, _) = found.map_err(failed)?;
        let mut description = KeyDescription::new(id, kind);
        description.enabled = attributes.enabled;
        description.created = attributes.created;
        description.expires = attributes.exp;
        description.not_before = attributes.nbf;
        description.authenticated = kind == KeyKind::Aes256;
        Ok(Some(description))
    }
}

impl fmt::Debug for AzureKeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureKeyVault")
            .field("id", &self.id)
            .field("tokens", &self.api.bearer.tokens)
            .finish_non_exhaustive()
    }
}

/// Names of keys in a vault: letters, digits and `-`. Anything else would be another path of its API.
fn check_key(vault: &str, key: &str) -> Result<()> {
    KeyId::new(vault, key, "1")?;
    if key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Ok(());
    }
    Err(Error::InvalidName("the name of a key in an Azure vault has letters, digits and '-'".into()))
}

fn check_foreign(algorithm: WrapAlgorithm) -> Result<()> {
    if [WrapAlgorithm::RsaOaep256, WrapAlgorithm::RsaOaep, WrapAlgorithm::Rsa15].contains(&algorithm) {
        return algorithm.approval().require();
    }
    Err(Error::InvalidOption("passphrases are wrapped by RSA-OAEP, RSA-OAEP-256 or RSA1_5".into()))
}
