//! FLEETS OF MANY HOSTS
//!
//! Services of many hosts share a store in PostgreSQL or etcd. A disk, snapshot or image is open on one host at a time. Calls
//! that need its device work there; on another host they fail with ATREST_ERR_BUSY. Each host has a lease, which a thread of its
//! service renews; once it has run out, I/O fails, and the next host takes over. docs/fleet.md has the guarantees, and their
//! times.
//!
//! A store is named by a URL. Each kind but the file is a feature of the library's build. No URL has a password: that comes from a
//! callback, from the environment, or from the file of `password-file=FILE` behind a `?`. docs/cli.md has the other parts.
//!
//!   file:PATH                                              a file, which one process has open at a time
//!   postgres://USER@HOST[:PORT][,HOST[:PORT]...]/DATABASE  postgres: by PGPASSWORD
//!   etcd://[USER@]HOST[:PORT][,HOST[:PORT]...][/PREFIX]    etcd: by ETCDCTL_PASSWORD; etcd+http://... to this machine

use core::ffi::{c_char, c_void};
use core::ptr;
use std::time::Duration;

use atrest::managed::{AttachmentReport, FleetView, HostOptions, HostReport, LeaseState};
use atrest_stores::{FleetStore, FleetStoreOptions};

use crate::args::flag;
use crate::callback::c_text;
use crate::disk_service::{atrest_disk_service, atrest_disk_service_options, service_options};
use crate::disk_store::{atrest_store_check, tell};
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::handle::Handle;
use crate::status::{ATREST_ERR_INVALID_OPTION, atrest_status};
use crate::structs::SizedStruct;
use crate::vault_url::{atrest_vault_url_options, url_options};

/// The lease was not watched for long enough: no renewal was seen yet, and no lease's time has passed.
pub const ATREST_LEASE_UNKNOWN: u32 = 1;
/// The lease was seen to be renewed, within the time of a lease.
pub const ATREST_LEASE_LIVE: u32 = 2;
/// It was seen to stand still for the time of a lease: its host may not use its disks any more, unless it renews it.
pub const ATREST_LEASE_RAN_OUT: u32 = 3;
/// It was seen to stand still for a quarter longer: the next host that has seen that, too, takes this one for lost.
pub const ATREST_LEASE_LOST: u32 = 4;
/// The host's record can't be read, such as that of a later version. Other hosts take it for live.
pub const ATREST_LEASE_UNREADABLE: u32 = 5;

/// The host has the device open.
pub const ATREST_ATTACHMENT_OPEN: u32 = 1;
/// The device is being handed over: `promised` is to get it.
pub const ATREST_ATTACHMENT_PROMISED: u32 = 2;
/// Nobody has it.
pub const ATREST_ATTACHMENT_CLOSED: u32 = 3;
/// The host that had it was taken for lost: another one may open it.
pub const ATREST_ATTACHMENT_LOST: u32 = 4;
/// The record can't be read; `fault` says why.
pub const ATREST_ATTACHMENT_UNREADABLE: u32 = 5;

/// A store of a fleet. Freed by atrest_fleet_store_free.
pub struct atrest_fleet_store;

/// Options of a host that shares a store.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_host_options {
    /// Set by ATREST_HOST_OPTIONS_INIT.
    pub struct_size: usize,
    /// Its name, which other hosts are told. Each host has another one.
    pub name: *const c_char,
    /// How long it may use its disks after the store last answered, in milliseconds: at least three times the store's deadline, and
    /// at most an hour. 0 is a minute.
    pub lease_ms: u64,
    /// 1 if the caller renews the lease, by atrest_disk_service_renew_host_lease after each third of it; 0: a thread of the service does.
    pub renews_by_hand: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_host_options {}

/// A run of a host's service. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_host {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The host's name; empty if its record can't be read.
    pub name: *const c_char,
    /// The id of this run of its service, never used again. A host that was just started again may have two.
    pub run: *const c_char,
    /// How long its lease holds after a renewal, in milliseconds.
    pub lease_ms: u64,
    /// How often it was renewed.
    pub renewals: u64,
    /// How long `renewals` was seen unchanged, in milliseconds: since the first call with this handle at most.
    pub still_ms: u64,
    /// ATREST_LEASE_*.
    pub state: u32,
    /// 0.
    pub reserved: u32,
}

/// A device that a host has open, or is to get. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_attachment {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The device's id.
    pub id: *const c_char,
    /// The name of its resource; NULL while that is being made or removed.
    pub name: *const c_char,
    /// The host that has it open; NULL if none has.
    pub host: *const c_char,
    /// The run of that host's service, or NULL.
    pub run: *const c_char,
    /// While it is handed over, the host that is to get it; otherwise NULL.
    pub promised: *const c_char,
    /// Why its record can't be read; otherwise NULL.
    pub fault: *const c_char,
    /// ATREST_RESOURCE_*; 0 while the resource is being made or removed.
    pub kind: u32,
    /// ATREST_ATTACHMENT_*.
    pub state: u32,
    /// 1 if it was taken from a lost host, and its header doesn't keep that host out yet; otherwise 0.
    pub unfenced: u32,
    /// 0.
    pub reserved: u32,
}

/// The store, and a look at it that knows how leases were seen before.
pub(crate) struct Opened {
    store: FleetStore,
    view: Option<FleetView>,
}

/// Opens the store that a URL names. A file isn't looked at yet; an engine is connected to, and asked. `options` may be NULL: they are
/// those of a vault's URL, and `secret` is called during this call only, with PGPASSWORD or ETCDCTL_PASSWORD. release() is called
/// when this has succeeded, and not when it fails.
///
/// Errors: ATREST_ERR_INVALID_OPTION for another URL, for one whose feature the library was built without, and for a password in
/// it; ATREST_ERR_IO if the engine doesn't answer, refuses the user, or isn't safe; for a file that the URL names, too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_fleet_store_from_url(
    url: *const c_char,
    options: *const atrest_vault_url_options,
    out: *mut *mut atrest_fleet_store,
) -> atrest_status {
    run(|| {
        let (url, out) = (text!(url), out!(out));
        let (secrets, deadline, release) = url_options(options)?;
        let mut of = FleetStoreOptions::new();
        if let Some(secrets) = secrets {
            of = of.secrets(move |name| secrets.get(name));
        }
        if let Some(deadline) = deadline {
            of = of.deadline(deadline);
        }
        let store = FleetStore::from_url(url, &of)?;
        let view = match &store {
            FleetStore::Shared(store) => Some(FleetView::new(store.clone())),
            FleetStore::File(_) => None,
        };
        release.arm();
        drop(of);
        out.handle(Opened { store, view });
        Ok(())
    })
}

/// Frees a store. Services on it go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_fleet_store_free(store: *mut atrest_fleet_store) {
    free!(store);
}

/// Sets `out` to 1 if services of many hosts share the store, and to 0 if it is a file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_fleet_store_is_shared(
    store: *const atrest_fleet_store,
    out: *mut u32,
) -> atrest_status {
    run(|| {
        let (store, out) = (handle!(store), out!(out));
        out.set(store.store.is_shared().into());
        Ok(())
    })
}

/// Opens a service on a store. A store that hosts share needs `host`, the host to open it as. A file opens as by
/// atrest_disk_service_open, and `host` is ignored. Call atrest_disk_service_maintain about once a minute: it looks after the other
/// hosts, too. Once the service and its disks are freed, the lease ends, and nobody waits for it.
///
/// Errors: ATREST_ERR_INVALID_OPTION for a lease out of bounds; ATREST_ERR_INVALID_NAME for the host's; those of
/// atrest_disk_service_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_fleet_store_open_service(
    store: *const atrest_fleet_store,
    host: *const atrest_host_options,
    options: *const atrest_disk_service_options,
    out: *mut *mut atrest_disk_service,
) -> atrest_status {
    run(|| {
        let (store, c, out) = (handle!(store), structure!(options), out!(out));
        let host = match store.store.is_shared() || !host.is_null() {
            true => host_options(host)?,
            false => HostOptions::new("file"),
        };
        // SAFETY: by the header's contract (STRUCTS, HANDLES, TEXT) its members are what this function demands.
        let options = unsafe { service_options(&c) }?;
        out.handle(store.store.open_service(&host, options)?);
        Ok(())
    })
}

/// Renews the lease of this service's host, if `renews_by_hand` says so.
///
/// Errors: ATREST_ERR_BUSY if another host has taken this one for lost: open the service again; ATREST_ERR_IO if the store doesn't
/// answer: the lease holds as long as it did; ATREST_ERR_INVALID_OPTION for a store that isn't shared.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_renew_host_lease(service: *const atrest_disk_service) -> atrest_status {
    run(|| Ok(handle!(service).renew_host_lease()?))
}

/// Hands a disk that is open here over to the host named `to`, for the live migration of a machine. On return it is closed here,
/// and all written data is durable. Only `to` can open it, or this host again as long as `to` hasn't: the two never write at once.
/// It waits for the reads and writes that are under way; later ones fail with ATREST_ERR_DISK_SUSPENDED until the disk is opened
/// here again.
///
/// Errors: ATREST_ERR_NO_SUCH_RESOURCE if there is no such disk, or no other host `to` with a lease; ATREST_ERR_BUSY while it is
/// copied, or open on another host; ATREST_ERR_DISK_SUSPENDED; ATREST_ERR_INVALID_OPTION for a store that isn't shared; ATREST_ERR_IO: the
/// disk is closed here, and `to` may find it busy until atrest_disk_service_maintain has told the store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_hand_over(
    service: *const atrest_disk_service,
    disk: *const c_char,
    to: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(service).hand_over(text!(disk), text!(to))?))
}

/// Calls `each` for every host that has a service on the store, or had one that didn't end well, in the order of their names. The store
/// tells no times: call it again with the same handle, and the states tell the changes in between. `each` returns ATREST_OK to
/// continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
///
/// Errors: ATREST_ERR_INVALID_OPTION for a file; ATREST_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_fleet_store_hosts(
    store: *const atrest_fleet_store,
    each: Option<unsafe extern "C" fn(user: *mut c_void, host: *const atrest_host) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (store, each) = (handle!(store), each.ok_or_else(|| Failure::null("each"))?);
        for of in store.view()?.hosts()? {
            let HostReport { name, run, lease, renewals, still, state, .. } = of;
            let (name, run) = (c_text(&name), c_text(&run));
            let host = atrest_host {
                struct_size: size_of::<atrest_host>(),
                name: name.as_ptr(),
                run: run.as_ptr(),
                lease_ms: milliseconds(lease),
                renewals,
                still_ms: milliseconds(still),
                state: match state {
                    LeaseState::Live => ATREST_LEASE_LIVE,
                    LeaseState::RanOut => ATREST_LEASE_RAN_OUT,
                    LeaseState::Lost => ATREST_LEASE_LOST,
                    LeaseState::Unreadable => ATREST_LEASE_UNREADABLE,
                    _ => ATREST_LEASE_UNKNOWN,
                },
                reserved: 0,
            };
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the texts live until then.
            CallbackFailed::check(unsafe { each(user, &raw const host) })?;
        }
        Ok(())
    })
}

/// Calls `each` for the devices that hosts have open, or are to get, in the order of their ids: at most `limit`, of 1 to 1000, of those
/// that come after the id `after`, which may be NULL. Fewer calls say that none follow. Otherwise as atrest_fleet_store_hosts.
///
/// Errors: ATREST_ERR_INVALID_OPTION also for another limit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_fleet_store_attachments(
    store: *const atrest_fleet_store,
    after: *const c_char,
    limit: usize,
    each: Option<unsafe extern "C" fn(user: *mut c_void, attachment: *const atrest_attachment) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (store, each) = (handle!(store), each.ok_or_else(|| Failure::null("each"))?);
        let after = optional_text!(after);
        for of in store.view()?.attachments(after, limit)? {
            let state = match &of {
                AttachmentReport { fault: Some(_), .. } => ATREST_ATTACHMENT_UNREADABLE,
                AttachmentReport { lost: true, .. } => ATREST_ATTACHMENT_LOST,
                AttachmentReport { host: Some(_), .. } => ATREST_ATTACHMENT_OPEN,
                AttachmentReport { promised: Some(_), .. } => ATREST_ATTACHMENT_PROMISED,
                _ => ATREST_ATTACHMENT_CLOSED,
            };
            let optional = |text: &Option<String>| text.as_deref().map(c_text);
            let at = |text: &Option<std::ffi::CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
            let (id, name) = (c_text(&of.id), of.resource.as_ref().map(|name| c_text(&name.name)));
            let (host, run, promised) = (optional(&of.host), optional(&of.run), optional(&of.promised));
            let fault = optional(&of.fault);
            let attachment = atrest_attachment {
                struct_size: size_of::<atrest_attachment>(),
                id: id.as_ptr(),
                name: at(&name),
                host: at(&host),
                run: at(&run),
                promised: at(&promised),
                fault: at(&fault),
                kind: of.resource.as_ref().map_or(0, |name| name.kind.code().into()),
                state,
                unfenced: of.unfenced.into(),
                reserved: 0,
            };
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the texts live until then.
            CallbackFailed::check(unsafe { each(user, &raw const attachment) })?;
        }
        Ok(())
    })
}

/// Checks a whole store. A file is checked as by atrest_store_check_of_file, and no service may have it open. A store that hosts share
/// is checked while they use it, each record by itself, without a number of changes. Otherwise as atrest_disk_service_check.
///
/// Errors: ATREST_ERR_NOT_FOUND for a file that isn't there; those of atrest_store_check_of_file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_fleet_store_check(
    store: *const atrest_fleet_store,
    each: Option<unsafe extern "C" fn(user: *mut c_void, defect: *const c_char) -> atrest_status>,
    user: *mut c_void,
    out: *mut atrest_store_check,
) -> atrest_status {
    run(|| {
        let (store, out) = (handle!(store), struct_out!(out));
        tell(&store.store.check()?, out, each, user)
    })
}

/// Copies all records of one store to another while no service has either open, compares both, and sets `records` to their number.
/// So a fleet moves from a file to an engine, and back. `to` must be empty, or hold the remains of an earlier attempt: if this
/// fails or is killed, call it again. Until it has succeeded, no service opens `to`. Afterwards none opens `from`.
///
/// Errors: ATREST_ERR_BUSY while a service has one of them open; ATREST_ERR_NOT_FOUND for a file to copy from that isn't there;
/// ATREST_ERR_INVALID_OPTION if `to` has other records; ATREST_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_fleet_store_copy_to(
    from: *const atrest_fleet_store,
    to: *const atrest_fleet_store,
    records: *mut u64,
) -> atrest_status {
    run(|| {
        let (from, to, records) = (handle!(from), handle!(to), out!(records));
        records.set(from.store.copy_to(&to.store)?);
        Ok(())
    })
}

/// Makes a store usable again after atrest_fleet_store_copy_to has moved its records to another one: removes the mark that keeps
/// services from opening it. NOT after a service has used the other store: services of both would write the same disks, and data is
/// lost. Once the other one was used, the way back is atrest_fleet_store_copy_to from it to an empty store. Nothing happens to a store
/// that wasn't moved.
///
/// Errors: ATREST_ERR_NOT_FOUND for a file that isn't there; ATREST_ERR_BUSY while a service has it open; ATREST_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_fleet_store_reopen_moved(store: *const atrest_fleet_store) -> atrest_status {
    run(|| {
        handle!(store).store.reopen_moved()?;
        Ok(())
    })
}

fn host_options(host: *const atrest_host_options) -> Result<HostOptions> {
    let c = structure!(host);
    let by_hand = flag("renews_by_hand", c.renews_by_hand)?;
    let mut host = HostOptions::new(text!(c.name)).renews_by_itself(!by_hand);
    if c.lease_ms != 0 {
        host = host.lease(Duration::from_millis(c.lease_ms));
    }
    Ok(host)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Opened {
    fn view(&self) -> Result<&FleetView> {
        self.view.as_ref().ok_or_else(|| {
            let text = "the store is a file, which one process has open at a time: it has no hosts";
            Failure::new(ATREST_ERR_INVALID_OPTION, text)
        })
    }
}

impl Handle for atrest_fleet_store {
    type Object = Opened;
    const TAG: [u8; 4] = *b"flt\x01";
    const NAME: &'static str = "atrest_fleet_store";
}
