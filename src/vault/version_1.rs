//! The body of version 1, which has only usable AES keys and no options. It is read but no longer written.

use serde::Deserialize;

use super::body::{self, KeyOrigin, KeyRecord, VersionRecord};
use super::root::RootRecord;
use crate::key::KeyKind;

#[derive(Deserialize)]
pub(super) struct Body {
    uuid: String,
    generation: u64,
    root: RootRecord,
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    name: String,
    next_version: u32,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
    created: u64,
    origin: KeyOrigin,
    kek: String,
}

impl Body {
    pub(super) fn into_current(self) -> body::Body {
        let key = |key: Key| {
            let versions = key.versions.into_iter().map(Version::into_current).collect();
            KeyRecord { name: key.name, next_version: key.next_version, deleted: None, purged: false, versions }
        };
        let keys = self.keys.into_iter().map(key).collect();
        body::Body { generation: self.generation, keys, ..body::Body::new(self.uuid, self.root) }
    }
}

impl Version {
    fn into_current(self) -> VersionRecord {
        VersionRecord {
            version: self.version,
            kind: KeyKind::Aes256,
            created: self.created,
            origin: self.origin,
            enabled: true,
            not_before: None,
            expires: None,
            kek: self.kek,
            mac_key: None,
            authenticated: false,
        }
    }
}
