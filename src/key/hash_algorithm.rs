//! Hashes that LUKS headers name, and PBKDF2 with HMAC of each (RFC 8018, 5.2).

use std::time::Duration;

use hmac::Hmac;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// A hash that LUKS headers name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// SHA-1. For reading existing headers; nothing new uses it.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    const ALL: [HashAlgorithm; 3] = [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha512];

    /// The name, as headers have it.
    pub fn name(self) -> &'static str {
        self.names()[0]
    }

    /// The hash of this name, if it is known. Case doesn't count. OpenSSL's other names are taken too, because other
    /// programs copy into a header the name that their user typed: `SHA512`, `sha-256`, `sha2-256`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.names().iter().any(|known| known.eq_ignore_ascii_case(name)))
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            HashAlgorithm::Sha1 => &["sha1", "sha-1"],
            HashAlgorithm::Sha256 => &["sha256", "sha-256", "sha2-256"],
            HashAlgorithm::Sha512 => &["sha512", "sha-512", "sha2-512"],
        }
    }

    /// The length of the hash in bytes.
    pub fn output_len(self) -> usize {
        match self {
            HashAlgorithm::Sha1 => 20,
            HashAlgorithm::Sha256 => 32,
            HashAlgorithm::Sha512 => 64,
        }
    }

    /// Hashes `bytes` into `out`, which has the hash's length.
    pub(crate) fn digest_to(self, bytes: &[u8], out: &mut [u8]) {
        match self {
            HashAlgorithm::Sha1 => out.copy_from_slice(&Sha1::digest(bytes)),
            HashAlgorithm::Sha256 => out.copy_from_slice(&Sha256::digest(bytes)),
            HashAlgorithm::Sha512 => out.copy_from_slice(&Sha512::digest(bytes)),
        }
    }

    /// The time PBKDF2 takes with this hash; see [`Kdf::cost`].
    pub(crate) fn pbkdf2_cost(self, iterations: u32, out_len: usize) -> Duration {
        let nanoseconds = match self {
            HashAlgorithm::Sha1 | HashAlgorithm::Sha256 => 150,
            HashAlgorithm::Sha512 => 600,
        };
        let blocks = out_len.div_ceil(self.output_len()) as u64;
        Duration::from_nanos((u64::from(iterations) * nanoseconds).saturating_mul(blocks))
    }

    /// PBKDF2 with HMAC of this hash.
    pub(crate) fn pbkdf2(self, passphrase: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
        match self {
            HashAlgorithm::Sha1 => pbkdf2::pbkdf2::<Hmac<Sha1>>(passphrase, salt, iterations, out),
            HashAlgorithm::Sha256 => pbkdf2::pbkdf2::<Hmac<Sha256>>(passphrase, salt, iterations, out),
            HashAlgorithm::Sha512 => pbkdf2::pbkdf2::<Hmac<Sha512>>(passphrase, salt, iterations, out),
        }
        .expect("HMAC takes a key of any length");
    }
}
