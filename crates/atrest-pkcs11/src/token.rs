//! One token: found, logged in to, and asked by sessions of a pool, each call within its deadline.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use atrest::{Error, KeyRefusal, OwningProcess, Secret, VaultFailure};
use cryptoki_sys::*;

use crate::fault::{Answer, Fault, outage};
use crate::module::{Module, TokenName, lock};
use crate::options::Pkcs11Options;
use crate::pin::Pin;
use crate::session::Session;
use crate::wrapped::Wrapped;

/// The most calls under way, the stuck ones included. Each has a thread.
const MOST_CALLS: usize = 256;

/// The answer if the token was replaced or is gone.
const GONE: Answer = Answer { function: "C_GetTokenInfo", rv: CKR_TOKEN_NOT_PRESENT };

/// The actual algorithm of a wrap mechanism, found out by a known answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrapKind {
    /// RFC 3394.
    Kw,
    /// RFC 5649.
    Kwp,
    /// Neither, or the token hasn't got it.
    Other,
    /// The token doesn't import the key that the known answer is for.
    Unknown,
}

pub(crate) struct Token {
    pub(crate) options: Pkcs11Options,
    pub(crate) id: String,
    pub(crate) identity: String,
    module: Arc<Module>,
    /// The token that was logged in to last.
    name: Mutex<Option<TokenName>>,
    /// The state of this process; a child made by fork starts with a new one.
    state: ArcSwap<State>,
}

struct State {
    owner: OwningProcess,
    calls: AtomicUsize,
    /// Set if the library was asked and had no such token.
    absent: AtomicBool,
    pool: Mutex<Pool>,
    freed: Condvar,
    /// The epoch that is logged in.
    login: Mutex<Option<u64>>,
    kinds: Mutex<HashMap<CK_MECHANISM_TYPE, WrapKind>>,
    /// Wrapped bytes that a version has unwrapped, by its URL, one for each way: with them it is found out whether it still works.
    proofs: Mutex<HashMap<String, Vec<Wrapped>>>,
}

#[derive(Default)]
struct Pool {
    /// Increased whenever the sessions are lost.
    epoch: u64,
    /// The library's era to which the sessions belong.
    era: u64,
    slot: Option<CK_SLOT_ID>,
    idle: Vec<Session>,
    open: usize,
}

impl State {
    fn new() -> Self {
        State {
            owner: OwningProcess::current(),
            calls: AtomicUsize::new(0),
            absent: AtomicBool::new(false),
            pool: Mutex::default(),
            freed: Condvar::new(),
            login: Mutex::default(),
            kinds: Mutex::default(),
            proofs: Mutex::default(),
        }
    }
}

/// A session lent to one call.
pub(crate) struct Call<'a> {
    pub(crate) token: &'a Token,
    pub(crate) session: &'a Session,
    state: &'a State,
}

impl Call<'_> {
    /// Fails unless the token is there, and its user logged in: without them it has no keys to show.
    pub(crate) fn is_there(&self) -> Result<(), Fault> {
        let slot = lock(&self.state.pool).slot.ok_or(GONE)?;
        // Any answer counts as gone: SoftHSM returns CKR_GENERAL_ERROR for a token whose files are gone.
        let info = self.token.module.token(slot).map_err(|_| GONE)?;
        if !self.token.is_ours(&info) {
            return Err(GONE.into());
        }
        if info.flags & CKF_LOGIN_REQUIRED == 0 || self.session.is_logged_in()? {
            return Ok(());
        }
        if self.token.logs_in() {
            return Err(Answer { function: "C_FindObjects", rv: CKR_USER_NOT_LOGGED_IN }.into());
        }
        Err(outage(format!("{} shows its keys only after a login; say where its PIN is", self.token.id)))
    }

    /// The algorithm of a mechanism, if it was found out before.
    pub(crate) fn kind(&self, mechanism: CK_MECHANISM_TYPE) -> Option<WrapKind> {
        lock(&self.state.kinds).get(&mechanism).copied()
    }

    pub(crate) fn set_kind(&self, mechanism: CK_MECHANISM_TYPE, kind: WrapKind) {
        lock(&self.state.kinds).insert(mechanism, kind);
    }

    pub(crate) fn proofs(&self, key: &str) -> Vec<Wrapped> {
        lock(&self.state.proofs).get(key).cloned().unwrap_or_default()
    }

    /// Notes what a version has unwrapped, in place of an earlier proof of the same way: another key may have been made under the same
    /// label and id, and unwraps nothing of the earlier one's.
    pub(crate) fn add_proof(&self, key: &str, proof: Wrapped) {
        let mut proofs = lock(&self.state.proofs);
        if proofs.len() >= 1024 && !proofs.contains_key(key) {
            return;
        }
        let of_key = proofs.entry(key.into()).or_default();
        match of_key.iter_mut().find(|known| known.way() == proof.way()) {
            Some(known) => *known = proof,
            None => of_key.push(proof),
        }
    }
}

impl Token {
    pub(crate) fn new(options: Pkcs11Options) -> Result<Token, Error> {
        let id = options.vault_id();
        // The name of a key that every vault could have: this checks the name of the vault.
        atrest::key::KeyId::new(&id, "key", "1")?;
        let module = Module::load(&options.module, options.parameters.as_deref())?;
        let identity = options.identity.clone().unwrap_or_else(|| format!("user of {id}"));
        Ok(Token { options, id, identity, module, name: Mutex::default(), state: ArcSwap::from_pointee(State::new()) })
    }

    /// Runs `f` with a session, in a thread of its own: a library may never answer, and then it can't be stopped.
    pub(crate) fn call<T: Send + 'static>(
        self: &Arc<Self>,
        what: &'static str,
        f: impl Fn(&Call<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        if !self.state.load().owner.is_current() {
            // The parent's sessions, and locks that its other threads held, are not this process's.
            self.state.rcu(|old| if old.owner.is_current() { old.clone() } else { Arc::new(State::new()) });
        }
        let state = self.state.load_full();
        if state.calls.fetch_add(1, Ordering::Relaxed) >= MOST_CALLS {
            state.calls.fetch_sub(1, Ordering::Relaxed);
            let path = self.module.path().display();
            return Err(outage(format!("{what}: {MOST_CALLS} calls wait for {path}; it does not answer")));
        }
        let (send, receive) = mpsc::sync_channel(1);
        let until = Instant::now() + self.options.deadline;
        let (token, of_thread) = (self.clone(), state.clone());
        // The caller is gone once the deadline has passed: then the call ends at the library's next answer.
        let late = Arc::new(AtomicBool::new(false));
        let is_late = late.clone();
        let body = move || {
            let result = token.with_session(&of_thread, until, &is_late, &f);
            drop(f); // it holds a copy of the DEK
            of_thread.calls.fetch_sub(1, Ordering::Relaxed);
            // Before the answer: once the caller goes on, the process may end, and no thread may be inside the library then,
            // as the last owner of a token would be, which closes its sessions.
            drop((token, of_thread));
            let _ = send.send(result);
        };
        if let Err(error) = std::thread::Builder::new().name("atrest-pkcs11".into()).spawn(body) {
            state.calls.fetch_sub(1, Ordering::Relaxed);
            let failure = VaultFailure::new(format!("{what}: starting a thread")).caused_by(error);
            return Err(Fault::Final(Error::Vault(failure)));
        }
        match receive.recv_timeout(self.options.deadline) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                late.store(true, Ordering::Relaxed);
                let (path, limit) = (self.module.path().display(), self.options.deadline);
                Err(outage(format!("{what}: {path} did not answer within {limit:?}; whether it did it is unknown")))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                state.calls.fetch_sub(1, Ordering::Relaxed);
                Err(outage(format!("{what}: the thread of the call died")))
            }
        }
    }

    /// Runs `f` with a session, and once more with a new one if the token or its sessions were gone. All that `f` does can be
    /// done twice: it makes no lasting objects.
    fn with_session<T>(
        &self,
        state: &State,
        until: Instant,
        late: &AtomicBool,
        f: &dyn Fn(&Call<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut again = true;
        loop {
            let done = {
                let _inside = self.module.enter();
                self.attempt(state, until, f)
            };
            let may_repeat = again && !late.load(Ordering::Relaxed);
            again = false;
            match done {
                Err(Fault::Answer(answer)) if may_repeat && (answer.is_lost() || answer.is_stale()) => {
                    log::info!("{}: {answer}; it is tried once more", self.id);
                }
                Err(_) if may_repeat && state.absent.load(Ordering::Relaxed) && self.options.start_again => {
                    let done = self.module.start_again();
                    log::info!("{}: the token isn't there; the library is started again: {done}", self.id);
                }
                done => return done,
            }
        }
    }

    fn attempt<T>(&self, state: &State, until: Instant, f: &dyn Fn(&Call<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let (epoch, session) = self.acquire(state, until)?;
        // A function of the caller, which gives the PIN, may panic. The session must come back even then.
        let call = AssertUnwindSafe(|| {
            self.log_in(state, epoch, &session)?;
            f(&Call { token: self, session: &session, state })
        });
        let mut done = catch_unwind(call).unwrap_or_else(|_| Err(outage("a call panicked")));
        if let Err(Fault::Answer(answer)) = &mut done
            && !answer.is_lost()
            && self.logs_in()
            && session.is_logged_in() == Ok(false)
        {
            // Another part of the process logged out. SoftHSM answers CKR_GENERAL_ERROR then.
            answer.rv = CKR_USER_NOT_LOGGED_IN;
        }
        let lost = matches!(&done, Err(Fault::Answer(answer)) if answer.is_lost());
        self.release(state, epoch, session, lost);
        match &done {
            Err(Fault::Answer(answer)) if lost => self.forget(state, epoch, *answer),
            Err(Fault::Answer(answer)) if answer.rv == CKR_USER_NOT_LOGGED_IN => *lock(&state.login) = None,
            _ => {}
        }
        done
    }

    /// Forgets all sessions of this epoch. They are not closed: the library has closed them (PKCS#11, 5.6.1, 5.6.3), and
    /// their handles may be another's by now.
    fn forget(&self, state: &State, epoch: u64, answer: Answer) {
        if answer.rv == CKR_CRYPTOKI_NOT_INITIALIZED {
            self.module.forget_initialised();
        }
        let mut pool = lock(&state.pool);
        if pool.epoch == epoch {
            forget_sessions(state, &mut pool);
        }
    }

    fn acquire(&self, state: &State, until: Instant) -> Result<(u64, Session), Fault> {
        self.module.initialise()?;
        let mut pool = lock(&state.pool);
        let era = self.module.era();
        if pool.era != era {
            forget_sessions(state, &mut pool);
            pool.era = era;
        }
        loop {
            if let Some(session) = pool.idle.pop() {
                return Ok((pool.epoch, session));
            }
            if pool.open < self.options.sessions {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(outage("waiting for a session of the token"));
            }
            let wait = left.min(Duration::from_secs(1));
            pool = state.freed.wait_timeout(pool, wait).map_or_else(|e| e.into_inner().0, |(pool, _)| pool);
        }
        pool.open += 1;
        let (epoch, slot) = (pool.epoch, pool.slot);
        drop(pool); // opening takes long
        let opened =
            slot.map_or_else(|| self.find_slot(state), Ok).and_then(|slot| Ok((slot, self.module.open(slot)?)));
        let mut pool = lock(&state.pool);
        let result = match opened {
            Ok((slot, session)) => {
                if pool.epoch == epoch {
                    pool.slot = Some(slot);
                }
                return Ok((epoch, session));
            }
            Err(fault) => fault,
        };
        if pool.epoch == epoch {
            pool.open -= 1;
            // The token may be in another slot when it comes back.
            pool.slot = None;
        }
        state.freed.notify_one();
        Err(result)
    }

    fn release(&self, state: &State, epoch: u64, session: Session, lost: bool) {
        let mut pool = lock(&state.pool);
        if pool.epoch != epoch {
            return; // forgotten by `forget`
        }
        if lost || session.is_spoilt() {
            pool.open -= 1;
            drop(pool);
            if !lost {
                session.close();
            }
        } else {
            pool.idle.push(session);
        }
        state.freed.notify_one();
    }

    fn find_slot(&self, state: &State) -> Result<CK_SLOT_ID, Fault> {
        let mut found = Vec::new();
        for slot in self.module.slots()? {
            match self.module.token(slot) {
                Ok(info) if self.is_ours(&info) => found.push(slot),
                Ok(_) => {}
                // Another slot's token may be gone or broken.
                Err(answer) => log::debug!("{}: slot {slot}: {answer}", self.id),
            }
        }
        state.absent.store(found.is_empty(), Ordering::Relaxed);
        let path = self.module.path().display();
        match found[..] {
            [slot] => Ok(slot),
            [] => Err(outage(format!("{path} has no token {}; put it in, or see `pkcs11-tool -L`", self.id))),
            _ => Err(outage(format!("{path} has several tokens {}; name its serial number too", self.id))),
        }
    }

    fn is_ours(&self, info: &CK_TOKEN_INFO) -> bool {
        let wanted = &self.options;
        let fits = |wanted: &Option<String>, field: &[u8]| {
            // Padded with blanks (PKCS#11, 3.2); some libraries end them by zero.
            let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
            wanted.as_ref().is_none_or(|wanted| wanted.trim_end().as_bytes() == field[..end].trim_ascii_end())
        };
        info.flags & CKF_TOKEN_INITIALIZED != 0
            && fits(&wanted.token, &info.label)
            && fits(&wanted.serial, &info.serialNumber)
            && fits(&wanted.manufacturer, &info.manufacturerID)
            && fits(&wanted.model, &info.model)
    }

    /// Logs in, unless another session of this epoch has: a login holds for all sessions of a process (PKCS#11, 2.6.1).
    fn log_in(&self, state: &State, epoch: u64, session: &Session) -> Result<(), Fault> {
        if !self.logs_in() {
            return Ok(());
        }
        let mut login = lock(&state.login);
        if *login == Some(epoch) {
            return Ok(());
        }
        let slot = lock(&state.pool).slot.ok_or(GONE)?;
        let info = self.module.token(slot)?;
        let name = (info.label, info.serialNumber);
        *lock(&self.name) = Some(name);
        let pin = self.options.pin.read()?;
        if let Some(why) = self.module.refusal(&name, pin.as_ref()) {
            return Err(self.denied(why));
        }
        // The next wrong PIN would lock it, and this one may be wrong: a person has to log in.
        if info.flags & CKF_USER_PIN_FINAL_TRY != 0 && info.flags & CKF_USER_PIN_LOCKED == 0 {
            return Err(self.denied("one try is left before the PIN is locked; log in by hand first"));
        }
        match session.login(pin.as_ref().map(Secret::expose)) {
            Ok(()) => {}
            Err(answer) if answer.rv == CKR_USER_ALREADY_LOGGED_IN => {}
            Err(answer) if answer.refuses_pin() => {
                log::warn!("{}: {answer}; this PIN is not tried again", self.id);
                let why = refusal(answer);
                self.module.refuse(name, pin, why);
                return Err(self.denied(why));
            }
            Err(answer) => return Err(answer.into()),
        }
        *login = Some(epoch);
        Ok(())
    }

    /// Whether its user logs in.
    pub(crate) fn logs_in(&self) -> bool {
        !matches!(self.options.pin, Pin::None)
    }

    /// Tries a PIN again that was refused.
    pub(crate) fn forget_refusal(&self) {
        if let Some(name) = &*lock(&self.name) {
            self.module.forget_refusal(name);
        }
    }

    fn denied(&self, why: &str) -> Fault {
        let identity = format!("{} ({why})", self.identity);
        let reason = KeyRefusal::AccessDenied { identity, operation: "login".into() };
        Fault::Final(Error::KeyRefused { key: self.id.clone(), reason })
    }
}

impl Drop for Token {
    /// Ends the sessions; the last one of a process ends the login too.
    fn drop(&mut self) {
        let state = self.state.load_full();
        if !state.owner.is_current() {
            return;
        }
        let idle = std::mem::take(&mut lock(&state.pool).idle);
        if idle.is_empty() {
            return;
        }
        // In a thread, since a library may never answer.
        let (send, receive) = mpsc::sync_channel(1);
        let close = move || {
            idle.into_iter().for_each(Session::close);
            let _ = send.send(());
        };
        if std::thread::Builder::new().name("atrest-pkcs11".into()).spawn(close).is_ok() {
            let _ = receive.recv_timeout(self.options.deadline);
        }
    }
}

fn forget_sessions(state: &State, pool: &mut Pool) {
    pool.epoch += 1;
    pool.slot = None;
    pool.open = 0;
    pool.idle.clear();
    lock(&state.kinds).clear();
    state.freed.notify_all();
}

fn refusal(answer: Answer) -> &'static str {
    match answer.rv {
        CKR_PIN_INCORRECT => "the token says that the PIN is wrong",
        CKR_PIN_LOCKED => "the token has locked the PIN; its security officer can set a new one",
        CKR_PIN_EXPIRED => "the PIN has expired; set a new one",
        CKR_USER_PIN_NOT_INITIALIZED => "the token has no PIN for its user yet; its security officer sets one",
        _ => "the token refuses the PIN",
    }
}
