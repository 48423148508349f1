//! The file that names the vaults: one vault a line, its URL first.
//!
//! ```text
//! # URL [key=NAME] [deadline=SECONDS]
//! file:/etc/atrest/disks.vault?key-file=/etc/atrest/disks.key key=disks
//! vault+https://vault.example.com/transit?auth=cert&role=hosts
//! ```

use std::path::PathBuf;
use std::time::Duration;

use atrest::Secret;

/// The file's path, if the environment names none.
pub const FILE: &str = "/etc/atrest/token.conf";
/// The variable of the environment that names another file.
pub const VARIABLE: &str = "ATREST_TOKEN_CONFIG";

/// The most bytes of the file.
const MAX_FILE: usize = 64 << 10;
/// The time that a vault has, unless its line says otherwise. A machine that starts up waits for it.
const DEADLINE: Duration = Duration::from_secs(20);

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub url: String,
    /// The name of the key that must wrap the DEK.
    pub key: Option<String>,
    pub deadline: Duration,
}

/// Reads the file.
pub fn read() -> Result<Vec<Entry>, String> {
    let path = std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(FILE), PathBuf::from);
    let failed = |e: std::io::Error| format!("{}: {e}; it names the vaults, one URL a line", path.display());
    let text = Secret::read_file(&path, MAX_FILE).map_err(failed)?;
    let text = str::from_utf8(text.expose()).map_err(|_| format!("{}: it isn't text in UTF-8", path.display()))?;
    parse(text).map_err(|what| format!("{}: {what}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'));
    let entries: Vec<Entry> = lines
        .map(|(number, line)| entry(line).map_err(|what| format!("line {number}: {what}")))
        .collect::<Result<_, _>>()?;
    if entries.is_empty() {
        return Err("it names no vault".into());
    }
    Ok(entries)
}

fn entry(line: &str) -> Result<Entry, String> {
    let mut words = line.split_whitespace();
    let mut entry = Entry { url: words.next().unwrap_or_default().into(), key: None, deadline: DEADLINE };
    for word in words {
        match word.split_once('=') {
            Some(("key", name)) if !name.is_empty() => entry.key = Some(name.into()),
            Some(("deadline", seconds)) => {
                let seconds = seconds.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
                entry.deadline = Duration::from_secs(seconds.ok_or("a deadline is 1 to 3600 seconds")?);
            }
            // Not the word: it may be a part of a secret.
            _ => return Err("behind the URL stand key=NAME and deadline=SECONDS only".into()),
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_url_with_its_options() {
        let text = "# comment\n\n file:/a/b?key-file=/c  key=disks deadline=5\nvault+https://host/transit\n";
        let [first, second] = <[Entry; 2]>::try_from(parse(text).unwrap()).unwrap();
        let expected =
            Entry { url: "file:/a/b?key-file=/c".into(), key: Some("disks".into()), deadline: Duration::from_secs(5) };
        assert_eq!(first, expected);
        assert_eq!((second.url.as_str(), second.key, second.deadline), ("vault+https://host/transit", None, DEADLINE));
    }

    #[test]
    fn what_it_does_not_know_is_named_by_its_line_but_not_told() {
        for line in ["file:/a secret", "file:/a key=", "file:/a deadline=0", "file:/a deadline=x", "file:/a pin=1234"] {
            let e = parse(&format!("\n{line}")).unwrap_err();
            assert!(e.starts_with("line 2: ") && !e.contains("secret") && !e.contains("1234"), "{e}");
        }
        assert_eq!(parse("# nothing\n"), Err("it names no vault".into()));
    }
}
