//! The options of Google Cloud KMS.

use std::time::Duration;

use atrest_http::HttpOptions;
use atrest_oauth::GoogleIdentity;

/// Options of a [`GcpKms`](crate::GcpKms).
#[derive(Debug, Clone)]
pub struct GcpOptions {
    pub(crate) ring: String,
    pub(crate) identity: GoogleIdentity,
    pub(crate) endpoint: String,
    pub(crate) http: HttpOptions,
    pub(crate) deadline: Duration,
}

impl GcpOptions {
    /// The usual ones for a key ring, such as `projects/fleet/locations/europe-west3/keyRings/disks`: calls end after 20 s, before a
    /// disk service gives up at the deadline of its leases.
    pub fn new(ring: impl Into<String>, identity: GoogleIdentity) -> Self {
        GcpOptions {
            ring: ring.into(),
            identity,
            endpoint: "https://cloudkms.googleapis.com".into(),
            http: HttpOptions::new(),
            deadline: Duration::from_secs(20),
        }
    }

    /// Sets where requests go instead: `https://HOST[:PORT]`, or `http://` to this machine. **The tokens go there too.** It is for
    /// endpoints of a private network and for tests.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = endpoint.into();
        self
    }

    /// Sets the options of HTTP, for the service and for logins.
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
