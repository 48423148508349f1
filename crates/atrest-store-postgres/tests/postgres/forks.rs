//! A forked child leaves its parent's store alone, and opens its own.

use crate::server::Postgres;
use crate::store_forks;

#[test]
fn a_child_asks_nothing_by_its_parents_connections() {
    let Some(server) = Postgres::start() else { return };
    store_forks::asks_nothing_by_connections_of_the_parent(|| server.store());
}

#[test]
fn no_child_hangs_in_what_a_thread_of_its_parent_held() {
    let Some(server) = Postgres::start() else { return };
    store_forks::hangs_in_nothing(server.store());
}
