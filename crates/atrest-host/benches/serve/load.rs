//! A front end of vhost-user-blk that keeps requests under way, as a guest's driver does, without a guest.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};
use vmm_sys_util::eventfd::EventFd;

const BASE: u64 = 0x10_0000;
const LEN: usize = 64 << 20;
const QUEUE_SIZE: u16 = 128;
const TABLE: u64 = BASE;
const AVAILABLE: u64 = BASE + 0x1000;
const USED: u64 = BASE + 0x2000;
const HEADERS: u64 = BASE + 0x4000;
const DATA: u64 = BASE + 0x10_0000;
const EVENT_IDX: u64 = 1 << 29;

/// The event's file, for as long as the event lives.
fn borrowed(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the event has the file open while it is borrowed.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

/// The requests of a load.
pub struct Pattern {
    pub write: bool,
    pub random: bool,
    pub len: u32,
    pub depth: u16,
}

pub struct Load {
    _front_end: Frontend,
    memory: GuestMemoryMmap,
    kick: EventFd,
    call: EventFd,
    size: u64,
    next: u16,
    seed: u64,
    at: u64,
}

impl Load {
    pub fn connect(socket: &Path, size: u64) -> Self {
        let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
        ftruncate(&file, LEN as u64).unwrap();
        let region = MmapRegion::from_file(FileOffset::new(file.try_clone().unwrap(), 0), LEN).unwrap();
        let region = GuestRegionMmap::new(region, GuestAddress(BASE)).unwrap();
        let memory = GuestMemoryMmap::from_regions(vec![region]).unwrap();
        let event = || EventFd::new(EventfdFlags::empty().bits() as i32).unwrap();
        let (kick, call) = (event(), event());
        let mut front_end = Frontend::connect(socket, 1).unwrap();
        front_end.set_owner().unwrap();
        let features = front_end.get_features().unwrap();
        let protocol = front_end.get_protocol_features().unwrap() & VhostUserProtocolFeatures::CONFIG;
        front_end.set_protocol_features(protocol).unwrap();
        front_end.set_features(features & (EVENT_IDX | (1 << 28) | (1 << 30) | (1 << 32))).unwrap();
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: BASE,
            memory_size: LEN as u64,
            userspace_addr: BASE,
            mmap_offset: 0,
            mmap_handle: file.as_raw_fd(),
        };
        front_end.set_mem_table(&[region]).unwrap();
        front_end.set_vring_num(0, QUEUE_SIZE).unwrap();
        front_end.set_vring_base(0, 0).unwrap();
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
        front_end.set_vring_kick(0, &kick).unwrap();
        front_end.set_vring_call(0, &call).unwrap();
        front_end.set_vring_enable(0, true).unwrap();
        Load { _front_end: front_end, memory, kick, call, size, next: 0, seed: 1, at: 0 }
    }

    fn put<T: vm_memory::ByteValued>(&self, at: u64, value: T) {
        self.memory.write_obj(value, GuestAddress(at)).unwrap();
    }

    fn used(&self) -> u16 {
        self.memory.load(GuestAddress(USED + 2), Ordering::Acquire).unwrap()
    }

    /// Keeps requests under way for a time. Returns the bytes and the seconds.
    pub fn run(&mut self, pattern: &Pattern, time: Duration) -> (u64, f64) {
        let (begun, mut done, first) = (Instant::now(), 0u64, self.used());
        // Request n has the descriptors 3n to 3n + 2. Which ones are free is known by the used ring.
        for slot in 0..pattern.depth {
            self.offer(slot, pattern);
        }
        self.publish(pattern.depth);
        let mut seen = first;
        let mut stopping = false;
        let mut under_way = pattern.depth;
        while under_way > 0 {
            let used = self.used();
            if used == seen {
                // The driver wants to be told of the next answer, and looks once more before it sleeps.
                let event = AVAILABLE + 4 + 2 * u64::from(QUEUE_SIZE);
                self.memory.store(seen, GuestAddress(event), Ordering::SeqCst).unwrap();
                std::sync::atomic::fence(Ordering::SeqCst);
                if self.used() == seen {
                    // The server may have made it one that never blocks.
                    let _ = poll(&mut [PollFd::from_borrowed_fd(borrowed(&self.call), PollFlags::IN)], None);
                    let _ = self.call.read();
                }
                continue;
            }
            let mut offered = 0;
            while seen != used {
                let at = USED + 4 + 8 * u64::from(seen % QUEUE_SIZE);
                let head: u32 = self.memory.read_obj(GuestAddress(at)).unwrap();
                let status: u8 = self.memory.read_obj(GuestAddress(HEADERS + 32 * u64::from(head / 3) + 16)).unwrap();
                assert_eq!(status, 0, "a request failed");
                seen = seen.wrapping_add(1);
                under_way -= 1;
                done += u64::from(pattern.len);
                stopping |= begun.elapsed() > time;
                if !stopping {
                    self.offer((head / 3) as u16, pattern);
                    offered += 1;
                    under_way += 1;
                }
            }
            if offered > 0 {
                self.publish(offered);
            }
        }
        (done, begun.elapsed().as_secs_f64())
    }

    fn offer(&mut self, slot: u16, pattern: &Pattern) {
        let len = u64::from(pattern.len);
        let blocks = self.size / len;
        let block = if pattern.random {
            self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.seed >> 33) % blocks
        } else {
            self.at = (self.at + 1) % blocks;
            self.at
        };
        let header = HEADERS + 32 * u64::from(slot);
        self.put(header, u32::from(pattern.write));
        self.put(header + 8, block * len / 512);
        self.put(header + 16, 0xffu8);
        let data = DATA + u64::from(slot) * len;
        let data_flags = 1 | if pattern.write { 0 } else { 2 };
        let descriptors = [(header, 16, 1), (data, pattern.len, data_flags), (header + 16, 1, 2)];
        for (i, (address, len, flags)) in descriptors.into_iter().enumerate() {
            let (at, index) = (TABLE + 16 * (3 * u64::from(slot) + i as u64), 3 * slot + i as u16);
            self.put(at, address);
            self.put(at + 8, len);
            self.put(at + 12, flags as u16);
            self.put(at + 14, index + 1);
        }
        let place = AVAILABLE + 4 + 2 * u64::from(self.next % QUEUE_SIZE);
        self.put(place, 3 * slot);
        self.next = self.next.wrapping_add(1);
    }

    /// Makes what was offered available, and tells the server if it wants to know.
    fn publish(&self, offered: u16) {
        self.memory.store(self.next, GuestAddress(AVAILABLE + 2), Ordering::Release).unwrap();
        std::sync::atomic::fence(Ordering::SeqCst);
        let event = USED + 4 + 8 * u64::from(QUEUE_SIZE);
        let wanted: u16 = self.memory.load(GuestAddress(event), Ordering::SeqCst).unwrap();
        if self.next.wrapping_sub(wanted).wrapping_sub(1) < offered {
            self.kick.write(1).unwrap();
        }
    }
}
