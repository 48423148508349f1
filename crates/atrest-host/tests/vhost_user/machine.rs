//! A virtual machine as its disk's server sees it: memory with rings in it, and a front end that sends messages.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserInflight, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};
use vmm_sys_util::eventfd::EventFd;

/// The start of the guest's memory, and its length.
pub const BASE: u64 = 0x10_0000;
pub const LEN: usize = 4 << 20;

/// The rings, and memory for requests behind them.
pub const QUEUE_SIZE: u16 = 128;
pub const TABLE: u64 = BASE;
const AVAILABLE: u64 = BASE + 0x1000;
const USED: u64 = BASE + 0x2000;
pub const INDIRECT: u64 = BASE + 0x3000;
pub const HEADER: u64 = BASE + 0x5000;
pub const STATUS: u64 = BASE + 0x6000;
pub const DATA: u64 = BASE + 0x1_0000;

// Flags of descriptors.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT_TABLE: u16 = 4;

/// The values of a status; no server writes the last.
pub const OK: u8 = 0;
pub const IO_ERROR: u8 = 1;
pub const UNSUPPORTED: u8 = 2;
pub const NONE: u8 = 0xee;

/// A machine with one queue.
pub struct Machine {
    pub front_end: Frontend,
    pub memory: GuestMemoryMmap,
    /// The server's record of requests under way, which outlives it.
    pub inflight: Option<(VhostUserInflight, File)>,
    file: File,
    kick: EventFd,
    call: EventFd,
    next: u16,
}

/// One descriptor: address, length, flags, next.
pub type Descriptor = (u64, u32, u16, u16);

impl Machine {
    /// Connects to the server of a disk, and begins to use it.
    pub fn boot(socket: &Path) -> Self {
        let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
        ftruncate(&file, LEN as u64).unwrap();
        let region = MmapRegion::from_file(FileOffset::new(file.try_clone().unwrap(), 0), LEN).unwrap();
        let region = GuestRegionMmap::new(region, GuestAddress(BASE)).unwrap();
        let memory = GuestMemoryMmap::from_regions(vec![region]).unwrap();
        let (kick, call) = (EventFd::new(libc_nonblock()).unwrap(), EventFd::new(libc_nonblock()).unwrap());
        let front_end = connect(socket);
        let mut machine = Machine { front_end, memory, inflight: None, file, kick, call, next: 0 };
        machine.start();
        machine
    }

    /// Connects to the server that came after the one that died, as QEMU does.
    pub fn reconnect(&mut self, socket: &Path) {
        self.front_end = connect(socket);
        self.start();
    }

    fn start(&mut self) {
        let used = self.used();
        let front_end = &mut self.front_end;
        front_end.set_owner().unwrap();
        let features = front_end.get_features().unwrap();
        let protocol = front_end.get_protocol_features().unwrap();
        front_end.set_protocol_features(protocol).unwrap();
        assert!(protocol.contains(VhostUserProtocolFeatures::INFLIGHT_SHMFD), "{protocol:?}");
        assert_eq!(front_end.get_queue_num().unwrap(), 2);
        match &self.inflight {
            Some((told, file)) => front_end.set_inflight_fd(told, file.as_raw_fd()).unwrap(),
            None => {
                let asked = VhostUserInflight::new(0, 0, 1, QUEUE_SIZE);
                self.inflight = Some(front_end.get_inflight_fd(&asked).unwrap());
            }
        }
        front_end.set_features(features & !(1 << 29)).unwrap(); // without EVENT_IDX every answer is told
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: BASE,
            memory_size: LEN as u64,
            userspace_addr: BASE,
            mmap_offset: 0,
            mmap_handle: self.file.as_raw_fd(),
        };
        front_end.set_mem_table(&[region]).unwrap();
        front_end.set_vring_num(0, QUEUE_SIZE).unwrap();
        let rings = VringConfigData {
            queue_max_size: QUEUE_SIZE,
            queue_size: QUEUE_SIZE,
            flags: 0,
            desc_table_addr: TABLE,
            used_ring_addr: USED,
            avail_ring_addr: AVAILABLE,
            log_addr: None,
        };
        front_end.set_vring_addr(0, &rings).unwrap();
        front_end.set_vring_base(0, used).unwrap();
        front_end.set_vring_call(0, &self.call).unwrap();
        front_end.set_vring_kick(0, &self.kick).unwrap();
        front_end.set_vring_enable(0, true).unwrap();
    }

    /// The configuration that the guest sees.
    pub fn config(&mut self) -> Vec<u8> {
        let (_, config) = self.front_end.get_config(0, 60, VhostUserConfigFlags::empty(), &[0; 60]).unwrap();
        config
    }

    /// The channel on which the server tells of changes.
    pub fn channel(&mut self) -> std::os::unix::net::UnixStream {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        self.front_end.set_backend_request_fd(&theirs).unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        ours
    }

    /// How many requests were given back.
    pub fn used(&self) -> u16 {
        self.memory.read_obj(GuestAddress(USED + 2)).unwrap()
    }

    pub fn put(&self, at: u64, descriptors: &[Descriptor]) {
        for (i, &(address, len, flags, next)) in descriptors.iter().enumerate() {
            let at = at + 16 * i as u64;
            self.memory.write_obj(address, GuestAddress(at)).unwrap();
            self.memory.write_obj(len, GuestAddress(at + 8)).unwrap();
            self.memory.write_obj(flags, GuestAddress(at + 12)).unwrap();
            self.memory.write_obj(next, GuestAddress(at + 14)).unwrap();
        }
    }

    pub fn put_header(&self, kind: u32, sector: u64) {
        self.put_header_at(HEADER, kind, sector);
    }

    pub fn put_header_at(&self, at: u64, kind: u32, sector: u64) {
        self.memory.write_obj(kind, GuestAddress(at)).unwrap();
        self.memory.write_obj(sector, GuestAddress(at + 8)).unwrap();
    }

    /// Makes requests available by their first descriptors, and tells the server.
    pub fn offer(&mut self, heads: &[u16]) {
        for head in heads {
            let at = AVAILABLE + 4 + 2 * u64::from(self.next % QUEUE_SIZE);
            self.memory.write_obj(*head, GuestAddress(at)).unwrap();
            self.next = self.next.wrapping_add(1);
        }
        self.memory.store(self.next, GuestAddress(AVAILABLE + 2), std::sync::atomic::Ordering::Release).unwrap();
        self.kick.write(1).unwrap();
    }

    /// Waits until all that was offered is given back.
    pub fn wait(&self) {
        assert!(self.is_done_within(Duration::from_secs(20)), "{} of {} were given back", self.used(), self.next);
    }

    pub fn is_done_within(&self, time: Duration) -> bool {
        let begun = Instant::now();
        while self.used() != self.next {
            if begun.elapsed() > time {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Waits until more was given back than `seen`, and returns the first descriptors of what was since.
    pub fn given_back(&self, seen: u16) -> Vec<u16> {
        let begun = Instant::now();
        while self.used() == seen {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing was given back after {seen} requests");
            std::thread::yield_now();
        }
        let place = |number: u16| USED + 4 + 8 * u64::from(number % QUEUE_SIZE);
        let head = |number| self.memory.read_obj::<u32>(GuestAddress(place(number))).unwrap() as u16;
        (0..self.used().wrapping_sub(seen)).map(|n| head(seen.wrapping_add(n))).collect()
    }

    /// Does one request of a header, data and a status, and returns the status. `writes` says whether the server writes the data.
    pub fn request(&mut self, kind: u32, sector: u64, len: u32, writes: bool) -> u8 {
        self.put_header(kind, sector);
        let flags = NEXT | if writes { WRITE } else { 0 };
        match len {
            0 => self.put(TABLE, &[(HEADER, 16, NEXT, 2), (0, 0, 0, 0), (STATUS, 1, WRITE, 0)]),
            _ => self.put(TABLE, &[(HEADER, 16, NEXT, 1), (DATA, len, flags, 2), (STATUS, 1, WRITE, 0)]),
        }
        self.chain()
    }

    /// Does the request whose first descriptor is the first of the table, and returns its status.
    pub fn chain(&mut self) -> u8 {
        self.memory.write_obj(NONE, GuestAddress(STATUS)).unwrap();
        self.offer(&[0]);
        self.wait();
        self.memory.read_obj(GuestAddress(STATUS)).unwrap()
    }

    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// How often the server has told that something was given back.
    pub fn calls(&self) -> u64 {
        self.call.read().unwrap_or(0)
    }
}

fn connect(socket: &Path) -> Frontend {
    let front_end = Frontend::connect(socket, 2).unwrap();
    front_end.set_hdr_flags(vhost::vhost_user::message::VhostUserHeaderFlag::NEED_REPLY);
    front_end
}

fn libc_nonblock() -> i32 {
    rustix::event::EventfdFlags::NONBLOCK.bits() as i32
}
