//! WAYS INTO A VOLUME
//!
//! A credential opens a volume: a vault that unwraps its DEK, a passphrase, a key file whose content is a passphrase,
//! or the DEK itself. The header stores a vault's wrapped DEK in a token, and a passphrase's in a keyslot. Trying a
//! keyslot costs time and memory, by a key derivation function (KDF).
//!
//! A BitLocker volume has protectors in the place of keyslots: by passwords, recovery passwords, and keys in files.

use core::ffi::c_char;
use core::time::Duration;

use atrest::volume::KeyslotOptions;
use atrest::volume::Priority;
use atrest::{Credential, Protector};

use crate::args::check_flags;
use crate::bitlocker_keys as bitlocker;
use crate::dek::atrest_dek;
use crate::failure::{Failure, Result};
use crate::kdf::{atrest_kdf, kdf};
use crate::structs::SizedStruct;
use crate::vault::atrest_vault;

/// A vault that holds the KEK for the DEK.
pub const ATREST_CREDENTIAL_VAULT: u32 = 1;
/// The DEK itself.
pub const ATREST_CREDENTIAL_DEK: u32 = 2;
/// A passphrase.
pub const ATREST_CREDENTIAL_PASSPHRASE: u32 = 3;
/// A file whose whole content is the passphrase.
pub const ATREST_CREDENTIAL_KEY_FILE: u32 = 4;
/// A recovery password of BitLocker.
pub const ATREST_CREDENTIAL_RECOVERY_PASSWORD: u32 = 5;
/// A file with a startup key or recovery key of BitLocker (.BEK), as Windows writes it.
pub const ATREST_CREDENTIAL_STARTUP_KEY: u32 = 6;
/// The clear key of a BitLocker volume whose protection is suspended: it lies on the volume itself. Also no key at all, for
/// a volume that Windows has decrypted and not yet given up.
pub const ATREST_CREDENTIAL_CLEAR_KEY: u32 = 7;

/// A vault, and a key in it whose latest version wraps the DEK. It gets a token, which LUKS1 doesn't support.
pub const ATREST_PROTECTOR_VAULT: u32 = 1;
/// A passphrase. It gets a keyslot.
pub const ATREST_PROTECTOR_PASSPHRASE: u32 = 3;
/// A file whose whole content is the passphrase. It gets a keyslot.
pub const ATREST_PROTECTOR_KEY_FILE: u32 = 4;
/// A recovery password of BitLocker: atrest_recovery_password_generate makes one.
pub const ATREST_PROTECTOR_RECOVERY_PASSWORD: u32 = 5;
/// A file with a startup key of BitLocker (.BEK): atrest_startup_key_generate_file makes one. Several volumes may have the same.
pub const ATREST_PROTECTOR_STARTUP_KEY: u32 = 6;

/// Tried after those that are preferred.
pub const ATREST_PRIORITY_NORMAL: u32 = 0;
/// Tried first.
pub const ATREST_PRIORITY_PREFER: u32 = 1;
/// Tried only if the caller asks for its number.
pub const ATREST_PRIORITY_IGNORE: u32 = 2;

/// Flag: use the member `id`. Otherwise the first free keyslot is used.
pub const ATREST_KEYSLOT_ID: u32 = 1;

/// The credential for a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_credential {
    /// Set by ATREST_CREDENTIAL_INIT.
    pub struct_size: usize,
    /// ATREST_CREDENTIAL_*: selects the members below. There is no default.
    pub kind: u32,
    /// For ATREST_CREDENTIAL_VAULT.
    pub vault: *const atrest_vault,
    /// For ATREST_CREDENTIAL_DEK.
    pub dek: *const atrest_dek,
    /// For ATREST_CREDENTIAL_PASSPHRASE: 1 byte to 8 MiB. Every byte counts, including a newline at the end. It needs
    /// no zero byte at its end and isn't copied. The caller must wipe it.
    pub passphrase: *const c_char,
    /// The length of the passphrase.
    pub passphrase_len: usize,
    /// For ATREST_CREDENTIAL_KEY_FILE: its path. The bytes read from it are wiped.
    pub key_file: *const c_char,
    /// For ATREST_CREDENTIAL_RECOVERY_PASSWORD: eight groups of six digits, with dashes between them. The caller must wipe
    /// it.
    pub recovery_password: *const c_char,
    /// For ATREST_CREDENTIAL_STARTUP_KEY: the path of the file.
    pub startup_key: *const c_char,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_credential {
    const EARLIER: &'static [usize] = &[core::mem::offset_of!(atrest_credential, recovery_password)];
}

/// A new way into a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_protector {
    /// Set by ATREST_PROTECTOR_INIT.
    pub struct_size: usize,
    /// ATREST_PROTECTOR_*: selects the members below. There is no default.
    pub kind: u32,
    /// For ATREST_PROTECTOR_VAULT.
    pub vault: *const atrest_vault,
    /// For ATREST_PROTECTOR_VAULT: the name of the key in it.
    pub key_name: *const c_char,
    /// For ATREST_PROTECTOR_PASSPHRASE, as in an atrest_credential.
    pub passphrase: *const c_char,
    /// The length of the passphrase.
    pub passphrase_len: usize,
    /// For ATREST_PROTECTOR_KEY_FILE: its path. It has 1 byte to 8 MiB; the bytes read from it are wiped.
    pub key_file: *const c_char,
    /// For ATREST_PROTECTOR_RECOVERY_PASSWORD, as in an atrest_credential.
    pub recovery_password: *const c_char,
    /// For ATREST_PROTECTOR_STARTUP_KEY: the path of the file.
    pub startup_key: *const c_char,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_protector {
    const EARLIER: &'static [usize] = &[
        core::mem::offset_of!(atrest_protector, recovery_password),
        core::mem::offset_of!(atrest_protector, startup_key),
    ];
}

/// Options for a new keyslot.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_keyslot_options {
    /// Set by ATREST_KEYSLOT_OPTIONS_INIT.
    pub struct_size: usize,
    /// 0 or ATREST_KEYSLOT_ID.
    pub flags: u32,
    /// With ATREST_KEYSLOT_ID: the number of the keyslot, 0 to 31, or to 7 in LUKS1.
    pub id: u32,
    /// ATREST_PRIORITY_*. LUKS1 has no priorities.
    pub priority: u32,
    /// The time to open the keyslot on a machine like this, in milliseconds, if `kdf` is NULL. 0 is 2000.
    pub time_ms: u32,
    /// The most memory for this, in KiB: at least 32 MiB. 0 is 1 GiB, or half of the machine's memory.
    pub max_memory_kib: u32,
    /// The KDF and its costs. NULL measures costs on this machine: for Argon2id with 4 lanes, or PBKDF2 in LUKS1.
    pub kdf: *const atrest_kdf,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_keyslot_options {}

/// Converts a struct of C. The result is good for as long as the pointers in the struct are.
pub(crate) fn credential<'a>(credential: &atrest_credential) -> Result<Credential<'a>> {
    Ok(match credential.kind {
        ATREST_CREDENTIAL_VAULT => Credential::Vault(handle!(credential.vault).get()),
        ATREST_CREDENTIAL_DEK => Credential::Dek(handle!(credential.dek)),
        ATREST_CREDENTIAL_PASSPHRASE => {
            Credential::Passphrase(bytes!(credential.passphrase, credential.passphrase_len))
        }
        ATREST_CREDENTIAL_KEY_FILE => Credential::KeyFile(path!(credential.key_file)),
        ATREST_CREDENTIAL_RECOVERY_PASSWORD => bitlocker::recovery_credential(text!(credential.recovery_password))?,
        ATREST_CREDENTIAL_STARTUP_KEY => bitlocker::startup_key(path!(credential.startup_key))?,
        ATREST_CREDENTIAL_CLEAR_KEY => bitlocker::clear_key()?,
        other => return Err(Failure::bad_enum("credential.kind", other)),
    })
}

/// As [`credential`].
pub(crate) fn protector<'a>(protector: &atrest_protector) -> Result<Protector<'a>> {
    Ok(match protector.kind {
        ATREST_PROTECTOR_VAULT => Protector::Vault(handle!(protector.vault).get(), text!(protector.key_name)),
        ATREST_PROTECTOR_PASSPHRASE => Protector::Passphrase(bytes!(protector.passphrase, protector.passphrase_len)),
        ATREST_PROTECTOR_KEY_FILE => Protector::KeyFile(path!(protector.key_file)),
        ATREST_PROTECTOR_RECOVERY_PASSWORD => bitlocker::recovery_protector(text!(protector.recovery_password))?,
        ATREST_PROTECTOR_STARTUP_KEY => bitlocker::startup_protector(path!(protector.startup_key))?,
        other => return Err(Failure::bad_enum("protector.kind", other)),
    })
}

/// The options at a pointer that may be NULL.
pub(crate) fn keyslot_options(options: *const atrest_keyslot_options) -> Result<KeyslotOptions> {
    let mut made = KeyslotOptions::new();
    if options.is_null() {
        return Ok(made);
    }
    let options = structure!(options);
    check_flags(options.flags, ATREST_KEYSLOT_ID)?;
    if options.flags & ATREST_KEYSLOT_ID != 0 {
        made = made.id(options.id);
    }
    made = made.priority(priority(options.priority, "options.priority")?);
    if options.time_ms != 0 {
        made = made.time(Duration::from_millis(options.time_ms.into()));
    }
    if options.max_memory_kib != 0 {
        made = made.max_memory_kib(options.max_memory_kib);
    }
    if !options.kdf.is_null() {
        made = made.kdf(kdf(&structure!(options.kdf))?);
    }
    Ok(made)
}

pub(crate) fn priority(number: u32, argument: &str) -> Result<Priority> {
    match number {
        ATREST_PRIORITY_NORMAL => Ok(Priority::Normal),
        ATREST_PRIORITY_PREFER => Ok(Priority::Prefer),
        ATREST_PRIORITY_IGNORE => Ok(Priority::Ignore),
        other => Err(Failure::bad_enum(argument, other)),
    }
}

pub(crate) fn c_priority(priority: Priority) -> u32 {
    match priority {
        Priority::Normal => ATREST_PRIORITY_NORMAL,
        Priority::Prefer => ATREST_PRIORITY_PREFER,
        Priority::Ignore => ATREST_PRIORITY_IGNORE,
    }
}
