//! A system that gives no random bytes. This program has its own `getrandom`, which replaces the C library's. It is a
//! program by itself, because no other test wants that.

#![cfg(all(feature = "std", target_os = "linux", target_env = "gnu"))]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use atrest::{Dek, DekAlgorithm, Error, FormatOptions, MemoryDevice, Protector, Secret, Volume};

static FAILS: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicUsize = AtomicUsize::new(0);

#[unsafe(no_mangle)]
extern "C" fn getrandom(bytes: *mut u8, len: usize, _: u32) -> isize {
    CALLS.fetch_add(1, Relaxed);
    if FAILS.load(Relaxed) {
        // SAFETY: it leads to this thread's own errno.
        unsafe { *__errno_location() = EIO };
        return -1;
    }
    // SAFETY: the caller lends that many bytes. Any content will do, as long as halves of keys differ.
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, len) };
    bytes.iter_mut().enumerate().for_each(|(n, byte)| *byte = n as u8);
    len as isize
}

unsafe extern "C" {
    fn __errno_location() -> *mut i32;
}

const EIO: i32 = 5;

#[test]
fn without_random_bytes_a_call_fails_and_makes_nothing() {
    Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    assert!(CALLS.load(Relaxed) > 0, "the library asks somebody else");
    FAILS.store(true, Relaxed);
    assert!(matches!(Dek::generate(DekAlgorithm::Aes256Xts), Err(Error::Random)));
    assert!(matches!(Secret::random(32), Err(Error::Random)));
    let device = std::sync::Arc::new(MemoryDevice::new(2 << 20));
    let made = Volume::format(device.clone(), Protector::Passphrase(b"a passphrase"), &FormatOptions::new());
    assert!(matches!(made, Err(Error::Random)), "{made:?}");
    assert!(std::sync::Arc::into_inner(device).unwrap().into_bytes().iter().all(|&byte| byte == 0));
    FAILS.store(false, Relaxed);
    Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
}
