//! The requests of a connection, served by as many threads as it takes.
//!
//! A thread reads a request, lets another thread read the next one, serves its own and writes the reply. So requests that come
//! together are served together, in any order, as the protocol allows. Where requests are done sooner than another thread wakes,
//! one thread serves those that have come together one after the other, and sends their replies together.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::Scope;
use std::time::{Duration, Instant};

use atrest::volume::VolumeExtent;
use atrest::{Error, Result};
use atrest_nbd::wire::*;

use super::negotiation::Agreed;
use super::replies::Replies;
use super::requests::Requests;
use crate::Disk;
use crate::buffer::Buffer;
use crate::socket::is_gone;
use crate::sync::lock;

/// The most bytes read or written at once. Longer requests are served in pieces.
const PIECE: usize = 1 << 20;

/// Requests that take less are not worth waking another thread for.
const QUICK: Duration = Duration::from_micros(20);

/// One connection in the transmission phase.
pub(super) struct Transmission<'a, R, W> {
    disk: &'a dyn Disk,
    agreed: Agreed,
    most: usize,
    /// `None` once no more requests will be read.
    requests: Mutex<Option<Requests<R>>>,
    replies: Mutex<Replies<W>>,
    /// How long the last requests took, on the average, in nanoseconds.
    usual: AtomicU64,
    /// The threads that there are, and those of them that wait for a request.
    threads: AtomicUsize,
    idle: AtomicUsize,
}

impl<'a, R: Read + Send, W: Write + Send> Transmission<'a, R, W> {
    /// `most` is the number of requests that are served at once.
    pub(super) fn new(disk: &'a dyn Disk, agreed: Agreed, most: usize, requests: R, replies: W) -> Self {
        Transmission {
            disk,
            agreed,
            most,
            requests: Mutex::new(Some(Requests::new(requests))),
            replies: Mutex::new(Replies::new(replies)),
            // Nothing is known yet, and the disk may be a slow one.
            usual: AtomicU64::new(2 * QUICK.as_nanos() as u64),
            threads: AtomicUsize::new(1),
            idle: AtomicUsize::new(0),
        }
    }

    /// Serves requests until the client is gone, or has broken the protocol.
    pub(super) fn serve(&self) {
        std::thread::scope(|scope| self.work(scope));
    }

    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        let mut buffer = Buffer::new(PIECE);
        while self.take_turn(scope, &mut buffer) {}
    }

    /// Reads requests and serves them, until another thread is to read. Returns `false` when there will be no more.
    fn take_turn<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, buffer: &mut Buffer) -> bool {
        self.idle.fetch_add(1, Ordering::Relaxed);
        let mut turn = lock(&self.requests);
        self.idle.fetch_sub(1, Ordering::Relaxed);
        loop {
            let Some(requests) = &mut *turn else { return false };
            let (request, taken) = match self.next(requests, buffer) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(error) => {
                    if !is_gone(&error) {
                        log::warn!("a client's connection ends: {error}");
                    }
                    break;
                }
            };
            // A lone request is served before the next is waited for: waking another thread would take longer. A flush may take
            // long.
            let alone = request.kind != FLUSH && (!requests.more() || (is_short(&request) && self.is_quick()));
            if alone {
                lock(&self.replies).hold(requests.has_whole());
            } else {
                if lock(&self.replies).release().is_err() {
                    break;
                }
                drop(turn);
                self.add_thread(scope);
                if self.serve_one(&request, taken, buffer).is_err() {
                    *lock(&self.requests) = None;
                }
                return true;
            }
            if self.serve_one(&request, taken, buffer).is_err() {
                break;
            }
        }
        *turn = None;
        // The client may have gone without waiting for them.
        let _ = lock(&self.replies).release();
        false
    }

    /// Whether requests are done so soon that one thread does them sooner than several.
    fn is_quick(&self) -> bool {
        self.usual.load(Ordering::Relaxed) < QUICK.as_nanos() as u64
    }

    fn serve_one(&self, request: &Request, taken: Option<Outcome>, buffer: &mut Buffer) -> io::Result<()> {
        let begun = Instant::now();
        let answered = self.answer(request, taken, buffer);
        if !is_short(request) {
            return answered;
        }
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX / 8);
        // An average that follows the last eight or so. One that is lost to another thread does no harm.
        let usual = self.usual.load(Ordering::Relaxed);
        self.usual.store(usual - usual / 8 + took / 8, Ordering::Relaxed);
        answered
    }

    /// Adds a thread where all others have something to do.
    fn add_thread<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) {
        if self.idle.load(Ordering::Relaxed) > 0 || self.threads.load(Ordering::Relaxed) >= self.most {
            return;
        }
        self.threads.fetch_add(1, Ordering::Relaxed);
        let name = std::thread::current().name().unwrap_or("nbd").to_owned();
        if let Err(error) = std::thread::Builder::new().name(name).spawn_scoped(scope, move || self.work(scope)) {
            self.threads.fetch_sub(1, Ordering::Relaxed);
            log::warn!("a client's requests are served by fewer threads: {error}");
        }
    }

    /// Reads the next request, and the data of a write into `buffer`. `None`: there will be no more. The second of the pair is
    /// the outcome of a request whose data were too long for the buffer, or wrong: they were read already.
    fn next(&self, stream: &mut Requests<R>, buffer: &mut Buffer) -> io::Result<Option<(Request, Option<Outcome>)>> {
        let mut header = [0; Request::LEN];
        stream.read_exact(&mut header)?;
        let request = Request::parse(&header).ok_or_else(|| invalid("a client's request isn't one"))?;
        match request.kind {
            DISCONNECT => return Ok(None),
            WRITE if request.len > MAX_PAYLOAD => return Err(invalid("a client writes more at once than it may")),
            WRITE => {}
            _ => return Ok(Some((request, None))),
        }
        if let Err(error) = self.check(&request) {
            discard(stream, request.len, buffer)?;
            return Ok(Some((request, Some(Err(error)))));
        }
        if request.len as usize <= PIECE {
            stream.read_exact(buffer.of(request.len as usize))?;
            return Ok(Some((request, None)));
        }
        let mut outcome = Ok(());
        for (at, len) in pieces(request.len) {
            let piece = buffer.of(len);
            stream.read_exact(piece)?;
            if outcome.is_ok() {
                outcome = failed(self.disk.write_at(request.offset + at, piece));
            }
        }
        Ok(Some((request, Some(outcome))))
    }

    /// Serves a request, and writes its reply. An error is one of the connection.
    fn answer(&self, request: &Request, taken: Option<Outcome>, buffer: &mut Buffer) -> io::Result<()> {
        let outcome = match taken {
            Some(outcome) => outcome.and_then(|()| self.flush_if(request)),
            None => match (self.check(request), request.kind) {
                (Ok(()), READ) => return self.read(request, buffer),
                (Err(error), READ) => return self.fail(request, error),
                (Ok(()), BLOCK_STATUS) => return self.block_status(request),
                (Ok(()), _) => self.change(request, buffer),
                (Err(error), _) => Err(error),
            },
        };
        match outcome {
            Ok(()) => self.reply(&[&simple_reply(request.cookie, 0)]),
            Err(error) => self.fail(request, error),
        }
    }

    /// Whether the request is valid, and for sectors within the disk.
    fn check(&self, request: &Request) -> Outcome {
        let allowed = match request.kind {
            READ if self.agreed.structured => DF | FUA,
            WRITE | TRIM => FUA,
            WRITE_ZEROES => FUA | NO_HOLE,
            READ | FLUSH => FUA,
            BLOCK_STATUS if self.agreed.allocation => REQ_ONE | FUA,
            _ => return Err(EINVAL),
        };
        if request.flags & !allowed != 0 || (request.kind == TRIM && !self.disk.discards()) {
            return Err(EINVAL);
        }
        if self.disk.is_read_only() && matches!(request.kind, WRITE | TRIM | WRITE_ZEROES) {
            return Err(EPERM);
        }
        if request.kind == FLUSH {
            return if (request.offset, request.len) == (0, 0) { Ok(()) } else { Err(EINVAL) };
        }
        let (unit, len) = (u64::from(self.disk.sector_size()), u64::from(request.len));
        if len == 0 || !request.offset.is_multiple_of(unit) || !len.is_multiple_of(unit) {
            return Err(EINVAL);
        }
        if request.offset.checked_add(len).is_none_or(|end| end > self.disk.size()) {
            return Err(if matches!(request.kind, WRITE | WRITE_ZEROES) { ENOSPC } else { EINVAL });
        }
        Ok(())
    }

    fn change(&self, request: &Request, buffer: &mut Buffer) -> Outcome {
        let (offset, len) = (request.offset, request.len);
        failed(match request.kind {
            WRITE => self.disk.write_at(offset, buffer.of(len as usize)),
            WRITE_ZEROES => self.disk.write_zeroes(offset, len.into()),
            TRIM => self.disk.discard(offset, len.into()),
            _ => return failed(self.disk.flush()),
        })?;
        self.flush_if(request)
    }

    /// Makes a request durable that asks for it.
    fn flush_if(&self, request: &Request) -> Outcome {
        if request.flags & FUA == 0 { Ok(()) } else { failed(self.disk.flush()) }
    }

    fn read(&self, request: &Request, buffer: &mut Buffer) -> io::Result<()> {
        let Request { cookie, offset, len, .. } = *request;
        if len > MAX_PAYLOAD {
            return self.fail(request, EINVAL);
        }
        if len as usize <= PIECE {
            let data = buffer.of(len as usize);
            if let Err(error) = failed(self.disk.read_at(offset, data)) {
                return self.fail(request, error);
            }
            return if self.agreed.structured {
                self.reply(&[&chunk(cookie, DONE, CHUNK_DATA, 8 + len), &offset.to_be_bytes(), data])
            } else {
                self.reply(&[&simple_reply(cookie, 0), data])
            };
        }
        if !self.agreed.structured {
            return self.long_read(request, buffer);
        }
        if request.flags & DF != 0 {
            return self.fail(request, EOVERFLOW);
        }
        for (at, len) in pieces(request.len) {
            let (data, offset) = (buffer.of(len), offset + at);
            if let Err(error) = failed(self.disk.read_at(offset, data)) {
                return self.fail(request, error);
            }
            let flags = if at + len as u64 == u64::from(request.len) { DONE } else { 0 };
            self.reply(&[&chunk(cookie, flags, CHUNK_DATA, 8 + len as u32), &offset.to_be_bytes(), data])?;
        }
        Ok(())
    }

    /// A read in pieces. Its reply can't say that a later piece failed: the connection then ends.
    fn long_read(&self, request: &Request, buffer: &mut Buffer) -> io::Result<()> {
        let mut replies: Option<MutexGuard<'_, Replies<W>>> = None;
        for (at, len) in pieces(request.len) {
            let data = buffer.of(len);
            match (failed(self.disk.read_at(request.offset + at, data)), &mut replies) {
                (Ok(()), Some(replies)) => replies.reply(&[data])?,
                (Ok(()), none) => {
                    let replies = none.insert(lock(&self.replies));
                    replies.reply(&[&simple_reply(request.cookie, 0), data])?;
                }
                (Err(error), None) => return self.fail(request, error),
                (Err(_), Some(_)) => return Err(io::Error::other("a read failed in the middle of its reply")),
            }
        }
        Ok(())
    }

    fn block_status(&self, request: &Request) -> io::Result<()> {
        let most = if request.flags & REQ_ONE != 0 { 1 } else { MAX_EXTENTS };
        let extents = match self.disk.extents(request.offset, request.len.into(), most) {
            Ok(extents) => extents,
            Err(error) => return self.fail(request, failed(Err(error)).err().unwrap_or(EIO)),
        };
        let described = |extent: VolumeExtent| {
            let flags: u32 = if extent.is_written { 0 } else { STATE_HOLE | STATE_ZERO };
            // It is a part of the request, whose length fits into 32 bits.
            let len = (extent.range.end - extent.range.start) as u32;
            [len.to_be_bytes(), flags.to_be_bytes()]
        };
        let extents: Vec<_> = extents.into_iter().flat_map(described).collect();
        let header = chunk(request.cookie, DONE, CHUNK_BLOCK_STATUS, 4 + 4 * extents.len() as u32);
        self.reply(&[&header, &ALLOCATION_ID.to_be_bytes(), extents.as_flattened()])
    }

    fn fail(&self, request: &Request, error: u32) -> io::Result<()> {
        if self.agreed.structured && matches!(request.kind, READ | BLOCK_STATUS) {
            let header = chunk(request.cookie, DONE, CHUNK_ERROR, 4 + 2);
            return self.reply(&[&header, &error.to_be_bytes(), &[0; 2]]);
        }
        self.reply(&[&simple_reply(request.cookie, error)])
    }

    fn reply(&self, parts: &[&[u8]]) -> io::Result<()> {
        lock(&self.replies).reply(parts)
    }
}

/// Whether a request only moves data, so that its time predicts that of others.
fn is_short(request: &Request) -> bool {
    matches!(request.kind, READ | WRITE) && request.flags & FUA == 0
}

/// The most extents in one reply. A client continues from where they end.
const MAX_EXTENTS: usize = 4096;

/// How a request went: the number of its error.
type Outcome = std::result::Result<(), u32>;

/// The error number that a client gets for a failure. The log has the rest.
fn failed(result: Result<()>) -> Outcome {
    result.map_err(|error| {
        log::warn!("a client's request failed: {error:#}");
        match error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => ENOSPC,
            _ => EIO,
        }
    })
}

/// Offset and length of the parts that fit into the buffer.
fn pieces(len: u32) -> impl Iterator<Item = (u64, usize)> {
    (0..len).step_by(PIECE).map(move |at| (u64::from(at), PIECE.min((len - at) as usize)))
}

/// Reads data and drops it.
fn discard(stream: &mut Requests<impl Read>, len: u32, buffer: &mut Buffer) -> io::Result<()> {
    pieces(len).try_for_each(|(_, len)| stream.read_exact(buffer.of(len)))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
