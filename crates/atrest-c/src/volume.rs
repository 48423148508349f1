//! VOLUMES
//!
//! An encrypted device: a header of LUKS2 or LUKS1, which any Linux machine can check, and sectors of AES-XTS
//! (aes-xts-plain64), or of what else an old volume has. The header may be on a device of its own. Reads and writes are in
//! whole sectors. Any number of threads may read and write one volume at once.

use core::ffi::{c_char, c_void};
use std::ffi::CString;

use atrest::volume::ProtectorId;
use atrest::{FormatOptions, OpenOptions, Volume};

use crate::dek::{ATREST_FINGERPRINT_SIZE, atrest_dek};
use crate::device::{Device, atrest_device};
use crate::failure::{CallbackFailed, Failure, run};
use crate::handle::Handle;
use crate::keyslots::{
    atrest_credential, atrest_keyslot_options, atrest_protector, credential as credential_of, keyslot_options,
    protector as protector_of,
};
use crate::self_test;
use crate::status::{ATREST_ERR_OTHER, atrest_status};
use crate::vault::{ATREST_KEY_URL_SIZE, atrest_vault, put_url};
use crate::volume_options::*;

/// A volume. Freed by atrest_volume_free.
pub struct atrest_volume;

/// Makes a volume on `device`, with a new DEK, and `protector` as the way into it. `options` may be NULL. The data area
/// isn't written, and reads as noise until it is.
///
/// Nothing is written before a vault has wrapped the DEK and unwrapped it again. With a passphrase this takes as long as
/// its keyslot's KDF, and measuring that: some seconds, unless `options` say otherwise.
///
/// Errors: ATREST_ERR_DEVICE_NOT_BLANK; ATREST_ERR_DEVICE_TOO_SMALL; ATREST_ERR_INVALID_OPTION,
/// ATREST_ERR_SECTOR_SIZE, ATREST_ERR_BAD_ENUM and ATREST_ERR_CONTEXT_LENGTH for options and passphrases out of bounds;
/// ATREST_ERR_NO_ROOM where a keyslot doesn't fit in front of the data; ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY;
/// ATREST_ERR_NOT_FOUND and ATREST_ERR_IO for a key file; what the vault and the devices answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_format(
    device: *mut atrest_device,
    protector: *const atrest_protector,
    options: *const atrest_format_options,
    out: *mut *mut atrest_volume,
) -> atrest_status {
    run(|| {
        let (device, protector, out) = (handle!(device), protector_of(&structure!(protector))?, out!(out));
        let options = if options.is_null() { FormatOptions::new() } else { format_options(&structure!(options))? };
        out.handle(Volume::format(device.clone(), protector, &options)?);
        Ok(())
    })
}

/// Opens the volume on `device`. `options` may be NULL. The DEK is proven by the header's digest, and the header by
/// the MAC of a vault's token where it has one, before anything is decrypted or written. A damaged copy of the header is
/// repaired from the intact one.
///
/// Errors: ATREST_ERR_NOT_LUKS; ATREST_ERR_INVALID_HEADER; ATREST_ERR_UNSUPPORTED_HEADER, also for keyslots that ask for
/// more than `options` allow; ATREST_ERR_NOT_THIS_VAULT, whose message names the key that is needed;
/// ATREST_ERR_WRONG_PASSPHRASE, also for a key file; ATREST_ERR_NO_SUCH_PROTECTOR where no keyslot takes a passphrase;
/// ATREST_ERR_WRONG_KEY; ATREST_ERR_TAMPERED_HEADER; ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_DEVICE_TOO_SMALL for a
/// truncated device; ATREST_ERR_FOREIGN_DATA where a copy of the header is gone and something else stands in its place,
/// unless it is opened read-only; ATREST_ERR_INVALID_OPTION for a passphrase out of bounds; what the vault and the devices answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_open(
    device: *mut atrest_device,
    credential: *const atrest_credential,
    options: *const atrest_open_options,
    out: *mut *mut atrest_volume,
) -> atrest_status {
    run(|| {
        let (device, credential, out) = (handle!(device), credential_of(&structure!(credential))?, out!(out));
        let options = if options.is_null() { OpenOptions::new() } else { open_options(&structure!(options))? };
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

/// Makes another way into a volume, beside those that it has, and puts its number into `id`: that of a token if
/// `protector` is a vault, otherwise that of a keyslot. `options` may be NULL, and mean nothing for a vault, whose token is
/// bound to the context of the tokens that are there. Killed at any instant, the volume has the new way or has not, and
/// those before it in any case.
///
/// Errors: ATREST_ERR_NO_ROOM when all keyslots or tokens are taken; ATREST_ERR_READ_ONLY; ATREST_ERR_INVALID_OPTION and
/// ATREST_ERR_BAD_ENUM for options and passphrases out of bounds; ATREST_ERR_UNSUPPORTED_HEADER for a vault on LUKS1;
/// ATREST_ERR_BUSY when another program has changed the header since the volume was opened; what the vault and the device
/// answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_add_protector(
    volume: *mut atrest_volume,
    protector: *const atrest_protector,
    options: *const atrest_keyslot_options,
    id: *mut u32,
) -> atrest_status {
    run(|| {
        let (volume, protector, id) = (handle!(volume), protector_of(&structure!(protector))?, out!(id));
        match volume.add_protector(protector, &keyslot_options(options)?)? {
            ProtectorId::Keyslot(number) | ProtectorId::Token(number) => id.set(number),
            other => return Err(Failure::new(ATREST_ERR_OTHER, format!("the new way in is {other}"))),
        }
        Ok(())
    })
}

/// Puts a new passphrase or key file in the place of a keyslot, and the number of the new keyslot into `new_id`. The new
/// one is made before the old one is destroyed, so that a free keyslot is needed. It takes over the priority, unless
/// `options`, which may be NULL, have another than ATREST_PRIORITY_NORMAL. Killed at any instant, the volume opens by the
/// old or the new passphrase, or both.
///
/// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_INVALID_OPTION for a vault; those of atrest_volume_add_protector.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_change_keyslot(
    volume: *mut atrest_volume,
    id: u32,
    protector: *const atrest_protector,
    options: *const atrest_keyslot_options,
    new_id: *mut u32,
) -> atrest_status {
    run(|| {
        let (volume, protector, new_id) = (handle!(volume), protector_of(&structure!(protector))?, out!(new_id));
        new_id.set(volume.change_keyslot(id, protector, &keyslot_options(options)?)?);
        Ok(())
    })
}

/// Takes a keyslot away, and overwrites what was in it. A backup of the header still has it.
///
/// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_LAST_PROTECTOR: atrest_header_erase takes the last one too;
/// ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY as in atrest_volume_add_protector; what the device answers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_remove_keyslot(volume: *mut atrest_volume, id: u32) -> atrest_status {
    run(|| Ok(handle!(volume).header().remove_protector(ProtectorId::Keyslot(id))?))
}

/// Takes a token away: a vault's, or another program's.
///
/// Errors: those of atrest_volume_remove_keyslot; ATREST_ERR_NO_SUCH_PROTECTOR in LUKS1, which has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_remove_token(volume: *mut atrest_volume, id: u32) -> atrest_status {
    run(|| Ok(handle!(volume).header().remove_protector(ProtectorId::Token(id))?))
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

/// How the data is encrypted, in dm-crypt's notation, such as "aes-xts-plain64".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_cipher(
    volume: *const atrest_volume,
    cipher: *mut c_char,
    cipher_cap: usize,
    cipher_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(cipher, cipher_cap, cipher_len).put(handle!(volume).cipher().name()))
}

/// How many blocks of 16 bytes the volume's key has encrypted: the option `used_blocks`, and what was written since. Compare
/// it with ATREST_BLOCKS_DUE, and keep it when the volume is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_usage(volume: *const atrest_volume, blocks: *mut u64) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(blocks));
        out.set(volume.usage().blocks());
        Ok(())
    })
}

/// Whether the volume is done by approved algorithms: its cipher, and what it was opened or formatted by. As
/// atrest_approval_since_reset.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_approval(
    volume: *const atrest_volume,
    approval: *mut u32,
    text: *mut c_char,
    text_cap: usize,
    text_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(approval));
        let text = if text.is_null() && text_len.is_null() { None } else { Some(text_out!(text, text_cap, text_len)) };
        self_test::put(volume.approval(), out, text)
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

/// Records the size that the volume has now, where a vault's token says that it had another: after its device was made larger,
/// or smaller on purpose (ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED). From then on it opens as it is. The size in bytes goes to
/// `size`, which may be NULL.
///
/// Errors: ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY when another program has changed the header since the volume was opened; what
/// the device answers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_record_size(volume: *mut atrest_volume, size: *mut u64) -> atrest_status {
    run(|| {
        let volume = handle!(volume);
        let out = if size.is_null() { None } else { Some(out!(size)) };
        let recorded = volume.record_size()?;
        if let Some(out) = out {
            out.set(recorded);
        }
        Ok(())
    })
}

/// Which DEK the volume has, in 32 bytes: see atrest_dek_fingerprint. Compare it before the first read or write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_fingerprint(
    volume: *const atrest_volume,
    fingerprint: *mut u8,
) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(fingerprint.cast::<[u8; ATREST_FINGERPRINT_SIZE]>()));
        out.set(volume.fingerprint()?.to_bytes());
        Ok(())
    })
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
            CallbackFailed::check(unsafe { each(user, url.as_ptr()) })?;
        }
        Ok(())
    })
}

impl Handle for atrest_volume {
    type Object = Volume<Device>;
    const TAG: [u8; 4] = *b"vol\x01";
    const NAME: &'static str = "atrest_volume";
}
