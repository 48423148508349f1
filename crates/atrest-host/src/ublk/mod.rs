//! ublk: a disk of this machine, `/dev/ublkbN`, whose requests the kernel hands to this process.
//!
//! The control commands and the queues are those of the crate `libublk`. Data is copied between the kernel's pages and a buffer
//! of ours (`UBLK_F_USER_COPY`), so that nobody else changes what is encrypted.

mod pages;
mod request;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

use atrest::{Error, Result};
use libublk::ctrl::{UblkCtrl, UblkCtrlBuilder};
use libublk::io::{BufDescList, UblkDev, UblkQueue};
use libublk::{BufDesc, UblkError, UblkFlags, UblkIORes, sys};

use crate::Disk;
use crate::disk::io;
use crate::serve::{Serve, Served};

use request::Executor;

/// The most bytes of one request.
const MAX_REQUEST: u32 = 512 << 10;
const DEPTH: u16 = 64;
/// What a discard is made of, in bytes.
const BLOCK: u32 = 4096;
/// The most sectors of 512 bytes of one discard, or of zeroes.
const MAX_ZEROED: u32 = 1 << 20;

/// Serves a disk to this machine itself as a block device, by the kernel's ublk driver (`CONFIG_BLK_DEV_UBLK`). It needs
/// Linux 6.5, `modprobe ublk_drv`, and the right to add devices (`CAP_SYS_ADMIN`).
///
/// ```no_run
/// use std::sync::Arc;
///
/// use atrest::{Credential, FileDevice, OpenOptions, Volume};
/// use atrest_host::{Serve, Ublk};
///
/// let volume = Volume::open(FileDevice::open("disk.img")?, Credential::Passphrase(b"secret"), &OpenOptions::new())?;
/// let served = Ublk::new().serve(Arc::new(volume), "disk")?;
/// println!("mount {}", served.device().unwrap().display());
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ublk {
    number: Option<u32>,
    queues: u16,
}

impl Default for Ublk {
    fn default() -> Self {
        Self::new()
    }
}

impl Ublk {
    /// A device of a number that the kernel chooses.
    pub fn new() -> Self {
        Ublk { number: None, queues: 1 }
    }

    /// The number N of `/dev/ublkbN`.
    pub fn number(mut self, number: u32) -> Self {
        self.number = Some(number);
        self
    }

    /// How many queues there are, each with a thread of its own, which does one request at a time. The default is 1.
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = queues.clamp(1, 64);
        self
    }

    fn control(&self) -> Result<UblkCtrl, UblkError> {
        let id = self.number.map_or(Ok(-1), i32::try_from).map_err(|_| UblkError::InvalidVal)?;
        UblkCtrlBuilder::default()
            .name("atrest")
            .id(id)
            .nr_queues(self.queues)
            .depth(DEPTH)
            .io_buf_bytes(MAX_REQUEST)
            .ctrl_flags(sys::UBLK_F_USER_COPY.into())
            .dev_flags(UblkFlags::UBLK_DEV_F_ADD_DEV)
            .build()
    }
}

impl Serve for Ublk {
    /// The block device is there when this returns. `id` is the name of its thread: ublk's devices have no serial number.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel has no ublk, or this process may not add devices.
    fn serve(&self, disk: Arc<dyn Disk>, id: &str) -> Result<Served> {
        let (begun, beginning) = channel();
        let (ublk, kept) = (self.clone(), disk.clone());
        let thread = Builder::new().name(id.into()).spawn(move || {
            if let Err(error) = run(&ublk, &disk, &begun) {
                // Nobody listens any more if it had begun.
                let _ = begun.send(Err(failed(error)));
            }
        });
        let thread = thread.map_err(|e| io("starting to serve a disk", e))?;
        let ended = || Err(io("adding a ublk device", std::io::Error::other("its thread ended")));
        let (number, device) = match beginning.recv().unwrap_or_else(|_| ended()) {
            Ok(begun) => begun,
            Err(e) => {
                // It is about to end.
                let _ = thread.join();
                return Err(e);
            }
        };
        let resized = move || match control_of(number).and_then(|control| control.update_size(kept.size())) {
            Ok(_) => {}
            Err(e) => log::warn!("the kernel was not told of a disk's new size, which needs Linux 6.16: {e}"),
        };
        let server = Box::new(Device { number, thread: Some(thread) });
        Ok(Served { server, address: None, device: Some(device), resized: Box::new(resized) })
    }
}

/// A block device, until this is dropped.
struct Device {
    number: i32,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Err(e) = control_of(self.number).and_then(|control| control.kill_dev()) {
            log::warn!("a ublk device could not be stopped: {e}");
        }
        if let Some(thread) = self.thread.take() {
            // A panic has been told of by its own thread.
            let _ = thread.join();
        }
    }
}

/// The control of a device, for this thread. That of another thread has that thread's rings.
fn control_of(number: i32) -> Result<UblkCtrl, UblkError> {
    UblkCtrl::new_simple(number)
}

/// Serves until the device is stopped. `begun` is told the number and the path of the device.
fn run(ublk: &Ublk, disk: &Arc<dyn Disk>, begun: &Sender<Result<(i32, PathBuf)>>) -> Result<(), UblkError> {
    let control = ublk.control()?;
    let begun = begun.clone();
    let (described, served) = (disk.clone(), disk.clone());
    control.run_target(
        move |device| {
            describe(device, &*described);
            Ok(())
        },
        move |queue, device| {
            if let Err(e) = work(queue, device, &*served) {
                log::warn!("a queue of a ublk device ends: {e}");
            }
        },
        move |control| {
            let number = control.dev_info().dev_id as i32;
            // Whoever waits for it is there until it is told.
            let _ = begun.send(Ok((number, control.get_bdev_path().into())));
        },
    )?;
    Ok(())
}

/// Tells the kernel what the disk is like.
fn describe(device: &mut UblkDev, disk: &dyn Disk) {
    let (size, shift) = (disk.size(), disk.sector_size().trailing_zeros() as u8);
    device.set_default_params(size);
    let params = &mut device.tgt.params;
    params.types |= sys::UBLK_PARAM_TYPE_DISCARD;
    params.basic.logical_bs_shift = shift;
    params.basic.attrs = sys::UBLK_ATTR_VOLATILE_CACHE | sys::UBLK_ATTR_FUA;
    if disk.is_read_only() {
        params.basic.attrs |= sys::UBLK_ATTR_READ_ONLY;
    }
    params.discard = sys::ublk_param_discard {
        discard_granularity: BLOCK,
        max_discard_sectors: if disk.discards() { MAX_ZEROED } else { 0 },
        max_write_zeroes_sectors: MAX_ZEROED,
        max_discard_segments: 1,
        ..Default::default()
    };
}

/// Does the requests of a queue, until the device is stopped.
fn work(number: u16, device: &UblkDev, disk: &dyn Disk) -> Result<(), UblkError> {
    let pages = pages::Pages::of(device);
    let mut executor = Executor::new(disk, MAX_REQUEST as usize);
    let queue = UblkQueue::new(number, device)?.submit_fetch_commands_unified(BufDescList::Slices(None))?;
    queue.wait_and_handle_io(|queue, tag, _| {
        let result = executor.execute(queue.get_iod(tag), &pages.of_request(number, tag));
        let told = queue.complete_io_cmd_unified(tag, BufDesc::Slice(&[]), Ok(UblkIORes::Result(result)));
        if let Err(e) = told {
            log::warn!("the answer of a ublk request was not taken: {e}");
        }
    });
    Ok(())
}

fn failed(error: UblkError) -> Error {
    let of = |code: i32| std::io::Error::from_raw_os_error(code.abs());
    let source = match error {
        UblkError::IOError(e) => e,
        UblkError::OtherError(code) | UblkError::UringIOError(code) if code != 0 => of(code),
        error => std::io::Error::other(error.to_string()),
    };
    io("adding a ublk device (is ublk_drv loaded, and may this process add devices?)", source)
}
