//! VOLUMES
//!
//! An encrypted device: a LUKS2 header, which any Linux machine can check, then sectors of AES-XTS (aes-xts-plain64).
//! Reads and writes are in whole sectors. Any number of threads may read and write one volume at once.

use core::ffi::{c_char, c_void};
use std::ffi::CString;

use atrest::{Credential, FormatOptions, OpenOptions, Protector, Volume};

use crate::dek::atrest_dek;
use crate::device::{Device, atrest_device};
use crate::failure::{CallbackFailed, Failure, run};
use crate::handle::Handle;
use crate::status::{ATREST_OK, atrest_status};
use crate::vault::{ATREST_KEY_URL_SIZE, atrest_vault, put_url};
use crate::volume_options::*;

/// A volume. Freed by atrest_volume_free.
pub struct atrest_volume;

/// Makes a volume on `device`, with a new DEK that `vault` wraps under the latest version of the key `key_name`.
/// `options` may be NULL. The data area isn't written, and reads as noise until it is.
///
/// Nothing is written before the vault has wrapped the DEK and unwrapped it again.
///
/// Errors: ATREST_ERR_DEVICE_NOT_BLANK; ATREST_ERR_DEVICE_TOO_SMALL; ATREST_ERR_INVALID_OPTION,
/// ATREST_ERR_SECTOR_SIZE, ATREST_ERR_BAD_ENUM and ATREST_ERR_CONTEXT_LENGTH for options out of bounds;
/// ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY; what the vault and the device answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_format(
    device: *mut atrest_device,
    vault: *const atrest_vault,
    key_name: *const c_char,
    options: *const atrest_format_options,
    out: *mut *mut atrest_volume,
) -> atrest_status {
    run(|| {
        let (device, vault, key_name, out) = (handle!(device), handle!(vault), text!(key_name), out!(out));
        let options = if options.is_null() { FormatOptions::new() } else { format_options(&structure!(options))? };
        out.handle(Volume::format(device.clone(), Protector::Vault(vault.get(), key_name), &options)?);
        Ok(())
    })
}

/// Opens the volume on `device`. `options` may be NULL. The DEK is proven by the header's digest, and the header by
/// its MAC, before anything is decrypted or written. A damaged copy of the header is repaired from the intact one.
///
/// Errors: ATREST_ERR_NOT_LUKS; ATREST_ERR_INVALID_HEADER; ATREST_ERR_UNSUPPORTED_HEADER; ATREST_ERR_NOT_THIS_VAULT,
/// whose message names the key that is needed; ATREST_ERR_WRONG_KEY; ATREST_ERR_TAMPERED_HEADER;
/// ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_DEVICE_TOO_SMALL for a truncated device; what the vault and the device
/// answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_open(
    device: *mut atrest_device,
    credential: *const atrest_credential,
    options: *const atrest_open_options,
    out: *mut *mut atrest_volume,
) -> atrest_status {
    run(|| {
        let (device, credential, out) = (handle!(device), structure!(credential), out!(out));
        let options = if options.is_null() { OpenOptions::new() } else { open_options(&structure!(options))? };
        let credential = match credential.kind {
            ATREST_CREDENTIAL_VAULT => Credential::Vault(handle!(credential.vault).get()),
            ATREST_CREDENTIAL_DEK => Credential::Dek(handle!(credential.dek)),
            other => return Err(Failure::bad_enum("credential.kind", other)),
        };
        out.handle(Volume::open(device.clone(), credential, &options)?);
        Ok(())
    })
}

/// Frees a volume and wipes its keys. IT DOES NOT SYNC: call atrest_volume_sync first, or what was written last may
/// not be on the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_free(volume: *mut atrest_volume) {
    free!(volume);
}

/// Reads and decrypts `len` bytes at `offset` from the start of the data. Both are multiples of the sector size. After
/// ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED it isn't defined what `sectors` holds.
///
/// Errors: ATREST_ERR_MISALIGNED; ATREST_ERR_OUT_OF_BOUNDS; ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_read_at(
    volume: *const atrest_volume,
    offset: u64,
    sectors: *mut c_void,
    len: usize,
) -> atrest_status {
    run(|| Ok(handle!(volume).read_at(offset, bytes_mut!(sectors, len))?))
}

/// Encrypts and writes `len` bytes at `offset` from the start of the data. Both are multiples of the sector size.
/// After ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED a part may have been written.
///
/// Errors: those of atrest_volume_read_at; ATREST_ERR_READ_ONLY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_write_at(
    volume: *mut atrest_volume,
    offset: u64,
    sectors: *const c_void,
    len: usize,
) -> atrest_status {
    run(|| Ok(handle!(volume).write_at(offset, bytes!(sectors, len))?))
}

/// Returns when all that was written is on stable storage. If it fails, what was written since the last time may be
/// lost.
///
/// Errors: ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_sync(volume: *mut atrest_volume) -> atrest_status {
    run(|| Ok(handle!(volume).sync()?))
}

/// Has `vault` wrap the DEK anew, under the latest version of the key that wraps it now. No sector is touched, and
/// reads and writes go on meanwhile. Killed at any instant, the volume opens with the old version or the new one.
///
/// The URL of the new version goes to `url`, which may be NULL; otherwise it needs room for ATREST_KEY_URL_SIZE bytes.
///
/// Errors: ATREST_ERR_NOT_THIS_VAULT; ATREST_ERR_READ_ONLY; what the vault and the device answer. After a failure of
/// the device, too, the volume opens with the old version or the new one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_rotate_kek(
    volume: *mut atrest_volume,
    vault: *const atrest_vault,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (volume, vault) = (handle!(volume), handle!(vault));
        put_url(whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE), &volume.rotate_kek(vault.get())?)
    })
}

/// The size of the data in bytes: what can be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_size(volume: *const atrest_volume, out: *mut u64) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(out));
        out.set(volume.size());
        Ok(())
    })
}

/// The sector size in bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_sector_size(volume: *const atrest_volume, out: *mut u32) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(out));
        out.set(volume.sector_size().bytes());
        Ok(())
    })
}

/// Where the data begins on the device, in bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_data_offset(volume: *const atrest_volume, out: *mut u64) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(out));
        out.set(volume.data_offset());
        Ok(())
    })
}

/// The UUID of the volume, as a text of 36 characters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_uuid(
    volume: *const atrest_volume,
    uuid: *mut c_char,
    uuid_cap: usize,
    uuid_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(uuid, uuid_cap, uuid_len).put(&handle!(volume).uuid()))
}

/// The DEK of the volume, as a new handle, for those who wrap it elsewhere too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_dek(volume: *const atrest_volume, out: *mut *mut atrest_dek) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(out));
        out.handle(volume.dek().clone());
        Ok(())
    })
}

/// Calls `each` with the URL of every key version that can unwrap the volume's DEK. The URL is valid during the
/// callback only. `each` returns ATREST_OK to go on; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_key_urls(
    volume: *const atrest_volume,
    each: Option<unsafe extern "C" fn(user: *mut c_void, url: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (volume, each) = (handle!(volume), each.ok_or_else(|| Failure::null("each"))?);
        for kek in volume.keks() {
            let url = CString::new(kek.to_string()).unwrap_or_default();
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the URL lives until then.
            match unsafe { each(user, url.as_ptr()) } {
                ATREST_OK => {}
                status => return Err(CallbackFailed { status }.into()),
            }
        }
        Ok(())
    })
}

impl Handle for atrest_volume {
    type Object = Volume<Device>;
    const TAG: [u8; 4] = *b"vol\x01";
    const NAME: &'static str = "atrest_volume";
}
