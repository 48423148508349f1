//! The connections that are kept, and the way to the host that takes writes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

use crate::connection::{Connection, Settings};
use crate::trouble::Trouble;

/// How long to wait once no host took writes.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Pool {
    pub settings: Settings,
    /// The longest that one host is waited for, and one attempt of a call.
    pub attempt: Duration,
    idle: Mutex<Vec<Connection>>,
    free: Semaphore,
    /// The host that took writes last.
    good: AtomicUsize,
}

/// A connection in use. Dropping it closes it: the state of its other end is unknown.
pub(crate) struct Lent<'p> {
    pub connection: Connection,
    _permit: SemaphorePermit<'p>,
}

impl Pool {
    pub fn new(settings: Settings, attempt: Duration, connections: usize) -> Self {
        Pool { settings, attempt, idle: Mutex::default(), free: Semaphore::new(connections), good: AtomicUsize::new(0) }
    }

    /// A connection to the host that takes writes.
    pub async fn take(&self, until: Instant) -> Result<Lent<'_>, Trouble> {
        let permit = timeout_at(until, self.free.acquire()).await;
        let permit = permit.map_err(|_| Trouble::Again("all connections are in use until the deadline".into()))?;
        let permit = permit.map_err(|_| Trouble::Again("the store is closed".into()))?;
        let kept = self.idle().pop();
        let connection = match kept.filter(|kept| !kept.client.is_closed()) {
            Some(kept) => kept,
            None => self.connect(until).await?,
        };
        Ok(Lent { connection, _permit: permit })
    }

    /// Keeps an idle connection.
    pub fn give_back(&self, lent: Lent<'_>) {
        if !lent.connection.client.is_closed() {
            self.idle().push(lent.connection);
        }
    }

    /// Closes the idle connections: their host hangs, or accepts no writes any more.
    pub fn clear(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the hosts in turn, the last good one first, until one takes writes.
    async fn connect(&self, until: Instant) -> Result<Connection, Trouble> {
        let servers = &self.settings.servers;
        let mut said = vec![String::new(); servers.len()];
        loop {
            let (first, mut hopeless, mut passing) = (self.good.load(Ordering::Relaxed), None, false);
            for at in (0..servers.len()).map(|at| (first + at) % servers.len()) {
                let whole = Instant::now() + self.attempt;
                let Ok(opened) = timeout_at(until.min(whole), Connection::open(&self.settings, &servers[at])).await
                else {
                    passing = true;
                    // A host that had less than its time keeps its earlier message.
                    if whole <= until || said[at].is_empty() {
                        said[at] = "it doesn't answer".into();
                    }
                    continue;
                };
                match opened {
                    Ok(connection) => {
                        self.good.store(at, Ordering::Relaxed);
                        return Ok(connection);
                    }
                    Err(Trouble::Final(kind, why)) => {
                        hopeless = hopeless.or(Some(kind));
                        said[at] = why;
                    }
                    Err(Trouble::Again(why) | Trouble::Unknown(why)) => {
                        passing = true;
                        said[at] = why;
                    }
                }
            }
            let told = servers.iter().zip(&said).map(|(server, why)| format!("{}: {why}", server.name));
            let told = format!("no host takes writes: {}", told.collect::<Vec<_>>().join("; "));
            match hopeless {
                Some(kind) if !passing => return Err(Trouble::Final(kind, told)),
                _ if Instant::now() + PAUSE >= until => return Err(Trouble::Again(told)),
                _ => sleep(PAUSE).await,
            }
        }
    }
}
