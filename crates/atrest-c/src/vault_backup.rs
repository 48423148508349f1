//! COPIES OF A VAULT FILE
//!
//! A copy of a vault file is a vault that the same passphrase or root key file opens. Keep one elsewhere, and make another after
//! each change of its keys.

use core::ffi::{c_char, c_void};
use core::ptr;

use atrest::vault::FileVault;

use crate::callback::c_text;
use crate::failure::{CallbackFailed, Failure, run};
use crate::status::atrest_status;
use crate::vault::atrest_vault;

/// The properties of a vault file, as atrest_vault_peek_file reads them. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_vault_properties {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The vault's id.
    pub id: *const c_char,
    /// Its region; NULL if none was given.
    pub region: *const c_char,
    /// Its tenant; NULL if none was given.
    pub tenant: *const c_char,
    /// For at least how many days a deleted key can be recovered.
    pub retention_days: u32,
    /// 1 if a deleted key can't be purged during its retention, 0 if it can.
    pub purge_protection: u32,
    /// 1 if an expired version refuses to unwrap, 0 if it unwraps.
    pub refuse_expired: u32,
}

/// Copies a vault file and its audit log to `path`, where they are a vault that the same passphrase or root key file opens.
/// Changes by others wait meanwhile; uses of keys go on. A leaked passphrase opens all copies that were made before it was
/// changed.
///
/// Errors: ATREST_ERR_ALREADY_EXISTS if a vault, or a copy or log of one, has that name; ATREST_ERR_NOT_FOUND for its folder;
/// ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_BUSY; ATREST_ERR_IO; ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle
/// of a vault file. After an error nothing is left there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_backup(vault: *const atrest_vault, path: *const c_char) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.backup(path!(path))?))
}

/// Reads the properties of a vault file without opening it, and passes them to `tell`. NOTHING BUT A CHECKSUM VOUCHES FOR
/// THEM: anyone who can write to the file can write them. No passphrase is needed, and nothing is written.
///
/// Errors: ATREST_ERR_NOT_FOUND; ATREST_ERR_DAMAGED_VAULT, also for a file that is no vault; ATREST_ERR_IO;
/// ATREST_ERR_CALLBACK_FAILED if `tell` doesn't return ATREST_OK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_peek_file(
    path: *const c_char,
    tell: Option<unsafe extern "C" fn(user: *mut c_void, properties: *const atrest_vault_properties) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (path, tell) = (path!(path), tell.ok_or_else(|| Failure::null("tell"))?);
        let found = FileVault::peek(path)?;
        let optional = |text: &Option<String>| text.as_deref().map(c_text);
        let (id, region, tenant) = (c_text(&found.id), optional(&found.region), optional(&found.tenant));
        let start = |text: &Option<std::ffi::CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        let properties = atrest_vault_properties {
            struct_size: size_of::<atrest_vault_properties>(),
            id: id.as_ptr(),
            region: start(&region),
            tenant: start(&tenant),
            retention_days: found.retention_days,
            purge_protection: found.purge_protection.into(),
            refuse_expired: found.refuse_expired.into(),
        };
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the texts live until then.
        CallbackFailed::check(unsafe { tell(user, ptr::from_ref(&properties)) })
    })
}
