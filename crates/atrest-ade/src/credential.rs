//! [`DiskCredential`]: the passphrase or startup key of a disk.

use atrest::volume::{HeaderFormat, StartupKey};
use atrest::{Credential, Error, Protector, Result, Secret};

use crate::passphrase;

/// The longest passphrase that a secret may hold, in bytes. The extension for Linux makes passphrases of 172.
const LONGEST: usize = 4096;

/// The credential of a disk of Azure Disk Encryption, from its secret or its token. `Debug` shows nothing of it.
#[derive(Debug)]
#[non_exhaustive]
pub enum DiskCredential {
    /// Linux: the passphrase of LUKS.
    Passphrase(Secret),
    /// Windows: the bytes of the file with BitLocker's startup key (`.BEK`).
    StartupKey(Secret),
}

impl DiskCredential {
    /// The credential for opening a volume.
    pub fn credential(&self) -> Credential<'_> {
        match self {
            DiskCredential::Passphrase(passphrase) => Credential::Passphrase(passphrase.expose()),
            DiskCredential::StartupKey(file) => Credential::StartupKeyBytes(file.expose()),
        }
    }

    pub(crate) fn protector(&self) -> Protector<'_> {
        match self {
            DiskCredential::Passphrase(passphrase) => Protector::Passphrase(passphrase.expose()),
            DiskCredential::StartupKey(file) => Protector::StartupKeyBytes(file.expose()),
        }
    }

    pub(crate) fn bytes(&self) -> &Secret {
        match self {
            DiskCredential::Passphrase(bytes) | DiskCredential::StartupKey(bytes) => bytes,
        }
    }

    /// A new one for a volume of this format.
    ///
    /// # Errors
    /// [`Error::UnsupportedHeader`] for a format of neither system; [`Error::Random`].
    pub(crate) fn generate(format: HeaderFormat) -> Result<Self> {
        match format {
            HeaderFormat::Luks(_) => passphrase::generate_passphrase().map(DiskCredential::Passphrase),
            HeaderFormat::BitLocker => Ok(DiskCredential::StartupKey(StartupKey::generate()?.bytes())),
            other => Err(unsupported(other)),
        }
    }

    /// The name of its file, for the tag of its secret, if it has a name of its own.
    pub(crate) fn file_name(&self) -> Result<Option<String>> {
        match self {
            DiskCredential::Passphrase(_) => Ok(None),
            DiskCredential::StartupKey(file) => StartupKey::parse(file.expose()).map(|key| Some(key.file_name())),
        }
    }

    fn is_for(&self, format: HeaderFormat) -> bool {
        match self {
            DiskCredential::Passphrase(_) => format != HeaderFormat::BitLocker,
            DiskCredential::StartupKey(_) => format == HeaderFormat::BitLocker,
        }
    }
}

/// The possible meanings of bytes: a startup key if any of these is one, or else passphrases. With `is_startup_key` it is an
/// error if none is a startup key.
pub(crate) fn of_any(all: impl IntoIterator<Item = Secret>, is_startup_key: bool) -> Result<Vec<DiskCredential>> {
    let (mut others, mut failure) = (Vec::new(), None);
    for bytes in all {
        match StartupKey::parse(bytes.expose()) {
            Ok(_) => return Ok(vec![DiskCredential::StartupKey(bytes)]),
            Err(e) => failure = failure.or(Some(e)),
        }
        others.push(bytes);
    }
    match failure {
        Some(Error::InvalidOption(text)) if is_startup_key => Err(Error::InvalidOption(format!(
            "{text}. The secret's tags call it one: it is damaged, or wrapped by a key that they don't name; name that key, or another \
             version of the secret"
        ))),
        _ => Ok(passphrases(others)),
    }
}

/// Those with a valid length of a passphrase.
pub(crate) fn passphrases(all: impl IntoIterator<Item = Secret>) -> Vec<DiskCredential> {
    let fits = |bytes: &Secret| (1..=LONGEST).contains(&bytes.len());
    all.into_iter().filter(fits).map(DiskCredential::Passphrase).collect()
}

/// Refuses a credential of the other operating system's disks.
pub(crate) fn check(found: &DiskCredential, format: HeaderFormat) -> Result<()> {
    if found.is_for(format) {
        return Ok(());
    }
    Err(Error::NoSuchProtector(match found.file_name()? {
        None => format!(
            "the disk is {format}, as Windows has it, and no startup key (.BEK) was found: what the secret holds may be the \
             passphrase of a disk of Linux, or wrapped by a key that its tags don't name; name that key, or the disk's own secret"
        ),
        Some(name) => format!(
            "the disk is {format}, as Linux has it, and opens by a passphrase; the secret holds the startup key {name} of a \
             BitLocker volume of Windows; name the disk's own secret"
        ),
    }))
}

pub(crate) fn unsupported(format: HeaderFormat) -> Error {
    let text = format!("Azure Disk Encryption is LUKS on Linux and BitLocker on Windows, and this is {format}");
    Error::UnsupportedHeader(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_apart_by_what_they_are() {
        let secret = |bytes: &[u8]| Secret::copy_from(bytes);
        let file = StartupKey::generate().unwrap().bytes();
        let found = of_any([secret(b"else"), file.clone()], false).unwrap();
        assert!(matches!(found.as_slice(), [DiskCredential::StartupKey(bytes)] if bytes.expose() == file.expose()));
        let found = of_any([secret(b""), secret(b"one"), secret(&[7; 5000]), secret(b"two")], false).unwrap();
        let texts: Vec<_> = found.iter().map(|found| found.bytes().expose()).collect();
        assert_eq!(texts, [b"one", b"two"]);
        for cut in 0..file.len() {
            let refused = of_any([secret(&file.expose()[..cut])], true).unwrap_err();
            assert!(matches!(&refused, Error::InvalidOption(text) if text.contains(".BEK")), "{refused}");
        }
    }
}
