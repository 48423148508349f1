//! Service processes on a real engine that are killed, stopped and cut off, together with its servers, and a model of what they were
//! told. See `docs/fleet.md`.
//!
//! `ATREST_FLEET_KILLS` is for how many seconds, `ATREST_FLEET_SEED` what faults are drawn from.
//!
//! The services tell all that they do by one pipe, before and after they do it, so that the order of what it carries is the order of
//! what happened. The process at its other end judges: see [`model`]. From time to time it kills all, and looks at everything itself,
//! by a service of its own.

mod files;
mod judge;
mod model;
mod service;
mod storm;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atrest::managed::store::Store;
use atrest::managed::{DiskService, HostOptions, KnownVaults, ServiceOptions};
use atrest::vault::{KdfCost, KeyOperation, Unlock, VaultOptions};
use atrest::{Clock, FileVault, Result};

use self::files::Files;
pub use self::service::run_service;
pub use self::storm::run;

/// How many services there are.
pub const HOSTS: usize = 4;
/// The blocks of a disk that are written, each a sector.
const BLOCKS: u64 = 6;
const SECTOR: usize = 4096;
const SET: &str = "set";
const KEY: &str = "disks";
const PLATFORM: &str = "platform";

/// The servers of an engine.
pub trait Engine {
    /// What a service of this host opens its store by: through proxies of its own.
    fn way(&self, host: usize) -> String;
    /// The same without proxies, for the judge.
    fn straight(&self) -> String;
    /// Nothing passes between a service and the store, or all does again.
    fn cut(&self, host: usize, cut: bool);
    /// Something happens to the servers, which ends well. Returns what it was.
    fn strike(&self, numbers: &mut Numbers) -> String;
    /// The lease of hosts: at least three times the deadline of the store.
    fn lease(&self) -> Duration;
}

/// Opens a store by what [`Engine::way`] said.
pub type Opener = fn(&str) -> Result<Arc<dyn Store>>;

/// Numbers that are the same for a seed: SplitMix64.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    pub fn of<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len() as u64) as usize].clone())
    }

    /// A part of a time, at least a tenth of it.
    pub fn part(&mut self, of: Duration) -> Duration {
        of.mul_f64(0.1 + self.below(900) as f64 / 1000.0)
    }
}

/// What has gone by since this machine started, in nanoseconds: the same for all processes.
fn uptime() -> u64 {
    u64::try_from(atrest::SystemClock.uptime().as_nanos()).unwrap()
}

/// A host's clocks: they show another time than others', by minutes, and run at another speed, by up to two percent.
struct Skewed {
    ahead: i64,
    since: Duration,
    speed: f64,
}

impl Skewed {
    fn of(host: usize) -> Self {
        let (ahead, speed) = [(-420, 0.98), (0, 1.0), (190, 1.02), (611, 1.01), (33, 0.99)][host];
        Skewed { ahead, since: Duration::from_secs(977 * host as u64), speed }
    }
}

impl Clock for Skewed {
    fn now(&self) -> u64 {
        atrest::SystemClock.now().saturating_add_signed(self.ahead)
    }

    fn uptime(&self) -> Duration {
        self.since + atrest::SystemClock.uptime().mul_f64(self.speed)
    }
}

/// The files that all share.
#[derive(Clone)]
struct Place(PathBuf);

impl Place {
    fn disks(&self) -> PathBuf {
        self.0.join("disks")
    }

    /// Makes the vault, the platform's and the customer's in one.
    fn make(folder: &Path) -> (Self, FileVault) {
        let place = Place(folder.into());
        std::fs::create_dir(place.disks()).unwrap();
        let cheap = KdfCost::new(64, 1, 1);
        let options = VaultOptions::new().region("north").tenant("contoso").purge_protection(true).kdf_cost(cheap);
        let vault = FileVault::create_with(place.0.join("vault"), Unlock::Passphrase(b"p"), &options).unwrap();
        vault.create_key(KEY).unwrap();
        vault.create_key(PLATFORM).unwrap();
        (place.clone(), place.vault())
    }

    fn vault(&self) -> FileVault {
        FileVault::open(self.0.join("vault"), Unlock::Passphrase(b"p")).unwrap().with_synced_uses(false)
    }

    /// Opens a service of a host, whose run has a name of its own.
    fn service(&self, store: Arc<dyn Store>, host: usize, run: &str, lease: Duration) -> Result<DiskService> {
        let (vault, vaults) = (self.vault(), KnownVaults::new());
        vaults.add_file(vault.clone())?;
        let backend = Files::new(self.disks(), run);
        let options = ServiceOptions::new(Arc::new(backend), Arc::new(vaults), Arc::new(vault), PLATFORM)
            .clock(Arc::new(Skewed::of(host)))
            .rotation_interval(Duration::from_millis(500))
            .parallel(2);
        DiskService::open_shared(store, &HostOptions::new(format!("host-{host}")).lease(lease), options)
    }
}

fn grant(vault: &FileVault, identity: &str) {
    vault.grant(identity, &KeyOperation::ALL).unwrap();
}
