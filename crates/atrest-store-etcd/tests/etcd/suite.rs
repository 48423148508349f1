//! The conformance suite.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atrest::managed::store::{Action, Change, MAX_VALUE, Outcome, Store, conformance};
use atrest_store_etcd::{EtcdOptions, EtcdStore};

use crate::server::Etcd;

#[test]
fn one_member_passes_the_conformance_suite() {
    let Some(etcd) = Etcd::start(1) else { return };
    conformance::run(|| etcd.store(0));
    assert!(etcd.store(0).list("", None, 1).unwrap().is_empty(), "the suite leaves records behind");
    // The keys that stores leave behind end with their leases.
    let start = std::time::Instant::now();
    while etcd.keys() > 0 {
        assert!(start.elapsed() < std::time::Duration::from_secs(30), "sessions stay behind");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Each client asks another member first.
#[test]
fn three_members_pass_the_conformance_suite() {
    let Some(etcd) = Etcd::start(3) else { return };
    let next = AtomicUsize::new(0);
    conformance::run(|| etcd.store(next.fetch_add(1, Ordering::Relaxed) % 3));
}

/// A page that is longer than what is taken at once comes in pieces, all of one moment.
#[test]
fn large_pages_come_in_pieces() {
    let Some(etcd) = Etcd::start(1) else { return };
    // Many megabytes in one call, by unoptimised code: on a busy machine that takes longer than a call usually may.
    let store = EtcdStore::open(&etcd.options(0).deadline(Duration::from_secs(120))).unwrap();
    let value = vec![7; MAX_VALUE];
    for number in 0..80 {
        let change = Change { key: format!("k/{number:03}"), expected: None, action: Action::Put(value.clone()) };
        assert!(matches!(store.commit(&[change]), Ok(Outcome::Committed(_))));
    }
    for limit in [1, 79, 80, 1000] {
        let page = store.list("k/", None, limit).unwrap();
        assert_eq!(page.len(), limit.min(80));
        assert!(page.iter().enumerate().all(|(n, record)| record.key == format!("k/{n:03}") && record.value == value));
    }
}

#[test]
fn fleets_do_not_see_each_other() {
    let Some(etcd) = Etcd::start(1) else { return };
    let open = |prefix: &str| EtcdStore::open(&etcd.options(0).prefix(prefix)).unwrap();
    let (one, two) = (open("fleet/one/"), open("fleet/"));
    let change = Change { key: "a".into(), expected: None, action: Action::Put(b"one".to_vec()) };
    one.commit(&[change]).unwrap();
    assert!(two.get(&["a"]).unwrap()[0].is_none() && two.list("", None, 10).unwrap().is_empty());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |options: EtcdOptions| {
        let refused = EtcdStore::open(&options);
        assert!(matches!(refused, Err(atrest::Error::InvalidOption(_))), "{refused:?}");
    };
    refused(EtcdOptions::new([""; 0]));
    for address in ["", "127.0.0.1:2379", "http://etcd.example:2379", "https://", "ftp://127.0.0.1"] {
        refused(EtcdOptions::new([address]));
    }
    for prefix in ["", "a", "a\n/", &format!("{}/", "a".repeat(256))] {
        refused(EtcdOptions::new(["http://127.0.0.1:1"]).prefix(prefix));
    }
}
