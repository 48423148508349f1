//! Keeps a device connected: reconnects when a connection ends, and first repeats all changes that weren't flushed.
//!
//! A thread does it, which exists only while there is work. Callers wait for it as long as their deadlines allow.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use atrest::NotInherited;

use crate::connection::{self, Command, Outcome};
use crate::export::Export;
use crate::handshake::Refused;
use crate::link::{Link, Place};
use crate::log::{Change, Log};
use crate::slots::{End, SLOTS};
use crate::socket::Patience;
use crate::url::Target;
use crate::wire::ESHUTDOWN;

/// The interval at which a waiting caller checks for changes.
const TICK: Duration = Duration::from_millis(50);

/// How long to wait before another try, at most.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// How long one try to connect may take. A device that is closed waits for it.
const TRY: Duration = Duration::from_secs(5);

/// How long a connection has to last for the next try to be made at once.
const LASTING: Duration = Duration::from_secs(2);

/// A device's connections, present or to come.
pub(crate) struct Keeper {
    place: Place,
    pub(crate) export: Export,
    pub(crate) log: Arc<Log>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    closing: bool,
    /// The last trouble, for errors.
    trouble: String,
    delay: Duration,
    connected: Instant,
    thread: Option<NotInherited<JoinHandle<()>>>,
    /// Whether the thread looks for something to do once more before it ends.
    is_kept: bool,
}

enum Phase {
    Connected(Arc<Link>),
    /// The previous connections are lost, and some of their requests may be under way.
    Lost(Arc<Link>),
    /// For good.
    Failed(&'static str),
}

impl Keeper {
    pub(crate) fn new(place: Place, log: Arc<Log>, link: Link) -> Arc<Self> {
        let export = link.export.clone();
        let state = State {
            phase: Phase::Connected(Arc::new(link)),
            closing: false,
            trouble: String::new(),
            delay: Duration::ZERO,
            connected: Instant::now(),
            thread: None,
            is_kept: false,
        };
        Arc::new(Keeper { place, export, log, state: Mutex::new(state), changed: Condvar::new() })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.place.target
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.place.deadline
    }

    /// Nothing panics while it is locked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections, when there are some.
    pub(crate) fn link(self: &Arc<Self>, until: Instant) -> io::Result<Arc<Link>> {
        let mut state = self.state();
        loop {
            match &state.phase {
                Phase::Connected(link) => return Ok(link.clone()),
                Phase::Failed(why) => return Err(self.broken(why)),
                // No thread could be started.
                Phase::Lost(_) if state.thread.is_none() => self.keep(&mut state),
                Phase::Lost(_) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = format!("{} can't be reached: {}", self.place.target, state.trouble);
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Fails at once if the device takes no more requests.
    pub(crate) fn check(&self) -> io::Result<()> {
        match &self.state().phase {
            Phase::Failed(why) => Err(self.broken(why)),
            _ => Ok(()),
        }
    }

    /// The reason why callers can't reach the server, if it is known.
    pub(crate) fn why_it_is_lost(&self) -> Option<String> {
        let state = self.state();
        matches!(state.phase, Phase::Lost(_)).then(|| state.trouble.clone())
    }

    fn broken(&self, why: &str) -> io::Error {
        let why = format!(
            "{} doesn't keep to the protocol of NBD: {why}; nothing more is asked of it, open it again when it is mended",
            self.place.target
        );
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    /// A connection of these has ended.
    pub(crate) fn lost(self: &Arc<Self>, link: &Arc<Link>, end: End) {
        let mut state = self.state();
        let is_current = matches!(&state.phase, Phase::Connected(current) if Arc::ptr_eq(current, link));
        if !is_current {
            return;
        }
        link.stop();
        match end {
            End::Lost(why) => {
                log::warn!("{} is lost, and is connected to again: {why}", self.place.target);
                state.phase = Phase::Lost(link.clone());
                state.trouble = why;
                // One that answers and ends again and again isn't asked all the time.
                if state.connected.elapsed() > LASTING {
                    state.delay = Duration::ZERO;
                }
                self.keep(&mut state);
            }
            End::Broken(why) => {
                log::error!("{} doesn't keep to the protocol: {why}", self.place.target);
                state.phase = Phase::Failed(why);
                link.close();
                self.changed.notify_all();
            }
        }
    }

    /// Notes that a caller has given up a request.
    pub(crate) fn gave_up(self: &Arc<Self>) {
        self.keep(&mut self.state());
    }

    /// Makes sure that the thread is running.
    fn keep(self: &Arc<Self>, state: &mut State) {
        state.is_kept = true;
        if state.closing || state.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            self.changed.notify_all();
            return;
        }
        let keeper = self.clone();
        match std::thread::Builder::new().name("atrest-nbd".into()).spawn(move || keeper.run()) {
            Ok(thread) => state.thread = Some(NotInherited::new(thread)),
            // The next caller tries again.
            Err(e) => state.trouble = format!("there can be no thread to connect again: {e}"),
        }
    }

    fn run(self: Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.closing {
                return;
            }
            match &state.phase {
                Phase::Lost(link) => {
                    let link = link.clone();
                    drop(state);
                    self.reconnect(link);
                }
                Phase::Connected(link) if link.has_orphans() || link.why_it_ended().is_some() => {
                    let link = link.clone();
                    drop(state);
                    link.drive(TICK);
                    // Callers that wait for a request that was given up don't contact the server before it ends.
                    if let Some(end) = link.why_it_ended() {
                        self.lost(&link, end);
                    }
                }
                _ if state.is_kept => state.is_kept = false,
                _ => {
                    // Later callers start another thread.
                    state.thread = None;
                    return;
                }
            }
        }
    }

    /// One try.
    fn reconnect(self: &Arc<Self>, old: Arc<Link>) {
        // Requests under way may still be done. Only a reply, or the end of their connection, proves that they won't be done
        // later, after the requests that follow.
        while !old.is_settled() {
            if self.is_closing() {
                return;
            }
            old.drive(TICK);
        }
        old.close();
        let mut state = self.state();
        let from = Instant::now();
        while !state.closing && from.elapsed() < state.delay {
            let left = state.delay.saturating_sub(from.elapsed());
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.delay = (state.delay * 2).clamp(Duration::from_millis(10), MAX_DELAY);
        drop(state);
        let is_closing = || self.is_closing();
        let patience = Patience { until: Instant::now() + self.place.deadline.min(TRY), is_over: &is_closing };
        let link = match Link::open(&self.place, &self.log, patience) {
            Ok(link) => Arc::new(link),
            Err(refused) => return self.trouble(refused.to_string()),
        };
        if !link.export.is_same(&self.export) {
            link.close();
            return self.trouble("the export has another size, or other properties, than before".into());
        }
        let replayed = self.replay(&link);
        let mut state = self.state();
        if state.closing {
            return link.close();
        }
        state.phase = match replayed {
            Ok(count) => {
                log::warn!("{} is connected again; {count} changes were written again", self.place.target);
                state.connected = Instant::now();
                Phase::Connected(link)
            }
            Err(End::Lost(why)) => {
                log::warn!("{} was lost again while changes were written again: {why}", self.place.target);
                state.trouble = why;
                link.stop();
                Phase::Lost(link)
            }
            Err(End::Broken(why)) => {
                link.close();
                Phase::Failed(why)
            }
        };
        self.changed.notify_all();
    }

    fn trouble(&self, why: String) {
        let mut state = self.state();
        if state.trouble != why {
            log::warn!("{} can't be used: {why}", self.place.target);
        }
        state.trouble = why;
    }

    fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Repeats the changes that weren't flushed, in order: several at once, as long as they don't overlap.
    fn replay(&self, link: &Link) -> Result<usize, End> {
        let connection = link.first();
        let mut changes = self.log.unflushed();
        let count = changes.len();
        let mut under_way: VecDeque<(usize, u64, Change)> = VecDeque::new();
        while !changes.is_empty() || !under_way.is_empty() {
            let next = changes.front().filter(|(_, next)| {
                under_way.len() < SLOTS / 2 && !under_way.iter().any(|(_, _, other)| other.overlaps(next))
            });
            if next.is_none()
                && let Some((index, number, _)) = under_way.pop_front()
            {
                if let Err(end) = self.replayed(link, index, number) {
                    // Replies that aren't collected would count as awaited for ever.
                    for (index, number, _) in under_way {
                        let _ = self.replayed(link, index, number);
                    }
                    return Err(end);
                }
                continue;
            }
            let Some((number, change)) = changes.pop_front() else { continue };
            let Change { kind, flags, offset, len, ref data } = change;
            let command = Command { kind, flags, offset, len, data: data.clone(), change: Some(number) };
            match connection.submit(&command, Instant::now() + TICK) {
                Ok(index) => under_way.push_back((index, number, change)),
                Err(Outcome::Ended(end)) => return Err(end),
                Err(_) => changes.push_front((number, change)),
            }
        }
        Ok(count)
    }

    /// Waits for the reply to a change that was written again.
    fn replayed(&self, link: &Link, index: usize, number: u64) -> Result<(), End> {
        let error = loop {
            match link.first().wait(index, &mut connection::Target::Nowhere, Instant::now() + TICK, false) {
                Outcome::Replied(error) => break error,
                Outcome::Ended(end) => return Err(end),
                _ if self.is_closing() => return Err(End::Lost("the device was closed".into())),
                _ => {}
            }
        };
        match error {
            None if self.log.is_acknowledged(number) => Ok(()),
            Some(error) if error == ESHUTDOWN || self.log.is_acknowledged(number) => {
                // An earlier server acknowledged it. Until it is done, nothing else is.
                Err(End::Lost(format!("the server refuses, with error {error}, what an earlier one has acknowledged")))
            }
            error => {
                self.log.ended_apart(number, error);
                Ok(())
            }
        }
    }

    /// Ends the connections. Changes that aren't flushed are then up to the server.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        if let Phase::Connected(link) | Phase::Lost(link) = &state.phase {
            link.stop();
            link.close();
        }
        let thread = state.thread.take();
        self.changed.notify_all();
        drop(state);
        if let Some(thread) = thread.and_then(NotInherited::into_inner) {
            // The thread has reported a panic.
            let _ = thread.join();
        }
    }
}

/// Turns an error of a handshake into one of the library.
pub(crate) fn refused(what: String, refused: Refused) -> atrest::Error {
    let io = |kind, text| atrest::Error::Io { what: what.clone(), source: io::Error::new(kind, text) };
    match refused {
        Refused::Unknown(text) => io(io::ErrorKind::NotFound, text),
        Refused::Unfit(text) => io(io::ErrorKind::InvalidData, text),
        Refused::Io(source) => atrest::Error::Io { what, source },
    }
}
