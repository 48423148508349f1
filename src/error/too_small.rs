//! What a device is too small for.

use core::fmt;

/// What a device is too small for, in [`Error::DeviceTooSmall`](crate::Error::DeviceTooSmall). Its text names the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TooSmall {
    /// A new volume.
    NewVolume,
    /// A new volume of BitLocker.
    NewBitLocker,
    /// An encryption in place, which moves the data.
    EncryptionInPlace,
    /// A header that is written to it: a new one, one that moves there, or one from a backup.
    NewHeader,
    /// The header that it begins with: the device, or the backup, was cut off.
    Header,
    /// The data that its header describes: the device was cut off.
    Data,
    /// The data that its volume had: the device was cut off, or made smaller on purpose.
    Volume,
    /// The data that the options of a volume without a header name.
    Plain,
    /// The prefix of a file: the file was cut off.
    Prefix,
    /// A host cache.
    HostCache,
    /// The disk of a service.
    Disk,
}

impl TooSmall {
    /// The name for programs, which never changes: `new-volume`, `new-bitlocker`, `encryption-in-place`, `new-header`, `header`,
    /// `data`, `volume`, `plain`, `prefix`, `host-cache` or `disk`.
    pub fn name(self) -> &'static str {
        match self {
            TooSmall::NewVolume => "new-volume",
            TooSmall::NewBitLocker => "new-bitlocker",
            TooSmall::EncryptionInPlace => "encryption-in-place",
            TooSmall::NewHeader => "new-header",
            TooSmall::Header => "header",
            TooSmall::Data => "data",
            TooSmall::Volume => "volume",
            TooSmall::Plain => "plain",
            TooSmall::Prefix => "prefix",
            TooSmall::HostCache => "host-cache",
            TooSmall::Disk => "disk",
        }
    }

    /// Writes the whole text of the error.
    pub(super) fn write(self, f: &mut fmt::Formatter<'_>, needed: u64, size: u64) -> fmt::Result {
        let subject = if self == TooSmall::Prefix { "file" } else { "device" };
        let advice = match self {
            TooSmall::NewVolume => {
                "The data of a new volume begins after its header, at `data_offset`: 16 MiB by default, at least 1 MiB (LUKS1: 2 MiB), \
                 or 0 with a detached `header`; the device needs room for one more sector, or one chunk of a `written_map`"
            }
            TooSmall::NewBitLocker => {
                "A volume of BitLocker takes so much for its metadata: take a larger device, or a volume of LUKS with a detached \
                 `header`"
            }
            TooSmall::EncryptionInPlace => {
                "An encryption in place takes `data_offset` twice, beside the data: make the device larger, or take a smaller \
                 `data_offset` (at least 1 MiB) or a detached `header`"
            }
            TooSmall::NewHeader => {
                "The header takes so much: make the device or file that it goes to larger, or name the device that the header \
                 belongs to. Nothing was written"
            }
            TooSmall::Header => "It was cut off in its header: take the whole device, or another backup of the header",
            TooSmall::Data => {
                "It was cut off: put the whole device back. If you make it as large as it was (a file by `truncate`), it shows what \
                 is left, and noise behind that"
            }
            TooSmall::Volume => {
                "Its volume was larger. If the device was cut off, find the rest: `hazmat_allow_truncated` opens what is left. If it \
                 was made smaller on purpose, open it so and record the new size by `record_size`"
            }
            TooSmall::Plain => {
                "A volume without a header has its data where `PlainOptions::offset` and `PlainOptions::size` say"
            }
            TooSmall::Prefix => "It was cut off in its prefix, or has none: put the whole file back",
            TooSmall::HostCache => {
                "The host cache takes so much: take a larger device, or a smaller `CacheOptions::size`"
            }
            TooSmall::Disk => "The disk takes so much: make the device larger, or the disk smaller",
        };
        write!(f, "the {subject} has {size} bytes where {needed} are needed. {advice}")
    }
}
