//! Seeds: inputs that the library itself, and cryptsetup where it is installed, made. They are made anew at each start, so
//! that none are in the repository.

use std::path::Path;
use std::process::Command;

/// Writes seeds to the first folder that the fuzzer was told to read inputs from. Called before it reads them.
pub fn write(seeds: impl IntoIterator<Item = Vec<u8>>) {
    let folder = std::env::args_os().skip(1).find(|arg| Path::new(arg).is_dir());
    let Some(folder) = folder else { return };
    for (n, seed) in seeds.into_iter().enumerate() {
        std::fs::write(Path::new(&folder).join(format!("seed-{n:02}")), seed).expect("a seed can be written");
    }
}

/// The example of this name in `docs/formats.md` or of the vault: a text in a fence, behind its mark.
pub fn example(name: &str) -> String {
    let text = concat!(include_str!("../../docs/formats.md"), include_str!("../../docs/formats/vault.md"));
    let mark = format!("<!-- example: {name} -->\n```text\n");
    let text = text.split_once(&mark).expect("the example is there").1;
    text.split_once("```").expect("its fence is closed").0.to_owned()
}

/// Has cryptsetup make something of a file that begins with `bytes`, and returns what the file then holds, if it is
/// installed and can do it.
pub fn cryptsetup(bytes: &[u8], commands: &[&[&str]]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().ok()?;
    let path = folder.path().join("image");
    std::fs::write(&path, bytes).ok()?;
    for command in commands {
        let done = Command::new("cryptsetup").args(*command).arg(&path).output().ok()?;
        if !done.status.success() {
            eprintln!("cryptsetup {command:?}: {}", String::from_utf8_lossy(&done.stderr));
            return None;
        }
    }
    std::fs::read(&path).ok()
}
