//! The contenders: `atrest` with each kernel, and its peers.

mod atrest;
mod c_abi;
mod evp;
mod libgcrypt;
mod rustcrypto;

use std::error::Error;
use std::ffi::{CStr, c_char};
use std::path::Path;

use libloading::Library;

/// Encrypts or decrypts runs of consecutive sectors in place, with a fixed key, direction and sector size.
pub trait Crypt: Send {
    /// `sectors` is a whole number of sectors. `first` is the number of the first one.
    fn crypt(&mut self, first: u64, sectors: &mut [u8]);
}

/// The parameters of a [`Crypt`].
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The data key and the tweak key: 32 or 64 bytes.
    pub key: &'a [u8],
    pub direction: Direction,
    pub sector: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Encrypt,
    Decrypt,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `atrest` with its default kernel; everything else is compared with it.
    Default,
    /// `atrest` with a kernel other than the default one.
    Kernel,
    /// `atrest` through its C ABI, which only matters for short calls.
    CAbi,
    /// `atrest` as it was, through its C ABI.
    Baseline,
    Peer,
    /// Not XTS: a limit for some peers.
    Ceiling,
}

pub struct Peer {
    pub name: String,
    pub about: String,
    pub role: Role,
    make: Box<Make>,
}

/// Expands a key; `None` if the peer doesn't support its size.
type Make = dyn Fn(&Job) -> Option<Box<dyn Crypt>>;

impl Peer {
    fn new(name: &str, about: &str, role: Role, make: impl Fn(&Job) -> Option<Box<dyn Crypt>> + 'static) -> Self {
        Peer { name: name.to_owned(), about: about.to_owned(), role, make: Box::new(make) }
    }

    /// Expands the key of `job`; `None` if the peer doesn't support its size.
    pub fn make(&self, job: &Job) -> Option<Box<dyn Crypt>> {
        (self.make)(job)
    }
}

/// An earlier build of `libatrest.so`.
pub fn baseline(file: &Path) -> Result<Peer, String> {
    c_abi::baseline(file)
}

/// A peer that is not available on this machine.
pub struct Missing {
    pub name: &'static str,
    pub why: String,
}

/// All contenders on this machine, the default of `atrest` first, and the missing ones.
pub fn all() -> (Vec<Peer>, Vec<Missing>) {
    let mut peers = atrest::kernels();
    let mut missing = Vec::new();
    for (name, found) in [
        ("atrest, C ABI", c_abi::find()),
        ("AWS-LC", evp::aws_lc()),
        ("OpenSSL 4", evp::openssl4()),
        ("OpenSSL 3", evp::openssl3()),
        ("libgcrypt", libgcrypt::find()),
        ("RustCrypto", rustcrypto::find()),
    ] {
        match found {
            Ok(found) => peers.extend(found),
            Err(why) => missing.push(Missing { name, why }),
        }
    }
    (peers, missing)
}

/// Loads a library for good, separate from all others: nothing else uses its symbols.
fn load(file: &str) -> Result<&'static Library, String> {
    // SAFETY: the loaded libraries are the system's or built with this program, and do nothing on loading that would
    // disturb it. libloading loads with RTLD_LOCAL.
    let library =
        unsafe { Library::new(file) }.map_err(|error| error.source().map_or(error.to_string(), |e| e.to_string()))?;
    Ok(Box::leak(Box::new(library)))
}

/// A function of a library.
///
/// # Safety
/// `F` is a function pointer type, and that of the function `name`.
unsafe fn function<F: Copy>(library: &'static Library, name: &str) -> Result<F, String> {
    // SAFETY: the caller's promise.
    let symbol = unsafe { library.get::<F>(name.as_bytes()) };
    symbol.map(|symbol| *symbol).map_err(|error| error.to_string())
}

/// A string that a library keeps for ever.
///
/// # Safety
/// `text` is null or points to a C string that stays.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
