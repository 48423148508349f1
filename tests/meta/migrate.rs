//! The table of libcryptsetup's calls in docs/migrate.md: each name in it exists, in libcryptsetup, in our header and in our
//! source; and none of libcryptsetup's is forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the tables, as cells: libcryptsetup, C, Rust, the difference.
fn rows() -> Vec<[String; 4]> {
    let page = fs::read_to_string(root().join("docs/migrate.md")).unwrap();
    let part = page.split("## From libcryptsetup, call by call").nth(1).unwrap();
    let lines = part.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| libcryptsetup "));
    let cells = |line: &str| {
        let cells: Vec<String> = line[1..line.len() - 1].split('|').map(|cell| cell.trim().to_owned()).collect();
        cells.try_into().unwrap_or_else(|_| panic!("{line}"))
    };
    lines.map(cells).collect()
}

/// What a text has in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The functions and other names that a C header has: words outside of its comments.
fn words(header: &str) -> BTreeSet<&str> {
    header.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_names_of_c_are_those_of_the_header() {
    let header = code(&root().join("include/atrest.h"));
    let known = words(&header);
    let mut seen = 0;
    for row in rows() {
        for name in row.iter().flat_map(|cell| quoted(cell)) {
            if name.starts_with("atrest_") || name.starts_with("ATREST_") {
                assert!(known.contains(name), "include/atrest.h has no {name}");
                seen += 1;
            }
        }
        assert!(row[1] == "none" || quoted(&row[1]).count() > 0, "{row:?}");
    }
    assert!(seen > 70, "{seen}");
}

#[test]
fn the_names_of_rust_are_those_of_the_source() {
    let mut source = String::new();
    read(&root().join("src"), &mut source);
    let mut seen = 0;
    for row in rows() {
        for name in quoted(&row[2]).filter(|name| *name != "log") {
            let last = name.rsplit("::").next().unwrap();
            let is_kind = last.starts_with(|c: char| c.is_ascii_uppercase());
            // A variant, a type or a trait; or a function that everybody sees.
            let found = match is_kind {
                true => source.contains(&format!("    {last}(")) || source.contains(&format!(" {last}")),
                false => source.contains(&format!("fn {last}(")) || source.contains(&format!("fn {last}<")),
            };
            let public = is_kind || source.contains(&format!("pub fn {last}"));
            assert!(found && public, "the library has no {name}");
            let kind = name.split("::").next().unwrap();
            assert!(["hazmat", "memory_protection"].contains(&kind) || source.contains(&format!(" {kind}")), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

fn read(folder: &Path, source: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, source);
        } else {
            *source += &fs::read_to_string(path).unwrap();
        }
    }
}

/// The header is that of Debian's package libcryptsetup-dev. Another version than 2.6 may have more functions, or fewer.
#[test]
fn the_names_of_libcryptsetup_are_those_of_its_header() {
    let path = Path::new("/usr/include/libcryptsetup.h");
    if !path.exists() {
        let required = std::env::var_os("ATREST_REQUIRE_PEERS").is_some_and(|v| v == "1");
        assert!(!required, "{} is missing: apt-get install libcryptsetup-dev", path.display());
        // Not `eprintln!`: `cargo test` hides its output if a test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED the names of libcryptsetup: there is no {}", path.display());
        return;
    }
    let header = fs::read_to_string(path).unwrap();
    let known = words(&header);
    let rows = rows();
    let mapped: BTreeSet<&str> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
    for name in mapped.iter().filter(|name| !name.starts_with('-')) {
        assert!(known.contains(name), "libcryptsetup.h has no {name}");
    }
    // Declared functions: a word that begins so, before a parenthesis, outside of the comments.
    let mut declared = BTreeSet::new();
    for line in header.lines().filter(|line| !line.trim_start().starts_with(['*', '/'])) {
        if let Some(name) = line.split('(').next().and_then(|front| front.rsplit([' ', '*']).next())
            && name.starts_with("crypt_")
            && line.contains(&format!("{name}("))
        {
            declared.insert(name);
        }
    }
    assert!(declared.len() > 120, "{}", declared.len());
    if header.contains("CRYPT_FVAULT2") && !header.contains("crypt_activate_by_keyslot_context") {
        let forgotten: Vec<_> = declared.difference(&mapped).collect();
        assert!(forgotten.is_empty(), "docs/migrate.md doesn't say what takes the place of {forgotten:?}");
    }
}
