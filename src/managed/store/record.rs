//! One record: its envelope with a checksum, and its rules.
//!
//! ```text
//! form 2 │ version │ commit (16) │ before (16) │ checksum (32) │ JSON
//! ```
//!
//! `commit` is the random number of the commit that wrote it, and `before` that of the commit that wrote the version which
//! it replaced. A commit whose end isn't known finds itself by them. The checksum covers the key, too, so that a record in
//! another's place is found, and a record can be told in any bytes.

use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::errors::Defect;
use super::place::Place;
use crate::managed::records::{MAX_SIZE, Resource, ResourceName, check_id, check_name};

/// The form of the envelope. Before it were form 1 ([`former`](super::former)), and JSON alone.
pub(super) const FORM: u8 = 2;

/// The version of the records. A service refuses those of a later version, and writes this one.
const VERSION: u8 = 1;

pub(super) const CHECKSUM: usize = 32;

/// The length of the head before the JSON.
pub(super) const HEAD: usize = 2 + 2 * 16 + CHECKSUM;

/// The random number of a commit.
pub(super) type Commit = [u8; 16];

/// The content of a record's envelope.
pub(super) struct Sealed<'b> {
    pub(super) commit: Commit,
    pub(super) before: Commit,
    pub(super) json: &'b [u8],
}

/// Puts a record into its envelope.
pub(super) fn sealed(key: &str, json: &[u8], commit: &Commit, before: &Commit) -> Vec<u8> {
    let head = [&[FORM, VERSION][..], commit, before].concat();
    let checksum = hash(key, &head, json);
    [&head[..], &checksum, json].concat()
}

/// Takes a record out of its envelope, if that is whole.
///
/// # Errors
/// A text that goes on from the record's name.
pub(super) fn unsealed<'b>(key: &str, bytes: &'b [u8]) -> Result<Sealed<'b>, &'static str> {
    const BROKEN: &str = "does not match its checksum";
    let (head, json) = bytes.split_at_checked(HEAD).ok_or(BROKEN)?;
    let (head, checksum) = head.split_at(HEAD - CHECKSUM);
    // A later form is only reported as such: its checksum can't be verified.
    if head[0] > FORM && head[0] < b' ' {
        return Err("was written by a later release; update this service");
    }
    if head[0] != FORM || checksum != hash(key, head, json) {
        return Err(BROKEN);
    }
    if head[1] > VERSION {
        return Err("was written by a later release; update this service");
    }
    let number = |at: usize| head[at..][..16].try_into().expect("16 bytes");
    Ok(Sealed { commit: number(2), before: number(18), json })
}

/// The JSON in an envelope that was verified before.
pub(super) fn json_of(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(HEAD..)
}

fn hash(key: &str, head: &[u8], json: &[u8]) -> [u8; CHECKSUM] {
    let hash = Sha256::new().chain_update(head).chain_update((key.len() as u64).to_le_bytes());
    hash.chain_update(key).chain_update(json).finalize().into()
}

/// Verifies the envelope of the record at a place, and returns its JSON.
pub(super) fn checked<'b>(place: &Place, bytes: &'b [u8]) -> Result<&'b [u8], Defect> {
    let sealed = unsealed(&place.key(), bytes);
    sealed.map(|sealed| sealed.json).map_err(|how| Defect(format!("the record of the {} {how}", place.name())))
}

pub(super) fn parse<T: DeserializeOwned>(place: &Place, json: &[u8]) -> Result<T, Defect> {
    serde_json::from_slice(json).map_err(|e| Defect(format!("the record of the {} can't be read: {e}", place.name())))
}

pub(super) fn json(record: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has only string keys")
}

/// The record, with the fields that only a later release knows: those of the record that it replaces which this release
/// read and didn't understand.
pub(super) fn json_over<T: serde::Serialize + DeserializeOwned>(record: &T, old: &[u8]) -> Vec<u8> {
    type Fields = serde_json::Map<String, serde_json::Value>;
    let fields = |json: &[u8]| serde_json::from_slice::<Fields>(json).unwrap_or_default();
    let new = json(record);
    let Ok(known) = serde_json::from_slice::<T>(old) else { return new };
    let (known, mut unknown) = (fields(&json(&known)), fields(old));
    unknown.retain(|name, _| !known.contains_key(name));
    if unknown.is_empty() {
        return new;
    }
    // Unknown fields go to the end: tools that salvage records search for their beginning.
    let unknown = json(&unknown);
    let Some(start) = new.strip_suffix(b"}") else { return new };
    [start, b",", &unknown[1..]].concat()
}

pub(super) fn parse_resource(name: &ResourceName, json: &[u8]) -> Result<Resource, Defect> {
    let resource = parse(&Place::Resource(name.clone()), json)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::managed::records::EncryptionSet;

    #[test]
    fn a_record_of_another_place_or_a_later_release_is_refused() {
        let record = sealed("set/a", b"{}", &[1; 16], &[2; 16]);
        let found = unsealed("set/a", &record).ok().unwrap();
        assert_eq!((found.commit, found.before, found.json), ([1; 16], [2; 16], &b"{}"[..]));
        assert!(unsealed("set/b", &record).is_err_and(|how| how.contains("checksum")));
        for at in 0..record.len() {
            let mut other = record.clone();
            other[at] ^= 1;
            assert!(unsealed("set/a", &other).is_err(), "{at}");
        }
        assert!(unsealed("set/a", &record[..HEAD - 1]).is_err());
        let mut later = record;
        later[1] = VERSION + 1;
        let checksum = hash("set/a", &later[..HEAD - CHECKSUM], b"{}");
        later[HEAD - CHECKSUM..HEAD].copy_from_slice(&checksum);
        assert!(unsealed("set/a", &later).is_err_and(|how| how.contains("later release")));
    }

    #[test]
    fn fields_of_a_later_release_stay_when_a_record_is_changed() {
        let old = br#"{"name":"s","region":"north","subscription":"one","tenant":"c","identity":"i","encryption_type":"customer-key","active_key":"https://v.example/keys/disks/1","previous_keys":[],"former_keys":[],"auto_rotation":false,"last_key_rotation_timestamp":null,"auto_key_rotation_error":null,"created":17,"of_tomorrow":{"a":[1]}}"#;
        let mut set: EncryptionSet = serde_json::from_slice(old).unwrap();
        set.tenant = "d".into();
        let new = String::from_utf8(json_over(&set, old)).unwrap();
        assert!(new.starts_with(r#"{"name":"s","#) && new.ends_with(r#","of_tomorrow":{"a":[1]}}"#), "{new}");
        assert_eq!(serde_json::from_str::<EncryptionSet>(&new).unwrap(), set);
        assert_eq!(json_over(&set, b"{}"), json(&set));
    }
}
