//! The structure of the source: modules form a stack, no two files import each other directly or indirectly, and some
//! things (unsafe code, exported symbols) are allowed in one place only.

use std::collections::BTreeSet;
use std::path::Path;

use crate::source::{Source, circles, tokens};

/// The stack of the library, from the top. Modules on one level may name each other.
const LAYERS: [&[&str]; 8] = [
    &["managed", "file_prefix"],
    &["volume"],
    &["vault", "ondisk"],
    &["key"],
    &["cipher"],
    &["arch"],
    &["memory"],
    &["error", "approval", "latch", "usage", "hash", "random", "fs", "clock", "log", "zeros"],
];

/// The stack inside `managed` below its operations, from the top: folders and files.
const BELOW_OPERATIONS: [&[&str]; 6] = [
    &["copy"],
    &["live"],
    &["keys"],
    &["fleet"],
    &["store", "layers"],
    &["records", "backend", "capabilities", "chunk_map", "counters", "kek", "lent", "parallel", "sync", "write_back"],
];

/// Foundations that use the layer above them for a reason: bytes are read and drawn into a `Secret`.
const EXCEPTIONS: [(&str, &str); 2] = [("fs", "memory"), ("random", "memory")];

/// The only homes of `unsafe`: the kernels and locked memory; the C boundary and bindings to libraries in C; the rings and pages that the
/// kernel or a guest shares.
const UNSAFE: [&str; 10] = [
    "src/arch/",
    "src/memory/",
    "crates/atrest-c/src/",
    "crates/atrest-cryptsetup/src/",
    "crates/atrest-host/src/ublk/pages.rs",
    "crates/atrest-host/src/vhost_user/lent.rs",
    "crates/atrest-pkcs11/src/",
    "crates/atrest-python/src/buffer.rs",
    "crates/atrest-rbd/src/sys/",
    "crates/atrest-uring/src/",
];

const MAX_LINES: usize = 500;
const MAX_KERNEL_LINES: usize = 650;

#[test]
fn no_module_names_what_stands_above_it() {
    let source = Source::read("src");
    let mut edges = 0;
    let mut wrong = Vec::new();
    for (from, to) in source.edges() {
        edges += 1;
        let (own, other) = (module(&from), module(&to));
        let place = |name: &str| {
            let layer = LAYERS.iter().position(|layer| layer.contains(&name));
            layer.unwrap_or_else(|| panic!("the module {name:?} has no place in the stack; give it one"))
        };
        if place(&other) < place(&own) && !EXCEPTIONS.contains(&(&own, &other)) {
            wrong.push(format!("{from} imports {to}: {own} stands below {other}"));
        }
    }
    assert!(edges > 200, "only {edges} imports were found, the reader is broken");
    assert!(wrong.is_empty(), "upward imports:\n{}", wrong.join("\n"));
}

#[test]
fn managed_disks_are_a_stack_too_and_one_file_of_them_knows_vault_files() {
    let edges = Source::read("src").edges();
    // A file outside the list is an operation, and stands at the top of the stack.
    let place = |file: &str| {
        let name = module(file.strip_prefix("managed/")?);
        Some(BELOW_OPERATIONS.iter().position(|layer| layer.contains(&name.as_str())).map_or(0, |n| n + 1))
    };
    let upward = |(from, to): &&(String, String)| place(from).zip(place(to)).is_some_and(|(own, other)| other < own);
    let wrong: Vec<_> = edges.iter().filter(upward).collect();
    assert!(wrong.is_empty(), "upward imports: {wrong:#?}");
    for name in BELOW_OPERATIONS.concat() {
        assert!(edges.iter().any(|(_, to)| to.starts_with(&format!("managed/{name}"))), "nobody imports {name}");
    }
    let of_vault = edges.iter().filter(|(from, to)| from.starts_with("managed/") && to.starts_with("vault/"));
    let of_vault: BTreeSet<&str> = of_vault.map(|(from, _)| from.as_str()).collect();
    assert_eq!(of_vault, BTreeSet::from(["managed/known_vaults.rs"]));
}

#[test]
fn no_two_files_import_each_other_even_round_a_corner() {
    for root in roots() {
        let source = Source::read(&root);
        let circles = circles(&source.edges());
        assert!(circles.is_empty(), "circles in {root}:\n{}", circles.join("\n"));
    }
}

/// The sources of all packages.
fn roots() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let crates = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let roots: Vec<String> =
        std::iter::once("src".to_owned()).chain(crates.map(|name| format!("crates/{name}/src"))).collect();
    assert!(roots.len() > 2, "{roots:?}");
    roots
}

#[test]
fn unsafe_code_has_its_homes() {
    let has_unsafe = |text: &str| tokens(text).iter().any(|token| token.text == "unsafe");
    let all = roots().into_iter().flat_map(|root| {
        Source::read(&root).texts.into_iter().map(move |(file, text)| (format!("{root}/{file}"), text))
    });
    let (homes, others): (Vec<_>, Vec<_>) = all
        .filter(|(_, text)| has_unsafe(text))
        .partition(|(file, _)| UNSAFE.iter().any(|home| file.starts_with(home)));
    let wrong: Vec<String> = others.into_iter().map(|(file, _)| file).collect();
    assert!(wrong.is_empty(), "unsafe code in {wrong:?}");
    for home in UNSAFE {
        assert!(homes.iter().any(|(file, _)| file.starts_with(home)), "there is no unsafe code in {home} any more");
    }
}

#[test]
fn the_library_exports_no_symbols() {
    for (file, text) in Source::read("src").texts {
        let exported = tokens(&text).into_iter().find(|token| ["no_mangle", "export_name"].contains(&&*token.text));
        assert!(exported.is_none(), "{file} exports a symbol at line {}", exported.unwrap().line);
    }
}

#[test]
fn files_are_short_enough_to_read() {
    for root in roots() {
        for (file, text) in Source::read(&root).texts {
            let max = if file.starts_with("arch/") { MAX_KERNEL_LINES } else { MAX_LINES };
            let lines = text.lines().count();
            assert!(lines <= max, "{root}/{file} has {lines} lines, over {max}: split it by meaning");
        }
    }
}

/// The detector, tried on a library that is made up.
#[test]
fn the_detector_finds_imports_and_circles() {
    let source = |files: &[(&str, &str)]| {
        let mut all = vec![("lib.rs", "mod a; mod b; mod c; pub use b::Bee;")];
        all.extend(files);
        Source::parse(all.into_iter().map(|(file, text)| (file.into(), text.into())).collect())
    };
    let edges = |files: &[(&str, &str)]| {
        let edges = source(files).edges().into_iter().map(|(from, to)| format!("{from} {to}"));
        edges.collect::<Vec<_>>()
    };
    let rest = [("b/mod.rs", "pub struct Bee; mod wing; pub use wing::Wing;"), ("b/wing.rs", "pub struct Wing;")];
    let of_a = |text: &'static str| edges(&[("a.rs", text), rest[0], rest[1], ("c.rs", "pub fn sea() {}")]);
    for (text, to) in [
        ("use crate::Bee;", &["b/mod.rs"][..]),
        ("use crate::{Bee,\n c};", &["b/mod.rs"]),
        ("use crate::c; fn f() { c::sea() }", &["c.rs"]),
        ("fn f() { crate::b::Wing; super::c::sea() }", &["b/wing.rs", "c.rs"]),
        ("use super::b::{self as bees, Wing}; fn f(_: bees::Bee) {}", &["b/mod.rs", "b/wing.rs"]),
        ("use crate::c::*;", &["c.rs"]),
        ("pub use crate::Bee;", &[]),
        ("pub use crate::Bee; fn f(_: Bee) {}", &["b/mod.rs"]),
        ("mod inner { use super::super::c::sea; }", &["c.rs"]),
        ("#[cfg(test)] mod tests { use crate::c::sea; }", &[]),
        ("// crate::Bee\n/* crate::Bee /* */ */ const S: &str = \"crate::Bee\";", &[]),
        ("const S: &str = r#\"crate::Bee \" \"#; const Q: char = '\"'; fn f<'a>() {}", &[]),
        ("use std::fmt; fn f() { fmt::Bee }", &[]),
        ("fn f() -> impl Iterator<Item = u8> + use<> { use crate::c::sea; sea() }", &["c.rs"]),
    ] {
        let expected: Vec<String> = to.iter().map(|to| format!("a.rs {to}")).collect();
        assert_eq!(of_a(text), expected, "{text}");
    }

    let circle = |files: &[(&str, &str)]| circles(&source(files).edges());
    let alone = ("b.rs", "pub struct Bee;");
    let none = circle(&[("a.rs", "use crate::Bee; pub fn ah() {}"), alone, ("c.rs", "use crate::a::ah;")]);
    assert_eq!(none, Vec::<String>::new());
    let round = circle(&[
        ("a.rs", "use crate::Bee; pub fn ah() {}"),
        ("b.rs", "pub struct Bee; use crate::c::sea;"),
        ("c.rs", "pub fn sea() { crate::a::ah() }"),
    ]);
    assert_eq!(round.len(), 1);
    assert!(["a.rs", "b.rs", "c.rs"].iter().all(|file| round[0].contains(file)), "{round:?}");
    // A folder's own file and a file in it, too.
    let parent = circle(&[
        ("a.rs", ""),
        ("b/mod.rs", "mod wing; pub fn f() { wing::g() }"),
        ("b/wing.rs", "pub fn g() { super::f() }"),
    ]);
    assert_eq!(parent.len(), 1, "{parent:?}");
}

/// The layer that a file belongs to: `key/wrap.rs` is of `key`.
fn module(file: &str) -> String {
    file.split(['/', '.']).next().unwrap().to_owned()
}

/// The files of crates that open files by themselves, and what they open.
const OPENING: [(&str, &str); 6] = [
    ("crates/atrest-cli/src/commands/header.rs", "a copy of a header, once it is known to be a plain file"),
    ("crates/atrest-cli/src/find.rs", "a device, and files of /sys"),
    ("crates/atrest-cli/src/partial.rs", "the remains of a run, once they are known to be a plain file"),
    ("crates/atrest-cli/src/secrets.rs", "descriptors that the caller has opened"),
    ("crates/atrest-host/src/cache/file.rs", "a folder, to sync it"),
    ("crates/atrest-tpm/src/key_file.rs", "a folder, to sync it"),
];

#[test]
fn files_of_a_caller_are_read_where_a_pipe_is_refused() {
    let openings = [&["File", "::", "open"][..], &["fs", "::", "read"], &["fs", "::", "read_to_string"]];
    let by_name = ["from_pem_file", "pem_file_iter"];
    let opens = |text: &str| {
        // Tests stand at the end of a file.
        let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let tokens: Vec<_> = tokens(text).into_iter().map(|token| token.text).collect();
        let paths = tokens.windows(4).any(|found| found[3] == "(" && openings.iter().any(|path| found[..3] == **path));
        paths || tokens.iter().any(|found| by_name.contains(&&**found))
    };
    let crates = roots().into_iter().filter(|root| root != "src");
    let all = crates.flat_map(|root| {
        Source::read(&root).texts.into_iter().map(move |(file, text)| (format!("{root}/{file}"), text))
    });
    let found: Vec<String> = all.filter(|(_, text)| opens(text)).map(|(file, _)| file).collect();
    let known: Vec<&str> = OPENING.iter().map(|(file, _)| *file).collect();
    assert_eq!(
        found.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        known.into_iter().collect(),
        "use Secret::read_file"
    );
}
