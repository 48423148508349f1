//! DATA ENCRYPTION KEYS
//!
//! A DEK encrypts sectors, or the bytes of a file. It is only stored wrapped: in an envelope, i.e. bytes to store next
//! to the data, or in the header of a volume.

use core::ffi::{c_char, c_void};

use atrest::{Dek, DekAlgorithm, Envelope, hazmat};

use crate::failure::{Failure, Result, run};
use crate::handle::Handle;
use crate::status::{ATREST_ERR_UNSUPPORTED, atrest_status};
use crate::vault::atrest_vault;
use crate::vault_callbacks::ATREST_WRAPPED_MAX;

/// AES-128-XTS, 32 bytes of key.
pub const ATREST_AES_128_XTS: u32 = 1;
/// AES-256-XTS, 64 bytes of key.
pub const ATREST_AES_256_XTS: u32 = 2;
/// AES-128-CBC, 16 bytes of key. For old volumes only.
pub const ATREST_AES_128_CBC: u32 = 3;
/// AES-192-CBC, 24 bytes of key. For old volumes only.
pub const ATREST_AES_192_CBC: u32 = 4;
/// AES-256-CBC, 32 bytes of key. For old volumes only.
pub const ATREST_AES_256_CBC: u32 = 5;
/// AES-256-HCTR2, 32 bytes of key. For a second layer: a volume below another of AES-XTS.
pub const ATREST_AES_256_HCTR2: u32 = 6;

/// AES-256-CTR, 32 bytes of key. For engines' files, one key per file: see atrest_stream_cipher.
pub const ATREST_AES_256_CTR: u32 = 7;

/// AES-128-CBC with the Elephant diffuser, 32 bytes of key. Of BitLocker volumes: feature `bitlocker`.
pub const ATREST_AES_128_CBC_ELEPHANT: u32 = 8;
/// AES-256-CBC with the Elephant diffuser, 64 bytes of key. Of BitLocker volumes: feature `bitlocker`.
pub const ATREST_AES_256_CBC_ELEPHANT: u32 = 9;
/// AES-128-ECB, 16 bytes of key. For reading old volumes only.
pub const ATREST_AES_128_ECB: u32 = 10;
/// AES-192-ECB, 24 bytes of key. For reading old volumes only.
pub const ATREST_AES_192_ECB: u32 = 11;
/// AES-256-ECB, 32 bytes of key. For reading old volumes only.
pub const ATREST_AES_256_ECB: u32 = 12;
/// Serpent-128-XTS, 32 bytes of key. For old volumes only, as all of the feature `legacy`.
pub const ATREST_SERPENT_128_XTS: u32 = 13;
/// Serpent-256-XTS, 64 bytes of key. Feature `legacy`.
pub const ATREST_SERPENT_256_XTS: u32 = 14;
/// Serpent-128-CBC, 16 bytes of key. Feature `legacy`.
pub const ATREST_SERPENT_128_CBC: u32 = 15;
/// Serpent-192-CBC, 24 bytes of key. Feature `legacy`.
pub const ATREST_SERPENT_192_CBC: u32 = 16;
/// Serpent-256-CBC, 32 bytes of key. Feature `legacy`.
pub const ATREST_SERPENT_256_CBC: u32 = 17;
/// Twofish-128-XTS, 32 bytes of key. Feature `legacy`.
pub const ATREST_TWOFISH_128_XTS: u32 = 18;
/// Twofish-256-XTS, 64 bytes of key. Feature `legacy`.
pub const ATREST_TWOFISH_256_XTS: u32 = 19;
/// Twofish-128-CBC, 16 bytes of key. Feature `legacy`.
pub const ATREST_TWOFISH_128_CBC: u32 = 20;
/// Twofish-192-CBC, 24 bytes of key. Feature `legacy`.
pub const ATREST_TWOFISH_192_CBC: u32 = 21;
/// Twofish-256-CBC, 32 bytes of key. Feature `legacy`.
pub const ATREST_TWOFISH_256_CBC: u32 = 22;
/// Camellia-128-XTS, 32 bytes of key. Feature `legacy`.
pub const ATREST_CAMELLIA_128_XTS: u32 = 23;
/// Camellia-256-XTS, 64 bytes of key. Feature `legacy`.
pub const ATREST_CAMELLIA_256_XTS: u32 = 24;
/// Camellia-128-CBC, 16 bytes of key. Feature `legacy`.
pub const ATREST_CAMELLIA_128_CBC: u32 = 25;
/// Camellia-192-CBC, 24 bytes of key. Feature `legacy`.
pub const ATREST_CAMELLIA_192_CBC: u32 = 26;
/// Camellia-256-CBC, 32 bytes of key. Feature `legacy`.
pub const ATREST_CAMELLIA_256_CBC: u32 = 27;
/// Adiantum with XChaCha12 and AES-256, 32 bytes of key. Feature `legacy`.
pub const ATREST_ADIANTUM: u32 = 28;
/// AES-192-XTS, 48 bytes of key. No standard has it. Feature `legacy`.
pub const ATREST_AES_192_XTS: u32 = 29;

/// The most bytes of a context.
pub const ATREST_CONTEXT_MAX: usize = 1024;
/// The most bytes of an envelope by one vault.
pub const ATREST_ENVELOPE_MAX: usize = 3124;
/// The most bytes of an envelope by several vaults together: see atrest_vault_quorum.
pub const ATREST_QUORUM_ENVELOPE_MAX: usize = 3892;

/// A data encryption key, in memory that is locked and left out of core dumps if the operating system allows it. Freed
/// by atrest_dek_free, which wipes it.
pub struct atrest_dek;

/// Generates a DEK. `algorithm` is ATREST_AES_256_XTS or another ATREST_AES_*, or one for old volumes. A DEK only makes ciphers of its own
/// mode: one for XTS makes sector ciphers, one for CTR stream ciphers. Both of these go into envelopes; DEKs for CBC
/// and HCTR2 only go into volumes.
///
/// Errors: ATREST_ERR_BAD_ENUM; ATREST_ERR_UNSUPPORTED for an algorithm of a feature that the library was built without;
/// ATREST_ERR_RANDOM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_dek_generate(algorithm: u32, out: *mut *mut atrest_dek) -> atrest_status {
    run(|| {
        let (algorithm, out) = (dek_algorithm(algorithm)?, out!(out));
        out.handle(Dek::generate(algorithm)?);
        Ok(())
    })
}

/// Wipes and frees a DEK. Ciphers and volumes made from it stay valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_dek_free(dek: *mut atrest_dek) {
    free!(dek);
}

/// The algorithm of a DEK: one of ATREST_AES_* and the like.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_dek_algorithm(dek: *const atrest_dek, out: *mut u32) -> atrest_status {
    run(|| {
        let (dek, out) = (handle!(dek), out!(out));
        out.set(dek.algorithm().code().into());
        Ok(())
    })
}

/// The length of a fingerprint in bytes.
pub const ATREST_FINGERPRINT_SIZE: usize = 32;

/// Identifies a DEK: 32 bytes derived from the key, which reveal nothing about it. Keep them where an attacker with
/// write access to the disk can't change them, and compare. An attacker who may wrap keys under your KEK, for example
/// with the public half of an RSA key, can make a volume or envelope that your vault opens, and put it in place of
/// yours.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_dek_fingerprint(dek: *const atrest_dek, fingerprint: *mut u8) -> atrest_status {
    run(|| {
        let (dek, out) = (handle!(dek), out!(fingerprint.cast::<[u8; ATREST_FINGERPRINT_SIZE]>()));
        out.set(dek.fingerprint()?.to_bytes());
        Ok(())
    })
}

/// Has `vault` wrap a DEK under the latest version of the key `key_name`, and puts everything needed to unwrap it into
/// `envelope`, at most ATREST_ENVELOPE_MAX bytes, or ATREST_QUORUM_ENVELOPE_MAX by several vaults together. An envelope
/// holds no secret.
///
/// `context` identifies what the DEK is for, such as the id of a disk: up to ATREST_CONTEXT_MAX bytes, stored in the
/// clear. Unwrapping needs the same context, so that envelopes can't be exchanged.
///
/// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_NO_SUCH_KEY; ATREST_ERR_CONTEXT_LENGTH; ATREST_ERR_UNSUPPORTED_ALGORITHM
/// for a DEK that is neither for XTS nor for CTR; ATREST_ERR_BUFFER_TOO_SHORT, after the vault was asked; the vault's
/// errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_envelope_seal(
    dek: *const atrest_dek,
    vault: *const atrest_vault,
    key_name: *const c_char,
    context: *const c_void,
    context_len: usize,
    envelope: *mut c_void,
    envelope_cap: usize,
    envelope_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (dek, vault, key_name) = (handle!(dek), handle!(vault), text!(key_name));
        let (context, out) = (bytes!(context, context_len), bytes_out!(envelope, envelope_cap, envelope_len));
        out.put(&Envelope::seal(dek, vault.get(), key_name, context)?.to_bytes())
    })
}

/// Has `vault` unwrap the DEK of an envelope, which must be bound to `context`.
///
/// Errors: ATREST_ERR_INVALID_ENVELOPE, also if it was altered; ATREST_ERR_CONTEXT_MISMATCH; ATREST_ERR_NOT_THIS_VAULT;
/// ATREST_ERR_NO_SUCH_KEY if the version was destroyed; ATREST_ERR_UNWRAP_FAILED; the vault's errors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_envelope_unseal(
    vault: *const atrest_vault,
    envelope: *const c_void,
    envelope_len: usize,
    context: *const c_void,
    context_len: usize,
    out: *mut *mut atrest_dek,
) -> atrest_status {
    run(|| {
        let (vault, envelope) = (handle!(vault), bytes!(envelope, envelope_len));
        let (context, out) = (bytes!(context, context_len), out!(out));
        out.handle(Envelope::from_bytes(envelope)?.unseal(vault.get(), context)?);
        Ok(())
    })
}

/// The URL of the key version that wrapped an envelope's DEK, for choosing the vault to ask. It is not proven before
/// the DEK is unwrapped.
///
/// Errors: ATREST_ERR_INVALID_ENVELOPE; ATREST_ERR_UNSUPPORTED_ALGORITHM; ATREST_ERR_BUFFER_TOO_SHORT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_envelope_key_url(
    envelope: *const c_void,
    envelope_len: usize,
    url: *mut c_char,
    url_cap: usize,
    url_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (envelope, out) = (bytes!(envelope, envelope_len), text_out!(url, url_cap, url_len));
        out.put(&Envelope::from_bytes(envelope)?.kek().to_string())
    })
}

/// Makes a DEK from the caller's own 32 or 64 bytes. The DEK is weak if the bytes aren't random, if another program
/// also holds them, or if they encrypt two disks; the library can't detect that. The caller must wipe `bytes`.
///
/// Errors: ATREST_ERR_KEY_LENGTH; ATREST_ERR_EQUAL_KEY_HALVES.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_dek_from_bytes(
    bytes: *const c_void,
    bytes_len: usize,
    out: *mut *mut atrest_dek,
) -> atrest_status {
    run(|| {
        let (bytes, out) = (bytes!(bytes, bytes_len), out!(out));
        out.handle(hazmat::dek_from_bytes(bytes)?);
        Ok(())
    })
}

/// The bytes of a DEK. Anyone who has them can read the disk for ever, even if the KEK is revoked. The caller must wipe
/// `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_dek_bytes(
    dek: *const atrest_dek,
    bytes: *mut c_void,
    bytes_cap: usize,
    bytes_len: *mut usize,
) -> atrest_status {
    run(|| {
        let (dek, out) = (handle!(dek), bytes_out!(bytes, bytes_cap, bytes_len));
        out.put(hazmat::dek_bytes(dek).expose())
    })
}

impl Handle for atrest_dek {
    type Object = Dek;
    const TAG: [u8; 4] = *b"dek\x01";
    const NAME: &'static str = "atrest_dek";
}

pub(crate) fn dek_algorithm(number: u32) -> Result<DekAlgorithm> {
    let algorithm = u16::try_from(number).ok().and_then(DekAlgorithm::from_code);
    algorithm.ok_or_else(|| match number {
        ATREST_AES_128_CBC_ELEPHANT | ATREST_AES_256_CBC_ELEPHANT => without("bitlocker"),
        number if OF_LEGACY.contains(&number) => without("legacy"),
        _ => Failure::bad_enum("algorithm", number),
    })
}

/// The algorithms that only a library with the feature `legacy` has.
const OF_LEGACY: [u32; 17] = [
    ATREST_SERPENT_128_XTS,
    ATREST_SERPENT_256_XTS,
    ATREST_SERPENT_128_CBC,
    ATREST_SERPENT_192_CBC,
    ATREST_SERPENT_256_CBC,
    ATREST_TWOFISH_128_XTS,
    ATREST_TWOFISH_256_XTS,
    ATREST_TWOFISH_128_CBC,
    ATREST_TWOFISH_192_CBC,
    ATREST_TWOFISH_256_CBC,
    ATREST_CAMELLIA_128_XTS,
    ATREST_CAMELLIA_256_XTS,
    ATREST_CAMELLIA_128_CBC,
    ATREST_CAMELLIA_192_CBC,
    ATREST_CAMELLIA_256_CBC,
    ATREST_ADIANTUM,
    ATREST_AES_192_XTS,
];

fn without(feature: &str) -> Failure {
    let text = format!("this library was built without this algorithm; build it with the feature `{feature}`");
    Failure::new(ATREST_ERR_UNSUPPORTED, text)
}

const _: () = assert!(ATREST_CONTEXT_MAX == atrest::key::MAX_CONTEXT);
const _: () = assert!(ATREST_QUORUM_ENVELOPE_MAX == Envelope::MAX_LEN);
const _: () = assert!(ATREST_ENVELOPE_MAX == Envelope::MAX_LEN - atrest::key::MAX_WRAPPED + ATREST_WRAPPED_MAX);
// The library's own numbers.
const _: () = assert!(
    ATREST_AES_128_XTS == DekAlgorithm::Aes128Xts.code() as u32
        && ATREST_AES_256_XTS == DekAlgorithm::Aes256Xts.code() as u32
        && ATREST_AES_128_CBC == DekAlgorithm::Aes128Cbc.code() as u32
        && ATREST_AES_192_CBC == DekAlgorithm::Aes192Cbc.code() as u32
        && ATREST_AES_256_CBC == DekAlgorithm::Aes256Cbc.code() as u32
        && ATREST_AES_256_HCTR2 == DekAlgorithm::Aes256Hctr2.code() as u32
        && ATREST_AES_256_CTR == DekAlgorithm::Aes256Ctr.code() as u32
        && ATREST_AES_128_ECB == DekAlgorithm::Aes128Ecb.code() as u32
        && ATREST_AES_192_ECB == DekAlgorithm::Aes192Ecb.code() as u32
        && ATREST_AES_256_ECB == DekAlgorithm::Aes256Ecb.code() as u32
);
#[cfg(feature = "bitlocker")]
const _: () = assert!(
    ATREST_AES_128_CBC_ELEPHANT == DekAlgorithm::Aes128CbcElephant.code() as u32
        && ATREST_AES_256_CBC_ELEPHANT == DekAlgorithm::Aes256CbcElephant.code() as u32
);
#[cfg(feature = "legacy")]
const _: () = assert!(
    ATREST_AES_192_XTS == DekAlgorithm::Aes192Xts.code() as u32
        && ATREST_SERPENT_128_XTS == DekAlgorithm::Serpent128Xts.code() as u32
        && ATREST_SERPENT_256_XTS == DekAlgorithm::Serpent256Xts.code() as u32
        && ATREST_SERPENT_128_CBC == DekAlgorithm::Serpent128Cbc.code() as u32
        && ATREST_SERPENT_192_CBC == DekAlgorithm::Serpent192Cbc.code() as u32
        && ATREST_SERPENT_256_CBC == DekAlgorithm::Serpent256Cbc.code() as u32
        && ATREST_TWOFISH_128_XTS == DekAlgorithm::Twofish128Xts.code() as u32
        && ATREST_TWOFISH_256_XTS == DekAlgorithm::Twofish256Xts.code() as u32
        && ATREST_TWOFISH_128_CBC == DekAlgorithm::Twofish128Cbc.code() as u32
        && ATREST_TWOFISH_192_CBC == DekAlgorithm::Twofish192Cbc.code() as u32
        && ATREST_TWOFISH_256_CBC == DekAlgorithm::Twofish256Cbc.code() as u32
        && ATREST_CAMELLIA_128_XTS == DekAlgorithm::Camellia128Xts.code() as u32
        && ATREST_CAMELLIA_256_XTS == DekAlgorithm::Camellia256Xts.code() as u32
        && ATREST_CAMELLIA_128_CBC == DekAlgorithm::Camellia128Cbc.code() as u32
        && ATREST_CAMELLIA_192_CBC == DekAlgorithm::Camellia192Cbc.code() as u32
        && ATREST_CAMELLIA_256_CBC == DekAlgorithm::Camellia256Cbc.code() as u32
        && ATREST_ADIANTUM == DekAlgorithm::Adiantum.code() as u32
);
