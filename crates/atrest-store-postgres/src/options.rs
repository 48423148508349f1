//! The options of a store.

use std::fmt;
use std::time::Duration;

use atrest::{Error, Result};
use zeroize::Zeroizing;

/// Options of a [`PostgresStore`](crate::PostgresStore).
#[derive(Clone)]
pub struct PostgresOptions {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) roots: Option<Vec<u8>>,
    pub(crate) client: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    pub(crate) deadline: Duration,
    pub(crate) connections: usize,
    pub(crate) schema: String,
    pub(crate) standby: bool,
    pub(crate) migrate: bool,
}

impl PostgresOptions {
    /// The usual ones for an address: `postgresql://USER@HOST[:PORT][,HOST[:PORT]...]/DATABASE`, or the words of libpq's
    /// connection strings. Of several hosts, the one is used that takes writes. A call ends after 10 s; there are at most
    /// 8 connections; the records are in the schema `atrest`, which is made if it isn't there.
    ///
    /// A password in the address works. One in a file is better kept: see [`password`](Self::password).
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an address that isn't well formed.
    pub fn new(address: &str) -> Result<Self> {
        let config: tokio_postgres::Config = address.parse().map_err(|e: tokio_postgres::Error| {
            // The text names the parameter, and not its value.
            let why = std::error::Error::source(&e).map(|why| format!(": {why}")).unwrap_or_default();
            Error::InvalidOption(format!("the address of a PostgreSQL server is not well formed{why}"))
        })?;
        Ok(PostgresOptions {
            config,
            roots: None,
            client: None,
            deadline: Duration::from_secs(10),
            connections: 8,
            schema: "atrest".into(),
            standby: true,
            migrate: true,
        })
    }

    /// Sets the user's password. The client keeps a copy of it for new connections, which isn't wiped.
    pub fn password(mut self, password: &str) -> Self {
        self.config.password(password);
        self
    }

    /// Trusts the certificates of a PEM file for TLS, and no others. Without it, Mozilla's roots are trusted.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Shows a certificate to the server: its chain in PEM, the leaf first, and its private key in PEM.
    pub fn client_certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.client = Some((chain.into(), Zeroizing::new(key.into())));
        self
    }

    /// Sets when a call ends, with all its attempts: 1 s at least. While hosts change their roles, calls fail for longer
    /// than a short deadline.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.max(Duration::from_secs(1));
        self
    }

    /// Sets the most connections. Calls beyond that wait for their turn.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, 1000);
        self
    }

    /// Sets the schema of the tables: lower-case letters, digits and `_`. Fleets in one database each have their own.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Accepts a server without a synchronous standby, for storage that is replicated below the server, as with many cloud
    /// services. On any other server, **its loss loses acknowledged commits**.
    pub fn without_standby(mut self) -> Self {
        self.standby = false;
        self
    }

    /// Neither makes nor migrates tables: for a role that may only use them. Run
    /// [`PostgresStore::migrate`](crate::PostgresStore::migrate) as their owner.
    pub fn without_migration(mut self) -> Self {
        self.migrate = false;
        self
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("hosts", &self.config.get_hosts())
            .field("user", &self.config.get_user())
            .field("schema", &self.schema)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
