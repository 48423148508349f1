//! Snapshots of a disk that is written: how long the guest's writes take meanwhile, and what an incremental one costs.
//!
//! `cargo bench --bench snapshots -- --mib 1024 --chain 200 --folder FOLDER`
//!
//! The guest writes 4 KiB at random each millisecond. The devices are files in the folder. Where the kernel tells it, the
//! time that the guest stood in line for a CPU doesn't count: a machine that is busy with other things would hide the rest.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atrest::key::{WrapAlgorithm, WrappedDek, wrap};
use atrest::managed::{DiskFolder, DiskService, KnownVaults, NewDisk, NewSnapshot, OpenDisk, ServiceOptions};
use atrest::{KeyVault, Result, Secret};

const PAGE: u64 = 4096;
const BEAT: Duration = Duration::from_millis(1);

/// The platform's vault, in memory.
struct Platform;

impl KeyVault for Platform {
    fn id(&self) -> &str {
        "platform"
    }

    fn wrap(&self, _: &str, dek: &Secret) -> Result<WrappedDek> {
        let mut bytes = vec![0; dek.len() + 8];
        wrap::aes_kw_wrap(&[1; 32], dek.expose(), &mut bytes)?;
        Ok(WrappedDek::new("platform/keys/disks/1".parse()?, WrapAlgorithm::Aes256Kw, bytes))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        let mut dek = Secret::zeroed(wrapped.bytes.len() - 8);
        wrap::aes_kw_unwrap(&[1; 32], &wrapped.bytes, dek.expose_mut())?;
        Ok(Some(dek))
    }
}

/// What a guest's writes took.
struct Guest {
    took: Duration,
    /// In order of their length.
    writes: Vec<Duration>,
}

impl Guest {
    /// Writes until it is to stop.
    fn run(disk: &OpenDisk, stop: &AtomicBool) -> Self {
        let (began, mut writes, mut random) = (Instant::now(), Vec::new(), 1u64);
        let mut due = began;
        while !stop.load(Ordering::Relaxed) {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let page = [random as u8; PAGE as usize];
            let offset = (random >> 20) % (disk.size() / PAGE) * PAGE;
            let (queued, start) = (in_line(), Instant::now());
            disk.write_at(offset, &page).expect("a write");
            let took = start.elapsed();
            writes.push(took.saturating_sub(in_line() - queued));
            // What was missed isn't made up for.
            due = (due + BEAT).max(Instant::now());
            std::thread::sleep(due - Instant::now());
        }
        writes.sort();
        Guest { took: began.elapsed(), writes }
    }

    /// Tells of writes while something was done, and how many times as long the guest took for its work.
    fn told(&self, what: &str, alone: Option<&Guest>) {
        let at = |part: f64| self.writes[((self.writes.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
        let each = |guest: &Guest| guest.took.as_secs_f64() / guest.writes.len() as f64;
        let slowdown = each(self) / each(alone.unwrap_or(self));
        println!(
            "{what:<34} {:>6.2} s {:>6} writes   p50 {:>6.0} p99 {:>7.0} max {:>7.0} µs   {slowdown:.2} times as long",
            self.took.as_secs_f64(),
            self.writes.len(),
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
}

/// How long this thread has stood in line for a CPU.
fn in_line() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// What a guest's writes take while something is done.
fn beside(disk: &OpenDisk, act: impl FnOnce() -> Result<()>) -> Result<Guest> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guest = scope.spawn(|| Guest::run(disk, &stop));
        let done = act();
        stop.store(true, Ordering::Relaxed);
        let guest = guest.join().expect("the guest");
        done.map(|()| guest)
    })
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let number = |name, default| value(name).and_then(|n| n.parse().ok()).unwrap_or(default);
    let folder = value("--folder").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("atrest-snapshots-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a new folder");
    let done = measure(&folder, number("--mib", 1024), number("--chain", 200));
    // It is this run's own; that it stays is no failure of the run.
    let _ = std::fs::remove_dir_all(folder);
    done
}

fn measure(folder: &Path, mib: u64, chain: u64) -> Result<()> {
    let backend = Arc::new(DiskFolder::new(folder));
    let options = ServiceOptions::new(backend, Arc::new(KnownVaults::new()), Arc::new(Platform), "disks");
    let service = DiskService::open(folder.join("store"), options)?;
    service.create_disk(&NewDisk::new("disk", mib << 20).region("north").subscription("one").sector_size(4096))?;
    let disk = service.open_disk("disk")?;
    for n in 0..mib {
        disk.write_at(n << 20, &[n as u8; 1 << 20])?;
    }
    disk.sync()?;
    let snapshot = |name: &str, incremental: bool| {
        service.create_snapshot(&NewSnapshot::new(name, "disk").incremental(incremental), &|_| ()).map(drop)
    };
    let timed = |what: &str, act: &dyn Fn() -> Result<()>| -> Result<()> {
        let began = Instant::now();
        act()?;
        println!("{what:<34} {:>9.4} s", began.elapsed().as_secs_f64());
        Ok(())
    };

    println!("a disk of {mib} MiB in {}", folder.display());
    let alone = beside(&disk, || {
        std::thread::sleep(Duration::from_secs(3));
        Ok(())
    })?;
    alone.told("no snapshot", None);
    beside(&disk, || snapshot("full", false))?.told("a full one", Some(&alone));
    beside(&disk, || snapshot("inc-0", true))?.told("the first incremental one", Some(&alone));
    beside(&disk, || snapshot("inc-1", true))?.told("the next", Some(&alone));
    timed("an incremental one of what changed", &|| snapshot("inc-2", true))?;
    timed("one of nothing", &|| snapshot("inc-3", true))?;
    for n in 4..chain {
        disk.write_at((n * 7 % mib) << 20, &[n as u8; PAGE as usize])?;
        let name = format!("inc-{n}");
        if [4, chain - 1].contains(&n) {
            timed(&format!("one of a page, behind {n} others"), &|| snapshot(&name, true))?;
        } else {
            snapshot(&name, true)?;
        }
    }
    Ok(())
}
