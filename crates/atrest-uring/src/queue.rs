//! Many requests of one thread.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;

use atrest::{BlockDevice, Error, FileDevice, OwningProcess, Result};

use crate::Sectors;
use crate::buffers::Buffer;
use crate::ring::{Direction, Ring};

/// Many reads and writes of a volume or disk under way at once, by one thread: see the [crate](crate).
///
/// They reach the disk in any order, and none is durable before a [`Volume::sync`](atrest::Volume::sync) that begins after it
/// was done. Two that touch the same sectors must not be under way together, if one of them writes. Requests are submitted to
/// the kernel in fours, and the rest by [`wait`](Self::wait).
///
/// It helps with a file that is read and written past the page cache ([`FileDevice::direct_io`]). During a re-encryption reads
/// and writes fail with [`Error::Busy`], as [`Volume::begin_read`](atrest::Volume::begin_read) says. In a forked child all calls
/// fail with [`Error::Forked`].
pub struct Queue<'q, S: Sectors> {
    sectors: &'q S,
    file: &'q File,
    /// `None`: plain calls.
    ring: Option<Ring>,
    slots: Vec<Slot<S::Write>>,
    free: Vec<usize>,
    /// Requests done by plain calls, and not taken yet.
    done: VecDeque<(usize, io::Result<usize>)>,
    most: usize,
    owner: OwningProcess,
}

struct Slot<W> {
    buffer: Buffer,
    request: Option<Request<W>>,
}

struct Request<W> {
    tag: u64,
    offset: u64,
    device_offset: u64,
    len: usize,
    /// `None` for a read.
    write: Option<W>,
}

/// A request that is done.
#[derive(Debug)]
#[non_exhaustive]
pub struct Done<'b> {
    /// The caller's number of the request.
    pub tag: u64,
    /// The sectors of a read; empty for a write. [`Error::Io`] is the disk's error: a part of a write may be there.
    pub result: Result<&'b [u8]>,
}

impl<'q, S: Sectors> Queue<'q, S> {
    /// A queue for up to `depth` requests of up to `most` bytes each, which takes as much memory. `file` is the file that
    /// `sectors` lie on: [`FileDevice::file`], or [`UringDevice::file`](crate::UringDevice::file).
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a depth of 0 or over 4096, or requests of 0 bytes or over 16 MiB.
    pub fn new(sectors: &'q S, file: &'q File, depth: usize, most: usize) -> Result<Self> {
        if !(1..=4096).contains(&depth) || !(1..=16 << 20).contains(&most) {
            let text = "a queue has 1 to 4096 requests of up to 16 MiB each";
            return Err(Error::InvalidOption(text.into()));
        }
        let ring = Ring::new((depth as u32).next_power_of_two());
        let ring =
            ring.inspect_err(|e| log::info!("there is no io_uring here, so a queue makes plain calls: {e}")).ok();
        let slot = || Slot { buffer: Buffer::new(most), request: None };
        let mut slots: Vec<_> = (0..depth).map(|_| slot()).collect();
        let mut ring = ring;
        if let Some(ring) = &mut ring {
            let memory: Vec<_> = slots.iter_mut().map(|slot| (slot.buffer.of(most).as_mut_ptr(), most)).collect();
            // SAFETY: the queue has both, and the ring goes first: its field stands before that of the slots. Where they outlive
            // the queue, they stay for ever.
            unsafe { ring.register(file, &memory) };
        }
        Ok(Queue {
            sectors,
            file,
            ring,
            slots,
            free: (0..depth).rev().collect(),
            done: VecDeque::with_capacity(depth),
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

    /// Whether the kernel has a ring for it. Otherwise each request is done when it begins.
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Readable while requests are done that weren't taken, for `poll` and its kind; `None` without a ring.
    #[cfg(target_os = "linux")]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.ring.as_ref().map(Ring::fd)
    }

    /// Begins to read `len` bytes from `offset`. `tag` identifies it when it is done.
    ///
    /// # Errors
    /// [`Error::Busy`] if the queue is full; [`Error::InvalidOption`] for more bytes than a request has; those of
    /// [`Volume::begin_read`](atrest::Volume::begin_read).
    pub fn read(&mut self, offset: u64, len: usize, tag: u64) -> Result<()> {
        let n = self.slot(len)?;
        let device_offset = self.sectors.begin_read(offset, len)?;
        self.begin(n, Request { tag, offset, device_offset, len, write: None });
        Ok(())
    }

    /// Begins to write `len` bytes at `offset`. `fill` puts them into the request's buffer, which holds anything before.
    ///
    /// # Errors
    /// As [`read`](Self::read); those of [`Volume::begin_write`](atrest::Volume::begin_write).
    pub fn write(&mut self, offset: u64, len: usize, tag: u64, fill: impl FnOnce(&mut [u8])) -> Result<()> {
        let n = self.slot(len)?;
        let sectors = self.slots[n].buffer.of(len);
        fill(sectors);
        let (device_offset, write) = self.sectors.begin_write(offset, sectors)?;
        self.begin(n, Request { tag, offset, device_offset, len, write: Some(write) });
        Ok(())
    }

    /// Submits the begun requests to the kernel, waits until `least` are done, or all if fewer are under way, and calls `each`
    /// with all finished ones. Returns their number. With 0 it doesn't wait.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel doesn't take them. They stay under way.
    pub fn wait(&mut self, least: usize, mut each: impl FnMut(Done<'_>)) -> Result<usize> {
        self.owner.check()?;
        let mut count = 0;
        while let Some((n, result)) = self.done.pop_front() {
            self.end(n, result, &mut each);
            count += 1;
        }
        while self.ring.is_some() {
            let wanted = least.saturating_sub(count).min(self.in_flight());
            let ring = self.ring.as_mut().expect("the loop has looked");
            ring.submit(wanted).map_err(|source| Error::Io { what: "submitting to io_uring".into(), source })?;
            // `each` may be slow: other requests are done meanwhile.
            self.done.extend(ring.done().map(|(n, result)| (n as usize, result)));
            while let Some((n, result)) = self.done.pop_front() {
                self.end(n, result, &mut each);
                count += 1;
            }
            if count >= least || self.in_flight() == 0 {
                break;
            }
        }
        Ok(count)
    }

    /// A slot that is free.
    fn slot(&self, len: usize) -> Result<usize> {
        self.owner.check()?;
        if len == 0 || len > self.most {
            return Err(Error::InvalidOption(format!(
                "a request of this queue has 1 to {} bytes, not {len}",
                self.most
            )));
        }
        let full = || Error::Busy { what: "the queue, which is full: take what is done, by `wait`; it".into() };
        self.free.last().copied().ok_or_else(full)
    }

    fn begin(&mut self, n: usize, request: Request<S::Write>) {
        let slot = &mut self.slots[n];
        let bytes = slot.buffer.of(request.len);
        let (file, at) = (self.file, request.device_offset);
        let direction = if request.write.is_some() { Direction::Write } else { Direction::Read };
        match &mut self.ring {
            // SAFETY: the file is borrowed for as long as the queue lives, and the buffer belongs to the slot, which isn't free
            // before the completion was taken. When the queue goes, it waits for all. The ring is as deep as there are slots.
            Some(ring) => unsafe { ring.push(file, direction, at, (bytes.as_mut_ptr(), bytes.len()), n as u64) },
            None => self.done.push_back((n, plainly(file, direction, at, bytes).map(|()| request.len))),
        }
        slot.request = Some(request);
        self.free.pop();
    }

    /// Ends a request, and reports it.
    fn end(&mut self, n: usize, result: io::Result<usize>, each: &mut impl FnMut(Done<'_>)) {
        let slot = &mut self.slots[n];
        let Some(Request { tag, offset, device_offset, len, write }) = slot.request.take() else { return };
        self.free.push(n);
        let bytes = slot.buffer.of(len);
        let direction = if write.is_some() { Direction::Write } else { Direction::Read };
        let done = match result {
            Ok(count) if count == len => Ok(()),
            // A plain call does the missing part, or reports why it can't.
            Ok(count) => plainly(self.file, direction, device_offset + count as u64, &mut bytes[count..]),
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                plainly(self.file, direction, device_offset, bytes)
            }
            Err(e) => Err(e),
        };
        let what = || format!("{direction:?} of {len} bytes at offset {device_offset} of the device");
        let done = done.map_err(|source| Error::Io { what: what(), source });
        // The disk has answered, with success or failure.
        let is_read = write.is_none();
        drop(write);
        let done = if is_read { done.and_then(|()| self.sectors.complete_read(offset, bytes)) } else { done };
        each(Done { tag, result: done.map(|()| if is_read { &*bytes } else { &[] }) });
    }
}

/// Reads or writes by calls that wait.
fn plainly(file: &File, direction: Direction, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    // As a device, since files are read in another way on each system.
    let device = FileDevice::from_file(file.try_clone()?);
    match direction {
        Direction::Read => device.read_at(at, bytes),
        Direction::Write => device.write_at(at, bytes),
    }
}

impl<S: Sectors> Drop for Queue<'_, S> {
    /// Waits for the requests under way. Their results are dropped.
    fn drop(&mut self) {
        let mut left = self.in_flight() - self.done.len();
        let Some(ring) = &mut self.ring else { return };
        let is_mine = self.owner.is_current();
        while left > 0 && is_mine && ring.submit(left).is_ok() {
            left -= ring.done().count();
        }
        if left > 0 {
            // The kernel may still use them; in a child that was forked, the parent's ring does.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

impl<S: Sectors> std::fmt::Debug for Queue<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (depth, in_flight) = (self.slots.len(), self.in_flight());
        f.debug_struct("Queue").field("depth", &depth).field("in_flight", &in_flight).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sectors in the clear.
    struct Plain;

    impl Sectors for Plain {
        type Write = ();

        fn begin_read(&self, offset: u64, _: usize) -> Result<u64> {
            Ok(offset)
        }

        fn complete_read(&self, _: u64, _: &mut [u8]) -> Result<()> {
            Ok(())
        }

        fn begin_write(&self, offset: u64, _: &mut [u8]) -> Result<(u64, ())> {
            Ok((offset, ()))
        }
    }

    #[test]
    fn without_a_ring_requests_are_plain_calls() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let mut queue = Queue::new(&Plain, &file, 2, 4096).unwrap();
        queue.ring = None;
        queue.write(4096, 4096, 1, |sectors| sectors.fill(7)).unwrap();
        queue.read(8192, 4096, 2).unwrap();
        assert!(queue.is_full() && matches!(queue.read(0, 4096, 3), Err(Error::Busy { .. })));
        let mut told = Vec::new();
        let count =
            queue.wait(2, |done| told.push((done.tag, done.result.map(<[u8]>::to_vec).map_err(|e| e.to_string()))));
        assert_eq!((count.unwrap(), queue.in_flight()), (2, 0));
        assert_eq!(told[0], (1, Ok(Vec::new())));
        // Beyond the end of the file.
        assert!(matches!(&told[1], (2, Err(_))));
        queue.read(4096, 512, 4).unwrap();
        queue.wait(9, |done| assert_eq!(done.result.unwrap(), [7; 512])).unwrap();
        assert_eq!(queue.wait(1, |_| panic!("there is none")).unwrap(), 0);
    }
}
