//! ACCESS TO A VAULT FILE, AND ITS AUDIT LOG
//!
//! Whoever opens a vault file is its owner. Others use it by a handle of atrest_vault_as_identity, as far as the owner
//! granted it, for atrest_vault_describe (get) and for whatever wraps and unwraps DEKs.
//!
//! Every use and every change is in the log before it is answered. Each entry is chained to the one before, so that a
//! changed, removed or added one shows; entries cut off at the end show as far as the last change of the vault, and as far
//! as a head that was kept elsewhere.
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

/// To be told of a key.
pub const ATREST_OPERATION_GET: u32 = 1;
/// To have a DEK wrapped.
pub const ATREST_OPERATION_WRAP_KEY: u32 = 2;
/// To have a DEK unwrapped.
pub const ATREST_OPERATION_UNWRAP_KEY: u32 = 4;

/// A buffer of this many bytes has room for any head of an audit log, and its zero byte.
pub const ATREST_AUDIT_HEAD_SIZE: usize = 66;

/// An entry of the audit log. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_audit_entry {
    /// The size of this struct in the library that runs.
    pub struct_size: usize,
    /// The number of the entry, from 1.
    pub seq: u64,
    /// When, in seconds since 1970-01-01 UTC.
    pub time: u64,
    /// Who; NULL for the vault's owner.
    pub identity: *const c_char,
    /// What: "get", "wrapKey", "unwrapKey", or a change of the vault.
    pub operation: *const c_char,
    /// The name of the key, or NULL.
    pub key_name: *const c_char,
    /// The version of the key, or NULL.
    pub version: *const c_char,
    /// The identity that was granted access, or that lost it, or NULL.
    pub subject: *const c_char,
    /// What came of it: "ok", or why not.
    pub outcome: *const c_char,
    /// How many bytes of torn lines, which killed processes left behind, stand before this entry.
    pub torn: u64,
    /// The number of the entry that this one goes on from, where the vault found its log damaged or put back when it wrote
    /// this one; else 0.
    pub after: u64,
}

/// Lets an identity (1 to 256 visible ASCII characters) do `operations`, ATREST_OPERATION_* added up, besides what it may
/// do already.
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

/// Takes `operations` from an identity. One that it doesn't have is no error.
///
/// Errors: ATREST_ERR_BAD_ENUM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_revoke(
    vault: *mut atrest_vault,
    identity: *const c_char,
    operations: u32,
) -> atrest_status {
    run(|| Ok(handle!(vault).file()?.revoke_operations(text!(identity), &operations_of(operations)?)?))
}

/// Calls `each` for every identity that has access. `each` returns ATREST_OK to go on; anything else ends the list with
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

/// The vault as an identity other than its owner sees it. What it isn't granted fails with ATREST_ERR_ACCESS_DENIED, from
/// the moment at which access is revoked.
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

/// Calls `each` for every entry of the audit log, each verified. `head` is an earlier answer of atrest_vault_audit_head by
/// way of which the log must go, or NULL. `each` returns ATREST_OK to go on; anything else ends the list with
/// ATREST_ERR_CALLBACK_FAILED.
///
/// Errors: ATREST_ERR_DAMAGED_VAULT, with the line, when an entry was changed, removed or added;
/// ATREST_ERR_INVALID_OPTION for a text that is no head.
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

/// As atrest_vault_audit, and goes on behind damage with each entry that is proven there: it is what the vault wrote, and its
/// number says how many are missing.
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

/// How far the audit log goes now, as a text without secrets, to be kept where the vault's folder can't be written from.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_audit_head(
    vault: *const atrest_vault,
    head: *mut c_char,
    head_cap: usize,
    head_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(head, head_cap, head_len).put(&handle!(vault).file()?.audit_head()?.to_string()))
}

/// How many blocks of 16 bytes any one key of a vault's file can have encrypted by wrapping, at most: as if each use that the
/// log has numbered had been a wrap of ATREST_DEK_MAX bytes under that key. Beyond ATREST_BLOCKS_MAX it wraps no more
/// (ATREST_ERR_KEY_EXHAUSTED); from ATREST_BLOCKS_DUE on it is time for another vault.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_usage(vault: *const atrest_vault, blocks: *mut u64) -> atrest_status {
    run(|| {
        let (vault, out) = (handle!(vault).file()?, out!(blocks));
        out.set(vault.usage()?.blocks());
        Ok(())
    })
}

/// Puts the audit log aside, whole or damaged, into a file that must not exist yet, and begins a new one that goes on from
/// it.
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

/// Tells C of an entry.
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
