//! The tables of a store.

use redb::{ReadTransaction, TableDefinition, TableError};

use super::errors::reading;
use crate::Result;

pub(super) const SETS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("sets");
/// By kind and name.
pub(super) const RESOURCES: TableDefinition<'_, (u8, &str), &[u8]> = TableDefinition::new("resources");
/// By set, kind and name: whether the member is moving into another set.
pub(super) const MEMBERS: TableDefinition<'_, (&str, u8, &str), bool> = TableDefinition::new("members");
/// Incremental snapshots, by the id of their disk and their place in the chain.
pub(super) const INCREMENTS: TableDefinition<'_, (&str, u64), &str> = TableDefinition::new("increments");
/// Resources that were put into a set but are not surely under its key.
pub(super) const JOINING: TableDefinition<'_, (u8, &str), ()> = TableDefinition::new("joining");
/// Resources by the id of their device.
pub(super) const IDS: TableDefinition<'_, &str, (u8, &str)> = TableDefinition::new("ids");
/// Devices without a resource: being made or removed. By id: the region.
pub(super) const ORPHANS: TableDefinition<'_, &str, &str> = TableDefinition::new("orphans");
/// The platform's keys, under [`KEYS`].
pub(super) const PLATFORM: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("platform");
pub(super) const KEYS: &str = "keys";
/// The record of the contents, under [`CONTENTS`].
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const CONTENTS: &str = "contents";

/// Whether the store is new, or of a release without checksums.
pub(super) fn is_older(store: &ReadTransaction) -> Result<bool> {
    match store.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => Ok(true),
        table => table.map(|_| false).map_err(reading),
    }
}

/// `None` in a store of a release that did not record the platform's keys.
pub(super) fn platform_table(
    store: &ReadTransaction,
) -> Result<Option<redb::ReadOnlyTable<&'static str, &'static [u8]>>> {
    match store.open_table(PLATFORM) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        table => table.map(Some).map_err(reading),
    }
}
