//! `atrest` through its C ABI, `libatrest.so`: the one of this checkout, and an earlier one to compare it with.

use std::ffi::c_void;
use std::path::Path;
use std::ptr;

use super::{Crypt, Direction, Job, Peer, Role, function, load};

type FromKey = unsafe extern "C" fn(*const c_void, usize, u32, u32, *mut *mut c_void) -> u32;
type Free = unsafe extern "C" fn(*mut c_void);
type Run = unsafe extern "C" fn(*const c_void, u64, *mut c_void, usize) -> u32;

const OK: u32 = 0;
const UNIT_SECTOR: u32 = 2;

#[derive(Clone, Copy)]
struct Functions {
    from_key: FromKey,
    free: Free,
    encrypt: Run,
    decrypt: Run,
}

/// The library that was built with this benchmark.
pub fn find() -> Result<Vec<Peer>, String> {
    let file = option_env!("C_ABI").ok_or(option_env!("C_ABI_MISSING").unwrap_or("not built"))?;
    Ok(vec![peer(file, "atrest, C ABI", "the default kernel, through libatrest", Role::CAbi)?])
}

/// The library of an earlier build.
pub fn baseline(file: &Path) -> Result<Peer, String> {
    let name = file.to_str().ok_or("the path is not UTF-8")?;
    peer(name, "atrest, baseline", "an earlier build, through its C ABI", Role::Baseline)
}

fn peer(file: &str, name: &str, about: &str, role: Role) -> Result<Peer, String> {
    let library = load(file)?;
    // SAFETY: the types above are those of include/atrest.h.
    let functions = unsafe {
        Functions {
            from_key: function(library, "atrest_sector_cipher_from_key")?,
            free: function(library, "atrest_sector_cipher_free")?,
            encrypt: function(library, "atrest_sector_cipher_encrypt")?,
            decrypt: function(library, "atrest_sector_cipher_decrypt")?,
        }
    };
    let make = move |job: &Job| Some(Box::new(Cipher::new(functions, job)) as Box<dyn Crypt>);
    Ok(Peer::new(name, about, role, make))
}

struct Cipher {
    run: Run,
    free: Free,
    cipher: *mut c_void,
}

// SAFETY: atrest.h lets any thread use a cipher.
unsafe impl Send for Cipher {}

impl Cipher {
    fn new(functions: Functions, job: &Job) -> Self {
        let Functions { from_key, free, encrypt, decrypt } = functions;
        let (key, mut cipher) = (job.key, ptr::null_mut());
        // SAFETY: the key has the length given, and the output is writable.
        let status = unsafe { from_key(key.as_ptr().cast(), key.len(), job.sector as u32, UNIT_SECTOR, &mut cipher) };
        assert_eq!(status, OK);
        let run = if job.direction == Direction::Encrypt { encrypt } else { decrypt };
        Cipher { run, free, cipher }
    }
}

impl Crypt for Cipher {
    fn crypt(&mut self, first: u64, sectors: &mut [u8]) {
        // SAFETY: the cipher lives as long as `self`, and the sectors are borrowed for the call.
        let status = unsafe { (self.run)(self.cipher, first, sectors.as_mut_ptr().cast(), sectors.len()) };
        assert_eq!(status, OK);
    }
}

impl Drop for Cipher {
    fn drop(&mut self) {
        // SAFETY: the cipher is not used again.
        unsafe { (self.free)(self.cipher) }
    }
}
