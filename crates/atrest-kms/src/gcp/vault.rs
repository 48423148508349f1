//! [`GcpKms`].

use std::time::{Duration, UNIX_EPOCH};
use std::{fmt, io};

use atrest::key::{KeyDescription, KeyId, KeyKind, MAX_WRAPPED, WrapAlgorithm, WrappedDek};
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret};
use atrest_http::{Client, Deadline, base64, base64_decode, check_address, parse_iso_date};
use atrest_oauth::GoogleIdentity;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::api::{Api, Bad, Checksum};
use super::options::GcpOptions;
use crate::bearer::Bearer;
use crate::input::{json, parse};
use crate::trouble::{Operation, Trouble, only_under};
use crate::url_options::UrlOptions;

const SCOPE: &str = "https://www.googleapis.com/auth/cloudkms";

/// Keys of a key ring of Google Cloud KMS: symmetric ones, whose purpose is `ENCRYPT_DECRYPT`.
///
/// The vault's name is `gcpkms://projects/P/locations/L/keyRings/R`. The version of a [`KeyId`] is the number of the key's version.
/// `wrap` reads the key first and wraps under its primary version by name. Each wrapped DEK is bound, by the additional authenticated
/// data, to being a DEK of this crate under this key and version.
///
/// Checksums (CRC-32C) of requests and answers are demanded and compared. A call in which one is missing or wrong is repeated
/// until the deadline, and is then an outage.
pub struct GcpKms {
    id: String,
    /// `projects/P/locations/L/keyRings/R`.
    ring: String,
    api: Api,
    deadline: Duration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Encrypt<'a> {
    plaintext: &'a str,
    plaintext_crc32c: Checksum,
    additional_authenticated_data: &'a str,
    additional_authenticated_data_crc32c: Checksum,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decrypt<'a> {
    ciphertext: &'a str,
    ciphertext_crc32c: Checksum,
    additional_authenticated_data: &'a str,
    additional_authenticated_data_crc32c: Checksum,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Encrypted {
    name: String,
    ciphertext: String,
    ciphertext_crc32c: Option<Checksum>,
    #[serde(default)]
    verified_plaintext_crc32c: bool,
    #[serde(default)]
    verified_additional_authenticated_data_crc32c: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Decrypted<'a> {
    #[serde(borrow)]
    plaintext: std::borrow::Cow<'a, str>,
    plaintext_crc32c: Option<Checksum>,
}

/// `CryptoKey`.
#[derive(Deserialize)]
struct Key {
    purpose: String,
    primary: Option<Version>,
}

/// `CryptoKeyVersion`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    name: String,
    state: String,
    algorithm: Option<String>,
    create_time: Option<String>,
}

impl GcpKms {
    /// A vault. No request is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a key ring, an endpoint or an identity that isn't well formed, and for certificates that aren't in
    /// PEM.
    pub fn new(options: &GcpOptions) -> Result<Self> {
        let option = |e: io::Error| Error::InvalidOption(e.to_string());
        let ring = options.ring.trim_matches('/').to_owned();
        if !is_ring(&ring) {
            let text = "a key ring is projects/PROJECT/locations/LOCATION/keyRings/RING";
            return Err(Error::InvalidOption(text.into()));
        }
        let endpoint = options.endpoint.trim_end_matches('/').to_owned();
        check_address(&endpoint).map_err(option)?;
        let tokens = options.identity.tokens(SCOPE, &options.http).map_err(option)?;
        let client = Client::new(&options.http).map_err(option)?;
        let api = Api { bearer: Bearer { client, tokens, service: "Google Cloud KMS" }, endpoint };
        Ok(GcpKms { id: format!("gcpkms://{ring}"), ring, api, deadline: options.deadline })
    }

    /// The vault of a URL: see [`open`](crate::open).
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn from_url(url: &str, with: &UrlOptions) -> Result<Self> {
        let why = || {
            let text = "a vault at Google has the URL gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING";
            Error::InvalidOption(text.into())
        };
        let (start, [auth]) = crate::query::split(url, ["auth"])?;
        let ring = start.strip_prefix("gcpkms://").ok_or_else(why)?;
        let identity = match auth.unwrap_or("environment") {
            "environment" => {
                GoogleIdentity::from_variables(&with.environment).map_err(|e| Error::InvalidOption(e.to_string()))?
            }
            "machine" => GoogleIdentity::machine(None),
            _ => {
                let text = "auth is environment, which is the default, or machine";
                return Err(Error::InvalidOption(text.into()));
            }
        };
        let mut options = GcpOptions::new(ring, identity);
        if let Some(deadline) = with.deadline {
            options = options.deadline(deadline);
        }
        Self::new(&options)
    }

    fn key_name(&self, key: &str) -> String {
        format!("{}/cryptoKeys/{key}", self.ring)
    }

    fn version_name(&self, key: &str, version: &str) -> String {
        format!("{}/cryptoKeyVersions/{version}", self.key_name(key))
    }

    /// Repeats an attempt while its request or answer is garbled.
    fn whole<T>(&self, deadline: Deadline, attempt: impl Fn() -> Result<T, Bad>) -> Result<T, Bad> {
        let mut retries = self.api.bearer.client.retries(deadline);
        loop {
            match attempt() {
                Err(Bad::Garbled(_)) if retries.wait(None) => {}
                other => return other,
            }
        }
    }

    fn version(&self, deadline: Deadline, key: &str, version: &str) -> Result<Version, Trouble> {
        let name = self.version_name(key, version);
        let answer = self.api.get(deadline, &name).map_err(|bad| plain(bad, "a version"))?;
        let found: Version = parse(&answer, "the version")?;
        if found.name != name {
            return Err(Trouble::failed("the service answered with another version than it was asked for"));
        }
        Ok(found)
    }

    /// The primary version, which wraps.
    fn primary(&self, deadline: Deadline, key: &str) -> Result<Version, Trouble> {
        let answer = self.api.get(deadline, &self.key_name(key)).map_err(|bad| plain(bad, "a key"))?;
        let found: Key = parse(&answer, "the key")?;
        if found.purpose != "ENCRYPT_DECRYPT" {
            let text = "the key isn't for symmetric encryption; make one with the purpose encryption";
            return Err(Trouble::failed(text));
        }
        let version = found.primary.ok_or(Trouble::Refused(KeyRefusal::Disabled))?;
        self.number(key, &version)?;
        Ok(version)
    }

    /// The number of a version of this key.
    fn number<'v>(&self, key: &str, version: &'v Version) -> Result<&'v str, Trouble> {
        let prefix = format!("{}/cryptoKeyVersions/", self.key_name(key));
        let number = version.name.strip_prefix(&prefix).filter(|number| is_number(number));
        number.ok_or_else(|| Trouble::failed("the service answered with another key than it was asked for"))
    }

    fn encrypt(&self, deadline: Deadline, key: &str, version: &str, dek: &Secret) -> Result<WrappedDek, Trouble> {
        let (name, bound) = (self.version_name(key, version), bound(key, version));
        let plaintext = Zeroizing::new(base64(dek.expose()));
        let body = json(&Encrypt {
            plaintext: &plaintext,
            plaintext_crc32c: Checksum::of(dek.expose()),
            additional_authenticated_data: &base64(&bound),
            additional_authenticated_data_crc32c: Checksum::of(&bound),
        })?;
        let bytes = self.whole(deadline, || {
            let answer = self.api.post(deadline, &format!("{name}:encrypt"), &body)?;
            let found: Encrypted = parse(&answer, "encrypt")?;
            if found.name != name {
                return Err(Trouble::failed("the service wrapped under another version than it was asked for").into());
            }
            if !found.verified_plaintext_crc32c || !found.verified_additional_authenticated_data_crc32c {
                return Err(garbled("the service hasn't verified the checksums of what was sent"));
            }
            let bytes = base64_decode(&found.ciphertext).ok_or_else(|| garbled("the ciphertext isn't base64"))?;
            if found.ciphertext_crc32c != Some(Checksum::of(&bytes)) {
                return Err(garbled("the ciphertext hasn't its checksum"));
            }
            Ok(bytes.to_vec())
        });
        let bytes = bytes.map_err(|bad| self.meaning(deadline, key, version, bad))?;
        if bytes.is_empty() || bytes.len() > MAX_WRAPPED {
            return Err(Trouble::failed("the answer of encrypt has no ciphertext"));
        }
        let kek = KeyId::new(&self.id, key, version).map_err(|_| Trouble::failed("the key has no version"))?;
        Ok(WrappedDek::new(kek, WrapAlgorithm::Opaque, bytes))
    }

    fn decrypt(&self, deadline: Deadline, wrapped: &WrappedDek) -> Result<Secret, Trouble> {
        let (key, version) = (wrapped.kek.key(), wrapped.kek.version());
        let bound = bound(key, version);
        let body = json(&Decrypt {
            ciphertext: &base64(&wrapped.bytes),
            ciphertext_crc32c: Checksum::of(&wrapped.bytes),
            additional_authenticated_data: &base64(&bound),
            additional_authenticated_data_crc32c: Checksum::of(&bound),
        })?;
        let dek = self.whole(deadline, || {
            let answer = self.api.post(deadline, &format!("{}:decrypt", self.key_name(key)), &body)?;
            let mut found: Decrypted<'_> = parse(&answer, "decrypt")?;
            let dek = base64_decode(&found.plaintext);
            if let std::borrow::Cow::Owned(copy) = &mut found.plaintext {
                copy.zeroize();
            }
            let dek = dek.ok_or_else(|| garbled("the plaintext isn't base64"))?;
            if found.plaintext_crc32c != Some(Checksum::of(&dek)) {
                return Err(garbled("the plaintext hasn't its checksum"));
            }
            Ok(Secret::copy_from(&dek))
        });
        dek.map_err(|bad| self.meaning(deadline, key, version, bad))
    }

    /// The meaning of an error about a version, whose state tells more.
    fn meaning(&self, deadline: Deadline, key: &str, version: &str, bad: Bad) -> Trouble {
        let Bad::State(text) = bad else { return plain(bad, "a version") };
        // The writer of the header chose the ciphertext, which may belong to another version.
        match self.version(deadline, key, version) {
            Ok(found) => match found.check() {
                Err(trouble) => trouble,
                Ok(()) => Trouble::Altered,
            },
            // A caller that may not look has the text.
            Err(Trouble::Denied(_)) => {
                let named = text.split_once(&format!("/cryptoKeys/{key}/cryptoKeyVersions/{version} is not enabled"));
                match named.and_then(|(_, rest)| rest.split("state is:").nth(1)) {
                    Some(state) => match refusal(state.trim().trim_end_matches('.')) {
                        Some(reason) => Trouble::Refused(reason),
                        None => Trouble::failed("the key's version is in a state in which it can't be used now"),
                    },
                    None => Trouble::Altered,
                }
            }
            Err(other) => other,
        }
    }
}

impl KeyVault for GcpKms {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.api.bearer.client.owner().check()?;
        let failed = |e: Trouble| e.into_error(key, Operation::Wrap);
        check_key(&self.id, key)?;
        let deadline = Deadline::after(self.deadline);
        let primary = self.primary(deadline, key).map_err(failed)?;
        primary.check().map_err(failed)?;
        let number = self.number(key, &primary).map_err(failed)?;
        self.encrypt(deadline, key, number, dek).map_err(failed)
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.api.bearer.client.owner().check()?;
        let failed = |e: Trouble| e.into_error(kek.to_string(), Operation::Wrap);
        check_key(&self.id, kek.key())?;
        if !is_number(kek.version()) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        let deadline = Deadline::after(self.deadline);
        only_under(kek, self.encrypt(deadline, kek.key(), kek.version(), dek).map_err(failed)?)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.api.bearer.client.owner().check()?;
        if wrapped.kek.vault() != self.id {
            return Ok(None);
        }
        if wrapped.algorithm != WrapAlgorithm::Opaque || !(1..=MAX_WRAPPED).contains(&wrapped.bytes.len()) {
            return Err(Error::UnwrapFailed);
        }
        let failed = |e: Trouble| e.into_error(wrapped.kek.to_string(), Operation::Unwrap);
        if check_key(&self.id, wrapped.kek.key()).is_err() || !is_number(wrapped.kek.version()) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        self.decrypt(Deadline::after(self.deadline), wrapped).map(Some).map_err(failed)
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.api.bearer.client.owner().check()?;
        let name = version.map_or(key.to_owned(), |version| format!("{}/keys/{key}/{version}", self.id));
        let failed = |e: Trouble| e.into_error(name.clone(), Operation::Get);
        check_key(&self.id, key)?;
        if version.is_some_and(|version| !is_number(version)) {
            return Err(failed(Trouble::Refused(KeyRefusal::Missing)));
        }
        let deadline = Deadline::after(self.deadline);
        let found = match version {
            Some(version) => self.version(deadline, key, version),
            None => self.primary(deadline, key),
        };
        let found = found.map_err(failed)?;
        let checked = found.check();
        let disabled = matches!(checked, Err(Trouble::Refused(KeyRefusal::Disabled)));
        if !disabled || version.is_none() {
            checked.map_err(failed)?;
        }
        let id = KeyId::new(&self.id, key, self.number(key, &found).map_err(failed)?)?;
        let mut description = KeyDescription::new(id, KeyKind::Aes256);
        description.enabled = !disabled;
        description.sequence = description.id.version().parse().ok();
        let created = found.create_time.as_deref().and_then(parse_iso_date);
        description.created = created.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|time| time.as_secs());
        Ok(Some(description))
    }
}

impl Version {
    /// `CryptoKeyVersionState`.
    fn check(&self) -> Result<(), Trouble> {
        if self.algorithm.as_deref().unwrap_or(SYMMETRIC) != SYMMETRIC && self.algorithm.as_deref() != Some(EXTERNAL) {
            return Err(Trouble::failed("the key's version isn't for symmetric encryption"));
        }
        match (self.state.as_str(), refusal(&self.state)) {
            ("ENABLED", _) => Ok(()),
            (_, Some(reason)) => Err(Trouble::Refused(reason)),
            // Being generated or imported, or that has failed.
            _ => Err(Trouble::failed("the key's version is in a state in which it can't be used now")),
        }
    }
}

const SYMMETRIC: &str = "GOOGLE_SYMMETRIC_ENCRYPTION";

/// The algorithm of keys in an external key manager.
const EXTERNAL: &str = "EXTERNAL_SYMMETRIC_ENCRYPTION";

/// The refusal that a state means.
fn refusal(state: &str) -> Option<KeyRefusal> {
    match state {
        "DISABLED" => Some(KeyRefusal::Disabled),
        "DESTROYED" | "DESTROY_SCHEDULED" => Some(KeyRefusal::Deleted),
        _ => None,
    }
}

/// An error that no state explains.
fn plain(bad: Bad, what: &str) -> Trouble {
    match bad {
        Bad::Trouble(trouble) | Bad::Garbled(trouble) => trouble,
        Bad::Ciphertext => Trouble::Altered,
        Bad::State(_) => Trouble::failed(format!("the service doesn't show {what} in its state")),
    }
}

fn garbled(text: &str) -> Bad {
    Bad::Garbled(Trouble::failed(format!("{text}; something between this machine and Google Cloud KMS alters data")))
}

impl fmt::Debug for GcpKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpKms").field("id", &self.id).field("tokens", &self.api.bearer.tokens).finish_non_exhaustive()
    }
}

/// The data that a wrapped DEK is bound to.
fn bound(key: &str, version: &str) -> Vec<u8> {
    format!("atrest dek 1 {key} {version}").into_bytes()
}

/// The name of a key ring.
fn is_ring(ring: &str) -> bool {
    let plain = |text: &str| {
        let sound = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        (1..=63).contains(&text.len()) && text.bytes().all(sound) && ![".", ".."].contains(&text)
    };
    match ring.split('/').collect::<Vec<_>>()[..] {
        ["projects", project, "locations", location, "keyRings", name] => {
            plain(project) && plain(location) && plain(name)
        }
        _ => false,
    }
}

/// The number of a version, written in the one way.
fn is_number(text: &str) -> bool {
    text.parse().is_ok_and(|number: u64| number > 0 && number.to_string() == text)
}

/// Names of keys: letters, digits, `-` and `_`, at most 63.
fn check_key(vault: &str, key: &str) -> Result<()> {
    KeyId::new(vault, key, "1")?;
    if key.len() <= 63 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        return Ok(());
    }
    Err(Error::InvalidName("the name of a key at Google has at most 63 letters, digits, '-' and '_'".into()))
}
