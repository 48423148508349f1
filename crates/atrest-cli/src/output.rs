//! Results on standard output: text for a person, or JSON for a program.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::failure::{About, Result};

/// The result of a command. Its fields are its JSON.
pub trait Answer: Serialize {
    /// The same for a person, in lines.
    fn text(&self, out: &mut Text);
}

/// Where results go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// Prints a result.
    pub fn answer<A: Answer>(self, answer: &A) -> Result<()> {
        if self.json {
            let mut line = serde_json::to_string(answer).map_err(io::Error::from)?;
            line.push('\n');
            return self.bytes(line.as_bytes());
        }
        let mut text = Text::new();
        answer.text(&mut text);
        self.bytes(text.0.as_bytes())
    }

    /// Prints bytes as they are.
    pub fn bytes(self, bytes: &[u8]) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).about("standard output")
    }
}

/// A line for the person on standard error, such as a warning.
pub fn note(line: impl std::fmt::Display) {
    // It is fine if nobody reads it.
    let _ = writeln!(io::stderr(), "{line}");
}

/// `error:`, in red where that can be seen and is wanted.
pub fn error_word() -> &'static str {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
        || !io::stderr().is_terminal();
    if plain { "error:" } else { "\x1b[1;31merror:\x1b[0m" }
}

/// Lines of text.
pub struct Text(pub String);

impl Text {
    fn new() -> Self {
        Text(String::new())
    }

    pub fn line(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{line}");
    }

    /// A name and its value, in two columns.
    pub fn pair(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name:<16} {value}");
    }

    /// Rows in columns as wide as they need.
    pub fn table<const N: usize>(&mut self, heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        let rows: Vec<[String; N]> = rows.into_iter().collect();
        let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).chain([heads[i].len()]).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in std::iter::once(heads.map(String::from)).chain(rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            self.line(line.trim_end());
        }
    }
}

/// A text from a disk or a vault, without control characters for a terminal.
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A time, as RFC 3339 has it.
pub fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("{seconds} s after 1970"), |time| time.to_string())
}

/// A number of bytes for a person.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

/// A path or another word, quoted for a shell where it has to be.
pub fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+=:,@%".contains(&b));
    if plain { text.into() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
