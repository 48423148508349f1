//! Requests to any member that answers, with a token that is fetched and replaced.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atrest_http::{Cached, Client, Deadline, Hidden, Method, Request, told};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::api::{LoggedIn, Login, Refusal};
use crate::trouble::Trouble;

/// The longest answer, in bytes: beyond that a page is requested again in smaller pieces.
const LONGEST_ANSWER: usize = 16 << 20;

/// How long to wait once no member answered.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Server {
    pub client: Client,
    /// Without slashes at their ends.
    pub endpoints: Vec<String>,
    pub user: Option<(String, Hidden)>,
    pub token: Cached<Hidden>,
    /// The longest that one member is waited for.
    pub attempt: Duration,
    /// The member that answered last.
    pub good: AtomicUsize,
}

/// Whether a request may be sent again after it may have arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Doing it twice is as doing it once.
    Yes,
    /// Only if it is certain that it hasn't arrived, or was refused.
    No,
}

impl Server {
    /// Asks for something, and reads the answer.
    pub fn ask<T: DeserializeOwned>(
        &self,
        deadline: Deadline,
        path: &str,
        body: &impl Serialize,
        repeat: Repeat,
    ) -> Result<T, Trouble> {
        let body =
            serde_json::to_vec(body).map_err(|_| Trouble::Final(io::ErrorKind::InvalidInput, "no JSON".into()))?;
        let mut renewed = false;
        loop {
            let token = self.token(deadline)?;
            match self.send(deadline, path, &body, token.as_deref(), repeat) {
                Err(Trouble::Token(_)) if !renewed && token.is_some() => {
                    token.iter().for_each(|token| self.token.forget(token));
                    renewed = true;
                }
                answer => return read(&answer?),
            }
        }
    }

    fn token(&self, deadline: Deadline) -> Result<Option<Arc<Hidden>>, Trouble> {
        let Some((name, password)) = &self.user else { return Ok(None) };
        let login = |_: Option<&Hidden>| {
            let body = serde_json::to_vec(&Login { name, password: password.expose() }).map(Zeroizing::new);
            let body = body.map_err(|_| Trouble::Final(io::ErrorKind::InvalidInput, "no JSON".into()))?;
            let answer = self.send(deadline, "auth/authenticate", &body, None, Repeat::Yes)?;
            let found: LoggedIn = read(&answer)?;
            Ok(Hidden::new(found.token))
        };
        let token = self.token.get(deadline, |_| true, login);
        token.unwrap_or_else(|| Err(Trouble::Again("another thread logs in until the deadline".into()))).map(Some)
    }

    /// Sends a request to the members in turn until one answers.
    fn send(
        &self,
        deadline: Deadline,
        path: &str,
        body: &[u8],
        token: Option<&Hidden>,
        repeat: Repeat,
    ) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let mut why = String::from("the deadline is over");
        loop {
            let first = self.good.load(Ordering::Relaxed);
            for at in (0..self.endpoints.len()).map(|at| (first + at) % self.endpoints.len()) {
                if deadline.left().is_none() {
                    return Err(Trouble::Again(why));
                }
                // A request that may not be repeated gets the whole deadline.
                let within = if repeat == Repeat::Yes { deadline.within(self.attempt) } else { deadline };
                match self.send_to(at, within, path, body, token) {
                    Ok(answer) => {
                        self.good.store(at, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(Trouble::Again(said)) => why = said,
                    Err(Trouble::Unknown(said)) if repeat == Repeat::Yes => why = said,
                    Err(trouble) => {
                        if matches!(trouble, Trouble::Unknown(_)) {
                            // Others are asked first from now on.
                            self.good.store((at + 1) % self.endpoints.len(), Ordering::Relaxed);
                        }
                        return Err(trouble);
                    }
                }
            }
            if deadline.left().is_none_or(|left| left <= PAUSE) {
                return Err(Trouble::Again(why));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn send_to(
        &self,
        at: usize,
        deadline: Deadline,
        path: &str,
        body: &[u8],
        token: Option<&Hidden>,
    ) -> Result<Zeroizing<Vec<u8>>, Trouble> {
        let url = format!("{}/v3/{path}", self.endpoints[at]);
        let mut request = Request::new(Method::Post, url, LONGEST_ANSWER).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", token.expose());
        }
        let answer = self.client.send(deadline, &request.body(body)).map_err(|failure| {
            let (sent, hopeless, text) = (failure.may_have_happened(), failure.is_final(), failure.to_string());
            match io::Error::from(failure).kind() {
                io::ErrorKind::InvalidData => Trouble::TooLong(text),
                kind if hopeless => Trouble::Final(kind, text),
                _ if sent => Trouble::Unknown(text),
                _ => Trouble::Again(text),
            }
        })?;
        if answer.is_success() {
            return Ok(Zeroizing::new(answer.body));
        }
        let refusal: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
        let refusal = refusal.unwrap_or(Refusal { message: String::new(), code: 0 });
        let secrets: Vec<&str> = token.iter().map(|token| token.expose()).collect();
        let said = format!("{}: {} ({})", answer.what(), told(&refusal.message, &secrets), answer.status);
        Err(trouble(answer.status, &refusal, said))
    }
}

/// The meaning of a server's error, by its code (those of gRPC) and its text.
fn trouble(status: u16, refusal: &Refusal, said: String) -> Trouble {
    let text = refusal.message.as_str();
    let has = |part: &str| text.contains(part);
    match refusal.code {
        // Before it was looked at.
        16 => Trouble::Token(said),
        _ if has("invalid auth token") || has("auth store is old") => Trouble::Token(said),
        8 if has("too many requests") => Trouble::Again(said),
        8 if has("database space exceeded") => {
            let what_to_do = "the database is full: compact it, defragment the members, and disarm the alarm";
            Trouble::Final(io::ErrorKind::StorageFull, format!("{said}; {what_to_do}"))
        }
        3 if has("request is too large") => {
            Trouble::Final(io::ErrorKind::InvalidInput, format!("{said}; leave --max-request-bytes at 1.5 MiB or more"))
        }
        7 => Trouble::Final(io::ErrorKind::PermissionDenied, said),
        5 => Trouble::Final(io::ErrorKind::NotFound, said),
        3 | 9 | 12 => Trouble::Final(io::ErrorKind::InvalidInput, said),
        _ if status == 401 => Trouble::Token(said),
        _ => Trouble::Unknown(said),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Trouble> {
    // The content isn't repeated in the error.
    let senseless = |at: String| Trouble::Unknown(format!("the answer makes no sense{at}"));
    // serde would also accept a list for an object.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(senseless(String::new()));
    }
    serde_json::from_slice(body).map_err(|e| senseless(format!(" at line {}, column {}", e.line(), e.column())))
}
