//! Reading of files, variables and addresses, and the part of a server's text that an error may repeat.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::{Hidden, is_loopback};

/// The most that a file with a token may hold.
const LONGEST_SECRET: u64 = 64 << 10;

/// The most of a server's text that an error repeats, in characters.
const MOST_TEXT: usize = 200;

/// The text of a file with a secret, without white space at its ends: at most 64 KiB.
///
/// # Errors
/// Errors of reading, with the file's name; [`io::ErrorKind::InvalidInput`] if it is empty or longer.
pub fn read_secret(path: &Path) -> io::Result<Hidden> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("reading {}: {e}", path.display()));
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_SECRET as usize + 1));
    File::open(path).map_err(named)?.take(LONGEST_SECRET + 1).read_to_string(&mut text).map_err(named)?;
    let trimmed = text.trim();
    if trimmed.is_empty() || text.len() as u64 > LONGEST_SECRET {
        return Err(named(invalid("it is empty, or longer than 64 KiB")));
    }
    Ok(Hidden::new(trimmed))
}

/// An error of the kind [`io::ErrorKind::InvalidInput`].
pub fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.into())
}

/// Checks an address `https://HOST[:PORT]`, or `http://` to this machine, and returns its host with the port.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if it is another.
pub fn check_address(address: &str) -> io::Result<&str> {
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

/// The part of a server's text that an error may repeat: it is short, and has no control characters and none of the secrets
/// that were sent to the server.
pub fn told(text: &str, secrets: &[&str]) -> String {
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = plain.chars().filter(|c| !c.is_control()).take(MOST_TEXT + 1).collect();
    if secrets.iter().any(|secret| repeats(text, secret) || repeats(&short, secret)) {
        return REPEATS.into();
    }
    if short.chars().count() > MOST_TEXT {
        short.pop();
        short.push('…');
    }
    format!("{short:?}")
}

/// The replacement for a text that [`repeats`] a secret.
pub const REPEATS: &str = "a text that repeats the request";

/// So many characters of a secret in a row are a part of it.
const PART: usize = 12;

/// The head of a text in which parts are looked for, in bytes: much more than errors show.
const HEAD: usize = 1024;

/// Whether a text contains a secret, or its head contains a part of one, since servers cut the texts that they repeat. Parts of
/// a secret with a `:` don't count: names of resources have one, and neither base64 nor tokens do.
pub fn repeats(text: &str, secret: &str) -> bool {
    if secret.is_empty() {
        return false;
    }
    let head = &text.as_bytes()[..text.len().min(HEAD)];
    let parts = |secret: &[u8]| head.windows(PART).any(|part| secret.windows(PART).any(|window| window == part));
    text.contains(secret) || !secret.contains(':') && parts(secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_servers_are_short_and_hold_no_secret() {
        assert_eq!(told("1 error occurred:\n\t* denied\u{1b}[0m\n", &["hvs.1"]), "\"1 error occurred: * denied[0m\"");
        assert_eq!(told("the token hvs.1 is bad", &["hvs.1"]), "a text that repeats the request");
        // Servers cut the texts that they repeat, and errors cut the texts of servers.
        let secret = "c2l4dHktZm91ciBieXRlcyBzdGFuZCBmb3IgYSBERUs";
        for text in
            [format!("bad value {}...", &secret[..12]), format!("{} {secret}", "x".repeat(190)), secret[20..40].into()]
        {
            assert_eq!(told(&text, &[secret]), "a text that repeats the request", "{text}");
        }
        assert_eq!(told("bad value c2l4dHktZm9", &[secret]), "\"bad value c2l4dHktZm9\"");
        // Names of resources aren't secret, and tell the reader of the error which key it is about.
        let name = "arn:aws:kms:eu-central-1:123456789012:key/1";
        assert_eq!(
            told("denied: arn:aws:kms:eu-central-1:1:key/2", &[name]),
            "\"denied: arn:aws:kms:eu-central-1:1:key/2\""
        );
        assert!(told(&"x".repeat(1 << 20), &[""]).len() < 300);
    }
}
