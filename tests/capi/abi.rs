//! The numbers that a compiler puts into C programs. `tests/capi/abi_values.h` lists them, and they never change.
//!
//! `ATREST_BLESS=1` adds new numbers to the list. It refuses changes that would break a program. For numbers that no
//! release has had, first remove their lines from the list by hand.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

#[path = "../common/peers.rs"]
mod common;
mod library;
mod programs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::process::Command;

use library::root;
use programs::{C11, built_as, cc, succeed};

const LIST: &str = "tests/capi/abi_values.h";
const BEGIN: &str = "\
// What programs in C were compiled with: versions, constants, sizes and offsets in bytes, on 64 bits. Only VERSION may
// change. EARLIER are the sizes that a struct had in programs which the library still takes it from.
//
// Made by ATREST_BLESS=1 cargo test --package atrest-c --test abi, which adds lines and changes none.
";

/// A number, keyed by the text before it in its line: `MEMBER(atrest_segment, len` is 8.
type Numbers = BTreeMap<String, u64>;

#[test]
fn the_numbers_in_programs_stay() {
    let (lines, now) = numbers();
    let listed = fs::read_to_string(root().join(LIST)).unwrap_or_default();
    let earlier: BTreeSet<String> =
        listed.lines().filter(|line| line.starts_with("EARLIER(")).map(str::to_owned).collect();
    let old: Numbers = listed.lines().filter_map(number).filter(|(key, _)| !key.starts_with("EARLIER(")).collect();
    let broken = broken(&old, &now);
    assert!(broken.is_empty(), "programs that are compiled already would break:\n{}", broken.join("\n"));

    let mut earlier = earlier;
    for taken in source_structs().keys() {
        let size = format!("SIZE({taken}");
        if let Some(old) = old.get(&size).filter(|old| **old != now[&size]) {
            earlier.insert(format!("EARLIER({taken}, {old})"));
        }
    }
    let mut made = BEGIN.to_owned();
    for line in lines {
        writeln!(made, "{line}").unwrap();
        let struct_name = line.strip_prefix("SIZE(").map(|rest| rest.split(',').next().unwrap());
        for line in
            earlier.iter().filter(|line| struct_name.is_some_and(|n| line.starts_with(&format!("EARLIER({n},"))))
        {
            writeln!(made, "{line}").unwrap();
        }
    }
    if std::env::var_os("ATREST_BLESS").is_some_and(|v| v == "1") {
        fs::write(root().join(LIST), &made).unwrap();
    } else if let Some((made, listed)) = made.lines().zip(listed.lines()).find(|(a, b)| a != b) {
        panic!("made {made}, listed {listed}; run with ATREST_BLESS=1");
    } else {
        assert_eq!(made.len(), listed.len(), "one of the two goes on; run with ATREST_BLESS=1");
    }
}

/// The library accepts the structs of earlier programs.
#[test]
fn earlier_sizes_are_taken() {
    let (_, now) = numbers();
    let listed = fs::read_to_string(root().join(LIST)).unwrap();
    let structs = source_structs();
    assert!(structs.len() > 9, "{structs:?}");
    for (name, members) in structs {
        let prefix = format!("EARLIER({name}, ");
        let listed: BTreeSet<u64> = listed
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(|size| size.trim_end_matches(')').parse().unwrap())
            .collect();
        let taken: BTreeSet<u64> = members.iter().map(|member| now[&format!("MEMBER({name}, {member}")]).collect();
        assert_eq!(listed, taken, "sizes of {name}: left are those of programs, right SizedStruct::EARLIER");
    }
}

#[test]
fn the_header_and_the_library_have_the_numbers() {
    for program in built_as(&C11, "tests/capi/abi.c") {
        let output = program.run(&[]);
        let statuses = output.strip_suffix(" statuses\n").unwrap();
        assert!(statuses.parse::<u32>().unwrap() > 60, "{output}");
    }
}

#[test]
fn what_breaks_programs_is_found() {
    let list = |text: &str| text.lines().filter_map(number).collect::<Numbers>();
    let old = "VERSION(V, 1)\nSTATUS(S, 7)\nSIZE(a, 16)\nMEMBER(a, struct_size, 0)\nMEMBER(a, x, 8)\nSIZE(b, 8)\nMEMBER(b, y, 0)";
    let broken = |from: &str, to: &str| {
        assert!(old.contains(from));
        broken(&list(old), &list(&old.replacen(from, to, 1))).join("; ")
    };
    assert_eq!(broken("V, 1", "V, 2"), "");
    assert_eq!(broken("SIZE(b", "SIZE(c, 9)\nSTATUS(T, 8)\nSIZE(b"), "");
    assert_eq!(broken("SIZE(a, 16)", "SIZE(a, 24)\nMEMBER(a, z, 16)"), "");
    assert_eq!(broken("S, 7", "S, 8"), "STATUS(S, 7) is 8");
    assert_eq!(broken("STATUS(S, 7)", ""), "STATUS(S, 7) is gone");
    assert_eq!(broken("a, x, 8", "a, x, 12"), "MEMBER(a, x, 8) is 12");
    assert_eq!(broken("SIZE(a, 16)", "SIZE(a, 8)"), "SIZE(a, 16) is 8");
    assert_eq!(broken("SIZE(b, 8)", "SIZE(b, 16)\nMEMBER(b, z, 8)"), "SIZE(b, 8) is 16");
    assert_eq!(broken("SIZE(a", "MEMBER(a, z, 12)\nSIZE(a"), "MEMBER(a, z, 12) is where programs have padding");
}

/// The changes from the old numbers that could break a program.
fn broken(old: &Numbers, now: &Numbers) -> Vec<String> {
    let mut broken = Vec::new();
    for (key, &value) in old {
        // A struct that says how long it is may get longer.
        let may_grow = key.strip_prefix("SIZE(").is_some_and(|name| now.contains_key(&member(name, "struct_size")));
        match now.get(key) {
            None => broken.push(format!("{key}, {value}) is gone")),
            Some(&now) if now == value || key.starts_with("VERSION(") || may_grow && now > value => {}
            Some(now) => broken.push(format!("{key}, {value}) is {now}")),
        }
    }
    for (key, offset) in now.iter().filter(|(key, _)| !old.contains_key(*key)) {
        let name = key.strip_prefix("MEMBER(").map(|rest| rest.split(',').next().unwrap());
        // Its size must show whether a program set it.
        if name.and_then(|name| old.get(&format!("SIZE({name}"))).is_some_and(|size| offset < size) {
            broken.push(format!("{key}, {offset}) is where programs have padding"));
        }
    }
    broken
}

fn member(name: &str, member: &str) -> String {
    format!("MEMBER({name}, {member}")
}

/// The numbers of today's header, as lines in its order, and by name.
fn numbers() -> (Vec<String>, Numbers) {
    let header = fs::read_to_string(root().join("include/atrest.h")).unwrap();
    let mut program = String::from("#include <atrest.h>\n#include <stdio.h>\nint main(void)\n{\n");
    let mut members: Vec<&str> = Vec::new();
    for line in header.lines().filter(|line| !line.trim_start().starts_with("//")) {
        if let Some((name, value)) = line.strip_prefix("#define ").and_then(|rest| rest.split_once(' ')) {
            let kind = match name {
                _ if value.starts_with('{') => continue, // an initialiser
                _ if name.starts_with("ATREST_VERSION_") => "VERSION",
                "ATREST_OK" => "STATUS",
                _ if name.starts_with("ATREST_ERR_") => "STATUS",
                _ => "VALUE",
            };
            writeln!(program, "printf(\"{kind}({name}, %llu)\\n\", (unsigned long long)({name}));").unwrap();
        } else if line == "typedef struct {" {
            members.clear();
        } else if let Some(declaration) = line.strip_prefix("    ") {
            members.extend(declared(declaration));
        } else if let Some(name) = line.strip_prefix("} ").and_then(|rest| rest.strip_suffix(';')) {
            writeln!(program, "printf(\"SIZE({name}, %zu)\\n\", sizeof({name}));").unwrap();
            for member in members.drain(..) {
                let offset = format!("offsetof({name}, {member})");
                writeln!(program, "printf(\"MEMBER({name}, {member}, %zu)\\n\", {offset});").unwrap();
            }
        }
    }
    program += "return 0;\n}\n";

    let folder = tempfile::tempdir().unwrap();
    let (source, binary) = (folder.path().join("numbers.c"), folder.path().join("numbers"));
    fs::write(&source, program).unwrap();
    succeed(Command::new(cc()).arg("-I").arg(root().join("include")).arg(source).arg("-o").arg(&binary));
    let lines: Vec<String> = succeed(&mut Command::new(binary)).lines().map(str::to_owned).collect();
    let numbers: Numbers = lines.iter().filter_map(|line| number(line)).collect();
    assert_eq!(numbers.len(), lines.len(), "a name is used twice, or a line wasn't understood");
    assert!(numbers.len() > 250, "{} numbers", numbers.len());
    (lines, numbers)
}

/// The member that a line of a struct declares: `const char *id;`, `void (*release)(void *user);`. A continuation line
/// with the arguments of a callback declares none.
fn declared(line: &str) -> Option<&str> {
    let pointer = line.split_once("(*").map(|(_, rest)| rest.split(')').next().unwrap());
    let plain = || {
        line.strip_suffix(';').filter(|line| !line.contains([')', ','])).and_then(|line| line.rsplit([' ', '*']).next())
    };
    let name = if line.starts_with(' ') { None } else { pointer.or_else(plain) };
    name.map(|name| name.split('[').next().unwrap())
}

fn number(line: &str) -> Option<(String, u64)> {
    let (key, value) = line.strip_suffix(')')?.rsplit_once(", ")?;
    Some((key.to_owned(), value.parse().ok()?))
}

/// The structs that the library takes from C, each with the members before which earlier ones ended.
fn source_structs() -> BTreeMap<String, Vec<String>> {
    let mut structs = BTreeMap::new();
    for file in fs::read_dir(root().join("crates/atrest-c/src")).unwrap() {
        let source = fs::read_to_string(file.unwrap().path()).unwrap();
        for rest in source.split("impl SizedStruct for ").skip(1) {
            let (name, body) = rest.split_once(" {").unwrap();
            let body = body.split('}').next().unwrap();
            let until = body.split("offset_of!(").skip(1).map(|offset| offset.split([',', ')']).nth(1).unwrap().trim());
            structs.insert(name.to_owned(), until.map(str::to_owned).collect());
        }
    }
    structs
}
