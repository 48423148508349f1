//! DISK SERVICE
//!
//! Managed disks, for embedding in a program that offers disks to others. A service keeps encryption sets, disks,
//! snapshots and images. A disk is under the platform's key, under the customer's key of its set, or under both in two
//! layers. It holds its key for a lease. When the key is disabled, deleted or expired, or access to it revoked, I/O
//! fails with ATREST_ERR_DISK_SUSPENDED and the DEK is wiped; the disk works again once access is back.
//!
//! A request that breaks a rule of managed disks fails with ATREST_ERR_NOT_ALLOWED. The message names the alternative,
//! and atrest_last_rule() the rule.
//!
//! The service does nothing by itself: call atrest_disk_service_maintain about once a minute,
//! atrest_disk_service_auto_rotate every few minutes, and atrest_disk_service_reencrypt_step while there is anything to
//! re-encrypt, each on its own thread.
//!
//! RECORDS      A kind and a name identify each resource. Its fields for programs are in a struct (atrest_set_info,
//!              atrest_resource_info), and the whole record is a JSON text, for logs and interfaces: the text of Rust's
//!              to_json(). Later versions may add members to it.
//! LISTS        A list calls `each` for every entry. So its length need not be known before, and no vault is asked a
//!              second time because a buffer was too short.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::sync::Arc;
use std::time::Duration;

use atrest::managed::{
    CopyProgress, DiskService, KnownVaults, LeasePolicy, OutagePolicy, RotationProgress, ServiceOptions, VaultDirectory,
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

/// Reports progress: of a copy in bytes; of a rotation in disks, snapshots and images. It may be called from several
/// threads at once, which wait for it.
pub type atrest_progress = Option<unsafe extern "C" fn(user: *mut c_void, done: u64, total: u64)>;

/// Options of a service. It keeps references to the handles, so they may be freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_disk_service_options {
    /// Set by ATREST_DISK_SERVICE_OPTIONS_INIT.
    pub struct_size: usize,
    /// The place of disks.
    pub backend: *const atrest_disk_backend,
    /// The access to customers' vaults. NULL if there are none.
    pub vaults: *const atrest_vault_directory,
    /// The vault of the platform's keys. The service needs get, wrapKey and unwrapKey.
    pub platform: *const atrest_vault,
    /// The name of the platform's key in it.
    pub platform_key: *const c_char,
    /// The clock. NULL is the operating system's.
    pub clock: *const atrest_clock,
    /// The longest time until I/O fails after a key was disabled, deleted or expired, or access to it revoked. 0 is
    /// 3600.
    pub grace_seconds: u64,
    /// The time after an answer until a vault is asked again. It is shorter than the grace, so that a short outage of a
    /// vault does no harm. 0 is 900.
    pub interval_seconds: u64,
    /// How long I/O continues after a vault's last answer while the vault doesn't answer. A revocation in this time
    /// takes effect late, by up to this time. 0 is the grace, as after a revocation.
    pub outage_seconds: u64,
    /// How often atrest_disk_service_auto_rotate asks a vault for a newer version of a set's key. Together with the
    /// time of the rotation it should stay below an hour. 0 is 900.
    pub rotation_interval_seconds: u64,
    /// The most calls of a vault in flight at once, in one rotation or one round of atrest_disk_service_maintain. 0 is
    /// 8.
    pub parallel: usize,
    /// The longest time for a call of a vault. A longer call is abandoned and counts as an outage. 0 is 30.
    pub deadline_seconds: u64,
    /// 1 to refuse disks with ATREST_ERR_MEMORY_NOT_LOCKED if the system doesn't lock the memory of secrets, which
    /// could then be swapped (atrest_memory_protection); otherwise 0.
    pub require_locked_memory: u32,
    /// 0.
    pub reserved: u32,
    /// 1 to pass atrest_disk_discard on to the devices. THAT SHOWS ANYONE WHO SEES A DEVICE WHICH BLOCKS ARE FREE, and so how
    /// full a disk is and its kind of file system. Otherwise 0.
    pub discard: u32,
    /// 0.
    pub reserved_2: u32,
    /// 1 to give new disks, snapshots and images a map of written chunks (`written_chunk_size` of atrest_format_options):
    /// unwritten data reads as zeros, and copies of it take no room. Otherwise 0.
    pub written_map: u32,
    /// 0.
    pub reserved_3: u32,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_disk_service_options {
    const EARLIER: &'static [usize] = &[
        core::mem::offset_of!(atrest_disk_service_options, deadline_seconds),
        core::mem::offset_of!(atrest_disk_service_options, require_locked_memory),
        core::mem::offset_of!(atrest_disk_service_options, discard),
        core::mem::offset_of!(atrest_disk_service_options, written_map),
    ];
}

/// The result for a set that was due for a rotation. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_rotated {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The name of the set.
    pub set: *const c_char,
    /// The key that the whole set is now under. NULL if the rotation failed.
    pub key_url: *const c_char,
    /// How many resources were moved to it.
    pub rewrapped: u64,
    /// Why the rotation failed, as in atrest_last_error_message. NULL if it did not.
    pub message: *const c_char,
    /// ATREST_OK, or the status that atrest_disk_service_rotate_set would have returned.
    pub status: atrest_status,
    /// 0.
    pub reserved: u32,
}

/// A set whose active key expires soon. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_expiring_key {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The name of the set.
    pub set: *const c_char,
    /// Its active key.
    pub key_url: *const c_char,
    /// When that expires, or has expired.
    pub expires: u64,
    /// 1 if a newer version would be adopted automatically, otherwise 0.
    pub auto_rotation: u32,
    /// 0.
    pub reserved: u32,
}

/// Opens the store of a service, a file, or makes it. Only one process at a time can have it open, until the service
/// and all its disks are freed. It removes the remains of resources that were being made or removed when the last
/// process ended. If some can't be removed now, the next start tries again.
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

/// Asks the vaults that are due, and wipes the DEKs of disks whose keys may not be used. Reads and writes also do this
/// for their own disk; but a disk that nobody reads keeps its DEK in memory until this is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_maintain(service: *const atrest_disk_service) -> atrest_status {
    run(|| {
        handle!(service).maintain();
        Ok(())
    })
}

/// Finishes moves into sets, rotates the sets with auto-rotation whose vault has a newer version of the key, continues
/// killed rotations, and returns when they are done. Then it calls `each` for every set that was due. A failed rotation
/// is not retried until atrest_disk_service_clear_rotation_error; a vault that could not be asked is asked again after
/// the next interval.
///
/// `progress` may be NULL; both get `user`. `each` returns ATREST_OK to continue; anything else ends the list with
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

/// Calls `each` for every set whose active key has expired or will within this time. Every set's vault is asked; a
/// vault that doesn't answer, or doesn't describe its keys, is left out. `each` returns ATREST_OK to continue; anything
/// else ends the list with ATREST_ERR_CALLBACK_FAILED.
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
/// The members satisfy the header's contract for opening a service.
pub(crate) unsafe fn service_options(c: &atrest_disk_service_options) -> Result<ServiceOptions> {
    let vaults: Arc<dyn VaultDirectory> =
        if c.vaults.is_null() { Arc::new(KnownVaults::new()) } else { handle!(c.vaults).get() };
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
        .require_locked_memory(flag("require_locked_memory", c.require_locked_memory)?)
        .discard(flag("discard", c.discard)?)
        .written_map(flag("written_map", c.written_map)?);
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

/// Passes the progress of a rotation to C.
pub(crate) fn of_rotation(progress: atrest_progress, user: *mut c_void) -> impl Fn(RotationProgress) + Sync {
    let user = User(user);
    move |at| tell(progress, &user, at.done as u64, at.total as u64)
}

/// Passes the progress of a copy to C.
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
