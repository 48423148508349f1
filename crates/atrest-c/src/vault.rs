//! VAULTS
//!
//! A vault holds KEKs, which wrap DEKs and never leave it. The library has one kind: a file. The caller can make any
//! other kind from callbacks (next section). Such a vault wraps and unwraps, but its keys are managed elsewhere.
//!
//! A KEK has a name and versions. The latest enabled and valid version wraps; older ones can still unwrap their wraps.
//! The URL of a version is VAULT/keys/NAME/VERSION, where VAULT is the id of the vault. Names and versions consist of 1
//! to 127 letters, digits, '-', '_' and '.'; an id consists of 1 to 512 visible ASCII characters.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::ffi::CString;
use std::sync::Arc;

use atrest::key::{Kdf, KeyDescription, KeyId, KeyKind, KeyVault};
use atrest::vault::{FileVault, KdfCost, KeyOrigin, Unlock, VaultOptions};
use atrest::{Error, Secret};

use crate::clock::atrest_clock;
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::handle::Handle;
use crate::kdf::{atrest_kdf, kdf};
use crate::output::TextOut;
use crate::status::{ATREST_ERR_INVALID_OPTION, ATREST_ERR_UNSUPPORTED, atrest_status};
use crate::structs::SizedStruct;

/// The size of a buffer for the URL of any version of a key, with its zero byte.
pub const ATREST_KEY_URL_SIZE: usize = 774;

/// The vault generated the key.
pub const ATREST_ORIGIN_GENERATED: u32 = 1;
/// The key was imported.
pub const ATREST_ORIGIN_IMPORTED: u32 = 2;

/// An AES key of 256 bits.
pub const ATREST_KEY_AES_256: u32 = 1;
/// An RSA key of 2048 bits.
pub const ATREST_KEY_RSA_2048: u32 = 2;
/// An RSA key of 3072 bits.
pub const ATREST_KEY_RSA_3072: u32 = 3;
/// An RSA key of 4096 bits.
pub const ATREST_KEY_RSA_4096: u32 = 4;

/// A vault. Freed by atrest_vault_free.
pub struct atrest_vault;

/// The credential for a vault file: either a passphrase or a root key file.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_unlock {
    /// Set by ATREST_UNLOCK_INIT.
    pub struct_size: usize,
    /// A passphrase of 1 byte to 8 MiB; it needs no zero byte at its end. NULL for none.
    pub passphrase: *const c_char,
    /// The length of the passphrase.
    pub passphrase_len: usize,
    /// The path of a root key file, of 32 bytes to 1 MiB. NULL for none.
    pub key_file: *const c_char,
    /// The cost of trying a new vault's passphrase, by Argon2id: KiB of memory, at least 8 for each lane, at most 1
    /// GiB. All three costs 0 is 64 MiB, 3 passes and 4 lanes (RFC 9106); or after atrest_approved_only, PBKDF2 with
    /// SHA-256 and 600,000 iterations. Not looked at when a vault is opened.
    pub kdf_memory_kib: u32,
    /// Passes over the memory, 1 to 64.
    pub kdf_passes: u32,
    /// Lanes, 1 to 16.
    pub kdf_lanes: u32,
    /// In place of these three, the KDF with its costs: ATREST_KDF_ARGON2ID in the same bounds, or ATREST_KDF_PBKDF2 with
    /// SHA-256 or SHA-512 and 1000 to 10,000,000 iterations. NULL for none.
    pub kdf: *const atrest_kdf,
}

// SAFETY: `struct_size` is the first member, and pointers and numbers may be zero.
unsafe impl SizedStruct for atrest_unlock {
    const EARLIER: &'static [usize] = &[core::mem::offset_of!(atrest_unlock, kdf)];
}

/// One version of a key, as atrest_vault_keys lists it. It and its texts are valid during the callback only.
#[repr(C)]
pub struct atrest_key_version {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The name of the key.
    pub key_name: *const c_char,
    /// The version of the key.
    pub version: *const c_char,
    /// Both, in a URL.
    pub url: *const c_char,
    /// When the version was generated or imported, in seconds since 1970-01-01 UTC; 0 if unknown.
    pub created: u64,
    /// ATREST_ORIGIN_*; 0 if unknown.
    pub origin: u32,
    /// ATREST_KEY_*.
    pub kind: u32,
    /// 1 if the version may be used, 0 if it is disabled.
    pub enabled: u32,
    /// The first second in which it may be used; 0 for any.
    pub not_before: u64,
    /// The first second in which it has expired; 0 for never.
    pub expires: u64,
    /// 1 if it only unwraps keys that were wrapped with a secret: see ATREST_CHANGE_AUTHENTICATED.
    pub authenticated: u32,
}

/// Makes a new vault file without keys. `path` must not exist. Next to it this makes `path`.bak, a copy, `path`.lock,
/// and `path`.audit, the log of every use. Several processes may use the vault at once.
///
/// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND for its folder or the key file; ATREST_ERR_IO;
/// ATREST_ERR_BUSY; ATREST_ERR_INVALID_OPTION for costs, a passphrase or a key file out of bounds, or unless there is
/// exactly one of the latter two.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_create_file(
    path: *const c_char,
    unlock: *const atrest_unlock,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (path, unlock, out) = (path!(path), structure!(unlock), out!(out));
        let options = vault_options(&unlock)?;
        let vault = with_unlock(&unlock, |unlock| FileVault::create_with(path, unlock, &options))?;
        out.handle(Vault::owned(vault));
        Ok(())
    })
}

/// Opens a vault file. With a passphrase this takes as long as its cost, by default a good part of a second.
///
/// Errors: ATREST_ERR_WRONG_PASSPHRASE, also for a wrong key file; ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_NOT_FOUND, also for
/// the key file; ATREST_ERR_IO; ATREST_ERR_INVALID_OPTION.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_open_file(
    path: *const c_char,
    unlock: *const atrest_unlock,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (path, unlock, out) = (path!(path), structure!(unlock), out!(out));
        let vault = with_unlock(&unlock, |unlock| FileVault::open(path, unlock))?;
        out.handle(Vault::owned(vault));
        Ok(())
    })
}

/// Writes a new root key file of 32 random bytes, readable by its owner only. `path` must not exist.
///
/// Errors: ATREST_ERR_ALREADY_EXISTS; ATREST_ERR_NOT_FOUND for its folder; ATREST_ERR_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_generate_key_file(path: *const c_char) -> atrest_status {
    run(|| Ok(FileVault::generate_key_file(path!(path))?))
}

/// Makes another handle of the same vault, to be freed separately. Use it in a callback that must give a handle away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_clone(vault: *const atrest_vault, out: *mut *mut atrest_vault) -> atrest_status {
    run(|| {
        let (vault, out) = (handle!(vault), out!(out));
        out.handle(vault.clone());
        Ok(())
    })
}

/// Makes another handle of the same vault file with the clock `clock`. The clock decides what has expired and when a
/// deleted key may be purged, and gives the times in the audit log. Handles made from the new one use it too.
///
/// Errors: ATREST_ERR_UNSUPPORTED for a vault that isn't the owner's handle of a vault file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_with_clock(
    vault: *const atrest_vault,
    clock: *const atrest_clock,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (vault, clock, out) = (handle!(vault).file()?, handle!(clock), out!(out));
        out.handle(Vault::owned(vault.clone().with_clock(clock.get())));
        Ok(())
    })
}

/// Makes another handle of the same vault file, whose audit log is archived whenever a use finds it to have at least
/// `bytes`, and at least 64 KiB: as by atrest_vault_archive_audit, into NAME.audit. and the number of the last entry,
/// with 20 digits. The use that finds it waits for that, and is answered whether it succeeds or not.
///
/// Errors: as atrest_vault_with_clock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_with_audit_rotation(
    vault: *const atrest_vault,
    bytes: u64,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (vault, out) = (handle!(vault).file()?, out!(out));
        out.handle(Vault::owned(vault.clone().with_audit_rotation(bytes)));
        Ok(())
    })
}

/// Frees a vault. Volumes and keys opened with it stay valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_free(vault: *mut atrest_vault) {
    free!(vault);
}

/// The id of a vault. A vault file gets its id when it is made.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_id(
    vault: *const atrest_vault,
    id: *mut c_char,
    id_cap: usize,
    id_len: *mut usize,
) -> atrest_status {
    run(|| text_out!(id, id_cap, id_len).put(handle!(vault).get().id()))
}

/// Generates a new key in a vault file, with one version, and puts that version's URL into `url`. `url` may be NULL;
/// otherwise it needs room for ATREST_KEY_URL_SIZE bytes, even if the URL is shorter.
///
/// Errors: ATREST_ERR_INVALID_NAME; ATREST_ERR_KEY_EXISTS; ATREST_ERR_BUSY; ATREST_ERR_DAMAGED_VAULT; ATREST_ERR_IO;
/// ATREST_ERR_UNSUPPORTED for a vault of callbacks, as with all functions that manage keys.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_create_key(
    vault: *mut atrest_vault,
    key_name: *const c_char,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (vault, key_name) = (handle!(vault).file()?, text!(key_name));
        check_name(key_name)?;
        put_url(whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE), &vault.create_key(key_name)?)
    })
}

/// Generates a new version of a key in a vault file. From now on this version wraps. `url` is as in
/// atrest_vault_create_key.
///
/// Errors: ATREST_ERR_NO_SUCH_KEY; the errors of the vault's file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_rotate_key(
    vault: *mut atrest_vault,
    key_name: *const c_char,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (vault, key_name) = (handle!(vault).file()?, text!(key_name));
        check_name(key_name)?;
        put_url(whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE), &vault.rotate_key(key_name)?)
    })
}

/// Imports a new key, the caller's own 32 bytes, into a vault file. `url` is as in atrest_vault_create_key. The caller
/// must wipe `kek`.
///
/// Errors: ATREST_ERR_KEK_LENGTH; those of atrest_vault_create_key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_import_key(
    vault: *mut atrest_vault,
    key_name: *const c_char,
    kek: *const c_void,
    kek_len: usize,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (vault, key_name) = (handle!(vault).file()?, text!(key_name));
        check_name(key_name)?;
        let kek = Secret::copy_from(bytes!(kek, kek_len));
        put_url(whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE), &vault.import_key(key_name, &kek)?)
    })
}

/// Imports a new version of a key, the caller's own 32 bytes, into a vault file. Otherwise as atrest_vault_import_key.
///
/// Errors: ATREST_ERR_KEK_LENGTH; ATREST_ERR_NO_SUCH_KEY; those of the vault's file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_import_version(
    vault: *mut atrest_vault,
    key_name: *const c_char,
    kek: *const c_void,
    kek_len: usize,
    url: *mut c_char,
    url_cap: usize,
) -> atrest_status {
    run(|| {
        let (vault, key_name) = (handle!(vault).file()?, text!(key_name));
        check_name(key_name)?;
        let kek = Secret::copy_from(bytes!(kek, kek_len));
        put_url(whole_text_out!(url, url_cap, ATREST_KEY_URL_SIZE), &vault.import_version(key_name, &kek)?)
    })
}

/// Calls `each` for every version of every key in the current vault file, the oldest version of a key first. `each`
/// returns ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
///
/// Errors: those of the vault's file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_keys(
    vault: *const atrest_vault,
    each: Option<unsafe extern "C" fn(user: *mut c_void, version: *const atrest_key_version) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (vault, each) = (handle!(vault).file()?, each.ok_or_else(|| Failure::null("each"))?);
        for info in vault.keys()?.iter().flat_map(|key| &key.versions) {
            let mut said = KeyDescription::new(info.id.clone(), info.kind);
            (said.enabled, said.not_before, said.expires) = (info.enabled, info.not_before, info.expires);
            (said.created, said.authenticated) = (Some(info.created), info.authenticated);
            tell_version(each, user, &said, Some(info.origin))?;
        }
        Ok(())
    })
}

/// Destroys one version of a key in a vault file for good. ALL DATA UNDER THIS VERSION ALONE IS LOST, as surely as by
/// shredding the disk. Rotate the KEK of volumes and wrap DEKs again first.
///
/// Errors: ATREST_ERR_INVALID_NAME unless the text is the URL of a version; ATREST_ERR_NO_SUCH_KEY;
/// ATREST_ERR_PURGE_PROTECTED; those of the vault's file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_hazmat_vault_destroy_version(
    vault: *mut atrest_vault,
    key_url: *const c_char,
) -> atrest_status {
    run(|| {
        let (vault, id) = (handle!(vault).file()?, text!(key_url).parse::<KeyId>()?);
        Ok(vault.hazmat_destroy_version(&id)?)
    })
}

/// The object of an `atrest_vault`.
#[derive(Clone)]
pub(crate) struct Vault {
    any: Arc<dyn KeyVault>,
    /// Manages the keys: the owner's handle of a vault file, or the reason why there is none.
    owner: Result<FileVault, String>,
}

impl Handle for atrest_vault {
    type Object = Vault;
    const TAG: [u8; 4] = *b"vlt\x01";
    const NAME: &'static str = "atrest_vault";
}

impl Vault {
    /// A vault file, opened by its owner.
    pub(crate) fn owned(vault: FileVault) -> Self {
        Vault { any: Arc::new(vault.clone()), owner: Ok(vault) }
    }

    /// A vault with keys managed elsewhere; `why` says where.
    pub(crate) fn used(vault: impl KeyVault + 'static, why: impl Into<String>) -> Self {
        Self::shared_of(Arc::new(vault), why)
    }

    /// As [`used`](Self::used).
    pub(crate) fn shared_of(vault: Arc<dyn KeyVault>, why: impl Into<String>) -> Self {
        Vault { any: vault, owner: Err(why.into()) }
    }

    pub(crate) fn get(&self) -> &dyn KeyVault {
        &*self.any
    }

    /// A shared handle for owners that keep the vault.
    pub(crate) fn shared(&self) -> Arc<dyn KeyVault> {
        self.any.clone()
    }

    /// The vault file, if this is its owner's handle.
    pub(crate) fn file(&self) -> Result<&FileVault> {
        self.owner.as_ref().map_err(|why| Failure::new(ATREST_ERR_UNSUPPORTED, why))
    }
}

/// The KDF for a passphrase, if `unlock` sets one.
pub(crate) fn vault_kdf(unlock: &atrest_unlock) -> Result<Option<Kdf>> {
    match (unlock.kdf_memory_kib, unlock.kdf_passes, unlock.kdf_lanes, unlock.kdf.is_null()) {
        (0, 0, 0, true) => Ok(None),
        (0, 0, 0, false) => kdf(&structure!(unlock.kdf)).map(Some),
        (memory_kib, passes, lanes, true) => Ok(Some(KdfCost::new(memory_kib, passes, lanes).into())),
        _ => {
            let text = "`unlock` must have either a kdf or the costs of Argon2id";
            Err(Failure::new(ATREST_ERR_INVALID_OPTION, text))
        }
    }
}

/// The options of a new vault, as far as `unlock` sets them.
pub(crate) fn vault_options(unlock: &atrest_unlock) -> Result<VaultOptions> {
    Ok(vault_kdf(unlock)?.map_or_else(VaultOptions::new, |kdf| VaultOptions::new().kdf(kdf)))
}

pub(crate) type EachVersion = unsafe extern "C" fn(*mut c_void, *const atrest_key_version) -> atrest_status;

/// Passes a version of a key to C.
pub(crate) fn tell_version(
    each: EachVersion,
    user: *mut c_void,
    said: &KeyDescription,
    origin: Option<KeyOrigin>,
) -> Result {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let (key_name, version) = (text(said.id.key()), text(said.id.version()));
    let url = text(&said.id.to_string());
    let version = atrest_key_version {
        struct_size: size_of::<atrest_key_version>(),
        key_name: key_name.as_ptr(),
        version: version.as_ptr(),
        url: url.as_ptr(),
        created: said.created.unwrap_or(0),
        origin: match origin {
            Some(KeyOrigin::Generated) => ATREST_ORIGIN_GENERATED,
            Some(KeyOrigin::Imported) => ATREST_ORIGIN_IMPORTED,
            _ => 0,
        },
        kind: said.kind.code(),
        enabled: said.enabled.into(),
        not_before: said.not_before.unwrap_or(0),
        expires: said.expires.unwrap_or(0),
        authenticated: said.authenticated.into(),
    };
    // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the texts live until then.
    CallbackFailed::check(unsafe { each(user, ptr::from_ref(&version)) })
}

pub(crate) fn with_unlock<T>(c: &atrest_unlock, use_it: impl FnOnce(Unlock<'_>) -> Result<T, Error>) -> Result<T> {
    Ok(match (c.passphrase.is_null(), c.key_file.is_null()) {
        (false, true) => use_it(Unlock::Passphrase(bytes!(c.passphrase, c.passphrase_len))),
        (true, false) => use_it(Unlock::KeyFile(path!(c.key_file))),
        _ => {
            let text = "`unlock` must have either a passphrase or a key_file";
            return Err(Failure::new(ATREST_ERR_INVALID_OPTION, text));
        }
    }?)
}

/// Refuses an impossible name. It must come before the check for a short buffer, because more room would not help.
pub(crate) fn check_name(key_name: &str) -> Result {
    KeyId::new("any", key_name, "1").map(drop).map_err(Failure::from)
}

pub(crate) fn put_url(out: Option<TextOut<'_>>, id: &KeyId) -> Result {
    out.map_or(Ok(()), |out| out.put(&id.to_string()))
}

// The numbers must be the library's.
const _: () = assert!(
    ATREST_KEY_AES_256 == KeyKind::Aes256.code()
        && ATREST_KEY_RSA_2048 == KeyKind::Rsa2048.code()
        && ATREST_KEY_RSA_3072 == KeyKind::Rsa3072.code()
        && ATREST_KEY_RSA_4096 == KeyKind::Rsa4096.code()
);
