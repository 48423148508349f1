//! KEY DERIVATION
//!
//! How passphrases become keys: those of volumes' keyslots, and of vault files.

use core::time::Duration;

use atrest::key::{HashAlgorithm, Kdf, KdfKind};

use crate::failure::{Failure, Result, run};
use crate::status::atrest_status;
use crate::structs::SizedStruct;

/// PBKDF2 with HMAC (RFC 8018): all that LUKS1 knows.
pub const ATREST_KDF_PBKDF2: u32 = 1;
/// Argon2i (RFC 9106).
pub const ATREST_KDF_ARGON2I: u32 = 2;
/// Argon2id (RFC 9106).
pub const ATREST_KDF_ARGON2ID: u32 = 3;

/// SHA-256.
pub const ATREST_HASH_SHA256: u32 = 1;
/// SHA-512.
pub const ATREST_HASH_SHA512: u32 = 2;
/// SHA-1. For headers of LUKS1 that have it already.
pub const ATREST_HASH_SHA1: u32 = 3;

/// A KDF and its costs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_kdf {
    /// Set by ATREST_KDF_INIT.
    pub struct_size: usize,
    /// ATREST_KDF_*. There is no default.
    pub kind: u32,
    /// For PBKDF2: the hash, ATREST_HASH_*. 0 is ATREST_HASH_SHA256.
    pub hash: u32,
    /// For PBKDF2: iterations, 1 to 50,000,000.
    pub iterations: u32,
    /// For Argon2: memory in KiB, at least 8 for each lane, at most 4 GiB.
    pub memory_kib: u32,
    /// For Argon2: passes over the memory, at least 1. Memory times passes is at most 64 GiB.
    pub passes: u32,
    /// For Argon2: lanes, 1 to 16.
    pub lanes: u32,
}

// SAFETY: `struct_size` is the first member, and numbers may be zero.
unsafe impl SizedStruct for atrest_kdf {}

/// Finds the costs with which a KDF takes about `time_ms` milliseconds on this machine and at most `max_memory_kib` of
/// memory, and puts them into `out`, which starts from ATREST_KDF_INIT. `kind` is ATREST_KDF_*. `hash` is for PBKDF2,
/// `max_memory_kib` and `lanes` are for Argon2; each may be 0, and is then ATREST_HASH_SHA256, 2000, 1 GiB, and 4 lanes.
///
/// The costs are never below 1000 iterations of PBKDF2, or 4 passes over 32 MiB of Argon2, however slow the machine.
/// Measuring takes about as long as what is measured.
///
/// Errors: ATREST_ERR_BAD_ENUM; ATREST_ERR_INVALID_OPTION for ATREST_HASH_SHA1, memory below 32 MiB, lanes over 16, and
/// when there is no memory; ATREST_ERR_STRUCT_SIZE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_kdf_benchmark(
    kind: u32,
    hash: u32,
    time_ms: u32,
    max_memory_kib: u32,
    lanes: u32,
    out: *mut atrest_kdf,
) -> atrest_status {
    run(|| {
        let out = struct_out!(out);
        let kind = match kind {
            ATREST_KDF_PBKDF2 => KdfKind::Pbkdf2(hash_algorithm(hash, "hash")?),
            ATREST_KDF_ARGON2I => KdfKind::Argon2i,
            ATREST_KDF_ARGON2ID => KdfKind::Argon2id,
            other => return Err(Failure::bad_enum("kind", other)),
        };
        let or = |given: u32, default: u32| if given == 0 { default } else { given };
        let time = Duration::from_millis(or(time_ms, TIME_MS).into());
        out.set(c_kdf(&Kdf::benchmark(kind, time, or(max_memory_kib, MAX_MEMORY_KIB), or(lanes, LANES))?));
        Ok(())
    })
}

// The defaults of `KeyslotOptions::new()`.
const TIME_MS: u32 = 2000;
const MAX_MEMORY_KIB: u32 = 1 << 20;
const LANES: u32 = 4;

pub(crate) fn kdf(c: &atrest_kdf) -> Result<Kdf> {
    let atrest_kdf { memory_kib, passes, lanes, iterations, .. } = *c;
    match c.kind {
        ATREST_KDF_PBKDF2 => Ok(Kdf::Pbkdf2 { hash: hash_algorithm(c.hash, "kdf.hash")?, iterations }),
        ATREST_KDF_ARGON2I => Ok(Kdf::Argon2i { memory_kib, passes, lanes }),
        ATREST_KDF_ARGON2ID => Ok(Kdf::Argon2id { memory_kib, passes, lanes }),
        other => Err(Failure::bad_enum("kdf.kind", other)),
    }
}

fn c_kdf(kdf: &Kdf) -> atrest_kdf {
    let struct_size = size_of::<atrest_kdf>();
    let mut c = atrest_kdf { struct_size, kind: 0, hash: 0, iterations: 0, memory_kib: 0, passes: 0, lanes: 0 };
    match *kdf {
        Kdf::Pbkdf2 { hash, iterations } => {
            (c.kind, c.iterations) = (ATREST_KDF_PBKDF2, iterations);
            c.hash = HASHES.iter().find(|(_, known)| *known == hash).map_or(0, |(number, _)| *number);
        }
        Kdf::Argon2i { memory_kib, passes, lanes } => {
            (c.kind, c.memory_kib, c.passes, c.lanes) = (ATREST_KDF_ARGON2I, memory_kib, passes, lanes);
        }
        Kdf::Argon2id { memory_kib, passes, lanes } => {
            (c.kind, c.memory_kib, c.passes, c.lanes) = (ATREST_KDF_ARGON2ID, memory_kib, passes, lanes);
        }
        _ => {}
    }
    c
}

const HASHES: [(u32, HashAlgorithm); 3] = [
    (ATREST_HASH_SHA256, HashAlgorithm::Sha256),
    (ATREST_HASH_SHA512, HashAlgorithm::Sha512),
    (ATREST_HASH_SHA1, HashAlgorithm::Sha1),
];

fn hash_algorithm(number: u32, argument: &str) -> Result<HashAlgorithm> {
    let wanted = if number == 0 { ATREST_HASH_SHA256 } else { number };
    let found = HASHES.iter().find(|(known, _)| *known == wanted);
    found.map(|(_, hash)| *hash).ok_or_else(|| Failure::bad_enum(argument, number))
}
