//! SECTOR CIPHER
//!
//! XTS-AES over runs of sectors (IEEE 1619-2018, NIST SP 800-38E), for engines that do their own input and output.
//! Encrypting and decrypting neither allocate nor lock; any number of threads may use one cipher.
//!
//! XTS protects a sector's content against an attacker who sees the disk once. It does not detect changes. To an
//! attacker who sees the disk twice, it reveals which 16-byte blocks of a sector changed.

use core::ffi::c_void;

use atrest::{SectorCipher, SectorSize, SectorUnit};

use crate::args::in_place;
use crate::dek::atrest_dek;
use crate::failure::{Failure, compute, run};
use crate::handle::Handle;
use crate::status::atrest_status;

/// The body of a function from `src` to `dst`: one method if they are the same, otherwise another.
macro_rules! from_to {
    ($cipher:expr, $number:expr, $src:expr, $dst:expr, $len:expr, $in_place:ident, $to:ident) => {
        compute(move || {
            let (cipher, number) = (handle!($cipher), $number);
            if in_place($src.cast(), $dst.cast(), $len)? {
                return Ok(cipher.$in_place(number, bytes_mut!($dst, $len))?);
            }
            Ok(cipher.$to(number, bytes!($src, $len), bytes_mut!($dst, $len))?)
        })
    };
}

/// Sector numbers count units of 512 bytes for any sector size: plain64 of dm-crypt and LUKS. Sectors of 4096 bytes
/// have the numbers 0, 8, 16 and so on; numbers between them are refused, because sectors numbered 0, 1, 2 would share
/// tweaks.
pub const ATREST_UNIT_512: u32 = 1;
/// Sector numbers count sectors or pages: 0, 1, 2 for any size. dm-crypt's plain64 with iv_large_sectors.
pub const ATREST_UNIT_SECTOR: u32 = 2;
/// As ATREST_UNIT_512, starting at any number: dm-crypt's plain64 with an offset that isn't a multiple of the sector
/// size. Runs with overlapping numbers share tweaks, and this isn't detected.
pub const ATREST_UNIT_512_ANY_OFFSET: u32 = 3;

/// An expanded XTS key, with the size and numbering of sectors. Freed by atrest_sector_cipher_free, which wipes it.
pub struct atrest_sector_cipher;

/// Expands a DEK for sectors of `sector_size`, 512 to 65,536 bytes, numbered by `sector_unit`, ATREST_UNIT_*. A size
/// that isn't a multiple of 512 needs ATREST_UNIT_SECTOR. The DEK may be freed afterwards.
///
/// Errors: ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED_ALGORITHM for a DEK that isn't for XTS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_new(
    dek: *const atrest_dek,
    sector_size: u32,
    sector_unit: u32,
    out: *mut *mut atrest_sector_cipher,
) -> atrest_status {
    run(move || {
        let (dek, out) = (handle!(dek), out!(out));
        out.boxed(dek.sector_cipher(SectorSize::new(sector_size)?, unit_of(sector_unit)?)?);
        Ok(())
    })
}

/// As atrest_sector_cipher_new, from the bytes of a key that is kept elsewhere: the data key followed by the tweak key, 32 bytes
/// for AES-128-XTS or 64 for AES-256-XTS. The caller wipes its copy. This takes two thirds of the time of a DEK and its cipher.
///
/// Errors: ATREST_ERR_KEY_LENGTH; ATREST_ERR_EQUAL_KEY_HALVES; ATREST_ERR_SECTOR_SIZE; ATREST_ERR_BAD_ENUM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_from_key(
    key: *const c_void,
    key_len: usize,
    sector_size: u32,
    sector_unit: u32,
    out: *mut *mut atrest_sector_cipher,
) -> atrest_status {
    run(move || {
        let (key, out) = (bytes!(key, key_len), out!(out));
        let cipher = SectorCipher::new(key, SectorSize::new(sector_size)?, unit_of(sector_unit)?)?;
        out.boxed(Box::new(cipher));
        Ok(())
    })
}

/// Wipes and frees a cipher.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_free(cipher: *mut atrest_sector_cipher) {
    free!(cipher);
}

/// Encrypts `len` bytes of consecutive sectors in place. `first_sector` is the number of the first one. `sectors` is
/// unchanged unless the function returns ATREST_OK.
///
/// Errors: ATREST_ERR_PARTIAL_SECTOR; ATREST_ERR_SECTOR_NUMBER; ATREST_ERR_SECTOR_OVERFLOW; ATREST_ERR_KEY_EXHAUSTED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_encrypt(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    sectors: *mut c_void,
    len: usize,
) -> atrest_status {
    compute(move || Ok(handle!(cipher).encrypt(first_sector, bytes_mut!(sectors, len))?))
}

/// Decrypts sectors in place, as atrest_sector_cipher_encrypt encrypts them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_decrypt(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    sectors: *mut c_void,
    len: usize,
) -> atrest_status {
    compute(move || Ok(handle!(cipher).decrypt(first_sector, bytes_mut!(sectors, len))?))
}

/// Encrypts `len` bytes of consecutive sectors from `src` to `dst`, which may be the same but must not overlap in
/// part.
///
/// Errors: ATREST_ERR_OVERLAP; those of atrest_sector_cipher_encrypt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_encrypt_to(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    src: *const c_void,
    dst: *mut c_void,
    len: usize,
) -> atrest_status {
    from_to!(cipher, first_sector, src, dst, len, encrypt, encrypt_to)
}

/// Decrypts sectors from `src` to `dst`, as atrest_sector_cipher_encrypt_to encrypts them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_decrypt_to(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    src: *const c_void,
    dst: *mut c_void,
    len: usize,
) -> atrest_status {
    from_to!(cipher, first_sector, src, dst, len, decrypt, decrypt_to)
}

/// Encrypts one data unit in place under a tweak of 16 bytes, for engines with their own block numbers.
///
/// `len` is 16 bytes to 16 MiB, independent of the sector size. If it isn't a multiple of 16, ciphertext stealing is
/// used. `tweak` is the number of the data unit as 16 little-endian bytes. Never use a tweak for two data units under
/// one key.
///
/// Errors: ATREST_ERR_DATA_UNIT_LENGTH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_encrypt_unit(
    cipher: *const atrest_sector_cipher,
    tweak: *const u8,
    unit: *mut c_void,
    len: usize,
) -> atrest_status {
    compute(move || Ok(handle!(cipher).encrypt_unit(array!(tweak), bytes_mut!(unit, len))?))
}

/// Decrypts a data unit in place, as atrest_sector_cipher_encrypt_unit encrypts it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_decrypt_unit(
    cipher: *const atrest_sector_cipher,
    tweak: *const u8,
    unit: *mut c_void,
    len: usize,
) -> atrest_status {
    compute(move || Ok(handle!(cipher).decrypt_unit(array!(tweak), bytes_mut!(unit, len))?))
}

/// Encrypts a data unit, as atrest_sector_cipher_encrypt_unit does, from `src` to `dst`, which may be the same but
/// must not overlap in part.
///
/// Errors: ATREST_ERR_OVERLAP; ATREST_ERR_DATA_UNIT_LENGTH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_encrypt_unit_to(
    cipher: *const atrest_sector_cipher,
    tweak: *const u8,
    src: *const c_void,
    dst: *mut c_void,
    len: usize,
) -> atrest_status {
    from_to!(cipher, array!(tweak), src, dst, len, encrypt_unit, encrypt_unit_to)
}

/// Decrypts a data unit from `src` to `dst`, as atrest_sector_cipher_encrypt_unit_to encrypts it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_decrypt_unit_to(
    cipher: *const atrest_sector_cipher,
    tweak: *const u8,
    src: *const c_void,
    dst: *mut c_void,
    len: usize,
) -> atrest_status {
    from_to!(cipher, array!(tweak), src, dst, len, decrypt_unit, decrypt_unit_to)
}

/// Encrypts as atrest_sector_cipher_encrypt_to does, but writes `dst` past the cache.
///
/// Use it for output that is larger than the cache or isn't read soon. `dst` must be aligned to 64 bytes and must not
/// be `src`; otherwise this is atrest_sector_cipher_encrypt_to. It is slower for output that stays in the cache.
///
/// Errors: as atrest_sector_cipher_encrypt_to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_encrypt_streaming(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    src: *const c_void,
    dst: *mut c_void,
    len: usize,
) -> atrest_status {
    from_to!(cipher, first_sector, src, dst, len, encrypt, encrypt_streaming)
}

/// Decrypts past the cache, as atrest_sector_cipher_encrypt_streaming encrypts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_decrypt_streaming(
    cipher: *const atrest_sector_cipher,
    first_sector: u64,
    src: *const c_void,
    dst: *mut c_void,
    len: usize,
) -> atrest_status {
    from_to!(cipher, first_sector, src, dst, len, decrypt, decrypt_streaming)
}

pub(crate) fn unit_of(sector_unit: u32) -> Result<SectorUnit, Failure> {
    match sector_unit {
        ATREST_UNIT_512 => Ok(SectorUnit::Bytes512),
        ATREST_UNIT_SECTOR => Ok(SectorUnit::Sector),
        ATREST_UNIT_512_ANY_OFFSET => Ok(SectorUnit::Bytes512AnyOffset),
        other => Err(Failure::bad_enum("sector_unit", other)),
    }
}

/// The number of 16-byte blocks that the cipher has encrypted: see ATREST_BLOCKS_DUE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_usage(
    cipher: *const atrest_sector_cipher,
    blocks: *mut u64,
) -> atrest_status {
    run(|| {
        let (cipher, out) = (handle!(cipher), out!(blocks));
        out.set(cipher.usage().blocks());
        Ok(())
    })
}

/// Adds blocks that the cipher's key has encrypted elsewhere: in an earlier process, or with another cipher.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_sector_cipher_count_in(
    cipher: *const atrest_sector_cipher,
    blocks: u64,
) -> atrest_status {
    run(|| {
        handle!(cipher).count_in(blocks);
        Ok(())
    })
}

impl Handle for atrest_sector_cipher {
    type Object = SectorCipher;
    const TAG: [u8; 4] = *b"cip\x01";
    const NAME: &'static str = "atrest_sector_cipher";
}
