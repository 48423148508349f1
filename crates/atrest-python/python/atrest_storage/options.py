"""Options: dataclasses whose defaults are right for most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ._native import Dek, Device

DekAlgorithm = str
"""The name of an algorithm, such as AES-256-XTS, AES-128-XTS, AES-256-HCTR2 or AES-256-CTR."""

EncryptionType = str
"""The owner of the keys: customer-key, platform-key or platform-and-customer-keys."""


@dataclass(frozen=True)
class Kdf:
    """A key derivation and its cost. PBKDF2 takes hash and iterations, Argon2 the others."""

    name: Literal["argon2id", "argon2i", "pbkdf2"] = "argon2id"
    memory_kib: int = 64 << 10
    passes: int = 3
    lanes: int = 4
    hash: Literal["sha256", "sha512"] = "sha256"
    iterations: int = 600_000


@dataclass(frozen=True, kw_only=True)
class VaultOptions:
    """Options of a new vault file.

    id: the vault's name, the first part of its keys' URLs; by default a random urn:uuid:.
    retention_days: for how long a deleted key can be recovered at least; by default 90 days.
    purge_protection: a deleted key can't be purged before that.
    refuse_expired: an expired version of a key doesn't unwrap, either.
    kdf: the key derivation for a passphrase.
    """

    id: str | None = None
    region: str | None = None
    tenant: str | None = None
    retention_days: int | None = None
    purge_protection: bool = False
    refuse_expired: bool = False
    kdf: Kdf | None = None


@dataclass(frozen=True, kw_only=True)
class KeyslotOptions:
    """Options of a new keyslot, for a passphrase or key file.

    kdf: the key derivation. By default it is measured: `seconds` on this machine (2), with at most `max_memory_kib`.
    """

    id: int | None = None
    priority: Literal["ignore", "normal", "prefer"] | None = None
    kdf: Kdf | None = None
    seconds: float | None = None
    max_memory_kib: int | None = None


@dataclass(frozen=True, kw_only=True)
class FormatOptions:
    """Options of a new volume.

    version: of LUKS, 2 or 1.
    sector_size: 512, 1024, 2048 or 4096 bytes.
    dek: this DEK instead of a new one. Two volumes under one DEK reveal where their contents are equal.
    data_offset: the first byte of the data; by default 16 MiB.
    header: the device of a header that is detached from the data.
    uuid: 16 bytes.
    context: data that the volume is bound to, such as a disk's id: up to 1024 bytes, stored in the clear.
    overwrite: destroy the content of the device.
    written_map: keep a map of written chunks of this many bytes, such as 65536. Unwritten chunks read as zeros.
    """

    version: Literal[1, 2] = 2
    sector_size: int = 512
    dek_algorithm: DekAlgorithm = "AES-256-XTS"
    dek: Dek | None = None
    data_offset: int | None = None
    metadata_size: int | None = None
    header: Device | None = None
    keyslot: KeyslotOptions | None = None
    uuid: bytes | None = None
    label: str = ""
    subsystem: str = ""
    context: bytes = b""
    encryption_type: EncryptionType = "customer-key"
    overwrite: bool = False
    written_map: int | None = None
    written_map_for: int | None = None


@dataclass(frozen=True, kw_only=True)
class OpenOptions:
    """Options for opening a volume.

    discard: pass Volume.discard on to the device.
    context: the context that the volume must be bound to.
    header: the device of a detached header.
    keyslot: the only keyslot to try.
    expect: the fingerprint that the DEK must have.
    expect_key: the name of the key that must wrap the DEK.
    used_blocks: the blocks that the key had encrypted when the volume was closed, by Volume.usage.
    max_...: the most that keyslots may cost.
    """

    read_only: bool = False
    discard: bool = False
    context: bytes | None = None
    header: Device | None = None
    keyslot: int | None = None
    expect: bytes | None = None
    expect_key: str | None = None
    used_blocks: int | None = None
    max_memory_kib: int | None = None
    max_lanes: int | None = None
    max_pbkdf2_iterations: int | None = None
    max_argon2_kib_passes: int | None = None
    require_locked_memory: bool = False
    hazmat_allow_truncated: bool = False
    hazmat_allow_unencrypted: bool = False
    hazmat_repair: bool = False
    hazmat_ignore_tokens: bool = False
    hazmat_ignore_written_map: bool = False


@dataclass(frozen=True, kw_only=True)
class ReencryptOptions:
    """Options of a re-encryption.

    resilience: how a crash is recovered from, by checksums of sectors or a copy of them.
    keyslot: for each keyslot of the new key.
    """

    dek_algorithm: DekAlgorithm | None = None
    sector_size: int | None = None
    resilience: Literal["checksum", "journal"] = "checksum"
    keyslot: KeyslotOptions | None = None
    dek: Dek | None = None
