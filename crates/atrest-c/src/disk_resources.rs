//! DISKS, SNAPSHOTS AND IMAGES
//!
//! A disk can be written; a snapshot is a disk's content at one instant; an image is a copy of some disks, in one
//! region or in several. Each has its own DEK. A kind, ATREST_RESOURCE_*, and a name identify one of them. The name is
//! unique within its kind: 1 to 127 letters, digits, '-', '_' and '.', and it doesn't begin with '.'. A copy in an
//! image is named IMAGE/REGION/NUMBER, with the number of the disk in the image, from 0.
//!
//! Every function here that names something fails with ATREST_ERR_NO_SUCH_RESOURCE if it doesn't exist, and with
//! ATREST_ERR_BAD_ENUM for an unknown kind.

use core::ffi::{c_char, c_void};

use atrest::managed::{NewCopy, NewDisk, NewImage, NewSnapshot, Resource, ResourceKind, ResourceName};

use crate::args::flag;
use crate::callback::{filled, with_text};
use crate::disk_service::{atrest_disk_service, atrest_progress, of_copy};
use crate::failure::{Failure, Result, run};
use crate::status::{ATREST_ERR_INVALID_OPTION, atrest_status};
use crate::structs::SizedStruct;
use crate::vault_callbacks::ATREST_NAME_SIZE;

/// A disk.
pub const ATREST_RESOURCE_DISK: u32 = 1;
/// A snapshot.
pub const ATREST_RESOURCE_SNAPSHOT: u32 = 2;
/// A copy of an image's disk.
pub const ATREST_RESOURCE_IMAGE: u32 = 3;

/// The size of a buffer for the id of a disk, snapshot or image, with its zero byte.
pub const ATREST_ID_SIZE: usize = 37;

/// Options of a new disk.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_new_disk {
    /// Set by ATREST_NEW_DISK_INIT.
    pub struct_size: usize,
    /// A name that no other disk has.
    pub name: *const c_char,
    /// Its region.
    pub region: *const c_char,
    /// Its subscription.
    pub subscription: *const c_char,
    /// The set whose key protects it. NULL for the platform's key.
    pub set: *const c_char,
    /// The size of its data in bytes, a multiple of the sector size, up to 64 TiB. Leave it 0 for a copy, which has its
    /// source's size.
    pub size: u64,
    /// 512 or 4096 bytes. 0 is 512. Leave it 0 for a copy.
    pub sector_size: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_new_disk {}

/// Options of a new snapshot.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_new_snapshot {
    /// Set by ATREST_NEW_SNAPSHOT_INIT.
    pub struct_size: usize,
    /// A name that no other snapshot has.
    pub name: *const c_char,
    /// The name of the disk.
    pub disk: *const c_char,
    /// The set whose key protects it. NULL for the disk's set, or the platform's key if the disk has none. An
    /// incremental snapshot is always in the disk's set.
    pub set: *const c_char,
    /// 1 if it only holds the changes since the disk's last incremental snapshot. The first one holds everything.
    pub incremental: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_new_snapshot {}

/// Options of a new image.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_new_image {
    /// Set by ATREST_NEW_IMAGE_INIT.
    pub struct_size: usize,
    /// A name that no other image has.
    pub name: *const c_char,
    /// The names of its disks.
    pub disks: *const *const c_char,
    /// The number of disks.
    pub disks_count: usize,
    /// Its regions.
    pub regions: *const *const c_char,
    /// The number of regions.
    pub regions_count: usize,
    /// For each region, and in it for each disk, the set of that region whose key protects the copy, or NULL for the
    /// platform's key: the set of disk `d` in region `r` is `sets[r * disks_count + d]`. NULL for the platform's key
    /// everywhere.
    pub sets: *const *const c_char,
    /// The number of sets: disks times regions.
    pub sets_count: usize,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_new_image {}

/// The fields of a disk, snapshot, or copy of an image's disk, for programs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_resource_info {
    /// Set by ATREST_RESOURCE_INFO_INIT.
    pub struct_size: usize,
    /// ATREST_RESOURCE_*.
    pub kind: u32,
    /// ATREST_*_KEY or _KEYS.
    pub encryption_type: u32,
    /// The size of its data in bytes.
    pub size: u64,
    /// The sector size in bytes.
    pub sector_size: u32,
    /// 1 while it is moving into its set and not surely under the set's key, otherwise 0.
    pub joining: u32,
    /// 1 if its data was ever encrypted in the guest, otherwise 0.
    pub guest_encrypted: u32,
    /// 1 for an incremental snapshot, otherwise 0.
    pub incremental: u32,
    /// When it was made.
    pub created: u64,
    /// A UUID that is never reused: the name of its device in the backend.
    pub id: [c_char; ATREST_ID_SIZE],
    /// Its set; empty if the platform's key alone protects it.
    pub set: [c_char; ATREST_NAME_SIZE],
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_resource_info {}

/// Makes a disk with a new DEK, under its set's key or the platform's. Until it is written, it reads as noise.
///
/// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME; ATREST_ERR_NOT_ALLOWED for a set in another region or
/// subscription; ATREST_ERR_INVALID_OPTION for the size; ATREST_ERR_SECTOR_SIZE; the errors of the vault and the
/// backend. On failure nothing is left behind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_create_disk(
    service: *const atrest_disk_service,
    disk: *const atrest_new_disk,
) -> atrest_status {
    run(|| {
        let (service, disk) = (handle!(service), structure!(disk));
        // SAFETY: by the header's contract (STRUCTS, TEXT) its members are what this function demands.
        let new = unsafe { new_disk(&disk) }?;
        service.create_disk(&new)?;
        Ok(())
    })
}

/// # Safety
/// The texts are valid or NULL.
pub(crate) unsafe fn new_disk(disk: &atrest_new_disk) -> Result<NewDisk> {
    let new = NewDisk::new(text!(disk.name), disk.size).region(text!(disk.region));
    let new = new.subscription(text!(disk.subscription)).encryption_set(optional_text!(disk.set));
    Ok(new.sector_size(if disk.sector_size == 0 { 512 } else { disk.sector_size }))
}

/// Makes a disk with the content of a disk, a snapshot or an image's copy, and with a new DEK. A disk that is written
/// meanwhile is copied as of the start of this call. Copying is the only way out of a set: nothing else brings data
/// from a customer's key to the platform's. `progress` may be NULL.
///
/// Errors: those of atrest_disk_service_create_disk; ATREST_ERR_INVALID_OPTION for a size that isn't 0;
/// ATREST_ERR_DISK_SUSPENDED while the source's key may not be used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_create_disk_from(
    service: *const atrest_disk_service,
    source_kind: u32,
    source_name: *const c_char,
    disk: *const atrest_new_disk,
    progress: atrest_progress,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, source) = (handle!(service), resource_name(source_kind, text!(source_name))?);
        let disk = structure!(disk);
        if disk.size != 0 || disk.sector_size != 0 {
            let text = "a copy has the size and sector size of its source; leave those of `disk` 0";
            return Err(Failure::new(ATREST_ERR_INVALID_OPTION, text));
        }
        let new = NewCopy::new(text!(disk.name))
            .region(text!(disk.region))
            .subscription(text!(disk.subscription))
            .encryption_set(optional_text!(disk.set));
        service.create_disk_from(&source, &new, &of_copy(progress, user))?;
        Ok(())
    })
}

/// Makes a snapshot of the disk at this instant, even while it is written, under its own DEK. An incremental one only
/// stores the differences to the one before; it saves space if the backend keeps devices sparse. `progress` may be
/// NULL.
///
/// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME; ATREST_ERR_NOT_ALLOWED for a set in another place, or
/// for an incremental snapshot in another set than the disk's; ATREST_ERR_DISK_SUSPENDED while the disk's key may not
/// be used; the errors of the vault and the backend. On failure nothing is left behind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_create_snapshot(
    service: *const atrest_disk_service,
    snapshot: *const atrest_new_snapshot,
    progress: atrest_progress,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, snapshot) = (handle!(service), structure!(snapshot));
        let new = NewSnapshot::new(text!(snapshot.name), text!(snapshot.disk))
            .incremental(flag("snapshot.incremental", snapshot.incremental)?)
            .encryption_set(optional_text!(snapshot.set));
        service.create_snapshot(&new, &of_copy(progress, user))?;
        Ok(())
    })
}

/// Makes an image: a copy of each disk in each region, with its own DEK. All copies of a disk have its content at one
/// instant. `progress`, which may be NULL, is called for one copy after the other.
///
/// Errors: ATREST_ERR_RESOURCE_EXISTS; ATREST_ERR_INVALID_NAME; ATREST_ERR_INVALID_OPTION without a disk or a region;
/// ATREST_ERR_NOT_ALLOWED unless there is one set or NULL for each region and disk, in that region, and for a copy
/// under the platform's key of a disk under a customer's; otherwise as atrest_disk_service_create_snapshot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_create_image(
    service: *const atrest_disk_service,
    image: *const atrest_new_image,
    progress: atrest_progress,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, image) = (handle!(service), structure!(image));
        let mut new = NewImage::new(text!(image.name));
        let disks = slice!(image.disks, image.disks_count);
        for &disk in disks {
            new = new.disk(text!(disk));
        }
        let regions = slice!(image.regions, image.regions_count);
        let mut sets = Vec::new();
        for &set in slice!(image.sets, image.sets_count) {
            sets.push(optional_text!(set));
        }
        if image.sets.is_null() {
            sets = vec![None; disks.len().saturating_mul(regions.len())];
        }
        for (n, &region) in regions.iter().enumerate() {
            // The library refuses any other number of sets than one for each disk.
            let most = if n + 1 == regions.len() { sets.len() } else { disks.len().min(sets.len()) };
            new = new.region(text!(region), sets.drain(..most));
        }
        service.create_image(&new, &of_copy(progress, user))?;
        Ok(())
    })
}

/// Writes the fields of a disk, snapshot, or copy of an image's disk into `out`, which starts from
/// ATREST_RESOURCE_INFO_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_resource(
    service: *const atrest_disk_service,
    kind: u32,
    name: *const c_char,
    out: *mut atrest_resource_info,
) -> atrest_status {
    run(|| {
        let (service, name, out) = (handle!(service), resource_name(kind, text!(name))?, struct_out!(out));
        out.set(info(&service.resource(&name)?)?);
        Ok(())
    })
}

/// The whole record of a disk, snapshot, or copy of an image's disk, in JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_resource_json(
    service: *const atrest_disk_service,
    kind: u32,
    name: *const c_char,
    json: *mut c_char,
    json_cap: usize,
    json_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (service, name) = (handle!(service), resource_name(kind, text!(name))?);
        text_out!(json, json_cap, json_len).put(&service.resource(&name)?.to_json())
    })
}

/// Calls `each` with the name of every disk, snapshot, or copy of an image's disk, in order. The text is valid during
/// the callback only. `each` returns ATREST_OK to continue; anything else ends the list with
/// ATREST_ERR_CALLBACK_FAILED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_names(
    service: *const atrest_disk_service,
    kind: u32,
    each: Option<unsafe extern "C" fn(user: *mut c_void, name: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, kind) = (handle!(service), resource_kind(kind)?);
        let each = each.ok_or_else(|| Failure::null("each"))?;
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until it returns.
        service.names(kind)?.iter().try_for_each(|name| with_text(name, |name| unsafe { each(user, name) }))
    })
}

/// Calls `each` with the name of every copy of an image, ordered by regions and numbers. The copies have the kind
/// ATREST_RESOURCE_IMAGE. Otherwise as atrest_disk_service_names.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_image(
    service: *const atrest_disk_service,
    image: *const c_char,
    each: Option<unsafe extern "C" fn(user: *mut c_void, name: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (service, image) = (handle!(service), text!(image));
        let each = each.ok_or_else(|| Failure::null("each"))?;
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until it returns.
        service.image(image)?.iter().try_for_each(|copy| with_text(&copy.name, |name| unsafe { each(user, name) }))
    })
}

/// Puts a disk or snapshot into a set: from under the platform's key under a customer's, or from under the key of another
/// set. A disk and its incremental snapshots go together. No sector is touched, and it stays open. Killed at any instant, it
/// is finished at the next use. Nothing takes it out of its set again: to leave the customer's key, copy the data to a new
/// disk without a set, by atrest_disk_service_create_disk_from.
///
/// Errors: ATREST_ERR_NOT_ALLOWED for a set in another place, for a set of a type that the disk can't change to in
/// place, or for a disk that was ever encrypted in the guest; the errors of the vault and the devices.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_put_into_set(
    service: *const atrest_disk_service,
    kind: u32,
    name: *const c_char,
    set: *const c_char,
) -> atrest_status {
    run(|| {
        let (service, name) = (handle!(service), resource_name(kind, text!(name))?);
        service.put_into_set(&name, text!(set))?;
        Ok(())
    })
}

/// Marks a disk's data as encrypted in the guest. The mark is permanent, and its copies, snapshots and images inherit
/// it.
///
/// Errors: ATREST_ERR_NOT_ALLOWED for a disk under a customer's key, or encrypted at the host.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_mark_guest_encrypted(
    service: *const atrest_disk_service,
    disk: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(service).mark_guest_encrypted(text!(disk))?))
}

/// Says whether a disk is encrypted at the host of the machine that it is attached to: the process there has this library, and
/// sends only ciphertext to the storage. `on` is 1 or 0. A disk can't be marked as encrypted in the guest meanwhile.
///
/// Errors: ATREST_ERR_NOT_ALLOWED for a disk that was ever encrypted in the guest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_set_host_encryption(
    service: *const atrest_disk_service,
    disk: *const c_char,
    on: u32,
) -> atrest_status {
    run(|| {
        let on = flag("on", on)?;
        Ok(handle!(service).set_host_encryption(text!(disk), on)?)
    })
}

/// Makes a disk larger, to `size` bytes, while it is in use: every atrest_disk of it has the new size when this returns. The new
/// part reads as noise until it is written, or as zeros if the disk has a map of written chunks. If it is killed or fails, the disk
/// has its old size, and the same call goes on. Snapshots keep the size that the disk had.
///
/// Errors: ATREST_ERR_NO_SUCH_RESOURCE; ATREST_ERR_INVALID_OPTION for a smaller size, for one that is no whole number of sectors or
/// over 64 TiB, and for devices that keep their size; ATREST_ERR_BUSY while the disk is copied or re-encrypted;
/// ATREST_ERR_DISK_SUSPENDED while its key may not be used; the errors of the vault and the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_resize_disk(
    service: *const atrest_disk_service,
    disk: *const c_char,
    size: u64,
) -> atrest_status {
    run(|| {
        handle!(service).resize_disk(text!(disk), size)?;
        Ok(())
    })
}

/// Moves a disk or snapshot to another subscription. A disk and its incremental snapshots move together, and so do all
/// copies of an image.
///
/// Errors: ATREST_ERR_NOT_ALLOWED for a resource under a customer's key; ATREST_ERR_INVALID_NAME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_move_to_subscription(
    service: *const atrest_disk_service,
    kind: u32,
    name: *const c_char,
    subscription: *const c_char,
) -> atrest_status {
    run(|| {
        let (service, name) = (handle!(service), resource_name(kind, text!(name))?);
        service.move_to_subscription(&name, text!(subscription))?;
        Ok(())
    })
}

/// Removes a disk or a snapshot with its content. If later incremental snapshots need content of a removed one, it is
/// copied to the next of them; that needs their key.
///
/// Errors: ATREST_ERR_BUSY while somebody has the disk open, or the snapshot is being copied; ATREST_ERR_NOT_ALLOWED
/// for an image's copy; for an incremental snapshot with a later one, ATREST_ERR_DISK_SUSPENDED and the vault's errors;
/// the backend's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_delete(
    service: *const atrest_disk_service,
    kind: u32,
    name: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(service).delete(&resource_name(kind, text!(name))?)?))
}

/// Removes an image with all its copies.
///
/// Errors: ATREST_ERR_BUSY while one of its copies is being copied; the backend's errors: then the image is gone, and
/// the remains of its copies are removed when the service is opened next.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_disk_service_delete_image(
    service: *const atrest_disk_service,
    image: *const c_char,
) -> atrest_status {
    run(|| Ok(handle!(service).delete_image(text!(image))?))
}

const KINDS: [(u32, ResourceKind); 3] = [
    (ATREST_RESOURCE_DISK, ResourceKind::Disk),
    (ATREST_RESOURCE_SNAPSHOT, ResourceKind::Snapshot),
    (ATREST_RESOURCE_IMAGE, ResourceKind::Image),
];

pub(crate) fn c_kind(kind: ResourceKind) -> u32 {
    KINDS.iter().find(|(_, known)| *known == kind).map_or(0, |(number, _)| *number)
}

fn resource_kind(kind: u32) -> Result<ResourceKind> {
    let found = KINDS.iter().find(|(number, _)| *number == kind);
    found.map(|(_, kind)| *kind).ok_or_else(|| Failure::bad_enum("kind", kind))
}

pub(crate) fn resource_name(kind: u32, name: &str) -> Result<ResourceName> {
    Ok(ResourceName { kind: resource_kind(kind)?, name: name.into() })
}

fn info(resource: &Resource) -> Result<atrest_resource_info> {
    Ok(atrest_resource_info {
        struct_size: size_of::<atrest_resource_info>(),
        kind: c_kind(resource.kind),
        encryption_type: resource.encryption_type.code(),
        size: resource.size,
        sector_size: resource.sector_size,
        joining: resource.joining.is_some().into(),
        guest_encrypted: resource.guest_encrypted.into(),
        incremental: resource.increment.is_some().into(),
        created: resource.created,
        id: filled(&resource.id, "out.id")?,
        set: filled(resource.set.as_deref().unwrap_or(""), "out.set")?,
    })
}
