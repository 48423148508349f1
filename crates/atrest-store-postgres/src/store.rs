//! The store: calls that block, over the runtime that doesn't.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use atrest::managed::store::{Change, Outcome, Record, Store, check_commit, check_get, check_list};
use atrest::{Error, NotInherited, OwningProcess, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout_at};

use crate::PostgresOptions;
use crate::address::{servers, tls};
use crate::connection::Settings;
use crate::pool::Pool;
use crate::schema::{Migration, Schema};
use crate::trouble::Trouble;
use crate::{commit, reads};

/// How much later than its own time limit a call is given up.
const SLACK: Duration = Duration::from_millis(20);

/// A store in PostgreSQL. Many threads may use it at once. A forked child opens one of its own: its parent's connections
/// belong to a thread that isn't there.
pub struct PostgresStore {
    owner: OwningProcess,
    pool: NotInherited<Arc<Pool>>,
    /// Taken when it is dropped.
    runtime: Option<NotInherited<Runtime>>,
    deadline: Duration,
}

impl PostgresStore {
    /// Connects to the host that takes writes, and makes the tables if they aren't there.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for options that make no sense; [`Error::Io`] if no host takes writes by the deadline, if it
    /// refuses the user, has no synchronous standby, or has tables of a later release.
    pub fn open(options: &PostgresOptions) -> Result<Self> {
        let migration = if options.migrate { Migration::Allowed } else { Migration::Refused };
        Self::opened(options, migration)
    }

    /// Makes the tables, or brings them up to date, and returns. The role has to own them; those that use the store then need
    /// fewer rights. Services that run may go on meanwhile, unless a release says otherwise.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn migrate(options: &PostgresOptions) -> Result<()> {
        Self::opened(options, Migration::Allowed).map(drop)
    }

    fn opened(options: &PostgresOptions, migrate: Migration) -> Result<Self> {
        // Two attempts at each of two hosts. Logging in alone takes a while: passwords are stretched.
        let attempt = (options.deadline / 4).max(Duration::from_secs(1).min(options.deadline / 2));
        let attempt = attempt.min(Duration::from_secs(5));
        let settings = Settings {
            servers: servers(options, attempt)?,
            tls: tls(options)?,
            schema: Schema::new(&options.schema)?,
            standby: options.standby,
            migrate,
            statement: attempt,
        };
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).max_blocking_threads(4).thread_name("atrest-postgres").enable_all();
        let runtime = builder.build();
        let runtime =
            runtime.map_err(|source| Error::Io { what: "starting a thread for PostgreSQL".into(), source })?;
        let pool = NotInherited::new(Arc::new(Pool::new(settings, attempt, options.connections)));
        let runtime = Some(NotInherited::new(runtime));
        let store = PostgresStore { owner: OwningProcess::current(), pool, runtime, deadline: options.deadline };
        store.call("opening a store", |pool, until| async move {
            let lent = pool.take(until).await?;
            pool.give_back(lent);
            Ok(())
        })?;
        Ok(store)
    }

    /// Does something on the runtime's thread, and waits for it by the deadline.
    fn call<T, F>(&self, what: &str, act: impl FnOnce(Arc<Pool>, Instant) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        let late = || Trouble::Unknown("the deadline is over".into());
        // A little earlier, so that the error with more detail comes first.
        let until = Instant::now() + self.deadline.mul_f64(0.95);
        let (sender, receiver) = sync_channel(1);
        let act = act(Arc::clone(&self.pool), until);
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move {
                let answer = timeout_at(until + SLACK, act).await.unwrap_or_else(|_| Err(late()));
                // The caller may have gone.
                let _ = sender.send(answer);
            });
        }
        let answer = receiver.recv_timeout(self.deadline).unwrap_or_else(|_| Err(late()));
        answer.map_err(|trouble| trouble.into_error(what))
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take().and_then(NotInherited::into_inner) else { return };
        self.pool.clear();
        // It doesn't wait: a name's resolution may hang.
        runtime.shutdown_background();
    }
}

impl Store for PostgresStore {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        self.owner.check()?;
        check_get(keys)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self.call("reading records", |pool, until| async move { reads::get(&pool, until, keys).await })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        self.owner.check()?;
        check_list(prefix, after, limit)?;
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.call("listing records", move |pool, until| async move {
            reads::list(&pool, until, &prefix, after, limit).await
        })
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome> {
        self.owner.check()?;
        check_commit(changes)?;
        if changes.is_empty() {
            return Ok(Outcome::Committed(Vec::new()));
        }
        let changes = changes.to_vec();
        self.call("committing changes", |pool, until| async move { commit::commit(&pool, until, changes).await })
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> = self.pool.settings.servers.iter().map(|server| server.name.as_str()).collect();
        f.debug_struct("PostgresStore").field("hosts", &hosts).finish_non_exhaustive()
    }
}
