//! How a vault failed, and why.

use core::error::Error;
use core::fmt;
use std::string::String;
use std::sync::Arc;

/// How a vault failed and why, as far as the vault reports it. An implementation of [`KeyVault`](crate::key::KeyVault)
/// makes one from the error of its connection:
///
/// ```
/// use atrest::{Error, VaultFailure};
/// use std::error::Error as _;
///
/// let connection = std::io::Error::from(std::io::ErrorKind::TimedOut);
/// let error = Error::Vault(VaultFailure::new("asking for the key \"disks\"").caused_by(connection));
/// assert_eq!(error.source().unwrap().to_string(), "timed out");
/// assert_eq!(format!("{error:#}"), "the vault failed: asking for the key \"disks\": timed out");
/// ```
#[derive(Debug, Clone)]
pub struct VaultFailure {
    what: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl VaultFailure {
    /// The operation that failed, or the vault's answer.
    pub fn new(what: impl Into<String>) -> Self {
        VaultFailure { what: what.into(), source: None }
    }

    /// Adds the error that caused it.
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The operation that failed, without the cause.
    pub fn what(&self) -> &str {
        &self.what
    }

    pub(super) fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl fmt::Display for VaultFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl<T: Into<String>> From<T> for VaultFailure {
    fn from(what: T) -> Self {
        VaultFailure::new(what)
    }
}
