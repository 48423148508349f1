//! The device: reads, writes and flushes of an export.

use core::num::NonZero;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Instant;

use atrest::volume::write_zeros;
use atrest::{BlockDevice, Error, OwningProcess, Result};

use crate::connection::{Command, Outcome, Target};
use crate::handshake::Refused;
use crate::held::Held;
use crate::keeper::{Keeper, refused};
use crate::link::{Link, Place};
use crate::log::{Begun, Change, GivenUp, Log};
use crate::options::NbdOptions;
use crate::slots::End;
use crate::socket::Patience;
use crate::url;
use crate::wire::*;

/// The most that is read or written by one request.
const PIECE: u64 = 4 << 20;

/// The most that is made zero or discarded by one request.
const LONG_PIECE: u64 = 128 << 20;

/// An export of an NBD server, as a device.
///
/// [The crate's page](crate) says when data is durable, and what happens when the server is gone. A forked child can't use its
/// parent's device, and ends no connection of it: it drops it, and opens its own.
///
/// ```no_run
/// use atrest::BlockDevice;
/// use atrest_nbd::{NbdDevice, NbdOptions};
///
/// let options = NbdOptions::new().connections(2);
/// let device = NbdDevice::connect_with("nbd://storage.example/disk-1", &options)?;
/// device.write_at(4096, &[7; 4096])?;
/// device.sync()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NbdDevice {
    owner: OwningProcess,
    keeper: Arc<Keeper>,
    size: u64,
    minimum: u64,
    piece: u64,
    read_only: bool,
    flushes: bool,
    _held: Option<Held>,
}

impl NbdDevice {
    /// Connects to an export with the defaults of [`NbdOptions::new`]. A URL is one of
    ///
    /// ```text
    /// nbd://HOST[:PORT]/EXPORT
    /// nbd+unix:///EXPORT?socket=PATH
    /// nbds://HOST[:PORT]/EXPORT?tls-certificates=FOLDER
    /// nbds+unix:///EXPORT?socket=PATH&tls-certificates=FOLDER
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for a URL or an option that can't be used, and for a server without a flush;
    /// [`Error::NotFound`] for an export that the server doesn't have; [`Error::Busy`] if this process has the export open;
    /// [`Error::Io`].
    pub fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, &NbdOptions::new())
    }

    /// As [`connect`](Self::connect), with options.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_with(url: &str, options: &NbdOptions) -> Result<Self> {
        Self::of(url::Target::parse(url)?, options)
    }

    pub(crate) fn of(target: url::Target, options: &NbdOptions) -> Result<Self> {
        let what = format!("connecting to {target}");
        let place = Place::new(target.clone(), options)?;
        let held = if options.read_only { None } else { Some(Held::new(&target)?) };
        let patience = Patience { until: Instant::now() + options.deadline, is_over: &|| false };
        let log = |keeps| Arc::new(Log::new(options.replay_log, keeps));
        let mut kept = log(true);
        let mut link = open(&place, &kept, patience, &what)?;
        let read_only = options.read_only || link.export.has(READ_ONLY);
        let flushes = link.export.has(SEND_FLUSH);
        if !flushes && !read_only {
            if !options.hazmat_without_flush {
                link.close();
                return Err(Error::InvalidOption(format!(
                    "the server of {target} has no flush, so nothing is durable on it; use another server, or \
                     hazmat_without_flush for data that may be lost"
                )));
            }
            link.close();
            kept = log(false);
            link = open(&place, &kept, patience, &what)?;
        }
        let (size, blocks) = (link.export.size, link.export.blocks);
        let (minimum, maximum) = (u64::from(blocks.minimum), u64::from(blocks.maximum));
        Ok(NbdDevice {
            owner: OwningProcess::current(),
            keeper: Keeper::new(place, kept, link),
            size,
            minimum,
            // The largest power of two would do as well; a multiple of the minimum has to.
            piece: (maximum.min(PIECE) / minimum * minimum).max(minimum),
            read_only,
            flushes,
            _held: held,
        })
    }

    /// Whether writes are refused: the server declares the export read-only, or it was opened so.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Writes `bytes` at `offset`, and returns when they are on stable storage, with no flush of the rest where the server can do
    /// that (FUA).
    ///
    /// # Errors
    /// As [`write_at`](BlockDevice::write_at) and [`sync`](BlockDevice::sync).
    pub fn write_durably(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.keeper.export.has(SEND_FUA) && self.flushes {
            return self.write(offset, &[IoSlice::new(bytes)], FUA);
        }
        self.write_at(offset, bytes)?;
        self.sync()
    }

    /// Whether the server reports that `len` bytes from `offset` read as zeros, without reading them. `false` if it reports
    /// otherwise, or doesn't report it.
    ///
    /// # Errors
    /// As [`read_at`](BlockDevice::read_at).
    pub fn is_known_zero(&self, mut offset: u64, mut len: u64) -> io::Result<bool> {
        self.check(offset, len, io::ErrorKind::UnexpectedEof)?;
        if self.keeper.export.allocation.is_none() {
            return Ok(false);
        }
        while len > 0 {
            let now = len.min(1 << 30);
            let mut extents = Vec::new();
            let command = Command { kind: BLOCK_STATUS, offset, len: now as u32, ..Command::default() };
            self.ask(&command, Target::Extents(&mut extents))?;
            if extents.iter().any(|(_, flags)| flags & STATE_ZERO == 0) {
                return Ok(false);
            }
            // It may cover less than the request.
            let told = extents.iter().map(|(len, _)| u64::from(*len)).sum::<u64>().min(now);
            if told == 0 {
                return Ok(false);
            }
            offset += told;
            len -= told;
        }
        Ok(true)
    }

    /// Checks that a request is of whole blocks within the export, and that this process may ask for it.
    fn check(&self, offset: u64, len: u64, beyond: io::ErrorKind) -> io::Result<()> {
        self.owner.check_io()?;
        if !offset.is_multiple_of(self.minimum) || !len.is_multiple_of(self.minimum) {
            let why = format!("{len} bytes at {offset} aren't whole blocks of {} bytes", self.minimum);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            let why = format!("{len} bytes at {offset} reach beyond the export's end at {}", self.size);
            return Err(io::Error::new(beyond, why));
        }
        Ok(())
    }

    fn check_change(&self, offset: u64, len: u64) -> io::Result<()> {
        self.owner.check_io()?;
        if self.read_only {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the export is read-only"));
        }
        self.check(offset, len, io::ErrorKind::WriteZero)
    }

    fn until(&self) -> Instant {
        Instant::now() + self.keeper.deadline()
    }

    /// Sends a request that changes nothing, as often as it takes.
    fn ask(&self, command: &Command, mut target: Target<'_>) -> io::Result<()> {
        let until = self.until();
        loop {
            let link = self.keeper.link(until)?;
            let target = match &mut target {
                Target::Nowhere => Target::Nowhere,
                Target::Bytes(bytes) => Target::Bytes(bytes),
                Target::Extents(extents) => Target::Extents(extents),
            };
            match link.call(command, target, until) {
                Outcome::Replied(None) => return Ok(()),
                Outcome::Replied(Some(ESHUTDOWN)) => self.goes_down(&link),
                Outcome::Replied(Some(error)) => return Err(of_server(error)),
                Outcome::Ended(end) => self.keeper.lost(&link, end),
                Outcome::TimedOut => {
                    self.keeper.gave_up();
                    return Err(self.timed_out(""));
                }
                Outcome::NotSent => return Err(self.timed_out("")),
            }
        }
    }

    fn write(&self, mut offset: u64, mut parts: &[IoSlice<'_>], flags: u16) -> io::Result<()> {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        self.check_change(offset, len)?;
        if len <= self.piece {
            return if len == 0 { Ok(()) } else { self.write_piece(offset, parts, flags) };
        }
        // The parts of one piece after the other.
        let mut at = 0;
        while let Some(first) = parts.first() {
            let mut piece = vec![];
            let mut room = self.piece as usize;
            let mut rest = &first[at..];
            while room > 0 {
                let now = rest.len().min(room);
                piece.push(IoSlice::new(&rest[..now]));
                room -= now;
                at += now;
                if now < rest.len() {
                    break;
                }
                parts = &parts[1..];
                at = 0;
                let Some(next) = parts.first() else { break };
                rest = next;
            }
            self.write_piece(offset, &piece, flags)?;
            offset += self.piece - room as u64;
        }
        Ok(())
    }

    fn write_piece(&self, offset: u64, parts: &[IoSlice<'_>], flags: u16) -> io::Result<()> {
        let data = self.keeper.log.copy(parts);
        let len = data.len() as u32;
        self.change(Change { kind: WRITE, flags, offset, len, data: Some(data) })
    }

    /// Has the server do a change, over reconnections.
    fn change(&self, change: Change) -> io::Result<()> {
        self.keeper.check()?;
        let (until, log) = (self.until(), &self.keeper.log);
        let number = loop {
            match log.begin(&change, until) {
                Begun::As(number) => break number,
                Begun::TimedOut => return Err(self.timed_out("; it was not sent")),
                Begun::NeedsFlush => {
                    let flushed = self.flush(until);
                    log.is_not_flushing();
                    flushed?;
                }
            }
        };
        let Change { kind, flags, offset, len, data } = change;
        let command = Command { kind, flags, offset, len, data, change: Some(number) };
        loop {
            let link = match self.keeper.link(until) {
                Ok(link) => link,
                Err(e) => return self.give_up(number, e),
            };
            // A replay may have written it, even before it was sent.
            if let Some(error) = log.outcome(number) {
                return error.map_or(Ok(()), |error| Err(of_server(error)));
            }
            match link.call(&command, Target::Nowhere, until) {
                Outcome::Replied(Some(ESHUTDOWN)) => self.goes_down(&link),
                Outcome::Replied(error) => {
                    drop(command);
                    if log.ended(number, error) {
                        // Flushes before room runs out. If it fails, a later flush reports that.
                        let _ = self.flush(until);
                        log.is_not_flushing();
                    }
                    return error.map_or(Ok(()), |error| Err(of_server(error)));
                }
                Outcome::Ended(end) => self.keeper.lost(&link, end),
                outcome => {
                    if matches!(outcome, Outcome::TimedOut) {
                        self.keeper.gave_up();
                    }
                    return self.give_up(number, self.timed_out(""));
                }
            }
        }
    }

    /// Ends the wait for a change.
    fn give_up(&self, number: u64, error: io::Error) -> io::Result<()> {
        match self.keeper.log.give_up(number) {
            GivenUp::Ended(error) => error.map_or(Ok(()), |error| Err(of_server(error))),
            GivenUp::NotSent => Err(io::Error::new(error.kind(), format!("{error}; it was not sent"))),
            GivenUp::Unknown => {
                let text = format!("{error}; whether it was written is not known, and it may be written later");
                Err(io::Error::new(error.kind(), text))
            }
        }
    }

    fn flush(&self, until: Instant) -> io::Result<()> {
        let command = Command { kind: FLUSH, ..Command::default() };
        loop {
            let link = self.keeper.link(until)?;
            // A flush covers all changes acknowledged before it, on any connection ("CAN_MULTI_CONN").
            let mark = self.keeper.log.mark();
            match link.call(&command, Target::Nowhere, until) {
                Outcome::Replied(None) => {
                    self.keeper.log.flushed(mark);
                    return Ok(());
                }
                Outcome::Replied(Some(ESHUTDOWN)) => self.goes_down(&link),
                Outcome::Replied(Some(error)) => {
                    // The server may have dropped data that it failed to write. So all of it is written again.
                    self.keeper.lost(&link, End::Lost(format!("a flush failed: {}", of_server(error))));
                    return Err(of_server(error));
                }
                Outcome::Ended(end) => self.keeper.lost(&link, end),
                outcome => {
                    if matches!(outcome, Outcome::TimedOut) {
                        self.keeper.gave_up();
                    }
                    return Err(self.timed_out("; what isn't flushed is kept, and flushed by the next sync"));
                }
            }
        }
    }

    fn goes_down(&self, link: &Arc<Link>) {
        self.keeper.lost(link, End::Lost("the server says that it is going down".into()));
    }

    fn timed_out(&self, more: &str) -> io::Error {
        let seconds = self.keeper.deadline().as_secs_f32();
        let why = self.keeper.why_it_is_lost().map_or(String::new(), |why| format!(": {why}"));
        io::Error::new(io::ErrorKind::TimedOut, format!("the NBD server didn't answer within {seconds} s{why}{more}"))
    }
}

impl BlockDevice for NbdDevice {
    fn size(&self) -> io::Result<u64> {
        self.owner.check_io()?;
        Ok(self.size)
    }

    fn read_at(&self, mut offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64, io::ErrorKind::UnexpectedEof)?;
        for piece in bytes.chunks_mut(self.piece as usize) {
            let len = piece.len() as u32;
            self.ask(&Command { kind: READ, offset, len, ..Command::default() }, Target::Bytes(piece))?;
            offset += u64::from(len);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(offset, &[IoSlice::new(bytes)], 0)
    }

    fn write_vectored_at(&self, offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        self.write(offset, buffers, 0)
    }

    /// The server zeroes the range if it can, which may free the space. Otherwise zeros are written.
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_change(offset, len)?;
        if !self.keeper.export.has(SEND_WRITE_ZEROES) {
            return write_zeros(self, offset, len);
        }
        match self.in_long_pieces(WRITE_ZEROES, offset, len) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => write_zeros(self, offset, len),
            done => done,
        }
    }

    /// Discards whole blocks, if the server can.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let start = offset.checked_next_multiple_of(self.minimum);
        let end = offset.checked_add(len).map(|end| end / self.minimum * self.minimum);
        let (Some(start), Some(end)) = (start, end) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        self.check_change(start.min(end), end.saturating_sub(start))?;
        if start >= end || !self.keeper.export.has(SEND_TRIM) {
            return Ok(());
        }
        match self.in_long_pieces(TRIM, start, end - start) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => done,
        }
    }

    fn has_latency(&self) -> bool {
        true
    }

    fn alignment(&self) -> NonZero<usize> {
        NonZero::new(self.minimum as usize).unwrap_or(NonZero::<usize>::MIN)
    }

    fn sync(&self) -> io::Result<()> {
        self.owner.check_io()?;
        if self.read_only || !self.flushes {
            return Ok(());
        }
        self.flush(self.until())
    }
}

impl NbdDevice {
    fn in_long_pieces(&self, kind: u16, mut offset: u64, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let now = len.min(LONG_PIECE);
            self.change(Change { kind, flags: 0, offset, len: now as u32, data: None })?;
            offset += now;
            len -= now;
        }
        Ok(())
    }
}

impl Drop for NbdDevice {
    fn drop(&mut self) {
        // A child has no thread to wait for, and its goodbye would be its parent's.
        if self.owner.is_current() {
            self.keeper.close();
        }
    }
}

impl fmt::Debug for NbdDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NbdDevice")
            .field("target", self.keeper.target())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

fn open(place: &Place, log: &Arc<Log>, patience: Patience<'_>, what: &str) -> Result<Link> {
    Link::open(place, log, patience).map_err(|e| match e {
        Refused::Unknown(_) => Error::NotFound { what: "export", path: place.target.to_string().into() },
        e => refused(what.into(), e),
    })
}

/// An error that the server replied with, by the numbers of Linux ("Error values").
fn of_server(error: u32) -> io::Error {
    use io::ErrorKind::{InvalidInput, Other, OutOfMemory, PermissionDenied, StorageFull, Unsupported};
    let (kind, text) = match error {
        EPERM => (PermissionDenied, "the NBD server doesn't permit it"),
        EIO => (Other, "the NBD server failed to read or write"),
        ENOMEM => (OutOfMemory, "the NBD server has no memory for it"),
        EINVAL => (InvalidInput, "the NBD server takes it for a wrong request"),
        ENOSPC => (StorageFull, "the NBD server has no room left"),
        EOVERFLOW => (InvalidInput, "the NBD server takes it for too long"),
        ENOTSUP => (Unsupported, "the NBD server can't do it"),
        ESHUTDOWN => (Other, "the NBD server is going down"),
        _ => return io::Error::other(format!("the NBD server failed with error {error}")),
    };
    io::Error::new(kind, text)
}
