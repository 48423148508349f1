//! Arguments and results of callbacks.

use core::ffi::{CStr, c_char, c_void};
use std::ffi::CString;

use atrest::{Error, KeyRefusal};

use crate::failure::{CallbackFailed, Failure, Result, refusal_status};
use crate::status::atrest_status;

/// The `user` pointer that C passes to its own callbacks.
pub(crate) struct User(pub(crate) *mut c_void);

// SAFETY: the library only passes it on, and the header's contract (CALLBACKS) lets any thread do so.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// Calls a callback with a text, and returns its result.
pub(crate) fn with_text(text: &str, each: impl FnOnce(*const c_char) -> atrest_status) -> Result {
    let text = c_text(text);
    CallbackFailed::check(each(text.as_ptr()))
}

/// A text for C. A text from JSON may contain a zero byte.
pub(crate) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// A text for a member of a struct.
pub(crate) fn filled<const N: usize>(text: &str, member: &str) -> Result<[c_char; N]> {
    if text.len() >= N {
        return Err(Failure::too_short(member, text.len() + 1));
    }
    let mut filled = [0; N];
    for (to, from) in filled.iter_mut().zip(text.bytes()) {
        *to = from as c_char;
    }
    Ok(filled)
}

/// The text that a callback wrote into a member of a struct, if it has an end and is UTF-8.
pub(crate) fn text_of<const N: usize>(member: &[c_char; N]) -> Option<String> {
    let bytes = member.map(|byte| byte as u8);
    CStr::from_bytes_until_nul(&bytes).ok()?.to_str().ok().map(String::from)
}

/// The meaning of a vault callback's failure: the key is revoked, or an outage.
pub(crate) fn vault_failed(
    what: String,
    identity: &str,
    operation: &str,
    key: String,
    failed: CallbackFailed,
) -> Error {
    let denied = KeyRefusal::AccessDenied { identity: identity.into(), operation: operation.into() };
    let refusals = [
        KeyRefusal::Missing,
        KeyRefusal::Disabled,
        KeyRefusal::Deleted,
        KeyRefusal::Expired,
        KeyRefusal::NotYetValid,
        denied,
    ];
    match refusals.into_iter().find(|reason| refusal_status(reason) == failed.status()) {
        Some(reason) => Error::KeyRefused { key, reason },
        None => Error::Io { what, source: failed.into_io() },
    }
}
