//! DISK SERVICE
//!
//! Managed disks: what a program that offers disks to others embeds. A service keeps encryption sets, disks, snapshots and
//! images. A disk is under the platform's key, under the customer's key that its set names, or under both in two layers.
//! It holds its key for a lease: when the key is disabled, deleted or expired, or access to it revoked, I/O fails with
//! ATREST_ERR_DISK_SUSPENDED, the DEK is wiped, and all works again once access is back.
//!
//! What the rules of managed disks forbid is refused with ATREST_ERR_NOT_ALLOWED. The message says what to do instead,
//! and atrest_last_rule() which rule it is.
//!
//! The service does nothing by itself: call atrest_disk_service_maintain about once a minute, and
//! atrest_disk_service_auto_rotate every few minutes, each from a thread of its own.
//!
//! RECORDS      What is made is named by kind and name, and asked for by them: what a program decides by is in a struct
//!              (atrest_set_info, atrest_resource_info), and the whole record in a JSON text, for logs and interfaces. The
//!              text is what Rust's to_json() gives. Later versions may add members to it.
//! LISTS        A list calls `each` for every entry. So nobody has to know before how long it is, and no vault is asked a
//!              second time for the sake of a buffer that was too short.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::sync::Arc;
use std::time::Duration;

use atrest::managed::{
    CopyProgress, DiskService, FileVaults, LeasePolicy, OutagePolicy, RotationProgress, ServiceOptions, VaultDirectory,
};

use crate::args::flag;
use crate::callback::{User, c_text};
use crate::clock::atrest_clock;
use crate::disk_backend::atrest_disk_backend;
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::handle::Handle;
use crate::status::{ATREST_OK, atrest_status};
use crate::structs::SizedStruct;
use crate::vault::atrest_vault;
use crate::vault_directory::atrest_vault_directory;

/// A disk service. Freed by atrest_disk_service_free.
pub struct atrest_disk_service;

/// Told how far something long is: of a copy, bytes; of a rotation, disks, snapshots and images. It may be called from
/// several threads at once, which wait for it.
pub type atrest_progress = Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64)>;

/// What a service is set up with. It keeps what it needs of the handles, so they may be freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_disk_service_options {
    /// Set by ATREST_DISK_SERVICE_OPTIONS_INIT.
    pub struct_size: usize,
    /// Where disks lie.
    pub backend: *const atrest_disk_backend,
    /// How the vaults of customers are reached. NULL if there are none.
    pub vaults: *const atrest_vault_directory,
    /// The vault of the platform's keys. The service needs get, wrapKey and unwrapKey.
    pub platform: *const atrest_vault,
    /// The name of the platform's key in it.
    pub platform_key: *const c_char,
    /// Where time comes from. NULL is the operating system's clock.
    pub clock: *const atrest_clock,
    /// When I/O fails at the latest after a key was disabled, deleted or expired, or access to it revoked. 0 is 3600.
    pub grace_seconds: u64,
    /// How long after an answer a vault is asked again; shorter than the grace, so that a vault which is away for a moment
    /// does no harm. 0 is 900.
    pub interval_seconds: u64,
    /// For how long I/O goes on since a vault last answered, while it doesn't answer. A revocation that can't be asked for
    /// meanwhile is late by as much. 0: as if the key had been revoked then, the grace.
    pub outage_seconds: u64,
    /// How often atrest_disk_service_auto_rotate asks a vault for a newer version of a set's key; with the time that the
    /// rotation takes, it should stay below an hour. 0 is 900.
    pub rotation_interval_seconds: u64,
    /// How many calls of a vault are in flight at most, in one rotation or one round of atrest_disk_service_maintain. 0 is 8.
    pub parallel: usize,
    /// How long a call of a vault may take. One that takes longer is given up, and counts as an outage. 0 is 30.
    pub deadline_seconds: u64,
    /// 1 to refuse disks with ATREST_ERR_MEMORY_NOT_LOCKED where the system doesn't let the memory of secrets be locked, so
    /// that they could be swapped (atrest_memory_protection); otherwise 0.
    pub require_locked_memory: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_disk_service_options {
    const EARLIER: &'static [usize] = &[
        core::mem::offset_of!(atrest_disk_service_options, deadline_seconds),
        core::mem::offset_of!(atrest_disk_service_options, require_locked_memory),
    ];
}

/// What became of a set that was due for a rotation. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_rotated {
    /// The size of this struct in the library that runs.
    pub struct_size: usize,
    /// The name of the set.
    pub set: *const c_char,
    /// The key that all in the set are under now. NULL if the rotation failed.
    pub key_url: *const c_char,
    /// How many were put under it.
    pub rewrapped: u64,
    /// Why the rotation failed, as atrest_last_error_message would say it. NULL if it did not.
    pub message: *const c_char,
    /// ATREST_OK, or what atrest_disk_service_rotate_set would have returned.
    pub status: atrest_status,
    /// 0.
    pub reserved: u32,
}

/// A set whose active key expires soon. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_expiring_key {
    /// The size of this struct in the library that runs.
    pub struct_size: usize,
    /// The name of the set.
    pub set: *const c_char,
    /// Its active key.
    pub key_url: *const c_char,
    /// When that expires, or has expired.
    pub expires: u64,
    /// 1 if a newer version would be taken up by itself, once there is one; otherwise 0.
    pub auto_rotation: u32,
    /// 0.
    pub reserved: u32,
}

/// Opens the store of a service, a file, or makes it. One process at a time has it open, until the service and all its
/// disks are freed. What was being made or removed when the last process ended is removed; what can't be removed now is
/// tried again at the next start.
///
/// Errors: ATREST_ERR_BUSY while the store is open already; ATREST_ERR_NULL_ARGUMENT, also for the options `backend`,
/// `platform` and `platform_key`; ATREST_ERR_INVALID_OPTION unless the interval is shorter than the grace, and the grace 30
/// days at most; ATREST_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_open(
    store: *const c_char,
    options: *const atrest_disk_service_options,
    out: *mut *mut atrest_disk_service,
) -> atrest_status {
    run(|| {
        let (store, c, out) = (path!(store), structure!(options), out!(out));
        // SAFETY: by the header's contract (STRUCTS, HANDLES, TEXT) its members are what this function demands.
        let options = unsafe { service_options(&c) }?;
        out.handle(DiskService::open(store, options)?);
        Ok(())
    })
}

/// Frees a service. Its disks stay open, and with them the store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_free(service: *mut atrest_disk_service) {
    free!(service);
}

/// Asks the vaults that it is time to ask, and wipes the DEKs of disks whose keys may not be used. Reads and writes do it
/// too for their own disk; but a disk that nobody reads keeps its DEK in memory until this is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_maintain(service: *const atrest_disk_service) -> atrest_status {
    run(|| {
        handle!(service).maintain();
        Ok(())
    })
}

/// Finishes what was put into a set and isn't under its key yet, rotates the sets with auto-rotation whose vault has a newer
/// version of the key, goes on with rotations that were killed, and returns when they are done. Then it calls `each` for
/// every set that was due. A failed rotation is not tried again until atrest_disk_service_clear_rotation_error; a vault that
/// could not be asked is asked again at the next interval.
///
/// `progress` may be NULL; both get `user`. `each` returns ATREST_OK to go on; anything else ends the list with
/// ATREST_ERR_CALLBACK_FAILED.
///
/// Errors: ATREST_ERR_IO from the store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_auto_rotate(
    service: *const atrest_disk_service,
    progress: atrest_progress,
    each: Option<unsafe extern "C" fn(user: *mut c_void, rotated: *const atrest_rotated) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, each) = (handle!(service), each.ok_or_else(|| Failure::null("each"))?);
        for (set, rotation) in service.auto_rotate(&of_rotation(progress, user))? {
            let set = c_text(&set);
            let (status, key_url, rewrapped, message) = match rotation {
                Ok(rotation) => (ATREST_OK, Some(c_text(&rotation.key.to_string())), rotation.rewrapped, None),
                Err(e) => {
                    let failure = Failure::from(e);
                    (failure.status(), None, 0, Some(c_text(&failure.to_string())))
                }
            };
            let rotated = atrest_rotated {
                struct_size: size_of::<atrest_rotated>(),
                set: set.as_ptr(),
                key_url: key_url.as_ref().map_or(ptr::null(), |url| url.as_ptr()),
                rewrapped: rewrapped as u64,
                message: message.as_ref().map_or(ptr::null(), |text| text.as_ptr()),
                status,
                reserved: 0,
            };
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the texts live until then.
            CallbackFailed::check(unsafe { each(user, &raw const rotated) })?;
        }
        Ok(())
    })
}

/// Calls `each` for every set whose active key expires within a time, or has expired. Every set's vault is asked; one that
/// doesn't answer, or doesn't describe its keys, is left out. `each` returns ATREST_OK to go on; anything else ends the list with
/// ATREST_ERR_CALLBACK_FAILED.
///
/// Errors: ATREST_ERR_IO from the store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_expiring_keys(
    service: *const atrest_disk_service,
    within_seconds: u64,
    each: Option<unsafe extern "C" fn(user: *mut c_void, key: *const atrest_expiring_key) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, each) = (handle!(service), each.ok_or_else(|| Failure::null("each"))?);
        for key in service.expiring_keys(Duration::from_secs(within_seconds))? {
            let (set, key_url) = (c_text(&key.set), c_text(&key.key.to_string()));
            let key = atrest_expiring_key {
                struct_size: size_of::<atrest_expiring_key>(),
                set: set.as_ptr(),
                key_url: key_url.as_ptr(),
                expires: key.expires,
                auto_rotation: key.auto_rotation.into(),
                reserved: 0,
            };
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the texts live until then.
            CallbackFailed::check(unsafe { each(user, &raw const key) })?;
        }
        Ok(())
    })
}

/// # Safety
/// The members are what the header demands of those who open a service.
pub(crate) unsafe fn service_options(c: &atrest_disk_service_options) -> Result<ServiceOptions> {
    let vaults: Arc<dyn VaultDirectory> =
        if c.vaults.is_null() { Arc::new(FileVaults::new()) } else { handle!(c.vaults).get() };
    let backend = handle!(c.backend).clone();
    let default = LeasePolicy::default();
    let lease = default
        .grace(seconds(c.grace_seconds, default.grace))
        .interval(seconds(c.interval_seconds, default.interval))
        .outage(match c.outage_seconds {
            0 => OutagePolicy::FailAfterGrace,
            limit => OutagePolicy::ContinueFor(Duration::from_secs(limit)),
        })
        .deadline(seconds(c.deadline_seconds, default.deadline));
    let mut options = ServiceOptions::new(backend, vaults, handle!(c.platform).shared(), text!(c.platform_key))
        .lease(lease)
        .require_locked_memory(flag("require_locked_memory", c.require_locked_memory)?);
    // Zero keeps the library's default.
    if !c.clock.is_null() {
        options = options.clock(handle!(c.clock).get());
    }
    if c.parallel != 0 {
        options = options.parallel(c.parallel);
    }
    if c.rotation_interval_seconds != 0 {
        options = options.rotation_interval(Duration::from_secs(c.rotation_interval_seconds));
    }
    Ok(options)
}

impl Handle for atrest_disk_service {
    type Object = DiskService;
    const TAG: [u8; 4] = *b"svc\x01";
    const NAME: &'static str = "atrest_disk_service";
}

/// Tells C how far a rotation is.
pub(crate) fn of_rotation(progress: atrest_progress, user: *mut c_void) -> impl Fn(RotationProgress) + Sync {
    let user = User(user);
    move |at| tell(progress, &user, at.done as u64, at.total as u64)
}

/// Tells C how far a copy is.
pub(crate) fn of_copy(progress: atrest_progress, user: *mut c_void) -> impl Fn(CopyProgress) {
    let user = User(user);
    move |at| tell(progress, &user, at.done, at.total)
}

fn tell(progress: atrest_progress, user: &User, done: u64, total: u64) {
    if let Some(progress) = progress {
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`.
        unsafe { progress(user.0, done, total) }
    }
}

fn seconds(given: u64, default: Duration) -> Duration {
    if given == 0 { default } else { Duration::from_secs(given) }
}
