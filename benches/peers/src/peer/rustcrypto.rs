//! The peers over the `aes` crate. They are a library of their own, because they need their own release profile.

use std::ffi::c_void;

use super::{Crypt, Direction, Job, Peer, Role, function, load};

type New = unsafe extern "C" fn(u32, *const u8, usize, usize) -> *mut c_void;
type Run = unsafe extern "C" fn(*const c_void, bool, u64, *mut u8, usize);
type Free = unsafe extern "C" fn(*mut c_void);

#[derive(Clone, Copy)]
struct Functions {
    new: New,
    crypt: Run,
    free: Free,
}

pub fn find() -> Result<Vec<Peer>, String> {
    let library = load(option_env!("RUSTCRYPTO").ok_or(option_env!("RUSTCRYPTO_MISSING").unwrap_or("not built"))?)?;
    // SAFETY: the types above are those of rustcrypto/src/lib.rs.
    let functions = unsafe {
        Functions {
            new: function(library, "peer_new")?,
            crypt: function(library, "peer_crypt")?,
            free: function(library, "peer_free")?,
        }
    };
    let peer = |number, name, about, role| {
        let make = move |job: &Job| Some(Box::new(Handle::new(functions, number, job)) as Box<dyn Crypt>);
        Peer::new(name, about, role, make)
    };
    Ok(vec![
        peer(0, "aes, own tweaks", "XTS over the crate aes in batches of 1 KiB, codegen-units = 1", Role::Peer),
        peer(1, "xts-mode", "the crate xts-mode over aes, codegen-units = 1", Role::Peer),
        peer(2, "aes, no tweaks", "not XTS: a limit for XTS over the crate aes, codegen-units = 1", Role::Ceiling),
    ])
}

struct Handle {
    functions: Functions,
    decrypt: bool,
    peer: *mut c_void,
}

// SAFETY: a peer is Rust values that are Send.
unsafe impl Send for Handle {}

impl Handle {
    fn new(functions: Functions, number: u32, job: &Job) -> Self {
        // SAFETY: the key has the length given.
        let peer = unsafe { (functions.new)(number, job.key.as_ptr(), job.key.len(), job.sector) };
        assert!(!peer.is_null());
        Handle { functions, decrypt: job.direction == Direction::Decrypt, peer }
    }
}

impl Crypt for Handle {
    fn crypt(&mut self, first: u64, sectors: &mut [u8]) {
        // SAFETY: the peer lives as long as `self`, and the sectors are borrowed for the call.
        unsafe { (self.functions.crypt)(self.peer, self.decrypt, first, sectors.as_mut_ptr(), sectors.len()) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the peer is not used again.
        unsafe { (self.functions.free)(self.peer) }
    }
}
