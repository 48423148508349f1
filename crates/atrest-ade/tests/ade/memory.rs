//! Secrets and keys in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use atrest::key::{KeyId, WrapAlgorithm};
use atrest::{Error, KeyRefusal, Result, Secret};
use atrest_ade::{KeyEncryptionKeys, SecretStore, StoredSecret};

pub const ID: &str = "https://contoso.vault.azure.net";

/// A name, a value and tags.
type Version = (String, Secret, BTreeMap<String, String>);

#[derive(Default)]
pub struct MemorySecrets {
    versions: Mutex<Vec<Version>>,
    pub is_down: AtomicBool,
    pub asked: AtomicUsize,
}

impl SecretStore for MemorySecrets {
    fn id(&self) -> &str {
        ID
    }

    fn get(&self, name: &str, version: Option<&str>) -> Result<StoredSecret> {
        self.asked.fetch_add(1, Relaxed);
        if self.is_down.load(Relaxed) {
            return Err(Error::Vault("no answer".to_owned().into()));
        }
        let versions = self.versions.lock().unwrap();
        let mut named = versions.iter().enumerate().filter(|(_, (of, ..))| of == name);
        let found = named.rfind(|(i, _)| version.is_none_or(|version| version == format!("{i:032x}")));
        let missing = || Error::KeyRefused { key: format!("{ID}/secrets/{name}"), reason: KeyRefusal::Missing };
        let (i, (_, value, tags)) = found.ok_or_else(missing)?;
        let value = Secret::copy_from(value.expose());
        Ok(StoredSecret::new(format!("{i:032x}"), value, tags.clone()))
    }

    fn set(&self, name: &str, value: &Secret, tags: &BTreeMap<String, String>) -> Result<String> {
        let mut versions = self.versions.lock().unwrap();
        versions.push((name.to_owned(), Secret::copy_from(value.expose()), tags.clone()));
        Ok(format!("{:032x}", versions.len() - 1))
    }
}

/// A KEK that is no secret: what it wraps is told apart by its algorithm alone.
pub struct MemoryKek;

impl KeyEncryptionKeys for MemoryKek {
    fn id(&self) -> &str {
        ID
    }

    fn wrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, passphrase: &Secret) -> Result<Vec<u8>> {
        let mut wrapped = vec![algorithm.code() as u8, kek.version().len() as u8];
        wrapped.extend(passphrase.expose().iter().map(|byte| byte ^ 0x5a));
        Ok(wrapped)
    }

    fn unwrap(&self, kek: &KeyId, algorithm: WrapAlgorithm, wrapped: &[u8]) -> Result<Secret> {
        match wrapped {
            [of, len, bytes @ ..] if u16::from(*of) == algorithm.code() && usize::from(*len) == kek.version().len() => {
                Ok(Secret::copy_from(&bytes.iter().map(|byte| byte ^ 0x5a).collect::<Vec<_>>()))
            }
            _ => Err(Error::UnwrapFailed),
        }
    }
}
