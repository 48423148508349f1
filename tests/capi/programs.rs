//! Programs in C: compiled as C and as C++, linked with each library.

#![allow(dead_code)] // each test file uses its part

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::common::peer;
use super::library::{folder, root};

pub const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];
pub const C: [&str; 3] = ["-x", "c", "-std=c99"];
pub const C11: [&str; 3] = ["-x", "c", "-std=c11"];
pub const CPP: [&str; 3] = ["-x", "c++", "-std=c++17"];

/// The output of `--print native-static-libs`, less the libraries that a C compiler adds by itself.
pub const NATIVE: [&str; 3] = ["-lpthread", "-ldl", "-lm"];

/// A program that was compiled and linked, in a folder of its own.
pub struct Program {
    folder: TempDir,
}

/// The output of the program, given a folder, in each language and with each library.
pub fn everywhere(source: &str) -> Vec<String> {
    outputs(&built(source))
}

/// The program in each language and with each library.
pub fn built(source: &str) -> Vec<Program> {
    built_as(&C, source)
}

/// What finds mistakes in memory, as in tests/capi/memory.
const SANITIZE: [&str; 3] = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// As [`built`], and last with AddressSanitizer, its leak detection and UndefinedBehaviorSanitizer, where the C compiler has them.
pub fn built_and_sanitized(source: &str) -> Vec<Program> {
    let mut programs = built(source);
    if sanitizes() {
        let object = compiled(&cc(), &[&C[..], &SANITIZE].concat(), &root().join(source));
        let flags = static_library().into_iter().chain(SANITIZE.map(String::from));
        programs.push(linked(&cc(), &object, &flags.collect::<Vec<_>>()));
    }
    programs
}

/// Whether the C compiler makes such programs, and they run here. If not, that is said aloud.
fn sanitizes() -> bool {
    static SANITIZES: OnceLock<bool> = OnceLock::new();
    *SANITIZES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (source, program) = (folder.path().join("nothing.c"), folder.path().join("nothing"));
        std::fs::write(&source, "int main(void) { return 0; }").unwrap();
        let runs = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let made = runs(Command::new(cc()).args(SANITIZE).arg(&source).arg("-o").arg(&program));
        let works = made && runs(&mut Command::new(&program));
        if !works {
            // Not `eprintln!`: `cargo test` hides its output if a test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED: AddressSanitizer does not work with {}", cc());
        }
        works
    })
}

/// The program in a standard of C with the static library, and in C++ with the shared one. Each language and each
/// library runs once, since the other pairs would show nothing new.
pub fn built_as(c: &[&str], source: &str) -> Vec<Program> {
    let source = root().join(source);
    match peer("c++", &["--version"]) {
        Some(cxx) => vec![
            linked(&cc(), &compiled(&cc(), c, &source), &static_library()),
            linked(&cxx, &compiled(&cxx, &CPP, &source), &shared_library()),
        ],
        None => with_each_library(&cc(), c, &source),
    }
}

/// The output of a C++ program, given a folder, with each library.
pub fn everywhere_in_cpp(source: &str) -> Vec<String> {
    let Some(cxx) = peer("c++", &["--version"]) else { return Vec::new() };
    outputs(&with_each_library(&cxx, &CPP, &root().join(source)))
}

fn outputs(programs: &[Program]) -> Vec<String> {
    programs.iter().map(|program| program.run(&[program.folder().to_str().unwrap()])).collect()
}

/// The C compiler.
pub fn cc() -> String {
    std::env::var("CC").unwrap_or("cc".into())
}

/// A program that isn't linked yet.
struct Object {
    folder: TempDir,
}

impl Object {
    fn path(&self) -> PathBuf {
        self.folder.path().join("program.o")
    }
}

impl Program {
    /// The folder of the program. It is removed with the program.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its output. Fails the test if it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_with(&[], arguments)
    }

    /// The same with more variables in its environment.
    pub fn run_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> String {
        let mut command = Command::new(self.path());
        // A library of the same name that is installed must not take the place of ours.
        command.args(arguments).current_dir(self.folder()).env_remove("LD_LIBRARY_PATH");
        succeed(command.env_remove("ATREST_FLEET_URL").envs(environment.iter().copied()))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("program")
    }
}

fn with_each_library(compiler: &str, language: &[&str], source: &Path) -> Vec<Program> {
    let object = compiled(compiler, language, source);
    [shared_library(), static_library()].map(|library| linked(compiler, &object, &library)).into()
}

fn shared_library() -> Vec<String> {
    let folder = folder();
    let rpath = format!("-Wl,-rpath,{}", folder.display());
    vec!["-L".into(), folder.display().to_string(), "-latrest".into(), rpath]
}

fn static_library() -> Vec<String> {
    let mut flags = vec![folder().join("libatrest.a").display().to_string()];
    flags.extend(NATIVE.map(String::from));
    flags
}

fn compiled(compiler: &str, language: &[&str], source: &Path) -> Object {
    let object = Object { folder: tempfile::tempdir().unwrap() };
    let mut command = Command::new(compiler);
    command.args(language).args(WARNINGS).arg("-I").arg(root().join("include")).arg("-c").arg(source);
    succeed(command.arg("-o").arg(object.path()));
    object
}

fn linked(compiler: &str, object: &Object, library: &[String]) -> Program {
    let program = Program { folder: tempfile::tempdir().unwrap() };
    succeed(Command::new(compiler).arg(object.path()).args(library).arg("-o").arg(program.path()));
    program
}

/// The output of a command. Fails the test if it fails.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}
