//! AES key wrap: KW (RFC 3394, SP 800-38F 6.2) and KWP, with padding (RFC 5649, SP 800-38F 6.3).
//!
//! These functions need neither `std` nor an allocator.
//!
//! ```
//! use atrest::key::wrap;
//!
//! let (kek, key) = ([7u8; 32], [9u8; 64]);
//! let mut wrapped = [0; 72];
//! wrap::aes_kw_wrap(&kek, &key, &mut wrapped)?;
//! let mut unwrapped = [0; 64];
//! assert_eq!(wrap::aes_kw_unwrap(&kek, &wrapped, &mut unwrapped)?, key);
//! # Ok::<(), atrest::Error>(())
//! ```

use super::aes_kw::{kw_unwrap, kw_wrap, kwp_unwrap, kwp_wrap};
use super::self_test;
#[cfg(doc)]
use crate::Error;
use crate::Result;
use crate::approval::Approval;

pub use super::aes_kw::MAX_KEY;

/// How a vault wraps a DEK. The names are those of JOSE (RFC 7518) and of key vaults that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WrapAlgorithm {
    /// `A256KW`: AES-256 key wrap, RFC 3394.
    Aes256Kw = 1,
    /// `A256KWP`: AES-256 key wrap with padding, RFC 5649.
    Aes256Kwp = 2,
    /// `RSA-OAEP-256`: RSAES-OAEP with SHA-256 and MGF1 with SHA-256, RFC 8017.
    RsaOaep256 = 3,
    /// `RSA-OAEP`: RSAES-OAEP with SHA-1, RFC 8017. For old records.
    RsaOaep = 4,
    /// `RSA1_5`: RSAES-PKCS1-v1_5, RFC 8017. For old records of vaults outside this crate.
    Rsa15 = 5,
    /// `opaque`: known only to the vault. Its wrapped keys describe themselves.
    Opaque = 6,
    /// `RSA-OAEP-256+HS256`: `RSA-OAEP-256`, followed by an HMAC with SHA-256 under a key that only the vault has. Used
    /// by vault files.
    RsaOaep256Hs256 = 7,
}

impl WrapAlgorithm {
    const ALL: [(WrapAlgorithm, &'static str); 7] = [
        (WrapAlgorithm::Aes256Kw, "A256KW"),
        (WrapAlgorithm::Aes256Kwp, "A256KWP"),
        (WrapAlgorithm::RsaOaep256, "RSA-OAEP-256"),
        (WrapAlgorithm::RsaOaep, "RSA-OAEP"),
        (WrapAlgorithm::Rsa15, "RSA1_5"),
        (WrapAlgorithm::Opaque, "opaque"),
        (WrapAlgorithm::RsaOaep256Hs256, "RSA-OAEP-256+HS256"),
    ];

    /// The name, as LUKS2 tokens carry it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(algorithm, _)| *algorithm == self).map_or("", |(_, name)| name)
    }

    /// The number, as envelopes and the C ABI carry it.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Whether it is [approved](crate::approval).
    pub fn approval(self) -> Approval {
        match self {
            WrapAlgorithm::Aes256Kw
            | WrapAlgorithm::Aes256Kwp
            | WrapAlgorithm::RsaOaep256
            | WrapAlgorithm::RsaOaep256Hs256 => Approval::Approved,
            WrapAlgorithm::RsaOaep => Approval::NotApproved {
                algorithm: "RSA-OAEP with SHA-1",
                reason: "NIST ends every use of SHA-1 by 2030",
            },
            WrapAlgorithm::Rsa15 => {
                Approval::NotApproved { algorithm: "RSA1_5", reason: "SP 800-131A Rev. 2, 6, disallows its padding" }
            }
            WrapAlgorithm::Opaque => Approval::Elsewhere,
        }
    }

    /// The algorithm of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(algorithm, _)| *algorithm)
    }

    /// The algorithm of this number, if there is one.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().map(|(algorithm, _)| *algorithm).find(|algorithm| algorithm.code() == code)
    }
}

/// Wraps `key` under `kek` by AES-KW and returns the wrapped bytes, the first `key.len() + 8` of `out`.
///
/// `kek` has 16, 24 or 32 bytes; `key` a multiple of 8 from 16 to [`MAX_KEY`] bytes (RFC 3394, 2: n is at least 2).
///
/// # Errors
/// [`Error::KekLength`]; [`Error::WrapLength`]; [`Error::BufferTooShort`]. `out` is untouched then.
pub fn aes_kw_wrap<'a>(kek: &[u8], key: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    self_test::kw()?;
    kw_wrap(kek, key, out)
}

/// Unwraps the output of [`aes_kw_wrap`] and returns the key, the first `wrapped.len() - 8` bytes of `out`.
///
/// # Errors
/// [`Error::KekLength`]; [`Error::WrapLength`]; [`Error::BufferTooShort`]; [`Error::UnwrapFailed`] if the integrity
/// check fails: then `out` holds no byte of a key.
pub fn aes_kw_unwrap<'a>(kek: &[u8], wrapped: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    self_test::kw()?;
    kw_unwrap(kek, wrapped, out)
}

/// Wraps `key` under `kek` by AES-KWP and returns the wrapped bytes: 8 more than `key`, rounded up to a multiple of 8.
///
/// `kek` has 16, 24 or 32 bytes; `key` has 1 to [`MAX_KEY`] bytes.
///
/// # Errors
/// [`Error::KekLength`]; [`Error::WrapLength`]; [`Error::BufferTooShort`]. `out` is untouched then.
pub fn aes_kwp_wrap<'a>(kek: &[u8], key: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    self_test::kwp()?;
    kwp_wrap(kek, key, out)
}

/// Unwraps the output of [`aes_kwp_wrap`] and returns the key. `out` needs room for `wrapped.len() - 8` bytes: the key
/// and its padding.
///
/// # Errors
/// [`Error::KekLength`]; [`Error::WrapLength`]; [`Error::BufferTooShort`]; [`Error::UnwrapFailed`] if the integrity
/// check fails: then `out` holds no byte of a key.
pub fn aes_kwp_unwrap<'a>(kek: &[u8], wrapped: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    self_test::kwp()?;
    kwp_unwrap(kek, wrapped, out)
}
