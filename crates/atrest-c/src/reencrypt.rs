//! RE-ENCRYPTION
//!
//! The data of a volume moves to a new DEK, cipher or sector size; a plain device becomes a volume; a volume becomes plain. It
//! is begun once, and then done in steps, as many and as large as the caller can afford, while other threads read and write:
//!
//!   atrest_volume_begin_reencryption(volume, &by, 1, NULL);
//!   do {
//!       atrest_volume_reencrypt_step(volume, 16 << 20, &progress);
//!   } while (progress.under_way);
//!
//! The process may be killed at any instant: open the volume again, and go on with the steps. On the disk it is LUKS2's own
//! re-encryption: `cryptsetup reencrypt --resume-only` can finish it, too.

use crate::dek::{atrest_dek, dek_algorithm};
use crate::device::atrest_device;
use crate::failure::{Failure, Result, run};
use crate::keyslots::{atrest_keyslot_options, atrest_protector, keyslot_options, protector as protector_of};
use crate::status::atrest_status;
use crate::structs::SizedStruct;
use crate::volume::atrest_volume;
use crate::volume_options::{atrest_format_options, format_options};
use atrest::volume::{ReencryptOptions, ReencryptionProgress, Resilience};
use atrest::{FormatOptions, SectorSize, Volume};

/// A crash is recovered from by checksums of each sector: the device must write a sector as a whole or not at all, as disks and
/// file systems do.
pub const ATREST_RESILIENCE_CHECKSUM: u32 = 1;
/// A crash is recovered from by a copy of the old data, with twice the writes.
pub const ATREST_RESILIENCE_JOURNAL: u32 = 2;

/// How a volume is re-encrypted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_reencrypt_options {
    /// Set by ATREST_REENCRYPT_OPTIONS_INIT.
    pub struct_size: usize,
    /// The algorithm of the new DEK, as in atrest_format_options. 0 is the one before, or ATREST_AES_256_XTS for a volume under
    /// an old cipher.
    pub dek_algorithm: u32,
    /// The new sector size: 512, 1024, 2048 or 4096 bytes. 0 is the one before. From the beginning on, reads and writes are in
    /// whole sectors of the larger size.
    pub sector_size: u32,
    /// ATREST_RESILIENCE_*. 0 is ATREST_RESILIENCE_CHECKSUM.
    pub resilience: u32,
    /// Options for each new keyslot. May be NULL.
    pub keyslot: *const atrest_keyslot_options,
    /// Use this DEK instead of a new one. NULL makes a new one.
    pub hazmat_dek: *const atrest_dek,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_reencrypt_options {}

/// How far a re-encryption is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_reencryption_progress {
    /// Set by ATREST_REENCRYPTION_PROGRESS_INIT.
    pub struct_size: usize,
    /// 1 while it is not finished, otherwise 0.
    pub under_way: u32,
    /// The number of bytes that are done.
    pub done: u64,
    /// The number of bytes in all.
    pub total: u64,
    /// The bytes a second of the steps of this process; 0 before the first one.
    pub rate: u64,
    /// The time that the rest takes at this rate, in milliseconds, without pauses between steps; 0 if it isn't known.
    pub time_left_ms: u64,
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_reencryption_progress {}

/// Begins to move the data to a new DEK. `protectors` points to `count` pointers: the ways into the new DEK, and from now on the
/// ways into the volume. Nothing of the data is rewritten yet. `options` may be NULL. If it is killed at any instant, the volume
/// opens as before, or by the new protectors.
///
/// Errors: ATREST_ERR_BUSY if one has begun already; ATREST_ERR_INVALID_OPTION without a protector, or for a size that is no
/// whole number of new sectors; ATREST_ERR_NO_ROOM; ATREST_ERR_UNSUPPORTED_HEADER for LUKS1 (atrest_header_convert_to_luks2);
/// ATREST_ERR_READ_ONLY; the errors of the vaults and the device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_begin_reencryption(
    volume: *mut atrest_volume,
    protectors: *const *const atrest_protector,
    count: usize,
    options: *const atrest_reencrypt_options,
) -> atrest_status {
    run(|| {
        let volume = handle!(volume);
        let mut by = Vec::new();
        for &protector in slice!(protectors, count) {
            by.push(protector_of(&structure!(protector))?);
        }
        let options =
            if options.is_null() { ReencryptOptions::new() } else { reencrypt_options(&structure!(options))? };
        Ok(volume.begin_reencryption(&by, &options)?)
    })
}

/// Begins to encrypt the plain data of `device` where it lies, and opens it as a volume: atrest_volume_reencrypt_step does it.
/// With a header of its own device (`options`, which may be NULL), the data stays where it is, and `free_at_end` is 0. Otherwise
/// the data moves towards the end by the data offset, 16 MiB by default, and `free_at_end` bytes at the end, at least twice as
/// many, must hold nothing: shrink a file system first. Until it is finished, the volume opens with
/// ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED. If it is killed before it returns, call it again with the same arguments.
///
/// Errors: ATREST_ERR_BUSY if the device has a header already; ATREST_ERR_DEVICE_NOT_BLANK for the device of the header;
/// ATREST_ERR_INVALID_OPTION if the content of the device is larger than the room that is left for it; those of
/// atrest_volume_format.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_begin_encryption(
    device: *mut atrest_device,
    protector: *const atrest_protector,
    options: *const atrest_format_options,
    free_at_end: u64,
    out: *mut *mut atrest_volume,
) -> atrest_status {
    run(|| {
        let (device, protector, out) = (handle!(device), protector_of(&structure!(protector))?, out!(out));
        let options = if options.is_null() { FormatOptions::new() } else { format_options(&structure!(options))? };
        out.handle(Volume::begin_encryption(device.clone(), protector, &options, free_at_end)?);
        Ok(())
    })
}

/// Begins to decrypt the data where it lies, which needs a detached header. The last step destroys the header. `resilience` is
/// ATREST_RESILIENCE_*. Until it is finished, the volume opens with ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED.
///
/// Errors: ATREST_ERR_UNSUPPORTED_HEADER unless the header is detached (see atrest_volume_begin_decryption_beside); those of
/// atrest_volume_begin_reencryption.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_begin_decryption(volume: *mut atrest_volume, resilience: u32) -> atrest_status {
    run(|| Ok(handle!(volume).begin_decryption(resilience_of("resilience", resilience)?)?))
}

/// Begins to decrypt a volume whose header lies before the data, and to move the data to the start of the device. The header goes
/// onto `beside`, a device of its own that must be blank; from then on the volume opens with it (`header` of
/// atrest_open_options). Everything before the data on the device is destroyed. At the end the last bytes of the device, as many as
/// were before the data, are free. Otherwise as atrest_volume_begin_decryption. If it is killed before it returns, call it again,
/// on the volume opened with the header on `beside`, if it doesn't open as before.
///
/// Errors: ATREST_ERR_DEVICE_NOT_BLANK or ATREST_ERR_DEVICE_TOO_SMALL for `beside`; ATREST_ERR_INVALID_OPTION if a detached header
/// is on another device; ATREST_ERR_FOREIGN_DATA if another program's data is before that of a volume with a detached header;
/// ATREST_ERR_UNSUPPORTED_HEADER if the data begins at byte 0, and for LUKS1; those of atrest_volume_begin_reencryption.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_begin_decryption_beside(
    volume: *mut atrest_volume,
    beside: *mut atrest_device,
    resilience: u32,
) -> atrest_status {
    run(|| {
        let (volume, beside) = (handle!(volume), handle!(beside));
        Ok(volume.begin_decryption_beside(beside.clone(), resilience_of("resilience", resilience)?)?)
    })
}

/// Lets a re-encryption that `cryptsetup reencrypt --resilience none` has begun go on, from now on with `resilience`,
/// ATREST_RESILIENCE_*. Only you know whether it was stopped properly, by Ctrl+C or SIGTERM. If it was killed, a part that is done
/// looks as if it were not: it reads as noise, and going on destroys it.
///
/// Errors: ATREST_ERR_INVALID_OPTION if there is no such re-encryption; ATREST_ERR_NO_ROOM; ATREST_ERR_READ_ONLY;
/// ATREST_ERR_BUSY if another program has changed the header; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_volume_resume_unprotected(
    volume: *mut atrest_volume,
    resilience: u32,
) -> atrest_status {
    run(|| Ok(handle!(volume).hazmat_resume_unprotected(resilience_of("resilience", resilience)?)?))
}

/// Re-encrypts about `budget` bytes, at least one sector, in zones of up to 16 MiB. Others read and write meanwhile, and wait
/// only for sectors in the zone. `progress`, which may be NULL, starts from ATREST_REENCRYPTION_PROGRESS_INIT. Without a
/// re-encryption nothing is done.
///
/// Errors: ATREST_ERR_READ_ONLY; ATREST_ERR_BUSY if another program has changed the header; ATREST_ERR_KEY_EXHAUSTED; the
/// device's errors. Access to the zone that was being rewritten then fails with ATREST_ERR_BUSY until a step succeeds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_reencrypt_step(
    volume: *mut atrest_volume,
    budget: u64,
    progress: *mut atrest_reencryption_progress,
) -> atrest_status {
    run(|| {
        let volume = handle!(volume);
        let out = if progress.is_null() { None } else { Some(struct_out!(progress)) };
        let now = volume.reencrypt_step(budget)?;
        if let Some(out) = out {
            out.set(described(Some(now)));
        }
        Ok(())
    })
}

/// How far the re-encryption of a volume is. `progress` starts from ATREST_REENCRYPTION_PROGRESS_INIT; all is 0 if there is
/// none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_reencryption(
    volume: *const atrest_volume,
    progress: *mut atrest_reencryption_progress,
) -> atrest_status {
    run(|| {
        let (volume, out) = (handle!(volume), struct_out!(progress));
        out.set(described(volume.reencryption()));
        Ok(())
    })
}

/// Changes the size of the data, while others read and write. 0 follows the device, after it was enlarged. Another size cuts off
/// the data beyond it: shrink the content of the volume before this, and the device after it. The new size goes to `new_size`,
/// which may be NULL. A vault's token records it.
///
/// Errors: ATREST_ERR_INVALID_OPTION for no whole number of sectors, or more than the device has; ATREST_ERR_BUSY during a
/// re-encryption; ATREST_ERR_READ_ONLY; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_volume_resize(
    volume: *mut atrest_volume,
    size: u64,
    new_size: *mut u64,
) -> atrest_status {
    run(|| {
        let volume = handle!(volume);
        let out = if new_size.is_null() { None } else { Some(out!(new_size)) };
        let size = volume.resize((size != 0).then_some(size))?;
        if let Some(out) = out {
            out.set(size);
        }
        Ok(())
    })
}

fn reencrypt_options(c: &atrest_reencrypt_options) -> Result<ReencryptOptions> {
    let mut options = ReencryptOptions::new().resilience(resilience_of("options.resilience", c.resilience)?);
    if c.dek_algorithm != 0 {
        options = options.dek_algorithm(dek_algorithm(c.dek_algorithm)?);
    }
    if c.sector_size != 0 {
        options = options.sector_size(SectorSize::new(c.sector_size)?);
    }
    options = options.keyslot(keyslot_options(c.keyslot)?);
    Ok(if c.hazmat_dek.is_null() { options } else { options.hazmat_dek(handle!(c.hazmat_dek)) })
}

fn resilience_of(argument: &str, number: u32) -> Result<Resilience> {
    match number {
        0 | ATREST_RESILIENCE_CHECKSUM => Ok(Resilience::Checksum),
        ATREST_RESILIENCE_JOURNAL => Ok(Resilience::Journal),
        other => Err(Failure::bad_enum(argument, other)),
    }
}

pub(crate) fn described(progress: Option<ReencryptionProgress>) -> atrest_reencryption_progress {
    let struct_size = size_of::<atrest_reencryption_progress>();
    let mut c = atrest_reencryption_progress { struct_size, under_way: 0, done: 0, total: 0, rate: 0, time_left_ms: 0 };
    if let Some(progress) = progress {
        c.under_way = (!progress.is_finished()).into();
        (c.done, c.total, c.rate) = (progress.done, progress.total, progress.rate.unwrap_or(0));
        c.time_left_ms = progress.time_left().map_or(0, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    }
    c
}
