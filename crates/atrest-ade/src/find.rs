//! Finding a disk's passphrase, and opening the disk by it.

use std::sync::Arc;

use atrest::key::WrapAlgorithm;
use atrest::volume::Header;
use atrest::{BlockDevice, Credential, Error, OpenOptions, Result, Secret, Volume};

use crate::disk::Disk;
use crate::object_url::SecretUrl;
use crate::passphrase as passphrase_of;
use crate::store::{KeyEncryptionKeys, SecretStore, StoredSecret};
use crate::tags::{Kek, Tags};
use crate::token::{self, AdeToken, TokenPassphrase};

/// Where a disk's passphrase is.
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
    /// In the disk's token, as on confidential virtual machines.
    Token,
}

/// The vaults that may be asked. Requests go to no other one, whatever a token or a tag says.
#[derive(Clone, Copy)]
pub struct Vaults<'v> {
    /// Those with passphrases.
    pub secrets: &'v [&'v dyn SecretStore],
    /// Those with the keys that wrap them.
    pub keks: &'v [&'v dyn KeyEncryptionKeys],
}

/// The passphrases that may open a disk, the likely ones first.
pub(crate) fn passphrases(disk: &Disk, source: &Source, vaults: Vaults<'_>) -> Result<Vec<Secret>> {
    match source {
        Source::Secret { url, kek } => of_secret(url, kek.as_ref(), vaults),
        Source::Token => of_tokens(disk, vaults),
    }
}

fn of_secret(url: &SecretUrl, kek: Option<&Kek>, vaults: Vaults<'_>) -> Result<Vec<Secret>> {
    in_secret(&store_of(url, vaults)?.get(url.name(), url.version())?, kek, vaults)
}

pub(crate) fn store_of<'v>(url: &SecretUrl, vaults: Vaults<'v>) -> Result<&'v dyn SecretStore> {
    let store = vaults.secrets.iter().find(|store| store.id() == url.vault()).copied();
    store.ok_or_else(|| Error::NotThisVault { wanted: url.to_string() })
}

/// The passphrases that a secret may mean.
pub(crate) fn in_secret(found: &StoredSecret, kek: Option<&Kek>, vaults: Vaults<'_>) -> Result<Vec<Secret>> {
    let tags = if kek.is_none() { Tags::read(&found.tags)? } else { Tags::default() };
    passphrase_of::of_value(&found.value, kek.or(tags.kek.as_ref()), vaults.keks)
}

/// One token that is no good must not hide another one that is.
fn of_tokens(disk: &Disk, vaults: Vaults<'_>) -> Result<Vec<Secret>> {
    let (mut found, mut failure) = (Vec::new(), None);
    for json in token::texts(&disk.load()?) {
        match AdeToken::read(&json).and_then(|token| in_token(&token, vaults)) {
            Ok(passphrases) => found.extend(passphrases),
            Err(e) => failure = failure.or(Some(e)),
        }
    }
    let none = || Error::NoSuchProtector("there is no token of Azure Disk Encryption; name the secret instead".into());
    if found.is_empty() { Err(failure.unwrap_or_else(none)) } else { Ok(found) }
}

/// The passphrases that a token may mean.
pub(crate) fn in_token(token: &AdeToken, vaults: Vaults<'_>) -> Result<Vec<Secret>> {
    let wrapped = match &token.passphrase {
        TokenPassphrase::Plain(passphrase) => return Ok(vec![Secret::copy_from(passphrase.expose())]),
        TokenPassphrase::Wrapped(wrapped) => wrapped,
    };
    let kek = token.kek()?;
    match passphrase_of::unwrap(wrapped, &kek, vaults.keks) {
        // The token names no algorithm.
        Err(Error::UnwrapFailed) => {
            passphrase_of::unwrap(wrapped, &Kek { algorithm: WrapAlgorithm::RsaOaep, ..kek }, vaults.keks)
        }
        other => other,
    }
}

/// Opens a disk by its passphrase, which is found in its secret or its token. Nothing is changed in a vault or in the header.
///
/// # Errors
/// Those of the vaults, where [`Error::KeyRefused`] names a secret or a KEK; [`Error::NotThisVault`] if the secret or the KEK is in a
/// vault that isn't among these; [`Error::NoSuchProtector`] without a token; [`Error::UnwrapFailed`] for a passphrase that the KEK
/// didn't wrap; [`Error::WrongPassphrase`] if the passphrase opens nothing; those of [`Volume::open`].
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
    by_any(disk, &passphrases(disk, source, vaults)?, options)
}

/// The passphrase that opens a disk, which [`open`] would open it by: for what takes a
/// [`Credential`](atrest::Credential::Passphrase), such as `DiskService::adopt_disk` of atrest, which brings the disk into an
/// encryption set. Nothing is changed.
///
/// # Errors
/// As [`open`].
pub fn passphrase(disk: &Disk, source: &Source, vaults: Vaults<'_>) -> Result<Secret> {
    let header = disk.load()?;
    for passphrase in passphrases(disk, source, vaults)? {
        match header.unlock(Credential::Passphrase(passphrase.expose()), &OpenOptions::new()) {
            Ok(_) => return Ok(passphrase),
            Err(Error::WrongPassphrase) => {}
            Err(e) => return Err(e),
        }
    }
    Err(Error::WrongPassphrase)
}

/// Opens a disk by the first of these that does.
pub(crate) fn by_any(
    disk: &Disk,
    passphrases: &[Secret],
    options: &OpenOptions,
) -> Result<Volume<Arc<dyn BlockDevice>>> {
    let options = disk.options(options);
    for passphrase in passphrases {
        match Volume::open(disk.device.clone(), Credential::Passphrase(passphrase.expose()), &options) {
            Err(Error::WrongPassphrase) => {}
            other => return other,
        }
    }
    Err(Error::WrongPassphrase)
}

/// The keyslots that any of these passphrases opens.
pub(crate) fn opened_by(header: &Header<'_>, passphrases: &[Secret], options: &OpenOptions) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for keyslot in header.keyslots().iter().filter(|keyslot| keyslot.holds_data_key) {
        for passphrase in passphrases {
            let options = options.clone().keyslot(keyslot.id);
            match header.unlock(Credential::Passphrase(passphrase.expose()), &options) {
                Ok(_) => {
                    found.push(keyslot.id);
                    break;
                }
                Err(Error::WrongPassphrase) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(found)
}
