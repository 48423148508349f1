//! The options of a transit engine.

use std::time::Duration;

use atrest_http::HttpOptions;

use super::auth::TransitAuth;

/// Options of a [`TransitVault`](crate::TransitVault).
#[derive(Debug, Clone)]
pub struct TransitOptions {
    pub(crate) address: String,
    pub(crate) auth: TransitAuth,
    pub(crate) mount: String,
    pub(crate) namespace: Option<String>,
    pub(crate) http: HttpOptions,
    pub(crate) deadline: Duration,
    pub(crate) id: Option<String>,
}

impl TransitOptions {
    /// The usual ones for a server at `address`, such as `https://vault.example:8200`: the mount `transit`, no namespace, calls end
    /// after 20 s, before a disk service gives up at the deadline of its leases.
    pub fn new(address: impl Into<String>, auth: TransitAuth) -> Self {
        TransitOptions {
            address: address.into(),
            auth,
            mount: "transit".into(),
            namespace: None,
            http: HttpOptions::new(),
            deadline: Duration::from_secs(20),
            id: None,
        }
    }

    /// Sets the mount of the engine.
    pub fn mount(mut self, path: impl Into<String>) -> Self {
        self.mount = path.into();
        self
    }

    /// Sets the namespace of the engine and of the auth method.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Sets when a call ends, with its logins and its retries. The operation may have happened after a time-out, which does no harm.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the options of HTTP: a CA of one's own, a client's certificate, the time of an attempt.
    pub fn http(mut self, http: HttpOptions) -> Self {
        self.http = http;
        self
    }

    /// Sets the vault's name in key URLs, instead of `vault+ADDRESS/NAMESPACE/MOUNT`. Set it to the old name when the server moves
    /// to another address, since wrapped keys name it.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}
