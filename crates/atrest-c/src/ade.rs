//! AZURE DISK ENCRYPTION
//!
//! Azure Disk Encryption (ADE) encrypts a disk inside the guest: that of Linux by LUKS, that of Windows by BitLocker. The
//! passphrase of LUKS, or the file with BitLocker's startup key (.BEK), is a secret in an Azure key vault, mostly wrapped by an
//! RSA key; that of Linux may be in a token of the disk instead. These open such a disk and give it a new passphrase or startup
//! key. They bring that of Linux under a key of a vault of this library. docs/ade.md has the steps for an operator. NO REAL AZURE
//! WAS TRIED: try it on a copy of a disk first.
//!
//! Where the comments below say 'passphrase' and 'keyslot', a BitLocker volume has a startup key and a protector, unless they say
//! more.
//!
//! `vaults` are those that may be asked; requests go to no other vault, even if a tag or a token names one. All but
//! atrest_ade_generate_passphrase fail with ATREST_ERR_NOT_THIS_VAULT if the secret or the key is in another one, and with the
//! vaults' errors: ATREST_ERR_NO_SUCH_KEY and the like name a secret or a key, ATREST_ERR_UNWRAP_FAILED is for a passphrase that
//! the key didn't wrap. Without the feature `ade` of the library's build they fail with ATREST_ERR_UNSUPPORTED.

use core::ffi::{c_char, c_void};

use atrest::OpenOptions;

use crate::ade_given::{Given, New};
#[cfg(not(feature = "ade"))]
use crate::ade_missing as work;
use crate::ade_vaults::{AdeVault, atrest_ade_vault};
#[cfg(feature = "ade")]
use crate::ade_work as work;
use crate::args::check_flags;
use crate::device::atrest_device;
use crate::failure::{Failure, Result, run};
use crate::keyslots::{atrest_keyslot_options, keyslot_options};
use crate::status::{ATREST_ERR_INVALID_OPTION, atrest_status};
use crate::structs::SizedStruct;
use crate::vault::atrest_vault;
use crate::vault_callbacks::{ATREST_WRAP_RSA_OAEP, ATREST_WRAP_RSA_OAEP_256, ATREST_WRAP_RSA1_5};
use crate::volume::atrest_volume;
use crate::volume_options::{atrest_open_options, open_options};

/// Flag: re-encrypt the data under a new DEK that only the vault wraps. The old DEK, which an administrator of the guest may
/// know, then decrypts nothing. Re-encryption reads and writes the whole disk, and EVERY OTHER KEYSLOT GOES.
pub const ATREST_ADE_REENCRYPT: u32 = 1;

/// The size of a buffer for the URL of any secret, with its zero byte.
pub const ATREST_ADE_URL_SIZE: usize = 513;
/// The length of a passphrase of ADE: 127 random bytes in base64.
pub const ATREST_ADE_PASSPHRASE_LEN: usize = 172;

/// A disk of ADE, and where its passphrase is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_ade_disk {
    /// Set by ATREST_ADE_DISK_INIT.
    pub struct_size: usize,
    /// The disk.
    pub device: *mut atrest_device,
    /// The device of the header, if it is detached, as OS disks have it: the file /boot/luks/osluksheader on the boot
    /// partition. NULL is the disk.
    pub header: *mut atrest_device,
    /// The secret with the passphrase, https://NAME.vault.azure.net/secrets/SECRET/VERSION, which the settings of the virtual
    /// machine name. NULL: the passphrase is in the disk's token, as on confidential virtual machines.
    pub secret_url: *const c_char,
    /// The key that wraps the secret's passphrase, with its version, if the secret's tags don't say:
    /// https://NAME.vault.azure.net/keys/KEY/VERSION. NULL: as the tags say.
    pub kek_url: *const c_char,
    /// With `kek_url`: ATREST_WRAP_RSA_OAEP, ATREST_WRAP_RSA_OAEP_256 or ATREST_WRAP_RSA1_5. 0 is ATREST_WRAP_RSA_OAEP.
    pub kek_algorithm: u32,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_ade_disk {}

/// The result of a take-over: the ways into the disk that it removed and left. Bit n stands for keyslot or token n.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_ade_taken_over {
    /// Set by ATREST_ADE_TAKEN_OVER_INIT.
    pub struct_size: usize,
    /// The keyslots that the passphrase opened, which this call removed.
    pub removed_keyslots: u32,
    /// The tokens of ADE, which this call removed.
    pub removed_tokens: u32,
    /// Other keyslots, such as an administrator's. They stay, and their passphrases still open the disk.
    pub left_keyslots: u32,
    /// Their tokens, which stay too.
    pub left_tokens: u32,
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_ade_taken_over {}

/// The first passphrase of ADE of a volume that has none: the place for it, and the fields that go there with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_ade_new_passphrase {
    /// Set by ATREST_ADE_NEW_PASSPHRASE_INIT.
    pub struct_size: usize,
    /// For atrest_ade_add_secret: the secret, https://NAME.vault.azure.net/secrets/SECRET, without a version.
    pub secret_url: *const c_char,
    /// The key that wraps the passphrase, with its version: https://NAME.vault.azure.net/keys/KEY/VERSION. NULL: it isn't
    /// wrapped, which only a secret allows.
    pub kek_url: *const c_char,
    /// With a secret and `kek_url`: as in an atrest_ade_disk. A token always has ATREST_WRAP_RSA_OAEP_256.
    pub kek_algorithm: u32,
    /// For a secret: its tag MachineName, or NULL.
    pub machine_name: *const c_char,
    /// For a secret: its tag DiskEncryptionKeyFileName. NULL is LinuxPassPhraseFileName; that of a data disk ends with
    /// _CONTROLLER_LUN. For a BitLocker volume it must be NULL: the name is that of the startup key, its identifier and .BEK.
    pub file_name: *const c_char,
    /// For a token: the URL of the key vault, or NULL.
    pub vault_url: *const c_char,
    /// For a token: the resource id of the key vault, or NULL.
    pub vault_resource: *const c_char,
    /// For a token: the URL of the service that attests the machine to the vault, or NULL.
    pub attestation_url: *const c_char,
    /// For a secret of a BitLocker volume: its tag VolumeLetter, such as "C:\\", or NULL.
    pub volume_letter: *const c_char,
    /// For a secret of a BitLocker volume: its tag VolumeLabel, or NULL.
    pub volume_label: *const c_char,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_ade_new_passphrase {
    const EARLIER: &'static [usize] = &[core::mem::offset_of!(atrest_ade_new_passphrase, volume_letter)];
}

/// Opens a disk by its passphrase, which is found in its secret or its token. Nothing is changed in a vault or in the header.
/// `options` may be NULL; its `header` must be, since `disk` has it.
///
/// Errors: those of this section; ATREST_ERR_NO_SUCH_PROTECTOR without a token, for the passphrase of Linux where the disk is
/// BitLocker, for a startup key where it is LUKS, and for that of another disk; ATREST_ERR_WRONG_PASSPHRASE if the passphrase
/// opens nothing; ATREST_ERR_INVALID_OPTION for a BitLocker disk whose secret holds no startup key, though its tags name the file
/// of one; ATREST_ERR_INVALID_NAME for another form of a URL; those of atrest_volume_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_open(
    disk: *const atrest_ade_disk,
    vaults: *const *const atrest_ade_vault,
    count: usize,
    options: *const atrest_open_options,
    out: *mut *mut atrest_volume,
) -> atrest_status {
    run(|| {
        let (disk, vaults, out) = (structure!(disk), slice!(vaults, count), out!(out));
        out.handle(work::open(&disk_of(&disk)?, &vaults_of(vaults)?, &options_of(options)?)?);
        Ok(())
    })
}

/// Brings a disk under the key `key_name` of `vault`, and opens it by that. `flags` is 0 or ATREST_ADE_REENCRYPT. `options` is
/// as in atrest_ade_open. The removed and remaining ways in go to `done`, which may be NULL.
///
/// The order makes it safe to kill at any instant, and to call again, which does the rest: the disk gets a token for the
/// vault's key; it is opened anew by the vault alone, and must have the same DEK; if asked for, it is re-encrypted; only then
/// the keyslots that the passphrase opens and the tokens of ADE are removed. A call after a kill needs the passphrase too:
/// delete its secret when neither the disk nor its snapshots need it.
///
/// Errors: those of atrest_ade_open and atrest_volume_add_protector; ATREST_ERR_UNSUPPORTED_HEADER for LUKS1: convert it by
/// atrest_header_convert_to_luks2 first; and for BitLocker, which has no place for a vault's key: copy the data. After an error the
/// disk opens as before, or by the vault, or both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_take_over(
    disk: *const atrest_ade_disk,
    vaults: *const *const atrest_ade_vault,
    count: usize,
    vault: *const atrest_vault,
    key_name: *const c_char,
    flags: u32,
    options: *const atrest_open_options,
    done: *mut atrest_ade_taken_over,
    out: *mut *mut atrest_volume,
) -> atrest_status {
    run(|| {
        let (disk, vaults, vault) = (structure!(disk), slice!(vaults, count), handle!(vault));
        let (key, out) = (text!(key_name), out!(out));
        let done = if done.is_null() { None } else { Some(struct_out!(done)) };
        check_flags(flags, ATREST_ADE_REENCRYPT)?;
        let (disk, vaults, options) = (disk_of(&disk)?, vaults_of(vaults)?, options_of(options)?);
        let reencrypt = flags & ATREST_ADE_REENCRYPT != 0;
        let (volume, told) = work::take_over(&disk, &vaults, vault.get(), key, reencrypt, &options)?;
        if let Some(done) = done {
            done.set(atrest_ade_taken_over {
                struct_size: size_of::<atrest_ade_taken_over>(),
                removed_keyslots: told.removed.0,
                removed_tokens: told.removed.1,
                left_keyslots: told.left.0,
                left_tokens: told.left.1,
            });
        }
        out.handle(volume);
        Ok(())
    })
}

/// Gives a disk a new passphrase, as a new version of its secret with the same tags, except for the name of a startup key's file.
/// Puts the URL with that version into `url`, which has room for ATREST_ADE_URL_SIZE bytes. The settings of the virtual machine
/// must name it from then on.
///
/// `disk.secret_url` names the version that the disk has now. The secret gets the new passphrase before the disk does, and the
/// old keyslot goes when the disk has been opened by the vault's answer. Killed at any instant, the disk opens by the version
/// before, or the newest, or both: call it again with the same URL then, and no third version is made. `options` is as in
/// atrest_ade_open; `keyslot`, the options of the new keyslot, may be NULL.
///
/// Errors: those of atrest_ade_open and atrest_volume_add_protector; ATREST_ERR_INVALID_OPTION for no URL, or one without a
/// version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_replace_secret(
    disk: *const atrest_ade_disk,
    vaults: *const *const atrest_ade_vault,
    count: usize,
    options: *const atrest_open_options,
    keyslot: *const atrest_keyslot_options,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (disk, vaults, keyslot) = (structure!(disk), slice!(vaults, count), keyslot_options(keyslot)?);
        let url = whole_text_out!(url, url_cap, ATREST_ADE_URL_SIZE).ok_or_else(|| Failure::null("url"))?;
        let (disk, vaults, options) = (disk_of(&disk)?, vaults_of(vaults)?, options_of(options)?);
        url.put(&work::replace_secret(&disk, &vaults, options, keyslot)?)
    })
}

/// Gives a disk whose passphrase is in its token a new one, under the same key, in a new token. `disk.secret_url` is NULL.
/// Killed at any instant, the disk opens by the first token of type Azure_Disk_Encryption, or by the backup of one where
/// there is none, which is how ADE's own program reads them; call it again then. `options` and `keyslot` are as in
/// atrest_ade_replace_secret.
///
/// Errors: those of atrest_ade_open and atrest_volume_add_protector; ATREST_ERR_INVALID_HEADER for a token beside the disk's own
/// that isn't sound; ATREST_ERR_INVALID_OPTION for a URL of a secret.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_replace_token(
    disk: *const atrest_ade_disk,
    vaults: *const *const atrest_ade_vault,
    count: usize,
    options: *const atrest_open_options,
    keyslot: *const atrest_keyslot_options,
) -> atrest_status {
    run(|| {
        let (disk, vaults, keyslot) = (structure!(disk), slice!(vaults, count), keyslot_options(keyslot)?);
        let (disk, vaults, options) = (disk_of(&disk)?, vaults_of(vaults)?, options_of(options)?);
        work::replace_token(&disk, &vaults, options, keyslot)
    })
}

/// Gives an open volume its first passphrase of ADE, as a secret of a vault, and a keyslot for it, and puts the URL with the
/// secret's version into `url`, which has room for ATREST_ADE_URL_SIZE bytes: the settings of the virtual machine must name it.
/// The other ways into the volume stay. `keyslot` may be NULL.
///
/// The secret is in the vault before the volume has the keyslot, which is proven with the passphrase that the vault returns. Killed
/// at any instant, the volume opens as before; call it again with the same arguments then, and no second version is made: the
/// secret's tag VolumeUUID says whose it is. To undo a killed call instead, delete the secret.
///
/// Errors: those of this section and of atrest_volume_add_protector; ATREST_ERR_RESOURCE_EXISTS for a secret that is there
/// with other tags, which may be another disk's; ATREST_ERR_INVALID_OPTION for no URL, or one with a version, and for a file name
/// where the volume is BitLocker; ATREST_ERR_INVALID_NAME for another form of a URL; ATREST_ERR_UNSUPPORTED_HEADER for a volume
/// that is neither LUKS nor BitLocker.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_add_secret(
    volume: *mut atrest_volume,
    new_passphrase: *const atrest_ade_new_passphrase,
    vaults: *const *const atrest_ade_vault,
    count: usize,
    keyslot: *const atrest_keyslot_options,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (volume, new, vaults) = (handle!(volume), structure!(new_passphrase), slice!(vaults, count));
        let url = whole_text_out!(url, url_cap, ATREST_ADE_URL_SIZE).ok_or_else(|| Failure::null("url"))?;
        let (new, vaults, keyslot) = (new_of(&new)?, vaults_of(vaults)?, keyslot_options(keyslot)?);
        url.put(&work::add_secret(volume, &new, &vaults, &keyslot)?)
    })
}

/// Gives an open volume its first passphrase of ADE in a token of type Azure_Disk_Encryption, as confidential virtual machines
/// have it, wrapped under `kek_url` by RSA-OAEP-256, and a keyslot for it. The other ways into the volume stay. `keyslot` may be
/// NULL. Killed at any instant, the volume opens as before, and has such a token only when its passphrase opens it; call it
/// again then.
///
/// Errors: those of this section and of atrest_volume_add_protector; ATREST_ERR_RESOURCE_EXISTS if the volume has such a token
/// already, or one of a killed call that names something else; ATREST_ERR_INVALID_OPTION for the URL of a secret;
/// ATREST_ERR_INVALID_NAME for no key, or another form of its URL; ATREST_ERR_UNSUPPORTED_HEADER for LUKS1, which has no tokens,
/// and for a volume that isn't LUKS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_add_token(
    volume: *mut atrest_volume,
    new_passphrase: *const atrest_ade_new_passphrase,
    vaults: *const *const atrest_ade_vault,
    count: usize,
    keyslot: *const atrest_keyslot_options,
) -> atrest_status {
    run(|| {
        let (volume, new, vaults) = (handle!(volume), structure!(new_passphrase), slice!(vaults, count));
        let (new, vaults, keyslot) = (new_of(&new)?, vaults_of(vaults)?, keyslot_options(keyslot)?);
        work::add_token(volume, &new, &vaults, &keyslot)
    })
}

/// Makes a new passphrase as ADE of Linux has them, ATREST_ADE_PASSPHRASE_LEN bytes without a zero byte at the end. The caller
/// must wipe it.
///
/// Errors: ATREST_ERR_BUFFER_TOO_SHORT; ATREST_ERR_RANDOM; ATREST_ERR_UNSUPPORTED without the feature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_generate_passphrase(
    passphrase: *mut c_void,
    passphrase_cap: usize,
    passphrase_len: *mut usize,
) -> atrest_status {
    run(|| {
        let out = bytes_out!(passphrase, passphrase_cap, passphrase_len);
        out.check(ATREST_ADE_PASSPHRASE_LEN)?;
        out.put(work::generate()?.expose())
    })
}

/// Makes the value of a secret for a passphrase, or for the bytes of a file .BEK: in base64 if `kek_url` is NULL, or wrapped under
/// that key by `kek_algorithm`, as in an atrest_ade_disk, and in base64url. Without a key the value gives everybody the passphrase:
/// the caller must wipe it.
///
/// Errors: those of this section; ATREST_ERR_BUFFER_TOO_SHORT, after the vault was asked; ATREST_ERR_BAD_ENUM;
/// ATREST_ERR_INVALID_NAME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_seal(
    passphrase: *const c_void,
    passphrase_len: usize,
    kek_url: *const c_char,
    kek_algorithm: u32,
    vaults: *const *const atrest_ade_vault,
    count: usize,
    value: *mut c_void,
    value_cap: usize,
    value_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (passphrase, vaults) = (bytes!(passphrase, passphrase_len), slice!(vaults, count));
        let out = bytes_out!(value, value_cap, value_len);
        let kek = optional_text!(kek_url).map(|url| Ok::<_, Failure>((url, algorithm(kek_algorithm)?))).transpose()?;
        out.put(work::seal(passphrase, kek, &vaults_of(vaults)?)?.expose())
    })
}

fn disk_of<'a>(c: &atrest_ade_disk) -> Result<Given<'a>> {
    let (secret, kek) = (optional_text!(c.secret_url), optional_text!(c.kek_url));
    if secret.is_none() && kek.is_some() {
        let text = "`disk.kek_url` is for a passphrase in a secret; a token names its key itself";
        return Err(Failure::new(ATREST_ERR_INVALID_OPTION, text));
    }
    let header = if c.header.is_null() { None } else { Some(handle!(c.header)) };
    let kek = kek.map(|url| Ok::<_, Failure>((url, algorithm(c.kek_algorithm)?))).transpose()?;
    Ok(Given { device: handle!(c.device), header, secret, kek })
}

fn new_of<'a>(c: &atrest_ade_new_passphrase) -> Result<New<'a>> {
    Ok(New {
        secret: optional_text!(c.secret_url),
        kek: optional_text!(c.kek_url),
        algorithm: algorithm(c.kek_algorithm)?,
        machine: optional_text!(c.machine_name),
        file: optional_text!(c.file_name),
        vault: optional_text!(c.vault_url),
        resource: optional_text!(c.vault_resource),
        attestation: optional_text!(c.attestation_url),
        letter: optional_text!(c.volume_letter),
        label: optional_text!(c.volume_label),
    })
}

fn algorithm(number: u32) -> Result<&'static str> {
    match number {
        0 | ATREST_WRAP_RSA_OAEP => Ok("RSA-OAEP"),
        ATREST_WRAP_RSA_OAEP_256 => Ok("RSA-OAEP-256"),
        ATREST_WRAP_RSA1_5 => Ok("RSA1_5"),
        other => Err(Failure::bad_enum("kek_algorithm", other)),
    }
}

fn vaults_of<'a>(vaults: &[*const atrest_ade_vault]) -> Result<Vec<&'a AdeVault>> {
    vaults.iter().map(|&vault| Ok(handle!(vault))).collect()
}

fn options_of(options: *const atrest_open_options) -> Result<OpenOptions> {
    if options.is_null() {
        return Ok(OpenOptions::new());
    }
    let c = structure!(options);
    if !c.header.is_null() {
        let text = "`options.header` must be NULL: `disk.header` is the device of the header";
        return Err(Failure::new(ATREST_ERR_INVALID_OPTION, text));
    }
    open_options(&c)
}
