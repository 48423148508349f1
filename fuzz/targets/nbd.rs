//! NBD: what a client sends, from the handshake on.
//!
//! An input is a byte that says what the disk is, and what the client sends.

#![no_main]

use atrest_fuzz::plain::PlainDisk;
use atrest_fuzz::{Input, limits, seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| {
    limits::limited(|| run(data));
});

fn run(data: &[u8]) {
    let mut input = Input(data);
    let disk = PlainDisk::new(input.byte());
    let got = atrest_host::fuzzing::nbd(&disk, input.rest());
    assert!(got.starts_with(b"NBDMAGICIHAVEOPT"));
}

/// Sessions with each option and each request.
fn seeds() -> Vec<Vec<u8>> {
    let option = |kind: u32, data: &[u8]| {
        [&b"IHAVEOPT"[..], &kind.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
    };
    let request = |kind: u16, offset: u64, len: u32| {
        let data = vec![3; if kind == 1 { len as usize } else { 0 }];
        let head = [&0x2560_9513u32.to_be_bytes()[..], &[0, 0], &kind.to_be_bytes(), &[1; 8]].concat();
        [&head[..], &offset.to_be_bytes(), &len.to_be_bytes(), &data].concat()
    };
    let contexts = [&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 15][..], b"base:allocation"].concat();
    let requests: Vec<u8> = [
        request(0, 4096, 8192),
        request(1, 0, 4096),
        request(3, 0, 0),
        request(4, 4096, 4096),
        request(6, 8192, 4096),
        request(7, 0, 8192),
        request(2, 0, 0),
    ]
    .concat();
    let mut seeds = Vec::new();
    for flags in 0..4 {
        let old = [&[flags, 0, 0, 0, 0][..], &option(1, b"disk"), &requests].concat();
        let options = [option(3, b""), option(6, &[0, 0, 0, 0, 0, 1, 0, 3]), option(8, b""), option(9, &contexts)];
        let go = [option(10, &contexts), option(7, &[0, 0, 0, 0, 0, 0])].concat();
        seeds.push(old);
        seeds.push([&[flags, 0, 0, 0, 3][..], &options.concat(), &go, &requests].concat());
    }
    seeds
}
