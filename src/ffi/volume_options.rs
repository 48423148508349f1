//! HOW VOLUMES ARE MADE AND OPENED

use core::ffi::{c_char, c_void};

use atrest::{EncryptionType, FormatOptions, OpenOptions, SectorSize};

use crate::args::check_flags;
use crate::dek::{atrest_dek, dek_algorithm};
use crate::failure::{Failure, Result};
use crate::structs::SizedStruct;
use crate::vault::atrest_vault;

/// The platform's key protects the volume.
pub const ATREST_PLATFORM_KEY: u32 = 1;
/// The customer's key protects the volume.
pub const ATREST_CUSTOMER_KEY: u32 = 2;
/// Both do, in two layers.
pub const ATREST_PLATFORM_AND_CUSTOMER_KEYS: u32 = 3;

/// Flag: destroy what the device holds. Otherwise a device that isn't blank is refused.
pub const ATREST_FORMAT_OVERWRITE: u32 = 1;

/// Flag: write nothing at all, neither data nor a repair of the header.
pub const ATREST_OPEN_READ_ONLY: u32 = 1;
/// Flag: open a device that is smaller than its volume was. What was beyond its end is lost.
pub const ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED: u32 = 2;

/// A vault that holds the KEK under which the DEK is wrapped.
pub const ATREST_CREDENTIAL_VAULT: u32 = 1;
/// The DEK itself.
pub const ATREST_CREDENTIAL_DEK: u32 = 2;

/// What opens a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_credential {
    /// Set by ATREST_CREDENTIAL_INIT.
    pub struct_size: usize,
    /// ATREST_CREDENTIAL_*: which of the members below is meant. There is no default.
    pub kind: u32,
    /// For ATREST_CREDENTIAL_VAULT.
    pub vault: *const atrest_vault,
    /// For ATREST_CREDENTIAL_DEK.
    pub dek: *const atrest_dek,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_credential {}

/// What a new volume is like.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_format_options {
    /// Set by ATREST_FORMAT_OPTIONS_INIT.
    pub struct_size: usize,
    /// 0 or ATREST_FORMAT_OVERWRITE.
    pub flags: u32,
    /// 512, 1024, 2048 or 4096 bytes. 0 is 512. A file system made for smaller sectors than this won't mount.
    pub sector_size: u32,
    /// ATREST_AES_128_XTS or ATREST_AES_256_XTS. 0 is ATREST_AES_256_XTS.
    pub dek_algorithm: u32,
    /// ATREST_*_KEY or _KEYS; recorded in the volume. 0 is ATREST_CUSTOMER_KEY.
    pub encryption_type: u32,
    /// Where the data begins on the device: a multiple of 1 MiB, up to 128 MiB. 0 is 16 MiB, as cryptsetup has it.
    pub data_offset: u64,
    /// A UUID of 16 bytes. NULL is a random one.
    pub uuid: *const u8,
    /// A label of up to 47 bytes. NULL is none.
    pub label: *const c_char,
    /// A second label of up to 47 bytes. NULL is none.
    pub subsystem: *const c_char,
    /// What the volume is bound to, such as the id of a disk: up to ATREST_CONTEXT_MAX bytes, stored in the clear.
    pub context: *const c_void,
    /// The length of the context.
    pub context_len: usize,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_format_options {}

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
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_open_options {}

pub(crate) fn format_options(c: &atrest_format_options) -> Result<FormatOptions> {
    check_flags(c.flags, ATREST_FORMAT_OVERWRITE)?;
    let mut options = FormatOptions::new().overwrite(c.flags & ATREST_FORMAT_OVERWRITE != 0);
    if c.sector_size != 0 {
        options = options.sector_size(SectorSize::new(c.sector_size)?);
    }
    if c.dek_algorithm != 0 {
        options = options.dek_algorithm(dek_algorithm(c.dek_algorithm)?);
    }
    options = options.encryption_type(match c.encryption_type {
        ATREST_PLATFORM_KEY => EncryptionType::PlatformKey,
        0 | ATREST_CUSTOMER_KEY => EncryptionType::CustomerKey,
        ATREST_PLATFORM_AND_CUSTOMER_KEYS => EncryptionType::PlatformAndCustomerKeys,
        other => return Err(Failure::bad_enum("options.encryption_type", other)),
    });
    if c.data_offset != 0 {
        options = options.data_offset(c.data_offset);
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
    Ok(options.context(bytes!(c.context, c.context_len)))
}

pub(crate) fn open_options(c: &atrest_open_options) -> Result<OpenOptions> {
    check_flags(c.flags, ATREST_OPEN_READ_ONLY | ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED)?;
    let options = OpenOptions::new()
        .read_only(c.flags & ATREST_OPEN_READ_ONLY != 0)
        .hazmat_allow_truncated(c.flags & ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED != 0);
    let context = bytes!(c.context, c.context_len);
    Ok(if c.context.is_null() { options } else { options.context(context) })
}
