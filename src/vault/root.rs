//! The root key of a vault file, and the keys derived from it.

use std::path::Path;

use base64ct::{Base64, Encoding};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::kek::AES_LEN;
use crate::key::{self, KeyKind, MAX_PASSPHRASE, self_test, wrap};
use crate::{Error, Result, Secret, fs, random};

const SALT: usize = 32;
const MIN_KEY_FILE: usize = 32;
const MAX_KEY_FILE: u64 = 1 << 20;
const VERIFIER_INFO: &[u8] = b"atrest vault verifier v1";
const MAC_INFO: &[u8] = b"atrest vault mac v1";
const AUDIT_INFO: &[u8] = b"atrest vault audit v1";
const KEK_INFO: &[u8] = b"atrest vault kek v1";

/// The credential for a [`FileVault`](crate::FileVault).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Unlock<'a> {
    /// A passphrase, stretched by Argon2id: 1 byte to [`MAX_PASSPHRASE`].
    Passphrase(&'a [u8]),
    /// A file of at least 32 and at most 2^20 random bytes; see
    /// [`generate_key_file`](crate::FileVault::generate_key_file).
    KeyFile(&'a Path),
}

/// The cost of Argon2id (RFC 9106). The default is the RFC's second recommendation: 64 MiB, 3 passes, 4 lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KdfCost {
    /// Memory in KiB: 8 times `lanes` to 1,048,576 (1 GiB).
    pub memory_kib: u32,
    /// Passes over the memory: 1 to 64.
    pub passes: u32,
    /// Lanes: 1 to 16.
    pub lanes: u32,
}

impl Default for KdfCost {
    fn default() -> Self {
        KdfCost { memory_kib: 64 << 10, passes: 3, lanes: 4 }
    }
}

impl KdfCost {
    fn check(self) -> Result<Self> {
        let KdfCost { memory_kib, passes, lanes } = self;
        if !(1..=16).contains(&lanes) || !(1..=64).contains(&passes) || !(8 * lanes..=1 << 20).contains(&memory_kib) {
            return Err(Error::InvalidOption(format!(
                "the cost of Argon2id ({memory_kib} KiB, {passes} passes, {lanes} lanes) is out of bounds: up to 1 GiB, \
                 64 passes and 16 lanes, with 8 KiB or more a lane"
            )));
        }
        Ok(self)
    }
}

/// The file's record of how to derive the root key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RootRecord {
    #[serde(flatten)]
    kdf: Kdf,
    salt: String,
    verifier: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kdf", rename_all = "kebab-case")]
enum Kdf {
    Argon2id(KdfCost),
    KeyFile,
}

/// The keys derived from the root key. The root key itself is not kept.
pub(super) struct RootKeys {
    mac: Secret,
    kek: Secret,
    pub(super) audit: Secret,
}

impl RootKeys {
    /// A new salt, the record of it, and the keys.
    pub(super) fn new(unlock: Unlock<'_>, cost: KdfCost) -> Result<(RootRecord, Self)> {
        self_test::hkdf()?;
        let salt: [u8; SALT] = random::array()?;
        let kdf = match unlock {
            Unlock::Passphrase(_) => Kdf::Argon2id(cost.check()?),
            Unlock::KeyFile(_) => Kdf::KeyFile,
        };
        let root = root_key(&kdf, &salt, unlock)?;
        let verifier = Base64::encode_string(root.expand(VERIFIER_INFO).expose());
        Ok((RootRecord { kdf, salt: Base64::encode_string(&salt), verifier }, root.keys()))
    }

    /// The keys of an existing vault.
    pub(super) fn unlock(record: &RootRecord, unlock: Unlock<'_>) -> Result<Self> {
        self_test::hkdf()?;
        let damaged = |what: &str| Error::DamagedVault(format!("its {what} is not sound"));
        if let Kdf::Argon2id(cost) = record.kdf {
            cost.check().map_err(|e| Error::DamagedVault(e.to_string()))?;
        }
        let salt = Base64::decode_vec(&record.salt).map_err(|_| damaged("salt"))?;
        if salt.len() != SALT {
            return Err(damaged("salt"));
        }
        let verifier = Base64::decode_vec(&record.verifier).map_err(|_| damaged("verifier"))?;
        let root = root_key(&record.kdf, &salt, unlock)?;
        if root.expand(VERIFIER_INFO).expose().ct_eq(&verifier).into() {
            return Ok(root.keys());
        }
        Err(Error::WrongVaultPassphrase)
    }

    /// The MAC of the file's body.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(self.mac.expose()).expect("HMAC takes a key of any length")
    }

    /// Fails in a child of the process that opened the vault.
    pub(super) fn check(&self) -> Result<()> {
        self.kek.check()
    }

    /// Wraps the bytes of a KEK: an AES key by AES-KW, any other, of any length, by AES-KWP.
    pub(super) fn wrap_kek(&self, kind: KeyKind, kek: &Secret) -> Result<String> {
        let mut wrapped = vec![0; kek.len().next_multiple_of(8) + 8];
        match kind {
            KeyKind::Aes256 => wrap::aes_kw_wrap(self.kek.expose(), kek.expose(), &mut wrapped)?,
            _ => wrap::aes_kwp_wrap(self.kek.expose(), kek.expose(), &mut wrapped)?,
        };
        Ok(Base64::encode_string(&wrapped))
    }

    pub(super) fn unwrap_kek(&self, kind: KeyKind, wrapped: &str) -> Result<Secret> {
        let wrapped = Base64::decode_vec(wrapped).map_err(|_| Error::UnwrapFailed)?;
        let mut kek = Secret::zeroed(wrapped.len().saturating_sub(8));
        let len = match kind {
            KeyKind::Aes256 if wrapped.len() != AES_LEN + 8 => return Err(Error::UnwrapFailed),
            KeyKind::Aes256 => wrap::aes_kw_unwrap(self.kek.expose(), &wrapped, kek.expose_mut())?.len(),
            _ => wrap::aes_kwp_unwrap(self.kek.expose(), &wrapped, kek.expose_mut())?.len(),
        };
        Ok(if len == kek.len() { kek } else { Secret::copy_from(&kek.expose()[..len]) })
    }
}

/// The root key: 32 bytes. HKDF-Expand derives the other keys from it (RFC 5869).
struct RootKey(Secret);

impl RootKey {
    fn expand(&self, info: &[u8]) -> Secret {
        let mut out = Secret::zeroed(32);
        Hkdf::<Sha256>::from_prk(self.0.expose())
            .expect("32 bytes are a whole pseudorandom key")
            .expand(info, out.expose_mut())
            .expect("32 bytes are within HKDF's limit of 8160");
        out
    }

    fn keys(&self) -> RootKeys {
        RootKeys { mac: self.expand(MAC_INFO), kek: self.expand(KEK_INFO), audit: self.expand(AUDIT_INFO) }
    }
}

fn root_key(kdf: &Kdf, salt: &[u8], unlock: Unlock<'_>) -> Result<RootKey> {
    let mut root = Secret::zeroed(32);
    match (kdf, unlock) {
        (Kdf::Argon2id(cost), Unlock::Passphrase(passphrase)) => {
            if !(1..=MAX_PASSPHRASE).contains(&passphrase.len()) {
                return Err(Error::InvalidOption("a passphrase has 1 byte to 8 MiB".into()));
            }
            let KdfCost { memory_kib, passes, lanes } = *cost;
            root = key::Kdf::Argon2id { memory_kib, passes, lanes }.derive(passphrase, salt, root.len())?;
        }
        (Kdf::KeyFile, Unlock::KeyFile(path)) => {
            let bytes =
                fs::read_secret(path, MAX_KEY_FILE).map_err(|e| fs::error_at(path, "root key file", "reading", e))?;
            if bytes.len() < MIN_KEY_FILE {
                let text = format!("a root key file has at least {MIN_KEY_FILE} bytes, not {}", bytes.len());
                return Err(Error::InvalidOption(text));
            }
            let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), bytes.expose());
            root.expose_mut().copy_from_slice(&prk);
            prk.as_mut_slice().zeroize();
        }
        // The wrong kind of credential is a wrong credential.
        (Kdf::Argon2id(_), _) | (Kdf::KeyFile, _) => return Err(Error::WrongVaultPassphrase),
    }
    Ok(RootKey(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_out_of_bounds_are_refused() {
        for (memory_kib, passes, lanes) in
            [(7, 1, 1), (64, 0, 1), (64, 65, 1), (64, 1, 0), (127, 1, 16), ((1 << 20) + 1, 1, 1)]
        {
            let result = KdfCost { memory_kib, passes, lanes }.check();
            assert!(matches!(result, Err(Error::InvalidOption(_))), "{memory_kib} {passes} {lanes}");
        }
    }
}
