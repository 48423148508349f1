//! DATA WITHOUT A HEADER
//!
//! A plain mapping of dm-crypt, and the disks of SPDK and ubiblk, have no header: nothing on them says how they are
//! encrypted, and nothing proves the key. The caller says it all:
//!
//!   made by                                   cipher        numbering                      sector_size
//!   cryptsetup open --type plain              its --cipher  ATREST_NUMBERING_512           its --sector-size, or 512
//!   the same with --iv-large-sectors          its --cipher  ATREST_NUMBERING_SECTORS       its --sector-size
//!   SPDK's bdev_crypto on its software module NULL          ATREST_NUMBERING_UPPER_HALF    that of the device below
//!   ubiblk                                    NULL          ATREST_NUMBERING_UPPER_HALF    512
//!
//! SPDK's key is its `key` followed by its `key2`. Its other modules number as they are told (`tweak_mode`); those that put
//! the number into the lower half have aes-xts-plain64 and ATREST_NUMBERING_SECTORS.

use core::ffi::{c_char, c_void};

use atrest::cipher::CipherSpec;
use atrest::key::HashAlgorithm;
use atrest::volume::PlainOptions;
use atrest::{DekAlgorithm, SectorSize, Volume, hazmat};

use crate::args::check_flags;
use crate::dek::{atrest_dek, dek_algorithm};
use crate::device::atrest_device;
use crate::failure::{Failure, Result, run};
use crate::status::{ATREST_ERR_KEY_LENGTH, ATREST_ERR_UNSUPPORTED_ALGORITHM, atrest_status};
use crate::structs::SizedStruct;
use crate::volume::atrest_volume;
use crate::volume_options::{ATREST_OPEN_DISCARD, ATREST_OPEN_READ_ONLY};

/// Numbers count units of 512 bytes, whatever the sector size, as in dm-crypt.
pub const ATREST_NUMBERING_512: u32 = 1;
/// Numbers count sectors of their own size: dm-crypt's iv_large_sectors.
pub const ATREST_NUMBERING_SECTORS: u32 = 2;
/// AES-XTS, where numbers count sectors of their own size and stand in the upper half of the tweak: disks of SPDK and
/// ubiblk. No cipher of dm-crypt does that, so `cipher` is NULL.
pub const ATREST_NUMBERING_UPPER_HALF: u32 = 3;

/// Where data without a header lies, and how it is encrypted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_plain_options {
    /// Set by ATREST_PLAIN_OPTIONS_INIT.
    pub struct_size: usize,
    /// 0, ATREST_OPEN_READ_ONLY and ATREST_OPEN_DISCARD, combined by `|`.
    pub flags: u32,
    /// ATREST_NUMBERING_*. 0 is ATREST_NUMBERING_512.
    pub numbering: u32,
    /// The cipher in dm-crypt's notation, such as "aes-xts-plain64" or "aes-cbc-essiv:sha256". There is no default, since
    /// cryptsetup has had several.
    pub cipher: *const c_char,
    /// 512, 1024, 2048 or 4096 bytes. 0 is 512.
    pub sector_size: u32,
    /// The first byte of the data on the device, a multiple of 512: `--offset` of cryptsetup, times 512.
    pub offset: u64,
    /// The size of the data in bytes, a multiple of the sector size: `--size` of cryptsetup, times 512. 0 goes to the end of
    /// the device.
    pub size: u64,
    /// The number of the first sector, in units of 512 bytes: `--skip` of cryptsetup.
    pub first_number: u64,
    /// The number of blocks that the key has encrypted before, as in an atrest_open_options.
    pub used_blocks: u64,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_plain_options {}

/// The algorithm of a DEK of `key_len` bytes for a cipher in dm-crypt's notation: one of ATREST_AES_* and the like.
///
/// Errors: ATREST_ERR_UNSUPPORTED_ALGORITHM for a cipher that isn't known, or needs the feature `legacy` of the library's
/// build, as AES-XTS with 48 bytes of key does; ATREST_ERR_KEY_LENGTH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_dek_algorithm_for_cipher(
    cipher: *const c_char,
    key_len: usize,
    out: *mut u32,
) -> atrest_status {
    run(|| {
        let (spec, out) = (cipher_of(text!(cipher))?, out!(out));
        let algorithm = DekAlgorithm::for_cipher(spec, key_len).ok_or_else(|| {
            let text = format!("{} takes no key of {key_len} bytes", spec.name());
            // AES-192.
            if cfg!(not(feature = "legacy")) && key_len == 48 && spec.name().starts_with("aes-xts-") {
                let text = format!("{text} in a library that was built without the feature `legacy`");
                return Failure::new(ATREST_ERR_UNSUPPORTED_ALGORITHM, text);
            }
            Failure::new(ATREST_ERR_KEY_LENGTH, text)
        })?;
        out.set(algorithm.code().into());
        Ok(())
    })
}

/// As atrest_hazmat_dek_from_bytes, for an algorithm that the length doesn't determine, such as CBC of old volumes. The
/// caller must wipe `bytes`.
///
/// Errors: ATREST_ERR_KEY_LENGTH; ATREST_ERR_EQUAL_KEY_HALVES for XTS; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED for an
/// algorithm of a feature that the library was built without.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_dek_from_bytes_for(
    algorithm: u32,
    bytes: *const c_void,
    bytes_len: usize,
    out: *mut *mut atrest_dek,
) -> atrest_status {
    run(|| {
        let (algorithm, bytes, out) = (dek_algorithm(algorithm)?, bytes!(bytes, bytes_len), out!(out));
        out.handle(hazmat::dek_from_bytes_for(algorithm, bytes)?);
        Ok(())
    })
}

/// Makes the DEK that `cryptsetup open --type plain` makes of a passphrase: its hash, and for each further part of a key
/// longer than the hash, the hash of one more letter A and the passphrase. Guessing passphrases costs next to nothing, since
/// there is no salt and no cost but one hash.
///
/// `hash` is its name, such as "ripemd160", which cryptsetup had as its default before 2.7 and which needs the feature
/// `legacy`, or "sha256", the default since. cryptsetup cuts a passphrase at the end of its line, and takes a key file
/// without a hash: atrest_hazmat_dek_from_bytes_for.
///
/// Errors: ATREST_ERR_UNSUPPORTED_ALGORITHM for a hash that isn't known, or needs `legacy`; ATREST_ERR_BAD_ENUM;
/// ATREST_ERR_UNSUPPORTED as atrest_hazmat_dek_from_bytes_for; ATREST_ERR_EQUAL_KEY_HALVES; ATREST_ERR_NOT_APPROVED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_plain_dek(
    algorithm: u32,
    hash: *const c_char,
    passphrase: *const c_char,
    passphrase_len: usize,
    out: *mut *mut atrest_dek,
) -> atrest_status {
    run(|| {
        let (algorithm, passphrase, out) = (dek_algorithm(algorithm)?, bytes!(passphrase, passphrase_len), out!(out));
        let hash: HashAlgorithm = text!(hash).parse().map_err(unsupported)?;
        out.handle(hazmat::plain_dek(algorithm, hash, passphrase)?);
        Ok(())
    })
}

/// Opens data that has no header, with the DEK, the cipher and the place that the caller knows.
///
/// NOTHING PROVES ANY OF IT. With another key, cipher, sector size, offset or number, reads give noise, and WRITES DESTROY
/// WHAT IS THERE. Try it with ATREST_OPEN_READ_ONLY first. Functions that need a header fail on such a volume with
/// ATREST_ERR_UNSUPPORTED_HEADER. A cipher that is too weak, AES in ECB, opens for reading only.
///
/// Errors: ATREST_ERR_UNSUPPORTED_ALGORITHM for a cipher that isn't known or needs the feature `legacy`, and if the DEK is
/// for another one; ATREST_ERR_INVALID_OPTION; ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_DEVICE_TOO_SMALL;
/// ATREST_ERR_SECTOR_OVERFLOW; ATREST_ERR_NOT_APPROVED; the device's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_volume_open_plain(
    device: *mut atrest_device,
    dek: *const atrest_dek,
    options: *const atrest_plain_options,
    out: *mut *mut atrest_volume,
) -> atrest_status {
    run(|| {
        let (device, dek, out) = (handle!(device), handle!(dek), out!(out));
        let options = plain_options(&structure!(options))?;
        out.handle(Volume::hazmat_open_plain(device.clone(), dek, &options)?);
        Ok(())
    })
}

fn plain_options(c: &atrest_plain_options) -> Result<PlainOptions> {
    check_flags(c.flags, ATREST_OPEN_READ_ONLY | ATREST_OPEN_DISCARD)?;
    let mut options = PlainOptions::new(numbered(c)?)
        .offset(c.offset)
        .first_number(c.first_number)
        .read_only(c.flags & ATREST_OPEN_READ_ONLY != 0)
        .discard(c.flags & ATREST_OPEN_DISCARD != 0)
        .used_blocks(c.used_blocks);
    if c.sector_size != 0 {
        options = options.sector_size(SectorSize::new(c.sector_size)?);
    }
    Ok(if c.size == 0 { options } else { options.size(c.size) })
}

/// The cipher with its numbering.
fn numbered(c: &atrest_plain_options) -> Result<CipherSpec> {
    match c.numbering {
        0 | ATREST_NUMBERING_512 => cipher_of(text!(c.cipher)),
        ATREST_NUMBERING_SECTORS => Ok(cipher_of(text!(c.cipher))?.with_large_sectors()),
        ATREST_NUMBERING_UPPER_HALF if c.cipher.is_null() => Ok(CipherSpec::AesXtsUpperHalf),
        ATREST_NUMBERING_UPPER_HALF => Err(Failure::new(
            crate::status::ATREST_ERR_INVALID_OPTION,
            "`options.cipher` must be NULL with ATREST_NUMBERING_UPPER_HALF, whose cipher is AES-XTS",
        )),
        other => Err(Failure::bad_enum("options.numbering", other)),
    }
}

fn cipher_of(name: &str) -> Result<CipherSpec> {
    name.parse().map_err(unsupported)
}

fn unsupported(why: atrest::Error) -> Failure {
    Failure::new(ATREST_ERR_UNSUPPORTED_ALGORITHM, why.to_string())
}
