//! [`VaultOptions`].

use core::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use atrest::Secret;

type Secrets = dyn Fn(&str) -> io::Result<Option<Secret>> + Send + Sync;

/// Options that a vault's URL doesn't hold.
#[derive(Clone, Default)]
pub struct VaultOptions {
    secrets: Option<Arc<Secrets>>,
    pub(crate) deadline: Option<Duration>,
}

impl VaultOptions {
    /// Secrets from the environment, and each vault's own deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// A function that returns secrets. It is asked by the name of the environment variable that would hold the secret, such as
    /// `VAULT_TOKEN`: [`open_with`](crate::open_with) has a table. If it returns `None`, the usual sources are used.
    pub fn secrets(mut self, secrets: impl Fn(&str) -> io::Result<Option<Secret>> + Send + Sync + 'static) -> Self {
        self.secrets = Some(Arc::new(secrets));
        self
    }

    /// The most time that a call of the vault may take, with all retries. Vault files have none.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The caller's value for a name.
    pub(crate) fn given(&self, name: &str) -> io::Result<Option<Secret>> {
        self.secrets.as_ref().map_or(Ok(None), |secrets| secrets(name))
    }
}

impl fmt::Debug for VaultOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.secrets.as_ref().map(|_| "a function");
        f.debug_struct("VaultOptions").field("secrets", &secrets).field("deadline", &self.deadline).finish()
    }
}
