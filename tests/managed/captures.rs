//! Snapshots of a disk that is written meanwhile: whom the copy keeps waiting, and what it holds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use crate::common::world::{World, new_disk, snapshot_of, still};
use crate::copies::{CHUNK, content, restored};
use atrest::EncryptionType::PlatformAndCustomerKeys;
use atrest::managed::CopyProgress;

const PAGE: usize = 4096;

#[test]
fn a_write_waits_for_the_chunk_that_it_writes_and_for_no_other() {
    for incremental in [false, true] {
        let world = World::new();
        let (armed, gate) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(2)));
        let (film_armed, film_gate) = (armed.clone(), gate.clone());
        world.disks.film(Some(Arc::new(move |_: &str| {
            if thread::current().name() == Some("copier") && film_armed.swap(false, Ordering::SeqCst) {
                film_gate.wait(); // it is in the middle of a chunk
                film_gate.wait(); // and may go on
            }
        })));
        let service = world.service();
        service.create_disk(&new_disk("x", None).size(10 * CHUNK as u64)).unwrap();
        let disk = service.open_disk("x").unwrap();
        disk.write_at(0, &vec![1; 10 * CHUNK]).unwrap();
        thread::scope(|scope| {
            let copier = thread::Builder::new().name("copier".into());
            let copy = copier.spawn_scoped(scope, || {
                let progress = |at: CopyProgress| armed.store(at.done == 3 * CHUNK as u64, Ordering::SeqCst);
                service.create_snapshot(&snapshot_of("x", "s", incremental), &progress).unwrap();
            });
            gate.wait();
            // Chunk 3 is being copied: 0 to 2 were, those from 4 on weren't.
            let (disk, (done, ends)) = (&disk, mpsc::channel());
            let write = |chunk: usize| {
                let done = done.clone();
                scope.spawn(move || {
                    disk.write_at((chunk * CHUNK) as u64, &[2; PAGE]).unwrap();
                    done.send(chunk).unwrap();
                });
            };
            for chunk in [0, 7, 7, 2, 9] {
                write(chunk);
                assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(chunk), "{incremental}");
            }
            write(3);
            assert!(ends.recv_timeout(Duration::from_millis(200)).is_err(), "{incremental}: it didn't wait");
            write(8);
            assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(8), "{incremental}");
            gate.wait();
            assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(3), "{incremental}");
            copy.unwrap().join().unwrap();
        });
        let written: Vec<usize> = content(&disk).chunks(CHUNK).map(|chunk| chunk[0] as usize).collect();
        assert_eq!(written, [2, 1, 2, 2, 1, 1, 1, 2, 2, 2]);
        assert!(restored(&service, "s").iter().all(|&byte| byte == 1), "{incremental}");
    }
}

/// Each of some threads writes the pages of a part of the disk, in order and again and again, and says in each in which round
/// it was. At any instant the rounds of a part fall from one number to the one before, at one place.
#[test]
fn a_snapshot_is_of_one_instant_beside_many_writers() {
    const PART: usize = 2 * CHUNK + 3 * PAGE;
    const PARTS: usize = 3;
    let world = World::new();
    let service = world.service();
    world.set(&service, "both", PlatformAndCustomerKeys);
    for set in [None, Some("both")] {
        let name = set.unwrap_or("plain");
        service.create_disk(&new_disk(name, set).size((PARTS * PART) as u64)).unwrap();
        let disk = service.open_disk(name).unwrap();
        disk.write_at(0, &vec![0; PARTS * PART]).unwrap();
        let stop = AtomicBool::new(false);
        let names: Vec<_> = [false, true, true, true].iter().enumerate().collect();
        thread::scope(|scope| {
            for part in 0..PARTS {
                let (disk, stop) = (&disk, &stop);
                scope.spawn(move || {
                    for round in 1u64.. {
                        for page in 0..PART / PAGE {
                            if stop.load(Ordering::Relaxed) {
                                return;
                            }
                            let bytes = round.to_le_bytes().repeat(PAGE / 8);
                            disk.write_at((part * PART + page * PAGE) as u64, &bytes).unwrap();
                        }
                    }
                });
            }
            for (n, incremental) in &names {
                service.create_snapshot(&snapshot_of(name, &format!("{name}-{n}"), **incremental), &still).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let mut before = vec![0; PARTS];
        for (n, _) in names {
            let held = restored(&service, &format!("{name}-{n}"));
            for (part, before) in before.iter_mut().enumerate() {
                let part = &held[part * PART..][..PART];
                let words: Vec<u64> = part.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
                assert!(
                    words.chunks(PAGE / 8).all(|page| page.iter().all(|word| *word == page[0])),
                    "{name}-{n}: torn"
                );
                let rounds: Vec<u64> = words.chunks(PAGE / 8).map(|page| page[0]).collect();
                assert!(rounds.is_sorted_by(|a, b| a >= b) && rounds[0] - rounds.last().unwrap() <= 1, "{rounds:?}");
                assert!(rounds.iter().sum::<u64>() >= *before, "{name}-{n}: older than the one before");
                *before = rounds.iter().sum();
            }
        }
    }
}
