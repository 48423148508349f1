//! A caller's options for a TPM and its keys.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atrest::{Clock, Secret, SystemClock};

use crate::session::trimmed;
use crate::transport::TpmAddress;

/// The longest authorisation value in bytes: a TPM accepts no longer one for an object whose name is a SHA-256 digest.
const LONGEST_AUTH: usize = 32;

/// The source of the keys' authorisation value. It is read at each call, and wiped after it.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum TpmAuth {
    /// Keys have no authorisation value.
    #[default]
    None,
    /// A file, without a line break at its end: 1 to 32 bytes.
    File(PathBuf),
    /// A value of 1 to 32 bytes.
    Value(Secret),
}

impl fmt::Debug for TpmAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TpmAuth::None => f.write_str("None"),
            TpmAuth::File(path) => f.debug_tuple("File").field(path).finish(),
            TpmAuth::Value(_) => f.write_str("Value(..)"),
        }
    }
}

impl TpmAuth {
    /// The value, or none.
    pub(crate) fn read(&self) -> io::Result<Option<Secret>> {
        let value = match self {
            TpmAuth::None => return Ok(None),
            TpmAuth::Value(value) => value.check().map_err(io::Error::other).map(|()| value.clone())?,
            TpmAuth::File(path) => {
                let named = |e: io::Error| io::Error::new(e.kind(), format!("reading {}: {e}", path.display()));
                let file = Secret::read_file(path, LONGEST_AUTH + 2).map_err(named)?;
                let value = file.expose().strip_suffix(b"\n").unwrap_or(file.expose());
                Secret::copy_from(value.strip_suffix(b"\r").unwrap_or(value))
            }
        };
        // A TPM ignores zeros at the end, so a value of zeros counts as empty.
        if trimmed(value.expose()).is_empty() || value.len() > LONGEST_AUTH {
            let text = format!("the authorisation value has 1 to {LONGEST_AUTH} bytes, and not all of them are zero");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Some(value))
    }
}

/// The TPM, and the folder of sealed keys.
///
/// ```
/// use atrest_tpm::{TpmAddress, TpmAuth, TpmOptions};
///
/// let options = TpmOptions::new("tpm:host-17", TpmAddress::device("/dev/tpmrm0"), "/etc/disks/keys")
///     .auth(TpmAuth::File("/run/credentials/tpm-auth".into()));
/// assert!(format!("{options:?}").contains("host-17"));
/// ```
#[derive(Clone)]
pub struct TpmOptions {
    pub(crate) id: String,
    pub(crate) tpm: TpmAddress,
    pub(crate) folder: PathBuf,
    pub(crate) auth: TpmAuth,
    pub(crate) parent: Option<u32>,
    pub(crate) identity: Option<String>,
    pub(crate) deadline: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

impl fmt::Debug for TpmOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TpmOptions")
            .field("id", &self.id)
            .field("tpm", &self.tpm)
            .field("folder", &self.folder)
            .field("auth", &self.auth)
            .field("parent", &self.parent)
            .field("identity", &self.identity)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl TpmOptions {
    /// The vault `id`, its TPM, and the folder with its sealed keys.
    ///
    /// `id` is the vault's name in key URLs, such as `tpm:host-17`. A sealed key is of no use at another TPM: so give each host a
    /// name of its own. It must stay the same as long as anything is wrapped.
    pub fn new(id: impl Into<String>, tpm: TpmAddress, folder: impl AsRef<Path>) -> Self {
        TpmOptions {
            id: id.into(),
            tpm,
            folder: folder.as_ref().into(),
            auth: TpmAuth::None,
            parent: None,
            identity: None,
            deadline: Duration::from_secs(30),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the source of the authorisation value. The default is [`TpmAuth::None`]: then any program that may use the TPM, and
    /// can read the files, can unseal the keys.
    pub fn auth(mut self, auth: TpmAuth) -> Self {
        self.auth = auth;
        self
    }

    /// A persistent storage key as the parent, such as `0x8100_0001`: ECC on P-256, with an empty authorisation value. By default
    /// the vault has the TPM make its storage key for each call, which takes an empty authorisation value of the owner hierarchy.
    pub fn parent(mut self, handle: u32) -> Self {
        self.parent = Some(handle);
        self
    }

    /// The name that refusals give the caller. The default is `this program on` and the vault's name.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// How long a call may take, in all. The default is 30 seconds.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The clock that says when a key is created. The default is the system's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn who(&self) -> String {
        self.identity.clone().unwrap_or_else(|| format!("this program on {}", self.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_place_of_an_authorisation_value_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth");
        let read = |auth: TpmAuth| {
            let (done, waiting) = std::sync::mpsc::channel();
            std::thread::spawn(move || done.send(auth.read()));
            waiting.recv_timeout(Duration::from_secs(20)).expect("it waits")
        };
        std::fs::write(&path, [&[b'x'; LONGEST_AUTH][..], b"\r\n"].concat()).unwrap();
        assert_eq!(read(TpmAuth::File(path.clone())).unwrap().unwrap().expose(), [b'x'; LONGEST_AUTH]);
        for text in [vec![], vec![b'x'; LONGEST_AUTH + 1], vec![b'x'; 1 << 20]] {
            std::fs::write(&path, text).unwrap();
            assert!(read(TpmAuth::File(path.clone())).is_err());
        }
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let told = read(TpmAuth::File(path.clone())).unwrap_err().to_string();
        assert!(told.contains(&format!("{}: it is a pipe (FIFO), not a file", path.display())), "{told}");
    }
}
