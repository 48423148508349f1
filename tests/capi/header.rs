//! `include/atrest.h`: generated from `crates/atrest-c/src`, committed, and compared with the current source.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use atrest::key::KeyId;

/// The files of `crates/atrest-c/src` that C sees, in the order of the header's sections.
const SECTIONS: [&str; 46] = [
    "version",
    "status",
    "message",
    "log",
    "clock",
    "kdf",
    "vault",
    "vault_keys",
    "vault_secrets",
    "vault_access",
    "vault_backup",
    "vault_callbacks",
    "vault_url",
    "vault_several",
    "dek",
    "sector_cipher",
    "segments",
    "stream_cipher",
    "key_wrap",
    "device",
    "file_prefix",
    "memory",
    "self_test",
    "keyslots",
    "volume_options",
    "volume",
    "header",
    "header_lists",
    "tokens",
    "bitlocker",
    "plain",
    "ade_vaults",
    "ade",
    "vault_directory",
    "disk_backend",
    "disk_service",
    "disk_sets",
    "disk_resources",
    "disk",
    "engines",
    "discard",
    "reencrypt",
    "disk_reencrypt",
    "disk_report",
    "disk_store",
    "disk_fleet",
];

const WIDTH: usize = 120;

const BEGIN: &str = "
#ifndef ATREST_H
#define ATREST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern \"C\" {
#endif
";

const END: &str = "
#ifdef __cplusplus
}
#endif

#endif
";

#[test]
fn the_header_is_what_the_sources_say() {
    let made = header();
    let path = root().join("include/atrest.h");
    if std::env::var_os("ATREST_BLESS").is_some_and(|v| v == "1") {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if let Some(n) = made.lines().zip(committed.lines()).position(|(a, b)| a != b) {
        let line = |text: &str| text.lines().nth(n).unwrap_or_default().to_owned();
        panic!("line {}: made {:?}, committed {:?}; run with ATREST_BLESS=1", n + 1, line(&made), line(&committed));
    }
    assert_eq!(made.len(), committed.len(), "one of the two goes on; run with ATREST_BLESS=1");
}

#[test]
fn most_of_the_header_is_documentation() {
    let header = header();
    let (docs, rest): (Vec<&str>, Vec<&str>) =
        header.lines().map(str::trim).filter(|line| !line.is_empty()).partition(|line| line.starts_with("//"));
    let share = docs.len() * 100 / (docs.len() + rest.len());
    assert!(share >= 60, "{} lines of comment, {} others: {share} %", docs.len(), rest.len());
}

/// The calls at the top of the header, named as those that a program needs, exist.
#[test]
fn the_twelve_calls_are_there() {
    let header = header();
    let top = header.split("THE TWELVE CALLS").nth(1).unwrap().split("Sections,").next().unwrap();
    let numbered = |line: &str| line.trim_start_matches(['/', ' ']).starts_with(|c: char| c.is_ascii_digit());
    let lines: Vec<&str> = top.lines().filter(|line| numbered(line)).collect();
    assert_eq!(lines.len(), 12, "{lines:?}");
    for word in lines.iter().flat_map(|line| line.split_whitespace()).filter(|word| word.starts_with("atrest_")) {
        let name = word.trim_matches(',');
        assert!(header.contains(&format!(" {name}(")), "{name} isn't declared");
    }
}

#[test]
fn statuses_have_numbers_and_names_of_their_own() {
    let source = source("status");
    let named: Vec<&str> = source.split("&names! {").nth(1).unwrap().split_whitespace().collect();
    let mut numbers = std::collections::BTreeMap::new();
    for line in source.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let (name, number) = line.split_once(": u32 = ").unwrap();
        let number: u32 = number.trim_end_matches(';').parse().unwrap();
        assert_eq!(numbers.insert(number, name), None, "{number} is used twice");
        assert_eq!(named.iter().filter(|n| **n == name).count(), 1, "{name} in the list of names");
    }
    assert!(numbers.len() > 40);
}

#[test]
fn every_error_has_a_status() {
    let errors = fs::read_to_string(root().join("src/error.rs")).unwrap();
    let variants = errors.split("pub enum Error {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let statuses = source("failure");
    let variants = variants.lines().filter_map(|line| line.strip_prefix("    "));
    let names: Vec<&str> = variants
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap())
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(
            statuses.contains(&format!("Error::{name}")),
            "Error::{name} has no status in crates/atrest-c/src/failure.rs"
        );
    }
}

#[test]
fn buffers_of_the_sizes_given_have_room_for_the_longest_names() {
    let size = |name: &str| -> usize {
        let define = format!("pub const {name}: usize = ");
        let value = ["vault", "vault_callbacks", "disk_sets", "disk_resources"].iter().find_map(|section| {
            source(section).split_once(&define).map(|(_, rest)| rest.split_once(';').unwrap().0.parse().unwrap())
        });
        value.unwrap()
    };
    let (vault, name) = ("v".repeat(512), "n".repeat(127));
    let longest = KeyId::new(&vault, &name, &name).unwrap().to_string();
    assert_eq!(size("ATREST_KEY_URL_SIZE"), longest.len() + 1);
    assert_eq!(size("ATREST_NAME_SIZE"), name.len() + 1);
    // The identity of a set is its name between "des-" and a UUID. Any other identity has at most 256 characters.
    assert_eq!(size("ATREST_ID_SIZE"), "01234567-89ab-cdef-0123-456789abcdef".len() + 1);
    assert!(size("ATREST_IDENTITY_SIZE") >= ("des--".len() + name.len() + size("ATREST_ID_SIZE")).max(256 + 1));
    assert!(KeyId::new(&(vault.clone() + "v"), &name, &name).is_err());
    assert!(KeyId::new(&vault, &(name.clone() + "n"), &name).is_err());
    assert!(KeyId::new(&vault, &name, &(name.clone() + "n")).is_err());
}

fn header() -> String {
    let mut header = comment(&module_docs(&source("lib")));
    header += "//\n// Sections, in this order:\n//\n";
    for section in SECTIONS {
        writeln!(header, "//   {}", module_docs(&source(section)).lines().next().unwrap()).unwrap();
    }
    header += "//\n// Generated from crates/atrest-c/src by tests/capi/header.rs: change it there.\n";
    header += BEGIN;
    for section in SECTIONS {
        let docs = module_docs(&source(section));
        let (title, docs) = docs.split_once('\n').unwrap_or((&docs, ""));
        write!(header, "\n// {}\n// {title}\n", "-".repeat(117)).unwrap();
        header += &comment(docs);
        header += "\n";
        header += &declarations(section);
    }
    header + END
}

/// cbindgen's output for a file, each kind of struct that C fills followed by its initialiser.
fn declarations(section: &str) -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config).with_src(path(section));
    // Otherwise a struct that no function of the same file names would be left out.
    for name in source(section).lines().filter_map(|line| line.strip_prefix("pub struct atrest_")) {
        builder = builder.include_item(format!("atrest_{}", name.trim_end_matches([' ', '{', ';'])));
    }
    let bindings = builder.generate().unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).unwrap();

    let mut out = String::new();
    let mut zeros = Vec::new();
    for line in text.trim().lines() {
        writeln!(out, "{}", broken(line)).unwrap();
        if line.starts_with("typedef struct {") {
            zeros.clear();
        } else if line.ends_with(';') && line.starts_with("    ") && !line.starts_with("    //") {
            zeros.push(if line.ends_with("];") { ", {0}" } else { ", 0" });
        } else if let Some(name) = line.strip_prefix("} ").map(|name| name.trim_end_matches(';')) {
            let init = format!("{}_INIT", name.to_uppercase());
            if source(section).contains(&init) {
                let zeros = zeros[1..].concat();
                write!(out, "\n// The first value of an {name}.\n#define {init} {{sizeof({name}){zeros}}}\n").unwrap();
            }
        }
    }
    out
}

/// Breaks a line of code between arguments where it is too long.
fn broken(line: &str) -> String {
    if line.len() <= WIDTH || line.trim_start().starts_with("//") {
        return line.to_owned();
    }
    let mut lines = vec![String::new()];
    for argument in line.split_inclusive(", ") {
        if lines[lines.len() - 1].len() + argument.trim_end().len() > WIDTH {
            lines.push(" ".repeat(line.len() - line.trim_start().len() + 4));
        }
        lines.last_mut().unwrap().push_str(argument);
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

fn comment(docs: &str) -> String {
    docs.lines().map(|line| format!("// {line}").trim_end().to_owned() + "\n").collect()
}

fn module_docs(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn source(section: &str) -> String {
    fs::read_to_string(path(section)).unwrap()
}

fn path(section: &str) -> PathBuf {
    root().join("crates/atrest-c/src").join(section).with_extension("rs")
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
