//! How a command fails: a text for the person, and an exit status for the script.

use std::error::Error as _;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind};

use atrest::{Error, KeyRefusal, TooSmall};

/// The result of a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The exit statuses, besides 0. `docs/cli.md` documents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The answer is no: data differ, a self-test fails.
    No = 1,
    Usage = 2,
    NotFound = 3,
    WrongCredential = 4,
    KeyUnusable = 5,
    Damaged = 6,
    Busy = 7,
    Refused = 8,
    Io = 9,
    Interrupted = 130,
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    pub code: Code,
    pub text: String,
    /// The reader of the output has closed it. It wants no more, which is no error.
    pub closed_pipe: bool,
    /// A secret that somebody typed was wrong, so that asking again makes sense.
    pub wrong_passphrase: bool,
}

impl Failure {
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Failure { code, text: text.into(), closed_pipe: false, wrong_passphrase: false }
    }

    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Code::Usage, text)
    }

    pub fn refused(text: impl Into<String>) -> Self {
        Self::new(Code::Refused, text)
    }

    pub fn interrupted(text: impl Into<String>) -> Self {
        Self::new(Code::Interrupted, text)
    }

    /// Adds advice.
    pub fn hint(mut self, hint: &str) -> Self {
        self.text = format!("{}: {hint}", self.text);
        self
    }

    /// Names the subject, unless the text does already.
    pub fn about(mut self, subject: impl Display) -> Self {
        let subject = subject.to_string();
        if !names(&self.text, &subject) {
            self.text = format!("{subject}: {}", self.text);
        }
        self
    }
}

/// Whether a text names this, and not only has its letters within another word.
fn names(text: &str, subject: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(subject)
        .any(|(at, _)| !is_part(text[..at].chars().next_back()) && !is_part(text[at + subject.len()..].chars().next()))
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = code_of(&error);
        let text = match &error {
            // The library names its own functions; a person at a shell needs the options of this program.
            Error::DamagedMap(text) => format!(
                "the map of written chunks is damaged: {text}. Decrypt it to a new image with --ignore-written-map, which shows \
                 all that the device holds, and noise where nothing was written"
            ),
            Error::KeyRefused { reason: KeyRefusal::Missing, .. } => {
                format!("{error:#}; check the name: `atrest key ls` shows the keys of a vault file")
            }
            Error::LastProtector => {
                "it is the last way into the volume: add another first by `atrest protector add`, or \
                 destroy the data by `atrest header erase`"
                    .into()
            }
            Error::OtherHeader(text) => {
                format!("the backup is of another header: {text}; --force writes it all the same")
            }
            Error::ForeignData(text) => {
                format!("{text}; nothing was written. `atrest check --repair --force` overwrites it")
            }
            Error::DeviceTooSmall { what: TooSmall::Volume, needed, size } => format!(
                "the device has {size} bytes where its volume needs {needed}: it was cut off. `atrest decrypt --allow-truncated` reads \
                 what is left of the data"
            ),
            Error::DeviceNotBlank { offset, found } => format!(
                "the place for it is not blank: it holds {found} (there is data at byte {offset}). Nothing was done"
            ),
            _ => in_words_of_the_shell(format!("{error:#}")),
        };
        let wrong_passphrase = matches!(error, Error::WrongPassphrase | Error::WrongVaultPassphrase);
        Failure { wrong_passphrase, ..Self::new(code, text) }
    }
}

/// Phrases of the library for a programmer, and their replacements for a person at a shell.
const WORDS: [(&str, &str); 10] = [
    ("open it once for writing, which finishes that part", "`--resume` finishes that part, and goes on"),
    (
        "`hazmat_allow_unencrypted` opens it, and then `reencrypt_step` goes on",
        "`atrest encrypt --in-place DEV --resume` goes on",
    ),
    ("`hazmat_allow_unencrypted` opens it all the same", "`atrest info --unlock` opens it all the same"),
    (
        "open it with `hazmat_allow_unencrypted` and go on by `reencrypt_step`",
        "`atrest encrypt --in-place DEV --resume` goes on",
    ),
    ("(`reencrypt_step`, or", "(`atrest reencrypt DEV --resume`, or"),
    ("`hazmat_repair` (which OpenOptions have too)", "`atrest check --repair --force`"),
    ("`hazmat_resume_unprotected`, or with ", ""),
    ("(`keyslot`)", "(--keyslot)"),
    ("`hazmat_ignore_tokens`", "--ignore-tokens"),
    (
        "by `copy_records`: open that one; `reopen_moved` makes this one usable again",
        "by `atrest fleet store copy`: use that one; `atrest fleet --store STORE store reopen` makes this one usable again",
    ),
];

fn in_words_of_the_shell(text: String) -> String {
    WORDS.iter().fold(text, |text, (of_library, of_shell)| text.replace(of_library, of_shell))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure {
            closed_pipe: error.kind() == ErrorKind::BrokenPipe,
            ..Self::new(code_of_io(&error), error.to_string())
        }
    }
}

fn code_of_io(error: &io::Error) -> Code {
    match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::Refused,
        ErrorKind::AddrInUse | ErrorKind::ResourceBusy => Code::Busy,
        // Not an error of the system: the name is that of something else, such as a folder.
        ErrorKind::InvalidInput if error.raw_os_error().is_none() => Code::Usage,
        _ => Code::Io,
    }
}

fn code_of(error: &Error) -> Code {
    match error {
        Error::InvalidOption(_)
        | Error::InvalidName(_)
        | Error::ContextLength { .. }
        | Error::SectorSize { .. }
        | Error::SectorNumber { .. }
        | Error::SectorOverflow { .. }
        | Error::Misaligned { .. }
        | Error::KeyLength { .. }
        | Error::KekLength { .. }
        | Error::WrapLength { .. }
        | Error::EqualKeyHalves
        | Error::KernelUnavailable { .. }
        | Error::UnsupportedAlgorithm(_) => Code::Usage,
        Error::NotFound { .. }
        | Error::NoSuchResource(_)
        | Error::KeyRefused { reason: KeyRefusal::Missing, .. } => Code::NotFound,
        Error::WrongPassphrase
        | Error::WrongVaultPassphrase
        | Error::WrongKey
        | Error::NotThisVault { .. }
        // A credential of a kind that nothing there takes. One that is named by its number is told apart where it is named.
        | Error::NoSuchProtector(_) => Code::WrongCredential,
        Error::KeyRefused { .. } | Error::KeyExhausted { .. } | Error::Vault(_) | Error::DiskSuspended { .. } => {
            Code::KeyUnusable
        }
        Error::NotAVault { .. }
        | Error::DamagedVault(_)
        | Error::DamagedMap(_)
        | Error::NotLuks { .. }
        | Error::InvalidHeader(_)
        | Error::UnsupportedHeader(_)
        | Error::TamperedHeader
        | Error::InvalidEnvelope(_)
        | Error::InvalidPrefix(_)
        | Error::UnwrapFailed
        | Error::ForeignData(_)
        | Error::OlderHeader { .. }
        | Error::OlderDevice { .. }
        // The content of the device was cut off. One too small for something new is refused.
        | Error::DeviceTooSmall {
            what: TooSmall::Header | TooSmall::Data | TooSmall::Volume | TooSmall::Prefix, ..
        } => Code::Damaged,
        Error::Busy { .. } => Code::Busy,
        Error::Io { source, .. } => code_of_io(source),
        Error::SelfTest { .. } => Code::No,
        Error::Random => Code::Io,
        _ if error.source().is_some() => Code::Io,
        _ => Code::Refused,
    }
}

/// Why something could not be made on a device: one that is too small isn't damaged.
pub fn no_room(error: Error) -> Failure {
    too_small(error, "take a larger one, a smaller --data-offset, or --header FILE for a header apart")
}

/// Why the header in this file, apart from its data, could not be converted.
#[cfg(feature = "kms")]
pub fn no_room_apart(error: Error, file: &str) -> Failure {
    too_small(error, &format!("make the file of the header larger, by `truncate -s 32M {file}`"))
}

fn too_small(error: Error, hint: &str) -> Failure {
    let Error::DeviceTooSmall { needed, size, .. } = error else { return error.into() };
    Failure::refused(format!("the device has {size} bytes where {needed} are needed: {hint}"))
}

/// Names the subject of an operation in its error.
pub trait About<T> {
    fn about(self, subject: impl Display) -> Result<T>;
}

impl<T, E: Into<Failure>> About<T> for Result<T, E> {
    fn about(self, subject: impl Display) -> Result<T> {
        self.map_err(|e| e.into().about(subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_named_once_also_where_its_letters_are_in_other_words() {
        let about = |text: &str, subject: &str| Failure::usage(text).about(subject).text;
        assert_eq!(about("opening a.img: denied", "a.img"), "opening a.img: denied");
        assert_eq!(about("'a.img' is busy", "a.img"), "'a.img' is busy");
        assert_eq!(about("the device is too small", "d"), "d: the device is too small");
        assert_eq!(about("opening a.img2: denied", "a.img"), "a.img: opening a.img2: denied");
    }
}
