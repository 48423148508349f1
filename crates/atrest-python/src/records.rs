//! Records for Python: instances of the dataclasses in `atrest_storage.records`.

use atrest::key::{KeyDescription, KeyId};
use atrest::vault::{AuditEntry, DeletedKey, Grant, KeyInfo, KeyOrigin, VaultProperties, VersionInfo};
use atrest::volume::{ReencryptionProgress, VolumeExtent};
use atrest::{KeyUsage, MemoryProtection};
use pyo3::prelude::*;

/// An object of a Python module of this package, by its name.
pub fn python<'py>(py: Python<'py>, module: &str, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import(format!("atrest_storage.{module}"))?.getattr(name)
}

/// record!(py, Class { field: value, .. })
macro_rules! record {
    ($py:expr, $class:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        let fields = pyo3::types::PyDict::new($py);
        $(fields.set_item(stringify!($field), $value)?;)*
        $crate::records::python($py, "records", stringify!($class))?.call((), Some(&fields)).map(Bound::unbind)
    }};
}
pub(crate) use record;

type Record = PyResult<Py<PyAny>>;

/// The records of several things.
pub fn all<T>(
    py: Python<'_>,
    from: impl IntoIterator<Item = T>,
    one: impl Fn(Python<'_>, T) -> Record,
) -> PyResult<Vec<Py<PyAny>>> {
    from.into_iter().map(|item| one(py, item)).collect()
}

pub fn key_id(py: Python<'_>, id: &KeyId) -> Record {
    record!(py, KeyId { vault: id.vault(), key: id.key(), version: id.version() })
}

pub fn key_description(py: Python<'_>, of: KeyDescription) -> Record {
    record!(
        py,
        KeyDescription {
            id: key_id(py, &of.id)?,
            kind: of.kind.name(),
            enabled: of.enabled,
            not_before: of.not_before,
            expires: of.expires,
            created: of.created,
            authenticated: of.authenticated,
        }
    )
}

pub fn key_info(py: Python<'_>, of: KeyInfo) -> Record {
    record!(py, KeyInfo { name: of.name, versions: all(py, of.versions, version_info)? })
}

fn version_info(py: Python<'_>, of: VersionInfo) -> Record {
    record!(
        py,
        VersionInfo {
            id: key_id(py, &of.id)?,
            kind: of.kind.name(),
            created: of.created,
            is_imported: of.origin == KeyOrigin::Imported,
            enabled: of.enabled,
            not_before: of.not_before,
            expires: of.expires,
            authenticated: of.authenticated,
        }
    )
}

pub fn deleted_key(py: Python<'_>, of: DeletedKey) -> Record {
    record!(py, DeletedKey { name: of.name, deleted: of.deleted, retained_until: of.retained_until })
}

pub fn grant(py: Python<'_>, of: Grant) -> Record {
    let operations: Vec<&str> = of.operations.iter().map(|operation| operation.name()).collect();
    record!(py, Grant { identity: of.identity, operations: operations })
}

pub fn audit_entry(py: Python<'_>, of: AuditEntry) -> Record {
    record!(
        py,
        AuditEntry {
            seq: of.seq,
            time: of.time,
            identity: of.identity,
            operation: of.operation,
            key: of.key,
            version: of.version,
            subject: of.subject,
            outcome: of.outcome,
            torn: of.torn,
            after: of.after.map(|head| head.to_string()),
        }
    )
}

pub fn vault_properties(py: Python<'_>, of: VaultProperties) -> Record {
    record!(
        py,
        VaultProperties {
            id: of.id,
            region: of.region,
            tenant: of.tenant,
            retention_days: of.retention_days,
            purge_protection: of.purge_protection,
            refuse_expired: of.refuse_expired,
        }
    )
}

pub fn key_usage(py: Python<'_>, of: KeyUsage) -> Record {
    record!(
        py,
        KeyUsage {
            blocks: of.blocks(),
            remaining: of.remaining(),
            is_due: of.is_due(),
            is_exhausted: of.is_exhausted(),
        }
    )
}

pub fn extent(py: Python<'_>, of: VolumeExtent) -> Record {
    record!(
        py,
        VolumeExtent { offset: of.range.start, length: of.range.end - of.range.start, is_written: of.is_written }
    )
}

pub fn progress(py: Python<'_>, of: ReencryptionProgress) -> Record {
    record!(
        py,
        ReencryptionProgress {
            done: of.done,
            total: of.total,
            rate: of.rate,
            seconds_left: of.time_left().map(|left| left.as_secs_f64()),
        }
    )
}

pub fn memory_protection(py: Python<'_>) -> Record {
    let MemoryProtection { locked, unlocked, .. } = atrest::memory_protection();
    record!(py, MemoryProtection { locked: locked, unlocked: unlocked })
}
