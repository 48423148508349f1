//! ACCESS TO A VAULT FILE, AND ITS AUDIT LOG
//!
//! Anyone who can open a vault file is its owner. Others use a handle of atrest_vault_as_identity, within the owner's
//! grants, for atrest_vault_describe (get) and for all functions that wrap and unwrap DEKs.
//!
//! Every use and every change is logged before it is answered. Each entry is chained to the one before, so that a
//! changed, removed or added entry is detected. Entries cut off at the end are detected up to the last change of the
//! vault, and up to a head that was kept elsewhere.
//!
//! All functions here fail with ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file, and with
//! the errors of the vault's file: ATREST_ERR_BUSY, ATREST_ERR_DAMAGED_VAULT, ATREST_ERR_IO.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::ffi::CString;

use atrest::vault::{AuditEntry, AuditHead, AuditLog, FileVault, KeyOperation};

use crate::args::check_flags;
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::status::atrest_status;
use crate::vault::{Vault, atrest_vault};

/// Reading a key's description.
pub const ATREST_OPERATION_GET: u32 = 1;
/// Wrapping a DEK.
pub const ATREST_OPERATION_WRAP_KEY: u32 = 2;
/// Unwrapping a DEK.
pub const ATREST_OPERATION_UNWRAP_KEY: u32 = 4;

/// The size of a buffer for any head of an audit log, with its zero byte.
pub const ATREST_AUDIT_HEAD_SIZE: usize = 66;

/// An entry of the audit log. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_audit_entry {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The number of the entry, from 1.
    pub seq: u64,
    /// The time, in seconds since 1970-01-01 UTC.
    pub time: u64,
    /// The identity; NULL for the vault's owner.
    pub identity: *const c_char,
    /// The operation: "get", "wrapKey", "unwrapKey", or a change of the vault.
    pub operation: *const c_char,
    /// The name of the key, or NULL.
    pub key_name: *const c_char,
    /// The version of the key, or NULL.
    pub version: *const c_char,
    /// The identity whose access was granted or revoked, or NULL.
    pub subject: *const c_char,
    /// The outcome: "ok", or the reason of the failure.
    pub outcome: *const c_char,
    /// The number of bytes of torn lines before this entry, left by killed processes.
    pub torn: u64,
    /// The number of the entry that this one continues from, if the vault found its log damaged or replaced when it
    /// wrote this entry; otherwise 0.
    pub after: u64,
}

/// Allows an identity (1 to 256 visible ASCII characters) `operations`, ATREST_OPERATION_* added up, in addition to
/// earlier grants.
///
/// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_BAD_ENUM; ATREST_ERR_INVALID_OPTION for no operation.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_grant(
    vault: *mut atrest_vault,
    identity: *const c_char,
    operations: u32,
) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.grant(text!(identity), &operations_of(operations)?)?))
}

/// Takes `operations` from an identity. It succeeds even if the identity doesn't have them.
///
/// Errors: ATREST_ERR_BAD_ENUM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_revoke_operations(
    vault: *mut atrest_vault,
    identity: *const c_char,
    operations: u32,
) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.revoke_operations(text!(identity), &operations_of(operations)?)?))
}

/// Calls `each` for every identity with access. `each` returns ATREST_OK to continue; anything else ends the list with
/// ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_grants(
    vault: *const atrest_vault,
    each: Option<unsafe extern "C" fn(user: *mut c_void, identity: *const c_char, operations: u32) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (vault, each) = (handle!(vault).file()?, each.ok_or_else(|| Failure::null("each"))?);
        for grant in vault.grants()? {
            let identity = CString::new(grant.identity).unwrap_or_default();
            let granted = OPERATIONS.iter().filter(|(_, operation)| grant.operations.contains(operation));
            let operations = granted.map(|(bit, _)| bit).sum();
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until then.
            CallbackFailed::check(unsafe { each(user, identity.as_ptr(), operations) })?;
        }
        Ok(())
    })
}

/// The vault as seen by an identity other than its owner. Operations without a grant fail with
/// ATREST_ERR_ACCESS_DENIED, as soon as access is revoked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_as_identity(
    vault: *const atrest_vault,
    identity: *const c_char,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (vault, identity, out) = (handle!(vault).file()?, text!(identity), out!(out));
        let vault = vault.as_identity(identity);
        let why = format!("{} uses the vault's keys; its owner manages them", vault.name());
        out.handle(Vault::used(vault, why));
        Ok(())
    })
}

/// Calls `each` for every entry of the audit log, each verified. `head` is NULL or an earlier result of
/// atrest_vault_audit_head whose entry the log must contain. `each` returns ATREST_OK to continue; anything else ends
/// the list with ATREST_ERR_CALLBACK_FAILED.
///
/// Errors: ATREST_ERR_DAMAGED_VAULT, with the line, if an entry was changed, removed or added;
/// ATREST_ERR_INVALID_OPTION unless the text is a head.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_audit(
    vault: *const atrest_vault,
    head: *const c_char,
    each: Option<unsafe extern "C" fn(user: *mut c_void, entry: *const atrest_audit_entry) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (vault, each) = (handle!(vault).file()?, each.ok_or_else(|| Failure::null("each"))?);
        for entry in audit_log(vault, optional_text!(head))? {
            tell_entry(each, user, &entry?)?;
        }
        Ok(())
    })
}

/// As atrest_vault_audit, but continues after damage with each entry that is proven there. The vault wrote these
/// entries, and their numbers show how many are missing.
///
/// Errors: as atrest_vault_audit; ATREST_ERR_DAMAGED_VAULT comes after the last entry, with the first damage.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_audit_past_damage(
    vault: *const atrest_vault,
    head: *const c_char,
    each: Option<unsafe extern "C" fn(user: *mut c_void, entry: *const atrest_audit_entry) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (vault, each) = (handle!(vault).file()?, each.ok_or_else(|| Failure::null("each"))?);
        let mut damage = None;
        for entry in audit_log(vault, optional_text!(head))?.past_damage() {
            match entry {
                Ok(entry) => tell_entry(each, user, &entry)?,
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        damage.map_or(Ok(()), |error| Err(error.into()))
    })
}

/// The current head of the audit log, as a text without secrets. Keep it in a place that writers of the vault's folder
/// can't change.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_audit_head(
    vault: *const atrest_vault,
    head: *mut c_char,
    head_cap: usize,
    head_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(head, head_cap, head_len).put(&handle!(vault).file()?.audit_head()?.to_string()))
}

/// The most blocks of 16 bytes that any one key of a vault's file can have encrypted by wrapping. It counts each
/// numbered use in the log as a wrap of ATREST_DEK_MAX bytes under that key. Beyond ATREST_BLOCKS_MAX the vault stops
/// wrapping (ATREST_ERR_KEY_EXHAUSTED). At ATREST_BLOCKS_DUE it becomes due for replacement.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_usage(vault: *const atrest_vault, blocks: *mut u64) -> atrest_status {
    run(|| {
        let (vault, out) = (handle!(vault).file()?, out!(blocks));
        out.set(vault.usage()?.blocks());
        Ok(())
    })
}

/// Moves the audit log, intact or damaged, into a file that must not exist yet, and begins a new log that continues
/// from it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_archive_audit(vault: *mut atrest_vault, path: *const c_char) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.archive_audit(path!(path))?))
}

fn audit_log(vault: &FileVault, head: Option<&str>) -> Result<AuditLog> {
    let log = vault.audit()?;
    Ok(match head {
        Some(head) => log.including(head.parse::<AuditHead>()?),
        None => log,
    })
}

type EachEntry = unsafe extern "C" fn(*mut c_void, *const atrest_audit_entry) -> atrest_status;

/// Passes an entry to C.
fn tell_entry(each: EachEntry, user: *mut c_void, entry: &AuditEntry) -> Result {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let optional = |member: &Option<String>| member.as_deref().map(text);
    let start = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    let (operation, outcome) = (text(&entry.operation), text(&entry.outcome));
    let [identity, key_name, version, subject] =
        [&entry.identity, &entry.key, &entry.version, &entry.subject].map(optional);
    let told = atrest_audit_entry {
        struct_size: size_of::<atrest_audit_entry>(),
        seq: entry.seq,
        time: entry.time,
        identity: start(&identity),
        operation: operation.as_ptr(),
        key_name: start(&key_name),
        version: start(&version),
        subject: start(&subject),
        outcome: outcome.as_ptr(),
        torn: entry.torn.unwrap_or(0),
        after: entry.after.map_or(0, |head| head.seq()),
    };
    // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the texts live until then.
    CallbackFailed::check(unsafe { each(user, ptr::from_ref(&told)) })
}

const OPERATIONS: [(u32, KeyOperation); 3] = [
    (ATREST_OPERATION_GET, KeyOperation::Get),
    (ATREST_OPERATION_WRAP_KEY, KeyOperation::WrapKey),
    (ATREST_OPERATION_UNWRAP_KEY, KeyOperation::UnwrapKey),
];

fn operations_of(bits: u32) -> Result<Vec<KeyOperation>> {
    check_flags(bits, OPERATIONS.iter().map(|(bit, _)| bit).sum())?;
    Ok(OPERATIONS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, operation)| *operation).collect())
}

// A number of 64 bits, a colon, the Base64 of 32 bytes, and the zero byte.
const _: () = assert!(ATREST_AUDIT_HEAD_SIZE == 20 + 1 + 44 + 1);
