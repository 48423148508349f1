//! What is read of files, variables and addresses, and what an error may tell of a server's text.

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
/// Those of reading, with the file's name; [`io::ErrorKind::InvalidInput`] if it is empty or longer.
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

/// What an error may repeat of a server's text: it is short, has no control characters, and none of the secrets that the server
/// was told.
pub fn told(text: &str, secrets: &[&str]) -> String {
    if secrets.iter().any(|secret| !secret.is_empty() && text.contains(secret)) {
        return "a text that repeats the request".into();
    }
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = plain.chars().filter(|c| !c.is_control()).take(MOST_TEXT + 1).collect();
    if short.chars().count() > MOST_TEXT {
        short.pop();
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_servers_are_short_and_hold_no_secret() {
        assert_eq!(told("1 error occurred:\n\t* denied\u{1b}[0m\n", &["hvs.1"]), "\"1 error occurred: * denied[0m\"");
        assert_eq!(told("the token hvs.1 is bad", &["hvs.1"]), "a text that repeats the request");
        assert!(told(&"x".repeat(1 << 20), &[""]).len() < 300);
    }
}
