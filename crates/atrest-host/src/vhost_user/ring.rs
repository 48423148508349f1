//! A virtqueue, with the thread that serves it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::chain::{Broken, Chain};
use super::crew::Crew;
use super::flights::Flights;
use super::inflight::InflightQueue;
use super::polling::Polling;
use super::request::Executor;
use crate::Disk;

/// The longest time that the guest waits to be notified of a finished request, while others are done.
const TELL: Duration = Duration::from_micros(20);

/// The state that a thread needs to serve a queue. The thread owns it while it runs, and gives back what has changed.
pub(super) struct Ring {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) id: Arc<str>,
    pub(super) memory: Arc<GuestMemoryMmap>,
    pub(super) queue: Queue,
    pub(super) kick: Arc<File>,
    pub(super) call: Option<Arc<File>>,
    pub(super) inflight: Option<InflightQueue>,
    pub(super) polling: Polling,
    pub(super) crew: Crew,
}

/// A thread that serves a queue.
pub(super) struct Running {
    thread: JoinHandle<u16>,
    stop: Arc<Stop>,
}

struct Stop {
    asked: AtomicBool,
    wake: OwnedFd,
}

impl Running {
    /// Starts to serve a queue.
    pub(super) fn start(ring: Ring, name: String) -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let stop = Arc::new(Stop { asked: AtomicBool::new(false), wake });
        let asked = stop.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || ring.serve(&asked))?;
        Ok(Running { thread, stop })
    }

    /// Stops once the requests that were taken are done, and returns the index of the next one in the available ring.
    pub(super) fn stop(self) -> u16 {
        self.stop.asked.store(true, Ordering::Release);
        let woken = rustix::io::write(&self.stop.wake, &1u64.to_ne_bytes());
        debug_assert!(woken.is_ok(), "an eventfd takes a one");
        self.thread.join().expect("a queue's thread doesn't panic")
    }
}

impl Ring {
    /// Serves the queue until it is told to stop, or until the guest has broken it.
    fn serve(mut self, stop: &Stop) -> u16 {
        let disk = self.disk.clone();
        let id = self.id.clone();
        let mut executor = Executor::new(&*disk, &id);
        let (memory, mut chain) = (self.memory.clone(), Chain::default());
        let begun = self.begin(&memory, &mut executor, &mut chain);
        let ended = begun.and_then(|()| match disk.queue() {
            Some(queue) => self.fly(&memory, &mut executor, &mut chain, Flights::new(queue), stop),
            None => self.run(&memory, &mut executor, &mut chain, stop),
        });
        if let Err(error) = ended {
            log::warn!("a queue of the disk {id} is out of order, and is served no more: {error}");
        }
        self.queue.next_avail()
    }

    fn run(
        &mut self,
        memory: &GuestMemoryMmap,
        executor: &mut Executor<'_>,
        chain: &mut Chain,
        stop: &Stop,
    ) -> Result<(), String> {
        loop {
            self.queue.disable_notification(memory).map_err(text)?;
            // The guest is notified once for requests that are done within a moment: otherwise a guest on the same CPU would be
            // woken for each.
            let (mut told, mut untold) = (Instant::now(), false);
            while !stop.asked.load(Ordering::Acquire) {
                let next = if self.crew.has_room() { self.next(memory)? } else { None };
                if let Some(head) = next {
                    untold |= self.take_on(memory, executor, chain, head, untold)?;
                } else if !self.crew.is_waiting() {
                    break;
                } else {
                    if std::mem::take(&mut untold) {
                        self.notify(memory)?;
                    }
                    self.crew.work(executor.buffer());
                }
                untold |= self.give_back_done(memory, executor)?;
                if told.elapsed() > TELL {
                    self.notify(memory)?;
                    (told, untold) = (Instant::now(), false);
                }
            }
            if untold {
                self.notify(memory)?;
            }
            if stop.asked.load(Ordering::Acquire) {
                return self.finish(memory, executor);
            }
            if !self.crew.is_empty() {
                self.wait_for_crew(memory, executor, stop)?;
            } else if !self.wait(memory, stop, None)? {
                return Ok(());
            }
        }
    }

    /// Takes a request: a large one may be done by other threads meanwhile. Returns whether one was given back without the
    /// guest being notified.
    fn take_on(
        &mut self,
        memory: &GuestMemoryMmap,
        executor: &mut Executor<'_>,
        chain: &mut Chain,
        head: u16,
        untold: bool,
    ) -> Result<bool, String> {
        let table = GuestAddress(self.queue.desc_table());
        let read = chain.read(memory, table, self.queue.size(), head);
        let is_large = read.is_ok() && self.crew.takes(chain);
        if is_large || !self.crew.is_empty() {
            match executor.transfer(memory, chain) {
                Some(transfer) if is_large => {
                    self.crew.begin(head, chain, transfer);
                    return Ok(false);
                }
                Some(_) => self.crew.hand_over(),
                None if self.crew.is_empty() => {}
                // Requests that finish while this thread flushes would be given back after the flush, and that may take long.
                None => self.finish(memory, executor)?,
            }
        }
        self.execute(memory, executor, chain, head, read, untold).map(|()| true)
    }

    /// Gives finished large requests back to the guest without notifying it. Returns whether there were any.
    fn give_back_done(&mut self, memory: &GuestMemoryMmap, executor: &Executor<'_>) -> Result<bool, String> {
        let mut any = false;
        while let Some((head, written)) = self.crew.next_done(executor) {
            self.give_back(memory, head, written)?;
            any = true;
        }
        Ok(any)
    }

    /// Waits until a large request is done, the guest has something new, or the thread is to stop.
    fn wait_for_crew(&mut self, memory: &GuestMemoryMmap, executor: &Executor<'_>, stop: &Stop) -> Result<(), String> {
        // Both are looked at once more after it was said that this thread wants to know.
        if self.crew.has_room() && self.queue.enable_notification(memory).map_err(text)? {
            return Ok(());
        }
        if let Some(done) = self.crew.awaited() {
            self.sleep(stop, Some(done))?;
        }
        if self.give_back_done(memory, executor)? { self.notify(memory) } else { Ok(()) }
    }

    /// Waits for the large requests that were taken, and gives them back.
    fn finish(&mut self, memory: &GuestMemoryMmap, executor: &mut Executor<'_>) -> Result<(), String> {
        while !self.crew.is_empty() {
            self.crew.work(executor.buffer());
            if let Some(done) = self.crew.awaited() {
                match poll(&mut [PollFd::from_borrowed_fd(done, PollFlags::IN)], None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(text(error)),
                }
            }
            self.give_back_done(memory, executor)?;
        }
        self.notify(memory)
    }

    /// As [`run`](Self::run), of a disk that has many requests under way.
    fn fly(
        &mut self,
        memory: &GuestMemoryMmap,
        executor: &mut Executor<'_>,
        chain: &mut Chain,
        mut flights: Flights<'_>,
        stop: &Stop,
    ) -> Result<(), String> {
        loop {
            self.queue.disable_notification(memory).map_err(text)?;
            let mut is_idle = true;
            // Finished requests are given back before more are taken, so that no guest can have more under way than the disk has room for.
            while !flights.is_full()
                && !flights.has_landed()
                && !stop.asked.load(Ordering::Acquire)
                && let Some(head) = self.next(memory)?
            {
                is_idle = false;
                self.take_off(memory, executor, &mut flights, chain, head)?;
            }
            // Requests that have begun are submitted to the system here. A full queue also waits in the system.
            let least = usize::from(flights.is_full());
            let taken = flights.take(memory, least).map_err(text)?;
            self.land(memory, executor, &mut flights)?;
            if stop.asked.load(Ordering::Acquire) {
                while !flights.is_empty() {
                    flights.take(memory, 1).map_err(text)?;
                    self.land(memory, executor, &mut flights)?;
                }
                return Ok(());
            }
            if is_idle && taken == 0 {
                self.wait(memory, stop, flights.fd())?;
            }
        }
    }

    /// Takes a request. A read or write continues while others are taken; all others are done at once. A flush covers requests
    /// that the guest has back already.
    fn take_off(
        &mut self,
        memory: &GuestMemoryMmap,
        executor: &mut Executor<'_>,
        flights: &mut Flights<'_>,
        chain: &mut Chain,
        head: u16,
    ) -> Result<(), String> {
        let table = GuestAddress(self.queue.desc_table());
        let read = chain.read(memory, table, self.queue.size(), head);
        match executor.transfer(memory, chain).filter(|_| read.is_ok()) {
            Some(transfer) => flights.begin(memory, head, chain, transfer).map_err(text),
            None => {
                self.execute(memory, executor, chain, head, read, false)?;
                self.notify(memory)
            }
        }
    }

    /// Gives requests that are done back to the guest.
    fn land(
        &mut self,
        memory: &GuestMemoryMmap,
        executor: &mut Executor<'_>,
        flights: &mut Flights<'_>,
    ) -> Result<(), String> {
        let mut any = false;
        while let Some((head, written)) = flights.next_done(memory, executor) {
            self.give_back(memory, head, written)?;
            any = true;
        }
        if any { self.notify(memory) } else { Ok(()) }
    }

    fn begin(
        &mut self,
        memory: &GuestMemoryMmap,
        executor: &mut Executor<'_>,
        chain: &mut Chain,
    ) -> Result<(), String> {
        if !self.queue.is_valid(memory) {
            return Err("its rings aren't in the guest's memory".into());
        }
        self.recover(memory, executor, chain)
    }

    /// Repeats the requests that were under way when the process before this one died.
    fn recover(
        &mut self,
        memory: &GuestMemoryMmap,
        executor: &mut Executor<'_>,
        chain: &mut Chain,
    ) -> Result<(), String> {
        let used = self.queue.used_idx(memory, Ordering::Acquire).map_err(text)?.0;
        self.queue.set_next_used(used);
        let Some(inflight) = &mut self.inflight else { return Ok(()) };
        let again = inflight.recover(used).map_err(text)?;
        self.queue.set_next_avail(used.wrapping_add(u16::try_from(again.len()).map_err(text)?));
        if again.is_empty() {
            return Ok(());
        }
        let table = GuestAddress(self.queue.desc_table());
        for head in again {
            let read = chain.read(memory, table, self.queue.size(), head);
            self.execute(memory, executor, chain, head, read, false)?;
        }
        self.notify(memory)
    }

    /// The first descriptor of the next request, which is under way from here on.
    fn next(&mut self, memory: &GuestMemoryMmap) -> Result<Option<u16>, String> {
        let head = self.queue.iter(memory).map_err(text)?.next().map(|chain| chain.head_index());
        let Some(head) = head else { return Ok(None) };
        if head >= self.queue.size() {
            return Err(format!("it has no descriptor {head}"));
        }
        if let Some(inflight) = &mut self.inflight {
            inflight.take(head).map_err(text)?;
        }
        Ok(Some(head))
    }

    /// Does a request whose chain was `read`, and gives it back to the guest without notifying it. If earlier requests are
    /// `untold`, the guest is notified of them before a request that may take long.
    fn execute(
        &mut self,
        memory: &GuestMemoryMmap,
        executor: &mut Executor<'_>,
        chain: &Chain,
        head: u16,
        read: Result<(), Broken>,
        untold: bool,
    ) -> Result<(), String> {
        let written = match read {
            Ok(()) => {
                if untold && !executor.is_short(memory, chain) {
                    self.notify(memory)?;
                }
                executor.execute(memory, chain)
            }
            Err(Broken(what)) => {
                log::warn!("a request of a guest has {what}; it gets no answer");
                0
            }
        };
        self.give_back(memory, head, written)
    }

    fn give_back(&mut self, memory: &GuestMemoryMmap, head: u16, written: u32) -> Result<(), String> {
        if let Some(inflight) = &mut self.inflight {
            inflight.giving_back(head).map_err(text)?;
        }
        self.queue.add_used(memory, head, written).map_err(text)?;
        if let Some(inflight) = &mut self.inflight {
            inflight.given_back(head, self.queue.next_used()).map_err(text)?;
        }
        Ok(())
    }

    /// Tells the guest that requests were given back, if it wants to know.
    fn notify(&mut self, memory: &GuestMemoryMmap) -> Result<(), String> {
        if self.queue.needs_notification(memory).map_err(text)?
            && let Some(call) = &self.call
        {
            // It fails if the counter is full: then the guest has been notified often enough.
            let _ = rustix::io::write(call, &1u64.to_ne_bytes());
        }
        Ok(())
    }

    /// Waits until the guest has something new, or `done` is readable. Returns `false` if the thread is to stop.
    fn wait(&mut self, memory: &GuestMemoryMmap, stop: &Stop, done: Option<BorrowedFd<'_>>) -> Result<bool, String> {
        if done.is_some() {
            // The disk takes longer than it would be worth to look.
            return Ok(self.queue.enable_notification(memory).map_err(text)? || self.sleep(stop, done)?);
        }
        let begun = Instant::now();
        let (queue, next) = (&self.queue, self.queue.next_avail());
        // The guest needn't notify while this thread polls.
        let found = self.polling.look(begun, || -> Result<_, String> {
            let is_asked = stop.asked.load(Ordering::Acquire);
            let available = queue.avail_idx(memory, Ordering::Acquire).map_err(text)?.0;
            Ok((is_asked || available != next).then_some(!is_asked))
        });
        if let Some(goes_on) = found? {
            return Ok(goes_on);
        }
        let goes_on = self.queue.enable_notification(memory).map_err(text)? || self.sleep(stop, None)?;
        self.polling.waited(begun.elapsed());
        Ok(goes_on)
    }

    /// Sleeps until the guest notifies, or `done` is readable. Returns `false` if the thread is to stop.
    fn sleep(&self, stop: &Stop, done: Option<BorrowedFd<'_>>) -> Result<bool, String> {
        let kick = self.kick.as_fd();
        let mut events =
            [kick, stop.wake.as_fd(), done.unwrap_or(kick)].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(text(error)),
        }
        if stop.asked.load(Ordering::Acquire) {
            return Ok(false);
        }
        if events[0].revents().contains(PollFlags::IN) {
            // The file may be one that never blocks, and have been read meanwhile.
            let _ = rustix::io::read(&*self.kick, &mut [0; 8]);
        } else if !events[0].revents().is_empty() {
            return Err("its guest is gone".into());
        }
        Ok(true)
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
