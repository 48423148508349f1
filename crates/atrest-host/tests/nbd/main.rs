//! NBD: what a client sees of a disk, what one that does wrong gets, and what the tools of libnbd and QEMU say.
#![cfg(target_os = "linux")]

mod client;
#[path = "../common/disk.rs"]
mod disk;
#[path = "../../../../tests/common/peers.rs"]
mod peers;
#[cfg(feature = "tls")]
mod tls;
mod together;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{FileDevice, FormatOptions, Protector, Volume};
use atrest_host::{Nbd, Serve, Served};
use tempfile::TempDir;

use client::*;
use disk::{SIZE, TestDisk, pattern};

const END: u64 = SIZE as u64;
const LARGE: usize = 5 << 20;

struct World {
    disk: Arc<TestDisk>,
    socket: PathBuf,
    _served: Served,
    _folder: TempDir,
}

fn serve(disk: TestDisk) -> World {
    let folder = tempfile::tempdir().unwrap();
    let (disk, socket) = (Arc::new(disk), folder.path().join("disk.sock"));
    let served = Nbd::unix(&socket).serve(disk.clone(), "a-disk").unwrap();
    World { disk, socket, _served: served, _folder: folder }
}

fn large() -> TestDisk {
    TestDisk { bytes: Mutex::new(pattern(LARGE, 5)), ..TestDisk::new() }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

#[test]
fn a_client_chooses_what_there_is() {
    let world = serve(TestDisk { sector_size: 4096, ..TestDisk::new() });
    let mut client = Client::greet(&world.socket);
    assert_eq!(client.option(LIST, &[]), [(3 - 1, text("a-disk")), (ACK, vec![])]);
    for name in ["", "a-disk"] {
        let replies = client.option(INFO, &[text(name), vec![0, 2, 0, 1, 0, 3]].concat());
        let infos: Vec<(u64, &[u8])> = replies
            .iter()
            .map(|(_, data)| (number(&data[..data.len().min(2)]), data.get(2..).unwrap_or(&[])))
            .collect();
        let (export, named, block) = (infos[0].1, infos[1].1, infos[2].1);
        assert_eq!((infos[0].0, infos[1].0, infos[2].0, infos.len()), (0, 1, 3, 4));
        assert_eq!(number(&export[..8]), END);
        // Flags, flush, FUA, trim, zeroes, DF, several connections.
        assert_eq!(number(&export[8..]), 0b1_1110_1101);
        assert_eq!(named, b"a-disk");
        assert_eq!(block, [4096u32, 4096, 32 << 20].map(u32::to_be_bytes).concat());
        assert_eq!(replies[3].0, ACK);
    }
    assert_eq!(client.option(GO, &go("another"))[0].0, ERR_UNKNOWN);
    assert_eq!(
        client.option(SET_CONTEXT, &contexts("", &["base:allocation"]))[0].0,
        ERR_INVALID,
        "structured replies come first"
    );
    assert_eq!(client.option(STRUCTURED, &[]), [(ACK, vec![])]);
    let context = |id: u32| [&id.to_be_bytes()[..], b"base:allocation"].concat();
    for queries in [&[][..], &["base:"], &["other:", "base:allocation"]] {
        assert_eq!(client.option(LIST_CONTEXT, &contexts("", queries)), [(4, context(0)), (ACK, vec![])]);
    }
    for queries in [&[][..], &["other:x"]] {
        assert_eq!(client.option(SET_CONTEXT, &contexts("a-disk", queries)), [(ACK, vec![])], "{queries:?}");
    }
    assert_eq!(client.option(SET_CONTEXT, &contexts("", &["base:allocation"])), [(4, context(1)), (ACK, vec![])]);
    assert_eq!(client.option(11, &[])[0].0, ERR_UNSUP, "extended headers");
    assert_eq!(client.option(5, &[])[0].0, ERR_UNSUP, "TLS");
    for (option, data) in [
        (GO, &[0, 0, 0, 9, b'a'][..]),
        (GO, &[0, 0, 0, 0, 0, 9]),
        (GO, &[0xff, 0xff, 0xff, 0xff, 0, 0]),
        (LIST, b"x"),
        (STRUCTURED, b"x"),
        (SET_CONTEXT, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
    ] {
        assert_eq!(client.option(option, data).last().unwrap().0, ERR_INVALID, "{option}: {data:?}");
    }
    assert_eq!(client.option(GO, &go("a-disk")).last().unwrap().0, ACK);
    assert_eq!(client.structured(0, READ, 0, 4096)[0].2[8..], world.disk.content(0, 4096));
    let mut client = Client::greet(&world.socket);
    assert_eq!(client.option(ABORT, &[]), [(ACK, vec![])]);
    assert!(client.is_cut_off());
}

#[test]
fn a_client_of_the_old_way() {
    let world = serve(TestDisk { read_only: true, ..TestDisk::new() });
    for (flags, padding) in [(3u32, 0), (1, 124), (0, 124)] {
        let mut client = Client::connect(&world.socket);
        client.take(18).unwrap();
        client.send(&flags.to_be_bytes());
        client.send_option(EXPORT_NAME, b"a-disk");
        let told = client.take(10 + padding).unwrap();
        assert_eq!((number(&told[..8]), told[9] & 2), (END, 2), "read-only");
        assert_eq!(client.simple(0, READ, 512, 512, &[]), 0);
        assert_eq!(client.take(512).unwrap(), world.disk.content(512, 512));
    }
    let mut client = Client::greet(&world.socket);
    client.send_option(EXPORT_NAME, b"another");
    assert!(client.is_cut_off());
}

#[test]
fn requests_with_simple_replies() {
    let world = serve(large());
    let mut client = Client::go(&world.socket, false);
    let (disk, end) = (&world.disk, LARGE as u64);
    for len in [512, 4096, 3 << 20] {
        let data = pattern(len, 9);
        assert_eq!(client.simple(0, WRITE, 1024, len as u32, &data), 0);
        assert_eq!(disk.content(1024, len), data);
        assert_eq!(client.simple(0, READ, 1024, len as u32, &[]), 0);
        assert_eq!(client.take(len).unwrap(), data);
    }
    let flushes = || disk.flushes.load(Ordering::SeqCst);
    assert_eq!((client.simple(0, FLUSH, 0, 0, &[]), flushes()), (0, 1));
    assert_eq!((client.simple(FUA, WRITE, 0, 512, &[1; 512]), flushes()), (0, 2));
    assert_eq!((client.simple(FUA | NO_HOLE, ZEROES, 0, 4096, &[]), flushes()), (0, 3));
    assert_eq!(disk.content(0, 4096), [0; 4096]);
    assert_eq!((client.simple(FUA, TRIM, 512, 1024, &[]), flushes()), (0, 4));
    assert_eq!(*disk.discards.lock().unwrap(), [(512, 1024)]);
    // Impossible requests get an error, and the connection continues.
    for (flags, kind, offset, len, error) in [
        (0, READ, end, 512, EINVAL),
        (0, READ, end - 512, 1024, EINVAL),
        (0, READ, u64::MAX - 511, 512, EINVAL),
        (0, READ, 1, 512, EINVAL),
        (0, READ, 0, 511, EINVAL),
        (0, READ, 0, 0, EINVAL),
        (0, READ, 0, u32::MAX - 511, EINVAL),
        (DF, READ, 0, 512, EINVAL),
        (0, WRITE, end, 512, ENOSPC),
        (0, WRITE, end, 3 << 20, ENOSPC),
        (0, WRITE, 1, 512, EINVAL),
        (0x8000, WRITE, 0, 512, EINVAL),
        (0, ZEROES, end, 512, ENOSPC),
        (0, TRIM, end, 512, EINVAL),
        (0, FLUSH, 0, 512, EINVAL),
        (0, STATUS, 0, 512, EINVAL),
        (0, 99, 0, 512, EINVAL),
    ] {
        let data = vec![0xee; if kind == WRITE { len as usize } else { 0 }];
        assert_eq!(client.simple(flags, kind, offset, len, &data), error, "{kind} of {len} at {offset}");
    }
    disk.fails.store(true, Ordering::SeqCst);
    for (kind, len) in
        [(READ, 512), (READ, 3 << 20), (WRITE, 512), (WRITE, 3 << 20), (FLUSH, 0), (TRIM, 512), (ZEROES, 512)]
    {
        let data = vec![0xee; if kind == WRITE { len as usize } else { 0 }];
        assert_eq!(client.simple(0, kind, 0, len, &data), EIO, "{kind} of {len}");
    }
    disk.fails.store(false, Ordering::SeqCst);
    assert_eq!(client.simple(0, READ, 0, 512, &[]), 0);
    client.take(512).unwrap();
    client.send_request(0, DISCONNECT, 0, 0, &[]);
    assert!(client.is_cut_off());
}

#[test]
fn requests_with_structured_replies() {
    let world = serve(large());
    let mut client = Client::go(&world.socket, true);
    let data = |chunks: &[Chunk]| {
        let mut bytes = Vec::new();
        for (_, kind, content) in chunks {
            assert_eq!((*kind, number(&content[..8])), (1, bytes.len() as u64));
            bytes.extend(&content[8..]);
        }
        bytes
    };
    let chunks = client.structured(0, READ, 0, 4096);
    assert_eq!((chunks.len(), data(&chunks)), (1, world.disk.content(0, 4096)));
    let chunks = client.structured(0, READ, 0, LARGE as u32);
    assert!(chunks.len() > 1 && data(&chunks) == world.disk.content(0, LARGE));
    assert_eq!(client.structured(DF, READ, 0, 1 << 20).len(), 1);
    let error = |chunks: Vec<Chunk>| {
        let (flags, kind, content) = chunks.last().unwrap().clone();
        assert_eq!((flags, kind, content.len()), (1, 0x8001, 6));
        number(&content[..4]) as u32
    };
    assert_eq!(error(client.structured(DF, READ, 0, 2 << 20)), EOVERFLOW);
    assert_eq!(error(client.structured(0, READ, LARGE as u64, 512)), EINVAL);
    assert_eq!(error(client.structured(0, STATUS, LARGE as u64, 512)), EINVAL);
    let extents = [1u32, 8192, 0].map(u32::to_be_bytes).concat();
    assert_eq!(client.structured(0, STATUS, 4096, 8192), [(1, 5, extents)]);
    world.disk.fails.store(true, Ordering::SeqCst);
    assert_eq!(error(client.structured(0, READ, 0, 512)), EIO);
    assert_eq!(error(client.structured(0, READ, 0, LARGE as u32)), EIO);
}

#[test]
fn a_disk_that_may_only_be_read() {
    let world = serve(TestDisk { read_only: true, ..TestDisk::new() });
    let mut client = Client::go(&world.socket, false);
    assert_eq!(client.simple(0, WRITE, 0, 512, &[1; 512]), EPERM);
    assert_eq!(client.simple(0, ZEROES, 0, 512, &[]), EPERM);
    assert_eq!(client.simple(0, TRIM, 0, 512, &[]), EPERM);
    assert_eq!(client.simple(0, READ, 0, 512, &[]), 0);
    assert_eq!(world.disk.writes.load(Ordering::SeqCst), 0);
}

#[test]
fn a_hostile_client_is_cut_off_and_others_go_on() {
    let world = serve(TestDisk::new());
    let mut honest = Client::go(&world.socket, false);
    type Lie = fn(&mut Client);
    let in_handshake: [Lie; 4] = [
        |client| client.send(&[0; 16]),
        |client| client.send(&[&OPTION.to_be_bytes()[..], &LIST.to_be_bytes(), &u32::MAX.to_be_bytes()].concat()),
        |client| {
            let option = [&OPTION.to_be_bytes()[..], &INFO.to_be_bytes(), &6u32.to_be_bytes(), &go("")].concat();
            for _ in 0..300 {
                // It may be cut off before the last.
                let _ = client.stream.write_all(&option);
            }
        },
        |client| client.stream.shutdown(std::net::Shutdown::Write).unwrap(),
    ];
    for lie in in_handshake {
        let mut client = Client::greet(&world.socket);
        lie(&mut client);
        assert!(client.is_cut_off());
    }
    let mut client = Client::connect(&world.socket);
    client.send(&u32::MAX.to_be_bytes());
    assert!(client.is_cut_off());
    let in_transmission: [Lie; 4] = [
        |client| client.send(&[0; 28]),
        |client| client.send_request(0, WRITE, 0, (32 << 20) + 512, &[]),
        |client| {
            client.send_request(0, WRITE, 0, 4096, &[1; 100]);
            client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        },
        |client| client.stream.shutdown(std::net::Shutdown::Write).unwrap(),
    ];
    for lie in in_transmission {
        let mut client = Client::go(&world.socket, true);
        lie(&mut client);
        assert!(client.is_cut_off());
    }
    assert_eq!(world.disk.writes.load(Ordering::SeqCst), 0, "half a write is none");
    assert_eq!(honest.simple(0, READ, 0, 512, &[]), 0);
}

/// A write that waits holds up neither reads of its own connection nor those of another.
#[test]
fn requests_are_served_beside_each_other() {
    let world = serve(TestDisk::new());
    let (mut one, mut other) = (Client::go(&world.socket, false), Client::go(&world.socket, false));
    let gate = world.disk.gate.lock().unwrap();
    let mut both = Vec::new();
    for (kind, offset, cookie) in [(WRITE, 512u64, 1u64), (READ, 0, 2)] {
        both.extend([&0x2560_9513u32.to_be_bytes()[..], &[0; 2], &kind.to_be_bytes(), &cookie.to_be_bytes()].concat());
        both.extend([&offset.to_be_bytes()[..], &512u32.to_be_bytes()].concat());
        both.extend(if kind == WRITE { vec![3; 512] } else { vec![] });
    }
    one.send(&both);
    let reply = one.take(16).unwrap();
    assert_eq!((number(&reply[4..8]), number(&reply[8..])), (0, 2), "the read comes first");
    assert_eq!(one.take(512).unwrap(), world.disk.content(0, 512));
    assert_eq!(other.simple(0, READ, 0, 512, &[]), 0);
    drop(gate);
    assert_eq!(number(&one.take(16).unwrap()[8..]), 1);
    assert_eq!(world.disk.content(512, 512), [3; 512]);
}

#[test]
fn tools_read_and_write_a_volume() {
    let Some(_) = peers::peer("nbdcopy", &["--version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let device = FileDevice::create(path("volume"), 18 << 20).unwrap();
    let fast = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
    let options = FormatOptions::new().data_offset(16 << 20).keyslot(KeyslotOptions::new().kdf(fast));
    let volume = Arc::new(Volume::format(device, Protector::Passphrase(b"pw"), &options).unwrap());
    let _served = Nbd::unix(path("sock")).serve(volume.clone(), "disk").unwrap();
    let uri = format!("nbd+unix:///disk?socket={}", path("sock").display());
    let plain = pattern(2 << 20, 7);
    std::fs::write(path("plain"), &plain).unwrap();
    let (from, to) = (path("plain"), path("back"));
    peers::run("nbdcopy", &["--flush", peers::text(&from), &uri]);
    peers::run("nbdcopy", &[&uri, peers::text(&to)]);
    assert!(std::fs::read(to).unwrap() == plain);
    let mut bytes = vec![0; plain.len()];
    volume.read_at(0, &mut bytes).unwrap();
    assert!(bytes == plain);
    assert!(!std::fs::read(path("volume")).unwrap().windows(64).any(|window| window == &plain[4096..4160]));
    if peers::peer("qemu-img", &["--version"]).is_some() {
        peers::run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, peers::text(&from)]);
        peers::run("qemu-img", &["bench", "-w", "-f", "raw", "-c", "500", "-d", "32", &uri]);
    }
    let map = peers::run("nbdinfo", &["--map", &uri]);
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "2097152", "0", "data"]);
}

#[test]
fn what_was_never_written_is_told_as_a_hole() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let device = FileDevice::create(path("volume"), 21 << 20).unwrap();
    let fast = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
    let options = FormatOptions::new().keyslot(KeyslotOptions::new().kdf(fast)).written_map(64 << 10);
    let volume = Arc::new(Volume::format(device, Protector::Passphrase(b"pw"), &options).unwrap());
    volume.write_at(1 << 20, &[7; 512]).unwrap();
    let _served = Nbd::unix(path("sock")).serve(volume.clone(), "disk").unwrap();
    let mut client = Client::go(&path("sock"), true);
    assert_eq!(volume.size(), 4 << 20);
    let status = |client: &mut Client, flags, offset, len| {
        let chunks = client.structured(flags, STATUS, offset, len);
        assert_eq!(chunks.len(), 1);
        let extents = chunks[0].2[4..].chunks(8).map(|extent| (number(&extent[..4]), number(&extent[4..])));
        extents.collect::<Vec<_>>()
    };
    let (chunk, hole) = (64 << 10, 3);
    let all = [(1 << 20, hole), (chunk, 0), ((3 << 20) - chunk, hole)];
    assert_eq!(status(&mut client, 0, 0, 4 << 20), all);
    assert_eq!(status(&mut client, 1 << 3, 0, 4 << 20), all[..1]);
    assert_eq!(status(&mut client, 0, (1 << 20) + 512, 512), [(512, 0)]);
    if peers::peer("nbdinfo", &["--version"]).is_none() {
        return;
    }
    let uri = format!("nbd+unix:///disk?socket={}", path("sock").display());
    let map = peers::run("nbdinfo", &["--map", &uri]);
    let words: Vec<&str> = map.split_whitespace().collect();
    let expected = "0 1048576 3 hole,zero 1048576 65536 0 data 1114112 3080192 3 hole,zero";
    assert_eq!(words, expected.split(' ').collect::<Vec<_>>());
    // A copy leaves the holes out.
    let to = path("copy");
    peers::run("nbdcopy", &[&uri, peers::text(&to)]);
    let mut plain = vec![0; 4 << 20];
    plain[1 << 20..][..512].fill(7);
    assert!(std::fs::read(&to).unwrap() == plain);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&to).unwrap());
    assert!(blocks * 512 <= 128 << 10, "{blocks}");
}
