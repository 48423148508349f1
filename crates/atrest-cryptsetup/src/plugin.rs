//! The functions that libcryptsetup looks up by name.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use atrest::Secret;
use zeroize::Zeroize;

use crate::config;
use crate::describe::describe;
use crate::libcryptsetup::{CryptDevice, Device};
use crate::open::{self, Failure};

// Numbers of errno.h on Linux that libcryptsetup gives a meaning.
const EPERM: c_int = 1;
const ENOENT: c_int = 2;
const EIO: c_int = 5;
const EINVAL: c_int = 22;
const ENOANO: c_int = 55;

/// The longest PIN: the longest passphrase of a vault file.
const MAX_PIN: usize = 8 << 20;

/// Finds the passphrase of a token's keyslot.
///
/// Returns 0, and the passphrase in `buffer` for [`cryptsetup_token_buffer_free`]. Otherwise a negative number of `errno.h`:
/// `ENOENT` if no vault of the configuration is the token's; `ENOANO` if the vault wants a PIN; `EPERM` if the vault or the MAC
/// refuses; `EINVAL` for a configuration that can't be read.
///
/// # Safety
/// As libcryptsetup calls it (`crypt_token_open_func`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryptsetup_token_open(
    device: *mut CryptDevice,
    token: c_int,
    buffer: *mut *mut c_char,
    buffer_len: *mut usize,
    _user: *mut c_void,
) -> c_int {
    // SAFETY: the caller's.
    unsafe { opened(device, token, None, buffer, buffer_len) }
}

/// As [`cryptsetup_token_open`], with a PIN: the passphrase of a vault file, the PIN of a PKCS#11 token, or the authorisation
/// value of a TPM's key.
///
/// # Safety
/// As libcryptsetup calls it (`crypt_token_open_pin_func`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryptsetup_token_open_pin(
    device: *mut CryptDevice,
    token: c_int,
    pin: *const c_char,
    pin_len: usize,
    buffer: *mut *mut c_char,
    buffer_len: *mut usize,
    _user: *mut c_void,
) -> c_int {
    if pin_len > MAX_PIN {
        return -ENOANO;
    }
    let pin = match pin.is_null() || pin_len == 0 {
        true => None,
        // SAFETY: the caller passes `pin_len` bytes.
        false => Some(Secret::copy_from(unsafe { std::slice::from_raw_parts(pin.cast(), pin_len) })),
    };
    // SAFETY: the caller's.
    unsafe { opened(device, token, pin, buffer, buffer_len) }
}

/// # Safety
/// As that of [`cryptsetup_token_open`].
unsafe fn opened(
    device: *mut CryptDevice,
    token: c_int,
    pin: Option<Secret>,
    buffer: *mut *mut c_char,
    buffer_len: *mut usize,
) -> c_int {
    if device.is_null() || buffer.is_null() || buffer_len.is_null() {
        return -EINVAL;
    }
    // SAFETY: it is libcryptsetup's, and not used after this call.
    let device = unsafe { Device::new(device) };
    let found = catch_unwind(AssertUnwindSafe(|| find(device, token, pin.as_ref())));
    match found {
        Ok(Ok(passphrase)) => {
            let bytes: Box<[u8]> = passphrase.expose().into();
            // SAFETY: both are places that the caller gave for these results.
            unsafe {
                buffer_len.write(bytes.len());
                buffer.write(Box::into_raw(bytes).cast());
            }
            0
        }
        Ok(Err(status)) => status,
        Err(_) => {
            device.fail("atrest: the plugin failed; this is a bug");
            -EIO
        }
    }
}

fn find(device: Device, token: c_int, pin: Option<&Secret>) -> Result<Secret, c_int> {
    let fail = |status: c_int, line: &str| {
        device.fail(&format!("atrest: {line}"));
        -status
    };
    let token = u32::try_from(token).map_err(|_| -EINVAL)?;
    let entries = config::read().map_err(|what| fail(EINVAL, &what))?;
    let json = device.json()?;
    let uuid = device.uuid().ok_or(-EINVAL)?;
    open::passphrase(&entries, &json, &uuid, token, pin).map_err(|failure| match failure {
        Failure::NotOurs => -ENOENT,
        Failure::Pin => -ENOANO,
        Failure::Refused(why) => {
            why.iter().for_each(|why| device.fail(&format!("atrest: {why}")));
            -EPERM
        }
    })
}

/// Wipes and frees a buffer that [`cryptsetup_token_open`] returned.
///
/// # Safety
/// As libcryptsetup calls it (`crypt_token_buffer_free_func`): with a buffer of [`cryptsetup_token_open`]'s and its length.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryptsetup_token_buffer_free(buffer: *mut c_void, len: usize) {
    if buffer.is_null() {
        return;
    }
    // SAFETY: it is the box that `opened` gave out, with its length.
    let mut bytes = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(buffer.cast::<u8>(), len)) };
    bytes.zeroize();
}

/// Shows which vault's key a token names, in `cryptsetup luksDump`.
///
/// # Safety
/// As libcryptsetup calls it (`crypt_token_dump_func`).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cryptsetup_token_dump(device: *mut CryptDevice, json: *const c_char) {
    if device.is_null() || json.is_null() {
        return;
    }
    // SAFETY: it is libcryptsetup's, and not used after this call.
    let device = unsafe { Device::new(device) };
    // SAFETY: the caller gives a string.
    let json = unsafe { CStr::from_ptr(json) }.to_bytes();
    // A panic must not go through C. There is no way to report it.
    let _ = catch_unwind(AssertUnwindSafe(|| describe(json).iter().for_each(|line| device.say(line))));
}

/// The version of the plugin.
#[unsafe(no_mangle)]
pub extern "C" fn cryptsetup_token_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
