//! VOLUMES
//!
//! A volume is an encrypted device: a header of LUKS2 or LUKS1, which any Linux machine can check, and sectors of
//! AES-XTS (aes-xts-plain64), or of another cipher in an old volume: all that Linux makes with a library of the feature
//! `legacy`. Or it is a volume of BitLocker, or data without a header (sections below). The header may be on its own device. Reads and
//! writes are in whole sectors. Any number of threads may read and write one volume at once.

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

/// Makes a volume on `device`, with a new DEK and `protector` as its first way in. `options` may be NULL. The data area
/// isn't written, and reads as noise until it is, unless the volume has a map of written chunks: then as zeros.
///
/// Nothing is written before a vault has wrapped the DEK and unwrapped it again. With a passphrase this takes as long
/// as its keyslot's KDF and the measuring of its cost: some seconds, unless `options` set another cost.
///
/// Errors: ATREST_ERR_DEVICE_NOT_BLANK; ATREST_ERR_DEVICE_TOO_SMALL; ATREST_ERR_INVALID_OPTION, ATREST_ERR_SECTOR_SIZE,
/// ATREST_ERR_BAD_ENUM and ATREST_ERR_CONTEXT_LENGTH for options and passphrases out of bounds; ATREST_ERR_NO_ROOM if a
/// keyslot doesn't fit before the data; ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_NOT_FOUND and
/// ATREST_ERR_IO for a key file; the errors of the vault and the devices.
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

/// Opens the volume on `device`. `options` may be NULL. Before anything is decrypted or written, the header's digest
/// proves the DEK, and the MAC of a vault's token, if there is one, proves the header. A damaged copy of the header is
/// repaired from the intact one.
///
/// Errors: ATREST_ERR_NOT_LUKS; ATREST_ERR_INVALID_HEADER; ATREST_ERR_UNSUPPORTED_HEADER, also for keyslots that ask
/// for more than `options` allow; ATREST_ERR_NOT_THIS_VAULT, whose message names the key that is needed;
/// ATREST_ERR_WRONG_PASSPHRASE, also for a key file; ATREST_ERR_NO_SUCH_PROTECTOR if no keyslot takes a passphrase;
/// ATREST_ERR_WRONG_KEY; ATREST_ERR_TAMPERED_HEADER; ATREST_ERR_DAMAGED_MAP; ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_DEVICE_TOO_SMALL for a
/// truncated device; ATREST_ERR_FOREIGN_DATA if a copy of the header is gone and its place holds foreign data, unless
/// it is opened read-only; ATREST_ERR_INVALID_OPTION for a passphrase out of bounds; the errors of the vault and the
/// devices.
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

/// Frees a volume and wipes its keys. IT DOES NOT SYNC: call atrest_volume_sync first, or the last writes may not be on
/// the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_free(volume: *mut atrest_volume) {
    free!(volume);
}

/// Reads and decrypts `len` bytes at `offset` from the start of the data. Both are multiples of the sector size. After
/// ATREST_ERR_IO and ATREST_ERR_CALLBACK_FAILED the content of `sectors` is undefined.
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

/// Waits until all written data is on stable storage. If it fails, data written since the last sync may be lost.
///
/// Errors: ATREST_ERR_IO; ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_sync(volume: *mut atrest_volume) -> atrest_status {
    run(|| Ok(handle!(volume).sync()?))
}

/// Has `vault` wrap the DEK again, under the latest version of the key that wraps it now. No sector is touched, and
/// reads and writes continue meanwhile. If it is killed at any instant, the volume opens with the old version or the
/// new one.
///
/// The URL of the new version goes to `url`, which may be NULL; otherwise it needs room for ATREST_KEY_URL_SIZE bytes.
///
/// Errors: ATREST_ERR_NOT_THIS_VAULT; ATREST_ERR_READ_ONLY; the errors of the vault and the device. Even after a
/// failure of the device, the volume opens with the old version or the new one.
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

/// Moves a volume from the vault with the id `from` to the key `key_name` of `vault`: a token for it replaces those of
/// the other. `from` isn't asked, and may be gone. Ways in by other vaults, and passphrases, stay. No sector is touched,
/// and reads and writes continue meanwhile. If it is killed at any instant, the volume opens with the one or the other.
///
/// The URL of the key's version goes to `url`, as by atrest_volume_rotate_kek.
///
/// Errors: ATREST_ERR_NOT_THIS_VAULT if no token names `from`; otherwise as atrest_volume_add_protector.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_move_kek(
    volume: *mut atrest_volume,
    from: *const c_char,
    vault: *const atrest_vault,
    key_name: *const c_char,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (volume, vault) = (handle!(volume), handle!(vault));
        let (from, key) = (text!(from), text!(key_name));
        let url = whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE);
        put_url(url, &volume.move_kek(from, vault.get(), key)?)
    })
}

/// Adds another way into a volume, and puts its number into `id`: the number of a token if `protector` is a vault,
/// otherwise of a keyslot. `options` may be NULL, and have no effect for a vault, whose token takes the context of the
/// existing tokens. If it is killed at any instant, the volume has the new way or not, and always keeps the earlier
/// ones.
///
/// Errors: ATREST_ERR_NO_ROOM if all keyslots or tokens are taken; ATREST_ERR_READ_ONLY; ATREST_ERR_INVALID_OPTION and
/// ATREST_ERR_BAD_ENUM for options and passphrases out of bounds; ATREST_ERR_UNSUPPORTED_HEADER for a vault on LUKS1;
/// ATREST_ERR_BUSY if another program has changed the header since the volume was opened; the errors of the vault and
/// the device.
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

/// Replaces a keyslot by one with a new passphrase or key file, and puts the new keyslot's number into `new_id`. The
/// new keyslot is made before the old one is destroyed, so a free keyslot is needed. It inherits the priority, unless
/// `options`, which may be NULL, set another than ATREST_PRIORITY_NORMAL. If it is killed at any instant, the volume
/// opens with the old or the new passphrase, or both.
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

/// Removes a keyslot and overwrites its content. A backup of the header still has it.
///
/// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_LAST_PROTECTOR: atrest_header_erase also removes the last one;
/// ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY as in atrest_volume_add_protector; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_remove_keyslot(volume: *mut atrest_volume, id: u32) -> atrest_status {
    run(|| Ok(handle!(volume).header().remove_protector(ProtectorId::Keyslot(id))?))
}

/// Removes a token: a vault's, or another program's.
///
/// Errors: those of atrest_volume_remove_keyslot; ATREST_ERR_NO_SUCH_PROTECTOR in LUKS1, which has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_remove_token(volume: *mut atrest_volume, id: u32) -> atrest_status {
    run(|| Ok(handle!(volume).header().remove_protector(ProtectorId::Token(id))?))
}

/// The size of the data in bytes.
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

/// The first byte of the data on the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_data_offset(volume: *const atrest_volume, out: *mut u64) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(out));
        out.set(volume.data_offset());
        Ok(())
    })
}

/// The cipher of the data, in dm-crypt's notation, such as "aes-xts-plain64".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_cipher(
    volume: *const atrest_volume,
    cipher: *mut c_char,
    cipher_cap: usize,
    cipher_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(cipher, cipher_cap, cipher_len).put(handle!(volume).cipher().name()))
}

/// The attack that the volume's cipher allows and AES-XTS with 64-bit sector numbers prevents, as a text; empty if there is
/// none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_cipher_weakness(
    volume: *const atrest_volume,
    weakness: *mut c_char,
    weakness_cap: usize,
    weakness_len: *mut usize,
) -> atrest_status {
    run(|| {
        let out = text_out!(weakness, weakness_cap, weakness_len);
        out.put(handle!(volume).cipher().weakness().unwrap_or_default())
    })
}

/// 1 if nothing can be written to the volume: because its user opened it so, or its cipher is too weak; otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_is_read_only(volume: *const atrest_volume, out: *mut u32) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(out));
        out.set(volume.is_read_only().into());
        Ok(())
    })
}

/// The number of 16-byte blocks that the volume's key has encrypted: the option `used_blocks` and all writes since.
/// Compare it with ATREST_BLOCKS_DUE, and store it when you close the volume.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_usage(volume: *const atrest_volume, blocks: *mut u64) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(blocks));
        out.set(volume.usage().blocks());
        Ok(())
    })
}

/// Whether the volume uses approved algorithms: its cipher, and the way in which it was opened or formatted. As
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

/// Records the current size of the volume, if a vault's token records another. Use it after the device was enlarged, or
/// was shrunk on purpose (ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED). From then on the volume opens without that flag. The
/// size in bytes goes to `size`, which may be NULL.
///
/// Errors: ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY if another program has changed the header since the volume was opened;
/// the device's errors.
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

/// The fingerprint of the volume's DEK, 32 bytes: see atrest_dek_fingerprint. Compare it before the first read or
/// write.
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

/// The DEK of the volume, as a new handle, for wrapping it elsewhere too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_dek(volume: *const atrest_volume, out: *mut *mut atrest_dek) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), out!(out));
        out.handle((*volume.dek()).clone());
        Ok(())
    })
}

/// Calls `each` with the URL of every key version that can unwrap the volume's DEK. The URL is valid during the
/// callback only. `each` returns ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
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
