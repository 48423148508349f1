//! The parts of etcd's interface that the store uses, as its gateway has them in JSON (`rpc.proto` of etcd 3.4). Numbers of 64
//! bits are strings, bytes are base64, and answers omit fields with default values.

use atrest::managed::store::{Record, Revision};
use atrest_http::{base64, base64_decode};
use serde::{Deserialize, Deserializer, Serialize};

use crate::trouble::Trouble;

#[derive(Serialize)]
pub(crate) struct Grant {
    #[serde(rename = "TTL")]
    pub ttl: String,
}

#[derive(Serialize)]
pub(crate) struct Lease {
    #[serde(rename = "ID")]
    pub id: String,
}

#[derive(Deserialize)]
pub(crate) struct Granted {
    #[serde(rename = "ID", default)]
    pub id: String,
    #[serde(rename = "TTL", default, deserialize_with = "number")]
    pub ttl: u64,
}

#[derive(Deserialize)]
pub(crate) struct KeptAlive {
    pub result: Granted,
}

#[derive(Serialize)]
pub(crate) struct Login<'a> {
    pub name: &'a str,
    pub password: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct LoggedIn {
    pub token: String,
}

#[derive(Serialize, Default)]
pub(crate) struct Range {
    pub key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub range_end: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub limit: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub revision: String,
}

#[derive(Serialize)]
pub(crate) struct Put {
    pub key: String,
    pub value: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lease: String,
}

#[derive(Serialize)]
pub(crate) struct Key {
    pub key: String,
}

#[derive(Serialize)]
pub(crate) enum Operation {
    #[serde(rename = "request_range")]
    Range(Range),
    #[serde(rename = "request_put")]
    Put(Put),
    #[serde(rename = "request_delete_range")]
    Delete(Key),
}

/// A comparison of `mod_revision`, 0 for a key that isn't there, or of `create_revision`.
#[derive(Serialize)]
pub(crate) struct Compare {
    pub key: String,
    pub target: &'static str,
    pub result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mod_revision: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_revision: Option<String>,
}

#[derive(Serialize, Default)]
pub(crate) struct Transaction {
    pub compare: Vec<Compare>,
    pub success: Vec<Operation>,
    pub failure: Vec<Operation>,
}

#[derive(Deserialize, Default)]
pub(crate) struct Header {
    #[serde(deserialize_with = "number")]
    pub revision: u64,
}

#[derive(Deserialize)]
pub(crate) struct Pair {
    pub key: String,
    #[serde(default)]
    value: String,
    #[serde(default, deserialize_with = "number")]
    mod_revision: u64,
    #[serde(default, deserialize_with = "number")]
    pub create_revision: u64,
}

#[derive(Deserialize, Default)]
pub(crate) struct Found {
    #[serde(default)]
    pub header: Header,
    #[serde(default)]
    pub kvs: Vec<Pair>,
    #[serde(default)]
    pub more: bool,
}

#[derive(Deserialize)]
pub(crate) struct Done {
    pub header: Header,
    #[serde(default)]
    pub succeeded: bool,
    #[serde(default)]
    pub responses: Vec<Answer>,
}

#[derive(Deserialize)]
pub(crate) struct Answer {
    pub response_range: Option<Found>,
}

/// An error, as the gateway has it.
#[derive(Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub code: u32,
}

/// A number, which is a string.
fn number<'d, D: Deserializer<'d>>(from: D) -> Result<u64, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(from)?;
    text.parse().map_err(|_| serde::de::Error::custom("not a number"))
}

impl Range {
    pub fn of(key: &str) -> Self {
        Range { key: base64(key.as_bytes()), ..Range::default() }
    }
}

impl Pair {
    /// A record, from a key below a prefix.
    pub fn record(self, prefix: &str) -> Result<Record, Trouble> {
        let strange =
            || Trouble::Final(std::io::ErrorKind::InvalidData, "the answer has a record of another form".into());
        let key = base64_decode(&self.key).ok_or_else(strange)?;
        let key = std::str::from_utf8(&key).map_err(|_| strange())?;
        let key = key.strip_prefix(prefix).ok_or_else(strange)?.to_owned();
        let value = base64_decode(&self.value).ok_or_else(strange)?.to_vec();
        Ok(Record { key, value, revision: Revision(self.mod_revision) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of etcd 3.4.23.
    #[test]
    fn answers_are_read_as_the_gateway_writes_them() {
        let found: Found = serde_json::from_str(
            r#"{"header":{"cluster_id":"324952591200643719","member_id":"3319814642761637952","revision":"2","raft_term":"2"},"kvs":[{"key":"aw==","create_revision":"2","mod_revision":"2","version":"1","value":"dg=="}],"count":"1"}"#,
        )
        .unwrap();
        assert_eq!((found.header.revision, found.more), (2, false));
        let record = found.kvs.into_iter().next().unwrap().record("").unwrap();
        assert_eq!((record.key.as_str(), record.value.as_slice(), record.revision), ("k", &b"v"[..], Revision(2)));
        let done: Done = serde_json::from_str(
            r#"{"header":{"revision":"3"},"responses":[{"response_range":{"header":{"revision":"3"},"kvs":[{"key":"aw==","create_revision":"2","mod_revision":"3","version":"2"}],"count":"1"}},{"response_put":{"header":{"revision":"3"}}}]}"#,
        )
        .unwrap();
        assert!(!done.succeeded && done.responses[1].response_range.is_none());
        let kept: KeptAlive = serde_json::from_str(r#"{"result":{"header":{"revision":"3"},"ID":"123"}}"#).unwrap();
        assert_eq!((kept.result.id.as_str(), kept.result.ttl), ("123", 0));
        for bad in [r#"{"kvs":[{"key":"aw==","mod_revision":"-1"}]}"#, r#"{"kvs":[{"key":1}]}"#, ""] {
            assert!(serde_json::from_str::<Found>(bad).is_err(), "{bad}");
        }
        let other: Found = serde_json::from_str(r#"{"kvs":[{"key":"aw=="}]}"#).unwrap();
        assert!(other.kvs.into_iter().next().unwrap().record("prefix/").is_err());
    }
}
