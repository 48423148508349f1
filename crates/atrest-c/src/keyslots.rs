//! WAYS INTO A VOLUME
//!
//! A credential opens a volume: a vault that unwraps its DEK, a passphrase, a key file whose content is a passphrase,
//! or the DEK itself. The header stores a vault's wrapped DEK in a token, and a passphrase's in a keyslot. Trying a
//! keyslot costs time and memory, by a key derivation function (KDF).

use core::ffi::c_char;
use core::time::Duration;

use atrest::key::{HashAlgorithm, Kdf, KdfKind};
use atrest::volume::KeyslotOptions;
use atrest::volume::Priority;
use atrest::{Credential, Protector};

use crate::args::check_flags;
use crate::dek::atrest_dek;
use crate::failure::{Failure, Result, run};
use crate::status::atrest_status;
use crate::structs::SizedStruct;
use crate::vault::atrest_vault;

/// A vault that holds the KEK for the DEK.
pub const ATREST_CREDENTIAL_VAULT: u32 = 1;
/// The DEK itself.
pub const ATREST_CREDENTIAL_DEK: u32 = 2;
/// A passphrase.
pub const ATREST_CREDENTIAL_PASSPHRASE: u32 = 3;
/// A file whose whole content is the passphrase.
pub const ATREST_CREDENTIAL_KEY_FILE: u32 = 4;

/// A vault, and a key in it whose latest version wraps the DEK. It gets a token, which LUKS1 doesn't support.
pub const ATREST_PROTECTOR_VAULT: u32 = 1;
/// A passphrase. It gets a keyslot.
pub const ATREST_PROTECTOR_PASSPHRASE: u32 = 3;
/// A file whose whole content is the passphrase. It gets a keyslot.
pub const ATREST_PROTECTOR_KEY_FILE: u32 = 4;

/// PBKDF2 with HMAC (RFC 8018): the only KDF of LUKS1.
pub const ATREST_KDF_PBKDF2: u32 = 1;
/// Argon2i (RFC 9106).
pub const ATREST_KDF_ARGON2I: u32 = 2;
/// Argon2id (RFC 9106).
pub const ATREST_KDF_ARGON2ID: u32 = 3;

/// SHA-256.
pub const ATREST_HASH_SHA256: u32 = 1;
/// SHA-512.
pub const ATREST_HASH_SHA512: u32 = 2;
/// SHA-1. For LUKS1 headers that use it already.
pub const ATREST_HASH_SHA1: u32 = 3;

/// Tried after the preferred ones.
pub const ATREST_PRIORITY_NORMAL: u32 = 0;
/// Tried first.
pub const ATREST_PRIORITY_PREFER: u32 = 1;
/// Tried only if the caller asks for its number.
pub const ATREST_PRIORITY_IGNORE: u32 = 2;

/// Flag: use the member `id`. Otherwise the first free keyslot is used.
pub const ATREST_KEYSLOT_ID: u32 = 1;

/// The credential for a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_credential {
    /// Set by ATREST_CREDENTIAL_INIT.
    pub struct_size: usize,
    /// ATREST_CREDENTIAL_*: selects the members below. There is no default.
    pub kind: u32,
    /// For ATREST_CREDENTIAL_VAULT.
    pub vault: *const atrest_vault,
    /// For ATREST_CREDENTIAL_DEK.
    pub dek: *const atrest_dek,
    /// For ATREST_CREDENTIAL_PASSPHRASE: 1 byte to 8 MiB. Every byte counts, including a newline at the end. It needs
    /// no zero byte at its end and isn't copied. The caller must wipe it.
    pub passphrase: *const c_char,
    /// The length of the passphrase.
    pub passphrase_len: usize,
    /// For ATREST_CREDENTIAL_KEY_FILE: its path. The bytes read from it are wiped.
    pub key_file: *const c_char,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_credential {}

/// A new way into a volume.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_protector {
    /// Set by ATREST_PROTECTOR_INIT.
    pub struct_size: usize,
    /// ATREST_PROTECTOR_*: selects the members below. There is no default.
    pub kind: u32,
    /// For ATREST_PROTECTOR_VAULT.
    pub vault: *const atrest_vault,
    /// For ATREST_PROTECTOR_VAULT: the name of the key in it.
    pub key_name: *const c_char,
    /// For ATREST_PROTECTOR_PASSPHRASE, as in an atrest_credential.
    pub passphrase: *const c_char,
    /// The length of the passphrase.
    pub passphrase_len: usize,
    /// For ATREST_PROTECTOR_KEY_FILE: its path. It has 1 byte to 8 MiB; the bytes read from it are wiped.
    pub key_file: *const c_char,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_protector {}

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

/// Options of a new keyslot.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_keyslot_options {
    /// Set by ATREST_KEYSLOT_OPTIONS_INIT.
    pub struct_size: usize,
    /// 0 or ATREST_KEYSLOT_ID.
    pub flags: u32,
    /// With ATREST_KEYSLOT_ID: the number of the keyslot, 0 to 31, or to 7 in LUKS1.
    pub id: u32,
    /// ATREST_PRIORITY_*. LUKS1 has no priorities.
    pub priority: u32,
    /// The time to open the keyslot on a machine like this, in milliseconds, if `kdf` is NULL. 0 is 2000.
    pub time_ms: u32,
    /// The most memory for this, in KiB: at least 32 MiB. 0 is 1 GiB, or half of the machine's memory.
    pub max_memory_kib: u32,
    /// The KDF and its costs. NULL measures costs on this machine: for Argon2id with 4 lanes, or PBKDF2 in LUKS1.
    pub kdf: *const atrest_kdf,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_keyslot_options {}

/// Finds costs for which a KDF takes about `time_ms` milliseconds on this machine, with at most `max_memory_kib` of
/// memory, and puts them into `out`, which starts from ATREST_KDF_INIT. `kind` is ATREST_KDF_*. `hash` is for PBKDF2;
/// `max_memory_kib` and `lanes` are for Argon2. If 0, `hash` is ATREST_HASH_SHA256, `time_ms` is 2000, `max_memory_kib`
/// is 1 GiB, and `lanes` is 4.
///
/// The costs are at least 1000 iterations of PBKDF2, or 4 passes over 32 MiB of Argon2, on any machine. Measuring takes
/// about as long as the measured derivation.
///
/// Errors: ATREST_ERR_BAD_ENUM; ATREST_ERR_INVALID_OPTION for ATREST_HASH_SHA1, memory below 32 MiB, lanes over 16, and
/// if there is no memory; ATREST_ERR_STRUCT_SIZE.
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

// The values of `KeyslotOptions::new()`.
const TIME_MS: u32 = 2000;
const MAX_MEMORY_KIB: u32 = 1 << 20;
const LANES: u32 = 4;

/// Converts a struct of C. The result is valid as long as the pointers in it.
pub(crate) fn credential<'a>(credential: &atrest_credential) -> Result<Credential<'a>> {
    Ok(match credential.kind {
        ATREST_CREDENTIAL_VAULT => Credential::Vault(handle!(credential.vault).get()),
        ATREST_CREDENTIAL_DEK => Credential::Dek(handle!(credential.dek)),
        ATREST_CREDENTIAL_PASSPHRASE => {
            Credential::Passphrase(bytes!(credential.passphrase, credential.passphrase_len))
        }
        ATREST_CREDENTIAL_KEY_FILE => Credential::KeyFile(path!(credential.key_file)),
        other => return Err(Failure::bad_enum("credential.kind", other)),
    })
}

/// As [`credential`].
pub(crate) fn protector<'a>(protector: &atrest_protector) -> Result<Protector<'a>> {
    Ok(match protector.kind {
        ATREST_PROTECTOR_VAULT => Protector::Vault(handle!(protector.vault).get(), text!(protector.key_name)),
        ATREST_PROTECTOR_PASSPHRASE => Protector::Passphrase(bytes!(protector.passphrase, protector.passphrase_len)),
        ATREST_PROTECTOR_KEY_FILE => Protector::KeyFile(path!(protector.key_file)),
        other => return Err(Failure::bad_enum("protector.kind", other)),
    })
}

/// The options at a pointer that may be NULL.
pub(crate) fn keyslot_options(options: *const atrest_keyslot_options) -> Result<KeyslotOptions> {
    let mut made = KeyslotOptions::new();
    if options.is_null() {
        return Ok(made);
    }
    let options = structure!(options);
    check_flags(options.flags, ATREST_KEYSLOT_ID)?;
    if options.flags & ATREST_KEYSLOT_ID != 0 {
        made = made.id(options.id);
    }
    made = made.priority(priority(options.priority, "options.priority")?);
    if options.time_ms != 0 {
        made = made.time(Duration::from_millis(options.time_ms.into()));
    }
    if options.max_memory_kib != 0 {
        made = made.max_memory_kib(options.max_memory_kib);
    }
    if !options.kdf.is_null() {
        made = made.kdf(kdf(&structure!(options.kdf))?);
    }
    Ok(made)
}

pub(crate) fn priority(number: u32, argument: &str) -> Result<Priority> {
    match number {
        ATREST_PRIORITY_NORMAL => Ok(Priority::Normal),
        ATREST_PRIORITY_PREFER => Ok(Priority::Prefer),
        ATREST_PRIORITY_IGNORE => Ok(Priority::Ignore),
        other => Err(Failure::bad_enum(argument, other)),
    }
}

pub(crate) fn c_priority(priority: Priority) -> u32 {
    match priority {
        Priority::Normal => ATREST_PRIORITY_NORMAL,
        Priority::Prefer => ATREST_PRIORITY_PREFER,
        Priority::Ignore => ATREST_PRIORITY_IGNORE,
    }
}

fn kdf(c: &atrest_kdf) -> Result<Kdf> {
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
