//! SECRETS OF A VAULT FILE
//!
//! Values of others that a vault file keeps in versions, such as the passphrases of disks that a machine encrypted for
//! itself. They are the owner's: no grant is for them. Each read and each change is logged, with "secrets/NAME" as the key.
//!
//! All functions here fail with ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file, and with the
//! errors of the vault's file: ATREST_ERR_BUSY, ATREST_ERR_DAMAGED_VAULT, ATREST_ERR_IO. ATREST_ERR_NO_SUCH_KEY and the like
//! are for a secret too.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::collections::BTreeMap;
use std::ffi::CString;

use atrest::Secret;

use crate::callback::c_text;
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::status::{ATREST_ERR_INVALID_OPTION, atrest_status};
use crate::structs::SizedStruct;
use crate::vault::{atrest_vault, check_name};
use crate::vault_callbacks::ATREST_NAME_SIZE;
use crate::vault_keys::{atrest_deleted_key, atrest_version_change, tell_deleted, version_change};

/// The most bytes of the value of a secret in a vault file.
pub const ATREST_VAULT_SECRET_MAX: usize = 4096;

/// A note of the owner's beside a version of a secret. It is stored in the clear.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_tag {
    /// Its name: 1 to 1024 bytes, without a control character.
    pub name: *const c_char,
    /// Its value: at most 1024 bytes, without a control character.
    pub value: *const c_char,
}

/// Options of a new version of a secret.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_secret_options {
    /// Set by ATREST_SECRET_OPTIONS_INIT.
    pub struct_size: usize,
    /// Its tags, at most 32. Each has a name of its own.
    pub tags: *const atrest_tag,
    /// The number of tags.
    pub tags_count: usize,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_secret_options {}

/// The version of a secret that was read. It and what it points to are valid during the callback only.
#[repr(C)]
pub struct atrest_read_secret {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The version.
    pub version: *const c_char,
    /// The number of tags.
    pub tags_count: usize,
    /// Its tags, ordered by name.
    pub tags: *const atrest_tag,
}

/// A version of a secret without its value, as atrest_vault_secrets lists it. It and what it points to are valid during the
/// callback only.
#[repr(C)]
pub struct atrest_secret_version {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The name of the secret.
    pub secret_name: *const c_char,
    /// The version.
    pub version: *const c_char,
    /// When the version was made, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// 1 if the version may be read, 0 if it is disabled.
    pub enabled: u32,
    /// The first second in which it may be read; 0 for any.
    pub not_before: u64,
    /// The first second in which it has expired, and may not be read any more; 0 for never.
    pub expires: u64,
    /// The number of tags.
    pub tags_count: usize,
    /// Its tags, ordered by name.
    pub tags: *const atrest_tag,
}

/// Makes a new version of a secret, or a secret, and puts the version into `version`, which may be NULL and otherwise has room
/// for ATREST_NAME_SIZE bytes. Earlier versions stay as they are. The value has 1 to ATREST_VAULT_SECRET_MAX bytes; the caller
/// must wipe it. `options` may be NULL.
///
/// The first secret makes the file one of version 5, which releases before secrets refuse to open.
///
/// Errors: ATREST_ERR_INVALID_NAME, as for keys; ATREST_ERR_INVALID_OPTION for a value or tags out of bounds, and for two tags
/// of one name; ATREST_ERR_KEY_DELETED if a deleted secret has the name; ATREST_ERR_VAULT if the vault is full.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_set_secret(
    vault: *mut atrest_vault,
    secret_name: *const c_char,
    value: *const c_void,
    value_len: usize,
    options: *const atrest_secret_options,
    version: *mut c_char,
    version_cap: usize,
) -> atrest_status {
    run(|| {
        let (vault, name, value) = (handle!(vault).file()?, text!(secret_name), bytes!(value, value_len));
        check_name(name)?;
        let tags = if options.is_null() { BTreeMap::new() } else { tags_of(&structure!(options))? };
        let out = whole_text_out!(version, version_cap, ATREST_NAME_SIZE);
        let made = vault.set_secret(name, &Secret::copy_from(value), &tags)?;
        out.map_or(Ok(()), |out| out.put(&made))
    })
}

/// Reads a version of a secret, or the newest one if `version` is NULL. The value goes into `value`; it is a secret in the
/// caller's memory then: THE CALLER MUST WIPE IT. Room for ATREST_VAULT_SECRET_MAX bytes is enough for any. Before it is put
/// there, `each`, which may be NULL, is called once with the version that was found and its tags.
///
/// A buffer that is too short is noticed when the value is there; the log then has a read, too.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED; ATREST_ERR_KEY_DISABLED; ATREST_ERR_KEY_NOT_YET_VALID;
/// ATREST_ERR_KEY_EXPIRED; ATREST_ERR_BUFFER_TOO_SHORT; ATREST_ERR_CALLBACK_FAILED if `each` doesn't return ATREST_OK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_secret(
    vault: *const atrest_vault,
    secret_name: *const c_char,
    version: *const c_char,
    each: Option<unsafe extern "C" fn(user: *mut c_void, read: *const atrest_read_secret) -> atrest_status>,
    user: *mut c_void,
    value: *mut c_void,
    value_cap: usize,
    value_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (vault, name, version) = (handle!(vault).file()?, text!(secret_name), optional_text!(version));
        let out = bytes_out!(value, value_cap, value_len);
        let read = vault.secret(name, version)?;
        out.check(read.value.len())?;
        if let Some(each) = each {
            let (version, tags) = (c_text(&read.version), Tags::new(&read.tags));
            let c_tags = tags.c();
            let told = atrest_read_secret {
                struct_size: size_of::<atrest_read_secret>(),
                version: version.as_ptr(),
                tags_count: c_tags.len(),
                tags: c_tags.as_ptr(),
            };
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
            CallbackFailed::check(unsafe { each(user, ptr::from_ref(&told)) })?;
        }
        out.put(read.value.expose())
    })
}

/// Calls `each` for every version of every secret that isn't deleted, the oldest version of a secret first. `each` returns
/// ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_secrets(
    vault: *const atrest_vault,
    each: Option<unsafe extern "C" fn(user: *mut c_void, version: *const atrest_secret_version) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (vault, each) = (handle!(vault).file()?, each.ok_or_else(|| Failure::null("each"))?);
        for secret in vault.secrets()? {
            let name = c_text(&secret.name);
            for info in &secret.versions {
                let (version, tags) = (c_text(&info.version), Tags::new(&info.tags));
                let c_tags = tags.c();
                let told = atrest_secret_version {
                    struct_size: size_of::<atrest_secret_version>(),
                    secret_name: name.as_ptr(),
                    version: version.as_ptr(),
                    created: info.created,
                    enabled: info.enabled.into(),
                    not_before: info.not_before.unwrap_or(0),
                    expires: info.expires.unwrap_or(0),
                    tags_count: c_tags.len(),
                    tags: c_tags.as_ptr(),
                };
                // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it
                // returns.
                CallbackFailed::check(unsafe { each(user, ptr::from_ref(&told)) })?;
            }
        }
        Ok(())
    })
}

/// Enables or disables a version of a secret, or changes its period of validity.
///
/// Errors: ATREST_ERR_BAD_ENUM for `changes`; ATREST_ERR_INVALID_OPTION if it would expire before it is valid, and for
/// ATREST_CHANGE_AUTHENTICATED, which only keys have; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_set_secret_version(
    vault: *mut atrest_vault,
    secret_name: *const c_char,
    version: *const c_char,
    change: *const atrest_version_change,
) -> atrest_status {
    run(|| {
        let (vault, name, version) = (handle!(vault).file()?, text!(secret_name), text!(version));
        let change = version_change(&structure!(change))?;
        Ok(vault.set_secret_version(name, version, change)?)
    })
}

/// Deletes a secret, with all its versions. It can be recovered until it is purged, and until then its name is taken.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_KEY_DELETED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_delete_secret(
    vault: *mut atrest_vault,
    secret_name: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.delete_secret(text!(secret_name))?))
}

/// Calls `each` for every deleted secret that can be recovered. `each` returns ATREST_OK to continue; anything else ends the
/// list with ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_deleted_secrets(
    vault: *const atrest_vault,
    each: Option<unsafe extern "C" fn(user: *mut c_void, secret: *const atrest_deleted_key) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (vault, each) = (handle!(vault).file()?, each.ok_or_else(|| Failure::null("each"))?);
        tell_deleted(each, user, vault.deleted_secrets()?)
    })
}

/// Undoes the deletion of a secret. Its versions are unchanged.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY if no deleted secret has the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_recover_secret(
    vault: *mut atrest_vault,
    secret_name: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.recover_secret(text!(secret_name))?))
}

/// Destroys a deleted secret for good. EVERYTHING THAT ONLY ITS VALUES OPEN IS LOST. A new secret may take its name; its
/// versions continue after the old ones.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY if no deleted secret has the name; ATREST_ERR_PURGE_PROTECTED before its retention is over
/// in a vault with purge protection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_vault_purge_secret(
    vault: *mut atrest_vault,
    secret_name: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.hazmat_purge_secret(text!(secret_name))?))
}

/// The tags that C gives.
fn tags_of(options: &atrest_secret_options) -> Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for tag in slice!(options.tags, options.tags_count) {
        let (name, value) = (text!(tag.name), text!(tag.value));
        if tags.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::new(ATREST_ERR_INVALID_OPTION, format!("two tags have the name {name:?}")));
        }
    }
    Ok(tags)
}

/// Tags for C, which has them for as long as this lives.
struct Tags(Vec<(CString, CString)>);

impl Tags {
    fn new(tags: &BTreeMap<String, String>) -> Self {
        Tags(tags.iter().map(|(name, value)| (c_text(name), c_text(value))).collect())
    }

    fn c(&self) -> Vec<atrest_tag> {
        self.0.iter().map(|(name, value)| atrest_tag { name: name.as_ptr(), value: value.as_ptr() }).collect()
    }
}

// The number must be the library's.
const _: () = assert!(ATREST_VAULT_SECRET_MAX == atrest::vault::MAX_SECRET);
