//! Turns errors and panics into a status and a message.

use core::ffi::c_char;
use core::fmt;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use atrest::{Error, KeyRefusal};

use crate::status::*;

/// The result of the body of a C function.
pub(crate) type Result<T = (), E = Failure> = core::result::Result<T, E>;

/// A status that isn't OK, with its message.
pub(crate) struct Failure {
    status: atrest_status,
    text: String,
    /// The broken rule of managed disks, ATREST_RULE_*; 0 for none.
    rule: u32,
}

/// Runs the body of a C function. Every function that can fail uses this or [`compute`], so that no panic unwinds into
/// C, and errno stays unchanged.
#[inline(always)]
pub(crate) fn run(body: impl FnOnce() -> Result) -> atrest_status {
    let before = errno::errno();
    let status = compute(body);
    errno::set_errno(before);
    status
}

/// As [`run`], for a body that makes no system calls while it succeeds, and so leaves errno unchanged.
///
/// Inlined for calls as short as one sector; the failure path is not inlined.
#[inline(always)]
pub(crate) fn compute(body: impl FnOnce() -> Result) -> atrest_status {
    // A panic only leaves locks and caches half done. The library reuses these locks and rebuilds the caches.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ATREST_OK,
        Ok(Err(failure)) => remember(failure),
        Err(panic) => panicked(panic),
    }
}

#[cold]
#[inline(never)]
fn panicked(panic: Box<dyn Any + Send>) -> atrest_status {
    remember(Failure::new(ATREST_ERR_PANIC, format!("the library failed within: {}", panic_text(&*panic))))
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
    static LAST_RULE: Cell<u32> = const { Cell::new(0) };
}

#[cold]
#[inline(never)]
fn remember(failure: Failure) -> atrest_status {
    let before = errno::errno();
    let text = CString::new(failure.text.replace('\0', "\u{fffd}")).unwrap_or_default();
    // An ending thread has no place for the message any more.
    let _ = LAST.try_with(|last| last.replace(text));
    let _ = LAST_RULE.try_with(|last| last.set(failure.rule));
    errno::set_errno(before);
    failure.status
}

pub(crate) fn last_rule() -> u32 {
    LAST_RULE.try_with(Cell::get).unwrap_or(0)
}

pub(crate) fn last_message() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text")
}

impl Failure {
    #[cold]
    pub(crate) fn new(status: atrest_status, text: impl Into<String>) -> Self {
        Failure { status, text: text.into(), rule: 0 }
    }

    pub(crate) fn status(&self) -> atrest_status {
        self.status
    }

    #[cold]
    pub(crate) fn null(argument: &str) -> Self {
        Failure::new(ATREST_ERR_NULL_ARGUMENT, format!("`{argument}` is NULL"))
    }

    #[cold]
    pub(crate) fn bad_enum(argument: &str, value: u32) -> Self {
        Failure::new(ATREST_ERR_BAD_ENUM, format!("`{argument}` is {value}, which is none of the constants allowed"))
    }

    #[cold]
    pub(crate) fn too_short(argument: &str, needed: usize) -> Self {
        let text = format!("`{argument}` is too short: {needed} bytes are needed");
        Failure::new(ATREST_ERR_BUFFER_TOO_SHORT, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    #[cold]
    fn from(error: Error) -> Self {
        let status = status_of(&error);
        let rule = if let Error::NotAllowed { rule, .. } = &error { rule.code() } else { 0 };
        Failure { status, text: format!("{error:#}"), rule }
    }
}

/// A callback's failure, with its own message. It travels through the library as the source of an [`Error::Io`].
#[derive(Debug)]
pub(crate) struct CallbackFailed {
    status: atrest_status,
    message: Option<String>,
}

thread_local! {
    /// The message that the running callback set on this thread.
    static CALLBACK_MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps a callback's message until the callback has returned.
pub(crate) fn set_callback_message(text: &str) {
    let _ = CALLBACK_MESSAGE.try_with(|message| message.replace(Some(text.into())));
}

impl CallbackFailed {
    /// The failure of the callback that has just returned on this thread.
    pub(crate) fn new(status: atrest_status) -> Self {
        let message = CALLBACK_MESSAGE.try_with(RefCell::take).ok().flatten();
        CallbackFailed { status, message }
    }

    /// Converts a callback's return value to a result.
    pub(crate) fn check(status: atrest_status) -> Result {
        Ok(Self::of(status)?)
    }

    /// The failure of the callback that has just returned this value, if it is one.
    #[inline]
    pub(crate) fn of(status: atrest_status) -> Result<(), Self> {
        // Always take it: the message of a callback that then succeeded must not be used for the next one.
        let failure = CallbackFailed::new(status);
        if status == ATREST_OK { Ok(()) } else { Err(failure) }
    }

    pub(crate) fn status(&self) -> atrest_status {
        self.status
    }

    pub(crate) fn into_io(self) -> std::io::Error {
        std::io::Error::other(self)
    }
}

impl From<CallbackFailed> for Failure {
    fn from(failed: CallbackFailed) -> Self {
        Failure::new(ATREST_ERR_CALLBACK_FAILED, failed.to_string())
    }
}

impl fmt::Display for CallbackFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the callback returned {}", self.status)?;
        self.message.as_ref().map_or(Ok(()), |message| write!(f, ": {message}"))
    }
}

impl core::error::Error for CallbackFailed {}

fn status_of(error: &Error) -> atrest_status {
    match error {
        Error::KeyLength { .. } => ATREST_ERR_KEY_LENGTH,
        Error::EqualKeyHalves => ATREST_ERR_EQUAL_KEY_HALVES,
        Error::SectorSize { .. } => ATREST_ERR_SECTOR_SIZE,
        Error::PartialSector { .. } => ATREST_ERR_PARTIAL_SECTOR,
        Error::LengthMismatch { .. } => ATREST_ERR_LENGTH_MISMATCH,
        Error::SectorOverflow { .. } => ATREST_ERR_SECTOR_OVERFLOW,
        Error::SectorNumber { .. } => ATREST_ERR_SECTOR_NUMBER,
        Error::DataUnitLength { .. } => ATREST_ERR_DATA_UNIT_LENGTH,
        Error::KernelUnavailable { .. } => ATREST_ERR_KERNEL_UNAVAILABLE,
        Error::StreamOverflow { .. } => ATREST_ERR_STREAM_OVERFLOW,
        Error::KekLength { .. } => ATREST_ERR_KEK_LENGTH,
        Error::WrapLength { .. } => ATREST_ERR_WRAP_LENGTH,
        Error::BufferTooShort { .. } => ATREST_ERR_BUFFER_TOO_SHORT,
        Error::UnwrapFailed => ATREST_ERR_UNWRAP_FAILED,
        Error::SelfTest { .. } => ATREST_ERR_SELF_TEST,
        Error::NotApproved { .. } => ATREST_ERR_NOT_APPROVED,
        Error::KeyExhausted { .. } => ATREST_ERR_KEY_EXHAUSTED,
        Error::UnsupportedAlgorithm(_) => ATREST_ERR_UNSUPPORTED_ALGORITHM,
        Error::Random => ATREST_ERR_RANDOM,
        Error::Forked => ATREST_ERR_FORKED,
        Error::MemoryNotLocked { .. } => ATREST_ERR_MEMORY_NOT_LOCKED,
        Error::InvalidName(_) => ATREST_ERR_INVALID_NAME,
        Error::ContextLength { .. } => ATREST_ERR_CONTEXT_LENGTH,
        Error::InvalidEnvelope(_) => ATREST_ERR_INVALID_ENVELOPE,
        Error::InvalidPrefix(_) => ATREST_ERR_INVALID_PREFIX,
        Error::ContextMismatch => ATREST_ERR_CONTEXT_MISMATCH,
        Error::OtherDek => ATREST_ERR_OTHER_DEK,
        Error::OtherKey { .. } => ATREST_ERR_OTHER_KEY,
        Error::NotThisVault { .. } => ATREST_ERR_NOT_THIS_VAULT,
        Error::KeyRefused { reason, .. } => refusal_status(reason),
        Error::KeyExists { .. } => ATREST_ERR_KEY_EXISTS,
        Error::PurgeProtected { .. } => ATREST_ERR_PURGE_PROTECTED,
        Error::WrongPassphrase | Error::WrongVaultPassphrase => ATREST_ERR_WRONG_PASSPHRASE,
        Error::NotAVault { .. } | Error::DamagedVault(_) => ATREST_ERR_DAMAGED_VAULT,
        Error::Vault(_) => ATREST_ERR_VAULT,
        Error::DiskSuspended { .. } => ATREST_ERR_DISK_SUSPENDED,
        Error::NoSuchResource(_) => ATREST_ERR_NO_SUCH_RESOURCE,
        Error::ResourceExists(_) => ATREST_ERR_RESOURCE_EXISTS,
        Error::NotAllowed { .. } => ATREST_ERR_NOT_ALLOWED,
        Error::OlderHeader { .. } | Error::OlderDevice { .. } => ATREST_ERR_OLDER_HEADER,
        Error::NotLuks { .. } => ATREST_ERR_NOT_LUKS,
        Error::ForeignData(_) => ATREST_ERR_FOREIGN_DATA,
        Error::InvalidHeader(_) => ATREST_ERR_INVALID_HEADER,
        Error::UnsupportedHeader(_) => ATREST_ERR_UNSUPPORTED_HEADER,
        Error::TamperedHeader => ATREST_ERR_TAMPERED_HEADER,
        Error::DamagedMap(_) => ATREST_ERR_DAMAGED_MAP,
        Error::WrongKey => ATREST_ERR_WRONG_KEY,
        Error::NoSuchProtector(_) => ATREST_ERR_NO_SUCH_PROTECTOR,
        Error::LastProtector => ATREST_ERR_LAST_PROTECTOR,
        Error::NoRoom(_) => ATREST_ERR_NO_ROOM,
        Error::OtherHeader(_) => ATREST_ERR_OTHER_HEADER,
        Error::DeviceTooSmall { .. } => ATREST_ERR_DEVICE_TOO_SMALL,
        Error::DeviceNotBlank { .. } => ATREST_ERR_DEVICE_NOT_BLANK,
        Error::Misaligned { .. } => ATREST_ERR_MISALIGNED,
        Error::OutOfBounds { .. } => ATREST_ERR_OUT_OF_BOUNDS,
        Error::ReadOnly => ATREST_ERR_READ_ONLY,
        Error::Busy { .. } => ATREST_ERR_BUSY,
        Error::InvalidOption(_) => ATREST_ERR_INVALID_OPTION,
        Error::Io { source, .. } if source.get_ref().is_some_and(|e| e.is::<CallbackFailed>()) => {
            ATREST_ERR_CALLBACK_FAILED
        }
        Error::NotFound { .. } => ATREST_ERR_NOT_FOUND,
        Error::AlreadyExists { .. } => ATREST_ERR_ALREADY_EXISTS,
        Error::Io { .. } => ATREST_ERR_IO,
        _ => ATREST_ERR_OTHER,
    }
}

/// The status of a key that its vault refuses, as functions return it and callbacks of a vault do.
pub(crate) fn refusal_status(reason: &KeyRefusal) -> atrest_status {
    match reason {
        KeyRefusal::Missing => ATREST_ERR_NO_SUCH_KEY,
        KeyRefusal::Disabled => ATREST_ERR_KEY_DISABLED,
        KeyRefusal::Deleted => ATREST_ERR_KEY_DELETED,
        KeyRefusal::Expired => ATREST_ERR_KEY_EXPIRED,
        KeyRefusal::NotYetValid => ATREST_ERR_KEY_NOT_YET_VALID,
        KeyRefusal::AccessDenied { .. } => ATREST_ERR_ACCESS_DENIED,
        _ => ATREST_ERR_OTHER,
    }
}
