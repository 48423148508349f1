//! CARE OF A STORE
//!
//! A service's store records the owners of its disks; the disks themselves hold their data and keys. So a store can be
//! backed up while it is used, checked, and rebuilt from the disks if it is lost or damaged.

use core::ffi::{c_char, c_void};
use core::ptr;

use atrest::managed::{self, RebuildSources, ResourceName, StoreCheck};

use crate::callback::{c_text, with_text};
use crate::disk_service::{atrest_disk_service, atrest_disk_service_options, service_options};
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::output::StructOut;
use crate::status::{ATREST_ERR_INVALID_OPTION, atrest_status};
use crate::structs::SizedStruct;

/// Restored: an old store has a record of it, and its device opens with its key and matches the record.
pub const ATREST_REBUILT_RESTORED: u32 = 1;
/// A disk known from its header only. It is in the new store under its id. Its name, its kind (disk, snapshot or
/// image's copy) and its source are lost.
pub const ATREST_REBUILT_NAMED_BY_ID: u32 = 2;
/// A device that is not in the new store; `reason` says why.
pub const ATREST_REBUILT_UNPROVEN: u32 = 3;
/// An old store has a record of it, but no device was given. It is not in the new store.
pub const ATREST_REBUILT_MISSING: u32 = 4;
/// Told besides ATREST_REBUILT_RESTORED: its device has room for more than the record's size. Perhaps it was enlarged after the old
/// store was made, and now ends where it ended then; atrest_disk_service_resize_disk brings the rest back.
pub const ATREST_REBUILT_LARGER: u32 = 5;

/// The result of checking a whole store.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_store_check {
    /// Set by ATREST_STORE_CHECK_INIT.
    pub struct_size: usize,
    /// How many changes were ever made to the store. If the number shrinks, an older store was put back; keep it
    /// elsewhere to find out. 0 if it can't be read.
    pub changes: u64,
    /// The number of sets. In a store that can't be opened, the number of sets with a readable record.
    pub sets: u64,
    /// The number of disks, snapshots, and copies of images' disks, counted the same way.
    pub resources: u64,
    /// The number of defects. 0 if the store is sound.
    pub defects: u64,
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_store_check {}

/// The sources for rebuilding a store.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_rebuild_sources {
    /// Set by ATREST_REBUILD_SOURCES_INIT.
    pub struct_size: usize,
    /// The ids of the devices: UUIDs, which are their names in the backend.
    pub ids: *const *const c_char,
    /// The number of ids.
    pub ids_count: usize,
    /// The region of each of them.
    pub regions: *const *const c_char,
    /// The number of regions, the same as of ids.
    pub regions_count: usize,
    /// Paths of old stores: the damaged one, backups, or a new one with only the sets. Stores that open come before
    /// those that don't. Of the former, the first that has a resource counts.
    pub stores: *const *const c_char,
    /// The number of stores.
    pub stores_count: usize,
    /// The subscription of disks under the platform's key that no old store has. NULL: they are
    /// ATREST_REBUILT_UNPROVEN.
    pub subscription: *const c_char,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_rebuild_sources {}

/// The result for a device or a record. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_rebuilt {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// ATREST_REBUILT_*.
    pub outcome: u32,
    /// ATREST_RESOURCE_*; 0 for ATREST_REBUILT_UNPROVEN.
    pub kind: u32,
    /// The resource's name, or the device's id for ATREST_REBUILT_UNPROVEN.
    pub name: *const c_char,
    /// The region of the device, for ATREST_REBUILT_UNPROVEN; otherwise NULL.
    pub region: *const c_char,
    /// The reason why it is not in the new store, for ATREST_REBUILT_UNPROVEN; otherwise NULL.
    pub reason: *const c_char,
}

/// Writes a backup of a service's store to a new file: all sets and resources at one instant, while the service
/// continues. The backup is a complete store: put in the place of a lost one, it opens. Only its owner can read it
/// (0600). It is written under a temporary name, and renamed once it is complete, on the disk and checked.
///
/// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND without its folder; ATREST_ERR_IO. On failure nothing is left behind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_backup(
    service: *const atrest_disk_service,
    path: *const c_char,
) -> atrest_status {
    run(|| {
        let (service, path) = (handle!(service), path!(path));
        service.backup(path)?;
        Ok(())
    })
}

/// Checks a service's whole store while the service continues. Calls `each`, which may be NULL, with every defect: a
/// text for people that is valid during the callback only, about each damaged or missing record that can be named.
/// `each` returns ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED. `out` starts from
/// ATREST_STORE_CHECK_INIT.
///
/// Errors: ATREST_ERR_IO if the store can't be read any further. A defect is not an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_check(
    service: *const atrest_disk_service,
    each: Option<unsafe extern "C" fn(user: *mut c_void, defect: *const c_char) -> atrest_status>,
    user: *mut c_void,
    out: *mut atrest_store_check,
) -> atrest_status {
    run(|| {
        let (service, out) = (handle!(service), struct_out!(out));
        tell(&service.check()?, out, each, user)
    })
}

/// Checks a whole store that no service has open. The store need not be openable, and is not changed. Otherwise as
/// atrest_disk_service_check.
///
/// Errors: ATREST_ERR_BUSY while a service has the store open; ATREST_ERR_NOT_FOUND; ATREST_ERR_IO if it can't be read at all. A defect is
/// not an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_store_check_of_file(
    path: *const c_char,
    each: Option<unsafe extern "C" fn(user: *mut c_void, defect: *const c_char) -> atrest_status>,
    user: *mut c_void,
    out: *mut atrest_store_check,
) -> atrest_status {
    run(|| {
        let (path, out) = (path!(path), struct_out!(out));
        tell(&StoreCheck::of_file(path)?, out, each, user)
    })
}

/// Makes a new store at `path`, which must not exist, from disks and the records in old stores. It writes only that
/// file. Each device is opened with the key that its header names: the vault's unwrap proves the DEK, and the DEK
/// proves the header. A record of an old store is taken if it has the same id, DEK, size and type. Use the options with
/// which the service will be opened. Vaults are accessed under the identities of the sets in the old stores.
///
/// Then it calls `each`, which may be NULL, with the result for every device and record. `each` returns ATREST_OK to
/// continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED, after the store was made.
///
/// Errors: ATREST_ERR_ALREADY_EXISTS if `path` exists; ATREST_ERR_IO if an old store can't be read at all; ATREST_ERR_BUSY while one is open;
/// ATREST_ERR_INVALID_OPTION unless there are as many regions as ids.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_store_rebuild(
    path: *const c_char,
    options: *const atrest_disk_service_options,
    sources: *const atrest_rebuild_sources,
    each: Option<unsafe extern "C" fn(user: *mut c_void, rebuilt: *const atrest_rebuilt) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (path, options, sources) = (path!(path), structure!(options), structure!(sources));
        // SAFETY: by the header's contract (STRUCTS, HANDLES, TEXT) its members are what the functions that take it demand.
        let options = unsafe { service_options(&options) }?;
        let (ids, regions) = (slice!(sources.ids, sources.ids_count), slice!(sources.regions, sources.regions_count));
        if ids.len() != regions.len() {
            let text = "each device has an id and a region; give as many regions as ids";
            return Err(Failure::new(ATREST_ERR_INVALID_OPTION, text));
        }
        let mut from = RebuildSources::new();
        for (&region, &id) in regions.iter().zip(ids) {
            from = from.device(text!(region), text!(id));
        }
        for &store in slice!(sources.stores, sources.stores_count) {
            from = from.store(path!(store));
        }
        if let Some(subscription) = optional_text!(sources.subscription) {
            from = from.subscription(subscription);
        }
        let rebuilt = managed::rebuild(path, &from, &options)?;
        let Some(each) = each else { return Ok(()) };
        let one = |outcome, kind: u32, name: &str, why: Option<(&str, &str)>| {
            let (name, why) = (c_text(name), why.map(|(region, reason)| (c_text(region), c_text(reason))));
            let rebuilt = atrest_rebuilt {
                struct_size: size_of::<atrest_rebuilt>(),
                outcome,
                kind,
                name: name.as_ptr(),
                region: why.as_ref().map_or(ptr::null(), |(region, _)| region.as_ptr()),
                reason: why.as_ref().map_or(ptr::null(), |(_, reason)| reason.as_ptr()),
            };
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the texts live until then.
            CallbackFailed::check(unsafe { each(user, &raw const rebuilt) })
        };
        let all = |outcome, names: &[ResourceName]| {
            names.iter().try_for_each(|name| one(outcome, name.kind.code().into(), &name.name, None))
        };
        all(ATREST_REBUILT_RESTORED, &rebuilt.restored)?;
        all(ATREST_REBUILT_LARGER, &rebuilt.larger)?;
        all(ATREST_REBUILT_NAMED_BY_ID, &rebuilt.named_by_id)?;
        for device in &rebuilt.unproven {
            one(ATREST_REBUILT_UNPROVEN, 0, &device.id, Some((&device.region, &device.reason)))?;
        }
        all(ATREST_REBUILT_MISSING, &rebuilt.missing)
    })
}

/// Calls `each` with the id of every device that the backend of a service has made in a region, in order, but for those of this
/// service. **It may be another service's disk**: the backend doesn't know whose a device is. Otherwise as
/// atrest_disk_service_names.
///
/// Errors: ATREST_ERR_INVALID_OPTION for a backend that can't tell.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_orphans(
    service: *const atrest_disk_service,
    region: *const c_char,
    each: Option<unsafe extern "C" fn(user: *mut c_void, id: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, region) = (handle!(service), text!(region));
        let each = each.ok_or_else(|| Failure::null("each"))?;
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until it returns.
        service.orphans(region)?.iter().try_for_each(|id| with_text(id, |id| unsafe { each(user, id) }))
    })
}

/// Removes a device that atrest_disk_service_orphans has named. Its content can't be brought back.
///
/// Errors: ATREST_ERR_BUSY for a device of this service; ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_INVALID_NAME unless `id` is
/// one; those of atrest_disk_service_orphans and of the backend.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_remove_orphan(
    service: *const atrest_disk_service,
    region: *const c_char,
    id: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(service).remove_orphan(text!(region), text!(id))?))
}

pub(crate) fn tell(
    check: &StoreCheck,
    out: StructOut<atrest_store_check>,
    each: Option<unsafe extern "C" fn(user: *mut c_void, defect: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> Result {
    out.set(atrest_store_check {
        struct_size: size_of::<atrest_store_check>(),
        changes: check.changes,
        sets: check.sets,
        resources: check.resources,
        defects: check.defects.len() as u64,
    });
    let Some(each) = each else { return Ok(()) };
    // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until it returns.
    check.defects.iter().try_for_each(|defect| with_text(defect, |defect| unsafe { each(user, defect) }))
}
