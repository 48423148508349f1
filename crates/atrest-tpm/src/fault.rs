//! Why a call to a TPM has no result.

use std::io;

use crate::code::Code;
use crate::wire::Malformed;

#[derive(Debug)]
pub(crate) enum Fault {
    /// The TPM says no to a command.
    Code(&'static str, Code),
    /// No answer.
    Io(io::Error),
    /// An answer that makes no sense.
    Malformed(Malformed),
    /// An answer whose MAC is wrong: it was altered on the way.
    Forged,
    /// The parent isn't the one below which the key was sealed.
    OtherTpm,
    /// An algorithm failed its self-test, or is refused.
    Refused(atrest::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Fault::Malformed(malformed)
    }
}

impl From<atrest::Error> for Fault {
    fn from(error: atrest::Error) -> Self {
        Fault::Refused(error)
    }
}
