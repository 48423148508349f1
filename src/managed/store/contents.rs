//! Checksums: one in each record, and one over all of them, so that a record that is wrong, missing or of another time is
//! told.

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::Defect;

/// In front of a record: the form of what follows, and its checksum. A record of an older release begins with a brace.
pub(super) const FORM: u8 = 1;
const CHECKSUM: usize = 32;
pub(super) const HEAD: usize = 1 + CHECKSUM;
const SUM: usize = 32;
pub(super) const LEN: usize = 1 + 4 * 8 + SUM + CHECKSUM;

/// What a record is of: its table and key.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Set(&'a str),
    Resource(u8, &'a str),
    Orphan(&'a str),
    Platform,
}

impl Place<'_> {
    pub(super) fn name(&self) -> String {
        match self {
            Place::Set(name) => format!("set {name:?}"),
            Place::Resource(kind, name) => match super::resource_name(*kind, name) {
                Ok(name) => name.to_string(),
                Err(_) => format!("resource {name:?} of the unknown kind {kind}"),
            },
            Place::Orphan(id) => format!("device {id:?}, which is to be removed"),
            Place::Platform => "platform's keys".into(),
        }
    }

    pub(super) fn hash(&self, record: &[u8]) -> [u8; CHECKSUM] {
        let (table, kind, name) = match *self {
            Place::Set(name) => (1, 0, name),
            Place::Resource(kind, name) => (2, kind, name),
            Place::Orphan(id) => (3, 0, id),
            Place::Platform => (4, 0, ""),
        };
        let hash = Sha256::new().chain_update([FORM, table, kind]).chain_update((name.len() as u64).to_le_bytes());
        hash.chain_update(name).chain_update(record).finalize().into()
    }

    pub(super) fn sealed(&self, json: &[u8]) -> Vec<u8> {
        [&[FORM][..], &self.hash(json), json].concat()
    }

    pub(super) fn unsealed<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Defect> {
        self.parse(self.checked(bytes)?)
    }

    /// The JSON of a record.
    pub(super) fn checked<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8], Defect> {
        match bytes.split_first().and_then(|(form, rest)| Some((form, rest.split_first_chunk::<CHECKSUM>()?))) {
            Some((&FORM, (checksum, json))) if self.hash(json) == *checksum => Ok(json),
            _ => Err(Defect(format!("the record of the {} does not match its checksum", self.name()))),
        }
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, json: &[u8]) -> Result<T, Defect> {
        serde_json::from_slice(json)
            .map_err(|e| Defect(format!("the record of the {} can't be read: {e}", self.name())))
    }
}

/// What is in the store, in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Grows by one with each change.
    pub(super) serial: u64,
    /// Of sets, resources and orphans.
    pub(super) counts: [u64; 3],
    /// The hashes of all of them, one over the other.
    sum: [u8; SUM],
}

impl Contents {
    fn turn(&mut self, place: Place<'_>, record: &[u8]) {
        self.sum.iter_mut().zip(place.hash(record)).for_each(|(sum, byte)| *sum ^= byte);
    }

    /// The number of records like this one; of the platform's keys there is one or none, and the sum tells which.
    fn count_of(&mut self, place: Place<'_>) -> Option<&mut u64> {
        match place {
            Place::Set(_) => Some(&mut self.counts[0]),
            Place::Resource(..) => Some(&mut self.counts[1]),
            Place::Orphan(_) => Some(&mut self.counts[2]),
            Place::Platform => None,
        }
    }

    pub(super) fn add(&mut self, place: Place<'_>, record: &[u8]) {
        self.turn(place, record);
        self.count(place);
    }

    /// Counts a record that can't be believed.
    pub(super) fn count(&mut self, place: Place<'_>) {
        if let Some(count) = self.count_of(place) {
            *count = count.wrapping_add(1);
        }
    }

    pub(super) fn remove(&mut self, place: Place<'_>, record: &[u8]) {
        self.turn(place, record);
        if let Some(count) = self.count_of(place) {
            *count = count.wrapping_sub(1);
        }
    }

    /// Why these, which were found, aren't those that were noted.
    pub(super) fn differences(&self, noted: &Self) -> Vec<Defect> {
        let counts =
            ["sets", "resources", "devices to be removed"].into_iter().zip(self.counts.iter().zip(noted.counts));
        let mut defects: Vec<_> = counts
            .filter(|(_, (found, noted))| **found != *noted)
            .map(|(what, (found, noted))| Defect(format!("it has {found} {what} where it should have {noted}")))
            .collect();
        if defects.is_empty() && self.sum != noted.sum {
            defects.push(Defect("one of its records is of another time than the others, or missing".into()));
        }
        defects
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        [self.serial].iter().chain(&self.counts).for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.extend(self.sum);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Defect> {
        let bad = |text: &str| Defect(format!("the record of its contents {text}"));
        if bytes.first() != Some(&FORM) {
            return Err(bad("is of a form that this version doesn't know"));
        }
        if bytes.len() != LEN || Sha256::digest(&bytes[..LEN - CHECKSUM])[..] != bytes[LEN - CHECKSUM..] {
            return Err(bad("does not match its checksum"));
        }
        let number = |n: usize| u64::from_le_bytes(bytes[1 + 8 * n..][..8].try_into().expect("8 bytes"));
        let sum = bytes[33..][..SUM].try_into().expect("32 bytes");
        Ok(Contents { serial: number(0), counts: [number(1), number(2), number(3)], sum })
    }
}
