//! Hosts with clocks of their own, a store that they share, and devices that any of them could write.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atrest::managed::store::{Change, MemoryStore, Outcome, Record, Store};
use atrest::managed::{DiskBackend, DiskService, HostOptions, ServiceOptions};
use atrest::{BlockDevice, Error, ManualClock, Result};

use crate::common::device::TestDevice;
use crate::common::world::{T, World};

pub const LEASE: Duration = Duration::from_secs(60);

/// A store, and the disks of hosts that share them.
pub struct Fleet {
    pub world: World,
    pub store: MemoryStore,
    pub disks: Arc<Pool>,
}

/// Devices that don't keep a second host out. Which host wrote each last is known.
#[derive(Default)]
pub struct Pool {
    pub devices: Mutex<BTreeMap<String, Arc<TestDevice>>>,
    pub writers: Mutex<BTreeMap<String, String>>,
    /// Which host opened each last.
    pub openers: Mutex<BTreeMap<String, String>>,
    /// Who wrote a device that another one had opened since.
    pub intruders: Mutex<Vec<String>>,
    /// How often a device was synced.
    pub syncs: AtomicUsize,
}

pub struct Host {
    pub name: String,
    pub service: Option<DiskService>,
    pub clock: Arc<ManualClock>,
    /// How many calls of the store still reach it.
    pub calls: Arc<AtomicUsize>,
    /// How often it asked the store.
    pub asked: Arc<AtomicUsize>,
    /// Its devices don't answer it any more: it is dead.
    pub dead: Arc<AtomicBool>,
    pub hooks: Arc<Hooks>,
}

/// What happens around a commit that puts a record whose key begins so.
#[derive(Default)]
pub struct Hooks {
    pub before: Mutex<Option<(String, Act)>>,
    /// After it nothing reaches the store any more, nor does its answer come back.
    pub cut_after: Mutex<Option<String>>,
    /// The same before it.
    pub cut_before: Mutex<Option<String>>,
    /// Its answer is lost.
    pub lose: Mutex<Option<String>>,
    /// So many of them fail.
    pub fails: Mutex<Option<(String, usize)>>,
    /// No call returns.
    pub hangs: AtomicBool,
}

pub type Act = Box<dyn FnOnce() + Send>;

fn puts(changes: &[Change], prefix: &str) -> bool {
    changes.iter().any(|c| c.key.starts_with(prefix) && matches!(c.action, atrest::managed::store::Action::Put(_)))
}

impl Fleet {
    pub fn new() -> Self {
        let store = MemoryStore::new().with_deadline(Duration::from_secs(1));
        Fleet { world: World::new(), store, disks: Arc::default() }
    }

    /// A host whose clocks go `minutes` after those of the others.
    pub fn host(&self, name: &str, minutes: u64) -> Host {
        self.try_host(name, minutes).unwrap()
    }

    pub fn try_host(&self, name: &str, minutes: u64) -> Result<Host> {
        self.host_with(name, minutes, |options| options)
    }

    pub fn host_with(
        &self,
        name: &str,
        minutes: u64,
        more: impl FnOnce(ServiceOptions) -> ServiceOptions,
    ) -> Result<Host> {
        let clock = Arc::new(ManualClock::new(T + 60 * minutes));
        clock.advance(Duration::from_secs(977 * minutes));
        let (calls, dead) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicBool::new(false)));
        let asked = Arc::new(AtomicUsize::new(0));
        let hooks = Arc::<Hooks>::default();
        let mut host = Host {
            hooks: hooks.clone(),
            name: name.into(),
            service: None,
            clock: clock.clone(),
            calls: calls.clone(),
            asked: asked.clone(),
            dead: dead.clone(),
        };
        let devices = Devices { pool: self.disks.clone(), host: name.into(), dead };
        let store = Reached { store: self.store.clone(), calls, asked, hooks };
        let world = &self.world;
        let options = ServiceOptions::new(Arc::new(devices), world.vaults.clone(), world.platform.clone(), "disks")
            .clock(clock)
            .parallel(2);
        let host_options = HostOptions::new(name).lease(LEASE).renews_by_itself(false);
        host.service = Some(DiskService::open_shared(Arc::new(store), &host_options, more(options))?);
        Ok(host)
    }

    /// The keys of the store that begin so.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.store.list(prefix, None, 1000).unwrap().into_iter().map(|record| record.key).collect()
    }

    /// The ids of all devices.
    pub fn devices(&self) -> Vec<String> {
        self.disks.devices.lock().unwrap().keys().cloned().collect()
    }
}

impl std::ops::Deref for Host {
    type Target = DiskService;

    fn deref(&self) -> &DiskService {
        self.service.as_ref().unwrap()
    }
}

impl Host {
    /// Time passes for this host, which does what a host does in it.
    pub fn live(&self, time: Duration) {
        let step = LEASE / 4;
        for _ in 0..time.as_secs() / step.as_secs() {
            self.clock.advance(step);
            self.renew_host_lease().unwrap();
            self.maintain();
        }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// It does nothing any more, and its memory is gone.
    pub fn die(mut self) {
        self.dead.store(true, Ordering::SeqCst);
        self.calls.store(0, Ordering::SeqCst);
        drop(self.service.take());
    }
}

/// The store, as long as it is reached.
struct Reached {
    store: MemoryStore,
    calls: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    hooks: Arc<Hooks>,
}

impl Reached {
    fn reach(&self) -> Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        while self.hooks.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let take = |calls: usize| if calls == usize::MAX { Some(calls) } else { calls.checked_sub(1) };
        match self.calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Io { what: "the store".into(), source: io::ErrorKind::TimedOut.into() }),
        }
    }
}

impl Store for Reached {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        self.reach()?;
        self.store.get(keys)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        self.reach()?;
        self.store.list(prefix, after, limit)
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome> {
        let mut before = self.hooks.before.lock().unwrap();
        let act = if before.as_ref().is_some_and(|(prefix, _)| puts(changes, prefix)) { before.take() } else { None };
        drop(before);
        if let Some((_, act)) = act {
            act();
        }
        let failed = || Error::Io { what: "the store".into(), source: io::ErrorKind::TimedOut.into() };
        if let Some((prefix, left)) = &mut *self.hooks.fails.lock().unwrap()
            && *left > 0
            && puts(changes, prefix)
        {
            *left -= 1;
            return Err(failed());
        }
        let hits = |cut: &Mutex<Option<String>>| {
            let mut cut = cut.lock().unwrap();
            if cut.as_ref().is_some_and(|prefix| puts(changes, prefix)) { cut.take().is_some() } else { false }
        };
        if hits(&self.hooks.cut_before) {
            self.calls.store(0, Ordering::SeqCst);
        }
        self.reach()?;
        let done = self.store.commit(changes);
        if matches!(done, Ok(Outcome::Committed(_))) {
            if hits(&self.hooks.cut_after) {
                self.calls.store(0, Ordering::SeqCst);
                return Err(failed());
            }
            if hits(&self.hooks.lose) {
                return Err(failed());
            }
        }
        done
    }

    fn deadline(&self) -> Duration {
        self.store.deadline()
    }
}

/// The devices, as one host reaches them.
struct Devices {
    pool: Arc<Pool>,
    host: String,
    dead: Arc<AtomicBool>,
}

struct Device {
    device: Arc<TestDevice>,
    id: String,
    pool: Arc<Pool>,
    host: String,
    dead: Arc<AtomicBool>,
}

impl Devices {
    fn device(&self, id: &str, device: Arc<TestDevice>) -> Result<Arc<dyn BlockDevice>> {
        let (pool, host, dead) = (self.pool.clone(), self.host.clone(), self.dead.clone());
        pool.openers.lock().unwrap().insert(id.into(), host.clone());
        Ok(Arc::new(Device { device, id: id.into(), pool, host, dead }))
    }

    fn alive(&self) -> Result<()> {
        match self.dead.load(Ordering::SeqCst) {
            true => Err(Error::Io { what: "a device".into(), source: io::ErrorKind::BrokenPipe.into() }),
            false => Ok(()),
        }
    }
}

impl DiskBackend for Devices {
    fn create(&self, _: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        self.alive()?;
        let device = Arc::new(TestDevice::new(vec![0; size as usize]));
        assert!(self.pool.devices.lock().unwrap().insert(id.into(), device.clone()).is_none());
        self.device(id, device)
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        self.alive()?;
        let device = self.pool.devices.lock().unwrap().get(id).cloned();
        self.device(id, device.ok_or_else(|| Error::NotFound { what: "device", path: id.into() })?)
    }

    fn remove(&self, _: &str, id: &str) -> Result<()> {
        self.alive()?;
        self.pool.devices.lock().unwrap().remove(id);
        Ok(())
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        Ok(self.pool.devices.lock().unwrap().keys().cloned().collect())
    }
}

impl Device {
    fn write(&self, act: impl FnOnce(&TestDevice) -> io::Result<()>) -> io::Result<()> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let opener = self.pool.openers.lock().unwrap().get(&self.id).cloned();
        if opener.is_some_and(|opener| opener != self.host) {
            self.pool.intruders.lock().unwrap().push(format!("{} wrote {}", self.host, self.id));
        }
        self.pool.writers.lock().unwrap().insert(self.id.clone(), self.host.clone());
        act(&self.device)
    }
}

impl BlockDevice for Device {
    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, bytes)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(|device| device.write_at(offset, bytes))
    }
    fn set_size(&self, size: u64) -> io::Result<()> {
        self.write(|device| device.set_size(size))
    }
    fn sync(&self) -> io::Result<()> {
        self.pool.syncs.fetch_add(1, Ordering::SeqCst);
        self.write(|device| device.sync())
    }
}
