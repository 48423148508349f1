//! Sources of the PIN.

use core::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use atrest::{Error, Secret, VaultFailure};
use zeroize::Zeroize;

const MAX_PIN: usize = 1024;

/// The source of the PIN of the token's user. It is read again for each login, and wiped after it.
#[derive(Clone)]
#[non_exhaustive]
pub enum Pin {
    /// A file with the PIN alone; a line feed at its end isn't part of the PIN.
    File(PathBuf),
    /// An environment variable. Other programs of the same user can read it: prefer a file.
    Env(String),
    /// A function of the caller.
    Callback(Arc<dyn Fn() -> io::Result<Secret> + Send + Sync>),
    /// The token asks for it on a pad of its own.
    Pad,
    /// No login: the token's keys are public objects. NSS without a database is so.
    None,
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pin::File(path) => write!(f, "File({})", path.display()),
            Pin::Env(name) => write!(f, "Env({name})"),
            Pin::Callback(_) => f.write_str("Callback"),
            Pin::Pad => f.write_str("Pad"),
            Pin::None => f.write_str("None"),
        }
    }
}

impl Pin {
    /// The PIN; `None` if the token asks for it itself.
    pub(crate) fn read(&self) -> Result<Option<Secret>, Error> {
        let failed = |what: String, error: io::Error| Error::Vault(VaultFailure::new(what).caused_by(error));
        let pin = match self {
            Pin::Pad | Pin::None => return Ok(None),
            Pin::Callback(f) => f().map_err(|error| failed("asking the program for the PIN".into(), error))?,
            Pin::Env(name) => {
                let mut text = std::env::var(name).map_err(|_| {
                    let text = format!("the environment variable {name} holds no PIN; set it, or name a file");
                    Error::Vault(text.into())
                })?;
                let pin = Secret::copy_from(text.as_bytes());
                text.zeroize();
                pin
            }
            Pin::File(path) => {
                let file = Secret::read_file(path, MAX_PIN + 2);
                let file = file.map_err(|error| failed(format!("reading the PIN from {}", path.display()), error))?;
                let end = file.expose().strip_suffix(b"\n").unwrap_or(file.expose());
                Secret::copy_from(end.strip_suffix(b"\r").unwrap_or(end))
            }
        };
        if !(1..=MAX_PIN).contains(&pin.len()) {
            return Err(Error::Vault(format!("a PIN has 1 to {MAX_PIN} bytes; see what {self:?} gives").into()));
        }
        Ok(Some(pin))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pipe_in_place_of_a_pin_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        let read = |pin: Pin| {
            let (done, waiting) = std::sync::mpsc::channel();
            std::thread::spawn(move || done.send(pin.read()));
            waiting.recv_timeout(Duration::from_secs(20)).expect("it waits")
        };
        for (text, pin) in [("1234", "1234"), ("1234\r\n", "1234"), ("12 34\n", "12 34")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(Pin::File(path.clone())).unwrap().unwrap().expose(), pin.as_bytes());
        }
        for text in [vec![], vec![b'1'; 2000]] {
            std::fs::write(&path, text).unwrap();
            assert!(read(Pin::File(path.clone())).is_err());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let told = format!("{:#}", read(Pin::File(path.clone())).unwrap_err());
        assert!(told.contains(&format!("{}: it is a pipe (FIFO), not a file", path.display())), "{told}");
    }
}
