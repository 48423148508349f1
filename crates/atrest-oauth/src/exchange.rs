//! Requests for tokens (RFC 6749), and the meaning of their answers.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use atrest_http::{Client, Deadline, Method, Request, Response, encode_query, told};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::jwt::until;
use crate::tokens::{Granted, TokenError};

/// The longest answer, in bytes. Tokens have some thousands.
pub(crate) const LONGEST_ANSWER: usize = 128 << 10;

/// The longest form, in bytes: it is made in a buffer that never moves, since it holds secrets.
const LONGEST_FORM: usize = 256 << 10;

/// An answer with a token. Some services write numbers as texts.
#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    access_token: Cow<'a, str>,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default, borrow)]
    expires_in: Option<Number<'a>>,
    /// In seconds since 1970: App Service sends only this one.
    #[serde(default, borrow)]
    expires_on: Option<Number<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number<'a> {
    Number(u64),
    Text(#[serde(borrow)] Cow<'a, str>),
}

/// An error of an authorization server (RFC 6749, section 5.2), with Entra ID's additional fields.
#[derive(Deserialize)]
pub(crate) struct Refusal {
    pub error: String,
    #[serde(default)]
    pub error_description: String,
    #[serde(default)]
    pub error_codes: Vec<u64>,
}

impl Number<'_> {
    fn value(&self) -> Option<u64> {
        match self {
            Number::Number(value) => Some(*value),
            Number::Text(text) => text.parse().ok(),
        }
    }
}

/// A form for `application/x-www-form-urlencoded`.
pub(crate) fn form(pairs: &[(&str, &str)]) -> Result<Zeroizing<String>, TokenError> {
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_FORM));
    for (name, value) in pairs {
        let value = Zeroizing::new(encode_query(value));
        if text.len() + name.len() + value.len() + 2 > LONGEST_FORM {
            return Err(TokenError::failed("the request for a token is longer than 256 KiB"));
        }
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(&value);
    }
    Ok(text)
}

/// Posts a form, again while the answer is one that passes.
pub(crate) fn post(client: &Client, deadline: Deadline, url: &str, form: &str) -> Result<Response, TokenError> {
    let request = || {
        let request = Request::new(Method::Post, url, LONGEST_ANSWER);
        Ok(request.header("content-type", "application/x-www-form-urlencoded").body(form.as_bytes()))
    };
    client.call(deadline, request).answer.map_err(|e| TokenError::Failed(e.into()))
}

/// Gets a URL, again while the answer is one that passes. `passes` names more statuses that do.
pub(crate) fn get(
    client: &Client,
    deadline: Deadline,
    url: &str,
    header: (&str, &str),
    passes: &[u16],
) -> Result<Response, TokenError> {
    let mut retries = client.retries(deadline);
    loop {
        let answer = client.send(deadline, &Request::new(Method::Get, url, LONGEST_ANSWER).header(header.0, header.1));
        let again = |answer: &Response| answer.is_transient() || passes.contains(&answer.status);
        let asked = answer.as_ref().ok().and_then(Response::retry_after);
        let is_over = match &answer {
            Ok(answer) => !again(answer),
            Err(failure) => failure.is_final(),
        };
        if is_over || !retries.wait(asked) {
            return answer.map_err(|e| TokenError::Failed(e.into()));
        }
    }
}

/// The token of an answer with the status 200. The answer is wiped.
pub(crate) fn granted(answer: Response) -> Result<Granted, TokenError> {
    let (what, body) = (answer.what().to_owned(), Zeroizing::new(answer.body));
    let senseless = || TokenError::failed(format!("the answer of {what} is no token"));
    let found: Answered<'_> = serde_json::from_slice(&body).map_err(|_| senseless())?;
    let Answered { access_token, token_type, expires_in, expires_on } = found;
    if token_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(senseless());
    }
    let life = expires_in.map(|number| number.value().ok_or_else(senseless)).transpose()?.map(Duration::from_secs);
    let life = match (life, expires_on.map(|number| number.value().ok_or_else(senseless)).transpose()?) {
        (None, Some(at)) => Some(until(at)),
        (life, _) => life,
    };
    // A token without a declared end has to be requested each time.
    Granted::new(access_token.into_owned(), life, &what)
}

/// The refusal in an answer, if it is one of an authorization server.
pub(crate) fn refusal(answer: &Response) -> Option<Refusal> {
    (400..500).contains(&answer.status).then(|| serde_json::from_slice(&answer.body).ok()).flatten()
}

/// An answer that is no token and says nothing about the identity.
pub(crate) fn unexpected(answer: &Response, secrets: &[&str], hint: &str) -> TokenError {
    let (what, status) = (answer.what(), answer.status);
    let text = match refusal(answer) {
        Some(refusal) => told(&format!("{} {}", refusal.error, refusal.error_description), secrets),
        None => "no error that makes sense".into(),
    };
    TokenError::failed(format!("{what} was answered by {status}: {text}{hint}"))
}

/// An error on this machine: a file that can't be read.
pub(crate) fn own(error: io::Error) -> TokenError {
    TokenError::Failed(error)
}
