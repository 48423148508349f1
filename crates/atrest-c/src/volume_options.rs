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

/// Flag: destroy what the device holds. Otherwise a device that isn't blank is refused.
pub const ATREST_FORMAT_OVERWRITE: u32 = 1;

/// LUKS1, for machines that know nothing else: sectors of 512 bytes, passphrases only, data at 2 MiB.
pub const ATREST_LUKS1: u32 = 1;
/// LUKS2.
pub const ATREST_LUKS2: u32 = 2;

/// Flag: write nothing at all, neither data nor a repair of the header.
pub const ATREST_OPEN_READ_ONLY: u32 = 1;
/// Flag: open a device that is smaller than its volume was. What was beyond its end is lost.
pub const ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED: u32 = 2;
/// Flag: the member `keyslot` counts.
pub const ATREST_OPEN_KEYSLOT: u32 = 4;
/// Flag: show data of which the header says that it isn't encrypted, and write to it in the clear. Unless a vault's token
/// proves the header, whoever can write to the disk can make it say so.
pub const ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED: u32 = 8;
/// Flag: repair a copy of the header although what stands in its place is neither blank nor remains of a header. IT IS
/// DESTROYED: it may be a file system that somebody made on the device since.
pub const ATREST_OPEN_HAZMAT_REPAIR: u32 = 16;
/// Flag: refuse where secrets of this process lie in memory that may be swapped: see atrest_memory_protection.
pub const ATREST_OPEN_REQUIRE_LOCKED_MEMORY: u32 = 32;

/// Options for formatting a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_format_options {
    /// Set by ATREST_FORMAT_OPTIONS_INIT.
    pub struct_size: usize,
    /// 0 or ATREST_FORMAT_OVERWRITE.
    pub flags: u32,
    /// 512, 1024, 2048 or 4096 bytes. 0 is 512. A file system made for smaller sectors than this won't mount.
    pub sector_size: u32,
    /// ATREST_AES_128_XTS, ATREST_AES_256_XTS or ATREST_AES_256_HCTR2. 0 is ATREST_AES_256_XTS.
    pub dek_algorithm: u32,
    /// ATREST_*_KEY or _KEYS; recorded in the volume. 0 is ATREST_CUSTOMER_KEY.
    pub encryption_type: u32,
    /// Where the data begins on the device: a multiple of 1 MiB, up to 128 MiB. 1 MiB leaves room for 3 passphrases, 16
    /// MiB for all 32. 0 is 16 MiB, as cryptsetup has it; 2 MiB for LUKS1; the start of the device if the header is
    /// detached.
    pub data_offset: u64,
    /// A UUID of 16 bytes. NULL is a random one.
    pub uuid: *const u8,
    /// A label of up to 47 bytes. NULL is none.
    pub label: *const c_char,
    /// A second label of up to 47 bytes. NULL is none.
    pub subsystem: *const c_char,
    /// What the volume is bound to, such as the id of a disk: up to ATREST_CONTEXT_MAX bytes, stored in the clear. It
    /// needs a vault, in whose token it is kept.
    pub context: *const c_void,
    /// The length of the context.
    pub context_len: usize,
    /// ATREST_LUKS1 or ATREST_LUKS2. 0 is ATREST_LUKS2.
    pub luks_version: u32,
    /// The device that gets the header, where it shall be detached from the data: 16 MiB of it, or 2 MiB for LUKS1. NULL
    /// is the device of the data.
    pub header: *mut atrest_device,
    /// What the keyslot is like where a passphrase or key file protects the volume. May be NULL.
    pub keyslot: *const atrest_keyslot_options,
    /// A DEK in place of a new one; `dek_algorithm` is of no meaning then. TWO VOLUMES UNDER ONE DEK SHOW WHERE THEY HOLD
    /// THE SAME. NULL is a new one.
    pub hazmat_dek: *const atrest_dek,
    /// The size of each of the two copies of the header's metadata, in bytes: a power of two from 16 KiB to 4 MiB. 4 KiB less
    /// is the room for all keyslots and tokens together. 1 MiB before the data takes up to 256 KiB of it. 0 is 16 KiB.
    pub metadata_size: u64,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_format_options {
    const EARLIER: &'static [usize] = &[core::mem::offset_of!(atrest_format_options, metadata_size)];
}

/// How to open a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_open_options {
    /// Set by ATREST_OPEN_OPTIONS_INIT.
    pub struct_size: usize,
    /// 0 or ATREST_OPEN_*, combined by `|`.
    pub flags: u32,
    /// The context that the volume must be bound to. NULL is whatever it is bound to: then nobody notices a header
    /// that was exchanged for that of another volume under the same key.
    pub context: *const c_void,
    /// The length of the context.
    pub context_len: usize,
    /// The device that the header is on, where it is detached from the data. NULL is the device of the data.
    pub header: *mut atrest_device,
    /// With ATREST_OPEN_KEYSLOT: the one keyslot on which a passphrase is tried, also one of ATREST_PRIORITY_IGNORE.
    /// Otherwise all others are tried, in the order of their priority.
    pub keyslot: u32,
    /// The most memory of Argon2 that a keyslot may ask for before a passphrase is tried on it, in KiB. Whoever can write
    /// to the disk can write a header that asks for any amount. 0 is 4 GiB.
    pub kdf_max_memory_kib: u32,
    /// The most work of Argon2: memory in KiB times passes. 0 is 64 GiB.
    pub kdf_max_kib_passes: u64,
    /// The most iterations of PBKDF2. 0 is 50,000,000.
    pub kdf_max_iterations: u32,
    /// The most lanes of Argon2. 0 is 16.
    pub kdf_max_lanes: u32,
    /// The most that all keyslots tried for one passphrase may take together, in milliseconds of one core of a server of
    /// 2023, by what their headers ask for. One that is named (ATREST_OPEN_KEYSLOT) is tried whatever it takes within the
    /// other limits. 0 is 10,000.
    pub kdf_max_total_ms: u64,
    /// The fingerprint that the DEK must have, ATREST_FINGERPRINT_SIZE bytes (atrest_volume_fingerprint, kept apart from the
    /// disk): a volume that somebody made under a DEK of their own is refused with ATREST_ERR_OTHER_DEK before anything is
    /// written or decrypted. NULL is any.
    pub expected_fingerprint: *const u8,
    /// The name of the key of a vault that the DEK must be wrapped under; others are refused with ATREST_ERR_OTHER_KEY. NULL
    /// is any.
    pub expected_key: *const c_char,
    /// How many blocks the volume's key has encrypted before, by what atrest_volume_usage said when it was closed.
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
        .require_locked_memory(is_set(ATREST_OPEN_REQUIRE_LOCKED_MEMORY))
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
    | ATREST_OPEN_REQUIRE_LOCKED_MEMORY;

fn kdf_limits(c: &atrest_open_options) -> KdfLimits {
    let or = |given: u32, default: u32| if given == 0 { default } else { given };
    let KdfLimits { max_memory_kib, max_pbkdf2_iterations, max_argon2_kib_passes, max_lanes, max_total } =
        KdfLimits::default();
    KdfLimits {
        max_memory_kib: or(c.kdf_max_memory_kib, max_memory_kib),
        max_pbkdf2_iterations: or(c.kdf_max_iterations, max_pbkdf2_iterations),
        max_argon2_kib_passes: if c.kdf_max_kib_passes == 0 { max_argon2_kib_passes } else { c.kdf_max_kib_passes },
        max_lanes: or(c.kdf_max_lanes, max_lanes),
        max_total: if c.kdf_max_total_ms == 0 { max_total } else { Duration::from_millis(c.kdf_max_total_ms) },
    }
}

// The library's own numbers.
const _: () = assert!(
    ATREST_PLATFORM_KEY == EncryptionType::PlatformKey.code()
        && ATREST_CUSTOMER_KEY == EncryptionType::CustomerKey.code()
        && ATREST_PLATFORM_AND_CUSTOMER_KEYS == EncryptionType::PlatformAndCustomerKeys.code()
);
