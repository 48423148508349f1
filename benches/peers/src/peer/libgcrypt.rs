//! The system's libgcrypt. It takes one sector per call, and counts sectors itself.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;

use super::{Crypt, Direction, Job, Peer, Role, function, load, text};

type CheckVersion = unsafe extern "C" fn(*const c_char) -> *const c_char;
type Control = unsafe extern "C" fn(c_uint, ...) -> c_uint;
type Open = unsafe extern "C" fn(*mut *mut c_void, c_int, c_int, c_uint) -> c_uint;
type Close = unsafe extern "C" fn(*mut c_void);
type Set = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_uint;
type Run = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, *const c_void, usize) -> c_uint;

// From gcrypt.h.
const INITIALIZATION_FINISHED: c_uint = 38;
const AES128: c_int = 7;
const AES256: c_int = 9;
const MODE_XTS: c_int = 13;

#[derive(Clone, Copy)]
struct Functions {
    open: Open,
    close: Close,
    set_key: Set,
    set_iv: Set,
    encrypt: Run,
    decrypt: Run,
}

pub fn find() -> Result<Vec<Peer>, String> {
    let library = load("libgcrypt.so.20")?;
    // SAFETY: the types above are those of gcrypt.h, and the library is set up as its manual wants.
    let (functions, version) = unsafe {
        let check_version: CheckVersion = function(library, "gcry_check_version")?;
        let control: Control = function(library, "gcry_control")?;
        let version = text(check_version(ptr::null()));
        control(INITIALIZATION_FINISHED, 0 as c_int);
        let functions = Functions {
            open: function(library, "gcry_cipher_open")?,
            close: function(library, "gcry_cipher_close")?,
            set_key: function(library, "gcry_cipher_setkey")?,
            set_iv: function(library, "gcry_cipher_setiv")?,
            encrypt: function(library, "gcry_cipher_encrypt")?,
            decrypt: function(library, "gcry_cipher_decrypt")?,
        };
        (functions, version)
    };
    let make = move |job: &Job| Some(Box::new(Handle::new(functions, job)) as Box<dyn Crypt>);
    Ok(vec![Peer::new("libgcrypt", &format!("libgcrypt {version}, the system's"), Role::Peer, make)])
}

struct Handle {
    functions: Functions,
    run: Run,
    handle: *mut c_void,
    sector: usize,
}

// SAFETY: a handle belongs to one thread at a time, to no particular one.
unsafe impl Send for Handle {}

impl Handle {
    fn new(functions: Functions, job: &Job) -> Self {
        let algorithm = if job.key.len() == 32 { AES128 } else { AES256 };
        let mut handle = ptr::null_mut();
        // SAFETY: the output is writable, and the key has the length given.
        unsafe {
            assert_eq!((functions.open)(&mut handle, algorithm, MODE_XTS, 0), 0);
            assert_eq!((functions.set_key)(handle, job.key.as_ptr().cast(), job.key.len()), 0);
        }
        let run = if job.direction == Direction::Encrypt { functions.encrypt } else { functions.decrypt };
        Handle { functions, run, handle, sector: job.sector }
    }
}

impl Crypt for Handle {
    fn crypt(&mut self, first: u64, sectors: &mut [u8]) {
        let iv = u128::from(first).to_le_bytes();
        // SAFETY: the handle lives as long as `self`, and the IV has the length given.
        assert_eq!(unsafe { (self.functions.set_iv)(self.handle, iv.as_ptr().cast(), iv.len()) }, 0);
        for sector in sectors.chunks_exact_mut(self.sector) {
            // SAFETY: the handle lives as long as `self`; without an input it works in place on the borrowed sector.
            let error = unsafe { (self.run)(self.handle, sector.as_mut_ptr().cast(), sector.len(), ptr::null(), 0) };
            assert_eq!(error, 0);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is not used again.
        unsafe { (self.functions.close)(self.handle) }
    }
}
