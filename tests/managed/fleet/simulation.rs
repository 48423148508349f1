//! Hosts, their clocks, a store and its faults, from a seed, one step after the other. `ATREST_FLEET_SEEDS` is the number of seeds, or
//! one seed as `=N`.
//!
//! Keys of the set and of the platform are rotated, disks move into the set, and headers of closed disks are replaced by older ones.
//!
//! After each step, from outside: no device is written by a run of a host after another run has opened it; what a disk reads is what
//! was acknowledged last, or what was tried since. At the end, when all hosts are well again or gone: all is under the latest
//! version of the key, and opens when the others are destroyed; no device is without a resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atrest::key::KeyId;
use atrest::managed::store::{Call, Fault};
use atrest::managed::{OpenDisk, ResourceKind, ResourceName};
use atrest::{EncryptionType, Error, Result};

use super::world::{Fleet, Host, LEASE};
use crate::common::world::{VAULT, new_disk, quiet, snapshot_of, still};

/// Numbers that are the same in every run: SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

const HOSTS: usize = 3;
const STEPS: usize = 80;
const HEADER: usize = 1 << 20;

struct Simulation {
    fleet: Fleet,
    numbers: Numbers,
    hosts: Vec<Option<Host>>,
    /// Hosts that stand still: their clocks go on, and they do nothing.
    still: BTreeSet<usize>,
    open: BTreeMap<(usize, String), OpenDisk>,
    /// What the first sector of a disk may hold: the last acknowledged value first.
    holds: BTreeMap<String, Vec<u8>>,
    /// The disks that may be there or not.
    perhaps: BTreeSet<String>,
    /// A header that a disk had, with the disk's name, id, and set.
    kept: Option<(String, String, Option<String>, Vec<u8>)>,
    next: u8,
    runs: usize,
    log: Vec<String>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let fleet = Fleet::new();
        let mut simulation = Simulation {
            fleet,
            numbers: Numbers(seed),
            hosts: (0..HOSTS).map(|_| None).collect(),
            still: BTreeSet::new(),
            open: BTreeMap::new(),
            holds: BTreeMap::new(),
            perhaps: BTreeSet::new(),
            kept: None,
            next: 0,
            runs: 0,
            log: Vec::new(),
        };
        for n in 0..HOSTS {
            simulation.start(n);
        }
        let host = simulation.hosts[0].as_ref().unwrap();
        simulation.fleet.world.set(host, "set", EncryptionType::CustomerKey);
        simulation
    }

    fn below(&mut self, end: u64) -> u64 {
        self.numbers.below(end)
    }

    fn start(&mut self, n: usize) {
        self.runs += 1;
        let minutes = 7 * n as u64 + self.runs as u64;
        // Each run is known by its own name to the devices.
        self.hosts[n] = self.fleet.try_host(&format!("host-{n}-{}", self.runs), minutes).ok();
    }

    fn kill(&mut self, n: usize) {
        if let Some(host) = self.hosts[n].take() {
            host.dead.store(true, Ordering::SeqCst);
            host.calls.store(0, Ordering::SeqCst);
            self.open.retain(|(of, _), _| *of != n);
            host.die();
        }
        self.still.remove(&n);
    }

    /// A host that does something, by chance.
    fn some_host(&mut self) -> Option<usize> {
        let n = self.below(HOSTS as u64) as usize;
        (self.hosts[n].is_some() && !self.still.contains(&n)).then_some(n)
    }

    fn some_disk(&mut self) -> Option<String> {
        let names: Vec<String> = self.holds.keys().cloned().collect();
        let count = names.len() as u64;
        (count > 0).then(|| names[self.below(count) as usize].clone())
    }

    fn host(&self, n: usize) -> &Host {
        self.hosts[n].as_ref().unwrap()
    }

    fn step(&mut self) {
        let what = self.below(100);
        let Some(n) = self.some_host() else { return self.pass_time() };
        match what {
            0..25 => self.pass_time(),
            25..31 => self.create(n),
            31..56 => self.use_disk(n),
            56..58 => self.put_into_set(n),
            58..62 => self.replace_header(n),
            62..66 => self.close(n),
            66..71 => self.hand_over(n),
            71..75 => self.delete(n),
            75..79 => self.snapshot(n),
            79..83 => self.rotate(n),
            83..87 => {
                self.log.push(format!("{n} stands still"));
                self.still.insert(n);
            }
            87..90 => self.cut_off(n),
            90..93 => {
                self.log.push(format!("{n} dies"));
                self.kill(n);
            }
            93..97 => self.fail_some_commits(),
            _ => drop(self.fleet.store.deliver()),
        }
    }

    /// Time passes for all, at speeds that differ a little; who doesn't stand still keeps its lease.
    fn pass_time(&mut self) {
        let seconds = 5 + self.below(60);
        self.log.push(format!("{seconds} s"));
        let steps = 1 + seconds / 15;
        for _ in 0..steps {
            for n in 0..HOSTS {
                let speed = 95 + self.below(11);
                let Some(host) = &self.hosts[n] else { continue };
                host.clock.advance(Duration::from_millis(seconds * 10 * speed / steps));
                if !self.still.contains(&n) {
                    let _ = host.renew_host_lease();
                    host.maintain();
                }
            }
        }
        // They wake up, are reached again, and are started again.
        for n in 0..HOSTS {
            if self.below(3) == 0 {
                self.still.remove(&n);
                match &self.hosts[n] {
                    Some(host) => host.calls.store(usize::MAX, Ordering::SeqCst),
                    None => self.start(n),
                }
                let lost = self.hosts[n]
                    .as_ref()
                    .is_some_and(|host| matches!(host.renew_host_lease(), Err(Error::Busy { .. })));
                if lost && self.below(2) == 0 {
                    self.log.push(format!("{n} is lost, and opened again"));
                    self.kill(n);
                    self.start(n);
                }
            }
        }
    }

    fn create(&mut self, n: usize) {
        let name = format!("d{}", self.below(6));
        let set = (self.below(2) == 0).then_some("set");
        let done = self.host(n).create_disk(&new_disk(&name, set));
        self.log.push(format!("{n} creates {name}: {:?}", done.as_ref().map(|_| ())));
        match done {
            Ok(_) => {
                assert!(!self.holds.contains_key(&name) || self.perhaps.contains(&name), "{name} was made twice");
                self.perhaps.remove(&name);
                self.holds.insert(name, Vec::new());
            }
            Err(Error::ResourceExists(_)) => assert!(self.holds.contains_key(&name), "{name}"),
            // It may have happened, or happen yet.
            Err(_) => {
                if !self.holds.contains_key(&name) {
                    self.perhaps.insert(name.clone());
                    self.holds.insert(name, Vec::new());
                }
            }
        }
    }

    /// Opens a disk, unless it is open, reads it, and writes it.
    fn use_disk(&mut self, n: usize) {
        let Some(name) = self.some_disk() else { return };
        let key = (n, name.clone());
        if !self.open.contains_key(&key) {
            match self.host(n).open_disk(&name) {
                Ok(open) => drop(self.open.insert(key.clone(), open)),
                Err(Error::NoSuchResource(_)) => {
                    assert!(self.perhaps.contains(&name), "{name} is lost");
                    return;
                }
                Err(e) => return self.log.push(format!("{n} doesn't open {name}: {e}")),
            }
        }
        let open = &self.open[&key];
        let mut found = [0; 4096];
        let read = open.read_at(0, &mut found);
        self.next = self.next.wrapping_add(1);
        let written = open.write_at(0, &[self.next; 4096]).and_then(|()| open.sync());
        // What was never written is noise.
        let held = (!self.holds[&name].is_empty()).then_some(found[0]);
        self.log.push(format!("{n} reads {name}: {held:?} {read:?}, writes {}: {written:?}", self.next));
        if read.is_ok() {
            self.perhaps.remove(&name);
            let may = &self.holds[&name];
            assert!(may.is_empty() || may.contains(&found[0]), "{name} holds {}, not one of {may:?}", found[0]);
            assert!(may.is_empty() || found == [found[0]; 4096], "{name} is torn");
        } else if matches!(read, Err(Error::DiskSuspended { .. } | Error::NoSuchResource(_))) && self.below(2) == 0 {
            self.open.remove(&key);
        }
        let next = self.next;
        let may = self.holds.get_mut(&name).unwrap();
        match written {
            Ok(()) => *may = vec![next],
            // Without a value that was acknowledged it may hold anything.
            Err(_) if !may.is_empty() => may.push(next),
            Err(_) => {}
        }
    }

    fn close(&mut self, n: usize) {
        if let Some(key) = self.open.keys().find(|(of, _)| *of == n).cloned() {
            self.log.push(format!("{n} closes {}", key.1));
            self.open.remove(&key);
        }
    }

    fn hand_over(&mut self, n: usize) {
        let Some(name) = self.some_disk() else { return };
        let to = self.hosts[(n + 1) % HOSTS].as_ref().map(|_| (n + 1) % HOSTS);
        let Some(to) = to else { return };
        let to = self.name_of(to);
        let done = self.host(n).hand_over(&name, &to);
        self.log.push(format!("{n} hands {name} over to {to}: {done:?}"));
    }

    /// The name of a host, as others see it.
    fn name_of(&self, n: usize) -> String {
        self.host(n).name.clone()
    }

    fn delete(&mut self, n: usize) {
        let Some(name) = self.some_disk() else { return };
        let done = self.host(n).delete(&ResourceName::disk(&name));
        self.log.push(format!("{n} deletes {name}: {done:?}"));
        match done {
            Ok(()) => {
                self.holds.remove(&name);
                self.perhaps.remove(&name);
            }
            Err(Error::Busy { .. }) => {}
            Err(Error::NoSuchResource(_)) => {
                assert!(self.perhaps.contains(&name), "{name} is lost");
                self.holds.remove(&name);
                self.perhaps.remove(&name);
            }
            Err(_) => drop(self.perhaps.insert(name)),
        }
    }

    fn snapshot(&mut self, n: usize) {
        let Some(name) = self.some_disk() else { return };
        let of = format!("s{}", self.below(4));
        let done = self.host(n).create_snapshot(&snapshot_of(&name, &of, self.below_two()), &still);
        self.log.push(format!("{n} makes {of} of {name}: {:?}", done.map(drop)));
        if self.below(2) == 0 {
            let done = self.host(n).delete(&ResourceName::snapshot(&of));
            self.log.push(format!("{n} deletes {of}: {done:?}"));
        }
    }

    fn below_two(&self) -> bool {
        self.next.is_multiple_of(2)
    }

    fn rotate(&mut self, n: usize) {
        let (what, newer) = (self.below(4), self.below(2) == 0);
        if newer && what == 0 {
            self.fleet.world.platform.rotate();
        } else if newer {
            self.fleet.world.customer(VAULT).rotate();
        }
        match what {
            0 => {
                let done = self.host(n).rotate_platform(&quiet).map(|rotation| rotation.rewrapped);
                self.log.push(format!("{n} rotates the platform's key: {done:?}"));
            }
            1 => {
                let done = self.host(n).auto_rotate(&quiet);
                self.log.push(format!("{n} rotates by itself: {done:?}"));
            }
            _ => {
                let done = self.host(n).rotate_set("set", &quiet).map(|rotation| rotation.rewrapped);
                self.log.push(format!("{n} rotates: {done:?}"));
            }
        }
        let _ = self.host(n).clear_rotation_error("set");
    }

    fn put_into_set(&mut self, n: usize) {
        let Some(name) = self.some_disk() else { return };
        let done = self.host(n).put_into_set(&ResourceName::disk(&name), "set").map(drop);
        self.log.push(format!("{n} puts {name} into the set: {done:?}"));
    }

    /// Keeps the header of a disk, or puts the kept one back while nobody has the disk open.
    fn replace_header(&mut self, n: usize) {
        let Some(name) = self.some_disk() else { return };
        let back = self.kept.as_ref().filter(|_| self.next.is_multiple_of(2)).map(|(name, ..)| name.clone());
        let name = back.clone().unwrap_or(name);
        let Ok(record) = self.host(n).resource(&ResourceName::disk(&name)) else { return };
        let is_open = self.open.keys().any(|(_, open)| *open == name);
        let Some(device) = self.fleet.disks.devices.lock().unwrap().get(&record.id).cloned() else { return };
        if record.joining.is_some() || is_open {
            return;
        }
        match self.kept.take() {
            Some((_, id, set, header)) if back.is_some() => {
                if id == record.id && set == record.set {
                    self.log.push(format!("{name} gets an old header"));
                    device.edit(|image| image[..HEADER].copy_from_slice(&header));
                }
            }
            _ => self.kept = Some((name, record.id, record.set, device.bytes()[..HEADER].to_vec())),
        }
    }

    fn cut_off(&mut self, n: usize) {
        let calls = self.below(12) as usize;
        self.log.push(format!("{n} reaches the store {calls} times"));
        self.host(n).calls.store(calls, Ordering::SeqCst);
    }

    fn fail_some_commits(&mut self) {
        self.log.push("some commits fail".into());
        let numbers = Mutex::new(Numbers(self.below(u64::MAX)));
        let left = AtomicUsize::new(1 + self.below(5) as usize);
        self.fleet.store.set_faults(move |call| {
            let take = |left: usize| left.checked_sub(1);
            if !matches!(call, Call::Commit(_)) || left.load(Ordering::SeqCst) == 0 {
                return None;
            }
            let fault = match numbers.lock().unwrap().below(6) {
                0 => Fault::Before,
                1 => Fault::After,
                2 => Fault::Late,
                _ => return None,
            };
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok().then_some(fault)
        });
    }

    /// All hosts but one are gone, and the store is well.
    fn end(mut self) -> Result<()> {
        self.fleet.store.set_faults(|_| None);
        drop(self.fleet.store.deliver());
        (0..HOSTS).for_each(|n| self.kill(n));
        let host = self.fleet.host("last", 1);
        host.maintain();
        host.live(3 * LEASE);
        assert_eq!(host.orphans("north")?, [""; 0]);
        let kinds = [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image];
        let names: Vec<_> = kinds.map(|kind| host.names(kind).unwrap()).into_iter().flatten().collect();
        assert_eq!(names.len(), self.fleet.devices().len());
        host.clear_rotation_error("set")?;
        let key = self.fleet.world.customer(VAULT).rotate();
        host.rotate_set("set", &quiet)?;
        let set = host.encryption_set("set")?;
        assert_eq!((&set.active_key, &set.previous_keys[..]), (&key, &[][..]));
        let platform = &self.fleet.world.platform;
        platform.rotate();
        let lower = host.rotate_platform(&quiet)?.key;
        let version = |key: &KeyId| key.version().parse::<usize>().unwrap();
        (1..version(&key)).for_each(|version| self.fleet.world.customer(VAULT).vault.destroy(version));
        (1..version(&lower)).for_each(|version| platform.destroy(version));
        let there: BTreeSet<String> = host.names(ResourceKind::Disk)?.into_iter().collect();
        for (name, may) in &self.holds {
            if !there.contains(name) {
                assert!(self.perhaps.contains(name), "{name} is lost");
                continue;
            }
            let mut found = [0; 4096];
            host.open_disk(name)?.read_at(0, &mut found)?;
            assert!(may.is_empty() || may.contains(&found[0]), "{name} holds {}, not one of {may:?}", found[0]);
        }
        assert!(there.iter().all(|name| self.holds.contains_key(name)), "{there:?}");
        assert!(host.check()?.is_sound());
        Ok(())
    }
}

/// Runs a seed, and returns what happened.
fn run(seed: u64) -> Vec<String> {
    let mut simulation = Simulation::new(seed);
    let pool = simulation.fleet.disks.clone();
    let log = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..STEPS {
            simulation.step();
            let wrong = pool.intruders.lock().unwrap().clone();
            assert!(wrong.is_empty(), "two writers: {wrong:?}");
        }
    }));
    let said = simulation.log.clone();
    let ended = log.and_then(|()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulation.end().unwrap_or_else(|e| panic!("{e:?}"))))
    });
    if let Err(panic) = ended {
        println!("seed {seed}:\n{}", said.join("\n"));
        std::panic::resume_unwind(panic);
    }
    said
}

/// A text with all UUIDs, which are random, made one.
fn without_ids(text: &str) -> String {
    let is_id = |text: &str| {
        let is_right =
            |(n, byte)| if [8, 13, 18, 23].contains(&n) { byte == b'-' } else { u8::is_ascii_hexdigit(&byte) };
        text.len() == 36 && text.bytes().enumerate().all(is_right)
    };
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .map(|part| if is_id(part) { "ID" } else { part })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_seed_tells_the_same_twice() {
    for seed in 0..4 {
        let [one, other] = [(); 2].map(|()| run(seed).iter().map(|line| without_ids(line)).collect::<Vec<_>>());
        assert_eq!(one, other, "{seed}");
        assert!(one.len() > 30, "{one:?}");
    }
}

#[test]
fn hosts_and_faults_from_a_seed_keep_what_they_promise() {
    let wanted = std::env::var("ATREST_FLEET_SEEDS").unwrap_or_else(|_| "40".into());
    if let Some(seed) = wanted.strip_prefix('=') {
        return drop(run(seed.parse().unwrap()));
    }
    let seeds: u64 = wanted.parse().unwrap();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // A seed mostly waits, between a host's attempts of a commit.
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst) as u64;
                    if seed >= seeds {
                        return;
                    }
                    drop(run(seed));
                }
            });
        }
    });
}
