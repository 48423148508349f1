//! A damaged store file: a service opened on it reports the damage or tells the truth. It doesn't panic or end the
//! process, and takes no longer than it should. `ATREST_STORE_CASES` sets the number of damaged copies.

#![cfg(feature = "managed")]

mod common;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use atrest::managed::{DiskService, ResourceKind, ResourceName, StoreCheck};
use atrest::{EncryptionType, Error, Result};
use common::spent::spent;
use common::world::{World, copy_to, new_disk, new_set, snapshot_of, still};

const PAGE: usize = 4096;
const VARIABLE: &str = "ATREST_STORE_DAMAGE";

/// The complete state that a service reports.
fn told(service: &DiskService) -> Result<String> {
    let mut told = String::new();
    for set in service.encryption_sets()? {
        let members = service.members(&set)?;
        writeln!(told, "{} {members:?}", service.encryption_set(&set)?.to_json()).unwrap();
    }
    for kind in [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image] {
        for name in service.names(kind)? {
            let name = ResourceName { kind, name };
            writeln!(told, "{}", service.resource(&name)?.to_json()).unwrap();
        }
    }
    Ok(told)
}

fn fleet(world: &World) -> String {
    let service = world.service();
    for n in 0..8 {
        world.set(&service, &format!("set-{n}"), EncryptionType::CustomerKey);
    }
    for n in 0..24 {
        let set = format!("set-{}", n % 8);
        service.create_disk(&new_disk(&format!("disk-{n}"), Some(&set))).unwrap();
    }
    for n in 0..4 {
        service.create_snapshot(&snapshot_of("disk-1", &format!("snapshot-{n}"), n < 3), &still).unwrap();
        service
            .create_disk_from(&ResourceName::disk("disk-2"), &copy_to(&format!("copy-{n}"), Some("set-3")), &still)
            .unwrap();
        service.delete(&ResourceName::disk(format!("disk-{}", n + 10))).unwrap();
    }
    told(&service).unwrap()
}

/// Numbers that are the same in every run: SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

fn damage(bytes: &mut Vec<u8>, case: usize) -> String {
    let mut numbers = Numbers(case as u64);
    // Pages that hold something, and the header more often than others.
    let used: Vec<usize> =
        (0..bytes.len() / PAGE).filter(|n| bytes[n * PAGE..][..PAGE].iter().any(|&b| b != 0)).collect();
    let page = |numbers: &mut Numbers| used[numbers.below(used.len())] * PAGE;
    match case % 8 {
        0 => {
            let at = numbers.below(320);
            bytes[at] ^= 1 << numbers.below(8);
            format!("a bit of byte {at}")
        }
        1 => {
            let at = page(&mut numbers) + numbers.below(PAGE);
            bytes[at] ^= 1 << numbers.below(8);
            format!("a bit of byte {at}")
        }
        2 => {
            let at = page(&mut numbers) + numbers.below(64);
            bytes[at] = numbers.below(256) as u8;
            format!("byte {at}")
        }
        3 => {
            let len = numbers.below(bytes.len());
            bytes.truncate(len);
            format!("cut off at {len}")
        }
        4 => {
            let at = page(&mut numbers);
            bytes[at..][..PAGE].fill(0);
            format!("zeros at {at}")
        }
        5 => {
            let (from, to) = (page(&mut numbers), page(&mut numbers));
            bytes.copy_within(from..from + PAGE, to);
            format!("page {from} at {to}")
        }
        6 => {
            let (at, len) = (page(&mut numbers), 1 + numbers.below(600));
            for n in 0..len.min(bytes.len() - at) {
                bytes[at + n] = numbers.below(256) as u8;
            }
            format!("{len} random bytes at {at}")
        }
        _ => {
            let count = 1 + numbers.below(40);
            for _ in 0..count {
                let at = page(&mut numbers) + numbers.below(PAGE);
                bytes[at] ^= 1 << numbers.below(8);
            }
            format!("{count} bits")
        }
    }
}

/// Checks one damaged copy. Returns the broken property, if any.
fn judge(world: &World, path: &Path, bytes: &[u8], truth: &str) -> std::result::Result<bool, String> {
    std::fs::write(path, bytes).unwrap();
    let check = StoreCheck::of_file(path).map_err(|e| format!("no look through it: {e:?}"))?;
    if std::fs::read(path).unwrap() != bytes {
        return Err("a look through it changed it".into());
    }
    let says_so = |e: Error| match e {
        Error::Io { .. } => Ok(true),
        e => Err(format!("an error that doesn't say it: {e:?}")),
    };
    let service = match world.try_service() {
        Ok(service) if check.is_sound() => service,
        Ok(_) => return Err(format!("it opens, and is said to be damaged: {:?}", check.defects)),
        Err(_) if check.is_sound() => return Err("it doesn't open, and is said to be sound".into()),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::InvalidData => {
            let text = source.to_string();
            return if text.contains("backup") { Ok(true) } else { Err(format!("it doesn't say what to do: {text}")) };
        }
        Err(e) => return Err(format!("an error that doesn't say it: {e:?}")),
    };
    match told(&service) {
        Ok(told) if told == truth => {}
        Ok(_) => return Err("a wrong answer".into()),
        Err(e) => return says_so(e),
    }
    if let Err(e) = service.create_set(&new_set("new", EncryptionType::CustomerKey)) {
        return says_so(e);
    }
    drop(service);
    let again = world.try_service().map_err(|e| format!("opened once only: {e:?}"))?;
    again.encryption_set("new").map_err(|e| format!("a change is lost: {e:?}"))?;
    Ok(false)
}

/// Runs in a process of its own, which may end.
#[test]
fn each_damaged_store_of_a_range() {
    let Ok(range) = std::env::var(VARIABLE) else { return };
    let [from, to, folder] = range.split(':').collect::<Vec<_>>()[..] else { panic!("{range}") };
    let sound = std::fs::read(Path::new(folder).join("sound")).unwrap();
    let truth = std::fs::read_to_string(Path::new(folder).join("truth")).unwrap();
    let world = World::new();
    let path = world.folder.path().join("store");
    let mut seen = 0;
    for case in from.parse().unwrap()..to.parse().unwrap() {
        let mut bytes = sound.clone();
        let what = damage(&mut bytes, case);
        println!("case {case}: {what}");
        let begun = spent();
        match catch_unwind(AssertUnwindSafe(|| judge(&world, &path, &bytes, &truth))) {
            Ok(Ok(told)) => seen += usize::from(told),
            Ok(Err(text)) => println!("WRONG {case}: {what}: {text}"),
            Err(_) => println!("WRONG {case}: {what}: a panic"),
        }
        let took = spent() - begun;
        if took > Duration::from_secs(5) {
            println!("WRONG {case}: {what}: it took {took:?}");
        }
    }
    println!("told {seen}");
}

#[test]
fn a_damaged_store_says_so_or_tells_the_truth() {
    let cases = std::env::var("ATREST_STORE_CASES").map_or(96, |n| n.parse().unwrap());
    let world = World::new();
    let truth = fleet(&world);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("truth"), truth).unwrap();
    std::fs::copy(world.folder.path().join("store"), folder.path().join("sound")).unwrap();
    let mut wrong = Vec::new();
    let (mut told, mut from) = (0, 0);
    while from < cases {
        let range = format!("{from}:{cases}:{}", folder.path().display());
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "each_damaged_store_of_a_range", "--nocapture", "--test-threads=1"])
            .env(VARIABLE, range)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        wrong.extend(text.lines().filter(|line| line.starts_with("WRONG")).map(String::from));
        let last = text.lines().rfind(|line| line.starts_with("case ")).expect("a case was tried").to_owned();
        if let Some(count) = text.lines().find_map(|line| line.strip_prefix("told ")) {
            told += count.parse::<usize>().unwrap();
            break;
        }
        // It ended within a case: the others go on without that one.
        let log = String::from_utf8_lossy(&child.stderr);
        wrong.push(format!(
            "{last}: it ended the process, {}: {}",
            child.status,
            log.lines().last().unwrap_or_default()
        ));
        from = 1 + last["case ".len()..].split(':').next().unwrap().parse::<usize>().unwrap();
    }
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
    // Most damage is where something is.
    assert!(told * 2 > cases, "{told} of {cases} were noticed");
}
