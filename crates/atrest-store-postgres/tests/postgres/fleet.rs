//! Services of two hosts.

use std::sync::Arc;

use crate::fleet_on::two_hosts;
use crate::server::Postgres;

#[test]
fn two_hosts_share_a_server() {
    let Some(server) = Postgres::start() else { return };
    two_hosts(|| Arc::new(server.store()));
}
