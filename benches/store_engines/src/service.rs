//! The library's own store as a service uses it: redb with checksums and guards. A record is a set.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use atrest::key::{KeyDescription, KeyId, KeyKind, WrapAlgorithm, WrappedDek};
use atrest::managed::{DiskFolder, DiskService, NewSet, ServiceOptions, VaultDescription, VaultDirectory};
use atrest::{EncryptionType, KeyVault, Result, Secret};

use crate::engines::{Engine, Map, Told, told};

pub struct Service(DiskService);

/// A vault that remembers the DEKs that it wrapped.
#[derive(Default)]
struct Vault(Mutex<HashMap<Vec<u8>, Secret>>);

const VAULT: &str = "https://contoso.vault.example";

impl KeyVault for Vault {
    fn id(&self) -> &str {
        VAULT
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.wrap_version(&KeyId::new(VAULT, key, "1")?, dek)
    }

    fn wrap_version(&self, key: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        let bytes = Secret::random(40)?.expose().to_vec();
        self.0.lock().unwrap().insert(bytes.clone(), Secret::copy_from(dek.expose()));
        Ok(WrappedDek::new(key.clone(), WrapAlgorithm::Aes256Kw, bytes))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        Ok(self.0.lock().unwrap().remove(&wrapped.bytes))
    }

    fn describe(&self, key: &str, _: Option<&str>) -> Result<Option<KeyDescription>> {
        Ok(Some(KeyDescription::new(KeyId::new(VAULT, key, "1")?, KeyKind::Aes256)))
    }
}

struct Vaults(Arc<Vault>);

impl VaultDirectory for Vaults {
    fn vault(&self, _: &str, _: &str) -> Result<Arc<dyn KeyVault>> {
        Ok(self.0.clone())
    }

    fn describe(&self, _: &str) -> Result<VaultDescription> {
        let (region, tenant) = ("north", "contoso");
        Ok(VaultDescription::new(region, tenant).soft_delete(true).purge_protection(true))
    }
}

impl Service {
    pub fn open(folder: &Path) -> Told<Self> {
        let options = ServiceOptions::new(Arc::new(DiskFolder::new(folder)), Arc::new(Vaults(Arc::default())), Arc::new(Vault::default()), "disks").parallel(1).rotation_interval(std::time::Duration::from_secs(900));
        DiskService::open(folder.join("store"), options).map(Service).map_err(told)
    }
}

impl Engine for Service {
    /// Each record in a transaction of its own. The value is the library's.
    fn put(&mut self, records: &[(String, Vec<u8>)]) -> Told<()> {
        for (key, _) in records {
            let set = NewSet::new(key.clone(), KeyId::new(VAULT, "disks", "1").map_err(told)?).region("north").subscription("one").tenant("contoso").encryption_type(EncryptionType::CustomerKey).auto_rotation(false);
            self.0.create_set(&set).map_err(told)?;
        }
        Ok(())
    }

    fn load(&mut self) -> Told<Map> {
        let record = |name: String| Ok((name.clone(), self.0.encryption_set(&name).map_err(told)?.to_json().into_bytes()));
        self.0.encryption_sets().map_err(told)?.into_iter().map(record).collect()
    }
}
