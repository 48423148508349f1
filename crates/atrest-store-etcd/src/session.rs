//! The session: a key under a lease that each commit demands, so that none happens long after it failed.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atrest_http::{Deadline, base64};

use crate::api::{Compare, Found, Grant, Granted, KeptAlive, Lease, Put, Range};
use crate::server::{Repeat, Server};
use crate::trouble::Trouble;

/// A session as a commit demands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    lease: String,
    /// Its key, not encoded.
    pub key: String,
    pub revision: u64,
}

/// The sessions of a store: the one in use, and those of commits whose outcome is unknown.
pub(crate) struct Sessions {
    prefix: String,
    /// How long a lease lives, in seconds.
    ttl: u64,
    state: Mutex<State>,
    /// Held while one thread gets or renews the session. Others wait for it no longer than that takes: their deadlines are as long.
    renewing: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// The session, and when it was renewed.
    current: Option<(Session, Instant)>,
    spoiled: Vec<Session>,
}

impl Session {
    pub fn compare(&self) -> Compare {
        Compare {
            key: base64(self.key.as_bytes()),
            target: "CREATE",
            result: "EQUAL",
            mod_revision: None,
            create_revision: Some(self.revision.to_string()),
        }
    }

    /// Whether the session is still at its key.
    pub fn is_in(&self, found: &Found) -> bool {
        found.kvs.iter().any(|pair| pair.create_revision == self.revision)
    }
}

impl Sessions {
    pub fn new(prefix: String, deadline: Duration) -> Self {
        Sessions { prefix, ttl: deadline.as_secs() / 4, state: Mutex::default(), renewing: Mutex::default() }
    }

    /// A session that lives for a while yet.
    pub fn current(&self, server: &Server, deadline: Deadline) -> Result<Session, Trouble> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let _alone = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let (begun, old) = (Instant::now(), self.state().current.clone());
        if let Some((session, _)) = old {
            let lease = Lease { id: session.lease.clone() };
            let kept: KeptAlive = server.ask(deadline, "lease/keepalive", &lease, Repeat::Yes)?;
            // One that has ended meanwhile has no time to live.
            if kept.result.ttl > 0 {
                let mut state = self.state();
                let same = state.current.as_mut().filter(|(current, _)| *current == session);
                if let Some((_, renewed)) = same {
                    *renewed = begun;
                    return Ok(session);
                }
            }
        }
        let session = self.begin(server, deadline)?;
        self.state().current = Some((session.clone(), begun));
        Ok(session)
    }

    /// Gives up a session under which a commit has no answer.
    pub fn spoil(&self, session: &Session) {
        let mut state = self.state();
        state.current.take_if(|(current, _)| current == session);
        if !state.spoiled.contains(session) {
            state.spoiled.push(session.clone());
        }
    }

    /// Forgets a session that has ended.
    pub fn forget(&self, session: &Session) {
        self.state().current.take_if(|(current, _)| current == session);
    }

    /// Ends the sessions of commits without an answer: none of them happens after this.
    pub fn settle(&self, server: &Server, deadline: Deadline) -> Result<(), Trouble> {
        let spoiled = self.state().spoiled.clone();
        for session in spoiled {
            let lease = Lease { id: session.lease.clone() };
            match server.ask::<serde_json::Value>(deadline, "lease/revoke", &lease, Repeat::Yes) {
                // It has ended by itself.
                Ok(_) | Err(Trouble::Final(io::ErrorKind::NotFound, _)) => {}
                Err(Trouble::Unknown(why)) => return Err(Trouble::Again(why)),
                Err(trouble) => return Err(trouble),
            }
            self.state().spoiled.retain(|other| *other != session);
        }
        Ok(())
    }

    fn begin(&self, server: &Server, deadline: Deadline) -> Result<Session, Trouble> {
        let wanted = Grant { ttl: self.ttl.to_string() };
        // A lease whose grant was lost ends by itself.
        let granted: Granted = server.ask(deadline, "lease/grant", &wanted, Repeat::Yes)?;
        if granted.ttl > self.ttl {
            let why = format!(
                "the cluster's shortest lease is {} s, by its election timeout: set a deadline of {} s or more",
                granted.ttl,
                granted.ttl * 4
            );
            return Err(Trouble::Final(io::ErrorKind::Unsupported, why));
        }
        let key = format!("{}{}", self.prefix, granted.id);
        let put = Put { key: base64(key.as_bytes()), value: String::new(), lease: granted.id.clone() };
        server.ask::<serde_json::Value>(deadline, "kv/put", &put, Repeat::Yes)?;
        // The put may have happened twice.
        let found: Found = server.ask(deadline, "kv/range", &Range::of(&key), Repeat::Yes)?;
        let pair = found.kvs.first().ok_or_else(|| Trouble::Again("the session ended at once".into()))?;
        Ok(Session { lease: granted.id, key, revision: pair.create_revision })
    }

    fn fresh(&self) -> Option<Session> {
        let third = Duration::from_secs(self.ttl) / 3;
        let state = self.state();
        state.current.as_ref().filter(|(_, renewed)| renewed.elapsed() < third).map(|(session, _)| session.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
