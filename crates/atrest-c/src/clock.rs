//! CLOCKS
//!
//! The clock decides what has expired and when a vault is asked again, and gives the times in records and logs. The
//! default is the operating system's clock. Times are in seconds since 1970-01-01 UTC. A clock can be set back, so
//! leases also count the time since the machine started, and end when either clock says so.

use core::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use atrest::{Clock, ManualClock, SystemClock};

use crate::callback::User;
use crate::failure::{Failure, Result, run};
use crate::handle::Handle;
use crate::status::{ATREST_ERR_UNSUPPORTED, atrest_status};
use crate::structs::SizedStruct;

/// A clock. Freed by atrest_clock_free.
pub struct atrest_clock;

/// A clock of the caller. Several threads may call it at once.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct atrest_clock_callbacks {
    /// Set by ATREST_CLOCK_CALLBACKS_INIT.
    pub struct_size: usize,
    /// Passed to every callback. It must stay valid until release() is called.
    pub user: *mut c_void,
    /// The time. It is called at every read and write of a managed disk, so it must be fast. It can't fail.
    pub now: Option<unsafe extern "C" fn(user: *mut c_void) -> u64>,
    /// Called once, when the clock and everything that uses it are freed. May be NULL.
    pub release: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// The time since a fixed point, in milliseconds. It never goes back, and also counts while the machine is
    /// suspended. It is called as often as the time, and can't fail. NULL for the operating system's, CLOCK_BOOTTIME on
    /// Linux.
    pub uptime: Option<unsafe extern "C" fn(user: *mut c_void) -> u64>,
}

// SAFETY: `struct_size` is the first member; pointers may be NULL, and `Option`s of functions are `None` then.
unsafe impl SizedStruct for atrest_clock_callbacks {
    const EARLIER: &'static [usize] = &[core::mem::offset_of!(atrest_clock_callbacks, uptime)];
}

/// Makes a clock that stands at `now` until it is set or moved: for tests, and for simulations.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_clock_manual(now: u64, out: *mut *mut atrest_clock) -> atrest_status {
    run(|| {
        let out = out!(out);
        out.handle(AnyClock::Manual(Arc::new(ManualClock::new(now))));
        Ok(())
    })
}

/// Makes a clock of callbacks. The struct is copied. release() is not called when this fails.
///
/// Errors: ATREST_ERR_NULL_ARGUMENT for now().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_clock_from_callbacks(
    callbacks: *const atrest_clock_callbacks,
    out: *mut *mut atrest_clock,
) -> atrest_status {
    run(|| {
        let (c, out) = (structure!(callbacks), out!(out));
        let now = c.now.ok_or_else(|| Failure::null("callbacks.now"))?;
        out.handle(AnyClock::Callbacks(Arc::new(CallbackClock {
            user: User(c.user),
            now,
            uptime: c.uptime,
            release: c.release,
        })));
        Ok(())
    })
}

/// Frees a clock. Everything that uses it keeps it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_clock_free(clock: *mut atrest_clock) {
    free!(clock);
}

/// The time by a clock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_clock_now(clock: *const atrest_clock, out: *mut u64) -> atrest_status {
    run(|| {
        let (clock, out) = (handle!(clock), out!(out));
        out.set(clock.get().now());
        Ok(())
    })
}

/// Sets a clock of atrest_clock_manual, forwards or back, for everything that uses it, like setting a machine's clock.
/// The uptime, which leases also count by, stays.
///
/// Errors: ATREST_ERR_UNSUPPORTED for a clock of callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_clock_set(clock: *mut atrest_clock, now: u64) -> atrest_status {
    run(|| {
        handle!(clock).manual()?.set(now);
        Ok(())
    })
}

/// Moves a clock of atrest_clock_manual and its uptime forwards, for everything that uses it.
///
/// Errors: ATREST_ERR_UNSUPPORTED for a clock of callbacks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn atrest_clock_advance(clock: *mut atrest_clock, seconds: u64) -> atrest_status {
    run(|| {
        handle!(clock).manual()?.advance(Duration::from_secs(seconds));
        Ok(())
    })
}

/// The object of an `atrest_clock`.
pub(crate) enum AnyClock {
    Manual(Arc<ManualClock>),
    Callbacks(Arc<CallbackClock>),
}

impl Handle for atrest_clock {
    type Object = AnyClock;
    const TAG: [u8; 4] = *b"clk\x01";
    const NAME: &'static str = "atrest_clock";
}

impl AnyClock {
    pub(crate) fn get(&self) -> Arc<dyn Clock> {
        match self {
            AnyClock::Manual(clock) => clock.clone(),
            AnyClock::Callbacks(clock) => clock.clone(),
        }
    }

    fn manual(&self) -> Result<&ManualClock> {
        match self {
            AnyClock::Manual(clock) => Ok(clock),
            AnyClock::Callbacks(_) => {
                Err(Failure::new(ATREST_ERR_UNSUPPORTED, "a clock of callbacks is set where its time comes from"))
            }
        }
    }
}

/// A [`Clock`] of a C function.
pub(crate) struct CallbackClock {
    user: User,
    now: unsafe extern "C" fn(*mut c_void) -> u64,
    uptime: Option<unsafe extern "C" fn(*mut c_void) -> u64>,
    release: Option<unsafe extern "C" fn(*mut c_void)>,
}

impl Clock for CallbackClock {
    fn now(&self) -> u64 {
        // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`.
        unsafe { (self.now)(self.user.0) }
    }

    fn uptime(&self) -> Duration {
        match self.uptime {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`.
            Some(uptime) => Duration::from_millis(unsafe { uptime(self.user.0) }),
            None => SystemClock.uptime(),
        }
    }
}

impl Drop for CallbackClock {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: by the header's contract (CALLBACKS) it can be called with its `user`, and this is the last use.
            unsafe { release(self.user.0) }
        }
    }
}
