//! What managed disks cost a vault: how many calls, how long each takes, and how many at once.
//!
//! A test program includes this file by `#[path]`, starts a real server, and calls [`disks_cost_few_calls`] with a vault on it.
//! `ATREST_DISKS` sets the number of disks: with 10,000 and in release it is the vault's benchmark.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atrest::key::{KeyDescription, KeyId, WrappedDek};
use atrest::managed::{DiskService, KnownVaults, NewDisk, NewSet, ServiceOptions, VaultDescription};
use atrest::{KeyVault, Result, Secret};

#[path = "sparse.rs"]
mod sparse;

use sparse::Devices;

/// How many threads open disks, and how many calls a rotation has under way.
const PARALLEL: usize = 8;

/// A vault that notes what it is asked.
struct Counted {
    vault: Arc<dyn KeyVault>,
    took: Mutex<BTreeMap<&'static str, Vec<Duration>>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Counted {
    fn note<T>(&self, call: &'static str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let start = Instant::now();
        let answer = act();
        self.took.lock().unwrap().entry(call).or_default().push(start.elapsed());
        self.now.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    /// Prints what was asked since the last time, and returns how often each call was made.
    fn told(&self, what: &str, disks: usize, start: Instant) -> BTreeMap<&'static str, usize> {
        let (seconds, most) = (start.elapsed().as_secs_f64(), self.most.swap(0, Ordering::SeqCst));
        let mut counts = BTreeMap::new();
        print!("{what:>8} {disks:>6} disks {seconds:>7.2} s {most:>3} at once");
        for (call, mut took) in std::mem::take(&mut *self.took.lock().unwrap()) {
            took.sort();
            let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1e3;
            print!("  {} {call} (p50 {:.2} ms, p99 {:.2} ms)", took.len(), at(50), at(99));
            counts.insert(call, took.len());
        }
        println!();
        counts
    }
}

impl KeyVault for Counted {
    fn id(&self) -> &str {
        self.vault.id()
    }
    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        self.note("wrap", || self.vault.wrap(key, dek))
    }
    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.note("wrap", || self.vault.wrap_version(kek, dek))
    }
    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.note("unwrap", || self.vault.unwrap(wrapped))
    }
    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.note("get", || self.vault.describe(key, version))
    }
}

fn each(disks: usize, act: impl Fn(&str) -> Result<()> + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(disks) {
            scope.spawn(|| {
                while let Some(n) = Some(next.fetch_add(1, Ordering::SeqCst)).filter(|&n| n < disks) {
                    act(&format!("disk-{n}")).unwrap();
                }
            });
        }
    });
}

/// Makes, opens and rotates disks under a key, and checks the number of calls. `rotate` makes a new version of the key.
pub fn disks_cost_few_calls(name: &str, vault: Arc<dyn KeyVault>, key: &str, rotate: &dyn Fn()) {
    let disks = std::env::var("ATREST_DISKS").ok().and_then(|count| count.parse().ok()).unwrap_or(24);
    let folder = tempfile::tempdir().unwrap();
    let (took, now, most) = Default::default();
    let counted = Arc::new(Counted { vault, took, now, most });
    let id = counted.id().to_owned();
    let kek = counted.wrap(key, &Secret::copy_from(&[7; 64])).unwrap().kek;
    let (vaults, devices) = (Arc::new(KnownVaults::new()), Arc::new(Devices::default()));
    let said = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
    vaults.add(counted.clone(), said).unwrap();
    let platform = counted.vault.clone();
    let service = || {
        let options = ServiceOptions::new(devices.clone(), vaults.clone(), platform.clone(), "no platform key");
        DiskService::open(folder.path().join("store"), options.parallel(PARALLEL)).unwrap()
    };
    let fresh = service();
    fresh.create_set(&NewSet::new("set", kek).region("north").subscription("one").tenant("contoso")).unwrap();
    println!("{name}, {id}");
    counted.told("before", 0, Instant::now());
    let start = Instant::now();
    each(disks, |name| {
        let disk = NewDisk::new(name, 4096).region("north").subscription("one").sector_size(4096);
        fresh.create_disk(&disk.encryption_set("set")).map(drop)
    });
    counted.told("made", disks, start);
    drop(fresh);

    let (fresh, start, held) = (service(), Instant::now(), Mutex::new(Vec::new()));
    each(disks, |name| {
        let disk = fresh.open_disk(name)?;
        held.lock().unwrap().push(disk);
        Ok(())
    });
    let asked = counted.told("opened", disks, start);
    // One unwrap for each disk, and one look at the key for all of them.
    assert_eq!(asked.get("unwrap").copied(), Some(disks));
    assert!(asked.get("get").copied().unwrap_or_default() <= 1, "{asked:?}");
    assert!(!asked.contains_key("wrap"));
    let start = Instant::now();
    let mut found = vec![0; 4096];
    for disk in held.lock().unwrap().iter() {
        disk.read_at(0, &mut found).unwrap();
        disk.write_at(0, &found).unwrap();
    }
    fresh.maintain();
    assert!(counted.told("used", disks, start).is_empty(), "the lease holds");

    rotate();
    let start = Instant::now();
    assert_eq!(fresh.rotate_set("set", &|_| ()).unwrap().rewrapped, disks);
    let asked = counted.told("rotated", disks, start);
    // A wrap for each, which is tried, and one trial before.
    assert_eq!(asked.get("wrap").copied(), Some(disks + 1));
    assert!(asked["unwrap"] <= disks + 1 && asked["get"] <= 4, "{asked:?}");
    drop((held, fresh));
    let fresh = service();
    fresh.open_disk("disk-0").unwrap().read_at(0, &mut found).unwrap();
}
