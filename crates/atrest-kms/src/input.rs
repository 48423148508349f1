//! What is read: files, variables, answers. And what is sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use atrest_http::{Hidden, is_loopback};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::trouble::Trouble;

/// The most that a file with a token may hold.
const LONGEST_SECRET: u64 = 64 << 10;

/// The longest body of a request, in bytes: it is made in a buffer that never moves, since it may hold a secret.
const LONGEST_BODY: usize = 128 << 10;

/// The text of a file, without white space at its ends.
pub(crate) fn read_secret(path: &Path) -> io::Result<Hidden> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("reading {}: {e}", path.display()));
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_SECRET as usize + 1));
    File::open(path).map_err(named)?.take(LONGEST_SECRET + 1).read_to_string(&mut text).map_err(named)?;
    let trimmed = text.trim();
    if trimmed.is_empty() || text.len() as u64 > LONGEST_SECRET {
        return Err(named(invalid("it is empty, or longer than 64 KiB")));
    }
    Ok(Hidden::new(trimmed))
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub(crate) fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

/// Checks an address `https://HOST[:PORT]`, and returns its host with the port.
pub(crate) fn check_address(address: &str) -> io::Result<&str> {
    let why =
        "the address of a service is https://HOST[:PORT], or http:// to this machine alone: tokens and DEKs go by it";
    let (scheme, host) = address.split_once("://").ok_or_else(|| invalid(why))?;
    let sound = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    match scheme {
        "https" if sound => Ok(host),
        "http" if sound && is_loopback(host) => Ok(host),
        _ => Err(invalid(why)),
    }
}

/// A body in a buffer that is wiped, and never moved.
pub(crate) fn json(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Trouble> {
    let mut body = Zeroizing::new(vec![0; LONGEST_BODY]);
    let mut rest = body.as_mut_slice();
    serde_json::to_writer(&mut rest, value).map_err(|_| Trouble::failed("the request is longer than 128 KiB"))?;
    let len = LONGEST_BODY - rest.len();
    body.truncate(len);
    Ok(body)
}

/// Reads an answer. What it holds instead isn't repeated: it may be a secret.
pub(crate) fn parse<'b, T: Deserialize<'b>>(body: &'b [u8], what: &str) -> Result<T, Trouble> {
    serde_json::from_slice(body).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        Trouble::failed(format!("the answer of {what} makes no sense at line {line}, column {column}"))
    })
}
