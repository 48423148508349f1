//! The one error type of the crate.
//!
//! A variant is a thing that a caller can act upon, so that each has a C status of its own. The text of an error says
//! what was wrong and what to do next, and nothing about a secret but its name.

#[cfg(feature = "std")]
mod refusal;
#[cfg(feature = "managed")]
mod rule;
mod text;
#[cfg(feature = "std")]
mod vault_failure;

#[cfg(feature = "std")]
pub use refusal::KeyRefusal;
#[cfg(feature = "managed")]
pub use rule::Rule;

#[cfg(feature = "std")]
use std::string::String;

/// Shorthand for a result with this crate's [`Error`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

#[cfg(feature = "std")]
pub use vault_failure::VaultFailure;

/// What went wrong.
///
/// `{}` says what failed, and [`source`](core::error::Error::source) why, where the operating system, a device or a vault
/// said so. `{:#}` says both, for who tells it to a person:
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
    /// A key of a length that its cipher doesn't take: XTS has 32 bytes (AES-128-XTS) or 64 (AES-256-XTS), CBC 16, 24 or
    /// 32, CTR and HCTR2 32.
    KeyLength {
        /// The length given, in bytes.
        len: usize,
    },
    /// The two halves of an XTS key are equal, which SP 800-38E and FIPS 140 (IG C.I) forbid.
    EqualKeyHalves,
    /// A sector size that the engine or the volume does not take.
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
    /// A first sector lies between two sectors: numbers count units of 512 bytes, and a sector is several of them.
    SectorNumber {
        /// The number of the first sector of the run.
        first_sector: u64,
        /// How many units a sector is.
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
    /// A self-test failed: this CPU, or this build, computes wrongly. Everything is refused until the process starts anew.
    SelfTest {
        /// What failed first.
        algorithm: &'static str,
    },
    /// An algorithm that isn't approved, where [`approved_only`](crate::approved_only) was called.
    NotApproved {
        /// What isn't approved.
        algorithm: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// A key has encrypted as much as it may: see [`KeyUsage`](crate::KeyUsage). It still decrypts.
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
    /// A key, or what is open by it, was made by a parent of this process; a child that was forked has none of its
    /// parent's secrets. Open the vault or the volume again in the child.
    #[cfg(feature = "std")]
    Forked,
    /// The operating system refuses to lock the memory of secrets, and
    /// [`require_locked_memory`](crate::OpenOptions::require_locked_memory) was asked for.
    #[cfg(feature = "std")]
    MemoryNotLocked {
        /// The bytes of pages that hold secrets and could be swapped.
        unlocked: u64,
    },
    /// The operating system gave no random bytes.
    #[cfg(feature = "std")]
    Random,
    /// The name of a vault, key or version that isn't well formed.
    #[cfg(feature = "std")]
    InvalidName(String),
    /// A caller's context that is too long, in bytes.
    #[cfg(feature = "std")]
    ContextLength {
        /// The length given, in bytes.
        len: usize,
    },
    /// Bytes that are no envelope, or a damaged one.
    #[cfg(feature = "std")]
    InvalidEnvelope(String),
    /// An envelope or a volume is bound to another context than the caller expects, or was altered.
    #[cfg(feature = "std")]
    ContextMismatch,
    /// The DEK is another one than the caller expects: what was opened has been put in the place of what should be there.
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
    /// A file that is no vault's.
    #[cfg(feature = "std")]
    NotAVault {
        /// Its path.
        path: std::path::PathBuf,
    },
    /// A vault's file is damaged; the text says how and what to do.
    #[cfg(feature = "std")]
    DamagedVault(String),
    /// Bytes that are no prefix of an encrypted file, or one that is damaged or was altered; the text says how.
    #[cfg(feature = "std")]
    InvalidPrefix(String),
    /// A vault failed to answer, or answered out of its bounds.
    #[cfg(feature = "std")]
    Vault(VaultFailure),
    /// A managed disk's key may not be used now: it was disabled, deleted or expired, access to it revoked, or its vault did
    /// not answer for too long.
    #[cfg(feature = "managed")]
    DiskSuspended {
        /// The disk, snapshot or image.
        disk: String,
        /// What its vault said.
        reason: String,
    },
    /// The header of a disk, snapshot or image is from before it came under the key that it is under.
    #[cfg(feature = "managed")]
    OlderHeader {
        /// What it is the header of: `disk "db-1"`.
        resource: String,
        /// The key that the header names.
        found: String,
        /// The key that it was last proved to be under.
        proven: String,
    },
    /// There is no set, disk, snapshot or image of that name.
    #[cfg(feature = "managed")]
    NoSuchResource(String),
    /// There is a set, disk, snapshot or image of that name already.
    #[cfg(feature = "managed")]
    ResourceExists(String),
    /// Something that the rules of managed disks forbid.
    #[cfg(feature = "managed")]
    NotAllowed {
        /// Which rule forbids it.
        rule: Rule,
        /// What is forbidden, and what to do instead.
        text: String,
    },
    /// The device carries no LUKS header.
    #[cfg(feature = "std")]
    NotLuks {
        /// What it holds instead, as far as known signatures tell.
        found: String,
    },
    /// Where a damaged copy of a header belongs, there is something that is neither blank nor remains of a header: a file
    /// system that somebody made since, for example. Nothing was written. The text names it.
    #[cfg(feature = "std")]
    ForeignData(String),
    /// No copy of the header is intact; the text says what is wrong with each.
    #[cfg(feature = "std")]
    InvalidHeader(String),
    /// A sound header that asks for something which this version does not do.
    #[cfg(feature = "std")]
    UnsupportedHeader(String),
    /// A header's MAC does not match: somebody changed what only the owner of the DEK may change.
    #[cfg(feature = "std")]
    TamperedHeader,
    /// The key is not the key of this volume.
    #[cfg(feature = "std")]
    WrongKey,
    /// There is no keyslot or token of that number, or none that the credential could open.
    #[cfg(feature = "std")]
    NoSuchProtector(String),
    /// It is the last way into the volume.
    #[cfg(feature = "std")]
    LastProtector,
    /// The header has no room for another keyslot or token.
    #[cfg(feature = "std")]
    NoRoom(String),
    /// A backup of a header is that of another volume.
    #[cfg(feature = "std")]
    OtherHeader(String),
    /// The device is smaller than its header, or than the data it was made with.
    #[cfg(feature = "std")]
    DeviceTooSmall {
        /// The size needed, in bytes.
        needed: u64,
        /// The size found, in bytes.
        size: u64,
    },
    /// `format` found something where the header goes and was not told to overwrite it.
    #[cfg(feature = "std")]
    DeviceNotBlank {
        /// The offset of the first byte that isn't zero.
        offset: u64,
        /// What it holds, by its signature.
        found: String,
    },
    /// An offset or length that isn't a multiple of the sector size.
    #[cfg(feature = "std")]
    Misaligned {
        /// The offset in bytes.
        offset: u64,
        /// The length in bytes.
        len: usize,
        /// The sector size in bytes.
        sector_size: u32,
    },
    /// A read or write that goes past the end of the volume.
    #[cfg(feature = "std")]
    OutOfBounds {
        /// The offset in bytes.
        offset: u64,
        /// The length in bytes.
        len: usize,
        /// The size of the volume in bytes.
        size: u64,
    },
    /// A write to a volume that was opened for reading.
    #[cfg(feature = "std")]
    ReadOnly,
    /// Another process, or another handle of this one, holds the device or vault.
    #[cfg(feature = "std")]
    Busy {
        /// What is held.
        what: String,
    },
    /// An option that is out of its bounds; the text names it and the bounds.
    #[cfg(feature = "std")]
    InvalidOption(String),
    /// A file, or the folder that one would go into, isn't there.
    #[cfg(feature = "std")]
    NotFound {
        /// What isn't there: `vault file`, for example.
        what: &'static str,
        /// Where it was looked for.
        path: std::path::PathBuf,
    },
    /// Where a file was to be made, there is one. It is as it was.
    #[cfg(feature = "std")]
    AlreadyExists {
        /// What was to be made: `vault file`, for example.
        what: &'static str,
        /// Where.
        path: std::path::PathBuf,
    },
    /// The device or file system failed.
    #[cfg(feature = "std")]
    Io {
        /// What was being done.
        what: String,
        /// What the operating system, or the device, said.
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

    /// Wraps an I/O error with what was being done.
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
