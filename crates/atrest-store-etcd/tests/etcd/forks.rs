//! A forked child leaves its parent's store alone, and opens its own.

use crate::server::Etcd;
use crate::store_forks;

#[test]
fn a_child_asks_nothing_by_its_parents_connections() {
    let Some(server) = Etcd::start(1) else { return };
    store_forks::asks_nothing_by_connections_of_the_parent(|| server.store(0));
}

#[test]
fn no_child_hangs_in_what_a_thread_of_its_parent_held() {
    let Some(server) = Etcd::start(1) else { return };
    store_forks::hangs_in_nothing(server.store(0));
}
