//! Requests to Cloud KMS, and the meaning of its errors.

use atrest_http::{Deadline, Method, Request, Response, crc32c, told};
use serde::{Deserialize, Deserializer, Serializer};
use zeroize::Zeroizing;

use crate::bearer::Bearer;
use crate::trouble::{Trouble, strings};

/// The longest answer, in bytes. A ciphertext has at most some more than the plaintext's 64 KiB.
const LONGEST_ANSWER: usize = 128 << 10;

/// The service's address, and the login for requests to it.
pub(crate) struct Api {
    pub bearer: Bearer,
    /// `https://HOST[:PORT]`.
    pub endpoint: String,
}

/// The reason for a missing answer.
pub(crate) enum Bad {
    /// A version's state doesn't allow its use. The text names the version and its state.
    State(String),
    /// The ciphertext, or the data it is bound to, was changed.
    Ciphertext,
    /// The service has got something else than was sent.
    Garbled(Trouble),
    Trouble(Trouble),
}

impl From<Trouble> for Bad {
    fn from(trouble: Trouble) -> Self {
        Bad::Trouble(trouble)
    }
}

/// `google.rpc.Status`, as it stands in answers in JSON.
#[derive(Deserialize)]
struct Errors {
    error: Status,
}

#[derive(Deserialize)]
struct Status {
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    details: Vec<Detail>,
}

/// `google.rpc.ErrorInfo` has a reason. Others haven't.
#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    reason: Option<String>,
}

/// A checksum, which JSON has as a text: `google.protobuf.Int64Value`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checksum(u32);

impl Checksum {
    pub fn of(bytes: &[u8]) -> Self {
        Checksum(crc32c(bytes))
    }
}

impl serde::Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Number(u32),
        }
        match Either::deserialize(deserializer)? {
            Either::Text(text) => text.parse().map(Checksum).map_err(serde::de::Error::custom),
            Either::Number(number) => Ok(Checksum(number)),
        }
    }
}

impl Api {
    pub fn get(&self, deadline: Deadline, name: &str) -> Result<Zeroizing<Vec<u8>>, Bad> {
        self.ask(deadline, Method::Get, name, &[])
    }

    pub fn post(&self, deadline: Deadline, name: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, Bad> {
        self.ask(deadline, Method::Post, name, body)
    }

    fn ask(&self, deadline: Deadline, method: Method, name: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, Bad> {
        let url = format!("{}/v1/{name}", self.endpoint);
        let answer = self.bearer.ask(deadline, || {
            let request = Request::new(method, &url, LONGEST_ANSWER);
            match method {
                Method::Post => request.header("content-type", "application/json").body(body),
                _ => request,
            }
        })?;
        if answer.status == 200 {
            return Ok(Zeroizing::new(answer.body));
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
        let found = serde_json::from_slice::<Errors>(&body).ok().filter(|_| status >= 400);
        let Some(Errors { error }) = found else {
            let text = format!("{what} was answered by {status}, without an error of Google's API");
            return Trouble::failed(text).into();
        };
        let text = told(&format!("{}: {}", error.status, error.message), &strings(sent));
        let failed = |hint: &str| Trouble::failed(format!("{what} was answered by {status} {text}{hint}"));
        let says = |words: &str| error.message.contains(words);
        let reason = error.details.iter().find_map(|detail| detail.reason.as_deref());
        match (status, error.status.as_str()) {
            (404, "NOT_FOUND") => Bad::Trouble(Trouble::Refused(atrest::KeyRefusal::Missing)),
            (403, "PERMISSION_DENIED") => match reason {
                None | Some("IAM_PERMISSION_DENIED") => Trouble::Denied(self.identity()).into(),
                // The API or the billing is off, or a service perimeter blocks it: nothing about the key or the caller.
                Some(_) => failed("; look at the project's API, billing and perimeters").into(),
            },
            (400, "FAILED_PRECONDITION") if says("is not enabled, current state is") => Bad::State(error.message),
            (400, "INVALID_ARGUMENT") if says("crc32c") || says("checksum") => Bad::Garbled(failed("")),
            (400, "INVALID_ARGUMENT") if says("Decryption failed") => Bad::Ciphertext,
            (401, _) => failed("; the service takes no token of this identity").into(),
            _ => failed("").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_texts_and_are_read_as_numbers_too() {
        assert_eq!(serde_json::to_string(&Checksum::of(b"123456789")).unwrap(), "\"3808858755\"");
        for json in ["\"3808858755\"", "3808858755"] {
            assert!(serde_json::from_str::<Checksum>(json).unwrap() == Checksum::of(b"123456789"));
        }
        for json in ["\"\"", "\"-1\"", "\"4294967296\"", "null", "1.5", "{}"] {
            assert!(serde_json::from_str::<Checksum>(json).is_err(), "{json}");
        }
    }
}
