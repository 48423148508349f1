//! The pages for users show files of this repository, and their links work.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::markdown::Markdown;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages for users that are in the package.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> = ["README.md", "SECURITY.md", "CHANGELOG.md"].map(String::from).into();
    for folder in ["docs", "docs/fleet", "docs/formats", "docs/integrate", "docs/kms", "docs/storage"] {
        pages.extend(names(folder).filter(|name| name.ends_with(".md")));
    }
    pages
}

/// The pages of what lies in folders of its own: crates, examples, bindings and benches.
fn other_pages() -> Vec<String> {
    let folders = ["benches", "bindings", "crates", "examples", "tests"].into_iter().flat_map(names);
    let pages = folders.map(|folder| format!("{folder}/README.md")).filter(|page| root().join(page).is_file());
    pages.chain(["fuzz/README.md".into()]).collect()
}

fn names(folder: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    entries.map(move |entry| format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()))
}

/// `ATREST_BLESS=1 cargo test --test meta` copies the files into the pages.
#[test]
fn the_examples_are_the_files() {
    let mut all = Vec::new();
    for page in pages() {
        let mut markdown = Markdown::read(&page);
        for name in markdown.names("file") {
            let file = fs::read_to_string(root().join(&name)).unwrap_or_else(|e| panic!("{page} shows {name}: {e}"));
            markdown.expect("file", &name, &file.replace("\r\n", "\n"));
            all.push(name);
        }
    }
    // The example of a volume is shown in each language that it is written in.
    for name in ["quickstart.rs", "quickstart.c", "volume.c", "volume.cpp"] {
        assert!(all.contains(&format!("examples/{name}")), "examples/{name} is shown nowhere");
    }
}

#[test]
fn the_readme_is_read_in_one_sitting() {
    let lines = fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= 150, "the README has {lines} lines");
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    for name in pages.iter().chain(&other_pages()) {
        let path = root().join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or("")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let found = link.starts_with("https://")
                // Names of Rust, in the text that rustdoc reads.
                || name == "docs/crate.md"
                || target.exists()
                    && (heading.is_empty() || {
                        let text = fs::read_to_string(&target).unwrap();
                        text.lines().filter(|line| line.starts_with('#')).map(anchor).any(|found| found == heading)
                    });
            assert!(found, "{name} links to {link}, which isn't there");
            let of = package(&path);
            assert!(
                !target.exists() || !is_published(&of) || package(&target) == of,
                "{name} links to {link}, which its package doesn't have: write the path in backticks"
            );
        }
    }
}

/// The folder of the package that a file is in.
fn package(path: &Path) -> PathBuf {
    let path = path.canonicalize().unwrap();
    path.ancestors().find(|folder| folder.join("Cargo.toml").is_file()).unwrap().into()
}

/// Whether the pages of a package are read outside of the repository, too: on a registry's page. So are those of Python's.
fn is_published(package: &Path) -> bool {
    let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
    !manifest.lines().any(|line| line == "publish = false") || package.join("pyproject.toml").is_file()
}

#[test]
fn every_error_has_a_row() {
    let source = fs::read_to_string(root().join("src/error.rs")).unwrap();
    let kinds = source.split("pub enum Error {").nth(1).unwrap().split("\n}").next().unwrap();
    let name = |line: &str| -> String { line.trim().chars().take_while(char::is_ascii_alphanumeric).collect() };
    let kinds: Vec<String> =
        kinds.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     ")).map(name).collect();
    let kinds: Vec<&String> = kinds.iter().filter(|name| !name.is_empty()).collect();
    assert!(kinds.len() > 60, "only {} kinds were found", kinds.len());
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    for kind in kinds {
        assert!(page.contains(&format!("`{kind}`")), "docs/errors.md doesn't say what to do about {kind}");
    }
    // Each row has the cells of its table.
    let mut cells = 0;
    for line in page.lines() {
        let count = line.matches(" | ").count();
        match line.starts_with('|') {
            true if cells > 0 && !line.starts_with("|---") => assert_eq!(count, cells, "{line}"),
            true if cells == 0 => cells = count,
            true => {}
            false => cells = 0,
        }
    }
}

#[test]
fn the_table_of_behaviours_is_whole() {
    let page = fs::read_to_string(root().join("docs/behaviours.md")).unwrap();
    let mut last = 0;
    let mut rows = 0;
    let table = page.split("\n## ").next().unwrap();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Ok(number) = cells[0].parse::<u32>() else { continue };
        assert!(number > last, "row {number} stands behind {last}");
        assert_eq!(cells.len(), 4, "{line}");
        assert!(["done", "partly", "not yet", "the service's duty"].contains(&cells[2]), "{line}");
        (last, rows) = (number, rows + 1);
    }
    assert_eq!((rows, last), (61, 83), "a row is missing, or there are more");
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.replace(' ', "-").chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}
