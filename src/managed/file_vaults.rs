//! [`FileVaults`]: customers' vaults that are files.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use super::backend::{VaultDescription, VaultDirectory};
use super::sync::{read, write};
use crate::error::Rule;
use crate::{Error, FileVault, KeyVault, Result};

/// Customers' vaults that are files, by their ids, for [`ServiceOptions`](super::ServiceOptions).
///
/// A set asks its vault under its own identity, so that the grants of the vault's owner decide what it may do, and the
/// vault's log names it. Grants bind a service that keeps to this interface, not one that was broken into: a process that
/// has opened a vault file can read its keys. `SECURITY.md` says more.
///
/// Vaults can be added and removed while a service uses them. Each goes by the clock of its handle:
/// [`FileVault::with_clock`].
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let (path, root) = (folder.path().join("contoso.vault"), folder.path().join("root.key"));
/// use std::sync::Arc;
/// use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions};
/// use atrest::managed::{FileVaults, VaultDirectory};
///
/// let options =
///     VaultOptions::new().id("https://contoso.vault.example").region("north").tenant("contoso").purge_protection(true);
/// FileVault::generate_key_file(&root)?;
/// let contoso = FileVault::create_with(&path, Unlock::KeyFile(&root), &options)?;
/// contoso.create_key("disks")?;
///
/// let vaults = Arc::new(FileVaults::new()); // one of them goes to the service
/// vaults.add(contoso.clone())?;
/// assert!(vaults.describe("https://contoso.vault.example")?.purge_protection);
///
/// let set = vaults.vault("https://contoso.vault.example", "des-1")?;
/// assert!(set.describe("disks", None).is_err());
/// contoso.grant("des-1", &KeyOperation::ALL)?;
/// assert!(set.describe("disks", None).is_ok());
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct FileVaults {
    vaults: RwLock<BTreeMap<String, FileVault>>,
}

impl FileVaults {
    /// No vaults yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vault under its own id.
    ///
    /// # Errors
    /// [`Error::ResourceExists`] when one of that id is there: who could put a vault in another's place would get the DEKs
    /// that are wrapped from then on. To take a new handle of the same vault, [`remove`](Self::remove) the old one first.
    pub fn add(&self, vault: FileVault) -> Result<()> {
        let id = vault.id().to_owned();
        let mut vaults = write(&self.vaults);
        if vaults.contains_key(&id) {
            let text =
                format!("there is a vault {id} already; remove that one first, or make this one with an id of its own");
            return Err(Error::ResourceExists(text));
        }
        vaults.insert(id, vault);
        Ok(())
    }

    /// Takes a vault out, and returns it. To the disks under its keys that is an outage, not a revocation: they work until
    /// their lease ends, and again once it is back.
    pub fn remove(&self, id: &str) -> Option<FileVault> {
        write(&self.vaults).remove(id)
    }

    /// The ids of all vaults, in order.
    pub fn ids(&self) -> Vec<String> {
        read(&self.vaults).keys().cloned().collect()
    }

    /// The handle is cloned, since a vault may take its time and others are not to wait for it.
    fn find(&self, id: &str) -> Result<FileVault> {
        let missing =
            || Error::Vault(format!("there is no vault {id}; open it and add it, or correct the key's URL").into());
        read(&self.vaults).get(id).cloned().ok_or_else(missing)
    }
}

impl VaultDirectory for FileVaults {
    fn vault(&self, id: &str, identity: &str) -> Result<Arc<dyn KeyVault>> {
        Ok(Arc::new(self.find(id)?.as_identity(identity)))
    }

    /// As the file says now: purge protection that is turned on later counts.
    ///
    /// # Errors
    /// [`Error::Vault`] when there is none; [`Error::NotAllowed`] for one that was made without a region (18) or a tenant
    /// (43), which can't be compared with a set's; [`Error::DamagedVault`]; [`Error::Io`].
    fn describe(&self, id: &str) -> Result<VaultDescription> {
        let said = self.find(id)?.properties()?;
        let unsaid = |rule, what| {
            let text = format!("the vault {id} was made without a {what}; make a new one, by VaultOptions::{what}");
            Error::NotAllowed { rule, text }
        };
        let region = said.region.ok_or_else(|| unsaid(Rule::OneRegion, "region"))?;
        let tenant = said.tenant.ok_or_else(|| unsaid(Rule::OneTenant, "tenant"))?;
        // A key of a vault file that is deleted can always be recovered, for 7 days at least. What can cut that short,
        // purging the key or destroying a version, is what purge protection is about.
        Ok(VaultDescription { region, tenant, soft_delete: true, purge_protection: said.purge_protection })
    }
}
