//! A server that hangs, connections that break, answers that are lost.

use std::time::{Duration, Instant};

use atrest::Error;
use atrest::managed::store::conformance::{self, Faults};
use atrest::managed::store::{Action, Change, Outcome, Store};
use atrest_store_postgres::PostgresStore;

use crate::proxy::{CUT, HOLD, LOSE, PASS, Proxy};
use crate::server::{Postgres, address, options};

struct Troubled {
    server: Postgres,
    proxy: Proxy,
}

impl Faults for Troubled {
    fn hang(&self) {
        self.server.freeze();
    }

    fn resume(&self) {
        self.server.thaw();
    }

    fn lose_answers(&self) {
        self.proxy.mode(LOSE);
    }

    fn restore(&self) {
        self.proxy.mode(PASS);
    }
}

impl Troubled {
    fn start() -> Option<Self> {
        let server = Postgres::start()?;
        Some(Troubled { proxy: Proxy::before(server.port), server })
    }

    fn store(&self, deadline: Duration) -> PostgresStore {
        PostgresStore::open(&options(&address(self.proxy.port)).deadline(deadline)).unwrap()
    }
}

fn put(key: &str) -> Change {
    Change { key: key.into(), expected: None, action: Action::Put(b"value".to_vec()) }
}

#[test]
fn the_deadline_is_kept_and_a_lost_answer_is_no_answer() {
    let Some(troubled) = Troubled::start() else { return };
    conformance::run_faults(|| troubled.store(Duration::from_secs(3)), &troubled);
}

/// A commit that lies in a network, or in the server's queue, beyond the deadline: the server then refuses it.
#[test]
fn a_commit_that_arrives_after_the_deadline_does_not_happen() {
    let Some(Troubled { server, proxy }) = Troubled::start() else { return };
    let store = PostgresStore::open(&options(&address(proxy.port)).deadline(Duration::from_secs(2))).unwrap();
    proxy.mode(HOLD);
    let start = Instant::now();
    let error = store.commit(&[put("late")]).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && format!("{error:#}").contains("may have happened"), "{error:#}");
    assert_eq!(proxy.held(), 1);
    std::thread::sleep(Duration::from_secs(2).saturating_sub(start.elapsed()));
    proxy.mode(PASS);
    std::thread::sleep(Duration::from_millis(500));
    assert!(store.get(&["late"]).unwrap()[0].is_none(), "a commit happened after the deadline");
    // One that arrives in time does happen.
    proxy.mode(HOLD);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| store.commit(&[put("in time")]));
        while proxy.held() < 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
        proxy.mode(PASS);
        assert!(matches!(commit.join().unwrap(), Ok(Outcome::Committed(_))));
    });
    assert_eq!(server.sql("SELECT count(*) FROM atrest.records").trim(), "1");
}

#[test]
fn broken_connections_cost_no_call() {
    let Some(Troubled { server: _server, proxy }) = Troubled::start() else { return };
    let store = PostgresStore::open(&options(&address(proxy.port))).unwrap();
    for round in 0..10 {
        proxy.reset();
        assert!(store.get(&["a"]).unwrap()[0].is_none());
        proxy.reset();
        assert!(matches!(store.commit(&[put(&format!("k/{round}"))]), Ok(Outcome::Committed(_))));
        proxy.reset();
        assert_eq!(store.list("k/", None, 100).unwrap().len(), round + 1);
    }
    // A connection that breaks as the commit is sent: whether it arrived can't be known.
    proxy.mode(CUT);
    assert!(matches!(store.commit(&[put("cut")]), Err(Error::Io { .. })));
    proxy.mode(PASS);
    assert!(store.get(&["cut"]).unwrap()[0].is_none());
    assert!(matches!(store.commit(&[put("cut")]), Ok(Outcome::Committed(_))));
}

#[test]
fn a_server_that_crashes_keeps_what_was_acknowledged() {
    let Some(server) = Postgres::start() else { return };
    let store = PostgresStore::open(&server.options().deadline(Duration::from_secs(3))).unwrap();
    for round in 0..3 {
        // It is killed for good while someone writes; later it comes back.
        let acknowledged = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut acknowledged = 0;
                while let Ok(Outcome::Committed(_)) = store.commit(&[put(&format!("{round}/{acknowledged:06}"))]) {
                    acknowledged += 1;
                }
                acknowledged
            });
            std::thread::sleep(Duration::from_millis(400));
            server.kill();
            writer.join().unwrap()
        });
        server.start_again();
        let (mut found, mut after) = (0, None);
        while let Some(last) = {
            let page = store.list(&format!("{round}/"), after.as_deref(), 1000).unwrap();
            found += page.len();
            page.into_iter().next_back()
        } {
            after = Some(last.key);
        }
        assert!(acknowledged > 0 && (found == acknowledged || found == acknowledged + 1), "{acknowledged}, {found}");
    }
}
