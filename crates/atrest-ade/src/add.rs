//! The first passphrase or startup key of Azure Disk Encryption for a disk that has none.

use std::collections::BTreeMap;

use atrest::volume::{HeaderFormat, KeyslotOptions, ProtectorId};
use atrest::{BlockDevice, Error, KeyRefusal, OpenOptions, Result, Volume};

use crate::credential::{self, DiskCredential};
use crate::find::{self, Vaults};
use crate::object_url::SecretUrl;
use crate::passphrase::{generate_passphrase, seal, wrap};
use crate::store::{SecretStore, StoredSecret};
use crate::tags::{FILE, FILE_NAME, Tags, of_startup_key};
use crate::token::{self, AdeToken, BACKUP_TOKEN, NEXT_TOKEN, TOKEN, TokenPassphrase, tokens};

/// The tag with the UUID of the volume. It is this crate's own: by it, a call knows the secret of one that was killed.
const VOLUME: &str = "VolumeUUID";

/// Gives an open volume its first passphrase of Azure Disk Encryption, or its startup key if it is BitLocker, as a secret of a vault, and
/// a keyslot or protector for it. Returns the URL with the secret's version, for the settings of the virtual machine.
///
/// `url` names the secret, without a version. The passphrase ([`generate_passphrase`](crate::generate_passphrase)) or startup key
/// is made here, and wrapped by the key of `tags` if there is one. The secret gets these tags, and the tag `VolumeUUID`. Without a
/// file name, a passphrase gets [`FILE_NAME`](crate::FILE_NAME). The file name of a startup key begins with the protector's identifier, so
/// `tags` must have none. The other ways into the volume stay.
///
/// The secret is in the vault before the volume has a keyslot for it, and the keyslot is proven by the value read back from the
/// vault. If this is killed at any instant, the volume opens as before. Call it again with the same `url` and `tags`: if the
/// newest version of the secret has exactly these tags, it is taken for that of the killed call, and none is made. To undo a
/// killed call instead, delete the secret.
///
/// # Errors
/// Errors of the vaults and of [`Volume::add_protector`]; [`Error::NotThisVault`] if the secret or the key is in a vault that
/// isn't among these; [`Error::ResourceExists`] for a secret that exists with other tags, which may be another disk's;
/// [`Error::InvalidOption`] for a URL with a version, and for the name of a file if the volume is BitLocker;
/// [`Error::UnsupportedHeader`] for a volume that is neither LUKS nor BitLocker.
///
/// ```no_run
/// use atrest::volume::KeyslotOptions;
/// use atrest::{Credential, FileDevice, OpenOptions, Volume};
/// use atrest_ade::{FILE_NAME, Kek, Tags, Vaults, add_secret};
/// use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions, AzureSecrets};
///
/// let options = AzureOptions::new("https://contoso.vault.azure.net", AzureIdentity::managed(None));
/// let (secrets, keks) = (AzureSecrets::new(&options)?, AzureKeyVault::new(&options)?);
/// let vaults = Vaults { secrets: &[&secrets], keks: &[&keks] };
/// let volume = Volume::open(FileDevice::open("/dev/sdc")?, Credential::Passphrase(b"..."), &OpenOptions::new())?;
/// let kek = Kek::new("https://contoso.vault.azure.net/keys/disks/0123456789abcdef0123456789abcdef", "RSA-OAEP-256")?;
/// let url = "https://contoso.vault.azure.net/secrets/vm-17-data".parse()?;
/// let tags = Tags::new(Some(kek), FILE_NAME, "vm-17");
/// println!("the disk's secretUrl: {}", add_secret(&volume, &url, &tags, vaults, &KeyslotOptions::new())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn add_secret<D: BlockDevice>(
    volume: &Volume<D>,
    url: &SecretUrl,
    tags: &Tags,
    vaults: Vaults<'_>,
    keyslot: &KeyslotOptions,
) -> Result<SecretUrl> {
    if url.version().is_some() {
        return Err(Error::InvalidOption("name the secret without a version: the version is made here".into()));
    }
    let format = volume.header().format();
    let mut all = tags.to_map();
    let names_startup_key = match format {
        HeaderFormat::BitLocker => all.contains_key(FILE),
        HeaderFormat::Luks(_) => {
            all.entry(FILE.into()).or_insert_with(|| FILE_NAME.into());
            of_startup_key(&all)
        }
        other => return Err(credential::unsupported(other)),
    };
    if names_startup_key {
        let text = "a file .BEK is a startup key's, of a BitLocker volume; it is named for the key, which is made here: name none";
        return Err(Error::InvalidOption(text.into()));
    }
    check_writable(volume)?;
    let store = find::store_of(url, vaults)?;
    all.insert(VOLUME.into(), volume.header().uuid().into());
    let found = match newest(store, url)? {
        Some(found) if is_of_killed_call(found.tags.clone(), &all, format) => found,
        Some(_) => {
            return Err(Error::ResourceExists(format!(
                "{url} is there already, with other tags: it may be another disk's. Name another secret, or replace the \
                 passphrase or startup key of a disk that has this one"
            )));
        }
        None => {
            let new = DiskCredential::generate(format)?;
            let value = seal(new.bytes(), tags.kek.as_ref(), vaults.keks)?;
            if let Some(name) = new.file_name()? {
                all.insert(FILE.into(), name);
            }
            let version = store.set(url.name(), &value, &all)?;
            store.get(url.name(), Some(&version))?
        }
    };
    give(volume, &find::in_secret(&found, tags.kek.as_ref(), format, vaults)?, keyslot)?;
    format!("{url}/{}", found.version).parse()
}

/// Gives an open volume its first passphrase of Azure Disk Encryption in a token of type [`TOKEN`], as confidential virtual
/// machines have it, and a keyslot for it. `like` holds the token's other fields; its passphrase is made here, and wrapped
/// under `like.kek_url` by RSA-OAEP-256. The other ways into the volume stay.
///
/// If this is killed at any instant, the volume opens as before, and has a token of that type only when its passphrase opens
/// it. Call it again with the same `like`. A token of type `Azure_Disk_Encryption_Next`, which only this crate knows, holds the
/// passphrase meanwhile.
///
/// # Errors
/// Errors of the key's vault, of [`Volume::add_protector`] and of [`import_token`](atrest::volume::Header::import_token), as
/// for a header of LUKS1; [`Error::InvalidName`] for the URL of the key; [`Error::ResourceExists`] if the volume has such a
/// token already, or one of a killed call with other fields; [`Error::UnsupportedHeader`] for a volume that isn't LUKS.
pub fn add_token<D: BlockDevice>(
    volume: &Volume<D>,
    like: &AdeToken,
    vaults: Vaults<'_>,
    keyslot: &KeyslotOptions,
) -> Result<()> {
    let format = volume.header().format();
    if !matches!(format, HeaderFormat::Luks(_)) {
        let text = format!("Azure Disk Encryption has tokens on Linux, in LUKS2, and this is {format}; take a secret");
        return Err(Error::UnsupportedHeader(text));
    }
    check_writable(volume)?;
    let kek = like.kek()?;
    let begun = tokens(volume, NEXT_TOKEN)?;
    // 1. The passphrase is on the disk before a keyslot has it.
    let (id, token) = match begun.into_iter().next() {
        Some((id, token)) if token.is_like(like) && matches!(token.passphrase, TokenPassphrase::Wrapped(_)) => {
            (id, token)
        }
        Some((id, _)) => {
            return Err(Error::ResourceExists(format!(
                "token {id} is of a call that was killed, for another key or vault: finish that call, or remove the token"
            )));
        }
        None if has_any(volume) => {
            // It may belong to a call whose answer was lost.
            let found = tokens(volume, TOKEN)?.into_iter().find(|(_, token)| token.is_like(like));
            let (_, token) = found.ok_or_else(has_one)?;
            return if opens(volume, &find::in_token(&token, vaults)?)? { Ok(()) } else { Err(has_one()) };
        }
        None => {
            let token = like.with(TokenPassphrase::Wrapped(wrap(&generate_passphrase()?, &kek, vaults.keks)?));
            (volume.header().import_token(token.to_json_of(NEXT_TOKEN))?, token)
        }
    };
    let json = token.to_json();
    let others = || Ok::<_, Error>(tokens(volume, TOKEN)?.into_iter().filter(|(_, of)| of.to_json() != json).count());
    if others()? > 0 || !token::of_type(&volume.header(), BACKUP_TOKEN).is_empty() {
        return Err(has_one());
    }
    // 2. The keyslot.
    give(volume, &find::in_token(&token, vaults)?, keyslot)?;
    // 3. The token that the extension reads, which opens the disk from its first instant.
    if tokens(volume, TOKEN)?.is_empty() {
        volume.header().import_token(&json)?;
    }
    volume.header().remove_protector(ProtectorId::Token(id))
}

/// Whether a secret with these tags is of a killed call that would set `wanted`. A startup key's file has another name in each call, and
/// has one: without it Windows wouldn't find the key.
fn is_of_killed_call(
    mut found: BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
    format: HeaderFormat,
) -> bool {
    let names_file = format != HeaderFormat::BitLocker || (of_startup_key(&found) && found.remove(FILE).is_some());
    names_file && found == *wanted
}

/// Before anything is made for it.
fn check_writable<D: BlockDevice>(volume: &Volume<D>) -> Result<()> {
    if volume.is_read_only() { Err(Error::ReadOnly) } else { Ok(()) }
}

fn newest(store: &dyn SecretStore, url: &SecretUrl) -> Result<Option<StoredSecret>> {
    match store.get(url.name(), None) {
        Ok(found) => Ok(Some(found)),
        Err(Error::KeyRefused { reason: KeyRefusal::Missing, .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Adds a keyslot, unless there is one, and proves it.
fn give<D: BlockDevice>(volume: &Volume<D>, all: &[DiskCredential], keyslot: &KeyslotOptions) -> Result<()> {
    if opens(volume, all)? {
        return Ok(());
    }
    let found = all.first().ok_or(Error::WrongPassphrase)?;
    credential::check(found, volume.header().format())?;
    volume.add_protector(found.protector(), keyslot)?;
    if opens(volume, all)? { Ok(()) } else { Err(Error::TamperedHeader) }
}

fn opens<D: BlockDevice>(volume: &Volume<D>, all: &[DiskCredential]) -> Result<bool> {
    Ok(!find::opened_by(&volume.header(), all, &OpenOptions::new())?.is_empty())
}

fn has_any<D: BlockDevice>(volume: &Volume<D>) -> bool {
    !token::numbers(&volume.header()).is_empty()
}

fn has_one() -> Error {
    let text = "the disk has a token of Azure Disk Encryption already: replace the passphrase in it instead";
    Error::ResourceExists(text.into())
}
