//! The options of a store.

use std::time::Duration;

use atrest_http::{Hidden, HttpOptions};

/// The least deadline: etcd's shortest lease is 2 s, and is a quarter of it.
const LEAST: Duration = Duration::from_secs(8);

/// Options of an [`EtcdStore`](crate::EtcdStore).
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    pub(crate) endpoints: Vec<String>,
    pub(crate) http: HttpOptions,
    pub(crate) user: Option<(String, Hidden)>,
    pub(crate) prefix: String,
    pub(crate) deadline: Duration,
}

impl EtcdOptions {
    /// The usual ones for the addresses of a cluster's members, such as `https://e1.example:2379`: no user, keys below
    /// `atrest/`, a deadline of 16 s. Plain HTTP is for this machine alone.
    pub fn new<T: Into<String>>(endpoints: impl IntoIterator<Item = T>) -> Self {
        EtcdOptions {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            http: HttpOptions::new(),
            user: None,
            prefix: "atrest/".into(),
            deadline: Duration::from_secs(16),
        }
    }

    /// Sets a CA of one's own, a client's certificate, and whether proxies are used. Times of attempts are the store's own.
    pub fn http(mut self, http: HttpOptions) -> Self {
        self.http = http;
        self
    }

    /// Logs in by a name and a password. Tokens that end, or that a member has forgotten, are replaced.
    pub fn user(mut self, name: impl Into<String>, password: Hidden) -> Self {
        self.user = Some((name.into(), password));
        self
    }

    /// Sets the prefix of the keys: a path of its own for each fleet. It ends with a slash.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets when a commit that failed no longer happens: 8 s at least. Calls end after half of that.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.max(LEAST);
        self
    }
}
