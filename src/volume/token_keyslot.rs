//! A keyslot for programs that open volumes only by keyslots, but let a plugin find the passphrase: libcryptsetup, with a plugin
//! for tokens of type `atrest`. Its passphrase is derived from the DEK, so only callers whose vault unwraps the DEK have it.

use super::headers::{Means, NewKeyslot, StoredHeader, read_metadata};
use super::unlock::{Budget, Locked};
use super::{BlockDevice, MemoryDevice, Volume};
use crate::arch::on_wiped_stack;
use crate::key::{HashAlgorithm, Kdf, KdfLimits, KeyVault, Passphrase};
use crate::ondisk::luks::Priority;
use crate::{Dek, Error, Result, Secret};

/// The passphrase has 256 bits of a key, to which iterations add nothing. These are the least that other programs take.
const KDF: Kdf = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };

/// The keyslot of a DEK.
pub(super) fn new(dek: &Dek) -> NewKeyslot<'static> {
    let passphrase = Passphrase::Read(zeroize::Zeroizing::new(dek.token_passphrase().expose().to_vec()));
    NewKeyslot { id: None, by: Means::Passphrase, kdf: KDF, passphrase, priority: Priority::Normal, of_tokens: true }
}

impl<D: BlockDevice> Volume<D> {
    /// Lets other programs open the volume by its vaults, and returns the number of the keyslot that is for them.
    ///
    /// Programs on libcryptsetup, such as `cryptsetup` and `systemd-cryptsetup`, open a volume by a token only if it names a
    /// keyslot whose passphrase a plugin for that token finds. This makes such a keyslot, unless there is one, and all vaults'
    /// tokens name it. Its passphrase is derived from the DEK. So it opens for callers whose vault unwraps the DEK, is no way in
    /// of its own, and stays valid when KEKs change. A re-encryption makes it anew, and removing the last token removes it. To
    /// undo it, remove the keyslot.
    ///
    /// If this is killed at any instant, the tokens name the keyslot or not; they open the volume here either way.
    ///
    /// # Errors
    /// [`Error::NoSuchProtector`] if no vault opens the volume; otherwise as [`add_protector`](Self::add_protector).
    pub fn bind_tokens(&self) -> Result<u32> {
        on_wiped_stack(|| {
            self.check_writable()?;
            let mut header = self.locked_header();
            let dek = self.dek();
            header.check_takes_tokens()?;
            if header.genuine_tokens(&dek).is_empty() {
                return Err(Error::NoSuchProtector(
                    "no vault opens this volume, so no token can name a keyslot".into(),
                ));
            }
            if let Some(id) = bound(&**header, self.header_device(), &dek)? {
                return Ok(id);
            }
            header.bind_tokens(self.header_device(), &dek, &new(&dek))
        })
    }
}

/// The keyslot that every genuine token names and that opens by the DEK's passphrase.
fn bound(header: &dyn StoredHeader, device: &dyn BlockDevice, dek: &Dek) -> Result<Option<u32>> {
    let genuine: Vec<u32> = header.genuine_tokens(dek).into_iter().map(|(id, _)| id).collect();
    let mut tokens = header.token_infos();
    tokens.retain(|token| genuine.contains(&token.id));
    let passphrase = dek.token_passphrase();
    for id in header.token_keyslots() {
        if !tokens.iter().all(|token| token.keyslots.contains(&id)) {
            continue;
        }
        for (_, attempt) in header.attempts(Some(id), Means::Passphrase) {
            let Ok(attempt) = attempt else { continue };
            if attempt.check(&KdfLimits::default()).is_err() {
                continue;
            }
            if attempt.open(device, passphrase.expose(), &|key| header.verify(key))?.is_some() {
                return Ok(Some(id));
            }
        }
    }
    Ok(None)
}

/// Options for [`token_passphrase`].
#[derive(Debug, Clone, Default)]
pub struct TokenOptions {
    key: Option<String>,
}

impl TokenOptions {
    /// Any key of the vault.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the key that must wrap the DEK.
    pub fn expect_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// The passphrase of the keyslot that [`Volume::bind_tokens`] has made, for a program that has read the LUKS2 header itself and
/// opens the keyslot itself.
///
/// `metadata` is the header's JSON as that program holds it, `uuid` its UUID, and `token` the number of the token to open it
/// by. The MAC of the token proves the JSON before the passphrase is returned: a program that then uses the segments of this
/// JSON uses those that an owner of the DEK wrote.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("keys.vault");
/// use atrest::vault::{FileVault, Unlock};
/// use atrest::volume::{TokenOptions, token_passphrase};
/// use atrest::{Credential, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};
///
/// let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
/// vault.create_key("disks")?;
/// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Vault(&vault, "disks"), &FormatOptions::new())?;
/// let keyslot = volume.bind_tokens()?;
///
/// // Another program knows the header.
/// # let header = volume.header();
/// # let json = header.metadata_json().unwrap();
/// let passphrase = token_passphrase(json, header.uuid(), 0, &vault, &TokenOptions::new().expect_key("disks"))?;
///
/// let options = OpenOptions::new().keyslot(keyslot);
/// # drop(header);
/// Volume::open(volume.into_device(), Credential::Passphrase(passphrase.expose()), &options)?;
/// # Ok::<(), atrest::Error>(())
/// ```
///
/// # Errors
/// [`Error::NoSuchProtector`] if there is no such token of type `atrest`, or it names no keyslot;
/// [`Error::NotThisVault`]; [`Error::OtherKey`]; [`Error::TamperedHeader`]; [`Error::InvalidHeader`];
/// [`Error::UnsupportedHeader`]; the vault's errors.
pub fn token_passphrase(
    metadata: &[u8],
    uuid: &str,
    token: u32,
    vault: &dyn KeyVault,
    options: &TokenOptions,
) -> Result<Secret> {
    on_wiped_stack(|| {
        let header = read_metadata(metadata, uuid)?;
        let area = header.data_area(true)?;
        area.check_encrypted()?;
        let no = |what| Error::NoSuchProtector(format!("token {token} {what}"));
        let infos = header.token_infos();
        let info = infos.iter().find(|info| info.id == token).ok_or_else(|| no("isn't there"))?;
        let tokens: Vec<_> = header.tokens()?.into_iter().filter(|(id, _)| *id == token).collect();
        if tokens.is_empty() {
            return Err(no("is none of type atrest"));
        }
        if info.keyslots.is_empty() {
            return Err(no("names no keyslot; `Volume::bind_tokens` makes one"));
        }
        // A vault's token is opened without the header's device.
        let device = MemoryDevice::new(0);
        let locked = Locked {
            header: &*header,
            device: &device,
            cipher: area.cipher,
            keyslot: None,
            budget: &Budget::new(KdfLimits::default()),
            key: options.key.as_deref(),
            ignore_tokens: false,
        };
        Ok(locked.by_tokens(vault, tokens)?.token_passphrase())
    })
}
