//! Requests with a token that is got, renewed and replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::VaultFailure;
use atrest_http::{Cached, Client, Deadline, Hidden, Method, REPEATS, Request, read_secret, repeats, told};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::auth::{TransitAuth, Way};
use crate::input::{json, parse};
use crate::trouble::{Trouble, strings};

/// The longest answer, in bytes. That of a key with thousands of versions fits.
const LONGEST_ANSWER: usize = 1 << 20;

/// How long a token that couldn't be renewed is used before the next try.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

/// A server, and the client and login for it.
pub(crate) struct Server {
    pub client: Client,
    /// The address without a slash at its end.
    pub address: String,
    pub namespace: Option<String>,
    pub auth: TransitAuth,
    pub session: Cached<Session>,
}

pub(crate) struct Session {
    token: Hidden,
    /// When to renew it, and when it ends; `None` for never.
    times: Option<(Instant, Instant)>,
    renewable: bool,
}

/// An answer of the server, other than a failure of its own.
pub(crate) enum Answer {
    Body(Zeroizing<Vec<u8>>),
    /// A status of 400 to 499, with the texts of its errors.
    Errors(u16, String),
}

/// Withholds a text that repeats a secret of the request.
fn without_request(text: &str, token: Option<&Hidden>, body: &[u8]) -> String {
    let found = text_of(token).into_iter().chain(strings(body)).any(|secret| repeats(text, secret));
    if found { REPEATS.into() } else { text.into() }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// The body of a login.
#[derive(Serialize)]
#[serde(untagged)]
enum Login<'a> {
    AppRole {
        role_id: &'a str,
        secret_id: &'a str,
    },
    Kubernetes {
        role: &'a str,
        jwt: &'a str,
    },
    Certificate {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: &'a Option<String>,
    },
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Zeroized,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

/// A text that is wiped.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Zeroized(Hidden);

impl From<String> for Zeroized {
    fn from(text: String) -> Self {
        Zeroized(Hidden::new(text))
    }
}

#[derive(Deserialize)]
struct Looked {
    data: Lookup,
}

#[derive(Deserialize)]
struct Lookup {
    #[serde(default)]
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Session {
    fn new(token: Hidden, seconds: u64, renewable: bool) -> Self {
        // A lease of 0 never ends. A century is long enough for a clock to hold.
        let life = Duration::from_secs(seconds.min(100 * 365 * 86400));
        let now = Instant::now();
        let times = (seconds > 0).then(|| Some((now.checked_add(life / 3 * 2)?, now.checked_add(life)?))).flatten();
        Session { token, times, renewable }
    }

    fn is_fresh(&self) -> bool {
        self.times.is_none_or(|(renew, _)| Instant::now() < renew)
    }

    fn has_ended(&self) -> bool {
        self.times.is_some_and(|(_, end)| Instant::now() >= end)
    }
}

impl Server {
    /// Asks with a token. If the server denies it, once more with another, if there is another.
    pub fn ask(&self, deadline: Deadline, method: Method, path: &str, body: &[u8]) -> Result<Answer, Trouble> {
        let session = self.session(deadline)?;
        let answer = self.send(deadline, method, path, Some(&session.token), body)?;
        if !is_denied(&answer) {
            return Ok(answer);
        }
        // The token may have ended, or its policies may be older than those of its role.
        self.session.forget(&session);
        let again = self.session(deadline)?;
        if again.token.expose() == session.token.expose() {
            return Err(Trouble::Denied(self.auth.identity()));
        }
        let answer = self.send(deadline, method, path, Some(&again.token), body)?;
        if is_denied(&answer) { Err(Trouble::Denied(self.auth.identity())) } else { Ok(answer) }
    }

    /// Asks with the token as it is. `None` if the server denies it.
    pub fn ask_once(&self, deadline: Deadline, method: Method, path: &str) -> Result<Option<Answer>, Trouble> {
        let session = self.session(deadline)?;
        let answer = self.send(deadline, method, path, Some(&session.token), &[])?;
        Ok((!is_denied(&answer)).then_some(answer))
    }

    fn session(&self, deadline: Deadline) -> Result<Arc<Session>, Trouble> {
        let late = || Trouble::failed("waiting for another thread that logs in, until the deadline");
        let got = self.session.get(deadline, Session::is_fresh, |old| match old {
            Some(old) if old.renewable && !old.has_ended() => self.renew(deadline, old),
            _ => self.log_in(deadline),
        });
        got.unwrap_or_else(|| Err(late()))
    }

    fn renew(&self, deadline: Deadline, old: &Session) -> Result<Session, Trouble> {
        let answer = self.send(deadline, Method::Post, "auth/token/renew-self", Some(&old.token), b"{}");
        if let Ok(Answer::Body(body)) = &answer
            && let Ok(LoggedIn { auth }) = serde_json::from_slice(body)
        {
            let renewed = Session::new(old.token.clone(), auth.lease_duration, auth.renewable);
            // Near the longest life that its role allows, a renewal adds less each time.
            let end = |session: &Session| session.times.map(|(_, end)| end);
            if end(&renewed).is_none() || end(&renewed) > end(old) {
                return Ok(renewed);
            }
        }
        match self.log_in(deadline) {
            // The old one is good for a while.
            Err(Trouble::Failed(_)) if !old.has_ended() => {
                let times = old.times.map(|(_, end)| (Instant::now() + RENEW_AGAIN, end));
                Ok(Session { token: old.token.clone(), times, renewable: true })
            }
            other => other,
        }
    }

    fn log_in(&self, deadline: Deadline) -> Result<Session, Trouble> {
        let read = |e: std::io::Error| Trouble::Failed(VaultFailure::new("reading what to log in with").caused_by(e));
        let way = &self.auth.0;
        let secret = match way {
            Way::Token(token) => return self.look_up(deadline, token.clone()),
            Way::TokenFile(path) => return self.look_up(deadline, read_secret(path).map_err(read)?),
            Way::AppRole { secret_id, .. } => secret_id.read().map_err(read)?,
            Way::Kubernetes { file, .. } => read_secret(file).map_err(read)?,
            Way::Certificate { .. } => Hidden::new(""),
        };
        let body = match way {
            Way::AppRole { role_id, .. } => Login::AppRole { role_id, secret_id: secret.expose() },
            Way::Kubernetes { role, .. } => Login::Kubernetes { role, jwt: secret.expose() },
            Way::Certificate { role: name } => Login::Certificate { name },
            // They don't log in.
            Way::Token(_) | Way::TokenFile(_) => Login::Certificate { name: &None },
        };
        let path = self.auth.login_path().unwrap_or_default();
        let answer = self.send(deadline, Method::Post, &path, None, &json(&body)?)?;
        match answer {
            Answer::Body(body) => {
                let LoggedIn { auth } = parse(&body, "a login")?;
                Ok(Session::new(auth.client_token.0, auth.lease_duration, auth.renewable))
            }
            // Other errors with 400 come from a login method that isn't set up.
            Answer::Errors(status, text) if status == 403 || (status == 400 && text.contains("invalid")) => {
                Err(Trouble::Denied(format!("{}, whose login is refused", self.auth.identity())))
            }
            Answer::Errors(status, text) => {
                let said = told(&text, &text_of(Some(&secret)));
                Err(Trouble::failed(format!("logging in at {path} was answered by {status}: {said}")))
            }
        }
    }

    /// How long a token lives. One that may not look itself up is used as it is.
    fn look_up(&self, deadline: Deadline, token: Hidden) -> Result<Session, Trouble> {
        match self.send(deadline, Method::Get, "auth/token/lookup-self", Some(&token), &[])? {
            Answer::Body(body) => {
                let Looked { data } = parse(&body, "auth/token/lookup-self")?;
                Ok(Session::new(token, data.ttl, data.renewable))
            }
            Answer::Errors(..) => Ok(Session::new(token, 0, false)),
        }
    }

    /// Sends a request, again after answers that pass, and sorts the answer.
    fn send(
        &self,
        deadline: Deadline,
        method: Method,
        path: &str,
        token: Option<&Hidden>,
        body: &[u8],
    ) -> Result<Answer, Trouble> {
        let url = format!("{}/v1/{path}", self.address);
        let called = self.client.call(deadline, || {
            let mut request = Request::new(method, &url, LONGEST_ANSWER).header("x-vault-request", "true");
            if let Some(token) = token {
                request = request.header("x-vault-token", token.expose());
            }
            if let Some(namespace) = &self.namespace {
                request = request.header("x-vault-namespace", namespace);
            }
            if method == Method::Post {
                request = request.header("content-type", "application/json").body(body);
            }
            Ok(request)
        });
        let answer = called.answer.map_err(|e| Trouble::Failed(VaultFailure::new("asking the vault").caused_by(e)))?;
        let (status, what, body_sent) = (answer.status, answer.what().to_owned(), body);
        let body = Zeroizing::new(answer.body);
        if status == 200 || status == 204 {
            return Ok(Answer::Body(body));
        }
        let errors = serde_json::from_slice::<Errors>(&body).ok().map(|found| found.errors.join("; "));
        let text = errors.as_deref().unwrap_or_default();
        match (status, &errors) {
            // Proxies between may answer too, and know nothing about keys.
            (400 | 403 | 404, Some(_)) => Ok(Answer::Errors(status, without_request(text, token, body_sent))),
            (300..=399, _) => Err(Trouble::failed(format!(
                "{what} was redirected ({status}), which isn't followed; name the active server, or what stands before all"
            ))),
            _ => {
                let said = told(&without_request(text, token, body_sent), &[]);
                Err(Trouble::failed(format!("{what} was answered by {status}: {said}")))
            }
        }
    }
}

fn text_of(secret: Option<&Hidden>) -> Vec<&str> {
    secret.map(Hidden::expose).into_iter().collect()
}

fn is_denied(answer: &Answer) -> bool {
    matches!(answer, Answer::Errors(403, text) if text.contains("permission denied"))
}
