//! Reads the imports of a library's source: which file names which, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of a library, and the names in their modules.
pub struct Source {
    /// By their paths from the root, with `/` between folders.
    pub texts: BTreeMap<String, String>,
    pub modules: BTreeMap<Vec<String>, Module>,
}

#[derive(Default)]
pub struct Module {
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
    pub fn read(root: &str) -> Self {
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

    pub fn parse(texts: BTreeMap<String, String>) -> Self {
        let mut modules = BTreeMap::new();
        for (file, text) in texts.iter().filter(|(file, _)| !file.ends_with("tests.rs")) {
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let path: Vec<String> = path.split('/').filter(|name| *name != "lib").map(String::from).collect();
            modules.insert(path, Module::parse(file, &tokens(text)));
        }
        Source { texts, modules }
    }

    /// Which file imports something that another one defines. Tests and the root of the library don't count.
    pub fn edges(&self) -> BTreeSet<(String, String)> {
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
pub fn circles(edges: &BTreeSet<(String, String)>) -> Vec<String> {
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
pub struct Token {
    pub text: String,
    pub line: usize,
}

pub fn tokens(source: &str) -> Vec<Token> {
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
