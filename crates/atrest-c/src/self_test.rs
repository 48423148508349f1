//! SELF-TESTS, APPROVED ALGORITHMS, LIMITS OF KEYS
//!
//! Each algorithm, and each kernel that this CPU supports, is tested against published vectors before its first use in
//! a process. If one computes wrongly, everything is refused with ATREST_ERR_SELF_TEST from then on.
//!
//! A program may demand approved algorithms only, i.e. those of NIST's publications as of SP 800-131A Rev. 2: AES-XTS
//! (as aes-xts-plain64), AES-CTR, AES-KW, RSA-OAEP with SHA-256, and PBKDF2 with SHA-256 or SHA-512, at least 1000
//! iterations and a salt of at least 16 bytes. THE LIBRARY IS NOT A VALIDATED MODULE, and this doesn't make it one.
//!
//! A key may encrypt 2^48 blocks of 16 bytes (4 PiB), and is due for replacement from 2^44 (256 TiB) on. A count
//! belongs to one handle in one process, and is exact to 64 KiB per thread. Decryption doesn't count.

use core::ffi::c_char;

use atrest::KeyUsage;
use atrest::approval::{self, Approval};

use crate::failure::{Result, run};
use crate::output::{Out, TextOut};
use crate::status::atrest_status;

/// Only approved algorithms were used.
pub const ATREST_APPROVED: u32 = 1;
/// A vault did part of it with an algorithm it doesn't name (ATREST_WRAP_OPAQUE); the rest is approved.
pub const ATREST_APPROVED_ELSEWHERE: u32 = 2;
/// Some of it is not approved.
pub const ATREST_NOT_APPROVED: u32 = 3;

/// From this many blocks on, a key is due for replacement: copy the data to a place with a fresh key.
pub const ATREST_BLOCKS_DUE: u64 = 17592186044416;
/// The most blocks that a key may encrypt; more are refused with ATREST_ERR_KEY_EXHAUSTED.
pub const ATREST_BLOCKS_MAX: u64 = 281474976710656;

const _: () = assert!(ATREST_BLOCKS_DUE == KeyUsage::DUE && ATREST_BLOCKS_MAX == KeyUsage::MAX);

/// Tests every algorithm and kernel, even if it was tested before, and those of the vaults in this build.
///
/// Errors: ATREST_ERR_SELF_TEST; the message names the algorithm that failed.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_self_test() -> atrest_status {
    run(|| {
        atrest_vaults::self_test()?;
        #[cfg(feature = "quorum")]
        atrest_quorum::self_test()?;
        Ok(())
    })
}

/// From now on this process takes approved algorithms only. Any use of another one is refused with
/// ATREST_ERR_NOT_APPROVED, also by existing handles; the message names the algorithm. There is no way back. Call it
/// first.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_approved_only() -> atrest_status {
    run(|| {
        approval::approved_only();
        Ok(())
    })
}

/// 1 after atrest_approved_only was called, 0 before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_is_approved_only(out: *mut u32) -> atrest_status {
    run(|| {
        out!(out).set(approval::is_approved_only().into());
        Ok(())
    })
}

/// Begins an observation of this thread, which atrest_approval_since_reset ends.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_approval_reset() -> atrest_status {
    run(|| {
        approval::reset();
        Ok(())
    })
}

/// Whether this thread has used approved algorithms only since atrest_approval_reset, or since it started:
/// ATREST_APPROVED, ATREST_APPROVED_ELSEWHERE or ATREST_NOT_APPROVED. `text` is for people and names the unapproved
/// algorithm; it and `text_len` may be NULL together. Other threads are not observed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_approval_since_reset(
    approval: *mut u32,
    text: *mut c_char,
    text_cap: usize,
    text_len: *mut usize,
) -> atrest_status {
    run(|| {
        let out = out!(approval);
        let text = if text.is_null() && text_len.is_null() { None } else { Some(text_out!(text, text_cap, text_len)) };
        put(approval::since_reset(), out, text)
    })
}

/// Writes an approval, and its text if the caller wants it.
pub(crate) fn put(approval: Approval, out: Out<u32>, text: Option<TextOut<'_>>) -> Result {
    text.map_or(Ok(()), |text| text.put(&approval.to_string()))?;
    out.set(match approval {
        Approval::Approved => ATREST_APPROVED,
        Approval::Elsewhere => ATREST_APPROVED_ELSEWHERE,
        _ => ATREST_NOT_APPROVED,
    });
    Ok(())
}
