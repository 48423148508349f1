//! A page blob as a device.

use core::num::NonZero;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use atrest::{BlockDevice, NotInherited};
use atrest_http::{Deadline, Method, fan_out};

use crate::failure::invalid;
use crate::held::{Held, PAGE, PIECE};
use crate::options::{Lease, PageBlobOptions};
use crate::service::{Ask, Service};
use crate::vhd;

/// The largest page blob: 8 TiB ("Put Blob").
const LARGEST: u64 = 8 << 40;

/// A page blob that is open for reading and writing, under a lease.
///
/// Writes are stored by the service before a call returns: [`sync`](BlockDevice::sync) has nothing left to do. Dropping the
/// device releases the lease. A forked child can't use its parent's device, and releases nothing when it drops it.
pub struct PageBlobDevice {
    pub(crate) held: Arc<Held>,
    parallel: usize,
    vhd: bool,
    /// Its end ends the thread that renews the lease.
    _keeper: Option<NotInherited<SyncSender<()>>>,
}

impl PageBlobDevice {
    /// Opens a blob of the container by its whole name; the prefix isn't added.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] if it is open elsewhere; [`io::ErrorKind::NotFound`];
    /// [`io::ErrorKind::InvalidData`] if it isn't a page blob, or not a fixed VHD where it should be one; any other of the
    /// service's.
    pub(crate) fn open(service: Arc<Service>, blob: &str, options: &PageBlobOptions) -> io::Result<Self> {
        if let Lease::Renewed(seconds) = options.lease
            && !(15..=60).contains(&seconds)
        {
            return Err(invalid("a lease that is renewed lasts 15 to 60 seconds"));
        }
        let held = Arc::new(Held::acquire(service, blob, options.lease)?);
        let keeper = match options.lease {
            Lease::Renewed(seconds) => Some(NotInherited::new(keep(&held, Duration::from_secs(seconds.into()))?)),
            Lease::Infinite => None,
        };
        let device = PageBlobDevice { held, parallel: options.parallel, vhd: options.vhd, _keeper: keeper };
        if device.vhd {
            let deadline = device.deadline();
            let size = device.held.size(deadline)?;
            let room = size.checked_sub(vhd::FOOTER).ok_or_else(|| invalid("an empty blob is no VHD"))?;
            let mut footer = [0; 512];
            device.held.get(deadline, room, &mut footer)?;
            vhd::check(&footer, room)?;
        }
        Ok(device)
    }

    /// Makes a blob of `size` zero bytes, and opens it.
    pub(crate) fn create(service: Arc<Service>, blob: &str, size: u64, options: &PageBlobOptions) -> io::Result<Self> {
        let footer = if options.vhd { vhd::FOOTER } else { 0 };
        if !size.is_multiple_of(PAGE) || size > LARGEST - footer {
            return Err(invalid(format!("a page blob's size is a multiple of 512 up to 8 TiB; {size} bytes is not")));
        }
        create(&service, blob, size + footer)?;
        // The footer has to be there before it is looked for.
        let raw = options.clone().vhd(false);
        let mut device = Self::open(service, blob, &raw)?;
        if options.vhd {
            let footer = vhd::footer(size, *uuid::Uuid::new_v4().as_bytes(), SystemTime::now());
            device.held.put(device.deadline(), size, vhd::FOOTER, Some(&footer))?;
            device.vhd = true;
        }
        Ok(device)
    }

    fn deadline(&self) -> Deadline {
        self.held.service.deadline()
    }

    fn usable(&self, deadline: Deadline) -> io::Result<u64> {
        let size = self.held.size(deadline)?;
        Ok(if self.vhd { size.saturating_sub(vhd::FOOTER) } else { size })
    }

    /// Checks that a range is of whole pages and within the device.
    fn check(&self, deadline: Deadline, offset: u64, len: u64, beyond: io::ErrorKind) -> io::Result<()> {
        if !offset.is_multiple_of(PAGE) || !len.is_multiple_of(PAGE) {
            return Err(invalid(format!("{len} bytes at {offset} aren't whole pages of 512 bytes")));
        }
        let size = self.usable(deadline)?;
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(io::Error::new(beyond, format!("{len} bytes at {offset} go past the device's {size}"))),
        }
    }
}

impl BlockDevice for PageBlobDevice {
    fn size(&self) -> io::Result<u64> {
        self.usable(self.deadline())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let deadline = self.deadline();
        self.check(deadline, offset, bytes.len() as u64, io::ErrorKind::UnexpectedEof)?;
        let starts = (offset..).step_by(PIECE as usize);
        let pieces = starts.zip(bytes.chunks_mut(PIECE as usize)).collect();
        fan_out(pieces, self.parallel, |(at, piece)| self.held.get(deadline, at, piece))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let deadline = self.deadline();
        self.check(deadline, offset, bytes.len() as u64, io::ErrorKind::WriteZero)?;
        let starts = (offset..).step_by(PIECE as usize);
        let pieces = starts.zip(bytes.chunks(PIECE as usize)).collect();
        fan_out(pieces, self.parallel, |(at, piece): (u64, &[u8])| {
            self.held.put(deadline, at, piece.len() as u64, Some(piece))
        })
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        let deadline = self.deadline();
        self.check(deadline, offset, len, io::ErrorKind::WriteZero)?;
        if len == 0 {
            return Ok(());
        }
        self.held.put(deadline, offset, len, None)
    }

    /// The pages are cleared: they read as zeros, and take no space.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.saturating_add(len) / PAGE * PAGE;
        match offset.checked_next_multiple_of(PAGE) {
            Some(start) if start < end => self.write_zeroes(start, end - start),
            _ => Ok(()),
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        if self.vhd {
            let text = "the size of a fixed VHD can't be changed; make a larger disk and copy the data";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        if !size.is_multiple_of(PAGE) || size > LARGEST {
            return Err(invalid(format!("a page blob's size is a multiple of 512 up to 8 TiB; {size} bytes is not")));
        }
        self.held.resize(self.deadline(), size)
    }

    fn alignment(&self) -> NonZero<usize> {
        const { NonZero::new(PAGE as usize).unwrap() }
    }

    /// Acknowledged writes are durable already.
    fn sync(&self) -> io::Result<()> {
        self.held.check()
    }
}

impl Drop for PageBlobDevice {
    fn drop(&mut self) {
        self.held.release();
    }
}

/// Makes the blob. If an answer is lost and the blob is there at the next try, its metadata shows that it was made here.
fn create(service: &Service, blob: &str, size: u64) -> io::Result<()> {
    let (deadline, mark) = (service.deadline(), uuid::Uuid::new_v4().to_string());
    let ask = Ask::new(Method::Put, Some(blob)).header("x-ms-blob-type", "PageBlob");
    let ask = ask.header("x-ms-blob-content-length", size).header("if-none-match", "*");
    let called = service.call(deadline, &ask.header("x-ms-meta-atrest", &mark));
    let answer = called.answer?;
    if answer.status == 409 && called.uncertain {
        let found = service.ask(deadline, &Ask::new(Method::Head, Some(blob)))?;
        if found.header("x-ms-meta-atrest") == Some(&mark) {
            return Ok(());
        }
    }
    if answer.is_success() { Ok(()) } else { Err(crate::failure::refused(&answer)) }
}

/// Renews the lease from time to time, until the device is dropped or the lease is lost.
fn keep(held: &Arc<Held>, lasts: Duration) -> io::Result<SyncSender<()>> {
    let (alive, ended) = sync_channel(0);
    let held = Arc::downgrade(held);
    std::thread::Builder::new().name("atrest-lease".into()).spawn(move || {
        let mut wait = lasts / 3;
        while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            let Some(held) = held.upgrade().filter(|held| held.check().is_ok()) else { return };
            let renewed = held.renew(held.service.deadline().within(lasts / 3));
            // A service that doesn't answer may be there again at any time.
            wait = if renewed.is_ok() { lasts / 3 } else { lasts / 15 };
        }
    })?;
    Ok(alive)
}
