//! CARE OF A STORE
//!
//! A service's store says whose its disks are; the disks themselves hold their data and their keys. So a store is backed up
//! while it is used, looked through, and rebuilt from the disks when it is lost or damaged.

use core::ffi::{c_char, c_void};
use core::ptr;

use atrest::managed::{self, RebuildSources, ResourceName, StoreCheck};

use crate::callback::{c_text, with_text};
use crate::disk_service::{atrest_disk_service, atrest_disk_service_options, service_options};
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::output::StructOut;
use crate::status::{ATREST_ERR_INVALID_OPTION, atrest_status};
use crate::structs::SizedStruct;

/// Restored: an old store has a record of it, and its device was opened by its key and fits.
pub const ATREST_REBUILT_RESTORED: u32 = 1;
/// A disk of which only its header tells: it is in the new store under its id. Its name, whether it was a snapshot or an
/// image's copy, and what it was copied from, are lost.
pub const ATREST_REBUILT_NAMED_BY_ID: u32 = 2;
/// A device that is not in the new store; `reason` says why.
pub const ATREST_REBUILT_UNPROVEN: u32 = 3;
/// An old store has a record of it, and no device was given. It is not in the new store.
pub const ATREST_REBUILT_MISSING: u32 = 4;

/// What a look at a whole store found.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_store_check {
    /// Set by ATREST_STORE_CHECK_INIT.
    pub struct_size: usize,
    /// How many changes were ever made to it. A store with fewer than it once had was put back to an earlier state: keep the
    /// number elsewhere to tell. 0 if that can't be read.
    pub changes: u64,
    /// How many sets it has; of a store that doesn't open, of how many a record can be read.
    pub sets: u64,
    /// How many disks, snapshots, and copies of images' disks it has, likewise.
    pub resources: u64,
    /// How many things are wrong. 0 if the store is sound.
    pub defects: u64,
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_store_check {}

/// What a store is rebuilt from.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_rebuild_sources {
    /// Set by ATREST_REBUILD_SOURCES_INIT.
    pub struct_size: usize,
    /// The ids of the devices: UUIDs, the names that the backend has them under.
    pub ids: *const *const c_char,
    /// How many there are.
    pub ids_count: usize,
    /// The region of each of them.
    pub regions: *const *const c_char,
    /// How many there are: as many as ids.
    pub regions_count: usize,
    /// Paths of old stores: the damaged one, backups, or a new one in which only the sets were made. Of those that open, the
    /// first that knows a resource counts, and before those that don't.
    pub stores: *const *const c_char,
    /// How many there are.
    pub stores_count: usize,
    /// Whose the disks under the platform's key are that no old store knows. NULL: they are ATREST_REBUILT_UNPROVEN.
    pub subscription: *const c_char,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_rebuild_sources {}

/// What became of a device or a record. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_rebuilt {
    /// The size of this struct in the library that runs.
    pub struct_size: usize,
    /// ATREST_REBUILT_*.
    pub outcome: u32,
    /// ATREST_RESOURCE_*; 0 for ATREST_REBUILT_UNPROVEN.
    pub kind: u32,
    /// The resource's name, or the device's id for ATREST_REBUILT_UNPROVEN.
    pub name: *const c_char,
    /// Where the device is, for ATREST_REBUILT_UNPROVEN; else NULL.
    pub region: *const c_char,
    /// Why it is not in the new store, for ATREST_REBUILT_UNPROVEN; else NULL.
    pub reason: *const c_char,
}

/// Writes a backup of a service's store to a new file: all sets and resources as they are at one instant, while the service
/// goes on. It is a store by itself: put in the place of a lost one, it opens. It is made for its owner only (0600), under
/// another name at first, and has its own once it is whole, on the disk, and was looked through.
///
/// Errors: ATREST_ERR_IO, also if there is something of this name; then nothing of the backup stays.
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

/// Looks at all that is in a service's store, while the service goes on. Calls `each`, which may be NULL, with every defect,
/// a text for people that is valid during the callback only: each damaged or missing record that can be named. `each` returns
/// ATREST_OK to go on; anything else ends the list with ATREST_ERR_CALLBACK_FAILED. `out` starts from
/// ATREST_STORE_CHECK_INIT.
///
/// Errors: ATREST_ERR_IO where the store can't be read on. A defect is none.
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

/// Looks at all that is in a store that no service has open. It needn't be one that opens, and is not changed. Otherwise as
/// atrest_disk_service_check.
///
/// Errors: ATREST_ERR_BUSY while a service has the store open; ATREST_ERR_IO where it can't be read at all. A defect is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_store_check_file(
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

/// Makes a new store at `path`, where nothing may be yet, from disks and what old stores say of them. Nothing but that file
/// is written. Each device is opened by the key that its header names: the vault's unwrap proves the DEK, and the DEK the
/// header. A record of an old store is taken if it is of that id, DEK, size and type. The options are those that the service
/// is then opened with; vaults are asked under the identities of the sets that the old stores know.
///
/// Then it calls `each`, which may be NULL, with what became of every device and record. `each` returns ATREST_OK to go on;
/// anything else ends the list with ATREST_ERR_CALLBACK_FAILED, after the store was made.
///
/// Errors: ATREST_ERR_IO if there is something at `path`, or an old store can't be read at all; ATREST_ERR_BUSY while one is
/// open; ATREST_ERR_INVALID_OPTION unless there are as many regions as ids.
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
        all(ATREST_REBUILT_NAMED_BY_ID, &rebuilt.named_by_id)?;
        for device in &rebuilt.unproven {
            one(ATREST_REBUILT_UNPROVEN, 0, &device.id, Some((&device.region, &device.reason)))?;
        }
        all(ATREST_REBUILT_MISSING, &rebuilt.missing)
    })
}

fn tell(
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
