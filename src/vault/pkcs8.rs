//! Reads imported private keys: PKCS#8, in PEM (RFC 7468) or DER.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use crate::{Error, Result, Secret};

const BEGIN: &str = "-----BEGIN ";
const LABEL: &str = "PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// Several times the size of an RSA key of 4096 bits.
const MAX_LEN: usize = 64 << 10;

/// The DER of a private key.
pub(super) fn der(bytes: &[u8]) -> Result<Secret> {
    if bytes.len() > MAX_LEN {
        return Err(refused("it has over 64 KiB"));
    }
    let Some(text) = pem(bytes) else { return Ok(Secret::copy_from(bytes)) };
    let body = match text.strip_prefix(LABEL) {
        Some(body) => body,
        None if text.starts_with("ENCRYPTED") => return Err(refused("it is encrypted; decrypt it first")),
        None => return Err(refused("its PEM is not that of PKCS#8; `openssl pkcs8 -topk8 -nocrypt` makes that")),
    };
    let (body, _) = body.split_once(END).ok_or_else(|| refused("its PEM has no end"))?;
    let mut digits = Zeroizing::new(Vec::with_capacity(body.len()));
    digits.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let mut der = Secret::zeroed(digits.len());
    let len = match Base64::decode(&*digits, der.expose_mut()) {
        Ok(der) => der.len(),
        Err(_) => return Err(refused("its PEM is no Base64")),
    };
    Ok(Secret::copy_from(&der.expose()[..len]))
}

/// The rest of a PEM text after its first line; `None` if it is not PEM. Other lines may come before it.
fn pem(bytes: &[u8]) -> Option<&str> {
    let text = str::from_utf8(bytes).ok()?;
    text.split_once(BEGIN).map(|(_, text)| text)
}

fn refused(why: &str) -> Error {
    Error::InvalidOption(format!("a private key can't be imported: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_and_der_are_taken_and_anything_else_says_what_it_is() {
        assert_eq!(der(b"\x30\x03abc").unwrap().expose(), b"\x30\x03abc");
        for text in [
            "-----BEGIN PRIVATE KEY-----\nMAN\nhYmM=\n-----END PRIVATE KEY-----\n",
            "Bag Attributes\r\n-----BEGIN PRIVATE KEY-----\r\nMANhYmM=\r\n-----END PRIVATE KEY-----",
        ] {
            assert_eq!(der(text.as_bytes()).unwrap().expose(), b"0\x03abc", "{text}");
        }
        for (text, why) in [
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMANhYmM=\n-----END ENCRYPTED PRIVATE KEY-----\n", "encrypted"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMANhYmM=\n-----END RSA PRIVATE KEY-----\n", "PKCS#8"),
            ("-----BEGIN EC PRIVATE KEY-----\nMANhYmM=\n-----END EC PRIVATE KEY-----\n", "PKCS#8"),
            ("-----BEGIN PRIVATE KEY-----\nMANhYmM=\n", "end"),
            ("-----BEGIN PRIVATE KEY-----\nMANhYm?=\n-----END PRIVATE KEY-----\n", "Base64"),
        ] {
            let error = der(text.as_bytes()).unwrap_err();
            assert!(matches!(&error, Error::InvalidOption(text) if text.contains(why)), "{text}: {error}");
        }
        assert!(der(&[0; MAX_LEN + 1]).is_err());
    }
}
