//! The layers of `src` are a stack: a module names only what stands beside it or below. And what may be done in one
//! place only (unsafe code, exported symbols) is done there only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The stack, from the top. Modules on one level may name each other.
const LAYERS: [&[&str]; 8] = [
    &["ffi"],
    &["managed"],
    &["volume", "file"],
    &["luks"],
    &["key"],
    &["cipher"],
    &["arch"],
    &["error", "approval", "latch", "usage", "hash", "secret", "random", "folder", "clock"],
];

/// The only homes of `unsafe`.
const UNSAFE: [&str; 3] = ["arch/", "ffi/", "secret/"];

const MAX_LINES: usize = 500;
const MAX_KERNEL_LINES: usize = 650;

#[test]
fn no_module_names_what_stands_above_it() {
    let exports = exports(&read("lib.rs"));
    assert_eq!(exports.get("Dek").map(String::as_str), Some("key"), "lib.rs was not understood");
    let mut named = 0;
    let mut wrong = Vec::new();
    for file in files().iter().filter(|file| *file != "lib.rs") {
        let edges = edges(file, &read(file), &exports);
        named += edges.len();
        wrong.extend(edges.into_iter().filter_map(|edge| edge.fault(file)));
    }
    assert!(named > 50, "only {named} names were found, the reader is broken");
    assert!(wrong.is_empty(), "upward edges:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_has_three_homes() {
    let out_of_place = |file: &String| {
        let at_home = UNSAFE.iter().any(|home| file.starts_with(home));
        !at_home && tokens(&read(file)).iter().any(|token| token.text == "unsafe")
    };
    let wrong: Vec<String> = files().into_iter().filter(out_of_place).collect();
    assert!(wrong.is_empty(), "unsafe code in {wrong:?}");
    assert!(tokens(&read("secret/pages.rs")).iter().any(|token| token.text == "unsafe"), "the reader is broken");
}

#[test]
fn only_ffi_exports_symbols() {
    for file in files().iter().filter(|file| !file.starts_with("ffi/")) {
        let exported =
            tokens(&read(file)).into_iter().find(|token| ["no_mangle", "export_name"].contains(&&*token.text));
        assert!(exported.is_none(), "{file} exports a symbol at line {}", exported.unwrap().line);
    }
}

#[test]
fn files_are_short_enough_to_read() {
    for file in files() {
        let (lines, max) =
            (read(&file).lines().count(), if file.starts_with("arch/") { MAX_KERNEL_LINES } else { MAX_LINES });
        assert!(lines <= max, "{file} has {lines} lines, over {max}: split it by meaning");
    }
}

/// The detector, tried on edges that are made up.
#[test]
fn the_detector_sees_upward_edges() {
    let exports = exports("pub use key::{Dek, hazmat};\npub use volume::Volume;\npub use error::Error;");
    let faults = |file: &str, source: &str| -> Vec<usize> {
        let edges = edges(file, source, &exports);
        let mut lines: Vec<usize> = edges.iter().filter(|e| e.fault(file).is_some()).map(|e| e.line).collect();
        lines.dedup();
        lines
    };
    for (file, source, lines) in [
        ("error.rs", "fn f() {\n crate::key::MAX }", &[2][..]),
        ("key/mod.rs", "use crate::{Error,\n Volume};", &[2]),
        ("key/mod.rs", "use crate::{Error, volume::{Device, File}};", &[1]),
        ("key/wrap.rs", "use super::super::luks::Token;", &[1]),
        ("key/wrap.rs", "use super::{Dek, super::{cipher, volume}};", &[1]),
        ("key/mod.rs", "mod tests { use super::super::volume::X; }", &[1]),
        ("cipher.rs", "use super::hazmat;", &[1]),
        ("random.rs", "use crate::*;", &[1]),
        ("random.rs", "use crate::nowhere::X;", &[1]),
        ("volume/open.rs", "fn f() { atrest::ffi::x() }", &[1]),
        // What is no upward edge.
        ("volume/open.rs", "use crate::{Dek, key::Credential}; use super::{Layout, header};", &[]),
        (
            "key/wrap.rs",
            "// crate::volume\n/* crate::volume /* */ crate::luks */ const S: &str = \"crate::volume\";",
            &[],
        ),
        (
            "key/wrap.rs",
            "const S: &str = r#\"crate::volume \" \"#; const Q: char = '\"'; pub(crate) fn f<'a>() {}",
            &[],
        ),
        ("key/mod.rs", "mod tests { use super::volume; mod inner { use super::super::volume; } }", &[]),
        ("error.rs", "use crate::secret::Secret;", &[]),
        ("ffi/volume.rs", "use atrest::Volume; use crate::status::Status; use super::handle;", &[]),
    ] {
        assert_eq!(faults(file, source), lines, "{file}: {source}");
    }
}

/// A name that a file uses from the root of the crate.
struct Edge {
    line: usize,
    name: String,
    /// The module that it belongs to, if the root has such a name.
    module: Option<String>,
}

impl Edge {
    fn fault(&self, file: &str) -> Option<String> {
        let place = format!("src/{file}:{}: {}", self.line, self.name);
        let own = module_of(file)[0].clone();
        let Some(own_layer) = layer(&own) else {
            return Some(format!("{place}: the module {own:?} has no place in the stack; give it one"));
        };
        let Some(module) = &self.module else {
            return Some(format!("{place}: the root has no such name, or names all; name what you use"));
        };
        let Some(layer) = layer(module) else {
            return Some(format!("{place}: {module:?} has no place in the stack; give it one"));
        };
        (layer < own_layer).then(|| format!("{place}: {own} stands below {module}"))
    }
}

/// Counted from the top.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What `lib.rs` exports at the root, and from which module.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let tokens = tokens(lib);
    let mut exports = BTreeMap::new();
    for (i, _) in tokens.iter().enumerate().filter(|(_, token)| token.text == "use") {
        for (path, _) in paths(&tokens, i + 1) {
            exports.insert(path[path.len() - 1].clone(), path[0].clone());
        }
    }
    exports
}

fn edges(file: &str, source: &str, exports: &BTreeMap<String, String>) -> Vec<Edge> {
    let own = module_of(file);
    let in_ffi = own[0] == "ffi";
    let tokens = tokens(source);
    let mut edges = Vec::new();
    // The braces around a token, and whether each is that of a `mod`.
    let mut braces: Vec<Option<String>> = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => {
                let module = i >= 2 && tokens[i - 2].text == "mod";
                braces.push(module.then(|| tokens[i - 1].text.clone()));
            }
            "}" => drop(braces.pop()),
            // `crate` in ffi is the package atrest-c, which is one layer.
            "crate" if in_ffi => {}
            "crate" | "super" | "atrest" if starts_a_path(&tokens, i) => {
                let inner = braces.iter().flatten().cloned();
                let here: Vec<String> = own.iter().cloned().chain(inner).collect();
                for (path, line) in paths(&tokens, i) {
                    let from_root = resolve(&here, &path);
                    // Of the own module only what was reached by way of the root counts.
                    let Some(name) = from_root.first() else { continue };
                    if in_ffi && path[0] == "super" {
                        continue;
                    }
                    let is_module = LAYERS.iter().any(|layer| layer.contains(&name.as_str()));
                    let module = if is_module { Some(name.clone()) } else { exports.get(name).cloned() };
                    edges.push(Edge { line, name: path.join("::"), module });
                }
            }
            _ => {}
        }
    }
    edges
}

/// The full path from the root that `path` means in the module `here`.
fn resolve(here: &[String], path: &[String]) -> Vec<String> {
    let mut full = if path[0] == "super" { here.to_vec() } else { Vec::new() };
    for segment in path {
        match segment.as_str() {
            "crate" | "atrest" | "self" => {}
            "super" => drop(full.pop()),
            other => full.push(other.into()),
        }
    }
    full
}

fn starts_a_path(tokens: &[Token], i: usize) -> bool {
    let after = tokens.get(i + 1).is_some_and(|token| token.text == "::");
    // In the middle of a path, or in a group, it is a part of what `paths` has read already.
    after && (i == 0 || tokens[i - 1].text != "::") && !inside_a_group(tokens, i)
}

/// Whether the token stands in the braces of a use tree.
fn inside_a_group(tokens: &[Token], i: usize) -> bool {
    let mut depth = 0;
    for j in (0..i).rev() {
        match tokens[j].text.as_str() {
            "}" => depth += 1,
            "{" if depth > 0 => depth -= 1,
            "{" => return j > 0 && (tokens[j - 1].text == "::" || tokens[j - 1].text == "use"),
            ";" => return false,
            _ => {}
        }
    }
    false
}

/// All paths of the tree that begins at `i`, with the line of the last segment of each.
fn paths(tokens: &[Token], i: usize) -> Vec<(Vec<String>, usize)> {
    fn tree(tokens: &[Token], mut i: usize, prefix: &[String], found: &mut Vec<(Vec<String>, usize)>) -> usize {
        let mut path = prefix.to_vec();
        loop {
            let Some(token) = tokens.get(i) else { return i };
            if token.text == "{" {
                i += 1;
                while tokens.get(i).is_some_and(|token| token.text != "}") {
                    i = tree(tokens, i, &path, found);
                    // What `as` gives, and the comma.
                    while tokens.get(i).is_some_and(|token| token.text != "," && token.text != "}") {
                        i += 1;
                    }
                    if tokens.get(i).is_some_and(|token| token.text == ",") {
                        i += 1;
                    }
                }
                return i + 1;
            }
            path.push(token.text.clone());
            if tokens.get(i + 1).is_none_or(|token| token.text != "::") {
                found.push((path, token.line));
                return i + 1;
            }
            i += 2;
        }
    }
    let mut found = Vec::new();
    tree(tokens, i, &[], &mut found);
    found
}

/// A word or a sign of the source, without comments and texts.
struct Token {
    text: String,
    line: usize,
}

fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut tokens, mut i, mut line) = (Vec::new(), 0, 1);
    let starts = |i: usize, text: &str| text.chars().enumerate().all(|(k, c)| chars.get(i + k) == Some(&c));
    let word = |c: char| c.is_alphanumeric() || c == '_';
    while i < chars.len() {
        let from = i;
        if starts(i, "//") {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if starts(i, "/*") {
            let mut depth = 0;
            loop {
                if starts(i, "/*") {
                    (depth, i) = (depth + 1, i + 2);
                } else if starts(i, "*/") {
                    (depth, i) = (depth - 1, i + 2);
                } else {
                    i += 1;
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
        } else if let Some(len) = raw_text(&chars[i..]) {
            i += len;
        } else if chars[i] == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if chars[i] == '\'' && (starts(i + 1, "\\") || chars.get(i + 2) == Some(&'\'')) {
            // A character; otherwise it is a lifetime.
            i += if chars[i + 1] == '\\' { 3 } else { 2 };
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else if word(chars[i]) {
            while i < chars.len() && word(chars[i]) {
                i += 1;
            }
            tokens.push(Token { text: chars[from..i].iter().collect(), line });
        } else {
            let len = if starts(i, "::") { 2 } else { 1 };
            if !chars[i].is_whitespace() {
                tokens.push(Token { text: chars[i..i + len].iter().collect(), line });
            }
            i += len;
        }
        line += chars[from..i.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    tokens
}

/// The length of a raw text (`r"`, `br##"`, `cr#"`) at the start of `chars`. A word before it that ends in `r` is no
/// concern: words are taken whole.
fn raw_text(chars: &[char]) -> Option<usize> {
    let prefix = chars.iter().take_while(|c| "bcr".contains(**c)).count();
    if prefix == 0 || chars[prefix - 1] != 'r' {
        return None;
    }
    let hashes = chars[prefix..].iter().take_while(|c| **c == '#').count();
    if chars.get(prefix + hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let begin = prefix + hashes + 1;
    chars[begin..].windows(end.len()).position(|window| window == end).map(|at| begin + at + end.len())
}

/// The path of the module that a file is: `key/wrap.rs` is `key::wrap`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(String::from).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Every Rust file of `src`, by its path from there, with `/` between folders.
fn files() -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, files: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), &format!("{name}/"), files);
            } else if name.ends_with(".rs") {
                files.push(name);
            }
        }
    }
    let mut files = Vec::new();
    walk(&root(), "", &mut files);
    files.sort();
    assert!(files.len() > 20, "{files:?}");
    files
}
