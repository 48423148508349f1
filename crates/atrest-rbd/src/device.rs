//! An image as a device.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use atrest::volume::write_zeros;
use atrest::{BlockDevice, OwningProcess, Result};

use crate::bounded;
use crate::buffers::Buffers;
use crate::connect::{self, Access, Opened, deadline};
use crate::life::{Life, ShutOut, now};
use crate::name::Name;
use crate::options::RbdOptions;
use crate::sys::{Errno, Image, Operation, errno};
use crate::trouble::{End, io_error, timed_out};

/// How much one operation of zeros or of a discard covers, in objects: librbd has them all under way at once.
const OBJECTS_OF_ZEROS: u64 = 64;

/// How long a change may wait before the cluster is asked whether this client is shut out.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The return value of an operation, and its buffer.
type Ended = std::result::Result<(i64, Vec<u8>), Errno>;

/// An RBD image, open for writing by this device alone, or for reading.
///
/// [The crate](crate) says when data is durable, what a time-out means and how a second writer is kept out. Dropping the device
/// waits for operations in flight, up to its deadline, and gives the lock back. A forked child has none of librbd's threads: all
/// calls fail there, and dropping its parent's device does nothing.
pub struct RbdDevice {
    owner: OwningProcess,
    /// `Some` until the device is dropped.
    image: Option<Arc<Image>>,
    pub(crate) name: Name,
    pub(crate) options: RbdOptions,
    access: Access,
    /// The most bytes that one operation of zeros or of a discard covers.
    zeros: u64,
    address: CString,
    buffers: Buffers,
    pub(crate) life: Arc<Life>,
    shut_out: OnceLock<Arc<ShutOut>>,
}

impl fmt::Debug for RbdDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RbdDevice").field("name", &format_args!("{}", self.name)).finish_non_exhaustive()
    }
}

impl RbdDevice {
    /// Opens an image `pool/image` or `pool/namespace/image` for reading and writing, and holds its lock. The image needs the
    /// feature `exclusive-lock`.
    ///
    /// # Errors
    /// [`Error::Busy`](atrest::Error::Busy) if another client has the lock, or had it and has died less than about half a minute
    /// ago; [`Error::NotFound`](atrest::Error::NotFound); [`Error::InvalidOption`](atrest::Error::InvalidOption);
    /// [`Error::Io`](atrest::Error::Io), also where librbd isn't installed.
    ///
    /// ```no_run
    /// use atrest::{FormatOptions, Protector, Volume};
    /// use atrest_rbd::{RbdDevice, RbdOptions};
    ///
    /// # fn main() -> atrest::Result<()> {
    /// let device = RbdDevice::open("rbd/disk", &RbdOptions::new().config("/etc/ceph/ceph.conf").user("disks"))?;
    /// let volume = Volume::format(device, Protector::Passphrase(b"secret"), &FormatOptions::new())?;
    /// volume.write_at(0, &[0x5a; 4096])?;
    /// volume.sync()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(image: &str, options: &RbdOptions) -> Result<Self> {
        Self::open_name(Name::parse(image)?, options, Access::Write)
    }

    /// Opens an image or a snapshot of one (`pool/image@snapshot`) for reading. Many clients may read an image at once while
    /// none has it open for writing; a snapshot can be read at any time.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(image: &str, options: &RbdOptions) -> Result<Self> {
        Self::open_name(Name::parse(image)?, options, Access::Read)
    }

    pub(crate) fn open_name(name: Name, options: &RbdOptions, access: Access) -> Result<Self> {
        let access = if name.snapshot.is_some() { Access::Read } else { access };
        let Opened { image, object_size, address } = connect::image(options, &name, access)?;
        Ok(RbdDevice {
            owner: OwningProcess::current(),
            image: Some(image),
            name,
            options: options.clone(),
            access,
            zeros: object_size.saturating_mul(OBJECTS_OF_ZEROS).clamp(1 << 20, 256 << 20),
            address,
            buffers: Buffers::new(options.piece),
            life: Arc::new(Life::new()),
            shut_out: OnceLock::new(),
        })
    }

    /// The address of this device's client, as `ceph osd blocklist ls` shows it.
    pub fn client_address(&self) -> &str {
        self.address.to_str().unwrap_or_default()
    }

    fn image(&self) -> io::Result<&Arc<Image>> {
        self.owner.check_io()?;
        self.image.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The image, if the device isn't at its end.
    pub(crate) fn usable(&self) -> io::Result<&Arc<Image>> {
        self.owner.check_io()?;
        match self.life.end() {
            Some(end) => Err(end.error(&self.name)),
            None => self.image(),
        }
    }

    /// The image, if this device may write to it.
    pub(crate) fn writable(&self, until: Instant) -> io::Result<&Arc<Image>> {
        let image = self.usable()?;
        if self.access == Access::Read {
            let text = format!("the RBD image {} was opened for reading", self.name);
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, text));
        }
        if self.life.is_older_than(self.options.trust_lock) {
            self.ask_for_lock(image, until)?;
        }
        Ok(image)
    }

    /// Asks the cluster whether the lock is this device's own still.
    fn ask_for_lock(&self, image: &Arc<Image>, until: Instant) -> io::Result<()> {
        const WHAT: &str = "looking at the lock of";
        let (asked, begun) = (image.clone(), now());
        match bounded::call(until, move || asked.holds_lock()) {
            Some(Ok(true)) => {
                self.life.show(begun);
                Ok(())
            }
            Some(Ok(false)) => Err(self.fenced()),
            Some(Err(code)) => Err(self.failed(WHAT, code)),
            None => Err(timed_out(WHAT, &self.name)),
        }
    }

    /// An operation failed that may have changed something, and that is over.
    pub(crate) fn failed(&self, what: &str, code: Errno) -> io::Error {
        match End::of(code) {
            Some(End::Fenced) => self.fenced(),
            _ => io_error(what, &self.name, code),
        }
    }

    fn fenced(&self) -> io::Error {
        self.life.set_end(End::Fenced);
        self.life.end().unwrap_or(End::Fenced).error(&self.name)
    }

    /// It isn't known whether a write has happened, or will. The device ends here, and its client is shut out.
    pub(crate) fn unknown(&self, image: &Arc<Image>) -> io::Error {
        if self.life.set_end(End::Unknown) {
            self.shut_out.get_or_init(|| ShutOut::start(image.clone(), self.address.clone(), self.options.clone()));
        }
        End::Unknown.error(&self.name)
    }

    /// A read got less than it wanted.
    pub(crate) fn became_shorter(&self) -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("the RBD image {} became shorter", self.name))
    }

    /// Waits for a change, or until a time; but not if it turns out meanwhile that this client is shut out.
    fn wait(&self, operation: &mut Operation, image: &Arc<Image>, until: Instant) -> io::Result<Option<Ended>> {
        loop {
            let look = deadline(LOOK);
            if let Some(ended) = operation.wait(until.min(look)) {
                return Ok(Some(ended));
            }
            if self.life.end() == Some(End::Fenced) {
                // The cluster refuses it, whenever it comes.
                return Err(self.fenced());
            }
            if until <= look {
                return Ok(None);
            }
            self.life.ask_whether_shut_out(image);
        }
    }

    fn check_bounds(&self, image: &Image, offset: u64, len: u64, kind: io::ErrorKind) -> io::Result<()> {
        let size = image.size().map_err(|code| io_error("asking for the size of", &self.name, code))?;
        if offset.checked_add(len).is_some_and(|end| end <= size) {
            return Ok(());
        }
        let text = format!("the RBD image {} has {size} bytes, and not {len} at {offset}", self.name);
        Err(io::Error::new(kind, text))
    }

    /// Reads in pieces, which `take` gets in their order.
    fn read(&self, offset: u64, len: usize, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        const WHAT: &str = "reading";
        let until = deadline(self.options.deadline);
        let image = self.usable()?;
        self.check_bounds(image, offset, len as u64, io::ErrorKind::UnexpectedEof)?;
        let mut under_way: VecDeque<(Operation, usize)> = VecDeque::new();
        let mut begun = 0;
        loop {
            while begun < len && under_way.len() < self.options.depth {
                let now = (len - begun).min(self.options.piece);
                let operation = Operation::read(image, offset + begun as u64, self.buffers.take(now), now, None);
                under_way.push_back((operation.map_err(|code| self.failed(WHAT, code))?, now));
                begun += now;
            }
            let Some((mut operation, wanted)) = under_way.pop_front() else { return Ok(()) };
            // An operation that is given up keeps its buffer until librbd is done with it.
            let (got, bytes) = match operation.wait(until) {
                None => return Err(timed_out(WHAT, &self.name)),
                Some(ended) => ended.map_err(|code| self.failed(WHAT, code))?,
            };
            if got != wanted as i64 {
                return Err(self.became_shorter());
            }
            take(&bytes[..wanted]);
            self.buffers.give(bytes);
        }
    }

    /// Makes changes with the operations that `start` returns, until it returns no more. When one fails, those under way are
    /// awaited: none may take effect after the call.
    fn change(
        &self,
        what: &str,
        image: &Arc<Image>,
        until: Instant,
        mut start: impl FnMut() -> Option<std::result::Result<Operation, Errno>>,
    ) -> io::Result<()> {
        let mut under_way: VecDeque<Operation> = VecDeque::new();
        let mut failure = None;
        let began = now();
        loop {
            while failure.is_none() && under_way.len() < self.options.depth {
                match start() {
                    None => break,
                    Some(Ok(operation)) => under_way.push_back(operation),
                    // librbd may have it nevertheless.
                    Some(Err(_)) => return Err(self.unknown(image)),
                }
            }
            let Some(mut operation) = under_way.pop_front() else { break };
            match self.wait(&mut operation, image, until)? {
                None | Some(Err(errno::ETIMEDOUT)) => return Err(self.unknown(image)),
                Some(Err(code)) => failure = failure.or(Some(code)),
                Some(Ok((_, buffer))) => self.buffers.give(buffer),
            }
        }
        match failure {
            Some(code) => Err(self.failed(what, code)),
            None => {
                self.life.show(began);
                Ok(())
            }
        }
    }

    /// Writes in pieces, which `fill` copies to buffers in their order.
    fn write(&self, offset: u64, len: usize, mut fill: impl FnMut(&mut [u8])) -> io::Result<()> {
        let until = deadline(self.options.deadline);
        let image = self.writable(until)?;
        self.check_bounds(image, offset, len as u64, io::ErrorKind::WriteZero)?;
        let mut begun = 0;
        self.change("writing", image, until, || {
            let now = (len - begun).min(self.options.piece);
            (now > 0).then(|| {
                let mut bytes = self.buffers.take(now);
                fill(&mut bytes[..now]);
                let at = offset + begun as u64;
                begun += now;
                Operation::write(image, at, bytes, now, None)
            })
        })
    }

    /// Zeros or discards a range in pieces, each with a deadline of its own.
    fn empty(
        &self,
        what: &str,
        offset: u64,
        len: u64,
        start: impl Fn(&Image, u64, u64) -> std::result::Result<Operation, Errno>,
    ) -> io::Result<()> {
        let image = self.writable(deadline(self.options.deadline))?;
        self.check_bounds(image, offset, len, io::ErrorKind::WriteZero)?;
        let mut begun = 0;
        while begun < len {
            // Whole objects are removed, so pieces end where objects do.
            let now = (self.zeros - (offset + begun) % self.zeros).min(len - begun);
            let until = deadline(self.options.deadline);
            let mut piece = Some(offset + begun);
            self.change(what, self.writable(until)?, until, || piece.take().map(|at| start(image, at, now)))?;
            begun += now;
        }
        Ok(())
    }
}

impl BlockDevice for RbdDevice {
    fn size(&self) -> io::Result<u64> {
        self.image()?.size().map_err(|code| io_error("asking for the size of", &self.name, code))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        self.read(offset, bytes.len(), |piece| {
            bytes[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
        })
    }

    fn read_vectored_at(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let (mut at, mut done) = (0, 0);
        self.read(offset, len, |mut piece| {
            while !piece.is_empty() {
                let room = &mut buffers[at][done..];
                let now = room.len().min(piece.len());
                room[..now].copy_from_slice(&piece[..now]);
                piece = &piece[now..];
                done += now;
                if done == buffers[at].len() {
                    (at, done) = (at + 1, 0);
                }
            }
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        self.write(offset, bytes.len(), |buffer| {
            let (now, later) = left.split_at(buffer.len());
            buffer.copy_from_slice(now);
            left = later;
        })
    }

    fn write_vectored_at(&self, offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let (mut at, mut done) = (0, 0);
        self.write(offset, len, |mut piece| {
            while !piece.is_empty() {
                let rest = &buffers[at][done..];
                let now = rest.len().min(piece.len());
                let (to, left) = piece.split_at_mut(now);
                to.copy_from_slice(&rest[..now]);
                piece = left;
                done += now;
                if done == buffers[at].len() {
                    (at, done) = (at + 1, 0);
                }
            }
        })
    }

    /// Objects that are zero as a whole are removed. An older librbd than that of Ceph 16 gets zeros in the ordinary way.
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        if !self.image()?.has_write_zeroes() {
            return write_zeros(self, offset, len);
        }
        self.empty("writing zeros to", offset, len, |image, at, len| Operation::write_zeroes(image, at, len as usize))
    }

    /// Objects are removed or cut off, so that the cluster has their room again. librbd leaves parts that are smaller than
    /// `rbd_discard_granularity_bytes`, 64 KiB by itself, as they are.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.empty("discarding a part of", offset, len, Operation::discard)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.owner.check_io()?;
        let until = deadline(self.options.deadline);
        if size > i64::MAX as u64 {
            // librbd counts objects with numbers that overflow then, and takes it.
            let text = format!("no RBD image can have {size} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let image = self.writable(until)?;
        let resized = image.clone();
        match bounded::call(until, move || resized.resize(size)) {
            // The resize may still happen, and would then cut off later writes.
            None | Some(Err(errno::ETIMEDOUT)) => Err(self.unknown(image)),
            Some(Err(code)) => Err(self.failed("resizing", code)),
            Some(Ok(())) => Ok(()),
        }
    }

    fn has_latency(&self) -> bool {
        true
    }

    fn sync(&self) -> io::Result<()> {
        const WHAT: &str = "syncing";
        let until = deadline(self.options.deadline);
        let image = self.usable()?;
        if self.access == Access::Read {
            return Ok(());
        }
        let mut operation = Operation::flush(image).map_err(|code| self.failed(WHAT, code))?;
        match self.wait(&mut operation, image, until)? {
            // Acknowledged writes are durable anyway; a late flush changes nothing.
            None => Err(timed_out(WHAT, &self.name)),
            Some(ended) => ended.map(drop).map_err(|code| self.failed(WHAT, code)),
        }
    }
}

impl Drop for RbdDevice {
    fn drop(&mut self) {
        // To close the image would wait for threads that a child hasn't, and give its parent's lock back.
        if !self.owner.is_current() {
            return;
        }
        let until = deadline(self.options.deadline);
        if let Some(shut_out) = self.shut_out.get() {
            // The next client to open the image shouldn't find it busy.
            shut_out.wait(until);
        }
        let (image, life) = (self.image.take(), self.life.clone());
        // Closing waits for the cluster. If that takes too long, it continues without this thread.
        let _ = bounded::call(until, move || {
            life.wait_for_answer();
            drop(image);
        });
    }
}
