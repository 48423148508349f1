//! [`take_over`].

use std::sync::Arc;

use atrest::key::KeyId;
use atrest::volume::{Header, HeaderFormat, KeyslotOptions, ProtectorId, ReencryptOptions};
use atrest::{BlockDevice, Credential, Error, KeyVault, OpenOptions, Protector, Result, Volume};

use crate::disk::Disk;
use crate::find::{self, Source, Vaults};
use crate::token;

/// How many bytes a step of a re-encryption moves at most.
const STEP: u64 = 64 << 20;

/// Options of [`take_over`].
#[derive(Debug, Clone, Default)]
pub struct TakeOverOptions {
    open: OpenOptions,
    reencrypt: bool,
}

impl TakeOverOptions {
    /// The data stays under its DEK, which the vault wraps from now on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The options to open the disk with, such as [`OpenOptions::kdf_limits`]. The header's device is that of the [`Disk`].
    pub fn open(mut self, options: OpenOptions) -> Self {
        self.open = options;
        self
    }

    /// Whether to re-encrypt the data under a new DEK that only the vault wraps. Anyone who knows the old DEK, such as an
    /// administrator of the guest, then can't use it. This reads and writes the whole disk, and **removes every other
    /// keyslot**, including those that aren't of Azure Disk Encryption.
    pub fn reencrypt(mut self, reencrypt: bool) -> Self {
        self.reencrypt = reencrypt;
        self
    }
}

/// A disk that has been taken over.
#[derive(Debug)]
#[non_exhaustive]
pub struct TakenOver {
    /// The volume, open by the vault.
    pub volume: Volume<Arc<dyn BlockDevice>>,
    /// The ways in that this call removed: the keyslots that the passphrase opened, and the tokens of Azure Disk Encryption.
    pub removed: Vec<ProtectorId>,
    /// The other ways into the disk besides the vault's: other keyslots, and their tokens. They stay.
    pub left: Vec<ProtectorId>,
}

/// Brings a disk of Azure Disk Encryption of Linux under a key of a vault.
///
/// The order makes it safe to kill at any instant, and to call again:
///
/// 1. The disk is opened by the passphrase, and gets a token of type `atrest` for the vault's key.
/// 2. It is opened anew by the vault alone, and must have the same DEK.
/// 3. If asked for, it is re-encrypted. A call after a kill continues that.
/// 4. The keyslots that the passphrase opens are removed, and then the tokens of Azure Disk Encryption.
///
/// So until the vault has opened the disk, the old ways in stay. A call after a kill does the remaining steps. It needs the
/// passphrase too, to find the keyslots that it opens: the secret stays in its vault. Delete it when neither the disk nor its
/// snapshots need it.
///
/// # Errors
/// As [`open`](crate::open) and [`Volume::add_protector`]; [`Error::UnsupportedHeader`] for LUKS1: convert it by
/// [`Disk::convert_to_luks2`] first; and for BitLocker, which has no place for a vault's key: copy the data of a disk of
/// Windows into a new volume. After an error the disk opens as before, or by the vault, or both.
pub fn take_over(
    disk: &Disk,
    source: &Source,
    vaults: Vaults<'_>,
    vault: &dyn KeyVault,
    key: &str,
    options: &TakeOverOptions,
) -> Result<TakenOver> {
    let header = disk.load()?;
    let format = header.format();
    let (is_ours, has_tokens) = (is_of(&header, vault), !token::numbers(&header).is_empty());
    drop(header);
    if format == HeaderFormat::BitLocker {
        return Err(Error::UnsupportedHeader(
            "a BitLocker volume has no place for a vault's key, and isn't taken over where it lies: open it by its secret, and copy \
             its data into a new volume or disk under that key"
                .into(),
        ));
    }
    let old = match source {
        // A call before this one has removed the tokens, and before them the keyslots.
        Source::Token if is_ours && !has_tokens => Vec::new(),
        source => find::credentials(disk, format, source, vaults)?,
    };
    let by_vault = || Volume::open(disk.device.clone(), Credential::Vault(vault), &disk.options(&options.open));
    let volume = if is_ours {
        by_vault()?
    } else {
        let volume = find::by_any(disk, format, &old, &options.open)?;
        let fingerprint = volume.fingerprint()?;
        volume.add_protector(Protector::Vault(vault, key), &KeyslotOptions::new())?;
        // The device's content counts, and not this process's state.
        drop(volume);
        let volume = by_vault()?;
        if volume.fingerprint()? != fingerprint {
            return Err(Error::TamperedHeader);
        }
        volume
    };
    let mut keyslots = Vec::new();
    if volume.reencryption().is_none() {
        keyslots = find::opened_by(&volume.header(), &old, &options.open)?;
        if options.reencrypt && !keyslots.is_empty() {
            volume.begin_reencryption(&[Protector::Vault(vault, key)], &ReencryptOptions::new())?;
        }
    }
    if volume.reencryption().is_some() {
        while !volume.reencrypt_step(STEP)?.is_finished() {}
        keyslots.clear();
    }
    let mut removed = Vec::new();
    let tokens = token::numbers(&volume.header()).into_iter().map(ProtectorId::Token);
    for id in keyslots.into_iter().map(ProtectorId::Keyslot).chain(tokens) {
        volume.header().remove_protector(id)?;
        removed.push(id);
    }
    let left = others(&volume.header());
    Ok(TakenOver { volume, removed, left })
}

/// Whether the header has a token for a key of this vault. Whether it is a sound one, opening by it shows.
fn is_of(header: &Header<'_>, vault: &dyn KeyVault) -> bool {
    let urls = header.tokens().into_iter().filter_map(|token| token.key_url);
    urls.into_iter().any(|url| url.parse::<KeyId>().is_ok_and(|key| key.vault() == vault.id()))
}

fn others(header: &Header<'_>) -> Vec<ProtectorId> {
    let keyslots = header.keyslots().into_iter().map(|keyslot| ProtectorId::Keyslot(keyslot.id));
    let tokens = header.tokens().into_iter().filter(|token| !token.kind.starts_with("atrest"));
    keyslots.chain(tokens.map(|token| ProtectorId::Token(token.id))).collect()
}
