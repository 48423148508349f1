//! [`StartupKey`]: a startup key of BitLocker, and its file.

use core::fmt;
use std::path::{Path, PathBuf};

use super::headers::bitlocker_time;
use crate::ondisk::bitlocker::{ExternalKey, MAX_FILE};
use crate::{Result, Secret, fs};

const WHAT: &str = "startup key file";

/// The bytes of a file that holds a startup key.
pub(super) fn read_startup_key(path: &Path) -> Result<Secret> {
    let failed = |e| fs::error_at(path, WHAT, "reading the startup key file", e);
    let file = fs::read_secret(path, MAX_FILE).map_err(failed)?;
    ExternalKey::parse(file.expose())?;
    Ok(file)
}

/// A startup key of BitLocker: 256 random bits in a file, for example on a USB stick. Windows calls it a recovery key if it
/// isn't asked for at each start.
///
/// **Write the file first**, then add the protector from it, so that no protector ever lacks its key.
///
/// ```
/// use atrest::volume::{BitLockerOptions, KeyslotOptions, StartupKey};
/// use atrest::{Credential, MemoryDevice, OpenOptions, Protector, Volume};
///
/// let stick = tempfile::tempdir()?;
/// let device = MemoryDevice::new(4 << 20);
/// let volume = Volume::format_bitlocker(device, Protector::Passphrase(b"secret"), &BitLockerOptions::new())?;
/// let file = StartupKey::generate()?.write(stick.path())?; // such as 4381F759-C4F8-4DE0-BB61-FC33A831BDA5.BEK
/// volume.add_protector(Protector::StartupKey(&file), &KeyslotOptions::new())?;
///
/// let volume = Volume::open(volume.into_device(), Credential::StartupKey(&file), &OpenOptions::new())?;
/// assert_eq!(volume.header().keyslots()[1].kind, "startup key");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StartupKey(ExternalKey);

impl StartupKey {
    /// A new one, from the operating system's random bytes.
    ///
    /// # Errors
    /// [`Error::Random`](crate::Error::Random).
    pub fn generate() -> Result<Self> {
        ExternalKey::random(bitlocker_time()).map(StartupKey)
    }

    /// Parses the bytes of its file.
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) names the defect, and shows none of the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        ExternalKey::parse(bytes).map(StartupKey)
    }

    /// The bytes of its file, for keeping them elsewhere.
    pub fn bytes(&self) -> Secret {
        self.0.file()
    }

    /// The name that Windows looks for, in the first folder of a stick: the identifier of the protector in capitals, and
    /// `.BEK`.
    pub fn file_name(&self) -> String {
        format!("{}.BEK", self.0.id.to_string().to_uppercase())
    }

    /// Writes the file, readable by its owner only, to `path`; if that is a folder, into it by [its name](Self::file_name). The
    /// file is on the disk when this returns its path. An existing file is not overwritten.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists); [`Error::NotFound`](crate::Error::NotFound) without the folder;
    /// [`Error::Io`](crate::Error::Io).
    pub fn write(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        let path = if path.is_dir() { path.join(self.file_name()) } else { path.to_owned() };
        let file = self.0.file();
        let failed = |e| fs::error_at(&path, WHAT, "writing the startup key file", e);
        fs::write_new(&path, file.expose()).map_err(failed)?;
        Ok(path)
    }
}

impl fmt::Debug for StartupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartupKey")
    }
}
