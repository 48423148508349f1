//! Salvages records from a file that the database can't open. Each record contains its own place, covered by its
//! checksum, so it can be found at any offset. If there are several versions, nothing says which was the last.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::de::DeserializeOwned;

use super::check::StoreCheck;
use super::contents::{self, Contents};
use super::file::Bytes;
use super::place::Place;
use super::record::{self, HEAD};
use super::{former, former::resource_name};
use crate::managed::records::{EncryptionSet, Resource, check_name};

/// The number of bytes searched at once, and the most bytes of a record.
const WINDOW: usize = 1 << 20;
const LONGEST: usize = 64 << 10;
/// The beginnings of the JSON of a set and of a resource.
const SET: &[u8] = b"{\"name\":\"";
const RESOURCE: &[u8] = b"{\"kind\":\"";
/// The key of the record of the contents, which is directly before it.
const CONTENTS: &[u8] = b"contents";
/// The most records that are kept, and the most versions of one.
const MOST: usize = 1_000_000;
const MOST_VERSIONS: usize = 64;

#[derive(Default)]
pub(super) struct Remains {
    /// The latest record of the contents.
    pub(super) noted: Option<Contents>,
    /// The names with trustworthy records, and all versions of these.
    pub(super) sets: BTreeMap<String, Vec<EncryptionSet>>,
    pub(super) resources: BTreeMap<(u8, String), Vec<Resource>>,
    /// The names of damaged records.
    damaged: BTreeSet<String>,
}

impl Remains {
    pub(super) fn of(file: &dyn Bytes) -> io::Result<Self> {
        let len = file.len()?;
        let mut remains = Remains::default();
        let mut bytes = Vec::new();
        let mut at = 0;
        while at < len {
            // A record that begins in this window is in it completely; its checksum comes before it.
            let from = at.saturating_sub(HEAD as u64);
            let end = len.min(at + (WINDOW + LONGEST) as u64);
            bytes.resize((end - from) as usize, 0);
            file.read(from, &mut bytes)?;
            let begin = (at - from) as usize;
            remains.look(&bytes, begin..bytes.len().min(begin + WINDOW));
            at += WINDOW as u64;
        }
        Ok(remains)
    }

    fn look(&mut self, bytes: &[u8], range: core::ops::Range<usize>) {
        let mut at = range.start;
        while at < range.end {
            let rest = &bytes[at..];
            let read = match rest[0] {
                b'{' if rest.starts_with(SET) => {
                    let put = |remains: &mut Self, set: EncryptionSet| {
                        add(remains.sets.entry(set.name.clone()).or_default(), set);
                    };
                    self.record(bytes, at, |set: &EncryptionSet| (0, set.name.clone()), put)
                }
                b'{' if rest.starts_with(RESOURCE) => {
                    let key = |resource: &Resource| (resource.kind.code(), resource.name.clone());
                    let put = |remains: &mut Self, resource: Resource| {
                        add(remains.resources.entry(key(&resource)).or_default(), resource);
                    };
                    self.record(bytes, at, key, put)
                }
                b'c' if rest.starts_with(CONTENTS) => {
                    let noted = &rest[CONTENTS.len()..rest.len().min(CONTENTS.len() + contents::LEN)];
                    let read = |form| Contents::from_bytes(noted, form);
                    if let Ok(noted) = read(contents::FORM).or_else(|_| read(contents::FORMER))
                        && self.noted.as_ref().is_none_or(|other| other.serial < noted.serial)
                    {
                        self.noted = Some(noted);
                    }
                    1
                }
                _ => 1,
            };
            at += read;
        }
    }

    /// Takes a record that may begin at this offset, and returns its length.
    fn record<T: DeserializeOwned>(
        &mut self,
        bytes: &[u8],
        at: usize,
        key: impl Fn(&T) -> (u8, String),
        put: impl Fn(&mut Self, T),
    ) -> usize {
        // An older release wrote records without checksums, so they can't be verified.
        let begins = |head: usize, form: u8| at.checked_sub(head).filter(|&head| bytes[head] == form);
        let (now, formerly) = (begins(HEAD, record::FORM), begins(former::HEAD, former::FORM));
        if now.or(formerly).is_none() || self.sets.len() + self.resources.len() + self.damaged.len() > MOST {
            return 1;
        }
        let json = &bytes[at..bytes.len().min(at + LONGEST)];
        let mut found = serde_json::Deserializer::from_slice(json).into_iter::<T>();
        match found.next() {
            Some(Ok(record)) => {
                let len = found.byte_offset();
                let (kind, name) = key(&record);
                let Some(place) = place(kind, &name) else { return len };
                let is_sound = now.is_some_and(|head| record::checked(&place, &bytes[head..at + len]).is_ok())
                    || formerly.is_some_and(|head| former::checked(&place, &bytes[head..at + len]).is_ok());
                if is_sound {
                    put(self, record);
                } else {
                    self.damaged.insert(place.name());
                }
                len
            }
            _ => {
                self.damaged.extend(told_name(json));
                1
            }
        }
    }

    /// The report on a file that the database could not open.
    pub(super) fn told(&self, why: String) -> StoreCheck {
        let sets = self.sets.keys().map(|name| (0, name));
        let resources = self.resources.keys().map(|(kind, name)| (*kind, name));
        let sound: BTreeSet<_> =
            sets.chain(resources).filter_map(|(kind, name)| Some(place(kind, name)?.name())).collect();
        let each = |name: &String| match sound.contains(name) {
            true => format!("a record of the {name} is damaged; one of the same or another time can be read"),
            false => format!("the record of the {name} is damaged"),
        };
        let (sets, resources) = (self.sets.len() as u64, self.resources.len() as u64);
        let mut defects = vec![why];
        defects.extend(self.damaged.iter().map(each));
        match &self.noted {
            Some(noted) => {
                let missing = [("sets", sets, noted.counts[0]), ("resources", resources, noted.counts[1])];
                let missing = missing.iter().filter(|(_, found, noted)| found < noted);
                defects.extend(missing.map(|(what, found, noted)| {
                    format!("{found} {what} have a readable record, but there should be {noted}")
                }));
            }
            None => defects.push("the record of its contents can't be found: it is unknown how much is missing".into()),
        }
        StoreCheck { changes: self.noted.as_ref().map_or(0, |noted| noted.serial), sets, resources, defects }
    }
}

fn add<T: PartialEq>(versions: &mut Vec<T>, version: T) {
    if versions.len() < MOST_VERSIONS && !versions.contains(&version) {
        versions.push(version);
    }
}

/// The place of a set for kind 0, otherwise of a resource.
fn place(kind: u8, name: &str) -> Option<Place> {
    if kind == 0 { Some(Place::Set(name.into())) } else { resource_name(kind, name).ok().map(Place::Resource) }
}

/// The name in a record, if it can be read.
fn told_name(json: &[u8]) -> Option<String> {
    let start = &json[..json.len().min(512)];
    let text = String::from_utf8_lossy(start);
    let field = |name: &str| text.split_once(name)?.1.split_once('"').map(|(value, _)| value.to_owned());
    let (kind, name) = (field("\"kind\":\""), field("\"name\":\"")?);
    let sound = name.split('/').all(|part| check_name(part).is_ok());
    let kind = match kind.as_deref() {
        Some(kind @ ("disk" | "snapshot" | "image")) => kind,
        Some(_) => "resource",
        None => "set",
    };
    sound.then(|| format!("{kind} {name:?}"))
}
