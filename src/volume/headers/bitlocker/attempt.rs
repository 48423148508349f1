//! Opening a volume by a protector. The key made from the credential opens the master key, and the master key opens the
//! volume's key.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::key::{HashAlgorithm, KdfLimits};
use crate::ondisk::bitlocker::{
    Block, ExternalKey, ITERATIONS, Integrity, Method, Protector, RecoveryPassword, Sealed, Stretch, of_password,
};
use crate::volume::BlockDevice;
use crate::volume::headers::{Attempt, Means};
use crate::{Error, Result, Secret};

/// The length of a master key.
const MASTER_KEY: usize = 32;

/// A protector that a credential is tried on.
pub(super) struct ByProtector {
    protector: Protector,
    by: Means,
    /// The salt, if the credential is a password.
    stretch: Option<Stretch>,
    master_key: Sealed,
    key: Sealed,
    method: Method,
    integrity: Integrity,
    digest: [u8; 32],
    /// Takes the master key when it is proved.
    found: Arc<OnceLock<Secret>>,
}

impl ByProtector {
    /// Fails with a text if the protector lacks a part that opening needs.
    pub(super) fn new(
        block: &Block,
        protector: &Protector,
        by: Means,
        found: &Arc<OnceLock<Secret>>,
    ) -> Result<Self, String> {
        if protector.is_pbkdf2 {
            return Err(format!("the protector {protector} makes its key by PBKDF2, in a way that isn't known"));
        }
        let stretch = match by {
            Means::Passphrase | Means::RecoveryPassword => {
                let salt = protector.stretch.clone();
                Some(salt.ok_or_else(|| format!("the protector {protector} has no salt"))?)
            }
            Means::StartupKey | Means::ClearKey => None,
        };
        let master_key = protector.sealed.clone();
        Ok(ByProtector {
            master_key: master_key.ok_or_else(|| format!("the protector {protector} has no master key"))?,
            protector: protector.clone(),
            by,
            stretch,
            key: block.key.clone().ok_or("the volume's key is missing")?,
            method: block.method.ok_or("the method of encryption isn't known")?,
            integrity: block.integrity.clone(),
            digest: block.digest,
            found: found.clone(),
        })
    }

    /// The key of the protector; `None` if the secret is for another.
    fn protector_key(&self, secret: &[u8]) -> Result<Option<Secret>> {
        let initial = match self.by {
            Means::Passphrase => of_password(secret)?,
            Means::RecoveryPassword => RecoveryPassword::parse(secret)?.initial()?,
            Means::StartupKey => {
                let file = ExternalKey::parse(secret)?;
                return Ok((file.id == self.protector.id).then_some(file.key));
            }
            Means::ClearKey => return Ok(self.protector.clear_key.clone()),
        };
        self.stretch.as_ref().map(|stretch| stretch.derive(&initial)).transpose()
    }

    /// Proves by the master key that nobody else has changed the metadata.
    fn check_integrity(&self, master_key: &Secret) -> Result<()> {
        let hash = match &self.integrity {
            Integrity::Missing => return Ok(()), // Windows Vista has no proof
            Integrity::Unsealed => return Err(Error::TamperedHeader),
            Integrity::Sealed(sealed) => sealed.open(master_key)?.ok_or(Error::TamperedHeader)?,
        };
        let is_same: bool = hash.bytes.expose().ct_eq(&self.digest).into();
        if is_same { Ok(()) } else { Err(Error::TamperedHeader) }
    }
}

impl Attempt for ByProtector {
    fn check(&self, limits: &KdfLimits) -> Result<(), String> {
        let most = limits.max_pbkdf2_iterations;
        if self.stretch.is_some() && ITERATIONS > most {
            return Err(format!(
                "a password of BitLocker takes {ITERATIONS} iterations, where at most {most} are allowed; raise \
                 `KdfLimits::max_pbkdf2_iterations`"
            ));
        }
        Ok(())
    }

    /// An iteration takes as long as one of PBKDF2: two blocks of SHA-256.
    fn cost(&self) -> Duration {
        self.stretch.as_ref().map_or(Duration::ZERO, |_| HashAlgorithm::Sha256.pbkdf2_cost(ITERATIONS, 32))
    }

    fn key_len(&self) -> usize {
        match self.method {
            Method::Cbc128 => 16,
            Method::Cbc256 | Method::Cbc128Elephant | Method::Xts128 => 32,
            Method::Cbc256Elephant | Method::Xts256 => 64,
        }
    }

    fn open(
        &self,
        _device: &dyn BlockDevice,
        secret: &[u8],
        _verify: &dyn Fn(&Secret) -> Result<()>,
    ) -> Result<Option<Secret>> {
        let Some(under) = self.protector_key(secret)?.filter(|key| key.len() == MASTER_KEY) else { return Ok(None) };
        let Some(master_key) = self.master_key.open(&under)? else { return Ok(None) };
        let master_key = master_key.bytes;
        if master_key.len() != MASTER_KEY {
            return Err(invalid(format!("a master key has {} bytes, not {MASTER_KEY}", master_key.len())));
        }
        self.check_integrity(&master_key)?;
        let key = self.key.open(&master_key)?.ok_or(Error::TamperedHeader)?;
        if Method::of(key.method) != Some(self.method) {
            return Err(invalid("the volume's key is for another method of encryption".into()));
        }
        let key = self.data_key(&key.bytes)?;
        // All protectors have the same.
        let _ = self.found.set(master_key);
        Ok(Some(key))
    }
}

impl ByProtector {
    /// The bytes that the cipher takes. With the diffuser there are two keys, each in a place of 32 bytes.
    fn data_key(&self, stored: &Secret) -> Result<Secret> {
        let (len, bytes) = (self.key_len(), stored.expose());
        let expected = if self.method == Method::Cbc128Elephant { 64 } else { len };
        if bytes.len() != expected {
            return Err(invalid(format!("the volume's key has {} bytes, not {expected}", bytes.len())));
        }
        if self.method != Method::Cbc128Elephant {
            return Ok(stored.clone());
        }
        let mut key = Secret::zeroed(len);
        key.expose_mut()[..16].copy_from_slice(&bytes[..16]);
        key.expose_mut()[16..].copy_from_slice(&bytes[32..48]);
        Ok(key)
    }
}

fn invalid(text: String) -> Error {
    Error::InvalidHeader(format!("BitLocker: {text}"))
}

/// A volume that was decrypted has no key. One that encrypts nothing stands in its place.
pub(super) struct NoKey;

impl Attempt for NoKey {
    fn check(&self, _limits: &KdfLimits) -> Result<(), String> {
        Ok(())
    }

    fn cost(&self) -> Duration {
        Duration::ZERO
    }

    fn key_len(&self) -> usize {
        32
    }

    fn open(
        &self,
        _device: &dyn BlockDevice,
        _secret: &[u8],
        _verify: &dyn Fn(&Secret) -> Result<()>,
    ) -> Result<Option<Secret>> {
        Secret::random(self.key_len()).map(Some)
    }
}
