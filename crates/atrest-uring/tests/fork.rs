//! A forked child leaves its parent's rings alone.
#![cfg(target_os = "linux")]

#[path = "../../../tests/common/fork.rs"]
mod fork;

use atrest::key::Kdf;
use atrest::volume::KeyslotOptions;
use atrest::{BlockDevice, FileDevice, FormatOptions, Protector, Volume};
use atrest_uring::{Queue, UringDevice};
use fork::{forked, in_child, so};

const SIZE: u64 = 24 << 20;

#[test]
fn a_child_takes_no_request_of_its_parents_ring() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = FileDevice::create(folder.path().join("disk"), SIZE).unwrap();
    // Not every file system has direct I/O.
    let file = file.direct_io().unwrap_or_else(|_| FileDevice::open(folder.path().join("disk")).unwrap());
    let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    let options = FormatOptions::new().keyslot(cheap);
    let volume = Volume::format(UringDevice::new(file), Protector::Passphrase(b"secret"), &options).unwrap();
    let mut queue = Queue::new(&volume, volume.device().file(), 8, 4096).unwrap();
    for n in 0..3 {
        queue.write(n * 4096, 4096, n, |sectors| sectors.fill(n as u8)).unwrap();
    }
    let mut queue = Some(queue);
    let ended = in_child(|| {
        let mut parents = queue.take().unwrap();
        so!(forked(parents.read(0, 4096, 9)) && forked(parents.write(0, 4096, 9, |_| {})));
        so!(forked(parents.wait(1, |_| {})) && parents.in_flight() == 3);
        drop(parents);
        so!(forked(volume.read_at(0, &mut [0; 4096])));
        // A file is a file in the child too, without the ring.
        let mut memory = vec![0; (1 << 20) + 4096];
        let start = memory.as_ptr().align_offset(4096);
        so!(volume.device().read_at(0, &mut memory[start..start + (1 << 20)]).is_ok());
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    let mut queue = queue.unwrap();
    let count = queue.wait(3, |done| assert!(done.result.unwrap().is_empty())).unwrap();
    assert_eq!(count, 3);
    for n in 0..3u8 {
        let mut found = [0; 4096];
        volume.read_at(u64::from(n) * 4096, &mut found).unwrap();
        assert_eq!(found, [n; 4096]);
    }
}
