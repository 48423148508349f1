//! Calls of vaults that end by a deadline. They run in threads that nobody waits for.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::workers::Workers;
use crate::key::{KeyDescription, KeyId, WrappedDek};
use crate::managed::counters::{CallOutcome, Counters};
use crate::managed::sync::lock;
use crate::{Error, KeyVault, Result, Secret, VaultFailure};

/// The most calls of one vault that may hang at once. With more it isn't asked, because each is a thread.
const MOST_HANGING: usize = 16;

/// The time to wait for a vault, and the number of calls of each that still hang after it.
pub(super) struct Deadline {
    pub(super) after: Duration,
    hanging: Mutex<HashMap<String, usize>>,
    workers: Workers,
    counters: Arc<Counters>,
}

/// The state of a call.
enum Call<T> {
    Running,
    Done(thread::Result<Result<T>>),
    /// Its caller has given up.
    Abandoned,
}

impl Deadline {
    pub(super) fn new(after: Duration, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Deadline { after, hanging: Mutex::default(), workers: Workers::default(), counters })
    }

    /// Asks a vault. An answer after the deadline is dropped. `operation` is its name for operators.
    pub(super) fn call<T: Send + 'static>(
        self: &Arc<Self>,
        vault: &str,
        operation: &'static str,
        ask: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let began = Instant::now();
        let (answer, unanswered) = self.ask(vault, ask);
        let outcome = unanswered.unwrap_or_else(|| CallOutcome::of_vault(&answer));
        self.counters.vault_call(vault, operation, outcome, began.elapsed());
        answer
    }

    /// The same, without being counted, and why there is no answer.
    pub(super) fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        vault: &str,
        ask: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> (Result<T>, Option<CallOutcome>) {
        let hanging = lock(&self.hanging).get(vault).copied().unwrap_or(0);
        if hanging >= MOST_HANGING {
            let error = Error::Vault(format!("{vault} is not asked while {hanging} calls of it hang").into());
            return (Err(error), Some(CallOutcome::NotAsked));
        }
        let call = Arc::new((Mutex::new(Call::Running), Condvar::new()));
        let (shared, deadline, id) = (call.clone(), self.clone(), vault.to_owned());
        let work = move || {
            let done = catch_unwind(AssertUnwindSafe(ask));
            let (state, changed) = &*shared;
            let mut state = lock(state);
            match *state {
                Call::Abandoned => deadline.returned(&id),
                _ => *state = Call::Done(done),
            }
            changed.notify_one();
        };
        let no_thread =
            |e| Error::Vault(VaultFailure::new(format!("no thread could be started to ask {vault}")).caused_by(e));
        if let Err(e) = self.workers.start(Box::new(work)).map_err(no_thread) {
            return (Err(e), Some(CallOutcome::NotAsked));
        }

        let (state, changed) = &*call;
        let running = |state: &mut Call<T>| matches!(state, Call::Running);
        let (mut state, _) =
            changed.wait_timeout_while(lock(state), self.after, running).unwrap_or_else(PoisonError::into_inner);
        match core::mem::replace(&mut *state, Call::Abandoned) {
            Call::Done(Ok(answer)) => (answer, None),
            // Panic as if the call had run in this thread.
            Call::Done(Err(panic)) => {
                drop(state);
                resume_unwind(panic)
            }
            Call::Running | Call::Abandoned => {
                *lock(&self.hanging).entry(vault.to_owned()).or_default() += 1;
                let error = Error::Vault(format!("{vault} did not answer within {:?}", self.after).into());
                (Err(error), Some(CallOutcome::TimedOut))
            }
        }
    }

    /// Notes that a call given up earlier has returned.
    fn returned(&self, vault: &str) {
        let mut hanging = lock(&self.hanging);
        if let Some(calls) = hanging.get_mut(vault) {
            *calls -= 1;
            if *calls == 0 {
                hanging.remove(vault);
            }
        }
    }
}

/// A vault whose calls end by the deadline.
pub(super) struct WithDeadline {
    id: String,
    vault: Arc<dyn KeyVault>,
    deadline: Arc<Deadline>,
}

impl WithDeadline {
    pub(super) fn new(vault: Arc<dyn KeyVault>, deadline: &Arc<Deadline>) -> Self {
        WithDeadline { id: vault.id().into(), vault, deadline: deadline.clone() }
    }

    fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        ask: impl FnOnce(&dyn KeyVault) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let vault = self.vault.clone();
        self.deadline.call(&self.id, operation, move || ask(&*vault))
    }
}

impl KeyVault for WithDeadline {
    fn id(&self) -> &str {
        &self.id
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        // A hanging vault may still read this copy, so it keeps the copy until it returns.
        let (key, dek) = (key.to_owned(), dek.clone());
        self.call("wrap", move |vault| vault.wrap(&key, &dek))
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        let (kek, dek) = (kek.clone(), dek.clone());
        self.call("wrap", move |vault| vault.wrap_version(&kek, &dek))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        let wrapped = wrapped.clone();
        self.call("unwrap", move |vault| vault.unwrap(&wrapped))
    }

    fn describe(&self, key: &str, version: Option<&str>) -> Result<Option<KeyDescription>> {
        let (key, version) = (key.to_owned(), version.map(str::to_owned));
        self.call("describe", move |vault| vault.describe(&key, version.as_deref()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_vault_that_never_answers_is_not_asked_by_ever_more_threads() {
        let deadline = Deadline::new(Duration::from_millis(10), Arc::default());
        let (hangs, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let (hangs, asked) = (hangs.clone(), asked.clone());
            deadline.call("vault", "wrap", move || {
                asked.fetch_add(1, Ordering::Relaxed);
                while hangs.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            })
        };
        // A busy machine may not answer in time. Only a vault that has answered is counted by its name.
        let began = Instant::now();
        while deadline.call("vault", "wrap", || Ok(())).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60));
        }
        for _ in 0..40 {
            assert!(matches!(ask(), Err(Error::Vault(_))));
        }
        let before = asked.load(Ordering::Relaxed);
        let told = deadline.counters.calls().1["vault"]["wrap"].clone();
        hangs.store(false, Ordering::Relaxed);
        assert!(before <= MOST_HANGING, "{before}");
        assert!(
            told[&CallOutcome::TimedOut].count as usize <= MOST_HANGING && told[&CallOutcome::NotAsked].count >= 24,
            "{told:?}"
        );
        // Other vaults are asked meanwhile; this one is asked again once its calls have returned.
        while deadline.call("another", "wrap", || Ok(())).is_err() || ask().is_err() {
            assert!(began.elapsed() < Duration::from_secs(60));
        }
        while !lock(&deadline.hanging).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(1));
        }
    }
}
