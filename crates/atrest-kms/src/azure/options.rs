//! The options of Azure Key Vault.

use std::time::Duration;

use atrest::{Error, Result};
use atrest_http::HttpOptions;
use atrest_oauth::AzureIdentity;

use crate::url_options::UrlOptions;

/// Options of an [`AzureKeyVault`](crate::AzureKeyVault).
#[derive(Debug, Clone)]
pub struct AzureOptions {
    pub(crate) vault: String,
    pub(crate) identity: AzureIdentity,
    pub(crate) resource: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) http: HttpOptions,
    pub(crate) deadline: Duration,
}

impl AzureOptions {
    /// The usual ones for a vault, such as `https://contoso.vault.azure.net`, or a managed HSM, such as
    /// `https://contoso.managedhsm.azure.net`: calls end after 20 s, before a disk service gives up at the deadline of its leases.
    pub fn new(vault: impl Into<String>, identity: AzureIdentity) -> Self {
        AzureOptions {
            vault: vault.into(),
            identity,
            resource: None,
            endpoint: None,
            http: HttpOptions::new(),
            deadline: Duration::from_secs(20),
        }
    }

    /// The options of the vault that a URL names: see [`open`](crate::open).
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn from_url(url: &str, with: &UrlOptions) -> Result<Self> {
        let why = || Error::InvalidOption("a vault at Azure has the URL azurekv://NAME.vault.azure.net".into());
        let (start, [auth, client]) = crate::query::split(url, ["auth", "client"])?;
        let host = start.strip_prefix("azurekv://").map(|host| host.trim_end_matches('/')).ok_or_else(why)?;
        let identity = match (auth.unwrap_or("environment"), client) {
            ("environment", None) => {
                AzureIdentity::from_variables(&with.environment).map_err(|e| Error::InvalidOption(e.to_string()))?
            }
            ("managed", client) => {
                AzureIdentity::managed_by(&with.environment, client).map_err(|e| Error::InvalidOption(e.to_string()))?
            }
            _ => {
                let text = "auth is environment, which is the default, or managed, perhaps with a client";
                return Err(Error::InvalidOption(text.into()));
            }
        };
        let mut options = AzureOptions::new(format!("https://{host}"), identity);
        if let Some(deadline) = with.deadline {
            options = options.deadline(deadline);
        }
        Ok(options)
    }

    /// Sets the service that tokens are for, for a cloud outside Microsoft's own, such as `https://vault.REGION.FQDN` of an
    /// Azure Stack Hub. Its host has to be the end of the vault's host, so that no token for another service goes to the vault.
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Sets an address for requests in place of the vault's own: `https://HOST[:PORT]`, or `http://` to this machine. **The
    /// tokens go there too.** It is for gateways and tests. A private endpoint needs none: it is behind the vault's own name.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets the options of HTTP, for the vault and for logins.
    pub fn http(mut self, http: HttpOptions) -> Self {
        self.http = http;
        self
    }

    /// Sets when a call ends, with its logins and its retries. The operation may have happened after a time-out, which does no harm.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}
