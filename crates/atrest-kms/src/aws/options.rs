//! The options of AWS KMS.

use std::collections::BTreeMap;
use std::time::Duration;

use atrest_http::HttpOptions;

use super::credentials::AwsCredentials;

/// Options of an [`AwsKms`](crate::AwsKms).
#[derive(Debug, Clone)]
pub struct AwsOptions {
    pub(crate) region: String,
    pub(crate) credentials: AwsCredentials,
    pub(crate) account: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) context: BTreeMap<String, String>,
    pub(crate) http: HttpOptions,
    pub(crate) deadline: Duration,
}

impl AwsOptions {
    /// The usual ones for a region, such as `eu-central-1`: the credentials' own account, AWS's endpoint, calls end after 20 s,
    /// before a disk service gives up at the deadline of its leases.
    pub fn new(region: impl Into<String>, credentials: AwsCredentials) -> Self {
        AwsOptions {
            region: region.into(),
            credentials,
            account: None,
            endpoint: None,
            context: BTreeMap::new(),
            http: HttpOptions::new(),
            deadline: Duration::from_secs(20),
        }
    }

    /// Sets the account that has the keys, 12 digits. Without it, they are those of the credentials.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Sets another endpoint, `https://HOST[:PORT]`: one in a VPC, one that is validated for FIPS 140, an emulator.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Adds a pair to the encryption context, which AWS's logs show and policies of keys can demand. A DEK that was wrapped
    /// with other pairs doesn't unwrap.
    pub fn context(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.context.insert(name.into(), value.into());
        self
    }

    /// Sets the options of HTTP.
    pub fn http(mut self, http: HttpOptions) -> Self {
        self.http = http;
        self
    }

    /// Sets when a call ends, with all its retries. The operation may have happened after a time-out, which does no harm.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}
