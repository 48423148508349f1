//! The text of a vault file: a body in JSON, then one line with a checksum and a MAC of the body.

use base64ct::{Base64, Encoding};
use hmac::Mac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::body::{Body, FORMAT, VERSION};
use super::root::RootKeys;
use super::version_1;
use crate::{Error, Result};

/// The last line of the file.
#[derive(Serialize, Deserialize)]
struct Trailer {
    sha256: String,
    mac: String,
}

/// The members that every version of the format has.
#[derive(Deserialize)]
struct Form {
    format: String,
    version: u32,
}

impl Body {
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
            // Version 2 lacks members that may be absent; version 4 has roots that version 3 has not, and version 5 secrets.
            (FORMAT, 2..=VERSION) => {
                let mut body: Body = serde_json::from_slice(text).map_err(not_a_vault)?;
                body.set_version();
                Ok(body)
            }
            (format, version) => {
                Err(format!("its form is {format:?} version {version}, not {FORMAT:?} version 1 to {VERSION}"))
            }
        }
    }
}

/// A file with a correct checksum. Its MAC is not verified yet.
pub(super) struct Sealed {
    pub(super) body: Body,
    text: Vec<u8>,
    mac: Vec<u8>,
}

impl Sealed {
    /// Whether the text names the format of vault files, or is empty.
    pub(super) fn is_named(text: &[u8]) -> bool {
        text.is_empty() || text.windows(FORMAT.len()).any(|part| part == FORMAT.as_bytes())
    }

    /// Reads the text of a file.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        // Calling a file of another kind cut off would mislead.
        let torn =
            |what: &'static str| if Self::is_named(text) { what } else { "it is not a vault file; check the path" };
        let lines = text.strip_suffix(b"\n").ok_or_else(|| torn("its end is missing, it was cut off or torn"))?;
        let end = lines.iter().rposition(|&b| b == b'\n').ok_or("it is not a vault file; check the path")? + 1;
        let (text, trailer) = lines.split_at(end);
        let trailer: Trailer =
            serde_json::from_slice(trailer).map_err(|_| torn("its last line is not sound, it was cut off or torn"))?;
        if Base64::decode_vec(&trailer.sha256).ok().as_deref() != Some(&Sha256::digest(text)[..]) {
            return Err("its checksum does not match, some bytes of it changed".into());
        }
        let mac = Base64::decode_vec(&trailer.mac).map_err(|_| "its last line is not sound")?;
        Ok(Sealed { body: Body::parse(text)?, text: text.to_vec(), mac })
    }

    /// Proves that the owner of the root key wrote the file.
    pub(super) fn verify(self, root: &RootKeys) -> Result<Body> {
        let altered = || {
            let what = if root.are_of(&self.body.root) {
                "its MAC does not match, somebody without its root key altered it"
            } else {
                "its passphrase or root key file is another than this handle was opened by: open it anew, by the new one"
            };
            Error::DamagedVault(what.into())
        };
        root.mac().chain_update(&self.text).verify_slice(&self.mac).map_err(|_| altered())?;
        self.body.check_names()?;
        Ok(self.body)
    }
}
