//! The text of a vault file: a body in JSON, then one line with a checksum and a MAC of it.

mod version_1;

use base64ct::{Base64, Encoding};
use hmac::Mac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::access::KeyOperation;
use super::audit::AuditRecord;
use super::root::{RootKeys, RootRecord};
use crate::key::{HashAlgorithm, KeyId, KeyKind, self_test};
use crate::{Error, Result};

const FORMAT: &str = "atrest-vault";
const VERSION: u32 = 3;

/// Where a KEK comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum KeyOrigin {
    /// The vault generated it.
    Generated,
    /// It was brought in.
    Imported,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Body {
    format: String,
    version: u32,
    pub(super) uuid: String,
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<String>,
    pub(super) retention_days: u32,
    pub(super) purge_protection: bool,
    pub(super) refuse_expired: bool,
    pub(super) generation: u64,
    pub(super) audit: AuditRecord,
    pub(super) root: RootRecord,
    pub(super) keys: Vec<KeyRecord>,
    pub(super) grants: Vec<GrantRecord>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    pub(super) name: String,
    pub(super) next_version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted: Option<DeletedRecord>,
    /// Of a purged key only its name and `next_version` are left, so that no URL ever names two keys.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(super) purged: bool,
    pub(super) versions: Vec<VersionRecord>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct DeletedRecord {
    pub(super) at: u64,
    /// When its retention is over.
    pub(super) until: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VersionRecord {
    pub(super) version: u32,
    pub(super) kind: KeyKind,
    pub(super) created: u64,
    pub(super) origin: KeyOrigin,
    pub(super) enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    /// The KEK, wrapped, in Base64.
    pub(super) kek: String,
    /// The key of the MAC of what an RSA key wraps, as the KEK is kept; there once `authenticated` was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) mac_key: Option<String>,
    /// Whether it unwraps only what has a MAC.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(super) authenticated: bool,
}

impl VersionRecord {
    /// Whether only who has a secret of the vault can have wrapped what this version unwraps.
    pub(super) fn is_authenticated(&self) -> bool {
        self.kind == KeyKind::Aes256 || self.authenticated
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GrantRecord {
    pub(super) identity: String,
    pub(super) operations: Vec<KeyOperation>,
}

/// The last line of the file.
#[derive(Serialize, Deserialize)]
struct Trailer {
    sha256: String,
    mac: String,
}

/// What every version of the format has.
#[derive(Deserialize)]
struct Form {
    format: String,
    version: u32,
}

impl Body {
    pub(super) fn new(uuid: String, root: RootRecord) -> Self {
        Body {
            format: FORMAT.into(),
            version: VERSION,
            id: format!("urn:uuid:{uuid}"),
            uuid,
            region: None,
            tenant: None,
            retention_days: super::options::DEFAULT_RETENTION_DAYS,
            purge_protection: false,
            refuse_expired: false,
            generation: 1,
            audit: AuditRecord::default(),
            root,
            keys: Vec::new(),
            grants: Vec::new(),
        }
    }

    /// Checks the names of the vault and its keys, from which the ids of keys are made.
    fn check_names(&self) -> Result<()> {
        let damaged = |e: Error| Error::DamagedVault(format!("one of its names is not allowed: {e}"));
        KeyId::check_vault(&self.id).map_err(damaged)?;
        self.keys.iter().try_for_each(|key| KeyId::check_name("key", &key.name)).map_err(damaged)
    }

    /// Counts the file that is written next.
    pub(super) fn count_change(&mut self) -> Result<()> {
        let used_up =
            || Error::Vault("its file has used up its generations; make a new vault and re-wrap under it".into());
        self.generation = self.generation.checked_add(1).ok_or_else(used_up)?;
        Ok(())
    }

    /// The text of the file.
    pub(super) fn seal(&self, root: &RootKeys) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("a body has only string keys");
        text.push(b'\n');
        let trailer = Trailer {
            sha256: Base64::encode_string(&Sha256::digest(&text)),
            mac: Base64::encode_string(&root.mac().chain_update(&text).finalize().into_bytes()),
        };
        text.extend(serde_json::to_vec(&trailer).expect("a trailer has only string keys"));
        text.push(b'\n');
        text
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let not_a_vault = |e| format!("it is not a vault file: {e}");
        let form: Form = serde_json::from_slice(text).map_err(not_a_vault)?;
        match (form.format.as_str(), form.version) {
            (FORMAT, 1) => serde_json::from_slice(text).map(version_1::Body::into_current).map_err(not_a_vault),
            // Version 2 lacks members that may be absent.
            (FORMAT, 2 | VERSION) => {
                serde_json::from_slice(text).map(|body: Body| Body { version: VERSION, ..body }).map_err(not_a_vault)
            }
            (format, version) => {
                Err(format!("its form is {format:?} version {version}, not {FORMAT:?} version 1 to {VERSION}"))
            }
        }
    }
}

/// A file that is whole by its checksum, and not yet known to be the vault owner's.
pub(super) struct Sealed {
    pub(super) body: Body,
    text: Vec<u8>,
    mac: Vec<u8>,
}

impl Sealed {
    /// Reads the text of a file.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        // Of a file that is something else it would mislead to say that it was cut off.
        let named = || text.is_empty() || text.windows(FORMAT.len()).any(|part| part == FORMAT.as_bytes());
        let torn = |what: &'static str| if named() { what } else { "it is not a vault file; check the path" };
        let lines = text.strip_suffix(b"\n").ok_or_else(|| torn("its end is missing, it was cut off or torn"))?;
        let end = lines.iter().rposition(|&b| b == b'\n').ok_or("it is not a vault file; check the path")? + 1;
        let (text, trailer) = lines.split_at(end);
        let trailer: Trailer =
            serde_json::from_slice(trailer).map_err(|_| torn("its last line is not sound, it was cut off or torn"))?;
        self_test::hash(HashAlgorithm::Sha256).map_err(|e| e.to_string())?;
        if Base64::decode_vec(&trailer.sha256).ok().as_deref() != Some(&Sha256::digest(text)[..]) {
            return Err("its checksum does not match, some bytes of it changed".into());
        }
        let mac = Base64::decode_vec(&trailer.mac).map_err(|_| "its last line is not sound")?;
        Ok(Sealed { body: Body::parse(text)?, text: text.to_vec(), mac })
    }

    /// Proves that the owner of the root key wrote the file.
    pub(super) fn verify(self, root: &RootKeys) -> Result<Body> {
        let altered = || Error::DamagedVault("its MAC does not match, somebody without its root key altered it".into());
        root.mac().chain_update(&self.text).verify_slice(&self.mac).map_err(|_| altered())?;
        self.body.check_names()?;
        Ok(self.body)
    }
}
