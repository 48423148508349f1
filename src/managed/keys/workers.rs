//! Threads for calls that may hang. One whose call has returned waits for the next: to make a thread takes longer than most
//! calls.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use crate::OwningProcess;
use crate::arch::on_wiped_stack;
use crate::managed::sync::lock;

/// How long a thread waits for another call.
const IDLE: Duration = Duration::from_secs(5);

type Call = Box<dyn FnOnce() + Send>;

/// Threads for calls; those that wait for one end with this.
#[derive(Default)]
pub(super) struct Workers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The process whose threads these are: a child has none of them.
    owner: OwningProcess,
    /// Calls that a thread which waits is to take.
    calls: VecDeque<Call>,
    /// How many threads wait, less those for which there is a call.
    idle: usize,
    /// The threads that wait.
    waiting: HashSet<ThreadId>,
    threads: HashMap<ThreadId, JoinHandle<()>>,
    ended: bool,
}

impl Workers {
    /// Has a thread do a call that doesn't panic. Nobody waits for it.
    pub(super) fn start(&self, call: Call) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        if !state.owner.is_current() {
            let of_parent = core::mem::take(&mut *state);
            // Dropping a handle would detach its thread, which isn't here.
            core::mem::forget(of_parent.threads);
        }
        if state.idle > 0 {
            state.idle -= 1;
            state.calls.push_back(call);
            self.0.changed.notify_one();
            return Ok(());
        }
        let shared = self.0.clone();
        // Under the lock, so that the thread finds its handle when it ends.
        let thread = thread::Builder::new().name("atrest-vault".into()).spawn(move || shared.work(call))?;
        state.threads.insert(thread.thread().id(), thread);
        Ok(())
    }
}

impl Drop for Workers {
    /// Ends the threads that wait. One whose call hangs ends by itself, if ever.
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.ended = true;
        // A child has none of the threads. With a call to take, a thread may hang in it.
        let all = state.owner.is_current() && state.calls.is_empty();
        let waiting = if all { core::mem::take(&mut state.waiting) } else { HashSet::new() };
        let ended: Vec<_> = waiting.iter().filter_map(|thread| state.threads.remove(thread)).collect();
        drop(state);
        self.0.changed.notify_all();
        for thread in ended {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self, mut call: Call) {
        loop {
            // A vault in this process may have left a key on the stack.
            on_wiped_stack(call);
            match self.next() {
                Some(next) => call = next,
                None => return,
            }
        }
    }

    /// The next call, unless none comes for a while.
    fn next(&self) -> Option<Call> {
        let this = thread::current().id();
        let mut state = lock(&self.state);
        state.idle += 1;
        state.waiting.insert(this);
        let none = |state: &mut State| state.calls.is_empty() && !state.ended;
        (state, _) = self.changed.wait_timeout_while(state, IDLE, none).unwrap_or_else(PoisonError::into_inner);
        state.waiting.remove(&this);
        let call = state.calls.pop_front();
        if call.is_none() {
            state.idle -= 1;
            state.threads.remove(&this);
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn one_thread_does_calls_that_follow_each_other_and_one_that_hangs_keeps_no_other() {
        let workers = Workers::default();
        let (done, doing) = channel();
        let call = |wait: Option<std::sync::mpsc::Receiver<()>>| {
            let done = done.clone();
            let work = move || {
                if let Some(wait) = wait {
                    let _ = wait.recv();
                }
                done.send(thread::current().id()).unwrap();
            };
            workers.start(Box::new(work)).unwrap();
        };
        let idle = |count| {
            while lock(&workers.0.state).idle != count {
                thread::yield_now();
            }
        };
        let mut threads = BTreeSet::new();
        for _ in 0..100 {
            call(None);
            threads.insert(format!("{:?}", doing.recv().unwrap()));
            idle(1);
        }
        assert_eq!(threads.len(), 1);
        // All at once, and then as many wait as there were.
        let (go, waits): (Vec<_>, Vec<_>) = (0..8).map(|_| channel()).unzip();
        waits.into_iter().for_each(|wait| call(Some(wait)));
        call(None);
        doing.recv().unwrap();
        // The thread that was idle may wake late. Then one of the others, which are done now, would do its call.
        while !lock(&workers.0.state).calls.is_empty() {
            thread::yield_now();
        }
        drop(go);
        let threads: BTreeSet<_> = (0..8).map(|_| format!("{:?}", doing.recv().unwrap())).collect();
        assert_eq!(threads.len(), 8);
        idle(9);
        let shared = workers.0.clone();
        drop(workers);
        assert_eq!((lock(&shared.state).idle, Arc::strong_count(&shared)), (0, 1));
    }
}
