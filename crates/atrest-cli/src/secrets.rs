//! Where secrets come from: a file, a descriptor, a command, the terminal. Never an argument.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atrest::Secret;

use crate::failure::{About, Code, Failure, Result};
use crate::terminal;

/// The most bytes of a secret, 8 MiB, as for keyslots.
const MAX: usize = 8 << 20;

/// The source of a secret, as `--...passphrase-from` names it.
#[derive(Debug, Clone)]
pub enum Source {
    File(PathBuf),
    Descriptor(u32),
    Command(String),
    Prompt,
    /// Something else. It isn't kept: somebody may have typed the secret itself.
    Unknown,
}

/// Never fails: an error of clap's would show the text.
pub fn parse(text: &str) -> Result<Source, std::convert::Infallible> {
    Ok(match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Source::File(path.into()),
        Some(("fd", number)) => number.parse().map_or(Source::Unknown, Source::Descriptor),
        Some(("command", command)) if !command.is_empty() => Source::Command(command.into()),
        None if text == "prompt" => Source::Prompt,
        _ => Source::Unknown,
    })
}

impl Source {
    /// Reads the secret. One newline at its end is left out. `twice`: for a new secret, which the terminal asks for twice.
    pub fn read(&self, what: &str, twice: bool) -> Result<Secret> {
        match self {
            Source::File(path) => read_file(path).map(without_newline),
            Source::Descriptor(0) => read_line(io::stdin().lock()).about("standard input"),
            Source::Descriptor(number) => {
                let path = format!("/dev/fd/{number}");
                let missing = |_| Failure::new(Code::NotFound, format!("the descriptor {number} is not open"));
                read_line(File::open(&path).map_err(missing)?).about(path)
            }
            Source::Command(command) => by_command(command),
            Source::Prompt => prompt(what, twice),
            Source::Unknown => Err(Failure::usage(
                "a secret is never given as an argument: name its source by file:PATH, fd:NUMBER, command:COMMAND or prompt",
            )),
        }
    }
}

/// Reads a secret from the terminal, if there is one.
pub fn prompt(what: &str, twice: bool) -> Result<Secret> {
    if !terminal::is_there() {
        return Err(Failure::usage(format!(
            "there is no terminal to ask for the {what}; name a file, a descriptor or a command that has it by \
             --passphrase-from, or its kin of the vault (--vault-key-file, --vault-passphrase-from): `atrest help COMMAND` has them"
        )));
    }
    let first = terminal::ask_secret(&format!("{}: ", capital(what)))?;
    if !twice {
        return Ok(first);
    }
    if first.is_empty() {
        return Err(Failure::usage(format!("an empty {what} protects nothing")));
    }
    let second = terminal::ask_secret(&format!("{} again: ", capital(what)))?;
    // `Secret` compares in constant time.
    if first == second { Ok(first) } else { Err(Failure::usage(format!("the two are not the same {what}"))) }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn by_command(command: &str) -> Result<Secret> {
    let mut child = Command::new("/bin/sh").args(["-c", command]).stdout(Stdio::piped()).spawn().about("/bin/sh")?;
    let stdout = child.stdout.take();
    let secret = stdout.map_or_else(|| Ok(Secret::zeroed(0)), read_line);
    let status = child.wait()?;
    if !status.success() {
        return Err(Failure::new(Code::Io, format!("the command for the secret failed: {status}")));
    }
    secret
}

/// Reads all of it into memory that is locked and wiped, and leaves one newline at its end out.
fn read_line(mut from: impl Read) -> Result<Secret> {
    read_all(&mut from).map(without_newline)
}

fn without_newline(secret: Secret) -> Secret {
    let line = secret.expose().strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    line.map(Secret::copy_from).unwrap_or(secret)
}

fn read_all(from: &mut impl Read) -> Result<Secret> {
    let mut room = Secret::zeroed(4096);
    let mut len = 0;
    loop {
        if len == room.len() {
            if len >= MAX {
                return Err(Failure::usage("a secret has at most 8 MiB"));
            }
            let mut larger = Secret::zeroed(room.len() * 4);
            larger.expose_mut()[..len].copy_from_slice(room.expose());
            room = larger;
        }
        match from.read(&mut room.expose_mut()[len..]) {
            Ok(0) => return Ok(Secret::copy_from(&room.expose()[..len])),
            Ok(read) => len += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reads a file with a secret, every byte of it. It is a plain file: a named pipe would make the program wait, and a device may
/// have no end. What the caller has opened for this program may be anything, such as the pipe of a shell's `<(...)`.
pub fn read_file(path: &Path) -> Result<Secret> {
    if is_descriptor(path) {
        return File::open(path).map_err(Failure::from).and_then(|mut file| read_all(&mut file)).about(path.display());
    }
    Secret::read_file(path, MAX).about(path.display())
}

/// Whether a path names a descriptor that is open: `/dev/stdin`, `/dev/fd/63`, `/proc/self/fd/63`.
fn is_descriptor(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    match &parts.iter().map(|part| &**part).collect::<Vec<_>>()[..] {
        ["/", "dev", "stdin"] | ["/", "dev", "fd", _] => true,
        ["/", "proc", "self" | "thread-self", "fd", _] => true,
        ["/", "proc", process, "fd", _] => process.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}
