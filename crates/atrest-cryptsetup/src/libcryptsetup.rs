//! The functions of libcryptsetup 2.4 and newer that the plugin calls (`libcryptsetup.h`).

use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::ptr;

/// `struct crypt_device`, which is opaque to the plugin.
#[repr(C)]
pub struct CryptDevice {
    opaque: [u8; 0],
    // It is neither moved nor used by another thread.
    marker: PhantomData<(*mut u8, std::marker::PhantomPinned)>,
}

const LOG_NORMAL: c_int = 0;
const LOG_ERROR: c_int = 1;

unsafe extern "C" {
    fn crypt_dump_json(device: *mut CryptDevice, json: *mut *const c_char, flags: u32) -> c_int;
    fn crypt_get_uuid(device: *mut CryptDevice) -> *const c_char;
    fn crypt_log(device: *mut CryptDevice, level: c_int, message: *const c_char);
}

/// A device during a call of libcryptsetup's.
#[derive(Clone, Copy)]
pub struct Device(*mut CryptDevice);

impl Device {
    /// # Safety
    /// `device` is the pointer that libcryptsetup gave to a function of the plugin, and the value is used in that call only.
    pub unsafe fn new(device: *mut CryptDevice) -> Self {
        Device(device)
    }

    /// The JSON of the header that libcryptsetup has in memory and continues with.
    ///
    /// # Errors
    /// A negative number of `errno.h`.
    pub fn json(&self) -> Result<Vec<u8>, c_int> {
        let mut json = ptr::null();
        // SAFETY: the device is libcryptsetup's own, see `new`, and `json` is a place for a pointer.
        let status = unsafe { crypt_dump_json(self.0, &raw mut json, 0) };
        if status < 0 || json.is_null() {
            return Err(status.min(-1));
        }
        // SAFETY: it is a string of the device's, which lives until the next call of `crypt_dump_json`.
        Ok(unsafe { CStr::from_ptr(json) }.to_bytes().to_vec())
    }

    /// The UUID of the header.
    pub fn uuid(&self) -> Option<String> {
        // SAFETY: the device is libcryptsetup's own, see `new`.
        let uuid = unsafe { crypt_get_uuid(self.0) };
        // SAFETY: it is null or a string of the device's.
        let uuid = (!uuid.is_null()).then(|| unsafe { CStr::from_ptr(uuid) })?;
        Some(uuid.to_str().ok()?.to_owned())
    }

    /// Shows a line to the user.
    pub fn say(&self, line: &str) {
        self.log(LOG_NORMAL, line);
    }

    /// Shows an error to the user.
    pub fn fail(&self, line: &str) {
        self.log(LOG_ERROR, line);
    }

    fn log(&self, level: c_int, line: &str) {
        let mut line = line.replace('\0', " ");
        line.push('\n');
        let Ok(line) = CString::new(line) else { return };
        // SAFETY: the device is libcryptsetup's own, see `new`, and the line is a string.
        unsafe { crypt_log(self.0, level, line.as_ptr()) };
    }
}
