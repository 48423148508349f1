//! One connection: its server, the server's required settings, and the statements that were prepared on it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, Client, Connection as Driver, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::address::Server;
use crate::schema::{self, Migration, Schema};
use crate::trouble::Trouble;

/// The settings that all connections share.
pub(crate) struct Settings {
    pub servers: Vec<Server>,
    pub tls: MakeRustlsConnect,
    pub schema: Schema,
    /// Whether a synchronous standby is demanded.
    pub standby: bool,
    pub migrate: Migration,
    /// The time limit that the server keeps for each statement.
    pub statement: Duration,
}

pub(crate) struct Connection {
    pub client: Client,
    pub statements: Statements,
    warned: Arc<AtomicBool>,
    driver: AbortHandle,
}

pub(crate) struct Statements {
    pub get: Statement,
    pub list: Statement,
    pub list_to: Statement,
    pub share: Statement,
    pub lock: Statement,
    pub hold: Statement,
    pub put: Statement,
    pub remove: Statement,
    pub clock: Statement,
}

impl Drop for Connection {
    /// Closes the connection at once: the server rolls back uncommitted changes. A polite end would wait for ever if the server hangs.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to a host, if it accepts writes and keeps acknowledged ones.
    pub async fn open(settings: &Settings, server: &Server) -> Result<Self, Trouble> {
        let (client, warned, driver) = connect(settings, server).await?;
        // The next steps may fail: the driver then has to end.
        let guard = Abort(driver);
        check(settings, &client).await?;
        schema::ready(&client, &settings.schema, settings.migrate).await?;
        let statements = prepare(&client, &settings.schema).await.map_err(|e| Trouble::of(&e))?;
        let driver = guard.0.clone();
        std::mem::forget(guard);
        Ok(Connection { client, statements, warned, driver })
    }

    /// Forgets warnings of the server.
    pub fn listen(&self) {
        self.warned.store(false, Ordering::SeqCst);
    }

    /// Whether the server has warned since [`listen`](Self::listen).
    pub fn was_warned(&self) -> bool {
        self.warned.load(Ordering::SeqCst)
    }
}

struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Connected = (Client, Arc<AtomicBool>, AbortHandle);

async fn connect(settings: &Settings, server: &Server) -> Result<Connected, Trouble> {
    let warned = Arc::new(AtomicBool::new(false));
    let plain = server.config.get_ssl_mode() == tokio_postgres::config::SslMode::Disable;
    let (client, driver) = if plain {
        let (client, connection) = server.config.connect(NoTls).await.map_err(|e| Trouble::of(&e))?;
        (client, tokio::spawn(drive(connection, warned.clone())))
    } else {
        let connected = server.config.connect(settings.tls.clone()).await;
        let (client, connection) = connected.map_err(|e| Trouble::of(&e))?;
        (client, tokio::spawn(drive(connection, warned.clone())))
    };
    Ok((client, warned, driver.abort_handle()))
}

/// Moves a connection's bytes until it ends. A warning is kept: after a commit it means that the standby doesn't have it.
async fn drive<S, T>(mut connection: Driver<S, T>, warned: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notice(notice) = message
            && notice.severity() == "WARNING"
        {
            warned.store(true, Ordering::SeqCst);
        }
    }
}

/// Checks the settings that the store's promises need, and sets the server's time limits.
async fn check(settings: &Settings, client: &Client) -> Result<(), Trouble> {
    let limit = settings.statement.as_millis();
    let limits = format!(
        "SET statement_timeout = {limit}; SET lock_timeout = {limit}; SET idle_in_transaction_session_timeout = {limit}; \
         SET client_min_messages = warning"
    );
    client.batch_execute(&limits).await.map_err(|e| Trouble::of(&e))?;
    let names =
        ["transaction_read_only", "fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names"];
    let query = format!("SELECT {}", names.map(|name| format!("current_setting('{name}', true)")).join(", "));
    let row = client.query_one(&query, &[]).await.map_err(|e| Trouble::of(&e))?;
    let setting = |at: usize| row.try_get::<_, Option<&str>>(at).ok().flatten().unwrap_or_default();
    if setting(0) == "on" {
        return Err(Trouble::Again("it takes no writes: it is a standby".into()));
    }
    let refused = |why: &str| Err(Trouble::Final(std::io::ErrorKind::Unsupported, why.into()));
    if setting(1) == "off" || setting(2) == "off" {
        return refused(
            "it runs with fsync or full_page_writes off, so what it acknowledges may be lost: turn both on",
        );
    }
    if settings.standby && setting(4).is_empty() {
        return refused(
            "it has no synchronous standby (synchronous_standby_names is empty), so its loss loses commits that were acknowledged: \
             set one up, or choose `without_standby` if its storage is replicated",
        );
    }
    // `remote_apply` is more than is needed, and was set deliberately.
    if !["on", "remote_apply", ""].contains(&setting(3)) {
        client.batch_execute("SET synchronous_commit = on").await.map_err(|e| Trouble::of(&e))?;
    }
    Ok(())
}

async fn prepare(client: &Client, schema: &Schema) -> Result<Statements, tokio_postgres::Error> {
    let table = schema.records();
    let page = |end: &str| {
        format!("SELECT key, value, revision FROM {table} WHERE key >= $1 AND key > $2{end} ORDER BY key LIMIT $3")
    };
    let get = format!("SELECT key, value, revision FROM {table} WHERE key = ANY($1)");
    let one = |how: &str| format!("SELECT revision FROM {table} WHERE key = $1 FOR {how}");
    let hold =
        format!("INSERT INTO {table} (key, value, revision) VALUES ($1, ''::bytea, 0) ON CONFLICT (key) DO NOTHING");
    let put = format!(
        "UPDATE {table} AS r SET value = d.value, revision = nextval('{}') \
         FROM unnest($1::bytea[], $2::bytea[]) AS d (key, value) WHERE r.key = d.key RETURNING r.key, r.revision",
        schema.revisions()
    );
    let remove = format!("DELETE FROM {table} WHERE key = ANY($1)");
    Ok(Statements {
        get: client.prepare(&get).await?,
        list: client.prepare(&page("")).await?,
        list_to: client.prepare(&page(" AND key < $4")).await?,
        share: client.prepare(&one("SHARE")).await?,
        lock: client.prepare(&one("UPDATE")).await?,
        hold: client.prepare(&hold).await?,
        put: client.prepare(&put).await?,
        remove: client.prepare(&remove).await?,
        clock: client.prepare("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").await?,
    })
}
