//! The tables of a file.

use redb::{ReadTransaction, TableDefinition, TableError};

use super::contents::{self, Contents};
use super::errors::{damaged, reading};
use crate::Result;

/// All records, by key: the revision in eight bytes, the lowest first, and the value.
pub(super) const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
/// The record of the contents, under [`CONTENTS`].
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const CONTENTS: &str = "contents";

/// The tables of former releases.
pub(super) mod former {
    use redb::TableDefinition;

    pub(in crate::managed::store) const SETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sets");
    /// By kind and name.
    pub(in crate::managed::store) const RESOURCES: TableDefinition<'_, (u8, &str), &[u8]> =
        TableDefinition::new("resources");
    /// Devices without a resource: being made or removed. By id: the region.
    pub(in crate::managed::store) const ORPHANS: TableDefinition<'_, &str, &str> = TableDefinition::new("orphans");
    /// The platform's keys, under [`KEYS`].
    pub(in crate::managed::store) const PLATFORM: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("platform");
    pub(in crate::managed::store) const KEYS: &str = "keys";
    /// Tables for finding resources, which are made anew from these.
    pub(in crate::managed::store) const DERIVED: [&str; 4] = ["members", "increments", "joining", "ids"];
}

/// The release that wrote a file.
pub(super) enum Written {
    /// It is new, or of a release without checksums.
    WithoutContents,
    /// A former one, with a table for each kind of records.
    Formerly(Contents),
    Now(Contents),
}

impl Written {
    pub(super) fn of(store: &ReadTransaction) -> Result<Self> {
        let meta = match store.open_table(META) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Written::WithoutContents),
            table => table.map_err(reading)?,
        };
        let noted =
            meta.get(CONTENTS).map_err(reading)?.ok_or_else(|| damaged("it has lost the record of its contents"))?;
        match noted.value() {
            bytes @ [contents::FORMER, ..] => Ok(Written::Formerly(Contents::from_bytes(bytes, contents::FORMER)?)),
            bytes => Ok(Written::Now(Contents::from_bytes(bytes, contents::FORM)?)),
        }
    }
}
