//! Reading, which may be done again.

use std::collections::HashMap;
use std::future::Future;

use atrest::managed::store::{Record, Revision};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::connection::Statements;
use crate::pool::Pool;
use crate::trouble::Trouble;

/// Between two attempts.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

pub(crate) async fn get(pool: &Pool, until: Instant, keys: Vec<String>) -> Result<Vec<Option<Record>>, Trouble> {
    let bytes: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    // One statement sees one moment.
    let rows = again(pool, until, |statements| &statements.get, &[&bytes]).await?;
    let found = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let mut found: HashMap<String, Record> = found.into_iter().map(|record| (record.key.clone(), record)).collect();
    let last = |at: usize| !keys[at + 1..].contains(&keys[at]);
    let mut answer = Vec::with_capacity(keys.len());
    for (at, key) in keys.iter().enumerate() {
        answer.push(if last(at) { found.remove(key) } else { found.get(key).cloned() });
    }
    Ok(answer)
}

pub(crate) async fn list(
    pool: &Pool,
    until: Instant,
    prefix: &str,
    after: Option<String>,
    limit: usize,
) -> Result<Vec<Record>, Trouble> {
    let (first, after) = (prefix.as_bytes(), after.unwrap_or_default().into_bytes());
    // The limit of a page.
    let (limit, end) = (limit as i64, end(prefix));
    let rows = match &end {
        Some(end) => again(pool, until, |statements| &statements.list_to, &[&first, &after, &limit, end]).await?,
        None => again(pool, until, |statements| &statements.list, &[&first, &after, &limit]).await?,
    };
    rows.iter().map(record).collect()
}

/// The first bytes after all keys of a prefix; `None` if there are none.
fn end(prefix: &str) -> Option<Vec<u8>> {
    let mut end = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is 0xff.
    *end.last_mut()? += 1;
    Some(end)
}

fn record(row: &Row) -> Result<Record, Trouble> {
    let strange = |_| Trouble::Final(std::io::ErrorKind::InvalidData, "a record isn't of this store's form".into());
    let key: Vec<u8> = row.try_get(0).map_err(strange)?;
    let revision: i64 = row.try_get(2).map_err(strange)?;
    let key = String::from_utf8(key);
    let key = key.map_err(|_| Trouble::Final(std::io::ErrorKind::InvalidData, "a record's key isn't UTF-8".into()))?;
    // The sequence begins at 1.
    Ok(Record { key, value: row.try_get(1).map_err(strange)?, revision: Revision(revision.unsigned_abs()) })
}

/// Asks, and repeats on another connection while the failure is transient.
async fn again(
    pool: &Pool,
    until: Instant,
    which: fn(&Statements) -> &Statement,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Trouble> {
    loop {
        let lent = pool.take(until).await?;
        let limit = until.min(Instant::now() + pool.attempt);
        let why = match within(limit, lent.connection.client.query(which(&lent.connection.statements), values)).await {
            Ok(rows) => {
                pool.give_back(lent);
                return Ok(rows);
            }
            Err(Trouble::Again(why)) => why,
            Err(trouble) => return Err(trouble),
        };
        drop(lent);
        pool.clear();
        if Instant::now() + PAUSE >= until {
            return Err(Trouble::Again(why));
        }
        sleep(PAUSE).await;
    }
}

/// Waits for an answer, but not beyond a limit.
pub(crate) async fn within<T>(
    limit: Instant,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Trouble> {
    match timeout_at(limit, asked).await {
        Ok(answer) => answer.map_err(|e| Trouble::of(&e)),
        Err(_) => Err(Trouble::Again("the server doesn't answer in time".into())),
    }
}
