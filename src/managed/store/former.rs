//! The records of former releases: form 1, in a table of its own for each kind.

use sha2::{Digest, Sha256};

use super::errors::Defect;
use super::place::Place;
use super::record::CHECKSUM;
use crate::managed::records::{ResourceKind, ResourceName};

/// The form of a record, which comes before its checksum and its JSON. Earlier still, there was the JSON alone.
pub(super) const FORM: u8 = 1;
pub(super) const HEAD: usize = 1 + CHECKSUM;

pub(super) fn hash(place: &Place, record: &[u8]) -> [u8; CHECKSUM] {
    let (table, kind, name) = match place {
        Place::Set(name) => (1, 0, name.as_str()),
        Place::Resource(name) => (2, name.kind.code(), name.name.as_str()),
        Place::Orphan(id) => (3, 0, id.as_str()),
        // Other places had no records of their own.
        _ => (4, 0, ""),
    };
    let hash = Sha256::new().chain_update([FORM, table, kind]).chain_update((name.len() as u64).to_le_bytes());
    hash.chain_update(name).chain_update(record).finalize().into()
}

#[cfg(test)]
pub(super) fn sealed(place: &Place, json: &[u8]) -> Vec<u8> {
    [&[FORM][..], &hash(place, json), json].concat()
}

/// Verifies the checksum and returns the JSON of a record.
pub(super) fn checked<'b>(place: &Place, bytes: &'b [u8]) -> Result<&'b [u8], Defect> {
    match bytes.split_first().and_then(|(form, rest)| Some((form, rest.split_first_chunk::<CHECKSUM>()?))) {
        Some((&FORM, (checksum, json))) if hash(place, json) == *checksum => Ok(json),
        _ => Err(Defect(format!("the record of the {} does not match its checksum", place.name()))),
    }
}

pub(super) fn resource_name(kind: u8, name: &str) -> Result<ResourceName, Defect> {
    let unknown = || Defect("it holds a kind of resource that this version doesn't know".into());
    Ok(ResourceName { kind: ResourceKind::from_code(kind).ok_or_else(unknown)?, name: name.into() })
}
