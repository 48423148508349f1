//! The hashes and encodings of signatures.

use std::io;

use atrest::{Secret, key};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

/// HMAC-SHA-256 (RFC 2104). The MAC is a secret, since AWS derives its signing keys so.
///
/// # Errors
/// One that holds [`atrest::Error::SelfTest`]: this process computes wrongly.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> io::Result<Secret> {
    key::HmacSha256::new(key).and_then(|hmac| hmac.derive(&[message])).map_err(io::Error::other)
}

/// SHA-256 (FIPS 180-4).
///
/// # Errors
/// As [`hmac_sha256`].
pub fn sha256(message: &[u8]) -> io::Result<[u8; 32]> {
    key::sha256(&[message]).map_err(io::Error::other)
}

/// Hexadecimal digits in lower case.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).expect("below 16");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// Decodes base64 with padding. `None` if it isn't that.
pub fn base64_decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    decoded::<Base64>(text.trim())
}

/// Base64 for URLs, without padding (RFC 4648, section 5), as JOSE has it (RFC 7515, section 2).
pub fn base64url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// Decodes base64 for URLs, without padding. `None` if it isn't that.
pub fn base64url_decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    decoded::<Base64UrlUnpadded>(text)
}

/// Not by `decode_vec`: it doesn't wipe the decoded bytes if a later character is invalid.
fn decoded<E: Encoding>(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; text.len().div_ceil(4) * 3]);
    let len = E::decode(text, &mut bytes).ok()?.len();
    bytes.truncate(len);
    Some(bytes)
}

/// CRC-32C, by Castagnoli's polynomial (RFC 3720, section 12.1). It is slow, and for short texts.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4.
    #[test]
    fn crc_32c_is_that_of_iscsi() {
        let rising: Vec<u8> = (0..32).collect();
        for (bytes, crc) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(crc32c(bytes), crc);
        }
    }

    #[test]
    fn base64_for_urls_has_no_padding() {
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        assert_eq!(base64url_decode("-_8").as_deref().map(Vec::as_slice), Some(&[0xfb, 0xff][..]));
        for bad in ["-_8=", "+/8", "-_9", "-"] {
            assert!(base64url_decode(bad).is_none(), "{bad}");
        }
    }
}
