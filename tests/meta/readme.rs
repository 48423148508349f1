//! The README shows files of this repository, and says nothing that can be found to be wrong.

use std::fs;
use std::path::Path;

use crate::common::markdown::Markdown;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `ATREST_BLESS=1 cargo test --test meta` copies the files into the README.
#[test]
fn the_examples_are_the_files() {
    let mut readme = Markdown::read("README.md");
    let shown = readme.names("file");
    assert!(shown.iter().any(|name| name == "examples/volume.rs"), "{shown:?}");
    for name in &shown {
        let file = fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("README shows {name}: {e}"));
        readme.expect("file", name, &file.replace("\r\n", "\n"));
    }
    // The example of a volume is shown in each language that it is written in.
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let shown = shown.contains(&format!("examples/{name}"));
        assert!(shown || !name.starts_with("volume."), "examples/{name} is not in the README");
    }
}

#[test]
fn links_lead_somewhere() {
    for name in ["README.md", "SECURITY.md", "CHANGELOG.md", "docs/formats.md", "docs/store.md"] {
        let path = root().join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let headings = || text.lines().filter(|line| line.starts_with('#')).map(anchor);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or("")) {
            let found = match link.strip_prefix('#') {
                Some(wanted) => headings().any(|heading| heading == wanted),
                None => link.starts_with("https://") || path.parent().unwrap().join(link).exists(),
            };
            assert!(found, "{name} links to {link}, which isn't there");
        }
    }
}

#[test]
fn the_feature_table_is_whole() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut last = 0;
    let mut rows = 0;
    for line in readme.lines().filter(|line| line.starts_with("| ")) {
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
