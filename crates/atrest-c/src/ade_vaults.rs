//! VAULTS OF AZURE DISK ENCRYPTION
//!
//! Where the passphrases of disks of Azure Disk Encryption are, as secrets in versions, and the RSA keys that wrap them: an
//! Azure key vault by its URL, or callbacks, for a program that has a client of its own. No real Azure was tried.
//!
//! It needs a library built with the feature `ade`, which `kms` has; without, all of it fails with ATREST_ERR_UNSUPPORTED.

use core::ffi::{c_char, c_void};
#[cfg(feature = "ade")]
use std::sync::Arc;

use crate::failure::{Failure, Result, run};
use crate::handle::Handle;
use crate::status::atrest_status;
use crate::structs::SizedStruct;
use crate::vault_callbacks::{ATREST_NAME_SIZE, atrest_wrapped_dek};
use crate::vault_url::{atrest_vault_url_options, vault_options};

/// The most bytes of a passphrase's tags.
pub const ATREST_ADE_TAGS_SIZE: usize = 16384;

/// A vault of secrets and of the keys that wrap them. Freed by atrest_ade_vault_free.
pub struct atrest_ade_vault;

/// A version of a secret. The library owns it: get() fills `version` and the members after it.
#[repr(C)]
pub struct atrest_ade_secret {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// The version that is wanted, or empty for the newest. get() stores the one that it found.
    pub version: [c_char; ATREST_NAME_SIZE],
    /// Room for the value, which the library wipes.
    pub value: *mut u8,
    /// The size of the room.
    pub value_cap: usize,
    /// The length of the value, which get() stores.
    pub value_len: usize,
    /// The tags: the name and the value of each, both with a final zero byte. Another zero byte ends the list.
    pub tags: [c_char; ATREST_ADE_TAGS_SIZE],
}

/// The callbacks of such a vault. They return ATREST_OK; for a secret or key that is refused, ATREST_ERR_NO_SUCH_KEY,
/// ATREST_ERR_KEY_DISABLED, ATREST_ERR_KEY_DELETED, ATREST_ERR_KEY_EXPIRED, ATREST_ERR_KEY_NOT_YET_VALID or
/// ATREST_ERR_ACCESS_DENIED, and the call ends with that; any other number is an outage, and the call ends with
/// ATREST_ERR_CALLBACK_FAILED. An answer out of bounds ends it with ATREST_ERR_VAULT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_ade_vault_callbacks {
    /// Set by ATREST_ADE_VAULT_CALLBACKS_INIT.
    pub struct_size: usize,
    /// Passed to every callback. It must stay valid until release() is called.
    pub user: *mut c_void,
    /// The vault's name, as in the URLs of its secrets and keys: "https://NAME.vault.azure.net". Copied.
    pub id: *const c_char,
    /// Puts a version of the secret `name` into `secret`. May be NULL: the vault has no secrets.
    pub get: Option<
        unsafe extern "C" fn(user: *mut c_void, name: *const c_char, secret: *mut atrest_ade_secret) -> atrest_status,
    >,
    /// Makes a new version of the secret `name`, with this value and these tags, a list as in an atrest_ade_secret, and
    /// writes its name into `version`. May be NULL: no secret is made.
    pub set: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            name: *const c_char,
            value: *const u8,
            value_len: usize,
            tags: *const c_char,
            version: *mut c_char,
            version_cap: usize,
        ) -> atrest_status,
    >,
    /// Wraps a passphrase under exactly the version and the algorithm of `wrapped`, and fills its `bytes_len` and `bytes`.
    /// May be NULL: the vault wraps nothing.
    pub wrap: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            passphrase: *const u8,
            passphrase_len: usize,
            wrapped: *mut atrest_wrapped_dek,
        ) -> atrest_status,
    >,
    /// Unwraps a passphrase into `passphrase`, which has room for `passphrase_cap` bytes, and sets `passphrase_len`. May be
    /// NULL: the vault unwraps nothing. Returns ATREST_ERR_UNWRAP_FAILED, too, if the wrapped bytes are wrong in any way.
    pub unwrap: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            wrapped: *const atrest_wrapped_dek,
            passphrase: *mut u8,
            passphrase_cap: usize,
            passphrase_len: *mut usize,
        ) -> atrest_status,
    >,
    /// Called once, when the vault is freed. May be NULL.
    pub release: Option<unsafe extern "C" fn(user: *mut c_void)>,
}

// SAFETY: `struct_size` is the first member; pointers may be NULL, and `Option`s of functions are `None` then.
unsafe impl SizedStruct for atrest_ade_vault_callbacks {}

/// Opens an Azure key vault by its URL, azurekv://NAME.vault.azure.net: as atrest_vault_open_url, with its `options`, which may
/// be NULL. Nothing is asked yet. release() is not called when this fails.
///
/// Errors: ATREST_ERR_INVALID_OPTION for another URL, and for a secret that is missing; ATREST_ERR_UNSUPPORTED without the
/// feature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_vault_open_url(
    url: *const c_char,
    options: *const atrest_vault_url_options,
    out: *mut *mut atrest_ade_vault,
) -> atrest_status {
    run(|| {
        let (url, out, (given, release)) = (text!(url), out!(out), vault_options(options)?);
        let vault = by_url(url, &given)?;
        release.arm();
        out.handle(vault);
        Ok(())
    })
}

/// Makes such a vault of callbacks. The struct is copied. release() is not called when this fails.
///
/// Errors: ATREST_ERR_INVALID_NAME for the id; ATREST_ERR_INVALID_OPTION if there is neither get() nor unwrap();
/// ATREST_ERR_UNSUPPORTED without the feature.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_vault_from_callbacks(
    callbacks: *const atrest_ade_vault_callbacks,
    out: *mut *mut atrest_ade_vault,
) -> atrest_status {
    run(|| {
        let (callbacks, out) = (structure!(callbacks), out!(out));
        let id = text!(callbacks.id);
        // Only to check the id.
        atrest::key::KeyId::new(id, "key", "version")?;
        if callbacks.get.is_none() && callbacks.unwrap.is_none() {
            let text = "such a vault has secrets or keys: set `callbacks.get` or `callbacks.unwrap`";
            return Err(Failure::new(crate::status::ATREST_ERR_INVALID_OPTION, text));
        }
        out.handle(of_callbacks(id, &callbacks)?);
        Ok(())
    })
}

/// Frees such a vault. It must not be freed during a call that has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_ade_vault_free(vault: *mut atrest_ade_vault) {
    free!(vault);
}

/// A vault of each kind that a disk needs.
#[cfg(feature = "ade")]
pub(crate) struct AdeVault {
    pub(crate) secrets: Arc<dyn atrest_ade::SecretStore>,
    pub(crate) keks: Arc<dyn atrest_ade::KeyEncryptionKeys>,
}

/// None is made.
#[cfg(not(feature = "ade"))]
pub(crate) enum AdeVault {}

#[cfg(feature = "ade")]
fn by_url(url: &str, options: &atrest_vaults::VaultOptions) -> Result<AdeVault> {
    let (keks, secrets) = atrest_vaults::open_azure(url, options)?;
    Ok(AdeVault { secrets: Arc::new(secrets), keks: Arc::new(keks) })
}

#[cfg(feature = "ade")]
fn of_callbacks(id: &str, c: &atrest_ade_vault_callbacks) -> Result<AdeVault> {
    let vault = Arc::new(callbacks::Callbacks::new(id, c));
    Ok(AdeVault { secrets: vault.clone(), keks: vault })
}

#[cfg(not(feature = "ade"))]
fn by_url(_: &str, _: &atrest_vaults::VaultOptions) -> Result<AdeVault> {
    Err(without_ade())
}

#[cfg(not(feature = "ade"))]
fn of_callbacks(_: &str, _: &atrest_ade_vault_callbacks) -> Result<AdeVault> {
    Err(without_ade())
}

#[cfg(not(feature = "ade"))]
pub(crate) fn without_ade() -> Failure {
    let text = "this library was built without Azure Disk Encryption; build it with the feature `ade`";
    Failure::new(crate::status::ATREST_ERR_UNSUPPORTED, text)
}

impl Handle for atrest_ade_vault {
    type Object = AdeVault;
    const TAG: [u8; 4] = *b"ade\x01";
    const NAME: &'static str = "atrest_ade_vault";
}

/// The library's side of a vault of callbacks.
#[cfg(feature = "ade")]
mod callbacks {
    use core::ffi::{CStr, c_char};
    use std::collections::BTreeMap;
    use std::ffi::CString;

    use atrest::key::{KeyId, WrapAlgorithm};
    use atrest::{Error, Secret};
    use atrest_ade::{KeyEncryptionKeys, SecretStore, StoredSecret};

    use super::{ATREST_ADE_TAGS_SIZE, atrest_ade_secret, atrest_ade_vault_callbacks};
    use crate::callback::{User, filled, text_of, vault_failed};
    use crate::failure::CallbackFailed;
    use crate::status::ATREST_ERR_UNWRAP_FAILED;
    use crate::vault_callbacks::{ATREST_NAME_SIZE, ATREST_WRAPPED_MAX, atrest_wrapped_dek};
    use crate::vault_url::ATREST_SECRET_MAX;

    type Result<T> = core::result::Result<T, Error>;
    type Tags = BTreeMap<String, String>;

    pub(crate) struct Callbacks {
        user: User,
        id: String,
        c: Functions,
    }

    /// The functions alone, which may go to any thread.
    struct Functions {
        get: Get,
        set: Set,
        wrap: Wrap,
        unwrap: Unwrap,
        release: Option<unsafe extern "C" fn(*mut core::ffi::c_void)>,
    }

    type Void = *mut core::ffi::c_void;
    type Get = Option<unsafe extern "C" fn(Void, *const c_char, *mut atrest_ade_secret) -> u32>;
    type Set =
        Option<unsafe extern "C" fn(Void, *const c_char, *const u8, usize, *const c_char, *mut c_char, usize) -> u32>;
    type Wrap = Option<unsafe extern "C" fn(Void, *const u8, usize, *mut atrest_wrapped_dek) -> u32>;
    type Unwrap = Option<unsafe extern "C" fn(Void, *const atrest_wrapped_dek, *mut u8, usize, *mut usize) -> u32>;

    impl Callbacks {
        /// The caller has checked the id.
        pub(crate) fn new(id: &str, c: &atrest_ade_vault_callbacks) -> Self {
            let functions = Functions { get: c.get, set: c.set, wrap: c.wrap, unwrap: c.unwrap, release: c.release };
            Callbacks { user: User(c.user), id: id.into(), c: functions }
        }

        fn failed(&self, what: &str, operation: &str, of: String, failed: CallbackFailed) -> Error {
            let what = format!("the {what} callback of the vault {}", self.id);
            vault_failed(what, &self.id, operation, of, failed)
        }

        /// An answer that is no answer.
        fn wrong(what: &str) -> Error {
            Error::Vault(what.to_owned().into())
        }

        fn url(&self, name: &str, version: Option<&str>) -> String {
            let url = format!("{}/secrets/{name}", self.id);
            version.map_or(url.clone(), |version| format!("{url}/{version}"))
        }
    }

    fn lacks(what: &str) -> Error {
        Error::InvalidOption(format!("this vault of callbacks has no {what} callback"))
    }

    fn name_of(text: &str) -> Result<CString> {
        CString::new(text).map_err(|_| Error::InvalidName("a name has a zero byte".into()))
    }

    fn member<const N: usize>(text: &str) -> Result<[c_char; N]> {
        filled(text, "version").map_err(|_| Error::InvalidName("a version's name is too long".into()))
    }

    /// A question to the vault, or room for its answer.
    fn question(kek: &KeyId, algorithm: WrapAlgorithm, vault: &CStr, key: &CStr) -> Result<atrest_wrapped_dek> {
        Ok(atrest_wrapped_dek {
            struct_size: size_of::<atrest_wrapped_dek>(),
            vault_id: vault.as_ptr(),
            key_name: key.as_ptr(),
            version: member(kek.version())?,
            algorithm: algorithm.code().into(),
            bytes_len: 0,
            bytes: [0; ATREST_WRAPPED_MAX],
        })
    }

    impl SecretStore for Callbacks {
        fn id(&self) -> &str {
            &self.id
        }

        fn get(&self, name: &str, version: Option<&str>) -> Result<StoredSecret> {
            let get = self.c.get.ok_or_else(|| lacks("get"))?;
            let (c_name, mut value) = (name_of(name)?, Secret::zeroed(ATREST_SECRET_MAX));
            let mut said = Box::new(atrest_ade_secret {
                struct_size: size_of::<atrest_ade_secret>(),
                version: member(version.unwrap_or_default())?,
                value: value.expose_mut().as_mut_ptr(),
                value_cap: ATREST_SECRET_MAX,
                value_len: 0,
                tags: [0; ATREST_ADE_TAGS_SIZE],
            });
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
            let answer = unsafe { get(self.user.0, c_name.as_ptr(), &raw mut *said) };
            CallbackFailed::of(answer).map_err(|e| self.failed("get", "get", self.url(name, version), e))?;
            let found = text_of(&said.version).filter(|found| !found.is_empty());
            let found = found.filter(|found| version.is_none_or(|version| version == found));
            let found =
                found.ok_or_else(|| Callbacks::wrong("its get callback answered with another version, or none"))?;
            let bytes = value.expose().get(..said.value_len);
            let bytes =
                bytes.ok_or_else(|| Callbacks::wrong("its get callback answered with more than `value_cap`"))?;
            let tags =
                tags_of(&said.tags).ok_or_else(|| Callbacks::wrong("its get callback answered with unsound tags"))?;
            Ok(StoredSecret::new(found, Secret::copy_from(bytes), tags))
        }

        fn set(&self, name: &str, value: &Secret, tags: &Tags) -> Result<String> {
            let set = self.c.set.ok_or_else(|| lacks("set"))?;
            let (c_name, tags) = (name_of(name)?, c_tags(tags)?);
            let (mut version, bytes) = ([0; ATREST_NAME_SIZE], value.expose());
            let (start, cap) = (version.as_mut_ptr(), version.len());
            let (c_value, c_tags) = (bytes.as_ptr(), tags.as_ptr().cast());
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
            let answer = unsafe { set(self.user.0, c_name.as_ptr(), c_value, bytes.len(), c_tags, start, cap) };
            CallbackFailed::of(answer).map_err(|e| self.failed("set", "set", self.url(name, None), e))?;
            let made = text_of(&version).filter(|version| !version.is_empty());
            made.ok_or_else(|| Callbacks::wrong("its set callback named no version"))
        }
    }

    impl KeyEncryptionKeys for Callbacks {
        fn id(&self) -> &str {
            &self.id
        }

        fn wrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, passphrase: &Secret) -> Result<Vec<u8>> {
            let wrap = self.c.wrap.ok_or_else(|| lacks("wrap"))?;
            let (vault, key, bytes) = (name_of(kek.vault())?, name_of(kek.key())?, passphrase.expose());
            let mut wrapped = question(kek, algorithm, &vault, &key)?;
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
            let answer = unsafe { wrap(self.user.0, bytes.as_ptr(), bytes.len(), &raw mut wrapped) };
            CallbackFailed::of(answer).map_err(|e| self.failed("wrap", "wrapKey", kek.to_string(), e))?;
            let is_same = wrapped.algorithm == u32::from(algorithm.code())
                && text_of(&wrapped.version).is_some_and(|version| version == kek.version());
            let bytes = wrapped.bytes.get(..wrapped.bytes_len).filter(|bytes| is_same && !bytes.is_empty());
            bytes
                .map(<[u8]>::to_vec)
                .ok_or_else(|| Callbacks::wrong("its wrap callback wrapped in another way, or nothing"))
        }

        fn unwrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, wrapped: &[u8]) -> Result<Secret> {
            let unwrap = self.c.unwrap.ok_or_else(|| lacks("unwrap"))?;
            let (vault, key) = (name_of(kek.vault())?, name_of(kek.key())?);
            let mut asked = question(kek, algorithm, &vault, &key)?;
            asked.bytes.get_mut(..wrapped.len()).ok_or(Error::UnwrapFailed)?.copy_from_slice(wrapped);
            asked.bytes_len = wrapped.len();
            let (mut plain, mut len) = (Secret::zeroed(ATREST_SECRET_MAX), 0);
            let start = plain.expose_mut().as_mut_ptr();
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
            let answer = unsafe { unwrap(self.user.0, &raw const asked, start, ATREST_SECRET_MAX, &raw mut len) };
            match CallbackFailed::of(answer) {
                Ok(()) => {}
                Err(failed) if failed.status() == ATREST_ERR_UNWRAP_FAILED => return Err(Error::UnwrapFailed),
                Err(failed) => return Err(self.failed("unwrap", "unwrapKey", kek.to_string(), failed)),
            }
            let bytes = plain.expose().get(..len);
            bytes
                .map(Secret::copy_from)
                .ok_or_else(|| Callbacks::wrong("its unwrap callback answered with more than fits"))
        }
    }

    impl Drop for Callbacks {
        fn drop(&mut self) {
            if let Some(release) = self.c.release {
                // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`, and this is the last use.
                unsafe { release(self.user.0) }
            }
        }
    }

    /// The tags that a callback wrote, if the list has an end and each a value.
    fn tags_of(list: &[c_char; ATREST_ADE_TAGS_SIZE]) -> Option<Tags> {
        let bytes: Vec<u8> = list.iter().map(|byte| *byte as u8).collect();
        let (mut rest, mut tags) = (bytes.as_slice(), Tags::new());
        while rest.first()? != &0 {
            let (name, value);
            (name, rest) = text(rest)?;
            (value, rest) = text(rest)?;
            tags.insert(name, value);
        }
        Some(tags)
    }

    /// A text up to its zero byte, and the bytes after it.
    fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
        let text = CStr::from_bytes_until_nul(bytes).ok()?;
        Some((text.to_str().ok()?.to_owned(), &bytes[text.count_bytes() + 1..]))
    }

    fn c_tags(tags: &Tags) -> Result<Vec<u8>> {
        let mut list = Vec::new();
        for (name, value) in tags {
            list.extend_from_slice(name_of(name)?.as_bytes_with_nul());
            list.extend_from_slice(name_of(value)?.as_bytes_with_nul());
        }
        list.push(0);
        if list.len() > ATREST_ADE_TAGS_SIZE {
            return Err(Error::InvalidOption(format!(
                "the tags of a secret have at most {ATREST_ADE_TAGS_SIZE} bytes"
            )));
        }
        Ok(list)
    }
}
