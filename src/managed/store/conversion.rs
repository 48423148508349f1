//! Converts a file of a former release, which had a table for each kind of records, in one step: a kill leaves the file as
//! it was, or as it is to be. The former release then refuses the file, by the form of the record of its contents.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError, TableHandle};

use super::contents::{Contents, Counted};
use super::engine::Engine;
use super::errors::{Defect, damaged, reading, writing};
use super::former::{checked, hash, resource_name};
use super::place::Place;
use super::record::{Commit, json, parse, parse_resource, sealed};
use super::schema::former::{DERIVED, KEYS, ORPHANS, PLATFORM, RESOURCES, SETS};
use super::schema::{CONTENTS, META, RECORDS, Written};
use super::tables::{Orphan, indices};
use super::write::begin;
use crate::managed::records::{EncryptionSet, PlatformKeys};
use crate::{Result, random};

/// Converts the file, or makes the tables of a new one, unless it is as this release writes it.
pub(super) fn convert(engine: &Engine) -> Result<()> {
    let former = engine.guarded(|database| {
        let store = database.begin_read().map_err(reading)?;
        match Written::of(&store)? {
            Written::Now(_) => Ok(None),
            Written::WithoutContents => Ok(Some(Former::read(&store, None)?)),
            Written::Formerly(noted) => Ok(Some(Former::read(&store, Some(noted))?)),
        }
    })?;
    let Some(former) = former else { return Ok(()) };
    let commit = random::array()?;
    engine.guarded(|database| {
        let transaction = begin(database)?;
        {
            let mut contents = Contents::default();
            contents.serial = former.serial.wrapping_add(1);
            let mut table = transaction.open_table(RECORDS).map_err(writing)?;
            for (place, json) in &former.records {
                let key = place.key();
                let value = sealed(&key, json, &commit, &Commit::default());
                let stored = [&contents.serial.to_le_bytes()[..], &value].concat();
                table.insert(key.as_str(), stored.as_slice()).map_err(writing)?;
                contents.add(&key, &stored);
            }
            let mut meta = transaction.open_table(META).map_err(writing)?;
            meta.insert(CONTENTS, contents.to_bytes().as_slice()).map_err(writing)?;
        }
        let tables: Vec<_> = transaction.list_tables().map_err(writing)?.collect();
        for table in tables {
            let name = table.name();
            if DERIVED.contains(&name)
                || [SETS.name(), RESOURCES.name(), ORPHANS.name(), PLATFORM.name()].contains(&name)
            {
                transaction.delete_table(table).map_err(writing)?;
            }
        }
        transaction.commit().map_err(writing)
    })
}

/// The content of a file of a former release.
struct Former {
    serial: u64,
    records: BTreeMap<Place, Vec<u8>>,
    found: Contents,
    /// Whether its records have checksums.
    sealed: bool,
}

impl Former {
    /// Reads and checks all of it. The tables for finding records are not read: they are made anew.
    fn read(store: &ReadTransaction, noted: Option<Contents>) -> Result<Self> {
        let serial = noted.as_ref().map_or(0, |noted| noted.serial);
        let (records, found) = (BTreeMap::new(), Contents::default());
        let mut former = Former { serial, records, found, sealed: noted.is_some() };
        each(store, SETS, |name, record| {
            let place = Place::Set(name.into());
            let set: EncryptionSet = former.take(&place, Some(Counted::Set), record)?;
            if set.name == name {
                Ok(())
            } else {
                Err(Defect(format!("the record of the {} is that of the set {:?}", place.name(), set.name)))
            }
        })?;
        each(store, RESOURCES, |(kind, name), record| {
            let name = resource_name(kind, name)?;
            let place = Place::Resource(name.clone());
            let resource: crate::managed::records::Resource = former.take(&place, Some(Counted::Resource), record)?;
            parse_resource(&name, &json(&resource))?;
            for (place, json) in indices(&resource) {
                if former.records.insert(place.clone(), json).is_some() {
                    return Err(Defect(format!("two resources have the record of the {}", place.name())));
                }
            }
            Ok(())
        })?;
        each(store, ORPHANS, |id, region| {
            let place = Place::Orphan(id.into());
            former.found.turn(hash(&place, region.as_bytes()));
            former.found.count(Counted::Orphan);
            former.records.insert(place, json(&Orphan { region: region.into(), removing: false, maker: None }));
            Ok(())
        })?;
        each(store, PLATFORM, |key, record| {
            if key == KEYS { former.take::<PlatformKeys>(&Place::Platform, None, record).map(drop) } else { Ok(()) }
        })?;
        match noted.map(|noted| former.found.differences(&noted)).unwrap_or_default().into_iter().next() {
            Some(Defect(how)) => Err(damaged(&how)),
            None => Ok(former),
        }
    }

    /// Takes a record over, as it was written.
    fn take<T: serde::de::DeserializeOwned>(
        &mut self,
        place: &Place,
        counted: Option<Counted>,
        record: &[u8],
    ) -> Result<T, Defect> {
        let json = match record.first() {
            _ if self.sealed => checked(place, record)?,
            Some(b'{') => record,
            _ => return Err(Defect("it has lost the record of its contents".into())),
        };
        self.found.turn(hash(place, json));
        counted.into_iter().for_each(|counted| self.found.count(counted));
        self.records.insert(place.clone(), json.to_vec());
        parse(place, json)
    }
}

/// Passes the entries of a table to `act`, if there is such a table.
fn each<K: redb::Key + 'static, V: redb::Value + 'static>(
    store: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
    mut act: impl for<'k> FnMut(K::SelfType<'k>, V::SelfType<'k>) -> Result<(), Defect>,
) -> Result<()> {
    let table = match store.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        table => table.map_err(reading)?,
    };
    for entry in table.iter().map_err(reading)? {
        let (key, value) = entry.map_err(reading)?;
        act(key.value(), value.value())?;
    }
    Ok(())
}
