//! Reads `include/atrest.h` and writes, for each function of the C interface, a call with arguments that the fuzzer
//! chooses. So a function that is added is fuzzed without anybody remembering to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

/// A parameter of a function, or a field of a struct.
#[derive(Clone, Debug)]
struct Item {
    /// As in C, without `const` in front: `char *`, `size_t`.
    kind: String,
    is_const: bool,
    name: String,
    /// Of a pointer to a function: what it returns, and its parameters.
    function: Option<(String, Vec<Item>)>,
    /// Of an array.
    len: Option<usize>,
}

#[derive(Default)]
struct Header {
    numbers: BTreeMap<String, usize>,
    handles: BTreeSet<String>,
    structs: BTreeMap<String, Vec<Item>>,
    typedefs: BTreeMap<String, (String, Vec<Item>)>,
    functions: Vec<(String, String, Vec<Item>)>,
}

fn main() {
    let path = "../include/atrest.h";
    println!("cargo:rerun-if-changed={path}");
    println!("cargo:rerun-if-changed=build.rs");
    let header = parse(&without_comments(&std::fs::read_to_string(path).expect("the header can be read")));
    assert!(header.functions.len() > 100, "{} functions were found in the header", header.functions.len());
    let out = std::env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join("calls.rs"), Writer::new(&header).write()).expect("the calls can be written");
}

fn without_comments(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("/*") {
        clean.push_str(&rest[..at]);
        rest = rest[at..].split_once("*/").expect("a comment ends").1;
    }
    clean.push_str(rest);
    clean.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn parse(text: &str) -> Header {
    let mut header = Header::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["#define", name, value] = words[..]
            && let Ok(value) = value.parse()
        {
            header.numbers.insert(name.into(), value);
        }
    }
    let code: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for part in statements(&code.join(" ")) {
        let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
        let part = part.trim_start_matches("extern \"C\" {").trim_start_matches('}').trim();
        if let Some(rest) = part.strip_prefix("typedef struct {") {
            let (fields, name) = rest.rsplit_once('}').expect("a struct ends");
            let fields = fields.split(';').map(str::trim).filter(|field| !field.is_empty());
            let fields = fields.map(|field| item(field, &header)).collect();
            header.structs.insert(name.trim().into(), fields);
        } else if let Some(rest) = part.strip_prefix("typedef struct ") {
            header.handles.insert(rest.split(' ').next().expect("a name").into());
        } else if let Some(rest) = part.strip_prefix("typedef ") {
            if rest.contains("(*") {
                let made = item(rest, &header);
                header.typedefs.insert(made.name, made.function.expect("a function"));
            }
        } else if let Some((front, rest)) = part.split_once('(') {
            let (result, name) = front.rsplit_once([' ', '*']).expect("a result and a name");
            let params = rest.trim_end_matches(')');
            header.functions.push((result.trim().into(), name.into(), items(params, &header)));
        }
    }
    header
}

/// What ends with a semicolon outside of braces.
fn statements(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth) = (Vec::new(), String::new(), 0);
    // The braces of `extern "C"`, which are conditional, are no depth.
    for c in text.replace("extern \"C\" {", "").chars() {
        depth += i32::from(c == '{');
        depth = (depth - i32::from(c == '}')).max(0);
        if c == ';' && depth == 0 {
            parts.push(core::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts
}

fn items(params: &str, header: &Header) -> Vec<Item> {
    let (mut parts, mut part, mut depth) = (Vec::new(), String::new(), 0);
    for c in params.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if c == ',' && depth == 0 {
            parts.push(core::mem::take(&mut part));
        } else {
            part.push(c);
        }
    }
    parts.push(part);
    parts.iter().map(|part| part.trim()).filter(|part| !matches!(*part, "" | "void")).map(|p| item(p, header)).collect()
}

fn item(text: &str, header: &Header) -> Item {
    if let Some((result, rest)) = text.split_once("(*") {
        let (name, params) = rest.split_once(")(").expect("parameters");
        let params = items(params.trim_end_matches(')'), header);
        let function = Some((result.trim().into(), params));
        return Item { kind: "function".into(), is_const: false, name: name.into(), function, len: None };
    }
    let (text, len) = match text.split_once('[') {
        Some((text, len)) => (text, Some(header.numbers[len.trim_end_matches(']')])),
        None => (text, None),
    };
    let at = text.rfind([' ', '*']).expect("a type and a name") + 1;
    let kind = text[..at].trim();
    let is_const = kind.starts_with("const ");
    let kind = kind.trim_start_matches("const ").replace(' ', "");
    Item { kind, is_const, name: text[at..].into(), function: None, len }
}

/// The type in Rust. All pointers to data are the same.
fn rust(kind: &str) -> &'static str {
    match kind {
        "size_t" => "usize",
        "uint64_t" => "u64",
        "uint32_t" | "atrest_status" => "u32",
        "uint8_t" => "u8",
        "char" => "c_char",
        "void" => "()",
        kind if kind.ends_with('*') || kind.starts_with("const char") => "*mut c_void",
        kind => panic!("the type {kind} is not known"),
    }
}

struct Writer<'a> {
    header: &'a Header,
    /// By name and type, in the order in which they were needed.
    callbacks: Vec<(String, String)>,
}

impl<'a> Writer<'a> {
    fn new(header: &'a Header) -> Self {
        Writer { header, callbacks: Vec::new() }
    }

    fn function_of(&self, item: &Item) -> Option<(String, Vec<Item>)> {
        item.function.clone().or_else(|| self.header.typedefs.get(&item.kind).cloned())
    }

    fn type_of(&self, item: &Item) -> String {
        if let Some((result, params)) = self.function_of(item) {
            let params: Vec<String> = params.iter().map(|param| self.type_of(param)).collect();
            return format!("Option<unsafe extern \"C\" fn({}) -> {}>", params.join(", "), rust(&result));
        }
        match item.len {
            Some(len) => format!("[{}; {len}]", rust(&item.kind)),
            None => rust(&item.kind).into(),
        }
    }

    fn write(mut self) -> String {
        let mut text = String::from(
            "#[allow(non_camel_case_types, dead_code)]\npub mod sys {\nuse core::ffi::{c_char, c_void};\n",
        );
        for (name, fields) in &self.header.structs {
            writeln!(text, "#[repr(C)]\npub struct {name} {{").unwrap();
            for field in fields {
                writeln!(text, "pub {}: {},", field.name, self.type_of(field)).unwrap();
            }
            text.push_str("}\n");
        }
        text.push_str("unsafe extern \"C\" {\n");
        for (result, name, params) in &self.header.functions {
            let params: Vec<String> = params.iter().map(|p| format!("{}: {}", p.name, self.type_of(p))).collect();
            writeln!(text, "pub fn {name}({}) -> {};", params.join(", "), rust(result)).unwrap();
        }
        text.push_str("}\n}\n");

        let mut names = Vec::new();
        for (result, name, params) in &self.header.functions {
            // Those that return a text are called after each of the others.
            if result != "atrest_status" && result != "void" {
                continue;
            }
            names.push(name.as_str());
            writeln!(text, "fn call_{name}(c: &mut Caller<'_>) {{").unwrap();
            if params.iter().any(|param| param.name == "len" && param.kind == "size_t") {
                text.push_str("let len = c.len();\n");
            }
            for n in 0..params.len() {
                let value = self.value(params, n, name.ends_with("_free"));
                writeln!(text, "{value}").unwrap();
            }
            let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
            // SAFETY of what is written: the caller made each argument as the header demands it.
            writeln!(text, "let status = unsafe {{ sys::{name}({}) }};", names.join(", ")).unwrap();
            let status = if result == "void" { "{ let () = status; 0 }" } else { "status" };
            writeln!(text, "c.done(\"{name}\", {status});\n}}").unwrap();
        }
        writeln!(text, "pub const CALLS: &[(&str, fn(&mut Caller<'_>))] = &[").unwrap();
        for name in names {
            writeln!(text, "(\"{name}\", call_{name}),").unwrap();
        }
        text.push_str("];\n");
        self.callbacks.iter().for_each(|(_, callback)| text.push_str(callback));
        text
    }

    /// A statement that makes an argument. What has a length makes that too.
    fn value(&mut self, items: &[Item], n: usize, frees: bool) -> String {
        let item = &items[n];
        let name = item.name.as_str();
        let has = |wanted: &str| items.iter().any(|item| item.name == wanted && item.kind == "size_t");
        let (len, cap) = (format!("{name}_len"), format!("{name}_cap"));
        let count = format!("{name}_count");
        // Made together with the buffer before it.
        let buffers = items[..n]
            .iter()
            .any(|item| ["len", "cap", "count"].iter().any(|what| format!("{}_{what}", item.name) == name));
        let is_size = item.kind == "size_t";
        if is_size && (buffers || name == "len" || name == "count" || name == "struct_size") {
            return String::new();
        }
        if self.function_of(item).is_some() {
            let callback = self.callback(item);
            return format!("let {name} = c.callback().then_some({callback} as _);");
        }
        let Some(target) = item.kind.strip_suffix('*') else {
            return match item.len {
                Some(count) => format!("let {name} = [0; {count}];"),
                None => format!("let {name} = c.number(\"{name}\") as {};", rust(&item.kind)),
            };
        };
        match target {
            "char*const" | "char*const*" | "constchar*const" => {
                // As many as there are of what they belong to.
                let count = if has("count") { "\nlet count = count.min(NAME_count);" } else { "" };
                format!("let ({name}, {name}_count) = c.texts(\"{name}\");{}", count.replace("NAME", name))
            }
            _ if target.strip_suffix("*const").is_some_and(|of| self.header.handles.contains(of)) => {
                format!("let ({name}, count) = c.handles(\"{}\");", target.trim_end_matches("*const"))
            }
            // Pointers to structs: one of them, or none.
            _ if target.strip_suffix("*const").is_some_and(|of| self.header.structs.contains_key(of)) => {
                let structure = self.structure(target.trim_end_matches("*const"), "one");
                format!("{structure}\nlet {name} = c.structure([one]);\nlet count = usize::from(!c.null(\"count\"));")
            }
            _ if target.ends_with('*') => {
                format!("let {name} = c.out_handle(\"{}\");", target.trim_end_matches('*'))
            }
            _ if self.header.handles.contains(target) => {
                let how = if frees { "take" } else { "handle" };
                format!("let {name} = c.{how}(\"{target}\");")
            }
            "atrest_segment" => {
                let count = if has("count") { "count".into() } else { format!("{name}_count") };
                format!("let ({name}, {count}) = c.segments();")
            }
            // An array of structs: one, or none.
            _ if self.header.structs.contains_key(target) && has(&count) => {
                format!("{}\nlet {count} = usize::from(!c.null(\"count\"));", self.structure(target, name))
            }
            _ if self.header.structs.contains_key(target) => self.structure(target, name),
            "char" | "void" | "uint8_t" if has(&cap) => format!("let ({name}, {cap}) = c.output(\"{name}\");"),
            "char" | "void" | "uint8_t" if has(&len) => format!("let ({name}, {len}) = c.input();"),
            "char" => format!("let {name} = c.text(\"{name}\");"),
            "void" if name == "user" => format!("let {name} = core::ptr::null_mut::<c_void>();"),
            "void" | "uint8_t" if has("len") && item.is_const => format!("let {name} = c.input_of(len);"),
            "void" | "uint8_t" if has("len") => format!("let {name} = c.output_of(len);"),
            "void" | "uint8_t" if item.is_const => format!("let {name} = c.input_of(64);"),
            // A number, or 32 bytes.
            _ => format!("let {name} = c.output_of(64);"),
        }
    }

    fn structure(&mut self, kind: &str, name: &str) -> String {
        let fields = self.header.structs[kind].clone();
        let mut text = format!("let {name} = if c.null(\"{name}\") {{ core::ptr::null_mut() }} else {{\n");
        for n in 0..fields.len() {
            writeln!(text, "{}", self.value(&fields, n, false)).unwrap();
        }
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        if fields.iter().any(|field| field.name == "struct_size") {
            writeln!(text, "let struct_size = c.struct_size(size_of::<sys::{kind}>(), \"{kind}\");").unwrap();
        }
        writeln!(text, "c.structure(sys::{kind} {{ {} }}) }};", names.join(", ")).unwrap();
        text
    }

    fn callback(&mut self, item: &Item) -> String {
        let (result, params) = self.function_of(item).expect("a function");
        let params: Vec<String> =
            params.iter().enumerate().map(|(n, p)| format!("a{n}: {}", self.type_of(p))).collect();
        let key = format!("{} {}", item.name, self.type_of(item));
        let known = self.callbacks.iter().position(|(known, _)| *known == key);
        let name = format!("callback_{}", known.unwrap_or(self.callbacks.len()));
        if known.is_some() {
            return name;
        }
        let arg = |(n, param): (usize, &String)| match param.contains(": Option<") {
            true => format!("a{n}.map_or(0, |f| f as usize)"),
            false => format!("a{n} as usize"),
        };
        let args: Vec<String> = params.iter().enumerate().map(arg).collect();
        let cast = if result == "void" { ";".into() } else { format!(" as {}", rust(&result)) };
        let text = format!(
            "unsafe extern \"C\" fn {name}({}) -> {} {{ called(\"{}\", &[{}]){cast} }}\n",
            params.join(", "),
            rust(&result),
            item.name,
            args.join(", ")
        );
        self.callbacks.push((key, text));
        name
    }
}
