//! The records of a disk, as a service makes them, for any number of disks.

use std::sync::Arc;

use atrest::key::{KeyDescription, KeyId, KeyKind, WrapAlgorithm, WrappedDek, wrap};
use atrest::managed::store::{Action, Change, MemoryStore, Store};
use atrest::managed::{
    DiskFolder, DiskService, HostOptions, NewDisk, NewSet, ServiceOptions, VaultDescription, VaultDirectory,
};
use atrest::{KeyVault, Secret};
use sha2::{Digest, Sha256};

use crate::Result;

pub const VAULT: &str = "https://contoso.vault.example";
/// The name of the disk that is the pattern of all: as long as the names of the others.
const NAME: &str = "disk-00000000";
/// What comes before a record's JSON, and the checksum at its end: see `docs/formats/managed.md`.
const HEAD: usize = 66;
const CHECKSUM: usize = 32;

/// A vault that wraps, and keeps nothing.
pub struct Vault;

impl KeyVault for Vault {
    fn id(&self) -> &str {
        VAULT
    }

    fn wrap(&self, key: &str, dek: &Secret) -> atrest::Result<WrappedDek> {
        self.wrap_version(&KeyId::new(VAULT, key, "1")?, dek)
    }

    fn wrap_version(&self, key: &KeyId, dek: &Secret) -> atrest::Result<WrappedDek> {
        let mut bytes = vec![0; dek.len() + 8];
        wrap::aes_kw_wrap(&[7; 32], dek.expose(), &mut bytes)?;
        Ok(WrappedDek::new(key.clone(), WrapAlgorithm::Aes256Kw, bytes))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> atrest::Result<Option<Secret>> {
        let mut dek = Secret::zeroed(wrapped.bytes.len() - 8);
        wrap::aes_kw_unwrap(&[7; 32], &wrapped.bytes, dek.expose_mut())?;
        Ok(Some(dek))
    }

    fn describe(&self, key: &str, _: Option<&str>) -> atrest::Result<Option<KeyDescription>> {
        Ok(Some(KeyDescription::new(KeyId::new(VAULT, key, "1")?, KeyKind::Aes256)))
    }
}

struct Directory;

impl VaultDirectory for Directory {
    fn vault(&self, _: &str, _: &str) -> atrest::Result<Arc<dyn KeyVault>> {
        Ok(Arc::new(Vault))
    }

    fn describe(&self, _: &str) -> atrest::Result<VaultDescription> {
        Ok(VaultDescription::new("westeurope", "contoso").soft_delete(true).purge_protection(true))
    }
}

/// A service on a store, with a set of this name if there is none yet.
pub fn service(store: &MemoryStore, folder: &std::path::Path, host: &str) -> Result<DiskService> {
    let backend = Arc::new(DiskFolder::new(folder));
    let options = ServiceOptions::new(backend, Arc::new(Directory), Arc::new(Vault), "disks");
    let service = DiskService::open_shared(Arc::new(store.clone()), &HostOptions::new(host).renews_by_itself(false), options)?;
    if service.encryption_sets()?.is_empty() {
        let key = KeyId::new(VAULT, "disks", "1")?;
        service.create_set(&NewSet::new("customers", key).region("westeurope").subscription("one").tenant("contoso"))?;
    }
    Ok(service)
}

pub fn new_disk(name: &str) -> NewDisk {
    NewDisk::new(name, 1 << 20).region("westeurope").subscription("one").encryption_set(Some("customers"))
}

/// The records of one disk.
pub struct Template {
    id: String,
    records: Vec<(String, Vec<u8>)>,
}

impl Template {
    pub fn make() -> Result<Self> {
        let (store, folder) = (MemoryStore::new(), tempfile::tempdir()?);
        let service = service(&store, folder.path(), "host")?;
        let disk = service.create_disk(&new_disk(NAME))?;
        drop(service);
        let of_disk = |record: &atrest::managed::store::Record| record.key.contains(NAME) || record.key.contains(&disk.id);
        let records = store.list("", None, 1000)?.into_iter().filter(of_disk).map(|of| (of.key, of.value)).collect();
        Ok(Template { id: disk.id, records })
    }

    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// The bytes of the keys and values of a disk.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|(key, value)| key.len() + value.len()).sum()
    }

    /// The key of the record of disk `n`.
    pub fn name(&self, n: usize) -> String {
        format!("resource/disk/disk-{n:08}")
    }

    /// What makes the records of disk `n`.
    pub fn disk(&self, n: usize) -> impl Iterator<Item = Change> {
        // Ids are random.
        let hash = Sha256::digest((n as u64).to_le_bytes());
        let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let id = format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
        let name = format!("disk-{n:08}");
        let replaced = |text: &str| text.replace(NAME, &name).replace(&self.id, &id);
        let of = |(key, value): &(String, Vec<u8>)| {
            let key = replaced(key);
            let (head, json) = value.split_at(HEAD);
            let json = replaced(&String::from_utf8_lossy(json));
            let head = &head[..HEAD - CHECKSUM];
            let hash = Sha256::new().chain_update(head).chain_update((key.len() as u64).to_le_bytes());
            let checksum = hash.chain_update(&key).chain_update(&json).finalize();
            let value = [head, &checksum[..], json.as_bytes()].concat();
            Change { key, expected: None, action: Action::Put(value) }
        };
        self.records.iter().map(of).collect::<Vec<_>>().into_iter()
    }
}
