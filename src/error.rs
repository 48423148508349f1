//! The one error type of the crate.
//!
//! Each variant is a case that a caller can act upon, and has a C status of its own. The text of an error names the cause
//! and says what to do next. It names secrets but never shows them.

#[cfg(feature = "std")]
mod refusal;
#[cfg(feature = "managed")]
mod rule;
mod text;
#[cfg(feature = "std")]
mod too_small;
#[cfg(feature = "std")]
mod vault_failure;

#[cfg(feature = "std")]
pub use refusal::KeyRefusal;
#[cfg(feature = "managed")]
pub use rule::Rule;

#[cfg(feature = "std")]
pub use too_small::TooSmall;

#[cfg(feature = "std")]
use std::string::String;

/// Shorthand for a result with this crate's [`Error`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

#[cfg(feature = "std")]
pub use vault_failure::VaultFailure;

/// An error of this crate.
///
/// `{}` says what failed. [`source`](core::error::Error::source) gives the cause, if the operating system, a device or
/// a vault reported one. `{:#}` prints both, for a person to read:
///
/// ```
/// let source = std::io::ErrorKind::PermissionDenied.into();
/// let error = atrest::Error::Io { what: "opening disk.img".into(), source };
/// assert_eq!(error.to_string(), "opening disk.img failed");
/// assert_eq!(format!("{error:#}"), "opening disk.img failed: permission denied");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The cipher doesn't take a key of this length. XTS takes 32 bytes (AES-128-XTS) or 64 (AES-256-XTS), CBC 16, 24
    /// or 32, CTR and HCTR2 32.
    KeyLength {
        /// The length given, in bytes.
        len: usize,
    },
    /// The two halves of an XTS key are equal, which SP 800-38E and FIPS 140 (IG C.I) forbid.
    EqualKeyHalves,
    /// The engine or the volume doesn't support this sector size.
    SectorSize {
        /// The size given, in bytes.
        size: u64,
    },
    /// A buffer that isn't a whole number of sectors.
    PartialSector {
        /// The length of the buffer in bytes.
        len: usize,
        /// The sector size in bytes.
        sector_size: u32,
    },
    /// Source and destination differ in length.
    LengthMismatch {
        /// The length of the source in bytes.
        src: usize,
        /// The length of the destination in bytes.
        dst: usize,
    },
    /// The last sector of a run would have a number over 2^64 - 1.
    SectorOverflow {
        /// The number of the first sector of the run.
        first_sector: u64,
    },
    /// The first sector number falls inside a sector. Numbers count units of 512 bytes, and one sector spans several
    /// units.
    SectorNumber {
        /// The number of the first sector of the run.
        first_sector: u64,
        /// The number of units in a sector.
        units_per_sector: u32,
    },
    /// A run of bytes in a stream would go past the last offset, 2^64 - 1.
    StreamOverflow {
        /// The offset of the first byte of the run.
        offset: u64,
    },
    /// A data unit is shorter than one block (16 bytes) or longer than 2^20 blocks (IEEE 1619, 5.1).
    DataUnitLength {
        /// The length of the data unit in bytes.
        len: usize,
    },
    /// A self-test failed: this CPU or this build computes wrongly. Everything is refused until the process restarts.
    SelfTest {
        /// The algorithm that failed first.
        algorithm: &'static str,
    },
    /// The algorithm isn't approved, and [`approved_only`](crate::approved_only) was called.
    NotApproved {
        /// The algorithm that isn't approved.
        algorithm: &'static str,
        /// The reason.
        reason: &'static str,
    },
    /// The key has encrypted as much as it may: see [`KeyUsage`](crate::KeyUsage). It can still decrypt.
    KeyExhausted {
        /// How many blocks of 16 bytes it has encrypted.
        blocks: u64,
    },
    /// This CPU lacks the instructions of the kernel asked for.
    KernelUnavailable {
        /// The name of the kernel.
        kind: &'static str,
    },
    /// A key-encryption key isn't 16, 24 or 32 bytes long.
    KekLength {
        /// The length given, in bytes.
        len: usize,
    },
    /// Input that the key-wrap algorithm does not take: see [`WrapAlgorithm`](crate::key::WrapAlgorithm) for the limits.
    WrapLength {
        /// The length given, in bytes.
        len: usize,
    },
    /// An output buffer is too short.
    BufferTooShort {
        /// The length needed, in bytes.
        needed: usize,
    },
    /// The integrity check of a wrapped key failed: another key wrapped it, or it was altered.
    UnwrapFailed,
    /// An algorithm name or number that this version does not know or cannot use here.
    #[cfg(feature = "std")]
    UnsupportedAlgorithm(String),
    /// The parent of this process made the key, vault or volume. A forked child has none of its parent's secrets. Open
    /// the vault or the volume again in the child.
    #[cfg(feature = "std")]
    Forked,
    /// The operating system refused to lock the memory of secrets, which
    /// [`require_locked_memory`](crate::OpenOptions::require_locked_memory) demands.
    #[cfg(feature = "std")]
    MemoryNotLocked {
        /// How many bytes of pages with secrets could be swapped.
        unlocked: u64,
    },
    /// The operating system gave no random bytes.
    #[cfg(feature = "std")]
    Random,
    /// The name of a vault, key or version is not well formed.
    #[cfg(feature = "std")]
    InvalidName(String),
    /// The caller's context is too long.
    #[cfg(feature = "std")]
    ContextLength {
        /// The length given, in bytes.
        len: usize,
    },
    /// The bytes are not an envelope, or the envelope is damaged.
    #[cfg(feature = "std")]
    InvalidEnvelope(String),
    /// The envelope or volume is bound to another context than the caller expects, or was altered.
    #[cfg(feature = "std")]
    ContextMismatch,
    /// The DEK is not the one the caller expects: something else was put in its place.
    #[cfg(feature = "std")]
    OtherDek,
    /// The DEK is wrapped under another key than the caller expects.
    #[cfg(feature = "std")]
    OtherKey {
        /// The name of the key that was expected.
        expected: String,
        /// The keys that wrap it.
        found: String,
    },
    /// The vault asked is not the one that wrapped the DEK.
    #[cfg(feature = "std")]
    NotThisVault {
        /// The key, or keys, that can unwrap.
        wanted: String,
    },
    /// The vault refuses the key.
    #[cfg(feature = "std")]
    KeyRefused {
        /// The key's URL or name.
        key: String,
        /// Why.
        reason: KeyRefusal,
    },
    /// A key of this name exists already.
    #[cfg(feature = "std")]
    KeyExists {
        /// The name of the key.
        key: String,
    },
    /// The vault protects its keys from being destroyed before their retention is over.
    #[cfg(feature = "std")]
    PurgeProtected {
        /// The key's URL or name.
        key: String,
    },
    /// The passphrase or key file opens no keyslot of the volume.
    #[cfg(feature = "std")]
    WrongPassphrase,
    /// The passphrase or root key file does not open the vault.
    #[cfg(feature = "std")]
    WrongVaultPassphrase,
    /// The file is not a vault file.
    #[cfg(feature = "std")]
    NotAVault {
        /// Its path.
        path: std::path::PathBuf,
    },
    /// A vault's file is damaged; the text says how, and what to do.
    #[cfg(feature = "std")]
    DamagedVault(String),
    /// The bytes are not the prefix of an encrypted file, or the prefix was damaged or altered; the text says how.
    #[cfg(feature = "std")]
    InvalidPrefix(String),
    /// A vault failed to answer, or its answer was out of bounds.
    #[cfg(feature = "std")]
    Vault(VaultFailure),
    /// A managed disk's key may not be used now: it was disabled, deleted or expired, access to it was revoked, or its
    /// vault didn't answer for too long.
    #[cfg(feature = "managed")]
    DiskSuspended {
        /// The name of the disk, snapshot or image.
        disk: String,
        /// The vault's reason.
        reason: String,
    },
    /// The header of a disk, snapshot or image is an old one. The resource has since moved to another key.
    #[cfg(feature = "managed")]
    OlderHeader {
        /// The resource, such as `disk "db-1"`.
        resource: String,
        /// The key that the header names.
        found: String,
        /// The key that it was last proved to be under.
        proven: String,
    },
    /// The device of a disk, or its header, is from before a re-encryption of the disk, or from an earlier time in one.
    #[cfg(feature = "managed")]
    OlderDevice {
        /// The resource, such as `disk "db-1"`.
        resource: String,
        /// The evidence for it.
        found: String,
    },
    /// No set, disk, snapshot or image has this name.
    #[cfg(feature = "managed")]
    NoSuchResource(String),
    /// A set, disk, snapshot or image of this name exists already.
    #[cfg(feature = "managed")]
    ResourceExists(String),
    /// The rules of managed disks forbid it.
    #[cfg(feature = "managed")]
    NotAllowed {
        /// The rule that forbids it.
        rule: Rule,
        /// Says what is forbidden and what to do instead.
        text: String,
    },
    /// The device carries no LUKS header.
    #[cfg(feature = "std")]
    NotLuks {
        /// The device's content, as far as known signatures show.
        found: String,
    },
    /// Something foreign lies at the place of a damaged header copy: neither blank nor the remains of a header, such as
    /// a newer file system. Nothing was written. The text names it.
    #[cfg(feature = "std")]
    ForeignData(String),
    /// No copy of the header is intact; the text says what is wrong with each.
    #[cfg(feature = "std")]
    InvalidHeader(String),
    /// The header is sound but asks for a feature that this version doesn't have.
    #[cfg(feature = "std")]
    UnsupportedHeader(String),
    /// A header's MAC does not match: somebody without the DEK changed a protected field.
    #[cfg(feature = "std")]
    TamperedHeader,
    /// The map of a volume's written chunks is damaged, or an older state of it was put back; the text says where.
    #[cfg(feature = "std")]
    DamagedMap(String),
    /// The key is not the key of this volume.
    #[cfg(feature = "std")]
    WrongKey,
    /// No keyslot or token has this number, or the credential opens none.
    #[cfg(feature = "std")]
    NoSuchProtector(String),
    /// This is the last way into the volume.
    #[cfg(feature = "std")]
    LastProtector,
    /// The header has no room for another keyslot or token.
    #[cfg(feature = "std")]
    NoRoom(String),
    /// The header backup is of another volume.
    #[cfg(feature = "std")]
    OtherHeader(String),
    /// The device is smaller than its header, or than the data it was formatted with.
    #[cfg(feature = "std")]
    DeviceTooSmall {
        /// What it is too small for.
        what: TooSmall,
        /// The size needed, in bytes.
        needed: u64,
        /// The size found, in bytes.
        size: u64,
    },
    /// `format` found data at the header's place and was not told to overwrite it.
    #[cfg(feature = "std")]
    DeviceNotBlank {
        /// The offset of the first byte that isn't zero.
        offset: u64,
        /// The data found, named by its signature.
        found: String,
    },
    /// An offset or length is not a multiple of the sector size.
    #[cfg(feature = "std")]
    Misaligned {
        /// The offset in bytes.
        offset: u64,
        /// The length in bytes.
        len: usize,
        /// The sector size in bytes.
        sector_size: u32,
    },
    /// A read or write goes past the end of the volume.
    #[cfg(feature = "std")]
    OutOfBounds {
        /// The offset in bytes.
        offset: u64,
        /// The length in bytes.
        len: usize,
        /// The size of the volume in bytes.
        size: u64,
    },
    /// A write to a volume that was opened read-only.
    #[cfg(feature = "std")]
    ReadOnly,
    /// Another process, or another handle of this one, holds the device or vault.
    #[cfg(feature = "std")]
    Busy {
        /// The device or vault that is held.
        what: String,
    },
    /// An option is out of its bounds; the text names the option and the bounds.
    #[cfg(feature = "std")]
    InvalidOption(String),
    /// A file is not there, or the folder of a new file is not there.
    #[cfg(feature = "std")]
    NotFound {
        /// The thing that is missing, such as `vault file`.
        what: &'static str,
        /// The path that was tried.
        path: std::path::PathBuf,
    },
    /// A file of this name exists already. It was not changed.
    #[cfg(feature = "std")]
    AlreadyExists {
        /// The thing to be made, such as `vault file`.
        what: &'static str,
        /// Its path.
        path: std::path::PathBuf,
    },
    /// The device or file system failed.
    #[cfg(feature = "std")]
    Io {
        /// The operation that failed.
        what: String,
        /// The error of the operating system or device.
        source: std::io::Error,
    },
}

#[cfg(feature = "std")]
impl Error {
    /// Whether a vault has said that the key may not be used ([`Error::KeyRefused`]). Anything else, such as a vault that
    /// doesn't answer, is an outage.
    pub fn is_revocation(&self) -> bool {
        matches!(self, Error::KeyRefused { .. })
    }

    /// A vault refuses a key.
    pub(crate) fn key_refused(key: impl Into<String>, reason: KeyRefusal) -> Self {
        Error::KeyRefused { key: key.into(), reason }
    }

    /// Says what the device is too small for, if that is the error.
    pub(crate) fn too_small_for(self, what: TooSmall) -> Self {
        match self {
            Error::DeviceTooSmall { needed, size, .. } => Error::DeviceTooSmall { what, needed, size },
            other => other,
        }
    }

    /// Wraps an I/O error with the operation that failed.
    pub(crate) fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Error::Io { what: what.into(), source }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            #[cfg(feature = "std")]
            Error::Io { source, .. } => Some(source),
            #[cfg(feature = "std")]
            Error::Vault(failure) => failure.source(),
            _ => None,
        }
    }
}

#[cfg(all(test, feature = "std"))]
mod tests;
