//! MESSAGES

use core::ffi::c_char;

use crate::failure::{self, run};
use crate::status::atrest_status;

/// What went wrong in the last call of this thread that failed, in English, without secrets. Never NULL, and empty
/// before the first failure. The text is valid until the next call of this thread that fails, or the thread's end.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_last_error_message() -> *const c_char {
    failure::last_message()
}

/// What a callback says of its own failure: it calls this before it returns anything but ATREST_OK, on the thread that
/// called it. The text goes to the message of the call that fails by it; put no secrets into it. The text is copied; bytes
/// that aren't UTF-8 are replaced. Says ATREST_OK, or ATREST_ERR_NULL_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_set_callback_message(message: *const c_char) -> atrest_status {
    run(|| {
        failure::set_callback_message(&String::from_utf8_lossy(c_bytes!(message)));
        Ok(())
    })
}
