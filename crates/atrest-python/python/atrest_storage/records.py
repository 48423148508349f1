"""Results of the library, as dataclasses. Times are in seconds since 1970-01-01 UTC, sizes and offsets in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class KeyId:
    """The full name of a version of a key. Its text is the URL."""

    vault: str
    key: str
    version: str

    def __str__(self) -> str:
        return f"{self.vault}/keys/{self.key}/{self.version}"


@dataclass(frozen=True)
class KeyDescription:
    """A vault's description of a version of a key."""

    id: KeyId
    kind: str
    enabled: bool
    not_before: int | None
    expires: int | None
    created: int | None
    authenticated: bool


@dataclass(frozen=True)
class VersionInfo:
    """A version of a key in a vault file."""

    id: KeyId
    kind: str
    created: int
    is_imported: bool
    enabled: bool
    not_before: int | None
    expires: int | None
    authenticated: bool


@dataclass(frozen=True)
class KeyInfo:
    """A key in a vault file; its oldest version comes first."""

    name: str
    versions: list[VersionInfo]


@dataclass(frozen=True)
class DeletedKey:
    """A deleted key, which can be recovered until it is purged."""

    name: str
    deleted: int
    retained_until: int


@dataclass(frozen=True)
class Grant:
    """The operations granted to an identity: of get, wrapKey and unwrapKey."""

    identity: str
    operations: list[str]


@dataclass(frozen=True)
class AuditEntry:
    """An entry of a vault's audit log. `identity` is None for the owner; `outcome` is ok, or why it failed."""

    seq: int
    time: int
    identity: str | None
    operation: str
    key: str | None
    version: str | None
    subject: str | None
    outcome: str
    torn: int | None
    after: str | None


@dataclass(frozen=True)
class VaultProperties:
    """The options of a vault file."""

    id: str
    region: str | None
    tenant: str | None
    retention_days: int
    purge_protection: bool
    refuse_expired: bool


@dataclass(frozen=True)
class KeyUsage:
    """How many blocks of 16 bytes a key has encrypted, and how many it may encrypt yet. `is_due`: change it soon."""

    blocks: int
    remaining: int
    is_due: bool
    is_exhausted: bool


@dataclass(frozen=True)
class ProtectorId:
    """A way into a volume: the number of a keyslot, for a passphrase, or of a token, for a vault."""

    kind: Literal["keyslot", "token"]
    id: int


@dataclass(frozen=True)
class KeyslotInfo:
    """A keyslot, as the header describes it."""

    id: int
    kind: str
    key_bits: int
    priority: Literal["ignore", "normal", "prefer"]
    kdf: str
    hash: str
    iterations: int
    memory_kib: int
    lanes: int
    cipher: str
    area_offset: int
    area_size: int
    holds_data_key: bool


@dataclass(frozen=True)
class TokenInfo:
    """A token, as the header describes it: of kind atrest for a vault, whose key `key_url` names."""

    id: int
    kind: str
    keyslots: list[int]
    key_url: str | None
    json: str


@dataclass(frozen=True)
class SegmentInfo:
    """A segment of data. `size` is None if it goes to the end of the device."""

    id: int
    kind: str
    offset: int
    size: int | None
    cipher: str
    sector_size: int
    iv_tweak: int
    flags: list[str]


@dataclass(frozen=True)
class DigestInfo:
    """A digest that verifies a key."""

    id: int
    kind: str
    hash: str
    iterations: int
    key_bits: int
    keyslots: list[int]
    segments: list[int]


@dataclass(frozen=True)
class HeaderInfo:
    """The content of a header. `metadata_json` is LUKS2's metadata, byte for byte."""

    format: str
    uuid: str
    label: str
    subsystem: str
    flags: list[str]
    requirements: list[str]
    epoch: int | None
    size: int
    metadata_size: int
    keyslots_size: int
    needs_repair: bool
    metadata_json: bytes | None
    keyslots: list[KeyslotInfo]
    tokens: list[TokenInfo]
    segments: list[SegmentInfo]
    digests: list[DigestInfo]


@dataclass(frozen=True)
class VolumeExtent:
    """A run of bytes of a volume, all of them written or all of them not."""

    offset: int
    length: int
    is_written: bool


@dataclass(frozen=True)
class ReencryptionProgress:
    """How far a re-encryption is, in bytes. `rate` is in bytes a second."""

    done: int
    total: int
    rate: int | None
    seconds_left: float | None

    @property
    def is_finished(self) -> bool:
        """Whether it is finished."""
        return self.done == self.total


@dataclass(frozen=True)
class MemoryProtection:
    """How many bytes of pages with secrets are locked into memory, and how many may be swapped."""

    locked: int
    unlocked: int
