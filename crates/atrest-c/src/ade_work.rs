//! Calls the crate `atrest-ade` for C.

use atrest::volume::{KeyslotOptions, ProtectorId};
use atrest::{KeyVault, OpenOptions, Secret, Volume};
use atrest_ade::{
    AdeToken, Disk, Kek, KeyEncryptionKeys, ReplaceOptions, SecretStore, SecretUrl, Source, Tags, TakeOverOptions,
    Vaults,
};

use crate::ade_given::{Given, New, Told};
use crate::ade_vaults::AdeVault;
use crate::device::Device;
use crate::failure::{Failure, Result};
use crate::status::ATREST_ERR_INVALID_OPTION;

pub(crate) fn open(given: &Given<'_>, vaults: &[&AdeVault], options: &OpenOptions) -> Result<Volume<Device>> {
    let source = source(given)?;
    with(vaults, |vaults| Ok(atrest_ade::open(&disk(given), &source, vaults, options)?))
}

pub(crate) fn take_over(
    given: &Given<'_>,
    vaults: &[&AdeVault],
    vault: &dyn KeyVault,
    key: &str,
    reencrypt: bool,
    options: &OpenOptions,
) -> Result<(Volume<Device>, Told)> {
    let (source, options) = (source(given)?, TakeOverOptions::new().open(options.clone()).reencrypt(reencrypt));
    let taken = with(vaults, |vaults| Ok(atrest_ade::take_over(&disk(given), &source, vaults, vault, key, &options)?))?;
    Ok((taken.volume, Told { removed: bits(&taken.removed), left: bits(&taken.left) }))
}

pub(crate) fn replace_secret(
    given: &Given<'_>,
    vaults: &[&AdeVault],
    options: OpenOptions,
    keyslot: KeyslotOptions,
) -> Result<String> {
    let url = given.secret.ok_or_else(|| {
        Failure::new(ATREST_ERR_INVALID_OPTION, "`disk.secret_url` is NULL; for a token call atrest_ade_replace_token")
    })?;
    let (url, kek): (SecretUrl, _) = (url.parse()?, kek(given)?);
    let options = ReplaceOptions::new().open(options).keyslot(keyslot);
    let made =
        with(vaults, |vaults| Ok(atrest_ade::replace_secret(&disk(given), &url, kek.as_ref(), vaults, &options)?))?;
    Ok(made.to_string())
}

pub(crate) fn replace_token(
    given: &Given<'_>,
    vaults: &[&AdeVault],
    options: OpenOptions,
    keyslot: KeyslotOptions,
) -> Result {
    if given.secret.is_some() {
        let text = "`disk.secret_url` isn't NULL; for a secret call atrest_ade_replace_secret";
        return Err(Failure::new(ATREST_ERR_INVALID_OPTION, text));
    }
    let options = ReplaceOptions::new().open(options).keyslot(keyslot);
    with(vaults, |vaults| Ok(atrest_ade::replace_token(&disk(given), vaults, &options)?))
}

pub(crate) fn add_secret(
    volume: &Volume<Device>,
    new: &New<'_>,
    vaults: &[&AdeVault],
    keyslot: &KeyslotOptions,
) -> Result<String> {
    let url = new.secret.ok_or_else(|| {
        let text = "`new_passphrase.secret_url` is NULL; for a token call atrest_ade_add_token";
        Failure::new(ATREST_ERR_INVALID_OPTION, text)
    })?;
    let url: SecretUrl = url.parse()?;
    let mut tags = Tags::default();
    tags.kek = new.kek.map(|url| Kek::new(url, new.algorithm)).transpose()?;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    (tags.file_name, tags.machine_name) = (owned(new.file), owned(new.machine));
    (tags.volume_letter, tags.volume_label) = (owned(new.letter), owned(new.label));
    let made = with(vaults, |vaults| Ok(atrest_ade::add_secret(volume, &url, &tags, vaults, keyslot)?))?;
    Ok(made.to_string())
}

pub(crate) fn add_token(
    volume: &Volume<Device>,
    new: &New<'_>,
    vaults: &[&AdeVault],
    keyslot: &KeyslotOptions,
) -> Result {
    if new.secret.is_some() {
        let text = "`new_passphrase.secret_url` isn't NULL; for a secret call atrest_ade_add_secret";
        return Err(Failure::new(ATREST_ERR_INVALID_OPTION, text));
    }
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let mut like = AdeToken::default();
    (like.kek_url, like.vault_url) = (owned(new.kek), owned(new.vault));
    (like.vault_resource, like.kek_vault_resource) = (owned(new.resource), owned(new.resource));
    like.attestation_url = owned(new.attestation);
    with(vaults, |vaults| Ok(atrest_ade::add_token(volume, &like, vaults, keyslot)?))
}

pub(crate) fn generate() -> Result<Secret> {
    Ok(atrest_ade::generate_passphrase()?)
}

pub(crate) fn seal(passphrase: &[u8], kek: Option<(&str, &str)>, vaults: &[&AdeVault]) -> Result<Secret> {
    let (passphrase, kek) = (Secret::copy_from(passphrase), kek.map(|(url, by)| Kek::new(url, by)).transpose()?);
    with(vaults, |vaults| Ok(atrest_ade::seal(&passphrase, kek.as_ref(), vaults.keks)?))
}

fn disk(given: &Given<'_>) -> Disk {
    let disk = Disk::new(given.device.clone());
    if let Some(header) = given.header { disk.header(header.clone()) } else { disk }
}

fn kek(given: &Given<'_>) -> Result<Option<Kek>> {
    Ok(given.kek.map(|(url, algorithm)| Kek::new(url, algorithm)).transpose()?)
}

fn source(given: &Given<'_>) -> Result<Source> {
    Ok(match given.secret {
        Some(url) => Source::Secret { url: url.parse()?, kek: kek(given)? },
        None => Source::Token,
    })
}

fn with<T>(vaults: &[&AdeVault], call: impl FnOnce(Vaults<'_>) -> Result<T>) -> Result<T> {
    let secrets: Vec<&dyn SecretStore> = vaults.iter().map(|vault| &*vault.secrets).collect();
    let keks: Vec<&dyn KeyEncryptionKeys> = vaults.iter().map(|vault| &*vault.keks).collect();
    call(Vaults { secrets: &secrets, keks: &keks })
}

/// Bit sets of keyslots and of tokens. LUKS2 has 32 of each.
fn bits(ways: &[ProtectorId]) -> (u32, u32) {
    let bit = |id: u32| 1u32.checked_shl(id).unwrap_or(0);
    ways.iter().fold((0, 0), |(keyslots, tokens), way| match way {
        ProtectorId::Keyslot(id) => (keyslots | bit(*id), tokens),
        ProtectorId::Token(id) => (keyslots, tokens | bit(*id)),
        _ => (keyslots, tokens),
    })
}
