//! A child made by fork uses the token with sessions of its own, and leaves those of its parent alone.
#![cfg(unix)]

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;

use atrest::KeyVault;
use common::softhsm;

#[test]
fn a_child_made_by_fork() {
    let Some(hsm) = softhsm("a_child_made_by_fork") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let vault = hsm.vault("t");
    let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
    let works = || vault.unwrap(&wrapped).unwrap().unwrap() == conformance::dek();
    // SAFETY: the child calls this crate, whose claim is that this works, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = if std::panic::catch_unwind(std::panic::AssertUnwindSafe(works)).unwrap_or(false) { 0 } else { 1 };
        // SAFETY: no pointers.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: `status` is a place for one number.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child");
    assert!(works(), "the parent");
}
