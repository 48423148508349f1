//! The options of devices and of the backend.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use atrest_http::aws::AccessKey;
use atrest_http::{Hidden, HttpOptions};

use crate::failure::invalid;

/// A function that returns an access key that is valid now.
type Keys = dyn Fn() -> io::Result<AccessKey> + Send + Sync;

/// The credential for requests: an access key, or a function that returns one.
#[derive(Clone)]
pub struct Credential(Arc<Keys>);

impl Credential {
    /// An access key that stays the same.
    pub fn access_key(key: AccessKey) -> Self {
        Self::provider(move || Ok(key.clone()))
    }

    /// Access keys that change, such as those of a role. The function is called for each request, by many threads; it keeps the
    /// key until shortly before it expires, and then gets another.
    pub fn provider(key: impl Fn() -> io::Result<AccessKey> + Send + Sync + 'static) -> Self {
        Credential(Arc::new(key))
    }

    /// The access key of `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for a temporary one, `AWS_SESSION_TOKEN`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] if one of the first two isn't set.
    pub fn from_environment() -> io::Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (id, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY").map(Hidden::new));
        let (Some(id), Some(secret)) = (id, secret) else {
            return Err(invalid(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a credential by the options",
            ));
        };
        let key = AccessKey::new(id, secret);
        let token = variable("AWS_SESSION_TOKEN").map(Hidden::new);
        Ok(Self::access_key(match token {
            Some(token) => key.session_token(token),
            None => key,
        }))
    }

    pub(crate) fn key(&self) -> io::Result<AccessKey> {
        (self.0)()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// Options of disks on S3.
#[derive(Debug, Clone)]
pub struct S3Options {
    pub(crate) credential: Credential,
    pub(crate) http: HttpOptions,
    pub(crate) deadline: Duration,
    pub(crate) region: Option<String>,
    pub(crate) chunk_size: u32,
    pub(crate) most_dirty: usize,
    pub(crate) parallel: usize,
    pub(crate) lock_seconds: u32,
    pub(crate) take_over: bool,
}

impl S3Options {
    /// The usual ones: calls end after 30 s, chunks of 1 MiB, 64 MiB of writes held back, 8 requests at once, a lock that a dead
    /// host loses after 60 s.
    pub fn new(credential: Credential) -> Self {
        S3Options {
            credential,
            http: HttpOptions::new(),
            deadline: Duration::from_secs(30),
            region: None,
            chunk_size: 1 << 20,
            most_dirty: 64 << 20,
            parallel: 8,
            lock_seconds: 60,
            take_over: false,
        }
    }

    /// Sets another credential.
    pub fn credential(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    /// Sets when a call ends, with all its retries. After a time-out the outcome of a sync is unknown. A sync has to send all
    /// held-back writes within that time: see [`most_dirty`](Self::most_dirty).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the region that signatures name, if the URL names none. The default is `AWS_REGION` or `AWS_DEFAULT_REGION`, or `us-east-1`.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// Sets the size of the chunks of new disks in bytes: a power of two, 64 KiB to 64 MiB. A sync rewrites each chunk that was
    /// written to as a whole. Small chunks make small writes cheap, and large ones cost fewer requests for the same data.
    pub fn chunk_size(mut self, chunk_size: u32) -> Self {
        self.chunk_size = chunk_size;
        self
    }

    /// Sets how many bytes of chunks that were written to are held back, at least one chunk. A write beyond that syncs first.
    pub fn most_dirty(mut self, bytes: usize) -> Self {
        self.most_dirty = bytes;
        self
    }

    /// Sets how many requests of one call are under way at once.
    pub fn parallel(mut self, parallel: usize) -> Self {
        self.parallel = parallel.max(1);
        self
    }

    /// Sets after how many seconds without a sign of life another host may take a disk over, at least 3. The sign is a request
    /// each third of that time.
    pub fn lock_seconds(mut self, seconds: u32) -> Self {
        self.lock_seconds = seconds;
        self
    }

    /// Sets whether [`open`](crate::S3Backend::open_disk) takes a disk from a host that seems to have it open. That host loses
    /// its writes since the last sync, and can't write any more. Use it if you know that the host is dead.
    pub fn take_over(mut self, take_over: bool) -> Self {
        self.take_over = take_over;
        self
    }

    /// Sets the options of HTTP.
    pub fn http(mut self, http: HttpOptions) -> Self {
        self.http = http;
        self
    }
}
