//! A fleet of service processes on a primary and a standby, all of which are killed.

use std::mem::replace;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atrest_store_postgres::PostgresStore;

use crate::fleet_kills::{Engine, HOSTS, Numbers, Opener, run, run_service};
use crate::proxy::{PASS, Proxy, SILENT};
use crate::server::{Postgres, both, options};

const SETTINGS: [&str; 1] = ["synchronous_standby_names=*"];
const DEADLINE: Duration = Duration::from_secs(2);

struct Pair {
    servers: Mutex<[Postgres; 2]>,
    /// The proxies of each host: before the initial primary and its standby, whose roles change.
    proxies: Vec<[Proxy; 2]>,
    primary: Mutex<usize>,
}

impl Engine for Pair {
    fn way(&self, host: usize) -> String {
        both(self.proxies[host].each_ref().map(|proxy| proxy.port))
    }

    fn straight(&self) -> String {
        both(self.servers.lock().unwrap().each_ref().map(|server| server.port))
    }

    fn cut(&self, host: usize, cut: bool) {
        for proxy in &self.proxies[host] {
            proxy.mode(if cut { SILENT } else { PASS });
        }
    }

    /// The primary is killed or hangs, the standby is promoted, and a new standby takes the place of the primary.
    fn strike(&self, numbers: &mut Numbers) -> String {
        let (mut servers, mut primary) = (self.servers.lock().unwrap(), self.primary.lock().unwrap());
        let (old, new) = (*primary, 1 - *primary);
        let hangs = numbers.below(3) == 0;
        if hangs {
            servers[old].freeze();
            std::thread::sleep(Duration::from_secs(1));
        }
        servers[old].kill();
        servers[new].promote();
        let standby = servers[new].standby_with(&SETTINGS);
        self.proxies.iter().for_each(|proxies| proxies[old].lead_to(standby.port));
        drop(replace(&mut servers[old], standby));
        servers[new].wait_for_standby();
        *primary = new;
        format!("the primary {}", if hangs { "hangs, and is killed" } else { "is killed" })
    }

    fn lease(&self) -> Duration {
        3 * DEADLINE
    }
}

const OPEN: Opener = |way| Ok(Arc::new(PostgresStore::open(&options(way).deadline(DEADLINE))?));

/// The process of a service. Run on its own, it does nothing.
#[test]
fn service() {
    run_service(OPEN);
}

#[test]
fn services_and_servers_are_killed_and_nothing_acknowledged_is_lost() {
    let Some(primary) = Postgres::start_with(&SETTINGS) else { return };
    let standby = primary.standby_with(&SETTINGS);
    primary.wait_for_standby();
    let before = |_| [Proxy::before(primary.port), Proxy::before(standby.port)];
    let proxies = (0..HOSTS).map(before).collect();
    let pair = Pair { servers: Mutex::new([primary, standby]), proxies, primary: Mutex::new(0) };
    run(&pair, "kills::service", OPEN);
}
