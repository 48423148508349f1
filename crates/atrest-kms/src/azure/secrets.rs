//! [`AzureSecrets`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use atrest::{Error, KeyRefusal, Result, Secret};
use atrest_http::Deadline;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::api::{Api, Bad, Found};
use super::connect::connect;
use super::key::{Attributes, is_version, version_of};
use super::options::AzureOptions;
use crate::input::{json, parse};
use crate::trouble::{Operation, Trouble};
use crate::url_options::UrlOptions;

/// The longest value of a secret, in bytes ("Azure Key Vault secrets": 25 KB).
const LONGEST_VALUE: usize = 25 << 10;

/// The most tags of a secret, and the longest name or value of one, in characters ("Secret tags").
const MOST_TAGS: usize = 15;
const LONGEST_TAG: usize = 256;

/// Secrets of an Azure key vault: "Get Secret" and "Set Secret" of the REST reference, version 7.4.
///
/// The permissions `secrets/get` and `secrets/set` are needed. A secret has versions: each `set` makes one, and none is ever changed.
/// A vault with soft delete keeps deleted secrets until they are purged. A managed HSM has no secrets.
pub struct AzureSecrets {
    id: String,
    api: Api,
    deadline: Duration,
}

/// A version of a secret. Its value is wiped after use, and isn't in `Debug`.
#[derive(Debug)]
#[non_exhaustive]
pub struct AzureSecret {
    /// Its name.
    pub name: String,
    /// Its version: 32 digits.
    pub version: String,
    /// The value, as text in UTF-8.
    pub value: Secret,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// `SecretBundle`.
#[derive(Deserialize)]
struct Bundle<'a> {
    id: String,
    #[serde(borrow)]
    value: Cow<'a, str>,
    attributes: Attributes,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
}

/// `SecretSetParameters`.
#[derive(Serialize)]
struct Set<'a> {
    value: &'a str,
    #[serde(rename = "contentType")]
    content_type: &'a str,
    tags: &'a BTreeMap<String, String>,
}

impl AzureSecrets {
    /// The secrets of a vault. No request is sent yet.
    ///
    /// # Errors
    /// As [`AzureKeyVault::new`](crate::AzureKeyVault::new).
    pub fn new(options: &AzureOptions) -> Result<Self> {
        let (id, api) = connect(options)?;
        Ok(AzureSecrets { id, api, deadline: options.deadline })
    }

    /// The secrets of a vault that a URL names: see [`open`](crate::open).
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn from_url(url: &str, with: &UrlOptions) -> Result<Self> {
        Self::new(&AzureOptions::from_url(url, with)?)
    }

    /// The vault's name: `https://NAME.vault.azure.net`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A version of a secret, or the newest one.
    ///
    /// The vault itself gives out secrets that have expired or aren't valid yet. This refuses them.
    ///
    /// # Errors
    /// [`Error::KeyRefused`] with the URL of the secret in the place of a key's, if it is missing, disabled, deleted, expired or not yet
    /// valid, or if access is denied; [`Error::Vault`] for everything else, such as an outage; [`Error::InvalidName`].
    pub fn get(&self, name: &str, version: Option<&str>) -> Result<AzureSecret> {
        self.api.bearer.client.owner().check()?;
        check_name(name)?;
        let failed = |trouble: Trouble| trouble.into_error(self.url(name, version), Operation::Get);
        if version.is_some_and(|version| !is_version(version)) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        let deadline = Deadline::after(self.deadline);
        let slash = if version.is_some() { "/" } else { "" };
        let answer = self.api.get(deadline, &format!("/secrets/{name}{slash}{}", version.unwrap_or_default()), "");
        let found = answer.map_err(|bad| self.meaning(deadline, name, bad)).and_then(|Found { body, now }| {
            let (found, attributes) = self.read(&body, "get secret", name)?;
            attributes.check(now)?;
            Ok(found)
        });
        let found = found.map_err(failed)?;
        if version.is_some_and(|version| version != found.version) {
            return Err(failed(Trouble::failed("the vault answered with another version than it was asked for")));
        }
        Ok(found)
    }

    /// Makes a new version of a secret, and the secret if there is none. Returns the version's name. After an error the version
    /// may exist nevertheless: the outcome of a time-out is unknown. An additional version does no harm.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`Error::InvalidOption`] for a value that isn't UTF-8 or is longer than 25 KiB, for more than 15 tags, and
    /// for a tag longer than 256 characters.
    pub fn set(&self, name: &str, value: &Secret, kind: &str, tags: &BTreeMap<String, String>) -> Result<String> {
        self.api.bearer.client.owner().check()?;
        check_name(name)?;
        let text = std::str::from_utf8(value.expose()).ok().filter(|text| text.len() <= LONGEST_VALUE);
        let text = text.ok_or_else(|| Error::InvalidOption("a secret is text of at most 25 KiB".into()))?;
        let is_short = |text: &str| text.chars().count() <= LONGEST_TAG;
        if tags.len() > MOST_TAGS || !tags.iter().all(|(name, value)| is_short(name) && is_short(value)) {
            let why = format!("a secret has at most {MOST_TAGS} tags, of at most {LONGEST_TAG} characters each");
            return Err(Error::InvalidOption(why));
        }
        let failed = |trouble: Trouble| trouble.into_error(self.url(name, None), Operation::Set);
        let body = json(&Set { value: text, content_type: kind, tags }).map_err(failed)?;
        let deadline = Deadline::after(self.deadline);
        let answer = self.api.put(deadline, &format!("/secrets/{name}"), &body);
        let found = answer.map_err(|bad| self.meaning(deadline, name, bad));
        let found = found.and_then(|found| self.read(&found.body, "set secret", name)).map_err(failed)?;
        Ok(found.0.version)
    }

    fn read(&self, body: &[u8], what: &str, name: &str) -> Result<(AzureSecret, Attributes), Trouble> {
        let mut found: Bundle<'_> = parse(body, what)?;
        let value = Secret::copy_from(found.value.as_bytes());
        if let Cow::Owned(copy) = &mut found.value {
            copy.zeroize();
        }
        let version = version_of(&found.id, &self.id, "secrets/", name);
        let version =
            version.ok_or_else(|| Trouble::failed("the vault answered with another secret than it was asked for"))?;
        let (name, version) = (name.to_owned(), version.to_owned());
        Ok((AzureSecret { name, version, value, tags: found.tags.unwrap_or_default() }, found.attributes))
    }

    fn meaning(&self, deadline: Deadline, name: &str, bad: Bad) -> Trouble {
        match bad {
            Bad::Trouble(trouble) | Bad::Parameter(trouble) => trouble,
            Bad::Forbidden => Trouble::Denied(self.api.identity()),
            // A deleted secret is in the vault until it is purged. A caller that may not look has the vault's own text.
            Bad::Missing => match self.api.get(deadline, &format!("/deletedsecrets/{name}"), "") {
                Ok(_) => Trouble::Refused(KeyRefusal::Deleted),
                Err(_) => Trouble::Refused(KeyRefusal::Missing),
            },
        }
    }

    fn url(&self, name: &str, version: Option<&str>) -> String {
        let slash = if version.is_some() { "/" } else { "" };
        format!("{}/secrets/{name}{slash}{}", self.id, version.unwrap_or_default())
    }
}

impl fmt::Debug for AzureSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureSecrets")
            .field("id", &self.id)
            .field("tokens", &self.api.bearer.tokens)
            .finish_non_exhaustive()
    }
}

/// Names of secrets: 1 to 127 letters, digits and `-`. Anything else would be another path of the API.
fn check_name(name: &str) -> Result<()> {
    if (1..=127).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Ok(());
    }
    Err(Error::InvalidName("the name of a secret in an Azure vault is 1 to 127 letters, digits and '-'".into()))
}
