//! Many requests at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Does `work` on all items, at most `workers` at once. After an error no more items are begun; those begun are finished.
///
/// # Errors
/// The first error.
pub fn fan_out<T: Send, E: Send>(
    items: Vec<T>,
    workers: usize,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let workers = workers.min(items.len());
    if workers <= 1 {
        return items.into_iter().try_for_each(work);
    }
    let (items, failed, first) = (Mutex::new(items.into_iter()), AtomicBool::new(false), Mutex::new(None));
    let run = || {
        while !failed.load(Ordering::Relaxed) {
            let Some(item) = items.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
            if let Err(e) = work(item) {
                failed.store(true, Ordering::Relaxed);
                first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(e);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(run);
        }
        run();
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn all_items_are_done_once_and_the_first_error_is_told() {
        for workers in [1, 3, 100] {
            let sum = AtomicU64::new(0);
            fan_out((1..=50).collect(), workers, |n| {
                sum.fetch_add(n, Ordering::Relaxed);
                Ok::<_, ()>(())
            })
            .unwrap();
            assert_eq!(sum.into_inner(), 1275);
            assert_eq!(fan_out((1..=50).collect(), workers, |n| if n == 7 { Err(n) } else { Ok(()) }), Err(7));
        }
    }
}
