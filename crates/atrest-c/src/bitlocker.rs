//! BITLOCKER
//!
//! BitLocker volumes of Windows: atrest_volume_open opens one as it opens LUKS, by a passphrase (the password), a recovery
//! password, a startup key, or the clear key of a volume whose protection is suspended. Protectors by a TPM open in
//! Windows alone. Volumes of Windows 7 to 11 and of BitLocker To Go are read and written; those of Vista, and those that
//! are being converted, are only read. docs/behaviours.md has the programs that this was tried with; Windows was not.
//!
//! atrest_volume_add_protector, atrest_volume_change_keyslot and atrest_volume_remove_keyslot change the protectors, of
//! which the first is number 0; when one is removed, those behind it get the number before. atrest_header_keyslots lists
//! them: `kind` is its kind, such as "password", "recovery password", "startup key", "clear key" or "TPM and PIN".
//! atrest_header_segments lists the data: "crypt", "linear" for data that isn't encrypted yet, and "hidden" for the
//! metadata, which reads as zeros. Such a header has no backup of its own; an image of the volume has it.
//!
//! All of it needs a library built with the feature `bitlocker`. Without it, these functions and credentials fail with
//! ATREST_ERR_UNSUPPORTED, and atrest_volume_open with ATREST_ERR_NOT_LUKS, whose message names BitLocker.

use core::ffi::c_char;
use std::path::Path;

use crate::device::{Device, atrest_device};
#[cfg(feature = "bitlocker")]
use crate::failure::Failure;
use crate::failure::{Result, run};
use crate::keyslots::{atrest_protector, protector as protector_of};
use crate::output::TextOut;
#[cfg(feature = "bitlocker")]
use crate::status::ATREST_ERR_OTHER;
use crate::status::atrest_status;
use crate::structs::SizedStruct;
use crate::volume::atrest_volume;

/// The size of a buffer for a recovery password, with its zero byte.
pub const ATREST_RECOVERY_PASSWORD_SIZE: usize = 56;

/// The size of a buffer for the name of a startup key's file, with its zero byte.
pub const ATREST_STARTUP_KEY_NAME_SIZE: usize = 41;

/// Options for making a BitLocker volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_bitlocker_options {
    /// Set by ATREST_BITLOCKER_OPTIONS_INIT.
    pub struct_size: usize,
    /// 0 or ATREST_FORMAT_OVERWRITE.
    pub flags: u32,
    /// The sector size of the device: 512 or 4096 bytes. 0 is 512.
    pub sector_size: u32,
    /// ATREST_AES_128_XTS, which Windows takes by default, or ATREST_AES_256_XTS. 0 is ATREST_AES_256_XTS.
    pub dek_algorithm: u32,
    /// A description of up to 256 characters. Windows has the names of the machine and the drive there, and the date. NULL
    /// is none.
    pub description: *const c_char,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_bitlocker_options {}

/// Makes a BitLocker volume on `device`, with a new DEK and `protector` as its first way in: a passphrase or key file, whose
/// content is the password, or a recovery password. Add the second, which Windows asks for, by
/// atrest_volume_add_protector. `options` may be NULL.
///
/// The volume's own places lie in the last 268 KiB of the device, and atrest_volume_size leaves them out. MAKE THE FILE SYSTEM
/// NO LARGER: another program that opens the volume shows zeros there, and some programs lose the data that is written there.
/// The data area isn't written, and reads as noise until it is.
///
/// Errors: ATREST_ERR_DEVICE_NOT_BLANK, without ATREST_FORMAT_OVERWRITE; ATREST_ERR_DEVICE_TOO_SMALL under 1 MiB and 4 KiB;
/// ATREST_ERR_INVALID_OPTION, also for a vault, which BitLocker has no place for, and for a passphrase that isn't UTF-8;
/// ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_NOT_APPROVED; ATREST_ERR_UNSUPPORTED without the feature; the
/// device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_format_bitlocker(
    device: *mut atrest_device,
    protector: *const atrest_protector,
    options: *const atrest_bitlocker_options,
    out: *mut *mut atrest_volume,
) -> atrest_status {
    run(|| {
        let (device, protector, out) = (handle!(device), protector_of(&structure!(protector))?, out!(out));
        let options = if options.is_null() { None } else { Some(structure!(options)) };
        out.handle(format(device, protector, options.as_ref())?);
        Ok(())
    })
}

/// Makes a new recovery password, 55 characters from 128 random bits: eight groups of six digits, with dashes between them. A
/// buffer of ATREST_RECOVERY_PASSWORD_SIZE bytes has room for it. Print it, keep it apart from the volume, and wipe it.
///
/// Errors: ATREST_ERR_BUFFER_TOO_SHORT; ATREST_ERR_RANDOM; ATREST_ERR_UNSUPPORTED without the feature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_recovery_password_generate(
    password: *mut c_char,
    password_cap: usize,
    password_len: *mut usize,
) -> atrest_status {
    run(|| generate(text_out!(password, password_cap, password_len)))
}

/// Makes a new startup key, 256 random bits, and writes its file into a folder by the name that Windows looks for there, which is
/// put into `name` unless that is NULL: such as 4381F759-C4F8-4DE0-BB61-FC33A831BDA5.BEK. Only its owner may read it. Then add
/// it to a volume by ATREST_PROTECTOR_STARTUP_KEY.
///
/// Errors: ATREST_ERR_BUFFER_TOO_SHORT for a buffer of fewer than ATREST_STARTUP_KEY_NAME_SIZE bytes; ATREST_ERR_NOT_FOUND
/// without the folder; ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_IO; ATREST_ERR_RANDOM; ATREST_ERR_UNSUPPORTED without the feature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_startup_key_generate_file(
    folder: *const c_char,
    name: *mut c_char,
    name_cap: usize,
) -> atrest_status {
    run(|| {
        let (folder, name) = (path!(folder), whole_text_out!(name, name_cap, ATREST_STARTUP_KEY_NAME_SIZE));
        let made = startup_key_file(folder)?;
        name.map_or(Ok(()), |name| name.put(&made))
    })
}

/// Suspends the protection of a BitLocker volume, as before a change of the firmware: A KEY THAT OPENS THE VOLUME IS WRITTEN TO IT
/// IN THE CLEAR, beside its other protectors. ATREST_CREDENTIAL_CLEAR_KEY opens it from then on, and so does Windows without
/// asking. Puts the number of the clear key's protector into `id`. A volume that is suspended stays as it is.
///
/// atrest_volume_resume_protection takes the key away. Anyone who has copied it meanwhile keeps the volume's key for
/// good.
///
/// Errors: ATREST_ERR_UNSUPPORTED_HEADER for another format; ATREST_ERR_UNSUPPORTED without the feature; those of
/// atrest_volume_add_protector.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_volume_suspend_protection(
    volume: *mut atrest_volume,
    id: *mut u32,
) -> atrest_status {
    run(|| {
        let (volume, id) = (handle!(volume), out!(id));
        id.set(suspend(volume)?);
        Ok(())
    })
}

/// Resumes the protection of a BitLocker volume: all clear keys are removed, and overwritten. Puts 1 into `was_suspended` if there
/// was one, or 0.
///
/// Errors: ATREST_ERR_LAST_PROTECTOR if the volume has no other protector: add one first; those of
/// atrest_hazmat_volume_suspend_protection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_resume_protection(
    volume: *mut atrest_volume,
    was_suspended: *mut u32,
) -> atrest_status {
    run(|| {
        let (volume, was_suspended) = (handle!(volume), out!(was_suspended));
        was_suspended.set(resume(volume)?.into());
        Ok(())
    })
}

#[cfg(feature = "bitlocker")]
fn format(
    device: &Device,
    protector: atrest::Protector<'_>,
    options: Option<&atrest_bitlocker_options>,
) -> Result<atrest::Volume<Device>> {
    let options = options.map_or_else(|| Ok(atrest::volume::BitLockerOptions::new()), bitlocker_options)?;
    Ok(atrest::Volume::format_bitlocker(device.clone(), protector, &options)?)
}

#[cfg(feature = "bitlocker")]
fn bitlocker_options(c: &atrest_bitlocker_options) -> Result<atrest::volume::BitLockerOptions> {
    use crate::volume_options::ATREST_FORMAT_OVERWRITE;
    crate::args::check_flags(c.flags, ATREST_FORMAT_OVERWRITE)?;
    let mut options = atrest::volume::BitLockerOptions::new().overwrite(c.flags & ATREST_FORMAT_OVERWRITE != 0);
    if c.sector_size != 0 {
        options = options.sector_size(atrest::SectorSize::new(c.sector_size)?);
    }
    if c.dek_algorithm != 0 {
        options = options.dek_algorithm(crate::dek::dek_algorithm(c.dek_algorithm)?);
    }
    Ok(if c.description.is_null() { options } else { options.description(text!(c.description)) })
}

#[cfg(feature = "bitlocker")]
fn startup_key_file(folder: &Path) -> Result<String> {
    if !folder.is_dir() {
        return Err(atrest::Error::NotFound { what: "folder", path: folder.into() }.into());
    }
    let key = atrest::volume::StartupKey::generate()?;
    key.write(folder)?;
    Ok(key.file_name())
}

#[cfg(feature = "bitlocker")]
fn suspend(volume: &atrest::Volume<Device>) -> Result<u32> {
    match volume.hazmat_suspend_protection()? {
        atrest::volume::ProtectorId::Keyslot(number) => Ok(number),
        other => Err(Failure::new(ATREST_ERR_OTHER, format!("the clear key is {other}"))),
    }
}

#[cfg(feature = "bitlocker")]
fn resume(volume: &atrest::Volume<Device>) -> Result<bool> {
    Ok(volume.resume_protection()?)
}

#[cfg(feature = "bitlocker")]
fn generate(out: TextOut<'_>) -> Result {
    out.put(atrest::volume::RecoveryPassword::generate()?.expose())
}

#[cfg(not(feature = "bitlocker"))]
fn format(
    _: &Device,
    _: atrest::Protector<'_>,
    _: Option<&atrest_bitlocker_options>,
) -> Result<atrest::Volume<Device>> {
    Err(crate::bitlocker_keys::without_bitlocker())
}

#[cfg(not(feature = "bitlocker"))]
fn startup_key_file(_: &Path) -> Result<String> {
    Err(crate::bitlocker_keys::without_bitlocker())
}

#[cfg(not(feature = "bitlocker"))]
fn suspend(_: &atrest::Volume<Device>) -> Result<u32> {
    Err(crate::bitlocker_keys::without_bitlocker())
}

#[cfg(not(feature = "bitlocker"))]
fn resume(_: &atrest::Volume<Device>) -> Result<bool> {
    Err(crate::bitlocker_keys::without_bitlocker())
}

#[cfg(not(feature = "bitlocker"))]
fn generate(_: TextOut<'_>) -> Result {
    Err(crate::bitlocker_keys::without_bitlocker())
}

const _: () = assert!(ATREST_STARTUP_KEY_NAME_SIZE == 36 + 4 + 1);
const _: () = assert!(ATREST_RECOVERY_PASSWORD_SIZE == 8 * 6 + 7 + 1);
