//! Three members, of which one is killed or hangs under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atrest::managed::store::{Action, Change, Outcome, Revision, Store};
use atrest_store_etcd::EtcdStore;

use crate::server::Etcd;

fn put(key: &str, expected: Option<Revision>, value: u64) -> Change {
    Change { key: key.into(), expected, action: Action::Put(value.to_string().into_bytes()) }
}

/// The value and revision of a counter, read until the store answers.
fn read(store: &EtcdStore, key: &str) -> (u64, Option<Revision>) {
    let start = Instant::now();
    loop {
        match store.get(&[key]) {
            Ok(found) => {
                let found = found.into_iter().next().flatten();
                let value = |value: &[u8]| std::str::from_utf8(value).unwrap().parse().unwrap();
                return found.map_or((0, None), |found| (value(&found.value), Some(found.revision)));
            }
            Err(e) => assert!(start.elapsed() < Duration::from_secs(90), "the store doesn't come back: {e:#}"),
        }
    }
}

/// Counts up, alone on its key, until it is over.
fn count(store: &EtcdStore, key: &str, over: &AtomicBool) -> u64 {
    let (mut value, mut revision, mut done) = (0, None, 0);
    while !over.load(Ordering::SeqCst) {
        match store.commit(&[put(key, revision, value + 1)]) {
            Ok(Outcome::Committed(put)) => {
                assert!(Some(put[0]) > revision);
                (value, revision, done) = (value + 1, Some(put[0]), done + 1);
            }
            Ok(Outcome::Conflict) => {
                panic!("{key}: a conflict, though nobody else writes: what was acknowledged is gone")
            }
            Err(_) => {
                let (found, now) = read(store, key);
                assert!(found == value || found == value + 1, "{key}: {value} was acknowledged, and {found} is read");
                assert!(now >= revision, "{key}: the revision went back from {revision:?} to {now:?}");
                (value, revision) = (found, now);
            }
        }
    }
    assert_eq!(read(store, key), (value, revision), "{key}: what was acknowledged is gone");
    done
}

/// Counters go on while `strike` is at work, and once it has.
fn counts_through(etcd: &Etcd, strike: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counting: Vec<_> = (0..4)
            .map(|number| {
                let over = &over;
                scope.spawn(move || count(&etcd.store(number % 3), &format!("counter/{number}"), over))
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
    assert!(start.elapsed() < Duration::from_secs(16));
    (1..3).for_each(|member| etcd.start_again(member));
    assert_eq!(read(&store, "a").0, 1);
}
