//! `include/atrest.hpp`: programs in C++17 and C++20 with each compiler, each way to report failures, and sanitizers;
//! the cost of its calls; and that it covers all of C's functions.

#![cfg(target_os = "linux")]

#[path = "../common/peers.rs"]
mod common;
mod library;
mod programs;

use std::fs;
use std::process::Command;

use common::peer;
use library::{folder, root};
use programs::{NATIVE, everywhere_in_cpp, succeed};

const COMPILERS: [&str; 2] = ["g++", "clang++"];
const STANDARDS: [&str; 2] = ["-std=c++17", "-std=c++20"];
const WARNINGS: [&str; 6] = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"];

/// Failures are thrown; returned, where the caller's own code may throw; returned, where nothing can throw.
const WAYS: [&[&str]; 3] = [&[], &["-DATREST_NO_EXCEPTIONS"], &["-fno-exceptions"]];

const SANITIZERS: [&str; 3] = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

#[test]
fn volume() {
    for output in everywhere_in_cpp("examples/volume.cpp") {
        let lines: Vec<&str> = output.lines().collect();
        let [wrote, read, now] = lines[..] else { panic!("{output}") };
        assert!(wrote.starts_with("wrote a volume whose key is wrapped by urn:uuid:") && wrote.ends_with("/disks/1"));
        assert_eq!(read, "read \"secret plans\"");
        assert!(now.ends_with("/keys/disks/2"), "{now}");
    }
}

#[test]
fn all_that_the_header_has() {
    checks_pass("tests/capi/cpp_api.cpp", 0);
}

#[test]
fn objects_behind_callbacks() {
    checks_pass("tests/capi/cpp_callbacks.cpp", 1);
}

#[test]
fn managed_disks() {
    checks_pass("tests/capi/cpp_managed.cpp", 2);
}

/// Compiles a program with each compiler in each way, for each language, and runs the results. The second compiler
/// makes the `sanitized` ones, with sanitizers. The first compiler makes the others.
fn checks_pass(source: &str, sanitized: usize) {
    let Some(gcc) = peer(COMPILERS[0], &["--version"]) else { return };
    let clang = peer(COMPILERS[1], &["--version"]);
    let mut runs = Vec::new();
    for (n, way) in WAYS.iter().enumerate() {
        let (older, newer) = ([&[STANDARDS[0]], *way].concat(), [&[STANDARDS[1]], *way].concat());
        match &clang {
            Some(clang) if n == sanitized => {
                succeed(compile(&gcc, &older, source).arg("-fsyntax-only"));
                let sanitizers: &[&str] = if has_sanitizers(clang) { &SANITIZERS } else { &[] };
                runs.push((clang, [&newer, sanitizers].concat()));
                continue;
            }
            Some(clang) => drop(succeed(compile(clang, &newer, source).arg("-fsyntax-only"))),
            None => {}
        }
        runs.push((&gcc, older));
    }
    // Compiling takes most of the time.
    std::thread::scope(|scope| {
        for half in 0..2 {
            let mine = runs.iter().skip(half).step_by(2);
            scope.spawn(move || mine.for_each(|(compiler, flags)| passes(compiler, flags, source)));
        }
    });
}

fn compile(program: &str, flags: &[&str], source: &str) -> Command {
    let mut command = Command::new(program);
    command.args(flags).args(WARNINGS).arg("-I").arg(root().join("include")).arg(root().join(source));
    command
}

fn passes(compiler: &str, flags: &[&str], source: &str) {
    let work = tempfile::tempdir().unwrap();
    let program = work.path().join("program");
    let mut command = compile(compiler, flags, source);
    succeed(command.arg(folder().join("libatrest.a")).args(NATIVE).arg("-o").arg(&program));
    let output = succeed(Command::new(&program).arg(work.path()));
    let passed = output.strip_suffix(" checks passed\n").unwrap_or_else(|| panic!("{compiler} {flags:?}: {output}"));
    assert!(passed.parse::<u32>().unwrap() > 80, "{output}");
}

/// A compiler may be installed without the libraries of its sanitizers.
fn has_sanitizers(compiler: &str) -> bool {
    let probe = root().join("tests/capi/cpp_sanitizers.cpp");
    let made = tempfile::tempdir().unwrap();
    let path = made.path().join("probe");
    let (path, probe) = (path.to_str().unwrap(), probe.to_str().unwrap());
    peer(compiler, &["-fsanitize=address,undefined", probe, "-o", path]).is_some()
}

#[test]
fn the_ways_to_tell_of_failures_can_be_mixed() {
    for compiler in COMPILERS.iter().filter_map(|name| peer(name, &["--version"])) {
        let work = tempfile::tempdir().unwrap();
        let mut link = Command::new(&compiler);
        for (part, way) in WAYS.iter().enumerate() {
            let object = work.path().join(format!("{part}.o"));
            let mut command = Command::new(&compiler);
            command.arg("-std=c++17").args(WARNINGS).args(*way).arg(format!("-DPART={part}"));
            command.arg("-I").arg(root().join("include")).arg("-c").arg(root().join("tests/capi/cpp_mixed.cpp"));
            succeed(command.arg("-o").arg(&object));
            link.arg(object);
        }
        let program = work.path().join("program");
        succeed(link.arg(folder().join("libatrest.a")).args(NATIVE).arg("-o").arg(&program));
        assert_eq!(succeed(&mut Command::new(&program)), "6 failures told of\n");
    }
}

/// With exceptions, a call through the header compiles to the same instructions as a C call with a check of its status.
/// With results it is one call and a test of the status, and nothing else unless it fails.
#[test]
#[cfg(target_arch = "x86_64")]
fn calls_cost_what_they_cost_in_c() {
    for compiler in COMPILERS.iter().filter_map(|name| peer(name, &["--version"])) {
        for way in WAYS {
            let mut command = Command::new(&compiler);
            command.args(["-std=c++17", "-O2", "-S", "-o", "-"]).args(WARNINGS).args(way);
            command.arg("-I").arg(root().join("include"));
            let listing = succeed(command.arg(root().join("tests/capi/cpp_cost.cpp")));
            for name in ["read", "write", "sync", "encrypt", "decrypt", "unit", "stream", "disk"] {
                let c = instructions(&listing, &format!("c_{name}"));
                let cpp = instructions(&listing, &format!("cpp_{name}"));
                let told = format!("{compiler} {way:?}, {name}:\n{c:#?}\n{cpp:#?}");
                assert_eq!(calls(&c)[..1], calls(&cpp)[..1], "{told}");
                if way.is_empty() {
                    let without_names = |code: &[String]| code.iter().map(|line| unnamed(line)).collect::<Vec<_>>();
                    assert_eq!(without_names(&c), without_names(&cpp), "{told}");
                    assert_eq!(calls(&cpp).len(), 2, "{told}");
                } else {
                    let jump = cpp.iter().position(|line| line.starts_with('j')).expect(&told);
                    assert_eq!(calls(&cpp[..jump]).len(), 1, "{told}");
                    let on_failure = &calls(&cpp)[1..];
                    let known = |name: &&str| name.contains("failed") || name.contains("runtime_errorD");
                    assert!(on_failure.iter().all(known) && cpp.len() < 32, "{told}");
                }
            }
        }
    }
}

/// The instructions of a function, including those that the compiler moved away as unlikely.
#[cfg(target_arch = "x86_64")]
fn instructions(listing: &str, function: &str) -> Vec<String> {
    let mut code = Vec::new();
    for part in [format!("{function}:"), format!("{function}.cold:")] {
        let lines = listing.lines().skip_while(|line| line.split_whitespace().next() != Some(&part)).skip(1);
        let body = lines.take_while(|line| !line.contains(".cfi_endproc"));
        let words = body.map(|line| line.split('#').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" "));
        code.extend(words.filter(|line| !line.is_empty() && !line.starts_with('.') && !line.ends_with(':')));
    }
    assert!(code.len() > 3, "{function} in\n{listing}");
    code
}

#[cfg(target_arch = "x86_64")]
fn calls(code: &[String]) -> Vec<&str> {
    // A jump to a name is a call at the end of a function.
    let called = code.iter().filter(|line| ["call", "jmp _", "jmp atrest"].iter().any(|start| line.starts_with(start)));
    called.map(|line| line.split_whitespace().nth(1).unwrap()).collect()
}

/// An instruction without its jump label, and the name of its callee except for functions of C.
#[cfg(target_arch = "x86_64")]
fn unnamed(line: &str) -> String {
    let (operation, operands) = line.split_once(' ').unwrap_or((line, ""));
    let named = operation.starts_with('j') || operation.starts_with("call") && !operands.starts_with("atrest_");
    if named { operation.to_owned() } else { line.to_owned() }
}

/// Functions of C that the header has no use for, and why.
const NOT_CALLED: [(&str, &str); 0] = [];

#[test]
fn the_header_has_all_that_c_has() {
    let header = fs::read_to_string(root().join("include/atrest.hpp")).unwrap();
    let code: String = header.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
    let words: Vec<&str> = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let symbols = fs::read_to_string(root().join("include/symbols.txt")).unwrap();
    for symbol in symbols.lines() {
        let excused = NOT_CALLED.iter().any(|(name, _)| *name == symbol);
        assert_ne!(words.contains(&symbol), excused, "{symbol} is neither in include/atrest.hpp nor excused, or both");
    }
    for (name, _) in NOT_CALLED {
        assert!(symbols.lines().any(|symbol| symbol == name), "{name} is no function of C");
    }
    // So that a new number or member of a struct isn't forgotten either.
    let c = fs::read_to_string(root().join("include/atrest.h")).unwrap();
    for kind in [
        "AES",
        "SERPENT",
        "TWOFISH",
        "CAMELLIA",
        "ADIANTUM",
        "UNIT",
        "KEY",
        "WRAP",
        "OPERATION",
        "KDF",
        "HASH",
        "PRIORITY",
        "OPEN",
        "FORMAT",
        "CHANGE",
        "RESOURCE",
        "CREDENTIAL",
        "PROTECTOR",
        "NUMBERING",
    ] {
        let prefix = format!("#define ATREST_{kind}_");
        for name in c.lines().filter(|line| line.starts_with(&prefix)).map(|line| line.split(' ').nth(1).unwrap()) {
            let of_c_alone = ["_INIT", "_URL_SIZE", "_MAX"].iter().any(|end| name.ends_with(end));
            assert!(of_c_alone || words.contains(&name), "{name} is not in include/atrest.hpp");
        }
    }
}
