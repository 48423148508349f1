//! The conformance suite, and the tables.

use std::time::Duration;

use atrest::managed::store::{Action, Change, Outcome, Store, conformance};
use atrest_store_postgres::{PostgresOptions, PostgresStore};

use crate::server::{Postgres, options};

#[test]
fn it_passes_the_conformance_suite() {
    let Some(server) = Postgres::start() else { return };
    conformance::run(|| server.store());
    assert_eq!(server.sql("SELECT count(*) FROM atrest.records").trim(), "0", "the suite leaves records behind");
}

/// A database whose language sorts other than by bytes, and whose encoding isn't UTF-8.
#[test]
fn keys_are_bytes_in_any_database() {
    let Some(server) = Postgres::start() else { return };
    server.sql("CREATE DATABASE old ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    server.sql("CREATE DATABASE icu ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C' TEMPLATE template0");
    for name in ["old", "icu"] {
        let address = format!("postgresql://postgres:secret@127.0.0.1:{}/{name}", server.port);
        for case in ["keys", "order", "prefixes", "values"] {
            conformance::run_case(case, || PostgresStore::open(&options(&address)).unwrap());
        }
    }
}

#[test]
fn one_connection_serves_many_threads_in_turn() {
    let Some(server) = Postgres::start() else { return };
    let store = PostgresStore::open(&server.options().connections(1)).unwrap();
    let store = std::sync::Arc::new(store);
    for case in ["counter", "bank"] {
        conformance::run_case(case, || Shared(store.clone()));
    }
    assert_eq!(server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'atrest'").trim(), "1");
}

/// One store behind several clients.
struct Shared(std::sync::Arc<PostgresStore>);

impl Store for Shared {
    fn get(&self, keys: &[&str]) -> atrest::Result<Vec<Option<atrest::managed::store::Record>>> {
        self.0.get(keys)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> atrest::Result<Vec<atrest::managed::store::Record>> {
        self.0.list(prefix, after, limit)
    }

    fn commit(&self, changes: &[Change]) -> atrest::Result<Outcome> {
        self.0.commit(changes)
    }

    fn deadline(&self) -> Duration {
        self.0.deadline()
    }
}

/// Calls block, also there, and do no harm.
#[test]
fn it_may_be_used_and_dropped_in_an_asynchronous_program() {
    let Some(server) = Postgres::start() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = server.store();
        assert!(store.get(&["a"]).unwrap()[0].is_none());
        drop(store);
    });
}

#[test]
fn services_that_start_at_once_make_the_tables_once() {
    let Some(server) = Postgres::start() else { return };
    for round in 0..3 {
        let options = server.options().schema(format!("fleet_{round}"));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let options = &options;
                scope.spawn(move || {
                    let store = PostgresStore::open(options).unwrap();
                    let change = Change { key: format!("k/{number}"), expected: None, action: Action::Put(Vec::new()) };
                    assert!(matches!(store.commit(&[change]), Ok(Outcome::Committed(_))));
                });
            }
        });
        assert_eq!(server.sql(&format!("SELECT version FROM fleet_{round}.version")).trim(), "1");
        assert_eq!(server.sql(&format!("SELECT count(*) FROM fleet_{round}.records")).trim(), "8");
    }
}

#[test]
fn tables_of_a_later_release_are_left_alone() {
    let Some(server) = Postgres::start() else { return };
    drop(server.store());
    server.sql("UPDATE atrest.version SET version = 2");
    let error = format!("{:#}", PostgresStore::open(&server.options()).unwrap_err());
    assert!(error.contains("version 2, of a later release"), "{error}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for address in ["", "nonsense", "postgresql://", "postgresql://a.example/db?port=x", "postgresql:///db"] {
        let refused = PostgresOptions::new(address).and_then(|options| PostgresStore::open(&options));
        assert!(matches!(refused, Err(atrest::Error::InvalidOption(_))), "{address}: {refused:?}");
    }
    for (address, why) in [
        ("postgresql://a@db.example/d?sslmode=disable", "sslmode=disable is for this machine alone"),
        ("postgresql://a@127.0.0.1/d?target_session_attrs=read-only", "the store writes"),
    ] {
        let error = PostgresStore::open(&PostgresOptions::new(address).unwrap()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let local = PostgresOptions::new("postgresql://a:hidden@127.0.0.1/d").unwrap();
    assert!(!format!("{local:?}").contains("hidden"));
    for schema in ["", "a b", "A", "1a", "a\"", &"a".repeat(64)] {
        assert!(PostgresStore::open(&local.clone().schema(schema)).is_err(), "{schema}");
    }
    assert!(PostgresStore::open(&local.clone().root_certificates("no PEM")).is_err());
}
