//! vhost-user-blk: a request of a guest, by its descriptors and what they point at.
//!
//! An input is a byte that says what the disk is, one that says with which descriptor the request begins, and the guest's memory
//! from the address 0 on, where the table of descriptors is.

#![no_main]

use std::cell::LazyCell;

use atrest_fuzz::plain::PlainDisk;
use atrest_fuzz::{Input, limits, seeds};
use libfuzzer_sys::fuzz_target;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const MEMORY: usize = 64 << 10;
const QUEUE_SIZE: u16 = 16;

thread_local! {
    /// Two regions with a gap between them.
    static GUEST: LazyCell<GuestMemoryMmap> = LazyCell::new(|| {
        let half = MEMORY / 2;
        let regions = [(GuestAddress(0), half), (GuestAddress(2 * half as u64), half)];
        GuestMemoryMmap::from_ranges(&regions).expect("there is memory")
    });
}

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| {
    limits::limited(|| run(data));
});

fn run(data: &[u8]) {
    let mut input = Input(data);
    let (disk, head) = (PlainDisk::new(input.byte()), u16::from(input.byte()) % 20);
    let mut bytes = input.bytes(MEMORY / 2).to_vec();
    bytes.resize(MEMORY / 2, 0);
    GUEST.with(|memory| {
        memory.write_slice(&bytes, GuestAddress(0)).expect("it has that");
        if head < QUEUE_SIZE
            && let Some(written) = atrest_host::fuzzing::request(&disk, memory, QUEUE_SIZE, head)
        {
            assert!(u64::from(written) <= MEMORY as u64 * u64::from(QUEUE_SIZE) * 4096);
        }
    });
}

/// Requests of each kind, in a row and in an indirect table.
fn seeds() -> Vec<Vec<u8>> {
    let descriptor = |address: u64, len: u32, flags: u16, next: u16| {
        [&address.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()].concat()
    };
    let mut seeds = Vec::new();
    for (kind, len, flags) in
        [(0, 8192, 3), (1, 4096, 1), (4, 0, 1), (8, 20, 3), (11, 16, 1), (13, 32, 1), (99, 512, 3)]
    {
        for indirect in [false, true] {
            let mut memory = vec![0; 0x4000];
            let chain = [descriptor(0x800, 16, 1, 1), descriptor(0x1000, len, flags, 2), descriptor(0x900, 1, 2, 0)];
            let at = if indirect { 0x400 } else { 0 };
            memory[at..at + 48].copy_from_slice(&chain.concat());
            if indirect {
                memory[..16].copy_from_slice(&descriptor(0x400, 48, 4, 0));
            }
            memory[0x800..0x804].copy_from_slice(&u32::to_le_bytes(kind));
            memory[0x1008] = 8;
            memory[0x1018] = 8;
            for disk in 0..4 {
                seeds.push([&[disk, 0][..], &memory].concat());
            }
        }
    }
    seeds
}
