//! [`UrlOptions`].

use std::time::Duration;

use atrest_http::Environment;

/// Options that a vault's URL doesn't hold.
#[derive(Debug, Clone, Default)]
pub struct UrlOptions {
    pub(crate) environment: Environment,
    pub(crate) deadline: Option<Duration>,
}

impl UrlOptions {
    /// Secrets and settings from the variables of the process, and each vault's own deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// The source of secrets and settings.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// The most time that a call may take, with all retries.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }
}
