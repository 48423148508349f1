//! A fleet of managed disks: the time and the number of vault calls for making, listing, opening and rotating it.
//!
//! `cargo bench --bench fleet -- --disks 100000 --open 10000 --takes 1 --again 1 --store FOLDER`
//!
//! Devices are in memory and only keep written pages. Each vault call takes `--takes` milliseconds, 1 if that isn't given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atrest::key::{KeyDescription, KeyId, KeyKind, WrapAlgorithm, WrappedDek, wrap};
use atrest::managed::{
    DiskService, NewDisk, NewSet, ResourceKind, RotationProgress, ServiceOptions, VaultDescription, VaultDirectory,
};
use atrest::{EncryptionType, KeyVault, Result, Secret};

const VAULT: &str = "https://contoso.vault.example";
const PAGE: u64 = 4096;

#[path = "../tests/common/sparse.rs"]
mod sparse;

use sparse::Devices;

/// A vault that counts its calls.
#[derive(Default)]
struct Vault {
    id: String,
    takes: Duration,
    versions: AtomicUsize,
    calls: Mutex<BTreeMap<&'static str, usize>>,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

impl Vault {
    fn new(id: &str, takes: Duration) -> Self {
        Vault { id: id.into(), takes, versions: AtomicUsize::new(1), ..Vault::default() }
    }

    fn call<T>(&self, kind: &'static str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        *self.calls.lock().unwrap().entry(kind).or_default() += 1;
        self.most.fetch_max(self.in_flight.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        std::thread::sleep(self.takes);
        let answer = act();
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        answer
    }

    fn latest(&self) -> KeyId {
        let version = self.versions.load(Ordering::Relaxed).to_string();
        KeyId::new(&self.id, "disks", &version).expect("a name")
    }

    fn kek(id: &KeyId) -> [u8; 32] {
        [id.version().parse().expect("a version"); 32]
    }

    /// The counts since the last call.
    fn told(&self) -> String {
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        let calls: Vec<_> = calls.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let most = self.most.swap(0, Ordering::Relaxed);
        if calls.is_empty() { "no call".into() } else { format!("{}; {most} in flight at most", calls.join(", ")) }
    }
}

impl KeyVault for Vault {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, _: &str, dek: &Secret) -> Result<WrappedDek> {
        self.wrap_version(&self.latest(), dek)
    }

    fn wrap_version(&self, key: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        self.call("wrap", || {
            let mut bytes = vec![0; dek.len() + 8];
            wrap::aes_kw_wrap(&Self::kek(key), dek.expose(), &mut bytes)?;
            Ok(WrappedDek::new(key.clone(), WrapAlgorithm::Aes256Kw, bytes))
        })
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.call("unwrap", || {
            let mut dek = Secret::zeroed(wrapped.bytes.len() - 8);
            wrap::aes_kw_unwrap(&Self::kek(&wrapped.kek), &wrapped.bytes, dek.expose_mut())?;
            Ok(Some(dek))
        })
    }

    fn describe(&self, _: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        self.call("get", || {
            let id = version.map_or_else(|| Ok(self.latest()), |version| KeyId::new(&self.id, "disks", version))?;
            Ok(Some(KeyDescription::new(id, KeyKind::Aes256)))
        })
    }
}

struct Customer(Arc<Vault>);

impl VaultDirectory for Customer {
    fn vault(&self, _: &str, _: &str) -> Result<Arc<dyn KeyVault>> {
        Ok(self.0.clone())
    }

    fn describe(&self, _: &str) -> Result<VaultDescription> {
        let (region, tenant) = ("north", "contoso");
        Ok(VaultDescription::new(region, tenant).soft_delete(true).purge_protection(true))
    }
}

struct Fleet {
    customer: Arc<Vault>,
    devices: Arc<Devices>,
    store: PathBuf,
}

impl Fleet {
    fn service(&self) -> Result<DiskService> {
        let options = ServiceOptions::new(
            self.devices.clone(),
            Arc::new(Customer(self.customer.clone())),
            Arc::new(Vault::new("platform", Duration::ZERO)),
            "disks",
        )
        .parallel(16)
        .rotation_interval(Duration::from_secs(900));
        DiskService::open(&self.store, options)
    }

    fn told(&self, what: &str, count: usize, began: Began) {
        let each = |took: Duration| took.as_secs_f64() * 1e6 / count.max(1) as f64;
        let (took, cpu) = (began.at.elapsed(), cpu_time().saturating_sub(began.cpu));
        let (seconds, wall, cpu) = (took.as_secs_f64(), each(took), each(cpu));
        println!("{what:<32} {seconds:>8.2} s, each {wall:>8.1} µs, {cpu:>7.1} µs of CPU   {}", self.customer.told());
    }
}

/// When a step began.
#[derive(Clone, Copy)]
struct Began {
    at: Instant,
    cpu: Duration,
}

impl Began {
    fn now() -> Self {
        Began { at: Instant::now(), cpu: cpu_time() }
    }
}

/// How long all threads of this process were on a CPU: to a hundredth of a second, and on Linux only.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // User and system time are the 14th and 15th field, behind a name in parentheses that is the second.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ').skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Does something for each of `count` disks, from some threads.
fn each(threads: usize, count: usize, act: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(n) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&n| n < count) {
                    if let Err(e) = act(n) {
                        failure.lock().unwrap().get_or_insert(e);
                        return;
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap().map_or(Ok(()), Err)
}

fn name(n: usize) -> String {
    format!("disk-{n:06}")
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let number = |name, default| value(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (disks, open): (usize, usize) = (number("--disks", 10_000), number("--open", 10_000));
    let folder = value("--store").map_or_else(std::env::temp_dir, PathBuf::from);
    let store = folder.join(format!("atrest-fleet-{}.store", std::process::id()));
    let takes = Duration::from_millis(number("--takes", 1) as u64);
    let customer = Arc::new(Vault::new(VAULT, takes));
    let fleet = Fleet { customer: customer.clone(), devices: Arc::default(), store: store.clone() };
    let done = measure(&fleet, disks, open.min(disks), number("--again", 1));
    // It is this run's own file. If it stays, the run hasn't failed.
    let _ = std::fs::remove_file(store);
    done
}

fn measure(fleet: &Fleet, disks: usize, open: usize, again: usize) -> Result<()> {
    let service = fleet.service()?;
    service.create_set(
        &NewSet::new("set", KeyId::new(VAULT, "disks", "1")?)
            .region("north")
            .subscription("one")
            .tenant("contoso")
            .encryption_type(EncryptionType::CustomerKey)
            .auto_rotation(true),
    )?;
    println!("one set, {disks} disks, store at {}", fleet.store.display());
    let began = Began::now();
    each(16, disks, |n| {
        let (name, region, subscription) = (name(n), "north", "one");
        let set = Some("set");
        service
            .create_disk(
                &NewDisk::new(name, PAGE)
                    .region(region)
                    .subscription(subscription)
                    .sector_size(4096)
                    .encryption_set(set),
            )
            .map(drop)
    })?;
    fleet.told("made, 16 threads", disks, began);
    let megabytes = |bytes: u64| bytes >> 20;
    let stored = std::fs::metadata(&fleet.store).map_or(0, |file| file.len());
    println!("  devices take {} MiB, the store {} MiB", megabytes(fleet.devices.bytes()), megabytes(stored));
    drop(service);

    for threads in [2, 16] {
        let began = Began::now();
        let service = fleet.service()?;
        fleet.told("the store opened", 1, began);
        let (began, held) = (Began::now(), Mutex::new(Vec::with_capacity(open)));
        each(threads, open, |n| {
            let disk = service.open_disk(&name(n))?;
            held.lock().unwrap().push(disk);
            Ok(())
        })?;
        fleet.told(&format!("{open} opened, {threads} threads"), open, began);
        let began = Began::now();
        service.maintain();
        fleet.told(&format!("maintained, {open} open"), open, began);
    }

    let service = fleet.service()?;
    let began = Began::now();
    let (members, names) = (service.members("set")?.len(), service.names(ResourceKind::Disk)?.len());
    assert_eq!((members, names), (disks, disks));
    fleet.told("listed, by set and by kind", disks, began);

    fleet.customer.versions.fetch_add(1, Ordering::Relaxed);
    let (began, step) = (Began::now(), (disks / 5).max(1));
    let progress = |at: RotationProgress| {
        if at.done.is_multiple_of(step) {
            println!("  {} of {} after {:.1} s", at.done, at.total, began.at.elapsed().as_secs_f64());
        }
    };
    let rotation = service.rotate_set("set", &progress)?;
    assert_eq!(rotation.rewrapped, disks);
    fleet.told("rotated, 16 calls at once", disks, began);
    for _ in 0..again {
        let began = Began::now();
        assert_eq!(service.rotate_set("set", &|_| ())?.rewrapped, 0);
        fleet.told("rotated again: nothing to do", disks, began);
    }
    Ok(())
}
