//! Counters in a store, each counted by one thread while servers are killed: a model of what was acknowledged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atrest::managed::store::{Action, Change, Outcome, Revision, Store};

pub fn put(key: &str, expected: Option<Revision>, value: u64) -> Change {
    Change { key: key.into(), expected, action: Action::Put(value.to_string().into_bytes()) }
}

/// The value and revision of a counter, read until the store answers.
pub fn read(store: &dyn Store, key: &str) -> (u64, Option<Revision>) {
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

/// Counts up, alone on its key, until it is over. Returns how often it was told of a commit, and how often of none.
pub fn count(store: &dyn Store, key: &str, over: &AtomicBool) -> (u64, u64) {
    let (mut value, mut revision) = read(store, key);
    let (mut done, mut unknown) = (0, 0);
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
                unknown += 1;
                let (found, now) = read(store, key);
                assert!(found == value || found == value + 1, "{key}: {value} was acknowledged, and {found} is read");
                assert!(now >= revision, "{key}: the revision went back from {revision:?} to {now:?}");
                (value, revision) = (found, now);
            }
        }
    }
    let (found, now) = read(store, key);
    assert_eq!((found, now), (value, revision), "{key}: what was acknowledged is gone");
    (done, unknown)
}
