//! The records of old stores. A store that opens gives its records as they are; from another, the readable ones are
//! salvaged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use redb::ReadableDatabase;
use redb::ReadableTable;

use super::engine::Engine;
use super::errors::reading;
use super::file::StoreFile;
use super::former::resource_name;
use super::opening::surveyed;
use super::place::Place;
use super::record::{check_resource, checked, parse, parse_resource};
use super::remains::Remains;
use super::schema::RECORDS;
use super::untouched::Untouched;
use crate::Result;
use crate::managed::records::{EncryptionSet, PlatformKeys, Resource};

/// The records found in old stores.
#[derive(Default)]
pub(in crate::managed) struct OldRecords {
    /// By name. Sets whose versions differ in important fields are left out.
    pub(in crate::managed) sets: BTreeMap<String, EncryptionSet>,
    /// By id. There are several if it is unknown which was the last.
    pub(in crate::managed) resources: BTreeMap<String, Vec<Resource>>,
    /// The platform's keys, if a store that opens has them.
    pub(in crate::managed) platform: Option<PlatformKeys>,
    /// The largest number of changes of any store.
    pub(in crate::managed) changes: u64,
}

impl OldRecords {
    pub(in crate::managed) fn read(stores: &[PathBuf]) -> Result<Self> {
        let mut old = OldRecords::default();
        let mut remains = Vec::new();
        for path in stores {
            let file = Arc::new(StoreFile::over(path, Box::new(Untouched::open(path)?)));
            if file.is_new || old.take_sound(&file).is_err() {
                remains.push(Remains::of(&Untouched::open(path)?).map_err(reading)?);
            }
        }
        let mut others = OldRecords::default();
        for remains in remains {
            old.changes = old.changes.max(remains.noted.as_ref().map_or(0, |noted| noted.serial));
            for (name, versions) in remains.sets {
                let latest = latest(versions.into_iter().chain(others.sets.remove(&name)).collect());
                others.sets.extend(latest.map(|set| (name, set)));
            }
            for (name, versions) in remains.resources {
                let fits =
                    |record: &Resource| resource_name(name.0, &name.1).and_then(|n| check_resource(record, &n)).is_ok();
                for record in versions.into_iter().filter(fits) {
                    let known = others.resources.entry(record.id.clone()).or_default();
                    if !known.contains(&record) {
                        known.push(record);
                    }
                }
            }
        }
        for (name, set) in others.sets {
            old.sets.entry(name).or_insert(set);
        }
        for (id, records) in others.resources {
            old.resources.entry(id).or_insert(records);
        }
        Ok(old)
    }

    /// Takes the records of a store that opens, unless an earlier store had them.
    fn take_sound(&mut self, file: &Arc<StoreFile>) -> Result<()> {
        let engine = Engine::open(file)?;
        let contents = surveyed(&engine)?.sound()?;
        let (sets, resources, platform) = engine.guarded(|database| {
            let store = database.begin_read().map_err(reading)?;
            let (mut sets, mut resources, mut platform) = (Vec::new(), Vec::new(), None);
            for entry in store.open_table(RECORDS).map_err(reading)?.iter().map_err(reading)? {
                let (key, stored) = entry.map_err(reading)?;
                let Some(place) = Place::of_key(key.value()) else { continue };
                let json = checked(&place, stored.value().get(8..).unwrap_or_default())?;
                match &place {
                    Place::Set(_) => sets.push(parse::<EncryptionSet>(&place, json)?),
                    Place::Resource(name) => resources.push(parse_resource(name, json)?),
                    Place::Platform => platform = Some(parse::<PlatformKeys>(&place, json)?),
                    _ => {}
                }
            }
            Ok((sets, resources, platform))
        })?;
        self.platform = self.platform.take().or(platform);
        for set in sets {
            self.sets.entry(set.name.clone()).or_insert(set);
        }
        for resource in resources {
            self.resources.entry(resource.id.clone()).or_insert_with(|| vec![resource]);
        }
        self.changes = self.changes.max(contents.serial);
        Ok(())
    }
}

/// The last version of a set's record, as far as the versions show it.
fn latest(mut versions: Vec<EncryptionSet>) -> Option<EncryptionSet> {
    let order = |set: &EncryptionSet| (set.created, set.last_key_rotation_timestamp, set.former_keys.len());
    versions.sort_by_key(order);
    let last = versions.pop()?;
    let counts = |set: &EncryptionSet| {
        let set = set.clone();
        (set.region, set.subscription, set.tenant, set.identity, set.encryption_type.name(), set.active_key)
    };
    let is_clear = versions.iter().filter(|set| order(set) == order(&last)).all(|set| counts(set) == counts(&last));
    is_clear.then_some(last)
}
