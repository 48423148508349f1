//! An access key for a while, and how sources are asked for one.

use std::io;
use std::time::{Duration, SystemTime};

use atrest::VaultFailure;
use atrest_http::aws::AccessKey;
use atrest_http::{Client, Deadline, Hidden, Request, Response, parse_iso_date, told};
use zeroize::Zeroizing;

use crate::trouble::Trouble;

pub(crate) const LONGEST_ANSWER: usize = 64 << 10;

/// How long before their end temporary keys are got again.
const EARLY: Duration = Duration::from_secs(300);

/// How long keys that couldn't be got again are used before the next try.
const AGAIN: Duration = Duration::from_secs(10);

/// An access key, and when it ends.
pub(crate) struct Session {
    pub key: AccessKey,
    renew: Option<SystemTime>,
    ends: Option<SystemTime>,
}

impl Session {
    pub fn new(key: AccessKey, ends: Option<SystemTime>) -> Self {
        let now = SystemTime::now();
        // For a short life, the second half is kept back.
        let renew = ends.map(|ends| {
            let left = ends.duration_since(now).unwrap_or_default();
            now + left.saturating_sub(EARLY.min(left / 2))
        });
        Session { key, renew, ends }
    }

    /// A key that is good for one request.
    pub fn of_one_request(key: AccessKey) -> Self {
        Session { key, renew: Some(SystemTime::UNIX_EPOCH), ends: None }
    }

    /// The same, for the while until it is tried to get another one again.
    pub fn again(&self) -> Self {
        Session { key: self.key.clone(), renew: Some(SystemTime::now() + AGAIN), ends: self.ends }
    }

    pub fn is_fresh(&self) -> bool {
        self.renew.is_none_or(|renew| SystemTime::now() < renew)
    }

    pub fn has_ended(&self) -> bool {
        self.ends.is_some_and(|ends| SystemTime::now() >= ends)
    }

    pub fn of(id: String, secret: Hidden, token: Option<Hidden>, expiration: Option<&str>) -> Result<Self, Trouble> {
        let ends = expiration.map(|text| {
            parse_iso_date(text).ok_or_else(|| Trouble::failed("the credentials' expiration isn't a date"))
        });
        let key = AccessKey::new(id, secret);
        let key = match token {
            Some(token) => key.session_token(token),
            None => key,
        };
        Ok(Session::new(key, ends.transpose()?))
    }
}

/// Asks a source, and again while the answer is one that passes.
pub(crate) fn ask<'r>(
    client: &Client,
    deadline: Deadline,
    request: impl Fn() -> io::Result<Request<'r>>,
) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let called = client.call(deadline, request);
    let failed = |e| Trouble::Failed(VaultFailure::new("getting AWS credentials").caused_by(e));
    let answer: Response = called.answer.map_err(failed)?;
    let (status, what, body) = (answer.status, answer.what().to_owned(), Zeroizing::new(answer.body));
    let text = String::from_utf8_lossy(&body);
    match status {
        200 => Ok(body),
        403 if text.contains("<Code>AccessDenied</Code>") => Err(Trouble::Denied(String::new())),
        _ => Err(Trouble::failed(format!("{what} was answered by {status}: {}", told(error_code(&text), &[])))),
    }
}

/// The code of an error of STS. The rest of its text may repeat a token.
fn error_code(text: &str) -> &str {
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or("no credentials", |(code, _)| code)
}
