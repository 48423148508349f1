"""Functions that lose data or disclose keys if they are misused."""

from ._native import (
    dek_bytes,
    dek_from_bytes,
    destroy_version,
    purge_key,
    repair_header,
    restore_header,
    suspend_protection,
)

__all__ = [
    "dek_bytes",
    "dek_from_bytes",
    "destroy_version",
    "purge_key",
    "repair_header",
    "restore_header",
    "suspend_protection",
]
