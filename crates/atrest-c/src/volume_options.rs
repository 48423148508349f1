//! HOW VOLUMES ARE MADE AND OPENED

use core::ffi::{c_char, c_void};
use std::time::Duration;

use atrest::key::KdfLimits;
use atrest::volume::LuksVersion;
use atrest::{EncryptionType, Fingerprint, FormatOptions, OpenOptions, SectorSize};

use crate::args::check_flags;
use crate::dek::{atrest_dek, dek_algorithm};
use crate::device::atrest_device;
use crate::failure::{Failure, Result};
use crate::keyslots::{atrest_keyslot_options, keyslot_options};
use crate::structs::SizedStruct;

/// The platform's key protects the volume.
pub const ATREST_PLATFORM_KEY: u32 = 1;
/// The customer's key protects the volume.
pub const ATREST_CUSTOMER_KEY: u32 = 2;
/// Both do, in two layers.
pub const ATREST_PLATFORM_AND_CUSTOMER_KEYS: u32 = 3;

/// Flag: destroy the device's content. Otherwise a device that isn't blank is refused.
pub const ATREST_FORMAT_OVERWRITE: u32 = 1;

/// LUKS1, for machines that don't support LUKS2: sectors of 512 bytes, passphrases only, data at 2 MiB.
pub const ATREST_LUKS1: u32 = 1;
/// LUKS2.
pub const ATREST_LUKS2: u32 = 2;
/// BitLocker, of Windows: only as the format of a header. atrest_volume_format_bitlocker makes such a volume.
pub const ATREST_BITLOCKER: u32 = 3;

/// Flag: write nothing at all, neither data nor a repair of the header.
pub const ATREST_OPEN_READ_ONLY: u32 = 1;
/// Flag: open a device that is smaller than its volume was. The data after its end is lost.
pub const ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED: u32 = 2;
/// Flag: use the member `keyslot`.
pub const ATREST_OPEN_KEYSLOT: u32 = 4;
/// Flag: show data that the header declares unencrypted, and write to it in the clear. Unless a vault's token proves
/// the header, anyone who can write to the disk can declare that.
pub const ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED: u32 = 8;
/// Flag: repair a copy of the header even if its place holds something neither blank nor the remains of a header. THAT
/// IS DESTROYED: it may be a file system made on the device since.
pub const ATREST_OPEN_HAZMAT_REPAIR: u32 = 16;
/// Flag: refuse if secrets of this process lie in memory that may be swapped: see atrest_memory_protection.
pub const ATREST_OPEN_REQUIRE_LOCKED_MEMORY: u32 = 32;
/// Flag: pass atrest_volume_discard on to the device. THAT SHOWS ANYONE WHO SEES THE DEVICE WHICH BLOCKS ARE FREE, and so how
/// full the volume is and its kind of file system. A header's flag "allow-discards" has no effect: nothing authenticates it.
pub const ATREST_OPEN_DISCARD: u32 = 64;
/// Flag: a passphrase or a DEK opens a volume although no token of this library in it proves the header, as after another program
/// has re-encrypted it. Remove the old token then, and add the vault again.
pub const ATREST_OPEN_HAZMAT_IGNORE_TOKENS: u32 = 128;
/// Flag: open a volume read-only and without its map of written chunks, if that is damaged (ATREST_ERR_DAMAGED_MAP). All that
/// the device holds is shown: noise where nothing was written.
pub const ATREST_OPEN_HAZMAT_IGNORE_WRITTEN_MAP: u32 = 256;

/// Options for formatting a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_format_options {
    /// Set by ATREST_FORMAT_OPTIONS_INIT.
    pub struct_size: usize,
    /// 0 or ATREST_FORMAT_OVERWRITE.
    pub flags: u32,
    /// 512, 1024, 2048 or 4096 bytes. 0 is 512. A file system made for smaller sectors won't mount.
    pub sector_size: u32,
    /// ATREST_AES_128_XTS, ATREST_AES_256_XTS or ATREST_AES_256_HCTR2. 0 is ATREST_AES_256_XTS.
    pub dek_algorithm: u32,
    /// ATREST_*_KEY or _KEYS; recorded in the volume. 0 is ATREST_CUSTOMER_KEY.
    pub encryption_type: u32,
    /// The first byte of the data on the device: a multiple of 1 MiB, up to 128 MiB. 1 MiB leaves room for 3
    /// passphrases, 16 MiB for all 32. 0 is 16 MiB, as in cryptsetup; 2 MiB for LUKS1; the start of the device if the
    /// header is detached.
    pub data_offset: u64,
    /// A UUID of 16 bytes. NULL is a random one.
    pub uuid: *const u8,
    /// A label of up to 47 bytes. NULL is none.
    pub label: *const c_char,
    /// A second label of up to 47 bytes. NULL is none.
    pub subsystem: *const c_char,
    /// The context that the volume is bound to, such as the id of a disk: up to ATREST_CONTEXT_MAX bytes, stored in the
    /// clear. It is stored in a vault's token, so it needs a vault.
    pub context: *const c_void,
    /// The length of the context.
    pub context_len: usize,
    /// ATREST_LUKS1 or ATREST_LUKS2. 0 is ATREST_LUKS2.
    pub luks_version: u32,
    /// The device for a header detached from the data. The header takes 16 MiB of it, or 2 MiB for LUKS1. NULL is the
    /// device of the data.
    pub header: *mut atrest_device,
    /// Options of the keyslot, if a passphrase or key file protects the volume. May be NULL.
    pub keyslot: *const atrest_keyslot_options,
    /// Use this DEK instead of a new one; then `dek_algorithm` has no effect. TWO VOLUMES UNDER ONE DEK REVEAL WHERE
    /// THEIR CONTENTS ARE EQUAL. NULL makes a new one.
    pub hazmat_dek: *const atrest_dek,
    /// The size in bytes of each of the two copies of the header's metadata: a power of two from 16 KiB to 4 MiB. All
    /// keyslots and tokens together have 4 KiB less. Data at 1 MiB allows at most 256 KiB. 0 is 16 KiB.
    pub metadata_size: u64,
    /// The most bytes of data that the map of written chunks shall have room for, if the device is to grow. 0 is the size of
    /// the device.
    pub written_map_for: u64,
    /// The size in bytes of the chunks of a map of written chunks: a power of two from 4 KiB to 1 MiB; 64 KiB suit most.
    /// Unwritten data then reads as zeros, and a copy may skip it (atrest_volume_extent). The first write to a chunk writes
    /// all of it, and A FIRST WRITE THAT WAS NOT SYNCED READS AS ZEROS when the volume is opened again. Other programs refuse
    /// the volume, and so does re-encryption. 0 is no map.
    pub written_chunk_size: u32,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_format_options {
    const EARLIER: &'static [usize] = &[
        core::mem::offset_of!(atrest_format_options, metadata_size),
        core::mem::offset_of!(atrest_format_options, written_map_for),
    ];
}

/// Options for opening a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_open_options {
    /// Set by ATREST_OPEN_OPTIONS_INIT.
    pub struct_size: usize,
    /// 0 or ATREST_OPEN_*, combined by `|`.
    pub flags: u32,
    /// The context that the volume must be bound to. NULL accepts any: then nobody notices a swap with another volume's
    /// header under the same key.
    pub context: *const c_void,
    /// The length of the context.
    pub context_len: usize,
    /// The device of the header, if it is detached from the data. NULL is the device of the data.
    pub header: *mut atrest_device,
    /// With ATREST_OPEN_KEYSLOT: the only keyslot on which to try a passphrase, even with ATREST_PRIORITY_IGNORE. By
    /// default all others are tried, in the order of their priority.
    pub keyslot: u32,
    /// The most memory of Argon2 in KiB that a keyslot may ask for, checked before a passphrase is tried on it. Anyone
    /// who can write to the disk can write a header that asks for any amount. 0 is 4 GiB.
    pub kdf_max_memory_kib: u32,
    /// The most work of Argon2: memory in KiB times passes. 0 is 64 GiB.
    pub kdf_max_kib_passes: u64,
    /// The most iterations of PBKDF2. 0 is 50,000,000.
    pub kdf_max_iterations: u32,
    /// The most lanes of Argon2. 0 is 16.
    pub kdf_max_lanes: u32,
    /// The most time for all keyslots tried with one passphrase, by the costs in their headers, in milliseconds of one
    /// core of a server of 2023. A keyslot that the caller names (ATREST_OPEN_KEYSLOT) is tried even if it takes
    /// longer; only the other limits apply. 0 is 10,000.
    pub kdf_max_total_ms: u64,
    /// The fingerprint that the DEK must have, ATREST_FINGERPRINT_SIZE bytes (atrest_volume_fingerprint, kept apart
    /// from the disk). A volume that an attacker made under their own DEK is refused with ATREST_ERR_OTHER_DEK before
    /// anything is written or decrypted. NULL accepts any.
    pub expected_fingerprint: *const u8,
    /// The name of the vault's key that must wrap the DEK; others are refused with ATREST_ERR_OTHER_KEY. NULL accepts
    /// any.
    pub expected_key: *const c_char,
    /// The number of blocks that the volume's key has encrypted before, from atrest_volume_usage when it was closed.
    pub used_blocks: u64,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_open_options {
    const EARLIER: &'static [usize] = &[core::mem::offset_of!(atrest_open_options, kdf_max_total_ms)];
}

pub(crate) fn format_options(c: &atrest_format_options) -> Result<FormatOptions> {
    check_flags(c.flags, ATREST_FORMAT_OVERWRITE)?;
    let mut options = FormatOptions::new().overwrite(c.flags & ATREST_FORMAT_OVERWRITE != 0);
    if c.sector_size != 0 {
        options = options.sector_size(SectorSize::new(c.sector_size)?);
    }
    if c.dek_algorithm != 0 {
        options = options.dek_algorithm(dek_algorithm(c.dek_algorithm)?);
    }
    options = options.encryption_type(encryption_type("options.encryption_type", c.encryption_type)?);
    if c.data_offset != 0 {
        options = options.data_offset(c.data_offset);
    }
    if c.metadata_size != 0 {
        options = options.metadata_size(c.metadata_size);
    }
    if c.written_chunk_size != 0 {
        options = options.written_map(c.written_chunk_size).written_map_for(c.written_map_for);
    }
    if !c.uuid.is_null() {
        options = options.uuid(array!(c.uuid));
    }
    if !c.label.is_null() {
        options = options.label(text!(c.label));
    }
    if !c.subsystem.is_null() {
        options = options.subsystem(text!(c.subsystem));
    }
    options = options.context(bytes!(c.context, c.context_len)).version(match c.luks_version {
        0 | ATREST_LUKS2 => LuksVersion::Luks2,
        ATREST_LUKS1 => LuksVersion::Luks1,
        other => return Err(Failure::bad_enum("options.luks_version", other)),
    });
    if !c.header.is_null() {
        options = options.header(handle!(c.header).clone());
    }
    options = options.keyslot(keyslot_options(c.keyslot)?);
    Ok(if c.hazmat_dek.is_null() { options } else { options.hazmat_dek(handle!(c.hazmat_dek)) })
}

pub(crate) fn open_options(c: &atrest_open_options) -> Result<OpenOptions> {
    let is_set = |flag: u32| c.flags & flag != 0;
    check_flags(c.flags, OPEN_FLAGS)?;
    let mut options = OpenOptions::new()
        .read_only(is_set(ATREST_OPEN_READ_ONLY))
        .hazmat_allow_truncated(is_set(ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED))
        .hazmat_allow_unencrypted(is_set(ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED))
        .hazmat_repair(is_set(ATREST_OPEN_HAZMAT_REPAIR))
        .hazmat_ignore_tokens(is_set(ATREST_OPEN_HAZMAT_IGNORE_TOKENS))
        .hazmat_ignore_written_map(is_set(ATREST_OPEN_HAZMAT_IGNORE_WRITTEN_MAP))
        .require_locked_memory(is_set(ATREST_OPEN_REQUIRE_LOCKED_MEMORY))
        .discard(is_set(ATREST_OPEN_DISCARD))
        .kdf_limits(kdf_limits(c))
        .used_blocks(c.used_blocks);
    if is_set(ATREST_OPEN_KEYSLOT) {
        options = options.keyslot(c.keyslot);
    }
    if !c.header.is_null() {
        options = options.header(handle!(c.header).clone());
    }
    if !c.expected_fingerprint.is_null() {
        options = options.expect(Fingerprint::from_bytes(array!(c.expected_fingerprint)));
    }
    if !c.expected_key.is_null() {
        options = options.expect_key(text!(c.expected_key));
    }
    let context = bytes!(c.context, c.context_len);
    Ok(if c.context.is_null() { options } else { options.context(context) })
}

/// The type of this number; 0 stands for the customer's key.
pub(crate) fn encryption_type(member: &str, number: u32) -> Result<EncryptionType> {
    match number {
        0 => Ok(EncryptionType::CustomerKey),
        _ => EncryptionType::from_code(number).ok_or_else(|| Failure::bad_enum(member, number)),
    }
}

const OPEN_FLAGS: u32 = ATREST_OPEN_READ_ONLY
    | ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED
    | ATREST_OPEN_KEYSLOT
    | ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED
    | ATREST_OPEN_HAZMAT_REPAIR
    | ATREST_OPEN_HAZMAT_IGNORE_TOKENS
    | ATREST_OPEN_HAZMAT_IGNORE_WRITTEN_MAP
    | ATREST_OPEN_REQUIRE_LOCKED_MEMORY
    | ATREST_OPEN_DISCARD;

fn kdf_limits(c: &atrest_open_options) -> KdfLimits {
    let or = |given: u32, default: u32| if given == 0 { default } else { given };
    let mut limits = KdfLimits::new();
    limits.max_memory_kib = or(c.kdf_max_memory_kib, limits.max_memory_kib);
    limits.max_pbkdf2_iterations = or(c.kdf_max_iterations, limits.max_pbkdf2_iterations);
    limits.max_lanes = or(c.kdf_max_lanes, limits.max_lanes);
    if c.kdf_max_kib_passes != 0 {
        limits.max_argon2_kib_passes = c.kdf_max_kib_passes;
    }
    if c.kdf_max_total_ms != 0 {
        limits.max_total = Duration::from_millis(c.kdf_max_total_ms);
    }
    limits
}

// The library's own numbers.
const _: () = assert!(
    ATREST_PLATFORM_KEY == EncryptionType::PlatformKey.code()
        && ATREST_CUSTOMER_KEY == EncryptionType::CustomerKey.code()
        && ATREST_PLATFORM_AND_CUSTOMER_KEYS == EncryptionType::PlatformAndCustomerKeys.code()
);
