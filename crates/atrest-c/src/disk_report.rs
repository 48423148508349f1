//! REPORTS
//!
//! Reports on the protection of disks, and whether it has the configured state. Headers are read for this; no
//! customer's vault is asked.
//!
//! The capability table compares the ways of encrypting a disk: what each protects, in Azure's words, and the parts that
//! this library doesn't do.

use core::ffi::c_char;

use atrest::EncryptionType;
use atrest::managed::{CapabilityTable, EncryptionOption, KeyAccess, ProtectionStatus, RotationProgress};

use crate::args::flag;
use crate::disk_resources::resource_name;
use crate::disk_service::atrest_disk_service;
use crate::failure::{Failure, Result, run};
use crate::status::{ATREST_ERR_OTHER, atrest_status};
use crate::structs::SizedStruct;

/// It is proven to be under its configured key, and its header names no other.
pub const ATREST_PROTECTION_FINISHED: u32 = 1;
/// It was put into its set, but is still under its previous key; or it is being adopted, and may still open by its previous
/// credential.
pub const ATREST_PROTECTION_JOINING: u32 = 2;
/// Its set or the platform is being rotated, and it is still under an older key.
pub const ATREST_PROTECTION_ROTATING: u32 = 3;
/// Its key is not proven yet, because an earlier version made it. Open it, or rotate.
pub const ATREST_PROTECTION_UNPROVEN: u32 = 4;
/// Its header names another key than the proven one: an older header was put back, or the name was edited. Put the
/// newest header back, or rotate.
pub const ATREST_PROTECTION_HEADER_CHANGED: u32 = 5;
/// It is proven to be under a version of its key that the store doesn't know. Perhaps an older store was put back. Put
/// the newest store back, or rotate, which makes the store know the version.
pub const ATREST_PROTECTION_STORE_OUTDATED: u32 = 6;
/// Its header can't be read, or the layer below can't be opened; the report in JSON says why.
pub const ATREST_PROTECTION_HEADER_UNREADABLE: u32 = 7;

/// Nobody has it open.
pub const ATREST_ACCESS_CLOSED: u32 = 1;
/// It is open, and its key may be used.
pub const ATREST_ACCESS_USABLE: u32 = 2;
/// It is open, and I/O fails until its key may be used again.
pub const ATREST_ACCESS_SUSPENDED: u32 = 3;

/// A report's fields for programs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_report {
    /// Set by ATREST_REPORT_INIT.
    pub struct_size: usize,
    /// ATREST_PROTECTION_*.
    pub status: u32,
    /// ATREST_ACCESS_*, as far as is known without asking.
    pub access: u32,
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_report {}

/// The fields of a set's report, for programs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_set_report {
    /// Set by ATREST_SET_REPORT_INIT.
    pub struct_size: usize,
    /// The number of disks, snapshots and copies of images' disks that are proven to be under the active key, with
    /// headers that name it.
    pub done: u64,
    /// The number of all of them.
    pub total: u64,
    /// 1 if all are, and no rotation is in progress; otherwise 0.
    pub finished: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_set_report {}

/// Writes into `out`, which starts from ATREST_REPORT_INIT, whether a disk, snapshot, or copy of an image's disk is
/// under its configured key.
///
/// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_BAD_ENUM; ATREST_ERR_IO from the store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_report(
    service: *const atrest_disk_service,
    kind: u32,
    name: *const c_char,
    out: *mut atrest_report,
) -> atrest_status {
    run(|| {
        let (service, name, out) = (handle!(service), resource_name(kind, text!(name))?, struct_out!(out));
        let report = service.report(&name)?;
        let unknown = |what| Failure::new(ATREST_ERR_OTHER, format!("{what} has no number"));
        out.set(atrest_report {
            struct_size: size_of::<atrest_report>(),
            status: match report.status {
                ProtectionStatus::Finished => ATREST_PROTECTION_FINISHED,
                ProtectionStatus::Joining => ATREST_PROTECTION_JOINING,
                ProtectionStatus::Rotating => ATREST_PROTECTION_ROTATING,
                ProtectionStatus::Unproven => ATREST_PROTECTION_UNPROVEN,
                ProtectionStatus::HeaderChanged => ATREST_PROTECTION_HEADER_CHANGED,
                ProtectionStatus::StoreOutdated => ATREST_PROTECTION_STORE_OUTDATED,
                ProtectionStatus::HeaderUnreadable => ATREST_PROTECTION_HEADER_UNREADABLE,
                other => return Err(unknown(format!("the status {other:?}"))),
            },
            access: match report.access {
                KeyAccess::Closed => ATREST_ACCESS_CLOSED,
                KeyAccess::Usable => ATREST_ACCESS_USABLE,
                KeyAccess::Suspended => ATREST_ACCESS_SUSPENDED,
                other => return Err(unknown(format!("the access {other:?}"))),
            },
        });
        Ok(())
    })
}

/// The whole report on a disk, snapshot, or copy of an image's disk, in JSON: its record, the keys that its header
/// names, and the rows of the capability table that apply to it.
///
/// Errors: those of atrest_disk_service_report.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_report_json(
    service: *const atrest_disk_service,
    kind: u32,
    name: *const c_char,
    json: *mut c_char,
    json_cap: usize,
    json_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (service, name) = (handle!(service), resource_name(kind, text!(name))?);
        text_out!(json, json_cap, json_len).put(&service.report(&name)?.to_json())
    })
}

/// Writes into `out`, which starts from ATREST_SET_REPORT_INIT, how many members of a set are under its active key.
///
/// Errors: those of atrest_disk_service_report.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_report_set(
    service: *const atrest_disk_service,
    set: *const c_char,
    out: *mut atrest_set_report,
) -> atrest_status {
    run(|| {
        let (service, set, out) = (handle!(service), text!(set), struct_out!(out));
        let report = service.report_set(set)?;
        out.set(of_keys(&report.progress, report.finished));
        Ok(())
    })
}

fn of_keys(progress: &RotationProgress, finished: bool) -> atrest_set_report {
    atrest_set_report {
        struct_size: size_of::<atrest_set_report>(),
        done: progress.done as u64,
        total: progress.total as u64,
        finished: finished.into(),
        reserved: 0,
    }
}

/// Writes into `out`, which starts from ATREST_SET_REPORT_INIT, how many resources under the platform's keys are under
/// the active one: those outside of sets, and the lower layers of those with two. The fields are those of a set's
/// report.
///
/// Errors: ATREST_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_report_platform(
    service: *const atrest_disk_service,
    out: *mut atrest_set_report,
) -> atrest_status {
    run(|| {
        let (service, out) = (handle!(service), struct_out!(out));
        let report = service.report_platform()?;
        out.set(of_keys(&report.progress, report.finished));
        Ok(())
    })
}

/// The whole report on the platform's keys, in JSON: the keys, and the names of the resources that aren't under the
/// active one yet.
///
/// Errors: ATREST_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_report_platform_json(
    service: *const atrest_disk_service,
    json: *mut c_char,
    json_cap: usize,
    json_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(json, json_cap, json_len).put(&handle!(service).report_platform()?.to_json()))
}

/// The states and counts of a service for monitoring, in JSON: leases of keys, rotations, calls of vaults and of the store, refused I/O, and on a
/// store that hosts share the host's lease and its devices. docs/metrics.md lists them. Counts begin at 0 with each opening of the service.
/// Neither the store nor a vault is asked. Numbers grow between two calls, so a buffer that the first named may be too short for the
/// second.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_metrics_json(
    service: *const atrest_disk_service,
    json: *mut c_char,
    json_cap: usize,
    json_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(json, json_cap, json_len).put(&handle!(service).metrics().to_json()))
}

/// The whole report on a set, in JSON: its record, and the names of the members that aren't under its active key yet.
///
/// Errors: those of atrest_disk_service_report.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_report_set_json(
    service: *const atrest_disk_service,
    set: *const c_char,
    json: *mut c_char,
    json_cap: usize,
    json_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (service, set) = (handle!(service), text!(set));
        text_out!(json, json_cap, json_len).put(&service.report_set(set)?.to_json())
    })
}

/// The capability table in JSON: the rows that apply to a disk of `encryption_type`, ATREST_*_KEY or _KEYS, which the
/// guest encrypts too if `in_guest` is 1. With 0 and 0, the whole table.
///
/// Errors: ATREST_ERR_BAD_ENUM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_capability_table_json(
    encryption_type: u32,
    in_guest: u32,
    json: *mut c_char,
    json_cap: usize,
    json_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(json, json_cap, json_len).put(&table(encryption_type, in_guest)?.to_json()))
}

/// The capability table as lines of ASCII text: a grid, and the remarks on its cells. Otherwise as
/// atrest_capability_table_json.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_capability_table_text(
    encryption_type: u32,
    in_guest: u32,
    text: *mut c_char,
    text_cap: usize,
    text_len: *mut usize,
) -> atrest_status {
    run(|| {
        let lines = table(encryption_type, in_guest)?.lines();
        text_out!(text, text_cap, text_len).put(&(lines.join("\n") + "\n"))
    })
}

fn table(encryption_type: u32, in_guest: u32) -> Result<CapabilityTable> {
    let in_guest = flag("in_guest", in_guest)?;
    if encryption_type == 0 && !in_guest {
        return Ok(CapabilityTable::whole());
    }
    let bad_enum = || Failure::bad_enum("encryption_type", encryption_type);
    let encryption_type = EncryptionType::from_code(encryption_type).ok_or_else(bad_enum)?;
    Ok(CapabilityTable::of(&EncryptionOption::of(encryption_type, in_guest)))
}
