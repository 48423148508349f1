//! A member that hangs, connections that break, answers that are lost.

use std::time::{Duration, Instant};

use atrest::Error;
use atrest::managed::store::conformance::{self, Faults};
use atrest::managed::store::{Action, Change, Outcome, Store};
use atrest_store_etcd::{EtcdOptions, EtcdStore};

use crate::proxy::{Fate, Head, Proxy};
use crate::server::Etcd;

const DEADLINE: Duration = Duration::from_secs(8);

struct Troubled {
    etcd: Etcd,
    proxy: Proxy,
}

fn is_commit(head: &Head) -> bool {
    head.target == "/v3/kv/txn"
}

impl Faults for Troubled {
    fn hang(&self) {
        self.etcd.freeze(0);
    }

    fn resume(&self) {
        self.etcd.thaw(0);
    }

    fn lose_answers(&self) {
        self.proxy.rule(|head| if is_commit(head) { Fate::ResetAfter } else { Fate::Forward });
    }

    fn restore(&self) {
        self.proxy.rule(|_| Fate::Forward);
    }
}

impl Troubled {
    fn start() -> Option<Self> {
        let etcd = Etcd::start(1)?;
        Some(Troubled { proxy: Proxy::before(etcd.members[0].port), etcd })
    }

    fn store(&self) -> EtcdStore {
        let address = format!("http://127.0.0.1:{}", self.proxy.port);
        EtcdStore::open(&EtcdOptions::new([address]).deadline(DEADLINE)).unwrap()
    }
}

fn put(key: &str) -> Change {
    Change { key: key.into(), expected: None, action: Action::Put(b"value".to_vec()) }
}

fn is_unknown<T: std::fmt::Debug>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(error @ Error::Io { .. }) if format!("{error:#}").contains("may have happened"))
}

#[test]
fn the_deadline_is_kept_and_a_lost_answer_is_no_answer() {
    let Some(troubled) = Troubled::start() else { return };
    conformance::run_faults(|| troubled.store(), &troubled);
}

/// A commit that arrives late: its store has read meanwhile, and that stays true.
#[test]
fn a_commit_that_arrives_after_its_store_has_read_does_not_happen() {
    let Some(troubled) = Troubled::start() else { return };
    let (store, other) = (troubled.store(), troubled.etcd.store(0));
    assert!(matches!(store.commit(&[put("first")]), Ok(Outcome::Committed(_))));
    troubled.proxy.first(1, Fate::Late, is_commit);
    let result = store.commit(&[put("late")]);
    assert!(is_unknown(&result), "{result:?}");
    assert!(store.get(&["late"]).unwrap()[0].is_none());
    assert_eq!(troubled.proxy.release(), [200]);
    assert!(other.get(&["late"]).unwrap()[0].is_none(), "a commit happened after its store had read");
    assert!(matches!(store.commit(&[put("late")]), Ok(Outcome::Committed(_))));
}

/// As before, where the store is gone, and can't do anything for it.
#[test]
fn a_commit_that_arrives_after_the_deadline_does_not_happen() {
    let Some(troubled) = Troubled::start() else { return };
    let (store, other) = (troubled.store(), troubled.etcd.store(0));
    assert!(matches!(store.commit(&[put("first")]), Ok(Outcome::Committed(_))));
    // One that comes in time does happen.
    troubled.proxy.first(1, Fate::Late, is_commit);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(is_unknown(&store.commit(&[put("in time")]))));
        while troubled.proxy.waiting() == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(troubled.proxy.release(), [200]);
        assert!(other.get(&["in time"]).unwrap()[0].is_some());
    });
    assert!(start.elapsed() < DEADLINE);
    troubled.proxy.first(1, Fate::Late, is_commit);
    let start = Instant::now();
    let result = store.commit(&[put("late")]);
    assert!(is_unknown(&result) && start.elapsed() < DEADLINE, "{result:?}");
    drop(store);
    std::thread::sleep(DEADLINE.saturating_sub(start.elapsed()));
    assert_eq!(troubled.proxy.release(), [200]);
    assert!(other.get(&["late"]).unwrap()[0].is_none(), "a commit happened after the deadline");
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let Some(troubled) = Troubled::start() else { return };
    let store = troubled.store();
    assert!(matches!(store.commit(&[put("a")]), Ok(Outcome::Committed(_))));
    let answer = |status: &str, body: &str| {
        Fate::Answer(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()))
    };
    for (status, body) in [
        ("200 OK", ""),
        ("200 OK", "[]"),
        ("200 OK", r#"{"succeeded":1}"#),
        ("200 OK", r#"{"header":{"revision":"x"},"succeeded":true}"#),
        ("200 OK", &"[".repeat(100_000)),
        ("500 Internal Server Error", "{"),
        ("503 Service Unavailable", r#"{"message":"etcdserver: leader changed","code":14}"#),
        ("302 Found", ""),
    ] {
        let fate = answer(status, body);
        troubled.proxy.first(1, fate.clone(), is_commit);
        let result = store.commit(&[put("b")]);
        assert!(is_unknown(&result), "{status} {body:.40}: {result:?}");
        // A read is tried again where that may help, and is an error elsewhere.
        troubled.proxy.first(1, fate, is_commit);
        if let Ok(found) = store.get(&["a", "b"]) {
            assert!(found[0].is_some() && found[1].is_none());
        }
    }
    // Answers to other questions.
    let other = r#"{"responses":[{"response_range":{"kvs":[{"key":"YXRyZXN0L3IvYg==","mod_revision":"1"}]}}]}"#;
    for body in [r#"{"responses":[]}"#, r#"{"responses":[{"response_put":{}}]}"#, other] {
        troubled.proxy.first(1, answer("200 OK", body), is_commit);
        assert!(matches!(store.get(&["a"]), Err(Error::Io { .. })), "{body}");
    }
    let busy = r#"{"message":"etcdserver: too many requests","code":8}"#;
    troubled.proxy.first(2, answer("429 Too Many Requests", busy), is_commit);
    assert!(matches!(store.commit(&[put("b")]), Ok(Outcome::Committed(_))));
}
