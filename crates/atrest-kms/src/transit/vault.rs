//! [`TransitVault`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use atrest::key::{KeyDescription, KeyId, KeyKind, WrapAlgorithm, WrappedDek};
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret};
use atrest_http::{Cached, Client, Deadline, HttpOptions, Method, base64, base64_decode, check_address, invalid, told};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::auth::TransitAuth;
use super::options::TransitOptions;
use super::session::{Answer, Server};
use crate::input::{json, parse};
use crate::trouble::{Operation, Trouble, only_under};
use crate::url_options::UrlOptions;

/// The type of key that is used: AES-256-GCM.
const KEY_TYPE: &str = "aes256-gcm96";

/// The most bytes of a file with certificates of CAs.
const LONGEST_CA: usize = 1 << 20;

/// Keys of a transit engine of HashiCorp Vault or OpenBao.
///
/// Keys are of the type `aes256-gcm96`, derived or not. The version of a [`KeyId`] is the number of the key's version, as in
/// `vault:v3:`. Derived keys are the better choice: the key's context binds each wrapped DEK to being a DEK of this crate, so
/// that other ciphertexts of that key don't pass for one. Associated data isn't used, since the engine can't rewrap ciphertexts
/// that are bound by it.
///
/// `wrap` reads the key first: otherwise the engine would make a missing key, if the token's policy lets it. Any number of
/// threads may use a vault at once.
pub struct TransitVault {
    id: String,
    server: Server,
    mount: String,
    deadline: Duration,
    /// Keys that were seen to be of the type that is used here.
    seen: Mutex<BTreeSet<String>>,
}

/// The most keys that are remembered to be of the right type.
const MOST_SEEN: usize = 1024;

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

/// The part of a key's description that is of one form for all types.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Key {
    latest_version: u64,
    min_decryption_version: u64,
    min_encryption_version: u64,
    #[serde(default)]
    min_available_version: u64,
    #[serde(default)]
    soft_deleted: bool,
    keys: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
    context: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_version: Option<u64>,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    context: &'a str,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted<'a> {
    #[serde(borrow)]
    plaintext: std::borrow::Cow<'a, str>,
}

impl TransitVault {
    /// A vault. No request is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an address that isn't `https://HOST[:PORT]`, or `http://` to this machine, for a mount or a
    /// namespace that isn't a path, and for certificates that aren't in PEM; [`Error::InvalidName`] for an id.
    pub fn new(options: &TransitOptions) -> Result<Self> {
        let option = |e: io::Error| Error::InvalidOption(e.to_string());
        let address = options.address.trim_end_matches('/');
        check_address(address).map_err(option)?;
        let mount = path("mount", &options.mount).map_err(option)?;
        let namespace = options.namespace.as_deref().filter(|name| !name.trim_matches('/').is_empty());
        let namespace = namespace.map(|name| path("namespace", name)).transpose().map_err(option)?;
        let inner = namespace.as_ref().map_or(String::new(), |name| format!("{name}/"));
        let id = options.id.clone().unwrap_or_else(|| format!("vault+{address}/{inner}{mount}"));
        // Only the vault's name is in question.
        KeyId::new(&id, "key", "1")?;
        let client = Client::new(&options.http).map_err(option)?;
        let auth = options.auth.clone();
        let server = Server { client, address: address.into(), namespace, auth, session: Cached::new() };
        Ok(TransitVault { id, server, mount, deadline: options.deadline, seen: Mutex::default() })
    }

    /// The vault of a URL: see [`open`](crate::open).
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn from_url(url: &str, with: &UrlOptions) -> Result<Self> {
        let why = || Error::InvalidOption("a transit engine's URL is vault+https://HOST[:PORT]/MOUNT".into());
        let (start, [namespace, ca, auth, role]) = crate::query::split(url, ["namespace", "ca", "auth", "role"])?;
        let (scheme, rest) = start.strip_prefix("vault+").and_then(|url| url.split_once("://")).ok_or_else(why)?;
        let (host, mount) = rest.split_once('/').ok_or_else(why)?;
        let option = |e: io::Error| Error::InvalidOption(e.to_string());
        let auth = match (auth.unwrap_or("token"), role) {
            ("token", None) => TransitAuth::from_variables(&with.environment).map_err(option)?,
            ("kubernetes", Some(role)) => TransitAuth::kubernetes(role),
            ("approle", Some(role)) => {
                let missing = || Error::InvalidOption("set VAULT_SECRET_ID to the AppRole's secret id".into());
                let secret = with.environment.secret("VAULT_SECRET_ID").map_err(option)?.ok_or_else(missing)?;
                TransitAuth::app_role(role, secret.expose())
            }
            _ => {
                let text = "a transit engine's auth is token, or kubernetes or approle with a role";
                return Err(Error::InvalidOption(text.into()));
            }
        };
        let mut options = TransitOptions::new(format!("{scheme}://{host}"), auth).mount(mount);
        if let Some(namespace) = namespace {
            options = options.namespace(namespace);
        }
        if let Some(file) = ca {
            let pem = Secret::read_file(file, LONGEST_CA);
            let pem = pem.map_err(|e| Error::InvalidOption(format!("reading {file}: {e}")))?;
            options = options.http(HttpOptions::new().root_certificates(pem.expose()));
        }
        if let Some(deadline) = with.deadline {
            options = options.deadline(deadline);
        }
        Self::new(&options)
    }

    /// Wraps a wrapped DEK again under the latest version of its key. This happens in the server: the DEK doesn't come here.
    ///
    /// # Errors
    /// As [`unwrap`](KeyVault::unwrap).
    pub fn rewrap(&self, wrapped: &WrappedDek) -> Result<WrappedDek> {
        self.server.client.owner().check()?;
        let (key, operation) = (wrapped.kek.key(), Operation::Unwrap);
        let failed = |e: Trouble| e.into_error(wrapped.kek.to_string(), operation);
        let ciphertext = self.ciphertext(wrapped).ok_or(Error::UnwrapFailed)?;
        let bound = bound(key);
        let body = json(&Decrypt { ciphertext, context: &bound }).map_err(failed)?;
        let deadline = Deadline::after(self.deadline);
        self.check_type(deadline, key).map_err(failed)?;
        let answer = self.post(deadline, "rewrap", key, &body).map_err(failed)?;
        self.wrapped(key, &answer).map_err(failed)
    }

    fn encrypt(&self, key: &str, version: Option<u64>, dek: &Secret) -> Result<WrappedDek, Trouble> {
        let deadline = Deadline::after(self.deadline);
        let found = self.key(deadline, key)?;
        found.check_usable(version.unwrap_or(found.latest_version))?;
        let (plaintext, bound) = (Zeroizing::new(base64(dek.expose())), bound(key));
        let body = Encrypt { plaintext: &plaintext, context: &bound, key_version: version };
        let answer = self.post(deadline, "encrypt", key, &json(&body)?)?;
        self.wrapped(key, &answer)
    }

    fn decrypt(&self, key: &str, ciphertext: &str) -> Result<Secret, Trouble> {
        let (deadline, bound) = (Deadline::after(self.deadline), bound(key));
        self.check_type(deadline, key)?;
        let body = json(&Decrypt { ciphertext, context: &bound })?;
        let answer = self.post(deadline, "decrypt", key, &body)?;
        let Data { data: mut answer } = parse::<Data<Decrypted<'_>>>(&answer, "decrypt")?;
        let dek = base64_decode(&answer.plaintext);
        if let std::borrow::Cow::Owned(copy) = &mut answer.plaintext {
            copy.zeroize();
        }
        let dek = dek.ok_or_else(|| Trouble::failed("the answer of decrypt isn't base64"))?;
        self.saw(key);
        Ok(Secret::copy_from(&dek))
    }

    /// Refuses a key of another type as the error of whoever named it. The engine would answer as if it had failed itself, by a status
    /// of 500 for a key of RSA, again and again until the deadline. The type of a key doesn't change, so that it is asked for once.
    fn check_type(&self, deadline: Deadline, key: &str) -> Result<(), Trouble> {
        if self.seen().contains(key) {
            return Ok(());
        }
        let path = self.path_of(key);
        // A caller that may not look at keys may decrypt, and a new login wouldn't change that. Nothing is remembered of a denial: the
        // writer of a header chooses the name.
        let Some(answer) = self.server.ask_once(deadline, Method::Get, &path)? else { return Ok(()) };
        let (_, kind) = described(answer, &path)?;
        if kind != KEY_TYPE {
            return Err(Trouble::Altered);
        }
        self.saw(key);
        Ok(())
    }

    /// Remembers a key that is of the right type: it said so, or it has just decrypted.
    fn saw(&self, key: &str) {
        let mut seen = self.seen();
        if seen.len() < MOST_SEEN && !seen.contains(key) {
            seen.insert(key.into());
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, deadline: Deadline, key: &str) -> Result<Key, Trouble> {
        let path = self.path_of(key);
        let (body, kind) = described(self.server.ask(deadline, Method::Get, &path, &[])?, &path)?;
        if kind != KEY_TYPE {
            let kind = told(&kind, &[]);
            return Err(Trouble::failed(format!("the key is of the type {kind}; make one of the type {KEY_TYPE}")));
        }
        let Data { data: found } = parse::<Data<Key>>(&body, "the key")?;
        if found.soft_deleted {
            return Err(Trouble::Refused(KeyRefusal::Deleted));
        }
        Ok(found)
    }

    fn path_of(&self, key: &str) -> String {
        format!("{}/keys/{key}", self.mount)
    }

    fn post(&self, deadline: Deadline, action: &str, key: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let path = format!("{}/{action}/{key}", self.mount);
        sorted(self.server.ask(deadline, Method::Post, &path, body)?, &path)
    }

    /// The answer of `encrypt` and `rewrap`.
    fn wrapped(&self, key: &str, answer: &[u8]) -> Result<WrappedDek, Trouble> {
        let Data { data: Encrypted { ciphertext } } = parse(answer, "encrypt")?;
        let version =
            version_of(&ciphertext).ok_or_else(|| Trouble::failed("the answer of encrypt is no ciphertext"))?;
        let kek = KeyId::new(&self.id, key, &version.to_string());
        let kek = kek.map_err(|_| Trouble::failed("the answer of encrypt names no version"))?;
        Ok(WrappedDek::new(kek, WrapAlgorithm::Opaque, ciphertext.into_bytes()))
    }

    /// The ciphertext, if it belongs to the version that its record names.
    fn ciphertext<'w>(&self, wrapped: &'w WrappedDek) -> Option<&'w str> {
        let text = std::str::from_utf8(&wrapped.bytes).ok()?;
        let sound = wrapped.algorithm == WrapAlgorithm::Opaque && wrapped.kek.vault() == self.id;
        let version = version_of(text).filter(|version| sound && version.to_string() == wrapped.kek.version());
        version.map(|_| text)
    }
}

impl KeyVault for TransitVault {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.server.client.owner().check()?;
        KeyId::new(&self.id, key, "1")?;
        self.encrypt(key, None, dek).map_err(|e| e.into_error(key, Operation::Wrap))
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.server.client.owner().check()?;
        let failed = |e: Trouble| e.into_error(kek.to_string(), Operation::Wrap);
        let version = number(kek.version()).ok_or_else(|| failed(Trouble::Refused(KeyRefusal::Missing)))?;
        only_under(kek, self.encrypt(kek.key(), Some(version), dek).map_err(failed)?)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.server.client.owner().check()?;
        if wrapped.kek.vault() != self.id {
            return Ok(None);
        }
        let ciphertext = self.ciphertext(wrapped).ok_or(Error::UnwrapFailed)?;
        let dek = self.decrypt(wrapped.kek.key(), ciphertext);
        dek.map(Some).map_err(|e| e.into_error(wrapped.kek.to_string(), Operation::Unwrap))
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.server.client.owner().check()?;
        let name = version.map_or(key.to_owned(), |version| format!("{}/keys/{key}/{version}", self.id));
        let failed = |e: Trouble| e.into_error(name.clone(), Operation::Get);
        KeyId::new(&self.id, key, version.unwrap_or("1"))?;
        let found = self.key(Deadline::after(self.deadline), key).map_err(failed)?;
        let missing = || failed(Trouble::Refused(KeyRefusal::Missing));
        let number = version.map_or(Some(found.latest_version), number).ok_or_else(missing)?;
        if number > found.latest_version || number < found.min_available_version {
            return Err(missing());
        }
        let mut description = KeyDescription::new(KeyId::new(&self.id, key, &number.to_string())?, KeyKind::Aes256);
        description.enabled = number >= found.min_decryption_version;
        description.sequence = Some(number);
        description.created = found.keys.get(&number.to_string()).and_then(serde_json::Value::as_u64);
        Ok(Some(description))
    }
}

impl Key {
    /// Whether this version may wrap, and its ciphertexts may be unwrapped.
    fn check_usable(&self, version: u64) -> Result<(), Trouble> {
        if version > self.latest_version || version < self.min_available_version {
            return Err(Trouble::Refused(KeyRefusal::Missing));
        }
        if version < self.min_decryption_version || version < self.min_encryption_version {
            return Err(Trouble::Refused(KeyRefusal::Disabled));
        }
        Ok(())
    }
}

impl fmt::Debug for TransitVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransitVault").field("id", &self.id).field("auth", &self.server.auth).finish_non_exhaustive()
    }
}

/// The description of a key of any type, and its type.
fn described(answer: Answer, path: &str) -> Result<(Zeroizing<Vec<u8>>, String), Trouble> {
    let body = sorted(answer, path)?;
    let Data { data: Kind { kind } } = parse(&body, path)?;
    Ok((body, kind))
}

/// The meaning of an answer about a key. The texts are those of `sdk/helper/keysutil` and `builtin/logical/transit`.
fn sorted(answer: Answer, path: &str) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let (status, text) = match answer {
        Answer::Body(body) => return Ok(body),
        Answer::Errors(status, text) => (status, text),
    };
    let says = |words: &str| text.contains(words);
    // A key that is missing has no text with its 404, and a mount that is missing this one.
    if status == 404 && (text.is_empty() || says("no handler for route")) || says("encryption key not found") {
        return Err(Trouble::Refused(KeyRefusal::Missing));
    }
    if says("version is too new") || says("higher than the latest key version") {
        return Err(Trouble::Refused(KeyRefusal::Missing));
    }
    if says("disallowed by policy") || says("less than the minimum encryption key version") {
        return Err(Trouble::Refused(KeyRefusal::Disabled));
    }
    if says("soft-deleted key") {
        return Err(Trouble::Refused(KeyRefusal::Deleted));
    }
    if status == 400 && (says("message authentication failed") || says("invalid ciphertext")) {
        return Err(Trouble::Altered);
    }
    Err(Trouble::failed(format!("{path} was answered by {status}: {}", told(&text, &[]))))
}

/// The data that a wrapped DEK is bound to, in base64.
fn bound(key: &str) -> String {
    base64(format!("atrest dek 1 {key}").as_bytes())
}

/// The version of a ciphertext `vault:vN:BASE64`.
fn version_of(ciphertext: &str) -> Option<u64> {
    let (version, rest) = ciphertext.strip_prefix("vault:v")?.split_once(':')?;
    // The server takes base64 whose last bits are altered; this doesn't.
    number(version).filter(|_| !rest.is_empty() && rest.trim() == rest && base64_decode(rest).is_some())
}

/// A version's number, written in the one way.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| *number > 0 && number.to_string() == text)
}

/// A path of the server, without slashes at its ends.
fn path(what: &str, path: &str) -> io::Result<String> {
    let path = path.trim_matches('/');
    let sound = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !part.is_empty() && part.bytes().all(plain) && ![".", ".."].contains(&part)
    };
    if path.len() <= 256 && path.split('/').all(sound) {
        return Ok(path.into());
    }
    Err(invalid(format!("a {what} is a path of letters, digits, '-', '_' and '.', of at most 256 bytes")))
}
