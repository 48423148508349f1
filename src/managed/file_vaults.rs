//! [`FileVaults`]: customers' vaults in files.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use super::backend::{VaultDescription, VaultDirectory};
use super::sync::{read, write};
use crate::error::Rule;
use crate::{Error, FileVault, KeyVault, Result};

/// Customers' vaults in files, by their ids, for [`ServiceOptions`](super::ServiceOptions).
///
/// A set accesses its vault under its own identity. So the grants of the vault's owner decide what it may do, and the
/// vault's log names it. Grants bind a service that uses this interface, not an attacker in the service: a process that
/// has opened a vault file can read its keys. `SECURITY.md` says more.
///
/// Vaults can be added and removed while a service uses them. Each uses the clock of its handle:
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
    /// [`Error::ResourceExists`] if there is one with this id: replacing a vault by an attacker's would give away all
    /// DEKs wrapped from then on. To use a new handle of the same vault, [`remove`](Self::remove) the old one first.
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

    /// Removes a vault and returns it. For the disks under its keys this is an outage, not a revocation: they work
    /// until their lease ends, and again once the vault is back.
    pub fn remove(&self, id: &str) -> Option<FileVault> {
        write(&self.vaults).remove(id)
    }

    /// The ids of all vaults, in order.
    pub fn ids(&self) -> Vec<String> {
        read(&self.vaults).keys().cloned().collect()
    }

    /// Clones the handle, because a vault may be slow and other calls must not wait for it.
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

    /// The description by the current file: purge protection that was turned on later counts.
    ///
    /// # Errors
    /// [`Error::Vault`] if there is no such vault; [`Error::NotAllowed`] for a vault without a region (18) or a tenant
    /// (43), which can't be compared with a set's; [`Error::DamagedVault`]; [`Error::Io`].
    fn describe(&self, id: &str) -> Result<VaultDescription> {
        let said = self.find(id)?.properties()?;
        let unsaid = |rule, what| {
            let text = format!("the vault {id} was made without a {what}; make a new one, by VaultOptions::{what}");
            Error::NotAllowed { rule, text }
        };
        let region = said.region.ok_or_else(|| unsaid(Rule::OneRegion, "region"))?;
        let tenant = said.tenant.ok_or_else(|| unsaid(Rule::OneTenant, "tenant"))?;
        // A deleted key of a vault file can always be recovered, for at least 7 days. Purge protection forbids to cut
        // that short by purging the key or destroying a version.
        Ok(VaultDescription { region, tenant, soft_delete: true, purge_protection: said.purge_protection })
    }
}
