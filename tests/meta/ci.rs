//! `.ci/run` names the tests of crates that aren't in the default build: none is left out.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates whose tests `cargo test` runs, and those that scripts of their own try.
const OTHERWISE: [&str; 4] = ["atrest-c", "atrest-host", "atrest-python", "atrest-uring"];

fn folders(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn ci_names_the_tests_of_each_crate() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ci = fs::read_to_string(top.join(".ci/run")).unwrap();
    let mut found = 0;
    for crate_folder in folders(&top.join("crates")) {
        let name = crate_folder.file_name().unwrap().to_str().unwrap();
        if OTHERWISE.contains(&name) {
            continue;
        }
        for test in folders(&crate_folder.join("tests")) {
            if test.extension().is_some_and(|kind| kind == "rs") || test.join("main.rs").is_file() {
                let test = test.file_stem().unwrap().to_str().unwrap();
                let named = format!("--test {test}");
                let is_named = ci.match_indices(&named).any(|(at, _)| ci[at + named.len()..].starts_with([' ', '\n']));
                assert!(is_named, ".ci/run doesn't run the tests {test} of {name}");
                found += 1;
            }
        }
    }
    assert!(found > 25, "{found}");
}
