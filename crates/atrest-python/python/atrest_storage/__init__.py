"""Encryption at rest: LUKS2 volumes, vaults of keys, envelopes and a fast AES-XTS engine.

    vault = FileVault.create("keys.vault", Passphrase(b"correct horse battery staple"))
    vault.create_key("disks")
    with Volume.format(Device.create("disk.img", 64 << 20), vault.key("disks")) as volume:
        volume.write_at(0, bytes(4096))

Calls raise the exceptions of `atrest_storage.errors`. Functions that lose data or disclose keys if misused are in
`atrest_storage.hazmat`.
"""

from ._native import (
    AuditLog,
    ClearKey,
    Dek,
    Device,
    Envelope,
    FilePrefix,
    FileVault,
    KeyFile,
    KeyVault,
    Passphrase,
    RecoveryPassword,
    SectorCipher,
    StartupKey,
    StreamCipher,
    VaultKey,
    Volume,
    __version__,
    any_vault,
    memory_protection,
    open_vault,
    self_test,
    vault_schemes,
)
from .errors import Error
from .file import VolumeFile
from .options import FormatOptions, Kdf, KeyslotOptions, OpenOptions, ReencryptOptions, VaultOptions
from .records import (
    AuditEntry,
    DeletedKey,
    DigestInfo,
    Grant,
    HeaderInfo,
    KeyDescription,
    KeyId,
    KeyInfo,
    KeyslotInfo,
    KeyUsage,
    MemoryProtection,
    ProtectorId,
    ReencryptionProgress,
    SegmentInfo,
    TokenInfo,
    VaultProperties,
    VersionInfo,
    VolumeExtent,
)

__all__ = [
    "AuditEntry",
    "AuditLog",
    "ClearKey",
    "Dek",
    "DeletedKey",
    "Device",
    "DigestInfo",
    "Envelope",
    "Error",
    "FilePrefix",
    "FileVault",
    "FormatOptions",
    "Grant",
    "HeaderInfo",
    "Kdf",
    "KeyDescription",
    "KeyFile",
    "KeyId",
    "KeyInfo",
    "KeyUsage",
    "KeyVault",
    "KeyslotInfo",
    "KeyslotOptions",
    "MemoryProtection",
    "OpenOptions",
    "Passphrase",
    "ProtectorId",
    "RecoveryPassword",
    "ReencryptOptions",
    "ReencryptionProgress",
    "SectorCipher",
    "SegmentInfo",
    "StartupKey",
    "StreamCipher",
    "TokenInfo",
    "VaultKey",
    "VaultOptions",
    "VaultProperties",
    "VersionInfo",
    "Volume",
    "VolumeExtent",
    "VolumeFile",
    "__version__",
    "any_vault",
    "memory_protection",
    "open_vault",
    "self_test",
    "vault_schemes",
]
