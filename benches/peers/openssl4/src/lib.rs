//! The few functions of OpenSSL 4 that the comparison calls.
//!
//! OpenSSL is linked statically, and the program exports none of its symbols. So a libcrypto loaded at run time uses
//! its own.

use std::ffi::{c_char, c_int, c_uchar, c_ulong, c_void};

/// The reason why OpenSSL 4 could not be built, if it could not.
pub const MISSING: Option<&str> = option_env!("OPENSSL4_MISSING");

macro_rules! functions {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        #[cfg(openssl4)]
        #[allow(non_snake_case)]
        unsafe extern "C" {
            $($(#[$doc])* pub fn $name($($arg: $type),*) $(-> $result)?;)*
        }
        $(
            #[cfg(not(openssl4))]
            #[allow(non_snake_case)]
            $(#[$doc])*
            /// # Safety
            /// None: it panics.
            pub unsafe extern "C" fn $name($(_: $type),*) $(-> $result)? {
                panic!("OpenSSL 4 is missing")
            }
        )*
    };
}

functions! {
    /// The name and the version of the library, for `what` = 0.
    fn OpenSSL_version(what: c_int) -> *const c_char;
    /// An algorithm by its name.
    fn EVP_CIPHER_fetch(library: *mut c_void, name: *const c_char, properties: *const c_char) -> *mut c_void;
    /// A new context.
    fn EVP_CIPHER_CTX_new() -> *mut c_void;
    /// Frees a context.
    fn EVP_CIPHER_CTX_free(context: *mut c_void);
    /// Sets the algorithm, the key and the IV of a context. A null argument changes nothing.
    fn EVP_CipherInit_ex(
        context: *mut c_void, cipher: *const c_void, engine: *mut c_void, key: *const c_uchar, iv: *const c_uchar,
        encrypt: c_int
    ) -> c_int;
    /// Encrypts or decrypts.
    fn EVP_CipherUpdate(
        context: *mut c_void, out: *mut c_uchar, out_len: *mut c_int, input: *const c_uchar, input_len: c_int
    ) -> c_int;
    /// The newest error of this thread.
    fn ERR_peek_last_error() -> c_ulong;
}
