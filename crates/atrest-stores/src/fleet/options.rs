//! [`FleetStoreOptions`].

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use atrest::Secret;

type Secrets = dyn Fn(&str) -> io::Result<Option<Secret>> + Send + Sync;

/// Options that the URL of a fleet's store doesn't hold.
#[derive(Clone, Default)]
pub struct FleetStoreOptions {
    pub(crate) secrets: Option<Arc<Secrets>>,
    pub(crate) deadline: Option<Duration>,
}

impl FleetStoreOptions {
    /// Passwords from the environment and from files, and each engine's own deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// A function that returns passwords. It is asked by the name of the environment variable that would hold the password,
    /// such as `PGPASSWORD`. If it returns `None`, the usual sources are used.
    pub fn secrets(mut self, secrets: impl Fn(&str) -> io::Result<Option<Secret>> + Send + Sync + 'static) -> Self {
        self.secrets = Some(Arc::new(secrets));
        self
    }

    /// When a call ends, with all its attempts. It goes before the URL's `deadline`. The lease of a host is at least three times this.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

impl fmt::Debug for FleetStoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.secrets.as_ref().map(|_| "a function");
        f.debug_struct("FleetStoreOptions").field("secrets", &secrets).field("deadline", &self.deadline).finish()
    }
}
