//! Services of two hosts.

use std::sync::Arc;

use crate::fleet_on::two_hosts;
use crate::server::Etcd;

#[test]
fn two_hosts_share_a_cluster() {
    let Some(etcd) = Etcd::start(1) else { return };
    two_hosts(|| Arc::new(etcd.store(0)));
}
