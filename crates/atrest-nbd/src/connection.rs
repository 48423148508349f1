//! A connection to a server, on which many callers send requests at once.
//!
//! It has no thread. A caller that waits for a reply reads, for itself and for the other waiting callers; when its own reply is
//! here, it hands reading over to another one. So a lone caller is served without another thread.
//!
//! A request that was sent is never taken back. If its caller gives up, its reply is awaited nevertheless: until the server has
//! replied or the connection has ended, the server may still do it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::channel::{Receiver, Sender};
use crate::export::Export;
use crate::inbox::{Inbox, Own, Pumped};
use crate::log::Log;
use crate::outbox::{Message, Outbox};
use crate::slots::{End, Shared, Slots, Use};
use crate::socket::Socket;
use crate::wire::{DISCONNECT, Request};

type Callers = Slots<Box<Inbox>>;

pub(crate) struct Connection {
    socket: Arc<Socket>,
    shared: Shared<Box<Inbox>>,
    outbox: Outbox,
    log: Arc<Log>,
    /// How many callers there are, for a choice between connections.
    callers: AtomicUsize,
    /// Whether a caller has ended its turn to send before all was sent.
    unsent: AtomicBool,
}

/// A request.
#[derive(Default, Clone)]
pub(crate) struct Command {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) data: Option<Arc<Vec<u8>>>,
    /// Its number in the log.
    pub(crate) change: Option<u64>,
}

/// The place for a reply's data.
pub(crate) enum Target<'a> {
    Nowhere,
    Bytes(&'a mut [u8]),
    Extents(&'a mut Vec<(u32, u32)>),
}

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The server's reply: its error, if it has one.
    Replied(Option<u32>),
    /// The connection has ended. Nothing is known of the request.
    Ended(End),
    /// The time is over. The server may do it later.
    TimedOut,
    /// The time is over, and it was not sent.
    NotSent,
}

impl Connection {
    pub(crate) fn new(socket: Arc<Socket>, sender: Sender, receiver: Receiver, export: &Export, log: Arc<Log>) -> Self {
        let inbox = Inbox::new(receiver, export.structured, export.allocation);
        Connection {
            socket,
            shared: Shared::new(Box::new(inbox)),
            outbox: Outbox::new(sender),
            log,
            callers: AtomicUsize::new(0),
            unsent: AtomicBool::new(false),
        }
    }

    /// How many callers it has now.
    pub(crate) fn load(&self) -> usize {
        self.callers.load(Ordering::Relaxed)
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn call(&self, command: &Command, mut target: Target<'_>, until: Instant) -> Outcome {
        self.callers.fetch_add(1, Ordering::Relaxed);
        let outcome = match self.submit(command, until) {
            Ok(index) => self.wait(index, &mut target, until, true),
            Err(outcome) => outcome,
        };
        self.callers.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Sends a request without waiting for its reply: to be followed by [`wait`](Self::wait).
    pub(crate) fn submit(&self, command: &Command, until: Instant) -> Result<usize, Outcome> {
        let Command { kind, flags, offset, len, .. } = *command;
        let mut request = Request { kind, flags, offset, len, cookie: 0 };
        let mut slots = self.shared.lock();
        let index = loop {
            if let Some(end) = &slots.end {
                return Err(Outcome::Ended(end.clone()));
            }
            if slots.stopping {
                return Err(Outcome::Ended(End::Lost("another connection to the server ended".into())));
            }
            if let Some(index) = slots.occupy(&mut request, command.change) {
                break index;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Outcome::NotSent);
            }
            slots = self.shared.room.wait_timeout(slots, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        };
        // From here on it counts as sent.
        command.change.iter().for_each(|change| self.log.is_sent(*change));
        drop(slots);
        self.outbox.push(Message { header: request.to_bytes(), data: command.data.clone() });
        self.send(until, Some(index));
        Ok(index)
    }

    /// Sends the waiting requests, unless another caller does.
    fn send(&self, until: Instant, own: Option<usize>) {
        let Some(mut turn) = self.outbox.take_turn() else { return };
        self.unsent.store(false, Ordering::Release);
        loop {
            // First the rest of an earlier turn.
            while let Err(error) = turn.send() {
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    self.outbox.give_back(turn);
                    return self.end(error.into());
                }
                let mut slots = self.shared.lock();
                // The server may accept nothing before its long reply to this caller is read, and only this caller reads it.
                let has_to_read = own.is_some() && slots.reserved == own;
                if has_to_read || slots.end.is_some() || Instant::now() >= until {
                    // The next caller to take the turn clears this again, so it is set first.
                    self.unsent.store(true, Ordering::Release);
                    return self.outbox.give_back(turn);
                }
                // The server may be waiting for its replies to be read.
                if let Some(inbox) = slots.reader.take() {
                    drop(slots);
                    self.pump(inbox, None);
                }
            }
            turn = match self.outbox.next(turn) {
                Some(turn) => turn,
                None => return,
            };
        }
    }

    /// Waits for the reply to a request that was sent. If none comes, the caller gives the request up or waits again.
    pub(crate) fn wait(&self, index: usize, target: &mut Target<'_>, until: Instant, gives_up: bool) -> Outcome {
        let mut slots = self.shared.lock();
        loop {
            if slots.at(index).used == Use::Done {
                let outcome = self.finish(&mut slots, index, target);
                self.shared.pass_on(&slots);
                return outcome;
            }
            if let Some(end) = slots.end.clone() {
                self.shared.release(&mut slots, index);
                return Outcome::Ended(end);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if gives_up {
                    slots.at(index).used = Use::Orphan;
                    slots.orphans += 1;
                }
                if slots.reserved == Some(index) {
                    slots.reserved = None;
                }
                self.shared.pass_on(&slots);
                return Outcome::TimedOut;
            }
            if self.unsent.load(Ordering::Acquire) && slots.reserved != Some(index) {
                drop(slots);
                self.send(until, Some(index));
                slots = self.shared.lock();
                continue;
            }
            let may_read = slots.reserved.is_none_or(|reserved| reserved == index);
            if let Some(inbox) = slots.reader.take_if(|_| may_read) {
                slots.reserved = None;
                drop(slots);
                let own = match target {
                    Target::Bytes(bytes) => Own { index, bytes },
                    _ => Own { index, bytes: &mut [] },
                };
                self.pump(inbox, Some(own));
                slots = self.shared.lock();
                continue;
            }
            slots.at(index).sleeps = true;
            let turn = &self.shared.turns[index];
            slots = turn.wait_timeout(slots, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
            slots.at(index).sleeps = false;
        }
    }

    /// Reads, and leaves it to another one then.
    fn pump(&self, mut inbox: Box<Inbox>, own: Option<Own<'_>>) {
        let mut ended = Vec::new();
        let is_for_others = own.is_none();
        let pumped = inbox.pump(&self.shared, own, &mut ended);
        let mut slots = self.shared.lock();
        slots.reader = Some(inbox);
        // Otherwise its caller continues, or hands it to another one when it leaves.
        if is_for_others || matches!(pumped, Ok(Pumped::HandOver)) {
            self.shared.pass_on(&slots);
        }
        drop(slots);
        for (change, error) in ended {
            self.log.ended_apart(change, error);
        }
        if let Err(end) = pumped {
            self.end(end);
        }
    }

    /// Collects the outcome of a reply.
    fn finish(&self, slots: &mut Callers, index: usize, target: &mut Target<'_>) -> Outcome {
        let slot = slots.at(index);
        match target {
            Target::Bytes(bytes) if slot.error.is_none() => {
                for range in slot.delivered.iter() {
                    bytes[range.clone()].copy_from_slice(&slot.buffer[range]);
                }
                slot.buffer.shrink_to(64 << 10);
            }
            Target::Extents(extents) => **extents = slot.extents.take().unwrap_or_default(),
            _ => {}
        }
        let error = slot.error;
        self.shared.release(slots, index);
        Outcome::Replied(error)
    }

    /// Sends and reads for a tick, on behalf of callers that have given up.
    pub(crate) fn drive(&self, tick: Duration) {
        self.send(Instant::now() + tick, None);
        let mut slots = self.shared.lock();
        match slots.reader.take() {
            Some(inbox) if slots.end.is_none() && slots.under_way() > 0 => {
                drop(slots);
                self.pump(inbox, None);
            }
            reader => {
                slots.reader = reader.or(slots.reader.take());
                drop(slots);
                std::thread::sleep(tick.min(Duration::from_millis(5)));
            }
        }
    }

    /// Nothing more is sent by it.
    pub(crate) fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.room.notify_all();
    }

    /// Whether every request was replied to, or will never be.
    pub(crate) fn is_settled(&self) -> bool {
        let slots = self.shared.lock();
        slots.end.is_some() || slots.under_way() == 0
    }

    pub(crate) fn has_orphans(&self) -> bool {
        let slots = self.shared.lock();
        slots.end.is_none() && slots.orphans > 0
    }

    pub(crate) fn why_it_ended(&self) -> Option<End> {
        self.shared.lock().end.clone()
    }

    pub(crate) fn end(&self, end: End) {
        self.shared.end(end);
        self.socket.shutdown();
    }

    /// Says goodbye to the server, if no request is under way.
    pub(crate) fn close(&self) {
        let is_idle = {
            let slots = self.shared.lock();
            slots.end.is_none() && slots.under_way() == 0
        };
        if is_idle {
            let request = Request { kind: DISCONNECT, flags: 0, cookie: 0, offset: 0, len: 0 };
            self.outbox.push(Message { header: request.to_bytes(), data: None });
            // The socket has room for it, or never mind.
            self.send(Instant::now(), None);
        }
        self.end(End::Lost("the connection was closed".into()));
    }
}
