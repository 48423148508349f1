//! The store.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use atrest::managed::store::{Action, Change, Outcome, Record, Revision, Store, check_commit, check_get, check_list};
use atrest::{Error, Result};
use atrest_http::{Cached, Client, Deadline, base64, check_address};

use crate::EtcdOptions;
use crate::api::{Compare, Done, Found, Key, Operation, Put, Range, Transaction};
use crate::server::{Repeat, Server};
use crate::session::Sessions;
use crate::trouble::Trouble;

/// A store in etcd. Many threads may use it at once. A forked child opens one of its own.
pub struct EtcdStore {
    server: Server,
    sessions: Sessions,
    /// The prefix of the records' keys.
    prefix: String,
    deadline: Duration,
}

impl EtcdStore {
    /// Connects, logs in, and reads once.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for options that make no sense; [`Error::Io`] if most members can't be reached, or refuse the
    /// user.
    pub fn open(options: &EtcdOptions) -> Result<Self> {
        if options.endpoints.is_empty() {
            return Err(Error::InvalidOption("a cluster has members: name their addresses".into()));
        }
        let mut endpoints = Vec::new();
        for address in &options.endpoints {
            let address = address.trim_end_matches('/');
            check_address(address).map_err(|e| Error::InvalidOption(format!("the member {address:?}: {e}")))?;
            endpoints.push(address.to_owned());
        }
        if !options.prefix.ends_with('/') || options.prefix.len() > 256 || options.prefix.chars().any(char::is_control)
        {
            let why = "a prefix of at most 256 bytes that ends with a slash";
            return Err(Error::InvalidOption(format!("the keys of a fleet need {why}, not {:?}", options.prefix)));
        }
        let half = options.deadline / 2;
        let attempt = (half / 4).min(Duration::from_secs(3));
        let http = options.http.clone().attempt_timeout(half).connect_timeout(attempt);
        let client = Client::new(&http).map_err(|e| Error::InvalidOption(e.to_string()))?;
        let server = Server {
            client,
            endpoints,
            user: options.user.clone(),
            token: Cached::new(),
            attempt,
            good: AtomicUsize::new(0),
        };
        let store = EtcdStore {
            server,
            sessions: Sessions::new(format!("{}s/", options.prefix), options.deadline),
            prefix: format!("{}r/", options.prefix),
            deadline: options.deadline,
        };
        store.list("", None, 1)?;
        Ok(store)
    }

    /// The end of a call that begins now: the other half of the deadline is for its late effects.
    fn until(&self) -> Deadline {
        Deadline::after((self.deadline / 2).mul_f64(0.95))
    }

    fn key(&self, key: &str) -> String {
        base64(format!("{}{key}", self.prefix).as_bytes())
    }

    fn read_all(&self, keys: &[&str]) -> Result<Vec<Option<Record>>, Trouble> {
        let until = self.until();
        self.sessions.settle(&self.server, until)?;
        let range = |key: &&str| Operation::Range(Range { key: self.key(key), ..Range::default() });
        let transaction = Transaction { success: keys.iter().map(range).collect(), ..Transaction::default() };
        let done: Done = self.server.ask(until, "kv/txn", &transaction, Repeat::Yes)?;
        let other = || Trouble::Final(std::io::ErrorKind::InvalidData, "the answer is one to another question".into());
        if done.responses.len() != keys.len() {
            return Err(other());
        }
        let mut records = Vec::with_capacity(keys.len());
        for (answer, key) in done.responses.into_iter().zip(keys) {
            let found = answer.response_range.ok_or_else(other)?.kvs.into_iter().next();
            let record = found.map(|pair| pair.record(&self.prefix)).transpose()?;
            if record.as_ref().is_some_and(|record| record.key != *key) {
                return Err(other());
            }
            records.push(record);
        }
        Ok(records)
    }

    /// A page, in pieces where it is large: all as of the revision of the first.
    fn read_page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>, Trouble> {
        let until = self.until();
        self.sessions.settle(&self.server, until)?;
        let first = format!("{}{prefix}", self.prefix);
        let mut end = first.clone().into_bytes();
        // The prefix isn't empty, and no byte of UTF-8 is 0xff.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let mut start = match after {
            Some(after) if after >= prefix => format!("{}{after}\0", self.prefix),
            _ => first,
        };
        let (mut page, mut piece, mut revision) = (Vec::new(), limit, String::new());
        while page.len() < limit && start.as_bytes() < end.as_slice() {
            let range = Range {
                key: base64(start.as_bytes()),
                range_end: base64(&end),
                limit: piece.min(limit - page.len()).to_string(),
                revision: revision.clone(),
            };
            let found: Found = match self.server.ask(until, "kv/range", &range, Repeat::Yes) {
                Err(Trouble::TooLong(_)) if piece > 1 => {
                    piece = piece.min(limit - page.len()).div_ceil(4);
                    continue;
                }
                found => found?,
            };
            if revision.is_empty() {
                revision = found.header.revision.to_string();
            }
            for pair in found.kvs {
                page.push(pair.record(&self.prefix)?);
            }
            let Some(last) = page.last().filter(|_| found.more) else { break };
            start = format!("{}{}\0", self.prefix, last.key);
        }
        Ok(page)
    }

    fn change(&self, changes: &[Change]) -> Result<Outcome, Trouble> {
        let until = self.until();
        self.sessions.settle(&self.server, until)?;
        loop {
            let session = self.sessions.current(&self.server, until).map_err(|trouble| match trouble {
                // No record was sent.
                Trouble::Unknown(why) => Trouble::Again(why),
                trouble => trouble,
            })?;
            let mut transaction = Transaction { compare: vec![session.compare()], ..Transaction::default() };
            for Change { key, expected, action } in changes {
                let key = self.key(key);
                transaction.compare.push(Compare {
                    key: key.clone(),
                    target: "MOD",
                    result: "EQUAL",
                    mod_revision: Some(expected.map_or(0, |expected| expected.0).to_string()),
                    create_revision: None,
                });
                match action {
                    Action::Check => {}
                    Action::Put(value) => {
                        let (value, lease) = (base64(value), String::new());
                        transaction.success.push(Operation::Put(Put { key, value, lease }));
                    }
                    Action::Remove => transaction.success.push(Operation::Delete(Key { key })),
                }
            }
            transaction.failure.push(Operation::Range(Range::of(&session.key)));
            let done: Done = self.server.ask(until, "kv/txn", &transaction, Repeat::No).inspect_err(|trouble| {
                if matches!(trouble, Trouble::Unknown(_) | Trouble::TooLong(_)) {
                    self.sessions.spoil(&session);
                }
            })?;
            if done.succeeded {
                let puts = changes.iter().filter(|change| matches!(change.action, Action::Put(_)));
                return Ok(Outcome::Committed(puts.map(|_| Revision(done.header.revision)).collect()));
            }
            let Some(found) = done.responses.into_iter().find_map(|answer| answer.response_range) else {
                self.sessions.spoil(&session);
                return Err(Trouble::Unknown("the answer is one to another question".into()));
            };
            if session.is_in(&found) {
                return Ok(Outcome::Conflict);
            }
            // The lease ended first: it stood still for too long, or the cluster did.
            self.sessions.forget(&session);
        }
    }
}

impl Store for EtcdStore {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        self.server.client.owner().check()?;
        check_get(keys)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.read_all(keys).map_err(|trouble| trouble.into_error("reading records"))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        self.server.client.owner().check()?;
        check_list(prefix, after, limit)?;
        self.read_page(prefix, after, limit).map_err(|trouble| trouble.into_error("listing records"))
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome> {
        self.server.client.owner().check()?;
        check_commit(changes)?;
        if changes.is_empty() {
            return Ok(Outcome::Committed(Vec::new()));
        }
        // A revision of 0 belongs to a key that doesn't exist; those beyond 2^63 are invalid.
        let possible = |change: &Change| change.expected.is_none_or(|expected| (1..1 << 63).contains(&expected.0));
        if !changes.iter().all(possible) {
            return Ok(Outcome::Conflict);
        }
        self.change(changes).map_err(|trouble| trouble.into_error("committing changes"))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EtcdStore { server, prefix, .. } = self;
        f.debug_struct("EtcdStore")
            .field("endpoints", &server.endpoints)
            .field("prefix", prefix)
            .finish_non_exhaustive()
    }
}
