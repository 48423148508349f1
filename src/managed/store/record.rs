//! One record: its place, its checksum, and its rules.

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::errors::Defect;
use crate::managed::records::{MAX_SIZE, Resource, ResourceKind, ResourceName, check_id, check_name};

/// Before a record's JSON come the form of the record and its checksum. A record of an older release begins with a
/// brace.
pub(super) const FORM: u8 = 1;
pub(super) const CHECKSUM: usize = 32;
pub(super) const HEAD: usize = 1 + CHECKSUM;

/// The place of a record: its table and key.
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
            Place::Resource(kind, name) => match resource_name(*kind, name) {
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

    /// Verifies the checksum and returns the JSON of a record.
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

pub(super) fn json(record: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has only string keys")
}

pub(super) fn parse_resource(name: &ResourceName, record: &[u8]) -> Result<Resource, Defect> {
    let resource = Place::Resource(name.kind.code(), &name.name).unsealed(record)?;
    check_resource(&resource, name)?;
    Ok(resource)
}

/// Checks that no size in a record can overflow later, and no name can leave its folder.
pub(super) fn check_resource(resource: &Resource, name: &ResourceName) -> Result<(), Defect> {
    let (size, sector_size) = (resource.size, resource.sector_size);
    let bad = |text: String| Defect(format!("the record of the {name} {text}"));
    if resource.full_name() != *name {
        return Err(bad(format!("is that of the {}", resource.full_name())));
    }
    if size == 0 || size > MAX_SIZE || !matches!(sector_size, 512 | 4096) || !size.is_multiple_of(sector_size.into()) {
        return Err(bad(format!("says that it has {size} bytes in sectors of {sector_size}")));
    }
    check_id(&resource.id).and_then(|()| check_name(&resource.region)).map_err(|e| bad(format!("is wrong: {e}")))
}

pub(super) fn resource_name(kind: u8, name: &str) -> Result<ResourceName, Defect> {
    let unknown = || Defect("it holds a kind of resource that this version doesn't know".into());
    Ok(ResourceName { kind: ResourceKind::from_code(kind).ok_or_else(unknown)?, name: name.into() })
}
