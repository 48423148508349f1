//! The log of changes that weren't flushed.
//!
//! A server that is killed may have lost any part of them, so after a reconnection all of them are repeated, in the order in
//! which they were begun. That restores the state without the loss:
//!
//! - Two changes that overlap are never under way at once: the later one waits for the earlier one. So the order in which they
//!   were begun is the order in which the server did them, and the last one is done last again.
//! - Changes that don't overlap may be done in any order.
//! - Every change since the last flush is in the log, whether the server lost it or not. Repeating one that it hasn't lost
//!   changes nothing in the end, since the later changes are repeated over it. Zeros and discards are changes like others:
//!   without them, a write before them would come back.
//! - A change that a caller gave up stays too: it may be done late, and then it must not overwrite later changes.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::pool::Pool;

/// The bytes that an entry counts beyond its data.
const OVERHEAD: usize = 128;

/// A change: a write, zeros or a discard.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) data: Option<Arc<Vec<u8>>>,
}

impl Change {
    fn end(&self) -> u64 {
        self.offset + u64::from(self.len)
    }

    pub(crate) fn overlaps(&self, other: &Change) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }

    fn bytes(&self) -> usize {
        OVERHEAD + self.data.as_ref().map_or(0, |data| data.capacity())
    }
}

struct Entry {
    change: Change,
    bytes: usize,
    state: State,
    /// Whether its caller wants to know how it ends, and doesn't yet.
    awaited: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No server was sent it.
    Waiting,
    /// A server may have it, or get it.
    Sent,
    /// A server has done it, as the change of this number.
    Acknowledged(u64),
    /// It is durable, or was refused with an error. The entry is there for its caller alone.
    Settled(Option<u32>),
    Gone,
}

impl State {
    fn is_over(self) -> bool {
        matches!(self, State::Settled(_) | State::Gone)
    }
}

/// The log.
pub(crate) struct Log {
    limit: usize,
    /// Whether acknowledged changes are kept until a flush.
    keeps: bool,
    held: Mutex<Held>,
    changed: Condvar,
    pool: Pool,
}

#[derive(Default)]
struct Held {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    bytes: usize,
    acknowledged: usize,
    /// How many changes were acknowledged.
    clock: u64,
    /// Number, start and end of those that are under way.
    under_way: Vec<(u64, u64, u64)>,
    waiting: usize,
    flushing: bool,
}

/// How a change begins.
pub(crate) enum Begun {
    /// Under this number.
    As(u64),
    /// It doesn't, before a flush has made room.
    NeedsFlush,
    TimedOut,
}

/// The state of a change whose caller gives up.
pub(crate) enum GivenUp {
    /// It has ended, with this error.
    Ended(Option<u32>),
    /// No server will ever see it.
    NotSent,
    /// It may be done, or be done later.
    Unknown,
}

impl Log {
    pub(crate) fn new(limit: usize, keeps: bool) -> Self {
        Log { limit, keeps, held: Mutex::default(), changed: Condvar::new(), pool: Pool::new(limit / 2) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of bytes, for a change.
    pub(crate) fn copy(&self, parts: &[IoSlice<'_>]) -> Arc<Vec<u8>> {
        let mut bytes = self.pool.take(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        Arc::new(bytes)
    }

    /// Begins a change, as soon as no overlapping one is under way and there is room.
    pub(crate) fn begin(&self, change: &Change, until: Instant) -> Begun {
        let mut held = self.held();
        let (start, end, bytes) = (change.offset, change.end(), change.bytes());
        loop {
            let overlaps = held.under_way.iter().any(|&(_, other, other_end)| start < other_end && other < end);
            if !overlaps {
                if held.bytes + bytes <= self.limit {
                    break;
                }
                if held.acknowledged > 0 && !held.flushing {
                    held.flushing = true;
                    return Begun::NeedsFlush;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Begun::TimedOut;
            }
            held.waiting += 1;
            held = self.changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
            held.waiting -= 1;
        }
        let number = held.first + held.entries.len() as u64;
        held.bytes += bytes;
        held.under_way.push((number, start, end));
        held.entries.push_back(Entry { change: change.clone(), bytes, state: State::Waiting, awaited: true });
        Begun::As(number)
    }

    /// A server is sent a change.
    pub(crate) fn is_sent(&self, number: u64) {
        if let Some(entry) = self.held().entry(number)
            && entry.state == State::Waiting
        {
            entry.state = State::Sent;
        }
    }

    /// Its caller knows how a change ended. Returns whether it is time for a flush, which is then the caller's to send.
    pub(crate) fn ended(&self, number: u64, error: Option<u32>) -> bool {
        let mut held = self.held();
        let Some(entry) = held.entry(number) else { return false };
        entry.awaited = false;
        let state = match error {
            None if self.keeps => held.acknowledge(),
            _ => State::Gone,
        };
        self.set(&mut held, number, state);
        let wants_flush = held.acknowledged > self.limit / 2 && !held.flushing;
        held.flushing |= wants_flush;
        wants_flush
    }

    /// A change ended while its caller wasn't waiting for that: it asks later, or has given up.
    pub(crate) fn ended_apart(&self, number: u64, error: Option<u32>) {
        let mut held = self.held();
        let state = match error {
            None if self.keeps => held.acknowledge(),
            error => State::Settled(error),
        };
        self.set(&mut held, number, state);
    }

    /// How a change ended, if it has while its caller wasn't waiting for that.
    pub(crate) fn outcome(&self, number: u64) -> Option<Option<u32>> {
        let mut held = self.held();
        let entry = held.entry(number)?;
        match entry.state {
            State::Acknowledged(_) => {
                entry.awaited = false;
                Some(None)
            }
            State::Settled(error) => {
                entry.awaited = false;
                self.set(&mut held, number, State::Gone);
                Some(error)
            }
            _ => None,
        }
    }

    /// The caller of a change waits no longer.
    pub(crate) fn give_up(&self, number: u64) -> GivenUp {
        if let Some(error) = self.outcome(number) {
            return GivenUp::Ended(error);
        }
        let mut held = self.held();
        match held.entry(number).map(|entry| (entry.state, std::mem::take(&mut entry.awaited))) {
            Some((State::Waiting, _)) => {
                self.set(&mut held, number, State::Gone);
                GivenUp::NotSent
            }
            // It ended just now.
            Some((State::Acknowledged(_), _)) => GivenUp::Ended(None),
            Some((State::Settled(error), _)) => {
                self.set(&mut held, number, State::Gone);
                GivenUp::Ended(error)
            }
            _ => GivenUp::Unknown,
        }
    }

    /// The mark of a flush that is sent from now on, to be given to [`flushed`](Self::flushed).
    pub(crate) fn mark(&self) -> u64 {
        self.held().clock
    }

    /// Marks changes acknowledged before the mark as durable.
    pub(crate) fn flushed(&self, mark: u64) {
        let mut held = self.held();
        let first = held.first;
        let is_durable = |entry: &Entry| matches!(entry.state, State::Acknowledged(at) if at < mark);
        let durable: Vec<u64> =
            (first..).zip(&held.entries).filter(|(_, entry)| is_durable(entry)).map(|(number, _)| number).collect();
        for number in durable {
            self.set(&mut held, number, State::Settled(None));
        }
    }

    /// A flush that [`begin`](Self::begin) or [`ended`](Self::ended) asked for has ended, well or not.
    pub(crate) fn is_not_flushing(&self) {
        let mut held = self.held();
        held.flushing = false;
        if held.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// All that isn't known to be durable, in order. It is sent now.
    pub(crate) fn unflushed(&self) -> VecDeque<(u64, Change)> {
        let mut held = self.held();
        let first = held.first;
        let mut all = VecDeque::new();
        for (number, entry) in (first..).zip(&mut held.entries) {
            match entry.state {
                State::Waiting | State::Sent => entry.state = State::Sent,
                State::Acknowledged(_) => {}
                State::Settled(_) | State::Gone => continue,
            }
            all.push_back((number, entry.change.clone()));
        }
        all
    }

    /// Whether a server has acknowledged a change.
    pub(crate) fn is_acknowledged(&self, number: u64) -> bool {
        let is_acknowledged =
            |entry: &mut Entry| entry.state.is_over() || matches!(entry.state, State::Acknowledged(_));
        self.held().entry(number).is_none_or(is_acknowledged)
    }

    fn set(&self, held: &mut Held, number: u64, state: State) {
        let Some(entry) = held.entry(number) else { return };
        if entry.state.is_over() && !state.is_over() {
            return;
        }
        // No caller asks for its outcome any more.
        let state = if matches!(state, State::Settled(_)) && !entry.awaited { State::Gone } else { state };
        let was = std::mem::replace(&mut entry.state, state);
        let bytes = entry.bytes;
        let data = if state.is_over() { entry.change.data.take() } else { None };
        let counts = |state: State| if matches!(state, State::Acknowledged(_)) { bytes } else { 0 };
        held.acknowledged = held.acknowledged + counts(state) - counts(was);
        if state.is_over() && !was.is_over() {
            held.bytes -= bytes;
            self.pool.give(data);
        }
        held.under_way.retain(|(other, ..)| *other != number);
        while held.entries.front().is_some_and(|entry| entry.state == State::Gone) {
            held.entries.pop_front();
            held.first += 1;
        }
        if held.waiting > 0 {
            self.changed.notify_all();
        }
    }
}

impl Held {
    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let at = number.checked_sub(self.first)?;
        self.entries.get_mut(usize::try_from(at).ok()?)
    }

    fn acknowledge(&mut self) -> State {
        self.clock += 1;
        State::Acknowledged(self.clock - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn change(log: &Log, offset: u64, len: usize) -> Change {
        let data = log.copy(&[IoSlice::new(&vec![offset as u8; len])]);
        Change { kind: 1, flags: 0, offset, len: len as u32, data: Some(data) }
    }

    fn begin(log: &Log, offset: u64, len: usize) -> Option<u64> {
        match log.begin(&change(log, offset, len), Instant::now() + Duration::from_millis(1)) {
            Begun::As(number) => Some(number),
            _ => None,
        }
    }

    fn unflushed(log: &Log) -> Vec<u64> {
        log.unflushed().into_iter().map(|(_, change)| change.offset).collect()
    }

    /// A caller that was away while its change was written again and flushed learns that it was done, and doesn't do it again.
    #[test]
    fn a_caller_learns_of_its_change_behind_a_flush() {
        let log = Log::new(16 << 20, true);
        let number = begin(&log, 0, 512).unwrap();
        assert_eq!(unflushed(&log), [0]);
        log.ended_apart(number, None);
        log.flushed(log.mark());
        assert!(unflushed(&log).is_empty());
        assert_eq!(log.outcome(number), Some(None));
        assert_eq!(log.held().entries.len(), 0);
        // A refused change that no caller awaits is gone at once.
        let number = begin(&log, 0, 512).unwrap();
        log.is_sent(number);
        assert!(matches!(log.give_up(number), GivenUp::Unknown));
        assert_eq!(begin(&log, 511, 1), None, "it may be done yet");
        log.ended_apart(number, Some(5));
        assert_eq!(log.held().entries.len(), 0);
        assert_eq!(log.held().bytes, 0);
    }

    /// A flush covers the changes acknowledged before it, and no others.
    #[test]
    fn a_flush_makes_durable_what_came_before_it() {
        let log = Log::new(16 << 20, true);
        let numbers: Vec<u64> = (0..4).map(|n| begin(&log, n * 512, 512).unwrap()).collect();
        log.ended(numbers[2], None);
        log.ended(numbers[0], None);
        let mark = log.mark();
        log.ended(numbers[1], None);
        log.flushed(mark);
        assert_eq!(unflushed(&log), [512, 3 * 512]);
        assert!(matches!(log.give_up(numbers[3]), GivenUp::Unknown), "it is being written again");
        log.ended_apart(numbers[3], None);
        assert_eq!(unflushed(&log), [512, 3 * 512], "what was given up keeps its place");
        log.flushed(log.mark());
        assert!(unflushed(&log).is_empty());
        let held = log.held();
        assert_eq!((held.bytes, held.acknowledged), (0, 0));
    }

    #[test]
    fn a_change_without_room_wants_a_flush() {
        let log = Log::new(16 << 20, true);
        let numbers: Vec<u64> = (0..3).map(|n| begin(&log, n << 22, 4 << 20).unwrap()).collect();
        assert!(!log.ended(numbers[0], None));
        assert!(log.ended(numbers[1], None), "it is half full");
        assert!(!log.ended(numbers[2], None), "somebody sees to it");
        assert!(matches!(log.begin(&change(&log, 1 << 30, 4 << 20), Instant::now()), Begun::TimedOut));
        log.is_not_flushing();
        assert!(matches!(log.begin(&change(&log, 1 << 30, 4 << 20), Instant::now()), Begun::NeedsFlush));
        log.flushed(log.mark());
        log.is_not_flushing();
        let number = begin(&log, 1 << 30, 4 << 20).unwrap();
        assert!(matches!(log.give_up(number), GivenUp::NotSent));
        assert_eq!(log.held().bytes, 0);
        // Without a flush, nothing is kept.
        let log = Log::new(16 << 20, false);
        let number = begin(&log, 0, 512).unwrap();
        log.ended(number, None);
        assert!(unflushed(&log).is_empty());
    }
}
