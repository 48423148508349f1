//! [`AwsKms`].

use std::collections::BTreeMap;
use std::time::Duration;
use std::{fmt, io};

use atrest::key::{KeyDescription, KeyId, KeyKind, MAX_WRAPPED, WrapAlgorithm, WrappedDek};
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret};
use atrest_http::{Cached, Client, Deadline, base64, base64_decode, check_address};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::api::{Api, Bad};
use super::credentials::AwsCredentials;
use super::options::AwsOptions;
use super::sources::Clients;
use crate::input::{json, parse};
use crate::trouble::{Operation, Trouble, only_under};
use crate::url_options::UrlOptions;

/// The name of the context pair that says what a ciphertext is for.
const PURPOSE: &str = "atrest:purpose";

/// Keys of AWS KMS: symmetric ones, of the spec `SYMMETRIC_DEFAULT`.
///
/// A key's name is its id (`1234abcd-12ab-…` or `mrk-…`), or the name of an alias without `alias/`. The version is always the
/// id of the KMS key. So an alias is rotated by pointing it to another key, which is a new version. AWS's own rotation of a
/// key's material changes no version: wrapped DEKs unwrap for ever, and the blob names its material itself.
///
/// The encryption context holds `atrest:purpose` = `dek`, and the pairs of [`AwsOptions::context`].
pub struct AwsKms {
    id: String,
    api: Api,
    /// `arn:…:`, in front of `key/…` or `alias/…`, for the keys of a certain account.
    prefix: Option<String>,
    context: BTreeMap<String, String>,
    deadline: Duration,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypt<'a> {
    key_id: &'a str,
    plaintext: &'a str,
    encryption_context: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt<'a> {
    key_id: &'a str,
    ciphertext_blob: &'a str,
    encryption_context: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ReEncrypt<'a> {
    source_key_id: &'a str,
    destination_key_id: &'a str,
    ciphertext_blob: &'a str,
    source_encryption_context: &'a BTreeMap<String, String>,
    destination_encryption_context: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Describe<'a> {
    key_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    ciphertext_blob: String,
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted<'a> {
    #[serde(borrow)]
    plaintext: std::borrow::Cow<'a, str>,
    key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    key_metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    key_id: String,
    key_state: String,
    key_spec: Option<String>,
    key_usage: Option<String>,
    creation_date: Option<f64>,
    valid_to: Option<f64>,
}

impl AwsKms {
    /// A vault. No request is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a region, an account or an endpoint that isn't well formed, for a context with names that begin
    /// with `aws:` or `atrest:`, and for certificates that aren't in PEM.
    pub fn new(options: &AwsOptions) -> Result<Self> {
        let invalid = |text: &str| Error::InvalidOption(text.into());
        let option = |e: io::Error| Error::InvalidOption(e.to_string());
        let region = &options.region;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&region.len()) || !region.bytes().all(plain) {
            return Err(invalid("a region of AWS has a name such as eu-central-1"));
        }
        let account = options.account.as_deref();
        if account.is_some_and(|account| account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit())) {
            return Err(invalid("an account of AWS has 12 digits"));
        }
        if options.context.keys().any(|name| name.starts_with("aws:") || name.starts_with("atrest:")) {
            return Err(invalid("names of an encryption context that begin with aws: or atrest: are reserved"));
        }
        let (partition, suffix) = match region.split('-').next() {
            Some("cn") => ("aws-cn", "amazonaws.com.cn"),
            _ if region.starts_with("us-gov-") => ("aws-us-gov", "amazonaws.com"),
            _ => ("aws", "amazonaws.com"),
        };
        let own = || format!("https://kms.{region}.{suffix}");
        let endpoint = options.endpoint.clone().unwrap_or_else(own).trim_end_matches('/').to_owned();
        let host = check_address(&endpoint).map_err(option)?.to_owned();
        let mut context = options.context.clone();
        context.insert(PURPOSE.into(), "dek".into());
        let usual = Client::new(&options.http).map_err(option)?;
        let near = Client::new(&options.http.clone().without_proxy()).map_err(option)?;
        let (region, credentials) = (region.clone(), options.credentials.clone());
        let id = account.map_or(format!("awskms://{region}"), |account| format!("awskms://{region}/{account}"));
        let prefix = account.map(|account| format!("arn:{partition}:kms:{region}:{account}:"));
        let api = Api { clients: Clients { usual, near }, endpoint, host, region, credentials, session: Cached::new() };
        Ok(AwsKms { id, api, prefix, context, deadline: options.deadline })
    }

    /// The vault of a URL: see [`open`](crate::open).
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn from_url(url: &str, with: &UrlOptions) -> Result<Self> {
        let why = || Error::InvalidOption("a vault at AWS KMS has the URL awskms://REGION[/ACCOUNT]".into());
        let (start, [endpoint]) = crate::query::split(url, ["endpoint"])?;
        let rest = start.strip_prefix("awskms://").ok_or_else(why)?;
        let (region, account) = rest.split_once('/').map_or((rest, None), |(region, account)| (region, Some(account)));
        let credentials =
            AwsCredentials::from_variables(&with.environment).map_err(|e| Error::InvalidOption(e.to_string()))?;
        let mut options = AwsOptions::new(region, credentials);
        if let Some(account) = account {
            options = options.account(account);
        }
        if let Some(endpoint) = endpoint {
            options = options.endpoint(endpoint);
        }
        if let Some(deadline) = with.deadline {
            options = options.deadline(deadline);
        }
        Self::new(&options)
    }

    /// Wraps a wrapped DEK again, under the key that its alias points to now. This happens in AWS: the DEK doesn't come here.
    ///
    /// # Errors
    /// As [`unwrap`](KeyVault::unwrap).
    pub fn rewrap(&self, wrapped: &WrappedDek) -> Result<WrappedDek> {
        self.api.clients.usual.owner().check()?;
        let name = wrapped.kek.to_string();
        let failed = |e: Trouble| e.into_error(name.clone(), Operation::Unwrap);
        let blob = self.blob(wrapped)?;
        let (source, destination) = (self.reference(wrapped.kek.version()), self.reference(wrapped.kek.key()));
        let body = json(&ReEncrypt {
            source_key_id: &source,
            destination_key_id: &destination,
            ciphertext_blob: &blob,
            source_encryption_context: &self.context,
            destination_encryption_context: &self.context,
        });
        let deadline = Deadline::after(self.deadline);
        let answer = self.ask(deadline, "ReEncrypt", &body.map_err(failed)?, wrapped.kek.version()).map_err(failed)?;
        self.wrapped(wrapped.kek.key(), &answer).map_err(failed)
    }

    /// A key, as requests name it.
    fn reference(&self, name: &str) -> String {
        let kind = if is_key_id(name) { "key/" } else { "alias/" };
        match &self.prefix {
            Some(prefix) => format!("{prefix}{kind}{name}"),
            None if is_key_id(name) => name.into(),
            None => format!("alias/{name}"),
        }
    }

    /// Asks about a key. An error that its state explains is explained.
    fn ask(&self, deadline: Deadline, action: &str, body: &[u8], key: &str) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        self.api.ask(deadline, action, body).map_err(|bad| self.meaning(deadline, bad, key))
    }

    fn meaning(&self, deadline: Deadline, bad: Bad, key: &str) -> Trouble {
        self.api.meaning(bad, || {
            let found = self.metadata(deadline, key)?;
            found.check()
        })
    }

    fn metadata(&self, deadline: Deadline, key: &str) -> Result<Metadata, Trouble> {
        let body = json(&Describe { key_id: &self.reference(key) })?;
        let answer = self.api.ask(deadline, "DescribeKey", &body);
        let answer = answer.map_err(|bad| self.api.meaning(bad, || Ok(())))?;
        let Described { key_metadata: found } = parse(&answer, "DescribeKey")?;
        if !is_key_id(&found.key_id) {
            return Err(Trouble::failed("the answer of DescribeKey names no key"));
        }
        if is_key_id(key) && found.key_id != key {
            return Err(Trouble::failed("AWS KMS described another key than it was asked for"));
        }
        Ok(found)
    }

    fn encrypt(&self, key: &str, reference: &str, dek: &Secret) -> Result<WrappedDek, Trouble> {
        let plaintext = Zeroizing::new(base64(dek.expose()));
        let target = self.reference(reference);
        let body = Encrypt { key_id: &target, plaintext: &plaintext, encryption_context: &self.context };
        let answer = self.ask(Deadline::after(self.deadline), "Encrypt", &json(&body)?, reference)?;
        self.wrapped(key, &answer)
    }

    fn wrapped(&self, key: &str, answer: &[u8]) -> Result<WrappedDek, Trouble> {
        let found: Encrypted = parse(answer, "Encrypt")?;
        let senseless = || Trouble::failed("the answer of Encrypt names no key, or has no blob");
        let version = key_of(&found.key_id).ok_or_else(senseless)?;
        let bytes = base64_decode(&found.ciphertext_blob).ok_or_else(senseless)?.to_vec();
        if bytes.is_empty() || bytes.len() > MAX_WRAPPED {
            return Err(senseless());
        }
        let kek = KeyId::new(&self.id, key, version).map_err(|_| senseless())?;
        Ok(WrappedDek::new(kek, WrapAlgorithm::Opaque, bytes))
    }

    fn decrypt(&self, wrapped: &WrappedDek, blob: &str) -> Result<Secret, Trouble> {
        let version = wrapped.kek.version();
        let target = self.reference(version);
        let body = json(&Decrypt { key_id: &target, ciphertext_blob: blob, encryption_context: &self.context })?;
        let deadline = Deadline::after(self.deadline);
        let answer = self.api.ask(deadline, "Decrypt", &body).map_err(|bad| match bad {
            // The key that the header names isn't for symmetric encryption.
            Bad::Refused(refused) if refused.code == "InvalidKeyUsageException" => Trouble::Altered,
            bad => self.meaning(deadline, bad, version),
        })?;
        let mut found: Decrypted<'_> = parse(&answer, "Decrypt")?;
        let dek = base64_decode(&found.plaintext);
        if let std::borrow::Cow::Owned(copy) = &mut found.plaintext {
            copy.zeroize();
        }
        if key_of(&found.key_id) != Some(version) {
            return Err(Trouble::failed("AWS KMS answered with another key than it was asked for"));
        }
        let dek = dek.ok_or_else(|| Trouble::failed("the answer of Decrypt isn't base64"))?;
        Ok(Secret::copy_from(&dek))
    }

    /// The blob in base64, if it can be one.
    fn blob(&self, wrapped: &WrappedDek) -> Result<String> {
        if wrapped.algorithm != WrapAlgorithm::Opaque || !(1..=MAX_WRAPPED).contains(&wrapped.bytes.len()) {
            return Err(Error::UnwrapFailed);
        }
        if !is_key_id(wrapped.kek.version()) {
            let (key, reason) = (wrapped.kek.to_string(), KeyRefusal::Missing);
            return Err(Error::KeyRefused { key, reason });
        }
        Ok(base64(&wrapped.bytes))
    }
}

impl KeyVault for AwsKms {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.api.clients.usual.owner().check()?;
        KeyId::new(&self.id, key, "1")?;
        self.encrypt(key, key, dek).map_err(|e| e.into_error(key, Operation::Wrap))
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.api.clients.usual.owner().check()?;
        let failed = |e: Trouble| e.into_error(kek.to_string(), Operation::Wrap);
        if !is_key_id(kek.version()) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        only_under(kek, self.encrypt(kek.key(), kek.version(), dek).map_err(failed)?)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.api.clients.usual.owner().check()?;
        if wrapped.kek.vault() != self.id {
            return Ok(None);
        }
        let blob = self.blob(wrapped)?;
        let dek = self.decrypt(wrapped, &blob);
        dek.map(Some).map_err(|e| e.into_error(wrapped.kek.to_string(), Operation::Unwrap))
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.api.clients.usual.owner().check()?;
        let name = version.map_or(key.to_owned(), |version| format!("{}/keys/{key}/{version}", self.id));
        let failed = |e: Trouble| e.into_error(name.clone(), Operation::Get);
        KeyId::new(&self.id, key, version.unwrap_or("1"))?;
        if version.is_some_and(|version| !is_key_id(version)) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        let found = self.metadata(Deadline::after(self.deadline), version.unwrap_or(key)).map_err(failed)?;
        let checked = found.check();
        let disabled = matches!(checked, Err(Trouble::Refused(KeyRefusal::Disabled)));
        if !disabled || version.is_none() {
            checked.map_err(failed)?;
        }
        let mut description = KeyDescription::new(KeyId::new(&self.id, key, &found.key_id)?, KeyKind::Aes256);
        description.enabled = !disabled;
        let seconds = |time: f64| (time.is_finite() && time >= 0.0).then_some(time as u64);
        description.created = found.creation_date.and_then(seconds);
        description.expires = found.valid_to.and_then(seconds);
        Ok(Some(description))
    }
}

impl Metadata {
    /// "Key states of AWS KMS keys", developer guide.
    fn check(&self) -> Result<(), Trouble> {
        let symmetric = self.key_spec.as_deref().unwrap_or("SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT";
        if !symmetric || self.key_usage.as_deref().unwrap_or("ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT" {
            return Err(Trouble::failed("the KMS key isn't for symmetric encryption; make one of SYMMETRIC_DEFAULT"));
        }
        match self.key_state.as_str() {
            "Enabled" => Ok(()),
            "PendingDeletion" | "PendingReplicaDeletion" => Err(Trouble::Refused(KeyRefusal::Deleted)),
            // Imported material that has expired or was deleted is awaited again.
            "Disabled" | "PendingImport" => Err(Trouble::Refused(KeyRefusal::Disabled)),
            // Creating, Updating; Unavailable, where a key store is disconnected.
            _ => Err(Trouble::failed("the KMS key is in a state in which it can't be used now")),
        }
    }
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = &self.api.credentials;
        f.debug_struct("AwsKms").field("id", &self.id).field("credentials", credentials).finish_non_exhaustive()
    }
}

/// Whether it is the id of a KMS key: a UUID, or `mrk-` and 32 digits.
fn is_key_id(name: &str) -> bool {
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if let Some(rest) = name.strip_prefix("mrk-") {
        return digits(rest, 32);
    }
    let parts: Vec<_> = name.split('-').collect();
    parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, len)| digits(part, len))
}

/// The id of a key in its ARN.
fn key_of(arn: &str) -> Option<&str> {
    arn.rsplit_once(":key/").map(|(_, id)| id).filter(|id| is_key_id(id))
}
