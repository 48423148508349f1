//! A primary, a synchronous standby, and the death of one of them under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atrest::managed::store::{Outcome, Store};
use atrest_store_postgres::{PostgresOptions, PostgresStore};

use crate::counters::{count, put, read};
use crate::server::{Postgres, both, options};

/// A primary that waits for its standby, and the standby.
fn pair() -> Option<(Postgres, Postgres)> {
    let primary = Postgres::start_with(&["synchronous_standby_names=*"])?;
    let standby = primary.standby();
    primary.wait_for_standby();
    Some((primary, standby))
}

/// Counters go on while the primary is taken away. `strike` makes the standby the primary.
fn counts_through(primary: &Postgres, standby: &Postgres, strike: impl FnOnce()) {
    let store =
        PostgresStore::open(&options(&both([standby.port, primary.port])).deadline(Duration::from_secs(8))).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counting: Vec<_> = (0..4)
            .map(|number| {
                let (store, over) = (&store, &over);
                scope.spawn(move || count(store, &format!("counter/{number}"), over))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(1500));
        let before: u64 = (0..4).map(|number| read(&store, &format!("counter/{number}")).0).sum();
        strike();
        // Someone counts on the new primary.
        let start = Instant::now();
        while (0..4).map(|number| read(&store, &format!("counter/{number}")).0).sum::<u64>() < before + 20 {
            assert!(start.elapsed() < Duration::from_secs(90), "nothing is committed after the failover");
            std::thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::SeqCst);
        for thread in counting {
            let (done, _) = thread.join().unwrap();
            assert!(done > 0);
        }
    });
}

#[test]
fn the_primary_is_killed_and_nothing_acknowledged_is_lost() {
    let Some((primary, standby)) = pair() else { return };
    counts_through(&primary, &standby, || {
        primary.kill();
        standby.promote();
    });
}

/// The old primary takes connections and says nothing. It can't acknowledge anything once its standby has left it.
#[test]
fn the_primary_hangs_and_the_standby_takes_over() {
    let Some((primary, standby)) = pair() else { return };
    counts_through(&primary, &standby, || {
        primary.freeze();
        standby.promote();
    });
    primary.thaw();
}

/// Nothing is acknowledged while the standby is away. What was sent becomes visible once it is back, which may be after the
/// deadline; until then nobody else can change the same records.
#[test]
fn without_its_standby_a_primary_acknowledges_nothing() {
    let Some((primary, standby)) = pair() else { return };
    let open = || PostgresStore::open(&primary.options().deadline(Duration::from_secs(2))).unwrap();
    let (one, two) = (open(), open());
    let Outcome::Committed(first) = one.commit(&[put("a", None, 1)]).unwrap() else { panic!("a conflict") };
    standby.freeze();
    assert!(one.commit(&[put("a", Some(first[0]), 2)]).is_err());
    assert_eq!(read(&two, "a"), (1, Some(first[0])));
    assert!(two.commit(&[put("a", Some(first[0]), 3)]).is_err(), "a record that somebody else has locked was changed");
    standby.thaw();
    let start = Instant::now();
    while read(&two, "a").0 == 1 && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(read(&two, "a").0, 2);
    assert_eq!(two.commit(&[put("a", Some(first[0]), 3)]).unwrap(), Outcome::Conflict);
}

/// An administrator ends the wait for the standby. The server then calls the commit done, and only warns.
#[test]
fn a_commit_that_is_not_on_the_standby_is_not_acknowledged() {
    let Some((primary, standby)) = pair() else { return };
    let store = primary.store();
    store.commit(&[put("a", None, 1)]).unwrap();
    standby.freeze();
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| store.commit(&[put("b", None, 1)]));
        let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while primary.sql(cancel).trim() == "0" {
            std::thread::sleep(Duration::from_millis(20));
        }
        let error = format!("{:#}", commit.join().unwrap().unwrap_err());
        assert!(error.contains("isn't on a standby"), "{error}");
    });
    standby.thaw();
}

#[test]
fn a_server_that_may_lose_commits_is_refused() {
    let Some(alone) = Postgres::start() else { return };
    let refused = |server: &Postgres, options: &PostgresOptions, why: &str| {
        let error = format!("{:#}", PostgresStore::open(options).unwrap_err());
        assert!(error.contains(why) && error.contains(&server.port.to_string()), "{error}");
    };
    refused(&alone, &PostgresOptions::new(&alone.address()).unwrap(), "no synchronous standby");
    let Some(unsafe_) = Postgres::start_with(&["fsync=off"]) else { return };
    refused(&unsafe_, &unsafe_.options(), "fsync");
    // A session may turn it off, or a role's settings may: the store turns it on.
    alone.sql("ALTER ROLE postgres SET synchronous_commit = off");
    assert!(alone.store().commit(&[put("a", None, 1)]).is_ok());
    let Some((primary, standby)) = pair() else { return };
    let standby_only = standby.options().deadline(Duration::from_secs(8));
    refused(&standby, &standby_only, "it is a standby");
    assert!(PostgresStore::open(&PostgresOptions::new(&both([standby.port, primary.port])).unwrap()).is_ok());
}
