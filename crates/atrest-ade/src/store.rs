//! The stores of secrets and key encryption keys.

use std::collections::BTreeMap;

use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::vault::FileVault;
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret};
use atrest_kms::{AzureKeyVault, AzureSecrets};

/// The type of content that "Set Secret" gets: that of the passphrases that a portal restores.
const WRAPPED: &str = "Wrapped BEK";
const PLAIN: &str = "BEK";

/// A version of a secret. `Debug` leaves the value out.
#[derive(Debug)]
#[non_exhaustive]
pub struct StoredSecret {
    /// Its version.
    pub version: String,
    /// Its value.
    pub value: Secret,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl StoredSecret {
    /// The version of a secret, its value and its tags.
    pub fn new(version: impl Into<String>, value: Secret, tags: BTreeMap<String, String>) -> Self {
        StoredSecret { version: version.into(), value, tags }
    }
}

/// A vault that keeps secrets in immutable versions.
///
/// Its errors are those of a vault for keys. [`Error::KeyRefused`] names the URL of the secret and the reason: it is missing,
/// disabled, deleted or expired, or access is denied. All other failures are [`Error::Vault`]: a missing answer is no refusal.
pub trait SecretStore: Send + Sync {
    /// The vault's name, as in the URLs of its secrets: `https://NAME.vault.azure.net`.
    fn id(&self) -> &str;

    /// A version of a secret, or the newest one.
    ///
    /// # Errors
    /// See [the trait](SecretStore).
    fn get(&self, name: &str, version: Option<&str>) -> Result<StoredSecret>;

    /// Makes a new version and returns its name. After an error it may be there.
    ///
    /// # Errors
    /// See [the trait](SecretStore).
    fn set(&self, name: &str, value: &Secret, tags: &BTreeMap<String, String>) -> Result<String>;
}

impl SecretStore for AzureSecrets {
    fn id(&self) -> &str {
        self.id()
    }

    fn get(&self, name: &str, version: Option<&str>) -> Result<StoredSecret> {
        let found = self.get(name, version)?;
        Ok(StoredSecret { version: found.version, value: found.value, tags: found.tags })
    }

    fn set(&self, name: &str, value: &Secret, tags: &BTreeMap<String, String>) -> Result<String> {
        let kind = if tags.contains_key(crate::tags::KEK_URL) { WRAPPED } else { PLAIN };
        self.set(name, value, kind, tags)
    }
}

/// A vault file that is named as the key vault was ([`VaultOptions::id`](atrest::vault::VaultOptions::id)): for secrets that were
/// copied out of Azure.
impl SecretStore for FileVault {
    fn id(&self) -> &str {
        KeyVault::id(self)
    }

    fn get(&self, name: &str, version: Option<&str>) -> Result<StoredSecret> {
        let found = self.secret(name, version)?;
        Ok(StoredSecret { version: found.version, value: found.value, tags: found.tags })
    }

    fn set(&self, name: &str, value: &Secret, tags: &BTreeMap<String, String>) -> Result<String> {
        self.set_secret(name, value, tags)
    }
}

/// A vault with the RSA keys that wrap passphrases.
///
/// Its errors are those of a [`KeyVault`]: [`Error::UnwrapFailed`] for bytes that it didn't wrap.
pub trait KeyEncryptionKeys: Send + Sync {
    /// The vault's name, as in the URLs of its keys.
    fn id(&self) -> &str;

    /// Wraps a passphrase.
    ///
    /// # Errors
    /// See [the trait](KeyEncryptionKeys).
    fn wrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, passphrase: &Secret) -> Result<Vec<u8>>;

    /// Unwraps a passphrase.
    ///
    /// # Errors
    /// See [the trait](KeyEncryptionKeys).
    fn unwrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, wrapped: &[u8]) -> Result<Secret>;
}

impl KeyEncryptionKeys for AzureKeyVault {
    fn id(&self) -> &str {
        KeyVault::id(self)
    }

    fn wrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, passphrase: &Secret) -> Result<Vec<u8>> {
        self.wrap_foreign(kek, algorithm, passphrase).map(|wrapped| wrapped.bytes)
    }

    fn unwrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, wrapped: &[u8]) -> Result<Secret> {
        let wrapped = WrappedDek::new(kek.clone(), algorithm, wrapped.to_vec());
        let missing = || Error::KeyRefused { key: kek.to_string(), reason: KeyRefusal::Missing };
        self.unwrap_foreign(&wrapped)?.ok_or_else(missing)
    }
}

/// RSA keys in a vault file. They wrap by RSA-OAEP-256 only; they also unwrap RSA-OAEP.
impl KeyEncryptionKeys for FileVault {
    fn id(&self) -> &str {
        KeyVault::id(self)
    }

    fn wrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, passphrase: &Secret) -> Result<Vec<u8>> {
        let wrapped = self.wrap_version(kek, passphrase)?;
        if wrapped.algorithm == algorithm { Ok(wrapped.bytes) } else { Err(unsupported(algorithm)) }
    }

    fn unwrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, wrapped: &[u8]) -> Result<Secret> {
        if !matches!(algorithm, WrapAlgorithm::RsaOaep | WrapAlgorithm::RsaOaep256) {
            return Err(unsupported(algorithm));
        }
        let wrapped = WrappedDek::new(kek.clone(), algorithm, wrapped.to_vec());
        KeyVault::unwrap(self, &wrapped)?.ok_or_else(|| Error::NotThisVault { wanted: kek.to_string() })
    }
}

fn unsupported(algorithm: WrapAlgorithm) -> Error {
    Error::UnsupportedAlgorithm(format!("{} by a vault file", algorithm.name()))
}
