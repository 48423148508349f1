//! The three libraries with OpenSSL's interface: AWS-LC, OpenSSL 4 built by this program, and the system's OpenSSL 3.
//! They take one sector per call, and a new IV before it.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use super::{Crypt, Direction, Job, Peer, Role, function, load, text};

type Fetch = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> *mut c_void;
type New = unsafe extern "C" fn() -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);
type Init = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void, *const u8, *const u8, c_int) -> c_int;
type Update = unsafe extern "C" fn(*mut c_void, *mut u8, *mut c_int, *const u8, c_int) -> c_int;
type Version = unsafe extern "C" fn(c_int) -> *const c_char;

/// One library's functions and algorithms.
#[derive(Clone, Copy)]
struct Evp {
    new: New,
    free: Free,
    init: Init,
    update: Update,
    aes_128_xts: Option<*const c_void>,
    aes_256_xts: *const c_void,
}

impl Evp {
    /// Fetches the algorithms once, as OpenSSL recommends; every key set-up would otherwise do it again.
    ///
    /// # Safety
    /// The function is the library's `EVP_CIPHER_fetch`.
    unsafe fn fetched(new: New, free: Free, init: Init, update: Update, fetch: Fetch) -> Result<Self, String> {
        // SAFETY: the names are C strings, and null stands for the defaults.
        let [aes_128_xts, aes_256_xts] = [c"AES-128-XTS", c"AES-256-XTS"]
            .map(|name| unsafe { fetch(ptr::null_mut(), name.as_ptr(), ptr::null()) }.cast_const());
        if aes_128_xts.is_null() || aes_256_xts.is_null() {
            return Err("its providers have no AES-XTS".to_owned());
        }
        Ok(Evp { new, free, init, update, aes_128_xts: Some(aes_128_xts), aes_256_xts })
    }

    fn peer(self, name: &str, about: &str) -> Vec<Peer> {
        vec![Peer::new(name, about, Role::Peer, move |job| Some(Box::new(Context::new(self, job)?)))]
    }
}

pub fn aws_lc() -> Result<Vec<Peer>, String> {
    unsafe extern "C" fn new() -> *mut c_void {
        // SAFETY: it takes nothing.
        unsafe { aws_lc_sys::EVP_CIPHER_CTX_new() }.cast()
    }
    unsafe extern "C" fn free(context: *mut c_void) {
        // SAFETY: the caller gives a context, as to AWS-LC's function.
        unsafe { aws_lc_sys::EVP_CIPHER_CTX_free(context.cast()) }
    }
    unsafe extern "C" fn init(
        context: *mut c_void,
        cipher: *const c_void,
        engine: *mut c_void,
        key: *const u8,
        iv: *const u8,
        encrypt: c_int,
    ) -> c_int {
        // SAFETY: the caller gives what AWS-LC's function takes.
        unsafe { aws_lc_sys::EVP_CipherInit_ex(context.cast(), cipher.cast(), engine.cast(), key, iv, encrypt) }
    }
    unsafe extern "C" fn update(
        context: *mut c_void,
        out: *mut u8,
        out_len: *mut c_int,
        input: *const u8,
        input_len: c_int,
    ) -> c_int {
        // SAFETY: the caller gives what AWS-LC's function takes.
        unsafe { aws_lc_sys::EVP_CipherUpdate(context.cast(), out, out_len, input, input_len) }
    }
    // SAFETY: it takes nothing, and what it returns stays.
    let aes_256_xts = unsafe { aws_lc_sys::EVP_aes_256_xts() }.cast();
    let evp = Evp { new, free, init, update, aes_128_xts: None, aes_256_xts };
    // SAFETY: a constant of the library.
    let version = unsafe { text(aws_lc_sys::AWSLC_VERSION_NUMBER_STRING.as_ptr().cast()) };
    Ok(evp.peer("AWS-LC", &format!("AWS-LC {version}, built from aws-lc-sys; it has no AES-128-XTS")))
}

pub fn openssl4() -> Result<Vec<Peer>, String> {
    use openssl4::{
        EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new, EVP_CIPHER_fetch, EVP_CipherInit_ex, EVP_CipherUpdate, OpenSSL_version,
    };

    if let Some(why) = openssl4::MISSING {
        return Err(why.to_owned());
    }
    // SAFETY: the functions are those of OpenSSL; its version is a constant.
    let (evp, version) = unsafe {
        let evp = Evp::fetched(
            EVP_CIPHER_CTX_new,
            EVP_CIPHER_CTX_free,
            EVP_CipherInit_ex,
            EVP_CipherUpdate,
            EVP_CIPHER_fetch,
        )?;
        (evp, text(OpenSSL_version(0)))
    };
    Ok(evp.peer("OpenSSL 4", &format!("{version}, built from openssl-src")))
}

pub fn openssl3() -> Result<Vec<Peer>, String> {
    let library = load("libcrypto.so.3")?;
    // SAFETY: the types above are those of OpenSSL's headers; its version is a constant.
    let (evp, version) = unsafe {
        let evp = Evp::fetched(
            function(library, "EVP_CIPHER_CTX_new")?,
            function(library, "EVP_CIPHER_CTX_free")?,
            function(library, "EVP_CipherInit_ex")?,
            function(library, "EVP_CipherUpdate")?,
            function(library, "EVP_CIPHER_fetch")?,
        )?;
        let version: Version = function(library, "OpenSSL_version")?;
        (evp, text(version(0)))
    };
    Ok(evp.peer("OpenSSL 3", &format!("{version}, the system's")))
}

struct Context {
    evp: Evp,
    context: *mut c_void,
    sector: usize,
}

// SAFETY: a context belongs to one thread at a time, to no particular one.
unsafe impl Send for Context {}

impl Context {
    fn new(evp: Evp, job: &Job) -> Option<Self> {
        let cipher = if job.key.len() == 32 { evp.aes_128_xts? } else { evp.aes_256_xts };
        let encrypt = c_int::from(job.direction == Direction::Encrypt);
        // SAFETY: the context is new, the cipher is this library's, and the key is as long as the cipher wants.
        let context = unsafe {
            let context = (evp.new)();
            let done = (evp.init)(context, cipher, ptr::null_mut(), job.key.as_ptr(), ptr::null(), encrypt);
            assert_eq!(done, 1);
            context
        };
        Some(Context { evp, context, sector: job.sector })
    }
}

impl Crypt for Context {
    fn crypt(&mut self, first: u64, sectors: &mut [u8]) {
        for (number, sector) in (first..).zip(sectors.chunks_exact_mut(self.sector)) {
            let iv = u128::from(number).to_le_bytes();
            let mut done = 0;
            // SAFETY: the context lives as long as `self` and keeps its cipher, key and direction; the IV is 16 bytes;
            // XTS writes as many bytes as it reads, and may do so in place.
            let fine = unsafe {
                (self.evp.init)(self.context, ptr::null(), ptr::null_mut(), ptr::null(), iv.as_ptr(), -1) == 1
                    && (self.evp.update)(
                        self.context,
                        sector.as_mut_ptr(),
                        &mut done,
                        sector.as_ptr(),
                        self.sector as c_int,
                    ) == 1
            };
            assert!(fine && done as usize == self.sector);
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is not used again.
        unsafe { (self.evp.free)(self.context) }
    }
}
