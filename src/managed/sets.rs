//! Encryption sets: makes, describes, moves and removes them.

use super::records::{EncryptionSet, ResourceName, check_name};
use super::service::{DiskService, Inner, no_set, not_allowed};
use crate::error::Rule;
use crate::key::KeyId;
use crate::{EncryptionType, Error, Result};

/// Options for a new set. By default it is for disks under a customer's key, without automatic rotation.
///
/// ```
/// use atrest::managed::NewSet;
///
/// let key = "https://contoso.vault.example/keys/disks/1".parse()?;
/// let set = NewSet::new("customers", key).region("westeurope").subscription("one").tenant("contoso").auto_rotation(true);
/// # let _ = set;
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NewSet {
    name: String,
    region: String,
    subscription: String,
    tenant: String,
    encryption_type: EncryptionType,
    key: KeyId,
    auto_rotation: bool,
}

impl NewSet {
    /// A set with a name that no other set has, and its version of a key. It also needs a region, a subscription and a
    /// tenant.
    pub fn new(name: impl Into<String>, key: KeyId) -> Self {
        NewSet {
            name: name.into(),
            region: String::new(),
            subscription: String::new(),
            tenant: String::new(),
            encryption_type: EncryptionType::CustomerKey,
            key,
            auto_rotation: false,
        }
    }

    /// Its region. Its vault and resources are in the same one (18).
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Its subscription.
    pub fn subscription(mut self, subscription: impl Into<String>) -> Self {
        self.subscription = subscription.into();
        self
    }

    /// The tenant of its identity. Its vault is of the same one (43).
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = tenant.into();
        self
    }

    /// The keys that protect its resources: the customer's key, or also the platform's below it.
    pub fn encryption_type(mut self, encryption_type: EncryptionType) -> Self {
        self.encryption_type = encryption_type;
        self
    }

    /// The version of the key, instead of the one given before.
    pub fn key(mut self, key: KeyId) -> Self {
        self.key = key;
        self
    }

    /// Whether its resources move to the latest version of the key by [`auto_rotate`](DiskService::auto_rotate) (28).
    pub fn auto_rotation(mut self, on: bool) -> Self {
        self.auto_rotation = on;
        self
    }
}

impl DiskService {
    /// Makes a set with its own identity. The vault's owner must then grant this identity `get`, `wrapKey` and
    /// `unwrapKey` (17, 25).
    ///
    /// # Errors
    /// [`Error::ResourceExists`]; [`Error::NotAllowed`] for a vault in another region (18) or tenant (43), or without
    /// soft delete and purge protection (16), and for the type `PlatformKey`, which has no set (20); the directory's
    /// errors.
    pub fn create_set(&self, new: &NewSet) -> Result<EncryptionSet> {
        let inner = self.inner()?;
        [&new.name, &new.region, &new.subscription].into_iter().try_for_each(|name| check_name(name))?;
        if new.encryption_type == EncryptionType::PlatformKey {
            return not_allowed(
                Rule::PlatformKeyHasNoSet,
                "disks under the platform's key have no set; make them without one",
            );
        }
        inner.check_vault(new.key.vault(), &new.region, &new.tenant)?;
        let set = EncryptionSet {
            name: new.name.clone(),
            region: new.region.clone(),
            subscription: new.subscription.clone(),
            tenant: new.tenant.clone(),
            identity: inner.new_identity(&new.name)?,
            encryption_type: new.encryption_type,
            active_key: new.key.clone(),
            previous_keys: Vec::new(),
            former_keys: Vec::new(),
            auto_rotation: new.auto_rotation,
            last_key_rotation_timestamp: None,
            auto_key_rotation_error: None,
            created: inner.clock.now(),
            removing: false,
        };
        inner.store.write(|tables| match tables.set(&set.name)? {
            Some(_) => Err(Error::ResourceExists(format!("there is a set {:?} already", set.name))),
            None => tables.put_set(&set),
        })?;
        Ok(set)
    }

    /// A set.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn encryption_set(&self, name: &str) -> Result<EncryptionSet> {
        self.inner()?.store.set(name)
    }

    /// The names of all sets, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn encryption_sets(&self) -> Result<Vec<String>> {
        self.inner()?.store.set_names()
    }

    /// The members of a set, in order (23).
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn members(&self, set: &str) -> Result<Vec<ResourceName>> {
        let inner = self.inner()?;
        inner.store.set(set)?;
        inner.store.members(set, false)
    }

    /// A page of these members: at most `limit` of them, up to 1000, that come after `after`, in the order of the store. A page
    /// with fewer is the last one. Members that join or leave between two pages may be missing, or not.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::InvalidOption`] for a limit of 0 or over 1000.
    pub fn members_page(&self, set: &str, after: Option<&ResourceName>, limit: usize) -> Result<Vec<ResourceName>> {
        let inner = self.inner()?;
        inner.store.set(set)?;
        inner.store.members_page(set, after, limit)
    }

    /// Sets whether newer versions of a set's key are adopted automatically.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn set_auto_rotation(&self, set: &str, on: bool) -> Result<()> {
        self.inner()?.change_set(set, |set| set.auto_rotation = on).map(drop)
    }

    /// Moves a set to another tenant, for example after its subscription was transferred. The set loses its identity,
    /// and so the access to its key (43). It gets a new identity; everything works again once the vault's owner has
    /// granted that one access. The vault may stay in the former tenant, or move later. A new key must be in a vault of
    /// the new tenant.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`].
    pub fn move_set_to_tenant(&self, set: &str, tenant: &str) -> Result<EncryptionSet> {
        let inner = self.inner()?;
        let identity = inner.new_identity(set)?;
        let moved = inner.change_set(set, |set| {
            set.tenant = tenant.into();
            set.identity.clone_from(&identity);
        })?;
        inner.keys.leases.expire(set);
        Ok(moved)
    }

    /// Removes a set without disks, snapshots or images.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`]; [`Error::NotAllowed`] while it has any.
    pub fn delete_set(&self, name: &str) -> Result<()> {
        let inner = self.inner()?;
        // First a mark that every new member takes back, and then a look for members: one that came before the mark is found,
        // and one that comes after it makes the removal of the set look again.
        inner.change_set(name, |set| set.removing = true)?;
        let removed = inner.store.write(|tables| {
            let set = tables.set(name)?.ok_or_else(|| no_set(name))?;
            if set.removing && !tables.has_members(name)? {
                return tables.remove_set(name).map(|()| true);
            }
            tables.put_set(&EncryptionSet { removing: false, ..set })?;
            Ok(false)
        })?;
        if !removed {
            let text = "the set still has disks, snapshots or images; delete them, or put them into another set, first";
            return not_allowed(Rule::SetInUse, text);
        }
        inner.keys.leases.forget(name);
        Ok(())
    }
}

impl Inner {
    pub(super) fn check_vault(&self, vault: &str, region: &str, tenant: &str) -> Result<()> {
        let vault = self.keys.vaults.describe(vault)?;
        if vault.region != region {
            return not_allowed(Rule::OneRegion, "a set and its vault are in one region; use a vault in the set's");
        }
        if vault.tenant != tenant {
            return not_allowed(
                Rule::OneTenant,
                "a vault grants access to identities of its own tenant; use a vault of the set's",
            );
        }
        if !vault.soft_delete || !vault.purge_protection {
            return not_allowed(
                Rule::VaultProtection,
                "the vault needs soft delete and purge protection; turn them on",
            );
        }
        Ok(())
    }

    /// Changes a set's record and returns the new one.
    pub(super) fn change_set(&self, name: &str, change: impl Fn(&mut EncryptionSet)) -> Result<EncryptionSet> {
        self.store.write(|tables| {
            let mut set = tables.set(name)?.ok_or_else(|| no_set(name))?;
            change(&mut set);
            tables.put_set(&set)?;
            Ok(set)
        })
    }

    fn new_identity(&self, set: &str) -> Result<String> {
        Ok(format!("des-{set}-{}", self.new_id()?))
    }
}
