//! The exports of the libraries: exactly those listed in `include/symbols.txt`, which may only grow.

#![cfg(target_os = "linux")]

#[path = "../common/peers.rs"]
mod common;
mod library;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{peer, run, text};
use library::{folder, root};

#[test]
fn the_shared_library_exports_what_is_listed() {
    let Some(nm) = peer("nm", &["--version"]) else { return };
    let exported =
        run(&nm, &["--dynamic", "--defined-only", "--format=just-symbols", text(&folder().join("libatrest.so"))]);
    let exported: BTreeSet<&str> = exported.lines().collect();

    let path = root().join("include/symbols.txt");
    if std::env::var_os("ATREST_BLESS").is_some_and(|v| v == "1") {
        let lines: String = exported.iter().map(|symbol| format!("{symbol}\n")).collect();
        fs::write(&path, lines).unwrap();
    }
    let listed = fs::read_to_string(&path).unwrap();
    let listed: BTreeSet<&str> = listed.lines().collect();
    let (more, fewer) = (exported.difference(&listed), listed.difference(&exported));
    assert_eq!(exported, listed, "not listed: {more:?}; not exported: {fewer:?}; run with ATREST_BLESS=1 to list more");
    for symbol in exported {
        assert!(symbol.starts_with("atrest_"), "{symbol} is exported");
    }
}

#[test]
fn the_header_declares_every_symbol() {
    let header = fs::read_to_string(root().join("include/atrest.h")).unwrap();
    let code: Vec<&str> = header.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    for symbol in fs::read_to_string(root().join("include/symbols.txt")).unwrap().lines() {
        let call = format!("{symbol}(");
        assert_eq!(code.iter().filter(|line| line.contains(&call)).count(), 1, "{symbol} in include/atrest.h");
    }
}

/// So that one search finds all functions that can lose data or give a key away.
#[test]
fn the_word_hazmat_stands_first_in_a_name() {
    let listed = fs::read_to_string(root().join("include/symbols.txt")).unwrap();
    let risky: Vec<&str> = listed.lines().filter(|symbol| symbol.contains("hazmat")).collect();
    assert!(risky.len() > 5 && risky.iter().all(|symbol| symbol.starts_with("atrest_hazmat_")), "{risky:?}");
}

/// `failure::run` turns a panic into a status. A panic outside of it would abort the program.
#[test]
fn no_function_does_anything_where_a_panic_is_not_caught() {
    const CATCH: [&str; 6] = ["run(", "compute(", "free!(", "from_to!(", "segments!(", "segments_to!("];
    const READ_ONLY: [&str; 4] =
        ["atrest_version", "atrest_last_error_message", "atrest_last_rule", "atrest_status_name"];
    let mut functions = 0;
    walk(&root().join("crates/atrest-c/src"), &mut |path| {
        let source = fs::read_to_string(path).unwrap();
        for (_, rest) in
            source.match_indices("extern \"C\" fn atrest_").map(|(at, found)| source.split_at(at + found.len()))
        {
            functions += 1;
            let name = format!("atrest_{}", rest.split('(').next().unwrap());
            if READ_ONLY.contains(&&*name) {
                continue;
            }
            let body = rest.split_once("{\n").unwrap().1.split_once("\n}\n").unwrap().0;
            let statement = body.trim_start();
            assert!(CATCH.iter().any(|start| statement.starts_with(start)), "{name}: {statement}");
            // One statement alone, so none but it begins where it does.
            let indented = |line: &&str| line.starts_with("    ") && !line[4..].starts_with([' ', '}', ')']);
            assert_eq!(body.lines().filter(indented).count(), 1, "{name} does something else, too: {body}");
        }
    });
    assert_eq!(functions, fs::read_to_string(root().join("include/symbols.txt")).unwrap().lines().count());
}

/// A Rust program that depends on the package `atrest` must not end up exporting C symbols.
#[test]
fn only_the_c_package_has_c_symbols() {
    let mut seen = 0;
    walk(&root().join("src"), &mut |path| {
        let source = fs::read_to_string(path).unwrap();
        for attribute in ["no_mangle", "export_name", "link_section"] {
            assert!(!source.contains(attribute), "{} has {attribute}", path.display());
        }
        seen += 1;
    });
    assert!(seen > 30, "{seen} files");
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path);
        }
    }
}
