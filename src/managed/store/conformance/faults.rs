//! A server that hangs, and an answer that is lost.

use std::time::{Duration, Instant};

use super::super::shared::{Outcome, Store};
use super::world::{Client, World};
use crate::Error;

/// How much later than its deadline a call may return where the machine has much to do.
const SLACK: Duration = Duration::from_secs(2);

/// The faults that a test can inject into the server below a store.
pub trait Faults: Sync {
    /// The server stops at any point, as by `SIGSTOP`: connections stay, and nothing is answered.
    fn hang(&self);

    /// It goes on.
    fn resume(&self);

    /// From now on the server executes commits but its answers to them are lost, until [`restore`](Self::restore).
    fn lose_answers(&self);

    /// Answers arrive again.
    fn restore(&self);
}

type Case = fn(&World<'_>, &dyn Faults);

/// Runs the cases that need a server that fails. `open` opens a client whose calls go where `faults` has power over them.
///
/// # Panics
/// If one fails.
pub fn run_faults<S: Store + 'static>(open: impl Fn() -> S + Sync, faults: &dyn Faults) {
    let open = || Box::new(open()) as Box<dyn Store>;
    let cases: [(&str, Case); 2] = [("hung", hung), ("lost_answers", lost_answers)];
    for (name, case) in cases {
        let world = World::new(name, &open);
        case(&world, faults);
        world.clean();
    }
}

/// Resumes and restores the server when it is dropped, also after a panic.
struct Resume<'f>(&'f dyn Faults);

impl Drop for Resume<'_> {
    fn drop(&mut self) {
        self.0.resume();
        self.0.restore();
    }
}

/// All calls end by the deadline with an error while the server hangs. Their commits don't happen after the deadline.
fn hung(world: &World<'_>, faults: &dyn Faults) {
    let client = world.client();
    let revision = client.create("a", b"before");
    let deadline = client.store.deadline();
    let resume = Resume(faults);
    faults.hang();
    let begin = Instant::now();
    let (store, key) = (&client.store, client.key("a"));
    let (key, late) = ([key.as_str()], [client.put("a", Some(revision), b"late")]);
    let timed = |what: &str, act: &dyn Fn() -> Result<(), Error>| {
        let start = Instant::now();
        let result = act();
        let took = start.elapsed();
        assert!(matches!(result, Err(Error::Io { .. })), "{what} on a hung server isn't Error::Io: {result:?}");
        assert!(took <= deadline + SLACK, "{what} on a hung server took {took:?}, the deadline is {deadline:?}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| timed("list", &|| store.list("", None, 1).map(drop)));
        scope.spawn(|| timed("get", &|| store.get(&key).map(drop)));
        scope.spawn(|| timed("commit", &|| store.commit(&late).map(drop)));
    });
    // The deadline counts from the beginning of the call.
    std::thread::sleep((deadline + Duration::from_millis(200)).saturating_sub(begin.elapsed()));
    drop(resume);
    let value = settled(&client);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(settled(&client), value, "a commit that failed happened after the deadline");
    let now = client.revision("a");
    client.commits(vec![client.put("a", now, b"after")]);
}

/// Reads until the server is well again.
fn settled(client: &Client<'_>) -> Vec<u8> {
    let start = Instant::now();
    loop {
        match client.store.get(&[&client.key("a")]) {
            Ok(found) => return found[0].as_ref().map(|record| record.value.clone()).unwrap_or_default(),
            Err(e) => assert!(start.elapsed() < Duration::from_secs(60), "the store doesn't come back: {e:#}"),
        }
    }
}

/// A commit whose answer is lost is an error, and neither a conflict nor a commit. Reading tells the outcome.
fn lost_answers(world: &World<'_>, faults: &dyn Faults) {
    let client = world.client();
    let restore = Resume(faults);
    for round in 0..3 {
        let (key, other) = (format!("k/{round}"), format!("other/{round}"));
        let changes = [client.put(&key, None, b"made"), client.put(&other, None, b"made")];
        faults.lose_answers();
        let result = client.store.commit(&changes);
        faults.restore();
        assert!(matches!(result, Err(Error::Io { .. })), "a commit whose answer was lost isn't Error::Io: {result:?}");
        let start = Instant::now();
        let both = loop {
            match client.store.get(&[&changes[0].key, &changes[1].key]) {
                Ok(found) => break found,
                Err(e) => assert!(start.elapsed() < Duration::from_secs(60), "the store doesn't come back: {e:#}"),
            }
        };
        let there = both.iter().filter(|record| record.is_some()).count();
        assert_ne!(there, 1, "half of a commit happened");
        let again = client.store.commit(&changes);
        let outcome = again.unwrap_or_else(|e| panic!("the store is of no use after a lost answer: {e:#}"));
        assert_eq!(outcome == Outcome::Conflict, there == 2, "reading and committing tell of different outcomes");
    }
    drop(restore);
}
