//! The ways to open a volume, and the ways to protect one.

use core::fmt;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::{Dek, KeyVault};
#[cfg(feature = "bitlocker")]
use crate::Secret;
use crate::{Error, Result, fs};

/// The most bytes of a passphrase or key file, 8 MiB, for keyslots and vaults alike.
///
/// The reference implementation has the same limit, so every passphrase that works there works here.
pub const MAX_PASSPHRASE: usize = 8 << 20;

/// Opens a volume. All operations take this one type.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Credential<'a> {
    /// A vault that holds the KEK under which the volume's DEK is wrapped.
    Vault(&'a dyn KeyVault),
    /// A passphrase of at most [`MAX_PASSPHRASE`] bytes. Every byte counts, including a newline at the end. Other
    /// programs use an empty passphrase for volumes that open without asking.
    Passphrase(&'a [u8]),
    /// A file whose whole content is the passphrase, at most [`MAX_PASSPHRASE`] bytes. It may be empty.
    KeyFile(&'a Path),
    /// The DEK itself.
    Dek(&'a Dek),
    /// A recovery password of BitLocker: eight groups of six digits, with dashes between them.
    #[cfg(feature = "bitlocker")]
    RecoveryPassword(&'a str),
    /// A file with a startup key or recovery key of BitLocker (`.BEK`), as Windows writes it.
    #[cfg(feature = "bitlocker")]
    StartupKey(&'a Path),
    /// The bytes of such a file, which lie elsewhere: Azure Disk Encryption has them in a key vault.
    #[cfg(feature = "bitlocker")]
    StartupKeyBytes(&'a [u8]),
    /// The clear key of a BitLocker volume whose protection is suspended: it lies on the volume itself. It also stands for no
    /// key at all, for a volume that Windows has decrypted but not yet converted back.
    #[cfg(feature = "bitlocker")]
    ClearKey,
}

/// A new way into a volume: a vault's key, a passphrase or a key file.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Protector<'a> {
    /// A vault, and the name of a key in it. The key's latest version wraps the DEK.
    Vault(&'a dyn KeyVault, &'a str),
    /// A passphrase of 1 byte to [`MAX_PASSPHRASE`].
    Passphrase(&'a [u8]),
    /// A file whose whole content is the passphrase: 1 byte to [`MAX_PASSPHRASE`].
    KeyFile(&'a Path),
    /// A recovery password of BitLocker: [`RecoveryPassword`](crate::volume::RecoveryPassword) makes one.
    #[cfg(feature = "bitlocker")]
    RecoveryPassword(&'a str),
    /// A file with a startup key of BitLocker (`.BEK`): [`StartupKey`](crate::volume::StartupKey) writes one. Several volumes may
    /// have the same.
    #[cfg(feature = "bitlocker")]
    StartupKey(&'a Path),
    /// The bytes of such a file: those of [`StartupKey::bytes`](crate::volume::StartupKey::bytes). They are kept elsewhere before the
    /// protector is added.
    #[cfg(feature = "bitlocker")]
    StartupKeyBytes(&'a [u8]),
}

/// The bytes of a passphrase: the caller's, or those of a key file.
pub(crate) enum Passphrase<'a> {
    Given(&'a [u8]),
    Read(Zeroizing<Vec<u8>>),
    /// The content of a file in another format.
    #[cfg(feature = "bitlocker")]
    File(Secret),
}

impl<'a> Passphrase<'a> {
    pub(crate) fn given(bytes: &'a [u8]) -> Result<Self> {
        check_len(bytes.len())?;
        Ok(Passphrase::Given(bytes))
    }

    /// Reads a key file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let failed = |e| fs::error_at(path, "key file", "reading the key file", e);
        let file = fs::open_stream(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        // Reserve room for all of it, because a growing vector leaves copies. A pipe doesn't say how much it holds.
        let room = if len == 0 { MAX_PASSPHRASE } else { len.min(MAX_PASSPHRASE as u64) as usize };
        let mut bytes = Zeroizing::new(Vec::with_capacity(room + 32));
        file.take(MAX_PASSPHRASE as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        check_len(bytes.len())?;
        Ok(Passphrase::Read(bytes))
    }

    /// Checks the passphrase of a new protector. An empty one can open a volume but protects nothing.
    pub(crate) fn protecting(self) -> Result<Self> {
        if self.bytes().is_empty() {
            let text = "a new passphrase or key file has 1 byte to 8 MiB, not 0 bytes";
            return Err(Error::InvalidOption(text.into()));
        }
        Ok(self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Passphrase::Given(bytes) => bytes,
            Passphrase::Read(bytes) => bytes,
            #[cfg(feature = "bitlocker")]
            Passphrase::File(bytes) => bytes.expose(),
        }
    }
}

fn check_len(len: usize) -> Result<()> {
    if len <= MAX_PASSPHRASE {
        return Ok(());
    }
    Err(Error::InvalidOption(format!("a passphrase or key file has at most 8 MiB, not {len} bytes")))
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Vault(vault) => write!(f, "Credential::Vault({})", vault.id()),
            Credential::Passphrase(_) => f.write_str("Credential::Passphrase"),
            Credential::KeyFile(path) => write!(f, "Credential::KeyFile({})", path.display()),
            Credential::Dek(dek) => write!(f, "Credential::Dek({dek:?})"),
            #[cfg(feature = "bitlocker")]
            Credential::RecoveryPassword(_) => f.write_str("Credential::RecoveryPassword"),
            #[cfg(feature = "bitlocker")]
            Credential::StartupKey(path) => write!(f, "Credential::StartupKey({})", path.display()),
            #[cfg(feature = "bitlocker")]
            Credential::StartupKeyBytes(_) => f.write_str("Credential::StartupKeyBytes"),
            #[cfg(feature = "bitlocker")]
            Credential::ClearKey => f.write_str("Credential::ClearKey"),
        }
    }
}

impl fmt::Debug for Protector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protector::Vault(vault, key) => write!(f, "Protector::Vault({}, {key})", vault.id()),
            Protector::Passphrase(_) => f.write_str("Protector::Passphrase"),
            Protector::KeyFile(path) => write!(f, "Protector::KeyFile({})", path.display()),
            #[cfg(feature = "bitlocker")]
            Protector::RecoveryPassword(_) => f.write_str("Protector::RecoveryPassword"),
            #[cfg(feature = "bitlocker")]
            Protector::StartupKey(path) => write!(f, "Protector::StartupKey({})", path.display()),
            #[cfg(feature = "bitlocker")]
            Protector::StartupKeyBytes(_) => f.write_str("Protector::StartupKeyBytes"),
        }
    }
}
