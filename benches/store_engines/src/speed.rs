//! Speed and memory use with as many records as a large fleet has disks.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::child::Running;
use crate::engines::open;
use crate::{key, value};

const PUTS: usize = 300;

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap_or(0) >> 10
}

fn bytes(folder: &Path) -> u64 {
    let each = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        found if found.is_dir() => bytes(&entry.path()),
        // The allocated size: some files have holes.
        found => std::os::unix::fs::MetadataExt::blocks(&found) * 512,
    };
    fs::read_dir(folder).unwrap().map(|entry| each(entry.unwrap())).sum()
}

pub fn child(engine: &str, folder: &Path, step: &str, count: usize) {
    let begun = Instant::now();
    if step == "make" {
        let mut store = open(engine, folder, false).unwrap();
        let records: Vec<_> = (0..count).map(|n| (key(n), value(n))).collect();
        let begun = Instant::now();
        store.put(&records).unwrap();
        store.settle().unwrap();
        drop(store);
        println!("{} {}", begun.elapsed().as_secs_f64(), bytes(folder) >> 20);
        return;
    }
    let mut store = open(engine, folder, step == "checked").unwrap();
    let opened = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let found = store.load().unwrap().len();
    assert!(found >= count);
    let loaded = begun.elapsed().as_secs_f64();
    let mut puts: Vec<Duration> = (0..PUTS)
        .map(|n| {
            // Another record each time, from all over the table; our engine makes each record once.
            let n = if engine == "atrest" { found + n } else { n * 7919 % count };
            // SQLite writes nothing if nothing changes.
            let record = (key(n), value(n + step.len()));
            let begun = Instant::now();
            store.put(&[record]).unwrap();
            begun.elapsed()
        })
        .collect();
    puts.sort();
    println!("{opened} {loaded} {} {}", puts[PUTS / 2].as_secs_f64(), peak_mib());
}

fn step(engine: &str, folder: &Path, step: &str, count: usize) -> Vec<f64> {
    let mut child = Running::start(&["speed-child", engine, folder.to_str().unwrap(), step, &count.to_string()]);
    let line = child.line(Duration::from_secs(1200)).unwrap_or_default();
    child.kill();
    line.split(' ').filter_map(|word| word.parse().ok()).collect()
}

/// Made (s), size (MiB), opened (s), opened and checked (s), all loaded (s), one put (s), most memory (MiB).
pub fn run(engine: &str, count: usize) -> Option<[f64; 7]> {
    let folder = crate::folder();
    let made = step(engine, &folder, "make", count);
    let checked = step(engine, &folder, "checked", count);
    let opened = step(engine, &folder, "open", count);
    fs::remove_dir_all(&folder).unwrap();
    match (&made[..], &opened[..], &checked[..]) {
        ([made, size], [open, load, put, memory], [checked, ..]) => {
            Some([*made, *size, *open, *checked, *load, *put, *memory])
        }
        _ => None,
    }
}
