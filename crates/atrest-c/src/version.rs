//! VERSION

use core::ffi::{CStr, c_char};

/// The version of this header.
pub const ATREST_VERSION_MAJOR: u32 = 0;
/// See ATREST_VERSION_MAJOR.
pub const ATREST_VERSION_MINOR: u32 = 1;
/// See ATREST_VERSION_MAJOR.
pub const ATREST_VERSION_PATCH: u32 = 0;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no zero byte"),
};

const fn number(text: &str) -> u32 {
    match u32::from_str_radix(text, 10) {
        Ok(number) => number,
        Err(_) => panic!("a version has three numbers"),
    }
}

const _: () = assert!(ATREST_VERSION_MAJOR == number(env!("CARGO_PKG_VERSION_MAJOR")));
const _: () = assert!(ATREST_VERSION_MINOR == number(env!("CARGO_PKG_VERSION_MINOR")));
const _: () = assert!(ATREST_VERSION_PATCH == number(env!("CARGO_PKG_VERSION_PATCH")));

/// The version of the running library, such as "0.1.0". The text lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_version() -> *const c_char {
    VERSION.as_ptr()
}
