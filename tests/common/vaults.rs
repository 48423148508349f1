//! A vault outside of the crate: keys in memory, wrapped by the crate `aes-kw` directly.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aes_kw::{KeyInit, KwAes256};
use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::{Error, KeyRefusal, KeyVault, Result, Secret};

/// A vault with one key, `disks`, whose first version is 1.
pub struct MemoryVault {
    id: String,
    /// The KEK of each version; `None` where it was destroyed.
    versions: Mutex<Vec<Option<[u8; 32]>>>,
    /// How often it was called.
    pub asked: AtomicUsize,
}

impl MemoryVault {
    pub fn new(id: &str) -> Self {
        let vault = MemoryVault { id: id.into(), versions: Mutex::default(), asked: AtomicUsize::new(0) };
        vault.rotate();
        vault
    }

    /// Makes a new version.
    pub fn rotate(&self) {
        let mut versions = self.versions.lock().unwrap();
        // Any KEKs will do if no two are equal.
        let kek = core::array::from_fn(|i| (i + versions.len() * 37 + self.id.len()) as u8);
        versions.push(Some(kek));
    }

    pub fn destroy(&self, version: usize) {
        self.versions.lock().unwrap()[version - 1] = None;
    }
}

impl KeyVault for MemoryVault {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        if key != "disks" {
            return Err(Error::KeyRefused { key: key.into(), reason: KeyRefusal::Missing });
        }
        let latest = self.versions.lock().unwrap().len();
        self.wrap_version(&KeyId::new(&self.id, key, &latest.to_string())?, dek)
    }

    fn wrap_version(&self, id: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let versions = self.versions.lock().unwrap();
        let kek = versions.get(id.version().parse::<usize>().unwrap() - 1).copied().flatten();
        let kek = kek
            .filter(|_| id.key() == "disks")
            .ok_or_else(|| Error::KeyRefused { key: id.to_string(), reason: KeyRefusal::Missing })?;
        let mut bytes = vec![0; dek.len() + 8];
        KwAes256::new(&kek.into()).wrap_key(dek.expose(), &mut bytes).unwrap();
        Ok(WrappedDek::new(id.clone(), WrapAlgorithm::Aes256Kw, bytes))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if wrapped.kek.vault() != self.id {
            return Ok(None);
        }
        if wrapped.algorithm != WrapAlgorithm::Aes256Kw {
            return Err(Error::UnsupportedAlgorithm(wrapped.algorithm.name().into()));
        }
        let versions = self.versions.lock().unwrap();
        let version = wrapped.kek.version().parse::<usize>().ok().and_then(|v| v.checked_sub(1));
        let kek = version.and_then(|v| *versions.get(v)?).filter(|_| wrapped.kek.key() == "disks");
        let kek = kek.ok_or_else(|| Error::KeyRefused { key: wrapped.kek.to_string(), reason: KeyRefusal::Missing })?;
        let mut dek = Secret::zeroed(wrapped.bytes.len().saturating_sub(8));
        let unwrapped = KwAes256::new(&kek.into()).unwrap_key(&wrapped.bytes, dek.expose_mut());
        unwrapped.map_err(|_| Error::UnwrapFailed)?;
        Ok(Some(dek))
    }
}

/// The wrong answer of a broken or hostile vault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lie {
    /// Unwraps to another key of the right length.
    AnotherKey,
    /// Unwraps to a key of this length.
    KeyOfLength(usize),
    /// Unwraps to a key whose halves are equal.
    EqualHalves,
    /// Unwraps to nothing, as if another vault had wrapped it.
    NotMine,
    /// Claims to have wrapped under another key.
    AnotherName,
    /// Claims that another vault wrapped it.
    AnotherVault,
    /// Gives a wrapped key of this length.
    WrappedOfLength(usize),
}

/// A [`MemoryVault`] with one wrong answer.
pub struct LyingVault<'a>(pub &'a MemoryVault, pub Lie);

impl KeyVault for LyingVault<'_> {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        let mut wrapped = self.0.wrap(key, dek)?;
        match self.1 {
            Lie::AnotherName => wrapped.kek = KeyId::new(self.id(), "tapes", "1")?,
            Lie::AnotherVault => wrapped.kek = KeyId::new("memory:another", key, "1")?,
            Lie::WrappedOfLength(len) => wrapped.bytes.resize(len, 0),
            _ => {}
        }
        Ok(wrapped)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        let ramp = |len: usize| Secret::copy_from(&(0..len).map(|i| i as u8).collect::<Vec<_>>());
        match self.1 {
            Lie::AnotherKey => Ok(Some(ramp(wrapped.bytes.len() - 8))),
            Lie::KeyOfLength(len) => Ok(Some(ramp(len))),
            Lie::EqualHalves => Ok(Some(Secret::copy_from(&vec![5; wrapped.bytes.len() - 8]))),
            Lie::NotMine => Ok(None),
            _ => self.0.unwrap(wrapped),
        }
    }
}
