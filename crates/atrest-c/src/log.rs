//! LOG
//!
//! Events that operators need to know: a revoked key, a vault that doesn't answer, a repaired header, a failed
//! rotation. Results that a call returns are not logged.

use core::ffi::{c_char, c_void};
use std::sync::{Once, PoisonError, RwLock};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::callback::{User, c_text};
use crate::failure::{Failure, run};
use crate::status::atrest_status;

/// Something failed, and data can't be reached until somebody acts.
pub const ATREST_LOG_ERROR: u32 = 1;
/// Something is wrong and will get worse.
pub const ATREST_LOG_WARN: u32 = 2;
/// A normal event.
pub const ATREST_LOG_INFO: u32 = 3;

type EachEvent = unsafe extern "C" fn(user: *mut c_void, level: u32, message: *const c_char);

/// Makes the library call `log` for each event of `level`, ATREST_LOG_*, or worse in this process; NULL stops it. It
/// replaces the previous function, which isn't called any more once this returns.
///
/// The message is in English, without secrets, and valid during the call. `log` may be called from any thread, also
/// during a call of this library there, so it must not call this library.
///
/// Errors: ATREST_ERR_BAD_ENUM.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_set_log(
    log: Option<unsafe extern "C" fn(user: *mut c_void, level: u32, message: *const c_char)>,
    user: *mut c_void,
    level: u32,
) -> atrest_status {
    run(|| {
        let filter = match level {
            ATREST_LOG_ERROR => LevelFilter::Error,
            ATREST_LOG_WARN => LevelFilter::Warn,
            ATREST_LOG_INFO => LevelFilter::Info,
            other => return Err(Failure::bad_enum("level", other)),
        };
        // Set once per process. The facade is this library's own copy, so no other logger can be set.
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| drop(log::set_logger(&CallbackLog)));
        let mut hook = HOOK.write().unwrap_or_else(PoisonError::into_inner);
        *hook = log.map(|log| Hook { log, user: User(user) });
        log::set_max_level(if hook.is_some() { filter } else { LevelFilter::Off });
        Ok(())
    })
}

struct Hook {
    log: EachEvent,
    user: User,
}

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

struct CallbackLog;

impl Log for CallbackLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Dependencies log too; their events are for their developers.
        metadata.target() == "atrest"
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            Level::Error => ATREST_LOG_ERROR,
            Level::Warn => ATREST_LOG_WARN,
            _ => ATREST_LOG_INFO,
        };
        let message = c_text(&record.args().to_string());
        let hook = HOOK.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Hook { log, user }) = &*hook {
            // SAFETY: by the comment of `atrest_set_log` it can be called with its `user`; the message lives until it returns.
            unsafe { log(user.0, level, message.as_ptr()) }
        }
    }

    fn flush(&self) {}
}
