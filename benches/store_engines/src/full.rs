//! A full disk: a small tmpfs that the store fills. Then there is room again.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::child::{PATIENCE, Running};
use crate::engines::open;
use crate::{key, value};

/// Runs in a child process, because it may end. Prints `filled N`, then `wrote` or `refused` by the store that was
/// open, then `again`.
pub fn child(engine: &str, folder: &Path) {
    let store_folder = folder.join("store");
    fs::create_dir(&store_folder).unwrap();
    let spare = folder.join("spare");
    fs::write(&spare, vec![1; 16 << 20]).unwrap();
    let mut store = open(engine, &store_folder, false).unwrap();
    let mut n = 0;
    let why = loop {
        match store.put(&[(key(n), value(n))]) {
            Ok(()) => n += 1,
            Err(e) => break e,
        }
    };
    println!("filled {n} {why}");
    fs::remove_file(&spare).unwrap();
    match store.put(&[(key(n), value(n))]) {
        Ok(()) => {
            println!("wrote");
            n += 1;
        }
        Err(e) => println!("refused {e}"),
    }
    drop(store);
    let mut store = open(engine, &store_folder, true).unwrap();
    let found = store.load().unwrap().len();
    // The failed change may have happened all the same.
    println!("again {} acknowledged {n}", found);
    match store.put(&[(key(n + 1), value(n + 1))]) {
        Ok(()) => println!("wrote"),
        Err(e) => println!("refused {e}"),
    }
    println!("end");
}

pub fn run(engine: &str, size_mib: usize) -> Vec<String> {
    let folder = crate::folder();
    let options = format!("size={size_mib}m");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder).status();
    if !mounted.is_ok_and(|status| status.success()) {
        fs::remove_dir(&folder).unwrap();
        return vec!["not tried: a tmpfs can't be mounted here".into()];
    }
    let mut child = Running::start(&["full-child", engine, folder.to_str().unwrap()]);
    let mut lines = Vec::new();
    loop {
        match child.line(6 * PATIENCE) {
            Ok(line) if line == "end" => break,
            Ok(line) => lines.push(line),
            Err(hung) => {
                let status = child.kill();
                lines.push(if hung { "HUNG".into() } else { format!("ENDED: {status}") });
                break;
            }
        }
    }
    child.kill();
    assert!(Command::new("umount").arg(&folder).status().unwrap().success());
    fs::remove_dir(&folder).unwrap();
    lines
}
