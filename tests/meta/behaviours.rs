//! Each behaviour that docs/behaviours.md calls done, fully or in part, has tests that name its number. The first line
//! of such a test is `// Behaviours 26, 30 to 32`, and may continue in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[test]
fn what_is_done_is_walked_by_tests_that_name_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = rows(&fs::read_to_string(root.join("docs/behaviours.md")).unwrap());
    let mut walked = BTreeMap::<u32, Vec<String>>::new();
    walk(&root.join("tests"), &mut walked);
    walk(&root.join("crates/atrest-ade/tests"), &mut walked);
    walk(&root.join("crates/atrest-host/tests"), &mut walked);
    let missing: Vec<_> =
        rows.iter().filter(|(number, is_done)| *is_done && !walked.contains_key(number)).map(|(n, _)| n).collect();
    assert!(missing.is_empty(), "no test walks the behaviours {missing:?}, which are called done");
    // Number 29 is a part of 26: no disk goes offline.
    let known: BTreeSet<_> = rows.iter().map(|(number, _)| *number).chain([29]).collect();
    let strange: Vec<_> = walked.iter().filter(|(number, _)| !known.contains(number)).collect();
    assert!(strange.is_empty(), "the table has no rows of {strange:?}");
}

/// The section of docs/behaviours.md on Azure Key Vault names the tests of each behaviour, and tests name their behaviours.
#[test]
fn what_holds_with_azure_is_walked_by_the_tests_that_the_table_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/behaviours.md")).unwrap();
    let (before, section) = text.split_once("\n## With Azure Key Vault\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let tests: BTreeSet<String> = cells.get(1)?.split(", ").map(|test| test.trim_matches('`').into()).collect();
        Some((cells[0].parse::<u32>().ok()?, tests))
    };
    let named: BTreeMap<u32, BTreeSet<String>> = section.lines().filter_map(row).collect();
    let mut walked = BTreeMap::<u32, BTreeSet<String>>::new();
    for module in ["keys", "revocation", "rotation", "sets"] {
        let mut found = BTreeMap::new();
        walk_file(&root.join(format!("crates/atrest-kms/tests/azure/behaviours/{module}.rs")), &mut found);
        for (number, tests) in found.into_iter().filter(|(number, _)| *number != 29) {
            walked.entry(number).or_default().extend(tests.into_iter().map(|test| format!("{module}::{test}")));
        }
    }
    assert_eq!(named, walked);
    let of_the_vault = |number: &u32| *number == 3 || (11..=18).contains(number) || (25..=43).contains(number);
    let all: BTreeSet<u32> = rows(before).into_iter().map(|(number, _)| number).filter(of_the_vault).collect();
    assert_eq!(named.into_keys().collect::<BTreeSet<_>>(), all);
}

/// The numbers of the table, and whether it is there, at least in part.
fn rows(readme: &str) -> Vec<(u32, bool)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        Some((cells[0].parse().ok()?, ["done", "partly"].contains(cells.get(2)?)))
    };
    readme.lines().filter_map(row).collect()
}

/// Adds the tests of a folder, each to the numbers that it names.
fn walk(folder: &Path, walked: &mut BTreeMap<u32, Vec<String>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, walked);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            walk_file(&path, walked);
        }
    }
}

fn walk_file(path: &Path, walked: &mut BTreeMap<u32, Vec<String>>) {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (at, line) in lines.iter().enumerate() {
        let numbers = line.strip_prefix("// Behaviours ").or_else(|| line.strip_prefix("// Behaviour "));
        let Some(numbers) = numbers else { continue };
        let place = format!("{}:{}", path.display(), at + 1);
        let name = lines[at - 1].strip_prefix("fn ").and_then(|rest| rest.split('(').next());
        let is_test =
            lines[..at - 1].iter().rev().take_while(|line| line.starts_with("#[")).any(|&line| line == "#[test]");
        let (Some(name), true) = (name, is_test) else { panic!("{place}: not the first line of a test") };
        let numbers = parse(numbers);
        assert!(!numbers.is_empty(), "{place}: no number");
        numbers.into_iter().for_each(|number| walked.entry(number).or_default().push(name.into()));
    }
}

/// `26, 30 to 32: words` as 26, 30, 31, 32.
fn parse(text: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    let numbers_only = text.split(':').next().unwrap_or("");
    let mut words = numbers_only.split([' ', ',']).filter(|word| !word.is_empty()).peekable();
    while let Some(first) = words.next().and_then(|word| word.parse::<u32>().ok()) {
        let last = words.next_if_eq(&"to").map_or(first, |_| words.next().unwrap().parse().unwrap());
        numbers.extend(first..=last);
    }
    numbers
}
