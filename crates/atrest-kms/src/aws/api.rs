//! Signed requests to KMS, and the meaning of its errors.

use std::sync::Arc;
use std::time::SystemTime;

use atrest::{KeyRefusal, VaultFailure};
use atrest_http::aws::Signing;
use atrest_http::{Cached, Deadline, Hidden, Method, Request, Response, basic_date, hex, sha256, told};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::credentials::AwsCredentials;
use super::session::Session;
use super::sources::{self, Clients};
use crate::trouble::{Trouble, strings};

const LONGEST_ANSWER: usize = 64 << 10;

/// The service, and the client and credentials for requests to it.
pub(crate) struct Api {
    pub clients: Clients,
    /// `https://HOST`, and the host with its port.
    pub endpoint: String,
    pub host: String,
    pub region: String,
    pub credentials: AwsCredentials,
    pub session: Cached<Session>,
}

/// An error of the service.
pub(crate) struct Refused {
    pub code: String,
    pub text: String,
    /// The part of the text that an error may repeat.
    shown: String,
    status: u16,
}

/// The reason for a missing answer.
pub(crate) enum Bad {
    Refused(Refused),
    Trouble(Trouble),
}

impl From<Trouble> for Bad {
    fn from(trouble: Trouble) -> Self {
        Bad::Trouble(trouble)
    }
}

#[derive(Deserialize)]
struct Error {
    #[serde(rename = "__type")]
    code: String,
    #[serde(alias = "Message", default)]
    message: String,
}

impl Api {
    /// Asks, and once more with a new access key if AWS refuses the one that was used.
    pub fn ask(&self, deadline: Deadline, action: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, Bad> {
        let session = self.session(deadline)?;
        let refused = match self.send(deadline, action, body, &session)? {
            Ok(answer) => return Ok(answer),
            Err(refused) if !refused.is_of_credentials() => return Err(Bad::Refused(refused)),
            Err(refused) => refused,
        };
        self.session.forget(&session);
        let again = self.session(deadline)?;
        if format!("{:?}", again.key) == format!("{:?}", session.key) {
            return Err(Bad::Refused(refused));
        }
        self.send(deadline, action, body, &again)?.map_err(Bad::Refused)
    }

    fn session(&self, deadline: Deadline) -> Result<Arc<Session>, Trouble> {
        let late = || Trouble::failed("waiting for another thread that gets credentials, until the deadline");
        let renew =
            |old: Option<&Session>| sources::renew(&self.clients, &self.credentials, &self.region, deadline, old);
        self.session.get(deadline, Session::is_fresh, renew).unwrap_or_else(|| Err(late()))
    }

    /// Sends a request, and again while the answer is one that passes.
    fn send(
        &self,
        deadline: Deadline,
        action: &str,
        body: &[u8],
        session: &Session,
    ) -> Result<Result<Zeroizing<Vec<u8>>, Refused>, Trouble> {
        let mut retries = self.clients.usual.retries(deadline);
        loop {
            let request = self.request(action, body, session)?;
            let (asked, result) = match self.clients.usual.send(deadline, &request) {
                Err(e) => {
                    let is_final = e.is_final();
                    let failed = Trouble::Failed(VaultFailure::new("asking AWS KMS").caused_by(e));
                    if is_final {
                        return Err(failed);
                    }
                    (None, Err(failed))
                }
                Ok(answer) => {
                    let (again, asked) = (answer.is_transient(), answer.retry_after());
                    let sorted = sorted(action, answer, body, session);
                    let again = again || matches!(&sorted, Ok(Err(refused)) if refused.passes());
                    if !again {
                        return sorted;
                    }
                    (asked, sorted)
                }
            };
            if !retries.wait(asked) {
                return match result {
                    Ok(Err(refused)) => Err(refused.trouble()),
                    other => other,
                };
            }
        }
    }

    fn request<'b>(&self, action: &str, body: &'b [u8], session: &Session) -> Result<Request<'b>, Trouble> {
        let date = basic_date(SystemTime::now());
        let mut headers = vec![
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("host", self.host.clone()),
            ("x-amz-date", date.clone()),
            ("x-amz-target", format!("TrentService.{action}")),
        ];
        if let Some(token) = session.key.token() {
            headers.push(("x-amz-security-token", token.expose().to_owned()));
        }
        let signing_failed = |e| Trouble::Failed(VaultFailure::new("signing a request").caused_by(e));
        let hash = hex(&sha256(body).map_err(signing_failed)?);
        let signing = Signing { method: "POST", path: "/", query: &[], headers: &headers, body: &hash };
        let authorization = signing.authorization(&session.key, &self.region, "kms", &date).map_err(signing_failed)?;
        let mut request = Request::new(Method::Post, format!("{}/", self.endpoint), LONGEST_ANSWER).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(request.header("authorization", authorization))
    }

    /// The caller's identity, for errors: AWS's ids of access keys aren't secret.
    pub fn identity(&self) -> String {
        self.credentials.name()
    }

    /// The meaning of an error about a key. `state` asks for the key's state, which tells more.
    pub fn meaning(&self, bad: Bad, state: impl FnOnce() -> Result<(), Trouble>) -> Trouble {
        let refused = match bad {
            Bad::Refused(refused) => refused,
            Bad::Trouble(Trouble::Denied(identity)) => return Trouble::Denied(identity),
            Bad::Trouble(trouble) => return trouble,
        };
        match refused.code.as_str() {
            "NotFoundException" => Trouble::Refused(KeyRefusal::Missing),
            "DisabledException" => Trouble::Refused(KeyRefusal::Disabled),
            "InvalidCiphertextException" | "IncorrectKeyException" => Trouble::Altered,
            // AWS answers this if the ciphertext names another key, and the writer of a header chooses the ciphertext. It also
            // answers this if an account denies another the key; then the key's state is denied too.
            "AccessDeniedException" if refused.text.starts_with("The ciphertext refers to") => match state() {
                Ok(()) => Trouble::Altered,
                Err(trouble) => trouble,
            },
            "AccessDeniedException"
            | "NotAuthorizedException"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId" => Trouble::Denied(self.identity()),
            "KMSInvalidStateException" => match state() {
                Err(trouble @ Trouble::Refused(_)) => trouble,
                // A caller that may not ask for the state has the text.
                _ if refused.text.contains("pending deletion") => Trouble::Refused(KeyRefusal::Deleted),
                _ if refused.text.contains("pending import") => Trouble::Refused(KeyRefusal::Disabled),
                _ => refused.trouble(),
            },
            _ => refused.trouble(),
        }
    }
}

impl Refused {
    /// Whether another access key may help.
    fn is_of_credentials(&self) -> bool {
        let codes = ["ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"];
        codes.contains(&self.code.as_str())
    }

    /// Whether the same request may succeed later. KMS throttles with the status 400.
    fn passes(&self) -> bool {
        let codes = [
            "ThrottlingException",
            "Throttling",
            "TooManyRequestsException",
            "RequestLimitExceeded",
            "KMSInternalException",
            "DependencyTimeoutException",
            "KeyUnavailableException",
        ];
        codes.contains(&self.code.as_str())
    }

    fn trouble(&self) -> Trouble {
        let (status, code, text) = (self.status, &self.code, &self.shown);
        let hint = if self.code.contains("ExpiredToken") { "; renew the credentials" } else { "" };
        Trouble::failed(format!("AWS KMS answered {status} {code}: {text}{hint}"))
    }
}

fn sorted(
    action: &str,
    answer: Response,
    sent: &[u8],
    session: &Session,
) -> Result<Result<Zeroizing<Vec<u8>>, Refused>, Trouble> {
    let (status, what, body) = (answer.status, answer.what().to_owned(), Zeroizing::new(answer.body));
    if status == 200 {
        return Ok(Ok(body));
    }
    // A redirect has no error; proxies between don't answer in this form.
    let found = serde_json::from_slice::<Error>(&body).ok().filter(|_| status >= 400);
    let code = found.as_ref().map(|error| error.code.rsplit('#').next().unwrap_or_default());
    let sound = |code: &&str| (1..=64).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    match (code.filter(sound), &found) {
        (Some(code), Some(error)) => {
            let mut secrets = strings(sent);
            secrets.extend(session.key.token().map(Hidden::expose));
            let shown = told(&error.message, &secrets);
            Ok(Err(Refused { code: code.into(), text: error.message.clone(), shown, status }))
        }
        _ => Err(Trouble::failed(format!("{what} ({action}) was answered by {status}, without an error of AWS KMS"))),
    }
}
