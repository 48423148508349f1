//! Questions on the terminal.

use std::io::{self, IsTerminal, Write};

use atrest::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::{Failure, Result};
use crate::stop;

/// A terminal hands over no longer line.
const LONGEST: usize = 4096;

/// Whether somebody is there to be asked.
pub fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// Asks for a secret, which isn't shown.
pub fn ask_secret(prompt: &str) -> Result<Secret> {
    let old = tcgetattr(io::stdin()).map_err(io::Error::from)?;
    let restore = {
        let old = old.clone();
        stop::on_stop(move || {
            set(&old);
            let _ = writeln!(io::stderr());
        })
    };
    let mut hidden = old.clone();
    hidden.local_modes -= LocalModes::ECHO;
    hidden.local_modes |= LocalModes::ECHONL;
    set(&hidden);
    let read = say(prompt).and_then(|()| read_line());
    set(&old);
    drop(restore);
    read
}

/// Asks a question, and returns the answer as it was typed.
pub fn ask(question: &str) -> Result<String> {
    say(question)?;
    let line = read_line()?;
    Ok(String::from_utf8_lossy(line.expose()).trim().to_owned())
}

fn say(text: &str) -> Result<()> {
    let mut out = io::stderr().lock();
    write!(out, "{text}")?;
    Ok(out.flush()?)
}

fn set(how: &Termios) {
    // On failure the settings stay as they are; a terminal that is gone needs nothing.
    let _ = tcsetattr(io::stdin(), OptionalActions::Flush, how);
}

/// Reads a line without its end, into locked memory alone.
fn read_line() -> Result<Secret> {
    let mut line = Secret::zeroed(LONGEST);
    let mut len = 0;
    loop {
        let read = rustix::io::retry_on_intr(|| rustix::io::read(io::stdin(), &mut line.expose_mut()[len..]));
        let read = read.map_err(io::Error::from)?;
        len += read;
        let text = &line.expose()[..len];
        if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            return Ok(Secret::copy_from(&text[..end]));
        }
        if read == 0 && len == 0 {
            return Err(Failure::refused("the terminal was closed instead of an answer"));
        }
        if read == 0 || len == LONGEST {
            return Ok(Secret::copy_from(text));
        }
    }
}
