"""The exceptions of this package: one class for each error of the library, in groups that a caller may act upon.

The message is the library's, with its cause. It names the fault and the remedy, and never shows a secret.
"""

import errno as _errno


class Error(Exception):
    """An error of the library: the base of all."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class InvalidArgument(Error, ValueError):
    """An argument is impossible: the call needs another one."""


class WrongCredential(Error):
    """The credential opens something else, or nothing."""


class KeyUnusable(Error):
    """The key is the right one, but may not be used now."""


class Damaged(Error):
    """The stored data is damaged, or was altered."""


class Replaced(Error):
    """The stored data is intact, but isn't the data that the caller expects: it was replaced."""


class Unsupported(Error):
    """This version, build or machine can't do that."""


# Arguments


class KeyLength(InvalidArgument):
    """The cipher doesn't take a key of this length."""

    len: int


class EqualKeyHalves(InvalidArgument):
    """The two halves of an XTS key are equal."""


class SectorSize(InvalidArgument):
    """The engine or the volume doesn't support this sector size."""

    size: int


class PartialSector(InvalidArgument):
    """A buffer isn't a whole number of sectors."""

    len: int
    sector_size: int


class LengthMismatch(InvalidArgument):
    """Source and destination differ in length."""

    src: int
    dst: int


class SectorOverflow(InvalidArgument):
    """The last sector of a run would have a number over 2^64 - 1."""

    first_sector: int


class SectorNumber(InvalidArgument):
    """The first sector number falls inside a sector."""

    first_sector: int
    units_per_sector: int


class StreamOverflow(InvalidArgument):
    """A run of bytes in a stream would go past the last offset."""

    offset: int


class DataUnitLength(InvalidArgument):
    """A data unit is too short or too long."""

    len: int


class KekLength(InvalidArgument):
    """A key-encryption key isn't 16, 24 or 32 bytes long."""

    len: int


class WrapLength(InvalidArgument):
    """The key-wrap algorithm doesn't take an input of this length."""

    len: int


class BufferTooShort(InvalidArgument):
    """An output buffer is too short."""

    needed: int


class InvalidName(InvalidArgument):
    """The name of a vault, key or version isn't well formed."""


class ContextLength(InvalidArgument):
    """The context is too long."""

    len: int


class InvalidOption(InvalidArgument):
    """An option is out of its bounds."""


class Misaligned(InvalidArgument):
    """An offset or length isn't a multiple of the sector size."""

    offset: int
    len: int
    sector_size: int


class OutOfBounds(InvalidArgument):
    """A read or write goes past the end of the volume."""

    offset: int
    len: int
    size: int


# Credentials


class WrongPassphrase(WrongCredential):
    """The passphrase or key file opens no keyslot of the volume."""


class WrongVaultPassphrase(WrongCredential):
    """The passphrase or root key file doesn't open the vault."""


class WrongKey(WrongCredential):
    """The key isn't the key of this volume."""


class NotThisVault(WrongCredential):
    """The vault isn't the one that wrapped the DEK."""

    wanted: str


class NoSuchProtector(WrongCredential):
    """No keyslot or token has this number, or the credential opens none."""


# Keys


class KeyRefused(KeyUnusable):
    """The vault refuses the key.

    `reason` is no-such-key, key-disabled, key-deleted, key-expired, key-not-yet-valid or access-denied.
    """

    key: str
    reason: str


class KeyExhausted(KeyUnusable):
    """The key has encrypted as much as it may. It can still decrypt."""

    blocks: int


class NotApproved(KeyUnusable):
    """The algorithm isn't approved, and the process takes approved ones only."""

    algorithm: str


class Forked(KeyUnusable):
    """A parent of this process made the key, vault or volume. Open it again in the child."""


class PurgeProtected(KeyUnusable):
    """The vault protects its keys from being destroyed before their retention is over."""

    key: str


class VaultFailed(Error):
    """A vault failed to answer, or its answer was out of bounds: an outage, not a refusal."""


# Stored data


class UnwrapFailed(Damaged):
    """The integrity check of a wrapped key failed."""


class InvalidEnvelope(Damaged):
    """The bytes are no envelope, or a damaged one."""


class InvalidPrefix(Damaged):
    """The bytes aren't the prefix of an encrypted file, or it was damaged or altered."""


class NotAVault(Damaged):
    """The file isn't a vault file."""

    path: str


class DamagedVault(Damaged):
    """A vault's file is damaged."""


class NotLuks(Damaged):
    """The device carries no LUKS header."""

    found: str


class InvalidHeader(Damaged):
    """No copy of the header is intact."""


class TamperedHeader(Damaged):
    """A header's MAC doesn't match: it was changed without the DEK."""


class DamagedMap(Damaged):
    """The map of a volume's written chunks is damaged."""


class ForeignData(Damaged):
    """Something foreign lies at the place of a damaged header copy."""


class ContextMismatch(Replaced):
    """It is bound to another context than the caller expects."""


class OtherDek(Replaced):
    """The DEK isn't the one that the caller expects."""


class OtherKey(Replaced):
    """The DEK is wrapped under another key than the caller expects."""

    expected: str
    found: str


class OtherHeader(Replaced):
    """The header backup is of another volume."""


# Devices and files


class KeyExists(Error):
    """A key of this name exists already."""

    key: str


class LastProtector(Error):
    """This is the last way into the volume."""


class NoRoom(Error):
    """The header has no room for another keyslot or token."""


class DeviceTooSmall(Error):
    """The device is smaller than its header, or than its data.

    `what` says for what it is too small: new-volume, new-bitlocker, encryption-in-place, new-header, header, data, volume, plain,
    prefix, host-cache or disk.
    """

    what: str
    needed: int
    size: int


class DeviceNotBlank(Error):
    """There is data where the header would go, and overwrite wasn't set."""

    offset: int
    found: str


class ReadOnly(Error):
    """A write to a volume that was opened read-only."""


class Busy(Error):
    """Another process, or another handle of this one, holds the device or vault."""

    what: str


class NotFound(Error, FileNotFoundError):
    """A file isn't there."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.errno = _errno.ENOENT


class AlreadyExists(Error, FileExistsError):
    """A file of this name exists already. It was not changed."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.errno = _errno.EEXIST


class Io(Error, OSError):
    """The device or file system failed. `errno` is set if the operating system said why."""


# The machine


class UnsupportedAlgorithm(Unsupported):
    """An algorithm that this version doesn't know, or can't use here."""


class UnsupportedHeader(Unsupported):
    """The header asks for a feature that this version doesn't have."""


class KernelUnavailable(Unsupported):
    """This CPU lacks the instructions asked for."""


class MemoryNotLocked(Unsupported):
    """The operating system refused to lock the memory of secrets."""

    unlocked: int


class Random(Unsupported):
    """The operating system gave no random bytes."""


class SelfTest(Unsupported):
    """A self-test failed: this CPU or this build computes wrongly."""

    algorithm: str
