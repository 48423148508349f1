//! The trait of vaults, and the types of its answers.

use super::MAX_WRAPPED;
use super::description::KeyDescription;
use super::key_id::KeyId;
use super::wrap::WrapAlgorithm;
use crate::{Dek, DekAlgorithm, Error, Result, Secret};

/// A place that holds KEKs and wraps DEKs under them; the KEKs never leave it.
///
/// Implement it for a cloud's key service, an HSM or any other key store. [`FileVault`](crate::FileVault) is this
/// crate's own implementation. A method may take long (a call over a network); no lock is held while it runs.
///
/// A vault with one key in one version, which a real one would keep in an HSM:
///
/// ```
/// use atrest::key::{KeyId, WrapAlgorithm, WrappedDek, wrap};
/// use atrest::{Dek, DekAlgorithm, Envelope, Error, KeyRefusal, KeyVault, Result, Secret};
///
/// struct OneKey {
///     kek: Secret,
/// }
///
/// impl KeyVault for OneKey {
///     fn id(&self) -> &str {
///         "example:one-key"
///     }
///
///     fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
///         let kek = KeyId::new(self.id(), key, "1")?;
///         if key != "disks" {
///             return Err(Error::KeyRefused { key: kek.to_string(), reason: KeyRefusal::Missing });
///         }
///         let mut bytes = vec![0; dek.len() + 8];
///         wrap::aes_kw_wrap(self.kek.expose(), dek.expose(), &mut bytes)?;
///         Ok(WrappedDek::new(kek, WrapAlgorithm::Aes256Kw, bytes))
///     }
///
///     fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
///         if wrapped.kek.vault() != self.id() {
///             return Ok(None); // another vault wrapped it
///         }
///         if wrapped.algorithm != WrapAlgorithm::Aes256Kw {
///             return Err(Error::UnwrapFailed);
///         }
///         let mut dek = Secret::zeroed(wrapped.bytes.len().saturating_sub(8));
///         wrap::aes_kw_unwrap(self.kek.expose(), &wrapped.bytes, dek.expose_mut()).map_err(|_| Error::UnwrapFailed)?;
///         Ok(Some(dek))
///     }
/// }
///
/// let vault = OneKey { kek: Secret::random(32)? };
/// let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
/// let envelope = Envelope::seal(&dek, &vault, "disks", b"disk-17")?;
/// assert!(envelope.unseal(&vault, b"disk-17")? == dek);
/// assert!(Envelope::seal(&dek, &vault, "tapes", b"disk-17").is_err());
/// # Ok::<(), Error>(())
/// ```
pub trait KeyVault: Send + Sync {
    /// The vault's name, the first part of every key URL, such as `https://contoso.vault.example`: 1 to 512 visible
    /// ASCII characters. It must stay the same as long as anything is wrapped under the vault's keys.
    fn id(&self) -> &str;

    /// Wraps `dek` under the latest enabled version of the key named `key`.
    ///
    /// # Errors
    /// [`Error::KeyRefused`] when the key may not be used; any other, such as [`Error::Vault`] with the cause, counts as an
    /// outage.
    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek>;

    /// Wraps `dek` under one version of a key, the latest or another.
    ///
    /// If the vault's API can't choose the version, don't implement this method. It then works for the version that
    /// [`wrap`](Self::wrap) chooses.
    ///
    /// # Errors
    /// As [`wrap`](Self::wrap); [`Error::Vault`] if the vault wrapped under another version.
    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        let wrapped = self.wrap(kek.key(), dek)?;
        if wrapped.kek != *kek {
            let got = &wrapped.kek;
            return Err(Error::Vault(
                format!("asked to wrap under {kek}, it wrapped under {got}, its latest version").into(),
            ));
        }
        Ok(wrapped)
    }

    /// Unwraps the output of [`wrap`](Self::wrap).
    ///
    /// There are three answers: `Ok(None)` if another vault made it; an error if this vault made it and can't unwrap
    /// it; otherwise the DEK.
    ///
    /// # Errors
    /// [`Error::UnwrapFailed`] for every defect of these bytes (altered, of a wrong length, for another algorithm). An attacker
    /// who writes a header chooses them, so this answer must not look like an outage of the vault. Otherwise as
    /// [`wrap`](Self::wrap).
    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>>;

    /// Describes a version of a key: the operation `get`. Without a version, it describes the one that
    /// [`wrap`](Self::wrap) would use. If there is none, it describes the latest enabled one, which then has expired or
    /// isn't valid yet. `Ok(None)`: not supported by this vault.
    ///
    /// # Errors
    /// [`Error::KeyRefused`] for a key that is missing or deleted, where access is denied, and, without a version, where none is
    /// enabled; [`Error::Vault`] with the cause.
    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        let _ = (key, version);
        Ok(None)
    }
}

/// A DEK wrapped by a vault, with everything needed to unwrap it there again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrappedDek {
    /// The key and version that wrapped it.
    pub kek: KeyId,
    /// How it was wrapped.
    pub algorithm: WrapAlgorithm,
    /// The wrapped bytes: 1 to [`MAX_WRAPPED`].
    pub bytes: Vec<u8>,
}

impl WrappedDek {
    /// A DEK that the version `kek` has wrapped by `algorithm`, as [`KeyVault::wrap`] returns it.
    pub fn new(kek: KeyId, algorithm: WrapAlgorithm, bytes: Vec<u8>) -> Self {
        WrappedDek { kek, algorithm, bytes }
    }

    /// Asks `vault` to wrap a DEK, then to unwrap it as a check: a wrapped key that can't be unwrapped is lost data.
    pub(crate) fn wrap(vault: &dyn KeyVault, key: &str, dek: &Dek) -> Result<Self> {
        KeyId::check_name("key", key)?;
        let wrapped = vault.wrap(key, dek.secret())?;
        if wrapped.kek.vault() != vault.id() || wrapped.kek.key() != key {
            let asked = format!("{}/keys/{key}", vault.id());
            return Err(Error::Vault(format!("asked to wrap under {asked}, it answered with {}", wrapped.kek).into()));
        }
        wrapped.check().map_err(|text| Error::Vault(format!("it answered with {text}").into()))?;
        wrapped.algorithm.approval().require()?;
        match wrapped.unwrap(vault, dek.algorithm(), |text| Error::Vault(text.into()))? {
            Some(again) if again == *dek => Ok(wrapped),
            _ => Err(Error::Vault("it does not unwrap what it has just wrapped".into())),
        }
    }

    /// Asks `vault` to unwrap a DEK, and checks the length of its answer. `None` means that another vault wrapped it. A
    /// wrong wrapped key or algorithm is an error made by `altered`, because the vault isn't at fault for its input.
    pub(crate) fn unwrap(
        &self,
        vault: &dyn KeyVault,
        algorithm: DekAlgorithm,
        altered: impl FnOnce(String) -> Error,
    ) -> Result<Option<Dek>> {
        let (wanted, name) = (algorithm.key_len(), algorithm.name());
        // RFC 3394 adds eight bytes. So does RFC 5649, after padding to a multiple of eight. Other algorithms have no
        // fixed length.
        let whole = match self.algorithm {
            WrapAlgorithm::Aes256Kw | WrapAlgorithm::Aes256Kwp => Some(wanted.next_multiple_of(8) + 8),
            _ => None,
        };
        if let Some(whole) = whole.filter(|&whole| whole != self.bytes.len()) {
            let found = self.bytes.len();
            return Err(altered(format!("a wrapped key of {found} bytes where {name} has {whole}")));
        }
        self.algorithm.approval().require()?;
        match vault.unwrap(self)? {
            None => Ok(None),
            Some(key) if key.len() == wanted => Dek::from_secret(algorithm, key).map(Some),
            Some(key) => {
                let text = format!("it unwrapped a key of {} bytes where {name} has {wanted}", key.len());
                Err(if whole.is_some() { Error::Vault(text.into()) } else { altered(text) })
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match self.bytes.len() {
            1..=MAX_WRAPPED => Ok(()),
            len => Err(format!("a wrapped key of {len} bytes, where 1 to {MAX_WRAPPED} are allowed")),
        }
    }
}

/// The owner of the keys that protect a volume. The volume records it and is bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum EncryptionType {
    /// A key of the platform, which the customer neither sees nor manages.
    PlatformKey = 1,
    /// A key of the customer. The default.
    #[default]
    CustomerKey = 2,
    /// Two layers: one under a key of the platform, one under a key of the customer.
    PlatformAndCustomerKeys = 3,
}

impl EncryptionType {
    const ALL: [(EncryptionType, &'static str); 3] = [
        (EncryptionType::PlatformKey, "platform-key"),
        (EncryptionType::CustomerKey, "customer-key"),
        (EncryptionType::PlatformAndCustomerKeys, "platform-and-customer-keys"),
    ];

    /// The name, as LUKS2 tokens carry it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The number, as the C ABI carries it.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The type of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind)
    }

    /// The type of this number, if there is one.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().map(|(kind, _)| *kind).find(|kind| kind.code() == code)
    }
}
