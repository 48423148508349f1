//! Kills at a random moment during writes: acknowledged commits must be there.

use std::path::Path;
use std::time::Duration;

use crate::child::{PATIENCE, Running};
use crate::engines::open;
use crate::{key, value};

/// Runs in a child process: continues writing after the last record, and acknowledges each commit.
pub fn child(engine: &str, folder: &Path) {
    let mut store = open(engine, folder, false).unwrap();
    for n in store.load().unwrap().len().. {
        store.put(&[(key(n), value(n))]).unwrap();
        println!("{n}");
    }
}

/// The number of commits, how many of them were lost, and how often the store did not open again.
pub fn run(engine: &str, rounds: usize) -> (usize, usize, usize) {
    let folder = crate::folder();
    let path = folder.to_str().unwrap();
    let (mut done, mut lost, mut closed) = (0, 0, 0);
    for round in 0..rounds {
        let mut child = Running::start(&["kill-child", engine, path]);
        let mut last = child.line(PATIENCE).ok();
        // Spread from the duration of one commit to that of many.
        std::thread::sleep(Duration::from_micros((round * 7919 % 40_000) as u64));
        child.kill();
        while let Ok(line) = child.line(Duration::from_millis(200)) {
            last = Some(line);
        }
        let expected = last.map_or(done, |line| line.parse::<usize>().unwrap() + 1);
        // In a child process, as after a start.
        let checker = Running::start(&["count-child", engine, path]);
        let found = checker.line(PATIENCE).ok().and_then(|line| line.parse::<usize>().ok());
        let mut checker = checker;
        checker.kill();
        match found {
            Some(found) => {
                lost += expected.saturating_sub(found);
                done = found;
            }
            None => {
                closed += 1;
                break;
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    (done, lost, closed)
}

/// Runs in a child process: counts the records, if each is right.
pub fn count(engine: &str, folder: &Path) {
    let mut store = open(engine, folder, true).unwrap();
    let found = store.load().unwrap();
    for (n, (name, record)) in found.iter().enumerate() {
        assert_eq!(*name, key(n));
        assert!(engine == "atrest" || *record == value(n), "{name}");
    }
    println!("{}", found.len());
}
