//! Measures stores with the records of many disks. See the README.

mod count;
mod records;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use atrest::managed::store::{Action, Change, FileStore, MAX_PAGE, Outcome, Store};
use atrest_store_etcd::{EtcdOptions, EtcdStore};
use atrest_store_postgres::{PostgresOptions, PostgresStore};

use records::Template;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The disks of a batch of a rotation.
const BATCH: usize = 18;
/// The time for each rate.
const FOR: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["count"] => count::run(),
        ["file", folder, disks] => {
            let path = Path::new(folder).join(format!("atrest-fleet-{}", std::process::id()));
            let disks: usize = disks.parse()?;
            let store = FileStore::open(&path)?;
            // Before attachments are put, which have no checksum: the file opens in no service.
            let size = || match std::fs::metadata(&path) {
                Ok(file) => format!("the file has {} MiB, {} bytes a disk", file.len() >> 20, file.len() / disks as u64),
                Err(e) => e.to_string(),
            };
            measure(Arc::new(store), disks, 1, size)?;
            Ok(std::fs::remove_file(path)?)
        }
        ["postgres", url, disks] => {
            let store = PostgresStore::open(&PostgresOptions::new(url)?.without_standby())?;
            measure(Arc::new(store), disks.parse()?, 8, || "ask psql for the size".into())
        }
        ["etcd", url, disks] => measure(Arc::new(EtcdStore::open(&EtcdOptions::new([url]))?), disks.parse()?, 8, || "ask etcdctl for the size".into()),
        _ => Err("see benches/fleet_stores/README.md for the arguments".into()),
    }
}

/// The memory of this process, and the most that it was.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() >> 10
    };
    format!("{} MiB, {} at most", of("VmRSS:"), of("VmHWM:"))
}

fn measure(store: Arc<dyn Store>, disks: usize, threads: usize, size: impl Fn() -> String) -> Result<()> {
    let template = Template::make()?;
    println!(
        "{} records a disk, with {} bytes of keys and values; memory {}",
        template.records(),
        template.bytes(),
        memory()
    );
    let each = 64 / template.records();
    let (next, began) = (AtomicUsize::new(0), Instant::now());
    in_threads(threads, || {
        loop {
            let from = next.fetch_add(each, Ordering::Relaxed);
            if from >= disks {
                return Ok(0);
            }
            let changes: Vec<Change> = (from..(from + each).min(disks)).flat_map(|n| template.disk(n)).collect();
            if store.commit(&changes)? == Outcome::Conflict {
                return Err("the store isn't empty".into());
            }
        }
    })?;
    let took = began.elapsed().as_secs_f64();
    println!("{disks} disks put in {took:.0} s, {:.0} disks a second; memory {}", disks as f64 / took, memory());
    println!("{}", size());

    let (mut count, mut after, began) = (0, None, Instant::now());
    loop {
        let page = store.list("resource/", after.as_deref(), MAX_PAGE)?;
        count += page.len();
        match page.last().filter(|_| page.len() == MAX_PAGE) {
            Some(last) => after = Some(last.key.clone()),
            None => break,
        }
    }
    assert_eq!(count, disks);
    println!("all listed in pages of {MAX_PAGE}: {:.1} s; memory {}", began.elapsed().as_secs_f64(), memory());

    for threads in [1, threads, 2 * threads] {
        let place = AtomicUsize::new(0);
        let some = |count: usize| -> Vec<String> {
            let from = place.fetch_add(7919 * count, Ordering::Relaxed);
            (0..count).map(|n| template.name((from + 7 * n) % disks)).collect()
        };
        let gets = rate(threads, || {
            let keys = some(60);
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            Ok(drop(store.get(&keys)?))
        })?;
        // As a batch of a rotation attaches its disks: it demands three records of each, and makes one.
        let number = AtomicUsize::new(0);
        let run = std::process::id();
        let commits = rate(threads, || {
            let batch = number.fetch_add(1, Ordering::Relaxed);
            let make = |n: usize| Change {
                key: format!("attachment/{run}-{threads}-{batch}-{n}"),
                expected: None,
                action: Action::Put(vec![b'a'; 200]),
            };
            Ok(drop(store.commit(&(0..BATCH).map(make).collect::<Vec<_>>())?))
        })?;
        println!("{threads} threads: {gets:.0} gets of 60 records a second, {commits:.0} commits of {BATCH} puts");
    }
    println!("memory {}", memory());
    Ok(())
}

/// How often something can be done in a second.
fn rate(threads: usize, act: impl Fn() -> Result<()> + Sync) -> Result<f64> {
    let began = Instant::now();
    let count = in_threads(threads, || {
        let mut count = 0;
        while began.elapsed() < FOR {
            act()?;
            count += 1;
        }
        Ok(count)
    })?;
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

fn in_threads(threads: usize, act: impl Fn() -> Result<usize> + Sync) -> Result<usize> {
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(|| act().map_err(|e| e.to_string()))).collect();
        let mut sum = 0;
        for one in all {
            sum += one.join().map_err(|_| "a thread panicked")??;
        }
        Ok(sum)
    })
}
