//! ENCRYPTED FILES
//!
//! The prefix of an encrypted file: its own DEK, wrapped by a vault, and the nonce of its stream, in the first
//! ATREST_FILE_PREFIX_SIZE bytes. The engine's data follows, under one of two ciphers: a stream cipher, whose offset 0
//! is the first byte after the prefix, for engines that append at any byte; or a sector cipher, for engines that
//! overwrite data in place and choose the numbering of sectors. A file of one sort doesn't open as the other.
//!
//! Make a new prefix for each new file. For a stream, also make one for each file that is truncated or reused. Never
//! copy a prefix to another file: STREAM CIPHER says why two contents under one key leak. Opening detects a wrong key,
//! another context or a damaged prefix. It doesn't detect damage to the data.

use core::ffi::{c_char, c_void};

use atrest::{FilePrefix, Fingerprint, SectorSize};

use crate::dek::ATREST_FINGERPRINT_SIZE;
use crate::device::atrest_device;
use crate::failure::run;
use crate::sector_cipher::{atrest_sector_cipher, unit_of};
use crate::status::atrest_status;
use crate::stream_cipher::atrest_stream_cipher;
use crate::vault::{ATREST_KEY_URL_SIZE, atrest_vault, put_url};

/// The length of a prefix in bytes.
pub const ATREST_FILE_PREFIX_SIZE: usize = 8192;

/// Makes the prefix of a new file, ATREST_FILE_PREFIX_SIZE bytes, and the cipher for its data. The DEK is fresh, and
/// wrapped by `vault` under the latest version of the key `key_name`.
///
/// `context` identifies what the file belongs to, such as the id of a database: up to ATREST_CONTEXT_MAX bytes, stored
/// in the clear. Opening the file needs the same context. Don't use the file's name if the engine renames files.
///
/// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_CONTEXT_LENGTH; ATREST_ERR_RANDOM;
/// ATREST_ERR_BUFFER_TOO_SHORT; the vault's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_file_prefix_create(
    vault: *const atrest_vault,
    key_name: *const c_char,
    context: *const c_void,
    context_len: usize,
    prefix: *mut c_void,
    prefix_cap: usize,
    prefix_len: *mut usize,
    out: *mut *mut atrest_stream_cipher,
) -> atrest_status {
    run(|| {
        let (vault, key_name, context) = (handle!(vault), text!(key_name), bytes!(context, context_len));
        let (prefix, out) = (bytes_out!(prefix, prefix_cap, prefix_len), out!(out));
        prefix.check(FilePrefix::LEN)?;
        let (made, cipher) = FilePrefix::create(vault.get(), key_name, context)?;
        prefix.put(&made.to_bytes())?;
        out.boxed(cipher);
        Ok(())
    })
}

/// As atrest_file_prefix_create, for a file of sectors under AES-256-XTS. `sector_size` and `sector_unit` are those of
/// atrest_sector_cipher_new; the file doesn't record them.
///
/// Errors: ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; those of atrest_file_prefix_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_file_prefix_create_sectors(
    vault: *const atrest_vault,
    key_name: *const c_char,
    context: *const c_void,
    context_len: usize,
    sector_size: u32,
    sector_unit: u32,
    prefix: *mut c_void,
    prefix_cap: usize,
    prefix_len: *mut usize,
    out: *mut *mut atrest_sector_cipher,
) -> atrest_status {
    run(|| {
        let (vault, key_name, context) = (handle!(vault), text!(key_name), bytes!(context, context_len));
        let (prefix, out) = (bytes_out!(prefix, prefix_cap, prefix_len), out!(out));
        let (size, unit) = (SectorSize::new(sector_size)?, unit_of(sector_unit)?);
        prefix.check(FilePrefix::LEN)?;
        let (made, cipher) = FilePrefix::create_sectors(vault.get(), key_name, context, size, unit)?;
        prefix.put(&made.to_bytes())?;
        out.boxed(cipher);
        Ok(())
    })
}

/// Has `vault` unwrap the DEK of a file, whose first ATREST_FILE_PREFIX_SIZE bytes are `prefix`, and makes the cipher
/// for its data.
///
/// Errors: ATREST_ERR_INVALID_PREFIX for another length, and if both copies in it are damaged or it was altered;
/// ATREST_ERR_INVALID_ENVELOPE, also if it was altered; ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_NOT_THIS_VAULT;
/// ATREST_ERR_NO_SUCH_KEY if the version was destroyed; ATREST_ERR_UNWRAP_FAILED; ATREST_ERR_UNSUPPORTED_ALGORITHM for
/// a file of sectors; the vault's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_file_prefix_open(
    vault: *const atrest_vault,
    prefix: *const c_void,
    prefix_len: usize,
    context: *const c_void,
    context_len: usize,
    out: *mut *mut atrest_stream_cipher,
) -> atrest_status {
    run(|| {
        let (vault, prefix) = (handle!(vault), bytes!(prefix, prefix_len));
        let (context, out) = (bytes!(context, context_len), out!(out));
        out.boxed(FilePrefix::from_bytes(prefix)?.open(vault.get(), context)?);
        Ok(())
    })
}

/// As atrest_file_prefix_open, for a file of sectors. Give the same size and numbering as when it was made.
///
/// Errors: ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED_ALGORITHM for a file with a stream; otherwise
/// those of atrest_file_prefix_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_file_prefix_open_sectors(
    vault: *const atrest_vault,
    prefix: *const c_void,
    prefix_len: usize,
    context: *const c_void,
    context_len: usize,
    sector_size: u32,
    sector_unit: u32,
    out: *mut *mut atrest_sector_cipher,
) -> atrest_status {
    run(|| {
        let (vault, prefix) = (handle!(vault), bytes!(prefix, prefix_len));
        let (context, out) = (bytes!(context, context_len), out!(out));
        let (size, unit) = (SectorSize::new(sector_size)?, unit_of(sector_unit)?);
        out.boxed(FilePrefix::from_bytes(prefix)?.open_sectors(vault.get(), context, size, unit)?);
        Ok(())
    })
}

/// Has `vault` wrap the DEK of the file on `device` again, under the latest version of the key that wraps it now. It
/// touches no byte after the prefix, and the file may be read and written meanwhile. If it is killed at any instant,
/// the file opens with the old version or the new one, and the rotation can be repeated.
///
/// While this runs, nothing else may write the prefix: no second rotation, and no reuse of the file with a new prefix.
/// atrest_device_open_file keeps others out that open the file the same way.
///
/// The URL of the new version goes to `url`, which may be NULL; otherwise it needs room for ATREST_KEY_URL_SIZE bytes.
///
/// Errors: ATREST_ERR_DEVICE_TOO_SMALL; those of atrest_file_prefix_open; the errors of the vault and the device. Even
/// after a failure of the device, the file opens with the old version or the new one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_file_prefix_rotate_kek(
    device: *mut atrest_device,
    vault: *const atrest_vault,
    context: *const c_void,
    context_len: usize,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (device, vault, context) = (handle!(device), handle!(vault), bytes!(context, context_len));
        let url = whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE);
        put_url(url, &FilePrefix::rotate_kek(device, vault.get(), context)?)
    })
}

/// As atrest_file_prefix_rotate_kek, if the file's DEK has this fingerprint, ATREST_FINGERPRINT_SIZE bytes
/// (atrest_file_prefix_fingerprint, kept apart from the file). A file that somebody has put in its place stays as it is.
///
/// Errors: ATREST_ERR_OTHER_DEK; those of atrest_file_prefix_rotate_kek.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_file_prefix_rotate_kek_expecting(
    device: *mut atrest_device,
    vault: *const atrest_vault,
    context: *const c_void,
    context_len: usize,
    fingerprint: *const u8,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (device, vault, context) = (handle!(device), handle!(vault), bytes!(context, context_len));
        let fingerprint = Fingerprint::from_bytes(array!(fingerprint));
        let url = whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE);
        put_url(url, &FilePrefix::rotate_kek_expecting(device, vault.get(), context, fingerprint)?)
    })
}

/// The fingerprint of a file's DEK, ATREST_FINGERPRINT_SIZE bytes: see atrest_dek_fingerprint. Keep it apart from the
/// file and compare it before using the data: it reveals a file that an attacker made under their own DEK. The vault
/// must unwrap the DEK for this.
///
/// Errors: those of atrest_file_prefix_open, for files of either sort.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_file_prefix_fingerprint(
    vault: *const atrest_vault,
    prefix: *const c_void,
    prefix_len: usize,
    context: *const c_void,
    context_len: usize,
    fingerprint: *mut u8,
) -> atrest_status {
    run(|| {
        let (vault, prefix) = (handle!(vault), bytes!(prefix, prefix_len));
        let (context, out) = (bytes!(context, context_len), out!(fingerprint.cast::<[u8; ATREST_FINGERPRINT_SIZE]>()));
        out.set(FilePrefix::from_bytes(prefix)?.fingerprint(vault.get(), context)?.to_bytes());
        Ok(())
    })
}

/// The URL of the key version that wrapped the DEK of a file, for choosing the vault to ask. It is not proven before
/// the file is opened.
///
/// Errors: ATREST_ERR_INVALID_PREFIX; ATREST_ERR_UNSUPPORTED_ALGORITHM; ATREST_ERR_BUFFER_TOO_SHORT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_file_prefix_key_url(
    prefix: *const c_void,
    prefix_len: usize,
    url: *mut c_char,
    url_cap: usize,
    url_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (prefix, out) = (bytes!(prefix, prefix_len), text_out!(url, url_cap, url_len));
        out.put(&FilePrefix::from_bytes(prefix)?.kek().to_string())
    })
}

const _: () = assert!(ATREST_FILE_PREFIX_SIZE == FilePrefix::LEN);
