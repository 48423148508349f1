//! A volume that several vaults open, each alone: one that is down costs nothing, and one is replaced while the volume is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::common::device::{TestDevice, crash_images};
use crate::common::header;
use crate::common::vaults::MemoryVault;
use crate::common::volumes::{holds_plain, image_with, options, shared};
use atrest::key::{AnyVault, WrappedDek};
use atrest::volume::{KeyslotOptions, ProtectorId};
use atrest::{BlockDevice, Credential, Error, KeyRefusal, KeyVault, OpenOptions, Protector, Result, Secret, Volume};

/// A vault that doesn't answer, or refuses, when it is told to.
struct Switched {
    vault: MemoryVault,
    is_down: AtomicBool,
    refuses: AtomicBool,
    asked: AtomicUsize,
}

impl Switched {
    fn new(vault: MemoryVault) -> Arc<Self> {
        Arc::new(Switched {
            vault,
            is_down: AtomicBool::default(),
            refuses: AtomicBool::default(),
            asked: AtomicUsize::default(),
        })
    }

    fn check(&self) -> Result<()> {
        self.asked.fetch_add(1, Relaxed);
        if self.is_down.load(Relaxed) {
            return Err(Error::Vault(format!("{} does not answer", self.id()).into()));
        }
        if self.refuses.load(Relaxed) {
            return Err(Error::KeyRefused { key: "disks".into(), reason: KeyRefusal::Disabled });
        }
        Ok(())
    }
}

impl KeyVault for Switched {
    fn id(&self) -> &str {
        self.vault.id()
    }
    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.check()?;
        self.vault.wrap(key, dek)
    }
    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        if wrapped.kek.vault() == self.id() {
            self.check()?;
        }
        self.vault.unwrap(wrapped)
    }
}

/// Three vaults, and a volume with a token for each.
fn three() -> ([Arc<Switched>; 3], Arc<TestDevice>) {
    let (one, image) = image_with(&options().context(b"disk-17"));
    let vaults = [one, MemoryVault::new("memory:two"), MemoryVault::new("memory:three")].map(Switched::new);
    let device = shared(image);
    let volume = open(device.clone(), &*vaults[0]).unwrap();
    for vault in &vaults[1..] {
        let added = volume.add_protector(Protector::Vault(&**vault, "disks"), &KeyslotOptions::new()).unwrap();
        assert!(matches!(added, ProtectorId::Token(_)));
    }
    drop(volume);
    (vaults, device)
}

fn open<D: BlockDevice>(device: D, vault: &dyn KeyVault) -> Result<Volume<D>> {
    Volume::open(device, Credential::Vault(vault), &OpenOptions::new().context(b"disk-17"))
}

/// All of them as one, which has forgotten what failed.
fn any(vaults: &[Arc<Switched>]) -> AnyVault {
    AnyVault::new(vaults.iter().map(|vault| vault.clone() as _)).unwrap()
}

#[test]
fn a_volume_opens_while_one_of_its_vaults_answers() {
    let (vaults, device) = three();
    // Which are down, and which refuse.
    for state in 0..27_usize {
        let states = [state % 3, state / 3 % 3, state / 9];
        for (vault, state) in vaults.iter().zip(states) {
            vault.is_down.store(state == 1, Relaxed);
            vault.refuses.store(state == 2, Relaxed);
        }
        match open(device.clone(), &any(&vaults)) {
            Ok(volume) => assert!(holds_plain(&volume) && states.contains(&0), "{states:?}"),
            // A vault that is back may open it: this is no revocation.
            Err(Error::Vault(why)) if states.contains(&1) && !states.contains(&0) => {
                for (vault, _) in vaults.iter().zip(states).filter(|(_, state)| *state == 1) {
                    assert!(why.to_string().contains(vault.id()), "{states:?}: {why}");
                }
            }
            Err(Error::KeyRefused { .. }) => assert_eq!(states, [2; 3]),
            Err(e) => panic!("{states:?}: {e:?}"),
        }
    }
}

#[test]
fn a_vault_that_is_down_is_asked_once() {
    let (vaults, device) = three();
    vaults[0].is_down.store(true, Relaxed);
    let (any, asked) = (any(&vaults), vaults[0].asked.load(Relaxed));
    for _ in 0..5 {
        assert!(holds_plain(&open(device.clone(), &any).unwrap()));
    }
    assert_eq!(vaults[0].asked.load(Relaxed), asked + 1);
}

#[test]
fn others_vaults_open_nothing() {
    let (_, device) = three();
    let others = [Switched::new(MemoryVault::new("memory:four"))];
    let opened = open(device, &any(&others));
    assert!(matches!(opened, Err(Error::NotThisVault { wanted }) if wanted.contains("memory:three")));
}

#[test]
fn a_move_from_one_vault_to_another_needs_only_the_new_one() {
    let (vaults, device) = three();
    let new = Switched::new(MemoryVault::new("memory:four"));
    let volume = open(device.clone(), &*vaults[1]).unwrap();
    vaults[0].is_down.store(true, Relaxed);
    let kek = volume.move_kek("memory:one", &*new, "disks").unwrap();
    assert_eq!(kek.to_string(), "memory:four/keys/disks/1");
    let mut keks: Vec<_> = volume.keks().iter().map(|kek| kek.vault().to_owned()).collect();
    keks.sort();
    assert_eq!(keks, ["memory:four", "memory:three", "memory:two"]);
    assert!(matches!(volume.move_kek("memory:one", &*new, "disks"), Err(Error::NotThisVault { .. })));
    drop(volume);
    vaults[0].is_down.store(false, Relaxed);
    assert!(matches!(open(device.clone(), &*vaults[0]), Err(Error::NotThisVault { .. })));
    for vault in [&new, &vaults[1], &vaults[2]] {
        assert!(holds_plain(&open(device.clone(), &**vault).unwrap()), "{}", vault.id());
    }
    // What others read of it: three tokens, with the context of the first.
    for which in 0..2 {
        let json = header::json(&device.bytes(), which);
        let tokens = json["tokens"].as_object().unwrap();
        assert!(tokens.len() == 3 && tokens.values().all(|token| token["context"] == "ZGlzay0xNw=="), "{json}");
    }
}

#[test]
fn a_move_that_fails_leaves_all_as_it_was() {
    let (vaults, device) = three();
    let new = Switched::new(MemoryVault::new("memory:four"));
    let volume = open(device.clone(), &*vaults[0]).unwrap();
    let before = device.bytes();
    new.is_down.store(true, Relaxed);
    assert!(matches!(volume.move_kek("memory:one", &*new, "disks"), Err(Error::Vault(_))));
    new.is_down.store(false, Relaxed);
    assert!(volume.move_kek("memory:one", &*new, "no-such-key").is_err());
    assert!(device.bytes() == before);
}

#[test]
fn a_move_that_is_killed_at_any_write_leaves_the_old_vault_or_the_new_one() {
    let (vaults, device) = three();
    let new = Switched::new(MemoryVault::new("memory:four"));
    let before = device.bytes();
    let volume = open(device.clone(), &*vaults[0]).unwrap();
    device.take_log();
    volume.move_kek("memory:one", &*new, "disks").unwrap();
    let log = device.take_log();
    let (mut old, mut moved) = (0, 0);
    let count = crash_images(&before, &log, 24, |what, image| {
        let device = shared(image);
        match open(device.clone(), &*new) {
            Ok(volume) => {
                assert!(holds_plain(&volume), "{what}");
                moved += 1;
            }
            Err(Error::NotThisVault { .. }) => {
                assert!(open(device.clone(), &*vaults[0]).is_ok_and(|volume| holds_plain(&volume)), "{what}");
                old += 1;
            }
            Err(e) => panic!("{what}: {e:?}"),
        }
        // The others open it throughout.
        assert!(open(device, &*vaults[2]).is_ok_and(|volume| holds_plain(&volume)), "{what}");
    });
    println!("{count} crash points: {old} old, {moved} new");
    assert!(old > 0 && moved > 0 && count > 100);
}
