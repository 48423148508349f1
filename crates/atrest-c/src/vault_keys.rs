//! KEYS OF A VAULT FILE
//!
//! A version of a key wraps and unwraps while it is enabled and valid. A deleted key does neither; it can be recovered
//! until it is purged, which a vault with purge protection refuses before the retention is over.
//!
//! RSA keys need a library built with the feature `rsa`; without it, making or using one fails with
//! ATREST_ERR_UNSUPPORTED_ALGORITHM.
//!
//! All functions here fail with ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file, unless
//! said otherwise, and with the errors of the vault's file: ATREST_ERR_BUSY, ATREST_ERR_DAMAGED_VAULT, ATREST_ERR_IO.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::ffi::CString;

use atrest::key::{KeyId, KeyKind};
use atrest::vault::{DeletedKey, FileVault, VersionChange};

use crate::args::{check_flags, flag};
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::status::{ATREST_ERR_UNSUPPORTED, atrest_status};
use crate::structs::SizedStruct;
use crate::vault::{
    ATREST_KEY_URL_SIZE, Vault, atrest_key_version, atrest_unlock, atrest_vault, check_name, put_url, tell_version,
    vault_kdf, vault_options, with_unlock,
};

/// Change `enabled`.
pub const ATREST_CHANGE_ENABLED: u32 = 1;
/// Change `not_before`.
pub const ATREST_CHANGE_NOT_BEFORE: u32 = 2;
/// Change `expires`.
pub const ATREST_CHANGE_EXPIRES: u32 = 4;
/// Change `authenticated`: whether an RSA key only unwraps keys that the vault itself wrapped. Without this, anyone
/// with its public half can wrap a key of their own, and the vault then unwraps it as if it were yours. With it, the
/// vault appends a MAC to its wraps, under a secret key of this version, and refuses wraps without one. Later versions
/// inherit the setting. While it is on, the version refuses wraps from before it was turned on: rotate the key, turn it
/// on for the new version, wrap everything under the old one again, then disable the old one.
pub const ATREST_CHANGE_AUTHENTICATED: u32 = 8;

/// Options of a new vault file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_vault_options {
    /// Set by ATREST_VAULT_OPTIONS_INIT.
    pub struct_size: usize,
    /// The id of the vault, the first part of its keys' URLs, such as "https://contoso.vault.example". NULL for a
    /// random one that begins with "urn:uuid:".
    pub id: *const c_char,
    /// The vault's region: 1 to 127 visible ASCII characters. NULL for none.
    pub region: *const c_char,
    /// The vault's tenant: 1 to 127 visible ASCII characters. NULL for none.
    pub tenant: *const c_char,
    /// For at least how many days a deleted key can be recovered: 7 to 90. 0 for 90.
    pub retention_days: u32,
    /// 1 if nobody may purge a key before that, or destroy a version of one. It can't be turned off again.
    pub purge_protection: u32,
    /// 1 if an expired version refuses to unwrap. By default it unwraps, as in cloud vaults.
    pub refuse_expired: u32,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_vault_options {}

/// Changes of a version of a key, or of a secret.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_version_change {
    /// Set by ATREST_VERSION_CHANGE_INIT.
    pub struct_size: usize,
    /// The members below to apply: ATREST_CHANGE_*, added up.
    pub changes: u32,
    /// 1 to enable the version, 0 to disable it.
    pub enabled: u32,
    /// The first second, since 1970-01-01 UTC, in which it may be used; 0 for any.
    pub not_before: u64,
    /// The first second in which it has expired; 0 for never.
    pub expires: u64,
    /// 1 if it shall only unwrap keys that the vault itself wrapped, 0 if not.
    pub authenticated: u32,
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_version_change {
    const EARLIER: &'static [usize] = &[core::mem::offset_of!(atrest_version_change, authenticated)];
}

/// A deleted key, as atrest_vault_deleted_keys lists it, or secret. It and its text are valid during the callback only.
#[repr(C)]
pub struct atrest_deleted_key {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The name of the key, or of the secret.
    pub key_name: *const c_char,
    /// When it was deleted, in seconds since 1970-01-01 UTC.
    pub deleted: u64,
    /// The end of its retention. It can be recovered after that too, until it is purged.
    pub retained_until: u64,
}

/// The options of a new vault. Their texts live as long as the call.
macro_rules! vault_options {
    ($unlock:expr, $options:expr) => {{
        let mut made = vault_options($unlock)?;
        if !$options.is_null() {
            let options = structure!($options);
            if !options.id.is_null() {
                made = made.id(text!(options.id));
            }
            if !options.region.is_null() {
                made = made.region(text!(options.region));
            }
            if !options.tenant.is_null() {
                made = made.tenant(text!(options.tenant));
            }
            if options.retention_days != 0 {
                made = made.retention_days(options.retention_days);
            }
            made = made
                .purge_protection(flag("options.purge_protection", options.purge_protection)?)
                .refuse_expired(flag("options.refuse_expired", options.refuse_expired)?);
        }
        made
    }};
}

/// As atrest_vault_create_file, with options. `options` may be NULL.
///
/// Errors: ATREST_ERR_INVALID_OPTION and ATREST_ERR_INVALID_NAME for an option; those of atrest_vault_create_file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_create_file_with(
    path: *const c_char,
    unlock: *const atrest_unlock,
    options: *const atrest_vault_options,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (path, unlock, out) = (path!(path), structure!(unlock), out!(out));
        let options = vault_options!(&unlock, options);
        let vault = with_unlock(&unlock, |unlock| FileVault::create_with(path, unlock, &options))?;
        out.handle(Vault::owned(vault));
        Ok(())
    })
}

/// Opens the vault file at `path`, or makes one if there is none. If many processes and threads do this at once, one
/// makes it and all open the same. `options` may be NULL; the options of an existing vault don't change.
///
/// Errors: those of atrest_vault_open_file and atrest_vault_create_file_with. ATREST_ERR_ALREADY_EXISTS only means that
/// remains of another vault lie next to `path`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_open_or_create_file(
    path: *const c_char,
    unlock: *const atrest_unlock,
    options: *const atrest_vault_options,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (path, unlock, out) = (path!(path), structure!(unlock), out!(out));
        let options = vault_options!(&unlock, options);
        let vault = with_unlock(&unlock, |unlock| FileVault::open_or_create(path, unlock, &options))?;
        out.handle(Vault::owned(vault));
        Ok(())
    })
}

/// Gives a vault file the passphrase or root key file of `unlock` in place of its current one; the KDF is as for a new vault.
/// The same passphrase with another KDF moves it from Argon2id to PBKDF2, or back. Keys, grants, the log and wrapped DEKs
/// stay. Other handles that have the file open, but clones of this one, are refused with ATREST_ERR_DAMAGED_VAULT until they
/// open it anew. Killed at any instant, the vault opens by the old or by the new one.
///
/// A copy of the file from before opens by the old one, and holds the same keys: if somebody may have both, rotate the keys.
///
/// Errors: ATREST_ERR_INVALID_OPTION for costs, a passphrase or a key file out of bounds; ATREST_ERR_NOT_APPROVED;
/// ATREST_ERR_BUSY where another thread has just changed it; ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_NOT_FOUND for the key file;
/// ATREST_ERR_IO; ATREST_ERR_UNSUPPORTED for a vault that isn't a file's owner's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_change_unlock(
    vault: *mut atrest_vault,
    unlock: *const atrest_unlock,
) -> atrest_status {
    run(|| {
        let (vault, unlock) = (handle!(vault).file()?, structure!(unlock));
        let kdf = vault_kdf(&unlock)?;
        with_unlock(&unlock, |unlock| vault.change_unlock(unlock, kdf))
    })
}

/// As atrest_vault_create_key, for a key of the kind ATREST_KEY_*.
///
/// Errors: ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED for RSA in a library without it; ATREST_ERR_KEY_DELETED if a
/// deleted key has the name; those of atrest_vault_create_key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_create_key_of(
    vault: *mut atrest_vault,
    key_name: *const c_char,
    kind: u32,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (vault, key_name) = (handle!(vault).file()?, text!(key_name));
        check_name(key_name)?;
        let kind = KeyKind::from_code(kind).ok_or_else(|| Failure::bad_enum("kind", kind))?;
        if kind != KeyKind::Aes256 {
            check_rsa()?;
        }
        put_url(whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE), &vault.create_key_of(key_name, kind)?)
    })
}

/// Imports the caller's own RSA key into a vault file: a private key of 2048, 3072 or 4096 bits in PKCS#8, as PEM or
/// DER. It wraps by RSA-OAEP-256, and unwraps that and RSA-OAEP. The caller must wipe `pkcs8`.
///
/// Errors: ATREST_ERR_UNSUPPORTED in a library without RSA; ATREST_ERR_UNSUPPORTED_ALGORITHM for another kind of key;
/// ATREST_ERR_INVALID_OPTION for another form; those of atrest_vault_import_key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_import_rsa_key(
    vault: *mut atrest_vault,
    key_name: *const c_char,
    pkcs8: *const c_void,
    pkcs8_len: usize,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (vault, key_name, pkcs8) = (handle!(vault).file()?, text!(key_name), bytes!(pkcs8, pkcs8_len));
        check_rsa()?;
        put_url(whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE), &vault.import_rsa_key(key_name, pkcs8)?)
    })
}

/// Imports a new RSA version of a key into a vault file. Otherwise as atrest_vault_import_rsa_key.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY; those of atrest_vault_import_rsa_key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_import_rsa_version(
    vault: *mut atrest_vault,
    key_name: *const c_char,
    pkcs8: *const c_void,
    pkcs8_len: usize,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (vault, key_name, pkcs8) = (handle!(vault).file()?, text!(key_name), bytes!(pkcs8, pkcs8_len));
        check_rsa()?;
        put_url(whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE), &vault.import_rsa_version(key_name, pkcs8)?)
    })
}

/// Calls `each` once with the description of a version of a key in any vault. If `version` is NULL, it is the version
/// that would wrap, or else the latest enabled one.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED; ATREST_ERR_KEY_DISABLED if none is enabled;
/// ATREST_ERR_ACCESS_DENIED; ATREST_ERR_UNSUPPORTED for a vault of callbacks that doesn't describe keys;
/// ATREST_ERR_CALLBACK_FAILED if `each` doesn't return ATREST_OK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_describe(
    vault: *const atrest_vault,
    key_name: *const c_char,
    version: *const c_char,
    each: Option<unsafe extern "C" fn(user: *mut c_void, version: *const atrest_key_version) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (vault, key_name) = (handle!(vault).get(), text!(key_name));
        let version = optional_text!(version);
        let each = each.ok_or_else(|| Failure::null("each"))?;
        let said = vault.describe(key_name, version)?.ok_or_else(|| {
            Failure::new(ATREST_ERR_UNSUPPORTED, "this vault says nothing of its keys: it has no describe callback")
        })?;
        tell_version(each, user, &said, None)
    })
}

/// Enables or disables a version of a key, changes its period of validity, or changes whether it only unwraps keys that
/// the vault itself wrapped.
///
/// Errors: ATREST_ERR_INVALID_NAME unless the text is the URL of a version; ATREST_ERR_BAD_ENUM for `changes`;
/// ATREST_ERR_INVALID_OPTION if it would expire before it is valid, or for an AES key that shall not be authenticated;
/// ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_set_version(
    vault: *mut atrest_vault,
    key_url: *const c_char,
    change: *const atrest_version_change,
) -> atrest_status {
    run(|| {
        let (vault, id, change) = (handle!(vault).file()?, text!(key_url).parse::<KeyId>()?, structure!(change));
        Ok(vault.set_version(&id, version_change(&change)?)?)
    })
}

/// Deletes a key, with all its versions. It can be recovered until it is purged, and until then its name is taken.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_delete_key(vault: *mut atrest_vault, key_name: *const c_char) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.delete_key(text!(key_name))?))
}

/// Undoes the deletion of a key. Its versions are unchanged.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY if no deleted key has the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_recover_key(vault: *mut atrest_vault, key_name: *const c_char) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.recover_key(text!(key_name))?))
}

/// Destroys a deleted key for good. ALL DATA UNDER THIS KEY ALONE IS LOST. A new key may take its name; its version
/// numbers continue after the old ones.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY if no deleted key has the name; ATREST_ERR_PURGE_PROTECTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_vault_purge_key(
    vault: *mut atrest_vault,
    key_name: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.hazmat_purge_key(text!(key_name))?))
}

/// Turns the purge protection of a vault file on. It can't be turned off.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_enable_purge_protection(vault: *mut atrest_vault) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.enable_purge_protection()?))
}

/// Calls `each` for every deleted key. `each` returns ATREST_OK to continue; anything else ends the list with
/// ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_deleted_keys(
    vault: *const atrest_vault,
    each: Option<unsafe extern "C" fn(user: *mut c_void, key: *const atrest_deleted_key) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (vault, each) = (handle!(vault).file()?, each.ok_or_else(|| Failure::null("each"))?);
        tell_deleted(each, user, vault.deleted_keys()?)
    })
}

/// The changes that C asks for.
pub(crate) fn version_change(change: &atrest_version_change) -> Result<VersionChange> {
    let known = ATREST_CHANGE_ENABLED | ATREST_CHANGE_NOT_BEFORE | ATREST_CHANGE_EXPIRES | ATREST_CHANGE_AUTHENTICATED;
    check_flags(change.changes, known)?;
    let time = |time: u64| (time != 0).then_some(time);
    let mut made = VersionChange::new();
    if change.changes & ATREST_CHANGE_ENABLED != 0 {
        made = made.enabled(flag("change.enabled", change.enabled)?);
    }
    if change.changes & ATREST_CHANGE_NOT_BEFORE != 0 {
        made = made.not_before(time(change.not_before));
    }
    if change.changes & ATREST_CHANGE_EXPIRES != 0 {
        made = made.expires(time(change.expires));
    }
    if change.changes & ATREST_CHANGE_AUTHENTICATED != 0 {
        made = made.authenticated(flag("change.authenticated", change.authenticated)?);
    }
    Ok(made)
}

pub(crate) type EachDeleted = unsafe extern "C" fn(*mut c_void, *const atrest_deleted_key) -> atrest_status;

/// Passes the deleted keys or secrets to C.
pub(crate) fn tell_deleted(each: EachDeleted, user: *mut c_void, all: Vec<DeletedKey>) -> Result {
    for deleted in all {
        let key_name = CString::new(deleted.name).unwrap_or_default();
        let key = atrest_deleted_key {
            struct_size: size_of::<atrest_deleted_key>(),
            key_name: key_name.as_ptr(),
            deleted: deleted.deleted,
            retained_until: deleted.retained_until,
        };
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until then.
        CallbackFailed::check(unsafe { each(user, ptr::from_ref(&key)) })?;
    }
    Ok(())
}

fn check_rsa() -> Result {
    if cfg!(feature = "rsa") {
        return Ok(());
    }
    Err(Failure::new(ATREST_ERR_UNSUPPORTED, "this library was built without RSA keys, the feature `rsa`"))
}
