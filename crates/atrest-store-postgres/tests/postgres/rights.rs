//! The rights that the documentation lists.

use atrest::managed::store::conformance;
use atrest_store_postgres::PostgresStore;

use crate::server::{Postgres, options};

/// The blocks of SQL of the page, in their order.
fn blocks() -> Vec<&'static str> {
    let page = include_str!("../../../../docs/fleet/postgres.md");
    page.split("```sql\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect()
}

#[test]
fn the_listed_rights_are_enough_and_each_is_needed() {
    let Some(server) = Postgres::start() else { return };
    let [setup, grants] = blocks()[..] else { panic!("the page has two blocks of SQL") };
    setup.split(";\n").filter(|sql| !sql.trim().is_empty()).for_each(|sql| drop(server.sql(sql)));
    let host = format!("127.0.0.1:{}", server.port);
    let address = |role: &str| format!("postgresql://{role}:change-me@{host}/disks");
    let in_disks = |sql: &str| {
        let whole = format!("postgresql://postgres:secret@{host}/disks");
        crate::peers::run("psql", &["-X", "-v", "ON_ERROR_STOP=1", "-At", "-d", &whole, "-c", sql])
    };
    let owner = options(&address("disks_owner"));
    PostgresStore::migrate(&owner).unwrap();
    let user = options(&address("disks")).without_migration();
    let error = format!("{:#}", PostgresStore::open(&user).unwrap_err());
    assert!(error.contains("42501"), "{error}");
    let grants: Vec<&str> = grants.split(";\n").map(str::trim).filter(|sql| !sql.is_empty()).collect();
    grants.iter().for_each(|sql| drop(in_disks(sql)));
    conformance::run(|| PostgresStore::open(&user).unwrap());
    for grant in grants {
        in_disks(&grant.replacen("GRANT", "REVOKE", 1).replace(" TO ", " FROM "));
        let ran =
            std::panic::catch_unwind(|| conformance::run_case("conditions", || PostgresStore::open(&user).unwrap()));
        assert!(ran.is_err(), "the right isn't needed: {grant}");
        in_disks(grant);
    }
    conformance::run_case("conditions", || PostgresStore::open(&user).unwrap());
}

#[test]
fn a_wrong_password_is_told_at_once() {
    let Some(server) = Postgres::start() else { return };
    let start = std::time::Instant::now();
    let error = PostgresStore::open(&server.options().password("wrong")).unwrap_err();
    let atrest::Error::Io { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
    let shown = format!("{error:#} {error:?}");
    assert!(shown.contains("28P01") && !shown.contains("wrong"), "{shown}");
    assert!(start.elapsed() < std::time::Duration::from_secs(15));
}
