//! Calls of C that have no way to be given up, with a deadline.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

enum Place<T> {
    Waiting,
    GivenUp,
    Ended(Option<T>),
}

/// Makes a call on a thread of its own, and waits for it until a given time. A call that takes longer goes on; that thread
/// drops its late result, which closes any handle in it.
pub(crate) fn call<T: Send + 'static>(until: Instant, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let shared = Arc::new((Mutex::new(Place::Waiting), Condvar::new()));
    let result = shared.clone();
    let made = thread::Builder::new().name("atrest-rbd".into()).spawn(move || {
        let value = Some(call());
        let (place, ended) = &*result;
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        // A result without a waiting caller is dropped when this thread ends, after the lock.
        let _late = if matches!(*place, Place::GivenUp) {
            value
        } else {
            *place = Place::Ended(value);
            ended.notify_all();
            None
        };
        drop(place);
    });
    // Without a thread nothing was done. It is reported as a call that has not ended.
    made.ok()?;
    let (place, ended) = &*shared;
    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Place::Ended(value) = &mut *place {
            return value.take();
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            *place = Place::GivenUp;
            return None;
        }
        place = ended.wait_timeout(place, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn a_late_result_is_dropped_where_it_was_made() {
        let (go, wait) = mpsc::channel::<()>();
        let (dropped, was_dropped) = mpsc::channel();
        struct Late(mpsc::Sender<thread::ThreadId>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.send(thread::current().id()).unwrap();
            }
        }
        let result = call(Instant::now() + Duration::from_millis(1), move || {
            wait.recv().unwrap();
            Late(dropped)
        });
        assert!(result.is_none());
        go.send(()).unwrap();
        assert_ne!(was_dropped.recv().unwrap(), thread::current().id());
        assert_eq!(call(Instant::now() + Duration::from_secs(600), || 7), Some(7));
    }
}
