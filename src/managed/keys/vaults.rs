//! Access to vaults: the platform's, and those of customers.

use std::sync::Arc;
use std::time::Duration;

use super::deadline::{Deadline, WithDeadline};
use super::lease::LeasePolicy;
use crate::key::KeyId;
use crate::managed::backend::{VaultDescription, VaultDirectory};
use crate::managed::counters::Counters;
use crate::managed::kek::{Kek, Wanted};
use crate::{KeyVault, Result};

/// All vaults. Each of their calls ends by the deadline.
pub(in crate::managed) struct Vaults {
    directory: Arc<dyn VaultDirectory>,
    /// The vault of the platform's keys.
    pub(in crate::managed) platform: Arc<dyn KeyVault>,
    /// The name of the platform's key in it.
    pub(in crate::managed) platform_key: String,
    deadline: Arc<Deadline>,
}

impl Vaults {
    pub(in crate::managed) fn new(
        directory: Arc<dyn VaultDirectory>,
        platform: Arc<dyn KeyVault>,
        platform_key: String,
        policy: &LeasePolicy,
        counters: Arc<Counters>,
    ) -> Self {
        let deadline = Deadline::new(policy.deadline.min(policy.grace), counters);
        Vaults { directory, platform: Arc::new(WithDeadline::new(platform, &deadline)), platform_key, deadline }
    }

    /// The longest time for a call.
    pub(in crate::managed) fn deadline(&self) -> Duration {
        self.deadline.after
    }

    /// Calls the store or a region, for work that must not wait for it: by the same deadline, in a thread that nobody waits for. `who` is
    /// its name in errors.
    pub(in crate::managed) fn call_in_time<T: Send + 'static>(
        &self,
        who: &str,
        call: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.deadline.ask(who, call).0
    }

    /// The vault of this name, accessed under an identity.
    pub(in crate::managed) fn vault(&self, id: &str, identity: &str) -> Result<Arc<dyn KeyVault>> {
        let (directory, name, identity) = (self.directory.clone(), id.to_owned(), identity.to_owned());
        let vault = self.deadline.call(id, "directory", move || directory.vault(&name, &identity))?;
        Ok(Arc::new(WithDeadline::new(vault, &self.deadline)))
    }

    /// The description of the vault of this name.
    pub(in crate::managed) fn describe(&self, id: &str) -> Result<VaultDescription> {
        let (directory, name) = (self.directory.clone(), id.to_owned());
        self.deadline.call(id, "directory", move || directory.describe(&name))
    }

    /// The latest version of the platform's key.
    pub(in crate::managed) fn platform_kek(&self) -> Kek {
        Kek { vault: self.platform.clone(), key: Wanted::Latest(self.platform_key.clone()) }
    }

    /// A version of the platform's key.
    pub(in crate::managed) fn platform_version(&self, key: KeyId) -> Kek {
        Kek { vault: self.platform.clone(), key: Wanted::Version(key) }
    }
}
