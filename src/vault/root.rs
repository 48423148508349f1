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
use crate::approval::{Approval, is_approved_only};
use crate::key::{self, HashAlgorithm, KeyKind, MAX_PASSPHRASE, self_test, wrap};
use crate::{Error, Result, Secret, fs, random};

const SALT: usize = 32;
const MIN_KEY_FILE: usize = 32;
const MAX_KEY_FILE: u64 = 1 << 20;
const VERIFIER_INFO: &[u8] = b"atrest vault verifier v1";
const MAC_INFO: &[u8] = b"atrest vault mac v1";
const AUDIT_INFO: &[u8] = b"atrest vault audit v1";
const KEK_INFO: &[u8] = b"atrest vault kek v1";
const SECRET_INFO: &[u8] = b"atrest vault secret v1";

/// The credential for a [`FileVault`](crate::FileVault).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Unlock<'a> {
    /// A passphrase, stretched by Argon2id or PBKDF2: 1 byte to [`MAX_PASSPHRASE`].
    Passphrase(&'a [u8]),
    /// A file of at least 32 and at most 2^20 random bytes; see
    /// [`generate_key_file`](crate::FileVault::generate_key_file).
    KeyFile(&'a Path),
}

/// The cost of Argon2id (RFC 9106). The default is the RFC's second recommendation: 64 MiB, 3 passes, 4 lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// `memory_kib` KiB of memory, so many passes over it, in so many lanes. The vault refuses a cost that is out of bounds.
    pub const fn new(memory_kib: u32, passes: u32, lanes: u32) -> Self {
        KdfCost { memory_kib, passes, lanes }
    }

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

impl From<KdfCost> for key::Kdf {
    fn from(KdfCost { memory_kib, passes, lanes }: KdfCost) -> Self {
        key::Kdf::Argon2id { memory_kib, passes, lanes }
    }
}

/// The cost of PBKDF2 with HMAC (RFC 8018).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Pbkdf2Cost {
    hash: Pbkdf2Hash,
    iterations: u32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pbkdf2Hash {
    Sha256,
    Sha512,
}

impl Pbkdf2Cost {
    /// The cost that OWASP's cheat sheet on storing passwords recommends (2023): a tenth of a second.
    const DEFAULT: key::Kdf = key::Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 600_000 };

    /// Checks the bounds: the least is the demand of SP 800-132, 5.2, and the most takes some seconds of one CPU.
    fn check(self) -> Result<Self> {
        if !(1000..=10_000_000).contains(&self.iterations) {
            let text = format!("{} iterations of PBKDF2 are out of bounds: 1000 to 10,000,000", self.iterations);
            return Err(Error::InvalidOption(text));
        }
        Ok(self)
    }

    fn kdf(self) -> key::Kdf {
        let hash = match self.hash {
            Pbkdf2Hash::Sha256 => HashAlgorithm::Sha256,
            Pbkdf2Hash::Sha512 => HashAlgorithm::Sha512,
        };
        key::Kdf::Pbkdf2 { hash, iterations: self.iterations }
    }
}

/// The parameters of the root key, as stored in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RootRecord {
    #[serde(flatten)]
    kdf: Kdf,
    salt: String,
    verifier: String,
    /// The key of the log, wrapped like a KEK. It exists once the root key has changed since the log began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audit_key: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kdf", rename_all = "kebab-case")]
enum Kdf {
    Argon2id(KdfCost),
    Pbkdf2(Pbkdf2Cost),
    KeyFile,
}

impl RootRecord {
    /// Whether this root needs version 4 of the format.
    pub(super) fn is_of_version_4(&self) -> bool {
        self.audit_key.is_some() || matches!(self.kdf, Kdf::Pbkdf2(_))
    }
}

impl Kdf {
    /// Chooses the key derivation of a new passphrase.
    fn new(kdf: Option<key::Kdf>) -> Result<Self> {
        let default = || if is_approved_only() { Pbkdf2Cost::DEFAULT } else { KdfCost::default().into() };
        let kdf = match kdf.unwrap_or_else(default) {
            key::Kdf::Argon2id { memory_kib, passes, lanes } => Kdf::Argon2id(KdfCost { memory_kib, passes, lanes }),
            key::Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations } => {
                Kdf::Pbkdf2(Pbkdf2Cost { hash: Pbkdf2Hash::Sha256, iterations })
            }
            key::Kdf::Pbkdf2 { hash: HashAlgorithm::Sha512, iterations } => {
                Kdf::Pbkdf2(Pbkdf2Cost { hash: Pbkdf2Hash::Sha512, iterations })
            }
            _ => {
                let text = "a vault's passphrase is stretched by Argon2id, or by PBKDF2 with SHA-256 or SHA-512";
                return Err(Error::InvalidOption(text.into()));
            }
        };
        kdf.check()?;
        Ok(kdf)
    }

    fn check(&self) -> Result<()> {
        match self {
            Kdf::Argon2id(cost) => cost.check().map(drop),
            Kdf::Pbkdf2(cost) => cost.check().map(drop),
            Kdf::KeyFile => Ok(()),
        }
    }

    /// The key derivation for the passphrase; `None` if a key file opens the vault.
    fn stretches(&self) -> Option<key::Kdf> {
        match self {
            Kdf::Argon2id(cost) => Some((*cost).into()),
            Kdf::Pbkdf2(cost) => Some(cost.kdf()),
            Kdf::KeyFile => None,
        }
    }
}

/// The keys derived from the root key, which itself is not kept.
pub(super) struct RootKeys {
    mac: Secret,
    kek: Secret,
    secret: Secret,
    pub(super) audit: Secret,
    salt: String,
}

impl RootKeys {
    /// A new salt, the record of it, and the keys.
    pub(super) fn new(unlock: Unlock<'_>, kdf: Option<key::Kdf>) -> Result<(RootRecord, Self)> {
        self_test::hkdf()?;
        let salt: [u8; SALT] = random::array()?;
        let kdf = match unlock {
            Unlock::Passphrase(_) => Kdf::new(kdf)?,
            Unlock::KeyFile(_) => Kdf::KeyFile,
        };
        let root = root_key(&kdf, &salt, unlock)?;
        let verifier = Base64::encode_string(root.expand(VERIFIER_INFO).expose());
        let salt = Base64::encode_string(&salt);
        Ok((RootRecord { kdf, salt: salt.clone(), verifier, audit_key: None }, root.keys(salt)))
    }

    /// As [`new`](Self::new), to replace these keys. The log keeps its key.
    pub(super) fn replaced(&self, unlock: Unlock<'_>, kdf: Option<key::Kdf>) -> Result<(RootRecord, Self)> {
        let (mut record, mut keys) = Self::new(unlock, kdf)?;
        record.audit_key = Some(keys.wrap_kek(KeyKind::Aes256, &self.audit)?);
        keys.audit = self.audit.clone();
        Ok((record, keys))
    }

    /// Whether these seem to be the keys of a record's root, by its salt.
    pub(super) fn are_of(&self, record: &RootRecord) -> bool {
        self.salt == record.salt
    }

    /// The keys of an existing vault.
    pub(super) fn unlock(record: &RootRecord, unlock: Unlock<'_>) -> Result<Self> {
        self_test::hkdf()?;
        let damaged = |what: &str| Error::DamagedVault(format!("its {what} is not sound"));
        record.kdf.check().map_err(|e| Error::DamagedVault(e.to_string()))?;
        let salt = Base64::decode_vec(&record.salt).map_err(|_| damaged("salt"))?;
        if salt.len() != SALT {
            return Err(damaged("salt"));
        }
        let verifier = Base64::decode_vec(&record.verifier).map_err(|_| damaged("verifier"))?;
        let root = root_key(&record.kdf, &salt, unlock)?;
        if !bool::from(root.expand(VERIFIER_INFO).expose().ct_eq(&verifier)) {
            return Err(Error::WrongVaultPassphrase);
        }
        let mut keys = root.keys(record.salt.clone());
        if let Some(wrapped) = &record.audit_key {
            keys.audit = keys.unwrap_kek(KeyKind::Aes256, wrapped).map_err(|_| damaged("audit_key"))?;
        }
        Ok(keys)
    }

    /// The MAC of the file's body.
    pub(super) fn mac(&self) -> Hmac<Sha256> {
        Hmac::new_from_slice(self.mac.expose()).expect("HMAC takes a key of any length")
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

    /// Wraps the value of a secret by AES-KWP: 1 to [`MAX_KEY`](wrap::MAX_KEY) bytes.
    pub(super) fn wrap_secret(&self, value: &Secret) -> Result<String> {
        let mut wrapped = vec![0; value.len().next_multiple_of(8) + 8];
        let wrapped = wrap::aes_kwp_wrap(self.secret.expose(), value.expose(), &mut wrapped)?;
        Ok(Base64::encode_string(wrapped))
    }

    pub(super) fn unwrap_secret(&self, wrapped: &str) -> Result<Secret> {
        let wrapped = Base64::decode_vec(wrapped).map_err(|_| Error::UnwrapFailed)?;
        let mut value = Secret::zeroed(wrapped.len().saturating_sub(8));
        let len = wrap::aes_kwp_unwrap(self.secret.expose(), &wrapped, value.expose_mut())?.len();
        Ok(if len == value.len() { value } else { Secret::copy_from(&value.expose()[..len]) })
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

    fn keys(&self, salt: String) -> RootKeys {
        RootKeys {
            mac: self.expand(MAC_INFO),
            kek: self.expand(KEK_INFO),
            secret: self.expand(SECRET_INFO),
            audit: self.expand(AUDIT_INFO),
            salt,
        }
    }
}

/// The reason in the approval of a vault whose passphrase is stretched by Argon2id.
const HOW_TO_APPROVE: &str =
    "no publication of NIST's has it; `FileVault::change_unlock` moves a vault's passphrase to PBKDF2";

fn root_key(kdf: &Kdf, salt: &[u8], unlock: Unlock<'_>) -> Result<RootKey> {
    let mut root = Secret::zeroed(32);
    match (kdf.stretches(), unlock) {
        (Some(kdf), Unlock::Passphrase(passphrase)) => {
            if !(1..=MAX_PASSPHRASE).contains(&passphrase.len()) {
                return Err(Error::InvalidOption("a passphrase has 1 byte to 8 MiB".into()));
            }
            if let (true, Approval::NotApproved { algorithm, .. }) = (is_approved_only(), kdf.approval()) {
                return Err(Error::NotApproved { algorithm, reason: HOW_TO_APPROVE });
            }
            root = kdf.derive(passphrase, salt, root.len())?;
        }
        (None, Unlock::KeyFile(path)) => {
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
        // The right kind of credential is part of the right credential.
        (Some(_), Unlock::KeyFile(_)) | (None, Unlock::Passphrase(_)) => return Err(Error::WrongVaultPassphrase),
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
        let pbkdf2 = |hash, iterations| Kdf::new(Some(key::Kdf::Pbkdf2 { hash, iterations }));
        for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha512] {
            for iterations in [1000, 10_000_000] {
                pbkdf2(hash, iterations).unwrap();
            }
            for iterations in [0, 999, 10_000_001, u32::MAX] {
                assert!(matches!(pbkdf2(hash, iterations), Err(Error::InvalidOption(_))), "{hash:?} {iterations}");
            }
        }
        assert!(matches!(pbkdf2(HashAlgorithm::Sha1, 1_000_000), Err(Error::InvalidOption(_))));
        let argon2i = key::Kdf::Argon2i { memory_kib: 64, passes: 1, lanes: 1 };
        assert!(matches!(Kdf::new(Some(argon2i)), Err(Error::InvalidOption(_))));
    }
}
