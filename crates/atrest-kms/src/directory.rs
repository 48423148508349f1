//! [`KmsVaults`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use atrest::managed::{VaultDescription, VaultDirectory};
use atrest::{Error, KeyVault, Result};

/// Makes a vault for an identity.
type Opener = Box<dyn Fn(&str) -> Result<Arc<dyn KeyVault>> + Send + Sync>;

/// Customers' vaults at key services, by their ids, for [`ServiceOptions`](atrest::managed::ServiceOptions).
///
/// What sets require of a vault can't be asked of a key service. Whoever adds a vault says it: its region, its tenant, and that
/// deleted keys can be recovered and not be purged meanwhile. `docs/kms` says when that is true of a service.
///
/// ```no_run
/// use std::sync::Arc;
/// use atrest::managed::VaultDescription;
/// use atrest_kms::KmsVaults;
///
/// let vaults = KmsVaults::new();
/// let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
/// vaults.add(atrest_kms::open("vault+https://vault.example:8200/transit")?, description)?;
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Default)]
pub struct KmsVaults(RwLock<BTreeMap<String, Arc<Entry>>>);

struct Entry {
    description: VaultDescription,
    opener: Opener,
    /// Those that were made already, with their tokens and connections.
    open: Mutex<BTreeMap<String, Arc<dyn KeyVault>>>,
}

impl KmsVaults {
    /// No vaults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vault, under its own id, that all identities use as one caller. The service then can't tell sets apart: who may use
    /// a key is decided for all of them at once.
    ///
    /// # Errors
    /// [`Error::ResourceExists`] if there is one with this id.
    pub fn add(&self, vault: Arc<dyn KeyVault>, description: VaultDescription) -> Result<()> {
        let id = vault.id().to_owned();
        self.add_with(&id, description, move |_| Ok(vault.clone()))
    }

    /// Adds a vault that each set's identity uses as a caller of its own. `opener` makes a vault of this id for an identity, such
    /// as one that logs in by the identity's AppRole, or with credentials of its AWS role. It is called once for each identity.
    ///
    /// # Errors
    /// [`Error::ResourceExists`] if there is one with this id.
    pub fn add_with(
        &self,
        id: &str,
        description: VaultDescription,
        opener: impl Fn(&str) -> Result<Arc<dyn KeyVault>> + Send + Sync + 'static,
    ) -> Result<()> {
        let mut vaults = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if vaults.contains_key(id) {
            return Err(Error::ResourceExists(format!("there is a vault {id} already; remove that one first")));
        }
        let entry = Entry { description, opener: Box::new(opener), open: Mutex::default() };
        vaults.insert(id.into(), Arc::new(entry));
        Ok(())
    }

    /// Removes a vault, and says whether there was one. For the disks under its keys this is an outage, not a revocation.
    pub fn remove(&self, id: &str) -> bool {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id).is_some()
    }

    fn find(&self, id: &str) -> Result<Arc<Entry>> {
        let missing = || Error::Vault(format!("there is no vault {id}; add it, or correct the key's URL").into());
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned().ok_or_else(missing)
    }
}

impl VaultDirectory for KmsVaults {
    /// # Errors
    /// [`Error::Vault`] if there is no such vault, or its opener makes one with another id; those of the opener.
    fn vault(&self, id: &str, identity: &str) -> Result<Arc<dyn KeyVault>> {
        let entry = self.find(id)?;
        let open = || entry.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(vault) = open().get(identity) {
            return Ok(vault.clone());
        }
        // No lock is held while a vault is opened.
        let vault = (entry.opener)(identity)?;
        if vault.id() != id {
            return Err(Error::Vault(format!("asked for the vault {id}, its opener made {}", vault.id()).into()));
        }
        Ok(open().entry(identity.into()).or_insert(vault).clone())
    }

    fn describe(&self, id: &str) -> Result<VaultDescription> {
        Ok(self.find(id)?.description.clone())
    }
}

impl fmt::Debug for KmsVaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vaults = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("KmsVaults").field(&vaults.keys().collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use atrest::Secret;
    use atrest::key::WrappedDek;

    use super::*;

    /// A vault with nothing but an id.
    struct Named(&'static str);

    impl KeyVault for Named {
        fn id(&self) -> &str {
            self.0
        }
        fn wrap(&self, _: &str, _: &Secret) -> Result<WrappedDek> {
            Err(Error::UnwrapFailed)
        }
        fn unwrap(&self, _: &WrappedDek) -> Result<Option<Secret>> {
            Ok(None)
        }
    }

    fn description() -> VaultDescription {
        VaultDescription::new("north", "contoso")
    }

    #[test]
    fn each_identity_has_a_vault_of_its_own_which_is_opened_once() {
        let (vaults, opened) = (KmsVaults::new(), Arc::new(AtomicUsize::new(0)));
        let count = opened.clone();
        let opener = move |identity: &str| {
            assert!(identity.starts_with("des-"));
            count.fetch_add(1, Ordering::SeqCst);
            Ok(Arc::new(Named("one")) as Arc<dyn KeyVault>)
        };
        vaults.add_with("one", description(), opener).unwrap();
        let first = vaults.vault("one", "des-1").unwrap();
        assert!(Arc::ptr_eq(&first, &vaults.vault("one", "des-1").unwrap()));
        assert!(!Arc::ptr_eq(&first, &vaults.vault("one", "des-2").unwrap()));
        assert_eq!(opened.load(Ordering::SeqCst), 2);
        assert_eq!(vaults.describe("one").unwrap(), description());
        assert_eq!(format!("{vaults:?}"), "KmsVaults([\"one\"])");
    }

    #[test]
    fn a_vault_is_not_replaced_and_one_that_is_missing_is_an_outage() {
        let vaults = KmsVaults::new();
        vaults.add(Arc::new(Named("one")), description()).unwrap();
        let again = vaults.add(Arc::new(Named("one")), description());
        assert!(matches!(again, Err(Error::ResourceExists(_))), "{again:?}");
        vaults.add_with("two", description(), |_| Ok(Arc::new(Named("one")) as _)).unwrap();
        for id in ["two", "three"] {
            assert!(matches!(vaults.vault(id, "des-1"), Err(Error::Vault(_))), "{id}");
        }
        assert!(vaults.remove("one") && !vaults.remove("one"));
        assert!(matches!(vaults.describe("one"), Err(Error::Vault(_))));
    }
}
