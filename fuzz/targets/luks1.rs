//! LUKS1: a header of 592 bytes, before keyslots and data that the library made.
//!
//! An input is 4 bytes that say what is done, and the header.

#![no_main]

use std::sync::{Arc, LazyLock};

use atrest::volume::LuksVersion;
use atrest_fuzz::disk::Disk;
use atrest_fuzz::volumes::{self, How};
use atrest_fuzz::{Input, limits, seeds};
use libfuzzer_sys::{Corpus, fuzz_target};

const HEADER: usize = 592;

static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| volumes::image(LuksVersion::Luks1));

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| -> Corpus {
    let readable = limits::limited(|| run(data));
    if readable { Corpus::Keep } else { Corpus::Reject }
});

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for credential in [8, 15] {
        for operation in 0..10 {
            seeds.push([&[0, credential, operation, 0][..], &IMAGE[..HEADER]].concat());
        }
    }
    seeds
}

fn run(data: &[u8]) -> bool {
    let mut input = Input(data);
    let [flags, credential, operation, sizes] = [(); 4].map(|()| input.byte());
    // No vault has a way into LUKS1; what asks for one is refused, which is seen once.
    let credential = if credential == 0 { 0 } else { credential | 8 };
    let image: &'static [u8] = &IMAGE;
    let size = match sizes % 4 {
        0 | 1 => image.len() as u64,
        2 => u64::from(sizes) * 8192,
        _ => u64::from(sizes) << 40,
    };
    let disk = Disk::new(image, size);
    disk.put(0, input.bytes(HEADER));
    volumes::judge(Arc::new(disk), &How { credential, flags, operation })
}
