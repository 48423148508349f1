//! Replacing the passphrase or the startup key of a disk that stays under Azure Disk Encryption.

use std::sync::Arc;

use atrest::key::WrapAlgorithm;
use atrest::volume::{HeaderFormat, KeyslotOptions, ProtectorId};
use atrest::{BlockDevice, Error, OpenOptions, Result, Volume};

use crate::credential::{self, DiskCredential};
use crate::disk::Disk;
use crate::find::{self, Source, Vaults};
use crate::object_url::SecretUrl;
use crate::passphrase::{generate_passphrase, seal, wrap};
use crate::tags::{FILE, Kek, Tags};
use crate::token::{BACKUP_TOKEN, NEXT_TOKEN, TOKEN, TokenPassphrase, tokens};

/// Options of [`replace_secret`] and [`replace_token`].
#[derive(Debug, Clone, Default)]
pub struct ReplaceOptions {
    open: OpenOptions,
    keyslot: KeyslotOptions,
}

impl ReplaceOptions {
    /// The usual ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// The options to open the disk with. The header's device is that of the [`Disk`].
    pub fn open(mut self, options: OpenOptions) -> Self {
        self.open = options;
        self
    }

    /// The options of the new keyslot.
    pub fn keyslot(mut self, options: KeyslotOptions) -> Self {
        self.keyslot = options;
        self
    }
}

/// Gives a disk a new passphrase, or a new startup key if it is BitLocker, as a new version of its secret with the same tags,
/// except for the name of a startup key's file. Returns the URL with the new version, which the settings of the virtual machine
/// must name from then on. If the tags don't name the key that wraps it, `kek` does; the tags of the new version then name it.
///
/// `url` names the disk's present version. The secret gets the new version before the disk does, and the old keyslot or
/// protector goes when the disk has been opened by the value read back from the vault. If this is killed at any instant, the
/// disk opens by the previous version, or the newest, or both. Call it again with the same `url`: a newer version of the secret
/// is taken for that of the killed call, and none is made.
///
/// # Errors
/// As [`open`](crate::open) and [`Volume::add_protector`]; [`Error::InvalidOption`] for a URL without a version.
pub fn replace_secret(
    disk: &Disk,
    url: &SecretUrl,
    kek: Option<&Kek>,
    vaults: Vaults<'_>,
    options: &ReplaceOptions,
) -> Result<SecretUrl> {
    let why = || Error::InvalidOption("name the version of the secret that the disk has now".into());
    let (store, version) = (find::store_of(url, vaults)?, url.version().ok_or_else(why)?);
    let before = store.get(url.name(), Some(version))?;
    let format = disk.format()?;
    let old = find::in_secret(&before, kek, format, vaults)?;
    let mut newest = store.get(url.name(), None)?;
    if newest.version == version {
        // No secret for a disk that it doesn't open.
        drop(find::by_any(disk, format, &old, &options.open)?);
        let tags = Tags::read(&before.tags)?;
        let new = DiskCredential::generate(format)?;
        let by = kek.or(tags.kek.as_ref());
        let value = seal(new.bytes(), by, vaults.keks)?;
        let mut all = before.tags;
        if tags.kek.as_ref() != by {
            all.extend(by.into_iter().flat_map(Kek::tags));
        }
        if let Some(name) = new.file_name()? {
            all.insert(FILE.into(), name);
        }
        let version = store.set(url.name(), &value, &all)?;
        newest = store.get(url.name(), Some(&version))?;
    }
    let new = find::in_secret(&newest, kek, format, vaults)?;
    let volume = give(disk, format, &old, &new, options)?;
    remove(&volume, &old, &new, options)?;
    format!("{}/secrets/{}/{}", url.vault(), url.name(), newest.version).parse()
}

/// Gives a disk whose passphrase is in its token a new passphrase, under the same KEK, in a new token.
///
/// If this is killed at any instant, the disk opens by a token of type [`TOKEN`], or if there is none, by one of type
/// [`BACKUP_TOKEN`], as the extension itself reads them. Call it again then. The new token has another number than the old one;
/// the extension finds it by its type.
///
/// # Errors
/// As [`open`](crate::open), [`Volume::add_protector`] and [`import_token`](atrest::volume::Header::import_token);
/// [`Error::InvalidHeader`] for a malformed token beside the disk's own.
pub fn replace_token(disk: &Disk, vaults: Vaults<'_>, options: &ReplaceOptions) -> Result<()> {
    let format = disk.format()?;
    let all = find::credentials(disk, format, &Source::Token, vaults)?;
    let volume = find::by_any(disk, format, &all, &options.open)?;
    // 1. The new passphrase is on the disk before a keyslot has it.
    let mut next = tokens(&volume, NEXT_TOKEN)?;
    if next.is_empty() {
        let mut like = tokens(&volume, TOKEN)?;
        like.extend(tokens(&volume, BACKUP_TOKEN)?);
        let none = || Error::NoSuchProtector("there is no token of Azure Disk Encryption".into());
        let (_, mut token) = like.into_iter().next().ok_or_else(none)?;
        token.passphrase = match &token.passphrase {
            TokenPassphrase::Plain(_) => TokenPassphrase::Plain(generate_passphrase()?),
            TokenPassphrase::Wrapped(_) => {
                let kek = Kek { algorithm: WrapAlgorithm::RsaOaep256, ..token.kek()? };
                TokenPassphrase::Wrapped(wrap(&generate_passphrase()?, &kek, vaults.keks)?)
            }
        };
        let id = volume.header().import_token(token.to_json_of(NEXT_TOKEN))?;
        next.push((id, token));
    }
    drop(volume);
    // 2. The keyslot.
    let (_, token) = &next[0];
    let new = find::in_token(token, vaults)?;
    let volume = give(disk, format, &all, &new, options)?;
    // 3. The new token, and the old one as a backup, in an order in which the extension finds one that opens.
    let json = token.to_json();
    if !tokens(&volume, TOKEN)?.iter().any(|(_, token)| token.to_json() == json) {
        volume.header().import_token(&json)?;
    }
    for (id, old) in tokens(&volume, TOKEN)?.into_iter().filter(|(_, token)| token.to_json() != json) {
        if !tokens(&volume, BACKUP_TOKEN)?.iter().any(|(_, token)| token.to_json() == old.to_json()) {
            volume.header().import_token(old.to_json_of(BACKUP_TOKEN))?;
        }
        volume.header().remove_protector(ProtectorId::Token(id))?;
    }
    // 4. The old keyslots, and then the token that holds their passphrase.
    for (id, old) in tokens(&volume, BACKUP_TOKEN)? {
        remove(&volume, &find::in_token(&old, vaults)?, &new, options)?;
        volume.header().remove_protector(ProtectorId::Token(id))?;
    }
    for (id, _) in next {
        volume.header().remove_protector(ProtectorId::Token(id))?;
    }
    Ok(())
}

/// Opens the disk by its new passphrase or startup key, which gets a keyslot unless it has one.
fn give(
    disk: &Disk,
    format: HeaderFormat,
    old: &[DiskCredential],
    new: &[DiskCredential],
    options: &ReplaceOptions,
) -> Result<Volume<Arc<dyn BlockDevice>>> {
    match find::by_any(disk, format, new, &options.open) {
        // The second is for a startup key without a protector.
        Err(Error::WrongPassphrase | Error::NoSuchProtector(_)) => {}
        other => return other,
    }
    let volume = find::by_any(disk, format, old, &options.open)?;
    let new_one = new.first().ok_or(Error::WrongPassphrase)?;
    credential::check(new_one, format)?;
    volume.add_protector(new_one.protector(), &options.keyslot)?;
    drop(volume);
    find::by_any(disk, format, new, &options.open)
}

/// Removes the keyslots that the old passphrase or startup key opens and the new one doesn't.
fn remove(
    volume: &Volume<Arc<dyn BlockDevice>>,
    old: &[DiskCredential],
    new: &[DiskCredential],
    options: &ReplaceOptions,
) -> Result<()> {
    let header = volume.header();
    let keep = find::opened_by(&header, new, &options.open)?;
    // The last first: protectors of BitLocker behind a removed one get other numbers.
    for id in find::opened_by(&header, old, &options.open)?.into_iter().rev().filter(|id| !keep.contains(id)) {
        volume.header().remove_protector(ProtectorId::Keyslot(id))?;
    }
    Ok(())
}
