//! KEY WRAP
//!
//! AES key wrap, KW (RFC 3394) and KWP with padding (RFC 5649), NIST SP 800-38F. A KEK has 16, 24 or 32 bytes. `out`
//! may be the same memory as the input.

use core::ffi::c_void;

use atrest::key::wrap;
use atrest::{Error, Secret};

use crate::failure::{Result, run};
use crate::output::BytesOut;
use crate::status::atrest_status;

/// Wraps `key` by AES-KW. `key` has a multiple of 8 from 16 to 4096 bytes. The output is 8 bytes longer.
///
/// Errors: ATREST_ERR_KEK_LENGTH; ATREST_ERR_WRAP_LENGTH; ATREST_ERR_BUFFER_TOO_SHORT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_aes_kw_wrap(
    kek: *const c_void,
    kek_len: usize,
    key: *const c_void,
    key_len: usize,
    out: *mut c_void,
    out_cap: usize,
    out_len: *mut usize,
) -> atrest_status {
    run(|| apply(wrap::aes_kw_wrap, bytes!(kek, kek_len), bytes!(key, key_len), bytes_out!(out, out_cap, out_len)))
}

/// Unwraps the output of atrest_aes_kw_wrap. The key is 8 bytes shorter.
///
/// Errors: those of atrest_aes_kw_wrap; ATREST_ERR_UNWRAP_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_aes_kw_unwrap(
    kek: *const c_void,
    kek_len: usize,
    wrapped: *const c_void,
    wrapped_len: usize,
    out: *mut c_void,
    out_cap: usize,
    out_len: *mut usize,
) -> atrest_status {
    run(|| {
        let out = bytes_out!(out, out_cap, out_len);
        apply(wrap::aes_kw_unwrap, bytes!(kek, kek_len), bytes!(wrapped, wrapped_len), out)
    })
}

/// Wraps `key` by AES-KWP. `key` has 1 to 4096 bytes. The output is 8 bytes longer, rounded up to a multiple of 8.
///
/// Errors: those of atrest_aes_kw_wrap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_aes_kwp_wrap(
    kek: *const c_void,
    kek_len: usize,
    key: *const c_void,
    key_len: usize,
    out: *mut c_void,
    out_cap: usize,
    out_len: *mut usize,
) -> atrest_status {
    run(|| apply(wrap::aes_kwp_wrap, bytes!(kek, kek_len), bytes!(key, key_len), bytes_out!(out, out_cap, out_len)))
}

/// Unwraps the output of atrest_aes_kwp_wrap.
///
/// Errors: those of atrest_aes_kw_wrap; ATREST_ERR_UNWRAP_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_aes_kwp_unwrap(
    kek: *const c_void,
    kek_len: usize,
    wrapped: *const c_void,
    wrapped_len: usize,
    out: *mut c_void,
    out_cap: usize,
    out_len: *mut usize,
) -> atrest_status {
    run(|| {
        let out = bytes_out!(out, out_cap, out_len);
        apply(wrap::aes_kwp_unwrap, bytes!(kek, kek_len), bytes!(wrapped, wrapped_len), out)
    })
}

type Algorithm = for<'a> fn(kek: &[u8], input: &[u8], out: &'a mut [u8]) -> Result<&'a [u8], Error>;

/// Works in memory that is wiped, so that `out` only gets a successful result, even if buffers overlap.
fn apply(algorithm: Algorithm, kek: &[u8], input: &[u8], out: BytesOut<'_>) -> Result {
    // The longest output: the longest key, padded, with the check value.
    let mut scratch = Secret::zeroed(input.len().min(2 * wrap::MAX_KEY) + 16);
    out.put(algorithm(kek, input, scratch.expose_mut())?)
}
