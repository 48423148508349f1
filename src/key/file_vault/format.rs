//! The text of a vault file: a body in JSON, then one line with a checksum and a MAC of it.

use base64ct::{Base64, Encoding};
use hmac::Mac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::root::{RootKeys, RootRecord};
use crate::{Error, Result};

const FORMAT: &str = "atrest-vault";
const VERSION: u32 = 1;

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
    uuid: String,
    pub(super) generation: u64,
    pub(super) root: RootRecord,
    pub(super) keys: Vec<KeyRecord>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyRecord {
    pub(super) name: String,
    pub(super) next_version: u32,
    pub(super) versions: Vec<VersionRecord>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VersionRecord {
    pub(super) version: u32,
    pub(super) created: u64,
    pub(super) origin: KeyOrigin,
    /// The KEK under AES-KW, in Base64.
    pub(super) kek: String,
}

/// The last line of the file.
#[derive(Serialize, Deserialize)]
struct Trailer {
    sha256: String,
    mac: String,
}

impl Body {
    pub(super) fn new(uuid: String, root: RootRecord) -> Self {
        Body { format: FORMAT.into(), version: VERSION, uuid, generation: 1, root, keys: Vec::new() }
    }

    pub(super) fn vault_id(&self) -> String {
        format!("urn:uuid:{}", self.uuid)
    }

    pub(super) fn key_mut(&mut self, name: &str) -> Option<&mut KeyRecord> {
        self.keys.iter_mut().find(|key| key.name == name)
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
        let lines = text.strip_suffix(b"\n").ok_or("its end is missing, it was cut off or torn")?;
        let end = lines.iter().rposition(|&b| b == b'\n').ok_or("it is not a vault file")? + 1;
        let (text, trailer) = lines.split_at(end);
        let trailer: Trailer =
            serde_json::from_slice(trailer).map_err(|_| "its last line is not sound, it was cut off or torn")?;
        if Base64::decode_vec(&trailer.sha256).ok().as_deref() != Some(&Sha256::digest(text)[..]) {
            return Err("its checksum does not match, some bytes of it changed".into());
        }
        let mac = Base64::decode_vec(&trailer.mac).map_err(|_| "its last line is not sound")?;
        let body: Body = serde_json::from_slice(text).map_err(|e| format!("it is not a vault file: {e}"))?;
        if body.format != FORMAT || body.version != VERSION {
            return Err(format!(
                "its form is {:?} version {}, not {FORMAT:?} version {VERSION}",
                body.format, body.version
            ));
        }
        Ok(Sealed { body, text: text.to_vec(), mac })
    }

    /// Proves that the owner of the root key wrote the file.
    pub(super) fn verify(self, root: &RootKeys) -> Result<Body> {
        let altered = || Error::DamagedVault("its MAC does not match, somebody without its root key altered it".into());
        root.mac().chain_update(&self.text).verify_slice(&self.mac).map_err(|_| altered())?;
        Ok(self.body)
    }
}
