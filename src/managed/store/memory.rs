//! A store in memory, for tests and simulations, that fails when it is told to.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::limits::{check_commit, check_get, check_list};
use super::shared::{Action, Change, Outcome, Record, Revision, Store};
use crate::{Error, Result};

/// A store in memory. A clone is another client of the same records: services of a test that share clones are like hosts
/// that share a server.
///
/// It fails by order, as networks and servers do:
///
/// ```
/// use atrest::managed::store::{Action, Change, Fault, MemoryStore, Outcome, Store};
///
/// let store = MemoryStore::new();
/// let change = Change { key: "disk/1".into(), expected: None, action: Action::Put(b"record".to_vec()) };
/// store.fail_next(Fault::After);
/// // The commit happened, and its answer was lost.
/// assert!(store.commit(&[change.clone()]).is_err());
/// assert_eq!(store.get(&["disk/1"])?[0].as_ref().unwrap().value, b"record");
/// assert_eq!(store.commit(&[change])?, Outcome::Conflict);
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    deadline: Duration,
}

struct Shared {
    state: Mutex<State>,
    /// Asked before each call.
    faults: Mutex<Rule>,
}

type Rule = Box<dyn FnMut(Call<'_>) -> Option<Fault> + Send>;

#[derive(Default)]
struct State {
    records: BTreeMap<String, (Vec<u8>, Revision)>,
    last: u64,
    ordered: Vec<Fault>,
    late: Vec<Vec<Change>>,
}

/// A call of a [`MemoryStore`] that a fault may befall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call<'c> {
    /// [`Store::get`], with its keys.
    Get(&'c [&'c str]),
    /// [`Store::list`], with its prefix.
    List(&'c str),
    /// [`Store::commit`], with its changes.
    Commit(&'c [Change]),
}

/// How a call of a [`MemoryStore`] fails. The error is [`Error::Io`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It fails, and nothing happens: the server wasn't reached.
    Before,
    /// It fails, but a commit has happened: the answer was lost.
    After,
    /// It fails. A commit happens, or meets a conflict, when [`MemoryStore::deliver`] is called: it was under way.
    Late,
    /// It takes so long. Where that is the deadline or more, it takes the deadline, and fails as by [`Before`](Self::Before).
    Slow(Duration),
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store with a deadline of 10 s.
    pub fn new() -> Self {
        let shared = Shared { state: Mutex::default(), faults: Mutex::new(Box::new(|_| None)) };
        MemoryStore { shared: Arc::new(shared), deadline: Duration::from_secs(10) }
    }

    /// Sets the deadline of this client.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes the next call fail, of whatever client. Faults that are ordered several times befall one call each.
    pub fn fail_next(&self, fault: Fault) {
        self.state().ordered.push(fault);
    }

    /// Decides for each call from now on whether it fails. It isn't asked while faults of [`fail_next`](Self::fail_next) are left,
    /// and replaces the function set before. It runs alone, and may not call the store.
    pub fn set_faults(&self, faults: impl FnMut(Call<'_>) -> Option<Fault> + Send + 'static) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(faults);
    }

    /// Lets the commits of [`Fault::Late`] happen, in their order. Returns how each ended, which nobody was told.
    pub fn deliver(&self) -> Vec<Outcome> {
        let mut state = self.state();
        let late = std::mem::take(&mut state.late);
        late.iter().map(|changes| state.commit(changes)).collect()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.state().records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something under the fault that befalls it.
    fn call<T>(&self, call: Call<'_>, act: impl FnOnce(&mut State) -> T) -> Result<T> {
        let failed = |why: &str| {
            let source = std::io::Error::new(std::io::ErrorKind::TimedOut, why);
            Err(Error::Io { what: "a call of a store in memory".into(), source })
        };
        let mut state = self.state();
        let ordered = (!state.ordered.is_empty()).then(|| state.ordered.remove(0));
        drop(state);
        let fault = ordered.or_else(|| (self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner))(call));
        match fault {
            None => Ok(act(&mut self.state())),
            Some(Fault::Before) => failed("the server wasn't reached, as was ordered"),
            Some(Fault::After) => {
                act(&mut self.state());
                failed("the answer was lost, as was ordered")
            }
            Some(Fault::Late) => {
                if let Call::Commit(changes) = call {
                    self.state().late.push(changes.to_vec());
                }
                failed("the answer was lost, as was ordered")
            }
            Some(Fault::Slow(time)) => {
                std::thread::sleep(time.min(self.deadline));
                if time >= self.deadline {
                    return failed("the deadline is over, as was ordered");
                }
                Ok(act(&mut self.state()))
            }
        }
    }
}

impl State {
    fn record(&self, key: &str) -> Option<Record> {
        let (value, revision) = self.records.get(key)?;
        Some(Record { key: key.to_owned(), value: value.clone(), revision: *revision })
    }

    fn commit(&mut self, changes: &[Change]) -> Outcome {
        let is_expected = |change: &Change| self.records.get(&change.key).map(|found| found.1) == change.expected;
        if !changes.iter().all(is_expected) {
            return Outcome::Conflict;
        }
        let mut put = Vec::new();
        for Change { key, action, .. } in changes {
            match action {
                Action::Check => {}
                Action::Put(value) => {
                    self.last += 1;
                    self.records.insert(key.clone(), (value.clone(), Revision(self.last)));
                    put.push(Revision(self.last));
                }
                Action::Remove => drop(self.records.remove(key)),
            }
        }
        Outcome::Committed(put)
    }
}

impl Store for MemoryStore {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        check_get(keys)?;
        self.call(Call::Get(keys), |state| keys.iter().map(|key| state.record(key)).collect())
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        check_list(prefix, after, limit)?;
        self.call(Call::List(prefix), |state| {
            let first = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
            let keys = state.records.range::<str, _>((first, Bound::Unbounded)).map(|(key, _)| key);
            let page = keys.take_while(|key| key.starts_with(prefix)).take(limit);
            page.filter_map(|key| state.record(key)).collect()
        })
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome> {
        check_commit(changes)?;
        self.call(Call::Commit(changes), |state| state.commit(changes))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("records", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    fn put(key: &str, expected: Option<Revision>) -> Change {
        Change { key: key.into(), expected, action: Action::Put(b"new".to_vec()) }
    }

    #[test]
    fn it_passes_the_conformance_suite() {
        let store = MemoryStore::new();
        conformance::run(|| store.clone());
        assert!(store.is_empty(), "the suite leaves records behind");
    }

    #[test]
    fn faults_befall_one_call_each() {
        let store = MemoryStore::new().with_deadline(Duration::from_millis(5));
        for (fault, happens) in [
            (Fault::Before, false),
            (Fault::After, true),
            (Fault::Late, false),
            (Fault::Slow(Duration::from_secs(3600)), false),
        ] {
            store.fail_next(fault);
            let key = format!("{fault:?}");
            assert!(matches!(store.commit(&[put(&key, None)]), Err(Error::Io { .. })));
            assert_eq!(store.get(&[&key]).unwrap()[0].is_some(), happens, "{key}");
        }
        store.fail_next(Fault::Slow(Duration::from_millis(1)));
        assert!(store.get(&["a"]).is_ok());
    }

    #[test]
    fn late_commits_happen_when_they_are_delivered_or_meet_a_conflict() {
        let store = MemoryStore::new();
        for key in ["one", "two"] {
            store.fail_next(Fault::Late);
            assert!(store.commit(&[put(key, None)]).is_err());
        }
        store.commit(&[put("two", None)]).unwrap();
        assert_eq!(store.deliver(), [Outcome::Committed(vec![Revision(2)]), Outcome::Conflict]);
        assert_eq!(store.deliver(), []);
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn a_rule_decides_by_the_call() {
        let store = MemoryStore::new();
        store.set_faults(|call| matches!(call, Call::List("disk/")).then_some(Fault::Before));
        assert!(store.list("disk/", None, 1).is_err());
        assert!(store.list("set/", None, 1).is_ok() && store.commit(&[put("a", None)]).is_ok());
    }
}
