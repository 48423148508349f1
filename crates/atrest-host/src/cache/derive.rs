//! Keys from keys.

use atrest::Secret;
use hkdf::Hkdf;
use sha2::Sha256;

/// HKDF-SHA-256 (RFC 5869).
pub(super) fn expand(secret: &Secret, salt: &[u8], info: &str, len: usize) -> Secret {
    let mut out = Secret::zeroed(len);
    let salt = if salt.is_empty() { None } else { Some(salt) };
    let hkdf = Hkdf::<Sha256>::new(salt, secret.expose());
    hkdf.expand(info.as_bytes(), out.expose_mut()).expect("it is within HKDF's limit of 8160 bytes");
    out
}
