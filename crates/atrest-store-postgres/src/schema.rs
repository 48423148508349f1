//! The tables, and how they come to be.

use std::time::Duration;

use atrest::{Error, Result};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::trouble::{Trouble, made_at_once, text};

/// The statements that each version adds to the one before. Those of a released version are never altered.
const MIGRATIONS: [&str; 1] = [
    // Keys are bytes: their order is the same in every locale, and in a database of any encoding. CACHE 1: a session that
    // keeps numbers in store would give a later change a smaller revision.
    "CREATE TABLE {schema}.records (key bytea PRIMARY KEY, value bytea NOT NULL, revision bigint NOT NULL);
     CREATE SEQUENCE {schema}.revisions CACHE 1",
];

/// How often migrating is begun again when others do it at the same time.
const MOST_RACES: u32 = 50;

/// Whether a connection may change the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Migration {
    /// It makes them and brings them up to date.
    Allowed,
    /// They have to be there.
    Refused,
}

/// The name of the schema. It stands in statements as it is.
#[derive(Debug, Clone)]
pub(crate) struct Schema(String);

impl Schema {
    pub fn new(name: &str) -> Result<Self> {
        let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > 63 || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(sound) {
            return Err(Error::InvalidOption(format!(
                "the schema {name:?} isn't possible: take at most 63 lower-case letters, digits and _"
            )));
        }
        Ok(Schema(name.into()))
    }

    pub fn records(&self) -> String {
        format!("\"{}\".records", self.0)
    }

    pub fn revisions(&self) -> String {
        format!("\"{}\".revisions", self.0)
    }

    fn version(&self) -> String {
        format!("\"{}\".version", self.0)
    }
}

/// Sees to it that the tables are those of this release.
pub(crate) async fn ready(client: &Client, schema: &Schema, migration: Migration) -> Result<(), Trouble> {
    for race in 0.. {
        let found = version(client, schema).await?;
        let wanted = MIGRATIONS.len() as i32;
        if found == wanted {
            return Ok(());
        }
        let refused = |why: String| Err(Trouble::Final(std::io::ErrorKind::Unsupported, why));
        if found > wanted {
            return refused(format!(
                "its tables have version {found}, of a later release, and this one knows {wanted}: upgrade it"
            ));
        }
        if migration == Migration::Refused {
            return refused(format!(
                "its tables have version {found}, and {wanted} is needed: migrate them as their owner"
            ));
        }
        match migrate(client, schema).await {
            Ok(()) => {}
            Err(e) => {
                // A failed transaction allows nothing else.
                let _ = client.batch_execute("ROLLBACK").await;
                match made_at_once(&e) {
                    Some(_) if race < MOST_RACES => tokio::time::sleep(Duration::from_millis(20)).await,
                    Some(why) => return Err(Trouble::Again(why)),
                    None => return Err(Trouble::of(&e)),
                }
            }
        }
    }
    unreachable!("the loop has no end of its own")
}

/// The version of the tables; 0 if there are none.
async fn version(client: &Client, schema: &Schema) -> Result<i32, Trouble> {
    match client.query_opt(&format!("SELECT version FROM {}", schema.version()), &[]).await {
        Ok(row) => Ok(row.map_or(0, |row| row.get(0))),
        Err(e) if e.code() == Some(&SqlState::UNDEFINED_TABLE) || e.code() == Some(&SqlState::INVALID_SCHEMA_NAME) => {
            Ok(0)
        }
        Err(e) if e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            Err(Trouble::Final(std::io::ErrorKind::PermissionDenied, text(&e)))
        }
        Err(e) => Err(Trouble::of(&e)),
    }
}

/// Migrates the tables in one transaction. If several hosts do so at once, one does it; the others wait for its row or find its tables.
async fn migrate(client: &Client, schema: &Schema) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    // `CREATE SCHEMA IF NOT EXISTS` needs the right to make schemas even if there is one.
    if client.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&schema.0]).await?.is_none() {
        client.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", schema.0)).await?;
    }
    let table = schema.version();
    let first = format!(
        "CREATE TABLE IF NOT EXISTS {table} (one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL);
         INSERT INTO {table} (version) VALUES (0) ON CONFLICT (one) DO NOTHING"
    );
    client.batch_execute(&first).await?;
    let found: i32 = client.query_one(&format!("SELECT version FROM {table} FOR UPDATE"), &[]).await?.get(0);
    let done = usize::try_from(found).unwrap_or(MIGRATIONS.len());
    for step in MIGRATIONS.iter().skip(done) {
        client.batch_execute(&step.replace("{schema}", &format!("\"{}\"", schema.0))).await?;
    }
    if done < MIGRATIONS.len() {
        client.batch_execute(&format!("UPDATE {table} SET version = {}", MIGRATIONS.len())).await?;
    }
    client.batch_execute("COMMIT").await
}
