//! Plain AES-KW and AES-KWP, without the self-tests that run before their first use.

use aes_kw::{IV_LEN, KeyInit, KwAes128, KwAes192, KwAes256, KwpAes128, KwpAes192, KwpAes256};
use zeroize::Zeroize;

use crate::{Error, Result};

/// The longest key that is wrapped or unwrapped here, in bytes.
pub const MAX_KEY: usize = 4096;

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

pub(super) fn kwp_wrap<'a>(kek: &[u8], key: &[u8], out: &'a mut [u8]) -> Result<&'a [u8]> {
    if !(1..=MAX_KEY).contains(&key.len()) {
        return Err(Error::WrapLength { len: key.len() });
    }
    if !matches!(kek.len(), 16 | 24 | 32) {
        return Err(Error::KekLength { len: kek.len() });
    }
    let out = prefix(out, key.len().next_multiple_of(IV_LEN) + IV_LEN)?;
    // The padding must be zero, and the crate doesn't zero it.
    out.fill(0);
    match kek.len() {
        16 => expand::<KwpAes128>(kek)?.wrap_key(key, out),
        24 => expand::<KwpAes192>(kek)?.wrap_key(key, out),
        _ => expand::<KwpAes256>(kek)?.wrap_key(key, out),
    }
    .map_err(|_| Error::WrapLength { len: key.len() })
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
