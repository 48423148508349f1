//! [`KnownVaults`]: customers' vaults of any kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, RwLock};

use super::backend::{VaultDescription, VaultDirectory};
use super::sync::{lock, read, write};
use crate::{Error, KeyVault, Result};

/// Makes a vault for an identity.
type Opener = Box<dyn Fn(&str) -> Result<Arc<dyn KeyVault>> + Send + Sync>;

/// Customers' vaults of any kind, by their ids, for [`ServiceOptions`](super::ServiceOptions): at key services, on tokens, or
/// several together. For vault files there is [`FileVaults`](super::FileVaults), where the vault's owner decides what each set may do.
///
/// What sets require of a vault can't be asked of a key service or a token. Whoever adds a vault says it: its region, its tenant,
/// and that deleted keys can be recovered and not be purged meanwhile. `docs/kms` says when that is true.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let (path, key_file) = (folder.path().join("vault"), folder.path().join("key"));
/// # use atrest::vault::{FileVault, Unlock};
/// # FileVault::generate_key_file(&key_file)?;
/// # let vault = FileVault::create(path, Unlock::KeyFile(&key_file))?;
/// # let id = atrest::KeyVault::id(&vault).to_owned();
/// use std::sync::Arc;
/// use atrest::managed::{KnownVaults, VaultDescription, VaultDirectory};
///
/// let vaults = KnownVaults::new();
/// let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
/// vaults.add(Arc::new(vault), description)?; // any KeyVault
/// assert!(vaults.vault(&id, "des-1").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct KnownVaults(RwLock<BTreeMap<String, Arc<Entry>>>);

struct Entry {
    description: VaultDescription,
    opener: Opener,
    /// Those that were made already, with their tokens and connections.
    open: Mutex<BTreeMap<String, Arc<dyn KeyVault>>>,
}

impl KnownVaults {
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
        let mut vaults = write(&self.0);
        if vaults.contains_key(id) {
            return Err(Error::ResourceExists(format!("there is a vault {id} already; remove that one first")));
        }
        let entry = Entry { description, opener: Box::new(opener), open: Mutex::default() };
        vaults.insert(id.into(), Arc::new(entry));
        Ok(())
    }

    /// Removes a vault, and says whether there was one. For the disks under its keys this is an outage, not a revocation.
    pub fn remove(&self, id: &str) -> bool {
        write(&self.0).remove(id).is_some()
    }

    /// The ids of all vaults, in order.
    pub fn ids(&self) -> Vec<String> {
        read(&self.0).keys().cloned().collect()
    }

    fn find(&self, id: &str) -> Result<Arc<Entry>> {
        let missing = || Error::Vault(format!("there is no vault {id}; add it, or correct the key's URL").into());
        read(&self.0).get(id).cloned().ok_or_else(missing)
    }
}

impl VaultDirectory for KnownVaults {
    /// # Errors
    /// [`Error::Vault`] if there is no such vault, or its opener makes one with another id; those of the opener.
    fn vault(&self, id: &str, identity: &str) -> Result<Arc<dyn KeyVault>> {
        let entry = self.find(id)?;
        if let Some(vault) = lock(&entry.open).get(identity) {
            return Ok(vault.clone());
        }
        // No lock is held while a vault is opened.
        let vault = (entry.opener)(identity)?;
        if vault.id() != id {
            return Err(Error::Vault(format!("asked for the vault {id}, its opener made {}", vault.id()).into()));
        }
        Ok(lock(&entry.open).entry(identity.into()).or_insert(vault).clone())
    }

    fn describe(&self, id: &str) -> Result<VaultDescription> {
        Ok(self.find(id)?.description.clone())
    }
}

impl fmt::Debug for KnownVaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KnownVaults").field(&self.ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Secret;
    use crate::key::WrappedDek;

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
        let (vaults, opened) = (KnownVaults::new(), Arc::new(AtomicUsize::new(0)));
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
        assert_eq!(format!("{vaults:?}"), "KnownVaults([\"one\"])");
    }

    #[test]
    fn a_vault_is_not_replaced_and_one_that_is_missing_is_an_outage() {
        let vaults = KnownVaults::new();
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
