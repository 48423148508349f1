//! A token or a credential that one thread gets for all.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::Deadline;

/// A value that is got again when it isn't fresh any more. While one thread gets it, others wait, but not beyond their deadlines.
pub struct Cached<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    value: Option<Arc<T>>,
    busy: bool,
}

impl<T> Cached<T> {
    /// There is no value yet.
    #[allow(clippy::new_without_default)] // there is one way to make it
    pub fn new() -> Self {
        Cached { state: Mutex::new(State { value: None, busy: false }), changed: Condvar::new() }
    }

    /// The value, if it is fresh; otherwise `renew` replaces the old one. `None`: another thread was renewing it until the deadline.
    pub fn get<E>(
        &self,
        deadline: Deadline,
        fresh: impl Fn(&T) -> bool,
        renew: impl FnOnce(Option<&T>) -> Result<T, E>,
    ) -> Option<Result<Arc<T>, E>> {
        let mut state = self.lock();
        loop {
            if let Some(value) = state.value.as_ref().filter(|value| fresh(value)) {
                return Some(Ok(value.clone()));
            }
            if !state.busy {
                break;
            }
            let left = deadline.left()?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.busy = true;
        let old = state.value.clone();
        drop(state);
        // Also if `renew` panics, others have their turn.
        let _turn = Turn(self);
        Some(renew(old.as_deref()).map(|value| {
            let value = Arc::new(value);
            self.lock().value = Some(value.clone());
            value
        }))
    }

    /// Forgets a value that was refused, unless there is another already.
    pub fn forget(&self, refused: &Arc<T>) {
        let mut state = self.lock();
        if state.value.as_ref().is_some_and(|value| Arc::ptr_eq(value, refused)) {
            state.value = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Turn<'c, T>(&'c Cached<T>);

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.0.lock().busy = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_thread_gets_a_value_for_all() {
        let (cached, made) = (Cached::new(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let deadline = Deadline::after(Duration::from_secs(60));
                    let renew = |_: Option<&usize>| Ok::<_, ()>(made.fetch_add(1, Ordering::SeqCst));
                    assert_eq!(*cached.get(deadline, |_| true, renew).unwrap().unwrap(), 0);
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_thread_that_waits_keeps_its_own_deadline() {
        let cached = Cached::<u8>::new();
        let long = Deadline::after(Duration::from_secs(60));
        let outer = cached.get(
            long,
            |_| true,
            |_| {
                let soon = Deadline::after(Duration::from_millis(1));
                let waited = std::thread::scope(|scope| {
                    scope.spawn(|| cached.get(soon, |_| true, |_| Ok::<_, ()>(1)).is_none()).join().unwrap()
                });
                assert!(waited);
                Err(())
            },
        );
        assert_eq!(outer, Some(Err(())));
        assert_eq!(cached.get(long, |_| true, |_| Ok::<_, ()>(2)).unwrap().map(|value| *value), Ok(2));
    }

    #[test]
    fn only_the_value_that_was_refused_is_forgotten() {
        let cached = Cached::new();
        let deadline = Deadline::after(Duration::from_secs(60));
        let get = |number| cached.get(deadline, |_| true, |_| Ok::<_, ()>(number)).unwrap().unwrap();
        let first = get(1);
        cached.forget(&first);
        let second = get(2);
        cached.forget(&first);
        assert_eq!((*second, *get(3)), (2, 2));
    }
}
