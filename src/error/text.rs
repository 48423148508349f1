//! The text of each [`Error`]: what is wrong, and what to do next.

use core::error::Error as _;
use core::fmt;

use super::Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_what(f)?;
        let mut source = self.source().filter(|_| f.alternate());
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl Error {
    fn fmt_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::KeyLength { len } => {
                write!(
                    f,
                    "an XTS key is 32 bytes (AES-128-XTS) or 64 bytes (AES-256-XTS) long, a CBC key 16, 24 or 32, \
                     a CTR or HCTR2 key 32, not {len}"
                )
            }
            Error::EqualKeyHalves => f.write_str("the two halves of the XTS key are equal; use a key of random bytes"),
            Error::SectorSize { size } => write!(f, "a sector size of {size} bytes is not supported here"),
            Error::PartialSector { len, sector_size } => {
                write!(f, "a buffer of {len} bytes is not a whole number of {sector_size}-byte sectors")
            }
            Error::LengthMismatch { src, dst } => {
                write!(f, "source ({src} bytes) and destination ({dst} bytes) differ in length")
            }
            Error::SectorOverflow { first_sector } => {
                write!(f, "a run that starts at sector {first_sector} goes past the last sector number, 2^64 - 1")
            }
            Error::SectorNumber { first_sector, units_per_sector } => write!(
                f,
                "number {first_sector} falls inside a sector: numbers count units of 512 bytes, so the first one must \
                 be a multiple of {units_per_sector}; multiply page numbers by {units_per_sector}, or count whole \
                 sectors (SectorUnit::Sector)"
            ),
            Error::StreamOverflow { offset } => {
                write!(f, "a run that starts at offset {offset} of a stream goes past the last one, 2^64 - 1")
            }
            Error::DataUnitLength { len } => {
                write!(f, "a data unit of {len} bytes is not between 16 bytes and 2^20 blocks (16 MiB)")
            }
            Error::SelfTest { algorithm } => write!(
                f,
                "the self-test of {algorithm} failed: this CPU or this build computes wrongly, and nothing is encrypted or \
                 decrypted any more; use another machine or build"
            ),
            Error::NotApproved { algorithm, reason } => write!(
                f,
                "{algorithm} is not approved ({reason}), and this process takes approved algorithms only. Approved are \
                 AES-XTS, AES-CTR, AES-KW, RSA-OAEP-256, and PBKDF2 with SHA-256 or SHA-512, at least 1000 iterations \
                 and a salt of at least 16 bytes; a process without `approved_only` can convert existing data"
            ),
            Error::KeyExhausted { blocks } => write!(
                f,
                "its key has encrypted {blocks} blocks of 16 bytes, and may encrypt 2^48 (4 PiB): copy the data to a \
                 place with a fresh key. Reading still works"
            ),
            Error::KernelUnavailable { kind } => write!(f, "this CPU can't run the kernel {kind}"),
            Error::KekLength { len } => write!(f, "a key-encryption key is 16, 24 or 32 bytes long, not {len}"),
            Error::WrapLength { len } => write!(f, "the key-wrap algorithm takes no input of {len} bytes"),
            Error::BufferTooShort { needed } => write!(f, "the output buffer is too short: {needed} bytes are needed"),
            Error::UnwrapFailed => {
                f.write_str("the wrapped key fails its integrity check: another key wrapped it, or it was altered")
            }
            #[cfg(feature = "std")]
            _ => self.fmt_std(f),
        }
    }
}

#[cfg(feature = "std")]
impl Error {
    fn fmt_std(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnsupportedAlgorithm(name) => write!(f, "the algorithm {name:?} is not supported here"),
            Error::Forked => f.write_str(
                "the parent of this process made this key, and a forked child has none of its parent's keys: open the \
                 vault and the volume again in the child",
            ),
            Error::MemoryNotLocked { unlocked } => write!(
                f,
                "{unlocked} bytes of memory with secrets can't be locked, and could be written to swap: raise the limit \
                 of locked memory (RLIMIT_MEMLOCK, `ulimit -l`), or don't demand it"
            ),
            Error::Random => f.write_str("the operating system gave no random bytes"),
            Error::InvalidName(text) => f.write_str(text),
            // This is `key::MAX_CONTEXT`, which this layer can't name; a test of `key` compares them.
            Error::ContextLength { len } => write!(f, "a context has at most 1024 bytes, not {len}"),
            Error::InvalidEnvelope(text) => write!(f, "not a sound envelope: {text}"),
            Error::InvalidPrefix(text) => write!(f, "not a sound prefix of an encrypted file: {text}"),
            Error::ContextMismatch => f.write_str(
                "the wrapped key is bound to another context than the one expected, or its record was altered",
            ),
            Error::OtherDek => f.write_str(
                "its data key is not the expected one: something else was put in its place. Don't use it; look for the \
                 right one, or a backup of its header",
            ),
            Error::OtherKey { expected, found } => {
                write!(f, "its data key is expected under the key {expected:?}, and is wrapped by {found}")
            }
            Error::NotThisVault { wanted } => write!(f, "this vault did not wrap the key; it takes {wanted}"),
            Error::KeyRefused { key, reason } => reason.fmt_of(key, f),
            Error::KeyExists { key } => write!(f, "the vault has a key {key:?} already; rotate it for a new version"),
            Error::PurgeProtected { key } => write!(
                f,
                "the vault's purge protection keeps the key {key:?}: only a whole key, deleted and past its retention, can \
                 be purged"
            ),
            Error::WrongPassphrase => {
                f.write_str(
                    "the passphrase or key file is wrong: it opens nothing here. Every byte of a key file counts, \
                     including a newline at its end",
                )
            }
            Error::WrongVaultPassphrase => f.write_str(
                "the passphrase or root key file does not open the vault: every byte must be the same as when the vault \
                 was made",
            ),
            Error::NotAVault { path } => write!(f, "{} is not a vault file; check the path", path.display()),
            Error::DamagedVault(text) => write!(f, "the vault's file is damaged: {text}"),
            Error::Vault(failure) => write!(f, "the vault failed: {failure}"),
            #[cfg(feature = "managed")]
            Error::DiskSuspended { disk, reason } => write!(f, "{disk:?} is suspended: {reason}"),
            #[cfg(feature = "managed")]
            Error::OlderHeader { resource, found, proven } => write!(
                f,
                "an older header was put back on the {resource}: it names {found}, but the resource was proven to be \
                 under {proven} later. Put the newest header back; or, if there is none, enable the old key and rotate, \
                 which moves it to the active key again"
            ),
            #[cfg(feature = "managed")]
            Error::OlderDevice { resource, found } => write!(
                f,
                "an older device or header was put back on the {resource}: {found}. Put the newest back: with this one, what \
                 was re-encrypted since would be lost"
            ),
            #[cfg(feature = "managed")]
            Error::NoSuchResource(text) | Error::ResourceExists(text) => f.write_str(text),
            #[cfg(feature = "managed")]
            Error::NotAllowed { text, .. } => f.write_str(text),
            Error::NotLuks { found } => write!(
                f,
                "the device carries no LUKS header; it holds {found}. Check that it is the right device; if its header \
                 is detached, give the header's device too; only a backup brings back a lost header. Formatting the \
                 device destroys its content"
            ),
            Error::ForeignData(text) => write!(f, "{text}; nothing was written"),
            Error::InvalidHeader(text) => write!(f, "no header that can be used: {text}"),
            Error::UnsupportedHeader(text) => write!(f, "the header is not supported: {text}"),
            Error::TamperedHeader => f.write_str(
                "the header's MAC does not match: somebody without the DEK changed its segment, cipher, digest, uuid or \
                 token; restore a backup of the header. If you know who it was, `hazmat_ignore_tokens` opens it by a \
                 passphrase, a key file or the DEK, without that proof",
            ),
            Error::DamagedMap(text) => write!(
                f,
                "the map of written chunks is damaged: {text}. Open the volume with `hazmat_ignore_written_map`, which shows \
                 everything that the device holds, noise where nothing was written, and copy it to a new volume"
            ),
            Error::WrongKey => f.write_str("the key is not the key of this volume"),
            Error::NoSuchProtector(text) | Error::NoRoom(text) => f.write_str(text),
            Error::LastProtector => f.write_str(
                "it is the last way into the volume; add another first, or `erase` the header to destroy the data",
            ),
            Error::OtherHeader(text) => {
                write!(f, "the backup is of another header: {text}; `hazmat_restore` writes it all the same")
            }
            Error::DeviceTooSmall { what, needed, size } => what.write(f, *needed, *size),
            Error::DeviceNotBlank { offset, found } => write!(
                f,
                "the device is not blank: it holds {found} (there is data at byte {offset}); set `overwrite` to destroy that"
            ),
            Error::Misaligned { offset, len, sector_size } => {
                write!(f, "offset {offset} and length {len} must be multiples of the sector size, {sector_size} bytes")
            }
            Error::OutOfBounds { offset, len, size } => {
                write!(f, "{len} bytes at offset {offset} go past the end of the volume, which has {size} bytes")
            }
            Error::ReadOnly => f.write_str("the volume was opened read-only"),
            Error::Busy { what } => write!(f, "{what} is in use by another process or handle"),
            Error::InvalidOption(text) => f.write_str(text),
            Error::NotFound { what, path } => write!(f, "there is no {what} {}; check the path", path.display()),
            Error::AlreadyExists { what, path } => write!(
                f,
                "{} exists already, and no {what} was written over it; open that one, or name another path",
                path.display()
            ),
            Error::Io { what, .. } => write!(f, "{what} failed"),
            _ => unreachable!("the variants without std are written by Display"),
        }
    }
}
