//! The functions of a library, and their answers.

use cryptoki_sys::*;

use crate::fault::Answer;

/// The functions of a library, which is never unloaded.
pub(crate) struct Functions(pub(crate) CK_FUNCTION_LIST);

// The pointers in the list are to functions, which don't change, and PKCS#11 functions may be called by several threads
// once `C_Initialize` has accepted CKF_OS_LOCKING_OK.
// SAFETY: `Module::initialise` passes that flag, and no other function is called before.
unsafe impl Send for Functions {}
// SAFETY: as above.
unsafe impl Sync for Functions {}

/// The answer for a function that the library lacks.
pub(crate) fn missing(function: &'static str) -> Answer {
    Answer { function, rv: CKR_FUNCTION_NOT_SUPPORTED }
}

pub(crate) fn answer(function: &'static str, rv: CK_RV) -> Result<(), Answer> {
    if rv == CKR_OK { Ok(()) } else { Err(Answer { function, rv }) }
}

/// A length that the library gave, unless it is past the room it had.
pub(crate) fn within(len: CK_ULONG, room: usize, function: &'static str) -> Result<usize, Answer> {
    let len = usize::try_from(len).ok().filter(|&len| len <= room);
    len.ok_or(Answer { function, rv: CKR_BUFFER_TOO_SMALL })
}
