//! Vaults by URL, for programs whose configuration names them.
//!
//! ```
//! use atrest::vault::FileVault;
//! # let folder = tempfile::tempdir()?;
//! # let (path, key) = (folder.path().join("disks.vault"), folder.path().join("disks.key"));
//! # FileVault::generate_key_file(&key)?;
//! # FileVault::create(&path, atrest::vault::Unlock::KeyFile(&key))?.create_key("disks")?;
//! # let url = &format!("file:{}?key-file={}", path.display(), key.display());
//!
//! let vault = atrest_vaults::open(url)?; // such as file:/etc/disks.vault?key-file=/etc/disks.key
//! assert!(vault.describe("disks", None)?.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The scheme names the kind of vault. Each but the file is a feature of this crate: see [`schemes`].

mod file;
mod options;

use std::sync::Arc;

use atrest::{Error, KeyVault, Result};

pub use file::open_file;
pub use options::VaultOptions;

/// Tests every algorithm of this build against published vectors, even if it was tested before: those of [`atrest::self_test`], and
/// those that a vault has itself (`tpm`).
///
/// # Errors
/// [`Error::SelfTest`] names the algorithm that failed. From then on all algorithms of the process are refused.
pub fn self_test() -> Result<()> {
    atrest::self_test()?;
    #[cfg(feature = "tpm")]
    atrest_tpm::self_test()?;
    Ok(())
}

/// Opens a vault. Only a vault file is read; no service is contacted yet.
///
/// # Errors
/// As [`open_with`].
pub fn open(url: &str) -> Result<Arc<dyn KeyVault>> {
    open_with(url, &VaultOptions::new())
}

/// As [`open`], with options that a URL doesn't hold.
///
/// | URL | feature | secrets |
/// |---|---|---|
/// | `file:PATH[?key-file=PATH]` | | without a key file, the passphrase `ATREST_PASSPHRASE` |
/// | `vault+https://HOST[:PORT]/MOUNT[?namespace=N&ca=FILE&auth=A&role=R]` | `transit` | `VAULT_TOKEN`, `VAULT_SECRET_ID` |
/// | `awskms://REGION[/ACCOUNT][?endpoint=URL]` | `aws` | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, … |
/// | `azurekv://NAME.vault.azure.net[?auth=A&client=ID]` | `azure` | `AZURE_CLIENT_SECRET`, … |
/// | `gcpkms://projects/P/locations/L/keyRings/R[?auth=A]` | `gcp` | files only |
/// | `pkcs11:token=T?module-path=FILE&pin-source=file:FILE` | `pkcs11` | `PKCS11_PIN`, which goes before `pin-source` |
/// | `kmip://HOST[:PORT]?ca=FILE&cert=FILE&key=FILE` | `kmip` | files only |
/// | `tpm:NAME?keys=FOLDER[&tpm=DEVICE][&auth=FILE]` | `tpm` | `TPM_AUTH`, which goes before `auth` |
///
/// `docs/kms` has the parts of each. `ATREST_PASSPHRASE`, `PKCS11_PIN` and `TPM_AUTH` are asked of
/// [`VaultOptions::secrets`] alone, and not looked up in the process's environment.
///
/// # Errors
/// [`Error::InvalidOption`] for a URL that isn't one of these, or whose feature isn't in this build, and for a missing secret;
/// for a vault file as [`FileVault::open`](atrest::FileVault::open).
pub fn open_with(url: &str, options: &VaultOptions) -> Result<Arc<dyn KeyVault>> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        "file" => open_file(url, options).map(|vault| Arc::new(vault) as _),
        #[cfg(feature = "transit")]
        "vault+https" | "vault+http" => key_service(url, options),
        #[cfg(feature = "aws")]
        "awskms" => key_service(url, options),
        #[cfg(feature = "azure")]
        "azurekv" => key_service(url, options),
        #[cfg(feature = "gcp")]
        "gcpkms" => key_service(url, options),
        #[cfg(feature = "pkcs11")]
        "pkcs11" => token(url, options),
        #[cfg(feature = "kmip")]
        "kmip" => {
            let mut of = atrest_kmip::KmipOptions::from_url(url)?;
            if let Some(deadline) = options.deadline {
                of = of.deadline(deadline);
            }
            Ok(Arc::new(atrest_kmip::KmipVault::new(of)?))
        }
        #[cfg(feature = "tpm")]
        "tpm" => {
            let mut of = atrest_tpm::TpmOptions::from_url(url)?;
            if let Some(deadline) = options.deadline {
                of = of.deadline(deadline);
            }
            if let Some(value) = secret(options, "TPM_AUTH")? {
                of = of.auth(atrest_tpm::TpmAuth::Value(value));
            }
            Ok(Arc::new(atrest_tpm::TpmVault::new(of)?))
        }
        _ => {
            // Not the URL: it may contain a secret.
            let known = ALL.iter().find(|(known, ..)| *known == scheme);
            let why = match known {
                Some((scheme, feature, _)) => format!("this build has no {scheme}:, which is the feature {feature}"),
                None => "a vault is a URL that begins with one of".into(),
            };
            Err(Error::InvalidOption(format!("{why}; it has {}", schemes().collect::<Vec<_>>().join(" "))))
        }
    }
}

/// All schemes, with their features, and whether this build has them.
const ALL: [(&str, &str, bool); 9] = [
    ("file", "", true),
    ("vault+https", "transit", cfg!(feature = "transit")),
    ("vault+http", "transit", cfg!(feature = "transit")),
    ("awskms", "aws", cfg!(feature = "aws")),
    ("azurekv", "azure", cfg!(feature = "azure")),
    ("gcpkms", "gcp", cfg!(feature = "gcp")),
    ("pkcs11", "pkcs11", cfg!(feature = "pkcs11")),
    ("kmip", "kmip", cfg!(feature = "kmip")),
    ("tpm", "tpm", cfg!(feature = "tpm")),
];

/// The schemes that this build has, with their colon.
pub fn schemes() -> impl Iterator<Item = String> {
    ALL.into_iter().filter(|(.., is_here)| *is_here).map(|(scheme, ..)| format!("{scheme}:"))
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "transit"))]
fn key_service(url: &str, options: &VaultOptions) -> Result<Arc<dyn KeyVault>> {
    atrest_kms::open_with(url, &url_options(options))
}

/// The keys and the secrets of a vault at Azure, `azurekv://NAME.vault.azure.net`, for the formats of others: see the crate
/// `atrest-ade`. No request is sent yet.
///
/// # Errors
/// As [`open_with`].
#[cfg(feature = "azure")]
pub fn open_azure(url: &str, options: &VaultOptions) -> Result<(atrest_kms::AzureKeyVault, atrest_kms::AzureSecrets)> {
    let of = url_options(options);
    Ok((atrest_kms::AzureKeyVault::from_url(url, &of)?, atrest_kms::AzureSecrets::from_url(url, &of)?))
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "transit"))]
fn url_options(options: &VaultOptions) -> atrest_kms::UrlOptions {
    use atrest_http::{Environment, Hidden};
    let of = options.clone();
    let environment = Environment::with(move |name| {
        let Some(given) = of.given(name)? else { return Ok(None) };
        let text = core::str::from_utf8(given.expose()).map_err(|_| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("the value given for {name} isn't UTF-8"))
        })?;
        Ok(Some(Hidden::new(text)))
    });
    let mut of = atrest_kms::UrlOptions::new().environment(environment);
    if let Some(deadline) = options.deadline {
        of = of.deadline(deadline);
    }
    of
}

#[cfg(feature = "pkcs11")]
fn token(url: &str, options: &VaultOptions) -> Result<Arc<dyn KeyVault>> {
    use atrest_pkcs11::{Pin, Pkcs11Uri, Pkcs11Vault};
    let mut of = url.parse::<Pkcs11Uri>()?.options;
    if let Some(deadline) = options.deadline {
        of = of.deadline(deadline);
    }
    if secret(options, "PKCS11_PIN")?.is_some() {
        let (options, missing) = (options.clone(), || std::io::Error::from(std::io::ErrorKind::NotFound));
        // Asked again for each login, so that it isn't kept here.
        of = of.pin(Pin::Callback(Arc::new(move || options.given("PKCS11_PIN")?.ok_or_else(missing))));
    }
    Ok(Arc::new(Pkcs11Vault::new(of)?))
}

/// A secret that the caller gives.
fn secret(options: &VaultOptions, name: &str) -> Result<Option<atrest::Secret>> {
    options.given(name).map_err(|e| Error::InvalidOption(format!("the program gave no {name}: {e}")))
}
