//! Damaged files: how an engine handles copies of a sound store with wrong bits, bytes or pages, or cut off. Only our
//! engine has checksums of records, so records are compared with the truth.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::child::{PATIENCE, Running};
use crate::engines::{Map, open};
use crate::{key, value};

const PAGE: usize = 4096;
const RECORDS: usize = 400;
const COMMITS: usize = 40;
const SLOW: Duration = Duration::from_secs(5);

/// The outcomes of a case, and their meaning for a user of an engine.
pub const OUTCOMES: [(&str, &str); 8] = [
    ("ended", "the process ended: a signal, or an abort"),
    ("hung", "no answer within 20 s"),
    ("slow", "an answer after more than 5 s"),
    ("panic", "a panic reached the caller"),
    ("wrong", "records that are wrong, missing or never were, and no error"),
    ("older", "all records of an earlier commit, and no error"),
    ("error", "an error"),
    ("truth", "all records as they were"),
];

/// Pseudo-random numbers, the same in every run: SplitMix64.
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

/// A sound store, closed cleanly and as left by a kill, and its content after each commit.
struct Sound {
    images: [Vec<(PathBuf, Vec<u8>)>; 2],
    states: Vec<Map>,
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn write(folder: &Path, image: &[(PathBuf, Vec<u8>)]) {
    for (path, bytes) in image {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn make(engine: &str, folder: &Path) -> Sound {
    let path = folder.join("made");
    fs::create_dir(&path).unwrap();
    let mut store = open(engine, &path, false).unwrap();
    let mut states = Vec::new();
    for commit in 0..COMMITS {
        let each = RECORDS / COMMITS;
        let records: Vec<_> = (commit * each..(commit + 1) * each).map(|n| (key(n), value(n))).collect();
        store.put(&records).unwrap();
        states.push(store.load().unwrap());
        if commit == COMMITS / 2 {
            store.settle().unwrap();
        }
    }
    let killed = files(&path);
    drop(store);
    Sound { images: [files(&path), killed], states }
}

fn damage(image: &mut [(PathBuf, Vec<u8>)], case: usize) -> String {
    let mut numbers = Numbers(case as u64);
    // A page with content in a file of the store. LMDB's lock file is made again at each start.
    let pages: Vec<(usize, usize)> = (0..image.len())
        .filter(|&file| image[file].0 != Path::new("lock.mdb"))
        .flat_map(|file| (0..image[file].1.len().div_ceil(PAGE)).map(move |page| (file, page * PAGE)))
        .filter(|&(file, at)| image[file].1[at..].iter().take(PAGE).any(|&b| b != 0))
        .collect();
    let (file, at) = pages[numbers.below(pages.len())];
    let other = pages[numbers.below(pages.len())].1;
    let (name, bytes) = &mut image[file];
    let len = bytes.len();
    let end = (at + PAGE).min(len);
    let what = match case / 2 % 8 {
        0 => {
            let at = numbers.below(320.min(len));
            bytes[at] ^= 1 << numbers.below(8);
            format!("a bit of byte {at}")
        }
        1 => {
            let at = at + numbers.below(end - at);
            bytes[at] ^= 1 << numbers.below(8);
            format!("a bit of byte {at}")
        }
        2 => {
            let at = at + numbers.below(64.min(end - at));
            bytes[at] = numbers.below(256) as u8;
            format!("byte {at}")
        }
        3 => {
            let len = numbers.below(len);
            bytes.truncate(len);
            format!("cut off at {len}")
        }
        4 => {
            bytes[at..end].fill(0);
            format!("zeros at {at}")
        }
        5 => {
            let from = other.min(len.saturating_sub(PAGE)) / PAGE * PAGE;
            let count = (end - at).min(len - from);
            bytes.copy_within(from..from + count, at);
            format!("page {from} at {at}")
        }
        6 => {
            let count = 1 + numbers.below(600);
            let count = count.min(len - at);
            bytes[at..at + count].iter_mut().for_each(|byte| *byte = numbers.below(256) as u8);
            format!("{count} random bytes at {at}")
        }
        _ => {
            let count = 1 + numbers.below(40);
            for _ in 0..count {
                let at = numbers.below(len);
                bytes[at] ^= 1 << numbers.below(8);
            }
            format!("{count} bits")
        }
    };
    format!("{what} of {}", name.display())
}

fn judge(engine: &str, folder: &Path, states: &[Map]) -> &'static str {
    let found = (|| {
        let mut store = open(engine, folder, true)?;
        let found = store.load()?;
        // A change may touch the damaged place.
        store.put(&[(key(RECORDS), value(RECORDS))])?;
        let mut changed = store.load()?;
        changed.remove(&key(RECORDS));
        let same = changed == found;
        drop(store);
        Ok::<_, String>(if same { found } else { Map::new() })
    })();
    match found {
        Err(_) => "error",
        Ok(found) if Some(&found) == states.last() => "truth",
        Ok(found) if states.contains(&found) => "older",
        Ok(_) => "wrong",
    }
}

/// Runs in a child process.
pub fn child(engine: &str, folder: &Path, from: usize, to: usize) {
    let sound = make(engine, folder);
    for case in from..to {
        let mut image = sound.images[case % 2].clone();
        let what = damage(&mut image, case);
        println!("case {case} {what}");
        let path = folder.join(format!("case-{case}"));
        fs::create_dir(&path).unwrap();
        write(&path, &image);
        let begun = Instant::now();
        let judged = catch_unwind(AssertUnwindSafe(|| judge(engine, &path, &sound.states)));
        let outcome = if begun.elapsed() > SLOW { "slow" } else { judged.unwrap_or("panic") };
        println!("was {outcome}");
        fs::remove_dir_all(&path).unwrap();
    }
    println!("end");
}

pub fn run(engine: &str, cases: usize, verbose: bool) -> Vec<usize> {
    let mut counts = vec![0; OUTCOMES.len()];
    let mut count = |outcome: &str, what: &str| {
        counts[OUTCOMES.iter().position(|(name, _)| *name == outcome).unwrap()] += 1;
        if verbose && !matches!(outcome, "error" | "truth") {
            eprintln!("{engine}: {outcome}: {what}");
        }
    };
    let mut from = 0;
    while from < cases {
        let folder = crate::folder();
        let (begin, end) = (from.to_string(), cases.to_string());
        let mut child = Running::start(&["damage-child", engine, folder.to_str().unwrap(), &begin, &end]);
        let mut case = String::new();
        let lost = loop {
            match child.line(PATIENCE) {
                Ok(line) if line == "end" => break None,
                Ok(line) => match line.split_once(' ') {
                    Some(("case", what)) => what.clone_into(&mut case),
                    Some(("was", outcome)) => count(outcome, &case),
                    _ => {}
                },
                Err(true) => break Some("hung"),
                Err(false) => break Some("ended"),
            }
        };
        child.kill();
        fs::remove_dir_all(&folder).unwrap();
        match lost {
            None => from = cases,
            Some(outcome) => {
                count(outcome, &case);
                from = 1 + case
                    .split(' ')
                    .next()
                    .and_then(|n| n.parse::<usize>().ok())
                    .expect("a sound store can be made");
            }
        }
    }
    counts
}
