//! A forked child leaves its parent's store alone, and opens its own.

use std::sync::atomic::{AtomicBool, Ordering};

use atrest::managed::store::{Action, Change, Outcome, Store};

use crate::fork::{forked, in_child, so};
use crate::server::Etcd;

fn put(key: &str, value: &[u8]) -> Change {
    Change { key: key.into(), expected: None, action: Action::Put(value.to_vec()) }
}

#[test]
fn a_child_asks_nothing_by_its_parents_connections() {
    let Some(server) = Etcd::start(1) else { return };
    let store = server.store(0);
    assert!(matches!(store.commit(&[put("a", b"1")]).unwrap(), Outcome::Committed(_)));
    let mut store = Some(store);
    let ended = in_child(|| {
        let parents = store.take().unwrap();
        so!(forked(parents.get(&["a"])) && forked(parents.get(&[])));
        so!(forked(parents.list("a", None, 10)));
        so!(forked(parents.commit(&[put("b", b"2")])) && forked(parents.commit(&[])));
        drop(parents);
        let own = server.store(0);
        so!(own.get(&["a"]).is_ok_and(|found| found[0].as_ref().is_some_and(|record| record.value == b"1")));
        so!(matches!(own.commit(&[put("c", b"3")]), Ok(Outcome::Committed(_))));
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    let store = store.unwrap();
    let keys: Vec<_> = store.list("", None, 10).unwrap().into_iter().map(|record| record.key).collect();
    assert_eq!(keys, ["a", "c"]);
    // By the same session or connection.
    assert!(matches!(store.commit(&[put("d", b"4")]).unwrap(), Outcome::Committed(_)));
}

#[test]
fn no_child_hangs_in_what_a_thread_of_its_parent_held() {
    let Some(server) = Etcd::start(1) else { return };
    let store = server.store(0);
    let done = AtomicBool::new(false);
    let mut store = Some(store);
    let failed = std::thread::scope(|scope| {
        let shared = store.as_ref().unwrap();
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    shared.get(&["a"]).unwrap();
                }
            });
        }
        let failed = (0..50).filter(|_| {
            0 != in_child(|| {
                so!(forked(shared.get(&["a"])) && forked(shared.commit(&[put("b", b"2")])));
                Ok(())
            })
        });
        let failed = failed.count();
        done.store(true, Ordering::Relaxed);
        failed
    });
    assert_eq!(failed, 0, "of 50 children");
    let ended = in_child(|| {
        drop(store.take());
        Ok(())
    });
    assert_eq!(ended, 0, "the child that drops it");
    store.unwrap().get(&["a"]).unwrap();
}
