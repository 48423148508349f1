//! The options of devices and of the backend.

use std::time::Duration;

use atrest_http::HttpOptions;

use crate::Credential;

/// How a blob is held while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lease {
    /// A lease of this many seconds, 15 to 60, that a thread renews. After a crash the blob can be opened again when they are over.
    Renewed(u32),
    /// A lease without an end. After a crash a person has to break it (`az storage blob lease break`). For operators who make
    /// sure themselves that the old host is dead.
    Infinite,
}

/// Options of page blobs.
#[derive(Debug, Clone)]
pub struct PageBlobOptions {
    pub(crate) credential: Credential,
    pub(crate) http: HttpOptions,
    pub(crate) deadline: Duration,
    pub(crate) lease: Lease,
    pub(crate) parallel: usize,
    pub(crate) vhd: bool,
}

impl PageBlobOptions {
    /// The usual ones: calls end after 30 s, the lease is renewed and lasts 60 s, 8 requests of one call at once, raw images.
    pub fn new(credential: Credential) -> Self {
        PageBlobOptions {
            credential,
            http: HttpOptions::new(),
            deadline: Duration::from_secs(30),
            lease: Lease::Renewed(60),
            parallel: 8,
            vhd: false,
        }
    }

    /// Sets when a call ends, with all its retries. After a time-out the outcome of a write is unknown.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets how the blob is held.
    pub fn lease(mut self, lease: Lease) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many requests of one call are under way at once. A request moves at most 4 MiB.
    pub fn parallel(mut self, parallel: usize) -> Self {
        self.parallel = parallel.max(1);
        self
    }

    /// Says whether blobs are fixed VHDs, as Azure's virtual machines take them: 512 bytes of a footer lie at the end, and don't
    /// count as the device's. Such a device can't be given another size.
    pub fn vhd(mut self, vhd: bool) -> Self {
        self.vhd = vhd;
        self
    }

    /// Sets the options of HTTP.
    pub fn http(mut self, http: HttpOptions) -> Self {
        self.http = http;
        self
    }
}
