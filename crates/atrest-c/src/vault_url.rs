//! VAULTS BY URL
//!
//! A URL names a vault wherever it is: a file, a key service, a token. Each kind but the file is a feature of the library's
//! build (`kms` is all of them). No secret stands in a URL: secrets come from a callback, from files, or from the
//! environment. docs/kms has what each kind takes.
//!
//!   file:PATH[?key-file=PATH]                   a vault file; without a key file by ATREST_PASSPHRASE
//!   vault+https://HOST[:PORT]/MOUNT             transit: HashiCorp Vault, OpenBao; by VAULT_TOKEN or VAULT_SECRET_ID
//!   awskms://REGION[/ACCOUNT]                   aws: AWS KMS; by AWS_SECRET_ACCESS_KEY and the like
//!   azurekv://NAME.vault.azure.net              azure: Key Vault, Managed HSM; by AZURE_CLIENT_SECRET and the like
//!   gcpkms://projects/P/locations/L/keyRings/R  gcp: Google Cloud KMS; by files
//!   pkcs11:token=NAME?module-path=FILE          pkcs11: a token; by PKCS11_PIN
//!   kmip://HOST[:PORT]?ca=FILE&cert=FILE&key=FILE  kmip: a key manager; by files
//!   tpm:NAME?keys=FOLDER                        tpm: keys that a TPM seals; by TPM_AUTH

use core::ffi::{c_char, c_void};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atrest::Secret;
use atrest_vaults::VaultOptions;

use crate::callback::{User, c_text};
use crate::failure::{CallbackFailed, Result, run};
use crate::status::{ATREST_ERR_NOT_FOUND, atrest_status};
use crate::structs::SizedStruct;
use crate::vault::{Vault, atrest_vault};

/// The most bytes of a secret that a callback gives.
pub const ATREST_SECRET_MAX: usize = 16384;

/// Options for opening a vault by its URL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_vault_url_options {
    /// Set by ATREST_VAULT_URL_OPTIONS_INIT.
    pub struct_size: usize,
    /// Passed to every callback. It must stay valid until release() is called.
    pub user: *mut c_void,
    /// Writes a secret of at most `cap` bytes into `secret`, which the library wipes, and its length into `len`. `name` is
    /// that of the environment variable that would hold it, such as VAULT_TOKEN. Returns ATREST_OK; ATREST_ERR_NOT_FOUND
    /// to have the library look in the usual places; anything else is a failure. NULL for none.
    ///
    /// It may be called again while the vault is used, when that logs in again.
    pub secret: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            name: *const c_char,
            secret: *mut u8,
            cap: usize,
            len: *mut usize,
        ) -> atrest_status,
    >,
    /// Called once, when no secret is needed any more: with a vault file at once, otherwise when the vault and everything
    /// that uses it are freed. May be NULL.
    pub release: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// The most time that a call may take, with all retries, in milliseconds. 0 is each kind's own: 20 or 30 seconds.
    /// Vault files have none.
    pub deadline_ms: u32,
}

// SAFETY: `struct_size` is the first member; pointers and numbers may be zero, and `Option`s of functions are `None` then.
unsafe impl SizedStruct for atrest_vault_url_options {}

/// Opens the vault that a URL names. Only a vault file is looked at; nothing else is asked yet. `options` may be NULL.
/// release() is not called when this fails.
///
/// The vault of a file is its owner's handle, by which its keys are managed; with all other kinds that is done where they
/// are. Errors: ATREST_ERR_INVALID_OPTION for another URL, for one whose feature the library was built without, and for a
/// secret that is missing; for a vault file those of atrest_vault_open_file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_vault_open_url(
    url: *const c_char,
    options: *const atrest_vault_url_options,
    out: *mut *mut atrest_vault,
) -> atrest_status {
    run(|| {
        let (url, out) = (text!(url), out!(out));
        let (given, release) = vault_options(options)?;
        let vault = match url.starts_with("file:") {
            true => Vault::owned(atrest_vaults::open_file(url, &given)?),
            false => Vault::shared_of(atrest_vaults::open_with(url, &given)?, WHY),
        };
        release.arm();
        out.handle(vault);
        Ok(())
    })
}

/// The options at a pointer that may be NULL.
pub(crate) fn vault_options(options: *const atrest_vault_url_options) -> Result<(VaultOptions, Release)> {
    let (of, deadline, release) = url_options(options)?;
    let mut given = VaultOptions::new();
    if let Some(of) = of {
        given = given.secrets(move |name| of.get(name));
    }
    if let Some(deadline) = deadline {
        given = given.deadline(deadline);
    }
    Ok((given, release))
}

/// The same for any URL: the caller's secrets, the deadline, and the function to call at the end.
pub(crate) fn url_options(
    options: *const atrest_vault_url_options,
) -> Result<(Option<Arc<Secrets>>, Option<Duration>, Release)> {
    if options.is_null() {
        return Ok((None, None, Release(None)));
    }
    let c = structure!(options);
    let of = Arc::new(Secrets { user: User(c.user), secret: c.secret, release: OnceLock::new() });
    let release = Release(c.release.map(|release| (of.clone(), release)));
    let deadline = Some(Duration::from_millis(c.deadline_ms.into())).filter(|deadline| !deadline.is_zero());
    Ok((Some(of), deadline, release))
}

/// The caller's function that is called when no secret is needed any more, once the vault is open.
pub(crate) struct Release(Option<(Arc<Secrets>, unsafe extern "C" fn(*mut c_void))>);

impl Release {
    /// From here on nothing fails.
    pub(crate) fn arm(self) {
        if let Some((secrets, release)) = self.0 {
            let _ = secrets.release.set(release);
        }
    }
}

/// Why the library manages no keys of such a vault.
const WHY: &str = "the keys of this vault are managed where they are";

type Get = unsafe extern "C" fn(*mut c_void, *const c_char, *mut u8, usize, *mut usize) -> atrest_status;

/// The caller's secrets, for as long as a vault may ask for one.
pub(crate) struct Secrets {
    user: User,
    secret: Option<Get>,
    /// Set once the vault is open.
    release: OnceLock<unsafe extern "C" fn(*mut c_void)>,
}

impl Secrets {
    pub(crate) fn get(&self, name: &str) -> io::Result<Option<Secret>> {
        let Some(get) = self.secret else { return Ok(None) };
        let (name, mut secret, mut len) = (c_text(name), Secret::zeroed(ATREST_SECRET_MAX), 0);
        let start = secret.expose_mut().as_mut_ptr();
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`; the rest lives until it returns.
        let answer = unsafe { get(self.user.0, name.as_ptr(), start, ATREST_SECRET_MAX, &raw mut len) };
        match CallbackFailed::of(answer) {
            Ok(()) => {}
            Err(failed) if failed.status() == ATREST_ERR_NOT_FOUND => return Ok(None),
            Err(failed) => return Err(failed.into_io()),
        }
        let given = secret.expose().get(..len).ok_or_else(|| {
            let text = "the secret callback answered with more than ATREST_SECRET_MAX bytes";
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        Ok(Some(Secret::copy_from(given)))
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        if let Some(release) = self.release.get() {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`, and this is the last use.
            unsafe { release(self.user.0) }
        }
    }
}
