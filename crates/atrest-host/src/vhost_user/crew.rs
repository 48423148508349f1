//! Threads that do large requests of a queue, beside the queue's own.
//!
//! One thread copies from the page cache and then decrypts, one after the other. While a guest has several large requests under
//! way, other threads take some of them. One thread does each request as a whole, so that no thread waits for another's part.
//! The queue's own thread does a lone request, so that none has to be woken. Requests come back in any order, as the protocol
//! allows.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, current};

use rustix::event::{EventfdFlags, eventfd};
use vm_memory::GuestMemoryMmap;

use super::chain::Chain;
use super::request::{Executor, HEADER};
use super::transfer::{PIECE, Transfer};
use crate::Disk;
use crate::buffer::Buffer;

/// The least bytes of a request that another thread is woken for.
const LARGE: u64 = 128 << 10;

/// The large requests of a queue that are under way, and the threads that do them.
pub(super) struct Crew {
    shared: Arc<Shared>,
    /// The most threads beside the queue's own. They begin when there is something to do for them, and end with this.
    most: usize,
    threads: Vec<JoinHandle<()>>,
    under_way: usize,
    /// Chains of requests that were given back. Later requests reuse their memory.
    spare: Vec<Chain>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    memory: Arc<GuestMemoryMmap>,
    jobs: Mutex<Jobs>,
    /// There is something to do, or will be no more.
    come: Condvar,
    /// Readable once a request is done that the queue's thread waits for.
    done: OwnedFd,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    landed: VecDeque<Job>,
    /// The number of idle threads.
    idle: usize,
    /// Whether the queue's thread waits for the next that is done.
    awaited: bool,
    stopping: bool,
}

struct Job {
    head: u16,
    chain: Chain,
    transfer: Transfer,
    is_done: bool,
}

impl Crew {
    pub(super) fn new(disk: Arc<dyn Disk>, memory: Arc<GuestMemoryMmap>, most: usize) -> std::io::Result<Self> {
        let done = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Shared { disk, memory, jobs: Mutex::default(), come: Condvar::new(), done };
        Ok(Crew { shared: Arc::new(shared), most, threads: Vec::new(), under_way: 0, spare: Vec::new() })
    }

    /// Whether another request may begin. Finished ones are given back first, which bounds the requests of a guest held here.
    pub(super) fn has_room(&self) -> bool {
        self.under_way < 2 * (self.most + 1)
    }

    /// Whether none is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way == 0
    }

    /// Whether a request is so large that others may do it.
    pub(super) fn takes(&self, chain: &Chain) -> bool {
        self.most > 0 && chain.readable.len().max(chain.writable.len()) >= LARGE
    }

    /// Whether a request waits for a thread to do it.
    pub(super) fn is_waiting(&self) -> bool {
        self.under_way > 0 && !self.shared.jobs().waiting.is_empty()
    }

    /// Begins a request. `chain` is taken.
    pub(super) fn begin(&mut self, head: u16, chain: &mut Chain, transfer: Transfer) {
        let taken = std::mem::replace(chain, self.spare.pop().unwrap_or_default());
        let mut jobs = self.shared.jobs();
        jobs.waiting.push_back(Job { head, chain: taken, transfer, is_done: false });
        self.under_way += 1;
        // The first is for the queue's own thread.
        if jobs.waiting.len() > 1 {
            let is_idle = jobs.idle > 0;
            drop(jobs);
            self.call(is_idle);
        }
    }

    /// Wakes another thread for the waiting requests, because the queue's own does something else.
    pub(super) fn hand_over(&mut self) {
        if self.is_waiting() {
            let is_idle = self.shared.jobs().idle > 0;
            self.call(is_idle);
        }
    }

    fn call(&mut self, is_idle: bool) {
        if is_idle {
            self.shared.come.notify_one();
        } else if self.threads.len() < self.most {
            self.add_thread();
        }
    }

    fn add_thread(&mut self) {
        let shared = self.shared.clone();
        let name = current().name().unwrap_or("disk").to_owned();
        match Builder::new().name(name).spawn(move || shared.help()) {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                log::warn!("a queue's large requests are done by fewer threads: {error}");
                self.most = self.threads.len();
            }
        }
    }

    /// Does one of the waiting requests, if there is one.
    pub(super) fn work(&self, buffer: &mut Buffer) {
        let job = self.shared.jobs().waiting.pop_front();
        if let Some(job) = job {
            self.shared.run(job, buffer);
        }
    }

    /// The next request that is done: its first descriptor, and how many bytes of the guest's memory were written.
    pub(super) fn next_done(&mut self, executor: &Executor<'_>) -> Option<(u16, u32)> {
        if self.is_empty() {
            return None; // without a look at what others work on, which small requests would pay for
        }
        let Job { head, chain, transfer, is_done } = self.shared.jobs().landed.pop_front()?;
        self.under_way -= 1;
        let len = if transfer.writes { 0 } else { transfer.len };
        let written = executor.tell(&self.shared.memory, &chain, if is_done { Ok(len) } else { Err(()) });
        self.spare.push(chain);
        Some((head, written))
    }

    /// A descriptor that becomes readable once another request is done; `None` if one is already, or one waits that the caller has to do.
    pub(super) fn awaited(&self) -> Option<BorrowedFd<'_>> {
        let mut jobs = self.shared.jobs();
        if !jobs.waiting.is_empty() || !jobs.landed.is_empty() {
            return None;
        }
        // It never blocks.
        let _ = rustix::io::read(&self.shared.done, &mut [0; 8]);
        jobs.awaited = true;
        Some(self.shared.done.as_fd())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.jobs().stopping = true;
        self.shared.come.notify_all();
        for thread in self.threads.drain(..) {
            // Its own thread has reported a panic.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// A panic can't leave a change to the jobs half done.
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one request after the other, until there will be no more.
    fn help(&self) {
        let mut buffer = Buffer::new(PIECE);
        let mut jobs = self.jobs();
        while !jobs.stopping {
            if let Some(job) = jobs.waiting.pop_front() {
                drop(jobs);
                self.run(job, &mut buffer);
                jobs = self.jobs();
            } else {
                jobs.idle += 1;
                jobs = self.come.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                jobs.idle -= 1;
            }
        }
    }

    fn run(&self, job: Job, buffer: &mut Buffer) {
        let mut landing = Landing { shared: self, job: Some(job) };
        let Some(Job { chain, transfer, is_done, .. }) = &mut landing.job else { return };
        let (of, from) = if transfer.writes { (&chain.readable, HEADER as u64) } else { (&chain.writable, 0) };
        *is_done = transfer.run(&*self.disk, &self.memory, of, from, buffer).is_ok();
    }
}

/// Gives a request back, as failed if the disk panics.
struct Landing<'a> {
    shared: &'a Shared,
    job: Option<Job>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut jobs = self.shared.jobs();
        jobs.landed.extend(self.job.take());
        if std::mem::take(&mut jobs.awaited) {
            let woken = rustix::io::write(&self.shared.done, &1u64.to_ne_bytes());
            debug_assert!(woken.is_ok(), "an eventfd takes a one");
        }
    }
}
