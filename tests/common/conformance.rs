//! What every vault outside of the crate has to be good for.
//!
//! A test program includes this file by `#[path]`, starts a real server, and calls the functions with a vault on it. Its key is
//! named `disks`, unless a function is told another.

#![allow(dead_code)] // each test program uses its part

#[path = "forgeries.rs"]
pub mod forgeries;
#[cfg(target_os = "linux")]
#[path = "fork.rs"]
pub mod fork;

use std::sync::Arc;
use std::time::{Duration, Instant};

use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
use atrest::managed::{
    DiskFolder, DiskService, LeasePolicy, NewDisk, NewSet, ResourceName, ServiceOptions, VaultDirectory,
};
use atrest::{
    Credential, Dek, DekAlgorithm, Envelope, Error, FormatOptions, KeyVault, ManualClock, MemoryDevice, OpenOptions,
    Protector, Result, Secret, Volume,
};

/// Bytes that are looked for where they must not be.
pub const DEK: &[u8; 64] = b"these sixty-four bytes stand for a DEK that nobody else may know";

pub fn dek() -> Secret {
    Secret::copy_from(DEK)
}

/// Wraps DEKs of all lengths and gets them back; refuses what is altered, of another algorithm or of another vault.
pub fn wraps_and_unwraps(vault: &dyn KeyVault, key: &str) {
    wraps_and_unwraps_after(vault, key, 0);
}

/// As [`wraps_and_unwraps`], but the first `name` bytes, which name the key to the server, aren't altered.
pub fn wraps_and_unwraps_after(vault: &dyn KeyVault, key: &str, name: usize) {
    for len in [16, 32, 48, 64, 128] {
        let dek = Secret::copy_from(&DEK.repeat(2)[..len]);
        let wrapped = vault.wrap(key, &dek).unwrap();
        assert_eq!((wrapped.kek.vault(), wrapped.kek.key()), (vault.id(), key));
        assert!(wrapped.bytes.len() <= atrest::key::MAX_WRAPPED);
        assert!(!wrapped.bytes.windows(16).any(|window| window == &DEK[..16]));
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), dek.expose());
    }
    let wrapped = vault.wrap(key, &dek()).unwrap();
    let another = KeyId::new("https://another.example", key, wrapped.kek.version()).unwrap();
    assert!(vault.unwrap(&WrappedDek::new(another, wrapped.algorithm, wrapped.bytes.clone())).unwrap().is_none());
    refuses_altered(vault, &wrapped, name);
    envelopes_are_bound(vault, key);
}

/// Each byte from `first` on altered, bytes cut off and added, and nothing at all: none may unwrap, and none may look like an outage.
pub fn refuses_altered(vault: &dyn KeyVault, wrapped: &WrappedDek, first: usize) {
    let altered = |bytes: Vec<u8>| {
        let found = vault.unwrap(&WrappedDek::new(wrapped.kek.clone(), wrapped.algorithm, bytes.clone()));
        assert!(matches!(found, Err(Error::UnwrapFailed)), "{bytes:x?}: {found:?}");
    };
    for (at, bit) in (first..wrapped.bytes.len()).zip([0, 1, 7, 4].into_iter().cycle()) {
        let mut bytes = wrapped.bytes.clone();
        bytes[at] ^= 1 << bit;
        altered(bytes);
    }
    altered(wrapped.bytes[..wrapped.bytes.len() - 1].to_vec());
    if first == 0 {
        altered(wrapped.bytes[1..].to_vec());
    }
    altered([&wrapped.bytes[..], &[0]].concat());
    altered(vec![0]);
    altered(Vec::new());
    altered([&wrapped.bytes[..first], &vec![b'A'; atrest::key::MAX_WRAPPED - first]].concat());
    let other =
        if wrapped.algorithm == WrapAlgorithm::Aes256Kw { WrapAlgorithm::Opaque } else { WrapAlgorithm::Aes256Kw };
    let found = vault.unwrap(&WrappedDek::new(wrapped.kek.clone(), other, wrapped.bytes.clone()));
    assert!(matches!(found, Err(Error::UnwrapFailed | Error::UnsupportedAlgorithm(_))), "{found:?}");
}

/// An envelope opens with its own context alone.
fn envelopes_are_bound(vault: &dyn KeyVault, key: &str) {
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let envelope = Envelope::seal(&dek, vault, key, b"disk-17").unwrap();
    assert!(envelope.unseal(vault, b"disk-17").unwrap() == dek);
    assert!(matches!(envelope.unseal(vault, b"disk-18"), Err(Error::ContextMismatch)));
}

/// A rotation gives a new version, which wraps; the old one still unwraps.
pub fn rotates(vault: &dyn KeyVault, key: &str, rotate: &dyn Fn()) {
    let old = vault.wrap(key, &dek()).unwrap();
    if let Some(described) = vault.describe(key, None).unwrap() {
        assert_eq!(described.id, old.kek);
        assert!(described.enabled);
    }
    assert_eq!(vault.wrap_version(&old.kek, &dek()).unwrap().kek, old.kek);
    rotate();
    let new = vault.wrap(key, &dek()).unwrap();
    assert_ne!(new.kek.version(), old.kek.version());
    for wrapped in [&old, &new] {
        assert_eq!(vault.unwrap(wrapped).unwrap().unwrap().expose(), DEK);
        if let Some(described) = vault.describe(key, Some(wrapped.kek.version())).unwrap() {
            assert_eq!(described.id, wrapped.kek);
        }
    }
    if let Some(described) = vault.describe(key, None).unwrap() {
        assert_eq!(described.id, new.kek);
    }
    // A version that isn't the one that wrapped doesn't unwrap.
    let mixed = vault.unwrap(&WrappedDek::new(new.kek.clone(), old.algorithm, old.bytes.clone()));
    assert!(matches!(mixed, Err(Error::UnwrapFailed | Error::KeyRefused { .. })), "{mixed:?}");
}

/// A volume opens, its key is rotated, and it opens again.
pub fn serves_a_volume(vault: &dyn KeyVault, key: &str, rotate: &dyn Fn()) {
    let device = Arc::new(MemoryDevice::new(32 << 20));
    let open = || Volume::open(device.clone(), Credential::Vault(vault), &OpenOptions::new()).unwrap();
    let volume = Volume::format(device.clone(), Protector::Vault(vault, key), &FormatOptions::new()).unwrap();
    volume.write_at(0, &[7; 4096]).unwrap();
    drop(volume);
    rotate();
    let before = vault.wrap(key, &dek()).unwrap().kek;
    assert_eq!(open().rotate_kek(vault).unwrap(), before);
    let mut found = [0; 4096];
    open().read_at(0, &mut found).unwrap();
    assert_eq!(found, [7; 4096]);
}

/// The parts of a set's world.
pub struct SetWorld<'w> {
    /// The directory, which has a vault `id` in the region `north` and the tenant `contoso`.
    pub directory: Arc<dyn VaultDirectory>,
    pub id: &'w str,
    pub key: &'w str,
    /// The vault of the platform's own key.
    pub platform: Arc<dyn KeyVault>,
    /// The key's owner takes access away, and gives it again.
    pub revoke: &'w dyn Fn(),
    pub restore: &'w dyn Fn(),
    /// The server goes away, and comes back.
    pub stop: &'w dyn Fn(),
    pub start: &'w dyn Fn(),
}

/// A disk of a set works, lives through an outage, is suspended by a revocation, and comes back.
pub fn serves_a_set(world: &SetWorld<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_700_000_000));
    let backend = Arc::new(DiskFolder::new(folder.path()));
    let options = ServiceOptions::new(backend, world.directory.clone(), world.platform.clone(), world.key);
    let lease = LeasePolicy::default().interval(Duration::from_secs(60)).grace(Duration::from_secs(3600));
    let options = options.clock(clock.clone()).lease(lease);
    let service = DiskService::open(folder.path().join("fleet.redb"), options).unwrap();
    let vault = world.directory.vault(world.id, "nobody yet").unwrap();
    let key = vault.wrap(world.key, &dek()).unwrap().kek;
    service.create_set(&NewSet::new("set", key).region("north").subscription("one").tenant("contoso")).unwrap();
    let disk = NewDisk::new("disk", 1 << 20).region("north").subscription("one").sector_size(4096);
    service.create_disk(&disk.encryption_set("set")).unwrap();
    let disk = service.open_disk("disk").unwrap();
    disk.write_at(0, &[7; 4096]).unwrap();
    let later = |seconds| {
        clock.advance(Duration::from_secs(seconds));
        service.maintain();
    };
    let mut found = [0; 4096];
    later(120);
    disk.read_at(0, &mut found).unwrap();

    (world.stop)();
    later(120);
    assert!(!disk.is_suspended(), "an outage isn't a revocation");
    disk.read_at(0, &mut found).unwrap();
    (world.start)();
    later(1800);
    assert!(!disk.is_suspended());

    (world.revoke)();
    later(1900);
    assert!(disk.is_suspended(), "a revocation isn't an outage");
    assert!(disk.read_at(0, &mut found).is_err());
    (world.restore)();
    later(1900);
    found = [0; 4096];
    disk.read_at(0, &mut found).unwrap();
    assert_eq!(found, [7; 4096]);
    drop(disk);
    service.delete(&ResourceName::disk("disk")).unwrap();
}

/// All calls are refused, for a reason of this name.
pub fn refuses(vault: &dyn KeyVault, wrapped: &WrappedDek, reason: &str) {
    for (call, error) in failures(vault, wrapped) {
        let Error::KeyRefused { reason: found, .. } = &error else { panic!("{call}: {error:?}") };
        assert_eq!(found.name(), reason, "{call}: {error}");
    }
}

/// All calls end by `limit`, and say nothing of the key. `limit` is far above the vault's deadline: tests don't measure time.
pub fn is_away(vault: &dyn KeyVault, wrapped: &WrappedDek, limit: Duration) {
    let start = Instant::now();
    for (call, error) in failures(vault, wrapped) {
        assert!(matches!(error, Error::Vault(_) | Error::Io { .. }), "{call}: {error:?}");
    }
    assert!(start.elapsed() < limit);
}

/// The errors of all calls, each of which fails. No text of them holds the DEK.
pub fn failures(vault: &dyn KeyVault, wrapped: &WrappedDek) -> Vec<(&'static str, Error)> {
    let (key, kek) = (wrapped.kek.key(), &wrapped.kek);
    fn failed<T>(call: &'static str, result: Result<T>) -> (&'static str, Error) {
        let error = result.err().unwrap_or_else(|| panic!("{call} succeeds"));
        assert!(!shown(&error).contains(core::str::from_utf8(&DEK[..16]).unwrap()));
        (call, error)
    }
    vec![
        failed("wrap", vault.wrap(key, &dek())),
        failed("wrap_version", vault.wrap_version(kek, &dek())),
        failed("unwrap", vault.unwrap(wrapped)),
        failed("describe", vault.describe(key, None)),
    ]
}

/// Everything that an error shows.
pub fn shown(error: &Error) -> String {
    format!("{error} {error:?} {error:#}")
}

/// A forked child is refused each call of its parent's vault, also while other threads use it, and `own` makes one that it can
/// use. The parent's works on.
#[cfg(target_os = "linux")]
pub fn refuses_a_child(vault: &dyn KeyVault, key: &str, own: &dyn Fn() -> Box<dyn KeyVault>) {
    use fork::{forked, in_child, so};
    use std::sync::atomic::{AtomicBool, Ordering};

    let wrapped = vault.wrap(key, &dek()).unwrap();
    let refused = || {
        so!(forked(vault.wrap(key, &dek())) && forked(vault.wrap_version(&wrapped.kek, &dek())));
        so!(forked(vault.unwrap(&wrapped)));
        so!(forked(vault.describe(key, None)) && forked(vault.describe(key, Some(wrapped.kek.version()))));
        Ok(())
    };
    let ended = in_child(|| {
        refused()?;
        let own = own();
        so!(own.unwrap(&wrapped).is_ok_and(|found| found == Some(dek())));
        so!(own.wrap(key, &dek()).is_ok());
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    let done = AtomicBool::new(false);
    let hung = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), dek());
                }
            });
        }
        let hung = (0..20).filter(|_| in_child(refused) != 0).count();
        done.store(true, Ordering::Relaxed);
        hung
    });
    assert_eq!(hung, 0, "of 20 children");
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), dek());
}
