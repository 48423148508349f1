//! [`KnownVaults`]: customers' vaults, in files and of any other kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, RwLock};

use super::backend::{VaultDescription, VaultDirectory};
use super::sync::{Own, lock, read, write};
use crate::error::Rule;
use crate::{Error, FileVault, KeyVault, Result};

/// Makes a vault for an identity.
type Opener = Box<dyn Fn(&str) -> Result<Arc<dyn KeyVault>> + Send + Sync>;

/// Customers' vaults by their ids, for [`ServiceOptions`](super::ServiceOptions): files, key services, tokens, several together.
///
/// They can be added and removed while a service uses them.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let (path, root) = (folder.path().join("contoso.vault"), folder.path().join("root.key"));
/// use std::sync::Arc;
/// use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions};
/// use atrest::managed::{KnownVaults, VaultDirectory};
///
/// let options =
///     VaultOptions::new().id("https://contoso.vault.example").region("north").tenant("contoso").purge_protection(true);
/// FileVault::generate_key_file(&root)?;
/// let contoso = FileVault::create_with(&path, Unlock::KeyFile(&root), &options)?;
/// contoso.create_key("disks")?;
///
/// let vaults = Arc::new(KnownVaults::new()); // one of them goes to the service
/// vaults.add_file(contoso.clone())?;
/// assert!(vaults.describe("https://contoso.vault.example")?.purge_protection);
///
/// let set = vaults.vault("https://contoso.vault.example", "des-1")?;
/// assert!(set.describe("disks", None).is_err());
/// contoso.grant("des-1", &KeyOperation::ALL)?;
/// assert!(set.describe("disks", None).is_ok());
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct KnownVaults(Own<RwLock<BTreeMap<String, Arc<Entry>>>>);

impl Default for KnownVaults {
    fn default() -> Self {
        KnownVaults(Own::new(RwLock::default()))
    }
}

struct Entry {
    describe: Box<dyn Fn() -> Result<VaultDescription> + Send + Sync>,
    opener: Opener,
    /// The vaults opened so far, by identity, with their tokens and connections.
    open: Mutex<BTreeMap<String, Arc<dyn KeyVault>>>,
}

impl KnownVaults {
    /// No vaults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vault file under its own id, by its owner's handle.
    ///
    /// A set accesses it under its own identity. So the grants of the vault's owner decide what the set may do, and the vault's log
    /// names the set. Grants bind a service that uses this interface, not an attacker in the service: a process that has opened a
    /// vault file can read its keys. `SECURITY.md` says more. The vault uses the clock of its handle: [`FileVault::with_clock`].
    ///
    /// # Errors
    /// [`Error::ResourceExists`] if there is a vault with this id: replacing one by an attacker's would give away all DEKs
    /// wrapped from then on. To use a new handle of the same vault, [`remove`](Self::remove) the old one first.
    /// [`Error::Forked`] in a child of the process that made this.
    pub fn add_file(&self, vault: FileVault) -> Result<()> {
        let (id, described) = (vault.id().to_owned(), vault.clone());
        let opener = move |identity: &str| Ok(Arc::new(vault.as_identity(identity)) as Arc<dyn KeyVault>);
        self.insert(&id, move || describe_file(&described), opener)
    }

    /// Adds a vault of any kind, under its own id, that all identities use as one caller. The vault then can't tell sets apart: it
    /// grants a key to all of them or to none.
    ///
    /// A key service or a token can't be asked for the properties that sets require of a vault. So the caller states them in
    /// `description`: the vault's region, its tenant, and that deleted keys can be recovered and can't be purged meanwhile.
    /// `docs/kms` says when that is true.
    ///
    /// # Errors
    /// As [`add_file`](Self::add_file).
    pub fn add(&self, vault: Arc<dyn KeyVault>, description: VaultDescription) -> Result<()> {
        let id = vault.id().to_owned();
        self.add_with(&id, description, move |_| Ok(vault.clone()))
    }

    /// Adds a vault that each set's identity uses as a caller of its own. `opener` makes a vault of this id for an identity, such
    /// as one that logs in by the identity's AppRole, or with credentials of its AWS role. It is called once for each identity.
    ///
    /// # Errors
    /// As [`add_file`](Self::add_file).
    pub fn add_with(
        &self,
        id: &str,
        description: VaultDescription,
        opener: impl Fn(&str) -> Result<Arc<dyn KeyVault>> + Send + Sync + 'static,
    ) -> Result<()> {
        self.insert(id, move || Ok(description.clone()), opener)
    }

    fn insert(
        &self,
        id: &str,
        describe: impl Fn() -> Result<VaultDescription> + Send + Sync + 'static,
        opener: impl Fn(&str) -> Result<Arc<dyn KeyVault>> + Send + Sync + 'static,
    ) -> Result<()> {
        let mut vaults = write(self.0.get()?);
        if vaults.contains_key(id) {
            let text =
                format!("there is a vault {id} already; remove that one first, or make this one with an id of its own");
            return Err(Error::ResourceExists(text));
        }
        let entry = Entry { describe: Box::new(describe), opener: Box::new(opener), open: Mutex::default() };
        vaults.insert(id.into(), Arc::new(entry));
        Ok(())
    }

    /// Removes a vault, and says whether there was one: none in a child of the process that made this. For the disks under its keys this is an outage, not a revocation: they
    /// work until their lease ends, and again once the vault is back.
    pub fn remove(&self, id: &str) -> bool {
        self.0.get().is_ok_and(|vaults| write(vaults).remove(id).is_some())
    }

    /// The ids of all vaults, in order: none in a child of the process that made this.
    pub fn ids(&self) -> Vec<String> {
        self.0.get().map_or_else(|_| Vec::new(), |vaults| read(vaults).keys().cloned().collect())
    }

    /// A vault may be slow, and other calls must not wait for it.
    fn find(&self, id: &str) -> Result<Arc<Entry>> {
        let missing =
            || Error::Vault(format!("there is no vault {id}; open it and add it, or correct the key's URL").into());
        read(self.0.get()?).get(id).cloned().ok_or_else(missing)
    }
}

/// The description by the current file: purge protection that was turned on later counts.
fn describe_file(vault: &FileVault) -> Result<VaultDescription> {
    let said = vault.properties()?;
    let unsaid = |rule, what| {
        let text =
            format!("the vault {} was made without a {what}; make a new one, by VaultOptions::{what}", vault.id());
        Error::NotAllowed { rule, text }
    };
    let region = said.region.ok_or_else(|| unsaid(Rule::OneRegion, "region"))?;
    let tenant = said.tenant.ok_or_else(|| unsaid(Rule::OneTenant, "tenant"))?;
    // A deleted key of a vault file can always be recovered, for at least 7 days. Purge protection forbids to cut
    // that short by purging the key or destroying a version.
    Ok(VaultDescription { region, tenant, soft_delete: true, purge_protection: said.purge_protection })
}

impl VaultDirectory for KnownVaults {
    /// # Errors
    /// [`Error::Vault`] if there is no such vault, or its opener makes one with another id; [`Error::Forked`] in a child of the process
    /// that made this; those of the opener.
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

    /// # Errors
    /// [`Error::Vault`] if there is no such vault. Of a vault file: [`Error::NotAllowed`] for one without a region (18) or a
    /// tenant (43), which can't be compared with a set's; [`Error::DamagedVault`]; [`Error::Io`].
    fn describe(&self, id: &str) -> Result<VaultDescription> {
        (self.find(id)?.describe)()
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
