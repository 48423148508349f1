//! The parts of a URL, and the files that it names.

use std::time::Duration;

use atrest::{Error, Result, Secret};

use super::FleetStoreOptions;

/// The most bytes of a file with certificates, and of one with a password.
const MOST: usize = 1 << 20;
const MOST_SECRET: usize = 64 << 10;

pub(super) fn invalid(text: impl Into<String>) -> Error {
    Error::InvalidOption(text.into())
}

/// Refuses a URL with a password. `instead` names another way to give one.
///
/// The whole URL is checked: a password may contain the characters that end the hosts or the address, and the engines don't
/// agree on where it ends then.
pub(super) fn without_password(url: &str, instead: &str) -> Result<()> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let users = [rest.split_once('@'), authority.rsplit_once('@')];
    if users.into_iter().flatten().any(|(user, _)| user.contains(':')) {
        return Err(password(instead));
    }
    Ok(())
}

/// The error for a URL with a password.
pub(super) fn password(instead: &str) -> Error {
    let how = format!("give it by {instead}, or by password-file=FILE");
    invalid(format!("the store's URL has a password, which others see; {how}, and write @ in a path as %40"))
}

/// The parameters of a URL's query.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Splits a URL from its query.
    pub(super) fn of(url: &str) -> Result<(&str, Self)> {
        let (rest, query) = url.split_once('?').unwrap_or((url, ""));
        let mut all: Vec<(String, String)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if all.iter().any(|(known, _)| *known == name) {
                // Neither the value nor the name: either may be a password.
                return Err(invalid("a part of the store's URL stands there twice"));
            }
            all.push((name, value));
        }
        Ok((rest, Query(all)))
    }

    /// Takes a parameter out.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// The same for the path of a file that is read.
    pub(super) fn take_file(&mut self, name: &str) -> Result<Option<Secret>> {
        self.take(name).map(|path| read(&path, MOST)).transpose()
    }

    /// The user's password: of the caller, of the environment, or of the file that the URL names.
    pub(super) fn take_password(&mut self, options: &FleetStoreOptions, variable: &str) -> Result<Option<Secret>> {
        let given = options.secrets.as_ref().map_or(Ok(None), |secrets| secrets(variable));
        let given = given.map_err(|e| invalid(format!("the program gave no {variable}: {e}")))?;
        let path = self.take("password-file");
        if given.is_some() {
            return Ok(given);
        }
        if let Some(found) = std::env::var(variable).ok().filter(|found| !found.is_empty()) {
            return Ok(Some(Secret::copy_from(found.as_bytes())));
        }
        path.map(|path| secret(&path)).transpose()
    }

    pub(super) fn take_deadline(&mut self, options: &FleetStoreOptions) -> Result<Option<Duration>> {
        let seconds = self.take("deadline").map(|text| match text.parse::<u64>() {
            Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
            _ => Err(invalid("the deadline of a store is a number of seconds, of 1 to 3600")),
        });
        Ok(options.deadline.or(seconds.transpose()?))
    }

    /// The parameters that weren't taken.
    pub(super) fn rest(self) -> Vec<(String, String)> {
        self.0
    }
}

/// Reads a file that a URL names. One with certificates is read as a secret too: it may hold a key.
fn read(path: &str, most: usize) -> Result<Secret> {
    Secret::read_file(path, most).map_err(|source| Error::Io { what: format!("reading {path}"), source })
}

/// The text of a file, without white space at its ends.
fn secret(path: &str) -> Result<Secret> {
    let file = read(path, MOST_SECRET)?;
    match file.expose().trim_ascii() {
        [] => Err(invalid(format!("{path} has no password"))),
        text => Ok(Secret::copy_from(text)),
    }
}

/// A password as text.
pub(super) fn text(password: &Secret) -> Result<&str> {
    std::str::from_utf8(password.expose()).map_err(|_| invalid("the password isn't text in UTF-8"))
}

/// A text without its percent-encoding.
pub(super) fn decoded(text: &str) -> Result<String> {
    let bad = || invalid("the percent-encoding of the store's URL is wrong");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().ok_or_else(bad)?, rest.next().ok_or_else(bad)?];
                let digit = |digit: u8| char::from(digit).to_digit(16).ok_or_else(bad);
                (digit(digits[0])? * 16 + digit(digits[1])?) as u8
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// A text with percent-encoding for all that could end it.
#[cfg(feature = "postgres")]
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}
