//! What a child made by fork may do with a store that hosts share: nothing with its parent's, and all with its own.

use atrest::managed::store::{Action, Change, Outcome, Store};

use crate::fork::{failed_of, forked, in_child, so};

fn put(key: &str, value: &[u8]) -> Change {
    Change { key: key.into(), expected: None, action: Action::Put(value.to_vec()) }
}

/// A child asks nothing by the connections of its parent's store, which goes on. `store` connects to the same, empty one each time.
pub fn asks_nothing_by_connections_of_the_parent<S: Store>(store: impl Fn() -> S) {
    let parents = store();
    assert!(matches!(parents.commit(&[put("a", b"1")]).unwrap(), Outcome::Committed(_)));
    let mut parents = Some(parents);
    let ended = in_child(|| {
        let parents = parents.take().unwrap();
        so!(forked(parents.get(&["a"])) && forked(parents.get(&[])));
        so!(forked(parents.list("a", None, 10)));
        so!(forked(parents.commit(&[put("b", b"2")])) && forked(parents.commit(&[])));
        drop(parents);
        let own = store();
        so!(own.get(&["a"]).is_ok_and(|found| found[0].as_ref().is_some_and(|record| record.value == b"1")));
        so!(matches!(own.commit(&[put("c", b"3")]), Ok(Outcome::Committed(_))));
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    let store = parents.unwrap();
    let keys: Vec<_> = store.list("", None, 10).unwrap().into_iter().map(|record| record.key).collect();
    assert_eq!(keys, ["a", "c"]);
    // By the same session or connection.
    assert!(matches!(store.commit(&[put("d", b"4")]).unwrap(), Outcome::Committed(_)));
}

/// No child hangs in what a thread of its parent held.
pub fn hangs_in_nothing<S: Store>(store: S) {
    let busy = || drop(store.get(&["a"]).unwrap());
    let failed = failed_of(50, &[&busy, &busy, &busy], || {
        so!(forked(store.get(&["a"])) && forked(store.commit(&[put("b", b"2")])));
        Ok(())
    });
    assert_eq!(failed, 0, "of 50 children");
    let mut store = Some(store);
    let ended = in_child(|| {
        drop(store.take());
        Ok(())
    });
    assert_eq!(ended, 0, "the child that drops it");
    store.unwrap().get(&["a"]).unwrap();
}
