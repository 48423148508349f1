//! [`Pkcs11Vault`]: the trait of vaults on a token.

use std::sync::Arc;

use atrest::key::{KeyDescription, KeyId, WrappedDek};
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret, VaultFailure};
use cryptoki_sys::*;

use crate::fault::{Answer, Fault};
use crate::keys::{self, Version};
use crate::options::Pkcs11Options;
use crate::token::{Call, Token};
use crate::wrapped::Wrapped;

/// A vault on a PKCS#11 token. Clones are the same vault.
///
/// A key is named by its label (`CKA_LABEL`). Its versions are the objects of that label, named by their `CKA_ID` in lower-case
/// hexadecimal, or `none` if it is empty. The latest is the one with the newest `CKA_START_DATE` that has come; among equal or
/// missing dates, the one with the highest id as a number.
///
/// ```no_run
/// use atrest::{Dek, DekAlgorithm, Envelope};
/// use atrest_pkcs11::{Pin, Pkcs11Options, Pkcs11Vault};
///
/// let options = Pkcs11Options::new("/usr/lib/softhsm/libsofthsm2.so")
///     .token("disks-prod")
///     .pin(Pin::File("/run/secrets/pin".into()));
/// let vault = Pkcs11Vault::new(options)?;
/// let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
/// let envelope = Envelope::seal(&dek, &vault, "disks", b"disk-17")?;
/// assert_eq!(envelope.unseal(&vault, b"disk-17")?, dek);
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone)]
pub struct Pkcs11Vault {
    token: Arc<Token>,
}

impl core::fmt::Debug for Pkcs11Vault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pkcs11Vault").field("id", &self.token.id).field("options", &self.token.options).finish()
    }
}

impl Pkcs11Vault {
    /// Loads the library. The first call looks for the token, so that it may be inserted later.
    ///
    /// # Errors
    /// [`Error::Vault`] if the library can't be loaded; [`Error::InvalidName`] for an invalid vault name.
    pub fn new(options: Pkcs11Options) -> Result<Self> {
        Ok(Pkcs11Vault { token: Arc::new(Token::new(options)?) })
    }

    /// Tries a PIN again that the token refused, after its owner unlocked it. Without this, a refused PIN is tried again
    /// only once its source gives another one, since a second try could lock it.
    pub fn retry_pin(&self) {
        self.token.forget_refusal();
    }

    fn call<T: Send + 'static>(
        &self,
        key: &str,
        operation: &'static str,
        f: impl Fn(&Call<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.token.call(operation, f).map_err(|fault| match fault {
            Fault::Final(error) => error,
            Fault::Answer(answer) => self.error(key, operation, answer),
        })
    }

    /// The error that the caller gets for an answer of the library.
    fn error(&self, key: &str, operation: &'static str, answer: Answer) -> Error {
        let reason = match answer.rv {
            CKR_KEY_FUNCTION_NOT_PERMITTED => KeyRefusal::Disabled,
            CKR_ACTION_PROHIBITED | CKR_FUNCTION_REJECTED | CKR_PIN_EXPIRED => {
                KeyRefusal::AccessDenied { identity: self.token.identity.clone(), operation: operation.into() }
            }
            _ => {
                let what = format!("{operation} with the key {key:?} of {}", self.token.id);
                return Error::Vault(VaultFailure::new(what).caused_by(answer));
            }
        };
        Error::KeyRefused { key: key.into(), reason }
    }

    fn wrap_with(&self, key: &str, version: Option<String>, dek: &Secret) -> Result<WrappedDek> {
        let (name, now, dek) = (key.to_owned(), self.token.options.clock.now(), Secret::copy_from(dek.expose()));
        let (version, algorithm, bytes) = self.call(key, "wrapKey", move |call| {
            let version = match &version {
                None => keys::latest(call.versions(&name)?, &name, now)?,
                Some(version) => allowed(call.version(&name, version)?, &name, Version::wraps, now)?,
            };
            let (algorithm, bytes) = call.wrap(&version, &dek, false)?;
            Ok((version.name(), algorithm, bytes))
        })?;
        algorithm.approval().require()?;
        Ok(WrappedDek::new(KeyId::new(&self.token.id, key, &version)?, algorithm, bytes))
    }
}

/// The version, unless it may not be used now.
fn allowed(version: Version, key: &str, may: fn(&Version) -> bool, now: u64) -> Result<Version, Fault> {
    match version.refusal(may(&version), now) {
        None => Ok(version),
        Some(reason) => Err(Error::KeyRefused { key: format!("{key}/{}", version.name()), reason }.into()),
    }
}

impl KeyVault for Pkcs11Vault {
    fn id(&self) -> &str {
        &self.token.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.wrap_with(key, None, dek)
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        if kek.vault() != self.token.id {
            return Err(Error::Vault(format!("{} is a key of another vault than {}", kek, self.token.id).into()));
        }
        self.wrap_with(kek.key(), Some(kek.version().to_owned()), dek)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        if wrapped.kek.vault() != self.token.id {
            return Ok(None);
        }
        wrapped.algorithm.approval().require()?;
        let (now, of_call) = (self.token.options.clock.now(), wrapped.clone());
        self.call(wrapped.kek.key(), "unwrapKey", move |call| {
            let WrappedDek { kek, algorithm, bytes, .. } = &of_call;
            let version = allowed(call.version(kek.key(), kek.version())?, kek.key(), Version::unwraps, now)?;
            let tried = Wrapped { algorithm: *algorithm, bytes: bytes.clone() };
            match call.unwrap(&version, *algorithm, bytes) {
                Ok(dek) => {
                    call.add_proof(&kek.to_string(), tried);
                    Ok(Some(dek))
                }
                Err(Fault::Answer(answer)) => Err(call.verdict(&version, &kek.to_string(), &tried, answer)),
                Err(fault) => Err(fault),
            }
        })
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        let (name, now) = (key.to_owned(), self.token.options.clock.now());
        let version = version.map(str::to_owned);
        self.call(key, "get", move |call| {
            let version = match &version {
                None => keys::to_describe(call.versions(&name)?, &name, now)?,
                Some(version) => call.version(&name, version)?,
            };
            Ok(Some(version.describe(&call.token.id, &name)?))
        })
    }
}
