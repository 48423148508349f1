//! STATUS
//!
//! The number of a status never changes and is never reused for another. 1 to 99 are mistakes in calls of the library,
//! 100 to 199 come from the sector engine and key wrap, 200 to 299 from keys and vaults, 300 to 399 from volumes, 400
//! to 499 from the system.

use core::ffi::{CStr, c_char};

/// The result of a call: one of the constants ATREST_OK and ATREST_ERR_*. Treat a number that isn't listed here, from a
/// later version of the library, as a failure.
pub type atrest_status = u32;

/// Success.
pub const ATREST_OK: u32 = 0;

/// A pointer that must not be NULL is NULL.
pub const ATREST_ERR_NULL_ARGUMENT: u32 = 1;
/// A handle was freed, or is of another type.
pub const ATREST_ERR_INVALID_HANDLE: u32 = 2;
/// A number is none of the constants allowed here, or a flag isn't known.
pub const ATREST_ERR_BAD_ENUM: u32 = 3;
/// The struct_size of a struct is unknown to this version. Begin with the struct's _INIT macro.
pub const ATREST_ERR_STRUCT_SIZE: u32 = 4;
/// A text isn't UTF-8.
pub const ATREST_ERR_NOT_UTF8: u32 = 5;
/// Source and destination overlap in part. They may be the same, or apart.
pub const ATREST_ERR_OVERLAP: u32 = 6;
/// The output buffer is too short; the length says how many bytes are needed.
pub const ATREST_ERR_BUFFER_TOO_SHORT: u32 = 7;
/// No buffer can have this length: it is over half of the address space.
pub const ATREST_ERR_LENGTH: u32 = 8;
/// This kind of handle can't do this: a vault of callbacks can't make keys, for example.
pub const ATREST_ERR_UNSUPPORTED: u32 = 9;
/// A callback of the caller failed; the message has the number that it returned.
pub const ATREST_ERR_CALLBACK_FAILED: u32 = 10;
/// An option is out of its bounds; the message names the option and the bounds.
pub const ATREST_ERR_INVALID_OPTION: u32 = 11;
/// The library failed internally. This is a defect: please report the message.
pub const ATREST_ERR_PANIC: u32 = 90;
/// A failure that has no status of its own in this version.
pub const ATREST_ERR_OTHER: u32 = 91;

/// The cipher doesn't take a key of this length. XTS takes 32 bytes (AES-128-XTS) or 64 (AES-256-XTS), CBC 16, 24 or
/// 32, CTR and HCTR2 32.
pub const ATREST_ERR_KEY_LENGTH: u32 = 100;
/// The two halves of an XTS key are equal, which SP 800-38E and FIPS 140 (IG C.I) forbid.
pub const ATREST_ERR_EQUAL_KEY_HALVES: u32 = 101;
/// This sector size isn't supported here.
pub const ATREST_ERR_SECTOR_SIZE: u32 = 102;
/// A buffer isn't a whole number of sectors.
pub const ATREST_ERR_PARTIAL_SECTOR: u32 = 103;
/// Source and destination differ in length.
pub const ATREST_ERR_LENGTH_MISMATCH: u32 = 104;
/// The last sector of a run would have a number over 2^64 - 1.
pub const ATREST_ERR_SECTOR_OVERFLOW: u32 = 105;
/// A data unit is shorter than 16 bytes or longer than 16 MiB (IEEE 1619, 5.1).
pub const ATREST_ERR_DATA_UNIT_LENGTH: u32 = 106;
/// A KEK has a length that isn't allowed here.
pub const ATREST_ERR_KEK_LENGTH: u32 = 107;
/// The key-wrap algorithm does not take an input of this length.
pub const ATREST_ERR_WRAP_LENGTH: u32 = 108;
/// The integrity check of a wrapped key failed: another key wrapped it, or it was altered.
pub const ATREST_ERR_UNWRAP_FAILED: u32 = 109;
/// This CPU lacks the instructions of the kernel asked for.
pub const ATREST_ERR_KERNEL_UNAVAILABLE: u32 = 110;
/// A run of bytes in a stream would go past the last offset, 2^64 - 1.
pub const ATREST_ERR_STREAM_OVERFLOW: u32 = 111;
/// The self-test of an algorithm failed: this CPU or this build computes wrongly. Nothing that needs it works any more.
pub const ATREST_ERR_SELF_TEST: u32 = 112;
/// The algorithm isn't approved, and atrest_approved_only was called; the message names it.
pub const ATREST_ERR_NOT_APPROVED: u32 = 113;
/// The key has encrypted as much as it may: see ATREST_BLOCKS_MAX. It can still decrypt.
pub const ATREST_ERR_KEY_EXHAUSTED: u32 = 114;
/// The first sector number falls inside a sector: see ATREST_UNIT_512.
pub const ATREST_ERR_SECTOR_NUMBER: u32 = 115;

/// This version does not know the algorithm, or can't use it here.
pub const ATREST_ERR_UNSUPPORTED_ALGORITHM: u32 = 200;
/// The name of a vault, key or version isn't well formed.
pub const ATREST_ERR_INVALID_NAME: u32 = 201;
/// The context is longer than ATREST_CONTEXT_MAX bytes.
pub const ATREST_ERR_CONTEXT_LENGTH: u32 = 202;
/// The bytes are not an envelope, or it was altered.
pub const ATREST_ERR_INVALID_ENVELOPE: u32 = 203;
/// The envelope or volume is bound to another context than expected, or was altered.
pub const ATREST_ERR_CONTEXT_MISMATCH: u32 = 204;
/// Another vault wrapped the DEK; the message names it.
pub const ATREST_ERR_NOT_THIS_VAULT: u32 = 205;
/// The vault has no such key, or no such version of it.
pub const ATREST_ERR_NO_SUCH_KEY: u32 = 206;
/// The vault has a key of this name already.
pub const ATREST_ERR_KEY_EXISTS: u32 = 207;
/// The passphrase or key file does not open the vault or volume.
pub const ATREST_ERR_WRONG_PASSPHRASE: u32 = 208;
/// A vault's file is damaged; the message says how, and what to do.
pub const ATREST_ERR_DAMAGED_VAULT: u32 = 209;
/// A vault failed, or its answer was out of bounds.
pub const ATREST_ERR_VAULT: u32 = 210;
/// The version of the key, or every version of it, is disabled. Enable it in its vault to use it again.
pub const ATREST_ERR_KEY_DISABLED: u32 = 211;
/// The key is deleted. Recover it in its vault to use it again.
pub const ATREST_ERR_KEY_DELETED: u32 = 212;
/// The version of the key has expired. Rotate the key, or move its expiry.
pub const ATREST_ERR_KEY_EXPIRED: u32 = 213;
/// The version of the key isn't valid yet. Wait, or move its not-before time.
pub const ATREST_ERR_KEY_NOT_YET_VALID: u32 = 214;
/// The vault denies the identity the operation on the key: access was never granted, or was revoked.
pub const ATREST_ERR_ACCESS_DENIED: u32 = 215;
/// The vault's purge protection keeps the key: only a whole key, deleted and past its retention, can be purged.
pub const ATREST_ERR_PURGE_PROTECTED: u32 = 216;
/// The bytes are not the prefix of an encrypted file, or it was damaged or altered; the message says how.
pub const ATREST_ERR_INVALID_PREFIX: u32 = 217;
/// The DEK is not the expected one: something else was put in its place.
pub const ATREST_ERR_OTHER_DEK: u32 = 218;
/// The DEK is wrapped under another key than expected.
pub const ATREST_ERR_OTHER_KEY: u32 = 219;

/// The device carries no LUKS header.
pub const ATREST_ERR_NOT_LUKS: u32 = 300;
/// No copy of the LUKS header is intact; the message says what is wrong with each.
pub const ATREST_ERR_INVALID_HEADER: u32 = 301;
/// The LUKS header is sound but asks for a feature that this version doesn't have.
pub const ATREST_ERR_UNSUPPORTED_HEADER: u32 = 302;
/// The header's MAC does not match: somebody without the DEK changed it.
pub const ATREST_ERR_TAMPERED_HEADER: u32 = 303;
/// The key is not the key of this volume.
pub const ATREST_ERR_WRONG_KEY: u32 = 304;
/// The device is smaller than its required content, or than it was.
pub const ATREST_ERR_DEVICE_TOO_SMALL: u32 = 305;
/// The device holds data, and formatting was not told to overwrite it.
pub const ATREST_ERR_DEVICE_NOT_BLANK: u32 = 306;
/// An offset or length isn't a multiple of the sector size.
pub const ATREST_ERR_MISALIGNED: u32 = 307;
/// A read or write goes past the end of the volume.
pub const ATREST_ERR_OUT_OF_BOUNDS: u32 = 308;
/// A write to a volume that was opened read-only.
pub const ATREST_ERR_READ_ONLY: u32 = 309;
/// No keyslot or token has this number, or the credential opens none.
pub const ATREST_ERR_NO_SUCH_PROTECTOR: u32 = 310;
/// This is the last way into the volume: add another first, or erase the header.
pub const ATREST_ERR_LAST_PROTECTOR: u32 = 311;
/// The header has no room for another keyslot or token.
pub const ATREST_ERR_NO_ROOM: u32 = 312;
/// The header backup is of another volume.
pub const ATREST_ERR_OTHER_HEADER: u32 = 313;
/// Something foreign lies at the place of a damaged header copy: neither blank nor the remains of a header, such as a
/// newer file system. The message names it. Nothing was written.
pub const ATREST_ERR_FOREIGN_DATA: u32 = 314;
/// The map of a volume's written chunks is damaged, or an older state of it was put back; the message says where.
pub const ATREST_ERR_DAMAGED_MAP: u32 = 315;

/// A managed disk's key may not be used now: it was disabled, deleted or expired, access to it was revoked, or its
/// vault didn't answer for too long.
pub const ATREST_ERR_DISK_SUSPENDED: u32 = 350;
/// No set, disk, snapshot or image has this name.
pub const ATREST_ERR_NO_SUCH_RESOURCE: u32 = 351;
/// A set, disk, snapshot or image of this name exists already.
pub const ATREST_ERR_RESOURCE_EXISTS: u32 = 352;
/// The rules of managed disks forbid this; the message names the rule and the alternative.
pub const ATREST_ERR_NOT_ALLOWED: u32 = 353;
/// The header of a disk, snapshot or image is an older one that was put back: it names a former key, or is from before a
/// re-encryption or an earlier step of it; or the whole device is.
pub const ATREST_ERR_OLDER_HEADER: u32 = 354;

/// The file system or device failed; the message has its error.
pub const ATREST_ERR_IO: u32 = 400;
/// Another process, or another handle of this one, holds the device or vault.
pub const ATREST_ERR_BUSY: u32 = 401;
/// The operating system gave no random bytes.
pub const ATREST_ERR_RANDOM: u32 = 402;
/// There is not enough memory.
pub const ATREST_ERR_NO_MEMORY: u32 = 403;
/// The parent of this process made the handle or key. A forked child has none of its parent's secrets: open the vault
/// and the volume again in the child.
pub const ATREST_ERR_FORKED: u32 = 404;
/// The operating system refused to lock the memory of secrets, which the caller demanded.
pub const ATREST_ERR_MEMORY_NOT_LOCKED: u32 = 405;
/// A file is not there, or the folder of a new file is not there; the message names it.
pub const ATREST_ERR_NOT_FOUND: u32 = 406;
/// A file of this name exists already, and was not changed; the message names it.
pub const ATREST_ERR_ALREADY_EXISTS: u32 = 407;

/// The name of a status, such as "ATREST_ERR_WRONG_KEY"; "unknown status" for any other number. Never NULL. The text
/// lives as long as the program.
#[unsafe(no_mangle)]
pub extern "C" fn atrest_status_name(status: atrest_status) -> *const c_char {
    let found = NAMES.iter().find(|(number, _)| *number == status);
    found.map_or(c"unknown status", |(_, name)| name).as_ptr()
}

macro_rules! names {
    ($($status:ident)*) => {
        [$(($status, match CStr::from_bytes_with_nul(concat!(stringify!($status), "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("a name has no zero byte"),
        })),*]
    };
}

const NAMES: &[(atrest_status, &CStr)] = &names! {
    ATREST_OK

    ATREST_ERR_NULL_ARGUMENT ATREST_ERR_INVALID_HANDLE ATREST_ERR_BAD_ENUM ATREST_ERR_STRUCT_SIZE ATREST_ERR_NOT_UTF8
    ATREST_ERR_OVERLAP ATREST_ERR_BUFFER_TOO_SHORT ATREST_ERR_LENGTH ATREST_ERR_UNSUPPORTED ATREST_ERR_CALLBACK_FAILED
    ATREST_ERR_INVALID_OPTION ATREST_ERR_PANIC ATREST_ERR_OTHER

    ATREST_ERR_KEY_LENGTH ATREST_ERR_EQUAL_KEY_HALVES ATREST_ERR_SECTOR_SIZE ATREST_ERR_PARTIAL_SECTOR
    ATREST_ERR_LENGTH_MISMATCH ATREST_ERR_SECTOR_OVERFLOW ATREST_ERR_DATA_UNIT_LENGTH ATREST_ERR_KEK_LENGTH
    ATREST_ERR_WRAP_LENGTH ATREST_ERR_UNWRAP_FAILED ATREST_ERR_KERNEL_UNAVAILABLE ATREST_ERR_STREAM_OVERFLOW
    ATREST_ERR_SELF_TEST ATREST_ERR_NOT_APPROVED ATREST_ERR_KEY_EXHAUSTED ATREST_ERR_SECTOR_NUMBER

    ATREST_ERR_UNSUPPORTED_ALGORITHM ATREST_ERR_INVALID_NAME ATREST_ERR_CONTEXT_LENGTH ATREST_ERR_INVALID_ENVELOPE
    ATREST_ERR_CONTEXT_MISMATCH ATREST_ERR_NOT_THIS_VAULT ATREST_ERR_NO_SUCH_KEY ATREST_ERR_KEY_EXISTS
    ATREST_ERR_WRONG_PASSPHRASE ATREST_ERR_DAMAGED_VAULT ATREST_ERR_VAULT
    ATREST_ERR_KEY_DISABLED ATREST_ERR_KEY_DELETED ATREST_ERR_KEY_EXPIRED ATREST_ERR_KEY_NOT_YET_VALID
    ATREST_ERR_ACCESS_DENIED ATREST_ERR_PURGE_PROTECTED ATREST_ERR_INVALID_PREFIX
    ATREST_ERR_OTHER_DEK ATREST_ERR_OTHER_KEY

    ATREST_ERR_NOT_LUKS ATREST_ERR_INVALID_HEADER ATREST_ERR_UNSUPPORTED_HEADER ATREST_ERR_TAMPERED_HEADER
    ATREST_ERR_WRONG_KEY ATREST_ERR_DEVICE_TOO_SMALL ATREST_ERR_DEVICE_NOT_BLANK ATREST_ERR_MISALIGNED
    ATREST_ERR_OUT_OF_BOUNDS ATREST_ERR_READ_ONLY ATREST_ERR_NO_SUCH_PROTECTOR ATREST_ERR_LAST_PROTECTOR
    ATREST_ERR_NO_ROOM ATREST_ERR_OTHER_HEADER ATREST_ERR_FOREIGN_DATA
    ATREST_ERR_DAMAGED_MAP

    ATREST_ERR_DISK_SUSPENDED ATREST_ERR_NO_SUCH_RESOURCE ATREST_ERR_RESOURCE_EXISTS ATREST_ERR_NOT_ALLOWED
    ATREST_ERR_OLDER_HEADER

    ATREST_ERR_IO ATREST_ERR_BUSY ATREST_ERR_RANDOM ATREST_ERR_NO_MEMORY ATREST_ERR_FORKED ATREST_ERR_MEMORY_NOT_LOCKED
    ATREST_ERR_NOT_FOUND ATREST_ERR_ALREADY_EXISTS
};
