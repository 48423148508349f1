//! SELF-TESTS, APPROVED ALGORITHMS, LIMITS OF KEYS
//!
//! Each algorithm, and each kernel that this CPU runs, is tried against published vectors before its first use in a
//! process. When one computes wrongly, everything is refused with ATREST_ERR_SELF_TEST from then on.
//!
//! A program may demand approved algorithms only, those of NIST's publications as of SP 800-131A Rev. 2: AES-XTS (as
//! aes-xts-plain64), AES-CTR, AES-KW, RSA-OAEP with SHA-256, and PBKDF2 with SHA-256 or SHA-512, 1000 iterations and a
//! salt of 16 bytes or more. THE LIBRARY IS NO VALIDATED MODULE, and this doesn't make it one.
//!
//! A key may encrypt 2^48 blocks of 16 bytes (4 PiB), and is due for another from 2^44 (256 TiB) on. Counts are those of
//! one handle in one process, right to 64 KiB for each thread, and decryption doesn't count.

use core::ffi::c_char;

use atrest::KeyUsage;
use atrest::approval::{self, Approval};

use crate::failure::{Result, run};
use crate::output::{Out, TextOut};
use crate::status::atrest_status;

/// Done by approved algorithms alone.
pub const ATREST_APPROVED: u32 = 1;
/// Done in part by a vault that doesn't tell how (ATREST_WRAP_OPAQUE), and otherwise by approved algorithms.
pub const ATREST_APPROVED_ELSEWHERE: u32 = 2;
/// Not, or not all of it, done by approved algorithms.
pub const ATREST_NOT_APPROVED: u32 = 3;

/// From so many blocks on it is time for another key: copy the data to where there is one.
pub const ATREST_BLOCKS_DUE: u64 = 17592186044416;
/// As many blocks as a key may encrypt; more are refused with ATREST_ERR_KEY_EXHAUSTED.
pub const ATREST_BLOCKS_MAX: u64 = 281474976710656;

const _: () = assert!(ATREST_BLOCKS_DUE == KeyUsage::DUE && ATREST_BLOCKS_MAX == KeyUsage::MAX);

/// Tries every algorithm and kernel, whether or not it has been tried before. It takes under a millisecond.
///
/// Errors: ATREST_ERR_SELF_TEST, whose message names what failed.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_self_test() -> atrest_status {
    run(|| Ok(atrest::self_test()?))
}

/// Takes approved algorithms only, in this process from now on: whatever needs another is refused with
/// ATREST_ERR_NOT_APPROVED, whose message names it, also by handles that are there already. There is no way back. Call it
/// first of all.
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

/// Begins an observation of what this thread does, which atrest_approval_since_reset ends.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_approval_reset() -> atrest_status {
    run(|| {
        approval::reset();
        Ok(())
    })
}

/// Whether this thread has used approved algorithms alone since atrest_approval_reset, or since it began: ATREST_APPROVED,
/// ATREST_APPROVED_ELSEWHERE or ATREST_NOT_APPROVED. `text` is for people and says what wasn't; it and `text_len` may be
/// NULL together. What other threads do isn't seen.
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

/// Writes an approval, and its text if that is wanted.
pub(crate) fn put(approval: Approval, out: Out<u32>, text: Option<TextOut<'_>>) -> Result {
    text.map_or(Ok(()), |text| text.put(&approval.to_string()))?;
    out.set(match approval {
        Approval::Approved => ATREST_APPROVED,
        Approval::Elsewhere => ATREST_APPROVED_ELSEWHERE,
        _ => ATREST_NOT_APPROVED,
    });
    Ok(())
}
