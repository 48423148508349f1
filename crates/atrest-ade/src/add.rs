//! The first passphrase of Azure Disk Encryption for a disk that has none.

use atrest::volume::{HeaderFormat, KeyslotOptions, ProtectorId};
use atrest::{BlockDevice, Error, KeyRefusal, OpenOptions, Protector, Result, Secret, Volume};

use crate::find::{self, Vaults};
use crate::object_url::SecretUrl;
use crate::passphrase::{generate, seal, wrap};
use crate::store::{SecretStore, StoredSecret};
use crate::tags::Tags;
use crate::token::{self, AdeToken, BACKUP_TOKEN, NEXT_TOKEN, TOKEN, TokenPassphrase, tokens};

/// The tag with the UUID of the volume. It is this crate's own: by it, a call knows the secret of one that was killed.
const VOLUME: &str = "VolumeUUID";

/// Gives an open volume its first passphrase of Azure Disk Encryption, as a secret of a vault, and a keyslot for it. Returns the URL with
/// the secret's version, for the settings of the virtual machine.
///
/// `url` names the secret, without a version. The passphrase is made here ([`generate`](crate::generate)), and wrapped by the key of
/// `tags` if there is one. The secret gets these tags, and the tag `VolumeUUID`. The other ways into the volume stay.
///
/// The secret is in the vault before the volume has a keyslot for it, and the keyslot is proven by what the vault gives back. Killed
/// at any instant, the volume opens as before; call it again with the same `url` and `tags`: the newest version of a secret that has
/// exactly these tags is taken for the one of the killed call, and none is made. To undo a killed call instead, delete the secret.
///
/// # Errors
/// Those of the vaults and of [`Volume::add_protector`]; [`Error::NotThisVault`] if the secret or the key is in a vault that isn't among
/// these; [`Error::ResourceExists`] for a secret that is there with other tags, which may be another disk's;
/// [`Error::InvalidOption`] for a URL with a version; [`Error::UnsupportedHeader`] for a volume that isn't LUKS.
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
    check(volume)?;
    let store = find::store_of(url, vaults)?;
    let mut all = tags.to_map();
    all.insert(VOLUME.into(), volume.header().uuid().into());
    let found = match newest(store, url)? {
        Some(found) if found.tags == all => found,
        Some(_) => {
            return Err(Error::ResourceExists(format!(
                "{url} is there already, with other tags: it may be another disk's. Name another secret, or replace the \
                 passphrase of a disk that has this one"
            )));
        }
        None => {
            let value = seal(&generate()?, tags.kek.as_ref(), vaults.keks)?;
            let version = store.set(url.name(), &value, &all)?;
            store.get(url.name(), Some(&version))?
        }
    };
    give(volume, &find::in_secret(&found, tags.kek.as_ref(), vaults)?, keyslot)?;
    format!("{url}/{}", found.version).parse()
}

/// Gives an open volume its first passphrase of Azure Disk Encryption in a token of type [`TOKEN`], as confidential virtual machines
/// have it, and a keyslot for it. `like` says what the token names; its passphrase is made here, and wrapped under `like.kek_url` by
/// RSA-OAEP-256. The other ways into the volume stay.
///
/// Killed at any instant, the volume opens as before, and has a token of that type only when its passphrase opens it; call it again
/// with the same `like`. A token of type `Azure_Disk_Encryption_Next`, which only this crate knows, holds the passphrase meanwhile.
///
/// # Errors
/// Those of the key's vault, of [`Volume::add_protector`] and of [`import_token`](atrest::volume::Header::import_token), as for a
/// header of LUKS1; [`Error::InvalidName`] for the URL of the key; [`Error::ResourceExists`] if the volume has such a token already, or
/// one of a killed call that names something else; [`Error::UnsupportedHeader`] for a volume that isn't LUKS.
pub fn add_token<D: BlockDevice>(
    volume: &Volume<D>,
    like: &AdeToken,
    vaults: Vaults<'_>,
    keyslot: &KeyslotOptions,
) -> Result<()> {
    check(volume)?;
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
            // Perhaps of a call whose answer was lost.
            let found = tokens(volume, TOKEN)?.into_iter().find(|(_, token)| token.is_like(like));
            let (_, token) = found.ok_or_else(has_one)?;
            return if opens(volume, &find::in_token(&token, vaults)?)? { Ok(()) } else { Err(has_one()) };
        }
        None => {
            let token = like.with(TokenPassphrase::Wrapped(wrap(&generate()?, &kek, vaults.keks)?));
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

/// Refuses what couldn't have a keyslot, before anything is made for it.
fn check<D: BlockDevice>(volume: &Volume<D>) -> Result<()> {
    let format = volume.header().format();
    if !matches!(format, HeaderFormat::Luks(_)) {
        let text = format!("Azure Disk Encryption of Linux is LUKS, and this is {format}");
        return Err(Error::UnsupportedHeader(text));
    }
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
fn give<D: BlockDevice>(volume: &Volume<D>, passphrases: &[Secret], keyslot: &KeyslotOptions) -> Result<()> {
    if opens(volume, passphrases)? {
        return Ok(());
    }
    let passphrase = passphrases.first().ok_or(Error::WrongPassphrase)?;
    volume.add_protector(Protector::Passphrase(passphrase.expose()), keyslot)?;
    if opens(volume, passphrases)? { Ok(()) } else { Err(Error::TamperedHeader) }
}

fn opens<D: BlockDevice>(volume: &Volume<D>, passphrases: &[Secret]) -> Result<bool> {
    Ok(!find::opened_by(&volume.header(), passphrases, &OpenOptions::new())?.is_empty())
}

fn has_any<D: BlockDevice>(volume: &Volume<D>) -> bool {
    !token::numbers(&volume.header()).is_empty()
}

fn has_one() -> Error {
    let text = "the disk has a token of Azure Disk Encryption already: replace the passphrase in it instead";
    Error::ResourceExists(text.into())
}
