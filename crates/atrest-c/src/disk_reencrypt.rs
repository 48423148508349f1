//! RE-ENCRYPTION OF DISKS
//!
//! A managed disk gets a new DEK, or a plain image or an encrypted volume becomes a disk in place. It is ordered once, and then
//! done in steps, as many and as large as the caller can afford, while others read and write the disk:
//!
//!   atrest_disk_service_rekey_disk(service, "db-17");
//!   do {
//!       atrest_disk_service_reencrypt_step(service, "db-17", 16 << 20, &progress);
//!   } while (progress.under_way);
//!
//! The process may be killed at any instant: atrest_disk_service_reencrypting says which disks aren't finished.

use core::ffi::{c_char, c_void};

use crate::args::check_flags;
use crate::callback::with_text;
use crate::disk_resources::{atrest_new_disk, new_disk};
use crate::disk_service::atrest_disk_service;
use crate::failure::{Failure, run};
use crate::keyslots::{atrest_credential, credential as credential_of};
use crate::reencrypt::{atrest_reencryption_progress, described};
use crate::status::atrest_status;
use atrest::managed::{AdoptOptions, ResourceName};

/// Orders a new DEK for a disk, and begins to re-encrypt its data under it. A rotation only wraps the DEK under another key; after
/// this, a copy of the old DEK no longer decrypts the data. On a disk with two layers, the layer under the customer's key gets the
/// new DEK. Snapshots keep their own DEKs. Until it is finished, atrest_disk_begin_read and atrest_disk_begin_write fail with
/// ATREST_ERR_BUSY; this call waits for the writes that were begun so before. If it fails after the order was stored, the first
/// step begins.
///
/// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_BUSY if one was ordered already and is not finished;
/// ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_NO_ROOM; the errors of the vault and the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_rekey_disk(
    service: *const atrest_disk_service,
    disk: *const c_char,
) -> atrest_status {
    run(|| {
        handle!(service).rekey_disk(text!(disk))?;
        Ok(())
    })
}

/// Makes an existing plain image a disk. The image becomes the disk's device, which the backend moves and grows by 2 MiB; the steps
/// encrypt it. `image` is the name by which the backend knows it: in a folder, the path of a file on the same file system. The
/// size in `disk` is that of the image, at least 1 MiB, or 0. No data is encrypted twice. If it fails or is killed after its record
/// was stored, opening the disk or a step continues it.
///
/// Errors: those of atrest_disk_service_create_disk; ATREST_ERR_INVALID_OPTION for another size, for an image that has a LUKS header
/// already, and for a backend that takes in no images; ATREST_ERR_NOT_ALLOWED for a set with two layers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_import_disk(
    service: *const atrest_disk_service,
    disk: *const atrest_new_disk,
    image: *const c_char,
) -> atrest_status {
    run(|| {
        let (service, disk, image) = (handle!(service), structure!(disk), text!(image));
        // SAFETY: by the header's contract (STRUCTS, TEXT) its members are what this function demands.
        let new = unsafe { new_disk(&disk) }?;
        service.import_disk(&new, image)?;
        Ok(())
    })
}

/// Flag: a guest has encrypted the volume, as Azure Disk Encryption does, so anyone who was root there may have its
/// DEK.
pub const ATREST_ADOPT_GUEST_ENCRYPTED: u32 = 1;
/// Flag: order a new DEK for the data.
pub const ATREST_ADOPT_REENCRYPT: u32 = 2;

/// Makes an existing encrypted volume a disk, with its data: a LUKS2 volume in `image` that `credential` opens. The image becomes the
/// disk's device, which the backend moves, as in atrest_disk_service_import_disk. It comes under the key of the disk's set, or the
/// platform's; THEN EVERY OTHER WAY IN IS REMOVED, all keyslots and the tokens of other programs. The data stays where it is. `flags`
/// are 0 or ATREST_ADOPT_*. The size in `disk` is that of the volume, or 0; the sector size is the volume's.
///
/// With ATREST_ADOPT_REENCRYPT the steps below move the data to a new DEK. Without the flag, anyone with the old DEK can read the
/// data until atrest_disk_service_rekey_disk is finished. A volume that a guest encrypted comes into a set only with the flag;
/// without, it comes under the platform's key with the mark of atrest_disk_service_mark_guest_encrypted.
///
/// If it fails or is killed after the record was stored, call it again: it goes on. Once the vault opens the volume, opening the
/// disk goes on too. At every instant the volume opens by its previous credential, or by the vault.
///
/// Errors: those of atrest_volume_open and atrest_disk_service_create_disk; ATREST_ERR_BAD_ENUM for `flags`;
/// ATREST_ERR_NOT_ALLOWED for a set with two layers, and for a volume that a guest encrypted; ATREST_ERR_INVALID_OPTION for another
/// size, a weak cipher, a volume that is being re-encrypted, and a backend that takes in no images; ATREST_ERR_UNSUPPORTED_HEADER
/// for LUKS1 and BitLocker; ATREST_ERR_NOT_LUKS, also for a detached header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_adopt_disk(
    service: *const atrest_disk_service,
    disk: *const atrest_new_disk,
    image: *const c_char,
    credential: *const atrest_credential,
    flags: u32,
) -> atrest_status {
    run(|| {
        let (service, disk, image) = (handle!(service), structure!(disk), text!(image));
        let credential = credential_of(&structure!(credential))?;
        check_flags(flags, ATREST_ADOPT_GUEST_ENCRYPTED | ATREST_ADOPT_REENCRYPT)?;
        // SAFETY: by the header's contract (STRUCTS, TEXT) its members are what this function demands.
        let new = unsafe { new_disk(&disk) }?;
        let options = AdoptOptions::new()
            .guest_encrypted(flags & ATREST_ADOPT_GUEST_ENCRYPTED != 0)
            .reencrypt(flags & ATREST_ADOPT_REENCRYPT != 0);
        service.adopt_disk(&new, image, credential, &options)?;
        Ok(())
    })
}

/// Re-encrypts about `budget` bytes of a disk for which that was ordered. Others read and write meanwhile, and wait only for the zone
/// of up to 16 MiB that is being rewritten. Unless the disk is open, each call asks its vault. `progress`, which may be NULL,
/// starts from ATREST_REENCRYPTION_PROGRESS_INIT. If nothing was ordered, nothing is done.
///
/// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_DISK_SUSPENDED while its key may not be used; ATREST_ERR_OLDER_HEADER if an older
/// device or header was put back; the errors of the vault and the device. After a failure of the device, access to the zone that
/// was being rewritten fails with ATREST_ERR_BUSY until a step succeeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_reencrypt_step(
    service: *const atrest_disk_service,
    disk: *const c_char,
    budget: u64,
    progress: *mut atrest_reencryption_progress,
) -> atrest_status {
    run(|| {
        let (service, disk) = (handle!(service), text!(disk));
        let out = if progress.is_null() { None } else { Some(struct_out!(progress)) };
        let now = service.reencrypt_step(disk, budget)?;
        if let Some(out) = out {
            out.set(described(Some(now)));
        }
        Ok(())
    })
}

/// Withdraws an order that has not begun, because a vault or a device failed, or the process was killed: of
/// atrest_disk_service_rekey_disk, after which the disk keeps its DEK, or of atrest_disk_service_import_disk, after which there is
/// no disk and the image is unchanged. One that has begun has to be finished; it pauses for as long as nobody calls
/// atrest_disk_service_reencrypt_step. An import has begun once its image is the disk's device.
///
/// Errors: ATREST_ERR_INVALID_OPTION if it has begun, if nothing is ordered, or if the order came with
/// atrest_disk_service_adopt_disk; ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_BUSY; if only the device tells whether it has begun,
/// ATREST_ERR_DISK_SUSPENDED and the errors of the vault and the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_cancel_reencryption(
    service: *const atrest_disk_service,
    disk: *const c_char,
) -> atrest_status {
    run(|| {
        handle!(service).cancel_reencryption(text!(disk))?;
        Ok(())
    })
}

/// How far the last re-encryption of a disk is, by the store: no vault and no device is asked. `progress` starts from
/// ATREST_REENCRYPTION_PROGRESS_INIT; `under_way` is 1 from the order until it is finished, and `rate` is 0. All is 0 if none was
/// ever ordered.
///
/// Errors: ATREST_ERR_NO_SUCH_RESOURCE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_reencryption(
    service: *const atrest_disk_service,
    disk: *const c_char,
    progress: *mut atrest_reencryption_progress,
) -> atrest_status {
    run(|| {
        let (service, disk, out) = (handle!(service), text!(disk), struct_out!(progress));
        let last = service.resource(&ResourceName::disk(disk))?.reencryption;
        let mut told = described(None);
        if let Some(last) = last {
            (told.under_way, told.done, told.total) = ((!last.is_finished()).into(), last.done, last.total);
        }
        out.set(told);
        Ok(())
    })
}

/// Calls `each` with the name of every disk for which a re-encryption was ordered that is not finished, in order. Otherwise as
/// atrest_disk_service_names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_reencrypting(
    service: *const atrest_disk_service,
    each: Option<unsafe extern "C" fn(user: *mut c_void, name: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, each) = (handle!(service), each.ok_or_else(|| Failure::null("each"))?);
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until it returns.
        service.reencrypting()?.iter().try_for_each(|name| with_text(name, |name| unsafe { each(user, name) }))
    })
}
