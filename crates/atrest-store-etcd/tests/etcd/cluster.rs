//! Three members, of which one is killed or hangs under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atrest::managed::store::Store;
use atrest_store_etcd::EtcdStore;

use crate::counters::{count, put, read};
use crate::server::Etcd;

/// Counters go on while `strike` is at work, and once it has.
fn counts_through(etcd: &Etcd, strike: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counting: Vec<_> = (0..4)
            .map(|number| {
                let over = &over;
                scope.spawn(move || count(&etcd.store(number % 3), &format!("counter/{number}"), over).0)
            })
            .collect();
        std::thread::sleep(Duration::from_millis(1500));
        let store = etcd.store(0);
        let sum = || (0..4).map(|number| read(&store, &format!("counter/{number}")).0).sum::<u64>();
        strike();
        let (before, start) = (sum(), Instant::now());
        while sum() < before + 40 {
            assert!(start.elapsed() < Duration::from_secs(90), "nothing is committed any more");
            std::thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::SeqCst);
        counting.into_iter().for_each(|thread| assert!(thread.join().unwrap() > 0));
    });
}

#[test]
fn leaders_are_killed_and_nothing_acknowledged_is_lost() {
    let Some(etcd) = Etcd::start(3) else { return };
    counts_through(&etcd, || {
        for _ in 0..2 {
            let leader = etcd.leader();
            etcd.kill(leader);
            std::thread::sleep(Duration::from_secs(3));
            etcd.start_again(leader);
            assert!(etcd.is_up());
        }
    });
}

#[test]
fn the_leader_hangs_and_comes_back() {
    let Some(etcd) = Etcd::start(3) else { return };
    counts_through(&etcd, || {
        let leader = etcd.leader();
        etcd.freeze(leader);
        std::thread::sleep(Duration::from_secs(10));
        etcd.thaw(leader);
    });
}

/// All are killed at once, as by a power cut.
#[test]
fn a_cluster_that_crashes_keeps_what_was_acknowledged() {
    let Some(etcd) = Etcd::start(3) else { return };
    counts_through(&etcd, || {
        (0..3).for_each(|member| etcd.kill(member));
        (0..3).for_each(|member| etcd.start_again(member));
        assert!(etcd.is_up());
    });
}

/// One member alone answers nothing, not even reads.
#[test]
fn a_minority_reads_nothing_old() {
    let Some(etcd) = Etcd::start(3) else { return };
    let store = EtcdStore::open(&etcd.options(0).deadline(Duration::from_secs(8))).unwrap();
    store.commit(&[put("a", None, 1)]).unwrap();
    etcd.kill(1);
    etcd.kill(2);
    let start = Instant::now();
    assert!(store.get(&["a"]).is_err() && store.commit(&[put("b", None, 1)]).is_err());
    // Each call has eight seconds.
    assert!(start.elapsed() < Duration::from_secs(60));
    (1..3).for_each(|member| etcd.start_again(member));
    assert_eq!(read(&store, "a").0, 1);
}
