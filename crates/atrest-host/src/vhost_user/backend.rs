//! The back end of one connection: it turns the front end's messages into queues that are served.
//!
//! A message that changes a queue stops its thread first and starts it again afterwards, so that a thread owns all its state.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight, VhostUserLog,
    VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use super::crew::Crew;
use super::device;
use super::inflight::Inflight;
use super::mapped::has;
use super::polling::Polling;
use super::ring::{Ring, Running};
use crate::Disk;

/// The most descriptors of a queue.
const MAX_QUEUE_SIZE: u16 = 1024;

/// The most regions of memory that a front end may add one by one.
const MAX_MEMORY_SLOTS: u64 = 32;

pub(super) struct Backend {
    disk: Arc<dyn Disk>,
    id: Arc<str>,
    polling: Duration,
    helpers: usize,
    features: u64,
    acked: u64,
    regions: Vec<Region>,
    memory: Arc<GuestMemoryMmap>,
    inflight: Option<Inflight>,
    queues: Vec<QueueState>,
}

/// A part of the guest's memory.
struct Region {
    guest: u64,
    front_end: u64,
    len: u64,
    mapped: Arc<GuestRegionMmap>,
}

/// The front end's settings of a queue.
#[derive(Default)]
struct QueueState {
    size: u16,
    /// The addresses of the descriptors, the available and the used ring, in the front end's own address space.
    rings: Option<[u64; 3]>,
    next_avail: u16,
    kick: Option<Arc<File>>,
    call: Option<Arc<File>>,
    enabled: bool,
    running: Option<Running>,
}

impl Backend {
    pub(super) fn new(disk: Arc<dyn Disk>, id: Arc<str>, queues: u16, polling: Duration, helpers: usize) -> Self {
        let features = device::features(&*disk) | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        let queues = (0..queues).map(|_| QueueState::default()).collect();
        let memory = Arc::new(GuestMemoryMmap::new());
        Backend { disk, id, polling, helpers, features, acked: 0, regions: Vec::new(), memory, inflight: None, queues }
    }

    /// Stops all queues, once the requests that were taken are done.
    pub(super) fn stop(&mut self) {
        (0..self.queues.len()).for_each(|index| self.stop_queue(index));
    }

    fn stop_queue(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        if let Some(running) = queue.running.take() {
            queue.next_avail = running.stop();
        }
    }

    /// Serves a queue once all its settings are there.
    fn start_queue(&mut self, index: usize) -> Result<()> {
        let state = &self.queues[index];
        let (Some(rings), Some(kick), true, None) = (state.rings, &state.kick, state.enabled, &state.running) else {
            return Ok(());
        };
        let rings = rings.map(|address| self.guest_address(address));
        let [Some(descriptors), Some(available), Some(used)] = rings else {
            return Err(Error::InvalidParam);
        };
        let mut queue = Queue::new(MAX_QUEUE_SIZE).map_err(internal)?;
        queue.try_set_size(state.size).map_err(internal)?;
        queue.try_set_desc_table_address(descriptors).map_err(internal)?;
        queue.try_set_avail_ring_address(available).map_err(internal)?;
        queue.try_set_used_ring_address(used).map_err(internal)?;
        queue.set_next_avail(state.next_avail);
        queue.set_event_idx(self.acked & device::EVENT_IDX != 0);
        queue.set_ready(true);
        let crew = Crew::new(self.disk.clone(), self.memory.clone(), self.helpers).map_err(Error::ReqHandlerError)?;
        let ring = Ring {
            disk: self.disk.clone(),
            id: self.id.clone(),
            memory: self.memory.clone(),
            queue,
            kick: kick.clone(),
            call: state.call.clone(),
            inflight: self.inflight.as_ref().and_then(|inflight| inflight.queue(index)),
            polling: Polling::new(self.polling),
            crew,
        };
        let running = Running::start(ring, format!("{} {index}", self.id)).map_err(Error::ReqHandlerError)?;
        self.queues[index].running = Some(running);
        Ok(())
    }

    /// Changes a queue, which isn't served meanwhile.
    fn change(&mut self, index: usize, change: impl FnOnce(&mut QueueState)) -> Result<()> {
        if index >= self.queues.len() {
            return Err(Error::InvalidParam);
        }
        self.stop_queue(index);
        change(&mut self.queues[index]);
        self.start_queue(index)
    }

    /// Changes state that all queues depend on.
    fn change_all(&mut self, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.stop();
        change(self)?;
        (0..self.queues.len()).try_for_each(|index| self.start_queue(index))
    }

    fn guest_address(&self, address: u64) -> Option<GuestAddress> {
        let inside = |region: &&Region| address.checked_sub(region.front_end).is_some_and(|at| at < region.len);
        let region = self.regions.iter().find(inside)?;
        region.guest.checked_add(address - region.front_end).map(GuestAddress)
    }

    /// Makes the regions the memory that requests are found in.
    fn use_regions(&mut self) -> Result<()> {
        let mut mapped: Vec<_> = self.regions.iter().map(|region| region.mapped.clone()).collect();
        mapped.sort_by_key(|region| vm_memory::GuestMemoryRegion::start_addr(&**region));
        self.memory = Arc::new(GuestMemoryMmap::from_arc_regions(mapped).map_err(internal)?);
        Ok(())
    }
}

impl Region {
    fn map(region: &VhostUserMemoryRegion, file: File) -> Result<Self> {
        if !has(&file, region.mmap_offset, region.memory_size) {
            return Err(Error::InvalidParam);
        }
        let mapped = region.mmap_region(file)?;
        let mapped = GuestRegionMmap::new(mapped, GuestAddress(region.guest_phys_addr)).ok_or(Error::InvalidParam)?;
        let VhostUserMemoryRegion { guest_phys_addr: guest, user_addr: front_end, memory_size: len, .. } = *region;
        Ok(Region { guest, front_end, len, mapped: Arc::new(mapped) })
    }
}

/// A failure that isn't the front end's.
fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::ReqHandlerError(io::Error::other(error))
}

impl VhostUserBackendReqHandlerMut for Backend {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset_device()
    }

    fn reset_device(&mut self) -> Result<()> {
        self.stop();
        self.acked = 0;
        self.queues.iter_mut().for_each(|queue| *queue = QueueState::default());
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.features)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !self.features != 0 {
            return Err(Error::InvalidParam);
        }
        self.change_all(|backend| {
            backend.acked = features;
            // Without protocol features there is no message that enables a queue.
            if features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0 {
                backend.queues.iter_mut().for_each(|queue| queue.enabled = true);
            }
            Ok(())
        })
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        postcopy_listening: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        if postcopy_listening.is_some() {
            return Err(Error::InvalidOperation("postcopy"));
        }
        let regions = regions.iter().zip(files).map(|(region, file)| Region::map(region, file));
        let regions = regions.collect::<Result<_>>()?;
        self.change_all(|backend| {
            backend.regions = regions;
            backend.use_regions()
        })?;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, size: u32) -> Result<()> {
        let size = u16::try_from(size).map_err(|_| Error::InvalidParam)?;
        if !size.is_power_of_two() || size > MAX_QUEUE_SIZE {
            return Err(Error::InvalidParam);
        }
        self.change(index as usize, |queue| queue.size = size)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _: VhostUserVringAddrFlags,
        descriptors: u64,
        used: u64,
        available: u64,
        _: u64,
    ) -> Result<()> {
        self.change(index as usize, |queue| queue.rings = Some([descriptors, available, used]))
    }

    fn set_vring_base(&mut self, index: u32, next_avail: u32) -> Result<()> {
        let next_avail = u16::try_from(next_avail).map_err(|_| Error::InvalidParam)?;
        self.change(index as usize, |queue| queue.next_avail = next_avail)
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        // The queue stops, until there is a kick again.
        self.change(index as usize, |queue| (queue.kick, queue.call) = (None, None))?;
        Ok(VhostUserVringState::new(index, self.queues[index as usize].next_avail.into()))
    }

    fn set_vring_kick(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.change(index.into(), |queue| queue.kick = file.map(Arc::new))
    }

    fn set_vring_call(&mut self, index: u8, file: Option<File>) -> Result<()> {
        if let Some(file) = &file {
            // Otherwise the process with the other end could stop the queue for ever.
            let flags = fcntl_getfl(file).map_err(internal)?;
            fcntl_setfl(file, flags | OFlags::NONBLOCK).map_err(internal)?;
        }
        self.change(index.into(), |queue| queue.call = file.map(Arc::new))
    }

    fn set_vring_err(&mut self, index: u8, _: Option<File>) -> Result<()> {
        if usize::from(index) < self.queues.len() { Ok(()) } else { Err(Error::InvalidParam) }
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::RESET_DEVICE
            | VhostUserProtocolFeatures::BACKEND_REQ
            | VhostUserProtocolFeatures::INFLIGHT_SHMFD
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS)
    }

    fn set_protocol_features(&mut self, _: u64) -> Result<()> {
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.queues.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.change(index as usize, |queue| queue.enabled = enable)
    }

    fn get_config(&mut self, offset: u32, len: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        let config = device::config(&*self.disk, self.queues.len() as u16);
        // A front end may know more fields than we do: those are zeros.
        let mut bytes = vec![0; len as usize];
        if let Some(known) = config.get(offset as usize..) {
            let known = &known[..known.len().min(bytes.len())];
            bytes[..known.len()].copy_from_slice(known);
        }
        Ok(bytes)
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        Err(Error::InvalidOperation("no field of the configuration can be written"))
    }

    fn get_inflight_fd(&mut self, asked: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        if usize::from(asked.num_queues) > self.queues.len() || asked.queue_size > MAX_QUEUE_SIZE {
            return Err(Error::InvalidParam);
        }
        let (inflight, told, file) = Inflight::new(asked).map_err(Error::ReqHandlerError)?;
        self.inflight = Some(inflight);
        Ok((told, file))
    }

    fn set_inflight_fd(&mut self, told: &VhostUserInflight, file: File) -> Result<()> {
        if told.queue_size > MAX_QUEUE_SIZE || usize::from(told.num_queues) > self.queues.len() {
            return Err(Error::InvalidParam);
        }
        let inflight = Inflight::open(told, file).map_err(Error::ReqHandlerError)?;
        self.change_all(|backend| {
            backend.inflight = Some(inflight);
            Ok(())
        })
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Ok(MAX_MEMORY_SLOTS)
    }

    fn add_mem_region(
        &mut self,
        region: &VhostUserSingleMemoryRegion,
        file: File,
        postcopy_listening: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        if postcopy_listening.is_some() || self.regions.len() as u64 >= MAX_MEMORY_SLOTS {
            return Err(Error::InvalidOperation("postcopy, or too many regions"));
        }
        let region = Region::map(region, file)?;
        self.change_all(|backend| {
            backend.regions.push(region);
            backend.use_regions().inspect_err(|_| drop(backend.regions.pop()))
        })?;
        Ok(None)
    }

    fn remove_mem_region(&mut self, region: &VhostUserSingleMemoryRegion) -> Result<()> {
        let same = |of: &Region| {
            (of.guest, of.front_end, of.len) == (region.guest_phys_addr, region.user_addr, region.memory_size)
        };
        let at = self.regions.iter().position(same).ok_or(Error::InvalidParam)?;
        self.change_all(|backend| {
            backend.regions.remove(at);
            backend.use_regions()
        })
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        Err(Error::InvalidOperation("this is a disk"))
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        Err(Error::InvalidOperation("there are no shared objects"))
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        Err(Error::InvalidOperation("the device has no state to move"))
    }

    fn check_device_state(&mut self) -> Result<()> {
        Err(Error::InvalidOperation("the device has no state to move"))
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Err(Error::InvalidOperation("there is no shared memory"))
    }

    fn set_log_base(&mut self, _: &VhostUserLog, _: File) -> Result<()> {
        Err(Error::InvalidOperation("the guest's memory isn't logged"))
    }
}
