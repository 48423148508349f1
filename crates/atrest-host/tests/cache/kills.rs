//! A process that is killed: what it has answered is there.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use atrest::FileDevice;
use atrest_host::cache::CacheMode;
use atrest_host::{Cache, Disk, HazmatPlain};

use crate::common::device::reopen;
use crate::support::*;

const FOLDER: &str = "ATREST_TEST_CACHE_FOLDER";
const BLOCKS: u64 = 200;

fn attach(folder: &Path) -> Cache {
    let disk = Arc::new(HazmatPlain(reopen(|| FileDevice::open(folder.join("disk"))).unwrap()));
    let options = options(CacheMode::WriteBack, 1 << 20).dirty(64 * BLOCK).destage_after(Duration::from_millis(3));
    reopen(|| Cache::attach(disk.clone(), Arc::new(secret(7)), folder.join("cache"), &options)).unwrap()
}

/// The process that is killed. It tells each write before it begins, and when it is answered.
#[test]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let cache = attach(&folder);
    let mut noise = Noise(u64::from(std::process::id()) | 1);
    let mut out = std::io::stdout();
    for n in 1u32.. {
        let block = noise.below(BLOCKS);
        writeln!(out, "\n> {block} {n}").unwrap();
        let bytes: Vec<u8> = n.to_le_bytes().repeat(1024);
        write(&cache, block * BLOCK, &bytes);
        writeln!(out, "\n< {block} {n}").unwrap();
        if noise.below(20) == 0 {
            cache.flush().unwrap();
        }
    }
}

#[test]
fn what_was_answered_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    drop(FileDevice::create(folder.path().join("disk"), BLOCKS * BLOCK).unwrap());
    let mut known: HashMap<u64, u32> = HashMap::new();
    for round in 0..times("ATREST_KILLS", 5) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kills::writes_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut begun = None;
        let mut answers = 0;
        let wanted = 100 + round * 150;
        while let Some(Ok(line)) = lines.next() {
            let Some((kind, block, n)) = parse(&line) else { continue };
            if kind == ">" {
                begun = Some((block, n));
            } else {
                known.insert(block, n);
                (begun, answers) = (None, answers + 1);
            }
            if answers == wanted {
                child.kill().unwrap();
                answers += 1; // what is still in the pipe is read, too
            }
        }
        child.wait().unwrap();
        assert!(answers > wanted);
        let cache = attach(folder.path());
        for block in 0..BLOCKS {
            let found = read(&cache, block * BLOCK, 4096);
            let n = u32::from_le_bytes(found[..4].try_into().unwrap());
            assert_eq!(found, n.to_le_bytes().repeat(1024), "block {block} is torn");
            if Some((block, n)) == begun {
                known.insert(block, n);
            }
            assert_eq!(n, known.get(&block).copied().unwrap_or(0), "block {block} in round {round}");
        }
    }
    let cache = attach(folder.path());
    cache.detach().unwrap();
    assert!(!folder.path().join("cache").exists());
}

fn parse(line: &str) -> Option<(&str, u64, u32)> {
    let mut words = line.split(' ');
    let (kind, block, n) = (words.next()?, words.next()?, words.next()?);
    if !matches!(kind, "<" | ">") { None } else { Some((kind, block.parse().ok()?, n.parse().ok()?)) }
}
