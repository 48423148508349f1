//! CUSTOMERS' VAULTS
//!
//! A disk service reaches customers' vaults through a directory, which knows them by their ids. The library has one
//! kind, a list of vaults; the caller can make any other from callbacks.

use core::ffi::{c_char, c_void};
use core::ptr;
use std::sync::Arc;

use atrest::managed::{KnownVaults, VaultDescription, VaultDirectory};
use atrest::{Error, KeyVault};

use crate::callback::{User, c_text, text_of, vault_failed, with_text};
use crate::failure::{CallbackFailed, Failure, Result, run};
use crate::handle::{self, Handle};
use crate::status::*;
use crate::structs::SizedStruct;
use crate::vault::atrest_vault;
use crate::vault_callbacks::ATREST_NAME_SIZE;

/// A directory of vaults. Freed by atrest_vault_directory_free.
pub struct atrest_vault_directory;

/// The properties of a vault that sets require. The library owns it: describe() fills the members from `soft_delete`
/// on.
#[repr(C)]
pub struct atrest_vault_description {
    /// The size of this struct in the running library.
    pub struct_size: usize,
    /// 1 if deleted keys can be recovered for a while, otherwise 0.
    pub soft_delete: u32,
    /// 1 if they can't be purged meanwhile, otherwise 0.
    pub purge_protection: u32,
    /// The vault's region.
    pub region: [c_char; ATREST_NAME_SIZE],
    /// The tenant that it trusts.
    pub tenant: [c_char; ATREST_NAME_SIZE],
}

/// A directory of the caller. An answer out of bounds is refused with ATREST_ERR_VAULT. Several threads may call it at
/// once.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_vault_directory_callbacks {
    /// Set by ATREST_VAULT_DIRECTORY_CALLBACKS_INIT.
    pub struct_size: usize,
    /// Passed to every callback. It must stay valid until release() is called.
    pub user: *mut c_void,
    /// Puts a handle of the vault `vault_id`, accessed under `identity`, into `out`. The library frees the handle.
    /// atrest_vault_as_identity, atrest_vault_clone and atrest_vault_from_callbacks make such handles. This is called
    /// each time that a vault is asked, so it should neither wait for the vault nor derive a key from a passphrase.
    /// Returns ATREST_OK; ATREST_ERR_VAULT if there is no such vault; otherwise as wrap() of a vault of callbacks.
    pub open_vault: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            vault_id: *const c_char,
            identity: *const c_char,
            out: *mut *mut atrest_vault,
        ) -> atrest_status,
    >,
    /// Fills `description` of the vault `vault_id`. Returns as open_vault().
    pub describe: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            vault_id: *const c_char,
            description: *mut atrest_vault_description,
        ) -> atrest_status,
    >,
    /// Called once, when the directory and every disk service that uses it are freed. May be NULL.
    pub release: Option<unsafe extern "C" fn(user: *mut c_void)>,
}

// SAFETY: `struct_size` is the first member; pointers may be NULL, and `Option`s of functions are `None` then.
unsafe impl SizedStruct for atrest_vault_directory_callbacks {}

/// Makes an empty directory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_directory_new(out: *mut *mut atrest_vault_directory) -> atrest_status {
    run(|| {
        let out = out!(out);
        out.handle(Directory::List(Arc::default()));
        Ok(())
    })
}

/// Adds a vault file under its own id, also while services use the directory. `vault` is its owner's handle, and its
/// clock is used. Each set uses its own identity, which needs a grant of the vault's owner. The vault needs a region
/// and a tenant, and purge protection: see atrest_vault_options.
///
/// Errors: ATREST_ERR_RESOURCE_EXISTS if there is one with this id; ATREST_ERR_UNSUPPORTED for a vault that isn't the
/// owner's handle of a vault file, and for a directory of callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_directory_add_file(
    directory: *mut atrest_vault_directory,
    vault: *const atrest_vault,
) -> atrest_status {
    run(|| {
        let (vaults, vault) = (handle!(directory).list()?, handle!(vault));
        let Ok(vault) = vault.file() else {
            let text = "only the owner's handle of a vault file can say what sets need; add others as described";
            return Err(Failure::new(ATREST_ERR_UNSUPPORTED, text));
        };
        Ok(vaults.add_file(vault.clone())?)
    })
}

/// Adds a vault of any kind under its own id, also while services use the directory. All sets use it as one caller: it
/// can't tell them apart. The caller vouches for the properties that sets require: the vault is in `region`, trusts
/// `tenant`, lets deleted keys be recovered, and lets nobody purge them meanwhile.
///
/// `soft_delete` and `purge_protection` are 1 if that is true, otherwise 0. Errors: ATREST_ERR_RESOURCE_EXISTS if there
/// is one with this id; ATREST_ERR_INVALID_OPTION for another number; ATREST_ERR_UNSUPPORTED for a directory of
/// callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_directory_add(
    directory: *mut atrest_vault_directory,
    vault: *const atrest_vault,
    region: *const c_char,
    tenant: *const c_char,
    soft_delete: u32,
    purge_protection: u32,
) -> atrest_status {
    run(|| {
        let (vaults, vault) = (handle!(directory).list()?, handle!(vault));
        let description = VaultDescription::new(text!(region), text!(tenant))
            .soft_delete(flag(soft_delete, "soft_delete")?)
            .purge_protection(flag(purge_protection, "purge_protection")?);
        Ok(vaults.add(vault.shared(), description)?)
    })
}

fn flag(value: u32, name: &str) -> Result<bool> {
    match value {
        0 | 1 => Ok(value == 1),
        _ => Err(Failure::new(ATREST_ERR_INVALID_OPTION, format!("`{name}` is 0 or 1, not {value}"))),
    }
}

/// Removes a vault. For the disks under its keys this is an outage, not a revocation: they work until their lease ends,
/// and again once the vault is back.
///
/// Errors: ATREST_ERR_NO_SUCH_RESOURCE if there is none with this id; ATREST_ERR_UNSUPPORTED for a directory of
/// callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_directory_remove(
    directory: *mut atrest_vault_directory,
    vault_id: *const c_char,
) -> atrest_status {
    run(|| {
        let (vaults, id) = (handle!(directory).list()?, text!(vault_id));
        if vaults.remove(id) {
            return Ok(());
        }
        Err(Failure::new(ATREST_ERR_NO_SUCH_RESOURCE, format!("there is no vault {id} in the directory")))
    })
}

/// Calls `each` with the id of every vault, in order. The text is valid during the callback only. `each` returns
/// ATREST_OK to continue; anything else ends the list with ATREST_ERR_CALLBACK_FAILED.
///
/// Errors: ATREST_ERR_UNSUPPORTED for a directory of callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_directory_ids(
    directory: *const atrest_vault_directory,
    each: Option<unsafe extern "C" fn(user: *mut c_void, vault_id: *const c_char) -> atrest_status>,
    user: *mut c_void,
) -> atrest_status {
    run(|| {
        let (vaults, each) = (handle!(directory).list()?, each.ok_or_else(|| Failure::null("each"))?);
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the text lives until it returns.
        vaults.ids().iter().try_for_each(|id| with_text(id, |id| unsafe { each(user, id) }))
    })
}

/// Makes a directory of callbacks. The struct is copied. release() is not called when this fails.
///
/// Errors: ATREST_ERR_NULL_ARGUMENT, also for open_vault() and describe().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_directory_from_callbacks(
    callbacks: *const atrest_vault_directory_callbacks,
    out: *mut *mut atrest_vault_directory,
) -> atrest_status {
    run(|| {
        let (c, out) = (structure!(callbacks), out!(out));
        let directory = CallbackDirectory {
            user: User(c.user),
            open_vault: c.open_vault.ok_or_else(|| Failure::null("callbacks.open_vault"))?,
            describe: c.describe.ok_or_else(|| Failure::null("callbacks.describe"))?,
            release: c.release,
        };
        out.handle(Directory::Callbacks(Arc::new(directory)));
        Ok(())
    })
}

/// Frees a directory. Services that use it keep it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_directory_free(directory: *mut atrest_vault_directory) {
    free!(directory);
}

/// The object of an `atrest_vault_directory`.
pub(crate) enum Directory {
    List(Arc<KnownVaults>),
    Callbacks(Arc<CallbackDirectory>),
}

impl Handle for atrest_vault_directory {
    type Object = Directory;
    const TAG: [u8; 4] = *b"dir\x01";
    const NAME: &'static str = "atrest_vault_directory";
}

impl Directory {
    pub(crate) fn get(&self) -> Arc<dyn VaultDirectory> {
        match self {
            Directory::List(vaults) => vaults.clone(),
            Directory::Callbacks(directory) => directory.clone(),
        }
    }

    fn list(&self) -> Result<&KnownVaults> {
        match self {
            Directory::List(vaults) => Ok(vaults),
            Directory::Callbacks(_) => {
                let text = "a directory of callbacks knows its vaults by itself";
                Err(Failure::new(ATREST_ERR_UNSUPPORTED, text))
            }
        }
    }
}

/// A [`VaultDirectory`] of C functions.
pub(crate) struct CallbackDirectory {
    user: User,
    open_vault:
        unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, *mut *mut atrest_vault) -> atrest_status,
    describe: unsafe extern "C" fn(*mut c_void, *const c_char, *mut atrest_vault_description) -> atrest_status,
    release: Option<unsafe extern "C" fn(*mut c_void)>,
}

impl VaultDirectory for CallbackDirectory {
    fn vault(&self, id: &str, identity: &str) -> Result<Arc<dyn KeyVault>, Error> {
        let (c_id, c_identity) = (c_text(id), c_text(identity));
        let mut given = ptr::null_mut();
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        match CallbackFailed::of(unsafe {
            (self.open_vault)(self.user.0, c_id.as_ptr(), c_identity.as_ptr(), &raw mut given)
        }) {
            Ok(()) => {}
            Err(e) => return Err(failed("open_vault", id, identity, e)),
        }
        // SAFETY: by the comment of the member it is a handle that nobody else uses, and the library must free it.
        let vault = unsafe { handle::take(given, "out") };
        let vault = vault.map_err(|e| Error::Vault(format!("its open_vault callback gave none: {e}").into()))?;
        if vault.get().id() != id {
            let text = format!("the open_vault callback gave the vault {} for {id}", vault.get().id());
            return Err(Error::Vault(text.into()));
        }
        Ok(vault.shared())
    }

    fn describe(&self, id: &str) -> Result<VaultDescription, Error> {
        let c_id = c_text(id);
        let mut said = atrest_vault_description {
            struct_size: size_of::<atrest_vault_description>(),
            soft_delete: 0,
            purge_protection: 0,
            region: [0; ATREST_NAME_SIZE],
            tenant: [0; ATREST_NAME_SIZE],
        };
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        match CallbackFailed::of(unsafe { (self.describe)(self.user.0, c_id.as_ptr(), &raw mut said) }) {
            Ok(()) => {}
            Err(e) => return Err(failed("describe", id, "the service", e)),
        }
        let out_of_bounds =
            |what: &str| Error::Vault(format!("the describe callback answered for {id} with {what}").into());
        let text = |member| text_of(member).filter(|text| !text.is_empty());
        let flag = |value, what| if value > 1 { Err(out_of_bounds(what)) } else { Ok(value == 1) };
        let region = text(&said.region).ok_or_else(|| out_of_bounds("no region, or one that doesn't end"))?;
        let tenant = text(&said.tenant).ok_or_else(|| out_of_bounds("no tenant, or one that doesn't end"))?;
        Ok(VaultDescription::new(region, tenant)
            .soft_delete(flag(said.soft_delete, "a soft_delete that is neither 0 nor 1")?)
            .purge_protection(flag(said.purge_protection, "a purge_protection that is neither 0 nor 1")?))
    }
}

impl Drop for CallbackDirectory {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`, and this is the last use.
            unsafe { release(self.user.0) }
        }
    }
}

fn failed(what: &str, id: &str, identity: &str, failed: CallbackFailed) -> Error {
    match failed.status() {
        ATREST_ERR_VAULT => Error::Vault(format!("the {what} callback knows no vault {id}").into()),
        _ => vault_failed(format!("{what} of the vault {id}"), identity, "open", id.into(), failed),
    }
}
