//! NBD: what a server sends to a client, from the handshake on.
//!
//! An input is a byte that says what the client asks for and whether it has threads, and what the server sends.

#![no_main]

use atrest_fuzz::{Input, limits, seeds};
use atrest_nbd::fuzzing::{Callers, READS, nbd_client};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: seeds::write(seeds()), |data: &[u8]| {
    limits::limited(|| run(data));
});

fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let callers = if flags & THREADS == THREADS { Callers::Threads } else { Callers::Turns };
    let sent = input.rest();
    let answered = nbd_client(flags & 1 == 1, callers, sent);
    // Zeros may be told of in few bytes, data not.
    let has_hole = || sent.windows(6).any(|window| window[..4] == HEAD && window[4..] != [0, 0]);
    let least: usize = READS.iter().zip(answered).filter(|(_, answered)| *answered).map(|(len, _)| len).sum();
    assert!(sent.len() >= least || has_hole(), "{answered:?} of {} bytes", sent.len());
}

/// With these bits each request has a thread. Few inputs do, since threads take most of the time.
const THREADS: u8 = 0xf0;

/// What a structured reply begins with.
const HEAD: [u8; 4] = [0x66, 0x8e, 0x33, 0xef];

/// Sessions with each way of a handshake, and each kind of reply. The cookies are those that the client makes.
fn seeds() -> Vec<Vec<u8>> {
    let option = |option: u32, kind: u32, data: &[u8]| {
        let numbers = [option, kind, data.len() as u32].map(u32::to_be_bytes).concat();
        [&0x0003_e889_0455_65a9u64.to_be_bytes()[..], &numbers, data].concat()
    };
    let cookie = |slot: u64| 1u64 << 16 | slot;
    let simple = |slot: u64, error: u32| {
        [&0x6744_6698u32.to_be_bytes()[..], &error.to_be_bytes(), &cookie(slot).to_be_bytes()].concat()
    };
    let chunk = |slot: u64, flags: u16, kind: u16, data: &[u8]| {
        let len = (data.len() as u32).to_be_bytes();
        let kinds = [flags, kind].map(u16::to_be_bytes).concat();
        [&HEAD[..], &kinds, &cookie(slot).to_be_bytes(), &len, data].concat()
    };
    let info = |flags: u16| [&[0, 0][..], &(1u64 << 20).to_be_bytes(), &flags.to_be_bytes()].concat();
    let sizes = [&[0, 3][..], &[1u32, 4096, 1 << 20].map(u32::to_be_bytes).concat()].concat();
    let go = [option(7, 3, &info(0x1ff)), option(7, 3, &sizes), option(7, 1, &[])].concat();
    let context = [&[0, 0, 0, 9][..], b"base:allocation"].concat();
    let structured = [option(8, 1, &[]), option(10, 4, &context), option(10, 1, &[]), go.clone()].concat();
    let plain = [option(8, 0x8000_0001, b"no"), go].concat();
    let old = [&(1u64 << 20).to_be_bytes()[..], &[0x01, 0xff]].concat();
    let greet = |lists: u8, rest: &[u8]| [&[lists][..], b"NBDMAGICIHAVEOPT\0\x03", rest].concat();
    let hole = |slot, flags, offset: u64, len: u32| {
        chunk(slot, flags, 2, &[&offset.to_be_bytes()[..], &len.to_be_bytes()].concat())
    };
    let data = |slot, flags, offset: u64, len: usize| {
        chunk(slot, flags, 1, &[&offset.to_be_bytes()[..], &vec![7; len]].concat())
    };
    let extents = [9u32, 1 << 20, 3].map(u32::to_be_bytes).concat();
    let chunks = [
        hole(0, 0, 4096, 4096),
        chunk(3, 1, 0, &[]),
        data(0, 1, 8192, 4096),
        hole(1, 0, 64, 70_000 - 64),
        chunk(2, 1, 5, &extents),
        data(1, 0, 0, 64),
        chunk(1, 1, 0, &[]),
        chunk(4, 1, 0x8001, &[0, 0, 0, 5, 0, 2, b'n', b'o']),
    ]
    .concat();
    let replies = [simple(3, 0), simple(0, 5), simple(1, 28), simple(4, 0), simple(2, 22)].concat();
    let long = [simple(0, 0), vec![1; 8192], simple(1, 0), vec![2; 70_000], simple(3, 0)].concat();
    let export = [&4u32.to_be_bytes()[..], b"disk", b"a description"].concat();
    let seeds = [
        greet(0, &[structured.clone(), chunks].concat()),
        greet(0, &[structured, data(1, 1, 0, 70_000), data(0, 1, 4096, 8192)].concat()),
        greet(0, &[plain.clone(), replies.clone()].concat()),
        greet(0, &[plain, long].concat()),
        greet(0, &[option(8, 0x8000_0001, &[]), option(7, 0x8000_0001, &[]), old.clone(), replies].concat()),
        greet(0, &[option(8, 0x8000_0005, b"TLS")].concat()),
        greet(1, &[option(3, 2, &export), option(3, 2, &export), option(3, 1, &[])].concat()),
        [&[0][..], b"NBDMAGICIHAVEOPT\0\0", &old, &vec![0; 124]].concat(),
    ];
    let with_threads = seeds.iter().map(|seed| [&[seed[0] | THREADS], &seed[1..]].concat());
    with_threads.chain(seeds.iter().cloned()).collect()
}
