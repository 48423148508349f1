//! Commits: locks first, then decisions, then changes.

use std::time::Duration;

use atrest::managed::store::{Action, Change, Outcome, Revision};
use futures_util::future::{join, join_all};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::error::SqlState;

use crate::connection::Connection;
use crate::pool::Pool;
use crate::reads::within;
use crate::trouble::{Trouble, lost_a_race, others_were_first, text};

/// The least time that another attempt has to have.
const LEAST: Duration = Duration::from_millis(50);

/// A commit of checked changes.
pub(crate) async fn commit(pool: &Pool, until: Instant, changes: Vec<Change>) -> Result<Outcome, Trouble> {
    // In the order of the keys, so that two commits never wait for each other.
    let mut order: Vec<usize> = (0..changes.len()).collect();
    order.sort_by(|one, two| changes[*one].key.as_bytes().cmp(changes[*two].key.as_bytes()));
    let order: Vec<&Change> = order.into_iter().map(|at| &changes[at]).collect();
    loop {
        let lent = pool.take(until).await?;
        let why = match attempt(&lent.connection, until, pool.attempt, &changes, &order).await {
            Ok(Some(outcome)) => {
                pool.give_back(lent);
                return Ok(outcome);
            }
            // Lost a race: the transaction was undone, and the connection is sound.
            Ok(None) => {
                let undone = within(until, lent.connection.client.batch_execute("ROLLBACK")).await;
                if undone.is_ok() {
                    pool.give_back(lent);
                }
                "others changed the same records until the deadline".into()
            }
            Err(Trouble::Again(why)) => {
                drop(lent);
                pool.clear();
                why
            }
            Err(trouble) => {
                drop(lent);
                pool.clear();
                return Err(trouble);
            }
        };
        if Instant::now() + LEAST >= until {
            return Err(Trouble::Again(why));
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// One attempt. `None`: it lost a race, and the transaction has to be ended.
async fn attempt(
    on: &Connection,
    until: Instant,
    longest: Duration,
    changes: &[Change],
    order: &[&Change],
) -> Result<Option<Outcome>, Trouble> {
    let (client, statements) = (&on.client, &on.statements);
    // The steps before the `COMMIT` may be given up, and repeated elsewhere.
    let limit = until.min(Instant::now() + longest);
    // 1. Begin, and read the server's clock. This side's clock isn't looked at: the two may differ by minutes.
    let begin = client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED");
    let answers = timeout_at(limit, join(begin, client.query_one(&statements.clock, &[]))).await;
    let (begun, clock) = answers.map_err(|_| Trouble::Again("the server doesn't answer in time".into()))?;
    begun.map_err(|e| Trouble::of(&e))?;
    let clock: i64 = clock.and_then(|row| row.try_get(0)).map_err(|e| Trouble::of(&e))?;
    let left = until.saturating_duration_since(Instant::now());
    // The server had read its clock before its answer arrived, so this is the deadline, or earlier.
    let last = clock.saturating_add(i64::try_from(left.as_micros()).unwrap_or(i64::MAX));

    // 2. Hold all keys, and see whether they are as expected.
    let held = join_all(order.iter().map(|change| hold(on, change)));
    let held = timeout_at(limit, held).await.map_err(|_| Trouble::Again("locks weren't had in time".into()))?;
    for (change, held) in order.iter().zip(held) {
        match held {
            Ok(found) if found == change.expected => {}
            Ok(_) => {
                within(limit, client.batch_execute("ROLLBACK")).await?;
                return Ok(Some(Outcome::Conflict));
            }
            Err(e) if others_were_first(&e) => return Ok(None),
            // After an error all others fail, for that reason.
            Err(e) if e.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {}
            Err(e) => return Err(Trouble::of(&e)),
        }
    }

    // 3. Change them.
    let puts = order.iter().filter_map(|change| match &change.action {
        Action::Put(value) => Some((change.key.as_bytes(), value.as_slice())),
        _ => None,
    });
    let (keys, values): (Vec<&[u8]>, Vec<&[u8]>) = puts.unzip();
    let is_gone = |change: &&&Change| match change.action {
        Action::Remove => true,
        // It was inserted so that no other commit inserts it.
        Action::Check => change.expected.is_none(),
        Action::Put(_) => false,
    };
    let gone: Vec<&[u8]> = order.iter().filter(is_gone).map(|change| change.key.as_bytes()).collect();
    let mut revisions = Vec::new();
    if !keys.is_empty() {
        match timeout_at(limit, client.query(&statements.put, &[&keys, &values])).await {
            Err(_) => return Err(Trouble::Again("the server doesn't answer in time".into())),
            Ok(Err(e)) if others_were_first(&e) => return Ok(None),
            Ok(rows) => {
                for row in rows.map_err(|e| Trouble::of(&e))? {
                    let key: Vec<u8> = row.try_get(0).map_err(|e| Trouble::of(&e))?;
                    let revision: i64 = row.try_get(1).map_err(|e| Trouble::of(&e))?;
                    revisions.push((key, Revision(revision.unsigned_abs())));
                }
            }
        }
    }
    if !gone.is_empty() {
        match timeout_at(limit, client.execute(&statements.remove, &[&gone])).await {
            Err(_) => return Err(Trouble::Again("the server doesn't answer in time".into())),
            Ok(Err(e)) if others_were_first(&e) => return Ok(None),
            Ok(count) => {
                if count.map_err(|e| Trouble::of(&e))? != gone.len() as u64 {
                    return Err(Trouble::Again("a locked row was gone".into()));
                }
            }
        }
    }
    let revision = |change: &Change| {
        let is_it = |(key, _): &&(Vec<u8>, Revision)| key == change.key.as_bytes();
        revisions.iter().find(is_it).map(|(_, revision)| *revision)
    };
    let is_put = |change: &&Change| matches!(change.action, Action::Put(_));
    let revisions: Option<Vec<Revision>> = changes.iter().filter(is_put).map(revision).collect();
    let revisions = revisions.ok_or_else(|| Trouble::Again("a locked row was gone".into()))?;

    // 4. Commit, unless the deadline is over when the server comes to it: this may lie in its queue for long.
    on.listen();
    let end = format!(
        "SELECT 1 / CASE WHEN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint < {last} THEN 1 ELSE 0 END; COMMIT"
    );
    match timeout_at(until, client.batch_execute(&end)).await {
        Err(_) => Err(Trouble::Unknown("the server doesn't answer a commit".into())),
        Ok(Ok(())) if on.was_warned() => {
            // Such as a standby that was given up on by an administrator.
            Err(Trouble::Unknown("the server warned that the commit isn't on a standby".into()))
        }
        Ok(Ok(())) => Ok(Some(Outcome::Committed(revisions))),
        Ok(Err(e)) if lost_a_race(&e) => Ok(None),
        Ok(Err(e)) if e.code() == Some(&SqlState::DIVISION_BY_ZERO) => {
            Err(Trouble::Again("the deadline was over before the commit".into()))
        }
        Ok(Err(e)) => Err(Trouble::Unknown(text(&e))),
    }
}

/// Locks a record, and returns its revision. One that is expected to be absent is inserted, without a revision.
async fn hold(on: &Connection, change: &Change) -> Result<Option<Revision>, tokio_postgres::Error> {
    let key = change.key.as_bytes();
    if change.expected.is_none() {
        let inserted = on.client.execute(&on.statements.hold, &[&key]).await?;
        // The revision of an existing one doesn't matter.
        return Ok((inserted == 0).then_some(Revision(0)));
    }
    let how = if change.action == Action::Check { &on.statements.share } else { &on.statements.lock };
    let row = on.client.query_opt(how, &[&key]).await?;
    row.map(|row| Ok(Revision(row.try_get::<_, i64>(0)?.unsigned_abs()))).transpose()
}
