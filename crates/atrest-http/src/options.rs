//! The options of a client.

use std::time::Duration;

use crate::Hidden;

/// Options of a [`Client`](crate::Client).
#[derive(Debug, Clone)]
pub struct HttpOptions {
    pub(crate) connect: Duration,
    pub(crate) attempt: Duration,
    pub(crate) first_wait: Duration,
    pub(crate) longest_wait: Duration,
    pub(crate) burst: u32,
    pub(crate) per_second: u32,
    pub(crate) connections: usize,
    pub(crate) roots: Option<Vec<u8>>,
    pub(crate) client: Option<(Vec<u8>, Hidden)>,
    pub(crate) direct: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpOptions {
    /// The usual ones: 5 s for a connection, 10 s for an attempt, retries after 50 ms to 5 s, at most 100 at once and 10 a
    /// second, 16 idle connections, Mozilla's roots.
    pub fn new() -> Self {
        HttpOptions {
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(10),
            first_wait: Duration::from_millis(50),
            longest_wait: Duration::from_secs(5),
            burst: 100,
            per_second: 10,
            connections: 16,
            roots: None,
            client: None,
            direct: false,
        }
    }

    /// Sets how long a connection may take, with its name's resolution.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.connect = time;
        self
    }

    /// Sets how long one attempt may take, from the connection to the last byte. A server that is silent is left after that
    /// time, and asked again by another connection. An attempt never goes beyond the call's deadline.
    pub fn attempt_timeout(mut self, time: Duration) -> Self {
        self.attempt = time;
        self
    }

    /// Sets how long to wait before the first retry, and before any at most. Each wait is drawn from the upper half of its
    /// range, which doubles each time.
    pub fn waits(mut self, first: Duration, longest: Duration) -> Self {
        self.first_wait = first.max(Duration::from_millis(1));
        self.longest_wait = longest.max(self.first_wait);
        self
    }

    /// Sets how many retries all calls together may begin at once, and how many a second then. A retry beyond that waits for
    /// its turn. Both are at least 1.
    pub fn retry_budget(mut self, burst: u32, per_second: u32) -> Self {
        self.burst = burst.max(1);
        self.per_second = per_second.max(1);
        self
    }

    /// Sets how many idle connections are kept.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Trusts the certificates of a PEM file, and no others, for TLS: those of a private cloud.
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Shows a certificate to servers that ask for one: its chain in PEM, the leaf first, and its private key in PEM.
    pub fn client_certificate(mut self, chain: impl Into<Vec<u8>>, key: Hidden) -> Self {
        self.client = Some((chain.into(), key));
        self
    }

    /// Uses no proxy, whatever the environment says: for services that are only on this machine or its own network.
    pub fn without_proxy(mut self) -> Self {
        self.direct = true;
        self
    }
}
