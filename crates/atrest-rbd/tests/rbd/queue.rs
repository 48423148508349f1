//! Queues of one thread.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use atrest::{BlockDevice, Credential, Error, FormatOptions, OpenOptions, Protector, Volume};
use atrest_rbd::{Queue, RbdDevice, RbdOptions};

use crate::cluster::{Cluster, cluster};
use crate::fast;

const BLOCK: usize = 4096;
const BLOCKS: u64 = 1024;

fn volume(image: &str, options: &RbdOptions) -> Volume<RbdDevice> {
    let device = RbdDevice::open(image, options).unwrap();
    Volume::format(device, Protector::Passphrase(b"secret"), &fast(FormatOptions::new())).unwrap()
}

fn reopened(image: &str, options: &RbdOptions) -> Volume<RbdDevice> {
    let begun = Instant::now();
    loop {
        // A client that was shut out may be told of as the owner for a while.
        match RbdDevice::open(image, options) {
            Ok(device) => {
                return Volume::open(device, Credential::Passphrase(b"secret"), &OpenOptions::new()).unwrap();
            }
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(120), "{error:#}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn kind(error: &Error) -> ErrorKind {
    match error {
        Error::Io { source, .. } => source.kind(),
        other => panic!("{other:?}"),
    }
}

/// Waits for all, and returns what became of each by its tag.
fn outcomes(queue: &mut Queue<'_, Volume<RbdDevice>>) -> HashMap<u64, Result<Vec<u8>, ErrorKind>> {
    let mut outcomes = HashMap::new();
    while queue.in_flight() > 0 {
        queue.wait(1, |done| {
            let result = done.result.map(<[u8]>::to_vec).map_err(|e| kind(&e));
            assert!(outcomes.insert(done.tag, result).is_none());
        });
    }
    outcomes
}

/// The OSD works again, however a test ends.
struct Stopped<'c>(&'c Cluster);

impl<'c> Stopped<'c> {
    fn new(cluster: &'c Cluster) -> Self {
        cluster.order("stop");
        Stopped(cluster)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.order("continue");
    }
}

#[test]
fn many_requests_of_one_thread_do_what_calls_do() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let volume = volume(&cluster.image(64), &cluster.options());
    let mut queue = Queue::new(&volume, volume.device(), 32, 8 * BLOCK).unwrap();
    let mut model = vec![0u8; BLOCKS as usize * BLOCK];
    // By calls first, since a volume that was never written to holds noise.
    volume.write_at(0, &model).unwrap();
    let (mut random, mut busy, mut begun, mut checked) = (1u64, HashMap::new(), 0u64, 0);
    while begun < 4000 || queue.in_flight() > 0 {
        while begun < 4000 && !queue.is_full() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let count = 1 + (random >> 20) % 8;
            let block = (random >> 33) % (BLOCKS - count);
            let blocks = block..block + count;
            if busy
                .values()
                .any(|(other, _): &(std::ops::Range<u64>, bool)| other.start < blocks.end && blocks.start < other.end)
            {
                break;
            }
            let (at, len, is_write) = (block * BLOCK as u64, count as usize * BLOCK, random >> 63 == 0);
            if is_write {
                let expected = &mut model[at as usize..][..len];
                expected.fill(begun as u8);
                queue.write(at, len, begun, |sectors| sectors.fill(begun as u8)).unwrap();
            } else {
                queue.read(at, len, begun).unwrap();
            }
            busy.insert(begun, (blocks, is_write));
            begun += 1;
        }
        queue.wait(1, |done| {
            let (blocks, is_write) = busy.remove(&done.tag).expect("each is told of once");
            let bytes = done.result.unwrap();
            if !is_write {
                let expected = &model[blocks.start as usize * BLOCK..blocks.end as usize * BLOCK];
                assert!(bytes == expected, "{blocks:?}");
                checked += 1;
            }
        });
    }
    assert!(checked > 1000);
    drop(queue);
    let mut read = vec![1; model.len()];
    volume.read_at(0, &mut read).unwrap();
    assert!(read == model);
}

#[test]
fn a_queue_says_what_it_does_not_take() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let volume = volume(&cluster.image(64), &cluster.options());
    for (depth, most) in [(0, BLOCK), (4097, BLOCK), (1, 0), (1, (16 << 20) + 1)] {
        assert!(matches!(Queue::new(&volume, volume.device(), depth, most), Err(Error::InvalidOption(_))));
    }
    let mut queue = Queue::new(&volume, volume.device(), 1, BLOCK).unwrap();
    assert!(matches!(queue.read(0, 2 * BLOCK, 0), Err(Error::InvalidOption(_))));
    assert!(matches!(queue.read(volume.size(), BLOCK, 0), Err(Error::OutOfBounds { .. })));
    assert!(matches!(queue.write(1, BLOCK, 0, |_| {}), Err(Error::Misaligned { .. })));
    assert_eq!((queue.in_flight(), queue.wait(1, |_| panic!("there is none"))), (0, 0));
    queue.write(0, BLOCK, 1, |sectors| sectors.fill(7)).unwrap();
    assert!(queue.is_full() && matches!(queue.read(0, BLOCK, 2), Err(Error::Busy { .. })));
    // A file that is readable when something is done.
    let fd = queue.fd().unwrap();
    let mut polled = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut polled, None).unwrap(), 1);
    assert_eq!(queue.wait(0, |done| assert_eq!((done.tag, done.result.unwrap().len()), (1, 0))), 1);
    // Requests under way when a queue is dropped are done all the same.
    queue.write(0, BLOCK, 3, |sectors| sectors.fill(9)).unwrap();
    drop(queue);
    let mut read = [0; BLOCK];
    volume.read_at(0, &mut read).unwrap();
    assert_eq!(read, [9; BLOCK]);
}

#[test]
fn requests_of_a_cluster_that_hangs_end_by_their_deadline() {
    let Some(cluster) = cluster() else { return };
    let _alone = cluster.alone();
    let image = cluster.image(64);
    let (deadline, slack) = (Duration::from_secs(2), Duration::from_secs(6));
    let volume = volume(&image, &cluster.options().deadline(deadline));
    let mut queue = Queue::new(&volume, volume.device(), 8, BLOCK).unwrap();
    (0..8).for_each(|n| queue.write(n * BLOCK as u64, BLOCK, n, |sectors| sectors.fill(1)).unwrap());
    assert!(outcomes(&mut queue).values().all(Result::is_ok));

    // Reads change nothing, and the queue goes on.
    {
        let _stopped = Stopped::new(cluster);
        let begun = Instant::now();
        (0..8).for_each(|n| queue.read(n * BLOCK as u64, BLOCK, n).unwrap());
        assert!(outcomes(&mut queue).values().all(|outcome| *outcome == Err(ErrorKind::TimedOut)));
        assert!(begun.elapsed() < deadline + slack, "{:?}", begun.elapsed());
    }
    let begun = Instant::now();
    loop {
        // The slots have other buffers now, and late ends of the first requests are none of these.
        (0..8).for_each(|n| queue.read(n * BLOCK as u64, BLOCK, n).unwrap());
        let outcomes = outcomes(&mut queue);
        if outcomes.values().all(|outcome| outcome.as_deref() == Ok(&[1; BLOCK])) {
            break;
        }
        let are_late = outcomes
            .values()
            .all(|outcome| *outcome == Err(ErrorKind::TimedOut) || outcome.as_deref() == Ok(&[1; BLOCK]));
        assert!(are_late && begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }

    // A write may still come, so the device is at its end.
    {
        let _stopped = Stopped::new(cluster);
        let begun = Instant::now();
        queue.write(0, BLOCK, 0, |sectors| sectors.fill(2)).unwrap();
        queue.read(BLOCK as u64, BLOCK, 1).unwrap();
        assert!(outcomes(&mut queue).values().all(|outcome| *outcome == Err(ErrorKind::TimedOut)));
        assert!(begun.elapsed() < deadline + slack, "{:?}", begun.elapsed());
        let begun = Instant::now();
        let error = queue.write(0, BLOCK, 0, |_| {}).unwrap_err();
        assert_eq!(kind(&error), ErrorKind::TimedOut);
        assert_eq!(kind(&queue.read(0, BLOCK, 0).unwrap_err()), ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
    drop(queue);
    drop(volume);
    let volume = reopened(&image, &cluster.options());
    let mut read = [0; 8 * BLOCK];
    volume.read_at(0, &mut read).unwrap();
    assert!([1, 2].contains(&read[0]) && read[..BLOCK] == [read[0]; BLOCK] && read[BLOCK..] == [1; 7 * BLOCK]);
}

#[test]
fn writes_of_a_client_that_is_shut_out_fail() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let image = cluster.image(64);
    // librbd may let them wait for the lock that the client has lost, and to close the image then takes a deadline.
    let volume = volume(&image, &cluster.options().deadline(Duration::from_secs(5)));
    let mut queue = Queue::new(&volume, volume.device(), 4, BLOCK).unwrap();
    let new = RbdDevice::open(&image, &cluster.options().take_over(true)).unwrap();
    let mut before = vec![0; 20 << 20];
    new.read_at(0, &mut before).unwrap();
    for n in 0..4 {
        if let Err(error) = queue.write(n * BLOCK as u64, BLOCK, n, |sectors| sectors.fill(3)) {
            assert_eq!(kind(&error), ErrorKind::StaleNetworkFileHandle);
        }
    }
    let outcomes = outcomes(&mut queue);
    assert!(outcomes.values().all(|outcome| *outcome == Err(ErrorKind::StaleNetworkFileHandle)), "{outcomes:?}");
    let mut after = vec![0; before.len()];
    new.read_at(0, &mut after).unwrap();
    assert!(before == after);
}
