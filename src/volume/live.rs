//! The state of a volume that reads and writes use: its keys and the places of its data. A re-encryption replaces it while
//! they go on.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::data_area::DataArea;
use super::keys::Keys;
use super::layout::{Layout, Why};
use crate::{Error, Result, usage};

/// One state of a volume. It never changes; the next one takes its place.
pub(super) struct State {
    pub(super) keys: Keys,
    pub(super) data: DataArea,
    pub(super) layout: Layout,
    /// How many states were before it. Addresses don't identify states, since they are used again.
    number: u64,
    /// Dropped with the state, which the receiver of [`Live::gone`] notices.
    _user: Sender<()>,
}

/// A state in use. While it is held, the places that it shows stay right.
pub(super) type InUse = Guard<Arc<State>>;

/// The current state of a volume.
pub(super) struct Live {
    state: ArcSwap<State>,
    /// Notices when the last user of the current state is gone.
    gone: Mutex<Receiver<()>>,
    /// Wakes threads that wait for a closed part to open.
    changed: (Mutex<()>, Condvar),
    /// Somebody has waited for a closed part.
    awaited: AtomicBool,
}

impl Live {
    pub(super) fn new(keys: Keys, data: DataArea, layout: Layout) -> Self {
        let (user, gone) = mpsc::channel();
        let state = ArcSwap::from_pointee(State { keys, data, layout, number: 0, _user: user });
        Live {
            state,
            gone: Mutex::new(gone),
            changed: (Mutex::new(()), Condvar::new()),
            awaited: AtomicBool::new(false),
        }
    }

    /// The current state.
    #[inline]
    pub(super) fn get(&self) -> InUse {
        self.state.load()
    }

    /// The state for a read of `len` bytes. Waits until none of them is closed to reads.
    #[inline]
    pub(super) fn to_read(&self, offset: u64, len: usize) -> Result<InUse> {
        self.open(offset, len, |why| why == Why::Kept)
    }

    /// As [`to_read`](Self::to_read), for a write.
    #[inline]
    pub(super) fn to_write(&self, offset: u64, len: usize) -> Result<InUse> {
        self.open(offset, len, |_| false)
    }

    #[inline]
    fn open(&self, offset: u64, len: usize, may: impl Fn(Why) -> bool) -> Result<InUse> {
        let state = self.get();
        state.keys.check()?;
        state.layout.check(offset, len)?;
        match state.layout.closed {
            None => Ok(state),
            Some(_) => self.opened(state, offset..offset + len as u64, &may),
        }
    }

    #[cold]
    fn opened(&self, mut state: InUse, wanted: Range<u64>, may: &dyn Fn(Why) -> bool) -> Result<InUse> {
        loop {
            match &state.layout.closed {
                Some(closed) if closed.range.start < wanted.end && wanted.start < closed.range.end => {
                    match closed.why {
                        Why::Failed => {
                            let what =
                                "a part of the volume whose re-encryption failed; repeat the step, which opens it,";
                            return Err(Error::Busy { what: what.into() });
                        }
                        why if may(why) => return Ok(state),
                        _ => {}
                    }
                }
                _ => return Ok(state),
            }
            let seen = state.number;
            self.awaited.store(true, Relaxed);
            // Replacing the state waits until nobody uses this one.
            drop(state);
            let mut lock = self.lock_changed();
            while self.get().number == seen {
                lock = self.changed.1.wait(lock).unwrap_or_else(PoisonError::into_inner);
            }
            drop(lock);
            state = self.get();
            state.layout.check(wanted.start, (wanted.end - wanted.start) as usize)?;
        }
    }

    /// Whether somebody has waited for a closed part since this was last asked.
    pub(super) fn was_awaited(&self) -> bool {
        self.awaited.swap(false, Relaxed)
    }

    /// Replaces the state. Returns when no read or write uses the one before.
    pub(super) fn replace(&self, keys: Keys, data: DataArea, layout: Layout) {
        self.put(&mut self.lock_gone(), keys, data, layout);
    }

    /// Waits for all reads and writes that have begun before.
    pub(super) fn wait_for_all(&self) {
        let mut last = self.lock_gone();
        let state = self.get();
        let (keys, data, layout) = (state.keys.clone(), state.data.clone(), state.layout.clone());
        drop(state);
        self.put(&mut last, keys, data, layout);
    }

    fn put(&self, last: &mut Receiver<()>, keys: Keys, data: DataArea, layout: Layout) {
        let (user, gone) = mpsc::channel();
        let number = self.get().number + 1;
        let old = self.state.swap(Arc::new(State { keys, data, layout, number, _user: user }));
        drop(self.lock_changed());
        self.changed.1.notify_all();
        drop(old);
        // It fails once the last state with the sender is gone.
        let _ = core::mem::replace(last, gone).recv();
    }

    fn lock_gone(&self) -> MutexGuard<'_, Receiver<()>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_changed(&self) -> MutexGuard<'_, ()> {
        self.changed.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a write of `len` bytes is within the limits of the keys.
    #[inline]
    pub(super) fn check_usage(&self, len: usize) -> Result<()> {
        self.keys.check_usage(usage::blocks(len))
    }
}
