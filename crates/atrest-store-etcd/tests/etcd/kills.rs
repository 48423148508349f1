//! A fleet of service processes on three members, all of which are killed.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use atrest_store_etcd::{EtcdOptions, EtcdStore};

use crate::fleet_kills::{Engine, HOSTS, Numbers, Opener, run, run_service};
use crate::server::Etcd;
use crate::tcp_proxy::{PASS, Proxy, SILENT};

const DEADLINE: Duration = Duration::from_secs(8);

struct Cluster {
    etcd: Etcd,
    /// The proxies of each host, before each member.
    proxies: Vec<Vec<Proxy>>,
}

impl Engine for Cluster {
    fn way(&self, host: usize) -> String {
        let proxies = &self.proxies[host];
        // Each begins with another member.
        let address = |at: usize| format!("http://127.0.0.1:{}", proxies[(host + at) % proxies.len()].port);
        (0..proxies.len()).map(address).collect::<Vec<_>>().join(",")
    }

    fn straight(&self) -> String {
        self.etcd.endpoints(0).join(",")
    }

    fn cut(&self, host: usize, cut: bool) {
        for proxy in &self.proxies[host] {
            proxy.mode(if cut { SILENT } else { PASS });
        }
    }

    /// The leader or another member is killed, or the leader hangs; later it is there again.
    fn strike(&self, numbers: &mut Numbers) -> String {
        let (leader, wait) = (self.etcd.leader(), Duration::from_millis(500 + numbers.below(3000)));
        let what = numbers.below(4);
        match what {
            0 => {
                self.etcd.freeze(leader);
                sleep(wait);
                self.etcd.thaw(leader);
            }
            _ => {
                let member = if what == 1 { (leader + 1) % 3 } else { leader };
                self.etcd.kill(member);
                sleep(wait);
                self.etcd.start_again(member);
            }
        }
        assert!(self.etcd.is_up());
        ["the leader hangs", "a member is killed", "the leader is killed"][what.min(2) as usize].into()
    }

    fn lease(&self) -> Duration {
        3 * DEADLINE
    }
}

const OPEN: Opener = |way| Ok(Arc::new(EtcdStore::open(&EtcdOptions::new(way.split(',')).deadline(DEADLINE))?));

/// The process of a service. Run on its own, it does nothing.
#[test]
fn service() {
    run_service(OPEN);
}

#[test]
fn services_and_members_are_killed_and_nothing_acknowledged_is_lost() {
    let Some(etcd) = Etcd::start(3) else { return };
    let before = |_| etcd.members.iter().map(|member| Proxy::before(member.port)).collect();
    let proxies = (0..HOSTS).map(before).collect();
    run(&Cluster { etcd, proxies }, "kills::service", OPEN);
}
