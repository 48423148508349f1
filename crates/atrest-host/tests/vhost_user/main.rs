//! vhost-user-blk: what a guest sees of its disk, what a hostile one gets, and what a server that died leaves to the next.
#![cfg(target_os = "linux")]

#[path = "../common/disk.rs"]
mod disk;
mod large;
mod load;
mod machine;
#[cfg(feature = "uring")]
mod uring;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use atrest::Error;
use atrest_host::{Serve, Served, VhostUser};
use tempfile::TempDir;

use disk::{SIZE, TestDisk, pattern};
use machine::*;

// Requests, by the numbers of virtio.
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// Whether a disk takes the guest's memory, and whether it has a queue.
const KINDS: [(bool, bool); 3] = [(true, false), (false, false), (true, true)];

/// A disk that is served at a socket.
struct World {
    disk: Arc<TestDisk>,
    socket: PathBuf,
    served: Option<Served>,
    _folder: TempDir,
}

impl World {
    fn new(disk: TestDisk) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (disk, socket) = (Arc::new(disk), folder.path().join("disk.sock"));
        let mut world = World { disk, socket, served: None, _folder: folder };
        world.serve();
        world
    }

    fn serve(&mut self) {
        self.served = None;
        let how = VhostUser::new(&self.socket).queues(2);
        self.served = Some(how.serve(self.disk.clone(), "a-disk").unwrap());
    }

    fn boot(&self) -> Machine {
        Machine::boot(&self.socket)
    }
}

#[test]
fn a_guest_reads_writes_and_flushes() {
    KINDS.into_iter().for_each(a_guest_reads_writes_and_flushes_with);
}

fn a_guest_reads_writes_and_flushes_with((shared, deep): (bool, bool)) {
    let world = World::new(TestDisk { shared, deep, ..TestDisk::new() });
    let mut guest = world.boot();
    assert_eq!(guest.request(IN, 3, 4096, true), OK);
    assert_eq!(guest.read(DATA, 4096), world.disk.content(3 * 512, 4096));
    let data = pattern(700 * 512, 1);
    guest.write(DATA, &data);
    assert_eq!(guest.request(OUT, 7, data.len() as u32, false), OK);
    assert_eq!(world.disk.content(7 * 512, data.len()), data);
    assert_eq!(guest.read(DATA, data.len()), data, "the guest's own memory stays as it is");
    assert_eq!(guest.request(FLUSH, 0, 0, false), OK);
    assert_eq!(world.disk.flushes.load(Ordering::SeqCst), 1);
    assert_eq!(guest.request(GET_ID, 0, 20, true), OK);
    assert_eq!(guest.read(DATA, 20), b"a-disk\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert!(guest.calls() >= 4);
    // The whole disk, and to its last sector.
    assert_eq!(guest.request(IN, 0, SIZE as u32, true), OK);
    assert_eq!(guest.read(DATA, SIZE), world.disk.content(0, SIZE));
}

#[test]
fn data_in_many_pieces_and_in_an_indirect_table() {
    KINDS.into_iter().for_each(data_in_many_pieces_and_in_an_indirect_table_with);
}

fn data_in_many_pieces_and_in_an_indirect_table_with((shared, deep): (bool, bool)) {
    let world = World::new(TestDisk { shared, deep, ..TestDisk::new() });
    let mut guest = world.boot();
    let data = pattern(3 * 512, 2);
    guest.write(DATA, &data);
    // Pieces end anywhere, also in the header.
    guest.put_header(OUT, 5);
    let pieces = [
        (HEADER, 7, NEXT, 1),
        (HEADER + 7, 9, NEXT, 2),
        (DATA, 1, NEXT, 3),
        (DATA + 1, 1000, NEXT, 4),
        (DATA + 1001, 535, NEXT, 5),
        (STATUS, 1, WRITE, 0),
    ];
    guest.put(TABLE, &pieces);
    assert_eq!(guest.chain(), OK);
    assert_eq!(world.disk.content(5 * 512, data.len()), data);
    // The status may share its descriptor with the data.
    guest.put_header(IN, 5);
    guest.put(INDIRECT, &[(HEADER, 16, NEXT, 1), (STATUS - 1536, 1537, WRITE, 0)]);
    guest.put(TABLE, &[(INDIRECT, 32, INDIRECT_TABLE, 0)]);
    assert_eq!(guest.chain(), OK);
    assert_eq!(guest.read(STATUS - 1536, 1536), data);
}

#[test]
fn zeros_and_discards() {
    let world = World::new(TestDisk::new());
    let mut guest = world.boot();
    let range = |sector: u64, sectors: u32, flags: u32| {
        [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
    };
    guest.write(DATA, &[range(8, 8, 0), range(100, 1, 1)].concat());
    assert_eq!(guest.request(WRITE_ZEROES, 0, 32, false), OK);
    assert_eq!(world.disk.content(8 * 512, 8 * 512), [0; 8 * 512]);
    assert_eq!(world.disk.content(100 * 512, 512), [0; 512]);
    assert_ne!(world.disk.content(101 * 512, 512), [0; 512]);
    guest.write(DATA, &range(16, 4, 0));
    assert_eq!(guest.request(DISCARD, 0, 16, false), OK);
    assert_eq!(*world.disk.discards.lock().unwrap(), [(16 * 512, 4 * 512)]);
    // None of several is done if one of them is wrong.
    let writes = world.disk.writes.load(Ordering::SeqCst);
    for (wrong, status) in [
        (range(SIZE as u64 / 512 - 1, 2, 0), IO_ERROR),
        (range(u64::MAX, 1, 0), IO_ERROR),
        (range(0, u32::MAX, 0), IO_ERROR),
        (range(0, 1, 2), UNSUPPORTED),
    ] {
        guest.write(DATA, &[range(0, 1, 0), wrong].concat());
        assert_eq!(guest.request(WRITE_ZEROES, 0, 32, false), status);
    }
    guest.write(DATA, &range(0, 1, 1));
    assert_eq!(guest.request(DISCARD, 0, 16, false), UNSUPPORTED, "a discard has no flags");
    for len in [0, 8, 17, 16 * 33] {
        assert_eq!(guest.request(WRITE_ZEROES, 0, len, false), IO_ERROR, "{len} bytes of ranges");
    }
    assert_eq!(world.disk.writes.load(Ordering::SeqCst), writes);
}

#[test]
fn what_a_request_may_not_be() {
    KINDS.into_iter().for_each(what_a_request_may_not_be_with);
}

fn what_a_request_may_not_be_with((shared, deep): (bool, bool)) {
    let world = World::new(TestDisk { shared, deep, sector_size: 4096, ..TestDisk::new() });
    let mut guest = world.boot();
    let end = SIZE as u64 / 512;
    for (sector, len) in
        [(end, 4096), (end - 8, 8192), (u64::MAX, 4096), (u64::MAX / 512 + 1, 4096), (1, 4096), (0, 512)]
    {
        assert_eq!(guest.request(IN, sector, len, true), IO_ERROR, "{len} bytes from sector {sector}");
        assert_eq!(guest.request(OUT, sector, len, false), IO_ERROR, "{len} bytes from sector {sector}");
    }
    assert_eq!(guest.request(99, 0, 4096, true), UNSUPPORTED);
    assert_eq!(guest.request(GET_ID, 0, 19, true), IO_ERROR);
    assert_eq!(world.disk.writes.load(Ordering::SeqCst), 0);
    // A failure of the disk is the guest's error, and no more than that.
    world.disk.fails.store(true, Ordering::SeqCst);
    for (kind, len) in [(IN, 4096), (OUT, 4096), (FLUSH, 0)] {
        assert_eq!(guest.request(kind, 0, len, kind == IN), IO_ERROR);
    }
    world.disk.fails.store(false, Ordering::SeqCst);
    assert_eq!(guest.request(IN, 8, 4096, true), OK);
}

#[test]
fn a_disk_that_may_only_be_read() {
    let world = World::new(TestDisk { read_only: true, ..TestDisk::new() });
    let mut guest = world.boot();
    assert_eq!(guest.request(IN, 0, 512, true), OK);
    guest.write(DATA, &[0; 16]);
    for kind in [OUT, DISCARD, WRITE_ZEROES] {
        assert_eq!(guest.request(kind, 0, if kind == OUT { 512 } else { 16 }, false), IO_ERROR);
    }
    assert_eq!(world.disk.writes.load(Ordering::SeqCst), 0);
}

#[test]
fn a_hostile_guest_hurts_itself_alone() {
    KINDS.into_iter().for_each(a_hostile_guest_hurts_itself_alone_with);
}

fn a_hostile_guest_hurts_itself_alone_with((shared, deep): (bool, bool)) {
    const LONG: u32 = u32::MAX;
    let (world, other) = (World::new(TestDisk { shared, deep, ..TestDisk::new() }), World::new(TestDisk::new()));
    let (mut guest, mut honest) = (world.boot(), other.boot());
    let beyond = BASE + LEN as u64;
    // Chains that can't be followed to their end get no answer, but the queue goes on.
    for chain in [
        &[(HEADER, 16, NEXT, 0)][..],                                              // a loop
        &[(HEADER, 16, NEXT, 1), (DATA, 512, NEXT | WRITE, 0)],                    // a longer one
        &[(HEADER, 16, NEXT, QUEUE_SIZE)],                                         // beyond the table
        &[(HEADER, 16, NEXT, 1), (STATUS, 1, WRITE | NEXT, 2), (DATA, 512, 0, 0)], // to read after to write
        &[(INDIRECT, 16, INDIRECT_TABLE | NEXT, 1)],                               // indirect, and more
        &[(INDIRECT, 15, INDIRECT_TABLE, 0)],                                      // half a descriptor
        &[(INDIRECT, 0, INDIRECT_TABLE, 0)],
        &[(INDIRECT, 16 * 70_000, INDIRECT_TABLE, 0)],
        &[(beyond, 32, INDIRECT_TABLE, 0)],
        &[(u64::MAX - 8, 32, INDIRECT_TABLE, 0)],
    ] {
        guest.put_header(IN, 0);
        guest.put(INDIRECT, &[(INDIRECT, 16, INDIRECT_TABLE, 0)]);
        guest.put(TABLE, chain);
        assert_eq!(guest.chain(), NONE, "{chain:x?}");
    }
    // An indirect table in an indirect table.
    guest.put(INDIRECT, &[(INDIRECT + 16, 16, INDIRECT_TABLE, 0), (HEADER, 16, 0, 0)]);
    guest.put(TABLE, &[(INDIRECT, 32, INDIRECT_TABLE, 0)]);
    assert_eq!(guest.chain(), NONE);
    // Memory that isn't there, and lengths that nobody has.
    for (data, len, flags) in [
        (beyond, 512, WRITE),
        (beyond - 256, 512, WRITE),
        (u64::MAX - 100, 512, WRITE),
        (0, 512, WRITE),
        (DATA, LONG, WRITE),
        (DATA, LONG - 511, WRITE),
        (beyond, 512, 0),
        (DATA, LONG - 511, 0),
    ] {
        guest.put_header(if flags == 0 { OUT } else { IN }, 0);
        guest.put(TABLE, &[(HEADER, 16, NEXT, 1), (data, len, flags | NEXT, 2), (STATUS, 1, WRITE, 0)]);
        assert_eq!(guest.chain(), IO_ERROR, "{len} bytes at {data:x}");
    }
    // No place for a status; a header that isn't there, or too short.
    for chain in [
        &[(HEADER, 16, 0, 0)][..],
        &[(HEADER, 16, NEXT, 1), (STATUS, 0, WRITE, 0)],
        &[(HEADER, 16, NEXT, 1), (beyond, 1, WRITE, 0)],
    ] {
        guest.put_header(FLUSH, 0);
        guest.put(TABLE, chain);
        assert_eq!(guest.chain(), NONE, "{chain:x?}");
    }
    guest.put(TABLE, &[(HEADER, 15, NEXT, 1), (STATUS, 1, WRITE, 0)]);
    assert_eq!(guest.chain(), IO_ERROR);
    guest.put(TABLE, &[(beyond, 16, NEXT, 1), (STATUS, 1, WRITE, 0)]);
    assert_eq!(guest.chain(), IO_ERROR);
    assert_eq!(world.disk.writes.load(Ordering::SeqCst), 0);
    assert_eq!(guest.request(IN, 0, 512, true), OK, "after all that");
    // An index that can't be: the queue is out of order, and the machine may start it anew.
    guest.offer(&[QUEUE_SIZE]);
    assert!(!guest.is_done_within(Duration::from_millis(200)));
    assert_eq!(honest.request(IN, 0, 512, true), OK, "the disk of another machine");
    drop(guest);
    assert_eq!(world.boot().request(IN, 0, 512, true), OK);
}

#[test]
fn a_front_end_that_lies() {
    use vhost::VhostBackend as _;
    use vhost::vhost_user::VhostUserFrontend as _;
    let world = World::new(TestDisk::new());
    type Lie = fn(&mut Machine);
    let lies: [Lie; 5] = [
        |machine| assert!(machine.front_end.set_vring_num(0, 3).is_err()),
        |machine| assert!(machine.front_end.set_features(u64::MAX).is_err()),
        |machine| assert!(machine.front_end.set_vring_enable(1, true).is_ok()),
        |machine| {
            let told = vhost::vhost_user::message::VhostUserInflight::new(1 << 40, 0, 2, 1024);
            let file = &machine.inflight.as_ref().unwrap().1;
            assert!(machine.front_end.set_inflight_fd(&told, std::os::fd::AsRawFd::as_raw_fd(file)).is_err());
        },
        |machine| {
            let config = vhost::vhost_user::message::VhostUserConfigFlags::WRITABLE;
            assert!(machine.front_end.set_config(0, config, &[1; 8]).is_err());
        },
    ];
    for lie in lies {
        let mut machine = world.boot();
        lie(&mut machine);
        drop(machine);
        assert_eq!(world.boot().request(IN, 0, 512, true), OK);
    }
}

#[test]
fn the_configuration_and_its_change() {
    let world = World::new(TestDisk { sector_size: 4096, ..TestDisk::new() });
    let mut guest = world.boot();
    let config = guest.config();
    let number =
        |at: usize, len: usize| config[at..at + len].iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
    assert_eq!((number(0, 8), number(20, 4), number(34, 2)), (SIZE as u64 / 512, 4096, 2));
    assert_eq!((number(36, 4) % 8, number(44, 4), number(48, 4) % 8), (0, 8, 0));
    let mut channel = guest.channel();
    world.disk.bytes.lock().unwrap().resize(2 * SIZE, 7);
    world.served.as_ref().unwrap().resized();
    let mut message = [0; 12];
    std::io::Read::read_exact(&mut channel, &mut message).unwrap();
    assert_eq!(message, [2u32, 1, 0].map(u32::to_ne_bytes).concat()[..], "VHOST_USER_BACKEND_CONFIG_CHANGE_MSG");
    assert_eq!(guest.config()[..8], (2 * SIZE as u64 / 512).to_le_bytes());
    assert_eq!(guest.request(IN, SIZE as u64 / 512, 4096, true), OK);
    assert_eq!(guest.read(DATA, 4096), [7; 4096]);
}

/// The server dies while it does a request, before the guest has its answer: the next server does it again, and those that
/// were never taken.
#[test]
fn requests_under_way_outlive_their_server() {
    [false, true].into_iter().for_each(requests_under_way_outlive_their_server_with);
}

fn requests_under_way_outlive_their_server_with(deep: bool) {
    let mut world = World::new(TestDisk { deep, ..TestDisk::new() });
    let mut guest = world.boot();
    for (i, at) in [(0, 0), (3, 0x1000), (6, 0x2000)] {
        guest.write(
            HEADER + 32 * u64::from(i),
            &[&OUT.to_le_bytes()[..], &[0; 4], &(at / 512u64).to_le_bytes()].concat(),
        );
        guest.write(DATA + at, &pattern(512, i as u8));
        let chain = [
            (HEADER + 32 * u64::from(i), 16, NEXT, i + 1),
            (DATA + at, 512, NEXT, i + 2),
            (STATUS + u64::from(i), 1, WRITE, 0),
        ];
        guest.put(TABLE + 16 * u64::from(i), &chain);
    }
    guest.write(STATUS, &[NONE; 8]);
    // As a process that was killed leaves it: the first is marked, and nothing of it is done.
    drop(world.served.take());
    let inflight = guest.inflight.as_ref().unwrap();
    rustix::io::pwrite(&inflight.1, &[1], 16).unwrap();
    guest.offer(&[0, 3, 6]);
    world.serve();
    guest.reconnect(&world.socket);
    guest.wait();
    assert_eq!(world.disk.writes.load(Ordering::SeqCst), 3);
    for (i, at) in [(0, 0), (3, 0x1000), (6, 0x2000)] {
        assert_eq!(world.disk.content(at, 512), pattern(512, i), "request {i}");
        assert_eq!(guest.read(STATUS + u64::from(i), 1), [OK]);
    }
}

#[test]
fn stopping_waits_for_the_request_under_way() {
    [false, true].into_iter().for_each(stopping_waits_for_the_request_under_way_with);
}

fn stopping_waits_for_the_request_under_way_with(deep: bool) {
    let mut world = World::new(TestDisk { deep, ..TestDisk::new() });
    let mut guest = world.boot();
    let (disk, served) = (world.disk.clone(), world.served.take().unwrap());
    let gate = disk.gate.lock().unwrap();
    guest.write(DATA, &[9; 512]);
    guest.put_header(OUT, 0);
    guest.put(TABLE, &[(HEADER, 16, NEXT, 1), (DATA, 512, NEXT, 2), (STATUS, 1, WRITE, 0)]);
    guest.offer(&[0]);
    let stopping = std::thread::spawn(move || served.stop());
    std::thread::sleep(Duration::from_millis(50));
    drop(gate);
    stopping.join().unwrap();
    // It was done or never taken, and the guest's ring says which.
    let done = world.disk.writes.load(Ordering::SeqCst);
    assert_eq!(usize::from(guest.used()), done);
    assert!(!world.socket.exists());
}

#[test]
fn a_socket_is_for_its_user_and_one_server() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut world = World::new(TestDisk::new());
    assert_eq!(world.socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = VhostUser::new(&world.socket).serve(world.disk.clone(), "a-disk");
    assert!(matches!(again, Err(Error::Busy { .. })));
    // A socket left by a killed server is replaced; a file is not.
    world.served = None;
    drop(std::os::unix::net::UnixListener::bind(&world.socket).unwrap());
    world.serve();
    assert_eq!(world.boot().request(IN, 0, 512, true), OK);
    let file = world.socket.with_extension("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(VhostUser::new(&file).serve(world.disk.clone(), "a-disk").is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}
