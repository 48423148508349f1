//! Many requests of one thread.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use atrest::volume::Sectors;
use atrest::{Error, OwningProcess, Result};
use zeroize::Zeroizing;

use crate::RbdDevice;
use crate::connect::deadline;
use crate::device::LOOK;
use crate::ends::Ends;
use crate::life::now;
use crate::sys::{Operation, errno};
use crate::trouble::{End, timed_out};

const READING: &str = "reading";
const WRITING: &str = "writing";

/// Many reads and writes of a volume or disk on an image under way at once, by one thread. Nothing is copied: a read is
/// decrypted in librbd's buffer.
///
/// They reach the cluster in any order. Two that touch the same sectors must not be under way together, if one of them writes.
/// Each has the [deadline](crate::RbdOptions::deadline) of a call of the device, and ends as one: see the [crate](crate). During a
/// re-encryption reads and writes fail with [`Error::Busy`], as [`Volume::begin_read`](atrest::Volume::begin_read) says.
///
/// ```no_run
/// use atrest::{Credential, OpenOptions, Volume};
/// use atrest_rbd::{Queue, RbdDevice, RbdOptions};
///
/// # fn main() -> atrest::Result<()> {
/// let device = RbdDevice::open("rbd/disk", &RbdOptions::new())?;
/// let volume = Volume::open(device, Credential::Passphrase(b"secret"), &OpenOptions::new())?;
/// let mut queue = Queue::new(&volume, volume.device(), 32, 4096)?;
/// for block in 0..32 {
///     queue.read(block * 4096, 4096, block)?;
/// }
/// while queue.in_flight() > 0 {
///     queue.wait(1, |done| println!("block {}: {:?}", done.tag, done.result.map(|sectors| sectors.len())));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Queue<'q, S: Sectors> {
    sectors: &'q S,
    device: &'q RbdDevice,
    ends: Arc<Ends>,
    slots: Vec<Slot<S::Write>>,
    free: Vec<usize>,
    /// The numbers of operations that have ended and were not looked at.
    ended: Vec<u64>,
    /// When it is looked for deadlines that have passed.
    look: Instant,
    most: usize,
    owner: OwningProcess,
}

struct Slot<W> {
    /// Empty while an operation has it.
    buffer: Zeroizing<Vec<u8>>,
    request: Option<Request<W>>,
    /// How many requests it has had: an operation that was given up may end when the slot has another.
    count: u64,
}

struct Request<W> {
    operation: Operation,
    tag: u64,
    offset: u64,
    len: usize,
    began: u64,
    until: Instant,
    /// `None` for a read.
    write: Option<W>,
}

/// A request that is done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Done<'b> {
    /// The caller's number of the request.
    pub tag: u64,
    /// The sectors of a read; empty for a write. After [`Error::Io`] of a write, a part of it may be there, or still come.
    pub result: Result<&'b [u8]>,
}

impl<'q, S: Sectors> Queue<'q, S> {
    /// A queue for up to `depth` requests of up to `most` bytes each, which takes as much memory. `device` is the device that
    /// `sectors` lie on: [`Volume::device`](atrest::Volume::device).
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a depth of 0 or over 4096, or requests of 0 bytes or over 16 MiB.
    pub fn new(sectors: &'q S, device: &'q RbdDevice, depth: usize, most: usize) -> Result<Self> {
        if !(1..=4096).contains(&depth) || !(1..=16 << 20).contains(&most) {
            let text = "a queue has 1 to 4096 requests of up to 16 MiB each";
            return Err(Error::InvalidOption(text.into()));
        }
        let slot = || Slot { buffer: Zeroizing::new(vec![0; most]), request: None, count: 0 };
        Ok(Queue {
            sectors,
            device,
            ends: Arc::new(Ends::new(depth)),
            slots: (0..depth).map(|_| slot()).collect(),
            free: (0..depth).rev().collect(),
            ended: Vec::with_capacity(depth),
            look: deadline(LOOK),
            most,
            owner: OwningProcess::current(),
        })
    }

    /// How many requests are under way, or done and not taken.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether no request can begin before one was [taken](Self::wait).
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Readable while finished requests weren't taken, for `poll` and its kind. Only [`wait`](Self::wait) reports a deadline
    /// that passes, so call it once a second, too, while requests are under way.
    #[cfg(target_os = "linux")]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        // A thread of librbd may have held the lock at a fork.
        if self.owner.is_current() { self.ends.fd() } else { None }
    }

    /// Begins to read `len` bytes from `offset`. `tag` identifies it when it is done.
    ///
    /// # Errors
    /// [`Error::Busy`] if the queue is full; [`Error::InvalidOption`] for more bytes than a request has; [`Error::Io`] if the
    /// device is at its end; those of [`Volume::begin_read`](atrest::Volume::begin_read).
    pub fn read(&mut self, offset: u64, len: usize, tag: u64) -> Result<()> {
        let (n, until) = (self.slot(len)?, deadline(self.device.options.deadline));
        let failed = |source| failed(READING, offset, len, source);
        let image = self.device.usable().map_err(failed)?;
        let at = self.sectors.begin_read(offset, len)?;
        let (buffer, told) = self.take(n);
        let operation = Operation::read(image, at, buffer, len, Some(told));
        let operation = operation.map_err(|code| failed(self.device.failed(READING, code)))?;
        self.begin(n, Request { operation, tag, offset, len, began: now(), until, write: None });
        Ok(())
    }

    /// Begins to write `len` bytes at `offset`. `fill` puts them into the request's buffer, which holds anything before.
    ///
    /// It may ask the cluster for the lock first, as [`RbdOptions::trust_lock`](crate::RbdOptions::trust_lock) says.
    ///
    /// # Errors
    /// As [`read`](Self::read); those of [`Volume::begin_write`](atrest::Volume::begin_write).
    pub fn write(&mut self, offset: u64, len: usize, tag: u64, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let (n, until) = (self.slot(len)?, deadline(self.device.options.deadline));
        let failed = |source| failed(WRITING, offset, len, source);
        let image = self.device.writable(until).map_err(failed)?;
        let sectors = &mut self.slots[n].buffer[..len];
        fill(sectors);
        let (at, write) = self.sectors.begin_write(offset, sectors)?;
        let (buffer, told) = self.take(n);
        // librbd may do an operation even if it returned an error.
        let operation = Operation::write(image, at, buffer, len, Some(told));
        let operation = operation.map_err(|_| failed(self.device.unknown(image)))?;
        self.begin(n, Request { operation, tag, offset, len, began: now(), until, write: Some(write) });
        Ok(())
    }

    /// Waits until `least` requests are done, or all if fewer are under way, and calls `each` with all finished ones. Returns
    /// their number. With 0 it doesn't wait. The thread is woken once for all that it waits for, so that several small requests
    /// cost less than one at a time. A request whose deadline has passed is done within a second. In a forked child all end at once,
    /// by an error whose cause is [`Error::Forked`]: what becomes of them is their parent's.
    pub fn wait(&mut self, least: usize, mut each: impl FnMut(Done<'_>)) -> usize {
        if !self.owner.is_current() {
            return self.abandon(&mut each);
        }
        let wanted = least.min(self.in_flight());
        let mut count = 0;
        loop {
            let mut ended = std::mem::take(&mut self.ended);
            self.ends.take(&mut ended, wanted - count.min(wanted), self.look);
            for number in ended.drain(..) {
                count += usize::from(self.end(number, &mut each));
            }
            self.ended = ended;
            if Instant::now() >= self.look {
                count += self.give_up(&mut each);
                self.look = deadline(LOOK);
            }
            if count >= wanted {
                return count;
            }
        }
    }

    /// Ends all requests, whose operations are another process's.
    fn abandon(&mut self, each: &mut impl FnMut(Done<'_>)) -> usize {
        let mut count = 0;
        for n in 0..self.slots.len() {
            let Some(request) = self.slots[n].request.take() else { continue };
            self.tell(n, request, self.owner.check_io(), each);
            count += 1;
        }
        count
    }

    /// A slot that is free, with its buffer.
    fn slot(&mut self, len: usize) -> Result<usize> {
        self.owner.check()?;
        if len == 0 || len > self.most {
            let text = format!("a request of this queue has 1 to {} bytes, not {len}", self.most);
            return Err(Error::InvalidOption(text));
        }
        let full = || Error::Busy { what: "the queue, which is full: take what is done, by `wait`; it".into() };
        let n = *self.free.last().ok_or_else(full)?;
        let buffer = &mut self.slots[n].buffer;
        if buffer.is_empty() {
            // An operation that was given up has the last one.
            **buffer = vec![0; self.most];
        }
        Ok(n)
    }

    /// The buffer of a slot, and the receiver of its operation's end.
    fn take(&mut self, n: usize) -> (Vec<u8>, (Arc<Ends>, u64)) {
        let depth = self.slots.len() as u64;
        let slot = &mut self.slots[n];
        slot.count += 1;
        let number = slot.count * depth + n as u64;
        (std::mem::take(&mut *slot.buffer), (self.ends.clone(), number))
    }

    fn begin(&mut self, n: usize, request: Request<S::Write>) {
        self.slots[n].request = Some(request);
        self.free.pop();
    }

    /// Ends the request whose operation has this number, unless it was given up.
    fn end(&mut self, number: u64, each: &mut impl FnMut(Done<'_>)) -> bool {
        let (n, count) = ((number % self.slots.len() as u64) as usize, number / self.slots.len() as u64);
        let slot = &mut self.slots[n];
        let Some(mut request) = slot.request.take_if(|_| slot.count == count) else { return false };
        let ended = match request.operation.wait(request.until) {
            Some(Ok((returned, buffer))) => {
                slot.buffer = Zeroizing::new(buffer);
                if request.write.is_some() {
                    self.device.life.show(request.began);
                    Ok(())
                } else if returned == request.len as i64 {
                    Ok(())
                } else {
                    Err(self.device.became_shorter())
                }
            }
            None | Some(Err(errno::ETIMEDOUT)) => Err(self.timed_out(&request)),
            Some(Err(code)) => Err(self.device.failed(request.what(), code)),
        };
        self.tell(n, request, ended, each);
        true
    }

    /// Ends the requests whose deadline has passed, and the writes of a client that is shut out. Their operations keep the buffers
    /// until librbd is done with them.
    fn give_up(&mut self, each: &mut impl FnMut(Done<'_>)) -> usize {
        let (mut count, mut is_long) = (0, false);
        for n in 0..self.slots.len() {
            let late = |request: &mut Request<S::Write>| {
                let is_write = request.write.is_some();
                is_long |= is_write && request.began + LOOK.as_millis() as u64 <= now();
                request.until <= Instant::now() || is_write && self.device.life.end() == Some(End::Fenced)
            };
            let Some(request) = self.slots[n].request.take_if(late) else { continue };
            let error = self.timed_out(&request);
            self.tell(n, request, Err(error), each);
            count += 1;
        }
        if let (true, Ok(image)) = (is_long, self.device.usable()) {
            self.device.life.ask_whether_shut_out(image);
        }
        count
    }

    /// The error of a request whose deadline has passed. After a write the device is at its end.
    fn timed_out(&self, request: &Request<S::Write>) -> io::Error {
        match self.device.usable() {
            Err(error) => error,
            Ok(image) if request.write.is_some() => self.device.unknown(image),
            Ok(_) => timed_out(request.what(), &self.device.name),
        }
    }

    /// Reports a finished request, whose slot is then free.
    fn tell(&mut self, n: usize, request: Request<S::Write>, ended: io::Result<()>, each: &mut impl FnMut(Done<'_>)) {
        self.free.push(n);
        let what = request.what();
        let Request { tag, offset, len, write, .. } = request;
        let is_read = write.is_none();
        // The cluster has answered, or the request was given up.
        drop(write);
        let result = match ended {
            Ok(()) if is_read => {
                let sectors = &mut self.slots[n].buffer[..len];
                self.sectors.complete_read(offset, sectors).map(|()| &*sectors)
            }
            Ok(()) => Ok(&[][..]),
            Err(source) => Err(failed(what, offset, len, source)),
        };
        each(Done { tag, result });
    }
}

impl<W> Request<W> {
    fn what(&self) -> &'static str {
        if self.write.is_some() { WRITING } else { READING }
    }
}

fn failed(what: &str, offset: u64, len: usize, source: io::Error) -> Error {
    Error::Io { what: format!("{what} {len} bytes at offset {offset}"), source }
}

impl<S: Sectors> Drop for Queue<'_, S> {
    /// Waits for the requests under way, up to their deadlines. Their results are dropped.
    fn drop(&mut self) {
        // A child that was forked has no threads of librbd.
        if self.owner.is_current() {
            self.wait(self.in_flight(), |_| {});
        }
    }
}

impl<S: Sectors> std::fmt::Debug for Queue<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (depth, in_flight) = (self.slots.len(), self.in_flight());
        f.debug_struct("Queue").field("depth", &depth).field("in_flight", &in_flight).finish_non_exhaustive()
    }
}
