//! STREAM CIPHER
//!
//! AES-256 in counter mode (NIST SP 800-38A) over a stream of bytes, for engines whose files are read and written at
//! any byte. Applying it neither allocates nor locks; any number of threads may use one cipher.
//!
//! ONE KEY, ONE FILE. Never encrypt two contents at the same offset under the same key and nonce. Anyone who sees both,
//! such as a file before and after it was truncated and rewritten, learns their difference (XOR), and often the
//! contents. So a file needs a fresh DEK whenever it is made, truncated or reused, and data must be appended, not
//! overwritten. atrest_file_prefix_create makes such a key.
//!
//! The mode hides a file's content but detects no change: an attacker who can write to the file can flip any bits of
//! the plaintext. Authenticate in a layer above, and take a new key before 2^52 bytes (4 PiB).

use core::ffi::c_void;

use atrest::StreamCipher;

use crate::args::in_place;
use crate::dek::atrest_dek;
use crate::failure::run;
use crate::handle::Handle;
use crate::status::atrest_status;

/// The length of a nonce in bytes.
pub const ATREST_NONCE_SIZE: usize = 16;

/// An expanded key for one stream of bytes. Freed by atrest_stream_cipher_free, which wipes it.
pub struct atrest_stream_cipher;

/// Expands a DEK of ATREST_AES_256_CTR for the stream whose counter starts from `nonce`, ATREST_NONCE_SIZE bytes: a
/// big-endian number that grows by 1 for every 16 bytes, and wraps. The DEK may be freed afterwards.
///
/// Errors: ATREST_ERR_UNSUPPORTED_ALGORITHM for a DEK that isn't for CTR.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_stream_cipher_new(
    dek: *const atrest_dek,
    nonce: *const u8,
    out: *mut *mut atrest_stream_cipher,
) -> atrest_status {
    run(|| {
        let (dek, nonce, out) = (handle!(dek), array!(nonce), out!(out));
        out.boxed(dek.stream_cipher(nonce)?);
        Ok(())
    })
}

/// Wipes and frees a cipher.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_stream_cipher_free(cipher: *mut atrest_stream_cipher) {
    free!(cipher);
}

/// Encrypts or decrypts `len` bytes in place; both are the same operation. The first byte is at `offset` of the stream,
/// any number. `data` is unchanged unless the function returns ATREST_OK.
///
/// Errors: ATREST_ERR_STREAM_OVERFLOW; ATREST_ERR_KEY_EXHAUSTED, only beyond 4 PiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_stream_cipher_apply(
    cipher: *const atrest_stream_cipher,
    offset: u64,
    data: *mut c_void,
    len: usize,
) -> atrest_status {
    run(|| Ok(handle!(cipher).apply(offset, bytes_mut!(data, len))?))
}

/// Encrypts or decrypts `len` bytes from `src` to `dst`, which may be the same but must not overlap in part.
///
/// Errors: ATREST_ERR_OVERLAP; ATREST_ERR_STREAM_OVERFLOW.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_stream_cipher_apply_to(
    cipher: *const atrest_stream_cipher,
    offset: u64,
    src: *const c_void,
    dst: *mut c_void,
    len: usize,
) -> atrest_status {
    run(|| {
        let cipher = handle!(cipher);
        if in_place(src.cast(), dst.cast(), len)? {
            return Ok(cipher.apply(offset, bytes_mut!(dst, len))?);
        }
        Ok(cipher.apply_to(offset, bytes!(src, len), bytes_mut!(dst, len))?)
    })
}

/// The number of 16-byte blocks of its stream that the cipher has encrypted or decrypted, counted up to the highest
/// block: see ATREST_BLOCKS_DUE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_stream_cipher_usage(
    cipher: *const atrest_stream_cipher,
    blocks: *mut u64,
) -> atrest_status {
    run(|| {
        let (cipher, out) = (handle!(cipher), out!(blocks));
        out.set(cipher.usage().blocks());
        Ok(())
    })
}

impl Handle for atrest_stream_cipher {
    type Object = StreamCipher;
    const TAG: [u8; 4] = *b"str\x01";
    const NAME: &'static str = "atrest_stream_cipher";
}

const _: () = assert!(ATREST_NONCE_SIZE == atrest::cipher::BLOCK);
