//! Helpers that the cases share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::super::shared::{Action, Change, MAX_COMMIT, MAX_PAGE, Outcome, Record, Revision, Store};
use crate::Result;

/// How many threads race, each with a client of its own.
pub const THREADS: usize = 8;

/// A place of its own in the store, for one case.
pub struct World<'w> {
    open: &'w (dyn Fn() -> Box<dyn Store> + Sync),
    case: &'w str,
    prefix: String,
}

impl<'w> World<'w> {
    pub fn new(case: &'w str, open: &'w (dyn Fn() -> Box<dyn Store> + Sync)) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let process = std::process::id();
        World { open, case, prefix: format!("conformance/{case}/{time:x}-{process:x}-{number:x}/") }
    }

    /// Another client.
    pub fn client(&self) -> Client<'_> {
        Client { store: (self.open)(), world: self }
    }

    /// The whole key of a short one.
    pub fn key(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    /// Removes all that the case wrote.
    pub fn clean(&self) {
        let client = self.client();
        loop {
            let page = client.page("", None, MAX_COMMIT);
            let remove = |record: &Record| Change {
                key: self.key(&record.key),
                expected: Some(record.revision),
                action: Action::Remove,
            };
            let changes: Vec<Change> = page.iter().map(remove).collect();
            if changes.is_empty() {
                return;
            }
            client.commits(changes);
        }
    }

    /// Runs `act` in threads that begin together, each with a client and a number, and returns their results.
    pub fn race<T: Send>(&self, threads: usize, act: impl Fn(&Client<'_>, usize) -> T + Sync) -> Vec<T> {
        let start = std::sync::Barrier::new(threads);
        let (start, act) = (&start, &act);
        std::thread::scope(|scope| {
            let run = |number| {
                scope.spawn(move || {
                    let client = self.client();
                    // Some engines connect by the first call.
                    client.value("none");
                    start.wait();
                    act(&client, number)
                })
            };
            let running: Vec<_> = (0..threads).map(run).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
        })
    }
}

/// A client that knows keys by their short names, and takes no error.
pub struct Client<'w> {
    pub store: Box<dyn Store>,
    world: &'w World<'w>,
}

impl Client<'_> {
    pub fn key(&self, short: &str) -> String {
        self.world.key(short)
    }

    fn sound<T>(&self, what: &str, result: Result<T>) -> T {
        result.unwrap_or_else(|e| panic!("case {}: {what} failed, though the server is well: {e:#}", self.world.case))
    }

    pub fn get(&self, short: &[&str]) -> Vec<Option<Record>> {
        let keys: Vec<String> = short.iter().map(|key| self.key(key)).collect();
        let found = self.sound("get", self.store.get(&keys.iter().map(String::as_str).collect::<Vec<_>>()));
        assert_eq!(found.len(), keys.len(), "get answers {} records for {} keys", found.len(), keys.len());
        for (record, key) in found.iter().zip(&keys) {
            let wrong = record.as_ref().filter(|record| record.key != *key);
            assert!(wrong.is_none(), "get answers {wrong:?} where {key:?} was asked for");
        }
        found
    }

    pub fn record(&self, short: &str) -> Option<Record> {
        self.get(&[short]).remove(0)
    }

    pub fn value(&self, short: &str) -> Option<Vec<u8>> {
        self.record(short).map(|record| record.value)
    }

    pub fn revision(&self, short: &str) -> Option<Revision> {
        self.record(short).map(|record| record.revision)
    }

    /// A page, with short keys.
    pub fn page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Record> {
        let after = after.map(|after| self.key(after));
        let mut page = self.sound("list", self.store.list(&self.key(prefix), after.as_deref(), limit));
        assert!(page.len() <= limit, "list answers {} records, and {limit} were asked for", page.len());
        for record in &mut page {
            let short = record.key.strip_prefix(&self.world.prefix);
            record.key =
                short.unwrap_or_else(|| panic!("list answers the key {:?} of another prefix", record.key)).into();
        }
        page
    }

    /// The short keys of all records of a prefix, page by page.
    pub fn all(&self, prefix: &str) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        loop {
            let page = self.page(prefix, keys.last().map(String::as_str), MAX_PAGE);
            let last = page.len() < MAX_PAGE;
            keys.extend(page.into_iter().map(|record| record.key));
            if last {
                return keys;
            }
        }
    }

    pub fn put(&self, short: &str, expected: Option<Revision>, value: &[u8]) -> Change {
        Change { key: self.key(short), expected, action: Action::Put(value.to_vec()) }
    }

    pub fn check(&self, short: &str, expected: Option<Revision>) -> Change {
        Change { key: self.key(short), expected, action: Action::Check }
    }

    pub fn remove(&self, short: &str, expected: Revision) -> Change {
        Change { key: self.key(short), expected: Some(expected), action: Action::Remove }
    }

    /// A commit that isn't an error; `None`: a conflict.
    pub fn try_commit(&self, changes: &[Change]) -> Option<Vec<Revision>> {
        match self.sound("commit", self.store.commit(changes)) {
            Outcome::Committed(revisions) => {
                let puts = changes.iter().filter(|change| matches!(change.action, Action::Put(_))).count();
                assert_eq!(revisions.len(), puts, "commit answers {} revisions for {puts} puts", revisions.len());
                Some(revisions)
            }
            Outcome::Conflict => None,
        }
    }

    /// A commit that has no reason to fail.
    pub fn commits(&self, changes: Vec<Change>) -> Vec<Revision> {
        let done = self.try_commit(&changes);
        done.unwrap_or_else(|| panic!("a commit that expects what was read is a conflict: {changes:?}"))
    }

    /// A commit that has to be a conflict.
    pub fn conflicts(&self, changes: Vec<Change>, why: &str) {
        assert!(self.try_commit(&changes).is_none(), "{why}, and the commit happens: {changes:?}");
    }

    /// Creates a record.
    pub fn create(&self, short: &str, value: &[u8]) -> Revision {
        self.commits(vec![self.put(short, None, value)])[0]
    }
}
