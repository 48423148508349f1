//! [`Pkcs11Vaults`]: the tokens of a service of managed disks.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use atrest::managed::{VaultDescription, VaultDirectory};
use atrest::{Error, KeyVault, Result};

use crate::vault::Pkcs11Vault;

/// Tokens by their vaults' names, for [`ServiceOptions`](atrest::managed::ServiceOptions).
///
/// A token has one user, and knows no identities of sets: every set of the service may use all keys of its token. To
/// keep sets apart, give each a token of its own (a partition of the HSM), with a PIN of its own.
///
/// A set demands that its vault keeps deleted keys. A token can't say that it does, so its owner does, with
/// [`VaultDescription::soft_delete`] and [`VaultDescription::purge_protection`]: they are true if there is a backup of
/// the token that those who may delete its keys can't destroy.
///
/// ```no_run
/// use atrest::managed::VaultDescription;
/// use atrest_pkcs11::{Pin, Pkcs11Options, Pkcs11Vault, Pkcs11Vaults};
///
/// let options = Pkcs11Options::new("/usr/lib/softhsm/libsofthsm2.so").token("t").pin(Pin::File("/run/secrets/pin".into()));
/// let vaults = Pkcs11Vaults::new();
/// let kept = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
/// vaults.add(Pkcs11Vault::new(options)?, kept)?;
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Pkcs11Vaults {
    vaults: RwLock<BTreeMap<String, (Pkcs11Vault, VaultDescription)>>,
}

impl Pkcs11Vaults {
    /// No tokens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token, and what its owner says of it.
    ///
    /// # Errors
    /// [`Error::ResourceExists`] if there is one of this name: replacing it by an attacker's would give away all DEKs
    /// wrapped from then on.
    pub fn add(&self, vault: Pkcs11Vault, description: VaultDescription) -> Result<()> {
        let mut vaults = self.vaults.write().unwrap_or_else(PoisonError::into_inner);
        let id = vault.id().to_owned();
        if vaults.contains_key(&id) {
            return Err(Error::ResourceExists(format!("there is a token {id} already; remove that one first")));
        }
        vaults.insert(id, (vault, description));
        Ok(())
    }

    /// Removes a token and returns it. For the disks under its keys this is an outage, not a revocation.
    pub fn remove(&self, id: &str) -> Option<Pkcs11Vault> {
        let mut vaults = self.vaults.write().unwrap_or_else(PoisonError::into_inner);
        vaults.remove(id).map(|(vault, _)| vault)
    }

    fn find(&self, id: &str) -> Result<(Pkcs11Vault, VaultDescription)> {
        let vaults = self.vaults.read().unwrap_or_else(PoisonError::into_inner);
        vaults.get(id).cloned().ok_or_else(|| Error::Vault(format!("no token is known as {id}; add it first").into()))
    }
}

impl VaultDirectory for Pkcs11Vaults {
    fn vault(&self, id: &str, _identity: &str) -> Result<Arc<dyn KeyVault>> {
        Ok(Arc::new(self.find(id)?.0))
    }

    fn describe(&self, id: &str) -> Result<VaultDescription> {
        Ok(self.find(id)?.1)
    }
}
