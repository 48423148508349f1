//! Finding a disk's credential, and opening the disk by it.

use std::borrow::Borrow;
use std::sync::Arc;

use atrest::key::WrapAlgorithm;
use atrest::volume::{Header, HeaderFormat};
use atrest::{BlockDevice, Error, OpenOptions, Result, Secret, Volume};

use crate::credential::{self, DiskCredential};
use crate::disk::Disk;
use crate::object_url::SecretUrl;
use crate::passphrase;
use crate::store::{KeyEncryptionKeys, SecretStore, StoredSecret};
use crate::tags::{Kek, Tags, of_startup_key};
use crate::token::{self, AdeToken, TokenPassphrase};

/// The place of a disk's passphrase or startup key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Source {
    /// In a vault's secret.
    Secret {
        /// The secret, with its version or without. The settings of the virtual machine name it.
        url: SecretUrl,
        /// The key that wraps it, if its tags don't say.
        kek: Option<Kek>,
    },
    /// In the disk's token, as on confidential virtual machines with Linux.
    Token,
}

/// The vaults to ask. No request goes to another one, whatever a token or a tag names.
///
/// It is made by its members, so that the slices may be written in place; a disk has no third kind of secret.
#[derive(Clone, Copy)]
pub struct Vaults<'v> {
    /// Those with passphrases and startup keys.
    pub secrets: &'v [&'v dyn SecretStore],
    /// Those with the keys that wrap them.
    pub keks: &'v [&'v dyn KeyEncryptionKeys],
}

/// The candidate credentials of a disk of this format, the likely ones first.
pub(crate) fn credentials(
    disk: &Disk,
    format: HeaderFormat,
    source: &Source,
    vaults: Vaults<'_>,
) -> Result<Vec<DiskCredential>> {
    match source {
        Source::Secret { url, kek } => of_secret(url, kek.as_ref(), format, vaults),
        Source::Token => of_tokens(disk, vaults),
    }
}

fn of_secret(
    url: &SecretUrl,
    kek: Option<&Kek>,
    format: HeaderFormat,
    vaults: Vaults<'_>,
) -> Result<Vec<DiskCredential>> {
    in_secret(&store_of(url, vaults)?.get(url.name(), url.version())?, kek, format, vaults)
}

pub(crate) fn store_of<'v>(url: &SecretUrl, vaults: Vaults<'v>) -> Result<&'v dyn SecretStore> {
    let store = vaults.secrets.iter().find(|store| store.id() == url.vault()).copied();
    store.ok_or_else(|| Error::NotThisVault { wanted: url.to_string() })
}

/// The possible meanings of a secret for a disk of this format.
pub(crate) fn in_secret(
    found: &StoredSecret,
    kek: Option<&Kek>,
    format: HeaderFormat,
    vaults: Vaults<'_>,
) -> Result<Vec<DiskCredential>> {
    let tags = if kek.is_none() { Tags::read(&found.tags)? } else { Tags::default() };
    let all = passphrase::of_value(&found.value, kek.or(tags.kek.as_ref()), vaults.keks)?;
    // The tag only explains a failure. A wrong one keeps no disk of Linux from its passphrase.
    credential::of_any(all, format == HeaderFormat::BitLocker && of_startup_key(&found.tags))
}

/// A bad token must not hide a good one.
fn of_tokens(disk: &Disk, vaults: Vaults<'_>) -> Result<Vec<DiskCredential>> {
    let (mut found, mut failure) = (Vec::new(), None);
    for json in token::texts(&disk.load()?) {
        match AdeToken::read(&json).and_then(|token| in_token(&token, vaults)) {
            Ok(all) => found.extend(all),
            Err(e) => failure = failure.or(Some(e)),
        }
    }
    let none = || Error::NoSuchProtector("there is no token of Azure Disk Encryption; name the secret instead".into());
    if found.is_empty() { Err(failure.unwrap_or_else(none)) } else { Ok(found) }
}

/// The possible meanings of a token: passphrases, since tokens belong to LUKS. A startup key in one hides no other token.
pub(crate) fn in_token(token: &AdeToken, vaults: Vaults<'_>) -> Result<Vec<DiskCredential>> {
    Ok(credential::passphrases(bytes_in_token(token, vaults)?))
}

fn bytes_in_token(token: &AdeToken, vaults: Vaults<'_>) -> Result<Vec<Secret>> {
    let wrapped = match &token.passphrase {
        TokenPassphrase::Plain(passphrase) => return Ok(vec![Secret::copy_from(passphrase.expose())]),
        TokenPassphrase::Wrapped(wrapped) => wrapped,
    };
    let kek = token.kek()?;
    match passphrase::unwrap(wrapped, &kek, vaults.keks) {
        // The token names no algorithm.
        Err(Error::UnwrapFailed) => {
            passphrase::unwrap(wrapped, &Kek { algorithm: WrapAlgorithm::RsaOaep, ..kek }, vaults.keks)
        }
        other => other,
    }
}

/// Opens a disk by its passphrase (LUKS, of Linux) or its startup key (BitLocker, of Windows), from its secret or its token.
/// Neither the vault nor the header is changed.
///
/// # Errors
/// Errors of the vaults, where [`Error::KeyRefused`] names a secret or a KEK; [`Error::NotThisVault`] if the secret or the KEK
/// is in a vault that isn't among these; [`Error::NoSuchProtector`] if there is no token, for a passphrase if the disk is
/// BitLocker, for a startup key if it is LUKS, and for the startup key of another disk; [`Error::UnwrapFailed`] for bytes that
/// the KEK didn't wrap; [`Error::WrongPassphrase`] if the passphrase opens nothing; [`Error::InvalidOption`] for a BitLocker
/// disk whose secret holds no startup key, though its tags name the file of one; errors of [`Volume::open`].
///
/// ```no_run
/// use std::sync::Arc;
///
/// use atrest::{FileDevice, OpenOptions};
/// use atrest_ade::{Disk, Source, Vaults, open};
/// use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions, AzureSecrets};
///
/// let options = AzureOptions::new("https://contoso.vault.azure.net", AzureIdentity::managed(None));
/// let (secrets, keks) = (AzureSecrets::new(&options)?, AzureKeyVault::new(&options)?);
/// let vaults = Vaults { secrets: &[&secrets], keks: &[&keks] };
/// let source = Source::Secret { url: "https://contoso.vault.azure.net/secrets/b3284aaa".parse()?, kek: None };
/// let disk = Disk::new(Arc::new(FileDevice::open("/dev/sdc")?));
/// let volume = open(&disk, &source, vaults, &OpenOptions::new().read_only(true))?;
/// println!("{} bytes", volume.size());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open(
    disk: &Disk,
    source: &Source,
    vaults: Vaults<'_>,
    options: &OpenOptions,
) -> Result<Volume<Arc<dyn BlockDevice>>> {
    let format = disk.format()?;
    by_any(disk, format, &credentials(disk, format, source, vaults)?, options)
}

/// The credential by which [`open`] would open a disk, for functions that take a [`Credential`](atrest::Credential), such as
/// `DiskService::adopt_disk` of atrest, which brings a disk of Linux into an encryption set. Nothing is changed.
///
/// # Errors
/// As [`open`].
pub fn credential(disk: &Disk, source: &Source, vaults: Vaults<'_>) -> Result<DiskCredential> {
    let header = disk.load()?;
    let all = credentials(disk, header.format(), source, vaults)?;
    first(all, header.format(), |found| header.unlock(found.credential(), &OpenOptions::new())).map(|(found, _)| found)
}

/// Opens a disk by the first of these that does.
pub(crate) fn by_any(
    disk: &Disk,
    format: HeaderFormat,
    all: &[DiskCredential],
    options: &OpenOptions,
) -> Result<Volume<Arc<dyn BlockDevice>>> {
    let options = disk.options(options);
    let open = |found: &&DiskCredential| Volume::open(disk.device.clone(), found.credential(), &options);
    first(all, format, open).map(|(_, volume)| volume)
}

/// The first credential that `open` doesn't refuse as the wrong one, with the result of `open`.
fn first<C: Borrow<DiskCredential>, T>(
    all: impl IntoIterator<Item = C>,
    format: HeaderFormat,
    open: impl Fn(&C) -> Result<T>,
) -> Result<(C, T)> {
    for found in all {
        credential::check(found.borrow(), format)?;
        match open(&found) {
            Err(Error::WrongPassphrase) => {}
            opened => return opened.map(|opened| (found, opened)),
        }
    }
    Err(Error::WrongPassphrase)
}

/// The keyslots that any of these opens.
pub(crate) fn opened_by(header: &Header<'_>, all: &[DiskCredential], options: &OpenOptions) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for keyslot in header.keyslots().iter().filter(|keyslot| keyslot.holds_data_key) {
        let options = options.clone().keyslot(keyslot.id);
        for found in all {
            match header.unlock(found.credential(), &options) {
                Ok(_) => {
                    ids.push(keyslot.id);
                    break;
                }
                // It may be for another kind of protector.
                Err(Error::WrongPassphrase | Error::NoSuchProtector(_)) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(ids)
}
