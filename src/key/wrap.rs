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

use aes_kw::{IV_LEN, KeyInit, KwAes128, KwAes192, KwAes256, KwpAes128, KwpAes192, KwpAes256};
use zeroize::Zeroize;

use super::self_test;
use crate::approval::Approval;
use crate::{Error, Result};

/// The longest key that is wrapped or unwrapped here, in bytes.
pub const MAX_KEY: usize = 4096;

/// How a vault wraps a DEK. The names are those of JOSE (RFC 7518) and of key vaults that follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WrapAlgorithm {
    /// `A256KW`: AES-256 key wrap, RFC 3394.
    Aes256Kw,
    /// `A256KWP`: AES-256 key wrap with padding, RFC 5649.
    Aes256Kwp,
    /// `RSA-OAEP-256`: RSAES-OAEP with SHA-256 and MGF1 with SHA-256, RFC 8017.
    RsaOaep256,
    /// `RSA-OAEP`: RSAES-OAEP with SHA-1, RFC 8017. For old records.
    RsaOaep,
    /// `RSA1_5`: RSAES-PKCS1-v1_5, RFC 8017. For old records of vaults outside this crate.
    Rsa15,
    /// `opaque`: known only to the vault, whose wrapped keys describe themselves.
    Opaque,
    /// `RSA-OAEP-256+HS256`: as `RSA-OAEP-256`, and behind it an HMAC with SHA-256 under a key that only the vault has. Of
    /// vault files.
    RsaOaep256Hs256,
}

impl WrapAlgorithm {
    const ALL: [(WrapAlgorithm, u16, &'static str); 7] = [
        (WrapAlgorithm::Aes256Kw, 1, "A256KW"),
        (WrapAlgorithm::Aes256Kwp, 2, "A256KWP"),
        (WrapAlgorithm::RsaOaep256, 3, "RSA-OAEP-256"),
        (WrapAlgorithm::RsaOaep, 4, "RSA-OAEP"),
        (WrapAlgorithm::Rsa15, 5, "RSA1_5"),
        (WrapAlgorithm::Opaque, 6, "opaque"),
        (WrapAlgorithm::RsaOaep256Hs256, 7, "RSA-OAEP-256+HS256"),
    ];

    /// The name, as LUKS2 tokens carry it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(algorithm, ..)| *algorithm == self).map_or("", |(.., name)| name)
    }

    /// The number, as envelopes and the C ABI carry it.
    pub fn code(self) -> u16 {
        Self::ALL.iter().find(|(algorithm, ..)| *algorithm == self).map_or(0, |(_, code, _)| *code)
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
        Self::ALL.iter().find(|(.., n)| *n == name).map(|(algorithm, ..)| *algorithm)
    }

    /// The algorithm of this number, if there is one.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().find(|(_, c, _)| *c == code).map(|(algorithm, ..)| *algorithm)
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

pub(super) fn kw_wrap<'a>(kek: &[u8], key: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    if !(2 * IV_LEN..=MAX_KEY).contains(&key.len()) || !key.len().is_multiple_of(IV_LEN) {
        return Err(Error::WrapLength { len: key.len() });
    }
    let out = prefix(out, key.len() + IV_LEN)?;
    match kek.len() {
        16 => expand::<KwAes128>(kek)?.wrap_key(key, out),
        24 => expand::<KwAes192>(kek)?.wrap_key(key, out),
        _ => expand::<KwAes256>(kek)?.wrap_key(key, out),
    }
    .map_err(|_| Error::WrapLength { len: key.len() })
}

/// Unwraps what [`aes_kw_wrap`] made and returns the key, the first `wrapped.len() - 8` bytes of `out`.
///
/// # Errors
/// [`Error::KekLength`]; [`Error::WrapLength`]; [`Error::BufferTooShort`]; [`Error::UnwrapFailed`] when the integrity
/// check fails: no byte of a key is in `out` then.
pub fn aes_kw_unwrap<'a>(kek: &[u8], wrapped: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    self_test::kw()?;
    kw_unwrap(kek, wrapped, out)
}

pub(super) fn kw_unwrap<'a>(kek: &[u8], wrapped: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    if !(3 * IV_LEN..=MAX_KEY + IV_LEN).contains(&wrapped.len()) || !wrapped.len().is_multiple_of(IV_LEN) {
        return Err(Error::WrapLength { len: wrapped.len() });
    }
    let out = prefix(out, wrapped.len() - IV_LEN)?;
    match kek.len() {
        16 => expand::<KwAes128>(kek)?.unwrap_key(wrapped, out),
        24 => expand::<KwAes192>(kek)?.unwrap_key(wrapped, out),
        _ => expand::<KwAes256>(kek)?.unwrap_key(wrapped, out),
    }
    .map_err(|_| Error::UnwrapFailed)
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

pub(super) fn kwp_wrap<'a>(kek: &[u8], key: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    if !(1..=MAX_KEY).contains(&key.len()) {
        return Err(Error::WrapLength { len: key.len() });
    }
    if !matches!(kek.len(), 16 | 24 | 32) {
        return Err(Error::KekLength { len: kek.len() });
    }
    let out = prefix(out, key.len().next_multiple_of(IV_LEN) + IV_LEN)?;
    // The padding must be zero, and the crate leaves what it finds there.
    out.fill(0);
    match kek.len() {
        16 => expand::<KwpAes128>(kek)?.wrap_key(key, out),
        24 => expand::<KwpAes192>(kek)?.wrap_key(key, out),
        _ => expand::<KwpAes256>(kek)?.wrap_key(key, out),
    }
    .map_err(|_| Error::WrapLength { len: key.len() })
}

/// Unwraps what [`aes_kwp_wrap`] made and returns the key. `out` needs room for `wrapped.len() - 8` bytes: the key and
/// its padding.
///
/// # Errors
/// [`Error::KekLength`]; [`Error::WrapLength`]; [`Error::BufferTooShort`]; [`Error::UnwrapFailed`] when the integrity
/// check fails: no byte of a key is in `out` then.
pub fn aes_kwp_unwrap<'a>(kek: &[u8], wrapped: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    self_test::kwp()?;
    kwp_unwrap(kek, wrapped, out)
}

pub(super) fn kwp_unwrap<'a>(kek: &[u8], wrapped: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    if !(2 * IV_LEN..=MAX_KEY + IV_LEN).contains(&wrapped.len()) || !wrapped.len().is_multiple_of(IV_LEN) {
        return Err(Error::WrapLength { len: wrapped.len() });
    }
    let out = prefix(out, wrapped.len() - IV_LEN)?;
    let len = match kek.len() {
        16 => expand::<KwpAes128>(kek)?.unwrap_key(wrapped, out).map(<[u8]>::len),
        24 => expand::<KwpAes192>(kek)?.unwrap_key(wrapped, out).map(<[u8]>::len),
        _ => expand::<KwpAes256>(kek)?.unwrap_key(wrapped, out).map(<[u8]>::len),
    };
    match len {
        Ok(len) => Ok(&out[..len]),
        Err(_) => {
            out.zeroize();
            Err(Error::UnwrapFailed)
        }
    }
}

fn prefix(out: &mut [u8], needed: usize) -> Result<&mut [u8]> {
    out.get_mut(..needed).ok_or(Error::BufferTooShort { needed })
}

fn expand<C: KeyInit>(kek: &[u8]) -> Result<C> {
    C::new_from_slice(kek).map_err(|_| Error::KekLength { len: kek.len() })
}
