//! ublk: a disk of this machine, `/dev/ublkbN`, whose requests the kernel hands to this process.
//!
//! The control commands and the queues are those of the crate `libublk`. Data is copied between the kernel's pages and a buffer
//! of ours (`UBLK_F_USER_COPY`), so that data doesn't change while it is encrypted.

mod pages;
mod request;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
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
/// The granularity of discards, in bytes.
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
    queues: u16,
}

impl Default for Ublk {
    fn default() -> Self {
        Self::new()
    }
}

impl Ublk {
    /// A device whose number the kernel chooses.
    pub fn new() -> Self {
        Ublk { queues: 1 }
    }

    /// How many queues there are, each with a thread of its own, which does one request at a time. The default is 1.
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = queues.clamp(1, 64);
        self
    }

    /// Adds the device. It can't be asked for a number: where another server has it, the crate deletes that one's device.
    fn control(&self) -> Result<UblkCtrl, UblkError> {
        UblkCtrlBuilder::default()
            .name("atrest")
            .nr_queues(self.queues)
            .depth(DEPTH)
            .io_buf_bytes(MAX_REQUEST)
            .ctrl_flags(sys::UBLK_F_USER_COPY.into())
            .dev_flags(UblkFlags::UBLK_DEV_F_ADD_DEV)
            .build()
    }
}

impl Serve for Ublk {
    /// The block device exists when this returns. `id` is the name of its threads: ublk's devices have no serial number.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel has no ublk, or this process may not add devices.
    fn serve(&self, disk: Arc<dyn Disk>, id: &str) -> Result<Served> {
        let (begun, beginning) = channel();
        let (orders, ordered) = channel();
        let (ublk, name) = (self.clone(), id.to_owned());
        let thread = Builder::new().name(id.into()).spawn(move || {
            if let Err(error) = run(&ublk, &name, &disk, &begun, &ordered) {
                // No receiver is left if it had begun.
                let _ = begun.send(Err(failed(error)));
            }
        });
        let thread = thread.map_err(|e| io("starting to serve a disk", e))?;
        let ended = || Err(io("adding a ublk device", std::io::Error::other("its thread ended")));
        let device = match beginning.recv().unwrap_or_else(|_| ended()) {
            Ok(device) => device,
            Err(e) => {
                // It is about to end.
                let _ = thread.join();
                return Err(e);
            }
        };
        let orders = Arc::new(Mutex::new(Some(orders)));
        let of_size = orders.clone();
        let resized = move || {
            if let Some(orders) = &*of_size.lock().unwrap_or_else(PoisonError::into_inner) {
                // If the thread has ended, the message has no receiver.
                let _ = orders.send(Resized);
            }
        };
        let server = Box::new(Device { orders, thread: Some(thread) });
        let mut served = Served::new(server, Box::new(resized));
        served.device = Some(device);
        Ok(served)
    }
}

/// The disk has another size.
struct Resized;

/// A block device, until this is dropped.
struct Device {
    /// Sends orders to the thread that has the device. The thread stops the device when all senders are gone.
    orders: Arc<Mutex<Option<Sender<Resized>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Device {
    fn drop(&mut self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.take() {
            // Its own thread has reported a panic.
            let _ = thread.join();
        }
    }
}

/// Serves until all senders of orders are gone. `begun` receives the path of the device. The control and its rings belong to
/// this thread, so that stopping the device has to open nothing, and the number stays taken until then.
fn run(
    ublk: &Ublk,
    name: &str,
    disk: &Arc<dyn Disk>,
    begun: &Sender<Result<PathBuf>>,
    orders: &Receiver<Resized>,
) -> Result<(), UblkError> {
    // Dropped last: that deletes the device, which waits until all have closed it.
    let control = ublk.control()?;
    let describe = |device: &mut UblkDev| {
        describe(device, &**disk);
        Ok(())
    };
    let device = Arc::new(UblkDev::new(control.get_name(), describe, &control)?);
    let (ready, readiness) = channel();
    let mut threads = Vec::new();
    for number in 0..device.dev_info.nr_hw_queues {
        let (device, disk, ready) = (device.clone(), disk.clone(), ready.clone());
        let thread = Builder::new().name(name.into()).spawn(move || work(number, &device, &*disk, ready));
        threads.push(thread?);
    }
    drop(ready);
    // The kernel would wait for ever for a queue that isn't there.
    for _ in &threads {
        let ended = |_| std::io::Error::other("a queue's thread ended");
        let (number, thread) = readiness.recv().map_err(ended)??;
        control.configure_queue(&device, number, thread)?;
        control.set_thread_affinity(number, thread);
    }
    control.start_dev(&device)?;
    // The receiver waits until it has this message.
    let _ = begun.send(Ok(control.get_bdev_path().into()));
    for Resized in orders {
        if let Err(e) = control.update_size(disk.size()) {
            log::warn!("the kernel was not told of a disk's new size, which needs Linux 6.16: {e}");
        }
    }
    // A device that another process has stopped has no requests any more, and its queues have ended.
    if let Err(e) = control.kill_dev()
        && threads.iter().any(|thread| !thread.is_finished())
    {
        log::warn!("a ublk device could not be stopped, and goes on until this process ends: {e}");
        control.disown();
        return Ok(());
    }
    for thread in threads {
        // Its own thread has reported a panic.
        let _ = thread.join();
    }
    Ok(())
}

/// Sets the kernel's parameters for the disk.
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

/// Serves the requests of a queue, until the device is stopped. `ready` receives the thread's number once it takes requests.
fn work(number: u16, device: &UblkDev, disk: &dyn Disk, ready: Sender<Result<(u16, i32), UblkError>>) {
    let thread = UblkCtrl::init_queue_thread();
    let queue = UblkQueue::new(number, device);
    let queue = match queue.and_then(|queue| queue.submit_fetch_commands_unified(BufDescList::Slices(None))) {
        Ok(queue) => queue,
        Err(e) => {
            // The receiver waits until all threads have sent theirs.
            let _ = ready.send(Err(e));
            return;
        }
    };
    let _ = ready.send(Ok((number, thread)));
    drop(ready);
    let pages = pages::Pages::of(device);
    let mut executor = Executor::new(disk, MAX_REQUEST as usize);
    queue.wait_and_handle_io(|queue, tag, _| {
        let result = executor.execute(queue.get_iod(tag), &pages.of_request(number, tag));
        let told = queue.complete_io_cmd_unified(tag, BufDesc::Slice(&[]), Ok(UblkIORes::Result(result)));
        if let Err(e) = told {
            log::warn!("the answer of a ublk request was not taken: {e}");
        }
    });
}

/// The number of the system's error, if it is one.
fn number_of(error: &UblkError) -> Option<i32> {
    match error {
        UblkError::IOError(e) => e.raw_os_error(),
        UblkError::OtherError(code) | UblkError::UringIOError(code) => Some(code.abs()),
        _ => None,
    }
}

fn failed(error: UblkError) -> Error {
    let source = match (number_of(&error), error) {
        (Some(number), _) => std::io::Error::from_raw_os_error(number),
        (None, UblkError::IOError(e)) => e,
        (None, error) => std::io::Error::other(error.to_string()),
    };
    io("adding a ublk device (is ublk_drv loaded, and may this process add devices?)", source)
}
