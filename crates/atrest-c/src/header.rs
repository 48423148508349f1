//! HEADERS
//!
//! The header of a locked volume: reading it, and changes that need no key. Its fields come from the disk and are not
//! proven. It may be attached to its data, detached from it, or a backup in a file.
//!
//! A handle holds the header as of its loading, or its last change by this handle. Changes are safe to kill at any
//! instant. They fail with ATREST_ERR_BUSY if somebody else has changed the header meanwhile: load it again. In the
//! same way, a volume that is open on the device refuses to change a header that was changed here.

use core::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atrest::volume::{DigestInfo, Header, KeyslotInfo, ProtectorId, SegmentInfo, TokenInfo};
use atrest::volume::{HeaderFormat, LuksVersion};
use atrest::{Error, OpenOptions};

use crate::dek::atrest_dek;
use crate::device::{Device, atrest_device};
use crate::failure::{Failure, Result, run};
use crate::handle::Handle;
use crate::keyslots::{atrest_credential, credential as credential_of, priority as priority_of};
use crate::status::{ATREST_ERR_UNSUPPORTED, atrest_status};
use crate::volume_options::{ATREST_BITLOCKER, ATREST_LUKS1, ATREST_LUKS2, atrest_open_options, open_options};

/// A header. Freed by atrest_header_free.
pub struct atrest_header;

/// Reads the header of a device. Nothing is written.
///
/// Errors: ATREST_ERR_NOT_LUKS; ATREST_ERR_INVALID_HEADER; ATREST_ERR_UNSUPPORTED_HEADER; ATREST_ERR_DEVICE_TOO_SMALL;
/// the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_load(device: *mut atrest_device, out: *mut *mut atrest_header) -> atrest_status {
    run(|| {
        let (device, out) = (handle!(device), out!(out));
        out.handle(LoadedHeader::load(device.clone())?);
        Ok(())
    })
}

/// Frees a header. It stays unchanged on the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_free(header: *mut atrest_header) {
    free!(header);
}

/// ATREST_LUKS1, ATREST_LUKS2 or ATREST_BITLOCKER.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_format(header: *const atrest_header, out: *mut u32) -> atrest_status {
    run(|| {
        let (header, out) = (handle!(header).snapshot(), out!(out));
        out.set(match header.format {
            HeaderFormat::Luks(LuksVersion::Luks1) => ATREST_LUKS1,
            HeaderFormat::Luks(LuksVersion::Luks2) => ATREST_LUKS2,
            _ => ATREST_BITLOCKER, // the only other format of a header, in a build that has it
        });
        Ok(())
    })
}

/// The UUID, usually a text of 36 characters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_uuid(
    header: *const atrest_header,
    uuid: *mut c_char,
    uuid_cap: usize,
    uuid_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(uuid, uuid_cap, uuid_len).put(&handle!(header).snapshot().uuid))
}

/// The label, up to 47 bytes in any encoding; empty if there is none. In BitLocker the description, which may be longer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_label(
    header: *const atrest_header,
    label: *mut c_char,
    label_cap: usize,
    label_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(label, label_cap, label_len).put_bytes(&handle!(header).snapshot().label))
}

/// The second label, up to 47 bytes in any encoding; empty if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_subsystem(
    header: *const atrest_header,
    subsystem: *mut c_char,
    subsystem_cap: usize,
    subsystem_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(subsystem, subsystem_cap, subsystem_len).put_bytes(&handle!(header).snapshot().subsystem))
}

/// The header's sequence number, which grows with each write.
///
/// Errors: ATREST_ERR_UNSUPPORTED for LUKS1, which has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_epoch(header: *const atrest_header, out: *mut u64) -> atrest_status {
    run(|| {
        let (header, out) = (handle!(header).snapshot(), out!(out));
        let none = || Failure::new(ATREST_ERR_UNSUPPORTED, "a header of LUKS1 has no sequence number");
        out.set(header.epoch.ok_or_else(none)?);
        Ok(())
    })
}

/// The number of bytes at the start of the device that the header takes with its keyslots: the length of a backup.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_size(header: *const atrest_header, out: *mut u64) -> atrest_status {
    run(|| {
        let (header, out) = (handle!(header).snapshot(), out!(out));
        out.set(header.size);
        Ok(())
    })
}

/// The size in bytes of one copy of the metadata. LUKS2 has two copies.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_metadata_size(header: *const atrest_header, out: *mut u64) -> atrest_status {
    run(|| {
        let (header, out) = (handle!(header).snapshot(), out!(out));
        out.set(header.metadata_size);
        Ok(())
    })
}

/// The size in bytes of the room for keyslots, which follows the metadata.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_keyslots_size(header: *const atrest_header, out: *mut u64) -> atrest_status {
    run(|| {
        let (header, out) = (handle!(header).snapshot(), out!(out));
        out.set(header.keyslots_size);
        Ok(())
    })
}

/// The header's JSON, byte for byte, as it is on the disk.
///
/// Errors: ATREST_ERR_UNSUPPORTED but for LUKS2, the only format that has JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_metadata_json(
    header: *const atrest_header,
    json: *mut c_char,
    json_cap: usize,
    json_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (header, out) = (handle!(header).snapshot(), text_out!(json, json_cap, json_len));
        let none = || Failure::new(ATREST_ERR_UNSUPPORTED, "only a header of LUKS2 has JSON");
        out.put_bytes(header.json.as_deref().ok_or_else(none)?)
    })
}

/// 1 if atrest_header_repair has anything to do, otherwise 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_needs_repair(header: *const atrest_header, out: *mut u32) -> atrest_status {
    run(|| {
        let (header, out) = (handle!(header).snapshot(), out!(out));
        out.set(header.needs_repair.into());
        Ok(())
    })
}

/// Finishes the work that a killed process or a damaged copy left, like opening the volume does. If there is none,
/// nothing is written.
///
/// Errors: ATREST_ERR_BUSY; ATREST_ERR_FOREIGN_DATA if the place of a copy holds something neither blank nor the
/// remains of a header; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_repair(header: *mut atrest_header) -> atrest_status {
    run(|| handle!(header).change(|header| header.repair()).map(drop))
}

/// As atrest_header_repair, but foreign data at the place of a copy IS DESTROYED: it may be a file system made on the
/// device since.
///
/// Errors: ATREST_ERR_BUSY; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_header_repair(header: *mut atrest_header) -> atrest_status {
    run(|| handle!(header).change(|header| header.hazmat_repair()).map(drop))
}

/// Replaces the volume's labels, of up to 47 bytes each. An empty text removes a label.
///
/// Errors: ATREST_ERR_INVALID_OPTION; ATREST_ERR_UNSUPPORTED_HEADER in LUKS1, which has no labels, and for a header
/// with requirements that this library does not know; ATREST_ERR_BUSY; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_set_label(
    header: *mut atrest_header,
    label: *const c_char,
    subsystem: *const c_char,
) -> atrest_status {
    run(|| {
        let (header, label, subsystem) = (handle!(header), text!(label), text!(subsystem));
        header.change(|header| header.set_label(label, subsystem))
    })
}

/// Sets the priority of a keyslot: `priority` is ATREST_PRIORITY_*.
///
/// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED_HEADER in LUKS1, which has no
/// priorities; those of atrest_header_set_label.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_set_priority(
    header: *mut atrest_header,
    keyslot: u32,
    priority: u32,
) -> atrest_status {
    run(|| {
        let (header, priority) = (handle!(header), priority_of(priority, "priority")?);
        header.change(|header| header.set_priority(keyslot, priority))
    })
}

/// Removes a keyslot and overwrites its content. A backup of the header still has it.
///
/// Errors: ATREST_ERR_NO_SUCH_PROTECTOR; ATREST_ERR_LAST_PROTECTOR: atrest_header_erase also removes the last one;
/// ATREST_ERR_UNSUPPORTED_HEADER for a header with requirements that this library does not know; ATREST_ERR_BUSY; the
/// device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_remove_keyslot(header: *mut atrest_header, id: u32) -> atrest_status {
    run(|| handle!(header).change(|header| header.remove_protector(ProtectorId::Keyslot(id))))
}

/// Removes a token: a vault's, or another program's.
///
/// Errors: those of atrest_header_remove_keyslot; ATREST_ERR_NO_SUCH_PROTECTOR in LUKS1, which has none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_remove_token(header: *mut atrest_header, id: u32) -> atrest_status {
    run(|| handle!(header).change(|header| header.remove_protector(ProtectorId::Token(id))))
}

/// Inserts a token of another program's type, given as JSON, and puts its number into `id`. The bytes are kept exactly;
/// they need not be UTF-8.
///
/// Errors: ATREST_ERR_INVALID_OPTION if it isn't sound, or has the type "atrest"; ATREST_ERR_NO_ROOM;
/// ATREST_ERR_UNSUPPORTED_HEADER in LUKS1, which has no tokens; those of atrest_header_set_label.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_import_token(
    header: *mut atrest_header,
    json: *const c_char,
    id: *mut u32,
) -> atrest_status {
    run(|| {
        let (header, json, id) = (handle!(header), c_bytes!(json), out!(id));
        id.set(header.change(|header| header.import_token(json))?);
        Ok(())
    })
}

/// Unlocks the DEK with a credential, from the header alone, and returns it as a new handle. So a backup of the header
/// is enough to check a credential. Nothing is written. Of `options`, which may be NULL, the context, the expectations,
/// the keyslot and the KDF limits apply.
///
/// Errors: those of atrest_volume_open, except for the data's device; ATREST_ERR_BUSY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_unlock(
    header: *const atrest_header,
    credential: *const atrest_credential,
    options: *const atrest_open_options,
    out: *mut *mut atrest_dek,
) -> atrest_status {
    run(|| {
        let (header, credential, out) = (handle!(header), credential_of(&structure!(credential))?, out!(out));
        let options = if options.is_null() { OpenOptions::new() } else { open_options(&structure!(options))? };
        out.handle(header.with(|header| header.unlock(credential, &options))?);
        Ok(())
    })
}

/// Converts LUKS1 to LUKS2 in place, as `cryptsetup convert --type luks2` does. Data, volume key, UUID and keyslots
/// stay, and no credential is needed. A header of LUKS2 stays as it is. If it is killed or fails, each passphrase still
/// opens the volume: repeat it. At least one of the eight keyslots must be unused. A backup of the LUKS1 header no longer
/// fits; make a new one.
///
/// Errors: ATREST_ERR_NO_ROOM if all keyslots are taken, or if the data begins too early for a header of LUKS2;
/// ATREST_ERR_UNSUPPORTED_HEADER for keyslots in unusual places, for a header that can't be opened, and for BitLocker;
/// ATREST_ERR_FOREIGN_DATA for the metadata of luksmeta; ATREST_ERR_DEVICE_TOO_SMALL for a detached header or a backup
/// without room for one of LUKS2; ATREST_ERR_BUSY; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_convert_to_luks2(header: *mut atrest_header) -> atrest_status {
    run(|| handle!(header).change(|header| header.convert_to_luks2()))
}

/// Destroys every way in: all keyslots with their whole room, and all tokens. AFTERWARDS ONLY SOMEBODY WITH THE DEK
/// ITSELF OR A BACKUP OF THE HEADER CAN READ THE DATA, of any size. Of a BitLocker volume all protectors go, in all
/// copies of its metadata.
///
/// Errors: ATREST_ERR_UNSUPPORTED_HEADER for a BitLocker volume that isn't encrypted as a whole, and for one of Windows
/// Vista; ATREST_ERR_BUSY; the device's errors: then repeat it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_erase(header: *mut atrest_header) -> atrest_status {
    run(|| handle!(header).change(|header| header.erase()))
}

/// The header with its keyslots, atrest_header_size bytes. atrest_header_restore and `cryptsetup luksHeaderRestore`
/// take these bytes.
///
/// A backup opens the volume with the credentials of its time, including those removed since.
///
/// Errors: ATREST_ERR_BUSY; ATREST_ERR_BUFFER_TOO_SHORT; ATREST_ERR_UNSUPPORTED_HEADER for BitLocker, whose metadata lies
/// within the volume; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_backup(
    header: *const atrest_header,
    backup: *mut c_void,
    backup_cap: usize,
    backup_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (header, out) = (handle!(header), bytes_out!(backup, backup_cap, backup_len));
        let snapshot = header.snapshot();
        // One without a backup says so itself, before anybody makes room for it.
        if matches!(snapshot.format, HeaderFormat::Luks(_)) {
            out.check(usize::try_from(snapshot.size).unwrap_or(usize::MAX))?;
        }
        out.put(&header.with(|header| header.backup())?)
    })
}

/// Writes a backup over the header of a device. The backup must be of this volume: same UUID, and data in the same
/// place. No data is touched. If it is killed, repeat it. Afterwards the credentials of the backup's time open the
/// volume. Open handles of the header and open volumes must be opened again.
///
/// Errors: ATREST_ERR_NOT_LUKS, ATREST_ERR_INVALID_HEADER, ATREST_ERR_UNSUPPORTED_HEADER and
/// ATREST_ERR_DEVICE_TOO_SMALL for the backup or the current header; ATREST_ERR_OTHER_HEADER if it is another volume's;
/// ATREST_ERR_FOREIGN_DATA, as atrest_header_repair; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_header_restore(
    device: *mut atrest_device,
    backup: *const c_void,
    backup_len: usize,
) -> atrest_status {
    run(|| Ok(Header::restore(&**handle!(device), bytes!(backup, backup_len))?))
}

/// Writes a backup to the start of a device, OVER ANY CONTENT: a damaged header, another volume's header, data.
///
/// Errors: those of atrest_header_restore for the backup; ATREST_ERR_DEVICE_TOO_SMALL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_header_restore(
    device: *mut atrest_device,
    backup: *const c_void,
    backup_len: usize,
) -> atrest_status {
    run(|| Ok(Header::hazmat_restore(&**handle!(device), bytes!(backup, backup_len))?))
}

/// The object of an `atrest_header`. A [`Header`] borrows its device, so it lives for one call only. Its content is
/// kept and compared at the next call.
pub(crate) struct LoadedHeader {
    device: Device,
    last: Mutex<Arc<Snapshot>>,
}

/// The whole content of a header.
#[derive(PartialEq)]
pub(crate) struct Snapshot {
    format: HeaderFormat,
    uuid: String,
    label: Vec<u8>,
    subsystem: Vec<u8>,
    epoch: Option<u64>,
    json: Option<Vec<u8>>,
    size: u64,
    metadata_size: u64,
    keyslots_size: u64,
    needs_repair: bool,
    pub(crate) keyslots: Vec<KeyslotInfo>,
    pub(crate) tokens: Vec<TokenInfo>,
    pub(crate) segments: Vec<SegmentInfo>,
    pub(crate) digests: Vec<DigestInfo>,
    pub(crate) flags: Vec<String>,
    pub(crate) requirements: Vec<String>,
}

impl LoadedHeader {
    fn load(device: Device) -> Result<Self> {
        let snapshot = Snapshot::of(&Header::load(&*device)?);
        Ok(LoadedHeader { device, last: Mutex::new(Arc::new(snapshot)) })
    }

    /// The content as of the last call. No lock is held on it, so a callback may use the header freely.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.lock())
    }

    /// Changes the header.
    fn change<T>(&self, change: impl FnOnce(&mut Header<'_>) -> Result<T, Error>) -> Result<T> {
        let mut last = self.lock();
        let changed = change(&mut self.reload(&last)?);
        // A failed change may have reached the device all the same.
        if let Ok(header) = Header::load(&*self.device) {
            *last = Arc::new(Snapshot::of(&header));
        }
        Ok(changed?)
    }

    /// Runs a function that does not change the header.
    fn with<T>(&self, use_it: impl FnOnce(&Header<'_>) -> Result<T, Error>) -> Result<T> {
        let last = self.lock();
        Ok(use_it(&self.reload(&last)?)?)
    }

    /// The header, if it is unchanged.
    fn reload(&self, last: &Snapshot) -> Result<Header<'_>> {
        let header = Header::load(&*self.device)?;
        if Snapshot::of(&header) != *last {
            return Err(Error::Busy { what: "the header, which was changed since it was loaded,".into() }.into());
        }
        Ok(header)
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Snapshot>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    fn of(header: &Header<'_>) -> Self {
        Snapshot {
            format: header.format(),
            uuid: header.uuid().into(),
            label: header.label_bytes().into(),
            subsystem: header.subsystem_bytes().into(),
            epoch: header.epoch(),
            json: header.metadata_json().map(<[u8]>::to_vec),
            size: header.size(),
            metadata_size: header.metadata_size(),
            keyslots_size: header.keyslots_size(),
            needs_repair: header.needs_repair(),
            keyslots: header.keyslots(),
            tokens: header.tokens(),
            segments: header.segments(),
            digests: header.digests(),
            flags: header.flags(),
            requirements: header.requirements(),
        }
    }
}

impl Handle for atrest_header {
    type Object = LoadedHeader;
    const TAG: [u8; 4] = *b"hdr\x01";
    const NAME: &'static str = "atrest_header";
}
