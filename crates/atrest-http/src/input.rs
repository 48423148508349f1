//! Reading of files, variables and addresses, and the part of a server's text that an error may repeat.

use std::io;
use std::path::Path;

use atrest::Secret;

use crate::{Hidden, is_loopback};

/// The most that a file with a token may hold.
const LONGEST_SECRET: usize = 64 << 10;

/// The most of a server's text that an error repeats, in characters.
const MOST_TEXT: usize = 200;

/// The text of a file with a secret, without white space at its ends: at most 64 KiB.
///
/// # Errors
/// As [`Secret::read_file`], with the path: a pipe or a device in its place is refused at once; [`io::ErrorKind::InvalidInput`] if
/// it is empty, [`io::ErrorKind::InvalidData`] if it isn't text in UTF-8.
pub fn read_secret(path: &Path) -> io::Result<Hidden> {
    let failed = |kind, what: &str| io::Error::new(kind, format!("reading {}: {what}", path.display()));
    let file = Secret::read_file(path, LONGEST_SECRET).map_err(|e| failed(e.kind(), &e.to_string()))?;
    let text = str::from_utf8(file.expose());
    match text.map_err(|_| failed(io::ErrorKind::InvalidData, "it isn't text in UTF-8"))?.trim() {
        "" => Err(failed(io::ErrorKind::InvalidInput, "it is empty")),
        text => Ok(Hidden::new(text)),
    }
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
    fn a_pipe_in_place_of_a_secret_is_refused_at_once() {
        let folder = std::env::temp_dir().join(format!("atrest-http-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (pipe, token, link) = (folder.join("pipe"), folder.join("token"), folder.join("link"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        std::fs::write(&token, " hvs.1\n").unwrap();
        std::os::unix::fs::symlink(&token, &link).unwrap();
        let (done, waiting) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(read_secret(&pipe)));
        let told =
            waiting.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits").err().unwrap().to_string();
        assert!(told.contains("pipe: it is a pipe (FIFO), not a file"), "{told}");
        assert_eq!(read_secret(&link).unwrap().expose(), "hvs.1");
        for (text, words) in
            [(&b" \n"[..], "it is empty"), (b"\xFF", "UTF-8"), (&[b'x'; (64 << 10) + 1], "65536 bytes")]
        {
            std::fs::write(&token, text).unwrap();
            let told = read_secret(&token).err().unwrap().to_string();
            assert!(told.contains(words) && told.contains("token: "), "{told}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

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
