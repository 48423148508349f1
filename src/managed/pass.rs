//! One pass of a rotation over all resources of a queue, by many threads at once.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::keys::Notes;
use super::parallel;
use super::records::{Resource, ResourceName};
use super::rotation::RotationProgress;
use super::rounds::Stopped;
use super::service::Inner;
use super::store::{Ahead, Queue, Records};
use super::sync::{into_inner, lock};
use crate::{Error, Result};

/// How many names are listed at once. A thread that needs names waits meanwhile; the work on a page takes much longer.
const PAGE: usize = 250;
/// The most resources that a thread takes at once.
const MOST: usize = 32;

/// The resources of a queue, from which threads take some at a time. Memory doesn't grow with the queue.
struct Rest<'q> {
    store: &'q Records,
    queue: &'q Queue,
    counts: &'q (dyn Fn(&Resource) -> bool + Sync),
    listed: VecDeque<ResourceName>,
    /// The place after which the next page begins.
    after: Option<String>,
    ended: bool,
    /// How many there are still, as far as is known.
    expected: usize,
}

impl Rest<'_> {
    /// The next ones; none at the end. Toward the end they are fewer, so that each of the `threads` has some to do.
    fn take(&mut self, threads: usize) -> Result<Vec<ResourceName>> {
        while self.listed.is_empty() && !self.ended {
            let (page, after) = self.store.queue_page(self.queue, self.after.as_deref(), None, PAGE, self.counts)?;
            self.listed = page.into();
            self.ended = after.is_none();
            self.after = after;
        }
        let share = (self.expected / (4 * threads.max(1))).clamp(1, MOST).min(self.listed.len());
        self.expected = self.expected.saturating_sub(share);
        Ok(self.listed.drain(..share).collect())
    }
}

impl Inner {
    /// Moves all of a queue to a key, several at once, and returns how many had to move. The first failure stops it, but for
    /// one that is busy: that is told after the others. Of the platform's queue, `counts` says which belong to it.
    pub(super) fn rewrap_all(
        &self,
        queue: &Queue,
        counts: impl Fn(&Resource) -> bool + Sync,
        rewrap: impl Fn(Ahead, &Notes<'_>) -> Result<bool> + Sync,
        progress: &(dyn Fn(RotationProgress) + Sync),
    ) -> Result<usize, Stopped> {
        let (done, rewrapped, notes) = (AtomicUsize::new(0), AtomicUsize::new(0), Notes::new(&self.keys));
        let (failure, busy, stopped) = (Mutex::new(None), Mutex::new(None), AtomicBool::new(false));
        let total = self.store.count(queue, &counts).map_err(|e| (None, e))?;
        // Even if there is none, since some may have joined since they were counted.
        let threads = self.parallel.min(total.max(1));
        let rest = Mutex::new(Rest {
            store: &self.store,
            queue,
            counts: &counts,
            listed: VecDeque::new(),
            after: None,
            ended: false,
            expected: total,
        });
        let fail = |at, e| {
            stopped.store(true, Ordering::Relaxed);
            lock(&failure).get_or_insert((at, e));
        };
        let one = |member: Ahead| {
            let name = member.name.clone();
            match rewrap(member, &notes) {
                Ok(new) => {
                    if new {
                        rewrapped.fetch_add(1, Ordering::Relaxed);
                        self.store.counters.moved.add();
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    progress(RotationProgress { done, total: total.max(done) });
                }
                Err(e @ Error::Busy { .. }) => drop(lock(&busy).get_or_insert((Some(name), e))),
                Err(e) => fail(Some(name), e),
            }
        };
        parallel::run(threads, || {
            while !stopped.load(Ordering::Relaxed) {
                let taken = lock(&rest).take(threads);
                match taken {
                    Ok(names) if names.is_empty() => return,
                    Ok(names) => {
                        self.store.ahead(names).take_while(|_| !stopped.load(Ordering::Relaxed)).for_each(&one);
                    }
                    Err(e) => fail(None, e),
                }
            }
        });
        // Note those that were moved, even if others failed.
        let noted = notes.write();
        match into_inner(failure).or(into_inner(busy)) {
            Some(failure) => Err(failure),
            None => noted.map(|()| rewrapped.into_inner()).map_err(|e| (None, e)),
        }
    }
}
