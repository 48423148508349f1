//! Requests to a vault, and the meaning of its errors.

use std::time::{SystemTime, UNIX_EPOCH};

use atrest::KeyRefusal;
use atrest_http::{Deadline, Method, Request, Response, parse_http_date, told};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::bearer::Bearer;
use crate::trouble::{Trouble, strings};

const API_VERSION: &str = "7.4";

/// The longest answer, in bytes. A page of versions has 25.
const LONGEST_ANSWER: usize = 256 << 10;

/// A vault's address, and the login for requests to it.
pub(crate) struct Api {
    pub bearer: Bearer,
    /// `https://HOST[:PORT]`.
    pub endpoint: String,
}

/// A successful answer.
pub(crate) struct Found {
    pub body: Zeroizing<Vec<u8>>,
    /// The time at the service, in seconds since 1970: keys end by its clock.
    pub now: u64,
}

/// The reason for a missing answer.
pub(crate) enum Bad {
    /// The vault forbids it, for a reason that isn't recognised. Its state may show the reason.
    Forbidden,
    /// There is no such key or secret, or it is deleted.
    Missing,
    /// It calls a parameter wrong, which may be the wrapped bytes.
    Parameter(Trouble),
    Trouble(Trouble),
}

impl From<Trouble> for Bad {
    fn from(trouble: Trouble) -> Self {
        Bad::Trouble(trouble)
    }
}

/// "Key Vault REST API error codes": the body of an error.
#[derive(Deserialize)]
struct Errors {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default, rename = "innererror")]
    inner: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(default)]
    code: String,
}

impl Api {
    pub fn get(&self, deadline: Deadline, path: &str, query: &str) -> Result<Found, Bad> {
        self.ask(deadline, Method::Get, path, query, &[])
    }

    pub fn post(&self, deadline: Deadline, path: &str, body: &[u8]) -> Result<Found, Bad> {
        self.ask(deadline, Method::Post, path, "", body)
    }

    pub fn put(&self, deadline: Deadline, path: &str, body: &[u8]) -> Result<Found, Bad> {
        self.ask(deadline, Method::Put, path, "", body)
    }

    fn ask(&self, deadline: Deadline, method: Method, path: &str, query: &str, body: &[u8]) -> Result<Found, Bad> {
        let url = format!("{}{path}?api-version={API_VERSION}{query}", self.endpoint);
        let answer = self.bearer.ask(deadline, || {
            let request = Request::new(method, &url, LONGEST_ANSWER);
            match method {
                Method::Post | Method::Put => request.header("content-type", "application/json").body(body),
                _ => request,
            }
        })?;
        let local = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let date = answer.header("date").and_then(parse_http_date);
        let now = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()).map_or_else(local, |now| now.as_secs());
        if answer.status == 200 {
            return Ok(Found { body: Zeroizing::new(answer.body), now });
        }
        Err(self.meaning(answer, body))
    }

    /// The caller's identity, for errors.
    pub fn identity(&self) -> String {
        self.bearer.tokens.identity()
    }

    fn meaning(&self, answer: Response, sent: &[u8]) -> Bad {
        let (status, what, body) = (answer.status, answer.what().to_owned(), Zeroizing::new(answer.body));
        // Proxies between may answer with the same status, but not in this form.
        let found =
            serde_json::from_slice::<Errors>(&body).ok().filter(|found| status >= 400 && !found.error.code.is_empty());
        let Some(Errors { error }) = found else {
            let text = format!("{what} was answered by {status}, without an error of Azure Key Vault");
            return Trouble::failed(text).into();
        };
        let inner = error.inner.as_ref().map_or("", |inner| inner.code.as_str());
        let told = told(&format!("{} {inner}: {}", error.code, error.message), &strings(sent));
        let failed = |hint: &str| Trouble::failed(format!("{what} was answered by {status} {told}{hint}"));
        let refused = |reason| Bad::Trouble(Trouble::Refused(reason));
        let says = |words: &str| error.message.contains(words);
        match status {
            401 if says("AKV10032") => {
                // The vault is another tenant's.
                Bad::Trouble(Trouble::Denied(format!("{}, who is of another tenant than the vault", self.identity())))
            }
            401 => failed("; the vault takes no token of this identity: look at its tenant, cloud and service").into(),
            403 => match inner {
                "KeyDisabled" | "SecretDisabled" => refused(KeyRefusal::Disabled),
                "KeyExpired" => refused(KeyRefusal::Expired),
                "KeyNotYetValid" => refused(KeyRefusal::NotYetValid),
                "AccessDenied" | "ForbiddenByPolicy" | "ForbiddenByRbac" => Trouble::Denied(self.identity()).into(),
                // A firewall tells where a request comes from, and nothing about the key or the caller.
                _ if inner.starts_with("ForbiddenBy") || says("ublic network access") || says("Client address") => {
                    failed("; let this network in by the vault's firewall or a private endpoint").into()
                }
                _ if says("not allowed on a disabled key") || says("not allowed on a disabled secret") => {
                    refused(KeyRefusal::Disabled)
                }
                _ if says("not allowed on an expired key") => refused(KeyRefusal::Expired),
                _ => Bad::Forbidden,
            },
            404 if error.code == "KeyNotFound" || error.code == "SecretNotFound" => Bad::Missing,
            409 if inner.starts_with("ObjectIs") && (inner.contains("Deleted") || inner.contains("Deleting")) => {
                refused(KeyRefusal::Deleted)
            }
            400 if error.code == "BadParameter" => Bad::Parameter(failed("")),
            _ => failed("").into(),
        }
    }
}
