//! The structure of the source: modules form a stack, no two files import each other directly or indirectly, and some
//! things (unsafe code, exported symbols) are allowed in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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

/// The files of a library, and the names in their modules.
struct Source {
    /// By their paths from the root, with `/` between folders.
    texts: BTreeMap<String, String>,
    modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    /// The target of a name that a `use` introduces.
    bound: BTreeMap<String, Vec<String>>,
    /// Names that are defined here.
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// All words outside of `use`, and paths that are written out.
    words: BTreeSet<String>,
    paths: Vec<Vec<String>>,
}

struct Import {
    path: Vec<String>,
    name: String,
    is_public: bool,
}

enum Target {
    Module(Vec<String>),
    Item(String),
}

impl Source {
    fn read(root: &str) -> Self {
        fn walk(folder: &Path, prefix: &str, texts: &mut BTreeMap<String, String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), &format!("{name}/"), texts);
                } else if name.ends_with(".rs") {
                    texts.insert(name, fs::read_to_string(entry.path()).unwrap());
                }
            }
        }
        let mut texts = BTreeMap::new();
        walk(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(root), "", &mut texts);
        assert!(!texts.is_empty(), "{root}");
        Self::parse(texts)
    }

    fn parse(texts: BTreeMap<String, String>) -> Self {
        let mut modules = BTreeMap::new();
        for (file, text) in texts.iter().filter(|(file, _)| !file.ends_with("tests.rs")) {
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let path: Vec<String> = path.split('/').filter(|name| *name != "lib").map(String::from).collect();
            modules.insert(path, Module::parse(file, &tokens(text)));
        }
        Source { texts, modules }
    }

    /// Which file imports something that another one defines. Tests and the root of the library don't count.
    fn edges(&self) -> BTreeSet<(String, String)> {
        let mut edges = BTreeSet::new();
        for (path, module) in self.modules.iter().filter(|(path, _)| !path.is_empty()) {
            let used = |import: &&Import| !import.is_public || module.words.contains(&import.name);
            let imported = module.imports.iter().filter(used).map(|import| &import.path);
            for named in imported.chain(&module.paths) {
                if let Some(Target::Item(file)) = self.resolve(path, named, 0)
                    && file != module.file
                {
                    edges.insert((module.file.clone(), file));
                }
            }
        }
        edges
    }

    /// The meaning of a path in a module.
    fn resolve(&self, here: &[String], path: &[String], depth: usize) -> Option<Target> {
        assert!(depth < 32, "{path:?} in {here:?} leads nowhere");
        let mut at = here.to_vec();
        for (i, name) in path.iter().enumerate() {
            match name.as_str() {
                "crate" if i == 0 => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                // All names of a module: those of its file, as far as this reader can see.
                "*" => return self.modules.get(&at).map(|module| Target::Item(module.file.clone())),
                name => {
                    let module = self.modules.get(&at)?;
                    let mut child = at.clone();
                    child.push(name.into());
                    if self.modules.contains_key(&child) {
                        at = child;
                    } else if module.items.contains(name) {
                        return Some(Target::Item(module.file.clone()));
                    } else {
                        match self.resolve(&at, module.bound.get(name)?, depth + 1)? {
                            Target::Module(module) => at = module,
                            item => return Some(item),
                        }
                    }
                }
            }
        }
        Some(Target::Module(at))
    }
}

impl Module {
    fn parse(file: &str, tokens: &[Token]) -> Self {
        const ITEMS: [&str; 8] = ["fn", "struct", "enum", "trait", "const", "static", "type", "union"];
        let mut module = Module { file: file.into(), ..Module::default() };
        // How deep in braces, and where modules inside the file begin; what `super` means there is this file.
        let (mut depth, mut inner) = (0, Vec::new());
        let mut i = 0;
        while i < tokens.len() {
            let word = tokens[i].text.as_str();
            let before = |back: usize| i.checked_sub(back).map_or("", |j| tokens[j].text.as_str());
            let after = |ahead: usize| tokens.get(i + ahead).map_or("", |token| token.text.as_str());
            match word {
                "mod" if after(2) == "{" && after(1) == "tests" => {
                    i = end_of_block(tokens, i + 2);
                    continue;
                }
                "mod" if after(2) == "{" => inner.push(depth),
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inner.retain(|begin| *begin < depth);
                }
                // In a bound, `use<..>` names what a type captures.
                "use" if after(1) != "<" => {
                    let is_public = before(1) == "pub" || before(1) == ")";
                    let (end, mut imports) = use_tree(tokens, i + 1, &[]);
                    for import in &mut imports {
                        import.is_public = is_public;
                        for _ in 0..inner.len().min(usize::from(import.path[0] == "super")) {
                            import.path.remove(0);
                        }
                        if import.path == [import.name.clone()] {
                            // A macro of this file, which gets a path by that.
                            module.items.insert(import.name.clone());
                        } else {
                            module.bound.insert(import.name.clone(), import.path.clone());
                        }
                    }
                    module.imports.extend(imports);
                    i = end;
                    continue;
                }
                _ if ITEMS.contains(&word) && is_word(after(1)) => drop(module.items.insert(after(1).into())),
                _ if is_word(word) && before(1) != "::" => {
                    let mut path = vec![word.to_owned()];
                    while tokens.get(i + 1).is_some_and(|token| token.text == "::")
                        && tokens.get(i + 2).is_some_and(|token| is_word(&token.text))
                    {
                        path.push(tokens[i + 2].text.clone());
                        i += 2;
                    }
                    module.words.insert(path[0].clone());
                    if path.len() > 1 {
                        module.paths.push(path);
                    }
                }
                _ => {}
            }
            i += 1;
        }
        // A name that a `use` inside a function or a module gives may be another thing elsewhere in the file.
        let items = &module.items;
        module.bound.retain(|name, _| !items.contains(name));
        module
    }
}

/// The files of each circle, with the imports that tie it.
fn circles(edges: &BTreeSet<(String, String)>) -> Vec<String> {
    let reach = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(file) = next.pop() {
            let ahead = edges.iter().filter(|(one, _)| *one == file).map(|(_, other)| other.clone());
            next.extend(ahead.filter(|other| seen.insert(other.clone())));
        }
        seen
    };
    let files: BTreeSet<&String> = edges.iter().flat_map(|(from, to)| [from, to]).collect();
    let reached: BTreeMap<&String, BTreeSet<String>> = files.iter().map(|file| (*file, reach(file))).collect();
    let mut circles = BTreeSet::new();
    for (file, ahead) in reached.iter().filter(|(file, ahead)| ahead.contains(**file)) {
        circles.insert(ahead.iter().filter(|other| reached[other].contains(*file)).collect::<Vec<_>>());
    }
    let tied = |circle: Vec<&String>| {
        let tie = |(from, to): &&(String, String)| circle.contains(&from) && circle.contains(&to);
        edges.iter().filter(tie).map(|(from, to)| format!("  {from} -> {to}")).collect::<Vec<_>>().join("\n")
    };
    circles.into_iter().map(tied).collect()
}

/// Reads the tree of a `use` up to its end: where it ends, and each name that it gives.
fn use_tree(tokens: &[Token], mut i: usize, prefix: &[String]) -> (usize, Vec<Import>) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(i) {
        match token.text.as_str() {
            "{" => {
                let mut imports = Vec::new();
                i += 1;
                while tokens[i].text != "}" {
                    let (end, more) = use_tree(tokens, i, &path);
                    imports.extend(more);
                    i = if tokens[end].text == "," { end + 1 } else { end };
                }
                return (i + 1, imports);
            }
            "::" => i += 1,
            "as" => {
                let name = tokens[i + 1].text.clone();
                return (i + 2, vec![Import { path, name, is_public: false }]);
            }
            ";" | "," | "}" => break,
            word => {
                path.push(word.to_owned());
                i += 1;
            }
        }
    }
    let last = path.iter().rfind(|name| *name != "self").cloned().unwrap_or_default();
    (i, vec![Import { name: last, path, is_public: false }])
}

/// Behind the brace that closes the one at `open`.
fn end_of_block(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
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
