//! Threads for calls that may hang. One whose call has returned waits for the next: to make a thread takes longer than most
//! calls.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::arch::on_wiped_stack;
use crate::managed::sync::lock;
use crate::process_generation;

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
    process: u32,
    /// Calls that a thread which waits is to take.
    calls: VecDeque<Call>,
    /// How many threads wait, less those for which there is a call.
    idle: usize,
    ended: bool,
}

impl Workers {
    /// Has a thread do a call that doesn't panic. Nobody waits for it.
    pub(super) fn start(&self, call: Call) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        let process = process_generation();
        if state.process != process {
            *state = State { process, ..State::default() };
        }
        if state.idle > 0 {
            state.idle -= 1;
            state.calls.push_back(call);
            self.0.changed.notify_one();
            return Ok(());
        }
        drop(state);
        let shared = self.0.clone();
        thread::Builder::new().name("atrest-vault".into()).spawn(move || shared.work(call)).map(drop)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.0.state).ended = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn work(&self, mut call: Call) {
        loop {
            // What a vault of this process has left there may be a key.
            on_wiped_stack(call);
            match self.next() {
                Some(next) => call = next,
                None => return,
            }
        }
    }

    /// The next call, unless none comes for a while.
    fn next(&self) -> Option<Call> {
        let mut state = lock(&self.state);
        state.idle += 1;
        let none = |state: &mut State| state.calls.is_empty() && !state.ended;
        (state, _) = self.changed.wait_timeout_while(state, IDLE, none).unwrap_or_else(PoisonError::into_inner);
        let call = state.calls.pop_front();
        if call.is_none() {
            state.idle -= 1;
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
        drop(go);
        let threads: BTreeSet<_> = (0..8).map(|_| format!("{:?}", doing.recv().unwrap())).collect();
        assert_eq!(threads.len(), 8);
        idle(9);
        let shared = workers.0.clone();
        drop(workers);
        while lock(&shared.state).idle > 0 || Arc::strong_count(&shared) > 1 {
            thread::yield_now();
        }
    }
}
