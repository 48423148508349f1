//! VAULTS OF CALLBACKS
//!
//! A vault made by the caller, for a cloud's key service, an HSM, or any other key store.

use core::ffi::{CStr, c_char, c_void};
use std::ffi::CString;

use atrest::key::{KeyDescription, KeyId, KeyKind, KeyVault, WrapAlgorithm, WrappedDek};
use atrest::vault::KeyOperation;
use atrest::{Error, Secret};

use crate::callback::{User, text_of, vault_failed};
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::status::*;
use crate::structs::SizedStruct;
use crate::vault::{Vault, atrest_vault};

/// A256KW: AES-256 key wrap, RFC 3394.
pub const ATREST_WRAP_A256KW: u32 = 1;
/// A256KWP: AES-256 key wrap with padding, RFC 5649.
pub const ATREST_WRAP_A256KWP: u32 = 2;
/// RSA-OAEP-256: RSAES-OAEP with SHA-256, RFC 8017.
pub const ATREST_WRAP_RSA_OAEP_256: u32 = 3;
/// RSA-OAEP: RSAES-OAEP with SHA-1, RFC 8017. For old records.
pub const ATREST_WRAP_RSA_OAEP: u32 = 4;
/// RSA1_5: RSAES-PKCS1-v1_5, RFC 8017. For old records.
pub const ATREST_WRAP_RSA1_5: u32 = 5;
/// Known only to the vault. Its wrapped keys describe themselves.
pub const ATREST_WRAP_OPAQUE: u32 = 6;

/// RSA-OAEP-256+HS256: RSA-OAEP-256, followed by a MAC of the vault file that wrapped it.
pub const ATREST_WRAP_RSA_OAEP_256_HS256: u32 = 7;

/// The most bytes of a DEK as a vault of callbacks wraps it.
pub const ATREST_WRAPPED_MAX: usize = 1024;
/// The most bytes of a DEK.
pub const ATREST_DEK_MAX: usize = 64;
/// The size of a buffer for the name of any key or version, with its zero byte.
pub const ATREST_NAME_SIZE: usize = 128;

/// A DEK as wrapped by a vault. The library owns it: wrap() fills `version` and the members after it, and unwrap() reads
/// all.
#[repr(C)]
pub struct atrest_wrapped_dek {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The id of the vault that wrapped the DEK, which may be another one, or that shall wrap it.
    pub vault_id: *const c_char,
    /// The name of the key.
    pub key_name: *const c_char,
    /// The version of the key. When wrap() is called, it is the version to use, or empty for the latest. wrap() stores
    /// the version that it used. A vault that can't choose the version stores its latest here, and is refused if that
    /// is another one.
    pub version: [c_char; ATREST_NAME_SIZE],
    /// The algorithm of the wrap: ATREST_WRAP_*.
    pub algorithm: u32,
    /// The number of wrapped bytes: 1 to ATREST_WRAPPED_MAX.
    pub bytes_len: usize,
    /// The wrapped bytes.
    pub bytes: [u8; ATREST_WRAPPED_MAX],
}

/// A vault's description of a version of a key. The library owns it: describe() fills `version` and the members after
/// it.
#[repr(C)]
pub struct atrest_key_description {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The requested version. If it is empty, describe() stores the one that wrap() would use.
    pub version: [c_char; ATREST_NAME_SIZE],
    /// ATREST_KEY_*.
    pub kind: u32,
    /// 1 if the version may be used, 0 if it is disabled.
    pub enabled: u32,
    /// The first second, since 1970-01-01 UTC, in which it may be used; 0 for any.
    pub not_before: u64,
    /// The first second in which it has expired; 0 for never.
    pub expires: u64,
    /// When it was made; 0 if unknown. It orders versions by age: a set with auto-rotation never returns to an older
    /// one.
    pub created: u64,
}

/// The callbacks of a vault. An answer out of bounds is refused with ATREST_ERR_VAULT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_vault_callbacks {
    /// Set by ATREST_VAULT_CALLBACKS_INIT.
    pub struct_size: usize,
    /// Passed to every callback. It must stay valid until release() is called.
    pub user: *mut c_void,
    /// The id of the vault, the first part of its keys' URLs, such as "https://contoso.vault.example". It must stay the
    /// same as long as anything is wrapped under the vault's keys. Copied.
    pub id: *const c_char,
    /// Wraps `dek` under the key `wrapped->key_name`, and fills `wrapped`. Returns ATREST_OK. These revoke the key:
    /// ATREST_ERR_NO_SUCH_KEY, ATREST_ERR_KEY_DISABLED, ATREST_ERR_KEY_DELETED, ATREST_ERR_KEY_EXPIRED,
    /// ATREST_ERR_KEY_NOT_YET_VALID and ATREST_ERR_ACCESS_DENIED. Any other number counts as an outage, and the call
    /// ends with ATREST_ERR_CALLBACK_FAILED.
    pub wrap: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            dek: *const u8,
            dek_len: usize,
            wrapped: *mut atrest_wrapped_dek,
        ) -> atrest_status,
    >,
    /// Unwraps the output of wrap() into `dek`, which has room for `dek_cap` bytes, and sets `dek_len`. Returns
    /// ATREST_OK; ATREST_ERR_NOT_THIS_VAULT if another vault wrapped it; ATREST_ERR_UNWRAP_FAILED if the wrapped bytes
    /// are wrong in any way, which is not an outage; otherwise as wrap().
    pub unwrap: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            wrapped: *const atrest_wrapped_dek,
            dek: *mut u8,
            dek_cap: usize,
            dek_len: *mut usize,
        ) -> atrest_status,
    >,
    /// Called once, when every handle of the vault and every disk service that uses it are freed. May be NULL.
    pub release: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// Describes a version of the key `key_name` in `said`. May be NULL: not supported. Returns ATREST_OK, or as
    /// wrap(); ATREST_ERR_UNSUPPORTED also means that it isn't supported.
    pub describe: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            key_name: *const c_char,
            said: *mut atrest_key_description,
        ) -> atrest_status,
    >,
}

// SAFETY: `struct_size` is the first member; pointers may be NULL, and `Option`s of functions are `None` then.
unsafe impl SizedStruct for atrest_vault_callbacks {
    const EARLIER: &'static [usize] = &[core::mem::offset_of!(atrest_vault_callbacks, describe)];
}

/// Makes a vault of callbacks. The struct is copied. release() is not called when this fails.
///
/// Errors: ATREST_ERR_NULL_ARGUMENT, also for wrap() and unwrap(); ATREST_ERR_INVALID_NAME for the id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_from_callbacks(
    callbacks: *const atrest_vault_callbacks,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (callbacks, out) = (structure!(callbacks), out!(out));
        let id = text!(callbacks.id);
        // Only to check the id.
        KeyId::new(id, "key", "version")?;
        let vault = CallbackVault {
            user: User(callbacks.user),
            id: id.into(),
            wrap: callbacks.wrap.ok_or_else(|| Failure::null("callbacks.wrap"))?,
            unwrap: callbacks.unwrap.ok_or_else(|| Failure::null("callbacks.unwrap"))?,
            release: callbacks.release,
            describe: callbacks.describe,
        };
        out.handle(Vault::used(vault, "the keys of a vault of callbacks are managed where they live"));
        Ok(())
    })
}

/// A [`KeyVault`] of C functions.
pub(crate) struct CallbackVault {
    user: User,
    id: String,
    wrap: unsafe extern "C" fn(*mut c_void, *const u8, usize, *mut atrest_wrapped_dek) -> atrest_status,
    unwrap: unsafe extern "C" fn(*mut c_void, *const atrest_wrapped_dek, *mut u8, usize, *mut usize) -> atrest_status,
    release: Option<unsafe extern "C" fn(*mut c_void)>,
    describe: Option<unsafe extern "C" fn(*mut c_void, *const c_char, *mut atrest_key_description) -> atrest_status>,
}

impl KeyVault for CallbackVault {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek, Error> {
        self.wrap_under(key, "", dek)
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek, Error> {
        let wrapped = self.wrap_under(kek.key(), kek.version(), dek)?;
        if wrapped.kek != *kek {
            let got = &wrapped.kek;
            return Err(Error::Vault(
                format!("asked to wrap under {kek}, its wrap callback wrapped under {got}").into(),
            ));
        }
        Ok(wrapped)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>, Error> {
        let (vault_id, key_name) = (c_text(wrapped.kek.vault())?, c_text(wrapped.kek.key())?);
        let mut question = atrest_wrapped_dek::new(&vault_id, &key_name);
        for (to, from) in question.version.iter_mut().zip(wrapped.kek.version().bytes()) {
            *to = from as c_char;
        }
        question.algorithm = wrapped.algorithm.code().into();
        question.bytes_len = wrapped.bytes.len();
        // Such a vault has wrapped nothing longer: somebody else wrote it. That is no outage.
        question.bytes.get_mut(..wrapped.bytes.len()).ok_or(Error::UnwrapFailed)?.copy_from_slice(&wrapped.bytes);

        let mut dek = Secret::zeroed(ATREST_DEK_MAX);
        let mut len = 0;
        let (start, cap) = (dek.expose_mut().as_mut_ptr(), ATREST_DEK_MAX);
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        match CallbackFailed::of(unsafe { (self.unwrap)(self.user.0, &raw const question, start, cap, &raw mut len) }) {
            Ok(()) => {}
            Err(failed) if failed.status() == ATREST_ERR_NOT_THIS_VAULT => return Ok(None),
            Err(failed) if failed.status() == ATREST_ERR_UNWRAP_FAILED => return Err(Error::UnwrapFailed),
            Err(failed) => return Err(self.failed("unwrap", KeyOperation::UnwrapKey, failed, wrapped.kek.to_string())),
        }
        match dek.expose().get(..len) {
            Some(bytes) => Ok(Some(Secret::copy_from(bytes))),
            None => {
                Err(Error::Vault(format!("its unwrap callback answered with {len} bytes where {cap} have room").into()))
            }
        }
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>, Error> {
        let Some(describe) = self.describe else { return Ok(None) };
        // This also checks the names and their lengths.
        let asked = KeyId::new(&self.id, key, version.unwrap_or("latest"))?;
        let key_name = c_text(key)?;
        let mut said = atrest_key_description {
            struct_size: size_of::<atrest_key_description>(),
            version: [0; ATREST_NAME_SIZE],
            kind: 0,
            enabled: 0,
            not_before: 0,
            expires: 0,
            created: 0,
        };
        for (to, from) in said.version.iter_mut().zip(version.unwrap_or("").bytes()) {
            *to = from as c_char;
        }
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        match CallbackFailed::of(unsafe { describe(self.user.0, key_name.as_ptr(), &raw mut said) }) {
            Ok(()) => {}
            Err(failed) if failed.status() == ATREST_ERR_UNSUPPORTED => return Ok(None),
            Err(failed) => {
                let name = if version.is_some() { asked.to_string() } else { key.into() };
                return Err(self.failed("describe", KeyOperation::Get, failed, name));
            }
        }
        let out_of_bounds = |what: &str| Error::Vault(format!("its describe callback answered with {what}").into());
        let id = self.version(key, &said.version).filter(|id| version.is_none() || *id == asked);
        let id = id.ok_or_else(|| out_of_bounds("another version, or none"))?;
        let kind = KeyKind::from_code(said.kind);
        let kind = kind.ok_or_else(|| out_of_bounds("a kind that is none of ATREST_KEY_*"))?;
        let mut description = KeyDescription::new(id, kind);
        description.enabled = said.enabled != 0;
        description.not_before = (said.not_before != 0).then_some(said.not_before);
        description.expires = (said.expires != 0).then_some(said.expires);
        description.created = (said.created != 0).then_some(said.created);
        Ok(Some(description))
    }
}

impl CallbackVault {
    /// Wraps under a version of a key, or under the latest if it is empty.
    fn wrap_under(&self, key: &str, version: &str, dek: &Secret) -> Result<WrappedDek, Error> {
        let (vault_id, key_name) = (c_text(&self.id)?, c_text(key)?);
        let mut wrapped = atrest_wrapped_dek::new(&vault_id, &key_name);
        for (to, from) in wrapped.version.iter_mut().zip(version.bytes()) {
            *to = from as c_char;
        }
        let bytes = dek.expose();
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        match CallbackFailed::of(unsafe { (self.wrap)(self.user.0, bytes.as_ptr(), bytes.len(), &raw mut wrapped) }) {
            Ok(()) => {}
            Err(failed) => return Err(self.failed("wrap", KeyOperation::WrapKey, failed, key.into())),
        }
        let out_of_bounds = |what: &str| Error::Vault(format!("its wrap callback answered with {what}").into());
        let version = self
            .version(key, &wrapped.version)
            .ok_or_else(|| out_of_bounds("a version that isn't 1 to 127 of letters, digits, '-', '_' and '.'"))?;
        let algorithm = u16::try_from(wrapped.algorithm).ok().and_then(WrapAlgorithm::from_code);
        let algorithm = algorithm.ok_or_else(|| out_of_bounds("an algorithm that is none of ATREST_WRAP_*"))?;
        let bytes = wrapped.bytes.get(..wrapped.bytes_len).filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| out_of_bounds("a bytes_len that isn't 1 to ATREST_WRAPPED_MAX"))?;
        Ok(WrappedDek::new(version, algorithm, bytes.to_vec()))
    }

    /// The version that a callback named.
    fn version(&self, key: &str, version: &[c_char; ATREST_NAME_SIZE]) -> Option<KeyId> {
        KeyId::new(&self.id, key, &text_of(version)?).ok()
    }

    fn failed(&self, what: &str, operation: KeyOperation, failed: CallbackFailed, key: String) -> Error {
        let what = format!("{what} of the vault {}", self.id);
        vault_failed(what, "the user of the callbacks", operation.name(), key, failed)
    }
}

impl Drop for CallbackVault {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`, and this is the last use.
            unsafe { release(self.user.0) }
        }
    }
}

impl atrest_wrapped_dek {
    fn new(vault_id: &CStr, key_name: &CStr) -> Self {
        atrest_wrapped_dek {
            struct_size: size_of::<Self>(),
            vault_id: vault_id.as_ptr(),
            key_name: key_name.as_ptr(),
            version: [0; ATREST_NAME_SIZE],
            algorithm: 0,
            bytes_len: 0,
            bytes: [0; ATREST_WRAPPED_MAX],
        }
    }
}

fn c_text(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::InvalidName("a name of a vault or key has no zero byte".into()))
}

const _: () = assert!(ATREST_WRAPPED_MAX <= atrest::key::MAX_WRAPPED);

// The numbers must be the library's.
const _: () = assert!(
    ATREST_WRAP_A256KW == WrapAlgorithm::Aes256Kw.code() as u32
        && ATREST_WRAP_A256KWP == WrapAlgorithm::Aes256Kwp.code() as u32
        && ATREST_WRAP_RSA_OAEP_256 == WrapAlgorithm::RsaOaep256.code() as u32
        && ATREST_WRAP_RSA_OAEP == WrapAlgorithm::RsaOaep.code() as u32
        && ATREST_WRAP_RSA1_5 == WrapAlgorithm::Rsa15.code() as u32
        && ATREST_WRAP_OPAQUE == WrapAlgorithm::Opaque.code() as u32
        && ATREST_WRAP_RSA_OAEP_256_HS256 == WrapAlgorithm::RsaOaep256Hs256.code() as u32
);
