//! ENCRYPTION SETS
//!
//! A set is the key, identity and kind of encryption that many disks share. It accesses its vault under its own
//! identity, which is made with the set. The vault's owner must grant this identity get, wrapKey and unwrapKey
//! (atrest_vault_grant) before the first disk can be made in the set. The names of sets, regions and subscriptions
//! consist of 1 to 127 letters, digits, '-', '_' and '.', and don't begin with '.'.
//!
//! Every function here that names a set fails with ATREST_ERR_NO_SUCH_RESOURCE if there is no set of that name.

use core::ffi::{c_char, c_void};

use atrest::key::KeyId;
use atrest::managed::{EncryptionSet, NewSet, Rotation};

use crate::args::flag;
use crate::callback::{c_text, filled, with_text};
use crate::disk_resources::c_kind;
use crate::disk_service::{atrest_disk_service, atrest_progress, of_rotation};
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::output::Out;
use crate::status::atrest_status;
use crate::structs::SizedStruct;
use crate::vault::ATREST_KEY_URL_SIZE;
use crate::vault_callbacks::ATREST_NAME_SIZE;
use crate::volume_options::encryption_type;

/// The size of a buffer for the identity of any set, with its zero byte.
pub const ATREST_IDENTITY_SIZE: usize = 257;

/// Options of a new set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_new_set {
    /// Set by ATREST_NEW_SET_INIT.
    pub struct_size: usize,
    /// A name that no other set has.
    pub name: *const c_char,
    /// Its region. Its vault and disks are in the same one.
    pub region: *const c_char,
    /// Its subscription. Its disks are in the same one.
    pub subscription: *const c_char,
    /// The tenant of its identity. Its vault must trust this tenant.
    pub tenant: *const c_char,
    /// The URL of the version of the key.
    pub key_url: *const c_char,
    /// ATREST_CUSTOMER_KEY or ATREST_PLATFORM_AND_CUSTOMER_KEYS. 0 is ATREST_CUSTOMER_KEY.
    pub encryption_type: u32,
    /// 1 if atrest_disk_service_auto_rotate adopts newer versions of the key.
    pub auto_rotation: u32,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_new_set {}

/// A set's fields for programs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_set_info {
    /// Set by ATREST_SET_INFO_INIT.
    pub struct_size: usize,
    /// ATREST_CUSTOMER_KEY or ATREST_PLATFORM_AND_CUSTOMER_KEYS.
    pub encryption_type: u32,
    /// 1 if newer versions of the key are adopted automatically, otherwise 0.
    pub auto_rotation: u32,
    /// When it was made.
    pub created: u64,
    /// When the last rotation ended; 0 if there was none.
    pub last_key_rotation_timestamp: u64,
    /// The number of other keys that disks may still be under: some during a rotation, otherwise none. They must stay
    /// enabled. Their URLs are in the record.
    pub previous_keys: u64,
    /// The identity for access to its vault.
    pub identity: [c_char; ATREST_IDENTITY_SIZE],
    /// The URL of the key of its disks. During a rotation, the key that they are moving to.
    pub active_key: [c_char; ATREST_KEY_URL_SIZE],
    /// The error that stopped a rotation, such as "KeyDisabled"; empty if none did. The resource at which it stopped,
    /// and a text for people, are in the record.
    pub rotation_error: [c_char; ATREST_NAME_SIZE],
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_set_info {}

/// Makes a set.
///
/// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME, also unless `key_url` is the URL of a version;
/// ATREST_ERR_NOT_ALLOWED for a vault in another region or tenant, or without soft delete and purge protection, and for
/// ATREST_PLATFORM_KEY, which has no set; ATREST_ERR_BAD_ENUM; the errors of the directory of vaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_create_set(
    service: *const atrest_disk_service,
    set: *const atrest_new_set,
) -> atrest_status {
    run(|| {
        let (service, set) = (handle!(service), structure!(set));
        let new = NewSet::new(text!(set.name), text!(set.key_url).parse::<KeyId>()?)
            .region(text!(set.region))
            .subscription(text!(set.subscription))
            .tenant(text!(set.tenant))
            .encryption_type(encryption_type("set.encryption_type", set.encryption_type)?)
            .auto_rotation(flag("set.auto_rotation", set.auto_rotation)?);
        service.create_set(&new)?;
        Ok(())
    })
}

/// Writes a set's fields for programs into `out`, which starts from ATREST_SET_INFO_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_encryption_set(
    service: *const atrest_disk_service,
    set: *const c_char,
    out: *mut atrest_set_info,
) -> atrest_status {
    run(|| {
        let (service, set, out) = (handle!(service), text!(set), struct_out!(out));
        out.set(info(&service.encryption_set(set)?)?);
        Ok(())
    })
}

/// The whole record of a set, in JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_encryption_set_json(
    service: *const atrest_disk_service,
    set: *const c_char,
    json: *mut c_char,
    json_cap: usize,
    json_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (service, set) = (handle!(service), text!(set));
        text_out!(json, json_cap, json_len).put(&service.encryption_set(set)?.to_json())
    })
}

/// Calls `each` with the name of every set, in order. `each` returns ATREST_OK to continue; anything else ends the list
/// with ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_encryption_sets(
    service: *const atrest_disk_service,
    each: Option<unsafe extern "C" fn(user: *mut c_void, set: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, each) = (handle!(service), each.ok_or_else(|| Failure::null("each"))?);
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until it returns.
        service.encryption_sets()?.iter().try_for_each(|set| with_text(set, |set| unsafe { each(user, set) }))
    })
}

/// Calls `each` with the kind (ATREST_RESOURCE_*) and name of every member of a set, in order. `each` returns ATREST_OK
/// to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_members(
    service: *const atrest_disk_service,
    set: *const c_char,
    each: Option<unsafe extern "C" fn(user: *mut c_void, kind: u32, name: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, set, each) = (handle!(service), text!(set), each.ok_or_else(|| Failure::null("each"))?);
        for member in service.members(set)? {
            let (kind, name) = (c_kind(member.kind), c_text(&member.name));
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until then.
            CallbackFailed::check(unsafe { each(user, kind, name.as_ptr()) })?;
        }
        Ok(())
    })
}

/// Moves every disk, snapshot and image of a set to the latest version of its key. A rotation that was stopped or
/// killed is continued. No sector is read or written, and disks stay in use. THE OLD VERSIONS MUST STAY ENABLED UNTIL
/// THIS RETURNS.
///
/// `progress` may be NULL. The number of resources moved goes to `rewrapped`, which may be NULL; the others were under
/// the key already.
///
/// Errors: ATREST_ERR_NOT_ALLOWED until the error of an earlier rotation is cleared; the errors of the vault and the
/// devices. An error that stops a running rotation is noted in the set. An error before it starts, such as a key that
/// may not be used, is not noted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_rotate_set(
    service: *const atrest_disk_service,
    set: *const c_char,
    progress: atrest_progress,
    user: *mut c_void,
    rewrapped: *mut u64,
) -> atrest_status {
    run(|| {
        let (service, set) = (handle!(service), text!(set));
        let rewrapped = if rewrapped.is_null() { None } else { Some(out!(rewrapped)) };
        put_rewrapped(rewrapped, &service.rotate_set(set, &of_rotation(progress, user))?);
        Ok(())
    })
}

/// Moves a set with all its members to another key, possibly in another vault. Otherwise as
/// atrest_disk_service_rotate_set.
///
/// Use it when the key has expired. A key that is disabled or deleted, or may not be used any more, must first be made
/// usable again until this returns: without it nobody can get the DEKs, not even this service.
///
/// Errors: those of atrest_disk_service_rotate_set; ATREST_ERR_INVALID_NAME unless the text is the URL of a version;
/// ATREST_ERR_NOT_ALLOWED for a vault in another region or tenant, or without soft delete and purge protection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_change_key(
    service: *const atrest_disk_service,
    set: *const c_char,
    key_url: *const c_char,
    progress: atrest_progress,
    user: *mut c_void,
    rewrapped: *mut u64,
) -> atrest_status {
    run(|| {
        let (service, set, key) = (handle!(service), text!(set), text!(key_url).parse::<KeyId>()?);
        let rewrapped = if rewrapped.is_null() { None } else { Some(out!(rewrapped)) };
        put_rewrapped(rewrapped, &service.change_key(set, &key, &of_rotation(progress, user))?);
        Ok(())
    })
}

/// Moves everything under a key of the platform to that key's latest version: disks, snapshots and images outside of
/// sets, and the lower layers of those with two. Otherwise as atrest_disk_service_rotate_set, but no error has to be
/// cleared: calling it again continues. No customer's vault is asked. THE OLD VERSIONS MUST STAY ENABLED UNTIL THIS
/// RETURNS.
///
/// Errors: the errors of the vault and the devices, which are also noted in the report.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_rotate_platform(
    service: *const atrest_disk_service,
    progress: atrest_progress,
    user: *mut c_void,
    rewrapped: *mut u64,
) -> atrest_status {
    run(|| {
        let service = handle!(service);
        let rewrapped = if rewrapped.is_null() { None } else { Some(out!(rewrapped)) };
        put_rewrapped(rewrapped, &service.rotate_platform(&of_rotation(progress, user))?);
        Ok(())
    })
}

/// Clears the error that stopped a rotation, so that it may be tried again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_clear_rotation_error(
    service: *const atrest_disk_service,
    set: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(service).clear_rotation_error(text!(set))?))
}

/// Sets whether newer versions of a set's key are adopted automatically: 1 or 0.
///
/// Errors: ATREST_ERR_BAD_ENUM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_set_auto_rotation(
    service: *const atrest_disk_service,
    set: *const c_char,
    on: u32,
) -> atrest_status {
    run(|| Ok(handle!(service).set_auto_rotation(text!(set), flag("on", on)?)?))
}

/// Moves a set to another tenant, for example after its subscription was transferred. The set loses its identity, and
/// so the access to its key. It gets a new identity; everything works again once the vault's owner has granted that one
/// access. The vault may stay in the former tenant, or move later. A new key must be in a vault of the new tenant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_move_set_to_tenant(
    service: *const atrest_disk_service,
    set: *const c_char,
    tenant: *const c_char,
) -> atrest_status {
    run(|| {
        handle!(service).move_set_to_tenant(text!(set), text!(tenant))?;
        Ok(())
    })
}

/// Removes a set.
///
/// Errors: ATREST_ERR_NOT_ALLOWED while it has disks, snapshots or images.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_delete_set(
    service: *const atrest_disk_service,
    set: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(service).delete_set(text!(set))?))
}

fn info(set: &EncryptionSet) -> Result<atrest_set_info> {
    let error = set.auto_key_rotation_error.as_ref().map_or("", |error| &error.code);
    Ok(atrest_set_info {
        struct_size: size_of::<atrest_set_info>(),
        encryption_type: set.encryption_type.code(),
        auto_rotation: set.auto_rotation.into(),
        created: set.created,
        last_key_rotation_timestamp: set.last_key_rotation_timestamp.unwrap_or(0),
        previous_keys: set.previous_keys.len() as u64,
        identity: filled(&set.identity, "out.identity")?,
        active_key: filled(&set.active_key.to_string(), "out.active_key")?,
        rotation_error: filled(error, "out.rotation_error")?,
    })
}

fn put_rewrapped(out: Option<Out<u64>>, rotation: &Rotation) {
    if let Some(out) = out {
        out.set(rotation.rewrapped as u64);
    }
}
